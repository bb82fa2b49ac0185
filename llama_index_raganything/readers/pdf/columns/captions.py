"""Captions of tables found by their columns: what stands right above them names them and the unit of their figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from llama_index_raganything.elements import Box, Element, label_of
from llama_index_raganything.readers.docvortex_blocks import attach_loose_captions
from llama_index_raganything.readers.pdf.columns.merge import COLUMNS

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
