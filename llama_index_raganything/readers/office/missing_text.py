"""Add the paragraphs of a file that its parser lost.

As with PDF pages, structure comes from the parser and text from the file itself, and the result is their union. A
paragraph that the parser dropped is put after the one that precedes it in the file.
"""

from __future__ import annotations

import bisect
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self, TypeVar

from llama_index_raganything.elements import Element

Page = TypeVar("Page")

_PRESENT_SHARE: Final = 0.8
"""A paragraph counts as present when this share of its words is; inline formulas and fields change the rest."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class SourceParagraph:
    """One paragraph of a file's own text.

    Attributes:
        words: What to look for among the parser's elements.
        element: What to add when it is not there.
    """

    words: str
    element: Element

    @classmethod
    def of(cls, text: str, subtype: str | None = None, page: int | None = None, prefix: str = "") -> Self:
        """Describe a paragraph of the file.

        Args:
            text: The paragraph.
            subtype: Subtype of the element to add; header and footer become furniture.
            page: Page of the element to add.
            prefix: Put before the text in the element.
        """
        kind = "furniture" if subtype in {"header", "footer"} else "text"
        return cls(text, Element(type=kind, text=prefix + text, subtype=subtype, page=page))

    @classmethod
    def of_comment(cls, text: str, author: str, page: int | None = None) -> Self:
        """Describe a comment; its author is put before its text."""
        return cls.of(text, "comment", page, f"Comment by {author}: " if author else "Comment: ")


def complete_pages(
    elements: list[Element], pages: Sequence[Page], complete: Callable[[list[Element], int, Page], list[Element]]
) -> list[Element]:
    """Complete the elements of a file page by page.

    Args:
        elements: Elements whose page is the position of the slide or sheet, from 1.
        pages: What the file says of each slide or sheet.
        complete: Completes the elements of one page, given its number.

    Returns:
        The elements; unchanged when a page is not in the file, because then pages are counted in another way.
    """
    if max((element.page or 0 for element in elements), default=0) > len(pages):
        return elements
    result: list[Element] = []
    for number, page in enumerate(pages, start=1):
        result.extend(complete([element for element in elements if element.page == number], number, page))
    return result


def add_missing(elements: list[Element], source: Iterable[SourceParagraph]) -> list[Element]:
    """Add the paragraphs that the elements do not hold.

    Args:
        elements: The parser's elements in reading order.
        source: The file's own paragraphs in reading order.

    Returns:
        The elements with the missing paragraphs at their places; equal paragraphs are added once.
    """
    source = list(source)
    if not source:
        return list(elements)
    keys = [_key(" ".join((e.caption, e.text, e.footnote))) for e in elements]
    ends = list(itertools.accumulate(map(len, keys)))
    haystack = "".join(keys)
    words = {word for e in elements for word in _words(" ".join((e.caption, e.text, e.footnote)))}
    added: dict[int, list[Element]] = {}
    seen: set[str] = set()
    cursor, after = 0, -1
    for paragraph in source:
        key = _key(paragraph.words)
        if not key or key in seen:
            continue
        position = haystack.find(key, cursor)
        if position >= 0:
            cursor, after = position, bisect.bisect_right(ends, position)
        elif key not in haystack and not _mostly_present(paragraph.words, words):
            seen.add(key)
            # A comment or note without any paragraph before it has no place in the text: it goes last.
            place = len(elements) - 1 if after < 0 and paragraph.element.subtype else after
            added.setdefault(place, []).append(paragraph.element)
    result = list(added.get(-1, []))
    for index, element in enumerate(elements):
        result.append(element)
        result.extend(added.get(index, []))
    return result


def _mostly_present(text: str, words: set[str]) -> bool:
    own = _words(text)
    return bool(own) and sum(word in words for word in own) >= _PRESENT_SHARE * len(own)


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _key(text: str) -> str:
    return "".join(_words(text))
