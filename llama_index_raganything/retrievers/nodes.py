"""The default retriever: candidates by vector and keyword, whole pages ranked by evidence, elements returned."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # re-exported, not in __all__
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle
from llama_index.core.settings import Settings
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)

from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.ranking.evidence import EVIDENCE_KEY, EvidenceRanker, annotated_copy, read_evidence, squash
from llama_index_raganything.ranking.question import Question, understand
from llama_index_raganything.ranking.scoring import Scores
from llama_index_raganything.retrievers.candidates import (
    Fetch,
    Found,
    Pool,
    Request,
    element_ids,
    is_page,
    look_ups,
    mentions,
    page_id,
)

dispatcher = get_dispatcher(__name__)

Answer = VectorStoreQueryResult | Sequence[BaseNode]
Steps = Generator[list[Request], list[Answer], list[NodeWithScore]]


class NodeRetriever(BaseRetriever):
    """Find the elements that hold the evidence for a question, by way of their pages.

    Candidates come from the store by vector and by keyword, and by look-up where the question names pages or labels.
    Whole pages rank best and elements cite best, so hits vote for their pages, pages are ordered by
    :class:`EvidenceRanker`, and of each page the element that answers best is returned; the page itself where it has
    no elements. Nodes of formats without pages rank by themselves. When the filters set a condition on
    ``content_type``, exactly those nodes are ranked and returned.

    Works with any LlamaIndex vector store that keeps text. Every node returned passes the filters. Scores are between
    0 and 1 and descending; each node's metadata has ``evidence``, the account of its score.

    Args:
        vector_store: Where the nodes are.
        embed_model: Embeds the question; ``Settings.embed_model`` by default. Not used without a vector mode.
        similarity_top_k: How many nodes to return.
        filters: What every node must pass; the tenant boundary.
        candidates: How many nodes each search yields.
        ranker: Orders the candidates; an :class:`EvidenceRanker` by default.
        modes: Searches to make; ``"default"`` is by vector. Leave ``"text_search"`` out for stores without it.
        elements_per_page: How many elements of a page may be returned before the next page; the rest of them follow
            after the last page.
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
        similarity_top_k: int = 5,
        filters: MetadataFilters | None = None,
        candidates: int = 100,
        ranker: EvidenceRanker | None = None,
        modes: Sequence[str] = ("default", "text_search"),
        elements_per_page: int = 1,
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
        self.elements_per_page = elements_per_page
        self.max_concurrency = max_concurrency
        self.vector_store_kwargs = dict(vector_store_kwargs or {})
        for name in ("similarity_top_k", "candidates", "elements_per_page", "max_concurrency"):
            if getattr(self, name) < 1:
                message = f"{name} must be 1 or more, not {getattr(self, name)}."
                raise ConfigurationError(message)
        if not vector_store.stores_text:
            message = f"{type(vector_store).__name__} keeps no text; NodeRetriever needs a store that does."
            raise ConfigurationError(message)
        super().__init__(callback_manager=callback_manager, verbose=verbose)

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
        if isinstance(request, Fetch):
            return self.vector_store.get_nodes(node_ids=request.node_ids, filters=request.filters)
        return self.vector_store.query(request, **self.vector_store_kwargs)

    async def _aanswer(self, request: Request, limit: asyncio.Semaphore) -> Answer:
        async with limit:
            if isinstance(request, Fetch):
                return await self.vector_store.aget_nodes(node_ids=request.node_ids, filters=request.filters)
            return await self.vector_store.aquery(request, **self.vector_store_kwargs)

    def _model(self) -> BaseEmbedding:
        return self.embed_model if self.embed_model is not None else Settings.embed_model

    def _needs_embedding(self, bundle: QueryBundle) -> bool:
        by_vector = any(mode is VectorStoreQueryMode.DEFAULT for mode in self.modes)
        return by_vector and bundle.embedding is None and bool(bundle.embedding_strs)

    # -- core ------------------------------------------------------------------------------------------------------

    def _steps(self, bundle: QueryBundle) -> Steps:
        """Yield requests to the store and take its answers until the result is known; no I/O of its own."""
        question = understand(bundle.query_str)
        pool = Pool()
        queries = [self._query(bundle, mode) for mode in self.modes]
        answers = yield [*queries]
        for query, answer in zip(queries, answers, strict=True):
            _add(pool, answer, by_vector=query.mode is VectorStoreQueryMode.DEFAULT)
        named = look_ups(question, pool, self.filters)
        for answer in (yield [*named]) if named else []:
            _add(pool, answer)
        if mentions(self.filters, "content_type"):
            return self._ranked(list(pool.found.values()), bundle.query_str)
        missing = _missing_pages(pool)
        if missing:
            for answer in (yield [Fetch(missing, self.filters)]):
                _add(pool, answer)
        best = self._ranked(_units(pool), bundle.query_str)
        wanted = [identity for item in best if is_page(item.node) for identity in element_ids(item.node)]
        elements = Pool()
        if wanted:
            for answer in (yield [Fetch(wanted, self.filters)]):
                _add(elements, answer)
        return self._cite(best, elements, question)

    def _query(self, bundle: QueryBundle, mode: VectorStoreQueryMode) -> VectorStoreQuery:
        by_vector = mode is VectorStoreQueryMode.DEFAULT
        return VectorStoreQuery(
            query_embedding=bundle.embedding if by_vector else None,
            query_str=bundle.query_str,
            mode=mode,
            similarity_top_k=self.candidates,
            sparse_top_k=self.candidates,
            filters=self.filters,
        )

    def _ranked(self, found: Sequence[Found], query: str) -> list[NodeWithScore]:
        items = _with_priors(found)
        if not items:
            return []
        scores = self.ranker.score_nodes(items, query)
        order = np.argsort(-scores.total, kind="stable").tolist()[: self.similarity_top_k]
        return [_explained(items[index].node, scores, index) for index in order]

    def _cite(self, units: Sequence[NodeWithScore], elements: Pool, question: Question) -> list[NodeWithScore]:
        """Replace each page by its best elements: the first of every page, then the further ones."""
        rounds: list[list[NodeWithScore]] = [[], []]
        for unit in units:
            own = (
                [elements.found[i] for i in element_ids(unit.node) if i in elements.found] if is_page(unit.node) else []
            )
            if not own:
                rounds[0].append(unit)
                continue
            for place, index in enumerate(self._best_elements(own, question)):
                node = annotated_copy(own[index].node, EVIDENCE_KEY, read_evidence(unit.node))
                rounds[place >= self.elements_per_page].append(NodeWithScore(node=node, score=unit.score))
        chosen = [*rounds[0], *rounds[1]][: self.similarity_top_k]
        return _descending(chosen)

    def _best_elements(self, own: Sequence[Found], question: Question) -> list[int]:
        scores = self.ranker.score_elements([NodeWithScore(node=entry.node) for entry in own], question.text)
        return [int(index) for index in np.argsort(-scores, kind="stable")]


