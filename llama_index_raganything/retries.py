"""Retry calls of models with exponential backoff; DashScope's are retried in ``models/dashscope/client.py``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential

from llama_index_raganything.errors import ErrorKind, Failure, RAGAnythingError, failure_kind

Result = TypeVar("Result")


async def attempt(call: Callable[[], Awaitable[Result]], max_retries: int, retry_s: float) -> Result | Failure:
    """Await a call, retrying it when it raises.

    This package's own errors are not retried: its models have already done so where it helps.

    Args:
        call: Makes a new awaitable for each attempt.
        max_retries: Number of attempts after the first.
        retry_s: Seconds before the first retry; doubled for each further one.

    Returns:
        The result, or why the last attempt failed.
    """

    async def called() -> Result:  # Tenacity awaits the results of coroutine functions only.
        return await call()

    retrying = AsyncRetrying(
        stop=stop_after_attempt(max_retries + 1),
        wait=wait_exponential(retry_s),
        retry=retry_if_exception(_may_pass),
        reraise=True,
    )
    try:
        return await retrying(called)
    except Exception as error:  # noqa: BLE001  # clients of models raise anything; the caller reports the reason
        return Failure.of(error)


def _may_pass(error: BaseException) -> bool:
    return (
        isinstance(error, Exception)
        and not isinstance(error, RAGAnythingError)
        and failure_kind(error) is not ErrorKind.FATAL
    )
