"""The one retry layer: httpx clients that send a request again where DashScope asks for it.

Only 429 (unless the quota is used up) and 5xx are sent again, before anything of the answer has been handed on. A
broken connection or a time-out is not: the service may have done the work, and charges for it. Retrying lives in
``send``, below the OpenAI client and LlamaIndex, so that theirs can be off and nothing multiplies. Subclasses of the
clients, and not a transport, because httpx ignores the proxies of the environment when it is given a transport.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from typing import Any

import httpx

from llama_index_raganything.models.dashscope.api.failures import error_from_response, is_transient, retry_after_seconds

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When and after how long a request is sent again.

    Attributes:
        max_retries: Requests after the first one.
        base_seconds: Longest wait before the first retry after 5xx; it doubles with each ("full jitter",
            https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
        rate_limit_seconds: The same after 429: limits count by the second and by the minute.
        max_seconds: Longest wait of all. A service that asks for more gets no further request.
    """

    max_retries: int = 2
    base_seconds: float = 0.5
    rate_limit_seconds: float = 2.0
    max_seconds: float = 20.0

    def seconds_before_retry(self, attempt: int, response: httpx.Response) -> float | None:
        """Return how long to wait before the next request.

        Args:
            attempt: How many requests were sent again already.
            response: An answer whose body has been read.

        Returns:
            Seconds; None when the answer is final.
        """
        if response.status_code < 400 or attempt >= self.max_retries:
            return None
        if not is_transient(error_from_response(response.status_code, response.content, response.headers)):
            return None
        asked = retry_after_seconds(response.headers)
        if asked is not None:
            # A little later than asked, and not all at the same moment.
            return asked * random.uniform(1, 1.1) if asked <= self.max_seconds else None  # noqa: S311  # as below
        base = self.rate_limit_seconds if response.status_code == 429 else self.base_seconds
        return random.uniform(0, min(self.max_seconds, base * 2**attempt))  # noqa: S311  # spreads, protects nothing


class RetryingClient(httpx.Client):
    """An httpx client that retries as a policy says.

    Args:
        retry: The policy.
        **options: Those of ``httpx.Client``.
    """

    def __init__(self, *, retry: RetryPolicy | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.retry = retry or RetryPolicy()

    def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
        """Send a request, and again where that may help.

        Args:
            stream: Leave the body of a good answer unread.
            **options: Those of ``httpx.Client.send``.

        Returns:
            The last answer; the body of an error has been read.
        """
        try:
            attempt = 0
            while True:
                response = super().send(request, stream=stream, **options)
                if response.status_code >= 400:
                    response.read()
                wait = self.retry.seconds_before_retry(attempt, response)
                if wait is None:
                    return response
                response.close()
                attempt += 1
                _log(request, response, attempt, self.retry.max_retries, wait)
                time.sleep(wait)
        finally:
            _forget_key(request)


class AsyncRetryingClient(httpx.AsyncClient):
    """The async twin of :class:`RetryingClient`.

    Args:
        retry: The policy.
        **options: Those of ``httpx.AsyncClient``.
    """

    def __init__(self, *, retry: RetryPolicy | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.retry = retry or RetryPolicy()

    async def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
        """Send a request, and again where that may help; see :meth:`RetryingClient.send`.

        Args:
            stream: Leave the body of a good answer unread.
            **options: Those of ``httpx.AsyncClient.send``.

        Returns:
            The last answer; the body of an error has been read.
        """
        try:
            attempt = 0
            while True:
                response = await super().send(request, stream=stream, **options)
                if response.status_code >= 400:
                    await response.aread()
                wait = self.retry.seconds_before_retry(attempt, response)
                if wait is None:
                    return response
                await response.aclose()
                attempt += 1
                _log(request, response, attempt, self.retry.max_retries, wait)
                await asyncio.sleep(wait)
        finally:
            _forget_key(request)


def _forget_key(request: httpx.Request) -> None:
    # Errors and answers hold on to their request, and trackers of errors look into both.
    request.headers.pop("authorization", None)


def _log(request: httpx.Request, response: httpx.Response, attempt: int, max_retries: int, wait: float) -> None:
    place = f"{request.url.host}{request.url.path}"
    logger.info("%s answered %d; retry %d of %d in %.1f s", place, response.status_code, attempt, max_retries, wait)
