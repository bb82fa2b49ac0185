"""The context of an element for RAG-Anything's ``ContextExtractor``: content list entries made from nodes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice, takewhile, zip_longest
from typing import Any, Final, Literal

from llama_index.core.schema import BaseNode

from llama_index_raganything.elements import SECTION_SEPARATOR
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.text.characters import CJK

_PIECE = re.compile(rf"\s*(?:[{CJK}]|[^\s{CJK}]{{1,12}})")
_ENTRIES_PER_PAGE: Final = 3
"""Approximate number of 256-token chunks on a page; used as a page in formats without pages."""

_CAPTIONED: Final = {"image": "image_caption", "table": "table_caption"}


class PieceTokenizer:
    """Splits text into words and CJK characters, roughly as many as a model's tokens, and joins them again.

    LightRAG's default tokenizer downloads its data on creation.
    """

    def encode(self, text: str) -> list[str]:
        """Return the pieces of a text, each with the white space before it."""
        return _PIECE.findall(text)

    def decode(self, tokens: Sequence[str]) -> str:
        """Join pieces of :meth:`encode`."""
        return "".join(tokens)


@dataclass(frozen=True)
class ContextOptions:
    """What a model sees around an element; the fields of RAG-Anything's ``ContextConfig``.

    Attributes:
        context_window: Pages (or entries) before and after the element.
        context_mode: "page" or "chunk".
        max_context_tokens: Maximum tokens of context.
        include_headers: Mark headings with ``#``.
        include_captions: Include captions of images and tables, if ``filter_content_types`` has these.
        filter_content_types: Content types included.
    """

    context_window: int = 1
    context_mode: Literal["page", "chunk"] = "page"
    max_context_tokens: int = 2000
    include_headers: bool = True
    include_captions: bool = True
    filter_content_types: tuple[str, ...] = ("text",)

    def config(self, mode: str) -> dict[str, Any]:
        """Return the arguments of RAG-Anything's ``ContextConfig``.

        Args:
            mode: "page" or "chunk".
        """
        return {**asdict(self), "context_mode": mode, "filter_content_types": list(self.filter_content_types)}


@dataclass(frozen=True)
class Surroundings:
    """Input for RAG-Anything's context extraction.

    Attributes:
        content_list: Entries around the element.
        place: The element's ``page_idx`` and its ``index`` among the entries.
        config: Arguments of ``ContextConfig``.
    """

    content_list: list[dict[str, Any]] = field(default_factory=list)
    place: Mapping[str, int] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


class DocumentContext:
    """The entries of one document, from which each of its elements gets the nearest.

    RAG-Anything fills the token budget from the beginning of the pages around an element, so on dense pages the
    element's own page is cut off. Here the entries nearest to the element come first.

    Args:
        nodes: The nodes of one document, in reading order.
        options: What is included.
        tokenizer: Counts tokens.
    """

    def __init__(self, nodes: Sequence[BaseNode], options: ContextOptions, tokenizer: PieceTokenizer) -> None:
        self._options = options
        self._tokenizer = tokenizer
        self._entries: list[dict[str, Any]] = []
        self._places: dict[str, int] = {}
        self._sizes: dict[int, int] = {}
        known: dict[str, int] = {}
        for node in nodes:
            key = str(node.metadata.get("element_id") or node.node_id)
            if NodeView(node).kind != "text" and key in known:
                self._places[node.node_id] = known[key]  # Another part of the same element.
                continue
            self._places[node.node_id] = known[key] = len(self._entries)
            self._entries.append(_entry(node, options.include_headers))

    def around(self, node: BaseNode) -> Surroundings:
        """Return the context of a node of the document."""
        if self._options.max_context_tokens <= 0:
            return Surroundings(config=self._options.config("chunk"))
        place = self._places[node.node_id]
        window = self._options.context_window
        mode = self._options.context_mode
        if mode == "page" and "page" not in node.metadata:
            # Formats without pages would be one page, whose beginning every element would get.
            chosen, mode, window = sorted(self._near_unpaged(place)), "chunk", len(self._entries)
        else:
            chosen = sorted(self._near_page(place) if mode == "page" else self._near(place))
        if mode == "chunk" and len(chosen) < 2:
            return Surroundings(config=self._options.config(mode))
        page = self._entries[place]["page_idx"]
        return Surroundings(
            content_list=[self._entries[index] for index in chosen],
            place={"page_idx": page, "index": chosen.index(place)},
            config=self._options.config(mode) | {"context_window": window},
        )

    def _near(self, place: int) -> Iterable[int]:
        window = self._options.context_window
        return range(max(0, place - window), min(len(self._entries), place + window + 1))

    def _near_page(self, place: int) -> Iterator[int]:
        """Yield the nearest entries on the pages of the window, within the budget."""
        page, window = self._entries[place]["page_idx"], self._options.context_window
        before, after = (
            takewhile(lambda index: abs(self._entries[index]["page_idx"] - page) <= window, side)
            for side in self._sides(place)
        )
        return self._within_budget(place, before, after)

    def _near_unpaged(self, place: int) -> Iterator[int]:
        """Yield the nearest entries included, up to a window's worth of pages."""
        each = _ENTRIES_PER_PAGE * self._options.context_window
        before, after = (islice(filter(self._is_shown, side), each) for side in self._sides(place))
        return self._within_budget(place, before, after)

    def _sides(self, place: int) -> tuple[range, range]:
        """Return the positions before and after one, the nearest first."""
        return range(place - 1, -1, -1), range(place + 1, len(self._entries))

    def _within_budget(self, place: int, before: Iterable[int], after: Iterable[int]) -> Iterator[int]:
        """Yield an entry and those beside it, alternating sides, while their tokens are within the budget."""
        yield place
        left = self._options.max_context_tokens - self._size(place)
        nearest = (index for pair in zip_longest(before, after) for index in pair if index is not None)
        for number, index in enumerate(nearest):
            left -= self._size(index)
            if left < 0 and (number or index > place):  # At least the beginning of the entry before the element.
                return
            yield index

    def _is_shown(self, index: int) -> bool:
        return self._entries[index]["type"] in self._options.filter_content_types

    def _size(self, index: int) -> int:
        if index not in self._sizes:
            text = str(self._entries[index].get("text", "")) if self._is_shown(index) else ""
            self._sizes[index] = len(self._tokenizer.encode(text))
        return self._sizes[index]


