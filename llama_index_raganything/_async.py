"""Async twins of blocking methods, and what they share."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Concatenate, ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def in_thread(
    method: Callable[Concatenate[Any, _Arguments], _Result],
) -> Callable[Concatenate[Any, _Arguments], Coroutine[Any, Any, _Result]]:
    """Return the async twin of a method: it runs the method, or what a subclass has in its place, in a thread.

    >>> class Store:
    ...     def count(self) -> int:
    ...         return 3
    ...     acount = in_thread(count)
    >>> asyncio.run(Store().acount())
    3

    Args:
        method: A method of the class in whose body this is called.
    """
    name = method.__name__

    @functools.wraps(method)
    async def twin(self: Any, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        call: Callable[_Arguments, _Result] = getattr(self, name)
        return await asyncio.to_thread(call, *args, **kwargs)

    twin.__name__ = f"a{name}"
    twin.__qualname__ = f"{method.__qualname__.removesuffix(name)}a{name}"
    twin.__doc__ = f"Do what :meth:`{name}` does without blocking the event loop."
    return twin


async def gather(work: Iterable[Coroutine[Any, Any, _Result]]) -> list[_Result]:
    """Await all and return the results in order; the first failure cancels the others, which asyncio leaves running."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
