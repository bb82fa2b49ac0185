"""How likely it is that results bear on a question at all: the score that users see and may cut by.

Ranking says which candidate is best and not whether it is any good. Here each word of the question is evidence for or
against, as in naive Bayes, and what it weighs is the length of its static vector
(:func:`~llama_index_raganything.models.wordllama.vector_length`), a measure of how rare a word is anywhere. Measured on
191 questions over 31 PDFs, against every one of the 31: a short word (8) is on the best page of a document that
does not answer for .32 of the questions, a long one (20) for .06; in the one that does, for .5 to .9 of them whatever
its length. So a word in the best text speaks for it by its length, a word that no candidate has against it by the
same, twice for names and numbers, which nobody paraphrases. A word that other candidates have says next to nothing.
Neighbouring words of the question that are neighbours in one of the best texts speak for them too. The numbers are
round; halving or doubling any of them moves the AUC by less than .005.

Area under the curve of the first score, questions asked of their own document against the same questions asked of each
of the 30 others: .957 (``pages`` .954, ``pages_more`` .961; with 3 of 100 characters misread .954). Alone, similarity
of vectors gives .90, the share of words covered .89 to .90, the ranking score .60; without the lengths of vectors it is
.938. On passages, at which nothing was chosen, questions of HotpotQA and of TAT-QA against each other's in either
corpus: .996 and 1.00. It separates topics better than answers: when a corpus lacks the documents of the answer and
still has others on the same topics, .80 and .75.

A score says how probable it is, at even odds beforehand, that the results bear on the question. Of questions in one of
those 31 documents said to be .0 to .1, .4 to .5, .7 to .8 and .9 to 1.0, .04, .50, .82 and .99 were at home there. At a
cut of .5, .85 of the questions keep something in their own document and .09 in another one; at .3, .93 and .20. Words
decide: a question in another language than the texts, or in none of their words, scores low even where a neural
embedding knows what it means. Without an informative word ("What is this about?") every score is .5.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_index_raganything.errors import MissingDependencyError
from llama_index_raganything.models.wordllama import vector_length
from llama_index_raganything.questions.question import understand, without_function_words
from llama_index_raganything.ranking.scoring import Candidate
from llama_index_raganything.text.bm25 import adjacent_pairs
from llama_index_raganything.text.characters import HIRAGANA
from llama_index_raganything.text.terms import Floats, Integers, hash_tokens, tokenize, word_list

UNKNOWN: Final = 0.5
"""The score of a question without an informative word."""

_SCALE: Final = 0.05
"""Log odds for each unit of a vector's length. Independent words would give .1, but words are not."""

_LONGEST: Final = 20.0
_USUAL: Final = 13.0
_DIGIT: Final = 5.0
_NUMBER: Final = 15.0
"""Lengths of vectors of numbers say how many digits they have, not how rare they are."""

_EXPECTED: Final = 7.0
"""A word of the best text must be longer than this to say anything."""

_ELSEWHERE: Final = 3.0
_NAME_ELSEWHERE: Final = 10.0
_NAMED: Final = 2.0
_PAIRS: Final = 1.75
_BASE: Final = 0.5
_NOTHING: Final = 2.5
"""What it costs that no candidate has a single word of the question."""

_MANY_DOCUMENTS: Final = 0.25
"""What it costs, by the logarithm of their number, to be the best of several documents: among many, one has something
by chance."""

_BEST: Final = 3
"""Pairs of neighbours are looked for in this many of the best results."""

_MOST_NAMES: Final = 0.5
_WORD: Final = re.compile(r"[^\W\d_]+")
_ONE_DIGIT: Final = frozenset("0123456789")
_HIRAGANA: Final = re.compile(rf"[{HIRAGANA}]")
"""Japanese writes particles and endings in it, and names in the other scripts."""

_OPENS: Final = re.compile(r"(?:^|[.?!])\W*$")
"""What comes before a word that opens a sentence."""

_CAPITALS_NAME: Final = re.compile(
    r"\b(?:the|of|is|are|was|were|what|which|who|how|when|where|why|does|did|do)\b", re.IGNORECASE
)
"""Words of a language in which a capital means a name; in German every noun has one."""


class _Words(NamedTuple):
    """The informative words of a question.

    Attributes:
        hashes: One per word.
        lengths: What each says when it is found.
        elsewhere: What each says against the best text when only other candidates have it.
        absent: What each says against it when no candidate has it.
        pairs: Hashes of words that are neighbours in the question.
    """

    hashes: Integers
    lengths: Floats
    elsewhere: Floats
    absent: Floats
    pairs: tuple[tuple[int, int], ...]


