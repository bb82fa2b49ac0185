"""Retrieval over links: nodes that together answer a question which none of them answers alone."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import NodeWithScore
from llama_index.core.vector_stores.types import BasePydanticVectorStore, MetadataFilters

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.elements import GRAPH_PATH_KEY
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.graph.memory.mirror import best_by_words
from llama_index_raganything.graph.walk.links import LinkWeights
from llama_index_raganything.questions.question import understand
from llama_index_raganything.ranking.evidence_ranker import annotated_copy
from llama_index_raganything.ranking.relevance import relevance
from llama_index_raganything.retrievers.evidence.base import DEFAULT_TOP_K, KEYWORD_MODES, CandidateRetriever, result_of
from llama_index_raganything.retrievers.evidence.node_cache import Profile
from llama_index_raganything.retrievers.evidence.node_sets import ENOUGH_ABOUT_THINGS, MAX_RANKED, SetRanking
from llama_index_raganything.retrievers.evidence.nodes import NodeRetriever
from llama_index_raganything.retrievers.evidence.paths import shown_path
from llama_index_raganything.retrievers.evidence.requests import ELEMENT_KEYS, Call, Fetch, Request
from llama_index_raganything.retrievers.evidence.session import Answer, Session, Steps, nodes_of
from llama_index_raganything.retrievers.evidence.whole_pages import whole_pages, whole_tables
from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph
from llama_index_raganything.stores.metadata_filters import mentions

Only = Callable[[Sequence[Profile]], list[str]]
"""Takes nodes in order, returns the ids of those to keep."""


@strict_arguments
class OverGraph(CandidateRetriever):
    """What retrievers over the graph take and know."""

    def __init__(
        self,
        vector_store: BasePydanticVectorStore,
        graph: KnowledgeGraph | None,
        embed_model: BaseEmbedding | None = None,
        similarity_top_k: int = DEFAULT_TOP_K,
        filters: MetadataFilters | None = None,
        *,
        link_weights: LinkWeights | None = None,
        gate: float = ENOUGH_ABOUT_THINGS,
        **options: Any,
    ) -> None:
        _check_tenant(vector_store, graph)
        super().__init__(vector_store, embed_model, similarity_top_k, filters, **options)
        self.graph = graph
        self.link_weights = link_weights or LinkWeights()
        self.gate = gate

    def _keyword_hits(self, query: str) -> Generator[list[Request], list[Answer], list[str] | None]:
        return (yield from keyword_hits(self, self.graph, query))


@strict_arguments
class GraphRetriever(OverGraph):
    """Find nodes that cover a question together: two or three joined by a name, a citation or a section.

    Candidates come from the store by vector and by keyword under the caller's filters. From the best of them links
    lead to other nodes: to those whose title they mention and that mention theirs, to those that mention the same
    rare name, to the text of a table's section and to the text that cites a figure. Sets of two and three nodes are
    scored by what they cover jointly and by their links, nodes by the sets they are in. Only nodes that pass the
    filters take part in the walk. No LLM is asked.

    Results are the stored nodes as they are, scored by the probability that they bear on the question, in descending
    order, with ``evidence`` and ``graph_path`` in their metadata: a JSON list of the links (ids and titles of both
    ends, relation, name) that led to the node.

    Args:
        vector_store: Where the nodes are.
        graph: Where their links are; see :class:`KnowledgeGraph`.
        embed_model: Embeds the question; ``Settings.embed_model`` by default. Not used without a vector mode.
        similarity_top_k: How many nodes to return.
        filters: What every node must pass; the tenant boundary.
        link_weights: How much the parts of the walk count.
        gate: Share of the best candidates that must each be about one thing for links over names to be followed:
            0 follows them always, more than 1 never.
        **options: Further arguments of :class:`CandidateRetriever`: ``candidates``, ``ranker``, ``modes``, ``memory``,
            ``max_concurrency``, ``vector_store_kwargs``, ``callback_manager``, ``verbose``.

    Raises:
        ConfigurationError: A number is out of range, or the graph belongs to another tenant than the store.
    """

    def _select(self, session: Session, query: str) -> Steps:
        return (yield from select_by_sets(self, self.graph, self.link_weights, self.gate, session, query))


@strict_arguments
class EvidenceRetriever(OverGraph, NodeRetriever):
    """The default: pages ranked by evidence where nodes stand on pages, sets of linked nodes everywhere else.

    Inside documents with pages neither links nor joint coverage find more pages (measured), so there this is
    :class:`NodeRetriever`. Where most candidates stand on no page (passages, chunks, Markdown, HTML, Office text,
    tables), it is :class:`GraphRetriever`.

    Args:
        vector_store: Where the nodes are.
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

    def _select(self, session: Session, query: str) -> Steps:
        if session.share_on_pages() >= _MOSTLY:
            return (yield from super()._select(session, query))
        if self.returns == "elements":
            return (yield from select_by_sets(self, self.graph, self.link_weights, self.gate, session, query))
        # Several of them may stand on one page, or be parts of one table.
        top = _PARTS_READ * self.similarity_top_k
        results = yield from select_by_sets(self, self.graph, self.link_weights, self.gate, session, query, top=top)
        if not mentions(self.filters, ELEMENT_KEYS):
            results = yield from whole_pages(session, results, self.filters)
        return (yield from whole_tables(results, self.filters))[: self.similarity_top_k]


