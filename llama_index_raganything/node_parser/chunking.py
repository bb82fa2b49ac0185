"""From elements to drafts of nodes: which text stands where, before LlamaIndex comes in. Pure functions of data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from llama_index_raganything.elements import Box, Element, content_id, is_atomic
from llama_index_raganything.node_parser.byte_limit import page_pieces, split_bytes
from llama_index_raganything.node_parser.sections import SectionPath, label_mentions
from llama_index_raganything.node_parser.table_chunks import pack_lines, table_texts
from llama_index_raganything.text.sentences import sentences_of

"""Bytes of UTF-8 that Milvus stores in one text field at most."""

_NOTE_WORDS: Final = ("footnote", "note", "comment")
_LINE_TYPES: Final = frozenset({"list"})
_CAPTION_CHARS: Final = 600


@dataclass
class Draft:
    """What one node will hold.

    Attributes:
        content_type: ``text``, ``image``, ``table``, ``equation``, ``code``, ``audio``, ``video``, ``page`` or
            a registered modality.
        text: Text of the node, never empty.
        page: 1-based page number, or None.
        page_label: Label printed on the page, or None.
        bbox: Union of the boxes of the elements in it, in thousandths of the page.
        section: Path of headings.
        caption: Caption of an atomic element.
        label: Normalised label of an atomic element.
        element_id: Identifies the content of the elements in it.
        asset: Path of the crop or media file relative to the asset folder.
        subtype: The parser's finer name of an atomic element ("chart", a language of code).
    """

    content_type: str
    text: str
    page: int | None = None
    page_label: str | None = None
    bbox: Box | None = None
    section: str = ""
    caption: str = ""
    label: str | None = None
    element_id: str = ""
    asset: str | None = None
    subtype: str | None = None


@dataclass(frozen=True)
class ChunkOptions:
    """How text becomes chunks.

    Attributes:
        chunk_size: Tokens of a text chunk.
        table_chunk_size: Tokens of a part of a table or of code.
        count: Counts the tokens of a text.
        split: Splits a text that is over ``chunk_size``.
        page_nodes: Make one draft per page.
    """

    chunk_size: int
    table_chunk_size: int
    count: Callable[[str], int]
    split: Callable[[str], list[str]]
    page_nodes: bool = True


@dataclass
class _Run:
    """Neighbouring text elements of one section on one page that become one chunk."""

    elements: list[Element] = field(default_factory=list)
    size: int = 0


class DraftBuilder:
    """Turns the elements of one document into drafts, in reading order.

    Args:
        elements: Elements of one document; the ``page`` element of a page may stand anywhere.
        options: How to chunk.
    """

    def __init__(self, elements: Sequence[Element], options: ChunkOptions) -> None:
        self._elements = elements
        self._options = options
        self._path = SectionPath()
        self._mentions = label_mentions(elements)
        self._page_labels = page_labels(elements)
        self._headings: list[Element] = []
        self._run = _Run()
        self._last_text = ""
        self._seen: Counter[str] = Counter()
        self._drafts: list[Draft] = []

    def build(self) -> list[Draft]:
        """Return the drafts, each page before the drafts of its elements."""
        for element in self._elements:
            self._take(element)
        self._flush()
        if self._headings:
            self._emit_text(self._take_headings(), "")
        pages = page_drafts(self._elements) if self._options.page_nodes else []
        return _with_pages(self._drafts, pages)

    def _take(self, element: Element) -> None:
        if element.type == "heading":
            self._flush()
            self._path.enter(element)
            self._last_text = ""
            if element.text.strip():
                self._headings.append(element)
        elif is_atomic(element.type):
            if element.type != "equation":
                self._flush()
            self._emit_atomic(element)
        elif _is_running_text(element):
            self._take_text(element)

    def _take_text(self, element: Element) -> None:
        if not element.text.strip():
            return
        size = self._options.count(element.text)
        run = self._run
        if run.elements and (run.size + size > self._options.chunk_size or _starts_anew(run.elements[-1], element)):
            self._flush()
            run = self._run
        run.elements.append(element)
        run.size += size
        self._last_text = element.text

    def _flush(self) -> None:
        run, self._run = self._run, _Run()
        if not run.elements:
            return
        headings = self._take_headings()
        if run.size <= self._options.chunk_size:
            self._emit_text([*headings, *run.elements], "")
            return
        # Only an element that is over the budget by itself makes a run that is.
        for number, piece in enumerate(self._options.split(run.elements[0].text)):
            head = headings if number == 0 else []
            self._emit_text([*head, *run.elements], "\n\n".join([*(h.text.strip() for h in head), piece]))

    def _take_headings(self) -> list[Element]:
        headings, self._headings = self._headings, []
        return headings

    def _emit_text(self, elements: Sequence[Element], text: str) -> None:
        text = text or _join(elements)
        body = [element for element in elements if element.type != "heading"] or list(elements)
        place = body[0]
        boxes = [element.bbox for element in elements if element.page == place.page]
        for piece in split_bytes(text):
            self._drafts.append(
                Draft(
                    content_type="text",
                    text=piece,
                    page=place.page,
                    page_label=place.page_label or self._page_labels.get(place.page),
                    bbox=union_of(boxes),
                    section=str(self._path),
                    element_id=_element_id(elements),
                )
            )

    def _emit_atomic(self, element: Element) -> None:
        mentions = self._mentions.get(element.label, []) if element.label else []
        if not mentions and element.type == "equation":
            # A formula says little without the words that introduce it.
            mentions = sentences_of(self._last_text)[-1:]
        heads = [heading.text.strip() for heading in self._take_headings()] if not self._run.elements else []
        section = str(self._path)
        # Once: it reads the whole table, which may have thousands of parts.
        element_id = self._own_id(element)
        for body in self._bodies(element):
            parts = [*heads, element.caption, body, element.footnote, *mentions]
            # An image's alternative text is often its caption as well.
            text = "\n\n".join(dict.fromkeys(part.strip() for part in parts if part.strip()))
            for piece in split_bytes(text or _placeholder(element, section)):
                self._drafts.append(
                    Draft(
                        content_type=element.type,
                        text=piece,
                        page=element.page,
                        page_label=element.page_label or self._page_labels.get(element.page),
                        bbox=element.bbox,
                        section=section,
                        caption=" ".join(element.caption.split())[:_CAPTION_CHARS],
                        label=element.label,
                        element_id=element_id,
                        asset=element.asset,
                        subtype=element.subtype,
                    )
                )

    def _own_id(self, element: Element) -> str:
        """Tell an element from an earlier one just like it, whose parts would be taken for parts of this one."""
        fingerprint = element.fingerprint()
        self._seen[fingerprint] += 1
        number = self._seen[fingerprint]
        return fingerprint if number == 1 else content_id(fingerprint, number)[:16]

    def _bodies(self, element: Element) -> list[str]:
        options = self._options
        if element.type == "table":
            return table_texts(element, options.table_chunk_size, options.count) or [""]
        text = element.text.strip()
        if element.type == "equation" and text:
            return [f"$$\n{text}\n$$" if "$" not in text else text]
        if element.type == "code" and text:
            parts = pack_lines(element.text.strip("\n").splitlines(), "", options.table_chunk_size, options.count)
            return [f"```{element.subtype or ''}\n{part}\n```" for part in parts]
        if options.count(text) > options.table_chunk_size:
            return options.split(text) or [""]
        return [text]


def page_labels(elements: Sequence[Element]) -> dict[int | None, str]:
    """Return the printed label of each page, which parsers may state on its ``page`` element alone.

    Returns:
        Labels by page number, for pages that have one.
    """
    labels: dict[int | None, str] = {}
    for element in elements:
        if element.page is not None and element.page_label:
            labels.setdefault(element.page, element.page_label)
    return labels


def page_drafts(elements: Sequence[Element]) -> list[Draft]:
    """Make the drafts of whole pages.

    Returns:
        One draft per page that has text or a picture, several where it is over the byte limit. A page without
        a ``page`` element, as in a content list of MinerU, gets the joined text of its elements.
    """
    drafts: list[Draft] = []
    by_page: dict[int, list[Element]] = {}
    for element in elements:
        if element.page is not None:
            by_page.setdefault(element.page, []).append(element)
    for page in sorted(by_page):
        drafts.extend(_page_draft(page, by_page[page]))
    return drafts


def _page_draft(page: int, elements: Sequence[Element]) -> Iterator[Draft]:
    own = [element for element in elements if element.type == "page"]
    label = page_labels(elements).get(page)
    if own:
        text = "\n\n".join(element.text.strip() for element in own if element.text.strip())
    elif len(elements) > 1:
        text = "\n\n".join(filter(None, (_page_part(element) for element in elements)))
    else:
        # One element alone is its page; a second node with the same words would only repeat it.
        text = ""
    asset = next((element.asset for element in own if element.asset), None)
    element_id = _element_id(own) if own else content_id(text)[:16]
    pieces = page_pieces(text)
    if asset and not pieces:
        # A page of which only the picture is known can still be found by what it shows.
        pieces = [f"Page {label or page}"]
    for piece in pieces:
        yield Draft("page", piece, page=page, page_label=label, element_id=element_id, asset=asset)


def _page_part(element: Element) -> str:
    parts = (element.caption, element.text, element.footnote)
    return "\n".join(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _with_pages(drafts: list[Draft], pages: list[Draft]) -> list[Draft]:
    """Put each page before the first draft of that page; pages without any other draft stay in page order."""
    waiting = list(pages)
    sections = {draft.page: draft.section for draft in reversed(drafts)}
    ordered: list[Draft] = []
    for draft in drafts:
        while waiting and draft.page is not None and (waiting[0].page or 0) <= draft.page:
            ordered.append(waiting.pop(0))
        ordered.append(draft)
    ordered.extend(waiting)
    for page in pages:
        page.section = sections.get(page.page, "")
    return ordered


def union_of(boxes: Iterable[Box | None]) -> Box | None:
    """Return the smallest box around some boxes, or None when there is none.

    Args:
        boxes: Boxes on one page; None stands for an unknown box.
    """
    known = [box for box in boxes if box is not None]
    if not known:
        return None
    return (
        min(box[0] for box in known),
        min(box[1] for box in known),
        max(box[2] for box in known),
        max(box[3] for box in known),
    )


def _is_running_text(element: Element) -> bool:
    if element.type in {"text", "list"}:
        return True
    subtype = (element.subtype or "").lower()
    return element.type == "furniture" and any(word in subtype for word in _NOTE_WORDS)


def _starts_anew(last: Element, element: Element) -> bool:
    """Tell whether an element must not share a chunk with the one before: another page or column."""
    if last.page != element.page:
        return True
    if last.bbox is None or element.bbox is None:
        return False
    upwards = element.bbox[1] < last.bbox[1]
    beside = element.bbox[0] >= last.bbox[2] or element.bbox[2] <= last.bbox[0]
    return upwards and beside


def _join(elements: Sequence[Element]) -> str:
    parts: list[str] = []
    for number, element in enumerate(elements):
        if number:
            both_lines = element.type in _LINE_TYPES and elements[number - 1].type in _LINE_TYPES
            parts.append("\n" if both_lines else "\n\n")
        parts.append(element.text.strip())
    return "".join(parts)


def _element_id(elements: Sequence[Element]) -> str:
    if len(elements) == 1:
        return elements[0].fingerprint()
    return content_id(*(element.fingerprint() for element in elements))[:16]


def _placeholder(element: Element, section: str) -> str:
    name = element.label or {"image": "Figure"}.get(element.type, element.type.capitalize())
    place = f" on page {element.page_label or element.page}" if element.page else ""
    return f"{name}{place}{f' in section {section}' if section else ''}"