def _modes(modes: Sequence[str]) -> list[VectorStoreQueryMode]:
    try:
        found = [VectorStoreQueryMode(mode) for mode in modes]
    except ValueError as error:
        message = f"Unknown search mode in {list(modes)}: {error}."
        raise ConfigurationError(message) from error
    if not found:
        raise ConfigurationError("NodeRetriever needs at least one search mode; an empty list was given.")
    return found


def _is_blank(bundle: QueryBundle) -> bool:
    return not bundle.query_str.strip() and bundle.embedding is None


def _add(pool: Pool, answer: Answer, by_vector: bool = False) -> None:
    if isinstance(answer, VectorStoreQueryResult):
        pool.add(answer.nodes or [], answer.similarities if by_vector else None)
    else:
        pool.add(answer)


def _missing_pages(pool: Pool) -> list[str]:
    parents = (page_id(entry.node) for entry in pool.found.values() if not is_page(entry.node))
    return list(dict.fromkeys(parent for parent in parents if parent is not None and parent not in pool.found))


def _units(pool: Pool) -> list[Found]:
    """Return what is ranked: pages, each with the best similarity on it, and elements that have no page node."""
    units: dict[str, Found] = {}
    for identity, entry in pool.found.items():
        parent = None if is_page(entry.node) else page_id(entry.node)
        owner = pool.found.get(parent) if parent is not None else None
        key, node = (identity, entry.node) if owner is None else (owner.node.node_id, owner.node)
        unit = units.setdefault(key, Found(node))
        known = [value for value in (unit.similarity, entry.similarity) if value is not None]
        unit.similarity = max(known, default=None)
    return list(units.values())


def _with_priors(found: Sequence[Found]) -> list[NodeWithScore]:
    """Give candidates that the vector search missed the lowest similarity that it returned."""
    known = [entry.similarity for entry in found if entry.similarity is not None]
    lowest = min(known, default=0.0)
    return [
        NodeWithScore(node=entry.node, score=lowest if entry.similarity is None else entry.similarity)
        for entry in found
    ]


def _explained(node: BaseNode, scores: Scores, index: int) -> NodeWithScore:
    evidence = scores.explain(index)
    return NodeWithScore(node=annotated_copy(node, EVIDENCE_KEY, evidence), score=squash(float(scores.total[index])))


def _descending(items: list[NodeWithScore]) -> list[NodeWithScore]:
    """Lower the scores of what follows a worse page, so that scores never rise down the list."""
    ceiling = 1.0
    for item in items:
        ceiling = min(ceiling, item.score if item.score is not None else 0.0)
        item.score = ceiling
    return items
