"""Documents page by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llama_index.core.schema import Document

from llama_index_raganything.documents.packing import Contents, document_contents, elements_to_document
from llama_index_raganything.elements import Element, content_id


@dataclass(frozen=True)
class Page:
    """A stretch of a document's text that stands on one page.

    Attributes:
        number: The page; None where the document has none.
        start: First character of the stretch in the document's text.
        end: Behind its last character.
    """

    number: int | None
    start: int
    end: int


def document_pages(contents: Contents) -> list[Page]:
    """Cut a document's text where the page changes.

    Args:
        contents: What the document says.

    Returns:
        Stretches that together hold the whole text, in its order; one where the document has no pages.
    """
    starts: list[tuple[int | None, int]] = [(None, 0)]
    for element, span in zip(contents.elements, contents.spans, strict=True):
        if span is None or element.page is None or element.page == starts[-1][0]:
            continue
        if starts[-1][0] is None:
            # What stands before the first page that is known belongs to it.
            starts[-1] = (element.page, starts[-1][1])
        else:
            starts.append((element.page, span[0]))
    ends = [*(start for _, start in starts[1:]), len(contents.text)]
    return [Page(number, start, end) for (number, start), end in zip(starts, ends, strict=True)]


def page_id(doc_id: str, page: int | None) -> str:
    """Return the id of the document that holds one page of another.

    Args:
        doc_id: Id of the whole document.
        page: Number of the page.
    """
    return content_id(doc_id, "page", page)


def page_documents(document: Document) -> list[Document]:
    """Cut a document into one per page, each with the elements of its page.

    Args:
        document: A document with elements.

    Returns:
        Documents in the order of the pages, with ``page`` and ``page_label`` in their metadata and ids that derive
        from the document's id and the page; blank pages are left out. The document itself where it has no pages.
    """
    contents = document_contents(document)
    by_page = _by_page(contents.elements)
    pages = {page: elements for page, elements in by_page.items() if any(map(_says_something, elements))}
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


def _says_something(element: Element) -> bool:
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
