"""Connections to Milvus, shared by all stores of one address and login, and the requests that stores send.

What this module repairs around ``pymilvus`` and Milvus Lite 3.2 (each has a test):

* An async client belongs to the event loop of its first use; here every loop gets its own.
* A Milvus Lite directory stays locked after ``close()``; here the last user stops the embedded server.
* Lite has one writer per collection: a flush during an insert fails. Writers share :meth:`Connection.writing`.
* ``grpc.RpcError`` passes through ``pymilvus`` unmapped where a call is not implemented.
* Servers return at most 16,384 rows per request; :meth:`Connection.rows` returns all.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import SecretStr

from llama_index_raganything._imports import guarded_import
from llama_index_raganything.errors import ConfigurationError, NodeValueError, StoreError, StoreUnavailableError
from llama_index_raganything.stores.milvus.filter_expressions import PRIMARY_KEY, any_of
from llama_index_raganything.stores.milvus.lite import open_lite, release_lite

with guarded_import():
    import grpc  # type: ignore[import-untyped]  # grpcio ships no types.
    from pymilvus import AsyncMilvusClient, DataType, MilvusClient
    from pymilvus.exceptions import MilvusException

DEFAULT_TIMEOUT_S: Final = 10.0
"""Seconds to wait for a server to answer the first call."""

MAX_VARCHAR_BYTES: Final = 65_535
"""What servers take per VARCHAR, in bytes of UTF-8; Milvus Lite counts characters."""

MAX_ARRAY_PIECES: Final = 64
"""Pieces of a text that is too long for one VARCHAR."""

DUMMY_VECTOR: Final = [0.0, 1.0]
"""The vector of rows without one: Milvus has no collection without vectors."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_NAME: Final = 255
_PAGE_ROWS: Final = 2000
_MAX_BATCH_BYTES: Final = 32_000_000
_ALL_ROWS: Final = 2**31 - 1
_SCHEMES: Final = ("http://", "https://", "tcp://", "unix:")
_AUTH_WORDS: Final = ("auth", "unauthenticated", "permission", "privilege")
_UNREACHABLE: Final = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "UNAUTHENTICATED", "PERMISSION_DENIED")


_NO_PINGS: Final = {"grpc.keepalive_time_ms": 2_147_483_647, "grpc.keepalive_permit_without_calls": False}
"""pymilvus pings every 10 s, which Milvus Lite's server answers with GOAWAY "too_many_pings", printed to stderr."""


@dataclass(frozen=True)
class Address:
    """Address of a Milvus; its representation holds no secret.

    Attributes:
        uri: Absolute path of a Milvus Lite directory, or URL of a server without credentials.
        db_name: Database on the server.
        token: ``user:password`` or API key; never shown.
    """

    uri: str
    db_name: str = ""
    token: SecretStr | None = field(default=None, repr=False)

    @property
    def is_local(self) -> bool:
        """True for a Milvus Lite directory."""
        return not self.uri.startswith(_SCHEMES)

    @property
    def key(self) -> tuple[str, str, str]:
        """Equal for two addresses that share a connection; holds no secret."""
        secret = self.token.get_secret_value() if self.token else ""
        return (self.uri, self.db_name, hashlib.sha256(secret.encode()).hexdigest())

    @classmethod
    def parse(cls, uri: str | os.PathLike[str], token: SecretStr | str | None = None, db_name: str = "") -> Address:
        """Normalise an address.

        Args:
            uri: Path that ends in ``.db``, or URL of a server.
            token: ``user:password`` or API key; by default the environment's ``MILVUS_TOKEN``, and only for servers.
            db_name: Database on the server.

        Returns:
            The address. Credentials inside the URL become the token.

        Raises:
            ConfigurationError: The address cannot be one.
        """
        text = os.fspath(uri)
        if not text.strip():
            raise ConfigurationError("The Milvus uri is empty; give a path that ends in .db or a server's URL.")
        if not text.startswith(_SCHEMES):
            return cls(uri=_local_path(text), db_name=db_name)
        text, inside = _split_credentials(text)
        if isinstance(token, SecretStr):
            token = token.get_secret_value()
        secret = token or inside or os.environ.get("MILVUS_TOKEN", "")
        return cls(uri=text, db_name=db_name, token=SecretStr(secret) if secret else None)


