"""Run a function over many items: here, in worker processes or in threads.

:func:`run_batch` drives everything that reads files, for the reader and for ingestion alike: it decides between this
process and workers, and owns time limits, order, progress and cancelling.
"""

from __future__ import annotations

import contextvars
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

from tqdm import tqdm

from llama_index_raganything.errors import ConfigurationError, Failure, RAGAnythingError
from llama_index_raganything.modalities import packed_modalities, unpack_modalities

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD: Final = 8
"""Items per worker process that are begun before the caller has taken the oldest result: results are held in memory."""


@dataclass(frozen=True)
class TimedOut(Failure):
    """An item took longer than it may."""


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """What became of one item of a batch.

    Attributes:
        item: The item.
        result: What the function returned, or why it failed.
        in_worker: Whether another process worked on it, whose events and logs this one has not seen.
    """

    item: Item
    result: Result | Failure
    in_worker: bool = False


def run_batch(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int = 1,
    timeout_s: float | None = None,
    for_worker: Callable[[Item], bool] = lambda _: True,
    prepare: Callable[[Item], Item] | None = None,
    progress: str = "",
    name: Callable[[Item], str] = str,
) -> Generator[Outcome[Item, Result], None, None]:
    """Apply a function to items and yield the outcomes in order; one that fails does not stop the others.

    The work is done in worker processes where there are several workers and items, or a time limit: only a process
    can be stopped. Closing the generator ends them and leaves all other items.

    Args:
        function: A function of one item; importable, for worker processes.
        workers: Number of processes.
        timeout_s: Maximum seconds per item.
        for_worker: Whether an item may go to a worker process; others are done in this one.
        prepare: Turns an item into one that can be pickled, just before it is sent to a worker process.
        progress: Label of a progress bar; empty for none.
        name: Name of an item in the progress bar.

    Raises:
        ConfigurationError: As :func:`map_in_processes`.
    """
    sent = [item for item in items if for_worker(item)]
    in_workers = timeout_s is not None or (workers > 1 and len(sent) > 1)
    results = map_in_processes(function, sent if in_workers else (), workers, timeout_s=timeout_s, prepare=prepare)
    bar = tqdm(total=len(items), desc=progress, disable=not progress)
    with closing(results), bar:
        for item in items:
            bar.set_postfix_str(name(item)[:40])
            if in_workers and for_worker(item):
                result = next(results)
                if isinstance(result, TimedOut):
                    result = TimedOut(f"{result.reason} Raise the reader's parse_timeout_s to wait longer.")
                yield Outcome(item, result, in_worker=True)
            else:
                try:
                    outcome: Result | Failure = function(item)
                except Exception as error:  # noqa: BLE001  # the caller reports the reason
                    outcome = Failure.of(error)
                yield Outcome(item, outcome)
            bar.update()


def map_in_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    *,
    timeout_s: float | None = None,
    prepare: Callable[[Item], Item] | None = None,
) -> Generator[Result | Failure, None, None]:
    """Apply a function to items in worker processes and yield the outcomes in order.

    Workers are spawned, not forked, because Milvus Lite, OCR and pdfium hold threads and locks. Each has one item at
    a time, so a worker that dies (out of memory, a crash in native code) or takes too long costs that item alone.
    No library does that: with pebble, what a stopped worker has started lives on, and so do the workers of a caller
    that is killed; with loky, a worker that dies takes the whole batch with it.

    Args:
        function: An importable function of one picklable item.
        workers: Number of processes.
        timeout_s: Maximum seconds per item, without the start of its process. The worker is ended then, with the
            processes that it has started.
        prepare: Turns an item into one that can be pickled, in this process.

    Yields:
        The result of each item, or its failure.

    Raises:
        ConfigurationError: A registered modality cannot be handed to another process, or this process is a worker
            that may not have workers of its own.
    """
    if not items:
        return
    _refuse_in_pool()
    count = min(workers, len(items))
    modalities = packed_modalities()
    processes = [_Worker(modalities) for _ in range(count)]
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for worker in processes:
        idle.put(worker)

    def run(item: Item) -> Result | Failure:
        worker = idle.get()
        try:
            sent = item if prepare is None else prepare(item)
            outcome: Result | Failure = worker.run(function, sent, timeout_s)
            return outcome
        except RAGAnythingError as error:
            return Failure.of(error)
        finally:
            idle.put(worker)

    # A thread waits for each process, so that all have work while the caller handles an outcome.
    threads = ThreadPoolExecutor(count, thread_name_prefix="raganything-worker")
    begun: deque[Future[Result | Failure]] = deque()
    try:
        for item in items:
            begun.append(threads.submit(run, item))
            if len(begun) == _AHEAD * count:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for worker in processes:
            worker.stop()
        threads.shutdown()  # Each thread sees its process end; only then is nobody at the pipes any more.
        for worker in processes:
            worker.close()


