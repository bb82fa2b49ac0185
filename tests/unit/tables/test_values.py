"""Printed values of many locales become typed values, and what is no value stays none."""

import datetime
import time

import pytest

from llama_index_raganything.tables.values import (
    Measure,
    Number,
    cell_value,
    date_order,
    decimal_mark,
    header_measure,
    is_missing,
    read_boolean,
    read_date,
    read_number,
    stated_measure,
)

POINT = [
    ("0", 0, ""),
    ("1,234", 1234, ""),
    ("1,234.5", 1234.5, ""),
    ("1,234,567.89", 1234567.89, ""),
    ("12,34,567", 1234567, ""),
    ("1 234", 1234, ""),
    ("1\u00a0234\u202f567", 1234567, ""),
    ("1'234.50", 1234.5, ""),
    ("1’234", 1234, ""),
    (".5", 0.5, ""),
    ("0.123", 0.123, ""),
    ("-7", -7, ""),
    ("−7.5", -7.5, ""),
    ("–7", -7, ""),
    ("7-", -7, ""),
    ("+3", 3, ""),
    ("(1,234)", -1234, ""),
    ("( 1,234 )", -1234, ""),
    ("$ (1,234)", -1234, "USD"),
    ("($1,234)", -1234, "USD"),
    ("-$5", -5, "USD"),
    ("$-5", -5, "USD"),
    ("（1,234）", -1234, ""),
    ("△1,234", -1234, ""),
    ("(5", -5, ""),
    ("12.5%", 12.5, "%"),
    ("12.5 %", 12.5, "%"),
    ("(3.1)%", -3.1, "%"),
    ("(3.1%)", -3.1, "%"),
    ("12 percent", 12, "%"),
    ("25 bps", 25, "bps"),
    ("-10 basis points", -10, "bps"),
    ("1.5x", 1.5, "x"),
    ("3倍", 3, "x"),
    ("$1,000", 1000, "USD"),
    ("US$ 3.2 million", 3_200_000, "USD"),
    ("$3.2m", 3_200_000, "USD"),
    ("€5bn", 5_000_000_000, "EUR"),
    ("€ 12.50", 12.5, "EUR"),
    ("12.50 €", 12.5, "EUR"),
    ("£1,000", 1000, "GBP"),
    ("¥500", 500, "¥"),
    ("￥500", 500, "¥"),
    ("Rs. 1,00,000", 100_000, "INR"),
    ("Rs 45", 45, "INR"),
    ("₹45", 45, "INR"),
    ("HK$12", 12, "HKD"),
    ("RMB 1,234", 1234, "CNY"),
    ("CNY1,234", 1234, "CNY"),
    ("USD 12", 12, "USD"),
    ("12 USD", 12, "USD"),
    ("1,234元", 1234, "CNY"),
    ("人民币1,234元", 1234, "CNY"),
    ("3.5万元", 35_000, "CNY"),
    ("1.2亿", 120_000_000, ""),
    ("１，２３４", 1234, ""),
    ("1.2 million", 1_200_000, ""),
    ("1.1 million", 1_100_000, ""),
    ("900 thousand", 900_000, ""),
    ("2 lakh", 200_000, ""),
    ("5k", 5000, ""),
    ("(1,234)*", -1234, ""),
    ("1,234*", 1234, ""),
    ("1,234**", 1234, ""),
    ("1,234†", 1234, ""),
    ("1,234¹", 1234, ""),
    ("1,234(1)", 1234, ""),
    ("1,234 (a)", 1234, ""),
    ("(1,234)(2)", -1234, ""),
    ("1,234 [3]", 1234, ""),
    ("12 (34%)", 12, ""),
    ("4.5 ± 0.3", 4.5, ""),
    ("0.45***", 0.45, ""),
    ("1.5e3", 1500.0, ""),
    ("6.02E+23", 6.02e23, ""),
    ("5kg", 5, "kg"),
    ("5.5 km", 5.5, "km"),
    ("20 °C", 20, "°C"),
    ("12 mg/L", 12, "mg/L"),
    ("3 years", 3, "years"),
    ("~5", 5, ""),
    ("2019", 2019, ""),
]


