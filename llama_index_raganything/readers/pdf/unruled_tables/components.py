"""Figures that stand below and beside each other form groups: the bodies of tables."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from llama_index_raganything.readers.pdf.unruled_tables.segments import Segment, SegmentLine

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
            _unite(parents, place, places[id(other)])
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


def _unite(parents: list[int], one: int, other: int) -> None:
    first, second = sorted((_root(parents, one), _root(parents, other)))
    parents[second] = first


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
