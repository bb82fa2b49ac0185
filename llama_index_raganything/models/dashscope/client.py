"""HTTP clients that retry, and calls of DashScope's native protocol: embeddings and rerank.

Only 429 (unless the quota is exhausted) and 5xx are retried, before any of the answer has been passed on. Broken
connections and time-outs are not: the service may have done the work, and charges for it. Retries happen in ``send``,
below the OpenAI client and LlamaIndex, so theirs can be off and nothing multiplies. The clients subclass httpx's,
because httpx ignores the environment's proxies if given a transport.

The ``dashscope`` SDK is not used: its base URL is global to the process, it returns errors as objects that callers
forget to check, it does not retry, it uploads local images to Alibaba Cloud's storage, and importing it takes over a
second (dashscope 2.0.2). Tests compare the requests with the SDK's.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import random
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import httpx
from llama_index.core.callbacks import CallbackManager
from pydantic import BaseModel, Field, PrivateAttr, SecretStr
from pydantic_core import from_json

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything._pickling import Named
from llama_index_raganything.models.dashscope import failures
from llama_index_raganything.models.dashscope.endpoints import Endpoints, resolve_api_key

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to retry a request, and after what delay.

    Attributes:
        max_retries: Maximum number of retries.
        base_s: Maximum wait before the first retry after 5xx; doubled for each further one ("full jitter",
            https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
        rate_limit_s: The same after 429: limits apply per second and per minute.
        max_s: Maximum wait. If the service asks for more, there is no retry.
    """

    max_retries: int = 2
    base_s: float = 0.5
    rate_limit_s: float = 2.0
    max_s: float = 20.0

    def seconds_before_retry(self, attempt: int, response: httpx.Response) -> float | None:
        """Return how long to wait before the next request.

        Args:
            attempt: Number of retries so far.
            response: An answer whose body has been read.

        Returns:
            Seconds; None if the answer is final.
        """
        if response.status_code < 400 or attempt >= self.max_retries:
            return None
        if not failures.is_transient(
            failures.error_from_response(response.status_code, response.content, response.headers)
        ):
            return None
        asked = failures.retry_after_seconds(response.headers)
        if asked is not None:
            # Slightly later than asked, and spread out.
            return asked * random.uniform(1, 1.1) if asked <= self.max_s else None  # noqa: S311  # as below
        base = self.rate_limit_s if response.status_code == 429 else self.base_s
        return random.uniform(0, min(self.max_s, base * 2**attempt))  # noqa: S311  # jitter, not security


class _Retrying:
    def __init__(self, *, retry: RetryPolicy | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.retry = retry or RetryPolicy()


class RetryingClient(_Retrying, httpx.Client):
    """An httpx client that retries by a policy.

    Args:
        retry: The policy.
        **options: Those of ``httpx.Client``.
    """

    def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
        """Send a request, retrying where that may help.

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


class AsyncRetryingClient(_Retrying, httpx.AsyncClient):
    """Async twin of :class:`RetryingClient`."""

    async def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
        """Async twin of :meth:`RetryingClient.send`."""
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
    # Errors and answers keep their request, and error trackers record both.
    request.headers.pop("authorization", None)


def _log(request: httpx.Request, response: httpx.Response, attempt: int, max_retries: int, wait: float) -> None:
    place = f"{request.url.host}{request.url.path}"
    logger.info("%s answered %d; retry %d of %d in %.1f s", place, response.status_code, attempt, max_retries, wait)


_Shared = TypeVar("_Shared")


class _PerLoop(WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared]):
    """What the tasks of each event loop share."""

    def of_running_loop(self) -> _Shared | None:
        """Return what the running loop has, after forgetting closed loops: what refers to them keeps them alive."""
        for ended in [known for known in self if known.is_closed()]:
            del self[ended]
        return self.get(asyncio.get_running_loop())


class ConcurrencyLimit:
    """Limits concurrent requests; an unpickled copy counts anew.

    Args:
        workers: Concurrent requests of all threads, and of all tasks of one event loop.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.threads = threading.BoundedSemaphore(workers)
        """The semaphore that a thread holds during its request."""
        self._tasks: _PerLoop[asyncio.Semaphore] = _PerLoop()
        self._lock = threading.Lock()

    @property
    def tasks(self) -> asyncio.Semaphore:
        """The semaphore that a task of the running event loop holds during its request."""
        with self._lock:
            known = self._tasks.of_running_loop()
            return known or self._tasks.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self.workers))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.workers,)


