"""Calls of DashScope's native protocol: embeddings and rerank, which the OpenAI-compatible one lacks or half has.

The ``dashscope`` SDK is not used for them: its base URL is one for the whole process, it returns errors as objects
that callers forget to look at, it does not retry, it uploads local images to a storage of Alibaba Cloud, and
importing it takes over a second (dashscope 2.0.2). Tests hold the requests against those that the SDK sends.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
from llama_index.core.callbacks import CallbackManager
from pydantic import BaseModel, Field, PrivateAttr, SecretStr
from pydantic_core import from_json

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.models.dashscope.api.credentials import resolve_api_key
from llama_index_raganything.models.dashscope.api.endpoints import Endpoints
from llama_index_raganything.models.dashscope.api.failures import (
    error_from_exception,
    error_from_response,
    protocol_error,
    redirect_error,
)
from llama_index_raganything.models.dashscope.api.http import ConcurrencyLimit, HTTPClients

TEXT_EMBEDDING_PATH = "/services/embeddings/text-embedding/text-embedding"
MULTIMODAL_EMBEDDING_PATH = "/services/embeddings/multimodal-embedding/multimodal-embedding"
RERANK_PATH = "/services/rerank/text-rerank/text-rerank"
FLAT_RERANK_PATH = "/reranks"


class DashScopeClient:
    """Posts JSON to DashScope's native protocol and returns JSON, or raises a typed error.

    Args:
        endpoints: Where the service is.
        timeout: Seconds without a sign from the service after which a call fails.
        max_retries: Requests that are sent again after 429 and 5xx.
        max_concurrency: Requests at the same time; callers keep to it through :attr:`limit`.
    """

    def __init__(
        self,
        api_key: SecretStr,
        endpoints: Endpoints,
        timeout: float = 60.0,
        max_retries: int = 2,
        max_concurrency: int = 8,
    ) -> None:
        self.endpoints = endpoints
        self._api_key = api_key
        self.limit = ConcurrencyLimit(max_concurrency)
        self._clients = HTTPClients(timeout, max_retries, max_concurrency)

    def url(self, path: str, base: str = "") -> str:
        """Return the URL of a route.

        Args:
            path: The route below the base, with a slash in front.
            base: Path of another base than the native one.
        """
        return (self.endpoints.beside(base) if base else self.endpoints.native) + path

    def post(self, path: str, body: Mapping[str, Any], *, base: str = "") -> dict[str, Any]:
        """Post a request.

        Args:
            path: The route below the base.
            base: Path of another base than the native one.

        Returns:
            The answer.

        Raises:
            DashScopeError: It failed, after the retries; the subclass says why.
        """
        url = self.url(path, base)
        try:
            response = self._clients.sync().post(url, content=encoded(body), headers=self._headers())
        except httpx.HTTPError as error:
            raise error_from_exception(error, url) from error
        return _answer(response)

    async def apost(self, path: str, body: Mapping[str, Any], *, base: str = "") -> dict[str, Any]:
        """Post a request without blocking the event loop; see :meth:`post`.

        Args:
            path: The route below the base.
            base: Path of another base than the native one.

        Returns:
            The answer.
        """
        url = self.url(path, base)
        try:
            response = await self._clients.asynchronous().post(url, content=encoded(body), headers=self._headers())
        except httpx.HTTPError as error:
            raise error_from_exception(error, url) from error
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
    """Return a request as it is sent; what is no Unicode is sent as "?"."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _answer(response: httpx.Response) -> dict[str, Any]:
    if response.status_code >= 400:
        raise error_from_response(response.status_code, response.content, response.headers)
    if response.status_code >= 300:
        raise redirect_error(response.status_code, response.headers, str(response.request.url))
    place = urlsplit(str(response.request.url)).path
    try:
        value = from_json(response.content)  # Three times as fast on vectors as the standard library.
    except ValueError as error:
        kind = response.headers.get("content-type", "no content type")
        problem = f"{place} answered {response.status_code} without JSON ({kind})"
        raise protocol_error(problem) from error
    if not isinstance(value, dict):
        problem = f"{place} answered with a {type(value).__name__} and not with an object"
        raise protocol_error(problem)
    if value.get("code") and not value.get("output"):
        raise error_from_response(response.status_code, response.content, response.headers)
    return value


_connecting = threading.Lock()
"""Held while a model opens its connection: threads that do it together would each count their own requests."""


@strict_arguments
class DashScopeConnection(BaseModel):
    """Fields and connection of a model, to be mixed into one of LlamaIndex's components.

    Args:
        api_key: DashScope's key. Never shown, pickled or written.
        api_base: Host, base or full route of the service; by default that of ``region`` and ``workspace``.
        region: Region of the key; Beijing by default.
        workspace: Workspace with an address of its own.
        timeout: Seconds without a sign from the service after which a call fails.
        max_retries: Requests that are sent again after 429 and 5xx.
        max_concurrency: Requests at the same time, over all calls.
    """

    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False, description="DashScope's API key.")
    api_base: str | None = Field(default=None, description="Host, base or full route of the service.")
    region: str | None = Field(default=None, description="Region of the key.")
    workspace: str | None = Field(default=None, description="Workspace with an address of its own.")
    timeout: float = Field(default=60.0, gt=0, description="Seconds to wait for a sign from the service.")
    max_retries: int = Field(default=2, ge=0, description="Requests sent again after 429 and 5xx.")
    max_concurrency: int = Field(default=4, ge=1, description="Requests at the same time.")

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
                    # A copy made by pickling has none, and takes that of its environment.
                    resolve_api_key(self.api_key),
                    Endpoints.resolve(self.api_base, self.region, self.workspace),
                    self.timeout,
                    self.max_retries,
                    self.max_concurrency,
                )
            return self._client

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: neither the key nor connections, nor who listens.

        LlamaIndex's own form takes what it cannot pickle from the object itself (llama-index-core 0.14).
        """
        state = cast(dict[str, Any], BaseModel.__getstate__(self))
        state["__dict__"] = {**state["__dict__"], "api_key": None, "callback_manager": CallbackManager([])}
        state["__pydantic_private__"] = {**(state["__pydantic_private__"] or {}), "_client": None}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore it as it was; the key comes from the environment with the first call."""
        BaseModel.__setstate__(self, state)
