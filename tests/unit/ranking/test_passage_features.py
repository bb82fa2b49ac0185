import time

import numpy as np
import pytest

from llama_index_raganything.ranking.passage_features import (
    TABLE,
    PassageWeights,
    PassageWords,
    passage_features,
    question_words,
    states_measure,
)
from llama_index_raganything.ranking.set_coverage import score_sets, single_sets, stack_sets

NOISE = ["Pumps are inspected weekly.", "Filters wear out. Order more.", "The board met in May."]


def units(*texts, kind="text"):
    return [PassageWords.from_text(text, kind) for text in texts]


def features(question, *texts, kind="text", **weights):
    return passage_features(question, units(*texts, *NOISE, kind=kind), PassageWeights(**weights))


def table(*rows):
    return "\n".join([" | ".join(row) for row in rows])


def test_asking_words_are_dropped_and_words_of_calculation_are_marked():
    words = question_words("What is the percentage change in total sales between 2018 and 2019?")
    assert words.terms == ("percentag", "chang", "total", "sale", "2018", "2019")
    assert words.operations == (True, True, True, False, False, False)
    assert words.years == ("2018", "2019")


def test_a_question_of_asking_words_only_keeps_them():
    assert question_words("What? Who?").terms == ("what", "who")


def test_chinese_questions_are_read():
    words = question_words("2019年 营业收入 变化")
    assert words.years == ("2019",)
    assert dict(zip(words.terms, words.operations, strict=True))["变化"]
    found = features("营业收入 是 多少", "公司 的 营业收入 为 三 亿。", "公司 位于 北京。").singles
    assert found.argmax() == 0


def test_coverage_has_the_share_of_each_word_of_the_question():
    found = features("goodwill impairment", "Goodwill and impairment.", "Goodwill.")
    assert found.terms == ("goodwil", "impair")
    assert found.coverage.shape == (5, 2)
    assert (found.coverage[0] > 0).tolist() == [True, True]
    assert (found.coverage[1] > 0).tolist() == [True, False]
    assert 0 < found.coverage.sum(axis=1).max() <= 1
    assert not found.coverage[2:].any()


def test_words_that_no_unit_has_lower_what_the_others_cover():
    known = features("goodwill", "Goodwill.").coverage.sum()
    assert features("goodwill zyxin", "Goodwill.").coverage.sum() < 0.8 * known


def test_words_of_calculation_count_less():
    found = features("average inventory", "The average.", "The inventory.")
    assert found.coverage[1].sum() == pytest.approx(found.coverage[0].sum() / 0.3)


def test_lengths_are_compared_within_a_kind():
    words = " ".join(f"word{number}" for number in range(60))
    long = [PassageWords.from_text(f"sales {words}", TABLE), PassageWords.from_text(f"costs {words}", TABLE)]
    mixed = passage_features("sales", [*long, *units("costs"), *units("sales")]).coverage.sum(axis=1)
    assert mixed[0] == pytest.approx(mixed[3])


def test_order_of_words_counts_within_a_sentence_only():
    signal = features(
        "cash flow hedge accounting", "Cash flow hedge.", "Flow hedge cash.", "Cash flow. Hedge.", "Hedge. Cash. Flow."
    ).signals["ngrams"]
    assert signal[0] > signal[1] > 0
    assert signal[0] > signal[2]
    assert signal[3] == 0


def test_order_of_words_counts_within_a_cell_only():
    rows = units(table(["cash flow", "hedge"]), table(["cash", "flow"]), *NOISE, kind=TABLE)
    signal = passage_features("cash flow hedge", rows).signals["ngrams"]
    assert signal[0] > 0
    assert signal[1] == 0


def test_longer_runs_count_as_well_as_the_shorter_ones_in_them():
    pairs = features("red green blue black", "red green. green blue. blue black.").signals["ngrams"][0]
    run = features("red green blue black", "red green blue black.").signals["ngrams"][0]
    assert run > 2 * pairs > 0


def test_runs_of_function_words_only_are_ignored():
    assert features("what is the cost of it", "What is the matter of it?").signals["ngrams"][0] == 0


def test_repeated_words_in_question_and_text():
    signal = features("new york new york new york", "New York, New York.", "York new.").signals["ngrams"]
    assert signal[0] > signal[1] > 0


def test_near_words_count_in_any_order_within_a_sentence():
    question = "hedge gains recognised"
    signal = features(
        question,
        "Gains on every hedge are recognised.",
        "Gains fell. A hedge was sold. Nothing was recognised.",
        "Hedge one two three four five gains one two three four five recognised.",
    ).signals["windows"]
    assert signal[0] > 0
    assert not signal[1:].any()
    assert features("hedge gains", "Gains on every hedge.").signals["windows"][0] > 0
    assert not features(question, "Gains hedge recognised", kind=TABLE).signals["windows"].any()


