"""From elements to chunks, before LlamaIndex comes in. Pure functions of data."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from llama_index_raganything.elements import SECTION_SEPARATOR, Box, Element, content_id, is_atomic, labels_in
from llama_index_raganything.tables.pipe_tables import pipe_row, pipe_rule, split_rows, table_spans
from llama_index_raganything.text.sentences import sentences_of

MAX_TEXT_BYTES: Final = 65_535
"""Bytes of UTF-8 that Milvus stores in one text field at most."""

_HEADER_BYTES: Final = 4096
"""Maximum bytes of a table's header that the next piece of its page repeats."""

_NOTE_WORDS: Final = ("footnote", "note", "comment")
_CAPTION_CHARS: Final = 600
_HEADING_CHARS: Final = 120
_SECTION_CHARS: Final = 480
_MENTION_CHARS: Final = 400
_MENTIONS: Final = 2


DEFAULT_CHUNK_SIZE: Final = 256
"""Tokens of a text chunk."""

DEFAULT_CHUNK_OVERLAP: Final = 32
"""Tokens that two pieces of one long paragraph share."""

DEFAULT_TABLE_CHUNK_SIZE: Final = 512
"""Tokens of a part of a table or of code."""


@dataclass
class Chunk:
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
        subtype: The parser's finer name of an atomic element ("chart", a language of code).
        element_id: Identifies the content of the elements in it.
        asset: Path of the crop or media file relative to the asset folder.
    """

    content_type: str
    text: str
    page: int | None = None
    page_label: str | None = None
    bbox: Box | None = None
    section: str = ""
    caption: str = ""
    label: str | None = None
    subtype: str | None = None
    element_id: str = ""
    asset: str | None = None


@dataclass(frozen=True)
class ChunkOptions:
    """How text becomes chunks.

    Attributes:
        chunk_size: Tokens of a text chunk.
        table_chunk_size: Tokens of a part of a table or of code.
        count: Counts the tokens of a text.
        split: Splits a text that is over ``chunk_size``.
        page_nodes: Make one chunk per page.
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


