"""Tables without ruling lines: drawn with known cells, they come back cell by cell; other pages give none."""

from __future__ import annotations

import math
import time

import pytest
from unruled_files import (
    HEIGHT,
    STATEMENT,
    STATEMENT_HEADER,
    WIDTH,
    cells,
    centred,
    chinese_font,
    page,
    paragraph,
    statement,
)

from llama_index_raganything.elements import Element
from llama_index_raganything.readers.common.base import AssetStore, ParseOptions
from llama_index_raganything.readers.common.rendering import open_pdf
from llama_index_raganything.readers.pdf.parser import parse_pdf
from llama_index_raganything.readers.pdf.tables.finder import (
    caption_tables,
    find_tables,
    merge_tables,
    numbers_in,
    page_tables,
)
from llama_index_raganything.readers.pdf.tables.words import MAX_CHARACTERS, Glyph, is_figure
from llama_index_raganything.readers.pdf.text import read_page


def tables_of(path, pages=300):
    document = open_pdf(path)
    try:
        return page_tables(document, read_page(document, 0), pages)
    finally:
        document.close()


def table_of(path):
    (table,) = tables_of(path)
    return table


# What is found


def test_statement_comes_back_with_its_cells_header_spans_and_unit(tmp_path):
    table = table_of(page(tmp_path / "a.pdf", statement))
    assert table.rows == [*STATEMENT_HEADER, *STATEMENT]
    assert (table.header_rows, table.subtype, table.page) == (2, "columns", 1)
    assert table.caption == "Results of operations were as follows ($ in millions):"
    assert "| Revenue | $46,298 | $51,761 | $47,262 |" in table.text
    x0, y0, x1, y1 = table.bbox
    assert 90 < x0 <= 60 / WIDTH * 1000 < 540 / WIDTH * 1000 <= x1 < 900
    assert y0 <= 1000 - 642 / HEIGHT * 1000 < 1000 - 535 / HEIGHT * 1000 <= y1 < 340


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_turned_page_gives_the_same_cells_and_the_box_where_it_is_seen(tmp_path, turn):
    upright = table_of(page(tmp_path / "a.pdf", statement))
    rotated = table_of(page(tmp_path / "b.pdf", statement, rotate=turn))
    turned = table_of(page(tmp_path / "c.pdf", statement, turn=turn))
    x0, y0, x1, y1 = upright.bbox
    seen = {
        90: (1000 - y1, x0, 1000 - y0, x1),
        180: (1000 - x1, 1000 - y1, 1000 - x0, 1000 - y0),
        270: (y0, 1000 - x1, y1, 1000 - x0),
    }[turn]
    for table in (rotated, turned):
        assert (table.rows, table.header_rows, table.caption) == (upright.rows, 2, upright.caption)
        assert all(abs(edge - other) <= 2 for edge, other in zip(table.bbox, seen, strict=True))


def test_wrapped_labels_are_joined_and_section_rows_kept(tmp_path):
    def draw(canvas):
        centred(canvas, 616, [(330, "2023"), (430, "2022"), (530, "2021")])
        bottom = cells(canvas, [["Current assets:", "", "", ""], ["Cash", "$10", "$20", "$30"]])
        canvas.drawString(60, bottom, "Receivables, less allowances of")
        bottom = cells(canvas, [["doubtful accounts", "141", "142", "143"]], top=bottom - 11)
        bottom = cells(canvas, [["Net cash provided by", "1,824", "3,252", "4,927"]], top=bottom)
        canvas.drawString(60, bottom + 2, "operating activities")

    rows = table_of(page(tmp_path / "a.pdf", draw)).rows
    assert rows == [
        ["", "2023", "2022", "2021"],
        ["Current assets:", "", "", ""],
        ["Cash", "$10", "$20", "$30"],
        ["Receivables, less allowances of doubtful accounts", "141", "142", "143"],
        ["Net cash provided by operating activities", "1,824", "3,252", "4,927"],
    ]