_CONNECT_SECONDS = 10.0


class HTTPClients:
    """Opens HTTP clients on first use: one for threads, one per event loop; an unpickled copy opens its own.

    Args:
        timeout_s: Seconds without a sign of the service after which a call fails.
        max_retries: Retries after 429 and 5xx.
        workers: Connections kept open between calls.
    """

    def __init__(self, timeout_s: float = 60.0, max_retries: int = 2, workers: int = 8) -> None:
        self.timeout_s = timeout_s
        self.max_retries = max_retries
        self.workers = workers
        self._lock = threading.Lock()
        self._sync: RetryingClient | None = None
        self._asynchronous: _PerLoop[AsyncRetryingClient] = _PerLoop()

    def sync(self) -> RetryingClient:
        """Return the client for blocking calls, shared by all threads."""
        with self._lock:
            if self._sync is None or self._sync.is_closed:
                self._sync = RetryingClient(**self._options())
            return self._sync

    def asynchronous(self) -> AsyncRetryingClient:
        """Return the client of the running event loop: connections belong to the loop that opened them."""
        with self._lock:
            client = self._asynchronous.of_running_loop()
            if client is None or client.is_closed:
                client = self._asynchronous[asyncio.get_running_loop()] = AsyncRetryingClient(**self._options())
            return client

    def close(self) -> None:
        """Close the blocking client; those of event loops end with their loops or :meth:`aclose`."""
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

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.timeout_s, self.max_retries, self.workers)

    def _options(self) -> dict[str, Any]:
        return {
            "verify": _certificates(),
            "retry": RetryPolicy(max_retries=self.max_retries),
            # Waiting for a free connection does not mean a slow service, so it has no limit.
            "timeout": httpx.Timeout(self.timeout_s, connect=min(self.timeout_s, _CONNECT_SECONDS), pool=None),
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=max(1, self.workers)),
        }


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Return the trusted certificates, shared by all clients because reading them takes longer than an answer."""
    return httpx.create_ssl_context()


TEXT_EMBEDDING_PATH = "/services/embeddings/text-embedding/text-embedding"
MULTIMODAL_EMBEDDING_PATH = "/services/embeddings/multimodal-embedding/multimodal-embedding"
RERANK_PATH = "/services/rerank/text-rerank/text-rerank"
FLAT_RERANK_PATH = "/reranks"


class DashScopeClient:
    """Posts JSON to DashScope's native protocol and returns JSON, or raises a typed error.

    Args:
        timeout_s: Seconds without a sign of the service after which a call fails.
        max_retries: Retries after 429 and 5xx.
        workers: Concurrent requests; callers respect it through :attr:`limit`.
    """

    def __init__(
        self,
        api_key: SecretStr,
        endpoints: Endpoints,
        timeout_s: float = 60.0,
        max_retries: int = 2,
        workers: int = 8,
    ) -> None:
        self.endpoints = endpoints
        self._api_key = api_key
        self.limit = ConcurrencyLimit(workers)
        self._clients = HTTPClients(timeout_s, max_retries, workers)

    def url(self, path: str, base: str = "") -> str:
        """Return the URL of a route below the native base, or below the path of another one."""
        return (self.endpoints.beside(base) if base else self.endpoints.native) + path

    def post(self, path: str, body: Mapping[str, Any], *, base: str = "") -> dict[str, Any]:
        """Post a request and return the answer.

        Args:
            path: Route below the base.
            base: Path of another base than the native one.

        Raises:
            DashScopeError: It failed after all retries; the subclass says why.
        """
        url = self.url(path, base)
        try:
            response = self._clients.sync().post(url, content=encoded(body), headers=self._headers())
        except httpx.HTTPError as error:
            raise failures.error_from_exception(error, url) from error
        return _answer(response)

    async def apost(self, path: str, body: Mapping[str, Any], *, base: str = "") -> dict[str, Any]:
        """Async twin of :meth:`post`."""
        url = self.url(path, base)
        try:
            response = await self._clients.asynchronous().post(url, content=encoded(body), headers=self._headers())
        except httpx.HTTPError as error:
            raise failures.error_from_exception(error, url) from error
        return _answer(response)

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        self._clients.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._clients.aclose()

    def _headers(self) -> dict[str, str]:
        return {
            "authorization": f"Bearer {self._api_key.get_secret_value()}",
            "content-type": "application/json",
            "accept": "application/json",
        }


def encoded(body: Mapping[str, Any]) -> bytes:
    """Return a request as bytes, with "?" in place of invalid Unicode."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _answer(response: httpx.Response) -> dict[str, Any]:
    if response.status_code >= 400:
        raise failures.error_from_response(response.status_code, response.content, response.headers)
    if response.status_code >= 300:
        raise failures.redirect_error(response.status_code, response.headers, str(response.request.url))
    place = urlsplit(str(response.request.url)).path
    try:
        value = from_json(response.content)  # On vectors three times as fast as the standard library.
    except ValueError as error:
        kind = response.headers.get("content-type", "no content type")
        problem = f"{place} answered {response.status_code} without JSON ({kind})"
        raise failures.protocol_error(problem) from error
    if not isinstance(value, dict):
        problem = f"{place} answered with a {type(value).__name__} and not with an object"
        raise failures.protocol_error(problem)
    if value.get("code") and not value.get("output"):
        raise failures.error_from_response(response.status_code, response.content, response.headers)
    return value


