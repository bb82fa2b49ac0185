"""The text layer of PDF pages through pdfium, which everything else is checked against, and the pages' labels.

pdfium gives words and their order at hundreds of pages per second. It leaves to repair: hyphens at line ends,
ligatures, and right-to-left ligatures, whose letters it reverses.
"""

from __future__ import annotations

import ctypes
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Final

from llama_index_raganything.readers.common.layout import FloatBox, Line, around
from llama_index_raganything.readers.common.rendering import PDFIUM_LOCK

GARBAGE_SHARE: Final = 0.10
"""Share of unreadable characters above which a page's font is taken to be broken."""

MAX_PAGE_CHARACTERS: Final = 2_000_000
"""Characters read of one page; real pages have a few thousand."""

_RTL: Final = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc"
_RTL_LETTER = re.compile(f"[{_RTL}]")
_RTL_MARK = re.compile(f"([{_RTL}]) ([\u064b-\u0655\u0670])([{_RTL}])")
_SCRIPT_BOUNDARY = re.compile(f"(?<=[{_RTL}])(?=[A-Za-z])|(?<=[A-Za-z])(?=[{_RTL}])")
_DIVISIONS: Final = frozenset("\x02\ufffe")
_SOFT_HYPHEN_BREAK = re.compile(r"[\x02\ufffe\u00ad](?:\r?\n|\r)?[ \t]*")
_HARD_HYPHEN_BREAK = re.compile(r"(?<=[a-zà-öø-ÿ])[-\u2010](?:\r?\n|\r)[ \t]*(?=[a-zà-öø-ÿ])")
_COMPATIBILITY_FORMS = re.compile("[\ufb00-\ufdff\ufe70-\ufefc]+")
PAGE_ERRORS: Final = (RuntimeError, ValueError, OverflowError)  # PdfiumError is a RuntimeError.
_LINE_BREAK = re.compile(r"\r\n?|\n")


@dataclass(frozen=True)
class PageText:
    """The text layer of one page.

    Attributes:
        index: 0-based physical page.
        text: The words, one per line; empty when the page has no text layer.
        label: The page's label in the file, or an empty string.
        garbled: True when the font's character map is broken.
        right_to_left: True when most letters are Arabic, Hebrew or the like.
        problem: Why the page could not be read, or an empty string.
    """

    index: int
    text: str
    label: str = ""
    garbled: bool = False
    right_to_left: bool = False
    problem: str = ""


def read_page(document: Any, index: int) -> PageText:
    """Read the text layer of one page; never raises for a damaged page.

    Args:
        document: An open ``pypdfium2.PdfDocument``.
        index: 0-based page.

    Returns:
        The page's text, with ``problem`` set when it cannot be read.
    """
    with PDFIUM_LOCK:
        try:
            label = document.get_page_label(index).strip()
            # Closing children early keeps memory flat on long files.
            with closing(document[index]) as page, closing(page.get_textpage()) as textpage:
                count = min(textpage.count_chars(), MAX_PAGE_CHARACTERS)
                raw = textpage.get_text_range(0, count)
                right_to_left = is_right_to_left(raw)
                if right_to_left:
                    raw = "".join(_characters(textpage, count))
        except PAGE_ERRORS as error:
            return PageText(index, "", problem=f"page {index + 1} cannot be read ({error})")
    return PageText(index, clean_text(raw), label, is_garbled(raw), right_to_left)


def page_lines(document: Any, index: int) -> list[Line]:
    """Return the lines of a page's text layer with their boxes.

    Args:
        document: An open ``pypdfium2.PdfDocument``.
        index: 0-based page.

    Returns:
        Lines in the order of the text layer, boxes in thousandths of the page; lines without words left out.
    """
    lines = []
    with PDFIUM_LOCK, suppress(*PAGE_ERRORS), closing(document[index]) as page, closing(page.get_textpage()) as layer:
        count = min(layer.count_chars(), MAX_PAGE_CHARACTERS)
        characters = _characters(layer, count)
        start = 0
        for end in [*_line_ends(characters), count]:
            text = clean_text("".join(characters[start:end]))
            if text and characters[end - 1] in _DIVISIONS:
                text += "-"
            box = _span_box(page, layer, start, end - start) if text else None
            if box:
                lines.append(Line(text, box))
            start = end
    return lines


def picture_boxes(document: Any, index: int) -> list[FloatBox]:
    """Return the boxes of the raster images on a page.

    Args:
        document: An open ``pypdfium2.PdfDocument``.
        index: 0-based page.

    Returns:
        Boxes in thousandths of the page, cut to the page.
    """
    import pypdfium2.raw as raw

    boxes = []
    with PDFIUM_LOCK, suppress(*PAGE_ERRORS), closing(document[index]) as page:
        for image in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3):
            left, bottom, right, top = image.get_bounds()
            if box := _page_box((to_page(page, left, top), to_page(page, right, bottom))):
                boxes.append(box)
    return boxes


def clean_text(text: str) -> str:
    r"""Repair what PDF writers and pdfium do to words.

    Words divided at a line end are joined, ligatures and Arabic presentation forms become letters,
    marks before their letter move behind it, and control characters go.

    Args:
        text: Text as pdfium gives it.

    Returns:
        Readable text with ``\\n`` as line break.
    """
    text = _SOFT_HYPHEN_BREAK.sub("", text)
    text = _HARD_HYPHEN_BREAK.sub("", text)
    text = _LINE_BREAK.sub("\n", text)
    if not text.isascii():
        text = _COMPATIBILITY_FORMS.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
        if _RTL_LETTER.search(text):
            text = _RTL_MARK.sub(r"\1\3\2", text)
            text = _SCRIPT_BOUNDARY.sub(" ", text)
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cs"}).strip()


