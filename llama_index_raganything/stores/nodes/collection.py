"""One collection of nodes in an open Milvus: made, checked, loaded, written, read and emptied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import MetadataFilters

from llama_index_raganything.errors import NodeValueError
from llama_index_raganything.stores.milvus.connection import Connection, translated
from llama_index_raganything.stores.milvus.expressions import EVERYTHING, all_of, any_of, check_expression
from llama_index_raganything.stores.milvus.filters import COLUMNS, compile_filters, is_filterable
from llama_index_raganything.stores.milvus.scan import scan
from llama_index_raganything.stores.nodes import schema
from llama_index_raganything.stores.nodes.rows import NO_PAGE, RowCodec, batches


class NodeCollection:
    """A collection of nodes, or one tenant's part of it.

    Args:
        connection: An open connection.
        name: Name of the collection.
        dense_field: Name of the dense vector field, or None without dense vectors.
        sparse_field: Name of the sparse vector field, or None without keywords.
        tenant: Whose rows these are; None in collections without tenants.
        indexes: For each vector field its index settings.
        consistency: Consistency level of a collection that is made.
    """

    def __init__(
        self,
        connection: Connection,
        name: str,
        *,
        dense_field: str | None,
        sparse_field: str | None,
        tenant: str | None,
        indexes: Mapping[str, Mapping[str, Any]],
        consistency: str,
    ) -> None:
        self.connection = connection
        self.name = name
        self.dense_field = dense_field
        self.sparse_field = sparse_field
        self.tenant = tenant
        self.indexes = indexes
        self.consistency = consistency
        self.exists = False
        self.dim: int | None = None

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
                # Made by a look into a knowledge base before its model was chosen: there is nothing to lose.
                client.drop_collection(self.name)
            if client.has_collection(self.name):
                self._adopt(dim)
            elif dim is not None or self.dense_field is None:
                self.make(dim)
            if overwrite:
                self.delete("")

    def make(self, dim: int | None) -> None:
        """Create the collection, unless another store has done so in the meantime.

        Args:
            dim: Dimension of the dense vectors.
        """
        with self.connection.writing(self.name):
            client = self.connection.client
            if not client.has_collection(self.name):
                self._shape(dim).create(client, self.name, indexes=self.indexes, consistency=self.consistency)
            self._adopt(dim)

    def make_for(self, node: BaseNode) -> None:
        """Create the collection for the first node, whose embedding tells the dimension.

        Raises:
            NodeValueError: It has no embedding.
        """
        if self.dense_field is not None and not node.embedding:
            message = f"Node {node.node_id!r} has no embedding; embed it first."
            raise NodeValueError(message)
        self.make(len(node.embedding or ()) if self.dense_field is not None else None)

    def write(self, rows: Sequence[dict[str, Any]], max_rows: int, max_bytes: int) -> None:
        """Insert rows, or replace those with the same key.

        Args:
            rows: Rows of :attr:`codec`.
            max_rows: Rows per request.
            max_bytes: Bytes per request.
        """
        with self.connection.writing(self.name):
            for batch in batches(rows, max_rows, max_bytes):
                self.connection.client.upsert(self.name, batch)

    def flush(self) -> None:
        """Seal what was written."""
        if self.exists:
            with self.connection.writing(self.name):
                self.connection.client.flush(self.name)

    def delete(self, expression: str) -> None:
        """Delete rows.

        Args:
            expression: Which rows of this tenant; all when empty.
        """
        if self.exists:
            with self.connection.writing(self.name):
                self.connection.client.delete(self.name, filter=self.scoped(expression) or EVERYTHING)

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

    def scan(self, expression: str, fields: Sequence[str], limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield rows of this tenant.

        Args:
            expression: Which rows; all when empty.
            limit: At most so many rows.

        Yields:
            Rows.
        """
        if self.exists:
            yield from scan(self.connection, self.name, self.scoped(expression), fields, limit)

    def nodes(self, expression: str, limit: int | None, *, vectors: bool) -> list[BaseNode]:
        """Return nodes.

        Args:
            expression: Which rows; all when empty.
            limit: At most so many.
            vectors: Read the dense vectors too.

        Returns:
            The nodes.
        """
        more = [self.dense_field] if vectors and self.dense_field is not None else []
        entities = list(self.scan(expression, [schema.ID, schema.TEXT, schema.NODE, *more], limit))
        codec = self.codec
        overflow = self.overflow([entity[schema.ID] for entity in entities if not codec.is_complete(entity)])
        return [codec.decode(entity, overflow.get(entity[schema.ID])) for entity in entities]

    def metadata(self, expression: str, keys: Sequence[str]) -> list[dict[str, Any]]:
        """Return some of the metadata of nodes, read from the columns and the dynamic field that filters use.

        Args:
            expression: Which rows; all when empty.
            keys: Metadata keys; those that no filter can name are left out.

        Returns:
            Dictionaries with ``node_id`` and the keys that have a value.
        """
        columns = {key: COLUMNS.get(key, key) for key in keys if is_filterable(key)}
        found = []
        for entity in self.scan(expression, [schema.ID, *dict.fromkeys(columns.values())]):
            values: dict[str, Any] = {"node_id": self.codec.node_id(entity[schema.ID])}
            for key, column in columns.items():
                value = entity.get(column)
                if value is not None and value != "" and not (column == schema.PAGE and value == NO_PAGE):
                    values[key] = value
            found.append(values)
        return found

    def overflow(self, keys: Sequence[str]) -> dict[str, list[str]]:
        """Return the pieces of rows that do not fit into their columns.

        Args:
            keys: Primary keys.

        Returns:
            Pieces by primary key.
        """
        if not keys:
            return {}
        rows = self.scan(any_of(schema.ID, keys), [schema.ID, schema.OVERFLOW])
        return {row[schema.ID]: list(row[schema.OVERFLOW]) for row in rows}

    def count(self, expression: str) -> int:
        """Return the number of rows of this tenant.

        Args:
            expression: Which rows; all when empty.

        Returns:
            The number.
        """
        if not self.exists:
            return 0
        with translated(self.connection.address):
            answer = self.connection.client.query(self.name, filter=self.scoped(expression), output_fields=["count(*)"])
        return int(answer[0]["count(*)"])

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
        parts = [compile_filters(filters, codec.key), check_expression(extra)]
        if node_ids is not None:
            parts.append(any_of(schema.ID, [codec.key(node_id) for node_id in node_ids]))
        if doc_ids is not None:
            parts.append(any_of(schema.DOC_ID, doc_ids))
        return all_of(*parts)

    def scoped(self, expression: str) -> str:
        """Return an expression that holds for this tenant's rows only.

        Args:
            expression: Which of them; all when empty.

        Returns:
            The expression.
        """
        return expression if self.tenant is None else all_of(any_of(schema.TENANT, [self.tenant]), expression)

    def _adopt(self, dim: int | None) -> None:
        """Check a stored collection and load it, which the official store forgets."""
        client = self.connection.client
        description = client.describe_collection(self.name)
        stored = schema.dimension_of(description, self.dense_field) if self.dense_field is not None else None
        self._shape(dim or stored).check(description, self.name)
        client.load_collection(self.name)
        self.dim, self.exists = stored, True

    def _is_empty_of_another_dimension(self, dim: int) -> bool:
        """Return whether a stored collection is one of these in all but its dimension, and holds no row."""
        client = self.connection.client
        description = client.describe_collection(self.name)
        stored = schema.dimension_of(description, self.dense_field) if self.dense_field is not None else None
        if stored is None or stored == dim or self.tenant is not None:
            return False
        self._shape(stored).check(description, self.name)
        client.load_collection(self.name)
        rows = client.query(self.name, filter="", output_fields=["count(*)"], consistency_level="Strong")
        return int(rows[0]["count(*)"]) == 0

    def _shape(self, dim: int | None) -> schema.CollectionShape:
        return schema.CollectionShape(
            dim=dim if self.dense_field is not None else None,
            dense_field=self.dense_field or "",
            sparse_field=self.sparse_field,
            tenants=self.tenant is not None,
        )
