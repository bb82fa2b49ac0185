"""Retrieval by pages: whole pages ranked by evidence, the best element of each returned."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import NodeWithScore
from llama_index.core.vector_stores.types import BasePydanticVectorStore, MetadataFilters

from llama_index_raganything.ranking.evidence import squash
from llama_index_raganything.retrievers.base import CandidateRetriever, result_of
from llama_index_raganything.retrievers.candidates import ELEMENT_KEYS, Fetch, Request, mentions
from llama_index_raganything.retrievers.memory import Profile
from llama_index_raganything.retrievers.session import Answer, Session, Steps, nodes_of


class NodeRetriever(CandidateRetriever):
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
        elements_per_page: How many elements of a page may be returned before the next page; the rest of them follow
            after the last page.
        **options: Further arguments of :class:`CandidateRetriever`: ``candidates``, ``ranker``, ``modes``, ``memory``,
            ``max_concurrency``, ``vector_store_kwargs``, ``callback_manager``, ``verbose``.

    Raises:
        ConfigurationError: A number is below 1, a mode is unknown, or the store does not keep text.
    """

    def __init__(
        self,
        vector_store: BasePydanticVectorStore,
        embed_model: BaseEmbedding | None = None,
        similarity_top_k: int = 5,
        filters: MetadataFilters | None = None,
        *,
        elements_per_page: int = 1,
        **options: Any,
    ) -> None:
        self.elements_per_page = elements_per_page
        super().__init__(vector_store, embed_model, similarity_top_k, filters, **options)
        self._check_positive("elements_per_page")

    def _select(self, session: Session, query: str) -> Steps:
        result, gone = yield from self._choose(session, query)
        if gone:
            # Something remembered is no longer stored as it was: forget it and choose again.
            session.forget()
            yield from session.read(session.hits)
            result, _ = yield from self._choose(session, query)
        return result

    def _choose(
        self, session: Session, query: str
    ) -> Generator[list[Request], list[Answer], tuple[list[NodeWithScore], bool]]:
        """Rank, choose elements, and read the nodes to return; also tell whether one was not there any more."""
        by_page = not mentions(self.filters, ELEMENT_KEYS)
        if by_page:
            yield from session.read(session.page_ids())
        units = session.units(by_page=by_page)
        scores = self.ranker.score([unit.candidate for unit in units], query)
        order = np.argsort(-scores.total, kind="stable").tolist()[: self.similarity_top_k]
        if by_page:
            yield from session.read([i for index in order for i in units[index].element_ids])
        chosen = self._cited(session, [units[index] for index in order], query)
        evidence = {
            units[index].node_id: (scores.explain(index), squash(float(scores.total[index]))) for index in order
        }
        answers = yield [Fetch([node_id for node_id, _ in chosen], self.filters)] if chosen else []
        nodes = {node.node_id: node for answer in answers for node in nodes_of(answer)}
        result, ceiling = [], 1.0
        for node_id, unit_id in chosen:
            account, value = evidence[unit_id]
            ceiling = min(ceiling, value)
            if node_id in nodes:
                result.append(result_of(nodes[node_id], account, ceiling))
        return result, len(result) < len(chosen)

    def _cited(self, session: Session, units: Sequence[Profile], query: str) -> list[tuple[str, str]]:
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
