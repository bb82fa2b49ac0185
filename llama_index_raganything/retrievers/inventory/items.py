"""What documents contain, worked out from the metadata and the text of their nodes. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

from llama_index_raganything.elements import SECTION_SEPARATOR, label_of
from llama_index_raganything.nodes import box_of, last_heading
from llama_index_raganything.questions.whole_document import ItemKind, word_lists
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
    """An item that a document contains: a table, an image, a page, a section.

    Attributes:
        kind: What kind of item.
        node_id: The node to show for it.
        doc_id: Its document.
        file_name: Name of the document's file, or its title, or its id.
        page: Its page, or None.
        page_label: Printed label of the page.
        label: Its label ("Table 3"), or an empty string.
        title: Its caption without the label, or its heading.
        section: Path of headings above it.
        order: Its place in its document.
        in_numbering: It is part of the document's own numbering.
        words: Tokens of caption, label and section, to match the words of a question.
        subtype: The parser's finer name ("chart").
        part_ids: Further nodes of the same item, where it is cut into parts.
        box: Its box in thousandths of the page; empty when unknown.
    """

    kind: ItemKind
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
"""A small image at the same place of this many pages belongs to the layout."""

_SMALL: Final = 50_000
"""Area of a box that covers a twentieth of the page, in millionths."""

Row = Mapping[str, Any]
PageText = tuple[Row, str]
"""Metadata of a page node, and its text."""


def content_types_of(kinds: Iterable[ItemKind]) -> list[str]:
    """Return the content types of the nodes that may be of some kinds; a labelled table may have become an image."""
    types = {name for kind in kinds for name in kind.content_types}
    return sorted(types | ({"image"} if "table" in types else set()))


def items_of(kind: ItemKind, rows: Sequence[Row], pages: Sequence[PageText]) -> list[Item]:
    """Return the items of one kind, parts of one element as one, in reading order.

    Args:
        pages: Pages whose captions and headings count too.

    Returns:
        Things of all documents, by document.
    """
    own = [row for row in rows if _is_of(kind, row)]
    by_document: dict[str, list[Item]] = {}
    for row in sorted(own, key=_place):
        by_document.setdefault(str(row["doc_id"]), []).append(_item(kind, row))
    texts: dict[str, list[PageText]] = {}
    for page in sorted(pages, key=lambda pair: _place(pair[0])):
        texts.setdefault(str(page[0]["doc_id"]), []).append(page)
    found = []
    for document in dict.fromkeys([*by_document, *texts]):
        found += _of_document(kind, by_document.get(document, []), texts.get(document, []))
    return found


def _of_document(kind: ItemKind, items: Sequence[Item], pages: Sequence[PageText]) -> list[Item]:
    """Join the elements of a document with the captions and headings on its pages."""
    unique: dict[tuple[Any, ...], Item] = {}
    for item in items:
        # The same element in parts, or a table that goes on under its own label.
        key = (item.label,) if item.label else (item.page, item.order)
        first = unique.get(key)
        unique[key] = item if first is None else replace(first, part_ids=(*first.part_ids, item.node_id))
    kept = _without_decoration(list(unique.values())) if "image" in kind.content_types else list(unique.values())
    known = {item.label for item in kept if item.label}
    rows = {str(row["node_id"]): row for row, _ in pages}
    kinds = kind.labels or kind.parts
    lines = best_lines([(row.get("page"), str(row["node_id"]), text) for row, text in pages], kinds) if kinds else {}
    added = []
    for label, (line, node_id) in lines.items():
        if label not in known:
            item = _item(kind, rows[node_id])
            words = item.words.union(content_tokens(line.title))
            added.append(replace(item, label=label, title=line.title, words=words))
    joined = sorted([*kept, *added], key=_by_number if kind.parts else _by_place)
    numbered = {item.label for item in joined if item.label}
    if not kind.labels or not numbered_in_order(numbered):
        return joined
    return [replace(item, in_numbering=bool(item.label)) for item in joined]


def _without_decoration(items: Sequence[Item]) -> list[Item]:
    """Leave out the images that a layout repeats: those without words of their own at one place of several pages.

    The first of them stays. Large images all stay: slides have their charts at one place too.
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
    # Without pages and boxes only numbers say what comes first.
    return (*item.order[:3], _number_of(item), item.order)


def _by_number(item: Item) -> tuple[Any, ...]:
    # A part found in the list of contents only would else come before those found in the text.
    return (_number_of(item), item.order)


def _number_of(item: Item) -> tuple[Any, ...]:
    number = item.label.partition(" ")[2]
    return (tuple(int(part) if part.isdigit() else 0 for part in re.split(r"[.\-–]", number)), number)


