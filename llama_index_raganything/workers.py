"""Run a function over many items in threads or in worker processes."""

from __future__ import annotations

import contextvars
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TypeVar

from tqdm import tqdm

from llama_index_raganything.errors import RAGAnythingError
from llama_index_raganything.modalities import packed_modalities, unpack_modalities

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """Why one item failed, in a form that crosses process borders."""

    reason: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe an exception in one line; typed errors carry their own text."""
        text = str(error) if isinstance(error, RAGAnythingError) else f"{type(error).__name__}: {error}"
        return cls(" ".join(text.split()))


def map_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], num_workers: int
) -> Iterator[Result | Failure]:
    """Apply a function to items in worker processes and yield the outcomes in order.

    Workers are spawned, not forked, because Milvus Lite, OCR and pdfium hold threads and locks. When a
    worker dies (out of memory, a crash in native code) every unfinished item of its pool is lost with it,
    so the next item is tried again alone: if that worker dies too, the item is to blame; the rest goes on.

    Args:
        function: An importable function of one picklable item.
        items: The items.
        num_workers: Number of processes.

    Yields:
        The result of each item, or its failure.

    Raises:
        ConfigurationError: A registered modality cannot be handed to another process.
    """
    position = 0
    while position < len(items):
        with _pool(num_workers) as pool:
            for future in [pool.submit(_guarded, function, item) for item in items[position:]]:
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    break
                position += 1
                yield outcome
        if position < len(items):
            yield _alone(function, items[position])
            position += 1


def map_in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], num_workers: int, progress: str = ""
) -> list[Result]:
    """Apply a function to items in threads and return the results in order.

    Args:
        function: A function of one item; when it raises, items that have not begun are left.
        items: The items.
        num_workers: Number of threads at most.
        progress: Text of a progress bar; empty for none.

    Returns:
        The result of each item.
    """
    if not items:
        return []
    with ThreadPoolExecutor(min(num_workers, len(items))) as pool:
        try:
            # Each with the caller's context, in which LlamaIndex keeps its spans and callbacks.
            jobs = [pool.submit(contextvars.copy_context().run, function, item) for item in items]
            return [job.result() for job in tqdm(jobs, desc=progress, disable=not progress)]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _pool(num_workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        max_workers=num_workers,
        mp_context=multiprocessing.get_context("spawn"),
        # A spawned process knows nothing of what was registered in this one.
        initializer=unpack_modalities,
        initargs=(packed_modalities(),),
    )


def _alone(function: Callable[[Item], Result], item: Item) -> Result | Failure:
    with _pool(1) as pool:
        try:
            return pool.submit(_guarded, function, item).result()
        except BrokenProcessPool:
            return Failure(
                "The worker process died: out of memory, a crash in native code, or a script that starts "
                "workers without `if __name__ == '__main__':`."
            )


def _guarded(function: Callable[[Item], Result], item: Item) -> Result | Failure:
    try:
        return function(item)
    except Exception as error:  # noqa: BLE001  # the caller reports the reason
        return Failure.of(error)