def _entry(node: BaseNode, mark_headings: bool) -> dict[str, Any]:
    kind = NodeView(node).kind
    page = node.metadata.get("page")
    entry: dict[str, Any] = {"type": kind, "page_idx": page - 1 if isinstance(page, int) else 0}
    if kind == "page":
        # The nodes on the page say the same; only a page without any is used itself.
        entry["type"] = "page" if node.child_nodes else "text"
    if entry["type"] == "text":
        text = NodeView(node).text
        entry["text"] = _with_marks(text, str(node.metadata.get("section") or "")) if mark_headings else text
    elif kind in _CAPTIONED:
        entry[_CAPTIONED[kind]] = [str(node.metadata.get("caption") or "")]
    return entry


def leading_headings(paragraphs: Sequence[str], section: str) -> list[int]:
    """Return the levels of the headings at the beginning of a node's text.

    Returns:
        The level, from 1, of each leading paragraph that is a heading of the section path.
    """
    path = [" ".join(name.split()) for name in section.split(SECTION_SEPARATOR)] if section else []
    levels: list[int] = []
    for paragraph in paragraphs:
        name = " ".join(paragraph.split())
        if name not in path:
            break
        levels.append(path.index(name) + 1)
    return levels


def _with_marks(text: str, section: str) -> str:
    paragraphs = text.split("\n\n")
    levels = leading_headings(paragraphs, section)
    marked = [f"{'#' * level} {paragraph}" for level, paragraph in zip(levels, paragraphs, strict=False)]
    return "\n\n".join([*marked, *paragraphs[len(levels) :]])
