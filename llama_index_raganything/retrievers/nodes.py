"""The default retriever: candidates by vector and keyword, whole pages ranked by evidence, elements returned."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
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
from llama_index_raganything.ranking.evidence import EVIDENCE_KEY, EvidenceRanker, annotated_copy, squash
from llama_index_raganything.ranking.question import understand
from llama_index_raganything.retrievers.candidates import (
    ELEMENT_KEYS,
    Fetch,
    Request,
    element_ids,
    look_ups,
    mentions,
    page_id,
)
from llama_index_raganything.retrievers.memory import NodeMemory, Profile, shared_memory

dispatcher = get_dispatcher(__name__)

Answer = VectorStoreQueryResult | Sequence[BaseNode]
Steps = Generator[list[Request], list[Answer], list[NodeWithScore]]

_KEYWORD_MODES = frozenset({VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH})


class NodeRetriever(BaseRetriever):
    """Find the elements that hold the evidence for a question, by way of their pages.

    Candidates come from the store by vector and by keyword, and by look-up where the question names pages or labels.
    Whole pages rank best and elements cite best, so hits vote for their pages, pages are ordered by
    :class:`EvidenceRanker`, and of each page the element that answers best is returned; the page itself where it has
    no elements. Nodes of formats without pages rank by themselves. When the filters set a condition on what elements do
    not share with their page (``content_type``, ``label``, ``section`` ...), the nodes that pass are ranked themselves.

    Works with any LlamaIndex vector store that keeps text. Every node returned passes the filters. Scores are between
    0 and 1 and descending; each node's metadata has ``evidence``, the account of its score.

    Args:
        vector_store: Where the nodes are.
        embed_model: Embeds the question; ``Settings.embed_model`` by default. Not used without a vector mode.
        similarity_top_k: How many nodes to return.
        filters: What every node must pass; the tenant boundary.
        candidates: How many nodes the keyword search yields; a vector search yields half as many.
        ranker: Orders the candidates; an :class:`EvidenceRanker` by default.
        modes: Searches to make; ``"default"`` is by vector. Leave ``"text_search"`` out for stores without it.
        elements_per_page: How many elements of a page may be returned before the next page; the rest of them follow
            after the last page.
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
        similarity_top_k: int = 5,
        filters: MetadataFilters | None = None,
        candidates: int = 100,
        ranker: EvidenceRanker | None = None,
        modes: Sequence[str] = ("default", "text_search"),
        elements_per_page: int = 1,
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
        by_vector = not _KEYWORD_MODES.issuperset(self.modes)
        return by_vector and bundle.embedding is None and bool(bundle.embedding_strs)

    # -- core ------------------------------------------------------------------------------------------------------

    def _steps(self, bundle: QueryBundle) -> Steps:
        """Yield requests to the store and take its answers until the result is known; no I/O of its own."""
        session = _Session(self.ranker, self.memory)
        queries = [self._query(bundle, mode) for mode in self.modes]
        for query, answer in zip(queries, (yield [*queries]), strict=True):
            session.add_hits(answer, by_vector=query.mode is VectorStoreQueryMode.DEFAULT)
        yield from self._read(session, session.hits)
        named = look_ups(
            understand(bundle.query_str), session.documents(), self.filters, page_nodes=session.has_page_nodes()
        )
        for answer in (yield [*named]) if named else []:
            session.add_hits(answer)
        result, gone = yield from self._choose(session, bundle.query_str)
        if gone:
            # Something remembered is no longer stored as it was: forget it and choose again.
            session.forget()
            yield from self._read(session, session.hits)
            result, _ = yield from self._choose(session, bundle.query_str)
        return result

    def _read(self, session: _Session, node_ids: Iterable[str]) -> Generator[list[Request], list[Answer], None]:
        """Get to know nodes by id that are not remembered."""
        unknown = session.unknown(node_ids)
        if unknown:
            for answer in (yield [Fetch(unknown)]):
                session.learn(_nodes(answer))

    def _choose(
        self, session: _Session, query: str
    ) -> Generator[list[Request], list[Answer], tuple[list[NodeWithScore], bool]]:
        """Rank, choose elements, and read the nodes to return; also tell whether one was not there any more."""
        by_page = not mentions(self.filters, ELEMENT_KEYS)
        if by_page:
            yield from self._read(session, session.page_ids())
        units = session.units(by_page=by_page)
        scores = self.ranker.score([unit.candidate for unit in units], query)
        order = np.argsort(-scores.total, kind="stable").tolist()[: self.similarity_top_k]
        if by_page:
            yield from self._read(session, [i for index in order for i in units[index].element_ids])
        chosen = self._cited(session, [units[index] for index in order], query)
        evidence = {
            units[index].node_id: (scores.explain(index), squash(float(scores.total[index]))) for index in order
        }
        answers = yield [Fetch([node_id for node_id, _ in chosen], self.filters)] if chosen else []
        nodes = {node.node_id: node for answer in answers for node in _nodes(answer)}
        result, ceiling = [], 1.0
        for node_id, unit_id in chosen:
            account, value = evidence[unit_id]
            ceiling = min(ceiling, value)
            if node_id in nodes:
                result.append(_result(nodes[node_id], account, ceiling))
        return result, len(result) < len(chosen)

    def _query(self, bundle: QueryBundle, mode: VectorStoreQueryMode) -> VectorStoreQuery:
        by_keyword = mode in _KEYWORD_MODES
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

    def _cited(self, session: _Session, units: Sequence[Profile], query: str) -> list[tuple[str, str]]:
        """Return ids of what to return, each with the id of its unit: of every page the best elements first."""
        own = [session.known(unit.element_ids) for unit in units]
        elements = [element.candidate for members in own for element in members]
        values = iter(self.ranker.score_elements(elements, query).tolist())
        first: list[tuple[str, str]] = []
        further: list[tuple[str, str]] = []
        for unit, members in zip(units, own, strict=True):
            ranked = sorted(((next(values), -place) for place in range(len(members))), reverse=True)
            ids = [members[-place].node_id for _, place in ranked] or [unit.node_id]
            first += [(node_id, unit.node_id) for node_id in ids[: self.elements_per_page]]
            further += [(node_id, unit.node_id) for node_id in ids[self.elements_per_page :]]
        return [*first, *further][: self.similarity_top_k]


