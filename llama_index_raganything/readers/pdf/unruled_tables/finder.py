"""Find the tables of a page by the columns that their figures stand in.

The steps: characters, words, lines, segments (what will be cells), figures among them, groups of figures
that stand below and beside each other, columns, labels, header and title. Nothing is learned; all lengths
are in font sizes. Related: the stream mode of Camelot (https://camelot-py.readthedocs.io) and T. Kieninger,
"Table structure recognition based on robust block segmentation" (SPIE 3305, 1998), which also grow columns
of words downwards; here only figures grow columns, so that running text gives no tables.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from llama_index_raganything.readers.pdf.unruled_tables.accept import is_contents, is_short_table, is_table
from llama_index_raganything.readers.pdf.unruled_tables.components import Component, find_components
from llama_index_raganything.readers.pdf.unruled_tables.grid import Grid, find_grid
from llama_index_raganything.readers.pdf.unruled_tables.headers import (
    Header,
    header_rows,
    read_header,
    section_titles,
    take_titles,
    wraps,
)
from llama_index_raganything.readers.pdf.unruled_tables.segments import Segment, SegmentLine, find_segments
from llama_index_raganything.readers.pdf.unruled_tables.words import Glyph, find_lines, find_words

MAX_FIGURES: Final = 6000
"""A page with more figures is a drawing or damaged; it is not searched."""

MAX_COLUMNS: Final = 100
"""A group with more columns is no table that anyone reads; pages that hold one are damaged."""

MIN_SHORT_FIGURES: Final = 3
"""A group with fewer figures is no table, however it is headed."""

_HEADER_NEAR: Final = 3.2
"""How far above a table of one or two rows its header may stand, in font sizes."""

_SAME_PLACE: Final = 0.5
_JOINING = ("(", "&", "\uff08")
_ENUMERATED = re.compile(r"\(?(?:[a-z]|[ivx]{1,4})[.)]\s")


@dataclass(slots=True)
class FoundTable:
    """A table found by its columns.

    Attributes:
        rows: The cells, header rows first, all rows of the same length.
        header_rows: How many of them are header rows.
        title: The lines above that name the table and the unit of its figures.
        x0: Left edge, in points of the page as it is read.
        y0: Top.
        x1: Right edge.
        y1: Bottom.
        contents: True for a list of contents.
    """

    rows: list[list[str]]
    header_rows: int
    title: str
    x0: float
    y0: float
    x1: float
    y1: float
    contents: bool = False


def find_tables(glyphs: Sequence[Glyph], page_count: int) -> list[FoundTable]:
    """Find the tables of a page.

    Args:
        glyphs: The page's characters in content order.
        page_count: Pages of the file; tells lists of contents from tables.

    Returns:
        Tables from top to bottom, lists of contents among them.
    """
    lines = find_segments(find_lines(find_words(glyphs)))
    if not 0 < sum(segment.figure for line in lines for segment in line.segments) <= MAX_FIGURES:
        return []
    components = [c for c in find_components(lines) if len(c.figures) >= MIN_SHORT_FIGURES]
    taken = {row for component in components for row in component.rows}
    found = [table for component in components if (table := _read_table(component, lines, taken, page_count))]
    return _without_overlaps(found)


def _read_table(
    component: Component, lines: Sequence[SegmentLine], taken: set[int], page_count: int
) -> FoundTable | None:
    grid = find_grid(component, lines)
    if len(grid.columns) > MAX_COLUMNS:
        return None
    header_lines = _year_rows(grid, component)
    grid.drop_rows(len(header_lines))
    body = _body(grid, lines)
    others = taken - component.rows
    # Between the years and the first figures may stand the title of a section.
    body = [*_between(grid, lines, header_lines), *body]
    top = header_lines[0] if header_lines else grid.rows[0]
    if len(grid.rows) >= 3:
        if not is_table(grid, [row for _, row in body]):
            return None
        header = read_header(grid, lines, top, others, headed=bool(header_lines))
    else:
        header = read_header(grid, lines, top, others, headed=bool(header_lines))
        near = [*header.lines, *(_inside(grid, lines[number]) for number in header_lines)]
        limit = lines[grid.rows[0]].base - _HEADER_NEAR * grid.size
        if not is_short_table(grid, [line for line in near if line[0].base >= limit]):
            return None
    header.lines.extend(_inside(grid, lines[number]) for number in header_lines)
    take_titles(grid, header)
    body = [*((lines[row[0].line], row) for row in section_titles(grid, header)), *body]
    return _written(grid, header, body, contents=is_contents(grid, lines, page_count))


def _year_rows(grid: Grid, component: Component) -> list[int]:
    """Return the leading rows that hold nothing but years: they are a header."""
    years = []
    for row in grid.rows[:-1]:
        figures = [figure for figure in component.figures if figure.line == row]
        if len(figures) < 2 or not all(figure.year for figure in figures):
            break
        years.append(row)
    return years


def _between(
    grid: Grid, lines: Sequence[SegmentLine], header_lines: Sequence[int]
) -> list[tuple[SegmentLine, list[Segment]]]:
    if not header_lines:
        return []
    between = lines[header_lines[-1] + 1 : grid.rows[0]]
    return [(line, inside) for line in between if (inside := _inside(grid, line))]


def _inside(grid: Grid, line: SegmentLine) -> list[Segment]:
    """Return the segments of a line that stand in the table's columns."""
    x0, x1 = grid.x0, grid.x1
    return [s for s in line.segments if min(x1, s.x1) - max(x0, s.x0) > _SAME_PLACE * (s.x1 - s.x0)]


