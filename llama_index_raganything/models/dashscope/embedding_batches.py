"""Distributes inputs over concurrent requests, and collects their vectors and failures.

Workers (threads or tasks) take inputs from one :class:`EmbeddingBatch` until none are left. A request is filled up to
the model's limit of inputs or bytes; the excess goes into the next one, so that no request is sent that a fuller one
would have saved.
"""

from __future__ import annotations

import asyncio
import math
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llama_index.core.base.embeddings.base import Embedding

from llama_index_raganything import errors
from llama_index_raganything._async import gather
from llama_index_raganything.models.dashscope.client import DashScopeClient
from llama_index_raganything.models.dashscope.failures import protocol_error
from llama_index_raganything.workers import map_in_threads

MAX_REQUEST_BYTES: Final = 6_000_000
"""Maximum bytes of the inputs of a request: the gateway accepts 6,291,456 in total ("Exceeded limit on max bytes to
request body", seen in QwenLM/qwen-code#371 and langgenius/dify#35311)."""

MAX_FAILURES_IN_A_ROW: Final = 10
"""Failed requests in a row, each after its retries, after which a call is abandoned: otherwise a service that is down
would cost one time-out per request."""

# What the service says about inputs, as opposed to other fields of the request.
_ONE_INPUT: Final = re.compile(
    r"inspection|image format|image length|data-uri|media resource|download|input length|bytes to request body",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class EmbeddingCall:
    """One call of a model: any number of inputs, in as many requests as needed.

    Attributes:
        path: Route below the native base.
        count: Number of inputs.
        limit: Maximum inputs per request.
        encode: Encodes the input at a position, or raises a ``RAGAnythingError``.
        body: Makes a request of encoded inputs.
        read: Returns the vectors of an answer, given the number of inputs.
        reads_files: Whether encoding is too slow for an event loop.
    """

    path: str
    count: int
    limit: int
    encode: Callable[[int], Any]
    body: Callable[[list[Any]], dict[str, Any]]
    read: Callable[[dict[str, Any], int], list[Embedding]]
    reads_files: bool = False

    @property
    def requests(self) -> int:
        """Minimum number of requests."""
        return -(-self.count // self.limit)


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """One request.

    Attributes:
        places: Positions of its inputs in the call.
        body: The body to post.
    """

    places: list[int]
    body: dict[str, Any]


class EmbeddingBatch:
    """The pending inputs of one call, the vectors received, and the failures; thread-safe."""

    def __init__(self, call: EmbeddingCall) -> None:
        self.call = call
        self._waiting = deque(range(call.count))
        self._divided: list[list[int]] = []
        self._vectors: list[Embedding | None] = [None] * call.count
        self._failures: dict[int, errors.RAGAnythingError] = {}
        self._final: errors.RAGAnythingError | None = None
        self._failed_in_a_row = 0
        self._lock = threading.Lock()

    @property
    def ended(self) -> bool:
        """Whether a fatal error, or too many failures in a row, ended the call."""
        return self._final is not None

    def next_request(self) -> EmbeddingRequest | None:
        """Return the next request, or None.

        Inputs are encoded only now, so that few images are in memory at a time; those that cannot be are recorded as
        failures.
        """
        while places := self._take():
            contents: list[Any] = []
            taken: list[int] = []
            size = 0
            for position, place in enumerate(places):
                try:
                    content = self.call.encode(place)
                except errors.RAGAnythingError as error:
                    self._failures[place] = error
                    continue
                size += content_bytes(content)
                if taken and size > MAX_REQUEST_BYTES:
                    self._put_back(places[position:])
                    break
                taken.append(place)
                contents.append(content)
            if taken:
                return EmbeddingRequest(taken, self.call.body(contents))
        return None

    def succeed(self, request: EmbeddingRequest, answer: dict[str, Any]) -> None:
        """Record the answer to a request.

        Args:
            answer: One that does not follow the documentation counts as a failure.
        """
        try:
            vectors = self.call.read(answer, len(request.places))
        except errors.DashScopeError as error:
            self.fail(request, error)
            return
        self._failed_in_a_row = 0
        for place, vector in zip(request.places, vectors, strict=True):
            self._vectors[place] = vector

    def fail(self, request: EmbeddingRequest, error: errors.RAGAnythingError) -> None:
        """Record the failure of a request.

        If an input may be at fault, the request is halved until that input is alone. Fatal errors end the call, as do
        repeated failures of the service.
        """
        places = request.places
        with self._lock:
            if blames_an_input(error):
                if len(places) > 1:
                    middle = len(places) // 2
                    self._divided += [places[middle:], places[:middle]]
                    return
            else:
                self._failed_in_a_row += 1
                if error.kind is errors.ErrorKind.FATAL or self._failed_in_a_row >= MAX_FAILURES_IN_A_ROW:
                    self._final = error
        self._failures |= dict.fromkeys(places, error)

    def result(self) -> list[Embedding]:
        """Return the vectors in the order of the inputs.

        Raises:
            PartialEmbeddingError: Some inputs failed, or all for several reasons.
            RAGAnythingError: All failed for this one reason.
        """
        return sound_result(self._vectors, self._failures, self._final)

    def _take(self) -> list[int]:
        with self._lock:
            if self._final is not None:
                return []
            if self._divided:
                return self._divided.pop()
            return [self._waiting.popleft() for _ in range(min(self.call.limit, len(self._waiting)))]

    def _put_back(self, places: Sequence[int]) -> None:
        with self._lock:
            self._waiting.extendleft(reversed(places))


def sound_result(
    vectors: Sequence[Embedding | None],
    failures: Mapping[int, errors.RAGAnythingError],
    final: errors.RAGAnythingError | None = None,
) -> list[Embedding]:
    """Return the vectors if none is missing.

    Args:
        vectors: One per input, None for those that failed.
        failures: Reasons by position.
        final: The error that ended the call: the reason for inputs without one.

    Raises:
        PartialEmbeddingError: Some are missing, or all for several reasons.
        RAGAnythingError: All are missing for this one reason.
    """
    there = [vector for vector in vectors if vector is not None]
    if len(there) == len(vectors):
        return there
    reasons = {place: failures.get(place) or final for place, vector in enumerate(vectors) if vector is None}
    known = {place: reason for place, reason in reasons.items() if reason is not None}
    different = {_reason(reason): reason for reason in known.values()}
    first = next(iter(different.values()))
    if not there and (final is not None or len(different) == 1):
        raise final or first
    message = (
        f"{len(vectors) - len(there)} of {len(vectors)} inputs could not be embedded; the first reason: {first} The "
        "vectors of the others are in the error's embeddings, all reasons in its failures."
    )
    raise errors.PartialEmbeddingError(message, list(vectors), known)


class JoinedBatches:
    """Collects the results of several of LlamaIndex's batches.

    LlamaIndex discards all batches if one fails; here the others are kept.

    Args:
        count: Number of inputs.
        size: Inputs per batch.
    """

    def __init__(self, count: int, size: int) -> None:
        self._vectors: list[Embedding | None] = [None] * count
        self._failures: dict[int, errors.RAGAnythingError] = {}
        self._final: errors.RAGAnythingError | None = None
        self._starts = iter(range(0, count, size))
        self._size = size

    def next_batch(self) -> slice | None:
        """Return the range of the next batch; None after the last one or a fatal error."""
        start = None if self._final is not None else next(self._starts, None)
        return None if start is None else slice(start, min(start + self._size, len(self._vectors)))

    def succeed(self, batch: slice, vectors: Sequence[Embedding | None]) -> None:
        """Record the vectors of a batch."""
        self._vectors[batch] = vectors

    def fail(self, batch: slice, error: errors.PartialEmbeddingError | errors.RAGAnythingError) -> None:
        """Record the failure of a batch or a part of it."""
        places = range(batch.start, batch.stop)
        reasons: Mapping[int, errors.RAGAnythingError] = dict.fromkeys(range(len(places)), error)
        if isinstance(error, errors.PartialEmbeddingError) and len(error.embeddings) == len(places):
            self.succeed(batch, error.embeddings)
            reasons = error.failures
        self._failures |= {batch.start + place: reason for place, reason in reasons.items()}
        self._final = next(
            (reason for reason in reasons.values() if reason.kind is errors.ErrorKind.FATAL), self._final
        )

    def result(self) -> list[Embedding]:
        """Return the vectors in the order of the inputs, or raise like :meth:`EmbeddingBatch.result`."""
        return sound_result(self._vectors, self._failures, self._final)


def blames_an_input(error: errors.RAGAnythingError) -> bool:
    """Return whether an error is about some of the inputs, so that the others may succeed without them."""
    if isinstance(error, errors.DashScopeContentError):
        return True
    if not isinstance(error, errors.DashScopeBadRequestError):
        return False
    return error.status == 413 or bool(_ONE_INPUT.search(f"{error.code} {error.message}"))


def read_embeddings(answer: dict[str, Any], count: int, dimension: int | None, index_name: str) -> list[Embedding]:
    """Return the vectors of an answer in the order of the inputs.

    Args:
        count: Required number of vectors.
        dimension: Required length; None if any will do.
        index_name: Field with the position of a vector: ``index`` or ``text_index``.

    Raises:
        DashScopeProtocolError: A vector is missing, duplicated, of another length, or not of finite numbers.
    """
    request_id = str(answer.get("request_id") or "")
    output = answer.get("output")
    items = output.get("embeddings") if isinstance(output, dict) else None
    if not isinstance(items, list):
        raise protocol_error("it has no output.embeddings", request_id)
    vectors: dict[int, Embedding] = {}
    for item in items:
        index = item.get(index_name) if isinstance(item, dict) else None
        if not isinstance(index, int) or not 0 <= index < count or index in vectors:
            problem = f"{index_name} {index!r} is not expected among {count} vectors"
            raise protocol_error(problem, request_id)
        vectors[index] = _sound_vector(item.get("embedding"), request_id)
    if len(vectors) != count:
        problem = f"it has {len(vectors)} vectors for {count} inputs"
        raise protocol_error(problem, request_id)
    _check_lengths(vectors, dimension or len(vectors[0]), request_id)
    return [vectors[index] for index in range(count)]


def content_bytes(content: Any) -> int:
    """Return roughly how many bytes an encoded input takes in a request.

    Args:
        content: A text, or an object of texts.
    """
    if isinstance(content, str):
        # Data URIs are ASCII and need no copy.
        return len(content) if content.isascii() else len(content.encode("utf-8", "replace"))
    if isinstance(content, dict):
        return sum(len(key) + 6 + content_bytes(value) for key, value in content.items())
    return sum(content_bytes(value) + 1 for value in content)


def _sound_vector(vector: Any, request_id: str) -> Embedding:
    try:
        # Usually all are floats already, and a thousand vectors are a million numbers.
        values = vector if set(map(type, vector)) == {float} else list(map(float, vector))
        # A sum is finite if all of its numbers are; strings, which float() accepts, have none.
        sound = math.isfinite(sum(vector)) and any(values)
    except (TypeError, ValueError, OverflowError):
        sound = False
    if not sound:
        raise protocol_error("one of its vectors holds no numbers, NaN, infinity, or nothing but zeros", request_id)
    return values


def _check_lengths(vectors: dict[int, Embedding], wanted: int, request_id: str) -> None:
    for index, vector in vectors.items():
        if len(vector) != wanted:
            problem = f"vector {index} has the length {len(vector)}, and {wanted} is expected"
            raise protocol_error(problem, request_id)


def _reason(error: errors.RAGAnythingError) -> tuple[type[errors.RAGAnythingError], str]:
    """Return what equal failures of several requests share; not the request id."""
    return type(error), error.code or error.message if isinstance(error, errors.DashScopeError) else str(error)


_READ_AHEAD: Final = 2
"""Requests whose images are prepared while others are in flight."""


class EmbeddingSender:
    """Sends calls with a limited number of concurrent requests over all calls."""

    def __init__(self, client: DashScopeClient) -> None:
        self.client = client

    def run(self, call: EmbeddingCall) -> list[Embedding]:
        """Embed the inputs of a call, blocking until all vectors have arrived.

        Returns:
            One vector per input, in order.

        Raises:
            PartialEmbeddingError: Some inputs failed.
            RAGAnythingError: All inputs failed.
        """
        batch = EmbeddingBatch(call)
        workers = self._workers(call)
        if workers == 1:
            self._work(batch)
        else:
            map_in_threads(self._work, [batch] * workers, workers)
        return batch.result()

    async def arun(self, call: EmbeddingCall) -> list[Embedding]:
        """Async twin of :meth:`run`."""
        batch = EmbeddingBatch(call)
        await gather(self._awork(batch) for _ in range(self._workers(call)))
        return batch.result()

    def _work(self, batch: EmbeddingBatch) -> None:
        while request := batch.next_request():
            with self.client.limit.threads:
                if batch.ended:
                    return
                try:
                    answer = self.client.post(batch.call.path, request.body)
                except errors.DashScopeError as error:
                    batch.fail(request, error)
                    continue
            batch.succeed(request, answer)

    async def _awork(self, batch: EmbeddingBatch) -> None:
        reads_files = batch.call.reads_files
        while request := await asyncio.to_thread(batch.next_request) if reads_files else batch.next_request():
            async with self.client.limit.tasks:
                if batch.ended:
                    return
                try:
                    answer = await self.client.apost(batch.call.path, request.body)
                except errors.DashScopeError as error:
                    batch.fail(request, error)
                    continue
            batch.succeed(request, answer)

    def _workers(self, call: EmbeddingCall) -> int:
        ahead = _READ_AHEAD if call.reads_files else 0
        return min(self.client.limit.workers + ahead, call.requests)
