"""Retrieval over links: nodes that together answer a question which none of them answers alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import NodeWithScore
from llama_index.core.vector_stores.types import BasePydanticVectorStore, MetadataFilters

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.elements import GRAPH_PATH_KEY
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.graph.mirror import GraphMirror, best_by_words
from llama_index_raganything.graph.walk import LinkWeights
from llama_index_raganything.questions.question import understand
from llama_index_raganything.ranking.evidence_ranker import annotated_copy
from llama_index_raganything.ranking.relevance import relevance
from llama_index_raganything.retrievers.evidence.candidates import (
    DEFAULT_TOP_K,
    ELEMENT_KEYS,
    KEYWORD_MODES,
    CandidateRetriever,
    Profile,
    Session,
    by_id,
    result_of,
)
from llama_index_raganything.retrievers.evidence.graph_gate import GRAPH_GATE, ranks_pages
from llama_index_raganything.retrievers.evidence.graph_paths import shown_path
from llama_index_raganything.retrievers.evidence.linked_sets import MAX_RANKED, LinkedSetRanking
from llama_index_raganything.retrievers.evidence.pages import NodeRetriever, whole_pages, whole_tables
from llama_index_raganything.retrievers.steps import Fetch, Request, StepRetriever, Steps, ask
from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph
from llama_index_raganything.stores.metadata_filters import mentions

Only = Callable[[Sequence[Profile]], list[str]]
"""Takes nodes in order, returns the ids of those to keep."""

_PARTS_READ = 2
"""Linked nodes ranked for each result: several may be on one page, or be parts of one table."""


@dataclass(frozen=True, slots=True)
class ReadGraph(Request[GraphMirror]):
    """A request for the graph in memory, which may have to be read from the store.

    Attributes:
        refresh: Ask the store at once whether anything has changed.
    """

    graph: KnowledgeGraph
    refresh: bool = False

    def answer(self, retriever: StepRetriever) -> GraphMirror:  # noqa: ARG002 # The graph has its own store.
        """Return the graph."""
        if self.refresh:
            self.graph.refresh()
        return self.graph.mirror


@dataclass(frozen=True, slots=True)
class CoversStore(Request[bool]):
    """A request for whether the graph knows all nodes of the retriever's store."""

    graph: KnowledgeGraph

    def answer(self, retriever: StepRetriever) -> bool:
        """Compare the graph with the store."""
        count: Callable[[], int] = retriever.store.count  # type: ignore[attr-defined] # Asked only where it is.
        return self.graph.has_all_nodes(count)


@strict_arguments
class LinkedSetRetriever(CandidateRetriever):
    """What retrievers over the graph share: the choice of nodes by the linked sets they are part of."""

    def __init__(
        self,
        store: BasePydanticVectorStore,
        graph: KnowledgeGraph | None,
        embed_model: BaseEmbedding | None = None,
        similarity_top_k: int = DEFAULT_TOP_K,
        filters: MetadataFilters | None = None,
        *,
        link_weights: LinkWeights | None = None,
        gate: float = GRAPH_GATE,
        **options: Any,
    ) -> None:
        _check_tenant(store, graph)
        super().__init__(store, embed_model, similarity_top_k, filters, **options)
        self.graph = graph
        self.link_weights = link_weights or LinkWeights()
        self.gate = gate

    def _keyword_hits(self, query: str) -> Steps[list[str] | None]:
        """Return the best nodes by keyword from the graph in memory, where it knows all nodes and none are filtered.

        It has the same words as the store's index, and is the faster of the two on Milvus Lite.
        """
        filtered = self.filters is not None and self.filters.filters
        counts = hasattr(self.store, "count")
        if self.graph is None or not counts or filtered or not KEYWORD_MODES.intersection(self.modes):
            return None
        if not (yield from ask(CoversStore(self.graph))):
            return None
        mirror = yield from ask(ReadGraph(self.graph))
        terms = [*understand(query).terms, *self.ranker.added_words(query)]
        with mirror.lock:
            return mirror.node_ids(best_by_words(mirror, terms, self.candidates).tolist())

    def _select_linked(
        self, session: Session, query: str, *, only: Only | None = None, top: int | None = None
    ) -> Steps[list[NodeWithScore]]:
        """Choose nodes by the linked sets they are part of.

        Args:
            only: Takes the nodes in order and returns the ids of those to keep; all by default. The others still take
                part in sets.
            top: Number of results; ``similarity_top_k`` by default.
        """
        top = top or self.similarity_top_k
        ranking = LinkedSetRanking(self.ranker, self.memory, self.filters, self.link_weights, self.gate)
        mirror = (yield from ask(ReadGraph(self.graph))) if self.graph is not None else None
        result, gone = yield from self._choose_linked(ranking, mirror, session, query, only, top)
        if gone:
            # What was remembered, or walked over, is no longer stored: look again.
            session.forget()
            mirror = (yield from ask(ReadGraph(self.graph, refresh=True))) if self.graph is not None else None
            yield from session.read(session.hits)
            result, _ = yield from self._choose_linked(ranking, mirror, session, query, only, top)
        return result

    def _choose_linked(
        self,
        ranking: LinkedSetRanking,
        mirror: GraphMirror | None,
        session: Session,
        query: str,
        only: Only | None,
        top: int,
    ) -> Steps[tuple[list[NodeWithScore], bool]]:
        """Rank, choose, and read the nodes to return; also return whether one of them is gone."""
        ranked = yield from ranking.rank(session, query, top if only is None else MAX_RANKED, mirror)
        if only is None:
            chosen = ranked.node_ids[:top]
        else:
            yield from session.read(ranked.node_ids)
            chosen = only(session.known(ranked.node_ids))[:top]
        if not chosen:
            return [], False
        steps = {node_id: ranked.steps.get(node_id, []) for node_id in chosen}
        partners = [end for path in steps.values() for step in path for end in (step.source, step.target)]
        nodes = by_id((yield from ask(Fetch(list(dict.fromkeys([*chosen, *partners])), self.filters))))
        found = [node_id for node_id in chosen if node_id in nodes]
        session.learn([nodes[node_id] for node_id in session.unknown(found)])
        profiles = session.known(dict.fromkeys([*found, *ranked.node_ids, *session.hits]))
        values = relevance(query, [profile.candidate for profile in profiles], len(found))
        result = []
        for node_id, value in zip(found, values, strict=True):
            item = result_of(nodes[node_id], ranked.evidence.get(node_id, {}), value)
            item.node = annotated_copy(item.node, GRAPH_PATH_KEY, shown_path(steps[node_id], nodes))
            result.append(item)
        return result, len(result) < len(chosen)


