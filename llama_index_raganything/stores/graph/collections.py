"""The Milvus collections of one graph: their fields and rows, opened and emptied together, and marked when changed.

``<knowledge base>__entities`` has one row per entity *and source*: the same entity from two nodes is two rows, so
what one document contributed can be deleted without looking at any other.

==============  =======  ==============================================================================
field           type     holds
==============  =======  ==============================================================================
``id``          VARCHAR  hash of tenant, entity and source
``tenant``      VARCHAR  whose row it is, "" without tenants
``kind``        VARCHAR  "entity", "chunk", "implied" (only in a triple), "name" (found without a model)
``entity``      VARCHAR  id of the entity, shortened when it is long
``name_key``    VARCHAR  its name in the form in which names are compared
``label``       VARCHAR  its label
``source``      VARCHAR  the node it comes from, else the document, else ""
``doc_id``      VARCHAR  the document, "" when none
``updated_at``  INT64    microseconds since 1970
``payload``     VARCHAR  the entity as JSON
``overflow``    ARRAY    pieces of payloads that are too long for one VARCHAR
==============  =======  ==============================================================================

``<knowledge base>__facts`` is alike, with ``kind`` "triple" (one row per triple and source), "node" (all that is
known of one node without a model, packed) or "meta", and ``subject``, ``label`` and ``object`` in place of the
entity. ``names`` of a node are hashes of the names in it, ``|0a1b2c3d|...|``, to be found with LIKE: a row for each
name would make writing five times slower, and an ARRAY would make finding five times slower (Milvus Lite 3.2).

Embeddings of entities are kept by a :class:`MilvusNodeStore` called ``<knowledge base>__entity_vectors``, made when
the first one arrives: nearly all entities have none, and Milvus would store a vector for each.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal

from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

from llama_index_raganything.elements import content_id
from llama_index_raganything.errors import NodeValueError, SchemaMismatchError, StoreUnavailableError
from llama_index_raganything.stores.milvus import connection as milvus
from llama_index_raganything.stores.milvus.filter_expressions import EVERYTHING, all_of, any_of, is_filterable
from llama_index_raganything.stores.nodes.store import MilvusNodeStore

SCHEMA_VERSION: Final = "1"
"""Version of the collections' fields and payloads; another one cannot be read."""

ENTITIES_SUFFIX: Final = "__entities"
FACTS_SUFFIX: Final = "__facts"
VECTORS_SUFFIX: Final = "__entity_vectors"

ENTITY_COLUMNS: Final = ("tenant", "kind", "entity", "name_key", "label", "source", "doc_id")
FACT_COLUMNS: Final = ("tenant", "kind", "subject", "label", "object", "source", "doc_id", "names")

_UNINDEXED: Final = frozenset({"label", "kind", "names"})
_COMMON: Final = frozenset({"id", "updated_at", "payload", "overflow"})

Row = dict[str, Any]

PAYLOAD_FIELDS: Final = ("payload", "overflow")

_SHORT_BYTES: Final = 1024
_MAX_PAYLOAD: Final = milvus.MAX_ARRAY_PIECES * milvus.MAX_VARCHAR_BYTES
_MICROSECONDS: Final = 1_000_000

_KEYS_PER_REQUEST: Final = 1000
VALUES_PER_QUERY: Final = 2000


