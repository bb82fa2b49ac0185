"""Nodes as Milvus rows, and rows as nodes.

A row keeps the text readable in ``text`` and the rest of the node as JSON in ``_node_content``, so nothing is
stored twice. Where one of the two is over Milvus's limit, the whole goes into ``_overflow`` in pieces, and
``_node_content`` is the marker ``{}``. Metadata that filters can name is repeated in the dynamic field.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from llama_index.core.schema import BaseNode, ImageNode, IndexNode, Node, TextNode

from llama_index_raganything.errors import NodeValueError
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.stores.milvus.filters import COLUMNS, is_filterable, overflow_name, shadows
from llama_index_raganything.stores.nodes import schema
from llama_index_raganything.text.terms import content_tokens, tokenize


def keyword_terms(text: str, max_bytes: int | None = None) -> str:
    """Return the index terms of a text, separated by blanks.

    English words are stemmed, runs of Chinese, Japanese and Korean become overlapping pairs of characters.

    Args:
        max_bytes: Leave out the terms that do not fit into so many bytes.

    Returns:
        ASCII terms; empty when the text has no word.
    """
    terms = _join(tokenize(text))
    if max_bytes is None or len(terms) <= max_bytes:
        return terms
    return terms[: max_bytes + 1].rpartition(" ")[0]


def query_terms(question: str) -> str:
    """Return the terms to search for, separated by blanks.

    Words like "the" are left out: they say nothing and cost half of the time. A question of nothing else keeps them.

    Returns:
        ASCII terms; empty when the text has no word.
    """
    return _join(content_tokens(question) or tokenize(question))


def _join(tokens: Iterable[str]) -> str:
    terms = " ".join(tokens)
    if not terms.isascii():
        terms = " ".join([_ascii(token) for token in terms.split(" ")])
    # A decimal point splits words for some analysers and not for others; an underscore for none.
    return terms.replace(".", "_")


def _ascii(token: str) -> str:
    return token if token.isascii() else "u" + "_".join([f"{ord(character):x}" for character in token])


NO_PAGE: Final = -1

OUTPUT_FIELDS: Final = (schema.TEXT, schema.NODE)
"""The fields from which a node is built."""

_OVERFLOWED: Final = "{}"
_TENANT_MARK: Final = "|"

# Decision 1 of docs/architecture.md: subclasses come back as the class they extend.
_CLASSES: Final[Mapping[str, type[BaseNode]]] = {
    kind.class_name(): kind for kind in (TextNode, ImageNode, IndexNode, Node)
}


class RowCodec:
    """Turns nodes into rows and rows into nodes.

    Args:
        dim: Dimension of the dense vectors, or None when there are none.
        dense_field: Name of the dense vector field.
        keywords: Write the terms for BM25.
        tenant: The tenant all rows belong to, or None.
    """

    def __init__(self, dim: int | None, dense_field: str, *, keywords: bool, tenant: str | None) -> None:
        self.dim = dim
        self.dense_field = dense_field
        self.keywords = keywords
        self.tenant = tenant

    def key(self, node_id: str) -> str:
        """Return the primary key of a node id."""
        return node_id if self.tenant is None else f"{self.tenant}{_TENANT_MARK}{node_id}"

    def node_id(self, key: str) -> str:
        """Return the node id of a primary key."""
        return key if self.tenant is None else key[len(self.tenant) + len(_TENANT_MARK) :]

    def encode(self, node: BaseNode) -> dict[str, Any]:
        """Return the row of a node.

        Args:
            node: A node, with its embedding when the store keeps dense vectors.

        Returns:
            One row.

        Raises:
            NodeValueError: The node cannot be stored; the message says why and what to do.
        """
        row = self._identity(node)
        if self.tenant is not None:
            row[schema.TENANT] = self.tenant
        if self.dim is not None:
            row[self.dense_field] = check_vector(node.embedding, self.dim, f"Node {node.node_id!r}")
        text = storable(NodeView(node).text)
        row |= _content(node, text) | _metadata_fields(node)
        if self.keywords:
            row[schema.KEYWORDS] = keyword_terms(text, schema.MAX_VARCHAR_BYTES)
        return row

    def _identity(self, node: BaseNode) -> dict[str, Any]:
        doc_id = node.ref_doc_id or node.metadata.get("doc_id") or ""
        identity = {schema.ID: self.key(node.node_id), schema.DOC_ID: str(doc_id)}
        for name, value in identity.items():
            if name == schema.ID and not node.node_id:
                raise NodeValueError("A node has an empty id; give it one.")
            try:
                size = len(value.encode("utf-8"))
            except UnicodeEncodeError as error:
                message = f"The {name} {value!r} is not valid Unicode; remove its lone surrogates."
                raise NodeValueError(message) from error
            if size > schema.MAX_VARCHAR_BYTES:
                message = f"The {name} {value[:80]!r}... has {size} bytes, Milvus takes {schema.MAX_VARCHAR_BYTES}."
                raise NodeValueError(message)
        return identity

    def is_complete(self, entity: Mapping[str, Any]) -> bool:
        """Return whether a row's ``text`` and ``_node_content`` hold the whole node."""
        return bool(entity[schema.NODE] != _OVERFLOWED)

    def decode(self, entity: Mapping[str, Any], overflow: Sequence[str] | None = None) -> BaseNode:
        """Return the node of a row.

        Args:
            entity: The row's ``text`` and ``_node_content``, and its vector if it was asked for.
            overflow: The row's ``_overflow``, for a row that is not complete.

        Returns:
            The node.
        """
        if overflow:
            whole = json.loads("".join(overflow))
            return _build(whole["node"], whole["text"], entity.get(self.dense_field))
        return _build(json.loads(entity[schema.NODE]), entity[schema.TEXT], entity.get(self.dense_field))


