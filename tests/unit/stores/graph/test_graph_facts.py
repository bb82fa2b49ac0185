"""Node facts in Milvus: packed, found by name, replaced and deleted exactly."""

import asyncio
import time

import numpy as np
import pytest
from llama_index.core.graph_stores.types import EntityNode, Relation

from llama_index_raganything.errors import NodeValueError
from llama_index_raganything.graph.facts import NodeFacts, StructuralTie, Subject
from llama_index_raganything.stores.graph.property_graph import MilvusPropertyGraphStore

NASTY = [
    'quote " inside',
    "back\\slash \\",
    "%",
    "a_b%",
    "100% | under_score",
    "line\nbreak",
    "'); drop",
    "图像检索",
    "\x00\x01",
]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with MilvusPropertyGraphStore(str(tmp_path_factory.mktemp("milvus") / "m.db"), "kb") as store:
        yield store


@pytest.fixture
def store(opened):
    opened.clear()
    return opened


def facts_of(node_id, doc_id="d1", *names, subjects=(), **more):
    subjects = [Subject(name, 1.0, "title") for name in subjects]
    facts = NodeFacts(node_id, doc_id, entities=list(names), subjects=subjects, **more)
    if facts.spans:
        facts.term_counts = np.full(len(facts.spans), facts.terms.size // len(facts.spans), np.uint16)
        facts.name_counts = np.zeros(len(facts.spans), np.uint16)
    return facts


def test_facts_come_back_in_order_and_whole(store):
    written = facts_of(
        "n1",
        "d1",
        "Acme",
        subjects=["Oslo"],
        spans=[(0, 5)],
        ties=[StructuralTie("n2", "cites", "Figure 1")],
        defines=True,
        terms=np.arange(5, dtype=np.uint32),
    )
    store.put_facts([facts_of("n0"), written])

    (found, other) = store.facts(["n1", "missing", "n0", "n1"])
    assert other.node_id == "n0"
    assert (found.entities, found.subjects, found.ties, found.spans, found.defines) == (
        written.entities,
        written.subjects,
        written.ties,
        written.spans,
        True,
    )
    assert found.terms.tolist() == [0, 1, 2, 3, 4]
    assert found.doc_id == "d1"


def test_many_and_long_facts(store):
    long = facts_of("long", "d1", spans=[(i, i + 1) for i in range(20_000)], terms=np.arange(200_000, dtype=np.uint32))
    store.put_facts([long, *(facts_of(f"n{i}", f"d{i % 10}") for i in range(2500))])

    assert store.facts(["long"])[0].terms.tolist() == long.terms.tolist()
    assert len(list(store.scan_facts())) == 2501
    assert {facts.doc_id for facts in store.scan_facts(["d1", "d2"])} == {"d1", "d2"}
    assert list(store.scan_facts([])) == []
    with pytest.raises(NodeValueError, match="limit"):
        store.put_facts([facts_of("ok", "d1"), facts_of("huge", "d1", "x" * 5_000_000)])
    assert store.facts(["ok"]) == []


def test_facts_written_since(store):
    store.put_facts([facts_of("old")])
    time.sleep(0.01)
    now = int(time.time() * 1000)
    store.put_facts([facts_of("new")])

    assert [facts.node_id for facts in store.scan_facts(since=now)] == ["new"]
    assert len(list(store.scan_facts(since=0))) == 2


def test_names_are_found_however_written(store):
    store.put_facts(
        [facts_of("n1", "d1", "The Beatles"), facts_of("n2", "d2", "beatles", "Paul"), facts_of("n3", "d3")]
    )

    assert store.named(["BEATLES", "nobody", "?"]) == {"BEATLES": ["The Beatles", "beatles"], "nobody": [], "?": []}
    assert store.sources(["Beatles", "Paul"]) == {"Beatles": [("n1", "d1"), ("n2", "d2")], "Paul": [("n2", "d2")]}


def test_what_documents_are_about_are_entities(store):
    store.put_facts([facts_of("n1", "d1", "Bob", subjects=["Oslo"]), facts_of("n2", "d2", subjects=["Oslo"])])
    store.upsert_nodes([EntityNode(name="Oslo", label="CITY", properties={"triplet_source_id": "n9"})])

    assert [node.id for node in store.get()] == ["Oslo"]
    assert store.get(ids=["Oslo"])[0].label == "CITY"
    assert store.sources(["Oslo"])["Oslo"] == [("n1", "d1"), ("n2", "d2"), ("n9", "")]
    store.delete(ids=["n9"])
    assert store.get(ids=["Oslo"])[0].label == "title"
    store.delete_document("d1")
    assert store.sources(["Oslo"])["Oslo"] == [("n2", "d2")]
    store.delete_document("d2")
    assert store.get() == []


def test_facts_of_one_document_written_in_parts(store):
    for node_id in ("n1", "n2"):
        store.put_facts([facts_of(node_id, "d1", subjects=["Oslo"])])
    assert store.sources(["Oslo"])["Oslo"] == [("n1", "d1"), ("n2", "d1")]

    store.delete_facts(["n1"])
    assert store.sources(["Oslo"])["Oslo"] == [("n2", "d1")]
    assert len(store.get(ids=["Oslo"])) == 1
    store.put_facts([facts_of("n2", "d1", subjects=["Bergen"])])
    assert [node.id for node in store.get()] == ["Bergen"]
    store.delete_facts(["n2", "missing"])
    assert store.get() == []


def test_facts_are_triples_to_llamaindex(store):
    store.put_facts(
        [
            facts_of("n1", "d1", "Bob", "Oslo", subjects=["Acme"]),
            facts_of("n2", "d2", "Norway", "acme", subjects=["Oslo"]),
        ]
    )
    store.upsert_relations([Relation(label="OWNS", source_id="Bob", target_id="Acme")])

    def found(triplets):
        return [f"{subject.id} {link.id} {target.id}" for subject, link, target in triplets]

    acme = store.get(ids=["Acme"])
    assert found(store.get_triplets(entity_names=["Acme"])) == [
        "Bob OWNS Acme",
        "Acme MENTIONS Bob",
        "Acme MENTIONS Oslo",
    ]
    assert found(store.get_triplets(ids=["Acme"], relation_names=["MENTIONS"]))[0] == "Acme MENTIONS Bob"
    assert found(store.get_triplets(ids=["Acme"], relation_names=["OWNS"])) == ["Bob OWNS Acme"]
    assert found(store.get_triplets(ids=["Acme"], entity_names=["Bob"])) == ["Bob OWNS Acme"]
    assert found(store.get_rel_map(acme, depth=2))[3:] == ["Oslo MENTIONS Norway", "Oslo MENTIONS acme"]
    assert found(store.get_rel_map(acme, depth=2, limit=2)) == ["Bob OWNS Acme", "Acme MENTIONS Bob"]
    assert found(store.get_rel_map(acme, ignore_rels=["MENTIONS"])) == ["Bob OWNS Acme"]
    (_, link, _) = store.get_triplets(ids=["Oslo"])[0]
    assert link.properties == {"triplet_source_id": "n2", "ref_doc_id": "d2"}


def test_nodes_without_document(store):
    store.put_facts([facts_of("n1", "", subjects=["Oslo"])])

    assert store.sources(["Oslo"])["Oslo"] == [("n1", "")]
    store.delete_llama_nodes(node_ids=["n1"])
    assert store.stats() == {"entities": 0, "chunks": 0, "triples": 0, "nodes": 0}


@pytest.mark.parametrize("nasty", NASTY, ids=ascii)
def test_nasty_ids_and_names(store, nasty):
    store.put_facts([facts_of(nasty, nasty, nasty + " Inc", subjects=["T " + nasty]), facts_of("n1", "d1", "Acme")])

    assert [facts.node_id for facts in store.facts([nasty])] == [nasty]
    assert [facts.node_id for facts in store.scan_facts([nasty])] == [nasty]
    assert store.sources([nasty + " Inc"]) == {nasty + " Inc": [(nasty, nasty)]}
    store.delete_document(nasty)
    assert [facts.node_id for facts in store.scan_facts()] == ["n1"]
    store.put_facts([facts_of(nasty, "d2")])
    store.delete_facts([nasty])
    assert [facts.node_id for facts in store.scan_facts()] == ["n1"]


def test_one_title_everywhere(store):
    """Of 3,000 nodes of one title in one document the entity lists 1,000, and outlives these."""
    store.put_facts([facts_of(f"n{i}", "d1", subjects=["Title"]) for i in range(3000)])

    assert len(store.sources(["Title"])["Title"]) == 3000
    store.delete_facts([f"n{i}" for i in range(1500)])
    assert [node.id for node in store.get()] == ["Title"]
    store.delete_document("d1")
    assert store.get() == []


def test_async_twins(store):
    async def use():
        await store.aput_facts([facts_of("n1", "d1", "Acme"), facts_of("n2", "d2")])
        found = (
            [facts.node_id for facts in await store.afacts(["n2"])],
            len(await store.ascan_facts()),
            await store.anamed(["acme"]),
            await store.asources(["Acme"]),
            (await store.astats())["nodes"],
        )
        before = await store.ageneration()
        await store.adelete_facts(["n1"])
        await store.adelete_document("d2")
        await store.aflush()
        assert await store.ageneration() != before
        left = len(await store.ascan_facts())
        await store.aclear()
        return found, left

    expected = (["n2"], 2, {"acme": ["Acme"]}, {"Acme": [("n1", "d1")]}, 2), 0
    assert asyncio.run(use()) == expected
    assert asyncio.run(use()) == expected


def test_deleting_a_document_takes_no_longer_in_a_larger_store(store):
    """Time goes with the document: the time of 1,000 documents is far from a hundred times that of 10."""

    def seconds(documents):
        store.clear()
        store.put_facts(
            [facts_of(f"n{d}-{i}", f"d{d}", subjects=[f"T{d}"]) for d in range(documents) for i in range(5)]
        )
        store.flush()
        times = []
        for document in range(5):
            start = time.perf_counter()
            store.delete_document(f"d{document}")
            times.append(time.perf_counter() - start)
        assert store.stats()["nodes"] == 5 * (documents - 5)
        return min(times)

    assert seconds(1000) < 20 * seconds(10)
