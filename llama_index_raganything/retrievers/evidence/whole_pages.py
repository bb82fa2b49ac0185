"""Whole pages and whole tables in place of the parts that were found: what a reader needs, in one result.

An element alone is the smallest thing to cite, and often lacks the answer: the value, its unit or the sentence that
explains it stands elsewhere on the page. A part of a table lacks its other rows, and the unit above it.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from llama_index.core.schema import BaseNode, NodeWithScore, TextNode
from llama_index.core.vector_stores.types import MetadataFilters

from llama_index_raganything.elements import ELEMENTS_KEY, EVIDENCE_KEY, GRAPH_PATH_KEY
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.node_parser.table_chunks import join_table_parts
from llama_index_raganything.ranking.evidence_ranker import annotated_copy
from llama_index_raganything.retrievers.evidence.node_cache import Profile
from llama_index_raganything.retrievers.evidence.requests import Fetch, Request
from llama_index_raganything.retrievers.evidence.session import Answer, Session, nodes_of
from llama_index_raganything.stores.metadata_filters import all_of, equal_to, of_documents, one_of
from llama_index_raganything.tables.read import in_reading_order
from llama_index_raganything.text.sentences import split_sentences

Returns = Literal["pages", "elements"]
"""What a retriever returns: whole pages and whole tables, or the elements and parts that were found."""

MAX_TABLE_CHARS: Final = 16_000
"""A longer table, about a hundred rows, is returned in the part that was found."""

_MAX_INTRODUCTION: Final = 1000
"""Characters of the text before a table that come with it."""

Widening = Generator[list[Request], list[Answer], list[NodeWithScore]]


def check_returns(value: str) -> Returns:
    """Return what a retriever is to return.

    Args:
        value: What the caller says.

    Raises:
        ConfigurationError: It is none of the known words.
    """
    for known in get_args(Returns):
        if value == known:
            return value  # type: ignore[return-value] # One of the words, as just seen.
    message = f"returns={value!r} is not known; say one of {', '.join(get_args(Returns))}."
    raise ConfigurationError(message)


def best_elements(ranked: Sequence[Profile]) -> list[dict[str, object]]:
    """Return what a page says of its elements: the best one, the best figure and the best table.

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


def whole_pages(session: Session, results: Sequence[NodeWithScore], filters: MetadataFilters | None) -> Widening:
    """Put the page in place of each element that stands on one, once, where its best element stood.

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
    answers = yield [Fetch(list(found), filters)]
    pages = {node.node_id: node for answer in answers for node in nodes_of(answer)}
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
    kept = {key: element.metadata[key] for key in (EVIDENCE_KEY, GRAPH_PATH_KEY) if key in element.metadata}
    return page.model_copy(
        update={
            "metadata": {**page.metadata, **kept},
            "excluded_embed_metadata_keys": [*page.excluded_embed_metadata_keys, *kept],
            "excluded_llm_metadata_keys": [*page.excluded_llm_metadata_keys, *kept],
        }
    )


@dataclass(frozen=True, slots=True)
class _Table:
    """Identifies a table that stands on no page among the results."""

    document: str
    element: str


def whole_tables(results: Sequence[NodeWithScore], filters: MetadataFilters | None) -> Widening:
    """Join the parts of each table that stands on no page, and put the text that introduces it before it.

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
) -> Generator[list[Request], list[Answer], dict[_Table, list[BaseNode]]]:
    """Return all parts of some tables, each table's in order."""
    answers = yield [Fetch(filters=all_of(filters, _parts_of(found)))]
    parts: dict[_Table, list[BaseNode]] = {}
    for answer in answers:
        for node in nodes_of(answer):
            table = _table_of(node)
            if table is not None and table in found:
                parts.setdefault(table, []).append(node)
    return {table: in_reading_order(nodes) for table, nodes in parts.items()}


def _read_before(
    parts: Mapping[_Table, Sequence[BaseNode]], present: Collection[str], filters: MetadataFilters | None
) -> Generator[list[Request], list[Answer], dict[_Table, BaseNode]]:
    """Return what stands before each table, unless it is among the results itself."""
    previous = {table: nodes[0].prev_node for table, nodes in parts.items()}
    ids = {table: info.node_id for table, info in previous.items() if info and info.node_id not in present}
    if not ids:
        return {}
    answers = yield [Fetch(list(dict.fromkeys(ids.values())), filters)]
    nodes = {node.node_id: node for answer in answers for node in nodes_of(answer)}
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


def _parts_of(tables: Mapping[_Table, object]) -> MetadataFilters | None:
    return all_of(
        equal_to("content_type", "table"),
        of_documents(*dict.fromkeys(table.document for table in tables)),
        one_of("element_id", list(dict.fromkeys(table.element for table in tables))),
    )


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
