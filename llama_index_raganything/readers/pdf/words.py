"""The words of a page's lines joined to the elements that structure analysis found, purely.

Structure analysis gives types and boxes but loses words, shatters tables without rules into single
figures, and mixes up right-to-left text. The lines of the text layer mend all three.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from llama_index_raganything.elements import Box, Element
from llama_index_raganything.readers.common.layout import Line, covered_share, is_row, paragraphs
from llama_index_raganything.readers.pdf.text import PageText

MIN_STRUCTURE_WORDS: Final = 0.5
"""Share of a page's words below which its structure is not trusted with text."""

COMPLETE_STRUCTURE_WORDS: Final = 0.9
"""Share of a page's words below which lines that the structure left out are looked for."""

PAGE_FIGURE_AREA: Final = 0.6
"""Figures that cover a larger share of the page do not take its words away from text elements."""

PROSE_LINE_WORDS: Final = 12
"""A line with as many words that is no row of figures is running text."""

MIN_PROSE_LINES: Final = 3
"""A table without a grid that holds so many lines of running text is no table."""

MIN_SHATTERED: Final = 6
"""Number of single figures ("46,298") from which a page is taken to hold a shattered table."""

TITLE_DISTANCE: Final = 60
"""A header at most this far above a shattered table, in thousandths of the page, is the table's title."""

_WORDED: Final = frozenset({"text", "list", "heading", "furniture", "code"})
_WORD = re.compile(r"\w+")
_LETTER = re.compile(r"[^\W\d_]{2}")


def with_lost_words(page: PageText, structure: list[Element], lines: Callable[[], list[Line]]) -> list[Element]:
    """Complete the structure of a page with the words of its text layer.

    Args:
        page: The page's text layer.
        structure: Elements that structure analysis found on it, in reading order.
        lines: Gives the lines of the text layer; called only where they are needed.

    Returns:
        The elements; those that lost their words replaced by paragraphs of the text layer.
    """
    words = len(_WORD.findall(page.text))
    kept = sum(len(_WORD.findall(f"{e.text} {e.caption} {e.footnote}")) for e in structure)
    complete = kept >= COMPLETE_STRUCTURE_WORDS * words
    if not words or (complete and not page.right_to_left and not _is_doubtful(structure)):
        return structure
    found = lines()
    if kept < MIN_STRUCTURE_WORDS * words:
        visuals = [element for element in structure if element.type not in _WORDED]
        return place_lines(visuals, found, page.index + 1, ocr=False)
    if page.right_to_left:
        # docvortex mixes up the order of right-to-left words; pdfium does not.
        structure = [reworded(element, found) for element in structure]
    structure = [formula_words(element, found) for element in structure]
    structure = [element for element in structure if not _is_prose_table(element, found)]
    if is_shattered(structure):
        structure = without_shattered(structure)
    return place_lines(structure, found, page.index + 1, ocr=False)


def is_shattered(elements: Iterable[Element]) -> bool:
    """Tell whether a table without rules was taken apart into single figures.

    Returns:
        True when at least :data:`MIN_SHATTERED` text elements hold no word.
    """
    return sum(_is_single_figure(element) for element in elements) >= MIN_SHATTERED


def without_shattered(elements: Sequence[Element]) -> list[Element]:
    """Leave out single figures and what stands beside them, so that whole rows can take their place.

    Returns:
        The elements that have nothing to do with the shattered table.
    """
    figures = [element.bbox for element in elements if _is_single_figure(element) and element.bbox]
    top = min((box[1] for box in figures), default=0)
    return [e for e in elements if not _is_part_of_rows(e, figures) and not _is_title_above(e, top)]


def place_lines(
    elements: list[Element], lines: Iterable[Line], page: int, *, ocr: bool, reorder: bool = False
) -> list[Element]:
    """Add lines that no element covers, as paragraphs, where they belong in the reading order.

    Args:
        elements: Elements of the page in reading order.
        page: 1-based page.
        ocr: Whether the lines were recognised from pixels.
        reorder: Whether the lines' own order says nothing.

    Returns:
        The elements with the new text elements among them.
    """
    boxes = [e.bbox for e in elements if e.bbox and (e.text or e.type == "image") and (ocr or not _fills_page(e))]
    missing = [
        line
        for line in lines
        # Bullets and specks that OCR sees as lines of their own are no words.
        if (not ocr or _WORD.search(line.text)) and not any(covered_share(line.box, box) >= 0.5 for box in boxes)
    ]
    placed = list(elements)
    position = 0
    for paragraph in paragraphs(missing, reorder=reorder):
        added = Element(type="text", text=paragraph.text, page=page, bbox=rounded(paragraph.box), ocr=ocr)
        below = (i for i, other in enumerate(elements) if other.bbox and _stands_above(paragraph.box, other.bbox))
        anchor = next(below, None)
        position = len(placed) if anchor is None else placed.index(elements[anchor])
        placed.insert(position, added)
    return placed


