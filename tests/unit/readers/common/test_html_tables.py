"""Tables: spans, headers, nesting, broken and hostile HTML, and the way back."""

from __future__ import annotations

import pytest

from llama_index_raganything.readers.common.html_tables import (
    MAX_CELLS,
    MAX_COLUMNS,
    html_table_rows,
    rows_to_html,
    rows_to_markdown,
)


def test_plain_table_with_header() -> None:
    html = "<table><tr><th>Name</th><th>价格</th></tr><tr><td>A &amp; B</td><td>1.5</td></tr></table>"
    assert html_table_rows(html) == ([["Name", "价格"], ["A & B", "1.5"]], 1)


def test_thead_rows_count_even_with_td_cells() -> None:
    html = "<table><thead><tr><td>a</td></tr><tr><td>b</td></tr></thead><tbody><tr><td>1</td></tr></tbody></table>"
    assert html_table_rows(html) == ([["a"], ["b"], ["1"]], 2)


def test_row_headers_are_not_header_rows() -> None:
    assert html_table_rows("<table><tr><th>x</th><td>1</td></tr></table>") == ([["x", "1"]], 0)


def test_spans_are_expanded() -> None:
    html = (
        "<table><tr><th rowspan=2>Region</th><th colspan=2>Sales</th></tr><tr><th>2023</th><th>2024</th></tr>"
        "<tr><td>North</td><td>1</td><td>2</td></tr></table>"
    )
    rows, headers = html_table_rows(html)
    assert rows == [["Region", "Sales", "Sales"], ["Region", "2023", "2024"], ["North", "1", "2"]]
    assert headers == 2


def test_overlapping_spans_keep_every_text() -> None:
    html = "<table><tr><td>a</td><td rowspan=3>b</td></tr><tr><td colspan=3>c</td></tr><tr><td>d</td></tr></table>"
    rows, _ = html_table_rows(html)
    assert {"a", "b", "c", "d"} <= {cell for row in rows for cell in row}


@pytest.mark.parametrize("span", ["1000000000", "99999999999999999999", "-3", "0", "abc", "2.5", ""])
def test_absurd_spans_are_bounded(span: str) -> None:
    html = f'<table><tr><td colspan="{span}" rowspan="{span}">x</td><td>y</td></tr><tr><td>z</td></tr></table>'
    rows, _ = html_table_rows(html)
    assert len(rows) == 2
    assert max(map(len, rows)) <= 3
    assert rows[0][0] == "x"


def test_many_wide_rows_are_bounded() -> None:
    row = "<tr>" + "<td>x</td>" * (MAX_COLUMNS + 50) + "</tr>"
    rows, _ = html_table_rows(f"<table>{row * 3}</table>")
    assert [len(line) for line in rows] == [MAX_COLUMNS] * 3
    spans = "<tr>" + "<td>x</td>" * 10 + "<td colspan=990>y</td></tr>"
    rows, _ = html_table_rows(f"<table>{spans * (MAX_CELLS // MAX_COLUMNS + 20)}</table>")
    assert sum(map(len, rows)) <= MAX_CELLS


def test_nested_table_and_rich_cell_become_text() -> None:
    html = (
        "<table><tr><td><ul><li>one</li><li>two</li></ul><p>three<br>four</p></td>"
        "<td><table><tr><td>in</td><td>ner</td></tr></table></td></tr></table>"
    )
    assert html_table_rows(html) == ([["one two three four", "in ner"]], 0)


def test_scripts_are_dropped_and_alt_text_kept() -> None:
    html = '<table><tr><td><script>evil()</script><img alt="Logo" src="http://x/y.png">ok<!-- no --></td></tr></table>'
    assert html_table_rows(html) == ([["Logo ok"]], 0)


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("", []),
        ("no table", []),
        ("<table></table>", []),
        ("\x00\ud800", []),
        ("<table><tr><td>a<td>b<tr><td>c", [["a", "b"], ["c", ""]]),
        ("<tr><td>a</td></tr>", [["a"]]),
        ("<table><tr></tr><tr><td>a</td></tr></table>", [[""], ["a"]]),
    ],
)
def test_broken_html(html: str, expected: list[list[str]]) -> None:
    assert html_table_rows(html)[0] == expected


def test_deep_nesting_does_not_recurse() -> None:
    html = "<table><tr><td>" + "<div>" * 5000 + "deep"
    rows, _ = html_table_rows(html)
    assert len(rows) == 1


def test_markdown_escapes_pipes_and_newlines_and_pads() -> None:
    assert rows_to_markdown([["a|b", "c\nd"], ["1"]], 1) == "| a\\|b | c d |\n| --- | --- |\n| 1 |  |"


def test_markdown_without_header_gets_an_empty_one() -> None:
    assert rows_to_markdown([["1", "2"]], 0) == "|  |  |\n| --- | --- |\n| 1 | 2 |"


def test_markdown_joins_header_rows() -> None:
    rows = [["Region", "Sales"], ["Region", "2024"], ["N", "1"]]
    assert rows_to_markdown(rows, 2).splitlines()[0] == "| Region | Sales / 2024 |"


@pytest.mark.parametrize("rows", [[], [[]]])
def test_nothing_renders_as_nothing(rows: list[list[str]]) -> None:
    assert rows_to_markdown(rows) == ""


def test_html_round_trip() -> None:
    rows = [["a<b", "د"], ["1", "x & y"], ["", "'\"|"]]
    assert html_table_rows(rows_to_html(rows, 1)) == (rows, 1)
    assert html_table_rows(rows_to_html(rows, 0)) == (rows, 0)
    assert rows_to_html([]) == ""