def test_two_texts_over_more_columns_are_repeated_over_their_own(tmp_path):
    rights = (300, 370, 440, 510)

    def draw(canvas):
        centred(canvas, 632, [(325, "Three Months"), (465, "Nine Months")])
        for right, year in zip(rights, ("2023", "2022", "2023", "2022"), strict=True):
            canvas.drawRightString(right, 616, year)
        cells(canvas, [[f"Segment {n}", *(f"{n}{m},5{n}{m}" for m in range(4))] for n in range(1, 6)], rights=rights)

    table = table_of(page(tmp_path / "a.pdf", draw))
    assert table.header_rows == 2
    assert table.rows[:2] == [
        ["", "Three Months", "Three Months", "Nine Months", "Nine Months"],
        ["", "2023", "2022", "2023", "2022"],
    ]
    assert table.rows[2] == ["Segment 1", "10,510", "11,511", "12,512", "13,513"]


def test_raised_marks_stay_with_their_figures_and_dots_lead_to_figures(tmp_path):
    def draw(canvas):
        rows = [[f"Fund {n} {'.' * 40}", f"1,{n}00", f"{n}.5%", f"({n}7)"] for n in range(1, 6)]
        cells(canvas, rows)
        canvas.setFont("Helvetica", 5)
        canvas.drawString(340.5, 603, "(a)")

    table = table_of(page(tmp_path / "a.pdf", draw))
    assert table.rows[0] == ["Fund 1", "1,100(a)", "1.5%", "(17)"]
    assert table.rows[4] == ["Fund 5", "1,500", "5.5%", "(57)"]


def test_a_raised_digit_is_no_digit_of_the_figure(tmp_path):
    def draw(canvas):
        cells(canvas, [[f"Fund {n}", f"1,{n}00", f"{n}.5", f"{n}7"] for n in range(1, 6)])
        canvas.setFont("Helvetica", 5)
        canvas.drawString(340.3, 603, "2")

    assert table_of(page(tmp_path / "a.pdf", draw)).rows[0][1] == "1,100²"


def test_chinese_labels_and_units(tmp_path):
    def draw(canvas):
        font = chinese_font()
        canvas.setFont(font, 9)
        canvas.drawString(60, 632, "单位：百万元")
        centred(canvas, 616, [(320, "2023年"), (420, "2022年"), (520, "2021年")], font)
        rows = [
            ["营业收入", "1,234", "1,100", "900"],
            ["营业成本", "(800)", "(700)", "(650)"],
            ["净利润", "434", "400", "—"],
        ]
        cells(canvas, rows, font=font)

    table = table_of(page(tmp_path / "a.pdf", draw))
    assert table.rows == [
        ["", "2023年", "2022年", "2021年"],
        ["营业收入", "1,234", "1,100", "900"],
        ["营业成本", "(800)", "(700)", "(650)"],
        ["净利润", "434", "400", "—"],
    ]
    assert "百万元" in table.caption


def test_two_tables_with_prose_between_are_two(tmp_path):
    def draw(canvas):
        bottom = cells(canvas, STATEMENT, top=700)
        bottom = paragraph(canvas, top=bottom - 20)
        cells(canvas, [[f"Region {n}", f"{n}1", f"{n}2", f"{n}3"] for n in range(1, 6)], top=bottom - 30)

    first, second = tables_of(page(tmp_path / "a.pdf", draw))
    assert first.rows[-1] == STATEMENT[-1]
    assert second.rows == [[f"Region {n}", f"{n}1", f"{n}2", f"{n}3"] for n in range(1, 6)]
    assert second.bbox[1] > first.bbox[3]


def test_table_beside_a_column_of_prose_takes_none_of_its_words(tmp_path):
    def draw(canvas):
        paragraph(canvas, top=700, left=40, width=250, repeat=8)
        rows = [[f"Item {n}", f"{n}1,0", f"{n}2.5"] for n in range(1, 9)]
        cells(canvas, rows, left=330, rights=(470, 550), top=640)

    table = table_of(page(tmp_path / "a.pdf", draw))
    assert table.bbox[0] > 500
    assert table.rows[0] == ["Item 1", "11,0", "12.5"]
    assert not any("harbour" in cell for row in table.rows for cell in row)


