"""Retrieval by pages: whole pages ranked by evidence, and returned whole or by their best elements."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import NodeWithScore
from llama_index.core.vector_stores.types import BasePydanticVectorStore, MetadataFilters

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.elements import ELEMENTS_KEY
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.ranking.evidence_ranker import annotated_copy
from llama_index_raganything.ranking.relevance import relevance
from llama_index_raganything.retrievers.evidence.base import DEFAULT_TOP_K, CandidateRetriever, result_of
from llama_index_raganything.retrievers.evidence.node_cache import Profile
from llama_index_raganything.retrievers.evidence.requests import ELEMENT_KEYS, Fetch, Request
from llama_index_raganything.retrievers.evidence.session import Answer, Session, Steps, nodes_of
from llama_index_raganything.retrievers.evidence.whole_pages import Returns, best_elements, check_returns, whole_tables
from llama_index_raganything.stores.metadata_filters import mentions


@strict_arguments
class NodeRetriever(CandidateRetriever):
    """Find the pages that hold the evidence for a question, or the elements on them.

    Candidates come from the store by vector and by keyword, and by look-up where the question names pages or labels.
    Whole pages rank best, so hits vote for their pages, and pages are ordered by :class:`EvidenceRanker`. Where nodes
    stand on no page they rank by themselves, and a table among them comes with all its rows and the text before it.
    When the filters set a condition on what elements do not share with their page (``content_type``, ``label``,
    ``section`` ...), the nodes that pass are ranked and returned themselves.

    ``similarity_top_k`` counts pages, and where there are none tables and passages. The metadata of a page that is
    returned have ``elements``, its best element, figure and table with their boxes; see
    :data:`~llama_index_raganything.elements.ELEMENTS_KEY`. With ``returns="elements"`` the best element of each
    page is returned in its place: the smallest thing to cite, with a box, which often lacks the answer.

    Works with any LlamaIndex vector store that keeps text. Every node returned passes the filters. Scores fall and
    tell how probable it is that a node bears on the question (:mod:`llama_index_raganything.ranking.relevance`); each
    node's metadata has ``evidence``, the account of its place.

    Args:
        vector_store: Where the nodes are.
        embed_model: Embeds the question; ``Settings.embed_model`` by default. Not used without a vector mode.
        similarity_top_k: How many results to return.
        filters: What every node must pass; the tenant boundary.
        returns: ``"pages"`` or ``"elements"``.
        elements_per_page: With ``returns="elements"``, how many elements of a page may be returned before the next
            page (1 by default); the rest of them follow after the last page.
        **options: Further arguments of :class:`CandidateRetriever`: ``candidates``, ``ranker``, ``modes``, ``memory``,
            ``max_concurrency``, ``vector_store_kwargs``, ``callback_manager``, ``verbose``.

    Raises:
        ConfigurationError: A number is below 1, a mode or ``returns`` is unknown, ``elements_per_page`` is given with
            ``returns="pages"``, or the store does not keep text.
    """

    def __init__(
        self,
        vector_store: BasePydanticVectorStore,
        embed_model: BaseEmbedding | None = None,
        similarity_top_k: int = DEFAULT_TOP_K,
        filters: MetadataFilters | None = None,
        *,
        returns: Returns = "pages",
        elements_per_page: int | None = None,
        **options: Any,
    ) -> None:
        self.returns = check_returns(returns)
        if elements_per_page is not None and returns == "pages":
            raise ConfigurationError('elements_per_page has no effect on whole pages; say returns="elements" with it.')
        self.elements_per_page = 1 if elements_per_page is None else elements_per_page
        super().__init__(vector_store, embed_model, similarity_top_k, filters, **options)
        self._check_positive("elements_per_page")

    def _select(self, session: Session, query: str) -> Steps:
        result, gone = yield from self._choose(session, query)
        if gone:
            # Something remembered is no longer stored as it was: forget it and choose again.
            session.forget()
            yield from session.read(session.hits)
            result, _ = yield from self._choose(session, query)
        return (yield from whole_tables(result, self.filters)) if self.returns == "pages" else result

    def _choose(
        self, session: Session, query: str
    ) -> Generator[list[Request], list[Answer], tuple[list[NodeWithScore], bool]]:
        """Rank, choose elements, and read the nodes to return; also tell whether one was not there any more."""
        by_page = not mentions(self.filters, ELEMENT_KEYS)
        if by_page:
            yield from session.read(session.page_ids())
        units = session.units(by_page=by_page)
        scores = self.ranker.score([unit.candidate for unit in units], query)
        places = np.argsort(-scores.total, kind="stable").tolist()
        values = relevance(query, [units[place].candidate for place in places], self.similarity_top_k)
        order = places[: self.similarity_top_k]
        if by_page:
            yield from session.read([i for index in order for i in units[index].element_ids])
        best = [units[index] for index in order]
        ranked = self._ranked_elements(session, best, query)
        if self.returns == "pages":
            chosen = [(unit.node_id, unit.node_id) for unit in best]
        else:
            chosen = self._cited(best, ranked)
        evidence = {
            units[index].node_id: (scores.explain(index), value) for index, value in zip(order, values, strict=True)
        }
        answers = yield [Fetch([node_id for node_id, _ in chosen], self.filters)] if chosen else []
        nodes = {node.node_id: node for answer in answers for node in nodes_of(answer)}
        result, ceiling = [], 1.0
        for node_id, unit_id in chosen:
            account, value = evidence[unit_id]
            ceiling = min(ceiling, value)
            if node_id in nodes:
                item = result_of(nodes[node_id], account, ceiling)
                if node_id == unit_id and ranked[unit_id]:
                    item.node = annotated_copy(item.node, ELEMENTS_KEY, best_elements(ranked[unit_id]))
                result.append(item)
        return result, len(result) < len(chosen)

    def _ranked_elements(self, session: Session, units: Sequence[Profile], query: str) -> dict[str, list[Profile]]:
        """Return the elements of each page, those that answer best first; none for what is no page."""
        own = [session.known(unit.element_ids) for unit in units]
        elements = [element.candidate for members in own for element in members]
        values = iter(self.ranker.score_elements(elements, query).tolist())
        ranked: dict[str, list[Profile]] = {}
        for unit, members in zip(units, own, strict=True):
            places = sorted(((next(values), -place) for place in range(len(members))), reverse=True)
            ranked[unit.node_id] = [members[-place] for _, place in places]
        return ranked

    def _cited(self, units: Sequence[Profile], ranked: Mapping[str, Sequence[Profile]]) -> list[tuple[str, str]]:
        """Return ids of what to return, each with the id of its unit: of every page the best elements first."""
        first: list[tuple[str, str]] = []
        further: list[tuple[str, str]] = []
        for unit in units:
            ids = [member.node_id for member in ranked[unit.node_id]] or [unit.node_id]
            first += [(node_id, unit.node_id) for node_id in ids[: self.elements_per_page]]
            further += [(node_id, unit.node_id) for node_id in ids[self.elements_per_page :]]
        return [*first, *further][: self.similarity_top_k]
