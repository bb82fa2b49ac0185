"""The columns of a table: those of its figures, and those of text beside and between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

from llama_index_raganything.readers.pdf.unruled_tables.components import Component
from llama_index_raganything.readers.pdf.unruled_tables.segments import Segment, SegmentLine

COLUMN_OVERLAP: Final = 0.35
"""Figures whose extents overlap by more than this share of the narrower stand in one column."""

ALIGNED_SHARE: Final = 0.6
"""Share of a column's figures that must agree in an edge."""

# Lengths in font sizes.
_ALIGNED: Final = 0.6
_DASH_DISTANCE: Final = 2.5
_PROSE_WIDTH: Final = 15.0
_MAX_TEXT_COLUMNS: Final = 12

_LABEL_SHARE: Final = 0.5
_LEFT_SHARE: Final = 0.4
_RIGHT_SHARE: Final = 0.5


@dataclass(slots=True)
class Column:
    """One column.

    Attributes:
        segments: Its cells in the rows of figures.
        x0: Left edge.
        x1: Right edge.
        figures: True for a column of figures, False for one of text.
    """

    segments: list[Segment]
    x0: float
    x1: float
    figures: bool

    def aligned(self) -> bool:
        """Tell whether most cells agree in the right edge of their digits, or their left, middle or right."""
        edges: list[Callable[[Segment], float]] = [
            lambda s: s.digit_right,
            lambda s: s.x0,
            lambda s: s.centre,
            lambda s: s.x1,
        ]
        cells = [s for s in self.segments if not s.dash] or self.segments
        return any(_agreeing([edge(s) for s in cells], cells[0].size) for edge in edges)


@dataclass(slots=True)
class Grid:
    """The columns and rows of what may be a table.

    Attributes:
        columns: From left to right.
        rows: Places of the lines that hold figures, in order.
        size: Median font size of the figures.
        labelled: Whether a column of labels stands to the left of the figures.
    """

    columns: list[Column]
    rows: list[int]
    size: float
    labelled: bool

    @property
    def x0(self) -> float:
        """Left edge."""
        return self.columns[0].x0

    @property
    def x1(self) -> float:
        """Right edge."""
        return max(column.x1 for column in self.columns)

    @property
    def figure_columns(self) -> list[Column]:
        """The columns of figures."""
        return [column for column in self.columns if column.figures]

    def drop_rows(self, count: int) -> None:
        """Take rows from the top out of the rows and columns of figures.

        Args:
            count: How many, fewer than there are.
        """
        dropped = set(self.rows[:count])
        self.rows = self.rows[count:]
        for column in self.columns:
            column.segments = [s for s in column.segments if s.line not in dropped] or column.segments

    def place(self, segment: Segment) -> int:
        """Return the column that a segment of the table stands in.

        Args:
            segment: Any segment inside the table.

        Returns:
            The place of the column that it overlaps most, or of the nearest one.
        """
        overlaps = [min(segment.x1, c.x1) - max(segment.x0, c.x0) for c in self.columns]
        best = max(range(len(overlaps)), key=overlaps.__getitem__)
        if not segment.figure and self.labelled and segment.x0 < self.columns[0].x1 and overlaps[0] > 0:
            return 0  # A long label or section title begins where labels begin, however far it reaches.
        return best


def find_grid(component: Component, lines: Sequence[SegmentLine]) -> Grid:
    """Find the columns of a group of figures.

    Args:
        component: The figures.

    Returns:
        The columns of figures with the columns of text that belong to them.
    """
    rows = sorted(component.rows)
    size = median(figure.size for figure in component.figures)
    figures = _figure_columns(component.figures, size)
    left = _side_columns(component, figures, lines, rows, leftwards=True)
    right = _side_columns(component, figures, lines, rows, leftwards=False)
    middle = _middle_columns(figures, lines, rows)
    texts = [*left[1:], *right, *middle]
    columns = sorted([*_with_texts(figures, texts), *left[:1]], key=lambda column: column.x0)
    return Grid(columns, rows, size, labelled=bool(left))


def _with_texts(figures: Sequence[Column], texts: Sequence[Column]) -> list[Column]:
    """Put columns of text and figures together that stand in the same place, such as "Yes" and "N/A"."""
    columns = list(figures)
    for text in texts:
        same = [c for c in columns if _overlap(text, c) > COLUMN_OVERLAP]
        if not same:
            columns.append(text)
            continue
        one = same[0]
        one.figures = len(one.segments) > len(text.segments) or sum(c.figures for c in columns) == 1
        one.segments.extend(text.segments)
        one.x0, one.x1 = min(one.x0, text.x0), max(one.x1, text.x1)
    return columns


def _figure_columns(figures: Sequence[Segment], size: float) -> list[Column]:
    columns: list[Column] = []
    for figure in sorted((f for f in figures if not f.dash), key=lambda f: (f.x0, f.x1)):
        last = columns[-1] if columns else None
        if last is not None and _overlap(last, figure) > COLUMN_OVERLAP:
            last.segments.append(figure)
            last.x1 = max(last.x1, figure.x1)
        else:
            columns.append(Column([figure], figure.x0, figure.x1, figures=True))
    for dash in sorted((f for f in figures if f.dash), key=lambda f: (f.x0, f.x1)):
        nearest = min(columns, key=lambda c: _distance(c, dash), default=None)
        if nearest is not None and _distance(nearest, dash) <= _DASH_DISTANCE * size:
            nearest.segments.append(dash)
            nearest.x0, nearest.x1 = min(nearest.x0, dash.x0), max(nearest.x1, dash.x1)
        else:
            columns.append(Column([dash], dash.x0, dash.x1, figures=True))
    return sorted(columns, key=lambda column: column.x0)


