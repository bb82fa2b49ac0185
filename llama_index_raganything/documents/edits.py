"""What is left of a document's elements when somebody has changed its text: the text wins. Pure functions of data.

1. :func:`align` finds the stretch of the new text that each old element became.
2. Each stretch gives the old element where its words are the same, else a new one (:mod:`.markdown`).
3. What the readable text never shows (furniture, page texts, cells, images) stays only where it is neither next to
   an edit nor repeats what :class:`RemovedWords` holds.
"""

from __future__ import annotations

import json
import re
import unicodedata
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby, pairwise
from typing import Final

from llama_index_raganything.documents.markdown import Span, changed_elements, written_elements
from llama_index_raganything.elements import Box, Element
from llama_index_raganything.text.characters import CJK

_TAG = re.compile(r"<[^>]*>")
_OVERLAP: Final = 0.1
"""Minimum overlap of two boxes that show the same, as a share of the smaller; neighbours may overlap by a hair."""
_LINE = re.compile(r"[^\s][^\n]*")
_SHARE: Final = 0.3
"""Minimum share of common words for a changed line to be a line of the old part."""
_PAIRED_SHARE: Final = 0.5
"""Minimum share of common words for the n-th changed line to be the n-th old one; all lines must reach it."""
_GAP_WORDS: Final = 30_000
"""Maximum words of a changed stretch, old and new, that are compared one by one; more take seconds."""
_SAID = re.compile(
    # Of scripts without blanks each character is a word, as are signs and emoji: Thai, Lao, Burmese and Khmer too.
    rf"[{CJK}\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2190-\u2bff\U0001f000-\U0001faff]|[^\W\d_]+|\d+"
)
_LONG: Final = 5
"""Minimum letters of a word that is also searched in a text without blanks; a page's own text may lack them."""
_INSIDE: Final = 3
"""Minimum letters of a word that is searched inside words that the new text lacks: "Anna" in "Annas", "AnnaBerg"."""
_BROKEN = re.compile(r"(?<=[^\W\d_])[-\u2010]\s*\n\s*(?=[^\W\d_])")
_THOUSANDS = re.compile(r"(?<=\d)[,.'\u2019 \u00a0\u202f](?=\d{3}(?!\d))")


def revised_elements(
    elements: Sequence[Element], parts: Sequence[str], text: str, removed: RemovedWords
) -> list[tuple[Element, Span | None]]:
    """Return what an edit left of the elements of a document, and what it added.

    Args:
        elements: The elements before.
        parts: What each of them added to the readable text.
        text: The text now.
        removed: What was taken out of it.

    Returns:
        The elements in the order of the text, each with its place there; None for what the text does not show, which
        follows its old neighbour.
    """
    return _Revision(elements, parts, text, removed).elements()


