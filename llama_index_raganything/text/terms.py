"""Words of a text: stems, numbers, and pairs of CJK characters; as arrays of hashes where many texts are compared."""

from __future__ import annotations

import json
import re
import threading
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from llama_index_raganything.text.characters import CJK

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

HEAD_LINES: Final = 3

_HYPHEN_AT_LINE_END = re.compile(r"(?<=[^\W\d_])[\x02\u00ad\ufffe]\s*(?=[^\W\d_])")
_TOKEN = re.compile(rf"[{CJK}]+|\d+(?:[.,]\d+)*|[^\W\d_{CJK}]+")
_IS_CJK = re.compile(rf"[{CJK}]")

# PyStemmer-style stemmers keep state between calls, so each thread has its own.
_local = threading.local()


def _stemmer() -> Any:
    if not hasattr(_local, "stemmer"):
        import snowballstemmer

        _local.stemmer = snowballstemmer.stemmer("english")
    return _local.stemmer


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    return str(_stemmer().stemWord(word)) if word.isascii() else word


def normalize(text: str) -> str:
    """Return text in compatibility form, lower case, with words joined that a line end had cut.

    Returns:
        The normalised text.
    """
    if not text.isascii():
        text = _HYPHEN_AT_LINE_END.sub("", text)
        text = unicodedata.normalize("NFKC", text)
    elif "\x02" in text:
        text = _HYPHEN_AT_LINE_END.sub("", text)
    return text.lower().replace("\u2019", "'")


def tokenize(text: str, *, stem: bool = True) -> list[str]:
    """Split text into stems, numbers and, for Chinese, Japanese and Korean, pairs of characters.

    Args:
        stem: Reduce English words to their Snowball stems.

    Returns:
        Tokens in order. Numbers have no thousands separators. A run of one CJK character is itself; longer
        runs are overlapping pairs, as in Lucene's CJK analyser.
    """
    tokens: list[str] = []
    for match in _TOKEN.finditer(normalize(text)):
        token = match.group()
        first = token[0]
        if first.isdigit():
            tokens.append(token.replace(",", ""))
        elif _IS_CJK.match(first):
            tokens.extend([token] if len(token) == 1 else (token[i : i + 2] for i in range(len(token) - 1)))
        else:
            tokens.append(_stem(token) if stem else token)
    return tokens


@cache
def word_list(name: str) -> frozenset[str]:
    """Return a packaged list of words that carry no content, as tokens.

    Args:
        name: ``"stop_words"`` (of texts and questions) or ``"question_words"`` (of questions only).

    Returns:
        The tokens of the words.
    """
    source = resources.files(__package__) / "words.json"
    return frozenset(tokenize(json.loads(source.read_text("utf-8"))[name]))


def content_tokens(text: str) -> list[str]:
    """Return the tokens of a text without stop words.

    Returns:
        Tokens in order.
    """
    stop_words = word_list("stop_words")
    return [token for token in tokenize(text) if token not in stop_words]


def hash_tokens(tokens: Iterable[str]) -> Integers:
    """Return one 64-bit integer per token, equal for equal tokens within this process.

    Returns:
        Integers in the order of the tokens.
    """
    return np.fromiter((hash(token) for token in tokens), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """The hashed content words of one text.

    Attributes:
        terms: All content words in order.
        head: Content words of its first lines, section, caption and label.
    """

    terms: Integers
    head: Integers

    @classmethod
    def from_text(cls, text: str, head: str = "") -> TokenizedText:
        """Tokenize a text.

        Args:
            head: What is above it (title, section, caption); its own first lines are added.

        Returns:
            The tokenized text.
        """
        first_lines = [line for line in text[:2000].splitlines() if line.strip()][:HEAD_LINES]
        return cls(
            terms=hash_tokens(content_tokens(text)),
            head=hash_tokens(content_tokens("\n".join([head, *first_lines]))),
        )


_COUNTED = re.compile(rf"[{CJK}]|[^\W{CJK}]{{1,12}}|[^\w\s]")


def simple_tokens(text: str) -> list[str]:
    """Cut a text into words, CJK characters and marks, about as many as a model's tokenizer would.

    A regular expression is some ten times faster than ``tiktoken``, LlamaIndex's default, and needs no data.

    Returns:
        The tokens; words are cut every twelve letters, so that no token hides a long string.
    """
    return _COUNTED.findall(text)


def keyword_terms(text: str, max_bytes: int | None = None) -> str:
    """Return the index terms of a text, separated by blanks.

    English words are stemmed, runs of Chinese, Japanese and Korean become overlapping pairs of characters.

    Args:
        max_bytes: Leave out the terms that do not fit into so many bytes.

    Returns:
        ASCII terms; empty when the text has no word.
    """
    terms = _ascii_terms(tokenize(text))
    if max_bytes is None or len(terms) <= max_bytes:
        return terms
    return terms[: max_bytes + 1].rpartition(" ")[0]


def query_terms(question: str) -> str:
    """Return the terms to search for, separated by blanks.

    Words like "the" are left out: they say nothing and cost half of the time. A question of nothing else keeps them.

    Returns:
        ASCII terms; empty when the text has no word.
    """
    return _ascii_terms(content_tokens(question) or tokenize(question))


def _ascii_terms(tokens: Iterable[str]) -> str:
    terms = " ".join(tokens)
    if not terms.isascii():
        terms = " ".join([_ascii_token(token) for token in terms.split(" ")])
    # A decimal point splits words for some analysers and not for others; an underscore for none.
    return terms.replace(".", "_")


def _ascii_token(token: str) -> str:
    return token if token.isascii() else "u" + "_".join([f"{ord(character):x}" for character in token])
