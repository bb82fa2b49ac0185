"""Which inputs go into which request, the requests several at a time, and what becomes of each input.

Workers, threads or tasks, take inputs from one :class:`EmbeddingBatch` until there are none left. A request is filled
until the model's limit of inputs or of bytes is met; what was too much goes back for the next one, so that no request
is sent that a fuller one would have saved.
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

from llama_index_raganything.errors import (
    DashScopeBadRequestError,
    DashScopeContentError,
    DashScopeError,
    ErrorKind,
    PartialEmbeddingError,
    RAGAnythingError,
)
from llama_index_raganything.models.dashscope.client import DashScopeClient
from llama_index_raganything.models.dashscope.failures import protocol_error
from llama_index_raganything.workers import map_in_threads

MAX_REQUEST_BYTES: Final = 6_000_000
"""Bytes of the inputs of a request: the gateway takes 6,291,456 for all of it ("Exceeded limit on max bytes to
request body", seen in QwenLM/qwen-code#371 and langgenius/dify#35311)."""

MAX_FAILURES_IN_A_ROW: Final = 10
"""Requests that fail one after the other, each after its retries, before a call is given up: a service that is down
would else cost one time-out for every request."""

# What the service says of one of several inputs, or of all of them together, and not of the request's other fields.
_ONE_INPUT: Final = re.compile(
    r"inspection|image format|image length|data-uri|media resource|download|input length|bytes to request body",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class EmbeddingCall:
    """One call of a model: any number of inputs, in as many requests as it takes.

    Attributes:
        path: Route below the native base.
        count: Number of inputs.
        limit: Inputs of one request.
        encode: Returns the input at a place as it is sent, or raises a ``RAGAnythingError``.
        body: Makes the request of encoded inputs.
        read: Returns the vectors of an answer, given the number of inputs.
        reads_files: Whether encoding takes time that an event loop has not.
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
        """Number of requests at least."""
        return -(-self.count // self.limit)


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """One request.

    Attributes:
        places: Places of its inputs in the call.
        body: What is posted.
    """

    places: list[int]
    body: dict[str, Any]


class EmbeddingBatch:
    """The inputs of one call that wait, the vectors that came, and the reasons of those that did not.

    Threads may share it.
    """

    def __init__(self, call: EmbeddingCall) -> None:
        self.call = call
        self._waiting = deque(range(call.count))
        self._divided: list[list[int]] = []
        self._vectors: list[Embedding | None] = [None] * call.count
        self._failures: dict[int, RAGAnythingError] = {}
        self._final: RAGAnythingError | None = None
        self._failed_in_a_row = 0
        self._lock = threading.Lock()

    @property
    def ended(self) -> bool:
        """Whether an error came that every further request would meet too, or one of the service too often."""
        return self._final is not None

    def next_request(self) -> EmbeddingRequest | None:
        """Return the next request; None when there is nothing to send any more.

        Inputs are encoded only now, so that few images are in memory at a time. Those that cannot be are noted.
        """
        while places := self._take():
            contents: list[Any] = []
            taken: list[int] = []
            size = 0
            for position, place in enumerate(places):
                try:
                    content = self.call.encode(place)
                except RAGAnythingError as error:
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
        """Note what a request brought.

        Args:
            answer: The service's answer; one that is not as documented counts as failure.
        """
        try:
            vectors = self.call.read(answer, len(request.places))
        except DashScopeError as error:
            self.fail(request, error)
            return
        self._failed_in_a_row = 0
        for place, vector in zip(request.places, vectors, strict=True):
            self._vectors[place] = vector

    def fail(self, request: EmbeddingRequest, error: RAGAnythingError) -> None:
        """Note why a request failed.

        One of its inputs may be to blame: then it is halved, until the one is alone. An error that every request would
        meet ends the call, and so does a service that fails again and again.

        Args:
            error: The reason.
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
                if error.kind is ErrorKind.FATAL or self._failed_in_a_row >= MAX_FAILURES_IN_A_ROW:
                    self._final = error
        self._failures |= dict.fromkeys(places, error)

    def result(self) -> list[Embedding]:
        """Return the vectors in the order of the inputs.

        Raises:
            PartialEmbeddingError: Some inputs failed; or all of them, for several reasons.
            RAGAnythingError: All of them failed, for this one reason.
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
    failures: Mapping[int, RAGAnythingError],
    final: RAGAnythingError | None = None,
) -> list[Embedding]:
    """Return vectors where none is missing.

    Args:
        vectors: One per input, None for those that failed.
        failures: Their reasons, by place.
        final: The reason of those without one: it ended the call.

    Returns:
        The vectors.

    Raises:
        PartialEmbeddingError: Some are missing; or all of them, for several reasons.
        RAGAnythingError: All are missing, for this one reason.
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
    raise PartialEmbeddingError(message, list(vectors), known)


class JoinedBatches:
    """What becomes of more inputs than LlamaIndex hands over at once.

    LlamaIndex forgets all batches when one of them fails; here the others are kept.

    Args:
        count: Number of inputs.
        size: Inputs of a batch.
    """

    def __init__(self, count: int, size: int) -> None:
        self._vectors: list[Embedding | None] = [None] * count
        self._failures: dict[int, RAGAnythingError] = {}
        self._final: RAGAnythingError | None = None
        self._starts = iter(range(0, count, size))
        self._size = size

    def next_batch(self) -> slice | None:
        """Return where the next batch is; None after the last one, and after an error that ends the call."""
        start = None if self._final is not None else next(self._starts, None)
        return None if start is None else slice(start, min(start + self._size, len(self._vectors)))

    def succeed(self, batch: slice, vectors: Sequence[Embedding | None]) -> None:
        """Note the vectors of a batch.

        Args:
            batch: Where it is.
            vectors: One per input.
        """
        self._vectors[batch] = vectors

    def fail(self, batch: slice, error: PartialEmbeddingError | RAGAnythingError) -> None:
        """Note why a batch failed, or a part of it.

        Args:
            batch: Where it is.
            error: The reason.
        """
        places = range(batch.start, batch.stop)
        reasons: Mapping[int, RAGAnythingError] = dict.fromkeys(range(len(places)), error)
        if isinstance(error, PartialEmbeddingError) and len(error.embeddings) == len(places):
            self.succeed(batch, error.embeddings)
            reasons = error.failures
        self._failures |= {batch.start + place: reason for place, reason in reasons.items()}
        self._final = next((reason for reason in reasons.values() if reason.kind is ErrorKind.FATAL), self._final)

    def result(self) -> list[Embedding]:
        """Return the vectors in the order of the inputs, or raise as :meth:`EmbeddingBatch.result`."""
        return sound_result(self._vectors, self._failures, self._final)


def blames_an_input(error: RAGAnythingError) -> bool:
    """Return whether an error is about one or more of the inputs, so that the others may succeed without them.

    Args:
        error: Why a request with several inputs failed.
    """
    if isinstance(error, DashScopeContentError):
        return True
    if not isinstance(error, DashScopeBadRequestError):
        return False
    return error.status == 413 or bool(_ONE_INPUT.search(f"{error.code} {error.message}"))


def read_embeddings(answer: dict[str, Any], count: int, dimension: int | None, index_name: str) -> list[Embedding]:
    """Return the vectors of an answer in the order of the request's inputs.

    Args:
        count: Vectors that it must have.
        dimension: Length that they must have; any one length if None.
        index_name: Name of the field with the place of a vector: ``index``, or ``text_index``.

    Returns:
        The vectors.

    Raises:
        DashScopeProtocolError: One is missing, given twice, of another length, or holds what is no finite number.
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
    """Return about how many bytes an encoded input has in a request.

    Args:
        content: A text, or an object of texts.
    """
    if isinstance(content, str):
        # Data URIs are ASCII, and so need no copy.
        return len(content) if content.isascii() else len(content.encode("utf-8", "replace"))
    if isinstance(content, dict):
        return sum(len(key) + 6 + content_bytes(value) for key, value in content.items())
    return sum(content_bytes(value) + 1 for value in content)


def _sound_vector(vector: Any, request_id: str) -> Embedding:
    try:
        # As a rule all are floats already, and a thousand vectors are a million numbers.
        values = vector if set(map(type, vector)) == {float} else list(map(float, vector))
        # A sum is finite where all of its numbers are; strings, which float() takes, have none.
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


def _reason(error: RAGAnythingError) -> tuple[type[RAGAnythingError], str]:
    """Return what equal failures of several requests share; the request's id is not among it."""
    return type(error), error.code or error.message if isinstance(error, DashScopeError) else str(error)


_READ_AHEAD: Final = 2
"""Requests whose images are made ready while others are on their way."""


class EmbeddingSender:
    """Sends calls with a bounded number of requests at the same time, over all calls.

    Args:
        client: Posts requests; its limit is kept.
    """

    def __init__(self, client: DashScopeClient) -> None:
        self.client = client

    def run(self, call: EmbeddingCall) -> list[Embedding]:
        """Embed the inputs of a call, and block until all vectors are there.

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
        """Embed the inputs of a call without blocking the event loop; see :meth:`run`.

        Returns:
            One vector per input, in order.
        """
        batch = EmbeddingBatch(call)
        tasks = [asyncio.create_task(self._awork(batch)) for _ in range(self._workers(call))]
        try:
            await asyncio.gather(*tasks)
        finally:
            # gather() leaves the others running when one raises what is no failure of a request.
            for task in tasks:
                task.cancel()
        return batch.result()

    def _work(self, batch: EmbeddingBatch) -> None:
        while request := batch.next_request():
            with self.client.limit.threads:
                if batch.ended:
                    return
                try:
                    answer = self.client.post(batch.call.path, request.body)
                except DashScopeError as error:
                    batch.fail(request, error)
                    continue
            batch.succeed(request, answer)

    async def _awork(self, batch: EmbeddingBatch) -> None:
        while request := await self._next_request(batch):
            async with self.client.limit.tasks:
                if batch.ended:
                    return
                try:
                    answer = await self.client.apost(batch.call.path, request.body)
                except DashScopeError as error:
                    batch.fail(request, error)
                    continue
            batch.succeed(request, answer)

    async def _next_request(self, batch: EmbeddingBatch) -> EmbeddingRequest | None:
        if batch.call.reads_files:
            return await asyncio.to_thread(batch.next_request)
        return batch.next_request()

    def _workers(self, call: EmbeddingCall) -> int:
        ahead = _READ_AHEAD if call.reads_files else 0
        return min(self.client.limit.max_concurrency + ahead, call.requests)
