"""Characters of a page become words, lines and segments: what will be the cells of a table, numbers among them."""

from __future__ import annotations

import ctypes
import math
import re
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from operator import attrgetter
from statistics import median
from typing import Any, Final, NamedTuple

from llama_index_raganything.elements import Box
from llama_index_raganything.readers.common.rendering import PDFIUM_LOCK
from llama_index_raganything.readers.pdf.text import PAGE_ERRORS, clean_text, to_page

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
class PageGlyphs:
    """The characters of one page.

    Attributes:
        glyphs: Characters in content order, without blanks.
        corners: Where the points (0, 0), (1000, 0) and (0, 1000) of the page as it is read lie, in
            thousandths of the page as it is seen.
    """

    glyphs: list[Glyph]
    corners: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

    def box(self, x0: float, y0: float, x1: float, y1: float) -> Box:
        """Return a box in thousandths of the page as it is seen, rounded outwards and cut to the page.

        Args:
            x0: Left edge, in points of the page as it is read.
            y0: Top edge.
            x1: Right edge.
            y1: Bottom edge.
        """
        xs, ys = zip(self._point(x0, y0), self._point(x1, y1), strict=True)
        edges = (math.floor(min(xs)), math.floor(min(ys)), math.ceil(max(xs)), math.ceil(max(ys)))
        left, top, right, bottom = (min(1000, max(0, edge)) for edge in edges)
        return (left, top, right, bottom)

    def _point(self, x: float, y: float) -> tuple[float, float]:
        (ox, oy), (rx, ry), (dx, dy) = self.corners
        return (ox + (rx - ox) * x / 1000 + (dx - ox) * y / 1000, oy + (ry - oy) * x / 1000 + (dy - oy) * y / 1000)


def read_glyphs(document: Any, index: int) -> PageGlyphs | None:
    """Read the characters of one page.

    Args:
        document: An open ``pypdfium2.PdfDocument``.
        index: 0-based page.

    Returns:
        The characters in the direction that most of them have, or None when the page is damaged or has
        more than :data:`MAX_CHARACTERS`.
    """
    with (
        PDFIUM_LOCK,
        suppress(*PAGE_ERRORS),
        closing(document[index]) as page,
        closing(page.get_textpage()) as textpage,
    ):
        count = textpage.count_chars()
        if 0 < count <= MAX_CHARACTERS:
            # The handle itself: looking it up in pypdfium2's object takes as long as a call.
            handle = textpage.raw
            directions = _directions(handle, count)
            turn = Counter(directions).most_common(1)[0][0]
            return PageGlyphs(_glyphs(handle, count, directions, turn), _corners(page, turn))
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


def _corners(page: Any, turn: int) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
    along, across = (1000 * step for step in _DIRECTIONS[turn])
    return to_page(page, 0, 0), to_page(page, along, across), to_page(page, across, -along)


# All lengths below are in font sizes.
WORD_GAP: Final = 0.24
"""Two characters of one word are closer than this."""

_BLANK_GAP: Final = 0.05
"""The same where the file has a blank between them; narrower blanks are kerning."""

_left = attrgetter("x0", "x1")
_WORD_BASELINE: Final = 0.35
_LINE_BASELINE: Final = 0.22
_MARK_SIZE: Final = 0.85
_MARK_RISE: Final = 0.8
_MARK_LENGTH: Final = 6
_MARK_LINES: Final = 3
"""Lines below a raised mark that may be its own."""

