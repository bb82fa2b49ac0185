"""Retrieval by pages: whole pages ranked by evidence, returned whole or by their best elements.

An element alone is the smallest unit to cite, and often lacks the answer: the value, its unit or the sentence that
explains it is elsewhere on the page. A part of a table lacks its other rows, and the unit above it. So whole pages and
whole tables take the place of the parts that were found.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import BaseNode, NodeWithScore, TextNode
from llama_index.core.vector_stores.types import BasePydanticVectorStore, MetadataFilters

from llama_index_raganything._arguments import check_positive, strict_arguments
from llama_index_raganything.elements import ELEMENTS_KEY, EVIDENCE_KEY, GRAPH_PATH_KEY
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.nodes import in_reading_order
from llama_index_raganything.ranking.evidence_ranker import annotated_copy, with_hidden_metadata
from llama_index_raganything.ranking.relevance import relevance
from llama_index_raganything.retrievers.evidence.candidates import (
    DEFAULT_TOP_K,
    ELEMENT_KEYS,
    CandidateRetriever,
    Profile,
    Session,
    by_id,
    result_of,
)
from llama_index_raganything.retrievers.steps import Fetch, Steps, ask
from llama_index_raganything.stores.metadata_filters import all_of, equal_to, mentions, of_documents, one_of
from llama_index_raganything.tables.pipe_tables import join_table_parts
from llama_index_raganything.text.sentences import split_sentences

Returns = Literal["pages", "elements"]
"""What a retriever returns: whole pages and whole tables, or the elements and parts that were found."""

MAX_TABLE_CHARS: Final = 16_000
"""A longer table, about a hundred rows, is returned in the part that was found."""

_MAX_INTRODUCTION: Final = 1000
"""Characters of the text before a table that come with it."""


@strict_arguments
class NodeRetriever(CandidateRetriever):
    """Find the pages with the evidence for a question, or the elements on them.

    Candidates come from the store by vector and by keyword, and by look-up where the question names pages or labels.
    Whole pages rank best, so hits vote for their pages, and pages are ordered by :class:`EvidenceRanker`. Where nodes
    are on no page they rank by themselves, and a table among them comes with all its rows and the text before it.
    When the filters set a condition on what elements do not share with their page (``content_type``, ``label``,
    ``section`` ...), the nodes that pass are ranked and returned themselves.

    ``similarity_top_k`` counts pages, and where there are none tables and passages. The metadata of a page that is
    returned have ``elements``, its best element, image and table with their boxes; see
    :data:`~llama_index_raganything.elements.ELEMENTS_KEY`. With ``returns="elements"`` the best element of each
    page is returned in its place: the smallest unit to cite, with a box, which often lacks the answer.

    Works with any LlamaIndex vector store that keeps text. Every node returned passes the filters. Scores fall; they
    say how probable it is that a node bears on the question (:mod:`llama_index_raganything.ranking.relevance`); each
    node's metadata has ``evidence``, the account of its place.

    Args:
        store: Where the nodes are.
        embed_model: Embeds the question; ``Settings.embed_model`` by default. Not used without a vector mode.
        similarity_top_k: How many results to return.
        filters: What every node must pass; the tenant boundary.
        returns: ``"pages"`` or ``"elements"``.
        elements_per_page: With ``returns="elements"``, elements of a page that may be returned before the next
            page (1 by default); the rest of them follow after the last page.
        **options: Further arguments of :class:`CandidateRetriever`: ``candidates``, ``ranker``, ``modes``, ``memory``,
            ``workers``, ``vector_store_kwargs``, ``callback_manager``, ``verbose``.

    Raises:
        ConfigurationError: A number is below 1, a mode or ``returns`` is unknown, ``elements_per_page`` is given with
            ``returns="pages"``, or the store does not keep text.
    """

    def __init__(
        self,
        store: BasePydanticVectorStore,
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
        super().__init__(store, embed_model, similarity_top_k, filters, **options)
        check_positive(self, "elements_per_page")

    def _select(self, session: Session, query: str) -> Steps[list[NodeWithScore]]:
        result, gone = yield from self._choose(session, query)
        if gone:
            # Something remembered is no longer stored as it was: forget it and choose again.
            session.forget()
            yield from session.read(session.hits)
            result, _ = yield from self._choose(session, query)
        return (yield from whole_tables(result, self.filters)) if self.returns == "pages" else result

    def _choose(self, session: Session, query: str) -> Steps[tuple[list[NodeWithScore], bool]]:
        """Rank, choose elements, and read the nodes to return; also return whether one of them is gone."""
        by_page = not mentions(self.filters, ELEMENT_KEYS)
        if by_page:
            yield from session.read(session.page_ids())
        profiles = session.pages_or_elements(by_page=by_page)
        scores = self.ranker.score([profile.candidate for profile in profiles], query)
        places = np.argsort(-scores.total, kind="stable").tolist()
        values = relevance(query, [profiles[place].candidate for place in places], self.similarity_top_k)
        order = places[: self.similarity_top_k]
        if by_page:
            yield from session.read([i for index in order for i in profiles[index].element_ids])
        best = [profiles[index] for index in order]
        ranked = self._ranked_elements(session, best, query)
        if self.returns == "pages":
            chosen = [(profile.node_id, profile.node_id) for profile in best]
        else:
            chosen = self._cited(best, ranked)
        evidence = {
            profiles[index].node_id: (scores.explain(index), value) for index, value in zip(order, values, strict=True)
        }
        fetch = Fetch([node_id for node_id, _ in chosen], self.filters)
        nodes = by_id((yield from ask(fetch))) if chosen else {}
        result, ceiling = [], 1.0
        for node_id, owner_id in chosen:
            account, value = evidence[owner_id]
            ceiling = min(ceiling, value)
            if node_id in nodes:
                item = result_of(nodes[node_id], account, ceiling)
                if node_id == owner_id and ranked[owner_id]:
                    item.node = annotated_copy(item.node, ELEMENTS_KEY, best_elements(ranked[owner_id]))
                result.append(item)
        return result, len(result) < len(chosen)

    def _ranked_elements(self, session: Session, profiles: Sequence[Profile], query: str) -> dict[str, list[Profile]]:
        """Return the elements of each page, those that answer best first; none for what is no page."""
        own = [session.known(profile.element_ids) for profile in profiles]
        elements = [element.candidate for members in own for element in members]
        values = iter(self.ranker.score_elements(elements, query).tolist())
        ranked: dict[str, list[Profile]] = {}
        for profile, members in zip(profiles, own, strict=True):
            places = sorted(((next(values), -place) for place in range(len(members))), reverse=True)
            ranked[profile.node_id] = [members[-place] for _, place in places]
        return ranked

    def _cited(self, profiles: Sequence[Profile], ranked: Mapping[str, Sequence[Profile]]) -> list[tuple[str, str]]:
        """Return ids of what to return, each with the id of its page: of every page the best elements first."""
        first: list[tuple[str, str]] = []
        further: list[tuple[str, str]] = []
        for profile in profiles:
            ids = [member.node_id for member in ranked[profile.node_id]] or [profile.node_id]
            first += [(node_id, profile.node_id) for node_id in ids[: self.elements_per_page]]
            further += [(node_id, profile.node_id) for node_id in ids[self.elements_per_page :]]
        return [*first, *further][: self.similarity_top_k]


def check_returns(value: str) -> Returns:
    """Return what a retriever is to return.

    Args:
        value: What the caller says.

    Raises:
        ConfigurationError: It is none of the known words.
    """
    if value in get_args(Returns):
        return value  # type: ignore[return-value] # One of the words, as just seen.
    message = f"returns={value!r} is not known; say one of {', '.join(get_args(Returns))}."
    raise ConfigurationError(message)


def best_elements(ranked: Sequence[Profile]) -> list[dict[str, object]]:
    """Return what a page says of its elements: the best one, the best image and the best table.

    Args:
        ranked: The elements of the page, best first.

    Returns:
        At most three, best first; see :data:`ELEMENTS_KEY`.
    """
    firsts = [0, *(_first_of(ranked, kind) for kind in ("image", "table"))] if ranked else []
    return [_shown(ranked[place]) for place in sorted({place for place in firsts if place is not None})]


def _first_of(ranked: Sequence[Profile], content_type: str) -> int | None:
    return next((place for place, each in enumerate(ranked) if each.candidate.content_type == content_type), None)


def _shown(profile: Profile) -> dict[str, object]:
    return {
        "node_id": profile.node_id,
        "content_type": profile.candidate.content_type,
        "label": profile.candidate.label,
        "bbox": profile.bbox or None,
        "asset": profile.asset or None,
    }


def whole_pages(
    session: Session, results: Sequence[NodeWithScore], filters: MetadataFilters | None
) -> Steps[list[NodeWithScore]]:
    """Put the page in place of each element that is on one, once, at the rank of its best element.

    Args:
        session: Knows the elements.
        results: Results, best first.
        filters: What the pages must pass; an element whose page does not stays.

    Yields:
        Requests to the store.

    Returns:
        As many results or fewer.
    """
    profiles = {profile.node_id: profile for profile in session.known(item.node.node_id for item in results)}
    found: dict[str, list[Profile]] = {}
    for item in results:
        profile = profiles.get(item.node.node_id)
        if profile is not None and profile.page_id is not None:
            found.setdefault(profile.page_id, []).append(profile)
    if not found:
        return list(results)
    pages = by_id((yield from ask(Fetch(list(found), filters))))
    widened: dict[str, NodeWithScore] = {}
    for item in results:
        profile = profiles.get(item.node.node_id)
        page = pages.get(profile.page_id or "") if profile is not None else None
        if page is None:
            widened.setdefault(item.node.node_id, item)
        elif page.node_id not in widened:
            copy = annotated_copy(_with_account(page, item.node), ELEMENTS_KEY, best_elements(found[page.node_id]))
            copy.embedding = None
            widened[page.node_id] = NodeWithScore(node=copy, score=item.score)
    return list(widened.values())


def _with_account(page: BaseNode, element: BaseNode) -> BaseNode:
    """Return the page with what the retriever wrote into the metadata of its element."""
    kept: dict[str, Any] = {
        key: element.metadata[key] for key in (EVIDENCE_KEY, GRAPH_PATH_KEY) if key in element.metadata
    }
    return with_hidden_metadata(page, kept)


@dataclass(frozen=True, slots=True)
class _Table:
    """Identifies a table, on no page, among the results."""

    document: str
    element: str


def whole_tables(results: Sequence[NodeWithScore], filters: MetadataFilters | None) -> Steps[list[NodeWithScore]]:
    """Join the parts of each table that is on no page, and put the text that introduces it before it.

    Args:
        results: Results, best first.
        filters: What every part must pass.

    Yields:
        Requests to the store.

    Returns:
        Results without the further parts of a table; each keeps the id of the part found first.
    """
    found: dict[_Table, NodeWithScore] = {}
    for item in results:
        table = _table_of(item.node)
        if table is not None:
            found.setdefault(table, item)
    if not found:
        return list(results)
    parts = yield from _read_parts(found, filters)
    before = yield from _read_before(parts, {item.node.node_id for item in results}, filters)
    joined = {table: _joined(item.node, parts.get(table, []), before.get(table)) for table, item in found.items()}
    return _replaced(results, found, joined)


def _read_parts(
    found: Mapping[_Table, NodeWithScore], filters: MetadataFilters | None
) -> Steps[dict[_Table, list[BaseNode]]]:
    """Return all parts of some tables, each table's in order."""
    wanted = all_of(
        filters,
        equal_to("content_type", "table"),
        of_documents(*dict.fromkeys(table.document for table in found)),
        one_of("element_id", list(dict.fromkeys(table.element for table in found))),
    )
    parts: dict[_Table, list[BaseNode]] = {}
    for node in (yield from ask(Fetch(filters=wanted))):
        table = _table_of(node)
        if table is not None and table in found:
            parts.setdefault(table, []).append(node)
    return {table: in_reading_order(nodes) for table, nodes in parts.items()}


