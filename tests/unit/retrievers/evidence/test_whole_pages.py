"""Whole pages and whole tables in place of the parts that were found."""

import pytest
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters

from llama_index_raganything import (
    EvidenceRetriever,
    MilvusNodeStore,
    NodeRetriever,
    RAGAnythingNodeParser,
    WordLlamaEmbedding,
    elements_to_document,
)
from llama_index_raganything.elements import EVIDENCE_KEY, GRAPH_PATH_KEY, Element
from llama_index_raganything.retrievers.evidence import pages as whole
from llama_index_raganything.retrievers.evidence.pages import MAX_TABLE_CHARS
from llama_index_raganything.tables.pipe_tables import join_table_parts

MODEL = WordLlamaEmbedding()
ROWS = [["Mill", "Output"], *([f"Mill {number}", f"{number * 7} tonnes of flour"] for number in range(1, 41))]


def stored(path, *documents, **options):
    store = MilvusNodeStore(uri=str(path / "a.db"), dim=MODEL.dimension)
    parser = RAGAnythingNodeParser(table_chunk_size=80, **options)
    nodes = parser.get_nodes_from_documents(list(documents))
    for node in nodes:
        node.embedding = MODEL.get_text_embedding(node.get_content())
    store.add(nodes)
    return store, nodes


def report(rows=ROWS, before="All figures are in thousand tonnes."):
    elements = [
        Element(type="heading", text="Output", level=1),
        Element(type="text", text=before),
        Element(type="table", caption="Table 1: Output of the mills", rows=rows),
        Element(type="text", text="The mills are old."),
    ]
    return elements_to_document(elements, source="/data/mills.docx")


def test_a_table_without_a_page_comes_whole_with_the_text_before_it(tmp_path):
    store, nodes = stored(tmp_path, report())
    parts = [node for node in nodes if node.metadata["content_type"] == "table"]
    assert len(parts) > 3
    for retriever in (NodeRetriever(store, MODEL, 1), EvidenceRetriever(store, None, MODEL, 1)):
        (found,) = retriever.retrieve("What was the output of Mill 33?")
        text = found.node.get_content()
        assert found.node.node_id in {part.node_id for part in parts}
        assert text.count("Table 1: Output of the mills") == 1
        assert [f"| Mill {number} | {number * 7} tonnes of flour |" in text for number in range(1, 41)] == [True] * 40
        assert "All figures are in thousand tonnes." in text


def test_the_text_of_another_section_does_not_come_with_a_table(tmp_path):
    elements = [
        Element(type="heading", text="Weather", level=1),
        Element(type="text", text="It rained in May."),
        Element(type="heading", text="Output", level=1),
        Element(type="table", caption="Table 1: Output of the mills", rows=ROWS),
    ]
    store, _ = stored(tmp_path, elements_to_document(elements, source="/data/mills.docx"))
    (found,) = NodeRetriever(store, MODEL, 1).retrieve("What was the output of Mill 33?")
    assert "Mill 1 |" in found.node.get_content()
    assert "It rained" not in found.node.get_content()


def test_parts_of_one_table_take_one_place(tmp_path):
    store, nodes = stored(tmp_path, report())
    found = NodeRetriever(store, MODEL, 5).retrieve("output of the mills in tonnes of flour")
    assert sum(item.node.metadata["content_type"] == "table" for item in found) == 1
    parts = NodeRetriever(store, MODEL, 5, returns="elements").retrieve("output of the mills in tonnes of flour")
    by_id = {node.node_id: node.get_content() for node in nodes}
    assert all(item.node.get_content() == by_id[item.node.node_id] for item in parts)


def test_the_text_before_a_table_is_not_given_twice(tmp_path):
    store, _ = stored(tmp_path, report())
    found = NodeRetriever(store, MODEL, 5).retrieve("Which figures are in thousand tonnes of output?")
    assert sum(item.node.get_content().count("All figures are in thousand tonnes.") for item in found) == 1


def test_a_table_that_is_too_long_comes_in_the_parts_found(tmp_path):
    rows = [ROWS[0], *([f"Mill {number}", "flour " * 12] for number in range(MAX_TABLE_CHARS // 60))]
    store, nodes = stored(tmp_path, report(rows))
    by_id = {node.node_id: node.get_content() for node in nodes}
    (found,) = NodeRetriever(store, MODEL, 1).retrieve("Mill 33 flour")
    assert found.node.get_content() == by_id[found.node.node_id]


def test_every_part_passes_the_filters(tmp_path):
    store, _ = stored(tmp_path, report())
    only = MetadataFilters(filters=[MetadataFilter(key="doc_id", value="another")])
    assert NodeRetriever(store, MODEL, 5, only).retrieve("output") == []
    tables = MetadataFilters(filters=[MetadataFilter(key="content_type", value="table")])
    (found,) = NodeRetriever(store, MODEL, 5, tables).retrieve("output of Mill 33")
    # The text before it is no table.
    assert "All figures" not in found.node.get_content()


def test_a_page_keeps_the_account_of_its_element_and_hides_it_from_models():
    account = {EVIDENCE_KEY: "{}", GRAPH_PATH_KEY: "[]"}
    page = whole._with_account(TextNode(text="page"), TextNode(text="element", metadata=account | {"label": "x"}))
    assert page.metadata == account
    assert set(account) <= set(page.excluded_llm_metadata_keys) & set(page.excluded_embed_metadata_keys)


@pytest.mark.parametrize("ordered", [True, False])
def test_joining_keeps_every_row_and_says_the_rest_once(ordered):
    head = "Table 1\n\n| A | B |\n| --- | --- |\n"
    parts = [f"{head}| 1 | x |\n| total | 9 |\n\nNote a.", f"{head}| 2 | y |\n| total | 9 |\n\nNote a."]
    joined = join_table_parts(parts if ordered else parts[::-1])
    assert joined.count("| total | 9 |") == 2
    assert joined.count("Note a.") == joined.count("| A | B |") == joined.count("Table 1") == 1


def test_texts_that_are_no_markdown_tables_are_joined_as_they_are():
    assert join_table_parts(["a b", "c d", "a b"]) == "a b\n\nc d"
    assert join_table_parts(["a"]) == "a"
    assert join_table_parts([]) == ""