def test_one_row_under_a_header_is_a_table_and_without_header_is_none(tmp_path):
    def row(canvas):
        cells(canvas, [["Dividends declared", "$3.52", "$2.80", "$2.20"]])

    def header(canvas):
        centred(canvas, 616, [(320, "2023"), (420, "2022"), (520, "2021")])

    table = table_of(page(tmp_path / "a.pdf", header, row))
    assert table.rows == [["", "2023", "2022", "2021"], ["Dividends declared", "$3.52", "$2.80", "$2.20"]]
    assert tables_of(page(tmp_path / "b.pdf", row)) == []


def test_numbers_stand_alone_in_their_cells(tmp_path):
    """Many tables with random figures, widths and gaps: at least 97 of 100 numbers alone in the right cell."""
    import random

    values = random.Random(7)
    right = total = 0
    for number in range(20):
        columns = values.randint(1, 6)
        rights = [250 + (310 / columns) * (place + 1) for place in range(columns)]
        forms = ("{:,}", "${:,}", "({:,})", "{:,}%", "{:,}.5", "—")
        rows = [
            [f"Line item {chr(65 + place)}", *(values.choice(forms).format(values.randint(0, 99_999)) for _ in rights)]
            for place in range(values.randint(4, 20))
        ]
        found = table_of(page(tmp_path / f"{number}.pdf", lambda c, r=rows, e=rights: cells(c, r, rights=e) and None))
        got = {row[0]: row for row in found.rows}
        for row in rows:
            total += len(row) - 1
            right += sum(a == b for a, b in zip(row[1:], got.get(row[0], [])[1:], strict=False))
    assert right / total >= 0.99


# What is no table


def contents(canvas):
    canvas.setFont("Helvetica", 9)
    for number in range(20):
        canvas.drawString(60, 700 - 14 * number, f"Chapter {number + 1} of the report")
        canvas.drawRightString(540, 700 - 14 * number, str(3 + 7 * number))


def two_columns(canvas):
    paragraph(canvas, top=740, left=40, width=250, repeat=10)
    paragraph(canvas, top=740, left=320, width=250, repeat=10)


def prose_with_numbers(canvas):
    canvas.setFont("Helvetica", 9)
    for number in range(30):
        text = f"In {1990 + number} the harbour took {number * 37} ships and 4,{number + 100} tonnes, {number}% more"
        canvas.drawString(60, 740 - 13 * number, f"{text} than in the year before.")


def chart(canvas):
    canvas.setFont("Helvetica", 8)
    for number in range(6):
        canvas.drawRightString(90, 400 + 40 * number, str(number * 500))
        canvas.drawCentredString(130 + 70 * number, 390, str(2015 + number))
        canvas.drawCentredString(130 + 70 * number, 415 + 31 * number, f"{number * 37 + 12}")


def two_axes(canvas):
    canvas.setFont("Helvetica", 8)
    for number in range(6):
        canvas.drawRightString(90, 400 + 40 * number, str(number * 50 + 25))
        canvas.drawRightString(520, 400 + 40 * number, str(number * 50_000))


def numbered_list(canvas):
    canvas.setFont("Helvetica", 9)
    for number in range(12):
        canvas.drawString(60, 700 - 14 * number, f"{number + 1}.")
        canvas.drawString(
            80, 700 - 14 * number, "Open the cover and take out the tray before you go on with the next step."
        )


def margin_stamp(canvas):
    paragraph(canvas, top=740, repeat=12)
    canvas.saveState()
    canvas.rotate(90)
    for number in range(4):
        canvas.drawString(100, -30 - 9 * number, "1,234 5,678 9,012 downloaded 2023")
    canvas.restoreState()


@pytest.mark.parametrize(
    "draw", [contents, two_columns, prose_with_numbers, chart, two_axes, numbered_list, margin_stamp]
)
def test_pages_that_have_no_table_give_none(tmp_path, draw):
    assert tables_of(page(tmp_path / "a.pdf", draw)) == []


@pytest.mark.parametrize(
    "text",
    [
        "1,234.5",
        "$ (12)",
        "(1.2)%",
        "—",
        "$—",
        "N/A",
        "12 bps",
        "1 234 567",
        "2022(1)",
        "0.3x",
        "0.1 % - 0.9 %",
        "5–35",
    ],
)
def test_figures(text):
    assert is_figure(text)


