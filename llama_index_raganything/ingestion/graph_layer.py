"""A document's part of the graph: read from its nodes, written and deleted with them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.graph_stores.types import EntityNode, Relation
from llama_index.core.schema import BaseNode

from llama_index_raganything.graph.extraction.described_entities import (
    belonging,
    described_entity,
    names_in,
    plain_name,
)
from llama_index_raganything.graph.extraction.entity_linker import EntityLinker
from llama_index_raganything.graph.extraction.merging import ExtractedTriples
from llama_index_raganything.graph.extraction.triples import TripleExtractor
from llama_index_raganything.graph.facts import NodeFacts
from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph


@dataclass(slots=True)
class GraphRecords:
    """What the graph gets from one document.

    Attributes:
        facts: Facts of its nodes.
        triples: What an LLM read from them, if one was asked.
        described: Entities of figures, tables and equations that a processor described, one per node.
        belonging: Relations from the other names in their nodes to them.
    """

    facts: list[NodeFacts] = field(default_factory=list)
    triples: ExtractedTriples | None = None
    described: list[EntityNode] = field(default_factory=list)
    belonging: list[Relation] = field(default_factory=list)

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Ids of nodes from which no triples could be read, each with the reason."""
        return list(self.triples.failures) if self.triples is not None else []


class GraphWriter:
    """Reads the graph from nodes and keeps it in step with them.

    Args:
        graph: Where it is kept.
        linker: Reads names, facts and structural links without a model.
        triple_extractor: Reads triples with an LLM; None asks none.
    """

    name = "graph"

    def __init__(
        self, graph: KnowledgeGraph, linker: EntityLinker | None = None, triple_extractor: TripleExtractor | None = None
    ) -> None:
        self.graph = graph
        self.linker = linker or EntityLinker()
        self.triple_extractor = triple_extractor

    def settings(self) -> dict[str, Any]:
        """Return what decides what the graph gets, as plain values."""
        recognizer: dict[str, Any] = getattr(self.linker.recognizer, "to_dict", dict)()
        extractor = self.triple_extractor.to_dict() if self.triple_extractor is not None else {}
        return {"linker": self.linker.to_dict(), "recognizer": recognizer, "triples": extractor}

    def read(self, nodes: Sequence[BaseNode]) -> GraphRecords:
        """Read what the graph gets from a document's nodes.

        Returns:
            The records. Names that an LLM found join nodes as those found by rules do.
        """
        names: dict[str, list[str]] = defaultdict(list)
        described = {node.node_id: entity for node in nodes if (entity := described_entity(node)) is not None}
        for node_id, entity in described.items():
            names[node_id].append(plain_name(entity))
        triples = None
        if self.triple_extractor is not None:
            triples = self.triple_extractor.extract([node for node in nodes if not _is_divided_page(node)])
            for named in triples.entities:
                for source in triples.sources[named.id]:
                    names[source.node_id].append(named.name)
        facts = self.linker.extract(nodes, names=names)
        belonging_to = [
            relation
            for known in facts
            if known.node_id in described
            for relation in belonging(described[known.node_id], names_in(known))
        ]
        return GraphRecords(facts, triples, list(described.values()), belonging_to)

    def write(self, doc_id: str, records: GraphRecords, *, again: bool = False) -> None:  # noqa: ARG002 # a layer's signature
        """Write records; what the graph knows of the same nodes is replaced.

        Args:
            doc_id: The document; its records name it themselves.
            again: The document was read before: what a model said then of nodes that are still there goes.
        """
        if again:
            # Also when no model is asked any more: what one said of the same nodes before would stay.
            self.graph.delete_nodes([facts.node_id for facts in records.facts])
        triples = records.triples or ExtractedTriples()
        entities = [*records.described, *triples.entities_by_source(), *triples.others]
        self.graph.put_triples(entities, [*records.belonging, *triples.relations])
        self.graph.put_facts(records.facts)

    def delete_nodes(self, doc_id: str, node_ids: Sequence[str]) -> None:  # noqa: ARG002 # a layer's signature
        """Delete what comes from nodes, triples of an earlier run with an LLM too.

        Args:
            node_ids: Their ids.
        """
        self.graph.delete_nodes(node_ids)

    def delete_document(self, doc_id: str) -> None:
        """Delete what comes from a document."""
        self.graph.delete_document(doc_id)

    def flush(self) -> None:
        """Make what was written durable and visible to other processes."""
        self.graph.store.flush()


def _is_divided_page(node: BaseNode) -> bool:
    return node.metadata.get("content_type") == "page" and bool(node.child_nodes)