@pytest.mark.parametrize(("text", "value", "unit"), POINT)
def test_reads_numbers_with_decimal_points(text, value, unit):
    assert read_number(text) == Number(value, unit)
    assert isinstance(read_number(text).value, type(value))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.234,5", 1234.5),
        ("1.234", 1234),
        ("1.234.567", 1234567),
        ("0,5", 0.5),
        ("1 234,56", 1234.56),
        ("(1.234,5)", -1234.5),
        ("12,5 %", 12.5),
        ("1.234,50 €", 1234.5),
    ],
)
def test_reads_numbers_with_decimal_commas(text, value):
    assert read_number(text, ",").value == value


@pytest.mark.parametrize(
    "text",
    [
        "", "-", "—", "n/a", "abc", "Q1", "Q1 2019", "FY2019", "2019-2020", "2019/20", "10:30", "1st", "12 of 30", "A1",
        "1A", "3.4.1", "31.12.2024", "12/31/2024", "192.168.0.1", "1-2", "5 to 10", "+1 (555) 123-4567", "((5))", "--5",
        "1e999", "Note 4", "see note 4", "Model 3 car", "1,23,4", "12 34", "9" * 200, "½", "x5", "(a)",
        "\ud800" + "5a b",
    ],
)  # fmt: skip
def test_what_is_no_number_is_none(text):
    assert read_number(text) is None


@pytest.mark.parametrize("text", ["007", "00123", "12345678901234567890"])
def test_identifiers_are_known_by_their_digits(text):
    assert read_number(text).code


@pytest.mark.parametrize(
    ("cells", "mark"),
    [
        (["1,234", "5,678.9"], "."),
        (["1.234", "5.678,9"], ","),
        (["1,234", "0,5"], ","),
        (["1.234", "0.5"], "."),
        (["1,5", "1.234"], ","),
        (["1.234.567"], ","),
        (["1,234,567"], "."),
        (["1,234"], None),
        (["1.234"], None),
        (["12", "7"], None),
        (["0,123"], ","),
        (["31.12.2024"], None),
        (["1.2.3"], None),
        ([], None),
    ],
)
def test_the_column_tells_the_decimal_mark(cells, mark):
    assert decimal_mark(cells) == mark


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-",
        "--",
        "–",
        "—",
        "―",
        "n/a",
        "N/A",
        "n.a.",
        "...",
        "…",
        "$ —",
        "— %",
        "€-",
        "(—)",
        "不适用",
        "NaN",
        "NULL",
    ],
)
def test_marks_of_nothing(text):
    assert is_missing(text)
    assert is_missing(text, number=True)


@pytest.mark.parametrize("text", ["NA", "none", "nil", "n/m", "无", "/"])
def test_words_for_nothing_count_only_among_numbers(text):
    assert is_missing(text, number=True)
    assert not is_missing(text)
    assert cell_value(text, "text") == text
    assert cell_value(text, "number", ".") is None


@pytest.mark.parametrize("text", ["0", "a", "no", "0%", "-5", "North"])
def test_what_is_something(text):
    assert not is_missing(text, number=True)


DAY = datetime.date(2024, 12, 31)


@pytest.mark.parametrize(
    "text",
    [
        "2024-12-31", "2024/12/31", "2024.12.31", "2024-12-31 00:00:00", "2024-12-31T00:00:00", "2024年12月31日",
        "2024 年 12 月 31 日", "31.12.2024", "31/12/2024", "12/31/2024", "31-12-24", "31 Dec 2024", "31 December 2024",
        "31-Dec-2024", "Dec. 31, 2024", "December 31, 2024", "December 31st 2024", "31st of December 2024",
        "２０２４年１２月３１日",
    ],
)  # fmt: skip
def test_reads_dates(text):
    assert read_date(text) == DAY


