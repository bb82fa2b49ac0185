from __future__ import annotations

import pytest
from llama_index.core.schema import NodeWithScore, TextNode

from llama_index_raganything.nodes import box_of
from llama_index_raganything.query_engine.citations import (
    MarkerFilter,
    answer_citations,
    cited_numbers,
    supporting_numbers,
    without_markers,
)


def sources(*texts: str) -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=text)) for text in texts]


MARKERS = [
    ("It grew [1].", "It grew [1].", []),
    ("It grew [1, 3] and [2;3].", "It grew [1][3] and [2][3].", []),
    ("It grew [1-3].", "It grew [1][2][3].", []),
    ("增长【2】。", "增长[2]。", []),
    ("It grew [Source 2] and [sources 1, 2] [^3].", "It grew [2] and [1][2] [3].", []),
    ("It grew [9].", "It grew.", [9]),
    ("It grew [1][0].", "It grew [1].", [0]),
    ("It grew [1, 9].", "It grew [1].", [9]),
    ("In [2023] and [sic] and [", "In [2023] and [sic] and [", []),
    ("", "", []),
]


@pytest.mark.parametrize(("given", "expected", "dropped"), MARKERS)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_markers_are_normalised_however_the_text_arrives(given, expected, dropped, size):
    markers = MarkerFilter(3)
    pieces = [markers.feed(given[start : start + size]) for start in range(0, len(given), size)]
    assert "".join([*pieces, markers.close()]) == expected
    assert markers.text == expected
    assert markers.dropped == dropped


def test_only_a_possible_marker_is_held_back():
    markers = MarkerFilter(3)
    assert markers.feed("It grew [") == "It grew"
    assert markers.feed("1") == ""
    assert markers.feed("] a lot") == " [1] a lot"
    assert markers.feed(" [this bracket is too long to be any marker of a source") != ""


def test_numbers_in_order_of_appearance():
    assert cited_numbers("B [2]. A [1][2]. C [3]") == [2, 1, 3]


def test_each_citation_quotes_the_sentence_nearest_to_its_claim():
    nodes = sources(
        "The pump is blue. The pump delivers 4.2 litres. It was sold in May.", "Valves open at two bar. Tea is nice."
    )
    first, second = answer_citations("It gives 4.2 litres [1]. The valves open at two bar [2].", nodes)
    assert first["quote"] == "The pump delivers 4.2 litres."
    assert second["quote"] == "Valves open at two bar."


def test_two_markers_after_one_claim_share_it():
    nodes = sources("Tea is nice. It gives 4.2 litres.", "Cake is nice. They say 4.2 litres.")
    assert [c["quote"] for c in answer_citations("It gives 4.2 litres [1][2].", nodes)] == [
        "It gives 4.2 litres.",
        "They say 4.2 litres.",
    ]


def test_a_citation_of_a_bare_node_says_none_where_it_does_not_know():
    (citation,) = answer_citations("Yes [1].", sources("Yes."))
    assert citation["page"] is citation["bbox"] is citation["asset"] is citation["doc_id"] is None


def test_an_answer_without_markers_is_given_the_source_that_supports_it():
    nodes = sources("Tea is nice.", "The pump delivers 4.2 litres per minute.")
    assert supporting_numbers("The pump delivers 4.2 litres.", nodes) == [2]
    assert supporting_numbers("The moon is made of green cheese.", nodes) == []
    assert supporting_numbers("", nodes) == []
    assert supporting_numbers("Anything", []) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("[1,2,3,4]", (1, 2, 3, 4)),
        ([1.0, 2, 3, 4], (1, 2, 3, 4)),
        (None, None),
        ("nonsense", None),
        ("[1,2]", None),
        ({"a": 1}, None),
        ('["a","b","c","d"]', None),
        ("", None),
    ],
)
def test_boxes(value, expected):
    assert box_of(value) == expected


def test_a_sources_own_brackets_cannot_be_taken_for_citations():
    assert without_markers("as shown in [3, 4] and [a] [2023]") == "as shown in (3, 4) and [a] [2023]"


def test_the_element_with_the_numbers_of_a_claim_outweighs_one_with_the_words_around_them():
    summary = TextNode(
        text="In the year the company earned 142.7 million EUR.",
        metadata={"content_type": "text", "bbox": "[1,2,3,4]"},
    )
    table = TextNode(
        text="| Region | Year |\n| --- | --- |\n| Sweden | 29.4 |\n| Norway | 30.1 |",
        metadata={"content_type": "table", "bbox": "[5,6,7,8]"},
    )
    page = TextNode(text=f"{summary.text}\n\n{table.text}", metadata={"content_type": "page", "page": 1})
    answer = "Sweden earned 29.4 million EUR in the year [1]."
    (found,) = answer_citations(answer, [NodeWithScore(node=page)], {1: [summary, table]})
    assert (found["bbox"], "29.4" in found["quote"]) == ([5, 6, 7, 8], True)