_connecting = threading.Lock()
"""Held while a model opens its connection: concurrent threads would each count their own requests."""


@strict_arguments
class DashScopeConnection(Named, BaseModel):
    """Mixin with the fields and the connection of a model, for LlamaIndex's components.

    Args:
        api_key: DashScope's key; by default ``DASHSCOPE_API_KEY``. Never shown, pickled or serialised.
        api_base: Host, base URL or full route of the service; by default that of ``region`` and ``workspace``.
        region: Region of the key, such as ``ap-southeast-1``; Beijing by default.
        workspace: Workspace with its own address.
        timeout_s: Seconds without a sign of the service after which a call fails.
        max_retries: Retries after 429 and 5xx.
        workers: Concurrent requests over all calls.
    """

    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False, description="DashScope's API key.")
    api_base: str | None = Field(default=None, description="Host, base or full route of the service.")
    region: str | None = Field(default=None, description="Region of the key.")
    workspace: str | None = Field(default=None, description="Workspace with an address of its own.")
    timeout_s: float = Field(default=60.0, gt=0, description="Seconds to wait for a sign from the service.")
    max_retries: int = Field(default=2, ge=0, description="Requests sent again after 429 and 5xx.")
    workers: int = Field(default=4, ge=1, description="Requests at the same time.")

    _client: DashScopeClient | None = PrivateAttr(default=None)

    def close(self) -> None:
        """Close the connections of blocking calls; the next call opens new ones."""
        if self._client is not None:
            self._client.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        if self._client is not None:
            await self._client.aclose()

    def _connected(self) -> DashScopeClient:
        with _connecting:
            if self._client is None:
                self._client = DashScopeClient(
                    # An unpickled copy has no key and uses that of its environment.
                    resolve_api_key(self.api_key),
                    Endpoints.resolve(self.api_base, self.region, self.workspace),
                    self.timeout_s,
                    self.max_retries,
                    self.workers,
                )
            return self._client

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without key, connections and callbacks.

        LlamaIndex's own implementation removes what it cannot pickle from the object itself (llama-index-core 0.14).
        """
        state = cast(dict[str, Any], BaseModel.__getstate__(self))
        state["__dict__"] = {**state["__dict__"], "api_key": None, "callback_manager": CallbackManager([])}
        state["__pydantic_private__"] = {**(state["__pydantic_private__"] or {}), "_client": None}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state; the key is read from the environment at the first call."""
        BaseModel.__setstate__(self, state)
