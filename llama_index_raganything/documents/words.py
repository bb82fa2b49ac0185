"""Words that an edit took out of a text, and whether another text still says them. Pure functions of data."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from llama_index_raganything._scripts import CJK

_WORD = re.compile(rf"[{CJK}]|[^\W\d_]+|\d+")
_LONG: Final = 5
"""Letters from which a word is also sought inside others: a page's own text may lack blanks or be hyphenated."""


class TakenWords:
    """The words, and pairs of neighbouring words, that a text had before an edit and has no more.

    Pairs tell that "John Smith" is gone where "John Doe" and "Adam Smith" stay, and find words of scripts without
    blanks, whose characters are taken for words.

    Args:
        before: The text before the edit.
        after: The text after it.
    """

    def __init__(self, before: str, after: str) -> None:
        old, new = _words(before), _words(after)
        self._words = set(old) - set(new)
        self._pairs = set(pairwise(old)) - set(pairwise(new))
        self._long = [word for word in self._words if len(word) >= _LONG]

    def stand_in(self, texts: Iterable[str | None]) -> bool:
        """Tell whether any of some texts says what was taken out.

        Args:
            texts: Any texts; None says nothing.
        """
        return any(text and self._stand_in(text) for text in texts)

    def _stand_in(self, text: str) -> bool:
        words = _words(text)
        if not self._words.isdisjoint(words) or not self._pairs.isdisjoint(pairwise(words)):
            return True
        run = "".join(words)
        return any(word in run for word in self._long)


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
