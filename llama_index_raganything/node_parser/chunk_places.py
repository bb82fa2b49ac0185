"""Where chunks of any splitter stand among the elements of a document. Pure functions of data."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from llama_index_raganything.documents.packing import Contents
from llama_index_raganything.elements import SECTION_SEPARATOR, Element
from llama_index_raganything.node_parser.chunking import page_labels, union_of
from llama_index_raganything.node_parser.sections import SectionPath

_TELLING: Final = 20
"""Characters, blanks aside, from which a line tells where it comes from when its chunk as a whole does not."""


class TextFinder:
    """Finds chunks in the text that they were cut from, as it is or with other white space."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._marks = ""
        self._positions: list[int] = []

    def is_at(self, chunk: str, start: int) -> bool:
        """Tell whether a chunk stands at a place.

        Args:
            start: Its first character.
        """
        return start >= 0 and bool(chunk) and self._text.startswith(chunk, start)

    def find(self, chunk: str, start: int) -> tuple[int, int] | None:
        """Find a chunk, first from a place on, then anywhere.

        Args:
            start: Where to begin.

        Returns:
            Its first character and behind its last one, or None.
        """
        chunk = chunk.strip()
        if not chunk:
            return None
        for begin in (start, 0):
            found = self._text.find(chunk, begin)
            if found >= 0:
                return found, found + len(chunk)
            span = self._find_marks(_marks(chunk), begin)
            if span is not None:
                return span
        return None

    def find_lines(self, chunk: str) -> list[tuple[int, int]]:
        """Find the lines of a chunk that stand in the text exactly once.

        Args:
            chunk: Text of a chunk that is no stretch of the text, such as one with a summary in it.

        Returns:
            Where they stand.
        """
        spans = []
        for line in chunk.split("\n"):
            marks = _marks(line)
            if len(marks) < _TELLING:
                continue
            span = self._find_marks(marks, 0)
            if span is not None and self._find_marks(marks, span[0] + 1) is None:
                spans.append(span)
        return spans

    def _find_marks(self, marks: str, begin: int) -> tuple[int, int] | None:
        if not self._positions:
            self._positions = [place for place, mark in enumerate(self._text) if not mark.isspace()]
            self._marks = _marks(self._text)
        first = self._marks.find(marks, bisect_left(self._positions, begin))
        if first < 0:
            return None
        return self._positions[first], self._positions[first + len(marks) - 1] + 1


def _marks(text: str) -> str:
    return "".join(text.split())


@dataclass(frozen=True)
class _Passage:
    element: Element
    start: int
    end: int
    section: tuple[str, ...]


class Places:
    """Knows what stands where in a document.

    Args:
        contents: What the document says.
    """

    def __init__(self, contents: Contents) -> None:
        self._labels = page_labels(contents.elements)
        self._passages: list[_Passage] = []
        path = SectionPath()
        for element, span in zip(contents.elements, contents.spans, strict=True):
            if element.type == "heading":
                path.enter(element)
            if span is not None:
                self._passages.append(_Passage(element, *span, path.names))
        self._starts = [passage.start for passage in self._passages]
        self._ends = [passage.end for passage in self._passages]

    def metadata(self, spans: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """Return what is known of stretches of the text, where it is the same for all that they overlap.

        Args:
            spans: First characters, and behind the last ones.

        Returns:
            ``page``, ``page_label``, ``bbox`` (around all elements), ``section`` (that holds them all); ``element_id``
            of a single element; ``label`` with its ``caption``, and ``asset``, where only one element has one.
        """
        passages = [passage for start, end in spans for passage in self._between(start, end)]
        elements = [passage.element for passage in passages]
        if not elements:
            return {}
        pages = {element.page for element in elements} - {None}
        page = pages.pop() if len(pages) == 1 else None
        labelled = {element.label: element for element in elements if element.label}
        caption, label = "", None
        if len(labelled) == 1:
            (label, named), *_ = labelled.items()
            caption = " ".join(named.caption.split())[:600]
        assets = {element.asset for element in elements if element.asset and element.type != "page"}
        box = union_of(element.bbox for element in elements if element.page == page) if page is not None else None
        found = {
            "page": page,
            "page_label": self._labels.get(page) if page is not None else None,
            "bbox": json.dumps(list(box), separators=(",", ":")) if box else None,
            "section": _common([passage.section for passage in passages]),
            "caption": caption,
            "label": label,
            "element_id": elements[0].fingerprint() if len(elements) == 1 else None,
            "asset": assets.pop() if len(assets) == 1 else None,
        }
        return {key: value for key, value in found.items() if value not in (None, "")}

    def _between(self, start: int, end: int) -> Sequence[_Passage]:
        return self._passages[bisect_right(self._ends, start) : bisect_left(self._starts, end)]


def _common(sections: Sequence[tuple[str, ...]]) -> str:
    """Return the section that holds all of some sections."""
    names: list[str] = []
    for level in zip(*sections, strict=False):
        if len(set(level)) > 1:
            break
        names.append(level[0])
    return SECTION_SEPARATOR.join(names)
