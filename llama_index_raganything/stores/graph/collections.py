"""All collections of one graph, opened and emptied together, and the marks that tell other processes of changes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, Literal

from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

from llama_index_raganything.elements import content_id
from llama_index_raganything.errors import SchemaMismatchError, StoreUnavailableError
from llama_index_raganything.stores.graph.rows import PAYLOAD_FIELDS, Row, unpacked
from llama_index_raganything.stores.graph.schema import (
    DUMMY_VECTOR,
    ENTITIES_SUFFIX,
    ENTITY_COLUMNS,
    FACT_COLUMNS,
    FACTS_SUFFIX,
    SCHEMA_VERSION,
    VECTORS_SUFFIX,
    check_collection,
    create_collection,
    mismatch,
)
from llama_index_raganything.stores.milvus.connection import Address, Connection, connect, release, translated
from llama_index_raganything.stores.milvus.expressions import EVERYTHING, all_of, any_of
from llama_index_raganything.stores.milvus.filters import is_filterable
from llama_index_raganything.stores.milvus.scan import scan
from llama_index_raganything.stores.nodes.rows import batches
from llama_index_raganything.stores.nodes.store import MilvusNodeStore

_MOST_KEYS_READ: Final = 1000
_MAX_ROWS: Final = 2000
_MAX_BYTES: Final = 32_000_000


class GraphTable:
    """One collection, or one tenant's part of it.

    Args:
        connection: Returns the open connection.
        name: Name of the collection.
        columns: Its VARCHAR fields.
        tenant: Whose rows these are, "" without tenants.
        prepare: Called once with the table when the collection has been made or found.
    """

    def __init__(
        self,
        connection: Callable[[], Connection],
        name: str,
        columns: tuple[str, ...],
        tenant: str,
        prepare: Callable[[GraphTable], None] | None = None,
    ) -> None:
        self.name = name
        self.tenant = tenant
        self._connection = connection
        self._columns = columns
        self._prepare = prepare
        self._ready = False

    def exists(self) -> bool:
        """Return whether the collection is there; one that another process has made is found.

        Raises:
            SchemaMismatchError: It is of another kind.
        """
        connection = self._connection()
        if not self._ready:
            with connection.writing(self.name):
                if connection.client.has_collection(self.name):
                    check_collection(connection.client, self.name, self._columns)
                    self._adopt()
        return self._ready

    def write(self, rows: Sequence[Row]) -> None:
        """Insert rows, or replace those with the same key; make the collection when there is none."""
        if not rows:
            return
        connection = self._connection()
        with connection.writing(self.name):
            if not self.exists():
                create_collection(connection.client, self.name, self._columns)
                self._adopt()
            for batch in batches(rows, _MAX_ROWS, _MAX_BYTES):
                connection.client.upsert(self.name, batch)

    def rows(self, expression: str, fields: Sequence[str], limit: int | None = None) -> Iterator[Row]:
        """Yield rows of this tenant.

        Args:
            expression: Which rows; all when empty.
            limit: At most so many rows.
        """
        if self.exists():
            yield from scan(self._connection(), self.name, self.scoped(expression), fields, limit)

    def get(self, keys: Iterable[str], fields: Sequence[str]) -> dict[str, Row]:
        """Return rows by primary key, which takes milliseconds however large the collection is.

        The tenant is in the key; a second condition would make Milvus Lite walk through all rows.

        Args:
            keys: Primary keys.
        """
        found: dict[str, Row] = {}
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), _MOST_KEYS_READ):
            if self.exists():
                expression = any_of("id", wanted[start : start + _MOST_KEYS_READ])
                for row in scan(self._connection(), self.name, expression, ["id", *fields]):
                    found[row["id"]] = row
        return found

    def delete(self, expression: str) -> None:
        """Delete rows of this tenant.

        Args:
            expression: Which rows; all when empty.
        """
        if self.exists():
            connection = self._connection()
            with connection.writing(self.name):
                connection.client.delete(self.name, filter=self.scoped(expression))

    def delete_keys(self, keys: Sequence[str]) -> None:
        """Delete rows by primary key, which takes milliseconds however large the collection is.

        Args:
            keys: Primary keys.
        """
        for start in range(0, len(keys), _MOST_KEYS_READ):
            if self.exists():
                connection = self._connection()
                with connection.writing(self.name):
                    connection.client.delete(self.name, filter=any_of("id", keys[start : start + _MOST_KEYS_READ]))

    def delete_any(self, column: str, values: Sequence[str], extra: str = "") -> None:
        """Delete the rows of this tenant that have one of some values.

        Args:
            values: The values; none of them deletes nothing.
            extra: Further restricts the rows.
        """
        for start in range(0, len(values), _MOST_KEYS_READ):
            self.delete(all_of(any_of(column, values[start : start + _MOST_KEYS_READ]), extra))

    def count(self, expression: str = "") -> int:
        """Return the number of rows of this tenant.

        Args:
            expression: Which rows; all when empty.
        """
        if not self.exists():
            return 0
        connection = self._connection()
        with translated(connection.address):
            answer = connection.client.query(self.name, filter=self.scoped(expression), output_fields=["count(*)"])
        return int(answer[0]["count(*)"])

    def flush(self) -> None:
        """Seal what was written: Milvus Lite reads unsealed rows slowly."""
        if self.exists():
            connection = self._connection()
            with connection.writing(self.name):
                connection.client.flush(self.name)

    def drop(self) -> None:
        """Delete the collection with the rows of all tenants."""
        connection = self._connection()
        with connection.writing(self.name):
            if connection.client.has_collection(self.name):
                connection.client.drop_collection(self.name)
            self._ready = False

    def scoped(self, expression: str) -> str:
        """Return an expression that holds for this tenant's rows only.

        Args:
            expression: Which of them; all when empty.
        """
        return all_of(any_of("tenant", [self.tenant]), expression)

    def raw(self, expression: str, fields: Sequence[str], limit: int) -> list[Row]:
        """Return rows of any tenant.

        Args:
            limit: At most so many.
        """
        return list(scan(self._connection(), self.name, expression, fields, limit))

    def _adopt(self) -> None:
        self._ready = True
        if self._prepare is not None:
            try:
                self._prepare(self)
            except BaseException:
                self._ready = False
                raise


_SCHEMA_TENANT: Final = "|schema"
"""Owner of the row that holds the schema version; no tenant's name may contain "|"."""

