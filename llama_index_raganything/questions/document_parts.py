"""The kinds of things that documents hold, what can be asked about them, and the words for both."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Final, Literal

from llama_index_raganything.elements import label_of

Ask = Literal["count", "list", "which"]

INVENTORY_TYPE: Final = "inventory"
"""The ``content_type`` of the summary of an inventory; no stored node has it."""

ENTRIES_KEY: Final = "inventory"
"""Metadata key of a summary: a JSON list of what it tells of each document, as ``heading``, ``things``, ``more``."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A kind of thing that a document holds.

    Attributes:
        name: What one of them is called.
        plural: What several are called.
        content_types: Content types of its nodes; empty for what is no node: pages, sections, documents.
        labels: Kinds of the labels of its captions, in lower case.
        marks: Words one of which a caption or text must have, where the content type alone does not tell.
        parts: Words that its headings start with ("appendix"), where it is a part of the text.
    """

    name: str
    plural: str
    content_types: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of the documents that a question is about.

    Attributes:
        pages: Numbers of pages, which may be printed labels or positions.
        positions: Positions of pages ("the first three pages"), counted from 1.
        last_pages: How many pages from the end are meant; 0 when none.
        page_labels: Printed labels that are no numbers ("iv").
        parts: Labelled parts, as (kind, number), such as ``("section", "3")``.
        part: Name of a part ("appendix", "related work"), or an empty string.
        files: File names.
        title: Words that tell which document is meant ("annual" of "in the annual report").
        document: The question names the document as such.
    """

    pages: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()
    last_pages: int = 0
    page_labels: tuple[str, ...] = ()
    parts: tuple[tuple[str, str], ...] = ()
    part: str = ""
    files: tuple[str, ...] = ()
    title: tuple[str, ...] = ()
    document: bool = False


@dataclass(frozen=True, slots=True)
class WholeDocumentQuestion:
    """A question that only a look at everything in the document answers.

    Attributes:
        ask: ``count``, ``list``, or ``which``.
        things: What is counted or listed.
        words: What the things must show, mention or be about, as written; empty for no restriction.
        holding: Things that pages must hold ("which pages have charts?").
        scope: Where to look.
        chinese: The question is in Chinese.
    """

    ask: Ask
    things: tuple[Thing, ...]
    words: str = ""
    holding: tuple[Thing, ...] = ()
    scope: Scope = Scope()
    chinese: bool = False


@dataclass(frozen=True)
class Words:
    """The word lists, and the expressions made from them."""

    lists: dict[str, Any]
    things: dict[str, Thing]
    by_word: dict[str, Thing]
    by_singular: dict[str, Thing]
    by_chinese: dict[str, Thing]

    def any_of(self, name: str) -> str:
        """Return an expression for one word of a list."""
        return alternatives(self.lists[name])


def alternatives(words: list[str]) -> str:
    """Return an expression for one of some words, the longest first."""
    ordered = sorted(words, key=len, reverse=True)
    return "(?:" + "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in ordered) + ")"


@cache
def word_lists() -> Words:
    """Return the packaged word lists."""
    source = resources.files(__package__) / "whole_document.json"
    lists = json.loads(source.read_text("utf-8"))
    things = {}
    for name, entry in lists["things"].items():
        tuples = {key: tuple(entry.get(key, ())) for key in ("content_types", "labels", "marks", "parts")}
        things[name] = Thing(name, entry["plural"], **tuples)
    by_word = {word: things[name] for name, entry in lists["things"].items() for word in entry["words"]}
    by_singular = {word.removesuffix("s"): thing for word, thing in by_word.items()} | things
    by_chinese = {word: things[name] for name, entry in lists["things"].items() for word in entry["chinese"]}
    lists |= {"nouns": list(by_word), "singular": list(by_singular), "chinese_nouns": list(by_chinese)}
    return Words(lists, things, by_word, by_singular, by_chinese)


