"""Connections to Milvus: one per address and login, shared, counted, and closed for good by the last user.

What this module repairs around ``pymilvus`` and Milvus Lite 3.2 (each has a test):

* An async client belongs to the event loop of its first use; here every loop gets its own.
* A Milvus Lite directory stays locked after ``close()``; here the last user stops the embedded server.
* "Open local milvus failed" hides the cause; here a lock, a missing permission and an old file are told apart.
* Lite has one writer per collection: a flush during an insert fails. Writers share :meth:`Connection.writing`.
* ``grpc.RpcError`` passes through ``pymilvus`` unmapped where a call is not implemented.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import SecretStr

from llama_index_raganything._imports import guarded_import
from llama_index_raganything.errors import (
    ConfigurationError,
    StoreError,
    StoreLockedError,
    StoreUnavailableError,
)

with guarded_import():
    import grpc  # type: ignore[import-untyped]  # grpcio ships no types.
    from pymilvus import AsyncMilvusClient, MilvusClient
    from pymilvus.exceptions import MilvusException

DEFAULT_TIMEOUT: Final = 10.0
"""Seconds to wait for a server to answer the first call."""

_SCHEMES: Final = ("http://", "https://", "tcp://", "unix:")
_LITE_LOGGERS: Final = ("milvus_lite", "grpc._server", "pymilvus.orm.iterator")
_AUTH_WORDS: Final = ("auth", "unauthenticated", "permission", "privilege")
_UNREACHABLE: Final = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "UNAUTHENTICATED", "PERMISSION_DENIED")


_NO_PINGS: Final = {"grpc.keepalive_time_ms": 2_147_483_647, "grpc.keepalive_permit_without_calls": False}
"""pymilvus pings every 10 s, which Milvus Lite's server answers with GOAWAY "too_many_pings", printed to stderr."""


@dataclass(frozen=True)
class Address:
    """Where a Milvus is, without secrets.

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
        """What makes two addresses one connection; holds no secret."""
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
        address: Where to connect.
        timeout: Seconds to wait for the first answer.
    """

    def __init__(self, address: Address, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.address = address
        self.timeout = timeout
        self.users = 0
        self.client = open_client(address, timeout)
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
            client = AsyncMilvusClient(**_arguments(self.address, self.timeout), dedicated=True)
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
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(self.address.uri)


_connections: dict[tuple[str, str, str], Connection] = {}
_connections_guard = threading.RLock()


def connect(address: Address, timeout: float = DEFAULT_TIMEOUT) -> Connection:
    """Return the connection to an address, counting one user more.

    Args:
        address: Where to connect.
        timeout: Seconds to wait for the first answer.

    Returns:
        The shared connection; hand it back with :func:`release`.

    Raises:
        StoreLockedError: Another process holds the Milvus Lite directory.
        StoreUnavailableError: The server or directory cannot be reached or written.
    """
    with _connections_guard:
        connection = _connections.get(address.key)
        if connection is None:
            connection = _connections[address.key] = Connection(address, timeout)
        connection.users += 1
        return connection


def release(connection: Connection) -> None:
    """Hand a connection back; the last user's call closes it.

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

    Args:
        address: Named in the message.

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


def _arguments(address: Address, timeout: float) -> dict[str, Any]:
    arguments: dict[str, Any] = {"uri": address.uri, "db_name": address.db_name, "timeout": timeout}
    if address.is_local:
        arguments["grpc_options"] = _NO_PINGS
    if address.token is not None:
        arguments["token"] = address.token.get_secret_value()
    return arguments


def open_client(address: Address, timeout: float = DEFAULT_TIMEOUT) -> Any:
    """Open a client of the caller's own; hold a :func:`connect` for as long, which stops a Milvus Lite at the end.

    Args:
        address: Where to connect.
        timeout: Seconds to wait for the first answer.

    Returns:
        The client.

    Raises:
        StoreLockedError: Another process holds the Milvus Lite directory.
        StoreUnavailableError: The server or directory cannot be reached or written.
    """
    if not address.is_local:
        with translated(address):
            return MilvusClient(**_arguments(address, timeout), dedicated=True)
    _check_directory(address.uri)
    _quieten()
    with _recorded("milvus_lite.server_manager") as causes:
        try:
            return MilvusClient(**_arguments(address, timeout), dedicated=True)
        except (MilvusException, grpc.RpcError, OSError) as error:
            raise _why_not(address.uri, causes, error) from error


def _check_directory(path: str) -> None:
    """Tell what is wrong with a path before Milvus Lite does so in a log message."""
    here = Path(path)
    if os.path.isfile(path):
        message = f"{path} is a file: a database of Milvus Lite 2. Version 3 keeps a directory; choose another path."
        raise StoreUnavailableError(message)
    try:
        here.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"The folder of {path} cannot be made: {error.strerror or error}. Choose a path you may write to."
        raise StoreUnavailableError(message) from error
    place = path if os.path.exists(path) else str(here.parent)
    if not os.access(place, os.W_OK | os.X_OK):
        message = f"No permission to write to {place}. Choose another path for the Milvus uri or change the rights."
        raise StoreUnavailableError(message)


def _why_not(path: str, causes: list[BaseException], error: BaseException) -> StoreError:
    if any(type(cause).__name__ == "DataDirLockedError" for cause in causes):
        return StoreLockedError(
            f"Another process has {path} open, and Milvus Lite serves one process at a time. Close the other one, or "
            f"serve it to both: `milvus-lite server --data-dir {path} --host 127.0.0.1 --port 19530`, and connect "
            "to http://127.0.0.1:19530."
        )
    cause = causes[-1] if causes else error
    return StoreUnavailableError(f"Milvus Lite cannot open {path}: {cause}")


class _Recorder(logging.Handler):
    """Keeps the exceptions that are logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.causes: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.causes.append(record.exc_info[1])


@contextmanager
def _recorded(name: str) -> Iterator[list[BaseException]]:
    """Record the exceptions that a logger reports, instead of printing them."""
    logger, recorder = logging.getLogger(name), _Recorder()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(recorder)
    try:
        yield recorder.causes
    finally:
        logger.removeHandler(recorder)
        logger.propagate = propagate


class _HarmlessFilter(logging.Filter):
    """Drops what is logged about calls and timestamps that Milvus Lite does not offer, and does not need."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        message = record.getMessage().lower()
        return not (isinstance(error, NotImplementedError) or "not implemented" in message or "mvccts" in message)


_HARMLESS: Final = _HarmlessFilter()


def _quieten() -> None:
    for name in _LITE_LOGGERS:
        logging.getLogger(name).addFilter(_HARMLESS)


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
