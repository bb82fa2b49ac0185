"""OpenAI clients for DashScope's compatible protocol that raise its typed errors, also for incomplete answers.

The OpenAI client takes an HTML page for text, an answer without choices for an answer, and a stream cut between two
events for a complete one; here all three are errors.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

import httpx
import openai
from openai import AsyncStream, Stream
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import (
    Choice,
    ChoiceDelta,
    ChoiceDeltaToolCall,
    ChoiceDeltaToolCallFunction,
)
from pydantic import BaseModel, SecretStr

from llama_index_raganything.errors import DashScopeConnectionError, DashScopeContentError, DashScopeError
from llama_index_raganything.models.dashscope import failures

CALL_ERRORS: Final = (
    openai.OpenAIError,
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    json.JSONDecodeError,
    UnicodeDecodeError,
)
"""What the OpenAI client raises; the last for an answer that ends inside a character."""

_FAILED_IN_STREAM: Final = 200

_FILTERED: Final = "content_filter"

_NOT_FINISHED: Final = (None, "", "null")
"""Values that mean no finish reason; the last is that of DashScope's native protocol."""


def typed_error(error: Exception, url: str, headers: Mapping[str, str] | None = None) -> DashScopeError:
    """Return the typed error for an exception of the OpenAI client.

    Args:
        error: One of :data:`CALL_ERRORS`.
        url: The URL that was called.
        headers: The headers of the answer, if one had begun.

    Returns:
        The error, to be raised outside the ``except`` block, so that it holds no other exception: the client's own
        message repeats the service's, which may repeat the key.
    """
    if isinstance(error, openai.APIStatusError):
        if error.status_code < 400:
            return failures.redirect_error(error.status_code, error.response.headers, url)
        return failures.error_from_response(error.status_code, error.response.content, error.response.headers)
    if isinstance(error, openai.APITimeoutError):
        return failures.error_from_exception(_cause(error) or httpx.ReadTimeout(""), url)
    if isinstance(error, openai.APIConnectionError):
        return failures.error_from_exception(_cause(error) or error, url)
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | openai.APIResponseValidationError):
        return failures.protocol_error(f"{url} answered what cannot be read as JSON", failures.request_id_in(headers))
    if isinstance(error, openai.APIError) and error.body is not None:
        # An event in a stream with a good status.
        body = json.dumps({"error": error.body}).encode()
        return failures.error_from_response(_FAILED_IN_STREAM, body, headers or {})
    return failures.error_from_exception(error, url)


def checked_completion(completion: Any, url: str) -> ChatCompletion:
    """Return a chat completion after checking that it has an answer.

    Args:
        completion: What the OpenAI client made of an answer with a good status.
        url: The URL that was called.

    Raises:
        DashScopeError: It is an error after all, or does not follow the documentation.
    """
    if not isinstance(completion, ChatCompletion):
        problem = f"{url} answered without JSON, and not with a chat completion"
        raise failures.protocol_error(problem)
    _raise_told_error(completion)
    request_id = _request_id_of(completion)
    if not isinstance(completion.choices, list) or not completion.choices:
        raise failures.protocol_error("the chat completion has no choices", request_id)
    choice = completion.choices[0]
    if not isinstance(getattr(choice, "message", None), BaseModel):
        raise failures.protocol_error("the first choice of the chat completion has no message", request_id)
    # LlamaIndex requires a role, and content that is text.
    message: Any = choice.message
    message.role = message.role or "assistant"
    message.content = _text_of(message.content, request_id)
    if not message.content and choice.finish_reason == _FILTERED:
        raise _filtered_error(request_id)
    return completion


def unstreamed_error(status: int, body: bytes, headers: Mapping[str, str]) -> DashScopeError | None:
    """Return the error if an answer that should be a stream is not one, else None.

    Args:
        body: Not needed if the answer is a stream.
        headers: A case-insensitive mapping.
    """
    if is_stream(headers):
        return None
    kind = headers.get("content-type", "")
    if "json" in kind.lower() and (b'"code"' in body or b'"error"' in body):
        return failures.error_from_response(status, body, headers)
    return failures.protocol_error(
        f"a stream was asked for, and an answer of type {kind!r} came", failures.request_id_in(headers)
    )