def is_garbled(text: str) -> bool:
    """Tell whether a page's characters come from a font without a usable character map.

    Args:
        text: Text as pdfium gives it.

    Returns:
        True when more than a tenth of the characters are control, private-use or replacement characters.
    """
    visible = [c for c in text if not c.isspace() and c not in "\x02\ufffe\u00ad"]
    if not visible:
        return False
    bad = sum(c == "\ufffd" or unicodedata.category(c) in {"Cc", "Co", "Cn"} for c in visible)
    return bad > GARBAGE_SHARE * len(visible)


def is_right_to_left(text: str) -> bool:
    """Tell whether at least a tenth of the characters are written from right to left.

    Returns:
        True for Arabic, Persian, Hebrew and the like.
    """
    if text.isascii():
        return False
    return len(_RTL_LETTER.findall(text)) * 10 >= max(1, len(text.strip()))


def _characters(textpage: Any, count: int) -> list[str]:
    """Return the page's characters, one per pdfium index, letters of right-to-left ligatures in reading order.

    One glyph such as the Arabic lam-alef may be several letters. pdfium reverses the glyphs of a right-to-left
    line and the letters inside such a glyph with them. Letters of one glyph
    share one box, which is how they are found and turned back.
    """
    import pypdfium2.raw as raw

    codes = [raw.FPDFText_GetUnicode(textpage, offset) for offset in range(count)]
    characters = [chr(code) if 0 < code < 0x110000 else "" for code in codes]
    offset = 0
    while offset < count:
        end = offset + 1
        if characters[offset] and _RTL_LETTER.match(characters[offset]):
            box = None
            while end < count and characters[end] and _RTL_LETTER.match(characters[end]):
                box = box or textpage.get_charbox(offset)
                if textpage.get_charbox(end) != box:
                    break
                end += 1
            if end - offset > 1:
                characters[offset:end] = reversed(characters[offset:end])
        offset = end
    return characters


def _line_ends(characters: list[str]) -> list[int]:
    # pdfium joins the halves of a divided word, and with them two lines, by a character of its own.
    return [index + 1 for index, character in enumerate(characters) if character == "\n" or character in _DIVISIONS]


def _span_box(page: Any, textpage: Any, start: int, count: int) -> FloatBox | None:
    """Return the box around a run of characters in thousandths of the page as it is seen (rotated, cropped)."""
    import pypdfium2.raw as raw

    boxes = []
    left, top, right, bottom = (ctypes.c_double() for _ in range(4))
    for index in range(raw.FPDFText_CountRects(textpage, start, count)):
        if raw.FPDFText_GetRect(textpage, index, left, top, right, bottom):
            corners = (to_page(page, left.value, top.value), to_page(page, right.value, bottom.value))
            if box := _page_box(corners):
                boxes.append(box)
    return around(boxes) if boxes else None


def _page_box(corners: Iterable[tuple[float, float]]) -> FloatBox | None:
    """Return the box between corners, cut to the page, or None when nothing of it is on the page."""
    xs, ys = zip(*corners, strict=True)
    box = (max(0.0, min(xs)), max(0.0, min(ys)), min(1000.0, max(xs)), min(1000.0, max(ys)))
    return box if box[2] > box[0] and box[3] > box[1] else None


def to_page(page: Any, x: float, y: float) -> tuple[float, float]:
    """Return where a point lies on the page as it is seen (rotated, cropped).

    Args:
        page: An open ``pypdfium2.PdfPage``.
        x: Place in the page's own coordinates, in points from the left.
        y: The same from the bottom.

    Returns:
        The point in thousandths of the page from its top left corner.
    """
    import pypdfium2.raw as raw

    device_x, device_y = ctypes.c_int(), ctypes.c_int()
    # A device of 10,000 pixels a side gives tenths of a thousandth.
    raw.FPDF_PageToDevice(page, 0, 0, 10_000, 10_000, 0, x, y, device_x, device_y)
    return device_x.value / 10, device_y.value / 10


MIN_SHARE: Final = 0.3
"""Share of pages whose printed number must differ by the same amount from their place in the file."""

_EDGE_LINES: Final = 2
_NUMBER = re.compile(r"(?<![\d.,$%])\d{1,4}(?![\d.,%]*\d|%)")


def page_labels(pages: Sequence[PageText]) -> list[str | None]:
    """Return the printed label of each page where it differs from the page's place in the file.

    Labels stated by the file win. Without them, a number in the first or last two lines of many pages counts, if it
    always differs by the same amount from the page's place in the file.

    Args:
        pages: The pages read, in order.

    Returns:
        One label per page, or None where label and place agree or no label is known.
    """
    if any(page.label for page in pages):
        return [page.label if page.label and page.label != str(page.index + 1) else None for page in pages]
    offset = _offset(pages)
    if not offset:
        return [None] * len(pages)
    printed = [page.index + 1 + offset for page in pages]
    return [str(number) if number >= 1 else None for number in printed]


def _offset(pages: Sequence[PageText]) -> int:
    distances: Counter[int] = Counter()
    for page in pages:
        lines = page.text.split("\n")
        edges = " ".join(lines[:_EDGE_LINES] + lines[-_EDGE_LINES:])
        distances.update({int(number) - page.index - 1 for number in _NUMBER.findall(edges)})
    if len(pages) < 3 or not distances:
        return 0
    offset, hits = distances.most_common(1)[0]
    # On a tie the place in the file is as good a label.
    return offset if hits >= MIN_SHARE * len(pages) and hits > distances[0] else 0
