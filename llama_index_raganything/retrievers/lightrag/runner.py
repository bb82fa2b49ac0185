"""One event loop on a daemon thread of its own, where every LightRAG object of the process lives.

LightRAG's queues and locks belong to the event loop that first used them: touched from a second loop, release 1.4.16
hangs or answers "[no-context]", and its locks are shared by all objects of a process. So there is one loop for all of
them. Callers hand coroutines over and wait, whether they have an event loop of their own or not.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Final, TypeVar

T = TypeVar("T")

_STOP_SECONDS: Final = 10.0
_MODEL_THREADS: Final = 32


class LoopThread:
    """An event loop on a daemon thread that runs while it has users.

    The loop outlives its thread and is run again by the next one, because LightRAG's process-wide locks stay bound
    to it.
    """

    def __init__(self) -> None:
        # Reentrant: the finalizer of a retriever may run on any thread, in the middle of a call.
        self._guard = threading.RLock()
        self._users = 0
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._executor: ThreadPoolExecutor | None = None

    @property
    def is_running(self) -> bool:
        """Whether the thread is alive."""
        return self._thread is not None and self._thread.is_alive()

    def acquire(self) -> None:
        """Count one more user; the first one starts the thread."""
        with self._guard:
            if self._pid != os.getpid():
                # A forked child has the loop object but not the thread.
                self._pid, self._users, self._loop, self._thread = os.getpid(), 0, None, None
            self._users += 1
            if self._thread is None:
                self._loop = self._loop or asyncio.new_event_loop()
                # Models are called here. One of its own per thread, because a loop cannot replace one it has shut down.
                self._executor = ThreadPoolExecutor(_MODEL_THREADS, thread_name_prefix="lightrag-model")
                self._loop.set_default_executor(self._executor)
                self._thread = threading.Thread(target=_run, args=(self._loop,), name="lightrag-loop", daemon=True)
                self._thread.start()

    def release(self) -> None:
        """Count one user fewer; the last one stops the thread and waits until it has ended."""
        with self._guard:
            if self._pid != os.getpid() or self._users == 0:
                return
            self._users -= 1
            if self._users or self._loop is None or self._thread is None or self._executor is None:
                return
            self._executor.shutdown(wait=False)
            thread, self._thread = self._thread, None
            self._loop.call_soon_threadsafe(self._loop.stop)
        if thread is not threading.current_thread():
            thread.join(_STOP_SECONDS)

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine on the loop.

        Args:
            work: The coroutine.

        Returns:
            Its future.

        Raises:
            RuntimeError: There is no user, or the caller runs on the loop itself and would wait for ever.
        """
        if self._loop is None or not self.is_running or threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("LightRAG's event loop is not running, or was called from its own thread.")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it, blocking the calling thread.

        Args:
            work: The coroutine.

        Returns:
            Its result.
        """
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def arun(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop without blocking the caller's loop.

        Args:
            work: The coroutine; it is cancelled with the caller.

        Returns:
            Its result.
        """
        return await asyncio.wrap_future(self.submit(work))


_RUNNING = threading.Lock()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    # A thread that was told to stop may still be in the loop.
    with _RUNNING:
        asyncio.set_event_loop(loop)
        loop.run_forever()


@lru_cache(maxsize=1)
def shared_loop_thread() -> LoopThread:
    """Return the thread that all LightRAG objects of this process share."""
    return LoopThread()
