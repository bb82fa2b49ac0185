import numpy as np
import pytest

from llama_index_raganything.elements import Element
from llama_index_raganything.node_parser.chunking import table_texts
from llama_index_raganything.ranking.passage_features import (
    BREAK,
    TABLE,
    PassageWords,
    hash_words,
    split_table,
    table_labels,
)
from llama_index_raganything.text.terms import content_tokens, tokenize

SALES = [
    ["Year ended", "2019", "2018"],
    ["North America", "", ""],
    ["Fixed price (1)", "$1,452.4", "$1,146.2"],
    ["Total sales", "$1,496.5", "$1,202.9"],
]


def as_markdown(rows):
    element = Element(type="table", text="", rows=rows, header_rows=1)
    return "\n\n".join(table_texts(element, 10_000, len))


def labels_of(unit):
    ends = np.cumsum(unit.label_sizes)
    return {frozenset(part.tolist()) for part in np.split(unit.label_terms, ends[:-1])} if ends.size else set()


def label(text):
    return frozenset(hash_words(content_tokens(text)).tolist())


@pytest.mark.parametrize(
    "text",
    [
        as_markdown(SALES),
        "\n".join(" | ".join(row) for row in SALES),
        "\n".join("\t".join(cell for cell in row if cell) for row in SALES),
        "\n".join("  ".join(cell for cell in row if cell) for row in SALES),
    ],
    ids=["markdown", "pipes", "tabs", "blanks"],
)
def test_labels_are_read_from_every_form_of_table(text):
    assert {
        label("Total sales"),
        label("Fixed price"),
        label("North America"),
        label("North America total sales"),
        label("Year ended"),
    } <= labels_of(PassageWords.from_text(text, TABLE))


def test_first_cells_may_be_empty_in_pipe_lines():
    rows, prose = split_table(" |  | Years Ended\n | 2019 | 2018\nOther | 44.1 | 56.7")
    assert rows == [["", "", "Years Ended"], ["", "2019", "2018"], ["Other", "44.1", "56.7"]]
    assert prose == ""


def test_text_around_a_markdown_table_is_no_row():
    text = f"Table 3: sales by type | in millions\n\n{as_markdown(SALES)}\n\nUnaudited."
    rows, prose = split_table(text)
    assert rows == SALES
    assert prose.split("\n") == ["Table 3: sales by type | in millions", "", "", "Unaudited."]


def test_escaped_pipes_stay_in_their_cell():
    rows, _ = split_table(as_markdown([["a|b", "c"], ["d", "e|"]]))
    assert rows == [["a|b", "c"], ["d", "e|"]]
    assert split_table("| a | b |\n| --- | --- |\n| c | d\\|")[0][1] == ["c", "d|"]


def test_lines_without_pipes_are_cut_before_numbers():
    rows, _ = split_table("Total sales $1,496.5 1,202.9\nNet loss (3.1) -2.0")
    assert rows == [["Total sales", "$1,496.5", "1,202.9"], ["Net loss", "(3.1)", "-2.0"]]


def test_headers_name_columns_without_their_bare_numbers():
    labels = list(table_labels([["", "Fiscal 2019", "2018"], ["Cash", "1", "2"]]))
    assert "Fiscal" in labels
    assert "Cash" in labels
    assert "2018" not in labels


def test_a_cell_merged_over_the_row_is_a_parent():
    labels = list(table_labels([["a", "b"], ["Europe", "Europe"], ["Sales", "3"], ["Asia", ""], ["Sales", "4"]]))
    assert "Europe Sales" in labels
    assert "Asia Sales" in labels
    assert "Europe Asia" not in labels


def test_segments_end_with_sentences_and_cells():
    text = PassageWords.from_text("The pumps run. They stop.")
    words = [*tokenize("The pumps run."), "", *tokenize("They stop."), ""]
    assert text.tokens.tolist() == hash_words(words).tolist()
    assert text.tokens[text.content].tolist() == hash_words(content_tokens("pumps run stop")).tolist()
    table = PassageWords.from_text(as_markdown([["a b", "c"], ["d", "e"]]), TABLE)
    assert (table.tokens == BREAK).sum() == 4


@pytest.mark.parametrize(
    "text",
    [
        "(in thousands, except per share)",
        "Amounts are stated in millions.",
        "$ '000",
        "$ ’000",
        "单位：万元",
        "人民币百万元",
    ],
)
def test_statements_of_the_unit_of_measure(text):
    assert PassageWords.from_text(text).states_unit


@pytest.mark.parametrize("text", ["A thousand people came.", "It cost 2 million.", "一万人", ""])
def test_other_mentions_of_large_numbers_are_no_unit_of_measure(text):
    assert not PassageWords.from_text(text).states_unit


@pytest.mark.parametrize("kind", ["text", TABLE])
@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n ",
        "|",
        "||||",
        "| --- |",
        "\\|",
        "\x00\ud800 | \x02",
        "|" * 10_000,
        "a | " * 3_000 + "\n",
        "\t\t",
        "表|格",
    ],
)
def test_any_text_can_be_read(text, kind):
    unit = PassageWords.from_text(text, kind)
    assert unit.tokens.size == unit.content.size
    assert unit.label_sizes.sum() == unit.label_terms.size
    assert not unit.content[unit.tokens == BREAK].any()


def test_a_table_of_a_million_characters_keeps_a_bounded_number_of_labels():
    rows = "\n".join(f"| item {number} | {number} |" for number in range(30_000))
    unit = PassageWords.from_text(f"| name | value |\n| --- | --- |\n{rows}", TABLE)
    assert unit.label_sizes.size == 2_000


def test_chinese_rows_have_labels():
    unit = PassageWords.from_text("| 项目 | 2019年 |\n| --- | --- |\n| 营业收入 | 3 |", TABLE)
    assert label("营业收入") in labels_of(unit)