def is_stream(headers: Mapping[str, str]) -> bool:
    """Return whether an answer may be a stream of events: gateways use types of their own.

    Args:
        headers: A case-insensitive mapping.
    """
    kind = headers.get("content-type", "").lower()
    return "json" not in kind and "html" not in kind


class ChunkReader:
    """Follows one stream: adapts its chunks to LlamaIndex, and checks that it is complete.

    Args:
        url: The URL that was called.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = url
        self._headers = headers
        self._request_id = failures.request_id_in(headers)
        self._finished = False
        self._has_answer = False
        self._calls: set[tuple[int, str, str | None]] = set()

    def read(self, chunk: Any) -> Iterator[ChatCompletionChunk]:
        """Yield a chunk as one or several.

        Args:
            chunk: As made by the OpenAI client.

        Raises:
            DashScopeError: It is an error, or does not follow the documentation.
        """
        if not isinstance(chunk, ChatCompletionChunk):
            problem = f"an event of the stream is a {type(chunk).__name__} and not an object"
            raise failures.protocol_error(problem, self._request_id)
        _raise_told_error(chunk)
        self._request_id = self._request_id or _request_id_of(chunk)
        if not isinstance(getattr(chunk, "choices", None), list):
            raise failures.protocol_error("an event of the stream has no choices", self._request_id)
        if not chunk.choices:  # Only the usage, at the end.
            yield chunk
            return
        choice = self._sound_choice(chunk)
        # LlamaIndex takes the first of several calls in a chunk (llms-openai 0.8, update_tool_calls).
        calls = choice.delta.tool_calls or []
        for place, call in enumerate(calls or [None]):
            self._set(choice.delta, call, first=place == 0)
            yield chunk

    def failed(self, error: Exception) -> DashScopeError:
        """Return the error that ended the stream.

        Args:
            error: One of :data:`CALL_ERRORS`.
        """
        problem = typed_error(error, self._url, self._headers)
        problem.request_id = problem.request_id or self._request_id
        return problem

    def end(self) -> None:
        """Check that the stream declared its answer complete.

        Raises:
            DashScopeConnectionError: It did not.
        """
        if not self._finished:
            message = (
                f"The stream from {self._url} ended before its answer was complete; what has arrived is "
                "incomplete. What to do: ask again."
            )
            raise DashScopeConnectionError(message, request_id=self._request_id)

    def _sound_choice(self, chunk: ChatCompletionChunk) -> Choice:
        """Return the first choice of a chunk, with a delta whose content is text."""
        choice = chunk.choices[0]
        delta: Any = getattr(choice, "delta", None)
        if not isinstance(choice, BaseModel) or not isinstance(delta, BaseModel | None):
            raise failures.protocol_error("an event of the stream has a choice without delta", self._request_id)
        if delta is None:
            choice.delta = ChoiceDelta()
        choice.delta.content = _text_of(choice.delta.content, self._request_id)
        self._has_answer = self._has_answer or bool(choice.delta.content or choice.delta.tool_calls)
        finish_reason = getattr(choice, "finish_reason", None)
        if finish_reason == _FILTERED and not self._has_answer:
            raise _filtered_error(self._request_id)
        self._finished = self._finished or finish_reason not in _NOT_FINISHED
        return choice

    def _set(self, delta: ChoiceDelta, call: ChoiceDeltaToolCall | None, first: bool) -> None:
        # LlamaIndex's async stream skips a first chunk without content, even if it has reasoning.
        delta.content = (delta.content or "") if first else ""
        if call is None:
            return
        if call.function is None:
            call.function = ChoiceDeltaToolCallFunction()
        # LlamaIndex joins the ids and the names of a call's chunks; some models repeat them in every chunk.
        parts: tuple[tuple[BaseModel, str], ...] = ((call, "id"), (call.function, "name"))
        for part, field in parts:
            known = (call.index, field, getattr(part, field))
            if known in self._calls:
                setattr(part, field, "")
            self._calls.add(known)
        delta.tool_calls = [call]


def _text_of(content: Any, request_id: str) -> str | None:
    """Return the content of a message as text; the native vision protocol has a list of parts."""
    if content is None or isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [None]
    texts = [part.get("text") if isinstance(part, dict) else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        problem = f"the content of a message is a {type(content).__name__} that holds no texts"
        raise failures.protocol_error(problem, request_id)
    return "".join(text for text in texts if isinstance(text, str))


def _filtered_error(request_id: str) -> DashScopeContentError:
    message = (
        "DashScope ended the answer before its first word because its content was filtered. What to do: change the "
        "question, or leave out the text or image that it is about."
    )
    return DashScopeContentError(message, code=_FILTERED, request_id=request_id, status=_FAILED_IN_STREAM)


def _cause(error: Exception) -> Exception | None:
    return error.__cause__ if isinstance(error.__cause__, Exception) else None


def _request_id_of(answer: ChatCompletion | ChatCompletionChunk) -> str:
    return str(getattr(answer, "id", None) or "").removeprefix("chatcmpl-")


def _raise_told_error(answer: ChatCompletion | ChatCompletionChunk) -> None:
    """Raise if an answer or event with a good status reports an error, in either protocol."""
    told: dict[str, Any] = answer.model_extra or {}
    if not getattr(answer, "choices", None) and (told.get("error") or told.get("code")):
        raise failures.error_from_response(_FAILED_IN_STREAM, json.dumps(told, default=str).encode(), {})


_USER_AGENT = "llama-index-raganything"


class _Shared:
    """Base of both clients.

    Args:
        base_url: Base of the compatible protocol.
        http_client: Sends and retries; it stays open when this client is closed.
        headers: Additional headers of every request.
    """

    def __init__(
        self, api_key: SecretStr, base_url: str, http_client: Any, headers: Mapping[str, str] | None = None
    ) -> None:
        key = api_key.get_secret_value()
        super().__init__(  # type: ignore[call-arg]  # those of the OpenAI client
            api_key=key, base_url=base_url, http_client=http_client, timeout=http_client.timeout, max_retries=0
        )
        self._own_headers = {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": _USER_AGENT,
            **(headers or {}),
            "Authorization": f"Bearer {key}",
        }

    @property
    def default_headers(self) -> dict[str, Any]:
        """Headers of every request, without those that the OpenAI client takes from ``OPENAI_*`` variables."""
        return self._own_headers

    def _make_sse_decoder(self) -> Any:
        return _EventsWithData(super()._make_sse_decoder())  # type: ignore[misc]  # the OpenAI client's


class ChatClient(_Shared, openai.OpenAI):
    """A client of the OpenAI-compatible route that raises only ``DashScopeError``."""

    def close(self) -> None:
        """Do nothing: the HTTP client belongs to the LLM."""

    def request(self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
        """Send a request.

        Returns:
            A chat completion, or an iterator of its chunks if ``stream`` is set.

        Raises:
            DashScopeError: It failed.
        """
        url = f"{self.base_url}".rstrip("/") + options.url
        options.json_data = _encodable(_documented(options.json_data))
        try:
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


class AsyncChatClient(_Shared, openai.AsyncOpenAI):
    """Async twin of :class:`ChatClient`."""

    async def close(self) -> None:
        """Do nothing: the HTTP client belongs to the LLM."""

    async def request(self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
        """Async twin of :meth:`ChatClient.request`."""
        url = f"{self.base_url}".rstrip("/") + options.url
        options.json_data = _encodable(_documented(options.json_data))
        try:
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
    """Yield the chunks of a stream, freeing the connection when the caller stops."""
    reader = ChunkReader(url, stream.response.headers)
    with stream:
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
    async with stream:
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
    """OpenAI's decoder without events that have no data, which only keep a connection alive.

    https://html.spec.whatwg.org/multipage/server-sent-events.html drops them; OpenAI's decoder parses them as JSON
    (openai 2, ``SSEDecoder.decode``), including every comment after an event with an ``id``.
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


def _documented(body: Any) -> Any:
    """Return a request in which every message has content: beside tool calls the service documents text, not null."""
    if not isinstance(body, Mapping):
        return body
    messages = [
        {**message, "content": ""} if message.get("content") is None else message
        for message in body.get("messages") or []
    ]
    return {**body, "messages": messages}


def _encodable(value: Any) -> Any:
    """Return a value with "?" in place of invalid Unicode, such as half a surrogate pair."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value
