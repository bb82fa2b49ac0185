"""Entities, facts and links from nodes: what counts as one, in PropertyGraphIndex, and from hostile texts."""

import asyncio
import time
from dataclasses import dataclass

import numpy as np
import pytest
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.graph_stores import SimplePropertyGraphStore
from llama_index.core.graph_stores.types import KG_NODES_KEY, KG_RELATIONS_KEY
from llama_index.core.indices.property_graph import PropertyGraphIndex
from llama_index.core.llms import MockLLM
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

from llama_index_raganything.graph.extraction.entity_linker import MAX_NODES_OF_A_TITLE, EntityLinker
from llama_index_raganything.graph.facts import WHOLE, hash_names
from llama_index_raganything.graph.mirror import GraphMirror
from llama_index_raganything.graph.walk import LinkBeam


def node(text, name="n", **metadata):
    return TextNode(id_=name, text=text, metadata={"doc_id": "d", **metadata})


def facts_of(text, **metadata):
    return EntityLinker().extract([node(text, **metadata)])[0]


@dataclass
class Span:
    start: int
    end: int
    label: str = ""


class Fake:
    """A recogniser that finds one word."""

    def __init__(self, word):
        self.word = word

    def recognize(self, texts):
        places = [text.find(self.word) for text in texts]
        return [[Span(place, place + len(self.word))] if place >= 0 else [] for place in places]


@pytest.mark.parametrize("text", ["", " ", "...", "nothing here has a name.", "\0\x01\x02", "\ud800\udfff", "🙂"])
def test_a_text_without_a_name_has_no_entity(text):
    facts = facts_of(text)
    assert facts.entities == []
    assert list(facts.entity_names()) == []


@pytest.mark.parametrize(
    "text",
    ["A" * 10_000_000, "王小明是北京大学的教授" * 300_000, "." * 2_000_000, "Ab " * 300_000, "\0" * 1_000_000],
    ids=["one word", "chinese", "dots", "capitals", "control characters"],
)
def test_an_endless_text_takes_bounded_time(text):
    start = time.process_time()
    facts_of(text)
    assert time.process_time() - start < 10


def test_a_node_without_a_document_has_none():
    assert EntityLinker().extract([TextNode(id_="n", text="Ada Lovelace.")])[0].doc_id == ""


def test_a_page_whose_elements_are_nodes_is_left_out():
    page = node("Ada Lovelace.", "page", content_type="page")
    page.relationships[NodeRelationship.CHILD] = [RelatedNodeInfo(node_id="n")]
    assert [facts.node_id for facts in EntityLinker().extract([page, node("Ada Lovelace.")])] == ["n"]


def test_rows_of_a_table_are_facts():
    table = facts_of("Name | Born\nAda Lovelace | 1815\n--- | ---\nCharles Babbage | 1791", content_type="table")
    assert len(table.spans) == 3


def test_a_label_is_a_subject_but_no_title_for_other_texts():
    facts = facts_of("words", label="Table 1", content_type="table")
    assert [(item.name, item.kind) for item in facts.subjects] == [("Table 1", "label")]
    assert facts.subject_names.size == 0


@pytest.mark.parametrize("count", [MAX_NODES_OF_A_TITLE, MAX_NODES_OF_A_TITLE + 1])
def test_the_title_of_a_long_document_is_that_of_its_first_node(count):
    found = EntityLinker(pseudo_titles=False).extract(
        [node("words", f"n{number}", title="Annual Report") for number in range(count)]
    )
    titled = [facts.node_id for facts in found if facts.subjects]
    assert len(titled) == (count if count <= MAX_NODES_OF_A_TITLE else 1)
    assert titled[0] == "n0"


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("3.1 Revenue by region", "Revenue by region"),
        ("A > 2. Engines", "Engines"),
        ("Introduction", None),
        ("4", None),
    ],
)
def test_headings_are_subjects_without_their_number(section, expected):
    subjects = EntityLinker(pseudo_titles=False).extract([node("words", section=section)])[0].subjects
    assert [item.name for item in subjects] == ([expected] if expected else [])


def test_twenty_thousand_nodes_of_one_title_take_linear_time_and_the_walk_stays_short():
    start = time.process_time()
    nodes = [node(f"Number {i} of it.", f"n{i}", title="Annual Report", doc_id=f"d{i}") for i in range(20_000)]
    mirror = GraphMirror()
    mirror.add(EntityLinker().extract(nodes))
    mirror.settle()
    assert time.process_time() - start < 20
    seconds, walks = zip(*(timed_walk(mirror) for _ in range(5)), strict=True)
    assert len(walks[0].rows) <= 100
    assert min(seconds) < 0.05


def timed_walk(mirror):
    start = time.process_time()
    run = LinkBeam(mirror, "Which number has the Annual Report?", ["number", "report"], np.arange(100)).run()
    try:
        rows = next(run)
        while True:
            rows = run.send(np.ones(len(rows), bool))
    except StopIteration as stop:
        return time.process_time() - start, stop.value


def test_a_recogniser_adds_names_and_marks_them_at_the_beginning_too():
    text = "siemens builds trains."
    facts = EntityLinker(recognizer=Fake("siemens")).extract([node(text)])[0]
    assert facts.entities == ["siemens"]
    assert hash_names(["siemens"])[0] in facts.names
    assert facts.skips[0] & WHOLE
    assert facts_of(text).entities == []


def test_settings_come_back_without_the_recogniser():
    linker = EntityLinker(recognizer=Fake("x"), pseudo_titles=False, max_relations_per_node=3)
    assert "recognizer" not in linker.to_dict()
    again = EntityLinker.from_dict(linker.to_dict())
    assert (again.pseudo_titles, again.max_relations_per_node, again.recognizer) == (False, 3, None)


def test_equal_ids_give_one_record():
    assert len(EntityLinker().extract([node("Ada Lovelace."), node("Lord Byron.")])) == 1


def test_it_extracts_for_a_property_graph_index_and_leaves_nothing_in_the_nodes():
    page = node("A page.", "page", content_type="page")
    page.relationships[NodeRelationship.CHILD] = [RelatedNodeInfo(node_id="a")]
    nodes = [
        page,
        node('The "Engine" was built by Ada Lovelace.', "a", title='The "Engine" of 1843'),
        node("It had met, as they say, late in the day, Charles Babbage.", "b", doc_id="e"),
        node("words", "c", doc_id="f", label="Table 1"),
    ]
    store = SimplePropertyGraphStore()
    index = PropertyGraphIndex(
        nodes, kg_extractors=[EntityLinker()], property_graph_store=store, llm=MockLLM(),
        embed_model=MockEmbedding(4), embed_kg_nodes=False, use_async=False,
    )  # fmt: skip
    triplets = index.property_graph_store.get_triplets(relation_names=["MENTIONS"])
    assert any(target.name == "Ada Lovelace" for _, _, target in triplets)
    assert "Table 1" not in store.graph.nodes
    assert not any({KG_NODES_KEY, KG_RELATIONS_KEY} & set(item.metadata) for item in nodes)


async def test_the_event_loop_runs_on_meanwhile():
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.005)

    ticker = asyncio.create_task(tick())
    await EntityLinker().acall([node("Ada Lovelace met Charles Babbage. " * 1500)])
    ticker.cancel()
    assert ticks >= 3
