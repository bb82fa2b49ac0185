"""Text as the sparse index sees it: terms that every Milvus analyser splits and keeps alike.

Milvus's analysers differ from one backend to the next. Milvus Lite knows only a regular expression
(a run of Chinese is one term, stemmers are ignored), servers split Chinese into characters. So the store
analyses text itself, with the tokens that ranking uses, and hands Milvus words of ASCII letters,
digits and underscores, which no analyser changes.
"""

from __future__ import annotations

from collections.abc import Iterable

from llama_index_raganything.ranking.lexical import content_tokens, tokenize


def keyword_terms(text: str, max_bytes: int | None = None) -> str:
    """Return the index terms of a text, separated by blanks.

    English words are stemmed, runs of Chinese, Japanese and Korean become overlapping pairs of characters.

    Args:
        text: Any text.
        max_bytes: Leave out the terms that do not fit into so many bytes.

    Returns:
        ASCII terms; empty when the text has no word.
    """
    terms = _join(tokenize(text))
    if max_bytes is None or len(terms) <= max_bytes:
        return terms
    return terms[: max_bytes + 1].rpartition(" ")[0]


def query_terms(question: str) -> str:
    """Return the terms to search for, separated by blanks.

    Words like "the" are left out: they say nothing and cost half of the time. A question of nothing else keeps them.

    Args:
        question: Any text.

    Returns:
        ASCII terms; empty when the text has no word.
    """
    return _join(content_tokens(question) or tokenize(question))


def _join(tokens: Iterable[str]) -> str:
    terms = " ".join(tokens)
    if not terms.isascii():
        terms = " ".join([_ascii(token) for token in terms.split(" ")])
    # A decimal point splits words for some analysers and not for others; an underscore for none.
    return terms.replace(".", "_")


def _ascii(token: str) -> str:
    return token if token.isascii() else "u" + "_".join([f"{ord(character):x}" for character in token])
