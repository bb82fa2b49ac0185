"""The words of a question: which are names, and which passages say with another ending. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from llama_index_raganything.questions.question import LABEL_KINDS
from llama_index_raganything.text.terms import content_tokens

_SHORTEST: Final = 5
_ENDING: Final = 3
_MOST_NAMES: Final = 0.5
_WORD = re.compile(r"[^\W\d_]+")
_NAME = re.compile(r"(?<=[\w,] )[^\W\d_]{2,}")


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


def names_in(question: str) -> frozenset[str]:
    """Return the names in a question: words with a capital that open no sentence.

    Args:
        question: The question, in English.

    Returns:
        Their stems; empty where most words have a capital, as in a title.
    """
    found = [match for match in _NAME.finditer(question) if match[0][0].isupper()]
    names = [m[0] for m in found if not question[m.start() - 2].isupper() and m[0].lower() not in LABEL_KINDS]
    if len(names) > _MOST_NAMES * len(_WORD.findall(question)):
        return frozenset()
    return frozenset(content_tokens(" ".join(names)))


def names_kind(label: str, kind: str) -> bool:
    """Tell whether a label is of the kind that a question names.

    Args:
        label: Label of an element in lower case, such as "figure 4" or "图 4".
        kind: Kind of labelled part, such as "figure".
    """
    names = {"figure": ("figure", "图", "chart"), "table": ("table", "表"), "equation": ("equation", "式", "公式")}
    return label.startswith(names.get(kind, (kind,)))
