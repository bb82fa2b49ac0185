from __future__ import annotations

import pytest

from llama_index_raganything.elements import Element
from llama_index_raganything.readers.common.layout import Line
from llama_index_raganything.readers.engines.docvortex import (
    attach_loose_captions,
    blocks_to_elements,
    deepen_headings,
    inline_text,
    numbered_level,
    to_box,
)
from llama_index_raganything.readers.pdf.parser import joined_text, place_lines, with_lost_words
from llama_index_raganything.readers.pdf.text import PageText


def words(text):
    return [{"type": "text", "content": text}]


def one(block, **options):
    (element,) = blocks_to_elements([block], page=3, **options)
    return element


def test_titles_become_headings():
    element = one({"type": "paragraph_title", "content": words("Methods"), "level": 2, "bbox": [0.1, 0.2, 0.3, 0.4]})
    assert (element.type, element.text, element.level, element.page) == ("heading", "Methods", 2, 3)
    assert element.bbox == (100, 200, 300, 400)
    assert one({"type": "doc_title", "content": words("T"), "level": 1}).subtype == "doc_title"


def test_spans_keep_formulas_links_and_nothing_else():
    content = [
        {"type": "text", "content": "see "},
        {"type": "hyperlink", "url": "https://example.org", "content": [{"type": "text", "content": "here"}]},
        {"type": "text", "content": " for "},
        {"type": "equation_inline", "content": " E=mc^{2} "},
    ]
    assert inline_text(content) == "see here for $E=mc^{2}$"
    assert inline_text("plain") == "plain"
    assert inline_text(None) == ""


def test_nested_lists_are_indented():
    inner = {"type": "list", "content": [{"type": "text", "content": words("- b")}]}
    element = one({"type": "list", "content": [{"type": "text", "content": words("- a")}, inner]})
    assert (element.type, element.text) == ("list", "- a\n  - b")


@pytest.mark.parametrize("kind", ["header", "footer", "page_number", "aside_text"])
def test_furniture_is_kept_and_marked(kind):
    element = one({"type": kind, "content": words("12")})
    assert (element.type, element.subtype) == ("furniture", kind)


def test_notes_are_text():
    block = {"type": "page_footnote", "content": words("note")}
    assert (one(block).type, one(block).subtype) == ("text", "page_footnote")
    assert one(block, notes_subtype="slide_notes").subtype == "slide_notes"


def table_block(html="<table><tr><td>a</td><td>b</td></tr><tr><td>1</td><td>2</td></tr></table>"):
    return {
        "type": "table",
        "bbox": [0, 0, 1, 0.5],
        "content": [
            {"type": "table_caption", "content": words("Table A.2: Both")},
            {"type": "table_body", "content": html},
            {"type": "table_footnote", "content": words("Source: own")},
        ],
    }


def test_tables_have_rows_caption_label_footnote_and_asset():
    element = one(table_block(), resolve_asset=lambda body: f"{body['type']}.jpg")
    assert element.rows == [["a", "b"], ["1", "2"]]
    assert element.header_rows == 1
    assert (element.caption, element.label, element.footnote) == ("Table A.2: Both", "Table A.2", "Source: own")
    assert element.asset == "table_body.jpg"
    assert "| 1 | 2 |" in element.text


def test_tables_without_a_grid_keep_their_words():
    element = one(table_block("left        right\n1   2"))
    assert element.type == "table"
    assert element.text == "left        right\n1   2"
    assert element.rows is None
    assert element.html is None


def test_charts_are_images_with_their_data():
    body = {"type": "chart_body", "content": "<table><tr><td>2019</td><td>120</td></tr></table>"}
    element = one({"type": "chart", "content": [body]})
    assert (element.type, element.subtype, element.rows) == ("image", "chart", [["2019", "120"]])


def test_code_keeps_its_indentation():
    body = {"type": "code_body", "content": "\n    if x:\n        return 1\n"}
    element = one({"type": "code", "sub_type": "code", "guess_lang": "python", "content": [body]})
    assert (element.type, element.subtype, element.text) == ("code", "python", "    if x:\n        return 1")


