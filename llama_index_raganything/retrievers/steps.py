"""Retrieval in steps: a generator yields requests, a driver carries them out and sends the answers back.

One generator serves the sync and the async interface, and makes no I/O of its own::

    nodes = yield from ask(Fetch(node_ids))
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # re-exported, not in __all__
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle
from llama_index.core.settings import Settings
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)

from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.workers import map_in_threads

dispatcher = get_dispatcher(__name__)

Answer = TypeVar("Answer")
Result = TypeVar("Result")
Sent = TypeVar("Sent")


class Request(Generic[Answer]):
    """Something that steps wait for; the type parameter is the type of its answer."""

    __slots__ = ()

    def answer(self, retriever: Any) -> Answer:
        """Carry the request out.

        Args:
            retriever: Whose request it is.
        """
        raise NotImplementedError

    async def aanswer(self, retriever: Any) -> Answer:
        """Carry the request out without blocking the event loop; in a thread by default."""
        return await asyncio.to_thread(self.answer, retriever)


Steps = Generator[Sequence[Request[Any]], Any, Result]
"""A generator that yields requests, is sent their answers in the same order, and returns a result."""


def ask(request: Request[Answer]) -> Steps[Answer]:
    """Return the answer to one request."""
    return (yield from ask_all([request]))[0]


def ask_all(requests: Sequence[Request[Answer]]) -> Steps[list[Answer]]:
    """Return the answers to several requests, which may be carried out at the same time."""
    answers: list[Answer] = (yield list(requests)) if requests else []
    return answers


@dataclass(frozen=True, slots=True)
class Done(Generic[Result]):
    """The end of a generator.

    Attributes:
        result: What it returned.
    """

    result: Result


def advance(steps: Generator[Sent, Any, Result], answers: Any) -> Sent | Done[Result]:
    """Return what a generator yields next, or what it returned.

    Args:
        answers: What is sent to it; None to start it.
    """
    try:
        return steps.send(answers)
    except StopIteration as stop:
        return Done(stop.value)


def run(steps: Steps[Result], perform: Callable[[Any], Any], workers: int = 1) -> Result:
    """Run steps to their end.

    Args:
        perform: Answers one request.
        workers: Requests carried out at the same time, each in a thread of its own; a single one needs none.
    """
    step = advance(steps, None)
    while not isinstance(step, Done):
        alone = workers == 1 or len(step) == 1
        step = advance(steps, [*map(perform, step)] if alone else map_in_threads(perform, step, workers))
    return step.result


async def arun(steps: Steps[Result], perform: Callable[[Any], Awaitable[Any]], workers: int = 1) -> Result:
    """Run steps to their end without blocking the event loop; see :func:`run`."""
    limit = asyncio.Semaphore(workers)

    async def limited(request: Request[Any]) -> Any:
        async with limit:
            return await perform(request)

    step = advance(steps, None)
    while not isinstance(step, Done):
        step = advance(steps, list(await asyncio.gather(*(limited(request) for request in step))))
    return step.result


class StepRetriever(BaseRetriever):
    """A retriever over a vector store whose subclass says in steps what it needs.

    A subclass sets the attributes and implements :meth:`_steps`.
    """

    store: BasePydanticVectorStore
    vector_store_kwargs: dict[str, Any]
    embed_model: BaseEmbedding | None
    workers: int

    @abstractmethod
    def _steps(self, bundle: QueryBundle) -> Steps[list[NodeWithScore]]:
        """Yield requests until the result is known, best first; no I/O of its own."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return run(self._steps(query_bundle), self._answer, self.workers)

    @dispatcher.span
    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await arun(self._steps(query_bundle), self._aanswer, self.workers)

    def _answer(self, request: Request[Any]) -> Any:
        return request.answer(self)

    async def _aanswer(self, request: Request[Any]) -> Any:
        return await request.aanswer(self)

    def _check_store(self) -> None:
        if not self.store.stores_text:
            message = f"{type(self.store).__name__} keeps no text; {type(self).__name__} needs a store that does."
            raise ConfigurationError(message)


@dataclass(frozen=True, slots=True)
class Search(Request[VectorStoreQueryResult]):
    """A search in the store."""

    query: VectorStoreQuery

    def answer(self, retriever: StepRetriever) -> VectorStoreQueryResult:
        """Search."""
        return retriever.store.query(self.query, **retriever.vector_store_kwargs)

    async def aanswer(self, retriever: StepRetriever) -> VectorStoreQueryResult:
        """Search without blocking the event loop."""
        return await retriever.store.aquery(self.query, **retriever.vector_store_kwargs)


@dataclass(frozen=True, slots=True)
class Fetch(Request[Sequence[BaseNode]]):
    """A request for nodes by id or by filter, without a search.

    Attributes:
        node_ids: None to fetch by filter alone.
        filters: What every node must pass.
    """

    node_ids: list[str] | None = None
    filters: MetadataFilters | None = None

    def answer(self, retriever: StepRetriever) -> Sequence[BaseNode]:
        """Read the nodes."""
        return retriever.store.get_nodes(node_ids=self.node_ids, filters=self.filters)

    async def aanswer(self, retriever: StepRetriever) -> Sequence[BaseNode]:
        """Read the nodes without blocking the event loop."""
        return await retriever.store.aget_nodes(node_ids=self.node_ids, filters=self.filters)


@dataclass(frozen=True, slots=True)
class MatchingIds(Request[list[str]]):
    """A request for the ids, among some, of nodes that are stored and pass a filter."""

    node_ids: list[str]
    filters: MetadataFilters | None = None

    def answer(self, retriever: StepRetriever) -> list[str]:
        """Return the ids; our node store knows them without reading the nodes."""
        matching_ids = getattr(retriever.store, "matching_ids", None)
        if matching_ids is not None:
            return list(matching_ids(self.node_ids, self.filters))
        nodes = retriever.store.get_nodes(node_ids=self.node_ids, filters=self.filters)
        return [node.node_id for node in nodes]


@dataclass(frozen=True, slots=True)
class EmbedQuestion(Request[Embedding]):
    """A request for the vector of a question, of several texts their aggregate."""

    texts: Sequence[str]

    def answer(self, retriever: StepRetriever) -> Embedding:
        """Embed the texts."""
        return _model(retriever).get_agg_embedding_from_queries(list(self.texts))

    async def aanswer(self, retriever: StepRetriever) -> Embedding:
        """Embed the texts without blocking the event loop."""
        return await _model(retriever).aget_agg_embedding_from_queries(list(self.texts))


def _model(retriever: StepRetriever) -> BaseEmbedding:
    return retriever.embed_model if retriever.embed_model is not None else Settings.embed_model
