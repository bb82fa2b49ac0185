"""HTTP clients that live as long as their owner: one for threads, one for every event loop."""

from __future__ import annotations

import asyncio
import functools
import ssl
import threading
from typing import Any
from weakref import WeakKeyDictionary

import httpx

from llama_index_raganything.models.dashscope.api.retry import AsyncRetryingClient, RetryingClient, RetryPolicy


class ConcurrencyLimit:
    """Bounds the requests at the same time; a copy made by pickling counts anew.

    Args:
        max_concurrency: Requests at the same time, of all threads, and of all tasks of one event loop.
    """

    _asynchronous: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]

    def __init__(self, max_concurrency: int) -> None:
        self.max_concurrency = max_concurrency
        self._open()

    @property
    def threads(self) -> threading.BoundedSemaphore:
        """What a thread holds while its request is on its way."""
        return self._threads

    @property
    def tasks(self) -> asyncio.Semaphore:
        """What a task of the running event loop holds while its request is on its way."""
        loop = asyncio.get_running_loop()
        with self._lock:
            # Semaphores know the loop that they waited in, so that one that has ended would stay for their sake.
            for ended in [known for known in self._asynchronous if known.is_closed()]:
                del self._asynchronous[ended]
            return self._asynchronous.setdefault(loop, asyncio.Semaphore(self.max_concurrency))

    def _open(self) -> None:
        self._lock = threading.Lock()
        self._threads = threading.BoundedSemaphore(self.max_concurrency)
        self._asynchronous = WeakKeyDictionary()

    def __getstate__(self) -> dict[str, Any]:
        return {"max_concurrency": self.max_concurrency}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


_CONNECT_SECONDS = 10.0


class HTTPClients:
    """Opens clients when they are first needed; a copy made by pickling opens its own.

    Args:
        timeout: Seconds without a sign from the service after which a call fails.
        max_retries: Requests that are sent again after 429 and 5xx.
        max_concurrency: Connections that are kept open between calls.
    """

    _sync: RetryingClient | None
    _asynchronous: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncRetryingClient]

    def __init__(self, timeout: float = 60.0, max_retries: int = 2, max_concurrency: int = 8) -> None:
        self.timeout = timeout
        self.max_retries = max_retries
        self.max_concurrency = max_concurrency
        self._forget()

    def sync(self) -> RetryingClient:
        """Return the client for calls that block; threads share it."""
        with self._lock:
            if self._sync is None or self._sync.is_closed:
                self._sync = RetryingClient(**self._options())
            return self._sync

    def asynchronous(self) -> AsyncRetryingClient:
        """Return the client of the running event loop: connections belong to the loop that opened them."""
        loop = asyncio.get_running_loop()
        with self._lock:
            # Connections know their loop, so that a loop that has ended would stay for the sake of its own client.
            for ended in [known for known in self._asynchronous if known.is_closed()]:
                del self._asynchronous[ended]
            client = self._asynchronous.get(loop)
            if client is None or client.is_closed:
                client = self._asynchronous[loop] = AsyncRetryingClient(**self._options())
            return client

    def close(self) -> None:
        """Close the blocking client; those of event loops end with their loops, or with :meth:`aclose`."""
        with self._lock:
            client, self._sync = self._sync, None
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Close the client of the running event loop."""
        with self._lock:
            client = self._asynchronous.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "timeout": self.timeout,
            "max_retries": self.max_retries,
            "max_concurrency": self.max_concurrency,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._sync = None
        self._asynchronous = WeakKeyDictionary()

    def _options(self) -> dict[str, Any]:
        return {
            "verify": _certificates(),
            "retry": RetryPolicy(max_retries=self.max_retries),
            # Waiting for a free connection is no sign of a slow service, so it has no limit.
            "timeout": httpx.Timeout(self.timeout, connect=min(self.timeout, _CONNECT_SECONDS), pool=None),
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=max(1, self.max_concurrency)),
        }


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Return what servers are checked against: reading it takes longer than an answer, so all clients share it."""
    return httpx.create_ssl_context()
