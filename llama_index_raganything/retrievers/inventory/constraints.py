"""Which of the things that documents hold a question is about: by page, by part, by words. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from llama_index_raganything.elements import SECTION_SEPARATOR
from llama_index_raganything.questions.document_parts import Scope, Thing, caption_lines
from llama_index_raganything.retrievers.inventory.items import Item
from llama_index_raganything.text.terms import content_tokens, normalize

_PLACEHOLDER: Final = re.compile(r"\s*(?:\w+(?: on page \S{1,20})?(?: in section [^\n]*)?)?\s*")
"""What the node parser writes for an element without any words."""

_LETTERED: Final = re.compile(r"[A-Z](?:\.\d+)*[.:]?\s+[A-Z]")
"""The heading of an appendix of a paper ("B Dataset Statistics"); the document's title is not asked."""


def within(scope: Scope, last_pages: Mapping[str, int]) -> Callable[[Item], bool]:
    """Return what tells whether a thing stands on the pages that a question names.

    Args:
        scope: Where the question looks.
        last_pages: Number of the last page by document.
    """
    labels = {str(number) for number in scope.pages} | set(scope.page_labels)
    positions = {*scope.pages, *scope.positions}
    named = bool(labels or positions or scope.last_pages)

    def is_within(item: Item) -> bool:
        if not named:
            return True
        if item.page is None:
            return False
        if scope.last_pages and item.page > last_pages.get(item.doc_id, item.page) - scope.last_pages:
            return True
        # A label that is printed on the page goes before its place in the file.
        if item.page_label and not scope.positions:
            return item.page_label.lower() in labels
        return item.page in positions

    return is_within


def in_part(scope: Scope, starts: Mapping[str, Sequence[tuple[int, str]]]) -> Callable[[Item], bool]:
    """Return what tells whether a thing stands in the section or appendix that a question names.

    Args:
        scope: Where the question looks.
        starts: By document the pages where labelled parts start, with their labels, in order.
    """
    names = [f"{kind} {number}" for kind, number in scope.parts] + ([scope.part] if scope.part else [])
    patterns = [_heading_pattern(name) for name in names]

    def is_in(item: Item) -> bool:
        if not names:
            return True
        headings = item.section.split(SECTION_SEPARATOR)
        if item.thing.name == "section":
            headings.pop()  # A chapter is none of its own sections.
        if scope.part.startswith("appendi") and any(_LETTERED.match(heading) for heading in headings[1:]):
            return True
        if any(pattern.search(heading) for pattern in patterns for heading in headings):
            return True
        return item.page is not None and _covered(item.page, starts.get(item.doc_id, ()), patterns)

    return is_in


def _covered(page: int, starts: Sequence[tuple[int, str]], patterns: Sequence[re.Pattern[str]]) -> bool:
    """Tell whether the last part that starts up to a page is one of those named."""
    before = [label for start, label in starts if start <= page]
    return bool(before) and any(pattern.search(before[-1]) for pattern in patterns)


def _heading_pattern(name: str) -> re.Pattern[str]:
    kind, _, number = name.partition(" ")
    if kind in {"section", "chapter", "appendix", "annex", "part", "unit", "exhibit"} and number:
        bare = rf"|^{re.escape(number)}(?:[.:\s]|$)"
        return re.compile(rf"\b{kind}\s+{re.escape(number)}(?![\w]){bare}", re.IGNORECASE)
    stem = re.escape(name.removesuffix("ices").removesuffix("ix").removesuffix("s"))
    return re.compile(rf"\b{stem}", re.IGNORECASE)


def parts_named(scope: Scope) -> list[str]:
    """Return the kinds of labelled parts whose headings must be looked for on the pages.

    Args:
        scope: Where the question looks.
    """
    kinds = {kind for kind, _ in scope.parts}
    return sorted(kinds | ({"appendix"} if scope.part.startswith("appendi") else set()))


def matching(
    items: Sequence[Item], words: str, texts: Mapping[str, str], page_texts: Mapping[tuple[str, int], str]
) -> list[Item]:
    """Return the things that show, mention or are about some words: all of them, in any order and form.

    A thing's words are those of its caption, label, sections and text. A picture without any has those of its page.

    Args:
        items: Things.
        texts: Texts of their nodes by id.
        page_texts: Texts of pages by document and number.

    Returns:
        The matching things, in the same order.
    """
    wanted = set(content_tokens(words))
    if not wanted:
        return []
    return [
        item
        for item in items
        if wanted
        <= item.words.union(content_tokens(f"{item.title} {item.subtype} {words_of(item, texts, page_texts)}"))
    ]


def words_of(item: Item, texts: Mapping[str, str], page_texts: Mapping[tuple[str, int], str]) -> str:
    """Return the text of a thing, or that of its page for a thing without words.

    Args:
        item: The thing.
        texts: Texts of nodes by id.
        page_texts: Texts of pages by document and number.
    """
    text = "\n".join(texts[node_id] for node_id in (item.node_id, *item.part_ids) if node_id in texts)
    if item.label or item.title or not _PLACEHOLDER.fullmatch(text):
        return text
    return page_texts.get((item.doc_id, item.page or 0), text)


def marked(thing: Thing, items: Sequence[Item], texts: Mapping[str, str]) -> list[Item]:
    """Return the things that are of a finer kind than their content type tells, such as charts among pictures.

    Args:
        items: Things of its content type.
        texts: Texts of their nodes by id.

    Returns:
        Those whose subtype, label, caption or text names the kind.
    """
    if not thing.marks:
        return list(items)
    pattern = re.compile("|".join(rf"\b{mark}\b" if mark.isascii() else mark for mark in thing.marks), re.IGNORECASE)
    return [
        item
        for item in items
        if item.subtype.lower() == thing.name
        or pattern.search(f"{item.label} {item.title} {texts.get(item.node_id, '')[:2000]}")
    ]


def place_of(item: Item, words: str, elements: Sequence[tuple[str, str]]) -> str | None:
    """Return the element of a page that captions or heads a thing, or that has the words asked for.

    Args:
        item: A thing with a label, known by a line of the page, or a page.
        words: The words that the question asks for.
        elements: Ids and texts of the elements of the page.

    Returns:
        The id, or None where no element has them.
    """
    if not item.label:
        wanted = set(content_tokens(words))
        exact = (node_id for node_id, text in elements if says(text, words))
        loose = (node_id for node_id, text in elements if wanted <= set(content_tokens(text)))
        return next(exact, None) or next(loose, None)
    kind = item.label.partition(" ")[0].lower()
    for node_id, text in elements:
        if any(line.label == item.label for line in caption_lines(text, [kind])):
            return node_id
    named = re.compile(r"\s+".join(map(re.escape, item.label.split())) + r"(?!\w)", re.IGNORECASE)
    return next((node_id for node_id, text in elements if named.search(text)), None)


def says(text: str, words: str) -> bool:
    """Return whether a text has a word in any of its forms, or several words as they are but for case and spacing.

    Args:
        words: The words; quotation marks around them do not count.
    """
    phrase = " ".join(normalize(words.strip("\"'“”‘’")).split())
    tokens = content_tokens(phrase)
    if phrase.isascii() and phrase.isalnum() and len(tokens) == 1:
        return tokens[0] in content_tokens(text)
    start = r"(?<!\w)" if phrase[:1].isascii() else ""
    return bool(phrase) and re.search(start + re.escape(phrase), " ".join(normalize(text).split())) is not None
