"""What source nodes carry from answer to answer."""

from llama_index.core.base.response.schema import Response
from llama_index.core.schema import NodeWithScore, TextNode

from llama_index_raganything import citations_of
from llama_index_raganything.elements import CITED_KEY
from llama_index_raganything.query_engine.citations import attach_citations, citable_copies, citation


def test_what_a_former_answer_cited_is_not_taken_for_cited_by_the_next():
    found = [NodeWithScore(node=TextNode(text="Tea.", metadata={"doc_id": "d"}))]
    first = citable_copies(found)
    attach_citations(first, [citation(1, first[0], "Tea.")], "Tea [1].")
    assert [each.quote for each in citations_of(Response("Tea.", source_nodes=first))] == ["Tea."]
    assert CITED_KEY not in found[0].node.metadata
    second = citable_copies(first)
    attach_citations(second, [], "Nobody knows.")
    assert citations_of(Response("Nobody knows.", source_nodes=second)) == []