_NUMBER: Final = r"(?:[A-Z]{1,2}[.\-–])?\d{1,4}(?:[.\-–]\d+)*[a-z]?|[IVXL]{1,6}|[A-Z]"
_LIST_LINE: Final = re.compile(r"(?:\.\s?){3,}|(?:…)+|\s\d{1,3}\s*$")
_TITLE: Final = re.compile(r"\s*(?:[.:：|—–-]\s*)?(?P<title>.*)$", re.DOTALL)
_TITLE_CHARS: Final = 120
_SPELLINGS: Final = {"figure": ("figure", "fig.", "fig"), "table": ("table", "tab."), "equation": ("equation", "eq.")}
_STATED, _LISTED = 2, 1


@dataclass(frozen=True, slots=True)
class CaptionLine:
    """A line that starts with a label.

    Attributes:
        label: The normalised label: "Table 3", "Appendix B".
        title: The rest of the line.
        weight: 2 where the thing itself seems to stand there, 1 in a list of contents.
    """

    label: str
    title: str
    weight: int


def caption_lines(text: str, kinds: Sequence[str]) -> list[CaptionLine]:
    """Return the lines of a page that caption or head something of some kinds.

    Args:
        kinds: Kinds of labels in lower case, such as ``"table"`` or ``"appendix"``; Chinese ones too.

    Returns:
        The lines in order. Sentences that only start with a label are left out.
    """
    found = []
    for match in _pattern(tuple(kinds)).finditer(text):
        rest = match["rest"].rstrip()
        if _is_sentence(rest):
            continue
        title = _TITLE.match(_LIST_LINE.sub("", rest))
        words = " ".join((title["title"] if title else "").split())
        weight = _LISTED if _LIST_LINE.search(rest) else _STATED
        found.append(CaptionLine(normalised(match["kind"], match["number"]), words[:_TITLE_CHARS], weight))
    return found


def normalised(kind: str, number: str) -> str:
    """Return a label as elements have it.

    Args:
        kind: Its kind, as written.
        number: Its number or letter.
    """
    label = label_of(f"{kind} {number}")
    return label or f"{kind.rstrip('.').capitalize()} {number.upper()}"


def best_lines(
    pages: Iterable[tuple[int | None, str, str]], kinds: Sequence[str]
) -> dict[str, tuple[CaptionLine, str]]:
    """Return for every label the line that most likely stands at the thing itself.

    Args:
        pages: Page number, node id and text of pages of one document, in order.
        kinds: As for :func:`caption_lines`.

    Returns:
        The line and the node id of its page, by label, in order of first appearance.
    """
    best: dict[str, tuple[CaptionLine, str]] = {}
    for _, node_id, text in pages:
        for line in caption_lines(text, kinds):
            known = best.get(line.label)
            untitled = known is not None and known[1] == node_id and not known[0].title
            if known is None or line.weight > known[0].weight or untitled:
                best[line.label] = (line, node_id)
    return best


def numbered_in_order(labels: Iterable[str]) -> bool:
    """Return whether labels are a numbering: at least two, and two of every three numbers up to the highest there.

    Args:
        labels: Labels of one kind in one document.
    """
    numbers = {label.partition(" ")[2] for label in labels}
    if len(numbers) < 2:
        return False
    plain = [int(number) for number in numbers if number.isdigit()]
    return not plain or 3 * len(set(plain)) >= 2 * max(plain)


@lru_cache(maxsize=64)
def _pattern(kinds: tuple[str, ...]) -> re.Pattern[str]:
    words = [re.escape(word) for kind in kinds for word in _SPELLINGS.get(kind, (kind,))]
    # Only the kind may be in any case: "Table of contents" has no number.
    kind = "|".join(sorted(words, key=len, reverse=True))
    return re.compile(
        rf"^[^\w\n(（]{{0,3}}(?P<kind>(?i:{kind}))[ \t]*(?:(?i:no)\.?\s*)?"
        rf"(?P<number>{_NUMBER})(?![\w]|[.\-]\d)(?P<rest>[^\n]*)$",
        re.MULTILINE,
    )


def _is_sentence(rest: str) -> bool:
    """Tell "Table 2 shows that", "Table 2)" and a sentence's end "Table 2." from a caption."""
    bare = rest.strip()
    if not bare:
        return False
    if bare[0] in ")],;）】，；、" or bare in {".", "。"}:
        return True
    return bare[0].islower()
