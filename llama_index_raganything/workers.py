"""Run a function over many items in worker processes, one failure never stopping the others."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TypeVar

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
