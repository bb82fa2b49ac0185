"""What retrievers over a vector store share: the search for candidates, and sync and async drivers of one core."""

from __future__ import annotations

import asyncio
import contextvars
from abc import abstractmethod
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # re-exported, not in __all__
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.settings import Settings
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.elements import EVIDENCE_KEY
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.questions.question import understand
from llama_index_raganything.ranking.evidence_ranker import EvidenceRanker, annotated_copy
from llama_index_raganything.retrievers.evidence.node_cache import NodeMemory, shared_memory
from llama_index_raganything.retrievers.evidence.requests import Call, Fetch, Passing, Request, look_ups
from llama_index_raganything.retrievers.evidence.session import Answer, Session, Steps

dispatcher = get_dispatcher(__name__)

DEFAULT_TOP_K: Final = 10
"""Results of a retriever by default: of real PDFs ten pages hold nearly all answers that twenty hold, five an eighth
less. Engines, chat and tools read as many as fill what an LLM is given."""

KEYWORD_MODES = frozenset({VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH})
"""Searches by keyword alone."""


@strict_arguments
class CandidateRetriever(BaseRetriever):
    """Search candidates by vector and by keyword, let the subclass choose among them.

    A subclass implements :meth:`_select`, a generator that yields requests to the store and is sent the answers, so
    that one core serves the sync and the async interface.

    Args:
        vector_store: Where the nodes are.
        embed_model: Embeds the question; ``Settings.embed_model`` by default. Not used without a vector mode.
        similarity_top_k: How many nodes to return.
        filters: What every node must pass; the tenant boundary.
        candidates: How many nodes the keyword search yields; a vector search yields half as many.
        ranker: Orders the candidates; an :class:`EvidenceRanker` by default.
        modes: Searches to make; ``"default"`` is by vector. Leave ``"text_search"`` out for stores without it.
        memory: What is remembered of nodes between questions; shared by all retrievers of the process by default.
        max_concurrency: How many requests to the store run at the same time.
        vector_store_kwargs: Passed on to the store's ``query``.
        callback_manager: LlamaIndex's callbacks.
        verbose: Passed on to ``BaseRetriever``.

    Raises:
        ConfigurationError: A number is below 1, a mode is unknown, or the store does not keep text.
    """

    def __init__(
        self,
        vector_store: BasePydanticVectorStore,
        embed_model: BaseEmbedding | None = None,
        similarity_top_k: int = DEFAULT_TOP_K,
        filters: MetadataFilters | None = None,
        candidates: int = 100,
        ranker: EvidenceRanker | None = None,
        modes: Sequence[str] = ("default", "text_search"),
        memory: NodeMemory | None = None,
        max_concurrency: int = 2,
        vector_store_kwargs: dict[str, Any] | None = None,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        self.vector_store = vector_store
        self.embed_model = embed_model
        self.similarity_top_k = similarity_top_k
        self.filters = filters
        self.candidates = candidates
        self.ranker = ranker or EvidenceRanker()
        self.modes = _modes(modes)
        self.memory = memory if memory is not None else shared_memory()
        self.max_concurrency = max_concurrency
        self.vector_store_kwargs = dict(vector_store_kwargs or {})
        self._check_positive("similarity_top_k", "candidates", "max_concurrency")
        if not vector_store.stores_text:
            message = f"{type(vector_store).__name__} keeps no text; {type(self).__name__} needs a store that does."
            raise ConfigurationError(message)
        super().__init__(callback_manager=callback_manager, verbose=verbose)

    @abstractmethod
    def _select(self, session: Session, query: str) -> Steps:
        """Choose among the candidates.

        Args:
            session: The candidates, known by their profiles.

        Yields:
            Requests to the store.

        Returns:
            The result, best first.
        """

    def _check_positive(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) < 1:
                message = f"{name} must be 1 or more, not {getattr(self, name)}."
                raise ConfigurationError(message)

    # -- drivers ---------------------------------------------------------------------------------------------------

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if _is_blank(query_bundle):
            return []
        if self._needs_embedding(query_bundle):
            query_bundle.embedding = self._model().get_agg_embedding_from_queries(query_bundle.embedding_strs)
        steps = self._steps(query_bundle)
        requests = next(steps)
        while True:
            try:
                requests = steps.send(self._answers(requests))
            except StopIteration as stop:
                result: list[NodeWithScore] = stop.value
                return result

    @dispatcher.span
    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if _is_blank(query_bundle):
            return []
        if self._needs_embedding(query_bundle):
            query_bundle.embedding = await self._model().aget_agg_embedding_from_queries(query_bundle.embedding_strs)
        steps = self._steps(query_bundle)
        requests = next(steps)
        limit = asyncio.Semaphore(self.max_concurrency)
        while True:
            answers = await asyncio.gather(*(self._aanswer(request, limit) for request in requests))
            try:
                requests = steps.send(list(answers))
            except StopIteration as stop:
                result: list[NodeWithScore] = stop.value
                return result

    def _answers(self, requests: list[Request]) -> list[Answer]:
        if self.max_concurrency == 1 or len(requests) < 2:
            return [self._answer(request) for request in requests]
        with ThreadPoolExecutor(min(self.max_concurrency, len(requests))) as pool:
            return list(
                pool.map(
                    lambda pair: pair[0].run(self._answer, pair[1]),
                    [(contextvars.copy_context(), request) for request in requests],
                )
            )

    def _answer(self, request: Request) -> Answer:
        if isinstance(request, Call):
            request.function()
            return []
        if isinstance(request, Passing):
            return self._passing(request)
        if isinstance(request, Fetch):
            return self.vector_store.get_nodes(node_ids=request.node_ids, filters=request.filters)
        return self.vector_store.query(request, **self.vector_store_kwargs)

    async def _aanswer(self, request: Request, limit: asyncio.Semaphore) -> Answer:
        async with limit:
            if isinstance(request, Call):
                await asyncio.to_thread(request.function)
                return []
            if isinstance(request, Passing):
                return await asyncio.to_thread(self._passing, request)
            if isinstance(request, Fetch):
                return await self.vector_store.aget_nodes(node_ids=request.node_ids, filters=request.filters)
            return await self.vector_store.aquery(request, **self.vector_store_kwargs)

    def _passing(self, request: Passing) -> Sequence[BaseNode]:
        """Return bare nodes with the ids that pass; the node store tells ids without reading the nodes."""
        tell = getattr(self.vector_store, "matching_ids", None)
        if tell is None:
            return self.vector_store.get_nodes(node_ids=request.node_ids, filters=request.filters)
        return [TextNode(id_=node_id) for node_id in tell(request.node_ids, request.filters)]

    def _model(self) -> BaseEmbedding:
        return self.embed_model if self.embed_model is not None else Settings.embed_model

    def _needs_embedding(self, bundle: QueryBundle) -> bool:
        by_vector = not KEYWORD_MODES.issuperset(self.modes)
        return by_vector and bundle.embedding is None and bool(bundle.embedding_strs)

    # -- core ------------------------------------------------------------------------------------------------------

    def _steps(self, bundle: QueryBundle) -> Steps:
        """Yield requests to the store and take its answers until the result is known; no I/O of its own."""
        session = Session(self.ranker, self.memory)
        known = yield from self._keyword_hits(bundle.query_str)
        modes = [mode for mode in self.modes if known is None or mode not in KEYWORD_MODES]
        queries = self._queries(bundle, modes)
        for query, answer in zip(queries, (yield [*queries]) if queries else [], strict=True):
            session.add_hits(answer, by_vector=query.mode is VectorStoreQueryMode.DEFAULT)
        if known is not None:
            session.add_hits(VectorStoreQueryResult(ids=known))
        yield from session.read(session.hits)
        named = look_ups(
            understand(bundle.query_str), session.documents(), self.filters, page_nodes=session.has_page_nodes()
        )
        for answer in (yield [*named]) if named else []:
            session.add_hits(answer)
        return (yield from self._select(session, bundle.query_str))

    def _keyword_hits(self, query: str) -> Generator[list[Request], list[Answer], list[str] | None]:  # noqa: ARG002 # for subclasses
        """Return the ids of the best nodes by keyword, where they are known without the store; None where not."""
        yield from ()
        return None

    def _queries(self, bundle: QueryBundle, modes: Sequence[VectorStoreQueryMode]) -> list[VectorStoreQuery]:
        """Return the searches to make."""
        return [self._query(bundle, mode) for mode in modes]

    def _query(self, bundle: QueryBundle, mode: VectorStoreQueryMode) -> VectorStoreQuery:
        by_keyword = mode in KEYWORD_MODES
        return VectorStoreQuery(
            query_embedding=None if by_keyword else bundle.embedding,
            query_str=self._keywords(bundle.query_str) if by_keyword else bundle.query_str,
            mode=mode,
            # Vectors get half as many: measured, the further half only costs time.
            similarity_top_k=self.candidates if by_keyword else max(1, self.candidates // 2),
            sparse_top_k=self.candidates,
            hybrid_top_k=self.candidates,
            filters=self.filters,
            output_fields=[],
        )

    def _keywords(self, query: str) -> str:
        """Return the words to search for: those of content, and those that a lexicon adds."""
        words = understand(query).keywords
        return " ".join([*words, *self.ranker.added_words(query)]) or query


def _modes(modes: Sequence[str]) -> list[VectorStoreQueryMode]:
    try:
        found = [VectorStoreQueryMode(mode) for mode in modes]
    except ValueError as error:
        message = f"Unknown search mode in {list(modes)}: {error}."
        raise ConfigurationError(message) from error
    if not found:
        raise ConfigurationError("A retriever needs at least one search mode; an empty list was given.")
    return found


def _is_blank(bundle: QueryBundle) -> bool:
    return not bundle.query_str.strip() and bundle.embedding is None


def result_of(node: BaseNode, evidence: dict[str, float], score: float) -> NodeWithScore:
    """Return a stored node as a result: a copy with the account of its score.

    Args:
        evidence: What every signal added.
        score: How probable it is that the node bears on the question.
    """
    shown = annotated_copy(node, EVIDENCE_KEY, evidence)
    shown.embedding = None
    if str(node.metadata.get("page_label")) == str(node.metadata.get("page")):
        # The same number twice tells an LLM nothing.
        shown.excluded_llm_metadata_keys = [*shown.excluded_llm_metadata_keys, "page_label"]
    return NodeWithScore(node=shown, score=score)


def store_of(retriever: BaseRetriever) -> BasePydanticVectorStore | None:
    """Return the store in which a retriever of ours, or the first of those that it asks, finds its nodes.

    Returns:
        The store; None where no retriever of ours is found.
    """
    if isinstance(retriever, CandidateRetriever):
        return retriever.vector_store
    children = getattr(retriever, "retrievers", None)
    found = (store_of(child) for child in children) if isinstance(children, list) else ()
    return next((store for store in found if store is not None), None)
