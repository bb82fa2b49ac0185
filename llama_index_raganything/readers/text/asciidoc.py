"""AsciiDoc to elements: headings, lists, tables, listings and images; includes and macros are not followed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from llama_index_raganything.elements import Element, label_of
from llama_index_raganything.readers.common.html_tables import rows_to_markdown

_HEADING = re.compile(r"^(={1,6}|#{1,6})\s+(\S.*)$")
_ATTRIBUTE = re.compile(r"^:!?[\w\-]+!?:(?:\s.*)?$")
_BLOCK_ATTRIBUTES = re.compile(r"^\[[^\]]*\]$")
_BLOCK_TITLE = re.compile(r"^\.(?![.\s])(\S.*)$")
_LIST_ITEM = re.compile(r"^\s*(\*{1,6}|-|\.{1,6}|\d+\.|[a-z]\.)\s+(\S.*)$")
_TERM = re.compile(r"^\s*(\S.*?)(?:::|:::|;;)(?:\s+(.*))?$")
_IMAGE = re.compile(r"^\s*image::([^\[\s]+)\[([^\]]*)\]\s*$")
_DIRECTIVE = re.compile(r"^\s*(?:include|ifdef|ifndef|ifeval|endif|toc|video|audio)::\S*\[.*\]\s*$")
_FENCES: Final = {"----": "code", "....": "code", "```": "code", "++++": "equation"}
_TRANSPARENT: Final = frozenset({"====", "****", "____", "--"})
_SOURCE_LANGUAGE = re.compile(r"\[(?:source|,)\s*,?\s*([\w+#\-]+)")
_COLUMNS = re.compile(r"cols\s*=\s*(?:\"([^\"]*)\"|(\d+))")
_CELL = re.compile(r"(?:(?<=^)|(?<=\s))(\d*(?:\.\d+)?[+*])?([<^>]?(?:\.[<^>])?)([aehlmsd]?)\|")
_INLINE_MACRO = re.compile(
    r"\b(?:btn|kbd|menu|pass|footnote|xref|link|image|icon|mailto|https?)[^\s\[\]]{0,500}\[([^\]]*)\]"
)
_CROSS_REFERENCE = re.compile(r"<<[^,<>]{0,500}(?:,\s*([^<>]{0,500}))?>>")
_EMPHASIS = re.compile(r"(?<!\w)(\*\*|__|``|\*|_|`|##|#)(?=\S)(.{1,500}?)(?<=\S)\1(?!\w)")

_MAX_INLINE: Final = 20_000
"""Longer lines keep their marks: looking for pairs in them takes too long."""

_Lines = list[str]


def parse_asciidoc(text: str) -> list[Element]:
    """Turn AsciiDoc into elements.

    Returns:
        The elements in order; a block title becomes the caption of the table, image or listing below it.
    """
    return _joined_lists(_Reader(text.split("\n")).elements())


class _Reader:
    """Reads blocks line by line; ``_title`` and ``_attributes`` wait for the block they belong to."""

    def __init__(self, lines: _Lines) -> None:
        self._lines = lines
        self._position = 0
        self._title = ""
        self._attributes = ""

    def elements(self) -> Iterator[Element]:
        """Yield the elements."""
        while self._position < len(self._lines):
            line = self._lines[self._position].rstrip()
            self._position += 1
            if not self._is_preamble(line):
                yield from self._block(line)
                self._attributes = ""
        if self._title:
            yield from self._pending_title()

    def _is_preamble(self, line: str) -> bool:
        if _BLOCK_ATTRIBUTES.match(line):
            self._attributes += line
            return True
        title = _BLOCK_TITLE.match(line)
        if title and not self._title:
            self._title = plain_inline(title[1])
            return True
        if line.startswith("////"):
            self._until(line)
            return True
        skipped = not line.strip() or _ATTRIBUTE.match(line) or _DIRECTIVE.match(line) or line.startswith("//")
        return bool(skipped) or line in _TRANSPARENT or line in {"+", "'''", "<<<"}

    def _block(self, line: str) -> Iterator[Element]:
        heading = _HEADING.match(line)
        image = _IMAGE.match(line)
        fence = next((kind for mark, kind in _FENCES.items() if line.startswith(mark)), None)
        if line in {"|===", ",===", "!==="}:
            yield from self._table(line)
        elif fence:
            yield from self._fenced(line, fence)
        elif image:
            yield self._image(image[2])
        elif heading:
            yield from self._pending_title()
            yield Element(type="heading", text=plain_inline(heading[2]), level=len(heading[1]))
        else:
            yield from self._pending_title()
            yield self._paragraph(line)

    def _paragraph(self, line: str) -> Element:
        lines = [line]
        while self._position < len(self._lines):
            following = self._lines[self._position].rstrip()
            if not following.strip() or following in _TRANSPARENT or _starts_block(following):
                break
            lines.append(following)
            self._position += 1
        if _LIST_ITEM.match(line) or _TERM.match(line):
            return Element(type="list", text="\n".join(_item(part) for part in lines if part != "+"))
        return Element(type="text", text=plain_inline(" ".join(part.strip() for part in lines)))

    def _fenced(self, fence: str, kind: str) -> Iterator[Element]:
        body = "\n".join(self._until(fence[:3] if fence.startswith("```") else fence)).strip("\n")
        language = _SOURCE_LANGUAGE.search(self._attributes)
        name = fence[3:].strip() or (language[1] if language else None)
        caption = self._take_title()
        if not body.strip():
            return
        if kind == "equation":
            yield Element(type="equation", text=body, caption=caption)
        else:
            yield Element(type="code", text=body, subtype=name, caption=caption)

    def _image(self, attributes: str) -> Element:
        alt = attributes.split(",")[0].strip().strip('"')
        caption = self._take_title() or alt
        return Element(type="image", text=alt, caption=caption, label=label_of(caption))

    def _table(self, fence: str) -> Iterator[Element]:
        rows = _table_rows(self._until(fence), self._attributes)
        caption = self._take_title()
        if rows:
            text = rows_to_markdown(rows, 1)
            yield Element(type="table", text=text, rows=rows, caption=caption, label=label_of(caption))

    def _until(self, fence: str) -> _Lines:
        start = self._position
        while self._position < len(self._lines):
            self._position += 1
            if self._lines[self._position - 1].rstrip() == fence:
                return self._lines[start : self._position - 1]
        return self._lines[start:]

    def _take_title(self) -> str:
        title, self._title = self._title, ""
        return title

    def _pending_title(self) -> Iterator[Element]:
        title = self._take_title()
        if title:
            yield Element(type="text", text=title)


def _joined_lists(elements: Iterator[Element]) -> list[Element]:
    """Join list items that blank lines part."""
    joined: list[Element] = []
    for element in elements:
        if element.type == "list" and joined and joined[-1].type == "list":
            joined[-1] = joined[-1].model_copy(update={"text": f"{joined[-1].text}\n{element.text}"})
        else:
            joined.append(element)
    return joined


def plain_inline(text: str) -> str:
    """Return inline AsciiDoc without emphasis marks and macro syntax.

    Args:
        text: Inline markup.

    Returns:
        The words.
    """
    if len(text) > _MAX_INLINE:
        return text.strip()
    text = _INLINE_MACRO.sub(lambda match: match[1] or match[0][: match[0].index("[")], text)
    text = _CROSS_REFERENCE.sub(lambda match: match[1] or match[0].strip("<>"), text)
    return _EMPHASIS.sub(r"\2", text).strip()


def _starts_block(line: str) -> bool:
    return bool(
        _HEADING.match(line)
        or _IMAGE.match(line)
        or _BLOCK_ATTRIBUTES.match(line)
        or line == "|==="
        or any(line.startswith(mark) for mark in _FENCES)
    )


def _item(line: str) -> str:
    match = _LIST_ITEM.match(line)
    if match is None:
        return plain_inline(line)
    mark, words = match[1], plain_inline(match[2])
    depth = len(mark) - 1 if mark[0] in "*." else 0
    return "  " * depth + ("- " if mark[0] in "*-" else "1. " if mark[0] == "." else f"{mark} ") + words


def _table_rows(lines: _Lines, attributes: str) -> list[list[str]]:
    """Read ``|``-separated cells; the width is ``cols``, or the number of cells on the first line with any."""
    stated = _COLUMNS.search(attributes)
    width = 0
    if stated:
        width = int(stated[2]) if stated[2] else _stated_width(stated[1])
    cells: list[str] = []
    for line in filter(str.strip, lines):
        source = line.replace("\\|", "\x1f")
        marks = list(_CELL.finditer(source))
        if cells and (not marks or source[: marks[0].start()].strip()):
            cells[-1] += " " + source[: marks[0].start() if marks else None].strip()
        ends = [following.start() for following in marks[1:]] + [len(source)]
        cells.extend(source[mark.end() : end] for mark, end in zip(marks, ends, strict=False))
        width = width or len(marks)
    plain = [plain_inline(cell.replace("\x1f", "|").strip()) for cell in cells]
    width = min(max(width, 1), max(len(plain), 1))
    rows = [plain[start : start + width] for start in range(0, len(plain), width)]
    return [row + [""] * (width - len(row)) for row in rows]


def _stated_width(columns: str) -> int:
    width = 0
    for part in re.split(r"[,;]", columns):
        repeat = re.match(r"\s*(\d{1,3})\*", part)
        width += int(repeat[1]) if repeat else 1
    return width