def test_empty_blocks_vanish_and_boxed_formulas_stay():
    assert blocks_to_elements([{"type": "text", "content": []}, {"type": "list", "content": []}], page=None) == []
    assert blocks_to_elements([{"type": "image", "content": [{"type": "image_body", "content": ""}]}], page=None) == []
    assert one({"type": "equation", "content": "", "bbox": [0, 0, 0.1, 0.1]}).type == "equation"


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", "' OR 1=1 --", "\x00\ud800", "表 2 结果", "a" * 100_000]
)
def test_hostile_words_pass_through(hostile):
    element = one({"type": "text", "content": [{"type": "text", "content": hostile}]})
    assert element.text
    element.text.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("3.1.2 Results", 3),
        ("1 Introduction", 1),
        ("2. Methods", 1),
        ("A.1 Proofs", 2),
        ("第三章 方法", 1),
        ("第二节 数据", 2),
        ("一、概述", 1),
        ("（二）范围", 2),
        ("2023 Results", None),
        ("A note", None),
        ("Introduction", None),
        ("3.1", None),
        ("", None),
    ],
)
def test_numbered_level(text, level):
    assert numbered_level(text) == level


def test_numbers_deepen_headings_but_not_titles():
    headings = [
        Element(type="heading", text="1 Of titles", level=1, subtype="doc_title"),
        Element(type="heading", text="3.1.2 Results", level=2),
        Element(type="heading", text="Plain", level=2),
        Element(type="text", text="1.1.1 text"),
    ]
    assert [element.level for element in deepen_headings(headings)] == [1, 4, 2, None]


def test_loose_captions_go_to_their_neighbours():
    elements = [
        Element(type="text", text="Table 1: Above", page=1),
        Element(type="table", text="t", page=1),
        Element(type="image", page=1, bbox=(0, 0, 9, 9)),
        Element(type="text", text="Fig. 2: Below", page=1),
        Element(type="text", text="表 3 结果", page=2),
        Element(type="table", text="u", page=2),
    ]
    found = attach_loose_captions(elements)
    assert [(e.type, e.label) for e in found] == [("table", "Table 1"), ("image", "Figure 2"), ("table", "表 3")]


def test_captions_stay_text_without_a_fitting_neighbour():
    elements = [
        Element(type="text", text="Table 1 shows it.", page=1),
        Element(type="image", page=1, bbox=(0, 0, 9, 9)),
        Element(type="text", text="Figure 4 " + "long " * 80, page=1),
        Element(type="text", text="Figure 5: other page", page=2),
    ]
    assert attach_loose_captions(elements) == elements
    captioned = [Element(type="image", page=1, caption="Figure 1"), Element(type="text", text="Figure 2: x", page=1)]
    assert attach_loose_captions(captioned) == captioned


def test_to_box_rounds_outwards():
    assert to_box([0.1234, 0.1, 0.5001, 0.9]) == (123, 100, 501, 900)
    assert to_box(None) is None


def line(text, y, x0=100, x1=600):
    return Line(text, (x0, y, x1, y + 15))


def test_lost_pages_are_rebuilt_from_lines_and_keep_their_figures():
    page = PageText(0, "first words here\nsecond words here")
    figure = Element(type="image", page=1, bbox=(0, 500, 1000, 900), asset="x.jpg")
    found = with_lost_words(page, [figure], lambda: [line("first words here", 100), line("second words here", 120)])
    assert [e.type for e in found] == ["text", "image"]
    assert found[0].text == "first words here second words here"
    assert found[0].bbox == (100, 100, 600, 135)


def test_complete_pages_do_not_ask_for_lines():
    page = PageText(0, "one two three")
    element = Element(type="text", text="one two three", page=1, bbox=(0, 0, 10, 10))
    assert with_lost_words(page, [element], lambda: pytest.fail("lines read")) == [element]
    assert with_lost_words(PageText(0, ""), [], lambda: pytest.fail("lines read")) == []


