"""Words of a line become segments: what will be the cells of tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

from llama_index_raganything.readers.pdf.unruled_tables.numbers import (
    begins_figure,
    has_digit,
    is_currency,
    is_dash,
    is_figure,
    is_tail,
    is_year,
)
from llama_index_raganything.readers.pdf.unruled_tables.words import TextLine, Word

# All lengths below are in font sizes.
SEGMENT_GAP: Final = 0.85
"""A wider gap divides two segments."""

FIGURE_GAP: Final = 0.3
"""Between two figures this gap already does."""

_CURRENCY_GAP: Final = 12.0
_TAIL_GAP: Final = 0.9
_RANGE_GAP: Final = 0.6
_DASHES: Final = frozenset("-\u2010\u2011\u2012\u2013\u2014\u2212")


@dataclass(slots=True, eq=False)
class Segment:
    """A piece of a line with wide gaps on both sides.

    Attributes:
        line: Place of its line among the page's.
        text: Its words.
        x0: Left edge.
        x1: Right edge.
        y0: Top.
        y1: Bottom.
        base: Baseline.
        size: Font size.
        digit_right: Right edge of the last digit; brackets and percent signs hang out of a column.
        figure: Whether all of it is a figure.
        year: Whether all of it is a year.
        dash: Whether all of it is a dash.
    """

    line: int
    text: str
    x0: float
    x1: float
    y0: float
    y1: float
    base: float
    size: float
    digit_right: float
    figure: bool = False
    year: bool = False
    dash: bool = False

    @property
    def centre(self) -> float:
        """Middle between left and right edge."""
        return (self.x0 + self.x1) / 2

    @property
    def width(self) -> float:
        """Width in font sizes."""
        return (self.x1 - self.x0) / self.size


@dataclass(slots=True)
class SegmentLine:
    """The segments on one baseline, from left to right.

    Attributes:
        base: Baseline.
        size: Median font size.
        segments: The segments.
        leader: True when a row of dots stands on the line.
    """

    base: float
    size: float
    segments: list[Segment]
    leader: bool = False


def find_segments(lines: Sequence[TextLine]) -> list[SegmentLine]:
    """Cut lines into segments.

    Args:
        lines: Lines from top to bottom.

    Returns:
        As many lines, cut at wide gaps, with currency signs, brackets and percent signs at their figures; a line
        of dots alone has no segments.
    """
    found = []
    for number, line in enumerate(lines):
        pieces = _with_ranges(_glued([_segment(number, run) for run in _runs(line.words)]))
        for piece in pieces:
            _classify(piece)
        size = median(word.size for word in line.words)
        found.append(SegmentLine(line.base, size, pieces, any(word.leader for word in line.words)))
    return found


def _runs(words: Sequence[Word]) -> list[list[Word]]:
    runs: list[list[Word]] = []
    last: Word | None = None
    for word in words:
        if not word.leader:
            if last is None or last.leader or _divided(last, word):
                runs.append([word])
            else:
                runs[-1].append(word)
        last = word
    return runs


def _divided(last: Word, word: Word) -> bool:
    gap = (word.x0 - last.x1) / max(last.size, word.size)
    if gap > SEGMENT_GAP or begins_figure(last.text, word.text):
        return True
    return gap > FIGURE_GAP and is_figure(last.text) and (is_figure(word.text) or is_currency(word.text))


def _segment(number: int, words: Sequence[Word]) -> Segment:
    text = words[0].text
    for before, word in pairwise(words):
        text += (
            word.text if word.mark or (word.x0 - before.x1 < 0.1 * word.size and not word.spaced) else f" {word.text}"
        )
    with_digits = [word for word in words if any("0" <= character <= "9" for character in word.text)]
    return Segment(
        line=number,
        text=text,
        x0=words[0].x0,
        x1=max(word.x1 for word in words),
        y0=min(word.y0 for word in words),
        y1=max(word.y1 for word in words),
        base=words[0].base,
        size=max(word.size for word in words),
        digit_right=(with_digits or words)[-1].digit_right,
    )


def _glued(pieces: list[Segment]) -> list[Segment]:
    """Put currency signs before the next figure, and brackets, percent signs and marks behind the last one."""
    glued: list[Segment] = []
    for piece in pieces:
        last = glued[-1] if glued else None
        if last is None:
            glued.append(piece)
            continue
        gap = (piece.x0 - last.x1) / piece.size
        before_figure = is_currency(last.text) and is_figure(piece.text) and gap < _CURRENCY_GAP
        behind_figure = is_tail(piece.text) and is_figure(_closed(last.text)) and gap < _TAIL_GAP
        if before_figure or behind_figure:
            _join(last, piece, keep_right=behind_figure)
        else:
            glued.append(piece)
    return glued


def _with_ranges(pieces: list[Segment]) -> list[Segment]:
    """Join two figures with a dash between them as close as a word: "0.1 % - 0.9 %"."""
    joined: list[Segment] = []
    for piece in pieces:
        joined.append(piece)
        if len(joined) >= 3 and _is_range(*joined[-3:]):
            first, dash, last = joined[-3:]
            del joined[-2:]
            dash.text, last.text = f" {dash.text}", f" {last.text}"
            _join(first, dash, keep_right=False)
            _join(first, last, keep_right=False)
    return joined


def _is_range(first: Segment, dash: Segment, last: Segment) -> bool:
    gaps = (dash.x0 - first.x1, last.x0 - dash.x1)
    numbers = has_digit(first.text) and has_digit(last.text) and is_figure(first.text) and is_figure(last.text)
    return dash.text in _DASHES and numbers and max(gaps) < _RANGE_GAP * first.size


def _closed(text: str) -> str:
    return text + ")" if text.count("(") > text.count(")") else text


def _join(last: Segment, piece: Segment, *, keep_right: bool) -> None:
    last.text += piece.text
    if not keep_right:
        last.digit_right = piece.digit_right
    last.x1 = max(last.x1, piece.x1)
    last.y0, last.y1 = min(last.y0, piece.y0), max(last.y1, piece.y1)
    last.size = max(last.size, piece.size)


def _classify(piece: Segment) -> None:
    piece.figure = is_figure(piece.text)
    piece.year = piece.figure and is_year(piece.text)
    piece.dash = piece.figure and is_dash(piece.text)