class Connection:
    """One shared client, its async twins, and the locks of its writers.

    Args:
        timeout_s: Seconds to wait for the first answer.
    """

    def __init__(self, address: Address, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self.users = 0
        self.client = open_client(address, timeout_s)
        self._async_clients: dict[asyncio.AbstractEventLoop, asyncio.Task[AsyncMilvusClient]] = {}
        self._locks: dict[str, threading.RLock] = {}
        self._guard = threading.Lock()

    @contextmanager
    def writing(self, collection: str) -> Iterator[None]:
        """Hold the collection's writer lock.

        Yields:
            None.
        """
        with self._guard:
            lock = self._locks.setdefault(collection, threading.RLock())
        with lock, translated(self.address):
            yield

    def create(
        self, collection: str, schema: Any, indexes: Any, *, optional: Any = None, consistency: str = "Strong"
    ) -> None:
        """Create a collection with its indexes, and load it.

        Not by ``create_collection(index_params=...)``, which waits half a second for each index, with or without rows
        (pymilvus 2.6.17, ``wait_for_creating_index``).

        Args:
            indexes: Index settings, made by ``prepare_index_params``.
            optional: Indexes that not every Milvus has, and that only make it faster.
        """
        self.client.create_collection(collection, schema=schema, consistency_level=consistency)
        self.client.create_index(collection, indexes, sync=False)
        if optional is not None:
            with suppress(MilvusException):
                self.client.create_index(collection, optional, sync=False)
        self.client.load_collection(collection)

    def create_without_vectors(
        self, collection: str, columns: Sequence[str], *, indexed: Sequence[str] = (), overflow: str = ""
    ) -> None:
        """Create a collection of rows with ``id``, ``updated_at``, text columns, and a dummy ``vector``.

        Args:
            columns: Its VARCHAR fields.
            indexed: Those of them that are searched.
            overflow: Name of a field for the pieces of a longer text; none when empty.
        """
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(PRIMARY_KEY, DataType.VARCHAR, max_length=MAX_VARCHAR_BYTES, is_primary=True)
        for column in columns:
            schema.add_field(column, DataType.VARCHAR, max_length=MAX_VARCHAR_BYTES)
        schema.add_field("updated_at", DataType.INT64)
        if overflow:
            add_pieces_field(schema, overflow)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=len(DUMMY_VECTOR))
        vector = MilvusClient.prepare_index_params()
        vector.add_index(field_name="vector", index_name="vector", index_type="FLAT", metric_type="L2")
        scalars = MilvusClient.prepare_index_params()
        for column in indexed:
            scalars.add_index(field_name=column, index_name=column, index_type="INVERTED")
        # Milvus before 2.4 has no index of scalars; it finds the same rows more slowly.
        self.create(collection, schema, vector, optional=scalars if indexed else None)

    def rows(
        self, collection: str, expression: str, fields: Sequence[str], limit: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows that match.

        Servers give at most 16,384 rows per request, and not in an order that one could page through. So what fits
        into one page is one request, and the rest comes from Milvus's iterator. On Milvus Lite every page of the
        iterator walks through the whole collection; there the keys are read at once, which it allows, and the rows by
        key.

        Args:
            expression: Which rows; all when empty.
            limit: Maximum number of rows.
        """
        if limit is not None and limit < 1:
            return
        arguments: dict[str, Any] = {"filter": expression, "output_fields": list(fields)}
        with translated(self.address):
            first = min(_PAGE_ROWS, limit or _PAGE_ROWS)
            rows = self.client.query(collection, limit=first, **arguments)
            if len(rows) < _PAGE_ROWS or limit == first:
                yield from rows
                return
            if self.address.is_local:
                yield from self._rows_by_key(collection, arguments, limit)
                return
            pages = self.client.query_iterator(
                collection, batch_size=_PAGE_ROWS, limit=-1 if limit is None else limit, **arguments
            )
            try:
                while page := pages.next():
                    yield from page
            finally:
                pages.close()

    def _rows_by_key(self, collection: str, arguments: dict[str, Any], limit: int | None) -> Iterator[dict[str, Any]]:
        """Yield the rows that match, in time proportional to their number."""
        found = self.client.query(
            collection, filter=arguments["filter"], output_fields=[PRIMARY_KEY], limit=limit or _ALL_ROWS
        )
        keys = [row[PRIMARY_KEY] for row in found]
        for start in range(0, len(keys), _PAGE_ROWS):
            expression = any_of(PRIMARY_KEY, keys[start : start + _PAGE_ROWS])
            yield from self.client.query(
                collection, filter=expression, output_fields=arguments["output_fields"], limit=_PAGE_ROWS
            )

    def count(self, collection: str, expression: str) -> int:
        """Return the number of rows that match."""
        with translated(self.address):
            answer = self.client.query(collection, filter=expression, output_fields=["count(*)"])
        return int(answer[0]["count(*)"])

    def upsert(
        self,
        collection: str,
        rows: Sequence[dict[str, Any]],
        max_rows: int = _PAGE_ROWS,
        max_bytes: int = _MAX_BATCH_BYTES,
    ) -> None:
        """Insert rows, or replace those with the same key.

        Args:
            max_rows: Rows per request.
            max_bytes: Estimated bytes per request; a server refuses messages over 64 MB.
        """
        with self.writing(collection):
            for batch in batches(rows, max_rows, max_bytes):
                self.client.upsert(collection, batch)

    def delete(self, collection: str, expression: str) -> None:
        """Delete the rows that match."""
        with self.writing(collection):
            self.client.delete(collection, filter=expression)

    def flush(self, collection: str) -> None:
        """Seal what was written; Milvus Lite reads unsealed rows slowly."""
        with self.writing(collection):
            self.client.flush(collection)

    def drop(self, collection: str) -> None:
        """Delete a collection, if it is there."""
        with self.writing(collection):
            if self.client.has_collection(collection):
                self.client.drop_collection(collection)

    async def aclient(self) -> AsyncMilvusClient:
        """Return the running loop's async client, connected.

        Returns:
            A client that only this loop uses.
        """
        loop = asyncio.get_running_loop()
        with self._guard:
            for other in [known for known in self._async_clients if known.is_closed()]:
                _forget(self._async_clients.pop(other))
            task = self._async_clients.get(loop)
            if task is None:
                # One task connects and everybody waits for it: pymilvus keeps an asyncio.Lock per id(loop), and
                # ids of closed loops come back.
                task = self._async_clients[loop] = loop.create_task(self._connect())
        try:
            return await asyncio.shield(task)
        except Exception:
            self._async_clients.pop(loop, None)
            raise

    async def _connect(self) -> AsyncMilvusClient:
        with translated(self.address):
            client = AsyncMilvusClient(**_arguments(self.address, self.timeout_s), dedicated=True)
            await client._connect()
            return client

    def close(self, *, stop_server: bool = True) -> None:
        """Close all clients and, for Milvus Lite, stop the embedded server and release its lock.

        Args:
            stop_server: False when another database of the same directory is still open.
        """
        with self._guard:
            tasks, self._async_clients = self._async_clients, {}
        for loop, task in tasks.items():
            _close_async(loop, task)
        with suppress(Exception):
            self.client.close()
        if self.address.is_local and stop_server:
            release_lite(self.address.uri)


_connections: dict[tuple[str, str, str], Connection] = {}
_connections_guard = threading.RLock()


def connect(address: Address, timeout_s: float = DEFAULT_TIMEOUT_S) -> Connection:
    """Return the connection to an address and count one more user.

    Args:
        timeout_s: Seconds to wait for the first answer.

    Returns:
        The shared connection; end its use with :func:`release`.

    Raises:
        StoreLockedError: Another process holds the Milvus Lite directory.
        StoreUnavailableError: The server or directory cannot be reached or written.
    """
    with _connections_guard:
        connection = _connections.get(address.key)
        if connection is None:
            connection = _connections[address.key] = Connection(address, timeout_s)
        connection.users += 1
        return connection


def release(connection: Connection) -> None:
    """Release a connection; the last user's call closes it.

    Args:
        connection: What :func:`connect` returned.
    """
    with _connections_guard:
        connection.users -= 1
        if connection.users > 0:
            return
        _connections.pop(connection.address.key, None)
        shared = any(other.address.uri == connection.address.uri for other in _connections.values())
        connection.close(stop_server=not shared)


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """Turn what ``pymilvus`` and gRPC raise into this package's errors.

    Yields:
        None.

    Raises:
        StoreUnavailableError: The server cannot be reached or refuses the login.
        StoreError: Anything else that Milvus refused.
    """
    try:
        yield
    except MilvusException as error:
        raise _translate(str(error.message or error), address) from error
    except grpc.RpcError as error:
        code = error.code().name if hasattr(error, "code") else "UNKNOWN"
        details = error.details() if hasattr(error, "details") else str(error)
        message = f"{code}: {details}"
        raise _translate(message, address) from error


def check_store_arguments(collection: str, tenant: str | None, dimension: int | None, longest_suffix: int = 0) -> None:
    """Refuse arguments of a store that cannot work.

    Args:
        tenant: Its tenant, if any.
        dimension: Dimension of its vectors, if known.
        longest_suffix: Characters that the store appends to the name.

    Raises:
        ConfigurationError: One of them cannot work.
    """
    if not _NAME.fullmatch(collection) or len(collection) + longest_suffix > _MAX_NAME:
        most = _MAX_NAME - longest_suffix
        message = f"Collection name {collection!r} must be letters, digits and underscores, {most} at most."
        raise ConfigurationError(message)
    if tenant is not None and (not tenant or "|" in tenant):
        message = f"Tenant {tenant!r} must not be empty nor contain '|'."
        raise ConfigurationError(message)
    if dimension is not None and dimension < 1:
        message = f"Dimension {dimension} must be at least 1."
        raise ConfigurationError(message)


def add_pieces_field(schema: Any, name: str) -> None:
    """Add a field for the pieces of texts that are too long for one VARCHAR; see :func:`pieces_of`."""
    schema.add_field(
        name,
        DataType.ARRAY,
        element_type=DataType.VARCHAR,
        max_length=MAX_VARCHAR_BYTES,
        max_capacity=MAX_ARRAY_PIECES,
    )


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


def byte_length(text: str) -> int:
    """Return how many bytes a text takes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def check_id(text: str, what: str) -> str:
    """Return an id that can be stored.

    Args:
        what: What it is, for messages.

    Raises:
        NodeValueError: It is not valid Unicode, or too long.
    """
    if storable(text) != text:
        message = f"The {what} {text!r} is not valid Unicode; remove its lone surrogates."
        raise NodeValueError(message)
    if byte_length(text) > MAX_VARCHAR_BYTES:
        message = f"The {what} {text[:80]!r}... has {byte_length(text)} bytes, Milvus takes {MAX_VARCHAR_BYTES}."
        raise NodeValueError(message)
    return text


def pieces_of(text: str, size: int) -> list[str]:
    """Cut text into pieces of limited bytes of UTF-8, never inside a character.

    Args:
        text: Valid Unicode.

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


def _translate(message: str, address: Address) -> StoreError:
    lowered = message.lower()
    if any(word in lowered for word in _AUTH_WORDS):
        advice = "check the token (argument or MILVUS_TOKEN)"
        return StoreUnavailableError(f"Milvus at {address.uri} refused the login; {advice}. ({message})")
    if "fail connecting" in lowered:
        advice = "is it running, and is the token right (argument or MILVUS_TOKEN)?"
        return StoreUnavailableError(
            f"Milvus at {address.uri} does not answer or refuses the login; {advice} ({message})"
        )
    if any(code in message for code in _UNREACHABLE) or "closed channel" in lowered:
        return StoreUnavailableError(f"Milvus at {address.uri} cannot be reached; is it running? ({message})")
    return StoreError(f"Milvus at {address.uri} refused: {message}")


def _arguments(address: Address, timeout_s: float) -> dict[str, Any]:
    arguments: dict[str, Any] = {"uri": address.uri, "db_name": address.db_name, "timeout": timeout_s}
    if address.is_local:
        arguments["grpc_options"] = _NO_PINGS
    if address.token is not None:
        arguments["token"] = address.token.get_secret_value()
    return arguments


def open_client(address: Address, timeout_s: float = DEFAULT_TIMEOUT_S) -> Any:
    """Open a client that is not shared; keep a :func:`connect` open beside it, which stops Milvus Lite at the end.

    Args:
        timeout_s: Seconds to wait for the first answer.

    Returns:
        The client.

    Raises:
        StoreLockedError: Another process holds the Milvus Lite directory.
        StoreUnavailableError: The server or directory cannot be reached or written.
    """
    if not address.is_local:
        with translated(address):
            return MilvusClient(**_arguments(address, timeout_s), dedicated=True)
    return open_lite(address.uri, _arguments(address, timeout_s))


def _forget(task: asyncio.Task[AsyncMilvusClient]) -> None:
    """Drop the client of a closed loop: it can no longer be awaited."""
    if task.done() and not task.cancelled() and task.exception() is None:
        client = task.result()
        client._closed = True


def _close_async(loop: asyncio.AbstractEventLoop, task: asyncio.Task[AsyncMilvusClient]) -> None:
    if loop.is_closed() or not task.done() or task.cancelled() or task.exception() is not None:
        _forget(task)
        return
    closing = task.result().close()
    try:
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(closing, loop)
        else:
            loop.run_until_complete(closing)
    except RuntimeError:
        closing.close()


def _local_path(text: str) -> str:
    if "://" in text or "\x00" in text:
        message = f"The Milvus uri {text!r} is neither a path nor an http(s), tcp or unix address."
        raise ConfigurationError(message)
    path = os.path.abspath(os.path.expanduser(text))
    if not path.endswith(".db"):
        message = f"The Milvus Lite path {text!r} must end in .db, for example {text.rstrip('/')}.db."
        raise ConfigurationError(message)
    return path


def _split_credentials(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url, ""
    credentials, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=host)), unquote(credentials)
