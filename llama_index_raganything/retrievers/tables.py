"""Retrieval of tables by what is in their headers, rows and surroundings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.elements import GRAPH_PATH_KEY
from llama_index_raganything.ranking.evidence_ranker import with_hidden_metadata
from llama_index_raganything.ranking.passage_features import TABLE
from llama_index_raganything.retrievers.evidence.candidates import Profile, Session
from llama_index_raganything.retrievers.evidence.graph import LinkedSetRetriever
from llama_index_raganything.retrievers.steps import Request, StepRetriever, Steps, ask
from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph
from llama_index_raganything.stores.metadata_filters import all_of, equal_to, mentions
from llama_index_raganything.stores.tables.store import TableStore

TABLE_NAME_KEY: Final = "table_name"
"""Metadata key of the SQL relation that a table is."""

COMPANION_KEY: Final = "companion_id"
"""Metadata key of the id of the text that helped to find a table."""

_TYPE_KEY: Final = "content_type"


@dataclass(frozen=True, slots=True)
class TableNames(Request[dict[str, str]]):
    """A request for the SQL relations of tables, by node id; tables without one are left out."""

    table_store: TableStore
    node_ids: Sequence[str]

    def answer(self, retriever: StepRetriever) -> dict[str, str]:  # noqa: ARG002 # The tables have their own store.
        """Look the names up."""
        records = {node_id: self.table_store.by_node(node_id) for node_id in self.node_ids}
        return {node_id: tables[0].name for node_id, tables in records.items() if tables}


@strict_arguments
class TableRetriever(LinkedSetRetriever):
    """Find tables by what is in their headers, rows and surroundings.

    Candidates are searched twice, among all nodes and among tables alone, under the caller's filters. Ranking is that
    of :class:`GraphRetriever`: a row or column label that the question covers, words in order, years, and what a table
    covers of the question together with a text of its section. Texts rank along and only tables are returned, each
    once: of the parts of one long table the best. No LLM is asked.

    Beside ``evidence`` and ``graph_path`` the metadata of a result has ``companion_id``, the id of the text that
    helped to find it, if any, and ``table_name``, its SQL relation, where there is a :class:`TableStore`. None of
    them is seen by embedding models and LLMs.

    Args:
        store: Where the nodes are; any LlamaIndex store that keeps text.
        graph: Links between tables and texts; without it, tables are joined with candidates of their section.
        embed_model: Embeds the question; ``Settings.embed_model`` by default. Not used without a vector mode.
        similarity_top_k: Number of tables to return.
        filters: What every node must pass; the tenant boundary.
        table_store: Knows the SQL relations of tables.
        **options: Further arguments of :class:`GraphRetriever`.

    Raises:
        ConfigurationError: A number is out of range, or the graph belongs to another tenant than the store.
    """

    def __init__(
        self,
        store: BasePydanticVectorStore,
        graph: KnowledgeGraph | None = None,
        embed_model: BaseEmbedding | None = None,
        similarity_top_k: int = 5,
        filters: MetadataFilters | None = None,
        *,
        table_store: TableStore | None = None,
        **options: Any,
    ) -> None:
        super().__init__(store, graph, embed_model, similarity_top_k, filters, **options)
        self.table_store = table_store

    def _queries(self, bundle: QueryBundle, modes: Sequence[VectorStoreQueryMode]) -> list[VectorStoreQuery]:
        """Search among tables too: texts are many and say the same words in whole sentences."""
        everywhere = super()._queries(bundle, modes)
        if mentions(self.filters, frozenset({_TYPE_KEY})):
            return everywhere
        among_tables = all_of(self.filters, equal_to(_TYPE_KEY, TABLE))
        return [*everywhere, *(replace(query, filters=among_tables) for query in super()._queries(bundle, self.modes))]

    def _select(self, session: Session, query: str) -> Steps[list[NodeWithScore]]:
        found = yield from self._select_linked(session, query, only=_tables_once)
        names: dict[str, str] = {}
        if self.table_store is not None and found:
            names = yield from ask(TableNames(self.table_store, [item.node.node_id for item in found]))
        for item in found:
            values = {TABLE_NAME_KEY: names.get(item.node.node_id), COMPANION_KEY: _companion(item.node)}
            item.node = with_hidden_metadata(item.node, {key: value for key, value in values.items() if value})
        return found


def _tables_once(profiles: Sequence[Profile]) -> list[str]:
    """Return the ids of tables in order, one of each table that was cut into parts."""
    kept: dict[tuple[str, str], str] = {}
    for profile in profiles:
        if profile.candidate.content_type == TABLE:
            kept.setdefault((profile.candidate.document, profile.element or profile.node_id), profile.node_id)
    return list(kept.values())


def _companion(node: BaseNode) -> str | None:
    """Return the other node of the best set that a table is in."""
    path: list[dict[str, str]] = json.loads(node.metadata.get(GRAPH_PATH_KEY, "[]"))
    ends = (step[end] for step in path for end in ("source", "target"))
    return next((end for end in ends if end != node.node_id), None)
