"""Numbers that stand below and beside each other become the columns and headers of a table, or of none."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Final

from llama_index_raganything.readers.pdf.tables.words import Segment, SegmentLine, has_digit

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
class GridColumn:
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
        cells = [s for s in self.segments if not s.dash] or self.segments
        edges = zip(*((s.digit_right, s.x0, s.centre, s.x1) for s in cells), strict=True)
        return any(_agreeing(edge, cells[0].size) for edge in edges)


@dataclass(slots=True)
class Grid:
    """The columns and rows of what may be a table.

    Attributes:
        columns: From left to right.
        rows: Places of the lines that hold figures, in order.
        size: Median font size of the figures.
        labelled: Whether a column of labels stands to the left of the figures.
    """

    columns: list[GridColumn]
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
    def figure_columns(self) -> list[GridColumn]:
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


def _with_texts(figures: Sequence[GridColumn], texts: Sequence[GridColumn]) -> list[GridColumn]:
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


def _figure_columns(figures: Sequence[Segment], size: float) -> list[GridColumn]:
    columns: list[GridColumn] = []
    for figure in sorted((f for f in figures if not f.dash), key=lambda f: (f.x0, f.x1)):
        last = columns[-1] if columns else None
        if last is not None and _overlap(last, figure) > COLUMN_OVERLAP:
            last.segments.append(figure)
            last.x1 = max(last.x1, figure.x1)
        else:
            columns.append(GridColumn([figure], figure.x0, figure.x1, figures=True))
    for dash in sorted((f for f in figures if f.dash), key=lambda f: (f.x0, f.x1)):
        nearest = min(columns, key=lambda c: _distance(c, dash), default=None)
        if nearest is not None and _distance(nearest, dash) <= _DASH_DISTANCE * size:
            nearest.segments.append(dash)
            nearest.x0, nearest.x1 = min(nearest.x0, dash.x0), max(nearest.x1, dash.x1)
        else:
            columns.append(GridColumn([dash], dash.x0, dash.x1, figures=True))
    return sorted(columns, key=lambda column: column.x0)


def _overlap(column: GridColumn, segment: Segment | GridColumn) -> float:
    overlap = min(column.x1, segment.x1) - max(column.x0, segment.x0)
    narrower = min(column.x1 - column.x0, segment.x1 - segment.x0)
    return overlap / narrower if narrower > 0 else float(overlap >= 0)


def _distance(column: GridColumn, segment: Segment) -> float:
    return max(0.0, column.x0 - segment.x1, segment.x0 - column.x1)


def _agreeing(edges: Sequence[float], size: float) -> bool:
    middle = median(edges)
    return sum(abs(edge - middle) <= _ALIGNED * size for edge in edges) >= ALIGNED_SHARE * len(edges)


def _side_columns(
    component: Component,
    figures: Sequence[GridColumn],
    lines: Sequence[SegmentLine],
    rows: list[int],
    *,
    leftwards: bool,
) -> list[GridColumn]:
    """Find columns of text to the left (the nearest one holds labels) or right of the figures."""
    columns: list[GridColumn] = []
    own = {id(figure) for figure in component.figures}
    # The place of each row's first or last figure on its line.
    ends = {row: [n for n, segment in enumerate(lines[row].segments) if id(segment) in own] for row in rows}
    edges = {row: places[0 if leftwards else -1] for row, places in ends.items()}
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


def _bounded(texts: list[Segment], outer: GridColumn, *, leftwards: bool) -> GridColumn:
    x0, x1 = min(text.x0 for text in texts), max(text.x1 for text in texts)
    # A label may reach below the first column where that is empty; the column does not.
    if leftwards:
        x1 = max(x0, min(x1, outer.x0))
    else:
        x0 = min(x1, max(x0, outer.x1))
    return GridColumn(texts, x0, x1, figures=False)


def _middle_columns(figures: Sequence[GridColumn], lines: Sequence[SegmentLine], rows: list[int]) -> list[GridColumn]:
    """Find columns of text between those of figures."""
    found = []
    on_rows = set(rows)
    for left, right in pairwise(figures):
        standing = _texts_between(lines, rows, left.x1, right.x0)
        texts = [t for t in standing if t.line in on_rows and t.x0 >= left.x1 and t.x1 <= right.x0]
        if texts and len({t.line for t in texts}) >= _LEFT_SHARE * len(rows):
            found.append(GridColumn(texts, min(t.x0 for t in texts), max(t.x1 for t in texts), figures=False))
    return found


# All lengths below are in font sizes.
_MAX_DOWN: Final = 8.0
_NEAR_DOWN: Final = 4.6
_SAME_EDGE: Final = 0.5
_SAME_CENTRE: Final = 0.6
_MAX_RIGHT: Final = 22.0
_TEXT_WIDTH: Final = 6.0
_TEXT_COVER: Final = 0.3
_MERGE_WIDTH: Final = 26.0
_MERGE_ROW_WIDTH: Final = 50.0
_MERGE_ROWS: Final = 0.6

MAX_LINES_DOWN: Final = 40
"""Lines looked at below a figure; 8 font sizes hold fewer than ten of its own size."""

MAX_MERGED: Final = 100
"""With more groups than this on a page none are merged: such a page is a map or a drawing."""


@dataclass(slots=True)
class Component:
    """Figures that belong together.

    Attributes:
        figures: The figures, line by line, from left to right.
        rows: Places of the lines they stand on.
    """

    figures: list[Segment]
    rows: set[int] = field(default_factory=set)

    @property
    def x0(self) -> float:
        """Left edge."""
        return min(figure.x0 for figure in self.figures)

    @property
    def x1(self) -> float:
        """Right edge."""
        return max(figure.x1 for figure in self.figures)


def find_components(lines: Sequence[SegmentLine]) -> list[Component]:
    """Link figures that stand below or beside each other.

    Args:
        lines: The page's lines, from top to bottom.

    Returns:
        Groups of figures, those that share their rows put together.
    """
    figures = [segment for line in lines for segment in line.segments if segment.figure]
    parents = list(range(len(figures)))
    places = {id(figure): place for place, figure in enumerate(figures)}
    for place, figure in enumerate(figures):
        for other in _neighbours(figure, lines):
            first, second = sorted((_root(parents, place), _root(parents, places[id(other)])))
            parents[second] = first
    groups: dict[int, Component] = {}
    for place, figure in enumerate(figures):
        group = groups.setdefault(_root(parents, place), Component([]))
        group.figures.append(figure)
        group.rows.add(figure.line)
    return _merged(list(groups.values()), lines)


def _root(parents: list[int], place: int) -> int:
    while parents[place] != place:
        parents[place] = parents[parents[place]]
        place = parents[place]
    return place


def _neighbours(figure: Segment, lines: Sequence[SegmentLine]) -> Iterator[Segment]:
    """Yield the figure below and the figure to the right."""
    below = _below(figure, lines)
    if below is not None:
        yield below
    segments = lines[figure.line].segments
    place = bisect_left(segments, (figure.x0, figure.x1), key=lambda segment: (segment.x0, segment.x1))
    while place < len(segments) and segments[place] is not figure:
        place += 1
    if place + 1 < len(segments):
        right = segments[place + 1]
        if right.figure and right.x0 - figure.x1 < _MAX_RIGHT * figure.size:
            yield right


def _below(figure: Segment, lines: Sequence[SegmentLine]) -> Segment | None:
    """Return the nearest figure below in the same column, unless running text stands between."""
    texts: list[Segment] = []
    centre_taken = False
    for line in lines[figure.line + 1 : figure.line + 1 + MAX_LINES_DOWN]:
        distance = (line.base - figure.base) / figure.size
        if distance > _MAX_DOWN:
            return None
        near = list(_around(figure, line.segments))
        for other in sorted((s for s in near if s.figure), key=lambda other: abs(other.centre - figure.centre)):
            same_right = abs(other.digit_right - figure.digit_right) <= _SAME_EDGE * figure.size
            if distance > _NEAR_DOWN and (centre_taken or not same_right):
                continue
            if (same_right or _same_column(figure, other)) and not _text_between(figure, other, texts):
                return other
        texts.extend(s for s in near if not s.figure and s.width > _TEXT_WIDTH)
        centre_taken = centre_taken or any(s.x0 <= figure.centre <= s.x1 for s in near)
    return None


def _around(figure: Segment, segments: Sequence[Segment]) -> Iterator[Segment]:
    """Yield the segments of a line that reach into the neighbourhood of a figure."""
    margin = 2 * figure.size
    last = bisect_left(segments, figure.x1 + margin, key=lambda segment: segment.x0)
    for place in range(last - 1, max(-1, last - MAX_LINES_DOWN), -1):
        # Segments of a line do not overlap, save in damaged files.
        if segments[place].x1 < figure.x0 - margin:
            return
        yield segments[place]


def _same_column(figure: Segment, other: Segment) -> bool:
    overlap = min(figure.x1, other.x1) - max(figure.x0, other.x0)
    narrower = min(figure.x1 - figure.x0, other.x1 - other.x0)
    return overlap >= 0.5 * narrower > 0 or abs(figure.centre - other.centre) <= _SAME_CENTRE * figure.size


def _text_between(figure: Segment, other: Segment, texts: Sequence[Segment]) -> bool:
    left, right = min(figure.x0, other.x0), max(figure.x1, other.x1)
    return any(min(right, text.x1) - max(left, text.x0) > _TEXT_COVER * (right - left) for text in texts)


def _merged(components: list[Component], lines: Sequence[SegmentLine]) -> list[Component]:
    """Put groups together that stand on the same rows with only a column of text between them."""
    large = [component for component in components if len(component.rows) >= 2]
    if len(large) > MAX_MERGED:
        return components
    rest = [component for component in components if len(component.rows) < 2]
    merged: list[Component] = []
    for component in sorted(large, key=lambda component: component.x0):
        partner = next((other for other in merged if _belong_together(other, component, lines)), None)
        if partner is None:
            merged.append(component)
        else:
            partner.figures.extend(component.figures)
            partner.rows |= component.rows
    for component in merged:
        component.figures.sort(key=lambda figure: (figure.line, figure.x0))
    return merged + rest


def _belong_together(left: Component, right: Component, lines: Sequence[SegmentLine]) -> bool:
    common = left.rows & right.rows
    if len(common) < max(2.0, _MERGE_ROWS * len(left.rows), _MERGE_ROWS * len(right.rows)):
        return False
    rows = left.rows | right.rows
    x0, x1 = left.x1, right.x0
    texts = [
        segment
        for line in lines[min(rows) : max(rows) + 1]
        for segment in line.segments
        if not segment.figure and x0 < segment.centre < x1
    ]
    if not texts:
        return True
    width = (max(text.x1 for text in texts) - min(text.x0 for text in texts)) / texts[0].size
    return width < _MERGE_WIDTH or (width < _MERGE_ROW_WIDTH and all(text.line in rows for text in texts))


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
_PAGE_NUMBER = re.compile(r"\d{1,4}")
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
    per_row = Counter(segment.line for column in columns for segment in column.segments)
    paired = sum(count >= 2 for count in per_row.values())
    if aligned >= 2 and paired >= (2 if len(columns) >= 3 else 3):
        return grid.labelled or len(columns) >= 3 or len(grid.rows) >= 4
    return aligned >= 1 and grid.labelled and _labelled_rows(grid, body) >= _LABELLED_ROWS * len(grid.rows)


def _is_axis(column: GridColumn) -> bool:
    """Tell whether the figures of a column rise or fall by equal steps, as on the axis of a chart."""
    digits = [re.sub(r"\D", "", s.text) for s in sorted(column.segments, key=lambda s: s.base)]
    values = [int(text[:_AXIS_DIGITS]) for text in digits if text]
    steps = {second - first for first, second in pairwise(values)}
    return len(values) >= _AXIS_FIGURES and len(steps) == 1 and 0 not in steps


def _labelled_rows(grid: Grid, body: Sequence[Sequence[Segment]]) -> int:
    return sum(
        any(s.figure for s in row)
        and any(not s.figure and any(map(str.isalpha, s.text)) for s in row if s.x0 < grid.columns[0].x1)
        for row in body
    )


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
    plain = [int(cell.text) for cell in cells if _PAGE_NUMBER.fullmatch(cell.text)]
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


MAX_HEADER_LINES: Final = 7
"""Lines looked at above the figures."""

# Lengths in font sizes.
_PITCH: Final = 2.4
_FIRST_PITCH: Final = 3.6
_WRAP_PITCH: Final = 1.6
_STICKS_OUT: Final = 3.0
_CENTRED: Final = 2.0

_HEADER_ALIGNED: Final = 0.6

# Shares of the table's width.
_HEADER_PROSE_WIDTH: Final = 0.62
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
    if len(inside) == 1 and inside[0].x1 - inside[0].x0 > _HEADER_PROSE_WIDTH * (grid.x1 - grid.x0):
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
    if not grid.labelled or (text.x1 - text.x0 > _HEADER_PROSE_WIDTH * width and not header.titles):
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
        min(abs(text.x1 - grid.columns[place].x1), abs(text.x0 - grid.columns[place].x0)) <= _HEADER_ALIGNED * grid.size
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
