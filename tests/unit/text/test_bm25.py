import numpy as np
import pytest

from llama_index_raganything.ranking.scoring import document_scores, question_coverage
from llama_index_raganything.text.bm25 import (
    TextCollection,
    adjacent_pairs,
    contributions,
    standardize,
    window_pairs,
)
from llama_index_raganything.text.terms import TokenizedText


def collection(*texts):
    return TextCollection([TokenizedText.from_text(text) for text in texts])


def test_frequencies_of_words_neighbours_and_windows():
    texts = collection("gross margin rose while margin gross fell", "margin of the gross kind", "nothing here")
    assert texts.unigrams(["gross", "margin"]).tolist() == [[2, 2], [1, 1], [0, 0]]
    assert texts.bigrams([("gross", "margin")])[:, 0].tolist() == [1, 0, 0]
    assert texts.windows([("gross", "margin")])[:, 0].tolist() == [4, 1, 0]
    assert texts.heads(["noth"])[:, 0].tolist() == [0, 0, 1]


def test_neighbours_never_join_two_texts():
    texts = collection("alpha", "beta")
    assert not texts.bigrams([("alpha", "beta")]).any()
    assert not texts.windows([("alpha", "beta")]).any()


def test_a_rare_word_outweighs_a_common_one():
    texts = collection("common rare", "common other", "common third")
    scores = contributions(texts.unigrams(["common", "rare"]), texts.lengths)
    assert scores[0, 1] > scores[0, 0] > 0


def test_empty_collections_and_questions():
    assert collection().unigrams(["a"]).shape == (0, 1)
    assert collection("x").unigrams([]).shape == (1, 0)
    assert standardize(np.array([])).size == 0
    assert standardize(np.array([2.0, 2.0])).tolist() == [0, 0]


def test_pairs_of_a_question():
    assert adjacent_pairs(["a", "b", "b", "c"]) == [("a", "b"), ("b", "c")]
    assert window_pairs(["c", "a", "b"]) == [("a", "c"), ("b", "c"), ("a", "b")]


def test_coverage_is_a_share():
    texts = collection("red apple", "green pear", "red pear")
    frequencies = texts.unigrams(["red", "pear"])
    assert question_coverage(frequencies)[2] == pytest.approx(1)
    assert question_coverage(texts.unigrams([])).tolist() == [0, 0, 0]


def test_the_document_that_covers_more_scores_higher_and_one_document_scores_nothing():
    texts = collection("red apple", "pear", "red cherry", "plum")
    scores = contributions(texts.unigrams(["red", "pear"]), texts.lengths)
    documents = document_scores(scores, scores.sum(axis=1), np.array([0, 0, 1, 1]))
    assert documents[0] == documents[1] > documents[2] == documents[3]
    assert not document_scores(scores, scores.sum(axis=1), np.zeros(4, dtype=np.int64)).any()
