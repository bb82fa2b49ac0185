from __future__ import annotations

import pytest
from pdf_files import pages_of_lines

from llama_index_raganything.readers.common.layout import Line, join_lines, paragraphs, reading_order
from llama_index_raganything.readers.common.rendering import open_pdf
from llama_index_raganything.readers.pdf.text import (
    PageText,
    clean_text,
    is_garbled,
    is_right_to_left,
    page_labels,
    page_lines,
    read_page,
)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("multi\x02\r\nmodal", "multimodal"),
        ("multi-\r\nmodal", "multimodal"),
        ("GPT-\r\n4 and 2020-\r\n2021", "GPT-\n4 and 2020-\n2021"),
        ("e\ufb03cient \ufb01le", "efficient file"),
        ("a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("nul\x00 and \x07bell", "nul and bell"),
        ("\ufefb", "\u0644\u0627"),
        ("R\u0648", "R \u0648"),
        ("\u0623\u064a \u064b\u0636\u0627", "\u0623\u064a\u0636\u064b\u0627"),
        ("\u65b0\u7684\u7801\u5934", "\u65b0\u7684\u7801\u5934"),
        ("10\u00b2 \u00bd", "10\u00b2 \u00bd"),
        ("", ""),
    ],
)
def test_clean_text(raw, clean):
    assert clean_text(raw) == clean


@pytest.mark.parametrize(
    ("text", "garbled"),
    [
        ("", False),
        ("plain words", False),
        ("\u65b0\u7684\u7801\u5934", False),
        ("\x02line\x02 ends \ufffe are \x02 not garbage", False),
        ("abcdefgh\ue000\ue001", True),
        ("\x01\x03\x04\x05", True),
        ("\ufffd" * 2 + "a" * 8, True),
        ("\ufffd" + "a" * 20, False),
    ],
)
def test_is_garbled(text, garbled):
    assert is_garbled(text) is garbled


def test_is_right_to_left():
    assert is_right_to_left("\u0633\u0644\u0627\u0645 abc")
    assert is_right_to_left("\u05e9\u05dc\u05d5\u05dd")
    assert not is_right_to_left("caf\u00e9 " * 5)
    assert not is_right_to_left("")


def test_lines_have_tight_boxes(tmp_path):
    document = open_pdf(pages_of_lines(tmp_path / "l.pdf", [["First line", "Second"]], size=20))
    first, second = page_lines(document, 0)
    assert (first.text, second.text) == ("First line", "Second")
    x0, y0, x1, y1 = first.box
    # Set at 72, 720 of a page of 612 x 792 points.
    assert abs(x0 - 72 / 612 * 1000) < 6
    assert abs(y1 - (792 - 720) / 792 * 1000) < 8
    assert 10 < y1 - y0 < 30
    assert second.box[1] > y1 - 5
    assert x1 < 400


def test_a_divided_word_does_not_make_two_lines_one(tmp_path):
    document = open_pdf(pages_of_lines(tmp_path / "l.pdf", [["the growing multi-", "modal corpus of the town"]]))
    lines = page_lines(document, 0)
    assert len(lines) == 2
    assert lines[0].height < 15
    assert [p.text for p in paragraphs(lines)] == ["the growing multimodal corpus of the town"]
    assert "multimodal" in read_page(document, 0).text


def test_lines_of_a_rotated_page_lie_where_they_are_seen(tmp_path):
    document = open_pdf(pages_of_lines(tmp_path / "l.pdf", [["Top left words"]], size=20))
    page = document[0]
    page.set_rotation(90)
    (line,) = page_lines(document, 0)
    x0, _, x1, _ = line.box
    # Turned clockwise by a quarter, what was at the top stands at the right.
    assert x0 > 800
    assert x1 > 850


def test_a_page_that_does_not_exist_is_a_problem_and_no_error(tmp_path):
    document = open_pdf(pages_of_lines(tmp_path / "l.pdf", [["x"]]))
    page = read_page(document, 7)
    assert page.text == ""
    assert "page 8" in page.problem