_LEADER = re.compile(r"[.\u2026\u00b7_]{4,}|\u2026{2,}")
_LEADER_PIECE = re.compile(r"[.\u2026\u00b7_]{1,3}")
_LEADER_PIECES: Final = 4
_SUPERSCRIPTS: Final = str.maketrans("0123456789", "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


@dataclass(slots=True)
class Word:
    """Characters without a gap.

    Attributes:
        text: The characters.
        x0: Left edge.
        x1: Right edge.
        y0: Top.
        y1: Bottom.
        base: Baseline.
        size: Font size.
        digit_right: Right edge of the last digit, or of the word when it has none.
        mark: True for a raised mark that belongs to the word before it.
        leader: True for a row of dots that leads to a figure; it separates, and is not shown.
        spaced: True when a blank stands before it, however narrow.
    """

    text: str
    x0: float
    x1: float
    y0: float
    y1: float
    base: float
    size: float
    digit_right: float
    mark: bool = False
    leader: bool = False
    spaced: bool = False


@dataclass(slots=True)
class TextLine:
    """Words on one baseline, from left to right.

    Attributes:
        base: Baseline.
        words: The words.
    """

    base: float
    words: list[Word] = field(default_factory=list)


def find_words(glyphs: Sequence[Glyph]) -> list[Word]:
    """Join characters that follow each other.

    Args:
        glyphs: Characters in content order.

    Returns:
        Words in content order.
    """
    words: list[Word] = []
    run: list[Glyph] = []
    end = base = size = 0.0
    for glyph in glyphs:
        text, x0, x1, _, _, glyph_base, glyph_size, spaced = glyph
        # Nearly all characters go on in the same font right where the last one ended.
        plain = glyph_base == base and glyph_size == size and not spaced and text not in CURRENCY_SIGNS
        if not (plain and -0.5 * size < x0 - end < WORD_GAP * size) and run and not _same_word(run[-1], glyph):
            _add_words(words, run)
            run = []
        run.append(glyph)
        end, base, size = x1, glyph_base, glyph_size
    if run:
        _add_words(words, run)
    return words


def find_lines(words: Sequence[Word]) -> list[TextLine]:
    """Put words that share a baseline on lines.

    Args:
        words: Words in any order.

    Returns:
        Lines from top to bottom; words drawn twice for a bold look stand once.
    """
    lines: list[TextLine] = []
    for word in sorted(words, key=lambda word: (word.base, word.x0)):
        if lines and word.base - lines[-1].base < _LINE_BASELINE * min(word.size, lines[-1].words[0].size):
            lines[-1].words.append(word)
        else:
            lines.append(TextLine(word.base, [word]))
    for line in lines:
        line.words.sort(key=_left)
    _lower_marks(lines)
    lines = [line for line in lines if line.words]
    for line in lines:
        line.words = _joined(line.words)
    return lines


def _same_word(last: Glyph, glyph: Glyph) -> bool:
    size, smaller = (glyph.size, last.size) if glyph.size > last.size else (last.size, glyph.size)
    gap = glyph.x0 - last.x1
    if gap >= (_BLANK_GAP if glyph.spaced else WORD_GAP) * size or gap <= -0.5 * size:
        return False
    if abs(last.base - glyph.base) > _WORD_BASELINE * size or smaller < _MARK_SIZE * size:
        return False
    return not begins_figure(last.text, glyph.text)


def _add_words(words: list[Word], run: Sequence[Glyph]) -> None:
    """Add the words of a run of characters: what stands before, in and after rows of dots."""
    text = "".join(glyph.text for glyph in run)
    # A character beyond U+FFFF is one in Python, so that places in the text are places in the run.
    start = 0
    for match in _LEADER.finditer(text) if len(text) == len(run) else ():
        if match.start() > start:
            words.append(_word(run[start : match.start()]))
        words.append(_word(run[match.start() : match.end()], leader=True))
        start = match.end()
    if start < len(run):
        words.append(_word(run[start:]))


def _word(run: Sequence[Glyph], *, leader: bool = False) -> Word:
    texts, lefts, rights, tops, bottoms, _, sizes, _ = zip(*run, strict=True)
    digits = [glyph.x1 for glyph in run if "0" <= glyph.text <= "9"]
    x1 = max(rights)
    text = "".join(texts)
    return Word(
        text=text if text.isascii() else clean_text(text),
        x0=min(lefts),
        x1=x1,
        y0=min(tops),
        y1=max(bottoms),
        base=run[0].base,
        size=max(sizes),
        digit_right=digits[-1] if digits else x1,
        leader=leader,
        spaced=run[0].spaced,
    )


def _lower_marks(lines: Sequence[TextLine]) -> None:
    """Move raised marks to the line of the word that they are attached to."""
    largest = [max(word.size for word in line.words) for line in lines]
    for place, line in enumerate(lines):
        below = [
            (other, _MARK_SIZE * size)
            for other, size in zip(lines[place + 1 : place + 1 + _MARK_LINES], largest[place + 1 :], strict=False)
            if other.base - line.base < _MARK_RISE * size
        ]
        for word in [word for word in line.words if below and len(word.text) <= _MARK_LENGTH and not word.leader]:
            target = next((other for other, size in below if word.size < size and _is_mark(word, other)), None)
            if target is not None:
                line.words.remove(word)
                insort(target.words, word, key=_left)


def _is_mark(word: Word, line: TextLine) -> bool:
    """Tell whether a small word stands at the upper right of a word of a line, and make it a mark if so."""
    place = bisect_right(line.words, word.x0 + 0.3 * word.size, key=lambda other: other.x0)
    before = line.words[place - 1] if place else None
    if before is None or before.leader or before.mark or word.size >= _MARK_SIZE * before.size:
        return False
    raised = before.base - word.base
    if not 0 < raised < _MARK_RISE * before.size or abs(word.x0 - before.x1) > 0.3 * before.size:
        return False
    word.base, word.size, word.mark = before.base, before.size, True
    # A raised digit is no digit of the figure before it.
    word.text = word.text.translate(_SUPERSCRIPTS) if word.text.isdigit() else word.text
    return True


def _joined(words: Sequence[Word]) -> list[Word]:
    """Join the pieces of words that the file draws out of order, and mark rows of single dots as leaders."""
    joined: list[Word] = []
    for word in words:
        last = joined[-1] if joined else None
        if last is not None and word.text == last.text and abs(word.x0 - last.x0) < 0.2 * word.size:
            continue  # Drawn again, for a bold look.
        if last is not None and not word.leader and not last.leader and _touches(last, word):
            _extend(last, word)
        else:
            joined.append(word)
    _mark_leaders(joined)
    return joined


def _touches(last: Word, word: Word) -> bool:
    if word.mark:
        return -0.3 * word.size < word.x0 - last.x1 < 0.3 * word.size
    if begins_figure(last.text, word.text):
        return False
    size = max(last.size, word.size)
    widest = _BLANK_GAP if word.spaced else WORD_GAP
    return -0.5 * size < word.x0 - last.x1 < widest * size and min(last.size, word.size) >= _MARK_SIZE * size


def _extend(last: Word, word: Word) -> None:
    continued = not word.mark and "0" <= word.text[-1:] <= "9"
    if continued or not any(character.isdigit() for character in last.text):
        last.digit_right = word.digit_right
    last.text += word.text
    last.x1 = max(last.x1, word.x1)
    last.y0, last.y1 = min(last.y0, word.y0), max(last.y1, word.y1)


def _mark_leaders(words: list[Word]) -> None:
    for are_dots, row in ((are_dots, list(group)) for are_dots, group in groupby(words, key=_is_dot)):
        if are_dots and len(row) >= _LEADER_PIECES:
            for word in row:
                word.leader = True


def _is_dot(word: Word) -> bool:
    return not word.mark and _LEADER_PIECE.fullmatch(word.text) is not None


# All lengths below are in font sizes.
SEGMENT_GAP: Final = 0.85
"""A wider gap divides two segments."""

FIGURE_GAP: Final = 0.3
"""Between two figures this gap already does."""

_CURRENCY_GAP: Final = 12.0
_TAIL_GAP: Final = 0.9
_RANGE_GAP: Final = 0.6
_DASHES: Final = frozenset("-\u2010\u2011\u2012\u2013\u2014\u2212")


@dataclass(slots=True, eq=False)
class Segment:
    """A piece of a line with wide gaps on both sides.

    Attributes:
        line: Place of its line among the page's.
        text: Its words.
        x0: Left edge.
        x1: Right edge.
        y0: Top.
        y1: Bottom.
        base: Baseline.
        size: Font size.
        digit_right: Right edge of the last digit; brackets and percent signs hang out of a column.
        figure: Whether all of it is a figure.
        year: Whether all of it is a year.
        dash: Whether all of it is a dash.
    """

    line: int
    text: str
    x0: float
    x1: float
    y0: float
    y1: float
    base: float
    size: float
    digit_right: float
    figure: bool = False
    year: bool = False
    dash: bool = False

    @property
    def centre(self) -> float:
        """Middle between left and right edge."""
        return (self.x0 + self.x1) / 2

    @property
    def width(self) -> float:
        """Width in font sizes."""
        return (self.x1 - self.x0) / self.size


@dataclass(slots=True)
class SegmentLine:
    """The segments on one baseline, from left to right.

    Attributes:
        base: Baseline.
        size: Median font size.
        segments: The segments.
        leader: True when a row of dots stands on the line.
    """

    base: float
    size: float
    segments: list[Segment]
    leader: bool = False


def find_segments(lines: Sequence[TextLine]) -> list[SegmentLine]:
    """Cut lines into segments.

    Args:
        lines: Lines from top to bottom.

    Returns:
        As many lines, cut at wide gaps, with currency signs, brackets and percent signs at their figures; a line
        of dots alone has no segments.
    """
    found = []
    for number, line in enumerate(lines):
        pieces = _with_ranges(_glued([_segment(number, run) for run in _runs(line.words)]))
        for piece in pieces:
            piece.figure = is_figure(piece.text)
            piece.year = piece.figure and _YEAR.fullmatch(piece.text) is not None
            piece.dash = piece.figure and _DASH.fullmatch(piece.text) is not None
        size = median(word.size for word in line.words)
        found.append(SegmentLine(line.base, size, pieces, any(word.leader for word in line.words)))
    return found


def _runs(words: Sequence[Word]) -> list[list[Word]]:
    runs: list[list[Word]] = []
    last: Word | None = None
    for word in words:
        if not word.leader:
            if last is None or last.leader or _divided(last, word):
                runs.append([word])
            else:
                runs[-1].append(word)
        last = word
    return runs


def _divided(last: Word, word: Word) -> bool:
    gap = (word.x0 - last.x1) / max(last.size, word.size)
    if gap > SEGMENT_GAP or begins_figure(last.text, word.text):
        return True
    return gap > FIGURE_GAP and is_figure(last.text) and (is_figure(word.text) or is_currency(word.text))


def _segment(number: int, words: Sequence[Word]) -> Segment:
    text = words[0].text
    for before, word in pairwise(words):
        close = word.mark or (word.x0 - before.x1 < 0.1 * word.size and not word.spaced)
        text += word.text if close else f" {word.text}"
    with_digits = [word for word in words if has_digit(word.text)]
    return Segment(
        line=number,
        text=text,
        x0=words[0].x0,
        x1=max(word.x1 for word in words),
        y0=min(word.y0 for word in words),
        y1=max(word.y1 for word in words),
        base=words[0].base,
        size=max(word.size for word in words),
        digit_right=(with_digits or words)[-1].digit_right,
    )


def _glued(pieces: list[Segment]) -> list[Segment]:
    """Put currency signs before the next figure, and brackets, percent signs and marks behind the last one."""
    glued: list[Segment] = []
    for piece in pieces:
        last = glued[-1] if glued else None
        if last is None:
            glued.append(piece)
            continue
        gap = (piece.x0 - last.x1) / piece.size
        before_figure = is_currency(last.text) and is_figure(piece.text) and gap < _CURRENCY_GAP
        behind_figure = is_tail(piece.text) and is_figure(_closed(last.text)) and gap < _TAIL_GAP
        if before_figure or behind_figure:
            _join(last, piece, keep_right=behind_figure)
        else:
            glued.append(piece)
    return glued


def _with_ranges(pieces: list[Segment]) -> list[Segment]:
    """Join two figures with a dash between them as close as a word: "0.1 % - 0.9 %"."""
    joined: list[Segment] = []
    for piece in pieces:
        joined.append(piece)
        if len(joined) >= 3 and _is_range(*joined[-3:]):
            first, dash, last = joined[-3:]
            del joined[-2:]
            dash.text, last.text = f" {dash.text}", f" {last.text}"
            _join(first, dash, keep_right=False)
            _join(first, last, keep_right=False)
    return joined


def _is_range(first: Segment, dash: Segment, last: Segment) -> bool:
    gaps = (dash.x0 - first.x1, last.x0 - dash.x1)
    numbers = has_digit(first.text) and has_digit(last.text) and is_figure(first.text) and is_figure(last.text)
    return dash.text in _DASHES and numbers and max(gaps) < _RANGE_GAP * first.size


def _closed(text: str) -> str:
    return text + ")" if text.count("(") > text.count(")") else text


def _join(last: Segment, piece: Segment, *, keep_right: bool) -> None:
    last.text += piece.text
    if not keep_right:
        last.digit_right = piece.digit_right
    last.x1 = max(last.x1, piece.x1)
    last.y0, last.y1 = min(last.y0, piece.y0), max(last.y1, piece.y1)
    last.size = max(last.size, piece.size)


_CURRENCY: Final = r"(?:(?:US|C|CA|A|AU|HK|NT|S|R)?\$|[€£¥￥₹₩]|Rs\.?|RMB|USD|EUR|GBP|CNY|CHF|JPY)"
CURRENCY_SIGNS: Final = frozenset("$\u20ac\u00a3\u00a5\uffe5\u20b9\u20a9")
"""Currency signs of one character."""

_SIGN: Final = r"[+\-\u2010-\u2015\u2212~<>\u2264\u2265\u2248\u00b1\u25b2\u25bc\u2191\u2193]"
_SPACED_MARK: Final = r"(?:\((?:[a-z]|[ivx]{1,4})\)|[*\u2020\u2021\u00a7#]{1,3}|[\u00b9\u00b2\u00b3\u2070-\u2079]{1,2})"
# After a blank "(6)" is a loss of six.
_MARK: Final = rf"(?:\(\d{{1,2}}\)|\s?{_SPACED_MARK})"
_THIN: Final = "\u00a0\u2009\u202f"
_NUMBER: Final = rf"(?:\d{{1,3}}(?: \d{{3}})+(?:[.,]\d+)?|\d[\d,.'\u2019/{_THIN}]*|[.,]\d+)"
_UNIT: Final = r"(?:\s?(?:%|\uff05|x|bps|bp|pts|pp|K|M|B)|[A-Za-z]{1,4})"
_FIGURE = re.compile(
    rf"{_SIGN}?[(\[]?\s?{_SIGN}?\s?{_CURRENCY}?\s?{_SIGN}?\s?[(\[]?{_SIGN}?{_NUMBER}(?:\s?\u00b1\s?{_NUMBER})?"
    rf"{_UNIT}?(?:\s?[)\]])?(?:\s?(?:%|\uff05|pts|pp|bps))?[)\]]?(?:{_MARK},?){{0,3}}"
)
# Years from to, codes ("10-K") and numbers of forms ("333-39531") are none.
_RANGE = re.compile(
    rf"(?!(?:1[5-9]|20)\d\d\s?[-\u2013\u2014])"
    rf"(?:{_CURRENCY}?\d{{1,3}}(?:\.\d+)?\s?%?\s?[-\u2013\u2014]\s?{_CURRENCY}?\d{{1,3}}(?:\.\d+)?"
    rf"|{_CURRENCY}?{_NUMBER}\s?%?\s[-\u2013\u2014]\s?{_CURRENCY}?{_NUMBER})\s?[%x]?{_MARK}?"
)
_NONE = re.compile(
    rf"[(\[]?{_CURRENCY}?\s?(?:[-\u2010-\u2015\u2212]{{1,4}}|N/?A|n/?a|N\.A\.|n\.a\.|N/?M|n/?m|N\.M\.|Nil|nil|\*{{1,2}})"
    rf"(?:\s?(?:%|\uff05))?[)\]]?{_MARK}?"
)
_DASH = re.compile(rf"{_CURRENCY}?\s?[-\u2010-\u2015\u2212]{{1,4}}\s?%?")
_YEAR = re.compile(rf"(?:FY|CY)?\s?(?:19|20)\d\d[AEe]?(?:{_MARK},?){{0,2}}")
_ENUMERATION = re.compile(r"\d{1,2}\.")
_CURRENCY_ALONE = re.compile(rf"[(\[\-\u2212]?\s?{_CURRENCY}\s?[(\[]?|[(\[]")
_TAIL = re.compile(rf"[)\]]?\s?(?:%|\uff05|pts|pp|bps)?\s?[)\]]?\s?{_SPACED_MARK}?")

MAX_FIGURE_LENGTH: Final = 40
"""Longer texts are no figures."""


def is_figure(text: str) -> bool:
    """Tell whether a whole cell is a figure, a dash or another word for none.

    Returns:
        False also for ``"1."``, which numbers a paragraph.
    """
    if len(text) > MAX_FIGURE_LENGTH or _ENUMERATION.fullmatch(text):
        return False
    return any(pattern.fullmatch(text) is not None for pattern in (_FIGURE, _NONE, _RANGE))


def is_currency(text: str) -> bool:
    """Tell whether a text is a currency sign or bracket that belongs to the figure after it."""
    return _CURRENCY_ALONE.fullmatch(text) is not None


def begins_figure(last: str, following: str) -> bool:
    """Tell whether a currency sign after a percent sign or bracket begins the next figure.

    Args:
        last: The text before, of any length.
        following: The text after it.
    """
    return following[:1] in CURRENCY_SIGNS and last.endswith(("%", ")", "\uff05"))


def is_tail(text: str) -> bool:
    """Tell whether a text is a bracket, percent sign or mark that belongs to the figure before it."""
    return len(text) <= 12 and _TAIL.fullmatch(text) is not None


def has_digit(text: str) -> bool:
    """Tell whether a text has a digit."""
    return any("0" <= character <= "9" for character in text)
