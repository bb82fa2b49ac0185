"""The lines above a table: its header rows, and its title with the unit of its figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from llama_index_raganything.readers.pdf.columns.grid import Grid
from llama_index_raganything.readers.pdf.columns.segments import Segment, SegmentLine

MAX_HEADER_LINES: Final = 7
"""Lines looked at above the figures."""

# Lengths in font sizes.
_PITCH: Final = 2.4
_FIRST_PITCH: Final = 3.6
_WRAP_PITCH: Final = 1.6
_STICKS_OUT: Final = 3.0
_CENTRED: Final = 2.0

# Shares of the table's width.
_PROSE_WIDTH: Final = 0.62
_TITLE_WIDTH: Final = 0.45

_MAX_TITLE_LINES: Final = 3
_UNIT = re.compile(
    r"\b(?:in|\$|dollars|amounts|expressed)\b.*\b(?:thousands|millions|billions|percent|dollars)\b|^\(?unaudited\)?$"
    r"|单位|單位|[百千]万元|百萬|萬元|[亿億]元",
    re.IGNORECASE,
)
_PERIOD = re.compile(
    r"\b(?:years?|months?|weeks?|quarters?|periods?|fiscal|ended|ending|as of|at|january|february|march|april|may|june|"
    r"july|august|september|october|november|december)\b|年|季|月",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Header:
    """What stands above the figures of a table.

    Attributes:
        lines: The segments of the header lines, from top to bottom.
        titles: The title's lines, from top to bottom.
    """

    lines: list[list[Segment]] = field(default_factory=list)
    titles: list[Segment] = field(default_factory=list)


def read_header(grid: Grid, lines: Sequence[SegmentLine], top: int, taken: set[int]) -> Header:
    """Collect the header lines and the title above the first row of figures.

    Args:
        grid: The columns.
        lines: The page's lines.
        top: Place of the first row's line.
        taken: Lines with figures of other tables.

    Returns:
        Header and title; both may be empty.
    """
    header = Header()
    last = lines[top].base
    looked_at = 0
    for number in range(top - 1, -1, -1):
        line = lines[number]
        if last - line.base > (_PITCH if header.lines or header.titles else _FIRST_PITCH) * grid.size:
            break
        inside = [s for s in line.segments if s.x1 > grid.x0 - grid.size and s.x0 < grid.x1 + grid.size]
        if not inside:
            continue
        looked_at += 1
        if looked_at > MAX_HEADER_LINES or (number in taken and any(s.figure and not s.year for s in inside)):
            break
        if not _add_line(header, inside, grid):
            break
        last = line.base
    header.lines.reverse()
    header.titles.reverse()
    return header


def _add_line(header: Header, inside: list[Segment], grid: Grid) -> bool:
    """Add a line to the header or the title; False when it is neither."""
    if _is_title(header, inside, grid):
        header.titles.append(inside[0])
        return len(header.titles) < _MAX_TITLE_LINES
    if header.titles or _is_body(inside, grid):
        return False
    header.lines.append(inside)
    return True


def _is_body(inside: Sequence[Segment], grid: Grid) -> bool:
    """Tell whether a line above a table is a row of another one, or running text."""
    if sum(s.figure and not s.year for s in inside) > 0.5 * len(inside):
        return True
    if len(inside) == 1 and inside[0].x1 - inside[0].x0 > _PROSE_WIDTH * (grid.x1 - grid.x0):
        return True
    margin = _STICKS_OUT * grid.size
    return any(s.x0 < grid.x0 - margin and s.x1 > grid.x1 + margin for s in inside)


def _is_title(header: Header, inside: Sequence[Segment], grid: Grid) -> bool:
    if len(inside) != 1:
        return False
    text, width = inside[0], grid.x1 - grid.x0
    if text.figure or text.x1 > grid.x1 + _STICKS_OUT * grid.size:
        return False
    wide = text.x1 - text.x0 > _TITLE_WIDTH * width
    if text.text.endswith((":", "\uff1a")) and (header.lines or wide):
        return True
    if _UNIT.search(text.text) and (wide or text.x0 < grid.figure_columns[0].x0):
        return True
    if not grid.labelled or (text.x1 - text.x0 > _PROSE_WIDTH * width and not header.titles):
        return False
    reaching = text.x1 > grid.figure_columns[0].x0
    at_edge = abs(text.x0 - grid.x0) <= 1.5 * grid.size
    in_the_middle = abs(text.centre - (grid.x0 + grid.x1) / 2) <= _CENTRED * grid.size
    before_figures = text.x0 < grid.figure_columns[0].x0 - _CENTRED * grid.size
    return reaching and before_figures and (at_edge or in_the_middle)


def take_titles(grid: Grid, header: Header) -> None:
    """Make single texts over the labels that stand above all other header lines part of the title.

    Args:
        grid: The columns.
        header: Header and title, changed in place.
    """
    while len(header.lines) > 1 and not header.titles and _over_labels(grid, header.lines[0]):
        header.titles.append(header.lines.pop(0)[0])


def section_titles(grid: Grid, header: Header) -> list[list[Segment]]:
    """Take the lines out of a header that stand right above the first label: they begin the table's body.

    Args:
        grid: The columns.
        header: Header and title, changed in place.

    Returns:
        The lines, from top to bottom.
    """
    taken: list[list[Segment]] = []
    while header.lines and _over_labels(grid, header.lines[-1]):
        taken.insert(0, header.lines.pop())
    return taken


def _over_labels(grid: Grid, line: Sequence[Segment]) -> bool:
    return grid.labelled and len(line) == 1 and line[0].x1 <= grid.figure_columns[0].x0 and grid.place(line[0]) == 0


def header_rows(grid: Grid, header: Sequence[Sequence[Segment]]) -> list[list[str]]:
    """Write header lines as rows of cells.

    Args:
        grid: The columns.
        header: The segments of the header lines, from top to bottom.

    Returns:
        Rows with a text that spans columns repeated over each of them; the lines of wrapped texts are joined.
    """
    rows: list[list[str]] = []
    last: float | None = None
    last_spans = True
    for line in header:
        row, spans = _header_row(grid, line)
        close = last is not None and line[0].base - last <= _WRAP_PITCH * grid.size
        if close and not spans and not last_spans:
            rows[-1] = [" ".join(filter(None, pair)) for pair in zip(rows[-1], row, strict=True)]
        else:
            rows.append(row)
        last, last_spans = line[0].base, spans
    return rows


def _header_row(grid: Grid, line: Sequence[Segment]) -> tuple[list[str], bool]:
    """Return the cells of a header line, and whether a text in it spans columns."""
    row = [""] * len(grid.columns)
    first = next(place for place, column in enumerate(grid.columns) if column.figures)
    labels = [s for s in line if s.x1 <= grid.columns[first].x0 or (first and grid.place(s) < first)]
    texts = [s for s in line if s not in labels]
    for text in labels:
        place = grid.place(text)
        row[place] = f"{row[place]} {text.text}".strip()
    spans = False
    for text, places in zip(texts, _spans(grid, texts, first), strict=True):
        spans = spans or len(places) > 1
        for place in places:
            row[place] = f"{row[place]} {text.text}".strip()
    return row, spans


def _spans(grid: Grid, texts: Sequence[Segment], first: int) -> list[list[int]]:
    """Return the columns that each text of a header line stands over."""
    columns = range(first, len(grid.columns))
    if 0 < len(texts) < len(columns):
        groups = _period_span(grid, texts[0], list(columns)) if len(texts) == 1 else _groups(grid, texts, columns)
        if groups:
            return groups
    return [_columns_below(grid, text, columns) for text in texts]


def _columns_below(grid: Grid, text: Segment, columns: Sequence[int]) -> list[int]:
    below = [
        place
        for place in columns
        if min(text.x1, grid.columns[place].x1) - max(text.x0, grid.columns[place].x0)
        > 0.5 * (grid.columns[place].x1 - grid.columns[place].x0)
    ]
    return below if len(below) > 1 else [max(grid.place(text), columns[0])]


def _middle(grid: Grid, places: Sequence[int]) -> float:
    return (grid.columns[places[0]].x0 + grid.columns[places[-1]].x1) / 2


def _groups(grid: Grid, texts: Sequence[Segment], columns: Sequence[int]) -> list[list[int]]:
    """Give each column to the nearest text, if that puts every text over the middle of its columns."""
    groups: list[list[int]] = [[] for _ in texts]
    for place in columns:
        middle = _middle(grid, [place])
        nearest = min(range(len(texts)), key=lambda index: abs(texts[index].centre - middle))
        groups[nearest].append(place)
    centred = all(
        group and (len(group) == 1 or abs(text.centre - _middle(grid, group)) <= _CENTRED * grid.size)
        for text, group in zip(texts, groups, strict=True)
    )
    return groups if centred else []


def _period_span(grid: Grid, text: Segment, columns: Sequence[int]) -> list[list[int]]:
    """Put a single text with a word such as "year ended" over the longest run of columns that it is centred on."""
    if not _PERIOD.search(text.text):
        return []
    runs = [list(columns[start:end]) for end in range(len(columns), 1, -1) for start in range(min(end - 1, 40))]
    centred = [run for run in runs if len(run) > 1 and abs(text.centre - _middle(grid, run)) <= grid.size]
    return [max(centred, key=len)] if centred else []


def wraps(first: SegmentLine, second: SegmentLine) -> bool:
    """Tell whether two lines are as close as the lines of one cell."""
    return second.base - first.base <= _WRAP_PITCH * max(first.size, second.size)