def test_a_label_must_be_covered_nearly_whole():
    signal = passage_features(
        "What were total sales in 2019?",
        units(
            table(["", "2019"], ["Total sales", "3"]),
            table(["", "2019"], ["Total sales and marketing expense", "3"]),
            table(["", "2019"], ["Marketing", "3"]),
            *NOISE,
            kind=TABLE,
        ),
    ).signals["labels"]
    assert signal[0] > 2 * signal[1] > 0
    assert not signal[2:].any()


def test_words_of_calculation_need_not_stand_in_a_label():
    rows = [*units(table(["", "2019"], ["Sales", "3"]), kind=TABLE), *units("The average was low.", *NOISE)]
    plain = passage_features("sales", rows).signals["labels"][0]
    assert passage_features("average sales", rows).signals["labels"][0] == pytest.approx(plain)
    assert passage_features("pumps sales", rows).signals["labels"][0] < 0.8 * plain


def test_a_label_is_found_below_its_parent_row():
    rows = [["", "2019"], ["Europe", ""], ["Sales", "3"]]
    below, beside = table(*rows), table(rows[0], rows[2])
    signal = passage_features("sales in Europe", units(below, beside, *NOISE, kind=TABLE)).signals["labels"]
    assert signal[0] > signal[1] > 0


def test_tables_lose_for_years_that_they_lack():
    question = "sales in 2018 and 2019"
    cells = [table(["", *years], ["Sales", "3"]) for years in (["2019", "2018"], ["2019"], ["2016"])]
    found = passage_features(question, [*units(*cells, kind=TABLE), *units("Sales grew.")])
    assert found.signals["years"] == pytest.approx([0, -0.15, -0.3, 0])
    assert not features("sales", *cells, kind=TABLE).signals["years"].any()


def test_extras_are_the_sum_of_the_weighted_signals():
    found = features("cash flow hedge", "The cash flow hedge ended.")
    assert found.extras == pytest.approx(sum(found.signals.values()))
    assert found.singles == pytest.approx(found.coverage.sum(axis=1) + found.extras)
    off = features("cash flow hedge", "The cash flow hedge ended.", text_ngrams=0, windows=0)
    assert not off.extras.any()


def test_a_table_and_its_paragraph_win_together():
    candidates = [
        *units("Restructuring began in Ohio.", "Ohio has plants.", "Restructuring is a word."),
        PassageWords.from_text(table(["", "2019"], ["Severance cost", "12"]), TABLE),
        PassageWords.from_text(table(["", "2019"], ["Severance", "9"]), TABLE),
        *units(*NOISE),
    ]
    found = passage_features("severance cost of the Ohio restructuring in 2019", candidates)
    scores = score_sets(
        found.coverage, found.extras, stack_sets(single_sets(len(candidates)), [(3, 0), (4, 1), (4, 2)])
    )
    assert set(np.argsort(-scores.membership)[:2].tolist()) == {3, 0}
    assert scores.members(scores.best_sets(0)[0]) == [3, 0]


def test_only_text_beside_tables_tells_their_unit():
    stated = "(in thousands)"
    assert states_measure([*units(stated, "none"), *units(stated, kind=TABLE)]).tolist() == [True, False, False]


@pytest.mark.parametrize("question", ["", "???", "the of", "\ud800\x00", "sales " * 5_000, "什么", "a" * 100_000])
@pytest.mark.parametrize("texts", [[], [""], ["", "sales"], ["sales sales"]])
def test_any_question_over_any_units(question, texts):
    found = passage_features(question, [*units(*texts), *units(*texts, kind=TABLE)])
    assert found.coverage.shape == (2 * len(texts), len(found.terms))
    assert np.isfinite(found.singles).all()
    assert np.isfinite(found.coverage).all()


def test_hundreds_of_units_are_a_matter_of_milliseconds():
    generator = np.random.default_rng(3)
    vocabulary = [f"word{number}" for number in range(2_000)]
    texts = [" ".join(generator.choice(vocabulary, 80)) + "." for _ in range(300)]
    prepared = units(*texts)
    question = " ".join(vocabulary[:12])
    times = []
    for _ in range(5):
        start = time.perf_counter()
        passage_features(question, prepared)
        times.append(time.perf_counter() - start)
    # 2 ms when measured alone.
    assert min(times) < 0.05
