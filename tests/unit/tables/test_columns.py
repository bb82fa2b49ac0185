"""Columns get types, units, scales and names that SQL can say."""

import duckdb
import pytest

from llama_index_raganything.tables.columns import arranged, column_names, is_spanning, slug, typed_columns


def column(cells, header="Amount", context=""):
    rows = [(f"row {index}", cell) for index, cell in enumerate(cells)]
    return typed_columns(["Item", header], rows, context)[1]


@pytest.mark.parametrize(
    ("cells", "type_", "integers"),
    [
        (["1", "2"], "number", True),
        (["1.5", "2"], "number", False),
        (["$ 1,234", "(5)", "—", "n/a"], "number", True),
        (["12", "13", "14", "15", "see note"], "number", True),
        (["12", "see note"], "text", False),
        (["007", "012"], "text", False),
        (["12345678901234567890", "1"], "text", False),
        (["3 bedrooms", "2 garages"], "text", False),
        (["3 years", "5 years"], "number", True),
        (["1A", "2B"], "text", False),
        (["31.12.2024", "01.02.2024"], "date", False),
        (["01/02/2024", "03/04/2024"], "text", False),
        (["Yes", "No", ""], "boolean", False),
        (["✓", "", "✓"], "boolean", False),
        (["x", "x"], "text", False),
        (["N", "N"], "text", False),
        (["Y", "N"], "boolean", False),
        (["是", "否"], "boolean", False),
        (["", "—"], "text", False),
        (["North", "South"], "text", False),
        (["1e400", "2e400"], "text", False),
    ],
)
def test_types(cells, type_, integers):
    found = column(cells)
    assert (found.type, found.integers) == (type_, integers)


@pytest.mark.parametrize(
    ("cells", "unit"),
    [
        (["12 %", "13 %"], "%"),
        (["$ 1,234", "5", "6", "7", "$ 1,252"], "USD"),
        (["5 kg", "6 kg"], "kg"),
        (["5", "6"], ""),
        (["$ 5", "12 %"], ""),
        (["1.2x", "3x"], "x"),
        (["5元", "6元"], "CNY"),
    ],
)
def test_units_of_cells(cells, unit):
    assert column(cells).unit == unit


def test_the_scale_of_the_caption_holds_for_amounts_only():
    rows = [("Sales", "$ 1,200", "12 %", "2019", "1.25"), ("Costs", "900", "8 %", "2020", "0.75")]
    headers = ["(in thousands)", "Amount", "Share", "Year", "Per share"]
    amount, share, year, per_share = typed_columns(headers, rows)[1:]
    assert (amount.unit, amount.scale, amount.measure) == ("USD", 1000.0, "thousand USD")
    assert (share.unit, share.scale) == ("%", 1.0)
    assert year.scale == 1.0
    assert per_share.scale == 1.0


def test_neighbours_tell_how_whole_numbers_are_written():
    rows = [("Nord", "1.234", "12,5"), ("Süd", "5.678", "7,25")]
    columns = typed_columns(["Region", "Umsatz", "Anteil"], rows)
    assert [each.notation for each in columns[1:]] == [",", ","]
    assert columns[1].integers


def test_a_text_over_all_columns_does_not_make_them_texts():
    rows = [("Assets", "Assets", "Assets"), ("Cash", "5", "6")]
    assert is_spanning(rows[0])
    assert [each.type for each in typed_columns(["", "2019", "2018"], rows)] == ["text", "number", "number"]


def test_names_are_said_without_quotes_and_are_unique():
    headers = [
        "",
        "",
        "2019",
        "2019",
        "Order",
        "营业收入",
        "Net % change",
        "a-b c",
        "NAME",
        "name",
        "ﬁrm",
        "😀",
        "a" * 500,
    ]
    names = column_names(headers)
    assert names[:4] == ["item", "column_2", "_2019", "_2019_2"]
    assert names[5:10] == ["营业收入", "net_pct_change", "a_b_c", "name", "name_2"]
    assert len({name.casefold() for name in names}) == len(names)
    with duckdb.connect() as connection:
        for name in names:
            sql = f'SELECT {name}, t.{name} AS {name} FROM (SELECT 1 AS "{name}") t WHERE {name} > 0 GROUP BY {name}'
            assert connection.execute(sql).fetchall() == [(1, 1)], name


def test_every_word_that_duckdb_reserves_can_be_a_header():
    with duckdb.connect() as connection:
        words = [row[0] for row in connection.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall()]
        for word, name in zip(words, column_names(words), strict=True):
            connection.execute(
                f'SELECT {name}, sum({name}) FROM (SELECT 1 AS "{name}") WHERE {name} > 0 GROUP BY {name}'
            )
            assert name.startswith(word)


def test_slugs():
    assert slug("Table 3: Revenue by region") == "table_3_revenue_by_region"
    assert slug("表 3 营业收入") == "表_3_营业收入"
    assert slug("'; DROP TABLE x --") == "drop_table_x"
    assert slug("../../etc/passwd") == "etc_passwd"
    assert slug("") == ""
    assert len(slug("word " * 100, 20)) <= 20


def test_years_below_a_spanning_header_are_a_second_header_row():
    grid = arranged([("", "Year ended", "Year ended")], [("", "2019", "2018"), ("Sales", "1,200", "1,100")])
    assert grid.headers() == ["", "Year ended > 2019", "Year ended > 2018"]
    assert grid.rows == (("Sales", "1,200", "1,100"),)


def test_a_header_cell_over_two_rows_is_no_label():
    grid = arranged([("Region", "Year", "Year")], [("Region", "2019", "2018"), ("North", "1,200", "1,100")])
    assert grid.headers() == ["Region", "Year > 2019", "Year > 2018"]


def test_a_table_without_header_takes_the_words_above_its_numbers():
    grid = arranged([("", "")], [("Region", "Sales"), ("North", "1,200"), ("South", "900")])
    assert grid.headers() == ["Region", "Sales"]
    grid = arranged([], [("North", "1,200"), ("South", "900")])
    assert grid.headers() == ["", ""]
    assert len(grid.rows) == 2


def test_a_row_with_a_label_stays_in_the_body():
    grid = arranged([("Item", "Value")], [("Name", "Ann"), ("Age", "33")])
    assert len(grid.rows) == 2


def test_signs_in_columns_of_their_own_are_joined_with_their_numbers():
    header = [("", "2019", "2019", "2019", "Share", "Share")]
    body = [
        ("Sales", "$", "1,200", "", "12", "%"),
        ("Loss", "$", "(900", ")", "8", "%"),
        ("Other", "", "5", "", "1", "%"),
    ]
    grid = arranged(header, body)
    assert grid.headers() == ["", "2019", "Share"]
    columns = typed_columns(grid.headers(), grid.rows)
    assert [(each.type, each.unit) for each in columns[1:]] == [("number", "USD"), ("number", "%")]
    assert grid.rows[1] == ("Loss", "$ (900 )", "8 %")


def test_blank_rows_and_columns_and_copies_of_merged_cells_go():
    grid = arranged([("A", "", "B", "B")], [("x", "", "1", "1"), ("", "", "", ""), ("y", "", "2", "2")])
    assert grid.headers() == ["A", "B"]
    assert grid.rows == (("x", "1"), ("y", "2"))


def test_nothing_is_a_table_of_nothing():
    assert arranged([], []).headers() == []
    assert typed_columns([], []) == ()