def relevance(question: str, ranked: Sequence[Candidate], top: int | None = None) -> list[float]:
    """Return how probable it is that each of the best results bears on a question.

    The first result decides: the odds of a further one lie halfway between its own and those of the first, since a
    second step has few words of the question, and none scores higher than one before it. So a cut drops the end of
    the list, or all of it. (Of the gold passages among the first five, a cut at .5 keeps .86 to .96, and .71 to .86 by
    their own odds.)

    Args:
        ranked: All that was ranked, best first: the rest shows which words are nowhere and how many documents were
            searched.
        top: How many of them are returned; all by default.

    Returns:
        One value between 0 and 1 for each result returned, none higher than the one before. Twenty results among 100
        pages take about 1 ms.
    """
    results = ranked[:top]
    words = _words_of(question)
    if not results or not words.hashes.size:
        return [UNKNOWN] * len(results)
    nowhere = ~_found(words.hashes, ranked)
    base = _BASE - _MANY_DOCUMENTS * math.log(len({candidate.document for candidate in ranked}))
    base -= _NOTHING * bool(nowhere.all())
    odds = base + np.array([_evidence(words, nowhere, result, [result]) for result in results])
    odds[0] = base + _evidence(words, nowhere, results[0], ranked[:_BEST])
    odds = np.minimum.accumulate((odds[0] + np.minimum(odds, odds[0])) / 2)
    shown: list[float] = (1.0 / (1.0 + np.exp(-odds))).tolist()
    return shown


def _evidence(words: _Words, nowhere: npt.NDArray[np.bool_], result: Candidate, together: Sequence[Candidate]) -> float:
    """Return what the words speak for a result, and their neighbours for it and others together."""
    missing = np.where(nowhere, words.absent, words.elsewhere)
    spoken = np.where(_found(words.hashes, [result]), words.lengths - _EXPECTED, -missing).sum()
    return float(_SCALE * spoken + _PAIRS * math.sqrt(_neighbours(words.pairs, together)))


@lru_cache(maxsize=256)
def _words_of(text: str) -> _Words:
    asked = understand(without_function_words(text))
    terms = tuple(dict.fromkeys(asked.terms))
    terms = tuple(term for term in terms if not _HIRAGANA.search(term)) or terms
    if all(term in word_list("question_words") or term in _ONE_DIGIT for term in terms):
        terms = ()
    written = dict(zip(asked.terms, asked.keywords, strict=False))
    lengths = np.array([_length(term, written.get(term, term)) for term in terms])
    names = _names(text)
    certain = np.array([term in names or _is_number(term) for term in terms], dtype=np.bool_)
    # A page has no need to bear its number.
    pages = np.array([term in {str(number) for number in asked.pages} for term in terms], dtype=np.bool_)
    return _Words(
        hashes=hash_tokens(terms),
        lengths=lengths,
        elsewhere=np.where(certain & ~pages, _NAME_ELSEWHERE, _ELSEWHERE),
        absent=np.where(pages, _ELSEWHERE, lengths * np.where(certain, _NAMED, 1.0)),
        pairs=tuple((hash(first), hash(second)) for first, second in adjacent_pairs(asked.terms)) if terms else (),
    )


def _is_number(term: str) -> bool:
    """Return whether a token is a number of two digits or more; one digit is everywhere."""
    return term[0].isdigit() and len(term) > 1


def _length(term: str, word: str) -> float:
    if term[0].isdigit():
        return _NUMBER if _is_number(term) else _DIGIT
    try:
        return min(vector_length(word), _LONGEST)
    except MissingDependencyError:
        # The vectors help (.957 against .938 without); a user of another embedding can do without them.
        return _USUAL


def _names(text: str) -> frozenset[str]:
    """Return the tokens of words that are names by their capitals, and of acronyms."""
    found = list(_WORD.finditer(text))
    capital = [match for match in found if match[0][0].isupper()]
    if len(capital) > _MOST_NAMES * len(found) or not _CAPITALS_NAME.search(text):
        return frozenset()
    named = [match[0] for match in capital if _is_acronym(match[0]) or not _OPENS.search(text[: match.start()])]
    return frozenset(tokenize(" ".join(named)))


def _is_acronym(word: str) -> bool:
    return len(word) > 1 and word.isupper()


def _found(hashes: Integers, candidates: Sequence[Candidate]) -> npt.NDArray[np.bool_]:
    """Return which words are in any of some hundred texts or in the headings above them."""
    everything = np.concatenate([part for each in candidates for part in (each.tokens.terms, each.tokens.head)])
    return np.array([bool((everything == value).any()) for value in hashes.tolist()], dtype=np.bool_)


def _neighbours(pairs: Sequence[tuple[int, int]], candidates: Sequence[Candidate]) -> int:
    """Return how many pairs are neighbours in one of the texts."""
    texts = [candidate.tokens.terms for candidate in candidates]
    return sum(
        any(bool(((terms[:-1] == first) & (terms[1:] == second)).any()) for terms in texts) for first, second in pairs
    )
