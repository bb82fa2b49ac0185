"""What is left of a document's elements when somebody has changed its text: the text wins. Pure functions of data."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from llama_index_raganything.documents.alignment import Region, align
from llama_index_raganything.documents.markdown import Written, changed_elements, written_elements
from llama_index_raganything.documents.rendering import SEPARATOR, elements_to_text, readable_parts
from llama_index_raganything.elements import Box, Element
from llama_index_raganything.text.characters import CJK

_SAID = re.compile(
    # Of scripts without blanks each character is a word, as are signs and emoji: Thai, Lao, Burmese and Khmer too.
    rf"[{CJK}\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2190-\u2bff\U0001f000-\U0001faff]|[^\W\d_]+|\d+"
)
_LONG: Final = 5
"""Letters from which a word is also sought in a text without its blanks: a page's own text may lack them."""
_INSIDE: Final = 3
"""Letters from which a word is sought inside words that the text does not have: "Anna" in "Annas", "AnnaBerg"."""
_BROKEN = re.compile(r"(?<=[^\W\d_])[-\u2010]\s*\n\s*(?=[^\W\d_])")
_THOUSANDS = re.compile(r"(?<=\d)[,.'\u2019 \u00a0\u202f](?=\d{3}(?!\d))")


class TakenWords:
    """The words, and pairs of neighbouring words, that a text had before an edit and has no more.

    Pairs tell that "John Smith" is gone where "John Doe" and "Adam Smith" stay, and find words of scripts without
    blanks, whose characters are taken for words. Words are compared as they are written and in a plain form, without
    accents, hyphens at line ends and separators of thousands.

    Args:
        before: The text before the edit.
    """

    def __init__(self, before: str, after: str) -> None:
        self._forms = [_TakenForm(form, before, after) for form in (_as_written, _plain)]

    def stand_in(self, texts: Iterable[str | None]) -> bool:
        """Tell whether any of some texts says what was taken out.

        Args:
            texts: Any texts; None says nothing.
        """
        return any(form.stands_in(text) for text in texts if text for form in self._forms)


class _TakenForm:
    """The words taken out, in one way to write words."""

    def __init__(self, words_of: Callable[[str], list[str]], before: str, after: str) -> None:
        self._words_of = words_of
        old, new = words_of(before), words_of(after)
        self._left = set(new)
        self._words = set(old) - self._left
        self._pairs = set(pairwise(old)) - set(pairwise(new))

    def stands_in(self, text: str) -> bool:
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


Span = tuple[int, int] | None
"""Where an element stands in a text: its first character, and behind its last one."""

_WORD = re.compile(r"\S+")
_TAG = re.compile(r"<[^>]*>")
_OVERLAP: Final = 0.1
"""Share of the smaller box from which two boxes show the same; neighbours may overlap by a hair."""


@dataclass(frozen=True)
class Agreed:
    """The elements of a document that agree with its text.

    Attributes:
        elements: The elements, in the order of the text.
        spans: Where each of them stands in the text; None for what the readable text leaves out.
        taken: What was taken out of the text; None where nothing was changed.
    """

    elements: list[Element]
    spans: list[Span]
    taken: TakenWords | None = None


def agree(elements: Sequence[Element], text: str) -> Agreed:
    """Return the elements that agree with a text.

    Args:
        elements: The elements of a document, as they were read.
        text: The document's text, as it is now.

    Returns:
        The same elements where no word was changed. Else those that are still in the text, those that were changed
        with their new words, and what is new; together they say what the text says and nothing that it says no more.
    """
    parts = readable_parts(elements)
    readable = SEPARATOR.join(part for part in parts if part)
    if text == readable:
        return Agreed(list(elements), _spans(parts))
    words = list(_WORD.finditer(text))
    if [word[0] for word in words] == readable.split():
        return Agreed(list(elements), _spans_of_words(parts, words))
    taken = TakenWords(readable, text)
    revised = _Revision(elements, parts, text, taken).elements()
    if elements_to_text(element for element, _ in revised).split() != text.split():
        # Whatever went wrong: a text alone cannot say what it does not say.
        revised = [_with_span(written) for written in written_elements(text, 0, len(text), None)]
    return Agreed([element for element, _ in revised], [span for _, span in revised], taken)


