"""Call a model that may fail, again after a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from llama_index_raganything.errors import DashScopeError
from llama_index_raganything.models.dashscope.api.failures import FATAL_ERRORS
from llama_index_raganything.workers import Failure

Result = TypeVar("Result")


class FinalFailure(Failure):
    """Why a call failed, for a reason that every further call would meet too."""


async def attempt(call: Callable[[], Awaitable[Result]], max_retries: int, retry_seconds: float) -> Result | Failure:
    """Await a call, and again when it raises; not so for DashScope's errors, which its own layer has retried.

    Args:
        call: Makes the awaitable, anew for each attempt.
        max_retries: Number of further attempts.
        retry_seconds: Seconds before the first retry; doubled for each further one.

    Returns:
        The result, or why the last attempt failed.
    """
    failure = Failure("not attempted")
    for number in range(max_retries + 1):
        if number:
            await asyncio.sleep(retry_seconds * 2 ** (number - 1))
        try:
            return await call()
        except DashScopeError as error:
            return FinalFailure.of(error) if isinstance(error, FATAL_ERRORS) else Failure.of(error)
        except Exception as error:  # noqa: BLE001  # clients of models raise anything; the caller reports the reason
            failure = Failure.of(error)
    return failure
