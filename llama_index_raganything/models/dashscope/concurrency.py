"""A bound on the requests at the same time: one for all threads, one for all tasks of every event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any
from weakref import WeakKeyDictionary


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