class TenantCollection:
    """One collection, or one tenant's part of it.

    Args:
        columns: Its VARCHAR fields.
        tenant: Whose rows these are, "" without tenants.
        prepare: Called once with the collection when the collection has been made or found.
    """

    def __init__(
        self,
        connection: Callable[[], milvus.Connection],
        name: str,
        columns: tuple[str, ...],
        tenant: str,
        prepare: Callable[[TenantCollection], None] | None = None,
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
                    _check_collection(connection.client, self.name, self._columns)
                    self._adopt()
        return self._ready

    def write(self, rows: Sequence[Row]) -> None:
        """Insert rows, or replace those with the same key; make the collection when there is none."""
        if not rows:
            return
        connection = self._connection()
        with connection.writing(self.name):
            if not self.exists():
                indexed = [column for column in self._columns if column not in _UNINDEXED]
                connection.create_without_vectors(
                    self.name, (*self._columns, "payload"), indexed=indexed, overflow="overflow"
                )
                self._adopt()
            common = {"tenant": self.tenant, "vector": milvus.DUMMY_VECTOR}
            connection.upsert(self.name, [common | row for row in rows])

    def rows(self, expression: str, fields: Sequence[str], limit: int | None = None) -> Iterator[Row]:
        """Yield rows of this tenant.

        Args:
            expression: Which rows; all when empty.
            limit: Maximum number of rows.
        """
        if self.exists():
            yield from self._connection().rows(self.name, self.scoped(expression), fields, limit)

    def rows_with(
        self, column: str, values: Sequence[str], fields: Sequence[str], extra: str = "", limit: int | None = None
    ) -> Iterator[Row]:
        """Yield this tenant's rows that have any of the given values.

        Args:
            values: The values; none of them gives no row.
            extra: Further restricts the rows.
            limit: Maximum number of rows for every two thousand values.
        """
        for start in range(0, len(values), VALUES_PER_QUERY):
            expression = all_of(extra, any_of(column, values[start : start + VALUES_PER_QUERY]))
            yield from self.rows(expression, fields, limit)

    def get(self, keys: Iterable[str], fields: Sequence[str]) -> dict[str, Row]:
        """Return rows by primary key, which takes milliseconds however large the collection is.

        The tenant is in the key; a second condition would make Milvus Lite walk through all rows.
        """
        found: dict[str, Row] = {}
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), _KEYS_PER_REQUEST):
            if self.exists():
                expression = any_of("id", wanted[start : start + _KEYS_PER_REQUEST])
                for row in self._connection().rows(self.name, expression, ["id", *fields]):
                    found[row["id"]] = row
        return found

    def delete(self, expression: str) -> None:
        """Delete rows of this tenant.

        Args:
            expression: Which rows; all when empty.
        """
        if self.exists():
            self._connection().delete(self.name, self.scoped(expression))

    def delete_keys(self, keys: Sequence[str]) -> None:
        """Delete rows by primary key, which takes milliseconds however large the collection is."""
        for start in range(0, len(keys), _KEYS_PER_REQUEST):
            if self.exists():
                self._connection().delete(self.name, any_of("id", keys[start : start + _KEYS_PER_REQUEST]))

    def delete_any(self, column: str, values: Sequence[str], extra: str = "") -> None:
        """Delete this tenant's rows that have any of the given values.

        Args:
            values: The values; none of them deletes nothing.
            extra: Further restricts the rows.
        """
        for start in range(0, len(values), _KEYS_PER_REQUEST):
            self.delete(all_of(any_of(column, values[start : start + _KEYS_PER_REQUEST]), extra))

    def count(self, expression: str = "") -> int:
        """Return the number of rows of this tenant.

        Args:
            expression: Which rows; all when empty.
        """
        return self._connection().count(self.name, self.scoped(expression)) if self.exists() else 0

    def flush(self) -> None:
        """Seal what was written: Milvus Lite reads unsealed rows slowly."""
        if self.exists():
            self._connection().flush(self.name)

    def drop(self) -> None:
        """Delete the collection with the rows of all tenants."""
        self._connection().drop(self.name)
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
            limit: Maximum number of rows.
        """
        return list(self._connection().rows(self.name, expression, fields, limit))

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


class GraphCollections:
    """All collections of one graph, and the marks by which other processes notice changes.

    Args:
        name: Name of the knowledge base.
        dimension: Dimension of the embeddings, or None for that of the first one.
        tenant: Sees and changes only this tenant's rows.
        timeout_s: Seconds to wait for a server when opening.
        overwrite: Delete what is there (of this tenant) first.

    Raises:
        SchemaMismatchError: A collection is of another kind or was written by another version.
    """

    def __init__(
        self,
        address: milvus.Address,
        name: str,
        dimension: int | None,
        tenant: str | None,
        timeout_s: float,
        *,
        overwrite: bool,
    ) -> None:
        self.tenant = tenant or ""
        self._dimension = dimension
        self._last_stamp = 0
        self._clock = threading.Lock()
        self._open_vectors = partial(
            MilvusNodeStore,
            address.uri,
            name + VECTORS_SUFFIX,
            token=address.token,
            db_name=address.db_name,
            tenant=tenant,
            timeout_s=timeout_s,
            enable_sparse=False,
        )
        self._vectors_name = name + VECTORS_SUFFIX
        self._vectors: MilvusNodeStore | None = None
        self._connection: milvus.Connection | None = milvus.connect(address, timeout_s)
        self.entities = TenantCollection(self.connected, name + ENTITIES_SUFFIX, ENTITY_COLUMNS, self.tenant)
        self.facts = TenantCollection(
            self.connected, name + FACTS_SUFFIX, FACT_COLUMNS, self.tenant, self._check_version
        )
        try:
            self._open(overwrite=overwrite)
        except BaseException:
            self.close()
            raise

    def now(self) -> int:
        """Return the time in microseconds since 1970, never twice the same and never backwards."""
        with self._clock:
            self._last_stamp = max(self._last_stamp + 1, int(time.time() * _MICROSECONDS))
            return self._last_stamp

    def connected(self) -> milvus.Connection:
        """Return the open connection.

        Raises:
            StoreUnavailableError: The store is closed.
        """
        if self._connection is None:
            raise StoreUnavailableError("This index (or graph) is closed; open it again with RAGAnythingIndex(...).")
        return self._connection

    def vectors(self, dimension: int | None = None) -> MilvusNodeStore | None:
        """Return the store of the entities' embeddings, or None when there are none.

        Args:
            dimension: Make it for this dimension when it is not there.
        """
        connection = self.connected()
        if self._vectors is None:
            with connection.writing(self._vectors_name):
                if self._vectors is None and (dimension or connection.client.has_collection(self._vectors_name)):
                    self._vectors = self._open_vectors(dim=self._dimension or dimension)
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
        """Mark this tenant's graph as changed, for all processes."""
        self.facts.write([_meta_row(_meta_key(self.tenant, kind), self.tenant, uuid.uuid4().hex) for kind in changes])

    def generation(self) -> str:
        """Return a string that changes with every write; the part after its dot changes only with deletions."""
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
        """Release the connections."""
        self._close_vectors()
        connection, self._connection = self._connection, None
        if connection is not None:
            milvus.release(connection)

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
        self._close_vectors()
        self.connected().drop(self._vectors_name)

    def _check_version(self, table: TenantCollection) -> None:
        """Compare the version in a collection with this one, or note it in one that is new."""
        key = content_id(_SCHEMA_KEY)
        rows = table.raw(any_of("id", [key]), PAYLOAD_FIELDS, 1)
        if not rows and not table.raw(EVERYTHING, ["id"], 1):
            table.write([_meta_row(key, _SCHEMA_TENANT, SCHEMA_VERSION)])
        elif not rows or rows[0]["payload"] != SCHEMA_VERSION:
            version = f"has version {rows[0]['payload']!r}" if rows else "has no version"
            raise _mismatch(table.name, f"{version}, this package reads {SCHEMA_VERSION!r}")


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