def _overlap(column: Column, segment: Segment | Column) -> float:
    overlap = min(column.x1, segment.x1) - max(column.x0, segment.x0)
    narrower = min(column.x1 - column.x0, segment.x1 - segment.x0)
    return overlap / narrower if narrower > 0 else float(overlap >= 0)


def _distance(column: Column, segment: Segment) -> float:
    return max(0.0, column.x0 - segment.x1, segment.x0 - column.x1)


def _agreeing(edges: Sequence[float], size: float) -> bool:
    middle = median(edges)
    return sum(abs(edge - middle) <= _ALIGNED * size for edge in edges) >= ALIGNED_SHARE * len(edges)


def _side_columns(
    component: Component, figures: Sequence[Column], lines: Sequence[SegmentLine], rows: list[int], *, leftwards: bool
) -> list[Column]:
    """Find columns of text to the left (the nearest one holds labels) or right of the figures."""
    columns: list[Column] = []
    own = {id(figure) for figure in component.figures}
    edges = _row_edges(own, lines, rows, leftwards=leftwards)
    while len(columns) < _MAX_TEXT_COLUMNS:
        texts = []
        for row in rows:
            place = edges[row] + (-1 if leftwards else 1)
            segments = lines[row].segments
            if 0 <= place < len(segments) and not segments[place].figure:
                texts.append(segments[place])
                edges[row] = place
        labels = leftwards and not columns
        if not labels:
            texts = _in_line(texts)
        if not _is_text_column(texts, lines, rows, labels=labels, share=_LEFT_SHARE if leftwards else _RIGHT_SHARE):
            return columns
        outer = columns[-1] if columns else figures[0 if leftwards else -1]
        columns.append(_bounded(texts, outer, leftwards=leftwards))
    return columns


def _in_line(texts: list[Segment]) -> list[Segment]:
    """Leave out texts that stand beside the others: another column of the page, where a cell is empty."""
    if not texts:
        return texts
    x0, x1 = median(text.x0 for text in texts), median(text.x1 for text in texts)
    return [text for text in texts if text.x0 <= x1 + text.size and text.x1 >= x0 - text.size]


def _row_edges(own: set[int], lines: Sequence[SegmentLine], rows: list[int], *, leftwards: bool) -> dict[int, int]:
    """Return the place of each row's first or last figure on its line."""
    edges = {}
    for row in rows:
        places = [place for place, segment in enumerate(lines[row].segments) if id(segment) in own]
        edges[row] = places[0] if leftwards else places[-1]
    return edges


def _is_text_column(
    texts: Sequence[Segment], lines: Sequence[SegmentLine], rows: list[int], *, labels: bool, share: float
) -> bool:
    if not texts or len(texts) < (_LABEL_SHARE if labels else share) * len(rows):
        return False
    x0, x1 = min(text.x0 for text in texts), max(text.x1 for text in texts)
    standing = _texts_between(lines, rows, x0, x1)
    if labels:
        return not _is_prose(texts, standing, rows)
    on_rows = set(rows)
    if median(text.width for text in texts) > _PROSE_WIDTH:
        return False
    return sum(text.line in on_rows for text in standing) >= share * len(standing)


def _texts_between(lines: Sequence[SegmentLine], rows: list[int], x0: float, x1: float) -> list[Segment]:
    inside = (s for line in lines[rows[0] : rows[-1] + 1] for s in line.segments)
    return [s for s in inside if not s.figure and x0 <= s.centre <= x1]


def _is_prose(texts: Sequence[Segment], standing: Sequence[Segment], rows: list[int]) -> bool:
    """Tell whether texts beside figures are the lines of a justified column of running text."""
    size = texts[0].size
    right = median(text.x1 for text in standing)
    equal_right = sum(abs(text.x1 - right) <= 0.5 * size for text in standing)
    wide = sum(text.width > _PROSE_WIDTH for text in standing)
    left_edges = Counter(round(text.x0 / size) for text in standing).most_common(3)
    return (
        equal_right >= 0.5 * len(standing)
        and wide >= 0.6 * len(standing)
        and len(standing) >= 1.3 * len(rows)
        and sum(count for _, count in left_edges) >= 0.8 * len(standing)
    )


def _bounded(texts: list[Segment], outer: Column, *, leftwards: bool) -> Column:
    x0, x1 = min(text.x0 for text in texts), max(text.x1 for text in texts)
    # A label may reach below the first column where that is empty; the column does not.
    if leftwards:
        x1 = max(x0, min(x1, outer.x0))
    else:
        x0 = min(x1, max(x0, outer.x1))
    return Column(texts, x0, x1, figures=False)


def _middle_columns(figures: Sequence[Column], lines: Sequence[SegmentLine], rows: list[int]) -> list[Column]:
    """Find columns of text between those of figures."""
    found = []
    on_rows = set(rows)
    for left, right in pairwise(figures):
        standing = _texts_between(lines, rows, left.x1, right.x0)
        texts = [t for t in standing if t.line in on_rows and t.x0 >= left.x1 and t.x1 <= right.x0]
        if texts and len({t.line for t in texts}) >= _LEFT_SHARE * len(rows):
            found.append(Column(texts, min(t.x0 for t in texts), max(t.x1 for t in texts), figures=False))
    return found
