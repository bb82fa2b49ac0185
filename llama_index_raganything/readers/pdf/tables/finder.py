"""Find the tables of a page by the columns that their numbers stand in.

The steps: characters, words, lines, segments (what will be cells), numbers among them, groups of numbers
that stand below and beside each other, columns, labels, header and title. Nothing is learned; all lengths
are in font sizes. Related: the stream mode of Camelot (https://camelot-py.readthedocs.io) and T. Kieninger,
"Table structure recognition based on robust block segmentation" (SPIE 3305, 1998), which also grow columns
of words downwards; here only numbers grow columns, so that running text gives no tables.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from llama_index_raganything.elements import Box, Element, label_of
from llama_index_raganything.readers.common.html_tables import rows_to_markdown
from llama_index_raganything.readers.common.layout import covered_share
from llama_index_raganything.readers.engines.docvortex import attach_loose_captions
from llama_index_raganything.readers.pdf.tables.grid import (
    Component,
    Grid,
    Header,
    find_components,
    find_grid,
    header_rows,
    is_contents,
    is_short_table,
    is_table,
    read_header,
    section_titles,
    take_titles,
    wraps,
)
from llama_index_raganything.readers.pdf.tables.words import (
    Glyph,
    Segment,
    SegmentLine,
    find_lines,
    find_segments,
    find_words,
    has_digit,
    is_figure,
    read_glyphs,
)
from llama_index_raganything.readers.pdf.text import PageText

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
    if header_lines:
        # Between the years and the first figures may stand the title of a section.
        body = [*_filled(grid, lines[header_lines[-1] + 1 : grid.rows[0]]), *body]
    if len(grid.rows) >= 3 and not is_table(grid, [row for _, row in body]):
        return None
    top = header_lines[0] if header_lines else grid.rows[0]
    header = read_header(grid, lines, top, taken - component.rows, headed=bool(header_lines))
    if len(grid.rows) < 3:
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


def _filled(grid: Grid, lines: Sequence[SegmentLine]) -> list[tuple[SegmentLine, list[Segment]]]:
    """Return the lines that reach into the table's columns, with what they have there."""
    return [(line, inside) for line in lines if (inside := _inside(grid, line))]


def _inside(grid: Grid, line: SegmentLine) -> list[Segment]:
    """Return the segments of a line that stand in the table's columns."""
    x0, x1 = grid.x0, grid.x1
    return [s for s in line.segments if min(x1, s.x1) - max(x0, s.x0) > _SAME_PLACE * (s.x1 - s.x0)]


def _body(grid: Grid, lines: Sequence[SegmentLine]) -> list[tuple[SegmentLine, list[Segment]]]:
    """Return the rows from the first to the last row of figures, and the rest of a wrapped last label."""
    last = grid.rows[-1]
    body = _filled(grid, lines[grid.rows[0] : last + 1])
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
    title = " ".join(line.text for line in header.titles)
    return FoundTable(
        rows=rows,
        header_rows=len(top),
        # The last words of a paragraph above the table are no title.
        title="" if title[:1].islower() else title,
        x0=min(s.x0 for s in segments),
        y0=min(s.y0 for s in segments),
        x1=max(s.x1 for s in segments),
        y1=max(s.y1 for s in segments),
        contents=contents,
    )


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


def page_tables(document: Any, page: PageText, page_count: int) -> list[Element]:
    """Find the tables of one page by the columns that their figures stand in.

    Args:
        document: An open ``pypdfium2.PdfDocument``.
        page: The page's text layer; a page with hardly any number is not looked at again.

    Returns:
        Elements of type ``table`` and subtype ``columns`` with cells, box and, as caption, title and unit;
        lists of contents left out.
    """
    if page.garbled or page.right_to_left or not _has_numbers(page.text):
        return []
    read = read_glyphs(document, page.index)
    if read is None:
        return []
    return [
        Element(
            type="table",
            subtype=COLUMNS,
            text=rows_to_markdown(table.rows, table.header_rows),
            rows=table.rows,
            header_rows=table.header_rows,
            page=page.index + 1,
            bbox=read.box(table.x0, table.y0, table.x1, table.y1),
            caption=table.title,
            label=label_of(table.title),
        )
        for table in find_tables(read.glyphs, page_count)
        if not table.contents
    ]


def _has_numbers(text: str) -> bool:
    return len(_NUMBER.findall(text)) >= MIN_SHORT_FIGURES