def _check_collection(client: Any, name: str, columns: tuple[str, ...]) -> None:
    """Compare a stored collection with what this version of the package reads, and load it.

    Args:
        client: A ``MilvusClient``.
        columns: Its VARCHAR fields.

    Raises:
        SchemaMismatchError: Fields are missing.
    """
    stored = {field["name"] for field in client.describe_collection(name)["fields"]}
    missing = sorted(({*columns} | _COMMON) - stored)
    if missing:
        raise _mismatch(name, f"lacks the fields {', '.join(missing)}")
    client.load_collection(name)


def _mismatch(name: str, what: str) -> SchemaMismatchError:
    """Return the error for a graph that this version of the package cannot read."""
    message = (
        f"Collection {name!r} {what}: this graph was written by another version of the package. Open it with "
        "overwrite=True (and no tenant) and bring the documents in again, or use another collection."
    )
    return SchemaMismatchError(message)


def shortened(text: str) -> str:
    """Return text as it is compared in the collections: itself, or its beginning and a digest when it is long.

    Shortened text is longer than any text that is kept as it is, so the two cannot be confused.

    Args:
        text: A name, a label or an id.
    """
    raw = text.encode("utf-8", "surrogatepass")
    valid = milvus.storable(text) == text
    if valid and len(raw) <= _SHORT_BYTES:
        return text
    beginning = milvus.pieces_of(milvus.storable(text[:_SHORT_BYTES]), _SHORT_BYTES)[0]
    padding = "." * (_SHORT_BYTES - milvus.byte_length(beginning))
    return f"{beginning}{padding}{hashlib.sha256(raw).hexdigest()}"


def packed(content: Any, owner: str) -> Row:
    """Return the payload fields of a row.

    Args:
        content: JSON values, or a string that is JSON already.
        owner: What it belongs to; begins the message.

    Returns:
        ``payload`` and ``overflow``.

    Raises:
        NodeValueError: There is too much of it.
    """
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    if milvus.storable(text) != text:
        # Escaped, a lone surrogate is valid UTF-8, and comes back as it was.
        text = json.dumps(json.loads(text))
    size = milvus.byte_length(text)
    if size <= milvus.MAX_VARCHAR_BYTES:
        return {"payload": text, "overflow": []}
    pieces = milvus.pieces_of(text, milvus.MAX_VARCHAR_BYTES) if size <= _MAX_PAYLOAD else []
    if not 0 < len(pieces) <= milvus.MAX_ARRAY_PIECES:
        message = f"{owner[:200]} has {size} bytes, the limit is {_MAX_PAYLOAD}; split it or make it shorter."
        raise NodeValueError(message)
    return {"payload": "", "overflow": pieces}


def unpacked(row: Mapping[str, Any]) -> str:
    """Return the payload of a row."""
    return str(row["payload"]) or "".join(row["overflow"])


def entity_key(tenant: str, entity: str, source: str, kind: str = "entity") -> str:
    """Return the primary key of an entity's row.

    Args:
        entity: The shortened id, or for names their key.
        kind: "name" for names; everything else shares one key.
    """
    return content_id(tenant, "name" if kind == "name" else "entity", entity, source)
