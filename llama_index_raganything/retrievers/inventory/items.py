"""What documents hold, worked out from the metadata of their nodes. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from llama_index_raganything.elements import SECTION_SEPARATOR
from llama_index_raganything.nodes import box_of, last_heading
from llama_index_raganything.questions.document_parts import Thing, best_lines, numbered_in_order, word_lists
from llama_index_raganything.text.terms import content_tokens

INVENTORY_KEYS: Final = (
    "doc_id",
    "content_type",
    "page",
    "page_label",
    "bbox",
    "section",
    "caption",
    "label",
    "subtype",
    "element_id",
    "file_name",
    "title",
)
"""Metadata keys that an inventory reads."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a document holds.

    Attributes:
        thing: What kind of thing.
        node_id: The node to show for it.
        doc_id: Its document.
        file_name: Name of the document's file, or its title, or its id.
        page: Its page, or None.
        page_label: Printed label of the page.
        label: Its label ("Table 3"), or an empty string.
        title: Its caption without the label, or its heading.
        section: Path of headings above it.
        order: Where it stands in its document.
        in_numbering: It is part of the document's own numbering.
        words: Tokens of caption, label and section; for restrictions.
        subtype: The parser's finer name ("chart").
        part_ids: Further nodes of the same thing, where it is cut into parts.
        box: Its box in thousandths of the page; empty when unknown.
    """

    thing: Thing
    node_id: str
    doc_id: str
    file_name: str
    page: int | None = None
    page_label: str = ""
    label: str = ""
    title: str = ""
    section: str = ""
    order: tuple[Any, ...] = ()
    in_numbering: bool = False
    words: frozenset[str] = field(default=frozenset(), compare=False)
    subtype: str = ""
    part_ids: tuple[str, ...] = ()
    box: tuple[int, ...] = ()


_REPEATED: Final = 3
"""A small picture at the same place of so many pages belongs to the layout."""

_SMALL: Final = 50_000
"""Area of a box that covers a twentieth of the page, in millionths."""

Row = Mapping[str, Any]
PageText = tuple[Row, str]
"""Metadata of a page node, and its text."""


def content_types_of(things: Iterable[Thing]) -> list[str]:
    """Return the content types of the nodes that may be of some kinds; a labelled table may have become a picture."""
    types = {name for thing in things for name in thing.content_types}
    return sorted(types | ({"image"} if "table" in types else set()))


def items_of(thing: Thing, rows: Sequence[Row], pages: Sequence[PageText]) -> list[Item]:
    """Return the things of one kind, parts of one element as one, in reading order.

    Args:
        pages: Pages whose captions and headings count too.

    Returns:
        Things of all documents, by document.
    """
    own = [row for row in rows if _is_of(thing, row)]
    by_document: dict[str, list[Item]] = {}
    for row in sorted(own, key=_place):
        by_document.setdefault(str(row["doc_id"]), []).append(_item(thing, row))
    texts: dict[str, list[PageText]] = {}
    for page in sorted(pages, key=lambda pair: _place(pair[0])):
        texts.setdefault(str(page[0]["doc_id"]), []).append(page)
    found = []
    for document in dict.fromkeys([*by_document, *texts]):
        found += _of_document(thing, by_document.get(document, []), texts.get(document, []))
    return found


def _of_document(thing: Thing, items: Sequence[Item], pages: Sequence[PageText]) -> list[Item]:
    """Join the elements of a document with the captions and headings on its pages."""
    unique: dict[tuple[Any, ...], Item] = {}
    for item in items:
        # The same element in parts, or a table that goes on under its own label.
        key = (item.label,) if item.label else (item.page, item.order)
        first = unique.get(key)
        unique[key] = item if first is None else replace(first, part_ids=(*first.part_ids, item.node_id))
    kept = _without_decoration(list(unique.values())) if "image" in thing.content_types else list(unique.values())
    known = {item.label for item in kept if item.label}
    rows = {str(row["node_id"]): row for row, _ in pages}
    kinds = thing.labels or thing.parts
    lines = best_lines([(row.get("page"), str(row["node_id"]), text) for row, text in pages], kinds) if kinds else {}
    added = []
    for label, (line, node_id) in lines.items():
        if label not in known:
            item = _item(thing, rows[node_id])
            words = item.words.union(content_tokens(line.title))
            added.append(replace(item, label=label, title=line.title, words=words))
    joined = sorted([*kept, *added], key=_by_number if thing.parts else _by_place)
    numbered = {item.label for item in joined if item.label}
    if not thing.labels or not numbered_in_order(numbered):
        return joined
    return [replace(item, in_numbering=bool(item.label)) for item in joined]


def _without_decoration(items: Sequence[Item]) -> list[Item]:
    """Leave out the pictures that a layout repeats: those without words of their own at one place of several pages.

    The first of them stays. Large pictures all stay: slides have their charts at one place too.
    """
    seen: dict[tuple[int, ...], set[int]] = {}
    for item in items:
        if _is_small_and_plain(item) and item.page is not None:
            seen.setdefault(item.box, set()).add(item.page)
    first = {box: min(pages) for box, pages in seen.items() if len(pages) >= _REPEATED}
    return [item for item in items if not _is_small_and_plain(item) or first.get(item.box, item.page) == item.page]


def _is_small_and_plain(item: Item) -> bool:
    if item.label or item.title or len(item.box) != 4:
        return False
    left, top, right, bottom = item.box
    return (right - left) * (bottom - top) < _SMALL


def _by_place(item: Item) -> tuple[Any, ...]:
    # Without pages and boxes only numbers tell what comes first.
    return (*item.order[:3], _number_of(item), item.order)


def _by_number(item: Item) -> tuple[Any, ...]:
    # A part found in the list of contents only would else stand before those found in the text.
    return (_number_of(item), item.order)


def _number_of(item: Item) -> tuple[Any, ...]:
    number = item.label.partition(" ")[2]
    return (tuple(int(part) if part.isdigit() else 0 for part in re.split(r"[.\-–]", number)), number)


def counted(items: Sequence[Item]) -> list[Item]:
    """Return the things that count: of a document that numbers them, those with a number.

    Args:
        items: Things of one kind.
    """
    numbering = {item.doc_id for item in items if item.in_numbering}
    return [item for item in items if item.in_numbering or item.doc_id not in numbering]


def pages_of(thing: Thing, rows: Sequence[Row]) -> list[Item]:
    """Return pages as things.

    Args:
        thing: Pages or slides.

    Returns:
        Distinct pages, by document and number.
    """
    items: dict[tuple[str, Any], Item] = {}
    for row in sorted(rows, key=_place):
        items.setdefault((str(row["doc_id"]), row.get("page")), replace(_item(thing, row), title=""))
    return list(items.values())


def sections_of(thing: Thing, rows: Sequence[Row]) -> list[Item]:
    """Return the sections of the highest level that has more than one, or all that start with a word of their kind.

    Returns:
        Sections by document, in reading order.
    """
    by_document: dict[str, list[Row]] = {}
    for row in sorted((row for row in rows if row.get("section")), key=_place):
        by_document.setdefault(str(row["doc_id"]), []).append(row)
    found = []
    for own in by_document.values():
        paths = [str(row["section"]).split(SECTION_SEPARATOR) for row in own]
        depth = next((d for d in range(max(map(len, paths))) if len({p[d] for p in paths if len(p) > d}) > 1), 0)
        first: dict[str, Row] = {}
        for row, path in zip(own, paths, strict=True):
            if len(path) > depth:
                first.setdefault(path[depth], row)
        found += [replace(_item(thing, row), title=heading) for heading, row in first.items()]
    return found


def innermost_sections_of(thing: Thing, rows: Sequence[Row]) -> list[Item]:
    """Return the sections in which nodes stand, each once."""
    first: dict[tuple[str, str], Row] = {}
    for row in sorted((row for row in rows if row.get("section")), key=_place):
        first.setdefault((str(row["doc_id"]), str(row["section"])), row)
    return [replace(_item(thing, row), title=last_heading(section)) for (_, section), row in first.items()]


def documents_of(thing: Thing, rows: Sequence[Row]) -> list[Item]:
    """Return documents as things.

    Returns:
        One per document, by name.
    """
    first: dict[str, Row] = {}
    for row in sorted(rows, key=_place):
        first.setdefault(str(row["doc_id"]), row)
    items = [replace(_item(thing, row), page=None, page_label="", section="") for row in first.values()]
    return [replace(item, title=str(first[item.doc_id].get("title") or "")) for item in items]


def _is_of(thing: Thing, row: Row) -> bool:
    kind = str(row.get("label") or "").partition(" ")[0].lower()
    if kind in thing.labels:
        return True
    if row.get("content_type") not in thing.content_types:
        return False
    # A picture of "Table 1" is a table; a chart with a figure's label is a figure and a chart.
    return not kind or kind not in _labels_of_others(thing)


def _labels_of_others(thing: Thing) -> frozenset[str]:
    others = word_lists().things.values()
    return frozenset(
        label for other in others if not set(other.content_types) & set(thing.content_types) for label in other.labels
    )


def _item(thing: Thing, row: Row) -> Item:
    label, caption = str(row.get("label") or ""), str(row.get("caption") or "")
    section = str(row.get("section") or "")
    page = row.get("page")
    return Item(
        thing=thing,
        node_id=str(row["node_id"]),
        doc_id=str(row["doc_id"]),
        file_name=str(row.get("file_name") or row.get("title") or row["doc_id"]),
        page=page if isinstance(page, int) and page > 0 else None,
        page_label=str(row.get("page_label") or ""),
        label=label,
        title=_without_label(caption, label),
        section=section,
        order=_place(row)[1:],
        words=frozenset(content_tokens(f"{label} {caption} {section}")),
        subtype=str(row.get("subtype") or ""),
        box=box_of(row.get("bbox")) or (),
    )


def _without_label(caption: str, label: str) -> str:
    """Return a caption without the label that it starts with."""
    number = label.partition(" ")[2]
    if not number:
        return " ".join(caption.split())
    match = re.match(rf"^\W{{0,3}}\w+\.?\s*{re.escape(number)}\s*[.:：|—–-]?\s*", caption)
    return " ".join((caption[match.end() :] if match else caption).split())


def _place(row: Row) -> tuple[Any, ...]:
    """Return where a node stands: file, page, top, left."""
    page, box = row.get("page"), box_of(row.get("bbox"))
    key = f"{row.get('file_name') or row.get('title') or ''}\0{row['doc_id']}"
    left, top = (box[0], box[1]) if box else (0, 0)
    return (key, page if isinstance(page, int) else 0, top, left, str(row.get("element_id") or row["node_id"]))
