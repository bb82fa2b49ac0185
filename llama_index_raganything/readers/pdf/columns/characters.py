"""The characters of a PDF page with their places, turned so that most of the text reads from left to right.

Lengths are points (1/72 inch), the origin is at the top left of the page as it is read, whatever
the page's rotation. Text in other directions, such as the stamp on a margin, is left out.
"""

from __future__ import annotations

import ctypes
import math
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from llama_index_raganything.elements import Box
from llama_index_raganything.readers.pdf.text import PAGE_ERRORS, PDFIUM_LOCK, to_page

MAX_CHARACTERS: Final = 30_000
"""A page with more characters is not searched for tables; a dense page of a filing has 8,000."""

SIZE_OF_BOX: Final = 0.85
"""Font size as a share of the height of pdfium's loose character box (ascent to descent)."""

_SAMPLING: Final = 7
"""The direction of every seventh character is asked for; only if they differ that of all."""

_MAX_COORDINATE: Final = 1e6
_DIRECTIONS: Final = ((1, 0), (0, -1), (-1, 0), (0, 1))
"""Reading directions in page coordinates (y upwards), by quarter turns clockwise."""


class Glyph(NamedTuple):
    """One character.

    Attributes:
        text: The character.
        x0: Left edge.
        x1: Right edge.
        y0: Top of the font's box.
        y1: Bottom of the font's box.
        base: Baseline.
        size: Font size.
        spaced: Whether a blank stands before it.
    """

    text: str
    x0: float
    x1: float
    y0: float
    y1: float
    base: float
    size: float
    spaced: bool


@dataclass(frozen=True)
class Frame:
    """How a page as it is read lies on the page as it is seen.

    Attributes:
        corners: Where the points (0, 0), (1000, 0) and (0, 1000) of the page as it is read lie, in
            thousandths of the page as it is seen.
    """

    corners: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

    def box(self, x0: float, y0: float, x1: float, y1: float) -> Box:
        """Return a box in thousandths of the page as it is seen, rounded outwards and cut to the page.

        Args:
            x0: Left edge, in points of the page as it is read.
            y0: Top edge.
            x1: Right edge.
            y1: Bottom edge.
        """
        points = [self._point(x, y) for x, y in ((x0, y0), (x1, y1))]
        xs, ys = zip(*points, strict=True)
        edges = (math.floor(min(xs)), math.floor(min(ys)), math.ceil(max(xs)), math.ceil(max(ys)))
        left, top, right, bottom = (min(1000, max(0, edge)) for edge in edges)
        return (left, top, right, bottom)

    def _point(self, x: float, y: float) -> tuple[float, float]:
        (ox, oy), (rx, ry), (dx, dy) = self.corners
        return (ox + (rx - ox) * x / 1000 + (dx - ox) * y / 1000, oy + (ry - oy) * x / 1000 + (dy - oy) * y / 1000)


@dataclass(frozen=True)
class PageGlyphs:
    """The characters of one page.

    Attributes:
        glyphs: Characters in content order, without blanks.
        frame: How to find their places on the page as it is seen.
    """

    glyphs: list[Glyph]
    frame: Frame


def read_glyphs(document: Any, index: int) -> PageGlyphs | None:
    """Read the characters of one page.

    Args:
        document: An open ``pypdfium2.PdfDocument``.
        index: 0-based page.

    Returns:
        The characters in the direction that most of them have, or None when the page is damaged or has
        more than :data:`MAX_CHARACTERS`.
    """
    with PDFIUM_LOCK:
        try:
            with closing(document[index]) as page, closing(page.get_textpage()) as textpage:
                count = textpage.count_chars()
                if not 0 < count <= MAX_CHARACTERS:
                    return None
                # The handle itself: looking it up in pypdfium2's object takes as long as a call.
                handle = textpage.raw
                directions = _directions(handle, count)
                turn = Counter(directions).most_common(1)[0][0]
                glyphs = _glyphs(handle, count, directions, turn)
                return PageGlyphs(glyphs, _frame(page, turn))
        except PAGE_ERRORS:
            return None


