"""What of its sources an LLM reads: whole texts while they fit, then passages and rows, nothing cut inside."""

import pytest

from llama_index_raganything.query_engine.context.excerpts import GAP, excerpts, split_passages

FILLER = "The weather was fine and nothing happened that day. "
TABLE = "\n".join(
    [
        "Table 1: Output in tonnes",
        "| Mill | Output |",
        "| --- | --- |",
        *(f"| Mill {number} | {number * 7} |" for number in range(1, 61)),
    ]
)


def test_what_fits_is_given_whole():
    texts = ["One.\n\nTwo.", "", "Three."]
    assert excerpts("What?", texts, 100) == texts


@pytest.mark.parametrize("budget", [300, 700, 2000])
def test_the_budget_holds_and_the_passage_that_answers_is_in(budget):
    texts = [FILLER * 60, FILLER * 30 + "The heron sleeps at noon. " + FILLER * 30, FILLER * 60]
    given = excerpts("When does the heron sleep?", texts, budget)
    assert "The heron sleeps at noon." in given[1]
    assert sum(len(text) for text in given if text) <= budget


def test_the_best_source_stays_whole_where_it_takes_no_more_than_half():
    texts = ["A short first page. " * 5, FILLER * 100]
    given = excerpts("When does the heron sleep?", texts, 1000)
    assert given[0] == texts[0]
    assert 0 < len(given[1]) < len(texts[1])


def test_of_passages_alike_those_of_better_sources_go_in():
    answer = "The heron sleeps at noon. "
    texts = [FILLER * 30 + f"Here we say that the grey heron of the lake sleeps at noon. {FILLER * 30}", FILLER * 60]
    texts += [FILLER * 60, FILLER * 60, FILLER * 30 + answer * 2 + FILLER * 30]
    given = excerpts("When does the heron sleep?", texts, 300)
    assert "sleeps at noon" in given[0]
    assert not given[4]


def test_nothing_is_cut_inside_a_sentence_and_gaps_are_marked():
    text = "\n".join(f"Line {number} tells of bird {number}. It flew on day {number}." for number in range(200))
    (given,) = excerpts("What of bird 77?", [text], 400)
    assert "Line 77 tells of bird 77. It flew on day 77." in given
    kept = [line for line in given.split("\n") if line != GAP]
    assert all(line in text for line in kept)
    assert given.startswith(GAP)
    assert given.endswith(GAP)


def test_rows_keep_caption_and_header_and_what_is_left_out_is_told():
    (given,) = excerpts("What was the output of Mill 42?", [TABLE], 420)
    lines = given.split("\n")
    assert lines[:4] == [*TABLE.split("\n")[:3], lines[3]]
    assert "| Mill 42 | 294 |" in lines
    told = [int(line.split("(")[1].split(" ")[0]) for line in lines if "of the table left out" in line]
    assert sum(told) + sum(line.startswith("| Mill ") for line in lines) - 1 == 60


def test_the_words_of_a_header_count_for_its_rows():
    other = "\n".join(["| Mill | Staff |", "| --- | --- |", *(f"| Mill {number} | {number} |" for number in range(60))])
    given = excerpts("What was the output of Mill 42?", [other, TABLE], 500)
    assert "| Mill 42 | 294 |" in given[1]


def test_heads_of_sources_count_once_for_each_that_is_read():
    texts = [f"The heron number {number} sleeps. " * 20 for number in range(10)]
    given = excerpts("Which heron sleeps?", texts, 2000, heads=[300] * 10)
    assert sum(len(text) + 300 for text in given if text) <= 2000


@pytest.mark.parametrize("text", ["x" * 5000, "word " * 1000, "。".join(["鹭在中午睡觉"] * 700)])
def test_texts_without_ends_of_sentences_are_not_lost(text):
    (given,) = excerpts("x word 鹭", [text], 600)
    assert 200 < len(given) <= 600


def test_tokens_are_counted_by_the_caller():
    def count(text):
        return len(text.split())

    (given,) = excerpts("When does the heron sleep?", [FILLER * 50 + "The heron sleeps at noon."], 60, count)
    assert "The heron sleeps at noon." in given
    assert count(given) <= 60


def test_passages_join_to_the_lines_of_the_text():
    text = f"Before.\n\n{TABLE}\n\nAfter. " + FILLER * 20
    passages = split_passages(text, 200)
    assert [passage.place for passage in passages] == list(range(len(passages)))
    rows = [passage for passage in passages if passage.rows]
    assert sum(passage.rows for passage in rows) == 60
    assert {passage.head for passage in rows} == {"\n".join(TABLE.split("\n")[:3])}
    assert passages[0].text.startswith("Before.")
    assert passages[-1].text.endswith("that day.")