class _Revision:
    def __init__(self, elements: Sequence[Element], parts: Sequence[str], text: str, removed: RemovedWords) -> None:
        self._elements = elements
        self._parts = parts
        self._text = text
        self._removed = removed
        self._regions = align(parts, text)
        # Indices of old elements: those with words in the readable text, those of them that are gone from it (some
        # turn up elsewhere, see _moved), and those with other words now.
        self._worded = [index for index, part in enumerate(parts) if part.strip()]
        self._gone = set(self._worded) - {region.part for region in self._regions}
        self._changed: set[int] = set()
        self._gone_by_words: dict[str, list[int]] = defaultdict(list)
        for index in sorted(self._gone):
            self._gone_by_words[_squeezed(parts[index])].append(index)
        self._pages_with_new: set[int | None] = set()

    def elements(self) -> list[tuple[Element, Span | None]]:
        # All regions first: what may stay hidden depends on what was changed anywhere on its page.
        shown = [list(self._shown(region, number)) for number, region in enumerate(self._regions)]
        hidden = self._hidden()
        made: list[tuple[Element, Span | None]] = [(element, None) for element in hidden[None]]
        for region, group in zip(self._regions, shown, strict=True):
            for part, element, span in group:
                made.append((self._without_names(element if part is None else self._intact(element)), span))
                made += [(element, None) for element in hidden[part] if part is not None]
            if region.part in self._changed:
                made += [(element, None) for element in hidden[region.part]]
        return made

    def _shown(self, region: Region, number: int) -> Iterator[tuple[int | None, Element, Span]]:
        """Yield the elements of a region, with the old one's index where it is the old one."""
        if region.part is None:
            page = self._page_at(number)
            for element, span in written_elements(self._text, region.start, region.end, page):
                moved = self._moved(self._text[slice(*span)])
                if moved is not None:
                    self._gone.discard(moved)
                    yield moved, self._elements[moved], span
                else:
                    self._pages_with_new.add(page)
                    yield None, element, span
            return
        old = self._elements[region.part]
        if self._text[region.start : region.end].split() == self._parts[region.part].split():
            yield region.part, old, (region.start, region.end)
            return
        self._changed.add(region.part)
        for element, span in changed_elements(old, self._text, region.start, region.end):
            yield None, element, span

    def _moved(self, text: str) -> int | None:
        """Return the old element with these words that is gone from its place: it was moved here."""
        return next((index for index in self._gone_by_words.get(_squeezed(text), []) if index in self._gone), None)

    def _page_at(self, number: int) -> int | None:
        """Return the page that a stretch of new text belongs to, where there is no doubt."""
        # Two stretches of new text are never neighbours: they would be one.
        before = self._regions[number - 1].part if number else None
        after = self._regions[number + 1].part if number + 1 < len(self._regions) else None
        between = range(0 if before is None else before + 1, len(self._parts) if after is None else after)
        replaced = [self._elements[index] for index in between if index in self._gone]
        around = [self._elements[part] for part in (before, after) if part is not None]
        places = replaced or (around if len(around) == 2 else [])
        pages = {element.page for element in places}
        # A page that is one element has no place for a second one.
        return pages.pop() if len(pages) == 1 and all(element.type != "page" for element in places) else None

    def _intact(self, element: Element) -> Element:
        """Drop the cells and the image of an element in the text where they show what was taken out."""
        update: dict[str, None] = {}
        if self._removed.are_in(_cells_of(element)):
            update = {"html": None, "rows": None, "asset": None}
        elif element.asset and self._shows_change(element):
            update = {"asset": None}
        return element.model_copy(update=update) if update else element

    def _without_names(self, element: Element) -> Element:
        """Drop names that the text need not show, such as that of a sheet, where they repeat what was taken out."""
        update = dict.fromkeys(
            name for name in ("page_label", "label", "subtype") if self._removed.are_in([getattr(element, name)])
        )
        return element.model_copy(update=update) if update else element

    def _hidden(self) -> dict[int | None, list[Element]]:
        """Return what the text does not show and what may stay, by the index of the element that it follows."""
        emptied = self._pages(self._worded) - self._pages(set(self._worded) - self._gone)
        edited = self._pages(self._spoilt) | self._pages_with_new
        kept: dict[int | None, list[Element]] = defaultdict(list)
        anchor: int | None = None
        for index, (element, part) in enumerate(zip(self._elements, self._parts, strict=True)):
            if part.strip():
                anchor = anchor if index in self._gone else index
            elif element.page in emptied or self._removed.are_in(_words_of(element)):
                continue
            elif element.page not in edited if element.type == "page" else self._may_stay(index):
                kept[anchor].append(self._without_names(element))
        return kept

    @property
    def _spoilt(self) -> set[int]:
        return self._changed | self._gone

    def _pages(self, indices: Iterable[int]) -> set[int | None]:
        return {self._elements[index].page for index in indices}

    def _may_stay(self, index: int) -> bool:
        """Return whether an image without words has no edit next to it: its caption may be the text there."""
        element = self._elements[index]
        if element.type == "furniture":
            return True
        place = bisect_left(self._worded, index)
        beside = [n for n in self._worded[max(0, place - 1) : place + 1] if self._elements[n].page == element.page]
        return self._spoilt.isdisjoint(beside) and not self._shows_change(element)

    def _shows_change(self, element: Element) -> bool:
        others = (self._elements[index] for index in self._spoilt)
        return any(other.page == element.page and _overlap(element.bbox, other.bbox) for other in others)


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _words_of(element: Element) -> list[str | None]:
    return [element.text, element.caption, element.footnote, *_cells_of(element), element.subtype]