_SCHEMA_KEY: Final = "schema_version"
_MAX_KEYS: Final = 5000
_MAX_FILTER_BYTES: Final = 2000
"""Longer property values are kept but cannot be filtered on in vector queries."""

Change = Literal["put", "delete"]


class GraphTables:
    """All collections of one graph, and the marks that tell other processes that it has changed.

    Args:
        address: Where Milvus is.
        name: Name of the knowledge base.
        dim: Dimension of the embeddings, or None for that of the first one.
        tenant: Sees and changes only this tenant's rows.
        timeout: Seconds to wait for a server when opening.
        overwrite: Delete what is there (of this tenant) first.

    Raises:
        SchemaMismatchError: A collection is of another kind or was written by another version.
    """

    def __init__(
        self,
        address: Address,
        name: str,
        dim: int | None,
        tenant: str | None,
        timeout: float,
        *,
        overwrite: bool,
    ) -> None:
        self.tenant = tenant or ""
        self._dim = dim
        self._open_vectors = partial(
            MilvusNodeStore,
            address.uri,
            name + VECTORS_SUFFIX,
            token=address.token,
            db_name=address.db_name,
            tenant=tenant,
            timeout=timeout,
            enable_sparse=False,
        )
        self._vectors_name = name + VECTORS_SUFFIX
        self._vectors: MilvusNodeStore | None = None
        self._connection: Connection | None = connect(address, timeout)
        self.entities = GraphTable(self.connected, name + ENTITIES_SUFFIX, ENTITY_COLUMNS, self.tenant)
        self.facts = GraphTable(self.connected, name + FACTS_SUFFIX, FACT_COLUMNS, self.tenant, self._check_version)
        try:
            self._open(overwrite=overwrite)
        except BaseException:
            self.close()
            raise

    def connected(self) -> Connection:
        """Return the open connection.

        Raises:
            StoreUnavailableError: The store is closed.
        """
        if self._connection is None:
            raise StoreUnavailableError("The graph store is closed; open a new one.")
        return self._connection

    def vectors(self, dim: int | None = None) -> MilvusNodeStore | None:
        """Return the store of the entities' embeddings, or None when there are none.

        Args:
            dim: Make it for this dimension when it is not there.
        """
        connection = self.connected()
        if self._vectors is None:
            with connection.writing(self._vectors_name):
                if self._vectors is None and (dim or connection.client.has_collection(self._vectors_name)):
                    self._vectors = self._open_vectors(dim=self._dim or dim)
        return self._vectors

    def write_vectors(self, rows: Sequence[Row], embeddings: Sequence[Sequence[float] | None]) -> None:
        """Write the embeddings of entities; those of entities that come without one are deleted.

        Args:
            embeddings: For each its embedding, or None.

        Raises:
            NodeValueError: An embedding does not fit; nothing was written.
        """
        nodes = [
            _vector_node(row, embedding)
            for row, embedding in zip(rows, embeddings, strict=True)
            if embedding is not None
        ]
        store = self.vectors(len(nodes[0].embedding or ()) if nodes else None)
        if store is not None:
            store.add(nodes)
            self.delete_vectors(
                [row["id"] for row, embedding in zip(rows, embeddings, strict=True) if embedding is None]
            )

    def delete_vectors(self, keys: Sequence[str]) -> None:
        """Delete embeddings.

        Args:
            keys: Primary keys of the entities' rows.
        """
        store = self.vectors()
        for start in range(0, len(keys), _MAX_KEYS):
            if store is not None:
                store.delete_nodes(list(keys[start : start + _MAX_KEYS]))

    def changed(self, *changes: Change) -> None:
        """Let every process know that this tenant's graph has changed.

        Args:
            *changes: What was done.
        """
        self.facts.write([_meta_row(_meta_key(self.tenant, kind), self.tenant, uuid.uuid4().hex) for kind in changes])

    def generation(self) -> str:
        """Return a text that changes with every write; what is behind its dot changes only with deletions."""
        keys = [_meta_key(self.tenant, "put"), _meta_key(self.tenant, "delete")]
        rows = self.facts.get(keys, PAYLOAD_FIELDS)
        return ".".join(str(rows[key]["payload"]) if key in rows else "" for key in keys) if rows else ""

    def flush(self) -> None:
        """Seal what was written, once after each ingest."""
        for part in (self.entities, self.facts, self.vectors()):
            if part is not None:
                part.flush()

    def clear(self) -> None:
        """Delete everything of this tenant."""
        for table in (self.entities, self.facts):
            if table.exists():
                others = f"not ({any_of('tenant', [self.tenant, _SCHEMA_TENANT])})"
                if table.raw(others, ["id"], 1):
                    table.delete("")
                else:
                    table.drop()
        if self.tenant:
            store = self.vectors()
            if store is not None:
                store.clear()
        else:
            self._drop_vectors()
        self.changed("put", "delete")

    def close(self) -> None:
        """Give the connections back."""
        self._close_vectors()
        connection, self._connection = self._connection, None
        if connection is not None:
            release(connection)

    def _open(self, *, overwrite: bool) -> None:
        if overwrite and not self.tenant:
            self._replace()
        there = [self.entities.exists(), self.facts.exists()]
        self.vectors()
        if overwrite and self.tenant and any(there):
            self.clear()

    def _replace(self) -> None:
        """Delete the graph without looking into it, unless that would delete tenants' rows that can be read."""
        self._drop_vectors()
        try:
            if self.entities.exists() or self.facts.exists():
                self.clear()
        except SchemaMismatchError:
            self.entities.drop()
            self.facts.drop()

    def _close_vectors(self) -> None:
        store, self._vectors = self._vectors, None
        if store is not None:
            store.close()

    def _drop_vectors(self) -> None:
        """Delete the embeddings' collection, so that embeddings of another dimension can follow."""
        connection = self.connected()
        self._close_vectors()
        with connection.writing(self._vectors_name):
            if connection.client.has_collection(self._vectors_name):
                connection.client.drop_collection(self._vectors_name)

    def _check_version(self, table: GraphTable) -> None:
        """Compare the version in a collection with this one, or note it in one that is new."""
        key = content_id(_SCHEMA_KEY)
        rows = table.raw(any_of("id", [key]), PAYLOAD_FIELDS, 1)
        if not rows and not table.raw(EVERYTHING, ["id"], 1):
            table.write([_meta_row(key, _SCHEMA_TENANT, SCHEMA_VERSION)])
        elif not rows or rows[0]["payload"] != SCHEMA_VERSION:
            version = f"has version {rows[0]['payload']!r}" if rows else "has no version"
            raise mismatch(table.name, f"{version}, this package reads {SCHEMA_VERSION!r}")


def _meta_key(tenant: str, change: Change) -> str:
    return content_id(tenant, "meta", change)


def _meta_row(key: str, tenant: str, payload: str) -> Row:
    columns = dict.fromkeys(FACT_COLUMNS, "")
    return columns | {
        "id": key,
        "tenant": tenant,
        "kind": "meta",
        "updated_at": 0,
        "payload": payload,
        "overflow": [],
        "vector": DUMMY_VECTOR,
    }


def _vector_node(row: Row, embedding: Sequence[float]) -> TextNode:
    """Return what the store of embeddings keeps: the vector, the document, and properties to filter on."""
    properties = json.loads(unpacked(row))["properties"]
    return TextNode(
        id_=row["id"],
        embedding=list(embedding),
        metadata={key: value for key, value in properties.items() if _is_small(key, value)},
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=row["doc_id"])} if row["doc_id"] else {},
    )


def _is_small(key: str, value: Any) -> bool:
    return is_filterable(key) and len(json.dumps(value)) <= _MAX_FILTER_BYTES