@pytest.mark.parametrize(
    "text",
    [
        "1.",
        "Item 1",
        "January 28, 2023",
        "",
        "a",
        "3 of 4",
        "1" * 41,
        "10-K and 10-Q",
        "333-39531",
        "1870-2000",
        "2006-07",
        "$5 (6)",
    ],
)
def test_no_figures(text):
    assert not is_figure(text)


# Merging with what structure analysis found


def own(rows=STATEMENT, bbox=(100, 300, 900, 500), **fields):
    return Element(type="table", subtype="columns", rows=rows, header_rows=0, bbox=bbox, page=1, text="own", **fields)


def test_a_shaded_statement_taken_for_a_picture_becomes_the_table():
    heading = Element(type="heading", text="Results", bbox=(100, 100, 900, 120), page=1)
    picture = Element(type="image", bbox=(100, 290, 900, 510), page=1, caption="Table 2: Results")
    figure = Element(type="text", text="46,298", bbox=(500, 350, 560, 360), page=1)
    below = Element(type="text", text="In fiscal 2023 we earned less.", bbox=(100, 600, 900, 620), page=1)
    merged = caption_tables(merge_tables([heading, picture, figure, below], [own(caption="($ in millions)")]))
    assert [element.type for element in merged] == ["heading", "table", "text"]
    assert (merged[1].caption, merged[1].label) == ("Table 2: Results ($ in millions)", "Table 2")


def test_a_picture_much_larger_than_the_table_stays():
    picture = Element(type="image", bbox=(0, 0, 1000, 1000), page=1)
    assert [element.type for element in merge_tables([picture], [own()])] == ["image", "table"]


def text_at(words, top, bottom, kind="text"):
    return Element(type=kind, text=words, bbox=(100, top, 600, bottom), page=1)


@pytest.mark.parametrize(
    ("words", "title", "caption"),
    [
        ("Table 3. Cash flows", "($ in millions)", "Table 3. Cash flows ($ in millions)"),
        ("Cash flows were as follows ($ in millions):", "as follows ($ in millions):", None),
        ("Top ten shareholders", "Top ten shareholders", None),
        ("现金流量表", "", None),
    ],
)
def test_the_text_right_above_becomes_the_caption(words, title, caption):
    before = text_at("Cash flows. " * 20, 200, 260)
    table = own(caption=title)
    captioned = caption_tables([before, text_at(words, 275, 290), table])
    assert [element.type for element in captioned] == ["text", "table"]
    assert captioned[1].caption == (caption or words)


@pytest.mark.parametrize(
    "element",
    [
        text_at("the rest of a sentence", 275, 290),
        text_at("It ended well.", 275, 290),
        text_at("Far above", 100, 120),
        text_at("Below it:", 520, 530),
        text_at("Cash flows", 275, 290, "heading"),
        text_at("Long: " * 100 + ":", 100, 290),
        text_at("46,298", 275, 290),
    ],
)
def test_other_texts_stay_where_they_are(element):
    captioned = caption_tables([element, own(caption="($ in millions)")])
    assert len(captioned) == 2
    assert captioned[1].caption == "($ in millions)"


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        ([["Name", "Meaning"], ["a", "the first"], ["b", "the second"]], None),
        ([[" ".join(row[1:])] for row in STATEMENT], "columns"),
        ([*STATEMENT, *STATEMENT], None),
        (STATEMENT, None),
        (STATEMENT[:2], "columns"),
        (None, "columns"),
    ],
)
def test_of_two_readings_the_one_with_more_numbers_alone_is_kept(rows, kept):
    known = Element(type="table", rows=rows, bbox=(100, 300, 900, 510), page=1, text="known")
    merged = merge_tables([known], [own()])
    assert [element.subtype for element in merged] == [kept]


def test_tables_of_structure_analysis_under_one_table_give_way():
    parts = [Element(type="table", rows=STATEMENT, bbox=(100, top, 900, top + 80), page=1) for top in (300, 400)]
    assert [element.subtype for element in merge_tables(parts, [own()])] == ["columns"]


def test_nothing_found_changes_nothing():
    elements = [Element(type="text", text="1", bbox=(1, 1, 2, 2), page=1)]
    assert merge_tables(elements, []) == elements


