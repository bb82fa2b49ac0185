"""Where an element stands in its document: section path, and the sentences that cite its label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from llama_index_raganything.elements import SECTION_SEPARATOR, Element, labels_in
from llama_index_raganything.text.sentences import sentences_of

_HEADING_CHARS: Final = 120
_SECTION_CHARS: Final = 480
_MENTION_CHARS: Final = 400
_MENTIONS: Final = 2


class SectionPath:
    """The headings above the current position, outermost first."""

    def __init__(self) -> None:
        self._headings: list[tuple[int, str]] = []

    def enter(self, heading: Element) -> None:
        """Move below a heading.

        Args:
            heading: An element of type ``heading``.
        """
        level = heading.level or 1
        text = " ".join(heading.text.split())
        if not text:
            return
        self._headings = [known for known in self._headings if known[0] < level]
        self._headings.append((level, text[:_HEADING_CHARS]))

    @property
    def names(self) -> tuple[str, ...]:
        """The headings of the path, such as ``("3 Results", "3.1 Revenue")``."""
        names = [text for _, text in self._headings]
        # Inner headings say more than outer ones, so a long path loses its head.
        while len(names) > 1 and len(SECTION_SEPARATOR.join(names)) > _SECTION_CHARS:
            names.pop(0)
        return tuple(names)

    def __str__(self) -> str:
        """Return the path, such as ``"3 Results > 3.1 Revenue"``."""
        return SECTION_SEPARATOR.join(self.names)


def label_mentions(elements: Iterable[Element]) -> dict[str, list[str]]:
    """Find the sentences of running text that cite a labelled element.

    Returns:
        Up to two sentences for each label of an element that the text cites, in reading order.
    """
    kept = list(elements)
    labels = {element.label for element in kept if element.label and element.type not in {"page", "heading"}}
    found: dict[str, list[str]] = defaultdict(list)
    if not labels:
        return found
    for element in kept:
        if element.type not in {"text", "list"} or not labels.intersection(labels_in(element.text)):
            continue
        for sentence in sentences_of(element.text):
            for label in labels.intersection(labels_in(sentence)):
                if len(found[label]) < _MENTIONS and sentence not in found[label]:
                    found[label].append(sentence[:_MENTION_CHARS])
    return found
