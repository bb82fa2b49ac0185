"""The surroundings of an element that a model is shown."""

import json

import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

from llama_index_raganything.enrich.describers.context import PieceTokenizer
from llama_index_raganything.enrich.describers.equation import EquationDescriber
from llama_index_raganything.testing import ScriptedChatLLM

REPLY = json.dumps(
    {"detailed_description": "d", "entity_info": {"entity_name": "n", "entity_type": "t", "summary": "s"}}
)


def node(text, kind="text", page=1, **metadata):
    known = {"doc_id": "d", "content_type": kind, "page": page} | metadata
    return TextNode(text=text, metadata={key: value for key, value in known.items() if value is not None})


def context_of(nodes, **settings):
    """Return what a describer shows as context of the first equation."""
    llm = ScriptedChatLLM(replies=[REPLY])
    prompts = {"equation_prompt": "none", "equation_prompt_with_context": "{context}"}
    EquationDescriber(llm=llm, prompts=prompts, workers=1, **settings).process(nodes)
    return llm.requests[0][-1].blocks[0].text


EQUATION = node("$$\nx\n$$", "equation", 3)


def test_text_of_its_page_and_of_those_beside_it():
    nodes = [*(node(f"p{page}", page=page) for page in (1, 2, 3)), EQUATION, *(node(f"p{n}", page=n) for n in (4, 5))]
    assert context_of(nodes) == "[Page 1] p2\np3\n[Page 3] p4"
    assert context_of(nodes, context_window=0) == "p3"
    assert context_of(nodes, context_window=2).count("\n") == 4
    assert context_of(nodes, max_context_tokens=0) == "none"


def test_nodes_around_it_in_chunk_mode():
    nodes = [node("a"), node("b"), EQUATION, node("c"), node("d")]
    assert context_of(nodes, context_mode="chunk") == "b\nc"
    assert context_of(nodes, context_mode="chunk", context_window=2) == "a\nb\nc\nd"
    assert context_of(nodes, context_mode="chunk", context_window=0) == "none"


def test_without_pages_what_is_near_and_not_how_the_document_begins():
    nodes = [
        *(node(f"a{number}", page=None) for number in range(50)),
        node("$$\nx\n$$", "equation", None),
        node("z", page=None),
    ]
    assert context_of(nodes) == "a47\na48\na49\nz"
    assert context_of(nodes, context_window=0) == "none"
    assert context_of([nodes[0], node("T", "table", None), nodes[-2]]) == "a0"


def test_captions_where_they_are_asked_for():
    nodes = [
        node("T", "table", 3, caption="Table 1: Sales"),
        node("F", "image", 3, caption="Figure 1"),
        node("t", page=3),
        EQUATION,
    ]
    assert context_of(nodes) == "t"
    kinds = ("text", "table", "image")
    assert context_of(nodes, context_filter_content_types=kinds) == "[Table: Table 1: Sales]\n[Image: Figure 1]\nt"
    assert context_of(nodes, context_filter_content_types=kinds, include_captions=False) == "t"


def test_headings_are_marked():
    nodes = [node("Results\n\nWe grew.", page=3, section="Report > Results"), EQUATION]
    assert context_of(nodes) == "## Results\n\nWe grew."
    assert context_of(nodes, include_headers=False) == "Results\n\nWe grew."


def test_the_budget_goes_to_what_is_nearest():
    before = [node(f"before{number} " + "w " * 50, page=2) for number in range(40)]
    nodes = [*before, node("just before", page=3), EQUATION, node("just after", page=3), node("w " * 5000, page=4)]
    shown = context_of(nodes, max_context_tokens=500)
    assert "just before\njust after" in shown
    assert "before39" in shown
    assert "before20" not in shown
    assert len(PieceTokenizer().encode(shown)) <= 520


def test_one_long_paragraph_just_before_it_is_shown_as_far_as_it_goes():
    nodes = [node("start " + "w " * 5000, page=3), EQUATION]
    assert context_of(nodes, max_context_tokens=100).startswith("start w w")
    assert len(PieceTokenizer().encode(context_of(nodes, max_context_tokens=100))) <= 110


def test_pages_speak_only_where_they_have_no_elements():
    page = node("whole page", "page", 3)
    page.relationships[NodeRelationship.CHILD] = [RelatedNodeInfo(node_id="x")]
    assert context_of([page, node("t", page=3), EQUATION]) == "t"
    assert context_of([node("whole page", "page", 2), EQUATION]) == "[Page 1] whole page"


def test_other_documents_are_not_shown():
    assert context_of([node("secret", page=3, doc_id="e"), EQUATION]) == "none"


@pytest.mark.parametrize("text", ["", "one two", "混合 text 文本", "a" * 1000, "line\n\n  two\tthree", "\U0001f600 ok"])
def test_the_tokenizer_joins_what_it_cuts(text):
    tokenizer = PieceTokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_long_document_takes_linear_time():
    import time

    nodes = [node(f"word{number} " * 50, page=number // 5 + 1) for number in range(3000)]
    nodes += [node(f"$$\n{number}\n$$", "equation", number + 1, element_id=str(number)) for number in range(300)]
    describer = EquationDescriber(llm=ScriptedChatLLM(replies=[REPLY]), workers=2)
    started = time.process_time()
    assert describer.process(nodes).failures == []
    assert time.process_time() - started < 10
