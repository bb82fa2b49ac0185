"""Plain text, source code, data and subtitles to elements, by their layout alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from llama_index_raganything.elements import Element

_BLOCK_CHARACTERS: Final = 4000
"""Longest code element; longer sources are cut at blank lines, or at any line end."""

_WRAP_WIDTH: Final = 50
_UNDERLINE = re.compile(r"^([=\-~^\"'#*+`])\1{2,}$")
_HASH_HEADING = re.compile(r"^(#{1,6})\s+(\S.*?)\s*#*$")
_CHAPTER = re.compile(
    r"^(?:(?:chapter|part|book|section|appendix)\s+(?:\d{1,3}|[ivxlc]{1,7}|[a-z])\b.{0,80}|第\s*[一二三四五六七八九十百零\d]+\s*[章节篇部].{0,40})$",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^\s*(?:[-*+•‣◦–]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)])\s+\S")
_CUE_TIME = re.compile(r"^\s*(?:\d+:)?\d{1,2}:\d{2}[.,]\d{3}\s+-->\s+")
_CUE_TAG = re.compile(r"</?[a-zA-Z][^>]{0,80}>|<[\d:.]{5,15}>|\{\\[^}]{0,80}\}")


def parse_prose(text: str) -> list[Element]:
    """Turn plain text into headings, paragraphs and lists.

    Headings are underlined lines (reStructuredText), ``#`` lines, and lines such as "Chapter 3" on their own.

    Args:
        text: Plain text.

    Returns:
        The elements in order.
    """
    levels: dict[str, int] = {}
    elements: list[Element] = []
    for block in _paragraphs(text):
        elements.extend(_block_elements(block, levels))
    return elements


def parse_source(text: str, language: str) -> list[Element]:
    """Turn source code or data into code elements of bounded length.

    Returns:
        Code elements in order.
    """
    return [Element(type="code", text=piece, subtype=language) for piece in _pieces(text)]


def parse_subtitles(text: str) -> list[Element]:
    """Turn WebVTT or SubRip subtitles into text, times and cue numbers left out.

    Args:
        text: The subtitles.

    Returns:
        Text elements of about 500 characters each, cut where a sentence ends.
    """
    spoken: list[str] = []
    for block in _paragraphs(text):
        times = [index for index, line in enumerate(block) if _CUE_TIME.match(line)]
        if times:
            words = " ".join(_CUE_TAG.sub("", line).strip() for line in block[times[0] + 1 :])
            if words and (not spoken or spoken[-1] != words):
                spoken.append(words)
    return [Element(type="text", text=" ".join(part)) for part in _runs(spoken)]


def _runs(sentences: list[str]) -> Iterator[list[str]]:
    """Join cues until a sentence ends after about 500 characters."""
    run: list[str] = []
    for sentence in sentences:
        run.append(sentence)
        if sum(map(len, run)) > 500 and sentence.rstrip()[-1:] in ".!?。！？":
            yield run
            run = []
    if run:
        yield run


def _paragraphs(text: str) -> Iterator[list[str]]:
    lines = map(str.rstrip, text.replace("\f", "\n\n").expandtabs(4).split("\n"))
    return (list(block) for filled, block in groupby(lines, key=bool) if filled)


def _block_elements(block: list[str], levels: dict[str, int]) -> Iterator[Element]:
    if len(block) >= 2 and _UNDERLINE.match(block[0]) and len(block) >= 3 and _UNDERLINE.match(block[2]):
        yield _underlined(block[1], block[0][0] * 2, levels)
        block = block[3:]
    elif len(block) >= 2 and _is_underlined(block[0], block[1]):
        yield _underlined(block[0], block[1][0], levels)
        block = block[2:]
    while block and (match := _HASH_HEADING.match(block[0])):
        yield Element(type="heading", text=match[2], level=len(match[1]))
        block = block[1:]
    if len(block) == 1 and _CHAPTER.match(block[0].strip()):
        yield Element(type="heading", text=block[0].strip(), level=1)
    elif block:
        yield _body(block)


def _is_underlined(title: str, line: str) -> bool:
    return bool(_UNDERLINE.match(line)) and 0 < len(title.strip()) <= len(line) + 3 and not _UNDERLINE.match(title)


def _underlined(title: str, mark: str, levels: dict[str, int]) -> Element:
    # reStructuredText: the order in which marks first appear is their depth.
    level = levels.setdefault(mark, len(levels) + 1)
    return Element(type="heading", text=title.strip(), level=min(level, 6))


def _body(block: list[str]) -> Element:
    bullets = sum(1 for line in block if _BULLET.match(line))
    if bullets and (bullets * 2 >= len(block) or _BULLET.match(block[0])):
        return Element(type="list", text="\n".join(block))
    # Lines of nearly equal length were wrapped by an editor, not by meaning.
    wrapped = len(block) > 1 and all(len(line) >= _WRAP_WIDTH for line in block[:-1])
    return Element(type="text", text=(" " if wrapped else "\n").join(line.strip() for line in block))


def _pieces(text: str) -> Iterator[str]:
    piece: list[str] = []
    size = 0
    for line in text.split("\n"):
        full = size + len(line) > _BLOCK_CHARACTERS or (size > _BLOCK_CHARACTERS // 2 and not line.strip())
        if piece and full:
            yield from _clean_piece(piece)
            piece, size = [], 0
        for start in range(0, max(len(line), 1), _BLOCK_CHARACTERS):
            if start:
                yield from _clean_piece(piece)
                piece, size = [], 0
            piece.append(line[start : start + _BLOCK_CHARACTERS])
            size += len(piece[-1]) + 1
    yield from _clean_piece(piece)


def _clean_piece(piece: list[str]) -> Iterator[str]:
    text = "\n".join(piece).strip("\n")
    if text.strip():
        yield text
