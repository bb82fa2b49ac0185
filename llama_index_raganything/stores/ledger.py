"""The state of every document: which are ingested, which are being written, and which a crash left unfinished.

One row per document in the collection ``<knowledge base>__ledger`` of the same Milvus. The protocol of decision 13
(docs/architecture.md), with which no crash leaves a document in part without a trace:

1. ``put`` the entry as ``writing``; 2. write the nodes; 3. ``flush``; 4. ``put`` it as ``ready``.
To delete: ``put`` as ``deleting``, delete the nodes, ``delete`` the entry. What is not ``ready`` when a run
begins is a leftover: delete its nodes and do it again.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything._async import in_thread
from llama_index_raganything.elements import content_id
from llama_index_raganything.errors import (
    ConfigurationError,
    NodeValueError,
    SchemaMismatchError,
    StoreUnavailableError,
)
from llama_index_raganything.settings import DEFAULT_COLLECTION, DEFAULT_MILVUS_URI
from llama_index_raganything.stores.milvus import connection as milvus
from llama_index_raganything.stores.milvus.filter_expressions import all_of, any_of

LEDGER_SUFFIX: Final = "__ledger"

LedgerState = Literal["writing", "ready", "deleting", "failed"]

_FIELDS: Final = ("doc_id", "tenant", "state", "source", "updated_at", "entry")
_COLUMNS: Final = ("doc_id", "tenant", "state", "source", "updated_at")


def now_ms() -> int:
    """Return the time in milliseconds since 1970."""
    return int(time.time() * 1000)


def this_machine() -> str:
    """Return an id of this machine that does not reveal its name; paths are compared together with it."""
    return content_id("machine", platform.node())


@strict_arguments
class LedgerEntry(BaseModel):
    """The ledger's record of one document.

    Attributes:
        doc_id: Id of the document.
        source: Path or URL it came from.
        file_name: Its name without folders.
        title: Its title, when known.
        content_hash: Hash of the file's bytes.
        fingerprint: Hash of everything in the pipeline that decides what nodes come out.
        state: Where it is in the protocol above.
        node_counts: Number of nodes by content type.
        pages: Number of pages, or None where the format has none.
        embed_model: Class and name of the model that its vectors come from.
        error: Why it failed, in one line.
        updated_at: Time of the last change, milliseconds since 1970.
        tenant: The tenant that owns it; set by the ledger.
        machine: Id of the machine on which the source is a path; see :func:`this_machine`.
    """

    model_config = ConfigDict(extra="ignore")

    doc_id: str = Field(min_length=1)
    source: str = ""
    file_name: str = ""
    title: str = ""
    content_hash: str = ""
    fingerprint: str = ""
    state: LedgerState = "writing"
    node_counts: dict[str, int] = Field(default_factory=dict)
    pages: int | None = None
    embed_model: str = ""
    error: str = ""
    updated_at: int = Field(default_factory=now_ms)
    tenant: str = ""
    machine: str = ""


Entries = list[LedgerEntry]


@strict_arguments
class Ledger:
    """The ledger of one knowledge base.

    Args:
        uri: Milvus Lite directory or URL of a server; the same as the node store's.
        collection: Name of the knowledge base, to which ``__ledger`` is added.
        token: ``user:password`` or API key; by default the environment's ``MILVUS_TOKEN``.
        db_name: Database on the server.
        tenant: Sees and changes only this tenant's entries.
        overwrite: Delete all entries (of this tenant) when opening.
        timeout_s: Seconds to wait for a server when opening.

    Raises:
        SchemaMismatchError: The collection is there but is no ledger.
        StoreLockedError: Another process holds the Milvus Lite directory.
        StoreUnavailableError: The server or directory cannot be reached or written.
    """

    def __init__(
        self,
        uri: str = DEFAULT_MILVUS_URI,
        collection: str = DEFAULT_COLLECTION,
        *,
        token: SecretStr | str | None = None,
        db_name: str = "",
        tenant: str | None = None,
        overwrite: bool = False,
        timeout_s: float = milvus.DEFAULT_TIMEOUT_S,
    ) -> None:
        self.collection = collection
        self._name = collection + LEDGER_SUFFIX
        self.tenant = tenant or ""
        self.timeout_s = timeout_s
        address = milvus.Address.parse(uri, token, db_name)
        self.uri, self.db_name = address.uri, address.db_name
        self._connection: milvus.Connection | None = milvus.connect(address, timeout_s)
        try:
            with milvus.translated(self._connection.address):
                self._open()
            if overwrite:
                self.clear()
        except BaseException:
            self.close()
            raise

    def get(self, doc_id: str) -> LedgerEntry | None:
        """Return the entry of a document.

        Returns:
            The entry, or None when there is none.
        """
        return self.get_many([doc_id]).get(doc_id)

    aget = in_thread(get)

    def get_many(self, doc_ids: Iterable[str]) -> dict[str, LedgerEntry]:
        """Return the entries of some documents.

        Returns:
            Entries by document id; documents without an entry are left out.
        """
        keys = [self._key(doc_id) for doc_id in dict.fromkeys(doc_ids)]
        found: dict[str, LedgerEntry] = {}
        for start in range(0, len(keys), 5000):
            for entry in self._entries(any_of("id", keys[start : start + 5000])):
                found[entry.doc_id] = entry
        return found

    aget_many = in_thread(get_many)

    def list(
        self,
        state: LedgerState | Sequence[LedgerState] | None = None,
        source: str | None = None,
        limit: int | None = None,
    ) -> Entries:
        """Return all entries, however many there are.

        Args:
            state: Only entries in this state, or in one of these.
            source: Only entries from this path or URL.
            limit: Maximum number of entries, whichever Milvus returns first.

        Returns:
            The entries by source, then document id.

        Raises:
            ConfigurationError: There is no such state.
        """
        states = [state] if isinstance(state, str) else list(state or [])
        unknown = set(states) - set(get_args(LedgerState))
        if unknown:
            message = f"Ledger state {sorted(unknown)} is unknown; use {', '.join(get_args(LedgerState))}."
            raise ConfigurationError(message)
        expression = all_of(
            any_of("state", states) if state is not None else "",
            any_of("source", [source]) if source is not None else "",
        )
        return sorted(self._entries(expression, limit), key=lambda entry: (entry.source, entry.doc_id))

    alist = in_thread(list)  # noqa: A003  # The method, not the builtin.

    def put(self, *entries: LedgerEntry) -> None:
        """Write entries; the entry of a document that has one is replaced.

        Args:
            *entries: The entries. ``updated_at`` becomes now, ``tenant`` the ledger's.

        Raises:
            NodeValueError: An entry is too big.
        """
        if not entries:
            return
        rows = {row["id"]: row for row in map(self._row, entries)}
        self._connected().upsert(self._name, [*rows.values()])

    aput = in_thread(put)

    def delete(self, *doc_ids: str) -> None:
        """Delete the entries of some documents."""
        if doc_ids:
            self._delete(any_of("id", [self._key(doc_id) for doc_id in doc_ids]))

    adelete = in_thread(delete)

    def clear(self) -> None:
        """Delete all entries (of this tenant)."""
        self._delete("")

    aclear = in_thread(clear)

    def close(self) -> None:
        """Release the connection; the last user of a Milvus Lite directory unlocks it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            milvus.release(connection)

    def __getstate__(self) -> dict[str, Any]:
        # Pickles must not hold the token, nor connections; __setstate__ opens the same address again.
        names = ("uri", "collection", "db_name", "timeout_s")
        return {name: getattr(self, name) for name in names} | {"tenant": self.tenant or None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc] # Restores what __getstate__ describes.

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _connected(self) -> milvus.Connection:
        if self._connection is None:
            raise StoreUnavailableError("This index (or ledger) is closed; open it again with RAGAnythingIndex(...).")
        return self._connection

    def _open(self) -> None:
        connection = self._connected()
        with connection.writing(self._name):
            client = connection.client
            if not client.has_collection(self._name):
                connection.create_without_vectors(self._name, ("doc_id", "tenant", "state", "source", "entry"))
            stored = {field["name"] for field in client.describe_collection(self._name)["fields"]}
            if not stored >= {"id", *_FIELDS}:
                message = f"Collection {self._name!r} is no ledger; use another collection."
                raise SchemaMismatchError(message)
            client.load_collection(self._name)

    def _key(self, doc_id: str) -> str:
        return f"{self.tenant}|{doc_id}"

    def _row(self, entry: LedgerEntry) -> dict[str, Any]:
        entry = entry.model_copy(update={"tenant": self.tenant, "updated_at": now_ms()})
        values = entry.model_dump(include=set(_COLUMNS))
        packed = json.dumps(entry.model_dump(exclude=set(_COLUMNS)), ensure_ascii=False)
        row = {"id": self._key(entry.doc_id), **values, "entry": packed, "vector": milvus.DUMMY_VECTOR}
        for name, value in row.items():
            if isinstance(value, str) and milvus.byte_length(value) > milvus.MAX_VARCHAR_BYTES:
                message = (
                    f"The ledger entry of {entry.source!r} has more than {milvus.MAX_VARCHAR_BYTES} bytes in {name!r}."
                )
                raise NodeValueError(message)
        return {name: milvus.storable(value) if isinstance(value, str) else value for name, value in row.items()}

    def _entries(self, expression: str, limit: int | None = None) -> Iterator[LedgerEntry]:
        for row in self._connected().rows(self._name, self._scope(expression), _FIELDS, limit):
            values = {name: row[name] for name in _COLUMNS}
            yield LedgerEntry.model_validate(json.loads(row["entry"]) | values)

    def _scope(self, expression: str) -> str:
        return all_of(any_of("tenant", [self.tenant]), expression)

    def _delete(self, expression: str) -> None:
        self._connected().delete(self._name, self._scope(expression))