SAME_PLACE: Final = 0.5
"""Two tables are the same from this share of the smaller one's area that they have in common."""

MORE_NUMBERS: Final = 1.3
"""A table with so many times the numbers of the other is the better reading."""

PICTURE_COVERED: Final = 0.8
"""A picture is left out when a table covers at least this share of it."""

COLUMNS: Final = "columns"
"""The ``subtype`` of tables found by their columns."""

_WORDED: Final = frozenset({"text", "list", "heading", "equation", "code", "furniture"})
_NUMBER = re.compile(r"\d[\d.,]*")


def merge_tables(structure: Sequence[Element], tables: Sequence[Element]) -> list[Element]:
    """Put tables found by their columns among a page's elements.

    Args:
        structure: Elements that structure analysis found on the page, in reading order.
        tables: Tables found by their columns on the same page.

    Returns:
        The elements in reading order; of two readings of one table the better one, and none of the texts
        that stand inside a table found by its columns.
    """
    chosen = _chosen(structure, [table for table in tables if table.bbox and table.rows])
    if not chosen:
        return list(structure)
    elements = [element for element in structure if not _gives_way(element, chosen)]
    for table in chosen:
        replaced = [e for e in structure if e.type in {"table", "image"} and _gives_way(e, [table])]
        captioned = table.model_copy(update=_captions(table, replaced))
        elements.insert(_place(elements, structure, captioned), captioned)
    return elements


def numbers_in(rows: Sequence[Sequence[str]]) -> int:
    """Count the numbers in a table's cells.

    Returns:
        Cells that are a number, plus the numbers in cells that hold several.
    """
    return sum(_cell_numbers(cell) for row in rows for cell in row)


def _cell_numbers(cell: str) -> int:
    if not has_digit(cell):
        return 0
    if is_figure(cell):
        return 1
    return len(_NUMBER.findall(cell)) if _is_glued(cell) else 0


def _is_glued(cell: str) -> bool:
    """Tell whether a cell holds nothing but several numbers."""
    parts = cell.split()
    return len(parts) >= 2 and all(map(is_figure, parts)) and sum(map(has_digit, parts)) >= 2


def _glued(rows: Sequence[Sequence[str]]) -> int:
    return sum(_is_glued(cell) for row in rows for cell in row)


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _same_place(one: Box, other: Box) -> bool:
    smaller, larger = sorted((one, other), key=_area)
    return covered_share(smaller, larger) >= SAME_PLACE


def _chosen(structure: Sequence[Element], tables: Sequence[Element]) -> list[Element]:
    """Return the tables found by columns that are better than what structure analysis has in their place."""
    known = [element for element in structure if element.type == "table" and element.bbox]
    rivals = {id(table): [k for k in known if _same_place(_box(table), _box(k))] for table in tables}
    chosen = []
    for table in tables:
        found = rivals[id(table)]
        if not found or len(found) >= 2:
            chosen.append(table)
            continue
        partners = [other for other in tables if any(k is found[0] for k in rivals[id(other)])]
        if _is_better(partners, found[0]):
            chosen.append(table)
    return chosen


def _box(element: Element) -> Box:
    return element.bbox or (0, 0, 0, 0)


def _is_better(tables: Sequence[Element], known: Element) -> bool:
    """Tell whether tables found by columns read a place better than the one table of structure analysis there."""
    own = sum(numbers_in(table.rows or []) for table in tables)
    covered = sum(covered_share(_box(table), _box(known)) * _area(_box(table)) for table in tables)
    if not known.rows:
        return True
    if covered < SAME_PLACE * _area(_box(known)):
        return False
    theirs = numbers_in(known.rows)
    if not theirs or theirs >= MORE_NUMBERS * own:
        return False
    if len(tables) > 1:
        return own > theirs
    return own >= MORE_NUMBERS * theirs or _glued(tables[0].rows or []) < _glued(known.rows)


def _gives_way(element: Element, tables: Sequence[Element]) -> bool:
    """Tell whether an element stands in the place of one of the tables."""
    if element.bbox is None:
        return False
    box = element.bbox
    if element.type == "table":
        return any(_same_place(box, _box(table)) for table in tables)
    if element.type == "image":
        return any(covered_share(box, _box(table)) >= PICTURE_COVERED for table in tables)
    return element.type in _WORDED and any(_stands_in(box, _box(table)) for table in tables)


def _stands_in(box: Box, table: Box) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    centred = table[0] <= x <= table[2] and table[1] <= y <= table[3]
    # A paragraph that structure analysis put together with half a table keeps its words.
    return centred and covered_share(box, table) >= SAME_PLACE


