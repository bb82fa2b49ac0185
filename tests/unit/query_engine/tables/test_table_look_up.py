"""Cells are looked up by what their labels say, and nothing is answered that they do not say."""

import pytest
from llama_index.core.schema import TextNode

from llama_index_raganything.query_engine.tables.lookup import look_up
from llama_index_raganything.tables.read import tables_of_nodes

SEGMENTS = """| Segment | Revenue ($ million) | Change | Founded |
| --- | --- | --- | --- |
| Cloud services | 1,234.5 | 12.5 % | 2001-03-31 |
| Devices | (87.25) | (3.1) % | 1998-12-01 |
| Licences | — | n/a | 2010-07-15 |
| Support | 450 | 0.4 % | 2015-01-02 |"""
INCOME = """|  | 2019 | 2018 | 2017 |
| --- | --- | --- | --- |
| (in thousands) | | | |
| Total sales | $ 1,496.5 | $ 1,202.9 | $ 1,107.7 |
| Total sales and marketing | 300 | 250 | 240 |
| Cost of sales | 900.1 | 800 | 700 |
| Net income | (12.0) | 15.5 | 20 |
| Operating income: | | | |
| Americas | 100 | 90 | 80 |
| Europe | 50 | 60 | 55 |
| Assets: | | | |
| Europe | 5 | 6 | 7 |"""
YEARS = """| Year | Rainfall | Visitors |
| --- | --- | --- |
| 2019 | 500 | 12 |
| 2020 | 550 | 14 |
| 2021 | 480 | 13 |"""
PARTS = """| Part | Status | Pressure (bar) | Supplier |
| --- | --- | --- | --- |
| Valve A | discontinued | 12 | Halden |
| Valve B | active | 15 | Bergen |
| Maximum pressure | | 20 | |"""
REGIONS = """| （单位：万元） | 2023年营业收入 | 2022年营业收入 | 2023年净利润 |
| --- | --- | --- | --- |
| 华东 | 1,200 | 1,100 | 80 |
| 华南 | 900 | 950 | 60 |
| 合计 | 2,100 | 2,050 | 140 |"""


def records(*texts, caption=""):
    return tables_of_nodes(
        TextNode(text=text, metadata={"content_type": "table", "doc_id": "d", "element_id": str(n), "caption": caption})
        for n, text in enumerate(texts)
    )


ALL = records(SEGMENTS, INCOME, YEARS, PARTS, REGIONS)


@pytest.mark.parametrize(
    ("question", "lines"),
    [
        ("What was the revenue of the Devices segment?", ["Devices, Revenue ($ million): (87.25) (million USD)"]),
        ("When was Cloud services founded?", ["Cloud services, Founded: 2001-03-31"]),
        ("How much did the change of Support amount to?", ["Support, Change: 0.4 %"]),
        ("What is the amount of total sales in 2019?", ["Total sales, 2019: $ 1,496.5 (thousand)"]),
        ("What was the total sales and marketing in 2017?", ["Total sales and marketing, 2017: 240 (thousand USD)"]),
        ("What was operating income of Europe in 2018?", ["Operating income: Europe, 2018: 60 (thousand USD)"]),
        ("What were the assets of Europe in 2018?", ["Assets: Europe, 2018: 6 (thousand USD)"]),
        (
            "What was net income and cost of sales in 2019?",
            ["Net income, 2019: (12.0) (thousand USD)", "Cost of sales, 2019: 900.1 (thousand USD)"],
        ),
        ("How much rainfall was there in 2020?", ["2020, Rainfall: 550"]),
        ("Who is the supplier of Valve B?", ["Valve B, Supplier: Bergen"]),
        ("What is the maximum pressure?", ["Maximum pressure, Pressure (bar): 20 (bar)"]),
        ("Which part is discontinued?", ["Part: Valve A", "Valve A, Status: discontinued"]),
        ("2023年华东的营业收入是多少？", ["华东，2023年营业收入：1,200（单位：10,000 CNY）"]),
        ("2023年营业收入合计是多少？", ["合计，2023年营业收入：2,100（单位：10,000 CNY）"]),
    ],
)
def test_a_cell_is_told_with_its_labels_and_unit(question, lines):
    found = look_up(question, ALL)
    assert list(found.lines) == lines
    assert found.operation == ""