class _Revision:
    """The elements of one document after an edit.

    Args:
        elements: The elements before.
        parts: What each of them added to the readable text.
        text: The text now.
        taken: What was taken out of it.
    """

    def __init__(self, elements: Sequence[Element], parts: Sequence[str], text: str, taken: TakenWords) -> None:
        self._elements = elements
        self._parts = parts
        self._text = text
        self._taken = taken
        self._regions = align(parts, text)
        present = {region.part for region in self._regions if region.part is not None}
        self._gone = {index for index, part in enumerate(parts) if part.strip() and index not in present}
        self._gone_words: dict[str, list[int]] = defaultdict(list)
        for index in sorted(self._gone):
            self._gone_words[_squeezed(parts[index])].append(index)
        self._changed: set[int] = set()
        self._touched: set[int | None] = set()

    def elements(self) -> list[tuple[Element, Span]]:
        """Return the elements in the order of the text, what it does not show beside its neighbours."""
        shown = [list(self._shown(region, number)) for number, region in enumerate(self._regions)]
        self._touched |= {self._elements[index].page for index in self._changed | self._gone}
        hidden = self._hidden()
        made: list[tuple[Element, Span]] = [(element, None) for element in hidden[None]]
        for region, group in zip(self._regions, shown, strict=True):
            for part, written in group:
                element = written.element if part is None else self._intact(written.element)
                made.append((self._without_names(element), (written.start, written.end)))
                made += [(element, None) for element in hidden[part] if part is not None]
            if region.part in self._changed:
                made += [(element, None) for element in hidden[region.part]]
        return made

    def _shown(self, region: Region, number: int) -> Iterator[tuple[int | None, Written]]:
        """Yield the elements of a region, with the old one's index where it is the old one."""
        if region.part is None:
            page = self._page_at(number)
            for written in written_elements(self._text, region.start, region.end, page):
                moved = self._moved(written)
                if moved is not None:
                    self._gone.discard(moved)
                    yield moved, Written(self._elements[moved], written.start, written.end)
                else:
                    self._touched.add(page)
                    yield None, written
            return
        old = self._elements[region.part]
        if self._text[region.start : region.end].split() == self._parts[region.part].split():
            yield region.part, Written(old, region.start, region.end)
            return
        self._changed.add(region.part)
        for written in changed_elements(old, self._text, region.start, region.end):
            yield None, written

    def _moved(self, written: Written) -> int | None:
        """Return the element that is gone from its place and stands here now."""
        same = self._gone_words.get(_squeezed(self._text[written.start : written.end]), [])
        return next((index for index in same if index in self._gone), None)

    def _page_at(self, number: int) -> int | None:
        """Return the page that a stretch of new text belongs to, where that is plain."""
        # Two stretches of new text never stand side by side: they would be one.
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
        """Take from an element that is still in the text the cells and the picture that say what the text does not."""
        update: dict[str, None] = {}
        if self._taken.stand_in(_cells_of(element)):
            update = {"html": None, "rows": None, "asset": None}
        elif element.asset and self._shows_change(element):
            update = {"asset": None}
        return element.model_copy(update=update) if update else element

    def _without_names(self, element: Element) -> Element:
        """Take from an element names that the text need not show, as that of a sheet, where they say too much."""
        update = dict.fromkeys(
            name for name in ("page_label", "label", "subtype") if self._taken.stand_in([getattr(element, name)])
        )
        return element.model_copy(update=update) if update else element

    def _hidden(self) -> dict[int | None, list[Element]]:
        """Return what the text does not show and may stay, by the element that it follows."""
        pages = {element.page for element, part in zip(self._elements, self._parts, strict=True) if part.strip()}
        left = self._pages_left()
        kept: dict[int | None, list[Element]] = defaultdict(list)
        anchor: int | None = None
        for index, (element, part) in enumerate(zip(self._elements, self._parts, strict=True)):
            if part.strip():
                anchor = anchor if index in self._gone else index
            elif element.page in pages - left or self._taken.stand_in(_words_of(element)):
                continue
            elif element.type == "page":
                if element.page not in self._touched:
                    kept[anchor].append(self._without_names(element))
            elif element.type == "furniture" or self._stands_alone(index):
                kept[anchor].append(self._without_names(element))
        return kept

    def _pages_left(self) -> set[int | None]:
        return {
            element.page
            for index, (element, part) in enumerate(zip(self._elements, self._parts, strict=True))
            if part.strip() and index not in self._gone
        }

    def _stands_alone(self, index: int) -> bool:
        """Tell whether nothing beside a picture without words was changed: its caption may be the text next to it."""
        spoilt = self._changed | self._gone
        before = next((n for n in range(index - 1, -1, -1) if self._parts[n].strip()), None)
        after = next((n for n in range(index + 1, len(self._parts)) if self._parts[n].strip()), None)
        page = self._elements[index].page
        beside = {n for n in (before, after) if n is not None and self._elements[n].page == page}
        return beside.isdisjoint(spoilt) and not self._shows_change(self._elements[index])

    def _shows_change(self, element: Element) -> bool:
        others = (self._elements[index] for index in self._changed | self._gone)
        return any(other.page == element.page and _overlap(element.bbox, other.bbox) for other in others)


def _with_span(written: Written) -> tuple[Element, Span]:
    return written.element, (written.start, written.end)


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


def _spans(parts: Sequence[str]) -> list[Span]:
    spans: list[Span] = []
    position = 0
    for part in parts:
        spans.append((position, position + len(part)) if part else None)
        position += len(part) + len(SEPARATOR) if part else 0
    return spans


def _spans_of_words(parts: Sequence[str], words: Sequence[re.Match[str]]) -> list[Span]:
    """Find parts in a text that has the same words with other white space."""
    spans: list[Span] = []
    position = 0
    for part in parts:
        count = len(part.split())
        last = position + count
        spans.append((words[position].start(), words[last - 1].end()) if count else None)
        position = last
    return spans
