"""What the default retriever returns, over a real Milvus Lite and the nodes of our own parser."""

import json

import pytest
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters, VectorStoreQuery

from llama_index_raganything.documents.packing import elements_to_document
from llama_index_raganything.elements import Element
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.node_parser.parser import RAGAnythingNodeParser
from llama_index_raganything.ranking.evidence_ranker import read_evidence
from llama_index_raganything.retrievers.evidence.candidates import NodeMemory, result_of
from llama_index_raganything.retrievers.evidence.pages import NodeRetriever
from llama_index_raganything.retrievers.steps import Fetch
from llama_index_raganything.stores.nodes.store import MilvusNodeStore
from llama_index_raganything.testing import HashEmbedding

MODEL = HashEmbedding()


def report(extra=""):
    elements = []
    for page, (words, caption) in enumerate(
        [("Pumps move water.", ""), ("Sales grew in the north.", "Figure 1: Sales by region"), ("Closing words.", "")],
        1,
    ):
        text = f"{words} {extra}".strip()
        elements.append(Element(type="page", page=page, text=f"{text}\n{caption}"))
        elements.append(Element(type="text", page=page, text=text, bbox=(0, 0, 1000, 100)))
        if caption:
            elements.append(
                Element(type="image", page=page, caption=caption, label="Figure 1", bbox=(0, 200, 1000, 700))
            )
    elements.append(Element(type="page", page=4, text="A scanned page about glaciers, without any element."))
    return elements_to_document(elements, source="report.pdf")


def memo():
    texts = ["Coffee is in the kitchen.", "The glacier meeting is on Monday."]
    return elements_to_document([Element(type="text", text=text) for text in texts], source="memo.md")


def embedded(*documents):
    nodes = RAGAnythingNodeParser(chunk_size=64, chunk_overlap=0).get_nodes_from_documents(list(documents))
    for node in nodes:
        node.embedding = MODEL.get_text_embedding(node.get_content(metadata_mode=MetadataMode.NONE))
    return nodes


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return str(tmp_path_factory.mktemp("milvus") / "milvus.db")


@pytest.fixture(scope="module")
def store(uri):
    with MilvusNodeStore(uri, "nodes", MODEL.dimension) as opened:
        opened.add(embedded(report(), memo()))
        opened.flush()
        yield opened


def ask(store, question, **options) -> list[NodeWithScore]:
    return NodeRetriever(store, MODEL, **options).retrieve(question)


def test_of_a_page_its_best_element_is_returned_with_a_box(store):
    best = ask(store, "What does Figure 1 show?", returns="elements")[0].node
    assert (best.metadata["content_type"], json.loads(best.metadata["bbox"])) == ("image", [0, 200, 1000, 700])
    assert read_evidence(best)["label"] > 0


def test_kinds_that_the_question_names_are_preferred_on_a_page(store):
    assert ask(store, "Which chart shows sales?", returns="elements")[0].node.metadata["content_type"] == "image"
    assert (
        ask(store, "Where did sales grow in the north?", returns="elements")[0].node.metadata["content_type"] == "text"
    )


def test_a_page_without_elements_and_a_document_without_pages_answer_themselves(store):
    kinds = {item.node.metadata["content_type"]: item for item in ask(store, "glacier")[:2]}
    assert "bbox" not in kinds["page"].node.metadata
    assert kinds["text"].node.metadata["file_name"] == "memo.md"


def test_every_page_has_its_turn_before_a_page_has_a_second(store):
    items = ask(store, "pumps, sales and closing words", similarity_top_k=10, returns="elements")
    in_report = [item.node for item in items if item.node.metadata["file_name"] == "report.pdf"]
    pages = [node.metadata["page"] for node in in_report]
    assert sorted(pages) == [1, 2, 2, 3, 4]
    assert len(set(pages[:4])) == 4
    twice = ask(store, "sales figure", similarity_top_k=2, elements_per_page=2, returns="elements")
    assert [item.node.metadata["page"] for item in twice] == [2, 2]


def test_pages_that_no_search_finds_are_looked_up(store):
    only_report = MetadataFilters(filters=[MetadataFilter(key="file_name", value="report.pdf")])
    options = {"filters": only_report, "candidates": 1}
    assert ask(store, "What does page 3 say?", **options)[0].node.metadata["page"] == 3
    assert ask(store, "What is on the last page?", **options)[0].node.metadata["page"] == 4


