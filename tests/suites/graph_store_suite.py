"""What every property graph store must do, as mixins: inherit one and give it the fixture ``make_store``.

``make_store`` (class-scoped) returns a function that opens an empty store.
"""

from __future__ import annotations

import asyncio

import pytest
from llama_index.core.graph_stores.types import TRIPLET_SOURCE_KEY, ChunkNode, EntityNode, Relation
from llama_index.core.schema import ImageNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from vector_store_suite import NASTY

NASTY_NAMES = (
    *NASTY,
    "\x00\x01\x7f control",
    "a' OR label == 'x",
    'x" in ["y',
    "Müller & Söhne",
    "北京大学",
    " ",
    "%",
    "x" * 3000,
)


def entity(
    name: str, source: str = "", doc: str = "", *, label: str = "entity", vector=None, **properties
) -> EntityNode:
    return EntityNode(name=name, label=label, embedding=vector, properties=origin(source, doc) | properties)


def relation(subject: str, label: str, target: str, source: str = "", doc: str = "", **properties) -> Relation:
    return Relation(source_id=subject, label=label, target_id=target, properties=origin(source, doc) | properties)


def origin(source: str, doc: str) -> dict[str, str]:
    return ({TRIPLET_SOURCE_KEY: source} if source else {}) | ({"ref_doc_id": doc} if doc else {})


def ids(nodes) -> set[str]:
    return {node.id for node in nodes}


def facts(triplets) -> set[tuple[str, str, str]]:
    return {(subject.id, relation.label, target.id) for subject, relation, target in triplets}


def brief(text: str) -> str:
    return ascii(text[:20])


def fill(store) -> None:
    """Two documents that share Acme: d1 (nodes n1, n2) and d2 (node n3)."""
    store.upsert_nodes(
        [
            entity("Acme", "n1", "d1", label="ORG", country="Norway"),
            entity("Bob", "n1", "d1", label="PERSON", age=42),
            entity("Oslo", "n2", "d1", label="PLACE"),
            entity("Carol", "n3", "d2", label="PERSON"),
        ]
    )
    store.upsert_relations(
        [
            relation("Bob", "WORKS_AT", "Acme", "n1", "d1", since=2001),
            relation("Acme", "BASED_IN", "Oslo", "n2", "d1"),
            relation("Carol", "WORKS_AT", "Acme", "n3", "d2"),
        ]
    )


