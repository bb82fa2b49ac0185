"""One ``Document`` per file: readable text outside, typed elements inside.

The text is plain Markdown-like prose, so a document works with every LlamaIndex splitter.
The elements travel as the document's CHILD relations: they survive JSON, docstores, caches
and pickling, and are not copied into nodes made by other parsers, as metadata would be.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from llama_index.core.schema import Document, NodeRelationship, RelatedNodeInfo
from pydantic import ValidationError

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.elements import (
    EXCLUDED_EMBED_KEYS,
    EXCLUDED_LLM_KEYS,
    Element,
    content_id,
)
from llama_index_raganything.errors import ParseError

_ELEMENT_KEY = "element"


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
        elements: Elements in reading order; ``page`` elements may stand anywhere.
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
    document.relationships[NodeRelationship.CHILD] = [
        RelatedNodeInfo(
            node_id=content_id(identity, index, element.fingerprint()),
            metadata={_ELEMENT_KEY: element.to_dict()},
        )
        for index, element in enumerate(kept)
    ]
    return document


@strict_arguments
def document_elements(document: Document) -> list[Element]:
    """Return the elements packed into a document, or an empty list when it has none.

    Args:
        document: A document made by :func:`elements_to_document`, or any other document.

    Returns:
        The elements in reading order.

    Raises:
        ParseError: The document holds elements of another schema.
    """
    children = document.relationships.get(NodeRelationship.CHILD)
    if not isinstance(children, list):
        return []
    try:
        return [Element(**child.metadata[_ELEMENT_KEY]) for child in children if _ELEMENT_KEY in child.metadata]
    except (ValidationError, TypeError) as error:
        source = str(document.metadata.get("source", document.id_))
        message = f"The elements inside {source!r} have another schema; read the file again. ({error})"
        raise ParseError(message, source) from error


def elements_to_text(elements: Iterable[Element]) -> str:
    """Render elements as readable text, page furniture left out.

    Args:
        elements: Elements in reading order.

    Returns:
        Markdown-like text. Page elements are used only where a page has no other element.
    """
    kept = list(elements)
    covered = {e.page for e in kept if e.type not in {"page", "furniture"}}
    parts = [
        _render(element)
        for element in kept
        if element.type != "furniture" and not (element.type == "page" and element.page in covered)
    ]
    return "\n\n".join(part for part in parts if part)


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