def test_single_figures_give_way_to_rows():
    page = PageText(0, "Revenue 10 20\nCost 30 40\nProfit 50 60")
    figures = [
        Element(
            type="text",
            text=str(n * 10),
            page=1,
            bbox=(300 + n % 2 * 100, 100 + n // 2 * 20, 340 + n % 2 * 100, 115 + n // 2 * 20),
        )
        for n in range(6)
    ]
    names = Element(type="text", text="Revenue Cost Profit", page=1, bbox=(100, 100, 200, 155))
    prose = Element(type="text", text="prose far below", page=1, bbox=(100, 500, 600, 520))
    title = Element(type="furniture", subtype="header", text="Statement", page=1, bbox=(100, 70, 200, 85))
    running = Element(type="furniture", subtype="header", text="Annual report", page=1, bbox=(100, 10, 200, 25))
    rows = [line("Revenue 10 20", 100), line("Cost 30 40", 120), line("Profit 50 60", 140)]
    rows = [Line("Annual report", (100, 12, 200, 24)), line("Statement", 70), *rows]
    found = with_lost_words(page, [running, title, *figures, names, prose], lambda: rows)
    assert [(e.type, e.text) for e in found] == [
        ("furniture", "Annual report"),
        ("text", "Statement"),
        ("text", "Revenue 10 20\nCost 30 40\nProfit 50 60"),
        ("text", "prose far below"),
    ]


def test_empty_formulas_get_plain_characters():
    page = PageText(0, "E = mc2 words")
    formula = Element(type="equation", page=1, bbox=(90, 90, 610, 120))
    text = Element(type="text", text="words E mc2", page=1, bbox=(0, 300, 900, 330))
    found = with_lost_words(page, [formula, text], lambda: [line("E = mc2", 100)])
    assert (found[0].text, found[0].subtype) == ("E = mc2", "plain")


def test_right_to_left_words_come_from_the_text_layer():
    page = PageText(0, "\u0623\u0628 \u062c\u062f", right_to_left=True)
    element = Element(type="text", text="\u062c\u062f \u0623\u0628", page=1, bbox=(90, 90, 610, 120))
    (found,) = with_lost_words(page, [element], lambda: [line("\u0623\u0628 \u062c\u062f", 100)])
    assert found.text == "\u0623\u0628 \u062c\u062f"


def test_recognised_lines_stand_beside_what_is_known():
    text = Element(type="text", text="known", page=1, bbox=(100, 100, 600, 115))
    below = Element(type="text", text="below", page=1, bbox=(100, 500, 600, 515))
    found = place_lines([text, below], [line("known", 100), line("new", 300)], 1, ocr=True)
    assert [(e.text, e.ocr) for e in found] == [("known", False), ("new", True), ("below", False)]


def test_joined_text_adds_only_what_is_new():
    assert (
        joined_text("Data  Presentation", [line("data presentation", 1), line("Figure", 2)])
        == "Data  Presentation\nFigure"
    )
    assert joined_text("", [line("a", 1), line("a", 2)]) == "a\na"
    assert joined_text("", []) == ""


def test_bullets_seen_by_ocr_are_no_elements():
    found = place_lines([], [line("+", 100, 50, 60), line("words", 102)], 1, ocr=True)
    assert [e.text for e in found] == ["words"]


def test_paragraphs_taken_for_a_table_become_text_again():
    prose = "one two three four five six seven eight nine ten eleven twelve"
    lines = [line("Revenue 10 20", 100), line("Cost 30 40", 120), *[line(prose, 200 + n * 18) for n in range(4)]]
    page = PageText(0, "\n".join(item.text for item in lines))
    table = Element(type="table", text=page.text, page=1, bbox=(50, 90, 700, 400))
    found = with_lost_words(page, [table], lambda: lines)
    assert [e.type for e in found] == ["text", "text"]
    assert found[0].text == "Revenue 10 20\nCost 30 40"
    assert with_lost_words(page, [table], lambda: lines[:3]) == [table]