@pytest.mark.parametrize(
    ("question", "operation", "line"),
    [
        (
            "Which segment had the highest revenue?",
            "most",
            "Cloud services, Revenue ($ million): 1,234.5 (million USD)",
        ),
        ("Which segment has the second highest revenue?", "most", "Support, Revenue ($ million): 450 (million USD)"),
        ("In which year was net income highest?", "most", "Net income, 2017: 20 (thousand USD)"),
        ("In which year was rainfall lowest?", "least", "2021, Rainfall: 480"),
        ("哪个地区2022年营业收入最高？", "most", "华东，2022年营业收入：1,100（单位：10,000 CNY）"),
        ("What is the total number of visitors?", "total", "Total, Visitors (2019, 2020, 2021): 39 = 12 + 14 + 13"),
        (
            "What is the average rainfall?",
            "average",
            "Average, Rainfall (2019, 2020, 2021): 510.00 = (500 + 550 + 480) / 3",
        ),
        (
            "What is the change in net income from 2018 to 2019?",
            "change",
            "Change, Net income (2018, 2019): -27.5 (thousand USD) = (12.0) − 15.5",
        ),
        (
            "What was the change in rainfall from 2019 to 2021?",
            "change",
            "Change, Rainfall (2019, 2021): -20 = 480 − 500",
        ),
        (
            "What was the percentage change in total sales between 2018 and 2019?",
            "percentage change",
            "Percentage change, Total sales (2018, 2019): 24.41% = ($ 1,496.5 − $ 1,202.9) / $ 1,202.9",
        ),
        (
            "华南营业收入从2022年到2023年的变化率是多少？",
            "percentage change",
            "变化率，华南 (2022年营业收入, 2023年营业收入)：-5.26% = (900 − 950) / 950",
        ),
        (
            "What is the difference between the revenue of Cloud services and Support?",
            "change",
            "Difference, Revenue ($ million) (Support, Cloud services): 784.5 (million USD) = 1,234.5 − 450",
        ),
    ],
)
def test_simple_calculations(question, operation, line):
    found = look_up(question, ALL)
    assert found.operation == operation
    assert found.lines == (line,)


def test_whole_columns_are_listed_where_no_row_is_named():
    found = look_up("list the revenue by segment", ALL)
    assert len(found.lines) == 4
    assert found.lines[0].startswith("Cloud services")


@pytest.mark.parametrize(
    "question",
    [
        "What were total sales in 2012?",
        "What is the percentage change in total sales between 1950 and 1951?",
        "What is the name of the chief executive?",
        "What is the weather on Mars?",
        "火星上的天气怎么样？",
        "'; DROP TABLE x; --",
        "",
        "???",
        "the of and",
    ],
)
def test_what_labels_do_not_say_is_not_answered(question):
    assert look_up(question, ALL) is None


def test_captions_count_as_words_of_the_table():
    asked = "What was rainfall in Bergen harbour in 2020?"
    assert look_up(asked, records(YEARS, caption="Weather in Bergen harbour")).coverage == pytest.approx(1)
    assert look_up("What was rainfall in Lagos airport terminal building in 2020?", records(YEARS)) is None


def test_the_likelier_table_wins_between_equals():
    twice = records(YEARS, YEARS)
    assert look_up("How much rainfall was there in 2020?", twice).place == 0


@pytest.mark.parametrize(
    "text",
    [
        "| a |\n| --- |\n| 1 |",
        "| |\n| --- |\n| |",
        "| x | y |\n| --- | --- |",
        "|" + " c |" * 300 + "\n|" + " --- |" * 300,
    ],
)
def test_odd_tables_do_no_harm(text):
    for question in ("What is a?", "highest x", "What is the percentage change in c between 2018 and 2019?"):
        look_up(question, records(text))


def test_changes_over_zero_have_no_percentage():
    table = "| Item | 2019 | 2018 |\n| --- | --- | --- |\n| Loss | 5 | 0 |\n| Gain | 1 | 2 |"
    assert look_up("What is the percentage change in loss from 2018 to 2019?", records(table)) is None