class GraphStoreSuite:
    """What ``SimplePropertyGraphStore`` can do as well."""

    @pytest.fixture(scope="class")
    def graph(self, make_store):
        """The graph of ``fill``, which no test changes."""
        store = make_store()
        fill(store)
        return store

    @pytest.fixture
    def store(self, make_store):
        return make_store()

    def test_get_by_id(self, graph):
        found = {node.id: node for node in graph.get(ids=["Bob", "Acme", "nobody"])}

        assert found.keys() == {"Bob", "Acme"}
        assert found["Bob"].label == "PERSON"
        assert found["Bob"].properties == {"age": 42} | origin("n1", "d1")

    def test_get_everything(self, graph):
        assert ids(graph.get()) == {"Acme", "Bob", "Oslo", "Carol"}

    def test_get_by_property(self, graph):
        assert ids(graph.get(properties={"age": 42})) == {"Bob"}
        assert ids(graph.get(properties={"age": 42, "country": "Norway"})) == {"Bob", "Acme"}
        assert ids(graph.get(properties={"age": "42"})) == set()
        assert ids(graph.get(properties={TRIPLET_SOURCE_KEY: "n2"})) >= {"Oslo"}

    def test_get_by_property_and_id(self, graph):
        assert ids(graph.get(properties={"age": 42}, ids=["Acme"])) == set()
        assert ids(graph.get(properties={"age": 42}, ids=["Acme", "Bob"])) == {"Bob"}

    def test_triplets_by_entity(self, graph):
        assert facts(graph.get_triplets(entity_names=["Oslo"])) == {("Acme", "BASED_IN", "Oslo")}
        assert len(graph.get_triplets(entity_names=["Acme"])) == 3
        assert facts(graph.get_triplets(ids=["Bob", "Oslo"])) == {
            ("Bob", "WORKS_AT", "Acme"),
            ("Acme", "BASED_IN", "Oslo"),
        }

    def test_triplets_by_relation(self, graph):
        assert facts(graph.get_triplets(relation_names=["WORKS_AT"])) == {
            ("Bob", "WORKS_AT", "Acme"),
            ("Carol", "WORKS_AT", "Acme"),
        }

    def test_triplets_by_property_of_any_part(self, graph):
        assert facts(graph.get_triplets(properties={"since": 2001})) == {("Bob", "WORKS_AT", "Acme")}
        assert facts(graph.get_triplets(properties={"age": 42})) == {("Bob", "WORKS_AT", "Acme")}
        assert len(graph.get_triplets(properties={"country": "Norway"})) == 3

    def test_conditions_on_triplets_are_all_to_be_met(self, graph):
        found = graph.get_triplets(entity_names=["Acme"], relation_names=["WORKS_AT"], ids=["Carol"])

        assert facts(found) == {("Carol", "WORKS_AT", "Acme")}
        assert facts(graph.get_triplets(relation_names=["BASED_IN"], properties={"since": 2001})) == set()

    def test_triplets_without_condition_are_none(self, graph):
        assert graph.get_triplets() == []
        assert graph.get_triplets(entity_names=[], relation_names=[]) == []

    def test_triplets_bring_their_parts(self, graph):
        ((subject, link, target),) = graph.get_triplets(entity_names=["Bob"])

        assert (subject.label, subject.properties["age"]) == ("PERSON", 42)
        assert link.properties == {"since": 2001} | origin("n1", "d1")
        assert target.label == "ORG"

    def test_rel_map(self, graph):
        oslo = graph.get(ids=["Bob"])

        assert facts(graph.get_rel_map(oslo, depth=1)) == {("Bob", "WORKS_AT", "Acme")}
        assert ("Acme", "BASED_IN", "Oslo") in facts(graph.get_rel_map(oslo, depth=2))
        assert facts(graph.get_rel_map(oslo, depth=2, ignore_rels=["WORKS_AT"])) <= {("Acme", "BASED_IN", "Oslo")}
        assert len(graph.get_rel_map(oslo, depth=2, limit=1)) == 1
        assert graph.get_rel_map([], depth=2) == []

    def test_async_equals_sync(self, graph):
        async def ask():
            return (
                await graph.aget(ids=["Bob"]),
                await graph.aget_triplets(entity_names=["Bob"]),
                await graph.aget_rel_map(graph.get(ids=["Bob"]), depth=1),
                await graph.aget_llama_nodes(["n1"]),
            )

        assert asyncio.run(ask()) == (
            graph.get(ids=["Bob"]),
            graph.get_triplets(entity_names=["Bob"]),
            graph.get_rel_map(graph.get(ids=["Bob"]), depth=1),
            [],
        )

    def test_upsert_again_replaces(self, store):
        store.upsert_nodes([entity("A", "n1", label="OLD", colour="red")])
        store.upsert_nodes([entity("A", "n1", label="NEW")])
        for _ in range(2):
            store.upsert_relations([relation("A", "R", "B", "n1")])

        (found,) = store.get(ids=["A"])
        assert found.label == "NEW"
        assert "colour" not in found.properties
        assert len(store.get_triplets(entity_names=["A"])) == 1

    def test_relation_makes_its_entities(self, store):
        store.upsert_relations([relation("A", "KNOWS", "B")])

        assert ids(store.get()) == {"A", "B"}

    def test_relation_does_not_spoil_its_entities(self, store):
        store.upsert_nodes([entity("A", "n1", label="PERSON", age=1)])
        store.upsert_relations([relation("A", "KNOWS", "B", "n1"), relation("A", "LIKES", "B", "n2")])

        (found,) = store.get(ids=["A"])
        assert (found.label, found.properties["age"]) == ("PERSON", 1)

    @pytest.mark.parametrize("name", NASTY_NAMES, ids=brief)
    def test_nasty_names_labels_keys_and_values(self, store, name):
        nodes = [entity(name, name, name, label=name, **{name: name}), entity("other", "n0", "d0")]
        store.upsert_nodes(nodes)
        store.upsert_relations([relation(nodes[0].id, name, "other", "n1", "d1", **{name: name})])
        key = nodes[0].id

        (found,) = store.get(ids=[key])
        assert (found.name, found.label, found.properties) == (name, name, nodes[0].properties)
        assert ids(store.get(properties={name: name})) == {key}
        expected = {(key, name, "other")}
        assert facts(store.get_triplets(entity_names=[key])) == expected
        assert facts(store.get_triplets(relation_names=[name])) == expected
        assert facts(store.get_triplets(properties={name: name})) == expected
        assert facts(store.get_rel_map([found], depth=1)) == expected
        assert store.get_rel_map([found], depth=1, ignore_rels=[name]) == []

    def test_long_names_and_properties_come_back_whole(self, store):
        long, longer = "名" * 40_000, "名" * 40_000 + "x"
        store.upsert_nodes([entity(long, "n1", text="y" * 100_000), entity(longer, "n1", kind="other")])
        store.upsert_relations([relation(long, "R" * 100_000, longer, "n1", text="z" * 100_000)])

        (found,) = store.get(ids=[long])
        assert found.name == long
        assert found.properties["text"] == "y" * 100_000
        ((subject, link, target),) = store.get_triplets(entity_names=[longer])
        assert (subject.id, target.id) == (long, longer)
        assert (link.label, link.properties["text"]) == ("R" * 100_000, "z" * 100_000)

    def test_properties_of_all_json_types_come_back(self, store):
        properties = {"n": None, "b": True, "i": 2**70, "f": 1.5, "l": [1, "a", None], "d": {"x": {"y": []}}, "": "e"}
        store.upsert_nodes([entity("A", **properties)])

        assert store.get(ids=["A"])[0].properties == properties

    def test_nodes_come_back_unchanged(self, store):
        nodes = [
            TextNode(id_="n1", text="text 文 " * 20_000, metadata={"page": 3, "file_name": "a.pdf"}),
            ImageNode(id_="n2", text="caption", image_path="/images/a.png", image_mimetype="image/png"),
        ]
        nodes[0].relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id="d1")
        store.upsert_llama_nodes(nodes)

        found = {node.node_id: node for node in store.get_llama_nodes(["n1", "n2", "missing"])}
        assert found == {node.node_id: node for node in nodes}
        assert type(found["n2"]) is ImageNode
        (chunk,) = store.get(ids=["n1"])
        assert isinstance(chunk, ChunkNode)
        assert chunk.text == nodes[0].text

    def test_entities_are_no_llama_nodes(self, graph):
        assert graph.get_llama_nodes(["Bob"]) == []

    def test_delete_by_id(self, store):
        fill(store)

        store.delete(ids=["Oslo"])

        assert "Oslo" not in ids(store.get())
        assert facts(store.get_triplets(relation_names=["BASED_IN"])) == set()

    def test_delete_by_property(self, store):
        fill(store)

        store.delete(properties={"age": 42})

        assert "Bob" not in ids(store.get())
        assert "Carol" in ids(store.get())

    def test_empty_store(self, store):
        assert store.get() == []
        assert store.get(ids=["a"]) == []
        assert store.get_triplets(entity_names=["a"]) == []
        assert store.get_rel_map([entity("a")]) == []
        store.upsert_nodes([])
        store.upsert_relations([])
        store.upsert_llama_nodes([])
        store.delete(ids=["a"])

    def test_structured_queries_are_refused_or_supported(self, store):
        if not store.supports_structured_queries:
            with pytest.raises(NotImplementedError):
                store.structured_query("MATCH (n) RETURN n")


