"""Say a question in the words of the passages where they differ by an ending only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_SHORTEST: Final = 5
_ENDING: Final = 3


def in_words_of(terms: Iterable[str], vocabulary: Iterable[str]) -> tuple[str, ...]:
    """Replace terms that no passage has by words of the passages that only go on a little further.

    Stemming keeps "depart" and "departure" apart ("depart", "departur"); a table says one where the question
    says the other.

    Args:
        terms: Stemmed words of the question.
        vocabulary: Stemmed words of the passages.

    Returns:
        The terms in order; one that is missing becomes the shortest word that begins with it, or that it begins
        with, when they share five letters or more and differ by three at most.
    """
    words = set(vocabulary)
    return tuple(term if term in words or len(term) < _SHORTEST else _nearest(term, words) for term in terms)


def _nearest(term: str, words: set[str]) -> str:
    near = [
        word
        for word in words
        if len(word) >= _SHORTEST
        and abs(len(word) - len(term)) <= _ENDING
        and (word.startswith(term) or term.startswith(word))
    ]
    return min(near, key=lambda word: (abs(len(word) - len(term)), word), default=term)
