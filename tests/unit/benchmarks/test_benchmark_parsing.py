"""The parsing benchmark's own arithmetic: what counts as a word, a cell, a heading."""

from __future__ import annotations

from collections import Counter

from benchmarks.parsing import clean_markdown, element_texts, expected_cells, expected_headings, recall, words
from llama_index_raganything.elements import Element


def test_markup_counts_as_nothing() -> None:
    text = clean_markdown(
        "<!-- image -->\n**Bold** [link](http://x.example) ![alt](a.png) A &amp; B &lt;c&gt; 1\\_2 <br>"
    )
    assert words(text) == Counter(["bold", "link", "alt", "a", "b", "c", "1", "2"])


def test_words_are_folded_and_counted() -> None:
    assert words("ＡＢＣ abc Straße 数据")["abc"] == 2
    assert recall(Counter("aab"), Counter("ab")) == 2 / 3
    assert recall(Counter(), Counter()) == 1.0


def test_cells_and_headings() -> None:
    markdown = "# Head *line*\n\n| A b | c \\| d |\n|---|---|\n| 1 |  |\n\nno | cell\n"
    assert expected_cells(markdown) == Counter({"ab": 1, "cd": 1, "1": 1})
    assert expected_headings(markdown) == Counter({"headline": 1})


def test_page_text_does_not_count_twice() -> None:
    elements = [
        Element(type="page", text="one two two", page=1),
        Element(type="heading", text="One", page=1, level=1),
        Element(type="table", text="| two |", rows=[["two"]], caption="three", page=1),
    ]
    found, cells, headings = element_texts(elements)
    assert found == Counter({"one": 1, "two": 2, "three": 1})
    assert cells == Counter({"two": 1, "three": 1})
    assert headings == Counter({"one": 1})