class DeletionSuite:
    """Deleting what is asked for and nothing else; ``SimplePropertyGraphStore`` deletes more."""

    @pytest.fixture
    def filled(self, store):
        fill(store)
        return store

    def test_delete_by_name(self, filled):
        filled.delete(entity_names=["Bob"])

        assert ids(filled.get()) == {"Acme", "Oslo", "Carol"}
        assert len(filled.get_triplets(entity_names=["Acme"])) == 2

    def test_delete_by_relation_leaves_entities(self, filled):
        filled.delete(relation_names=["WORKS_AT"])

        assert ids(filled.get()) == {"Acme", "Oslo", "Carol", "Bob"}
        assert facts(filled.get_triplets(entity_names=["Acme"])) == {("Acme", "BASED_IN", "Oslo")}

    def test_delete_a_relation_of_one_entity(self, filled):
        filled.delete(entity_names=["Carol"], relation_names=["WORKS_AT"])

        assert facts(filled.get_triplets(relation_names=["WORKS_AT"])) == {("Bob", "WORKS_AT", "Acme")}

    def test_delete_by_property_of_a_relation(self, filled):
        filled.delete(properties={"since": 2001})

        assert ids(filled.get()) == {"Acme", "Oslo", "Carol", "Bob"}
        assert filled.get_triplets(entity_names=["Bob"]) == []

    @pytest.mark.parametrize("arguments", [{}, {"ids": []}, {"entity_names": []}, {"properties": {}}], ids=str)
    def test_delete_of_nothing_deletes_nothing(self, filled, arguments):
        filled.delete(**arguments)

        assert len(filled.get()) == 4
        assert len(filled.get_triplets(entity_names=["Acme"])) == 3

    def test_empty_list_of_ids_is_none(self, filled):
        assert filled.get(ids=[]) == []

    def test_delete_of_an_unknown_document_deletes_nothing(self, filled):
        filled.delete_llama_nodes(ref_doc_ids=["unknown"])
        filled.delete_llama_nodes(node_ids=["unknown"])

        assert len(filled.get()) == 4

    def test_delete_of_a_document_leaves_what_is_shared(self, filled):
        filled.delete_llama_nodes(ref_doc_ids=["d1"])

        assert ids(filled.get()) == {"Acme", "Carol"}
        assert facts(filled.get_triplets(entity_names=["Acme"])) == {("Carol", "WORKS_AT", "Acme")}

    def test_what_is_shared_keeps_its_label_but_not_the_deleted_properties(self, filled):
        filled.delete_llama_nodes(ref_doc_ids=["d1"])

        (acme,) = filled.get(ids=["Acme"])
        assert acme.label == "ORG"
        assert "country" not in acme.properties
        assert acme.properties[TRIPLET_SOURCE_KEY] == "n3"

    def test_delete_of_a_node(self, filled):
        filled.delete_llama_nodes(node_ids=["n2"])

        assert ids(filled.get()) == {"Acme", "Bob", "Carol"}
        assert filled.get_triplets(relation_names=["BASED_IN"]) == []

    def test_delete_of_a_node_that_came_with_its_document(self, store):
        node = TextNode(
            id_="n1", text="Bob works at Acme.", relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="d1")}
        )
        store.upsert_llama_nodes([node])
        # As PropertyGraphIndex writes them: the node is named, the document is not.
        store.upsert_nodes([entity("Bob", "n1"), entity("Acme", "n1")])
        store.upsert_relations([relation("Bob", "WORKS_AT", "Acme", "n1"), relation("Bob", "LIKES", "Tea", "n2")])

        assert store.sources(["Bob"]) == {"Bob": [("n1", "d1"), ("n2", "")]}
        store.delete_document("d1")

        assert store.get_llama_nodes(["n1"]) == []
        assert ids(store.get()) == {"Bob", "Tea"}

    @pytest.mark.parametrize("name", [*NASTY, "\x00\x01 control"], ids=brief)
    def test_nasty_documents_and_names_delete_only_themselves(self, store, name):
        fill(store)
        nasty = entity(name, name, name)
        store.upsert_nodes([nasty, entity("x", "n9", name)])
        store.upsert_relations([relation("x", name, "y", "n9", name)])

        store.delete(relation_names=[name])
        assert store.get_triplets(entity_names=["x"]) == []
        store.delete(entity_names=[nasty.id])
        assert store.get(ids=[nasty.id]) == []
        store.delete_document(name)
        assert ids(store.get()) == {"Acme", "Bob", "Oslo", "Carol"}
        assert len(store.get_triplets(entity_names=["Acme"])) == 3


