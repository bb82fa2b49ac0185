"""The elements on the pages of results, read from the store beside them."""

from llama_index.core.schema import NodeWithScore
from llama_index.core.storage.docstore import SimpleDocumentStore

from llama_index_raganything import RAGAnythingNodeParser, elements_to_document
from llama_index_raganything.elements import Element
from llama_index_raganything.nodes import NodeView, elements_beside, elements_on_pages

TABLE = [["Pump", "Litres"], ["A", "4.2"]]


def pages(count):
    elements = [
        Element(type=kind, page=page, text=f"{kind} {page}", rows=TABLE if kind == "table" else None)
        for page in range(1, count + 1)
        for kind in ("page", "text", "table")
    ]
    nodes = RAGAnythingNodeParser().get_nodes_from_documents([elements_to_document(elements, source="/data/a.pdf")])
    store = SimpleDocumentStore()
    store.add_documents(nodes)
    return store, nodes


def test_what_stands_beside_results_is_read_of_the_first_three_pages():
    store, nodes = pages(4)
    results = [NodeWithScore(node=node) for node in nodes if node.metadata["content_type"] == "text"]
    assert [scored.node.metadata["page"] for scored in results] == [1, 2, 3, 4]
    found = elements_beside(store, results)
    assert [(index, node.metadata["content_type"], node.metadata["page"]) for index, node in found] == [
        (0, "table", 1),
        (1, "table", 2),
        (2, "table", 3),
    ]
    assert elements_beside(None, results) == []


def test_a_page_has_all_its_elements_and_an_element_those_that_are_not_cited():
    store, nodes = pages(1)
    page = next(node for node in nodes if NodeView(node).is_page)
    text, table = (node for node in nodes if NodeView(node).page_node_id == page.node_id)
    cited = {1: NodeWithScore(node=page), 2: NodeWithScore(node=text)}
    found = elements_on_pages(store, cited)
    assert {number: [node.node_id for node in near] for number, near in found.items()} == {
        1: [text.node_id, table.node_id],
        2: [table.node_id],
    }