def _captions(table: Element, replaced: Sequence[Element]) -> dict[str, str | None]:
    caption = " ".join(dict.fromkeys(e.caption for e in (*replaced, table) if e.caption))
    footnote = " ".join(dict.fromkeys(element.footnote for element in replaced if element.footnote))
    return {"caption": caption, "footnote": footnote, "label": label_of(caption)}


def _place(elements: Sequence[Element], structure: Sequence[Element], table: Element) -> int:
    """Return where in the reading order a table belongs: where the first element of its place stood."""
    gone = {id(element) for element in structure if _gives_way(element, [table])}
    places = {id(element): place for place, element in enumerate(elements)}
    after = False
    for element in structure:
        after = after or id(element) in gone
        if after and id(element) in places:
            return places[id(element)]
    if after:
        return len(elements)
    x0, _, x1, y1 = _box(table)
    for place, element in enumerate(elements):
        if element.bbox and element.bbox[1] >= y1 - 5 and min(x1, element.bbox[2]) > max(x0, element.bbox[0]):
            return place
    return len(elements)


MAX_LEAD_IN: Final = 400
"""Characters of the longest sentence ending in a colon that counts as a table's caption."""

MAX_TITLE: Final = 120
"""Characters of the longest title without a colon."""

_ABOVE: Final = 30
"""How far above a table its caption may end, in thousandths of the page."""

_INTO: Final = 10
"""How far the boxes of caption and table may overlap."""

_COLONS: Final = (":", "\uff1a")
_ENDS: Final = (".", "\u3002", ";", ",", "-")


def caption_tables(elements: Sequence[Element]) -> list[Element]:
    """Give the tables found by columns the texts right above them as captions.

    Args:
        elements: Elements of one page in reading order.

    Returns:
        The elements without the texts that became captions; other elements as they were.
    """
    if not any(element.subtype == COLUMNS for element in elements):
        return list(elements)
    titles = [element.caption for element in elements if element.subtype == COLUMNS]
    bare = [e.model_copy(update={"caption": "", "label": None}) if e.subtype == COLUMNS else e for e in elements]
    captioned = attach_loose_captions(bare)
    places = [place for place, element in enumerate(captioned) if element.subtype == COLUMNS]
    taken: set[int] = set()
    for place, title in zip(places, titles, strict=True):
        above = _lead_in(captioned, place, taken)
        texts = [captioned[place].caption, captioned[above].text if above is not None else "", title]
        caption = _joined(texts)
        captioned[place] = captioned[place].model_copy(update={"caption": caption, "label": label_of(caption)})
        if above is not None:
            taken.add(above)
    return [element for place, element in enumerate(captioned) if place not in taken]


def _lead_in(elements: Sequence[Element], place: int, taken: set[int]) -> int | None:
    """Return the place of the text that stands right above a table and introduces or names it."""
    table = elements[place].bbox
    nearest: tuple[int, int] | None = None
    for index, element in enumerate(elements):
        if index == place or element.bbox is None or table is None or not _is_right_above(element.bbox, table):
            continue
        if nearest is None or element.bbox[3] > nearest[0]:
            nearest = (element.bbox[3], index)
    if nearest is None or nearest[1] in taken or not _introduces(elements[nearest[1]]):
        return None
    return nearest[1]


def _is_right_above(box: Box, table: Box) -> bool:
    beside = min(box[2], table[2]) - max(box[0], table[0])
    return beside > 0 and -_INTO <= table[1] - box[3] <= _ABOVE and box[1] < table[1]


def _introduces(element: Element) -> bool:
    if element.type != "text":
        return False
    text = element.text.strip()
    if text.endswith(_COLONS):
        return len(text) <= MAX_LEAD_IN
    # The last words of a paragraph are no title, and neither is a figure.
    named = text[:1].isupper() or text[:1] in "(\uff08" or not text.isascii()
    return named and len(text) <= MAX_TITLE and not text.endswith(_ENDS)


def _joined(texts: Sequence[str]) -> str:
    """Join texts, leaving out those that another one holds."""
    kept: list[str] = []
    for text in texts:
        if text and not any(_words(text) in _words(other) for other in kept):
            kept = [other for other in kept if _words(other) not in _words(text)]
            kept.append(" ".join(text.split()))
    return " ".join(kept)


def _words(text: str) -> str:
    return " ".join(text.split()).casefold()
