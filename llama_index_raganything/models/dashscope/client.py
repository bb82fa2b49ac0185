"""Calls of DashScope's native protocol: embeddings and rerank, which the OpenAI-compatible one lacks or half has.

The ``dashscope`` SDK is not used for them: its base URL is one for the whole process, it returns errors as objects
that callers forget to look at, it does not retry, it uploads local images to a storage of Alibaba Cloud, and
importing it takes over a second (dashscope 2.0.2). Tests hold the requests against those that the SDK sends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr
from pydantic_core import from_json

from llama_index_raganything.models.dashscope.clients import HTTPClients
from llama_index_raganything.models.dashscope.concurrency import ConcurrencyLimit
from llama_index_raganything.models.dashscope.endpoints import Endpoints
from llama_index_raganything.models.dashscope.failures import (
    error_from_exception,
    error_from_response,
    protocol_error,
    redirect_error,
)

TEXT_EMBEDDING_PATH = "/services/embeddings/text-embedding/text-embedding"
MULTIMODAL_EMBEDDING_PATH = "/services/embeddings/multimodal-embedding/multimodal-embedding"
RERANK_PATH = "/services/rerank/text-rerank/text-rerank"
FLAT_RERANK_PATH = "/reranks"


class DashScopeClient:
    """Posts JSON to DashScope's native protocol and returns JSON, or raises a typed error.

    Args:
        api_key: The API key.
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
            body: The request.
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
            body: The request.
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
    """Return a request as it is sent; what is no Unicode is sent as "?".

    Args:
        body: The request.
    """
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