_MOSTLY = 0.5
_PARTS_READ = 2


def keyword_hits(
    retriever: CandidateRetriever, graph: KnowledgeGraph | None, query: str
) -> Generator[list[Request], list[Answer], list[str] | None]:
    """Return the best nodes by keyword from the graph in memory, where it knows all nodes and none are filtered.

    It has the same words as the store's index, and is the faster of the two on Milvus Lite.

    Args:
        retriever: Whose store, filters and number of candidates hold.

    Yields:
        Requests.

    Returns:
        Ids, best first; None where only the store can tell.
    """
    count = getattr(retriever.vector_store, "count", None)
    filtered = retriever.filters is not None and retriever.filters.filters
    if graph is None or count is None or filtered or not KEYWORD_MODES.intersection(retriever.modes):
        return None
    covered: list[bool] = []
    yield [Call(lambda: covered.append(graph.has_all_nodes(count)))]
    if not covered[0]:
        return None
    mirror = graph.mirror
    terms = [*understand(query).terms, *retriever.ranker.added_words(query)]
    with mirror.lock:
        return mirror.node_ids(best_by_words(mirror, terms, retriever.candidates).tolist())


def select_by_sets(
    retriever: CandidateRetriever,
    graph: KnowledgeGraph | None,
    weights: LinkWeights,
    gate: float,
    session: Session,
    query: str,
    only: Only | None = None,
    top: int | None = None,
) -> Steps:
    """Choose nodes by the sets they are part of.

    Args:
        retriever: Whose store, filters and number of results hold.
        graph: The links.
        weights: How much the parts of the walk count.
        gate: When links over names are followed.
        only: Takes the nodes in order and returns the ids of those to keep; all by default. The others still take
            part in sets.
        top: How many to return; the retriever's ``similarity_top_k`` by default.

    Yields:
        Requests to the store.

    Returns:
        The result.
    """
    if graph is not None:
        yield [Call(lambda: graph.mirror)]
    ranking = SetRanking(graph, retriever.ranker, retriever.memory, retriever.filters, weights, gate)
    top = top or retriever.similarity_top_k
    result, gone = yield from _choose(retriever.filters, ranking, session, query, only, top)
    if gone:
        # What was remembered, or walked over, is no longer stored: look again.
        session.forget()
        if graph is not None:
            yield [Call(graph.refresh)]
        yield from session.read(session.hits)
        result, _ = yield from _choose(retriever.filters, ranking, session, query, only, top)
    return result


def _choose(
    filters: MetadataFilters | None,
    ranking: SetRanking,
    session: Session,
    query: str,
    only: Only | None,
    top: int,
) -> Generator[list[Request], list[Answer], tuple[list[NodeWithScore], bool]]:
    ranked = yield from ranking.rank(session, query, top if only is None else MAX_RANKED)
    if only is None:
        chosen = ranked.node_ids[:top]
    else:
        yield from session.read(ranked.node_ids)
        chosen = only(session.known(ranked.node_ids))[:top]
    if not chosen:
        return [], False
    steps = {node_id: ranked.steps.get(node_id, []) for node_id in chosen}
    partners = [end for path in steps.values() for step in path for end in (step.source, step.target)]
    answers = yield [Fetch(list(dict.fromkeys([*chosen, *partners])), filters)]
    nodes = {node.node_id: node for answer in answers for node in nodes_of(answer)}
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


def _check_tenant(vector_store: BasePydanticVectorStore, graph: KnowledgeGraph | None) -> None:
    if graph is None:
        return
    own, other = getattr(vector_store, "tenant", graph.store.tenant), graph.store.tenant
    if own != other:
        message = f"The graph belongs to tenant {other!r} and the nodes to {own!r}; open both with the same tenant."
        raise ConfigurationError(message)