def _cells_of(element: Element) -> list[str | None]:
    # Tags are no words: a "row" that was taken out is not in every table.
    html = _TAG.sub(" ", element.html) if element.html else None
    return [html, json.dumps(element.rows, ensure_ascii=False) if element.rows else None]


def _overlap(first: Box | None, second: Box | None) -> bool:
    if first is None or second is None:
        return False
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    areas = [max(1, (box[2] - box[0]) * (box[3] - box[1])) for box in (first, second)]
    return width > 0 and height > 0 and width * height > _OVERLAP * min(areas)


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
    """Find the stretch of a new text that each part of the old one became.

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
    """Yield matching and differing stretches of lines, in order."""
    shorter = min(len(old), len(new))
    head = next((n for n in range(shorter) if old[n] != new[n]), shorter)
    rest = shorter - head
    tail = next((n for n in range(rest) if old[-1 - n] != new[-1 - n]), rest)
    yield 0, head, 0, head
    # Most of a text is unchanged at both ends: comparing the middle alone is much faster.
    matcher = SequenceMatcher(None, old[head : len(old) - tail], new[head : len(new) - tail])
    for _, i1, i2, j1, j2 in matcher.get_opcodes():
        yield head + i1, head + i2, head + j1, head + j2
    yield len(old) - tail, len(old), len(new) - tail, len(new)


def _gap_owners(old: Sequence[_Line], new: Sequence[str], before: int | None, after: int | None) -> list[int | None]:
    """Return the part that each changed or added line belongs to.

    Args:
        before: Part of the line before the gap.
        after: Part of the line after it.
    """
    around = {before, after} - {None}
    parts = {line.part for line in old}
    # Whatever stands inside one part now belongs to it, whether its words are the same or not.
    inside = parts.pop() if len(parts) == 1 and parts <= around else None
    if not old:
        inside = before if before == after else None
    owners = _paired_owners(old, new) or _matched_owners(old, new)
    return [inside if owner is None else owner for owner in owners]


def _paired_owners(old: Sequence[_Line], new: Sequence[str]) -> list[int | None]:
    """Match lines one by one, as after a word was replaced in many; empty where that does not work."""
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
    """Assign lines between two lines of one part to that part."""
    filled = list(owners)
    last = None
    for number, owner in enumerate(owners):
        if owner is None:
            continue
        if last is not None and owners[last] == owner:
            filled[last:number] = [owner] * (number - last)
        last = number
    return filled


class RemovedWords:
    """The words, and pairs of neighbouring words, that an edit took out of a text.

    Pairs notice that "John Smith" is gone where "John Doe" and "Adam Smith" stay, and find words of scripts without
    blanks, each of whose characters counts as a word. Words are compared as written and in a plain form, without
    accents, hyphens at line ends and thousands separators.
    """

    def __init__(self, before: str, after: str) -> None:
        self._forms = [_RemovedForm(form, before, after) for form in (_as_written, _plain)]

    def are_in(self, texts: Iterable[str | None]) -> bool:
        """Return whether any of the texts has a word that was taken out."""
        return any(form.is_in(text) for text in texts if text for form in self._forms)


class _RemovedForm:
    """The words taken out, in one spelling."""

    def __init__(self, words_of: Callable[[str], list[str]], before: str, after: str) -> None:
        self._words_of = words_of
        old, new = words_of(before), words_of(after)
        self._left = set(new)
        self._words = set(old) - self._left
        self._pairs = set(pairwise(old)) - set(pairwise(new))

    def is_in(self, text: str) -> bool:
        words = self._words_of(text)
        if not self._words.isdisjoint(words) or not self._pairs.isdisjoint(pairwise(words)):
            return True
        run = "".join(words)
        strange = "\n".join(set(words) - self._left)
        return any(
            (len(word) >= _LONG and word in run) or (len(word) >= _INSIDE and word in strange) for word in self._words
        )


def _as_written(text: str) -> list[str]:
    return _SAID.findall(unicodedata.normalize("NFKC", text).casefold())


def _plain(text: str) -> list[str]:
    letters = unicodedata.normalize("NFKD", _BROKEN.sub("", text).casefold())
    bare = "".join(letter for letter in letters if unicodedata.category(letter) not in {"Mn", "Cf"})
    return _SAID.findall(_THOUSANDS.sub("", unicodedata.normalize("NFKC", bare)))
