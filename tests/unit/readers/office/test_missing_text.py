"""The union of a parser's elements with a file's own paragraphs."""

from __future__ import annotations

from llama_index_raganything.elements import Element
from llama_index_raganything.readers.office.missing_text import SourceParagraph, add_missing


def texts(elements: list[Element]) -> list[str]:
    return [element.text for element in elements]


def test_missing_paragraph_goes_after_its_predecessor() -> None:
    elements = [Element(type="text", text="first one"), Element(type="text", text="third one")]
    source = [SourceParagraph.of("First  one"), SourceParagraph.of("the lost second"), SourceParagraph.of("third one")]
    assert texts(add_missing(elements, source)) == ["first one", "the lost second", "third one"]


def test_nothing_is_added_twice() -> None:
    elements = [Element(type="list", text="- alpha beta\n- gamma delta")]
    source = [
        SourceParagraph.of("alpha beta"),
        SourceParagraph.of("gamma delta"),
        SourceParagraph.of("新的 段落"),
        SourceParagraph.of("新的 段落"),
    ]
    assert texts(add_missing(elements, source)) == ["- alpha beta\n- gamma delta", "新的 段落"]


def test_paragraph_with_a_formula_inside_counts_as_present() -> None:
    elements = [Element(type="text", text="the energy $E=mc^2$ of a body at rest is large")]
    assert len(add_missing(elements, [SourceParagraph.of("the energy of a body at rest is large")])) == 1


def test_words_in_captions_and_cells_count() -> None:
    elements = [Element(type="table", text="| a cell |", caption="My caption")]
    assert len(add_missing(elements, [SourceParagraph.of("a cell"), SourceParagraph.of("my caption")])) == 1


def test_comment_without_place_goes_last_and_keeps_its_author() -> None:
    elements = [Element(type="text", text="body")]
    result = add_missing(elements, [SourceParagraph.of("why so?", "comment", page=2, prefix="Comment by Ana: ")])
    assert texts(result) == ["body", "Comment by Ana: why so?"]
    assert result[1].page == 2


def test_no_elements_and_no_ground() -> None:
    assert add_missing([], []) == []
    assert texts(add_missing([], [SourceParagraph.of("alone"), SourceParagraph.of(" … ")])) == ["alone"]
    assert texts(add_missing([], [SourceParagraph.of("aside", "comment")])) == ["aside"]


def test_headers_become_furniture() -> None:
    assert SourceParagraph.of("Page head", "header").element.type == "furniture"
