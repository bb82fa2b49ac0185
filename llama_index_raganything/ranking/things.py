"""The kinds of things that documents hold, what can be asked about them, and the words for both."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final, Literal

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
    """Return an expression for one of some words, the longest first.

    Args:
        words: The words.
    """
    ordered = sorted(words, key=len, reverse=True)
    return "(?:" + "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in ordered) + ")"


@cache
def word_lists() -> Words:
    """Return the packaged word lists."""
    source = resources.files(__package__) / "lexicons" / "whole_document.json"
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