def reworded(element: Element, lines: Iterable[Line]) -> Element:
    """Replace an element's words by the lines of the text layer inside its box.

    Args:
        lines: Lines of the page's text layer.

    Returns:
        The element with the lines' words, or as it was when no line lies inside.
    """
    text = _words_inside(element, lines) if not element.rows else ""
    return element.model_copy(update={"text": text}) if text else element


def formula_words(element: Element, lines: Iterable[Line]) -> Element:
    """Give a formula without LaTeX the characters that stand in its box.

    Args:
        lines: Lines of the page's text layer.

    Returns:
        A formula with plain characters (``subtype="plain"``), or the element as it was.
    """
    if element.type != "equation" or element.text:
        return element
    text = _words_inside(element, lines)
    return element.model_copy(update={"text": text, "subtype": "plain"}) if text else element


def joined_text(text: str, lines: Iterable[Line]) -> str:
    """Append recognised lines to a text, except those it already has.

    Args:
        text: The text layer, or an empty string.
        lines: Recognised lines.

    Returns:
        The text with one more line per line that is new.
    """
    known = " ".join(text.split()).casefold()
    new = [line.text for line in lines if " ".join(line.text.split()).casefold() not in known or not known]
    return "\n".join(part for part in (text, *new) if part)


def rounded(box: Sequence[float]) -> Box:
    """Round a box outwards to whole thousandths.

    Args:
        box: ``(x0, y0, x1, y1)`` in thousandths.

    Returns:
        The smallest box of integers around it.
    """
    x0, y0, x1, y1 = box
    return (math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1))


def _words_inside(element: Element, lines: Iterable[Line]) -> str:
    if element.bbox is None:
        return ""
    box = element.bbox
    return "\n".join(p.text for p in paragraphs([line for line in lines if covered_share(line.box, box) >= 0.5]))


def _stands_above(box: Sequence[float], other: Box) -> bool:
    overlap = min(box[2], other[2]) - max(box[0], other[0])
    return overlap > 0 and box[3] <= other[1] + 5


def _fills_page(element: Element) -> bool:
    if element.type != "image" or element.bbox is None:
        return False
    x0, y0, x1, y1 = element.bbox
    return (x1 - x0) * (y1 - y0) > PAGE_FIGURE_AREA * 1_000_000


def _is_doubtful(structure: Sequence[Element]) -> bool:
    """Tell whether elements may hold less than the lines below them, however many words they have."""
    without_words = any(e.type == "equation" and not e.text for e in structure)
    without_grid = any(e.type == "table" and not e.rows for e in structure)
    return without_words or without_grid or is_shattered(structure) or any(map(_fills_page, structure))


def _is_prose_table(element: Element, lines: Iterable[Line]) -> bool:
    """Tell whether a table is a stretch of the page with paragraphs in it, taken for a table by mistake."""
    if element.type != "table" or element.rows or element.bbox is None:
        return False
    box = element.bbox
    inside = [line.text for line in lines if covered_share(line.box, box) >= 0.5]
    return sum(len(text.split()) >= PROSE_LINE_WORDS and not is_row(text) for text in inside) >= MIN_PROSE_LINES


def _is_single_figure(element: Element) -> bool:
    if element.type not in {"text", "furniture"} or element.subtype == "page_number" or len(element.text) > 20:
        return False
    return _LETTER.search(element.text) is None


def _is_title_above(element: Element, top: int) -> bool:
    """Tell whether a line just above a table is its title, taken for a running header because it is repeated."""
    if element.subtype != "header" or element.bbox is None:
        return False
    return 0 <= top - element.bbox[3] <= TITLE_DISTANCE


def _is_part_of_rows(element: Element, figures: Sequence[Box]) -> bool:
    if _is_single_figure(element):
        return True
    if element.type not in {"text", "furniture", "heading"} or element.bbox is None:
        return False
    top, bottom = element.bbox[1], element.bbox[3]
    return any(top <= (box[1] + box[3]) / 2 <= bottom for box in figures)
