"""Which stretch of a changed text each part of the old one became. Pure functions of data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby
from typing import Final

_LINE = re.compile(r"[^\s][^\n]*")
_SHARE: Final = 0.3
"""Share of words in common from which a changed line is taken for a line of the old part."""
_PAIRED_SHARE: Final = 0.5
"""Share of words in common from which the n-th changed line is taken for the n-th old one, if all are."""
_GAP_WORDS: Final = 30_000
"""Words of one changed stretch, old and new, above which its lines are not compared word by word: it takes seconds."""


@dataclass(frozen=True)
class Region:
    """A stretch of the new text.

    Attributes:
        part: Index of the old part that it continues; None for a stretch that is new.
        start: Its first character.
        end: Behind its last character.
    """

    part: int | None
    start: int
    end: int


@dataclass(frozen=True)
class _Line:
    text: str
    part: int


def align(parts: Sequence[str], text: str) -> list[Region]:
    """Find what became of the parts of a text.

    Args:
        parts: The old text, part by part; parts without words have no region.
        text: The new text.

    Returns:
        Regions in the order of the new text that together hold all its words. A part has one region at most.
    """
    old = [_Line(line, index) for index, part in enumerate(parts) for line in _lines(part)]
    spans = [(match.start(), match.start() + len(match[0].rstrip())) for match in _LINE.finditer(text)]
    new = [" ".join(text[start:end].split()) for start, end in spans]
    owners: list[int | None] = []
    for old_start, old_end, new_start, new_end in _blocks([line.text for line in old], new):
        if old[old_start:old_end] and [line.text for line in old[old_start:old_end]] == new[new_start:new_end]:
            owners += [line.part for line in old[old_start:old_end]]
        else:
            before = old[old_start - 1].part if old_start else None
            after = old[old_end].part if old_end < len(old) else None
            owners += _gap_owners(old[old_start:old_end], new[new_start:new_end], before, after)
    owners = _filled(owners)
    regions = []
    for part, group in groupby(zip(owners, spans, strict=True), key=lambda pair: pair[0]):
        places = [span for _, span in group]
        regions.append(Region(part, places[0][0], places[-1][1]))
    return regions


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.split("\n") if line.strip()]


def _blocks(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """Yield equal and unequal stretches of lines, in order, without the kind."""
    shorter = min(len(old), len(new))
    head = next((n for n in range(shorter) if old[n] != new[n]), shorter)
    rest = shorter - head
    tail = next((n for n in range(rest) if old[-1 - n] != new[-1 - n]), rest)
    yield 0, head, 0, head
    # What is the same at both ends is most of a text: comparing the middle alone is much faster.
    matcher = SequenceMatcher(None, old[head : len(old) - tail], new[head : len(new) - tail])
    for _, i1, i2, j1, j2 in matcher.get_opcodes():
        yield head + i1, head + i2, head + j1, head + j2
    yield len(old) - tail, len(old), len(new) - tail, len(new)


def _gap_owners(old: Sequence[_Line], new: Sequence[str], before: int | None, after: int | None) -> list[int | None]:
    """Say which part each changed or added line belongs to.

    Args:
        old: Lines that were there before.
        new: Lines that are there now.
        before: Part of the line before the gap.
        after: Part of the line after it.

    Returns:
        A part for each new line, or None.
    """
    around = {before, after} - {None}
    parts = {line.part for line in old}
    # Within one part whatever is there now belongs to it, be its words the same or not.
    inside = parts.pop() if len(parts) == 1 and parts <= around else None
    if not old:
        inside = before if before == after else None
    owners = _paired_owners(old, new) or _matched_owners(old, new)
    return [inside if owner is None else owner for owner in owners]


def _paired_owners(old: Sequence[_Line], new: Sequence[str]) -> list[int | None]:
    """Match lines one by one, as they are after a word was replaced in many; empty where they do not match so."""
    if len(old) != len(new):
        return []
    for line, text in zip(old, new, strict=True):
        before, after = line.text.split(), text.split()
        common = (Counter(before) & Counter(after)).total()
        if common < _PAIRED_SHARE * max(len(before), len(after)):
            return []
    return [line.part for line in old]


def _matched_owners(old: Sequence[_Line], new: Sequence[str]) -> list[int | None]:
    old_words = [(word, line.part) for line in old for word in line.text.split()]
    new_words = [(word, number) for number, line in enumerate(new) for word in line.split()]
    if not old_words or len(old_words) + len(new_words) > _GAP_WORDS:
        return [None] * len(new)
    sizes = Counter(part for _, part in old_words)
    lengths = Counter(number for _, number in new_words)
    shared: list[Counter[int]] = [Counter() for _ in new]
    matcher = SequenceMatcher(None, [word for word, _ in old_words], [word for word, _ in new_words])
    for first, second, size in matcher.get_matching_blocks():
        for offset in range(size):
            shared[new_words[second + offset][1]][old_words[first + offset][1]] += 1
    owners: list[int | None] = []
    for number, counts in enumerate(shared):
        part, common = counts.most_common(1)[0] if counts else (None, 0)
        enough = part is not None and common >= _SHARE * min(lengths[number], sizes[part])
        owners.append(part if enough else None)
    return owners


def _filled(owners: Sequence[int | None]) -> list[int | None]:
    """Give lines without a part that stand between two lines of one part to it."""
    filled = list(owners)
    last = None
    for number, owner in enumerate(owners):
        if owner is None:
            continue
        if last is not None and owners[last] == owner:
            filled[last:number] = [owner] * (number - last)
        last = number
    return filled
