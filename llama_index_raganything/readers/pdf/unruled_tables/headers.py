"""The lines above a table: its header rows, and its title with the unit of its figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from llama_index_raganything.readers.pdf.unruled_tables.grid import Grid
from llama_index_raganything.readers.pdf.unruled_tables.segments import Segment, SegmentLine

MAX_HEADER_LINES: Final = 7
"""Lines looked at above the figures."""

# Lengths in font sizes.
_PITCH: Final = 2.4
_FIRST_PITCH: Final = 3.6
_WRAP_PITCH: Final = 1.6
_STICKS_OUT: Final = 3.0
_CENTRED: Final = 2.0

_ALIGNED: Final = 0.6

# Shares of the table's width.
_PROSE_WIDTH: Final = 0.62
_TITLE_WIDTH: Final = 0.45

_MAX_DIVIDED: Final = 40
"""Columns up to which a header line's texts are divided among them."""

_MAX_TITLE_LINES: Final = 3
_UNIT = re.compile(
    r"(?:\b(?:in|dollars|amounts|expressed|rs)\b|[$\u20ac\u00a3]).*"
    r"(?:\b(?:thousands?|millions?|billions?|percent|dollars|euros?|lakhs?|crores?|mn|bn)\b|'?000s?\b)"
    r"|^\(?unaudited\)?$|单位|單位|[百千]万元|百萬|萬元|[亿億]元",
    re.IGNORECASE,
)
_PERIOD = re.compile(
    r"\b(?:years?|months?|weeks?|quarters?|periods?|fiscal|ended|ending|as of|at|january|february|march|april|may|june|"
    r"july|august|september|october|november|december)\b|年|季|月",
    re.IGNORECASE,
)


Heads = dict[int, tuple[float, float]]
"""Left and right edge of the header texts over each column, from the lines read so far."""


@dataclass(slots=True)
class Header:
    """What stands above the figures of a table.

    Attributes:
        lines: The segments of the header lines, from top to bottom.
        titles: The title's lines, from top to bottom.
        headed: Whether the rows below begin with a header.
    """

    headed: bool = False
    lines: list[list[Segment]] = field(default_factory=list)
    titles: list[Segment] = field(default_factory=list)