class ProvenanceSuite:
    """The same entity and the same triple from several sources; ``SimplePropertyGraphStore`` keeps the last one."""

    def test_sources_are_all_kept(self, store):
        fill(store)
        store.upsert_nodes([entity("Acme", "n3", "d2", label="COMPANY", founded=1990)])
        store.upsert_relations([relation("Bob", "WORKS_AT", "Acme", "n3", "d2", since=2002)])

        assert store.sources(["Acme", "Bob", "nobody"]) == {
            "Acme": [("n1", "d1"), ("n2", "d1"), ("n3", "d2")],
            "Bob": [("n1", "d1"), ("n3", "d2")],
            "nobody": [],
        }
        (acme,) = store.get(ids=["Acme"])
        assert acme.label == "COMPANY"
        assert acme.properties == {"country": "Norway", "founded": 1990} | origin("n3", "d2")
        ((bob, link, _),) = store.get_triplets(entity_names=["Bob"])
        assert link.properties == {"since": 2002} | origin("n3", "d2")
        assert bob.properties[TRIPLET_SOURCE_KEY] == "n3"

        store.delete_document("d2")
        assert store.sources(["Bob"]) == {"Bob": [("n1", "d1")]}
        ((_, link, _),) = store.get_triplets(entity_names=["Bob"])
        assert link.properties == {"since": 2001} | origin("n1", "d1")
        assert store.get(ids=["Acme"])[0].label == "ORG"

    def test_triples_with_most_sources_come_first(self, store):
        store.upsert_relations([relation("A", "R", f"B{i}", "n1") for i in range(5)])
        store.upsert_relations([relation("A", "R", "B3", "n2")])

        assert store.get_rel_map([entity("A")], limit=1)[0][2].id == "B3"

    def test_rel_map_walks_both_ways_and_round_circles(self, store):
        store.upsert_relations([relation(f"E{i}", "NEXT", f"E{(i + 1) % 6}", "n1") for i in range(6)])
        store.upsert_relations([relation("E0", "SKIP", "far", "n1"), relation("far", "NEXT", "farther", "n1")])
        start = [entity("E0")]

        assert len(store.get_rel_map(start, depth=1)) == 3
        assert len(store.get_rel_map(start, depth=1, ignore_rels=["SKIP"])) == 2
        found = store.get_rel_map(start, depth=50, ignore_rels=["SKIP"])
        assert facts(found) == {(f"E{i}", "NEXT", f"E{(i + 1) % 6}") for i in range(6)}
        assert len(found) == 6
        assert len(store.get_rel_map(start, depth=50)) == 8

    def test_an_entity_in_every_node(self, store):
        store.upsert_nodes([entity("hub", f"n{i}", f"d{i}") for i in range(300)])
        store.upsert_relations([relation("hub", "R", f"E{i}", f"n{i}", f"d{i}") for i in range(300)])

        assert len(store.get(ids=["hub"])) == 1
        assert len(store.get_rel_map(store.get(ids=["hub"]), depth=3, limit=30)) == 30
        store.delete_document("d7")
        assert len(store.sources(["hub"])["hub"]) == 299
        assert store.get(ids=["E7"]) == []