def check_vector(vector: Any, dim: int, whose: str) -> list[float]:
    """Return a vector after checking what Milvus Lite would accept silently.

    Args:
        vector: Sequence of numbers.
        dim: Dimension it must have.
        whose: Begins the message.

    Returns:
        The vector as 32-bit values.

    Raises:
        NodeValueError: It is missing, of another dimension, or not finite.
    """
    if vector is None:
        message = f"{whose} has no embedding; embed it first."
        raise NodeValueError(message)
    try:
        with np.errstate(over="ignore"):  # What overflows 32 bits becomes infinite and is refused below.
            values = np.asarray(vector, dtype=np.float32)
    except (TypeError, ValueError) as error:
        message = f"{whose} has an embedding that is not a list of numbers."
        raise NodeValueError(message) from error
    if values.shape != (dim,):
        message = f"{whose} has an embedding of shape {values.shape}, the collection takes dimension {dim}."
        raise NodeValueError(message)
    if not np.isfinite(values).all():
        message = f"{whose} has an embedding with NaN or infinite values; embed it again."
        raise NodeValueError(message)
    return values.tolist()  # type: ignore[no-any-return]  # numpy types tolist() as Any.


def batches(rows: Sequence[dict[str, Any]], max_rows: int, max_bytes: int) -> Iterator[list[dict[str, Any]]]:
    """Split rows so that no request is over the limits.

    Args:
        max_rows: Rows per batch.
        max_bytes: Estimated bytes per batch; a server refuses messages over 64 MB.

    Yields:
        Batches of at least one row.
    """
    batch: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        weight = _weight(row)
        if batch and (len(batch) >= max_rows or size + weight > max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += weight
    if batch:
        yield batch


def _weight(value: Any) -> int:
    """Estimate bytes on the wire from above."""
    if isinstance(value, str):
        return len(value) if value.isascii() else 4 * len(value)
    if isinstance(value, Mapping):
        return sum(len(key) + _weight(item) + 8 for key, item in value.items())
    if isinstance(value, (list, tuple)):
        if value and isinstance(value[0], float):
            return 4 * len(value)
        return sum(_weight(item) + 8 for item in value)
    return 16


def storable(text: str) -> str:
    """Return text with lone surrogates replaced by question marks."""
    # Lone surrogates cannot be encoded as UTF-8, which gRPC demands.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _content(node: BaseNode, text: str) -> dict[str, Any]:
    content = node.model_dump(mode="json")
    for key in ("text", "embedding", "text_resource"):
        content.pop(key, None)
    packed = storable(json.dumps(content, ensure_ascii=False, separators=(",", ":")))
    if byte_length(text) <= schema.MAX_VARCHAR_BYTES and byte_length(packed) <= schema.MAX_VARCHAR_BYTES:
        return {schema.TEXT: text, schema.NODE: packed, schema.OVERFLOW: []}
    whole = json.dumps({"text": text, "node": json.loads(packed)}, ensure_ascii=False, separators=(",", ":"))
    pieces = pieces_of(whole, schema.MAX_VARCHAR_BYTES)
    if len(pieces) > schema.MAX_OVERFLOW_PIECES:
        limit = schema.MAX_OVERFLOW_PIECES * schema.MAX_VARCHAR_BYTES
        size = byte_length(whole)
        message = f"Node {node.node_id!r} has {size} bytes, the limit is {limit}; split it into chunks first."
        raise NodeValueError(message)
    beginning = pieces_of(text, schema.MAX_VARCHAR_BYTES)[0]
    return {schema.TEXT: beginning, schema.NODE: _OVERFLOWED, schema.OVERFLOW: pieces}


def _metadata_fields(node: BaseNode) -> dict[str, Any]:
    """Return the typed columns and the dynamic fields of a node's metadata."""
    metadata = json.loads(json.dumps(node.metadata, ensure_ascii=False, default=str))
    content_type, page = metadata.pop(schema.CONTENT_TYPE, None), metadata.pop(schema.PAGE, None)
    dynamic = {
        key: value
        for key, value in metadata.items()
        if is_filterable(key) and key not in COLUMNS and value is not None and value != []
    }
    row: dict[str, Any] = {schema.CONTENT_TYPE: "", schema.PAGE: NO_PAGE}
    if isinstance(content_type, str) and byte_length(content_type) <= schema.MAX_VARCHAR_BYTES:
        row[schema.CONTENT_TYPE] = content_type
    elif content_type is not None:
        dynamic[overflow_name(schema.CONTENT_TYPE)] = content_type
    if isinstance(page, int) and not isinstance(page, bool) and 0 <= page < 2**63:
        row[schema.PAGE] = page
    elif page is not None:
        dynamic[overflow_name(schema.PAGE)] = page
    doc_id = node.ref_doc_id or node.metadata.get("doc_id") or ""
    dynamic |= shadows({**dynamic, schema.DOC_ID: str(doc_id), schema.CONTENT_TYPE: row[schema.CONTENT_TYPE]})
    packed = json.dumps(dynamic, ensure_ascii=False)
    size = byte_length(packed)
    if size > schema.MAX_DYNAMIC_BYTES:
        largest = max(dynamic, key=lambda key: len(json.dumps(dynamic[key])))
        message = (
            f"Node {node.node_id!r} has {size} bytes of metadata, Milvus takes {schema.MAX_DYNAMIC_BYTES} "
            f"(the largest key is {largest!r}); move payloads into the text or a file."
        )
        raise NodeValueError(message)
    row.update(json.loads(storable(packed)))
    return row


def _build(content: dict[str, Any], text: str, vector: Any) -> BaseNode:
    kind = _CLASSES.get(content.pop("class_name", ""), TextNode)
    if kind is Node:
        content["text_resource"] = {"text": text}
    else:
        content["text"] = text
    node = kind(**content)
    if vector is not None:
        node.embedding = [float(value) for value in vector]
    return node


def byte_length(text: str) -> int:
    """Return how many bytes a text takes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def pieces_of(text: str, size: int) -> list[str]:
    """Cut text into pieces of at most so many bytes of UTF-8, never inside a character.

    Args:
        text: Valid Unicode.
        size: Bytes per piece.

    Returns:
        The pieces, at least one.
    """
    if text.isascii():
        return [text[start : start + size] for start in range(0, len(text), size)] or [""]
    raw = text.encode("utf-8")
    pieces: list[str] = []
    start = 0
    while start < len(raw):
        end = min(start + size, len(raw))
        while end < len(raw) and raw[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(raw[start:end].decode("utf-8"))
        start = end
    return pieces or [""]
