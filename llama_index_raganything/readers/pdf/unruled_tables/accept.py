"""Which groups of figures are tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from llama_index_raganything.readers.pdf.unruled_tables.grid import Column, Grid
from llama_index_raganything.readers.pdf.unruled_tables.numbers import has_digit, is_page_number
from llama_index_raganything.readers.pdf.unruled_tables.segments import Segment, SegmentLine

MIN_ROWS: Final = 3
"""Rows of figures from which alignment alone makes a table."""

MIN_FILL: Final = 0.35
"""Share of filled cells among the columns of figures, where there are three or more; charts have fewer."""

_FIGURE_CELLS: Final = 0.2
_FIGURE_ROWS: Final = 0.25
_LABELLED_ROWS: Final = 0.5

_SHORT_FIGURES: Final = 3
_SHORT_DIGITS: Final = 2
_SHORT_YEARS: Final = 0.5
_SHORT_HEADED: Final = 0.66
_SHORT_HEADER_WIDTH: Final = 20.0

_AXIS_FIGURES: Final = 4
_AXIS_DIGITS: Final = 15

_CONTENTS_ORDER: Final = 0.8
_CONTENTS_PAGES: Final = 1.3
_CONTENTS_MORE: Final = 20
_CONTENTS_LINES: Final = 10
_CONTENTS = re.compile(r"(?:table of )?contents:?|index|目\s*[录錄]", re.IGNORECASE)


def is_table(grid: Grid, body: Sequence[Sequence[Segment]]) -> bool:
    """Tell whether three or more rows of figures are a table.

    Args:
        body: The segments of each row of the body, rows without figures among them.

    Returns:
        True when figures stand in aligned columns, with labels or enough of them.
    """
    if len(grid.rows) < MIN_ROWS:
        return False
    columns = grid.figure_columns
    if not grid.labelled and all(_is_axis(column) for column in columns):
        return False
    aligned = sum(column.aligned() for column in columns)
    return _is_aligned(grid, aligned, body) and _is_filled(grid, body)


def _is_aligned(grid: Grid, aligned: int, body: Sequence[Sequence[Segment]]) -> bool:
    columns = grid.figure_columns
    per_row: dict[int, int] = {}
    for column in columns:
        for segment in column.segments:
            per_row[segment.line] = per_row.get(segment.line, 0) + 1
    paired = sum(count >= 2 for count in per_row.values())
    if aligned >= 2 and paired >= (2 if len(columns) >= 3 else 3):
        return grid.labelled or len(columns) >= 3 or len(grid.rows) >= 4
    return aligned >= 1 and grid.labelled and _labelled_rows(grid, body) >= _LABELLED_ROWS * len(grid.rows)


def _is_axis(column: Column) -> bool:
    """Tell whether the figures of a column rise or fall by equal steps, as on the axis of a chart."""
    digits = [re.sub(r"\D", "", s.text) for s in sorted(column.segments, key=lambda s: s.base)]
    values = [int(text[:_AXIS_DIGITS]) for text in digits if text]
    steps = {second - first for first, second in pairwise(values)}
    return len(values) >= _AXIS_FIGURES and len(steps) == 1 and 0 not in steps


def _labelled_rows(grid: Grid, body: Sequence[Sequence[Segment]]) -> int:
    return sum(
        any(s.figure for s in row)
        and any(not s.figure and _has_letters(s.text) for s in row if s.x0 < grid.columns[0].x1)
        for row in body
    )


def _has_letters(text: str) -> bool:
    return any(character.isalpha() for character in text)


def _is_filled(grid: Grid, body: Sequence[Sequence[Segment]]) -> bool:
    columns = grid.figure_columns
    figures = sum(len(column.segments) for column in columns)
    if len(columns) >= 3 and figures < MIN_FILL * len(columns) * len(grid.rows):
        return False
    cells = sum(len(row) for row in body)
    return figures >= _FIGURE_CELLS * cells and len(grid.rows) >= _FIGURE_ROWS * len(body)


def is_short_table(grid: Grid, header: Sequence[Sequence[Segment]]) -> bool:
    """Tell whether one or two rows of figures are a table: they need a label and a header.

    Args:
        header: The segments of the lines right above, at most 3.2 font sizes away.

    Returns:
        True when texts above cover most of the figures.
    """
    figures = [segment for column in grid.figure_columns for segment in column.segments]
    if not grid.labelled or not 1 <= len(grid.rows) < MIN_ROWS or len(figures) < _SHORT_FIGURES * len(grid.rows):
        return False
    if sum(has_digit(f.text) for f in figures) < _SHORT_DIGITS * len(grid.rows):
        return False
    if sum(f.year for f in figures) >= _SHORT_YEARS * len(figures):
        return False
    return _is_headed(grid, figures, header)


def _is_headed(grid: Grid, figures: Sequence[Segment], header: Sequence[Sequence[Segment]]) -> bool:
    texts = [segment for line in header for segment in line]
    if not any(len(line) >= 2 for line in header) or any(t.width > _SHORT_HEADER_WIDTH for t in texts):
        return False
    if any(t.figure and not t.year for t in texts):
        return False
    covered = sum(any(t.x0 - grid.size <= f.x1 and f.x0 <= t.x1 + grid.size for t in texts) for f in figures)
    return covered >= _SHORT_HEADED * len(figures)


def is_contents(grid: Grid, lines: Sequence[SegmentLine], page_count: int) -> bool:
    """Tell whether a table is a list of contents: labels and the pages they are on.

    Returns:
        True for one column of rising integers, or of figures after dots.
    """
    columns = grid.figure_columns
    if len(columns) != 1:
        return False
    cells = sorted(columns[0].segments, key=lambda segment: segment.base)
    plain = [int(cell.text) for cell in cells if is_page_number(cell.text)]
    if len(plain) < 0.9 * len(cells) or len(plain) < 2:
        return False
    headed = any(_CONTENTS.fullmatch(s.text) for line in lines[:_CONTENTS_LINES] for s in line.segments)
    if headed or sum(lines[cell.line].leader for cell in cells) >= 0.5 * len(cells):
        return True
    # Pages rise; counts in a short table stay where they are.
    if len(set(plain)) < 0.5 * len(plain) or plain[-1] <= plain[0]:
        return False
    rising = sum(second >= first for first, second in pairwise(plain))
    return rising >= _CONTENTS_ORDER * (len(plain) - 1) and plain[-1] <= _CONTENTS_PAGES * page_count + _CONTENTS_MORE