class VectorSuite:
    """Entities found by their embeddings, of dimension 4."""

    @pytest.fixture(scope="class")
    def vectors(self, make_store):
        store = make_store()
        store.upsert_nodes(
            [
                *(entity("Acme", f"n{i}", f"d{i}", vector=[1, 0, 0, 0], kind="org", year=2000 + i) for i in range(30)),
                entity("Bob", "n1", "d1", vector=[0.9, 0.1, 0, 0], kind="person", **{"bad key; drop": "x"}),
                entity("Carol", "n2", "d2", vector=[0, 1, 0, 0], kind="person", note="y" * 100_000),
                entity("no vector", "n2", "d2", kind="person"),
                ChunkNode(text="text", id_="n1", embedding=[1, 0, 0, 0]),
            ]
        )
        store.upsert_relations([relation("Bob", "KNOWS", "Zoe", "n1", "d1")])
        return store

    @staticmethod
    def ask(store, vector=(1, 0, 0, 0), top_k=10, **query):
        return store.vector_query(VectorStoreQuery(query_embedding=list(vector), similarity_top_k=top_k, **query))

    def test_each_entity_once_best_first(self, vectors):
        nodes, scores = self.ask(vectors)

        assert [node.id for node in nodes] == ["Acme", "Bob", "Carol"]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] == pytest.approx(1.0, abs=1e-5)
        assert nodes[2].properties["note"] == "y" * 100_000

    def test_many_rows_of_one_entity_do_not_hide_others(self, vectors):
        assert [node.id for node in self.ask(vectors, top_k=2)[0]] == ["Acme", "Bob"]

    def test_no_dummy_vector_is_ever_found(self, vectors):
        for vector in ([0, 1, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 1]):
            assert ids(self.ask(vectors, vector, top_k=1000)[0]) == {"Acme", "Bob", "Carol"}

    def test_filters_on_properties_and_documents(self, vectors):
        person = MetadataFilters(filters=[MetadataFilter(key="kind", value="person")])
        late = MetadataFilters(filters=[MetadataFilter(key="year", operator=FilterOperator.GTE, value=2029)])

        assert [node.id for node in self.ask(vectors, filters=person)[0]] == ["Bob", "Carol"]
        ((acme,), _) = self.ask(vectors, filters=late)
        assert acme.properties["year"] == 2029
        assert ids(self.ask(vectors, doc_ids=["d2"])[0]) == {"Acme", "Carol"}
        assert self.ask(vectors, doc_ids=["d2"], filters=person)[0][0].id == "Carol"
        assert self.ask(vectors, doc_ids=[])[0] == []

    def test_async(self, vectors):
        query = VectorStoreQuery(query_embedding=[1.0, 0, 0, 0], similarity_top_k=2)

        assert asyncio.run(vectors.avector_query(query)) == vectors.vector_query(query)

    def test_vectors_go_with_their_entities(self, store):
        store.upsert_nodes([entity("A", "n1", "d1", vector=[1, 0, 0, 0]), entity("B", "n2", "d2", vector=[0, 1, 0, 0])])
        store.upsert_relations([relation("A", "R", "B", "n2", "d2")])

        store.delete_document("d1")
        assert ids(self.ask(store)[0]) == {"A", "B"}
        store.delete(entity_names=["A"])
        assert ids(self.ask(store)[0]) == {"B"}
        store.upsert_nodes([entity("B", "n2", "d2")])
        assert self.ask(store) == ([], [])

    def test_without_any_vector(self, store):
        assert self.ask(store) == ([], [])
        store.upsert_nodes([entity("A", "n1")])
        assert self.ask(store) == ([], [])
        store.upsert_nodes([entity("B", "n1", vector=[1, 0, 0, 0])])
        assert ids(self.ask(store)[0]) == {"B"}