class Chunker:
    """Turns the elements of one document into chunks, in reading order.

    Args:
        elements: Elements of one document; the ``page`` element of a page may be anywhere.
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
        self._chunks: list[Chunk] = []

    def build(self) -> list[Chunk]:
        """Return the chunks, each page before the chunks of its elements."""
        for element in self._elements:
            self._take(element)
        self._flush()
        if self._headings:
            self._emit_text(self._take_headings(), "")
        pages = page_chunks(self._elements) if self._options.page_nodes else []
        return _with_pages(self._chunks, pages)

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
            self._chunks.append(
                Chunk(
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
            # An equation says little without the words that introduce it.
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
                self._chunks.append(
                    Chunk(
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
        """Return an id that differs from that of an identical earlier element, so that their parts are not mixed."""
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


def page_chunks(elements: Sequence[Element]) -> list[Chunk]:
    """Make the chunks of whole pages.

    Returns:
        One chunk per page that has text or an image, several where it is over the byte limit. A page without
        a ``page`` element, as in a content list of MinerU, gets the joined text of its elements.
    """
    chunks: list[Chunk] = []
    by_page: dict[int, list[Element]] = {}
    for element in elements:
        if element.page is not None:
            by_page.setdefault(element.page, []).append(element)
    for page in sorted(by_page):
        chunks.extend(_page_chunk(page, by_page[page]))
    return chunks


def _page_chunk(page: int, elements: Sequence[Element]) -> Iterator[Chunk]:
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
        # A page of which only the image is known can still be found by what it shows.
        pieces = [f"Page {label or page}"]
    for piece in pieces:
        yield Chunk("page", piece, page=page, page_label=label, element_id=element_id, asset=asset)


def _page_part(element: Element) -> str:
    parts = (element.caption, element.text, element.footnote)
    return "\n".join(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _with_pages(chunks: list[Chunk], pages: list[Chunk]) -> list[Chunk]:
    """Put each page before the first chunk of that page; pages without any other chunk stay in page order."""
    waiting = list(pages)
    sections = {chunk.page: chunk.section for chunk in reversed(chunks)}
    ordered: list[Chunk] = []
    for chunk in chunks:
        while waiting and chunk.page is not None and (waiting[0].page or 0) <= chunk.page:
            ordered.append(waiting.pop(0))
        ordered.append(chunk)
    ordered.extend(waiting)
    for page in pages:
        page.section = sections.get(page.page, "")
    return ordered


def union_of(boxes: Iterable[Box | None]) -> Box | None:
    """Return the smallest box around some boxes, or None when there is none.

    Args:
        boxes: Boxes on one page; None for an unknown one.
    """
    known = [box for box in boxes if box is not None]
    if not known:
        return None
    x0, y0, x1, y1 = zip(*known, strict=True)
    return (min(x0), min(y0), max(x1), max(y1))


def _is_running_text(element: Element) -> bool:
    if element.type in {"text", "list"}:
        return True
    subtype = (element.subtype or "").lower()
    return element.type == "furniture" and any(word in subtype for word in _NOTE_WORDS)


def _starts_anew(last: Element, element: Element) -> bool:
    """Return whether an element is in another page or column than the one before."""
    if last.page != element.page:
        return True
    if last.bbox is None or element.bbox is None:
        return False
    upwards = element.bbox[1] < last.bbox[1]
    beside = element.bbox[0] >= last.bbox[2] or element.bbox[2] <= last.bbox[0]
    return upwards and beside


def _join(elements: Sequence[Element]) -> str:
    text = elements[0].text.strip()
    for last, element in pairwise(elements):
        text += ("\n" if last.type == element.type == "list" else "\n\n") + element.text.strip()
    return text


def _element_id(elements: Sequence[Element]) -> str:
    if len(elements) == 1:
        return elements[0].fingerprint()
    return content_id(*(element.fingerprint() for element in elements))[:16]


def _placeholder(element: Element, section: str) -> str:
    name = element.label or {"image": "Figure"}.get(element.type, element.type.capitalize())
    place = f" on page {element.page_label or element.page}" if element.page else ""
    return f"{name}{place}{f' in section {section}' if section else ''}"


def page_pieces(text: str) -> list[str]:
    """Cut the text of a page, such as a sheet of 5,000 rows, into pieces that fit a node.

    Returns:
        The pieces; one that begins inside a Markdown table repeats its header, without which cells say nothing.
    """
    if len(text.encode("utf-8", "replace")) <= MAX_TEXT_BYTES:
        return split_bytes(text)
    pieces = split_bytes(text, MAX_TEXT_BYTES - _HEADER_BYTES)
    header = ""
    for place, piece in enumerate(pieces):
        lines = piece.split("\n")
        headers = [start for start, _ in table_spans(lines)]
        if header and lines[0].startswith("|") and 0 not in headers:
            pieces[place] = f"{header}\n{piece}"
        if headers:
            header = "\n".join(lines[headers[-1] : headers[-1] + 2])
            header = header if len(header.encode("utf-8", "replace")) < _HEADER_BYTES else ""
    return pieces


def places_of(texts: Sequence[str], pieces: Sequence[str]) -> list[int | None]:
    """Find the piece of a page that holds each of its elements.

    Returns:
        Index of the piece that has most of each element's words, rare ones counting more; None where no piece has half
        of them, as for rows below the point where the page of a sheet is cut.
    """
    if len(pieces) == 1:
        return [0] * len(texts)
    own = [set(text.split()) for text in texts]
    known = [set(piece.split()) for piece in pieces]
    shared = Counter(word for words in own for word in words)
    found: list[int | None] = []
    for words in own:
        scores = [sum(1 / shared[word] for word in words & piece) for piece in known]
        best = max(scores)
        found.append(scores.index(best) if 2 * best >= sum(1 / shared[word] for word in words) else None)
    return found


def split_bytes(text: str, limit: int = MAX_TEXT_BYTES) -> list[str]:
    """Cut a text into pieces that fit a byte limit, at line ends or blanks where there are any.

    Args:
        limit: Bytes of UTF-8 per piece.

    Returns:
        The pieces; empty when the text is blank.
    """
    if not text.strip():
        return []
    if len(text) * 4 <= limit or len(text.encode("utf-8", "replace")) <= limit:
        return [text]
    pieces: list[str] = []
    rest = text
    while rest:
        head = rest.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")
        if len(head) < len(rest):
            cut = max(head.rfind("\n"), head.rfind(" ") if head.rfind("\n") < len(head) // 2 else -1)
            head = head[: cut + 1] if cut > len(head) // 2 else head
        pieces.append(head.strip())
        rest = rest[len(head) :]
    return [piece for piece in pieces if piece]


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


def table_texts(element: Element, budget: int, count: Callable[[str], int]) -> list[str]:
    """Render a table as one text, or as several when it is over the budget.

    Args:
        budget: Tokens per text.
        count: Counts the tokens of a text.

    Returns:
        Markdown tables, each with the header; the element's own text when it has no cells.
    """
    header, body = table_cells(element)
    if not header and not body:
        text = element.text.strip()
        return list(pack_lines(text.splitlines(), "", budget, count)) if text else []
    width = max(len(row) for row in [header, *body])
    head = f"{pipe_row(header, width)}\n{pipe_rule(width)}"
    rows = [pipe_row(row, width) for row in body]
    return list(pack_lines(rows, head, budget, count)) or [head]


def table_cells(element: Element) -> tuple[list[str], list[list[str]]]:
    """Return one header row and the body rows of a table element.

    Several header rows are joined column by column, because a Markdown table has one.

    Returns:
        Header cells (empty when the table has none) and body rows.
    """
    if not element.rows:
        return split_rows(element.text) or ([], [])
    rows = [[_clean(cell) for cell in row] for row in element.rows]
    count = min(max(0, element.header_rows), len(rows))
    width = max(len(row) for row in rows)
    header = [_join_header(row[column] for row in rows[:count] if column < len(row)) for column in range(width)]
    body = [row for row in rows[count:] if any(row)]
    return header, body


def pack_lines(lines: Iterable[str], head: str, budget: int, count: Callable[[str], int]) -> Iterator[str]:
    """Pack lines into texts up to a budget, each beginning with the same head.

    Args:
        lines: Lines in order.
        head: Text before the lines of every part; may be empty.
        budget: Tokens per text.
        count: Counts the tokens of a text.

    Yields:
        Texts; a single line over the budget is a text of its own.
    """
    head_size = count(head) if head else 0
    # A header wider than the budget must not cost one part per row.
    room = max(budget - head_size, budget // 2)
    part: list[str] = []
    used = 0
    for line in lines:
        size = count(line)
        if part and used + size > room:
            yield "\n".join([head, *part] if head else part)
            part, used = [], 0
        part.append(line)
        used += size
    if part:
        yield "\n".join([head, *part] if head else part)


def _join_header(cells: Iterable[str]) -> str:
    return " ".join(dict.fromkeys(cell for cell in cells if cell))


def _clean(cell: str) -> str:
    return " ".join(cell.split())