def _directions(textpage: Any, count: int) -> list[int]:
    """Return the quarter turns, clockwise, of each character."""
    sampled = [_quarter_turns(textpage, offset) for offset in range(0, count, _SAMPLING)]
    if len(set(sampled)) == 1:
        return sampled * count if count < _SAMPLING else [sampled[0]] * count
    return [_quarter_turns(textpage, offset) for offset in range(count)]


def _quarter_turns(textpage: Any, offset: int) -> int:
    import pypdfium2.raw as raw

    angle = float(raw.FPDFText_GetCharAngle(textpage, offset))
    return round(angle / (math.pi / 2)) % 4 if math.isfinite(angle) else 0


def _glyphs(textpage: Any, count: int, directions: list[int], turn: int) -> list[Glyph]:
    import pypdfium2.raw as raw

    get_unicode, get_box, get_origin = raw.FPDFText_GetUnicode, raw.FPDFText_GetLooseCharBox, raw.FPDFText_GetCharOrigin
    rectangle, x, y = raw.FS_RECTF(), ctypes.c_double(), ctypes.c_double()
    box, origin_x, origin_y = ctypes.byref(rectangle), ctypes.byref(x), ctypes.byref(y)
    along, across = _DIRECTIONS[turn]
    glyphs = []
    spaced = False
    edges: tuple[float, float] | None = None
    for offset in range(count):
        code = get_unicode(textpage, offset)
        if (code <= 32 and code != 2) or code >= 0x110000 or directions[offset] != turn:
            spaced = True
            continue
        if not get_box(textpage, offset, box):
            continue
        left, bottom, right, top = rectangle.left, rectangle.bottom, rectangle.right, rectangle.top
        # Loose boxes of one font lie equally about its baseline, so that it is asked for only where they change.
        across_edges = (bottom, top) if along else (left, right)
        if across_edges != edges:
            if not get_origin(textpage, offset, origin_x, origin_y):
                continue
            edges = across_edges
        if along:
            x0, x1, y0, y1, base = left, right, -top, -bottom, -y.value
        else:
            x0, x1, y0, y1, base = bottom, top, left, right, x.value
        if along < 0 or across < 0:
            x0, x1, y0, y1, base = -x1, -x0, -y1, -y0, -base
        glyph = _checked(code, x0, x1, y0, y1, base, spaced=spaced)
        if glyph is not None:
            glyphs.append(glyph)
        spaced = glyph is None
    return glyphs


def _checked(code: int, x0: float, x1: float, y0: float, y1: float, base: float, *, spaced: bool) -> Glyph | None:
    """Return a character, or None for a blank and for one without a place; damaged fonts have such."""
    # NaN fails every comparison.
    if not (-_MAX_COORDINATE < x0 <= x1 < _MAX_COORDINATE and -_MAX_COORDINATE < y0 < y1 < _MAX_COORDINATE):
        return None
    if not -_MAX_COORDINATE < base < _MAX_COORDINATE:
        return None
    size = SIZE_OF_BOX * (y1 - y0)
    if 32 < code < 127:
        return Glyph(chr(code), x0, x1, y0, y1, base, size, spaced)
    # pdfium writes the hyphen at which a word is divided as one of these.
    text = "-" if code in {2, 0xFFFE, 0xAD} else chr(code)
    return None if text.isspace() else Glyph(text, x0, x1, y0, y1, base, size, spaced)


def _frame(page: Any, turn: int) -> Frame:
    along, across = _DIRECTIONS[turn]

    def seen(x: float, y: float) -> tuple[float, float]:
        return to_page(page, x * along + y * across, x * across - y * along)

    return Frame((seen(0, 0), seen(1000, 0), seen(0, 1000)))
