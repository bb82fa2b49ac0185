"""A graph store from open to close: reopening, tenants, versions, secrets, other processes."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from llama_index.core.graph_stores.types import EntityNode, LabelledNode, Relation
from llama_index.core.vector_stores.types import VectorStoreQuery
from pymilvus import DataType, MilvusClient

from llama_index_raganything.errors import (
    ConfigurationError,
    NodeValueError,
    SchemaMismatchError,
    StoreUnavailableError,
)
from llama_index_raganything.graph.facts import NodeFacts
from llama_index_raganything.stores.graph import collections as graph_tables
from llama_index_raganything.stores.graph.property_graph import MilvusPropertyGraphStore
from llama_index_raganything.stores.nodes.store import MilvusNodeStore


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("milvus") / "m.db")
    # Keeps the embedded server running between the stores of the tests.
    with MilvusNodeStore(path, "keep_open", 4):
        yield path


def entity(name, source="n1", doc="d1", vector=None):
    return EntityNode(
        name=name, embedding=vector, properties={"triplet_source_id": source, "ref_doc_id": doc, "secret": "s"}
    )


def relation(subject, target, source="n1", doc="d1"):
    return Relation(
        label="R", source_id=subject, target_id=target, properties={"triplet_source_id": source, "ref_doc_id": doc}
    )


def nearest(store, vector=(1, 0, 0, 0)):
    query = VectorStoreQuery(query_embedding=list(vector), similarity_top_k=10)
    return {node.id for node in store.vector_query(query)[0]}


def test_opening_makes_no_collection(uri):
    with MilvusPropertyGraphStore(uri, "nothing") as store:
        assert store.get() == []
        assert store.generation() == ""
        assert not any(name.startswith("nothing") for name in store.client.list_collections())


def test_reopened_store_has_everything(uri):
    with MilvusPropertyGraphStore(uri, "again") as store:
        store.upsert_nodes([entity("A", vector=[1, 0, 0, 0])])
        store.upsert_relations([relation("A", "B")])
        store.put_facts([NodeFacts("n1", "d1", entities=["A"])])
        store.flush()
    with MilvusPropertyGraphStore(uri, "again") as store:
        assert {node.id for node in store.get()} == {"A", "B"}
        assert len(store.get_triplets(entity_names=["B"])) == 1
        assert nearest(store) == {"A"}
        assert [facts.node_id for facts in store.facts(["n1"])] == ["n1"]
        assert store.stats() == {"entities": 2, "chunks": 0, "triples": 1, "nodes": 1}
        store.clear()
        assert store.stats() == {"entities": 0, "chunks": 0, "triples": 0, "nodes": 0}
        store.upsert_nodes([entity("C", vector=[1, 0])])
        assert nearest(store, (1, 0)) == {"C"}


def test_overwrite(uri):
    with MilvusPropertyGraphStore(uri, "over") as store:
        store.upsert_nodes([entity("A", vector=[1, 0, 0, 0])])
    with MilvusPropertyGraphStore(uri, "over", dimension=2, overwrite=True) as store:
        assert store.get() == []
        store.upsert_nodes([entity("B", vector=[1, 0])])
        assert nearest(store, (1, 0)) == {"B"}


def test_other_dimension_is_told_when_opening(uri):
    with MilvusPropertyGraphStore(uri, "dims") as store:
        store.upsert_nodes([entity("A", vector=[1, 0, 0, 0])])
        with pytest.raises(SchemaMismatchError, match="dimension 4"):
            MilvusPropertyGraphStore(uri, "dims", dimension=8)
        with pytest.raises(NodeValueError, match="shape"):
            store.upsert_nodes([entity("B"), entity("A", vector=[1, 0])])
        with pytest.raises(NodeValueError, match="NaN"):
            store.upsert_nodes([entity("B"), entity("A", vector=[1, 0, 0, float("nan")])])
        assert {node.id for node in store.get()} == {"A"}


def test_tenants_see_only_their_own(uri):
    stores = {name: MilvusPropertyGraphStore(uri, "tenants", tenant=name) for name in ("a", "b' or '1'=='1")}
    for name, store in stores.items():
        store.upsert_nodes([entity("shared", vector=[1, 0, 0, 0]), entity(f"own of {name}")])
        store.upsert_relations([relation("shared", f"own of {name}")])
        store.put_facts([NodeFacts("n1", "d1", entities=["shared"])])
    first, second = stores.values()
    before = second.generation()

    assert {node.id for node in first.get()} == {"shared", "own of a"}
    assert {triplet[2].id for triplet in first.get_rel_map(first.get(ids=["shared"]), depth=5)} == {"own of a"}
    assert first.sources(["shared"]) == {"shared": [("n1", "d1")]}
    assert nearest(first) == {"shared"}
    for delete in (
        lambda: first.delete(entity_names=["shared"]),
        lambda: first.delete_document("d1"),
        lambda: first.delete_facts(["n1"]),
        first.clear,
    ):
        delete()
        assert len(second.get()) == 2
        assert len(second.get_triplets(entity_names=["shared"])) == 1
        assert nearest(second) == {"shared"}
        assert len(second.facts(["n1"])) == len(list(second.scan_facts())) == 1
    assert second.generation() == before
    assert first.get() == []
    with MilvusPropertyGraphStore(uri, "tenants", tenant="a", overwrite=True):
        assert len(second.get()) == 2
    for store in stores.values():
        store.close()


def test_graph_of_another_version(uri, monkeypatch):
    with MilvusPropertyGraphStore(uri, "old") as store:
        store.upsert_nodes([entity("A", vector=[1, 0])])
    monkeypatch.setattr(graph_tables, "SCHEMA_VERSION", "2")

    with pytest.raises(SchemaMismatchError, match=r"has version '1'.*overwrite=True"):
        MilvusPropertyGraphStore(uri, "old")
    with pytest.raises(SchemaMismatchError, match="overwrite=True"):
        MilvusPropertyGraphStore(uri, "old", tenant="a", overwrite=True)
    with MilvusPropertyGraphStore(uri, "old", overwrite=True) as store:
        assert store.get() == []
        store.upsert_nodes([entity("B", vector=[1, 0, 0])])
        assert nearest(store, (1, 0, 0)) == {"B"}


def test_facts_of_another_version(uri):
    class OldFacts(NodeFacts):
        def to_payload(self):
            return '{"v": 0}'

    with MilvusPropertyGraphStore(uri, "old_facts") as store:
        store.put_facts([OldFacts("n1", "d1")])
        with pytest.raises(SchemaMismatchError, match="overwrite=True"):
            store.facts(["n1"])


@pytest.mark.parametrize("suffix", ["__entities", "__facts"])
def test_collection_of_another_program(uri, suffix):
    with MilvusPropertyGraphStore(uri, "foreign") as store:
        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("id", DataType.VARCHAR, max_length=100, is_primary=True)
        schema.add_field("v", DataType.FLOAT_VECTOR, dim=2)
        store.client.create_collection("foreign" + suffix, schema=schema)
        with pytest.raises(SchemaMismatchError, match="lacks the fields"):
            MilvusPropertyGraphStore(uri, "foreign")
        with MilvusPropertyGraphStore(uri, "foreign", overwrite=True) as new:
            assert new.get() == []


def test_graph_without_version_row(uri):
    with MilvusPropertyGraphStore(uri, "unversioned") as store:
        store.upsert_nodes([entity("A")])
        store.client.delete("unversioned__facts", filter='tenant == "|schema"')
    with pytest.raises(SchemaMismatchError, match="no version"):
        MilvusPropertyGraphStore(uri, "unversioned")


@pytest.mark.parametrize(
    "arguments", [{"collection": "a-b"}, {"tenant": ""}, {"tenant": "a|b"}, {"dimension": 0}, {"uri": "x"}], ids=str
)
def test_arguments_that_cannot_work(uri, arguments):
    with pytest.raises(ConfigurationError):
        MilvusPropertyGraphStore(**{"uri": uri, "collection": "x", **arguments})


def test_closed_store_says_so(uri):
    store = MilvusPropertyGraphStore(uri, "closed")
    store.close()
    store.close()

    with pytest.raises(StoreUnavailableError, match="closed"):
        store.get()


def test_no_secret_in_repr_pickle_and_dict(uri):
    with MilvusPropertyGraphStore(uri, "secrets", token="root:hidden", tenant="a") as store:
        store.upsert_nodes([entity("A")])
        copies = [pickle.loads(pickle.dumps(store)), MilvusPropertyGraphStore.from_dict(store.to_dict(), token="t")]

        for text in (repr(store), str(store.to_dict()), str(pickle.dumps(store))):
            assert "hidden" not in text
        for copy in copies:
            assert copy.get() == store.get() != []
            copy.close()


def test_generation_changes_with_every_write_of_anyone(uri):
    with MilvusPropertyGraphStore(uri, "gen") as store, MilvusPropertyGraphStore(uri, "gen") as other:
        writes = [
            lambda: store.upsert_nodes([entity("A")]),
            lambda: store.upsert_relations([relation("A", "B")]),
            lambda: store.put_facts([NodeFacts("n1", "d1")]),
        ]
        deletions = [
            lambda: store.delete(ids=["A"]),
            lambda: store.delete_document("d1"),
            lambda: store.delete_facts(["n1"]),
            store.clear,
        ]
        seen = [other.generation()]
        for write in [*writes, *deletions]:
            write()
            seen.append(other.generation())
        assert len(set(seen)) == len(seen)
        assert len({text.partition(".")[2] for text in seen[1:4]}) == 1
        assert len({text.partition(".")[2] for text in seen[3:]}) == 5
        other.get(), other.facts(["n1"]), other.flush()
        assert other.generation() == seen[-1]


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (entity("A" * 5_000_000), "the limit is"),
        (EntityNode(name="A", properties={"x": object()}), "no JSON value"),
        (EntityNode(name="A", properties={"x": b"\xff"}), "no JSON value"),
        (entity("A", source="n\ud800"), "surrogates"),
        (entity("A", doc="d" * 70_000), "bytes"),
    ],
    ids=["10 MB name", "object", "bytes", "surrogate", "long id"],
)
def test_what_cannot_be_stored_is_refused_whole(uri, node, reason):
    with MilvusPropertyGraphStore(uri, "refused") as store:
        with pytest.raises(NodeValueError, match=reason):
            store.upsert_nodes([entity("good"), node])
        with pytest.raises(NodeValueError, match=reason):
            store.upsert_relations(
                [
                    relation("good", "B"),
                    Relation(
                        label="R",
                        source_id="good",
                        target_id=node.name if len(node.name) > 9 else "x",
                        properties=node.properties,
                    ),
                ]
            )
        assert store.get() == []


def test_other_kinds_of_nodes_are_refused(uri):
    class Odd(LabelledNode):
        def __str__(self):
            return "odd"

        @property
        def id(self):
            return "odd"

    with MilvusPropertyGraphStore(uri, "odd") as store, pytest.raises(NodeValueError, match="Odd"):
        store.upsert_nodes([Odd()])


def test_lone_surrogates_in_names_and_properties_come_back(uri):
    with MilvusPropertyGraphStore(uri, "surrogates") as store:
        nodes = [EntityNode(name=name, properties={"x": name}) for name in ("a\ud800", "a\ud801", "a?")]
        store.upsert_nodes(nodes)

        assert store.get(ids=[node.id for node in nodes]) == nodes


def test_threads_write_and_flush_at_once(uri):
    with MilvusPropertyGraphStore(uri, "threads") as store:

        def work(number):
            for part in range(3):
                name = f"{number}-{part}"
                store.upsert_nodes([entity(name, name, name, vector=[1, 0])])
                store.upsert_relations([relation(name, "hub", name, name)])
                store.put_facts([NodeFacts(name, name, entities=["hub"])])
                store.flush()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        assert store.stats() == {"entities": 13, "chunks": 0, "triples": 12, "nodes": 12}
        assert len(store.sources(["hub"])["hub"]) == 12


@pytest.mark.slow
def test_another_process_reads_it(tmp_path):
    uri = str(tmp_path / "m.db")
    code = (
        "import sys; from llama_index.core.graph_stores.types import EntityNode, Relation\n"
        "from llama_index_raganything import MilvusPropertyGraphStore\n"
        "store = MilvusPropertyGraphStore(sys.argv[1], 'kb')\n"
        "store.upsert_nodes([EntityNode(name='A', embedding=[1.0, 0.0])])\n"
        "store.upsert_relations([Relation(label='R', source_id='A', target_id='B')])\n"
    )
    subprocess.run([sys.executable, "-c", code, uri], check=True, timeout=120)

    with MilvusPropertyGraphStore(uri, "kb") as store:
        assert {node.id for node in store.get()} == {"A", "B"}
        assert nearest(store, (1, 0)) == {"A"}
        assert len(store.get_rel_map(store.get(ids=["A"]))) == 1
