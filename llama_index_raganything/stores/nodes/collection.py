"""The Milvus collection that holds nodes: its fields, nodes as rows and rows as nodes, and what is done with them.

========================  =============  ====================================================================
field                     type           holds
========================  =============  ====================================================================
``id``                    VARCHAR, key   node id, behind ``tenant|`` where there are tenants
``doc_id``                VARCHAR        id of the document the node comes from, "" when none
``content_type``          VARCHAR        "text", "table", "image" ..., "" when none
``page``                  INT64          1-based page, -1 when none
``text``                  VARCHAR        the node's text, or its first 65,535 bytes
``embedding``             FLOAT_VECTOR   dense vector (only when dense search is on)
``_keywords``             VARCHAR        the text's terms; input of BM25 (only when keyword search is on)
``sparse_embedding``      SPARSE         BM25 vector that Milvus derives (only when keyword search is on)
``_node_content``         VARCHAR        the node as JSON without text and vector
``_overflow``             ARRAY          pieces of texts or nodes that are too long for one VARCHAR
``tenant``                VARCHAR        partition key (only in collections made for tenants)
========================  =============  ====================================================================

A row keeps the text readable in ``text`` and the rest of the node as JSON in ``_node_content``, so nothing is
stored twice. Where one of the two is over Milvus's limit, the whole goes into ``_overflow`` in pieces, and
``_node_content`` is the marker ``{}``. Metadata is repeated in the dynamic field, for filters only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from llama_index.core.schema import BaseNode, ImageNode, IndexNode, Node, TextNode
from llama_index.core.vector_stores.types import MetadataFilters

from llama_index_raganything._imports import guarded_import
from llama_index_raganything.errors import NodeValueError, SchemaMismatchError
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.stores.milvus import connection as milvus
from llama_index_raganything.stores.milvus import filter_expressions as expressions
from llama_index_raganything.text.terms import keyword_terms

with guarded_import():
    from pymilvus import DataType, Function, FunctionType, MilvusClient

MAX_DYNAMIC_BYTES: Final = 65_536
"""What servers take per row in the dynamic field, in bytes of JSON; Milvus Lite takes more."""

ID: Final = "id"
DOC_ID: Final = "doc_id"
CONTENT_TYPE: Final = "content_type"
PAGE: Final = "page"
TEXT: Final = "text"
KEYWORDS: Final = "_keywords"
NODE: Final = "_node_content"
OVERFLOW: Final = "_overflow"
TENANT: Final = "tenant"

NO_PAGE: Final = -1

OUTPUT_FIELDS: Final = (TEXT, NODE)
"""The fields from which a node is built."""

_OVERFLOWED: Final = "{}"
_TENANT_MARK: Final = "|"

# Decision 1 of docs/architecture.md: subclasses come back as the class they extend.
_CLASSES: Final[Mapping[str, type[BaseNode]]] = {
    kind.class_name(): kind for kind in (TextNode, ImageNode, IndexNode, Node)
}


@dataclass(kw_only=True, eq=False)
class NodeCollection:
    """A collection of nodes, or one tenant's part of it.

    Attributes:
        connection: An open connection.
        name: Name of the collection.
        dense_field: Name of the dense vector field, or None without dense vectors.
        sparse_field: Name of the sparse vector field, or None without keywords.
        tenant: Whose rows these are; None in collections without tenants.
        indexes: For each vector field its index settings.
        consistency: Consistency level of a collection that is made.
        exists: Whether it is there.
        dim: Dimension of the stored dense vectors, once known.
    """

    connection: milvus.Connection
    name: str
    dense_field: str | None
    sparse_field: str | None
    tenant: str | None
    indexes: Mapping[str, Mapping[str, Any]]
    consistency: str
    exists: bool = field(default=False, init=False)
    dim: int | None = field(default=None, init=False)

    @property
    def codec(self) -> RowCodec:
        """What turns nodes into this collection's rows and back."""
        dim = self.dim if self.dense_field is not None else None
        return RowCodec(dim, self.dense_field or "", keywords=self.sparse_field is not None, tenant=self.tenant)

    def open(self, dim: int | None, *, overwrite: bool) -> None:
        """Find the collection, check and load it, or make it when its dimension is known.

        Args:
            dim: Dimension asked for, or None to take the stored one. A collection of another one is made anew while
                it is empty and has no tenants.
            overwrite: Delete what is there (of this tenant).

        Raises:
            SchemaMismatchError: What is stored is of another kind.
        """
        with self.connection.writing(self.name):
            client = self.connection.client
            if overwrite and self.tenant is None and client.has_collection(self.name):
                client.drop_collection(self.name)
            if dim is not None and client.has_collection(self.name) and self._is_empty_of_another_dimension(dim):
                # Made when the knowledge base was opened before its model was chosen; it holds nothing.
                client.drop_collection(self.name)
            if client.has_collection(self.name):
                self._adopt(dim)
            elif dim is not None or self.dense_field is None:
                self.make(dim)
            if overwrite:
                self.delete("")

    def make(self, dim: int | None) -> None:
        """Create the collection, unless another store has done so in the meantime."""
        with self.connection.writing(self.name):
            if not self.connection.client.has_collection(self.name):
                self._create(dim)
            self._adopt(dim)

    def make_for(self, node: BaseNode) -> None:
        """Create the collection for the first node, whose embedding gives the dimension.

        Raises:
            NodeValueError: It has no embedding.
        """
        if self.dense_field is not None and not node.embedding:
            message = f"Node {node.node_id!r} has no embedding; embed it first."
            raise NodeValueError(message)
        self.make(len(node.embedding or ()) if self.dense_field is not None else None)

    def flush(self) -> None:
        """Seal what was written."""
        if self.exists:
            self.connection.flush(self.name)

    def delete(self, expression: str) -> None:
        """Delete rows.

        Args:
            expression: Which rows of this tenant; all when empty.
        """
        if self.exists:
            self.connection.delete(self.name, self.scoped(expression) or expressions.EVERYTHING)

    def clear(self) -> None:
        """Delete everything of this tenant; without tenants make the collection anew, which is faster."""
        if not self.exists:
            return
        if self.tenant is not None:
            self.delete("")
            return
        with self.connection.writing(self.name):
            self.connection.client.drop_collection(self.name)
            self.exists = False
            self.make(self.dim)

    def rows(self, expression: str, fields: Sequence[str], limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield rows of this tenant.

        Args:
            expression: Which rows; all when empty.
            limit: Maximum number of rows.

        Yields:
            Rows.
        """
        if self.exists:
            yield from self.connection.rows(self.name, self.scoped(expression), fields, limit)

    def nodes(self, expression: str, limit: int | None, *, vectors: bool) -> list[BaseNode]:
        """Return nodes.

        Args:
            expression: Which rows; all when empty.
            limit: Maximum number of nodes.
            vectors: Read the dense vectors too.

        Returns:
            The nodes.
        """
        more = [self.dense_field] if vectors and self.dense_field is not None else []
        return self.decoded([(row[ID], row) for row in self.rows(expression, [ID, TEXT, NODE, *more], limit)])

    def decoded(self, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> list[BaseNode]:
        """Return nodes; those that do not fit into their columns are read whole.

        Args:
            rows: Primary keys, and columns.
        """
        codec = self.codec
        overflowed = [key for key, columns in rows if columns[NODE] == _OVERFLOWED]
        found = self.rows(expressions.any_of(ID, overflowed), [ID, OVERFLOW]) if overflowed else ()
        pieces = {row[ID]: list(row[OVERFLOW]) for row in found}
        return [codec.decode(columns, pieces.get(key)) for key, columns in rows]

    def metadata(self, expression: str, keys: Sequence[str]) -> list[dict[str, Any]]:
        """Return some of the metadata of nodes, read from the columns and the dynamic field that filters use.

        Args:
            expression: Which rows; all when empty.
            keys: Metadata keys; those that no filter can name are left out.

        Returns:
            Dictionaries with ``node_id`` and the keys that have a value.
        """
        columns = {key: expressions.COLUMNS.get(key, key) for key in keys if expressions.is_filterable(key)}
        found = []
        for entity in self.rows(expression, [ID, *dict.fromkeys(columns.values())]):
            values: dict[str, Any] = {"node_id": self.codec.node_id(entity[ID])}
            for key, column in columns.items():
                value = entity.get(column)
                if value is not None and value != "" and not (column == PAGE and value == NO_PAGE):
                    values[key] = value
            found.append(values)
        return found

    def count(self, expression: str) -> int:
        """Return the number of rows of this tenant.

        Args:
            expression: Which rows; all when empty.

        Returns:
            The number.
        """
        return self.connection.count(self.name, self.scoped(expression)) if self.exists else 0

    def expression(
        self,
        filters: MetadataFilters | None = None,
        node_ids: Sequence[str] | None = None,
        doc_ids: Sequence[str] | None = None,
        extra: str = "",
    ) -> str:
        """Return the expression of everything a caller asks for, without the tenant.

        Args:
            node_ids: Only these nodes; none of them when empty.
            doc_ids: Only nodes of these documents; none when empty.
            extra: An expression of the caller's own.

        Returns:
            The expression; empty when there is no restriction.

        Raises:
            FilterError: A filter cannot be expressed safely.
        """
        codec = self.codec
        parts = [expressions.compile_filters(filters, codec.key), expressions.check_expression(extra)]
        if node_ids is not None:
            parts.append(expressions.any_of(ID, [codec.key(node_id) for node_id in node_ids]))
        if doc_ids is not None:
            parts.append(expressions.any_of(DOC_ID, doc_ids))
        return expressions.all_of(*parts)

    def scoped(self, expression: str) -> str:
        """Return an expression that holds for this tenant's rows only.

        Args:
            expression: Which of them; all when empty.

        Returns:
            The expression.
        """
        if self.tenant is None:
            return expression
        return expressions.all_of(expressions.any_of(TENANT, [self.tenant]), expression)

    def _adopt(self, dim: int | None) -> None:
        """Check a stored collection and load it, which the official store forgets."""
        client = self.connection.client
        description = client.describe_collection(self.name)
        stored = self._stored_dimension(description)
        self._check(description, dim or stored)
        client.load_collection(self.name)
        self.dim, self.exists = stored, True

    def _is_empty_of_another_dimension(self, dim: int) -> bool:
        """Return whether a stored collection is one of these in all but its dimension, and holds no row."""
        client = self.connection.client
        description = client.describe_collection(self.name)
        stored = self._stored_dimension(description)
        if stored is None or stored == dim or self.tenant is not None:
            return False
        self._check(description, stored)
        client.load_collection(self.name)
        rows = client.query(self.name, filter="", output_fields=["count(*)"], consistency_level="Strong")
        return int(rows[0]["count(*)"]) == 0

    def _create(self, dim: int | None) -> None:
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True)
        schema.add_field(ID, DataType.VARCHAR, max_length=milvus.MAX_VARCHAR_BYTES, is_primary=True)
        if self.tenant is not None:
            schema.add_field(TENANT, DataType.VARCHAR, max_length=milvus.MAX_VARCHAR_BYTES, is_partition_key=True)
        for column in (DOC_ID, CONTENT_TYPE, TEXT, NODE):
            schema.add_field(column, DataType.VARCHAR, max_length=milvus.MAX_VARCHAR_BYTES)
        schema.add_field(PAGE, DataType.INT64)
        milvus.add_pieces_field(schema, OVERFLOW)
        if dim is not None and self.dense_field is not None:
            schema.add_field(self.dense_field, DataType.FLOAT_VECTOR, dim=dim)
        if self.sparse_field is not None:
            schema.add_field(KEYWORDS, DataType.VARCHAR, max_length=milvus.MAX_VARCHAR_BYTES, enable_analyzer=True)
            schema.add_field(self.sparse_field, DataType.SPARSE_FLOAT_VECTOR)
            schema.add_function(
                Function(
                    name="bm25",
                    function_type=FunctionType.BM25,
                    input_field_names=[KEYWORDS],
                    output_field_names=[self.sparse_field],
                )
            )
        params = MilvusClient.prepare_index_params()
        for column, settings in self.indexes.items():
            params.add_index(field_name=column, index_name=column, **settings)
        self.connection.create(self.name, schema, params, consistency=self.consistency)

    def _check(self, description: Mapping[str, Any], dim: int | None) -> None:
        """Refuse a stored collection that is no collection of nodes, or one of other tenants or vectors."""
        fields = {each["name"] for each in description["fields"]}
        needed = {ID, DOC_ID, CONTENT_TYPE, TEXT, NODE, PAGE, OVERFLOW}
        if self.sparse_field is not None:
            needed |= {KEYWORDS, self.sparse_field}
        missing = sorted(needed - fields)
        if missing:
            message = (
                f"Collection {self.name!r} lacks the fields {', '.join(missing)}: it was made by another program or "
                "with other options. Use another collection, or overwrite=True to replace it."
            )
            raise SchemaMismatchError(message)
        if (TENANT in fields) != (self.tenant is not None):
            message = (
                f"Collection {self.name!r} is divided by tenant; open it with tenant=..."
                if TENANT in fields
                else f"Collection {self.name!r} was made without tenants; open it without one, or use another name."
            )
            raise SchemaMismatchError(message)
        stored = self._stored_dimension(description)
        if self.dense_field is not None and stored != dim:
            message = (
                f"Collection {self.name!r} holds vectors of dimension {stored or 'none'}, but {dim or 'none'} was "
                "asked for. Use the embedding model it was made with (--embed-model on the command line), another "
                "collection (--collection), or overwrite=True."
            )
            raise SchemaMismatchError(message)

    def _stored_dimension(self, description: Mapping[str, Any]) -> int | None:
        """Return the dimension of the stored dense vectors; None where there are none."""
        for each in description["fields"]:
            if each["name"] == self.dense_field:
                return int(each.get("params", {}).get("dim", 0)) or None
        return None


@dataclass(frozen=True)
class RowCodec:
    """Turns nodes into rows and rows into nodes.

    Attributes:
        dim: Dimension of the dense vectors, or None when there are none.
        dense_field: Name of the dense vector field.
        keywords: Write the terms for BM25.
        tenant: The tenant all rows belong to, or None.
    """

    dim: int | None
    dense_field: str
    keywords: bool
    tenant: str | None

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
            row[TENANT] = self.tenant
        if self.dim is not None:
            row[self.dense_field] = check_vector(node.embedding, self.dim, f"Node {node.node_id!r}")
        text = milvus.storable(NodeView(node).text)
        row |= _content(node, text) | _metadata_fields(node)
        if self.keywords:
            row[KEYWORDS] = keyword_terms(text, milvus.MAX_VARCHAR_BYTES)
        return row

    def _identity(self, node: BaseNode) -> dict[str, Any]:
        if not node.node_id:
            raise NodeValueError("A node has an empty id; give it one.")
        doc_id = str(node.ref_doc_id or node.metadata.get("doc_id") or "")
        return {ID: milvus.check_id(self.key(node.node_id), "id"), DOC_ID: milvus.check_id(doc_id, "doc_id")}

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
        return _build(json.loads(entity[NODE]), entity[TEXT], entity.get(self.dense_field))


def check_vector(vector: Any, dim: int, owner: str) -> list[float]:
    """Return a vector after checking what Milvus Lite would accept silently.

    Args:
        vector: Sequence of numbers.
        dim: Dimension it must have.
        owner: What it belongs to; begins the message.

    Returns:
        The vector as 32-bit values.

    Raises:
        NodeValueError: It is missing, of another dimension, or not finite.
    """
    if vector is None:
        message = f"{owner} has no embedding; embed it first."
        raise NodeValueError(message)
    try:
        with np.errstate(over="ignore"):  # What overflows 32 bits becomes infinite and is refused below.
            values = np.asarray(vector, dtype=np.float32)
    except (TypeError, ValueError) as error:
        message = f"{owner} has an embedding that is not a list of numbers."
        raise NodeValueError(message) from error
    if values.shape != (dim,):
        message = f"{owner} has an embedding of shape {values.shape}, the collection takes dimension {dim}."
        raise NodeValueError(message)
    if not np.isfinite(values).all():
        message = f"{owner} has an embedding with NaN or infinite values; embed it again."
        raise NodeValueError(message)
    return values.tolist()  # type: ignore[no-any-return]  # numpy types tolist() as Any.


def _content(node: BaseNode, text: str) -> dict[str, Any]:
    content = node.model_dump(mode="json")
    for key in ("text", "embedding", "text_resource"):
        content.pop(key, None)
    packed = milvus.storable(json.dumps(content, ensure_ascii=False, separators=(",", ":")))
    if milvus.byte_length(text) <= milvus.MAX_VARCHAR_BYTES and milvus.byte_length(packed) <= milvus.MAX_VARCHAR_BYTES:
        return {TEXT: text, NODE: packed, OVERFLOW: []}
    whole = json.dumps({"text": text, "node": json.loads(packed)}, ensure_ascii=False, separators=(",", ":"))
    pieces = milvus.pieces_of(whole, milvus.MAX_VARCHAR_BYTES)
    if len(pieces) > milvus.MAX_ARRAY_PIECES:
        limit = milvus.MAX_ARRAY_PIECES * milvus.MAX_VARCHAR_BYTES
        size = milvus.byte_length(whole)
        message = f"Node {node.node_id!r} has {size} bytes, the limit is {limit}; split it into chunks first."
        raise NodeValueError(message)
    beginning = milvus.pieces_of(text, milvus.MAX_VARCHAR_BYTES)[0]
    return {TEXT: beginning, NODE: _OVERFLOWED, OVERFLOW: pieces}


def _metadata_fields(node: BaseNode) -> dict[str, Any]:
    """Return the typed columns and the dynamic fields of a node's metadata."""
    metadata = json.loads(json.dumps(node.metadata, ensure_ascii=False, default=str))
    content_type, page = metadata.pop(CONTENT_TYPE, None), metadata.pop(PAGE, None)
    dynamic = {
        key: value
        for key, value in metadata.items()
        if expressions.is_filterable(key) and key not in expressions.COLUMNS and value is not None and value != []
    }
    row: dict[str, Any] = {CONTENT_TYPE: "", PAGE: NO_PAGE}
    if isinstance(content_type, str) and milvus.byte_length(content_type) <= milvus.MAX_VARCHAR_BYTES:
        row[CONTENT_TYPE] = content_type
    elif content_type is not None:
        dynamic[expressions.overflow_name(CONTENT_TYPE)] = content_type
    if isinstance(page, int) and not isinstance(page, bool) and 0 <= page < 2**63:
        row[PAGE] = page
    elif page is not None:
        dynamic[expressions.overflow_name(PAGE)] = page
    doc_id = node.ref_doc_id or node.metadata.get("doc_id") or ""
    dynamic |= expressions.shadows({**dynamic, DOC_ID: str(doc_id), CONTENT_TYPE: row[CONTENT_TYPE]})
    packed = json.dumps(dynamic, ensure_ascii=False)
    size = milvus.byte_length(packed)
    if size > MAX_DYNAMIC_BYTES:
        largest = max(dynamic, key=lambda key: len(json.dumps(dynamic[key])))
        message = (
            f"Node {node.node_id!r} has {size} bytes of metadata, Milvus takes {MAX_DYNAMIC_BYTES} "
            f"(the largest key is {largest!r}); move payloads into the text or a file."
        )
        raise NodeValueError(message)
    row.update(json.loads(milvus.storable(packed)))
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
