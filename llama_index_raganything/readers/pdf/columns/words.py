"""Characters become words, and words lines that share a baseline."""

from __future__ import annotations

import re
from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from llama_index_raganything.readers.pdf.columns.characters import Glyph
from llama_index_raganything.readers.pdf.columns.figures import CURRENCY_SIGNS, begins_figure
from llama_index_raganything.readers.pdf.text import clean_text

# All lengths below are in font sizes.
WORD_GAP: Final = 0.24
"""Two characters of one word are closer than this."""

_BLANK_GAP: Final = 0.05
"""The same where the file has a blank between them; narrower blanks are kerning."""

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


def _left(word: Word) -> tuple[float, float]:
    return (word.x0, word.x1)


def _joined(words: Sequence[Word]) -> list[Word]:
    """Join the pieces of words that the file draws out of order, and mark rows of single dots as leaders."""
    joined: list[Word] = []
    for word in words:
        last = joined[-1] if joined else None
        if last is not None and _drawn_again(last, word):
            continue
        if last is not None and not word.leader and not last.leader and _touches(last, word):
            _extend(last, word)
        else:
            joined.append(word)
    _mark_leaders(joined)
    return joined


def _drawn_again(last: Word, word: Word) -> bool:
    return word.text == last.text and abs(word.x0 - last.x0) < 0.2 * word.size


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
    start = 0
    for end in range(1, len(words) + 1):
        if end < len(words) and _is_dot(words[end]) and _is_dot(words[end - 1]):
            continue
        if end - start >= _LEADER_PIECES:
            for word in words[start:end]:
                word.leader = True
        start = end


def _is_dot(word: Word) -> bool:
    return not word.mark and _LEADER_PIECE.fullmatch(word.text) is not None