@strict_arguments
class GraphRetriever(LinkedSetRetriever):
    """Find nodes that cover a question together: two or three joined by a name, a citation or a section.

    Candidates come from the store by vector and by keyword under the caller's filters. From the best of them links
    lead to other nodes: to those whose title they mention and that mention theirs, to those that mention the same
    rare name, to the text of a table's section and to the text that cites an image. Sets of two and three nodes are
    scored by what they cover jointly and by their links, nodes by the sets they are in. Only nodes that pass the
    filters take part in the walk. No LLM is asked.

    Results are the stored nodes as they are, scored by the probability that they bear on the question, in descending
    order, with ``evidence`` and ``graph_path`` in their metadata: a JSON list of the links (ids and titles of both
    ends, relation, name) that led to the node.

    Args:
        store: Where the nodes are.
        graph: Where their links are; see :class:`KnowledgeGraph`.
        embed_model: Embeds the question; ``Settings.embed_model`` by default. Not used without a vector mode.
        similarity_top_k: How many nodes to return.
        filters: What every node must pass; the tenant boundary.
        link_weights: How much the parts of the walk count.
        gate: Share of the best candidates that must each be about one subject for links over names to be followed:
            0 follows them always, more than 1 never.
        **options: Further arguments of :class:`CandidateRetriever`: ``candidates``, ``ranker``, ``modes``, ``memory``,
            ``workers``, ``vector_store_kwargs``, ``callback_manager``, ``verbose``.

    Raises:
        ConfigurationError: A number is out of range, or the graph belongs to another tenant than the store.
    """

    def _select(self, session: Session, query: str) -> Steps[list[NodeWithScore]]:
        return (yield from self._select_linked(session, query))


@strict_arguments
class EvidenceRetriever(LinkedSetRetriever, NodeRetriever):
    """The default: pages ranked by evidence where nodes are on pages, sets of linked nodes everywhere else.

    Inside documents with pages neither links nor joint coverage find more pages (measured), so there this is
    :class:`NodeRetriever`. Where most candidates are on no page (passages, chunks, Markdown, HTML, Office text,
    tables), it is :class:`GraphRetriever`.

    Args:
        store: Where the nodes are.
        graph: Where their links are; None for no links.
        embed_model: Embeds the question; ``Settings.embed_model`` by default. Not used without a vector mode.
        similarity_top_k: How many nodes to return.
        filters: What every node must pass; the tenant boundary.
        link_weights: How much the parts of the walk count.
        gate: As for :class:`GraphRetriever`.
        **options: Further arguments of :class:`NodeRetriever`.

    Raises:
        ConfigurationError: A number is out of range, or the graph belongs to another tenant than the store.
    """

    def _select(self, session: Session, query: str) -> Steps[list[NodeWithScore]]:
        if ranks_pages(session.share_on_pages()):
            return (yield from super()._select(session, query))
        if self.returns == "elements":
            return (yield from self._select_linked(session, query))
        results = yield from self._select_linked(session, query, top=_PARTS_READ * self.similarity_top_k)
        if not mentions(self.filters, ELEMENT_KEYS):
            results = yield from whole_pages(session, results, self.filters)
        return (yield from whole_tables(results, self.filters))[: self.similarity_top_k]


def _check_tenant(store: BasePydanticVectorStore, graph: KnowledgeGraph | None) -> None:
    if graph is None:
        return
    own, other = getattr(store, "tenant", graph.store.tenant), graph.store.tenant
    if own != other:
        message = f"The graph belongs to tenant {other!r} and the nodes to {own!r}; open both with the same tenant."
        raise ConfigurationError(message)