def counted(items: Sequence[Item]) -> list[Item]:
    """Return the items that count: of a document that numbers them, those with a number.

    Args:
        items: Items of one kind.
    """
    numbering = {item.doc_id for item in items if item.in_numbering}
    return [item for item in items if item.in_numbering or item.doc_id not in numbering]


def pages_of(kind: ItemKind, rows: Sequence[Row]) -> list[Item]:
    """Return pages as items.

    Args:
        kind: Pages or slides.

    Returns:
        Distinct pages, by document and number.
    """
    items: dict[tuple[str, Any], Item] = {}
    for row in sorted(rows, key=_place):
        items.setdefault((str(row["doc_id"]), row.get("page")), replace(_item(kind, row), title=""))
    return list(items.values())


def sections_of(kind: ItemKind, rows: Sequence[Row]) -> list[Item]:
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
        found += [replace(_item(kind, row), title=heading) for heading, row in first.items()]
    return found


def innermost_sections_of(kind: ItemKind, rows: Sequence[Row]) -> list[Item]:
    """Return the innermost sections of nodes, each once."""
    first: dict[tuple[str, str], Row] = {}
    for row in sorted((row for row in rows if row.get("section")), key=_place):
        first.setdefault((str(row["doc_id"]), str(row["section"])), row)
    return [replace(_item(kind, row), title=last_heading(section)) for (_, section), row in first.items()]


def documents_of(kind: ItemKind, rows: Sequence[Row]) -> list[Item]:
    """Return documents as items.

    Returns:
        One per document, by name.
    """
    first: dict[str, Row] = {}
    for row in sorted(rows, key=_place):
        first.setdefault(str(row["doc_id"]), row)
    items = [replace(_item(kind, row), page=None, page_label="", section="") for row in first.values()]
    return [replace(item, title=str(first[item.doc_id].get("title") or "")) for item in items]


def _is_of(kind: ItemKind, row: Row) -> bool:
    label_kind = str(row.get("label") or "").partition(" ")[0].lower()
    if label_kind in kind.labels:
        return True
    if row.get("content_type") not in kind.content_types:
        return False
    # An image labelled "Table 1" is a table; a chart labelled "Figure 1" is a figure and a chart.
    return not label_kind or label_kind not in _labels_of_others(kind)


def _labels_of_others(kind: ItemKind) -> frozenset[str]:
    others = word_lists().kinds.values()
    return frozenset(
        label for other in others if not set(other.content_types) & set(kind.content_types) for label in other.labels
    )


def _item(kind: ItemKind, row: Row) -> Item:
    label, caption = str(row.get("label") or ""), str(row.get("caption") or "")
    section = str(row.get("section") or "")
    page = row.get("page")
    return Item(
        kind=kind,
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
    """Return where a node is: file, page, top, left."""
    page, box = row.get("page"), box_of(row.get("bbox"))
    key = f"{row.get('file_name') or row.get('title') or ''}\0{row['doc_id']}"
    left, top = (box[0], box[1]) if box else (0, 0)
    return (key, page if isinstance(page, int) else 0, top, left, str(row.get("element_id") or row["node_id"]))


# -- captions ----------------------------------------------------------------------------------------------------------

_NUMBER: Final = r"(?:[A-Z]{1,2}[.\-–])?\d{1,4}(?:[.\-–]\d+)*[a-z]?|[IVXL]{1,6}|[A-Z]"
_LIST_LINE: Final = re.compile(r"(?:\.\s?){3,}|(?:…)+|\s\d{1,3}\s*$")
_TITLE: Final = re.compile(r"\s*(?:[.:：|—–-]\s*)?(?P<title>.*)$", re.DOTALL)
_CAPTION_TITLE_CHARS: Final = 120
_SPELLINGS: Final = {"figure": ("figure", "fig.", "fig"), "table": ("table", "tab."), "equation": ("equation", "eq.")}
_STATED, _LISTED = 2, 1


@dataclass(frozen=True, slots=True)
class CaptionLine:
    """A line that starts with a label.

    Attributes:
        label: The normalised label: "Table 3", "Appendix B".
        title: The rest of the line.
        weight: 2 where the item itself seems to be, 1 in a list of contents.
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
        found.append(CaptionLine(normalised(match["kind"], match["number"]), words[:_CAPTION_TITLE_CHARS], weight))
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
    """Return for every label the line that is most likely at the item itself.

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
    """Distinguish "Table 2 shows that", "Table 2)" and a sentence's end "Table 2." from a caption."""
    bare = rest.strip()
    if not bare:
        return False
    if bare[0] in ")],;）】，；、" or bare in {".", "。"}:
        return True
    return bare[0].islower()
