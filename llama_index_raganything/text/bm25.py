"""IDF, BM25, and the order of words: the lexical signals that a vector database does not offer.

Texts are arrays of hashed stems. Scoring a question against a few hundred texts is then a handful of numpy operations,
and a text's array is small enough (8 bytes a word) to be cached for the next question.

BM25 is Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, in the variant
whose inverse document frequency cannot become negative. Adjacent pairs and unordered pairs in a window are the
ordered and unordered features of Metzler and Croft, "A Markov Random Field Model for Term Dependencies", 2005.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, TypeVar

import numpy as np

from llama_index_raganything.text.terms import Floats, Integers, TokenizedText, hash_tokens

Numbers = TypeVar("Numbers", float, Floats)
"""One number, or an array of them."""

BM25_K1: Final = 1.2
BM25_B: Final = 0.75
PAIR_WINDOW: Final = 4
"""Two question words count as near each other when at most this many words apart in a text."""

QUESTION_PAIR_WINDOW: Final = 3
"""Only question words at most this many words apart in the question are looked for as pairs."""

_NO_SPREAD: Final = 1e-9


def inverse_document_frequency(document_frequency: Numbers, size: int) -> Numbers:
    """Return how informative terms are that ``document_frequency`` of ``size`` texts have.

    Returns:
        ln(1 + (N - df + .5) / (df + .5)) for each term.
    """
    idf: Numbers = np.log1p((size - document_frequency + 0.5) / (document_frequency + 0.5))
    return idf


def rarest(size: int) -> float:
    """Return about the IDF of a term that one of ``size`` texts has: ln(1 + N)."""
    return float(np.log1p(size))


def saturate(frequencies: Numbers, relative_lengths: Numbers, b: float = BM25_B) -> Numbers:
    """Return BM25's term weights without the IDF, each between 0 and 1.

    Args:
        frequencies: How often a text has a term.
        relative_lengths: Length of the text, as a multiple of the mean length.
        b: How much long texts are penalised, 0 to 1.

    Returns:
        tf / (tf + k1 (1 - b + b length / mean length)).
    """
    return frequencies / (frequencies + BM25_K1 * (1 - b + b * relative_lengths))


def relative_lengths(lengths: Floats) -> Floats:
    """Return lengths as multiples of their mean; zeros where all are 0."""
    mean = float(lengths.mean()) if lengths.size else 0.0
    relative: Floats = lengths / (mean or 1.0)
    return relative


def contributions(frequencies: Floats, lengths: Floats) -> Floats:
    """Return what each term adds to each text's BM25 score.

    Args:
        frequencies: Texts by terms.
        lengths: Length of each text, in words.

    Returns:
        Texts by terms; the row sums are the BM25 scores.
    """
    idf = inverse_document_frequency((frequencies > 0).sum(axis=0).astype(np.float64), frequencies.shape[0])
    scores: Floats = saturate(frequencies, relative_lengths(lengths)[:, None]) * idf
    return scores


def moments(values: Floats, groups: Integers | None = None) -> tuple[Floats, Floats]:
    """Return, for each value, the mean of its group and one over the standard deviation of its group.

    Args:
        values: One value per candidate.
        groups: Number of the group of each, from 0 without gaps; one group of all by default.

    Returns:
        Means and scales; the scale is 0 where all values of a group are alike.
    """
    if groups is None:
        groups = np.zeros(values.size, dtype=np.int64)
    sizes = np.bincount(groups)
    mean = (np.bincount(groups, values) / sizes)[groups]
    spread = np.sqrt(np.bincount(groups, (values - mean) ** 2) / sizes)
    scale: Floats = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread >= _NO_SPREAD)
    return mean, scale[groups]


def standardize(values: Floats, groups: Integers | None = None) -> Floats:
    """Return values with mean 0 and standard deviation 1; zeros where they are all alike.

    Args:
        values: One value per candidate.
        groups: As for :func:`moments`; each group is standardised by itself.

    Returns:
        The z-scores.
    """
    mean, scale = moments(values, groups)
    scores: Floats = (values - mean) * scale
    return scores


class TextCollection:
    """Some hundred tokenized texts, laid end to end, to be scored against a question.

    Args:
        texts: The texts; their order is the order of every result.
    """

    def __init__(self, texts: Sequence[TokenizedText]) -> None:
        self.size = len(texts)
        self._terms, self._owner = _concatenate([text.terms for text in texts])
        self._head, self._head_owner = _concatenate([text.head for text in texts])
        self.lengths = np.array([text.terms.size for text in texts], dtype=np.float64)
        self.head_lengths = np.array([text.head.size for text in texts], dtype=np.float64)
        self._positions: dict[int, Integers] = {}

    def unigrams(self, terms: Sequence[str]) -> Floats:
        """Return how often each term occurs in each text, as an array of texts by terms.

        Args:
            terms: Tokens as :func:`tokenize` makes them.

        Returns:
            Frequencies.
        """
        return self._columns([self._count(self._occurrences(term)) for term in terms])

    def heads(self, terms: Sequence[str]) -> Floats:
        """Return how often each term occurs in the head of each text.

        Returns:
            Frequencies, texts by terms.
        """
        owners = [self._head_owner[np.flatnonzero(self._head == value)] for value in hash_tokens(terms).tolist()]
        return self._columns([np.bincount(own, minlength=self.size).astype(np.float64) for own in owners])

    def bigrams(self, pairs: Sequence[tuple[str, str]]) -> Floats:
        """Return how often the first of two terms is directly followed by the second.

        Returns:
            Frequencies, texts by pairs.
        """
        columns = []
        for first, second in pairs:
            followed = np.isin(self._occurrences(first) + 1, self._occurrences(second), assume_unique=True)
            columns.append(self._count(self._occurrences(first)[followed]))
        return self._columns(columns)

    def windows(self, pairs: Sequence[tuple[str, str]]) -> Floats:
        """Return how often two terms are within :data:`PAIR_WINDOW` words of each other, in any order.

        Returns:
            Frequencies, texts by pairs.
        """
        columns = []
        for first, second in pairs:
            here, there = self._occurrences(first), self._occurrences(second)
            low = np.searchsorted(there, here - PAIR_WINDOW, side="left")
            high = np.searchsorted(there, here + PAIR_WINDOW, side="right")
            near = np.repeat(here, high - low)
            columns.append(self._count(near))
        return self._columns(columns)

    def _occurrences(self, term: str) -> Integers:
        value = hash(term)
        if value not in self._positions:
            self._positions[value] = np.flatnonzero(self._terms == value)
        return self._positions[value]

    def _count(self, positions: Integers) -> Floats:
        return np.bincount(self._owner[positions], minlength=self.size).astype(np.float64)

    def _columns(self, columns: list[Floats]) -> Floats:
        return np.stack(columns, axis=1) if columns else np.zeros((self.size, 0))


def _concatenate(arrays: Sequence[Integers]) -> tuple[Integers, Integers]:
    """Lay arrays end to end with a gap that no window crosses; return the values and whose each is."""
    gap = np.zeros(PAIR_WINDOW + 1, dtype=np.int64)
    values = np.concatenate([gap[:0], *(part for array in arrays for part in (array, gap))])
    owner = np.repeat(np.arange(len(arrays)), np.array([array.size + gap.size for array in arrays], dtype=np.int64))
    return values, owner


def adjacent_pairs(tokens: Sequence[str]) -> list[tuple[str, str]]:
    """Return the distinct pairs of neighbouring tokens.

    Returns:
        Pairs in order.
    """
    return list(dict.fromkeys((a, b) for a, b in pairwise(tokens) if a != b))


def window_pairs(tokens: Sequence[str]) -> list[tuple[str, str]]:
    """Return the distinct unordered pairs of tokens that are near each other in a question.

    Returns:
        Pairs in order.
    """
    pairs: dict[tuple[str, str], None] = {}
    for index, first in enumerate(tokens):
        for second in tokens[index + 1 : index + 1 + QUESTION_PAIR_WINDOW]:
            if first != second:
                pairs[(min(first, second), max(first, second))] = None
    return list(pairs)