def read_header(grid: Grid, lines: Sequence[SegmentLine], top: int, taken: set[int], *, headed: bool) -> Header:
    """Collect the header lines and the title above the first row of figures.

    Args:
        top: Place of the first row's line.
        taken: Lines with figures of other tables.
        headed: Whether the first row is a header itself.

    Returns:
        Header and title; both may be empty.
    """
    header = Header(headed=headed)
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
    if text.text.endswith((":", "\uff1a")) and (header.lines or header.headed or wide):
        return True
    if _UNIT.search(text.text) and (wide or text.text.startswith("(") or text.x0 < grid.figure_columns[0].x0):
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
        header: Header and title, changed in place.
    """
    while len(header.lines) > 1 and not header.titles and _over_labels(grid, header.lines[0]):
        header.titles.append(header.lines.pop(0)[0])


def section_titles(grid: Grid, header: Header) -> list[list[Segment]]:
    """Take the lines out of a header that stand right above the first label: they begin the table's body.

    Args:
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
        header: The segments of the header lines, from top to bottom.

    Returns:
        Rows with a text that spans columns repeated over each of them; the lines of wrapped texts are joined.
    """
    heads: Heads = {}
    read = [_header_row(grid, line, heads) for line in reversed(header)]
    rows: list[list[str]] = []
    last: float | None = None
    last_spans = True
    for line, (row, spans) in zip(header, reversed(read), strict=True):
        close = last is not None and line[0].base - last <= _WRAP_PITCH * grid.size
        if close and not spans and not last_spans:
            rows[-1] = [" ".join(filter(None, pair)) for pair in zip(rows[-1], row, strict=True)]
        else:
            rows.append(row)
        last, last_spans = line[0].base, spans
    return rows


def _header_row(grid: Grid, line: Sequence[Segment], heads: Heads) -> tuple[list[str], bool]:
    """Return the cells of a header line, and whether a text in it spans columns; add the others to the heads."""
    row = [""] * len(grid.columns)
    first = next(place for place, column in enumerate(grid.columns) if column.figures)
    labels = [s for s in line if s.x1 <= grid.columns[first].x0 or (first and grid.place(s) < first)]
    texts = [s for s in line if s not in labels]
    for text in labels:
        place = grid.place(text)
        row[place] = f"{row[place]} {text.text}".strip()
    spans = False
    for text, places in zip(texts, _spans(grid, texts, first, heads), strict=True):
        spans = spans or len(places) > 1
        for place in places:
            row[place] = f"{row[place]} {text.text}".strip()
        if len(places) == 1:
            x0, x1 = heads.get(places[0], (text.x0, text.x1))
            heads[places[0]] = (min(x0, text.x0), max(x1, text.x1))
    return row, spans


def _spans(grid: Grid, texts: Sequence[Segment], first: int, heads: Heads) -> list[list[int]]:
    """Return the columns that each text of a header line stands over."""
    columns = list(range(first, len(grid.columns)))
    if len(texts) == 1 and len(columns) > 1:
        if run := _period_span(grid, texts[0], columns, heads):
            return [run]
    elif 0 < len(texts) < len(columns):
        groups = _groups(grid, texts, columns, heads)
        # Texts that end where columns end may by chance stand near the middle of more.
        if _own_columns(grid, texts) and not _in_the_middle(grid, texts, groups):
            groups = []
        if groups:
            return groups
    return [_columns_below(grid, text, columns) for text in texts]


def _own_columns(grid: Grid, texts: Sequence[Segment]) -> bool:
    """Tell whether every text ends or begins where a column of its own does."""
    places = [grid.place(text) for text in texts]
    aligned = all(
        min(abs(text.x1 - grid.columns[place].x1), abs(text.x0 - grid.columns[place].x0)) <= _ALIGNED * grid.size
        for text, place in zip(texts, places, strict=True)
    )
    return aligned and len(set(places)) == len(places)


def _in_the_middle(grid: Grid, texts: Sequence[Segment], groups: Sequence[Sequence[int]]) -> bool:
    """Tell whether every text stands over the middle one of equally many columns."""
    sizes = {len(run) for run in groups}
    if len(sizes) != 1 or not sizes <= {3, 5, 7, 9}:
        return False
    return all(run[len(run) // 2] == grid.place(text) for text, run in zip(texts, groups, strict=True))


def _columns_below(grid: Grid, text: Segment, columns: Sequence[int]) -> list[int]:
    below = [
        place
        for place in columns
        if min(text.x1, grid.columns[place].x1) - max(text.x0, grid.columns[place].x0)
        > 0.5 * (grid.columns[place].x1 - grid.columns[place].x0)
    ]
    return below if len(below) > 1 else [max(grid.place(text), columns[0])]


def _off_centre(grid: Grid, text: Segment, run: Sequence[int], heads: Heads) -> float:
    """Return how far a text stands from the middle of a run of columns, or of the texts already over them."""
    first, last = run[0], run[-1]
    distances = [abs(text.centre - (grid.columns[first].x0 + grid.columns[last].x1) / 2)]
    if first in heads and last in heads:
        distances.append(abs(text.centre - (heads[first][0] + heads[last][1]) / 2))
    return min(distances)


def _groups(grid: Grid, texts: Sequence[Segment], columns: Sequence[int], heads: Heads) -> list[list[int]]:
    """Divide the columns among the texts so that every text stands over the middle of its own, if that is possible.

    Of all divisions into runs of neighbours that with the smallest sum of distances is taken (dynamic programming).
    """
    if len(columns) > _MAX_DIVIDED:
        return []
    count = len(columns)
    # best[end]: smallest sum, and the runs, with which the texts so far cover the columns before ``end``.
    best: dict[int, tuple[float, list[list[int]]]] = {0: (0.0, [])}
    for text in texts:
        following: dict[int, tuple[float, list[list[int]]]] = {}
        for start, (total, runs) in best.items():
            for end in range(start + 1, count + 1):
                run = list(columns[start:end])
                off = _off_centre(grid, text, run, heads)
                if off > _CENTRED * grid.size and (len(run) > 1 or not _over(grid, text, run[0])):
                    continue
                if end not in following or total + off < following[end][0]:
                    following[end] = (total + off, [*runs, run])
        best = following
    return best[count][1] if count in best else []


def _over(grid: Grid, text: Segment, place: int) -> bool:
    column = grid.columns[place]
    return text.x1 > column.x0 - _CENTRED * grid.size and text.x0 < column.x1 + _CENTRED * grid.size


def _period_span(grid: Grid, text: Segment, columns: Sequence[int], heads: Heads) -> list[int]:
    """Put a single text with a word such as "year ended" over the longest run of columns that it is centred on."""
    if not _PERIOD.search(text.text) or len(columns) > _MAX_DIVIDED:
        return []
    count = len(columns)
    runs = [list(columns[start:end]) for end in range(count, 1, -1) for start in range(end - 1)]
    centred = [run for run in runs if _off_centre(grid, text, run, heads) <= grid.size]
    return max(centred, key=len, default=[])


def wraps(first: SegmentLine, second: SegmentLine) -> bool:
    """Tell whether two lines are as close as the lines of one cell."""
    return second.base - first.base <= _WRAP_PITCH * max(first.size, second.size)