def _body(grid: Grid, lines: Sequence[SegmentLine]) -> list[tuple[SegmentLine, list[Segment]]]:
    """Return the rows from the first to the last row of figures, and the rest of a wrapped last label."""
    body = []
    last = grid.rows[-1]
    for line in lines[grid.rows[0] : last + 1]:
        if inside := _inside(grid, line):
            body.append((line, inside))  # noqa: PERF401 - the loop below goes on with the same list.
    for number in range(last + 1, min(last + 3, len(lines))):
        inside = _inside(grid, lines[number])
        if not grid.labelled or not inside or not wraps(lines[number - 1], lines[number]):
            break
        if len(inside) > 1 or inside[0].figure or not inside[0].text[0].islower() or grid.place(inside[0]) != 0:
            break
        if inside[0].x1 > grid.figure_columns[0].x0:
            break
        body.append((lines[number], inside))
    return body


def _written(
    grid: Grid,
    header: Header,
    body: Sequence[tuple[SegmentLine, list[Segment]]],
    *,
    contents: bool,
) -> FoundTable:
    top = header_rows(grid, header.lines)
    rows = [*top, *_body_rows(grid, body)]
    filled = [place for place in range(len(grid.columns)) if any(row[place] for row in rows)]
    rows = [[row[place] for place in filled] for row in rows]
    segments = [s for line in header.lines for s in line] + [s for _, row in body for s in row]
    return FoundTable(
        rows=rows,
        header_rows=len(top),
        title=_title(header),
        x0=min(s.x0 for s in segments),
        y0=min(s.y0 for s in segments),
        x1=max(s.x1 for s in segments),
        y1=max(s.y1 for s in segments),
        contents=contents,
    )


def _title(header: Header) -> str:
    """Return the title, or nothing for the last words of a paragraph above the table."""
    title = " ".join(line.text for line in header.titles)
    return "" if title[:1].islower() else title


def _body_rows(grid: Grid, body: Sequence[tuple[SegmentLine, list[Segment]]]) -> list[list[str]]:
    """Write the rows of the body, the lines of wrapped labels joined."""
    rows: list[list[str]] = []
    last: SegmentLine | None = None
    for line, segments in body:
        row = [""] * len(grid.columns)
        for segment in segments:
            place = grid.place(segment)
            row[place] = f"{row[place]} {segment.text}".strip()
        close = last is not None and wraps(last, line)
        if rows and close and grid.labelled and _continues(rows[-1], row):
            rows[-1] = [" ".join(filter(None, pair)) for pair in zip(rows[-1], row, strict=True)]
        else:
            rows.append(row)
        last = line
    return rows


def _continues(last: Sequence[str], row: Sequence[str]) -> bool:
    """Tell whether a row's label goes on from the row before, one of them having nothing but the label."""
    label = row[0]
    begins = label[:1].islower() or label.startswith(_JOINING)
    if not last[0] or not begins or _ENUMERATED.match(label):
        return False
    if any(last[1:]) and any(row[1:]):
        return False
    return any(last[1:]) or not last[0].endswith((":", "\uff1a"))


def _without_overlaps(tables: list[FoundTable]) -> list[FoundTable]:
    """Keep the larger of two tables in one place, from top to bottom."""
    kept: list[FoundTable] = []
    for table in sorted(tables, key=lambda t: (t.x0 - t.x1) * (t.y1 - t.y0)):
        if not any(_inside_share(table, other) >= _SAME_PLACE for other in kept):
            kept.append(table)
    return sorted(kept, key=lambda table: (table.y0, table.x0))


def _inside_share(table: FoundTable, other: FoundTable) -> float:
    width = min(table.x1, other.x1) - max(table.x0, other.x0)
    height = min(table.y1, other.y1) - max(table.y0, other.y0)
    area = (table.x1 - table.x0) * (table.y1 - table.y0)
    return width * height / area if width > 0 and height > 0 and area > 0 else 0.0