class _Session:
    """What is known about nodes while one question is answered."""

    def __init__(self, ranker: EvidenceRanker, memory: NodeMemory) -> None:
        self._ranker = ranker
        self._memory = memory
        self._profiles: dict[str, Profile] = {}
        self._remembered: set[str] = set()
        self.hits: dict[str, float | None] = {}

    def add_hits(self, answer: Answer, *, by_vector: bool = False) -> None:
        """Add the answer of a search; vector similarities are kept, other scores are of no common scale."""
        self.learn(_nodes(answer))
        ids = [node.node_id for node in _nodes(answer)]
        similarities: Sequence[float] = []
        if isinstance(answer, VectorStoreQueryResult):
            ids = list(answer.ids or ids)
            similarities = answer.similarities or []
        for index, node_id in enumerate(ids):
            known = self.hits.get(node_id)
            value = float(similarities[index]) if by_vector and index < len(similarities) else None
            self.hits[node_id] = known if value is None else value

    def learn(self, nodes: Iterable[BaseNode]) -> None:
        for node in nodes:
            profile = Profile(node.node_id, self._ranker.candidate(node), page_id(node), element_ids(node))
            self._profiles[node.node_id] = profile
            self._memory.keep(profile, node)

    def unknown(self, node_ids: Iterable[str]) -> list[str]:
        missing = [node_id for node_id in dict.fromkeys(node_ids) if node_id not in self._profiles]
        found = self._memory.recall(missing)
        self._profiles |= found
        self._remembered |= found.keys()
        return [node_id for node_id in missing if node_id not in found]

    def forget(self) -> None:
        self._memory.forget(self._remembered)
        self._profiles = {key: value for key, value in self._profiles.items() if key not in self._remembered}
        self._remembered = set()

    def known(self, node_ids: Iterable[str]) -> list[Profile]:
        return [self._profiles[node_id] for node_id in node_ids if node_id in self._profiles]

    def documents(self) -> list[str]:
        return list(dict.fromkeys(p.candidate.document for p in self.known(self.hits) if p.candidate.document))

    def has_page_nodes(self) -> bool:
        return any(profile.is_page or profile.page_id is not None for profile in self.known(self.hits))

    def page_ids(self) -> list[str]:
        return [profile.page_id for profile in self.known(self.hits) if profile.page_id is not None]

    def units(self, *, by_page: bool) -> list[Profile]:
        """Return what is ranked: pages, each with the best similarity on it, and elements without a page node."""
        units: dict[str, Profile] = {}
        similarities: dict[str, float] = {}
        for profile in self.known(self.hits):
            owner = self._profiles.get(profile.page_id or "") if by_page else None
            unit = owner if owner is not None and owner.is_page else profile
            units.setdefault(unit.node_id, unit)
            value = self.hits[profile.node_id]
            if value is not None:
                similarities[unit.node_id] = max(value, similarities.get(unit.node_id, value))
        # What the vector search missed is at most as similar as the last it returned.
        lowest = min(similarities.values(), default=0.0)
        return [
            replace(unit, candidate=replace(unit.candidate, prior=similarities.get(node_id, lowest)))
            for node_id, unit in units.items()
        ]


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


def _nodes(answer: Answer) -> Sequence[BaseNode]:
    return answer.nodes or [] if isinstance(answer, VectorStoreQueryResult) else answer


def _result(node: BaseNode, evidence: dict[str, float], score: float) -> NodeWithScore:
    shown = annotated_copy(node, EVIDENCE_KEY, evidence)
    shown.embedding = None
    return NodeWithScore(node=shown, score=score)
