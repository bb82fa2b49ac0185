"""Elements into a ``Document``, and out of it again as its text allows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from llama_index.core.schema import Document, MetadataMode, NodeRelationship, RelatedNodeInfo
from pydantic import ValidationError

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.documents.edits import Span, agree
from llama_index_raganything.documents.text import elements_to_text
from llama_index_raganything.elements import EXCLUDED_EMBED_KEYS, EXCLUDED_LLM_KEYS, Element, content_id
from llama_index_raganything.errors import ParseError

_ELEMENT_KEY = "element"
_READ_KEYS = ("title", "page_label")
"""Metadata that the reader takes from what a file says; names of files and the caller's own keys are not."""


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
    document.relationships[NodeRelationship.CHILD] = packed(kept, identity)
    return document


def packed(elements: Iterable[Element], doc_id: str) -> list[RelatedNodeInfo]:
    """Return elements as the CHILD relations of a document.

    Args:
        elements: Elements in reading order.
        doc_id: Id of the document.
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
    """What a document says, as its text has it.

    Attributes:
        text: Its text.
        elements: The elements that agree with the text, in its order.
        spans: Where each of them stands in the text; None for what the readable text leaves out, as furniture.
        metadata: Its metadata. Where the text was changed, without a title that repeats what was taken out of it, and
            without the ``content_hash`` of the file, which says something else: no page of it is to be shown for it.
    """

    text: str
    elements: list[Element]
    spans: list[Span]
    metadata: dict[str, Any]


def document_contents(document: Document) -> Contents:
    """Return what a document says, as its text has it.

    Args:
        document: Any document.

    Returns:
        Its elements; none where it was not made of any.

    Raises:
        ParseError: The document holds elements of another schema.
    """
    text = document.get_content(metadata_mode=MetadataMode.NONE)
    packed = _packed_elements(document)
    if not packed:
        return Contents(text, [], [], document.metadata)
    agreed = agree(packed, text)
    metadata = document.metadata
    if agreed.taken is not None:
        said = {key for key in _READ_KEYS if key in metadata and agreed.taken.stand_in([str(metadata[key])])}
        metadata = {key: value for key, value in metadata.items() if key != "content_hash" and key not in said}
    return Contents(text, agreed.elements, agreed.spans, metadata)


@strict_arguments
def document_elements(document: Document) -> list[Element]:
    """Return the elements packed into a document, or an empty list when it has none.

    Where the document's text was changed after reading, the text wins: an element that still agrees with it stays as
    it is; a changed one has the new words and keeps its page, but neither its box nor its picture; one that is gone
    from the text is left out; what is new is an element of its own. What the text never showed (the page's own text
    layer, headers, cells) goes where it says a word that was taken out.

    The document itself still carries the elements as they were read, and so does a docstore that keeps it; crops in
    the assets folder stay there too. To let go of them, pack what this returns into a new document with
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
    except (ValidationError, TypeError) as error:
        source = str(document.metadata.get("source", document.id_))
        message = f"The elements inside {source!r} have another schema; read the file again. ({error})"
        raise ParseError(message, source) from error