def _read_before(
    parts: Mapping[_Table, Sequence[BaseNode]], present: Collection[str], filters: MetadataFilters | None
) -> Steps[dict[_Table, BaseNode]]:
    """Return what comes before each table, unless it is among the results itself."""
    previous = {table: nodes[0].prev_node for table, nodes in parts.items()}
    ids = {table: info.node_id for table, info in previous.items() if info and info.node_id not in present}
    if not ids:
        return {}
    nodes = by_id((yield from ask(Fetch(list(dict.fromkeys(ids.values())), filters))))
    return {table: nodes[node_id] for table, node_id in ids.items() if node_id in nodes}


def _replaced(
    results: Sequence[NodeWithScore], found: Mapping[_Table, NodeWithScore], joined: Mapping[_Table, BaseNode]
) -> list[NodeWithScore]:
    """Return results with whole tables; of a table that is too long to be joined every part that was found stays."""
    replaced = []
    for item in results:
        table = _table_of(item.node)
        if table is None:
            replaced.append(item)
        elif found[table] is item:
            replaced.append(NodeWithScore(node=joined[table], score=item.score))
        elif joined[table] is found[table].node:
            replaced.append(item)
    return replaced


def _table_of(node: BaseNode) -> _Table | None:
    metadata = node.metadata
    element, document = metadata.get("element_id"), metadata.get("doc_id")
    on_page = node.parent_node is not None
    if metadata.get("content_type") != "table" or on_page or not element or not document:
        return None
    return _Table(str(document), str(element))


def _joined(found: BaseNode, parts: Sequence[BaseNode], before: BaseNode | None) -> BaseNode:
    """Return the found part with the text of the whole table; itself where that would be too long."""
    if not isinstance(found, TextNode):
        return found
    texts = [part.text for part in parts if isinstance(part, TextNode)] or [found.text]
    if sum(map(len, texts)) > MAX_TABLE_CHARS:
        return found
    whole = join_table_parts(texts)
    introduction = _introduction(found, before)
    if introduction and introduction not in whole:
        whole = f"{introduction}\n\n{whole}"
    return found.model_copy(update={"text": whole}) if whole != found.text else found


def _introduction(table: BaseNode, before: BaseNode | None) -> str:
    """Return the end of the text before a table in its section, which says what it shows and in which unit."""
    if not isinstance(before, TextNode) or before.metadata.get("content_type") != "text":
        return ""
    if before.metadata.get("section") != table.metadata.get("section"):
        return ""
    kept: list[str] = []
    for sentence in reversed(split_sentences(before.text)):
        if kept and sum(map(len, kept)) + len(sentence) > _MAX_INTRODUCTION:
            break
        kept.insert(0, sentence)
    return "".join(kept).strip()
