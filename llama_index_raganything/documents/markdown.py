"""Elements of text that somebody wrote into a document, and that no parser has seen. Pure functions of data."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llama_index_raganything.elements import Element, label_of
from llama_index_raganything.tables.pipe_tables import begins_with_table

_PARAGRAPH = re.compile(r"\S(?:.*?)(?=\s*\n[ \t\r\f\v]*\n|\s*\Z)", re.DOTALL)
_HEADING = re.compile(r"(#{1,6})[ \t]+(\S[^\n]*)(?:\n\s*|\Z)")
_EQUATION = re.compile(r"\$\$\s(.*?)\s\$\$", re.DOTALL)
_CODE = re.compile(r"(?:(?P<caption>[^`]*)\n)?```(?P<language>[^\s`]*)\n(?P<code>.*)\n```", re.DOTALL)
_PIPES = re.compile(r"^\s*\|.*$(?:\n\s*\|.*$)*", re.MULTILINE)
_WORD = re.compile(r"\S+")


Span = tuple[int, int]
"""First character of an element in a text, and the one after its last."""


def written_elements(text: str, start: int, end: int, page: int | None) -> Iterator[tuple[Element, Span]]:
    """Make elements of a stretch of readable text.

    Args:
        text: The whole text.
        start: First character of the stretch.
        end: The character after its last.

    Yields:
        A heading, table or text for each paragraph.
    """
    for paragraph in _PARAGRAPH.finditer(text, start, end):
        at, last = paragraph.start(), paragraph.start() + len(paragraph[0].rstrip())
        while at < last:
            heading = _HEADING.match(text, at, last)
            if heading is None:
                break
            title = heading[2].rstrip()
            element = Element(type="heading", text=title, level=len(heading[1]), page=page)
            yield element, (at, heading.start(2) + len(title))
            at = heading.end()
        if at < last:
            body = text[at:last]
            kind = "table" if begins_with_table(body) else "text"
            yield Element(type=kind, text=body, page=page), (at, last)


def changed_elements(old: Element, text: str, start: int, end: int) -> Iterator[tuple[Element, Span]]:
    """Make elements of the stretch of text that an old element became.

    Args:
        text: The whole text.
        start: First character of the stretch.
        end: The character after its last.

    Yields:
        The element with its new words and its page, without what is no longer known: box, image and cells. Several
        where it is no longer a single element.
    """
    body = text[start:end]
    place = {"page": old.page, "page_label": old.page_label}
    element = None
    if old.type == "page":
        element = Element(type="page", text=body, **place)
    elif old.type in {"text", "list"}:
        made = [new for new, _ in written_elements(text, start, end, old.page)]
        if len(made) == 1 and made[0].type == "text":
            element = Element(type=old.type, text=body, **place)
    elif old.type == "equation":
        match = _EQUATION.fullmatch(body)
        element = Element(type="equation", text=match[1], **place) if match else None
    elif old.type == "code":
        match = _CODE.fullmatch(body)
        if match:
            caption, language = match["caption"] or "", match["language"] or None
            element = Element(type="code", text=match["code"], caption=caption, subtype=language, **place)
    elif old.type != "heading":
        element = _changed_unit(old, body)
    if element is not None:
        yield element, (start, end)
    else:
        yield from written_elements(text, start, end, old.page)


def _changed_unit(old: Element, body: str) -> Element:
    """Separate caption, text and footnote of a changed table, image or recording by what did not change."""
    caption, text, footnote = _fields(old, body)
    return Element(
        type=old.type,
        text=text,
        caption=caption,
        footnote=footnote,
        label=label_of(caption),
        page=old.page,
        page_label=old.page_label,
        subtype=old.subtype,
    )


def _fields(old: Element, body: str) -> tuple[str, str, str]:
    words = list(_WORD.finditer(body))
    values = [word[0] for word in words]
    head, middle, tail = old.caption.split(), old.text.split(), old.footnote.split()
    starts = bool(head) and values[: len(head)] == head
    ends = bool(tail) and values[len(values) - len(tail) :] == tail and len(values) >= len(head) + len(tail)
    found = _position(values, middle)
    pipes = _PIPES.search(body) if old.type == "table" else None
    first = len(head) if starts else 0
    last = len(values) - len(tail) if ends else len(values)
    if not (starts or ends) and found is not None:
        first, last = found, found + len(middle)
    elif pipes is not None:
        first = sum(word.end() <= pipes.start() for word in words)
        last = sum(word.start() < pipes.end() for word in words)
    elif not starts and old.caption and label_of(body) is not None:
        # The caption was changed too, and its first line still begins as one.
        first = len(body.split("\n", 1)[0].split())
    return _slice(body, words, 0, first), _slice(body, words, first, last), _slice(body, words, last, len(values))


def _position(values: list[str], sought: list[str]) -> int | None:
    if not sought:
        return None
    places = range(len(values) - len(sought) + 1)
    return next((n for n in places if values[n] == sought[0] and values[n : n + len(sought)] == sought), None)


def _slice(body: str, words: list[re.Match[str]], first: int, last: int) -> str:
    return body[words[first].start() : words[last - 1].end()] if first < last else ""
