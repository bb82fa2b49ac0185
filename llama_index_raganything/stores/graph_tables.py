"""All collections of one graph, opened and emptied together, and the marks that tell other processes of changes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, Literal

from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

from llama_index_raganything.elements import content_id
from llama_index_raganything.errors import SchemaMismatchError, StoreUnavailableError
from llama_index_raganything.stores.clients import Address, Connection, connect, release
from llama_index_raganything.stores.expressions import EVERYTHING, any_of
from llama_index_raganything.stores.filters import is_filterable
from llama_index_raganything.stores.graph_rows import PAYLOAD_FIELDS, Row, unpacked
from llama_index_raganything.stores.graph_schema import (
    DUMMY_VECTOR,
    ENTITIES_SUFFIX,
    ENTITY_COLUMNS,
    FACT_COLUMNS,
    FACTS_SUFFIX,
    SCHEMA_VERSION,
    VECTORS_SUFFIX,
    mismatch,
)
from llama_index_raganything.stores.graph_table import GraphTable
from llama_index_raganything.stores.milvus import MilvusNodeStore

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
            rows: Rows of entities.
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
