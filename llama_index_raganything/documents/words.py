"""Words that an edit took out of a text, and whether another text still says them. Pure functions of data."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Final

from llama_index_raganything._scripts import CJK

_WORD = re.compile(
    # Of scripts without blanks each character is a word, as are signs and emoji: Thai, Lao, Burmese and Khmer too.
    rf"[{CJK}\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2190-\u2bff\U0001f000-\U0001faff]|[^\W\d_]+|\d+"
)
_LONG: Final = 5
"""Letters from which a word is also sought in a text without its blanks: a page's own text may lack them."""
_INSIDE: Final = 3
"""Letters from which a word is sought inside words that the text does not have: "Anna" in "Annas", "AnnaBerg"."""
_BROKEN = re.compile(r"(?<=[^\W\d_])[-\u2010]\s*\n\s*(?=[^\W\d_])")
_THOUSANDS = re.compile(r"(?<=\d)[,.'\u2019 \u00a0\u202f](?=\d{3}(?!\d))")


class TakenWords:
    """The words, and pairs of neighbouring words, that a text had before an edit and has no more.

    Pairs tell that "John Smith" is gone where "John Doe" and "Adam Smith" stay, and find words of scripts without
    blanks, whose characters are taken for words. Words are compared as they are written and in a plain form, without
    accents, hyphens at line ends and separators of thousands.

    Args:
        before: The text before the edit.
        after: The text after it.
    """

    def __init__(self, before: str, after: str) -> None:
        self._forms = [_TakenForm(form, before, after) for form in (_as_written, _plain)]

    def stand_in(self, texts: Iterable[str | None]) -> bool:
        """Tell whether any of some texts says what was taken out.

        Args:
            texts: Any texts; None says nothing.
        """
        return any(form.stands_in(text) for text in texts if text for form in self._forms)


class _TakenForm:
    """The words taken out, in one way to write words."""

    def __init__(self, words_of: Callable[[str], list[str]], before: str, after: str) -> None:
        self._words_of = words_of
        old, new = words_of(before), words_of(after)
        self._left = set(new)
        self._words = set(old) - self._left
        self._pairs = set(pairwise(old)) - set(pairwise(new))

    def stands_in(self, text: str) -> bool:
        words = self._words_of(text)
        if not self._words.isdisjoint(words) or not self._pairs.isdisjoint(pairwise(words)):
            return True
        run = "".join(words)
        strange = "\n".join(set(words) - self._left)
        return any(
            (len(word) >= _LONG and word in run) or (len(word) >= _INSIDE and word in strange) for word in self._words
        )


def _as_written(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _plain(text: str) -> list[str]:
    letters = unicodedata.normalize("NFKD", _BROKEN.sub("", text).casefold())
    bare = "".join(letter for letter in letters if unicodedata.category(letter) not in {"Mn", "Cf"})
    return _WORD.findall(_THOUSANDS.sub("", unicodedata.normalize("NFKC", bare)))