def map_in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, progress: str = ""
) -> list[Result]:
    """Apply a function to items in threads and return the results in order.

    Args:
        function: A function of one item; when it raises, items that have not begun are left.
        workers: Number of threads at most.
        progress: Text of a progress bar; empty for none.

    Returns:
        The result of each item.
    """
    if not items:
        return []
    with ThreadPoolExecutor(min(workers, len(items))) as pool:
        try:
            # Each with the caller's context, in which LlamaIndex keeps its spans and callbacks.
            jobs = [pool.submit(contextvars.copy_context().run, function, item) for item in items]
            return [job.result() for job in tqdm(jobs, desc=progress, disable=not progress)]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _refuse_in_pool() -> None:
    if multiprocessing.current_process().daemon:
        message = (
            "This process is a worker of a pool, as those of SimpleDirectoryReader with num_workers are, and may not "
            "start further ones; leave out parse_timeout_s and workers there, or read outside of the pool."
        )
        raise ConfigurationError(message)


class _Worker:
    """A process that works on one item at a time; started with the first item, and again when it has died.

    Args:
        modalities: Those registered in this process; a spawned one starts without them.
    """

    def __init__(self, modalities: Any) -> None:
        self._modalities = modalities
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def run(self, function: Callable[[Any], Any], item: Any, timeout_s: float | None) -> Any:
        """Return the result of the function for an item, or why it failed."""
        try:
            pipe = self._started()
            pipe.send((function, item))
            pipe.recv()  # It has begun: importing what the item needs takes seconds and is no fault of the item.
            if timeout_s is not None and not pipe.poll(timeout_s):
                self.close()
                return TimedOut(f"It took longer than {timeout_s:g} s and was stopped.")
            return pipe.recv()
        except (EOFError, OSError):
            self.close()
            return Failure(
                "The worker process died: out of memory, a crash in native code, or a script that starts "
                "workers without `if __name__ == '__main__':`."
            )

    def stop(self) -> None:
        """End the process for good, also while it works."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                _kill(self._process)

    def close(self) -> None:
        """End the process; the next item starts another one."""
        with self._lock:
            process, self._process = self._process, None
            pipe, self._pipe = self._pipe, None
            if process is not None:
                _kill(process)
            if pipe is not None:
                pipe.close()

    def _started(self) -> Connection:
        with self._lock:
            if self._stopped:
                raise EOFError
            if self._pipe is None:
                context = multiprocessing.get_context("spawn")
                self._pipe, theirs = context.Pipe()
                self._process = context.Process(target=_serve, args=(theirs, self._modalities))
                self._process.start()
                theirs.close()  # Else its end would not be noticed.
            return self._pipe


def _kill(process: SpawnProcess) -> None:
    """End a process with those that it has started, such as a parser's."""
    if process.pid is None:  # Python refused to start it.
        return
    try:
        # Asked of the system: the group of a process that has just begun is still ours.
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
    except (AttributeError, OSError):  # Windows knows no groups; a process may be gone.
        pass
    process.kill()
    process.join()


def _serve(pipe: Connection, modalities: Any) -> None:
    """Work on items as they come, until the other end is closed."""
    if hasattr(os, "setsid"):
        os.setsid()
    threading.Thread(target=_end_with_caller, daemon=True).start()
    unpack_modalities(modalities)
    while True:
        try:
            function, item = pipe.recv()
        except EOFError:
            return
        except Exception as error:  # noqa: BLE001  # the caller reports the reason
            pipe.send(None)
            pipe.send(_portable_failure(error))
            continue
        pipe.send(None)
        try:
            outcome = function(item)
        except Exception as error:  # noqa: BLE001  # as above
            outcome = _portable_failure(error)
        try:
            pipe.send(outcome)
        except Exception as error:  # noqa: BLE001  # a result that does not pickle
            pipe.send(_portable_failure(error))


def _end_with_caller() -> None:
    """End this process, and what it has started, when the one that gives it work is killed: it may work for hours."""
    caller = multiprocessing.parent_process()
    if caller is None:
        return
    caller.join()
    if hasattr(os, "killpg"):
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def _portable_failure(error: Exception) -> Failure:
    """Describe an error; it is kept where it is one of the package and survives pickling."""
    failure = Failure.of(error)
    if not isinstance(error, RAGAnythingError):
        return replace(failure, error=None)
    try:
        pickle.loads(pickle.dumps(failure))  # noqa: S301  # what this process has just written
    except Exception:  # noqa: BLE001  # a subclass whose arguments are not those of its constructor
        return replace(failure, error=None)
    return failure