def pages(texts, labels=None):
    return [PageText(i, text, (labels or [""] * len(texts))[i]) for i, text in enumerate(texts)]


def test_labels_of_the_file_win():
    assert page_labels(pages(["", "", ""], ["i", "2", "1"])) == ["i", None, "1"]


def test_printed_numbers_count_when_they_keep_their_distance():
    texts = [f"Annual report\nwords 17\nmore\n{n + 41}" for n in range(6)]
    assert page_labels(pages(texts)) == [str(n + 41) for n in range(6)]
    assert page_labels(pages([f"words\n{n + 1}" for n in range(6)])) == [None] * 6
    assert page_labels(pages(["a", "b 1999", "c 3,456", ""])) == [None] * 4
    assert page_labels([]) == []


def test_labels_before_page_one_are_unknown():
    texts = ["cover", "preface", *[f"text\n{n}" for n in range(1, 6)]]
    assert page_labels(pages(texts)) == [None, None, "1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    ("lines", "joined"),
    [
        (["one", "two"], "one two"),
        (["multi-", "modal"], "multimodal"),
        (["A-", "B"], "A- B"),
        (["\u65b0\u7684", "\u7801\u5934"], "\u65b0\u7684\u7801\u5934"),
        (["Revenue $ 46,298 $ 51,761", "Cost 36,386 (40,121)"], "Revenue $ 46,298 $ 51,761\nCost 36,386 (40,121)"),
        (["", "x"], "x"),
        ([], ""),
    ],
)
def test_join_lines(lines, joined):
    assert join_lines(lines) == joined


def test_paragraphs_end_at_gaps_and_at_other_sizes():
    lines = [
        Line("Title", (100, 50, 400, 90)),
        Line("first line", (100, 110, 500, 125)),
        Line("second line", (100, 130, 480, 145)),
        Line("far below", (100, 300, 480, 315)),
    ]
    found = paragraphs(lines)
    assert [p.text for p in found] == ["Title", "first line second line", "far below"]
    assert found[1].box == (100, 110, 500, 145)
    assert paragraphs([]) == []
    assert paragraphs([], reorder=True) == []


def test_columns_are_read_one_after_the_other():
    words = "a line of running text in a column of a page"
    heading = Line("heading across both columns of the page", (50, 20, 950, 50))
    left = [Line(f"left {n} {words}", (50, 80 + n * 20, 450, 95 + n * 20)) for n in range(4)]
    right = [Line(f"right {n} {words}", (520, 81 + n * 20, 950, 96 + n * 20)) for n in range(4)]
    mixed = [line for pair in zip(right, left, strict=True) for line in pair] + [heading]
    assert reading_order(mixed) == [heading, *left, *right]


def test_tables_are_read_row_by_row():
    cells = [
        Line(f"{r}{c}", (100 + c * 200, 100 + r * 40, 180 + c * 200, 120 + r * 40)) for r in range(3) for c in range(3)
    ]
    assert [line.text for line in reading_order(cells[::-1])] == [line.text for line in cells]


def test_a_raised_mark_does_not_divide_a_row():
    lines = [
        Line("Comparable sales", (30, 100, 200, 110)),
        Line("(1)", (201, 98, 210, 104)),
        Line("10.3 % 11.0 %", (600, 100, 900, 110)),
        Line("Gross profit 9,106 10,702", (30, 113, 900, 123)),
    ]
    (found,) = paragraphs(lines)
    assert found.text == "Comparable sales (1) 10.3 % 11.0 %\nGross profit 9,106 10,702"


def test_a_second_column_is_not_taken_for_the_rest_of_a_row():
    left = Line("the left column of running text", (30, 100, 450, 112))
    right = Line("and the right column beside it", (520, 100, 940, 112))
    assert [p.text for p in paragraphs([left, right])] == [left.text, right.text]
