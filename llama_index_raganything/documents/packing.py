"""Elements into a ``Document`` and out of it again, and as readable text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

from llama_index.core.schema import Document, NodeRelationship, RelatedNodeInfo

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.documents.edits import RemovedWords, revised_elements
from llama_index_raganything.documents.markdown import Span, written_elements
from llama_index_raganything.elements import EXCLUDED_EMBED_KEYS, EXCLUDED_LLM_KEYS, Element, content_id
from llama_index_raganything.errors import ParseError
from llama_index_raganything.nodes import NodeView

SEPARATOR: Final = "\n\n"
"""Between two elements of readable text."""

_ELEMENT_KEY: Final = "element"
_WORD = re.compile(r"\S+")
_READ_KEYS: Final = ("title", "page_label")
"""Metadata that the reader takes from the content of a file."""


def document_id(source: str) -> str:
    """Return the id of the document read from a source.

    Args:
        source: Absolute path or URL.

    Returns:
        32 hex digits.
    """
    return content_id("document", source)


@strict_arguments
def elements_to_document(
    elements: Iterable[Element],
    *,
    source: str,
    metadata: dict[str, Any] | None = None,
    doc_id: str | None = None,
    title: str | None = None,
) -> Document:
    """Pack the elements of one file into one document.

    Args:
        elements: Elements in reading order; ``page`` elements may be anywhere.
        source: Path or URL of the file; the document id derives from it.
        metadata: Further metadata; wins over the keys set here.
        doc_id: Id of the document; by default derived from ``source``.
        title: Title of the document, when one is known.

    Returns:
        A document whose text is readable and whose elements :func:`document_elements` gives back.
    """
    kept = list(elements)
    identity = doc_id or document_id(source)
    own: dict[str, Any] = {"source": source, "file_name": PurePath(source).name or source}
    if title:
        own["title"] = title[:300]
    document = Document(
        id_=identity,
        text=elements_to_text(kept),
        metadata=own | dict(metadata or {}),
        excluded_embed_metadata_keys=list(EXCLUDED_EMBED_KEYS),
        excluded_llm_metadata_keys=list(EXCLUDED_LLM_KEYS),
    )
    document.relationships[NodeRelationship.CHILD] = packed(kept, identity)
    return document


def packed(elements: Iterable[Element], doc_id: str) -> list[RelatedNodeInfo]:
    """Return elements as the CHILD relations of a document.

    Args:
        elements: Elements in reading order.
    """
    return [
        RelatedNodeInfo(
            node_id=content_id(doc_id, index, element.fingerprint()),
            metadata={_ELEMENT_KEY: element.to_dict()},
        )
        for index, element in enumerate(elements)
    ]


@dataclass(frozen=True)
class Contents:
    """Text, elements and metadata of a document, in agreement with each other.

    Attributes:
        elements: The elements that agree with the text, in its order.
        spans: First character of each element in the text, and the one after its last; None for what the readable text
            leaves out, such as furniture.
        metadata: Metadata of the document. Where the text was edited, without a title that repeats what was taken out,
            and without ``content_hash``: the pages of the file no longer show this text.
    """

    text: str
    elements: list[Element]
    spans: list[Span | None]
    metadata: dict[str, Any]


def document_contents(document: Document) -> Contents:
    """Return the text of a document with the elements that agree with it.

    Raises:
        ParseError: The document holds elements of another schema.
    """
    text = NodeView(document).text
    elements = _packed_elements(document)
    parts = readable_parts(elements)
    readable = SEPARATOR.join(part for part in parts if part)
    if not elements:
        return Contents(text, [], [], document.metadata)
    if text == readable:
        return Contents(text, elements, _spans(parts), document.metadata)
    words = list(_WORD.finditer(text))
    if [word[0] for word in words] == readable.split():
        return Contents(text, elements, _spans_of_words(parts, words), document.metadata)
    removed = RemovedWords(readable, text)
    revised = revised_elements(elements, parts, text, removed)
    if elements_to_text(element for element, _ in revised).split() != text.split():
        # Whatever went wrong: elements made of the text alone say nothing else.
        revised = list(written_elements(text, 0, len(text), None))
    said = {key for key in _READ_KEYS if key in document.metadata and removed.are_in([str(document.metadata[key])])}
    metadata = {key: value for key, value in document.metadata.items() if key not in {"content_hash", *said}}
    return Contents(text, [element for element, _ in revised], [span for _, span in revised], metadata)


def _spans(parts: Sequence[str]) -> list[Span | None]:
    spans: list[Span | None] = []
    position = 0
    for part in parts:
        spans.append((position, position + len(part)) if part else None)
        position += len(part) + len(SEPARATOR) if part else 0
    return spans


def _spans_of_words(parts: Sequence[str], words: Sequence[re.Match[str]]) -> list[Span | None]:
    """Find parts in a text that has the same words with other white space."""
    spans: list[Span | None] = []
    position = 0
    for part in parts:
        count = len(part.split())
        last = position + count
        spans.append((words[position].start(), words[last - 1].end()) if count else None)
        position = last
    return spans


@strict_arguments
def document_elements(document: Document) -> list[Element]:
    """Return the elements packed into a document, or an empty list when it has none.

    Where the document's text was changed after reading, the text wins: an element that still agrees with it stays as
    it is; a changed one gets the new words and keeps its page, but neither box nor image; one that is gone from the
    text is left out; new text becomes elements of its own. What the text never showed (the page's own text layer,
    headers, cells) is left out where it repeats a word that was taken out.

    The document itself still carries the elements as they were read, as does a docstore that keeps it; crops stay in
    the assets folder. To remove them, pack the returned elements into a new document with
    :func:`elements_to_document`, and delete the files.

    Args:
        document: A document made by :func:`elements_to_document`, or any other document.

    Returns:
        The elements in reading order.

    Raises:
        ParseError: The document holds elements of another schema.
    """
    return document_contents(document).elements


def _packed_elements(document: Document) -> list[Element]:
    children = document.relationships.get(NodeRelationship.CHILD)
    if not isinstance(children, list):
        return []
    try:
        return [Element(**child.metadata[_ELEMENT_KEY]) for child in children if _ELEMENT_KEY in child.metadata]
    except (ValueError, TypeError) as error:
        source = str(document.metadata.get("source", document.id_))
        message = f"The elements inside {source!r} have another schema; read the file again. ({error})"
        raise ParseError(message, source) from error


@dataclass(frozen=True)
class Page:
    """A stretch of a document's text on one page.

    Attributes:
        number: The page; None where the document has none.
        start: First character of the stretch in the document's text.
        end: The character after its last.
    """

    number: int | None
    start: int
    end: int


def document_pages(contents: Contents) -> list[Page]:
    """Cut a document's text where the page changes.

    Returns:
        Stretches that together make the whole text, in order; one where the document has no pages.
    """
    starts: list[tuple[int | None, int]] = [(None, 0)]
    for element, span in zip(contents.elements, contents.spans, strict=True):
        if span is None or element.page is None or element.page == starts[-1][0]:
            continue
        if starts[-1][0] is None:
            # Text before the first known page belongs to it.
            starts[-1] = (element.page, starts[-1][1])
        else:
            starts.append((element.page, span[0]))
    ends = [*(start for _, start in starts[1:]), len(contents.text)]
    return [Page(number, start, end) for (number, start), end in zip(starts, ends, strict=True)]


def page_id(doc_id: str, page: int | None) -> str:
    """Return the id of the document that holds one page of another.

    Args:
        doc_id: Id of the whole document.
    """
    return content_id(doc_id, "page", page)


def page_documents(document: Document) -> list[Document]:
    """Cut a document into one per page, each with the elements of its page.

    Returns:
        Documents in the order of the pages, with ``page`` and ``page_label`` in their metadata and ids that derive
        from the document's id and the page; blank pages are left out. The document itself where it has no pages.
    """
    contents = document_contents(document)
    by_page = _by_page(contents.elements)
    pages = {page: elements for page, elements in by_page.items() if any(map(_has_content, elements))}
    if not pages:
        return [document]
    return [_page_document(document, contents, page, pages[page]) for page in sorted(pages)]


def _by_page(elements: Sequence[Element]) -> dict[int, list[Element]]:
    """Group elements by page; those without one stay with the one before them."""
    current = next((element.page for element in elements if element.page is not None), None)
    pages: dict[int, list[Element]] = {}
    for element in elements:
        current = current if element.page is None else element.page
        if current is not None:
            pages.setdefault(current, []).append(element)
    return pages


def _has_content(element: Element) -> bool:
    return element.type != "page" or bool(element.text.strip() or element.asset)


def _page_document(document: Document, contents: Contents, page: int, elements: list[Element]) -> Document:
    label = next((element.page_label for element in elements if element.page_label), None)
    made = elements_to_document(
        elements,
        source=str(contents.metadata.get("source") or document.id_),
        metadata=contents.metadata | {"page": page, "page_label": label or str(page)},
        doc_id=page_id(document.id_, page),
    )
    made.excluded_embed_metadata_keys = list(document.excluded_embed_metadata_keys)
    made.excluded_llm_metadata_keys = list(document.excluded_llm_metadata_keys)
    return made


def elements_to_text(elements: Iterable[Element]) -> str:
    """Render elements as readable text, page furniture left out.

    Args:
        elements: Elements in reading order.

    Returns:
        Markdown-like text. Page elements are used only where a page has no other element.
    """
    return SEPARATOR.join(part for part in readable_parts(list(elements)) if part)


def readable_parts(elements: Sequence[Element]) -> list[str]:
    """Render elements one by one.

    Args:
        elements: Elements in reading order.

    Returns:
        What each element adds to the readable text: nothing for furniture, for a page that other elements cover, and
        for an image without words.
    """
    covered = {element.page for element in elements if element.type not in {"page", "furniture"}}
    return [
        "" if element.type == "furniture" or (element.type == "page" and element.page in covered) else _render(element)
        for element in elements
    ]


def _render(element: Element) -> str:
    if element.type == "heading":
        return f"{'#' * min(element.level or 1, 6)} {element.text}".strip()
    if element.type == "equation" and element.text:
        return f"$$\n{element.text}\n$$"
    if element.type == "code":
        body = f"```{element.subtype or ''}\n{element.text}\n```" if element.text else ""
        return "\n".join(part for part in (element.caption, body) if part)
    # An image's alternative text is often its caption as well.
    return "\n".join(dict.fromkeys(part for part in (element.caption, element.text, element.footnote) if part))