def test_numbers_are_counted_also_where_they_share_a_cell():
    assert numbers_in([["Revenue", "1,234", "$5 (6)", "—", "2 of 3 ships"]]) == 3


def test_parsed_file_has_the_table_once_and_its_figures_nowhere_else(tmp_path):
    def draw(canvas):
        paragraph(canvas, top=740)
        statement(canvas)
        paragraph(canvas, top=480)

    path = page(tmp_path / "a.pdf", draw)
    parsed = parse_pdf(path, ParseOptions(), AssetStore(tmp_path / "assets"))
    holding = [e for e in parsed.elements if "46,298" in e.text]
    assert [(e.type, e.subtype) for e in holding] == [("page", None), ("table", "columns")]
    assert holding[1].asset
    texts = [e.type for e in parsed.elements]
    assert texts.index("table") not in {len(texts) - 1, 1}


# Hostile pages


def glyphs_of(count, place):
    return [Glyph(*place(number)) for number in range(count)]


@pytest.mark.parametrize(
    "place",
    [
        lambda n: ("7", 10.0, 15.0, 10.0, 20.0, 18.0, 8.5, False),
        lambda n: (
            "7",
            n % 200 * 9.0,
            n % 200 * 9.0 + 5,
            n // 200 * 2.0,
            n // 200 * 2.0 + 10,
            n // 200 * 2.0,
            8.5,
            False,
        ),
        lambda n: ("7", n * 9.0, n * 9.0 + 5, 0.0, 10.0, 8.0, 8.5, False),
        lambda n: ("7", 10.0, 15.0, n * 9.0, n * 9.0 + 10, n * 9.0, 8.5, False),
        lambda n: ("7", 10.0, 10.0, n * 1e-9, n * 1e-9 + 1e-9, n * 1e-9, 1e-9, False),
        lambda n: (
            "7a"[n % 2],
            n % 173 * 7.0,
            n % 173 * 7.0 + 5,
            n % 211 * 3.0,
            n % 211 * 3.0 + 9,
            n % 211 * 3.0,
            8.0,
            False,
        ),
        lambda n: (
            ".",
            n % 100 * 6.0,
            n % 100 * 6.0 + 2,
            n // 100 * 12.0,
            n // 100 * 12.0 + 9,
            n // 100 * 12.0,
            8.0,
            False,
        ),
        lambda n: (
            "7",
            n % 99 * 9.0,
            n % 99 * 9.0 + 5,
            n // 99 * 2.0,
            n // 99 * 2.0 + 9,
            n // 99 * 2.0,
            [400.0, 1.0][n % 2],
            False,
        ),
    ],
)
def test_dense_pages_stay_within_time(place):
    started = time.process_time()
    find_tables(glyphs_of(MAX_CHARACTERS, place), 10)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("glyphs", [[], [Glyph("1", 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, False)]])
def test_degenerate_pages_give_nothing(glyphs):
    assert find_tables(glyphs, 0) == []


@pytest.mark.parametrize("size", [0.001, 0, -9, 4000])
def test_fonts_without_extent_raise_nothing(tmp_path, size):
    def draw(canvas):
        canvas.setFont("Helvetica", size)
        for number in range(60):
            canvas.drawString(60 + 100 * (number % 3), 700 - 13 * (number // 3), f"{number},000")

    assert isinstance(tables_of(page(tmp_path / "a.pdf", draw)), list)


def test_characters_without_a_place_are_left_out():
    from llama_index_raganything.readers.pdf.tables.words import _checked

    for place in [
        (math.nan, 1, 0, 1, 0),
        (0, math.inf, 0, 1, 0),
        (0, 1, 0, 0, 0),
        (0, 1, 0, 1, math.nan),
        (2, 1, 0, 1, 0),
    ]:
        assert _checked(55, *place, spaced=False) is None


def test_page_with_too_many_characters_is_not_searched(tmp_path):
    def draw(canvas):
        canvas.setFont("Helvetica", 1)
        for number in range(300):
            canvas.drawString(10, 780 - 2 * number, "12 " * 60)

    started = time.process_time()
    assert tables_of(page(tmp_path / "a.pdf", draw)) == []
    assert time.process_time() - started < 5
