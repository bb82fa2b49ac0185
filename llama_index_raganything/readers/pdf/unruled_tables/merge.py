"""Tables found by their columns, put among the elements that structure analysis found.

Both see some tables. Which one is kept is decided by numbers: how many figures it holds, and whether
they stand alone in their cells. What structure analysis took for a picture because it is shaded, and the
single figures that it took for text, give way to the table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from llama_index_raganything.elements import Box, Element, label_of
from llama_index_raganything.readers.common.layout import covered_share
from llama_index_raganything.readers.engines.docvortex_blocks import attach_loose_captions
from llama_index_raganything.readers.pdf.unruled_tables.numbers import has_digit, is_figure

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
        elements.insert(_place(elements, structure, captioned, replaced), captioned)
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


def _place(elements: Sequence[Element], structure: Sequence[Element], table: Element, replaced: list[Element]) -> int:
    """Return where in the reading order a table belongs: where the first element of its place stood."""
    gone = {id(element) for element in replaced}
    gone |= {id(element) for element in structure if _gives_way(element, [table])}
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
    bare = [_without_caption(element) if element.subtype == COLUMNS else element for element in elements]
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


def _without_caption(element: Element) -> Element:
    return element.model_copy(update={"caption": "", "label": None})


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
