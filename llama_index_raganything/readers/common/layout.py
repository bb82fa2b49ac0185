"""Boxes, and lines with boxes that become paragraphs in reading order, by geometry alone.

The order is that of the recursive XY cut (Nagy and Seth, "Hierarchical representation of
optically scanned documents", ICPR 1984): cut at empty vertical bands first, else at the widest
horizontal one. Tables are read row by row.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from llama_index_raganything.elements import Box

FloatBox = tuple[float, float, float, float]

_MAX_GAP: Final = 0.8
"""Largest empty space between two lines of a paragraph, in line heights (boxes as tight as the letters)."""

_MAX_OCR_GAP: Final = 0.6
"""The same for recognised lines, whose boxes are wider than the letters."""

_MAX_MARK_LENGTH: Final = 4
"""Longest piece of a line that is taken for a footnote mark or a unit, in characters."""

_MAX_HEIGHT_RATIO: Final = 1.5
"""Lines of one paragraph differ in height by less than this factor."""

_MIN_GUTTER: Final = 15.0
"""Narrowest empty band between two columns, in thousandths of the page width."""

_MAX_CELL_LENGTH: Final = 25
"""Texts whose median is at most this many characters long may be the cells of a table."""

_NO_SPACE = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]")
_NUMBER: Final = r"[(\-\u2212\u2013+]?(?:[$€£¥]\s?)?\d[\d.,]*\)?\s?%?"
_ROW = re.compile(rf"(?:^|\s)(?:{_NUMBER}|[-\u2013\u2014])\s+(?:[$€£¥]\s)?(?:{_NUMBER}|[-\u2013\u2014])$")
_WORD_HYPHEN = re.compile(r"(?<=[a-zà-öø-ÿ])[-\u2010]$")


@dataclass(frozen=True)
class Line:
    """A run of words on one line, or a paragraph made of such lines.

    Attributes:
        text: The words.
        box: ``(x0, y0, x1, y1)`` in thousandths of the page.
    """

    text: str
    box: FloatBox

    @property
    def height(self) -> float:
        """Height of the box."""
        return self.box[3] - self.box[1]


def paragraphs(lines: Sequence[Line], *, reorder: bool = False) -> list[Line]:
    """Join lines that belong together.

    Args:
        lines: Lines, in reading order unless ``reorder`` is set.
        reorder: The lines come from pixels: find the reading order from the boxes first.

    Returns:
        One line per paragraph, its box around all of it.
    """
    ordered = reading_order(lines) if reorder else _whole_rows(lines)
    max_gap = _MAX_OCR_GAP if reorder else _MAX_GAP
    groups: list[list[Line]] = []
    for line in ordered:
        if groups and _continues(groups[-1][-1], line, max_gap):
            groups[-1].append(line)
        else:
            groups.append([line])
    return [Line(join_lines([line.text for line in group]), around([line.box for line in group])) for group in groups]


def reading_order(lines: Sequence[Line]) -> list[Line]:
    """Sort lines by recursive XY cut.

    Args:
        lines: Lines in any order.

    Returns:
        The lines, column after column and from top to bottom.
    """
    pending = [list(lines)] if lines else []
    ordered: list[Line] = []
    while pending:
        part = pending.pop()
        pieces = _columns(part) or _bands(part)
        if pieces:
            pending.extend(reversed(pieces))
        else:
            ordered.extend(sorted(part, key=lambda line: (line.box[0], line.box[1])))
    return ordered


def join_lines(texts: Sequence[str]) -> str:
    """Join the lines of a paragraph into running text.

    Args:
        texts: Lines in reading order.

    Returns:
        One string; words divided at a line end are joined, Chinese and Japanese lines get no blank between
        them, and rows of numbers stay on lines of their own.
    """
    joined = ""
    for text in map(str.strip, texts):
        if not joined or not text:
            joined += text
        elif _WORD_HYPHEN.search(joined) and text[0].islower():
            joined = joined[:-1] + text
        elif is_row(text) or is_row(joined.rsplit("\n", 1)[-1]):
            joined += "\n" + text
        elif _NO_SPACE.match(joined[-1]) and _NO_SPACE.match(text[0]):
            joined += text
        else:
            joined += " " + text
    return joined


def around(boxes: Sequence[FloatBox]) -> FloatBox:
    """Return the smallest box around boxes.

    Args:
        boxes: At least one box.

    Returns:
        Their common box.
    """
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return (min(x0), min(y0), max(x1), max(y1))


def area(box: Sequence[float]) -> float:
    """Return the area of a box as a share of the page, 0 to 1."""
    return (box[2] - box[0]) * (box[3] - box[1]) / 1_000_000


def rounded(box: Sequence[float]) -> Box:
    """Return the smallest box of whole thousandths around a box."""
    x0, y0, x1, y1 = box
    return (math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1))


def covered_share(inner: FloatBox, outer: FloatBox) -> float:
    """Return which share of a box lies inside another.

    Args:
        inner: The box that is measured.
        outer: The box it may lie in.

    Returns:
        0 to 1; 0 for a box without area.
    """
    area = (inner[2] - inner[0]) * (inner[3] - inner[1])
    width = min(inner[2], outer[2]) - max(inner[0], outer[0])
    height = min(inner[3], outer[3]) - max(inner[1], outer[1])
    return width * height / area if area > 0 and width > 0 and height > 0 else 0.0


def is_row(text: str) -> bool:
    """Tell whether a line is a row of a table.

    Returns:
        True when it ends with two numbers.
    """
    return _ROW.search(text) is not None


def _whole_rows(lines: Iterable[Line]) -> list[Line]:
    """Join the pieces of a row that a raised footnote mark or a wide gap before numbers divides."""
    rows: list[Line] = []
    for line in lines:
        if rows and _extends_row(rows[-1], line):
            rows[-1] = Line(f"{rows[-1].text} {line.text}", around([rows[-1].box, line.box]))
        else:
            rows.append(line)
    return rows


def _extends_row(row: Line, piece: Line) -> bool:
    overlap = min(row.box[3], piece.box[3]) - max(row.box[1], piece.box[1])
    right_of = piece.box[0] >= row.box[2] - 1
    is_mark = len(piece.text) <= _MAX_MARK_LENGTH and piece.box[0] - row.box[2] < row.height * 2
    return right_of and overlap >= 0.5 * min(row.height, piece.height) and (is_mark or is_row(piece.text))


def _continues(last: Line, line: Line, max_gap: float) -> bool:
    heights = sorted((max(last.height, 0.1), max(line.height, 0.1)))
    gap = line.box[1] - last.box[3]
    overlap = min(last.box[2], line.box[2]) - max(last.box[0], line.box[0])
    narrower = min(last.box[2] - last.box[0], line.box[2] - line.box[0])
    same_row = abs(line.box[1] - last.box[1]) < heights[0] * 0.5
    if heights[1] / heights[0] > _MAX_HEIGHT_RATIO:
        return False
    if same_row:
        return -heights[0] < line.box[0] - last.box[2] < heights[1] * 2
    return -heights[0] * 0.7 <= gap <= heights[1] * max_gap and overlap >= narrower * 0.5


def _columns(lines: Sequence[Line]) -> list[list[Line]]:
    """Split lines at empty vertical bands, unless they are the columns of a table; empty when there is no band."""
    parts = _cut(lines, 0, _MIN_GUTTER)
    return parts if len(parts) > 1 and not _is_grid(lines, parts) else []


def _bands(lines: Sequence[Line]) -> list[list[Line]]:
    """Split lines in two at the widest empty horizontal band, or into rows; empty when there is only one row."""
    ordered = sorted(lines, key=lambda line: line.box[1])
    best, widest = 0, float("-inf")
    edge = ordered[0].box[3]
    for index, line in enumerate(ordered[1:], start=1):
        gap = line.box[1] - edge
        # Lines of one row overlap by more than half of their height.
        if gap > widest and gap > -0.5 * min(line.height, ordered[index - 1].height):
            best, widest = index, gap
        edge = max(edge, line.box[3])
    return [ordered[:best], ordered[best:]] if best else []


def _is_grid(lines: Sequence[Line], parts: list[list[Line]]) -> bool:
    """Tell whether the parts are columns of a table: short texts in common rows."""
    if sorted(len(line.text) for line in lines)[len(lines) // 2] > _MAX_CELL_LENGTH:
        return False
    aligned = sum(any(_same_row(line, other) for part in parts if line not in part for other in part) for line in lines)
    return aligned >= len(lines) * 0.7


def _same_row(one: Line, other: Line) -> bool:
    distance = abs((one.box[1] + one.box[3]) - (other.box[1] + other.box[3])) / 2
    return distance < min(one.height, other.height) * 0.5


def _cut(lines: Sequence[Line], axis: int, minimum: float) -> list[list[Line]]:
    """Split lines at every empty band along an axis that is at least ``minimum`` wide."""
    ordered = sorted(lines, key=lambda line: line.box[axis])
    parts = [[ordered[0]]]
    edge = ordered[0].box[axis + 2]
    for line in ordered[1:]:
        if line.box[axis] - edge >= minimum:
            parts.append([line])
        else:
            parts[-1].append(line)
        edge = max(edge, line.box[axis + 2])
    return parts
