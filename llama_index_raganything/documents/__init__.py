"""One ``Document`` per file: readable text outside, typed elements inside.

The text is plain Markdown-like prose, so a document works with every LlamaIndex splitter.
The elements travel as the document's CHILD relations: they survive JSON, docstores, caches
and pickling, and are not copied into nodes made by other parsers, as metadata would be.
Where somebody changed the text, the text wins over the elements.
"""

from __future__ import annotations

from llama_index_raganything.documents.packing import (
    Contents,
    document_contents,
    document_elements,
    document_id,
    elements_to_document,
    packed,
)
from llama_index_raganything.documents.pages import Page, document_pages, page_documents, page_id
from llama_index_raganything.documents.text import elements_to_text

__all__ = [
    "Contents",
    "Page",
    "document_contents",
    "document_elements",
    "document_id",
    "document_pages",
    "elements_to_document",
    "elements_to_text",
    "packed",
    "page_documents",
    "page_id",
]