def test_results_carry_no_vectors_and_are_whole_nodes(store):
    best = ask(store, "coffee")[0].node
    assert best.embedding is None
    assert "Coffee is in the kitchen." in best.text
    assert best.ref_doc_id == best.metadata["doc_id"]


def test_searches_can_be_left_out(store):
    assert ask(store, "kitchen", modes=["text_search"])[0].node.metadata["file_name"] == "memo.md"
    assert ask(store, "kitchen", modes=["default"])[0].node.metadata["file_name"] == "memo.md"
    assert NodeRetriever(store, None, modes=["text_search"]).retrieve("kitchen")
    assert ask(store, "kitchen", modes=["hybrid"])[0].node.metadata["file_name"] == "memo.md"


@pytest.mark.parametrize(
    "options",
    [
        {"modes": []},
        {"modes": ["psychic"]},
        {"similarity_top_k": 0},
        {"candidates": 0},
        {"elements_per_page": 0, "returns": "elements"},
        {"elements_per_page": 2},
        {"returns": "chapters"},
    ],
)
def test_arguments_that_cannot_work(store, options):
    with pytest.raises(ConfigurationError):
        NodeRetriever(store, MODEL, **options)


def test_a_store_without_text_is_refused():
    with pytest.raises(ConfigurationError, match="keeps no text"):
        NodeRetriever(SimpleVectorStore(), MODEL)


def test_what_changed_in_the_store_is_noticed(uri):
    memory = NodeMemory()
    with MilvusNodeStore(uri, "changing", MODEL.dimension) as store:
        store.add(embedded(report()))
        first = ask(store, "sales in the north", memory=memory)[0].node
        store.delete(first.ref_doc_id)
        assert ask(store, "sales in the north", memory=memory) == []
        document = report("Revised edition.")
        store.add(embedded(document))
        again = ask(store, "sales in the north", memory=memory)
        assert again[0].node.metadata["page"] == 2
        assert "Revised edition." in again[0].node.text
        # The page stays, but its elements go: what is remembered of the page is out of date.
        children = [item.node.node_id for item in again if item.node.metadata["content_type"] != "page"]
        store.delete_nodes(children)
        assert ask(store, "sales in the north", memory=memory)


def test_nodes_of_other_parsers_rank_by_themselves(uri):
    with MilvusNodeStore(uri, "foreign", MODEL.dimension) as store:
        nodes = [TextNode(id_=f"n{i}", text=text) for i, text in enumerate(["red apples", "green pears", "blue plums"])]
        for node in nodes:
            node.embedding = MODEL.get_text_embedding(node.text)
        store.add(nodes)
        assert ask(store, "green pears")[0].node.node_id == "n1"
        nodes[1].text, nodes[2].text = "sour lemons", "green pears"
        store.add(nodes)
        assert ask(store, "green pears")[0].node.node_id == "n2"


@pytest.mark.parametrize("mode", ["default", "text_search", "hybrid"])
def test_a_store_asked_for_no_fields_gives_the_same_ids_without_nodes(store, mode):
    query = {"query_str": "glacier", "query_embedding": MODEL.get_text_embedding("glacier"), "similarity_top_k": 3}
    whole = store.query(VectorStoreQuery(mode=mode, **query))
    bare = store.query(VectorStoreQuery(mode=mode, output_fields=[], **query))
    assert not bare.nodes
    assert bare.ids == whole.ids != []
    assert bare.similarities == pytest.approx(whole.similarities)


def test_a_second_question_reads_only_what_it_returns(store):
    memory = NodeMemory()
    retriever = NodeRetriever(store, MODEL, memory=memory, similarity_top_k=2)
    first = retriever.retrieve("sales in the north")
    known = len(memory)
    read = []
    fetch = retriever._answer
    retriever._answer = lambda request: read.append(request) or fetch(request)
    second = retriever.retrieve("sales in the north")
    fetched = [request.node_ids for request in read if isinstance(request, Fetch)]
    assert fetched == [[item.node.node_id for item in second]]
    assert [item.node.node_id for item in first] == [item.node.node_id for item in second]
    assert len(memory) == known > 2


@pytest.mark.parametrize(("label", "shown"), [("7", False), ("vii", True)])
def test_a_printed_number_is_shown_where_it_says_more_than_the_page(label, shown):
    node = TextNode(text="Tea.", metadata={"page": 7, "page_label": label})
    text = result_of(node, {}, 0.5).node.get_content(metadata_mode=MetadataMode.LLM)
    assert ("page: 7" in text, f"page_label: {label}" in text) == (True, shown)