def test_the_column_tells_the_order_of_dates():
    assert date_order(["01/02/2024", "25/02/2024"]) == "dmy"
    assert date_order(["01/02/2024", "02/25/2024"]) == "mdy"
    assert date_order(["01/02/2024", "03/04/2024"]) == ""
    assert date_order(["13/02/2024", "02/25/2024"]) == ""
    assert read_date("01/02/2024", "dmy") == datetime.date(2024, 2, 1)
    assert read_date("01/02/2024", "mdy") == datetime.date(2024, 1, 2)
    assert read_date("01/02/2024") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024",
        "31.02.2024",
        "2024-13-01",
        "12 Foo 2024",
        "99/99/2024",
        "Dec 2024",
        "0000-01-01",
        "2024-01-31 10:30:00",
    ],
)
def test_what_is_no_date_is_none(text):
    assert read_date(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Yes", True),
        ("no", False),
        ("TRUE", True),
        ("False", False),
        ("✓", True),
        ("✗", False),
        ("是", True),
        ("否", False),
    ],
)
def test_reads_truth_values(text, value):
    assert read_boolean(text) is value
    assert cell_value(text, "boolean") is value


def test_what_is_no_truth_value_is_none():
    assert read_boolean("maybe") is None
    assert read_boolean("") is None


def test_a_cell_of_another_type_is_none():
    assert cell_value("see note", "number", ".") is None
    assert cell_value("5", "date") is None
    assert cell_value("—", "text") is None
    assert cell_value("North", "text") == "North"


@pytest.mark.parametrize(
    "text", ["1" * 10**6, "1," * 10**6, "(" * 10**6, " " * 10**6 + "1", "*" * 10**6, "1 (" * 10**5, "é" * 10**6]
)
def test_hostile_cells_cost_no_time(text):
    begun = time.process_time()
    for kind in ("number", "date", "boolean", "text"):
        cell_value(text, kind, "." if kind == "number" else "")
    decimal_mark([text])
    date_order([text])
    assert time.process_time() - begun < 3


@pytest.mark.parametrize(
    ("header", "measure"),
    [
        ("Revenue (USD million)", Measure("USD", 1e6)),
        ("Revenue ($ in millions)", Measure("USD", 1e6)),
        ("Revenue, $m", Measure("USD", 1e6)),
        ("Sales (€bn)", Measure("EUR", 1e9)),
        ("RMB'000", Measure("CNY", 1e3)),
        ("HK$ million", Measure("HKD", 1e6)),
        ("(in thousands)", Measure("", 1e3)),
        ("Population (thousands)", Measure("", 1e3)),
        ("营业收入（万元）", Measure("CNY", 1e4)),
        ("金额（百万美元）", Measure("USD", 1e6)),
        ("占比(%)", Measure("%", 1)),
        ("Change %", Measure("%", 1)),
        ("Percentage of total", Measure("%", 1)),
        ("Weight (kg)", Measure("kg", 1)),
        ("Weight [kg]", Measure("kg", 1)),
        ("Speed (m/s)", Measure("m/s", 1)),
        ("Price ($)", Measure("USD", 1)),
        ("Price (€)", Measure("EUR", 1)),
        ("面积（公顷）", Measure("公顷", 1)),
        ("2019", Measure()),
        ("Revenue (unaudited)", Measure()),
        ("Note (a)", Measure()),
        ("Header (f)", Measure()),
        ("Weight (g)", Measure("g", 1)),
        ("", Measure()),
        ("Millionaires", Measure()),
    ],
)
def test_measures_of_headers(header, measure):
    assert header_measure(header) == measure


@pytest.mark.parametrize(
    ("caption", "measure"),
    [
        ("Balance sheets (in thousands, except per share data)", Measure("", 1e3)),
        ("(In millions of dollars)", Measure("USD", 1e6)),
        ("Amounts in US$ thousands", Measure("USD", 1e3)),
        ("Expressed in millions of RMB", Measure("CNY", 1e6)),
        ("Consolidated income ($ in millions)", Measure("USD", 1e6)),
        ("单位：万元", Measure("CNY", 1e4)),
        ("单位:人民币百万元", Measure("CNY", 1e6)),
        ("单位：元 币种：人民币", Measure("CNY", 1)),
        ("单位：吨", Measure("吨", 1)),
        ("（人民币千元）", Measure("CNY", 1e3)),
        ("US$'000", Measure("USD", 1e3)),
        ("Cities with 5 million people", Measure()),
        ("Table 3. Revenue by region", Measure()),
        ("", Measure()),
    ],
)
def test_measures_of_captions(caption, measure):
    assert stated_measure(caption) == measure
