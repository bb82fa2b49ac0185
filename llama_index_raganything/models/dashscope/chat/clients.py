"""OpenAI's clients as DashScope's chat needs them: nothing of OpenAI's environment, typed errors, whole streams.

They sit below LlamaIndex's ``OpenAI`` class, whose retry decorator knows OpenAI's errors and none of these, so that
the retries of the HTTP clients are the only ones.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, closing
from typing import Any

import httpx
import openai
from openai import AsyncStream, Stream
from openai.types.chat import ChatCompletionChunk
from pydantic import SecretStr

from llama_index_raganything.models.dashscope.chat.errors import (
    CALL_ERRORS,
    ChunkReader,
    checked_completion,
    is_stream,
    typed_error,
    unstreamed_error,
)

_USER_AGENT = "llama-index-raganything"


class ChatClient(openai.OpenAI):
    """A client of the OpenAI-compatible route that raises ``DashScopeError`` only.

    Args:
        api_key: DashScope's key.
        base_url: Base of the compatible protocol.
        http_client: Sends and retries; it stays open when this client is closed.
        headers: Headers to add to every request.
    """

    def __init__(
        self, api_key: SecretStr, base_url: str, http_client: httpx.Client, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(**_options(api_key, base_url, http_client))
        self._own_headers = _headers(api_key, headers)

    @property
    def default_headers(self) -> dict[str, Any]:
        """Headers of every request, without those that the OpenAI client takes from ``OPENAI_*`` variables."""
        return self._own_headers

    def _make_sse_decoder(self) -> Any:
        return _EventsWithData(super()._make_sse_decoder())

    def close(self) -> None:
        """Do nothing: the HTTP client belongs to the LLM."""

    def request(self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
        """Send a request.

        Args:
            stream: Whether the answer is a stream.

        Returns:
            A chat completion, or an iterator of its chunks.

        Raises:
            DashScopeError: It failed.
        """
        url = f"{self.base_url}".rstrip("/") + options.url
        options.json_data = _documented(options.json_data)
        try:
            try:
                answer = super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
            except UnicodeEncodeError:
                options.json_data = _encodable(options.json_data)
                answer = super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
            if not stream:
                return checked_completion(answer, url)
            response = answer.response
            failure = unstreamed_error(
                response.status_code, b"" if is_stream(response.headers) else response.read(), response.headers
            )
        except CALL_ERRORS as error:
            failure = typed_error(error, url)
        if failure is not None:
            raise failure
        return _chunks(answer, url)


class AsyncChatClient(openai.AsyncOpenAI):
    """The async twin of :class:`ChatClient`.

    Args:
        api_key: DashScope's key.
        base_url: Base of the compatible protocol.
        http_client: Sends and retries; it stays open when this client is closed.
        headers: Headers to add to every request.
    """

    def __init__(
        self,
        api_key: SecretStr,
        base_url: str,
        http_client: httpx.AsyncClient,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(**_options(api_key, base_url, http_client))
        self._own_headers = _headers(api_key, headers)

    @property
    def default_headers(self) -> dict[str, Any]:
        """Headers of every request; see :attr:`ChatClient.default_headers`."""
        return self._own_headers

    def _make_sse_decoder(self) -> Any:
        return _EventsWithData(super()._make_sse_decoder())

    async def close(self) -> None:
        """Do nothing: the HTTP client belongs to the LLM."""

    async def request(self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
        """Send a request; see :meth:`ChatClient.request`.

        Args:
            stream: Whether the answer is a stream.

        Returns:
            A chat completion, or an async iterator of its chunks.

        Raises:
            DashScopeError: It failed.
        """
        url = f"{self.base_url}".rstrip("/") + options.url
        options.json_data = _documented(options.json_data)
        try:
            try:
                answer = await super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
            except UnicodeEncodeError:
                options.json_data = _encodable(options.json_data)
                answer = await super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
            if not stream:
                return checked_completion(answer, url)
            response = answer.response
            failure = unstreamed_error(
                response.status_code, b"" if is_stream(response.headers) else await response.aread(), response.headers
            )
        except CALL_ERRORS as error:
            failure = typed_error(error, url)
        if failure is not None:
            raise failure
        return _achunks(answer, url)


def _chunks(stream: Stream[ChatCompletionChunk], url: str) -> Iterator[ChatCompletionChunk]:
    """Yield the chunks of a stream; the connection is free again when the caller has enough."""
    reader = ChunkReader(url, stream.response.headers)
    with closing(stream):
        while True:
            failure = None
            try:
                chunk = next(stream, None)
            except CALL_ERRORS as error:
                failure = reader.failed(error)
            if failure is not None:
                raise failure
            if chunk is None:
                break
            yield from reader.read(chunk)
        reader.end()


async def _achunks(stream: AsyncStream[ChatCompletionChunk], url: str) -> AsyncIterator[ChatCompletionChunk]:
    reader = ChunkReader(url, stream.response.headers)
    async with aclosing(_Closable(stream)):
        while True:
            failure = None
            try:
                chunk = await anext(stream, None)
            except CALL_ERRORS as error:
                failure = reader.failed(error)
            if failure is not None:
                raise failure
            if chunk is None:
                break
            for part in reader.read(chunk):
                yield part
        reader.end()


class _EventsWithData:
    """OpenAI's decoder without the events that have no data, which keep a connection alive and mean nothing.

    https://html.spec.whatwg.org/multipage/server-sent-events.html has them dropped; OpenAI's decoder reads them as JSON
    (openai 2, ``SSEDecoder.decode``), every comment behind an event with an ``id`` too.
    """

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder

    def iter_bytes(self, iterator: Iterator[bytes]) -> Iterator[Any]:
        """Yield the events of a stream."""
        return (event for event in self._decoder.iter_bytes(iterator) if event.data)

    async def aiter_bytes(self, iterator: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        """Yield the events of an async stream."""
        async for event in self._decoder.aiter_bytes(iterator):
            if event.data:
                yield event


class _Closable:
    """An async stream with the name of its closing method that ``aclosing`` calls."""

    def __init__(self, stream: AsyncStream[Any]) -> None:
        self._stream = stream

    async def aclose(self) -> None:
        await self._stream.close()


def _options(api_key: SecretStr, base_url: str, http_client: Any) -> dict[str, Any]:
    return {
        "api_key": api_key.get_secret_value(),
        "base_url": base_url,
        "http_client": http_client,
        "timeout": http_client.timeout,
        "max_retries": 0,
    }


def _headers(api_key: SecretStr, headers: Mapping[str, str] | None) -> dict[str, str]:
    return {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "User-Agent": _USER_AGENT,
        **(headers or {}),
        "Authorization": f"Bearer {api_key.get_secret_value()}",
    }


def _documented(body: Any) -> Any:
    """Return a request whose messages all have a content: the service documents a text next to calls, not null."""
    if not isinstance(body, Mapping):
        return body
    messages = [
        {**message, "content": ""} if message.get("content") is None else message
        for message in body.get("messages") or []
    ]
    return {**body, "messages": messages}


def _encodable(value: Any) -> Any:
    """Return a value with "?" in place of what is no Unicode, such as half a surrogate pair."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value
