"""Layers: what is kept beside the nodes and written and deleted with them: the graph, tables and images.

The nodes are the first layer and always there. Every further one reads what it needs from a document's nodes before
anything is written, is written after the nodes and before the ledger says ``ready``, and loses a document with them.
A layer of one's own is a class with the methods of :class:`Layer`, given to
:class:`~llama_index_raganything.RAGAnythingIndex` as one of its ``layers``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.graph_stores.types import EntityNode, Relation
from llama_index.core.schema import BaseNode

from llama_index_raganything.enrich.image_embedder import ImageEmbedder, model_name
from llama_index_raganything.errors import SchemaMismatchError
from llama_index_raganything.graph.extraction.entities import (
    ExtractedTriples,
    belonging,
    described_entity,
    names_in,
    plain_name,
)
from llama_index_raganything.graph.extraction.entity_linker import EntityLinker
from llama_index_raganything.graph.extraction.triples import TripleExtractor
from llama_index_raganything.graph.facts import NodeFacts
from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph
from llama_index_raganything.stores.metadata_filters import of_documents
from llama_index_raganything.stores.nodes.visual import MilvusVisualStore
from llama_index_raganything.stores.tables.store import TableStore
from llama_index_raganything.tables.read import tables_of_nodes
from llama_index_raganything.tables.records import TableRecord

_TABLE_VERSION: Final = 1
"""Raised when the same nodes give other tables, so that documents are read again."""

IMAGE_TYPES: Final = ("image", "page")
"""Content types whose images are embedded; crops of tables and formulas are found by their text."""


@dataclass(slots=True, kw_only=True)
class LayerRecords:
    """What a layer gets from one document; each layer adds what it writes.

    Attributes:
        failures: Ids of nodes of which something is missing, each with the reason; they become warnings.
        unanswered: Ids of nodes for which a model gave no answer; the next run tries the document again.
    """

    failures: list[tuple[str, str]] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)


@runtime_checkable
class Layer(Protocol):
    """One kind of storage beside the nodes.

    Attributes:
        name: Its name, also that of its stage in the report.
    """

    name: str

    def settings(self) -> dict[str, Any]:
        """Return, as plain values, what decides what the layer holds; part of the pipeline's fingerprint."""

    def read(self, nodes: Sequence[BaseNode]) -> LayerRecords:
        """Read what the layer gets from a document's nodes; writes nothing."""

    def write(self, doc_id: str, records: Any, *, again: bool) -> None:
        """Write a document's records; those of the same nodes are replaced.

        Args:
            records: What :meth:`read` returned.
            again: The document was written before.
        """

    def delete_nodes(self, doc_id: str, node_ids: Sequence[str]) -> None:
        """Delete what comes from nodes that a document no longer has."""

    def delete_document(self, doc_id: str) -> None:
        """Delete what comes from a document."""

    def flush(self) -> None:
        """Make what was written durable and visible to other processes."""


@dataclass(slots=True, kw_only=True)
class GraphRecords(LayerRecords):
    """What the graph gets from one document.

    Attributes:
        facts: Facts of its nodes.
        triples: What an LLM extracted from them; None where none was asked.
        described: Entities of images, tables and equations that a model described, one per node.
        belonging: Relations from the other names in their nodes to them.
    """

    facts: list[NodeFacts]
    triples: ExtractedTriples | None = None
    described: list[EntityNode]
    belonging: list[Relation]


class GraphLayer:
    """The graph of entities, facts and relations in the nodes.

    Args:
        linker: Finds names, facts and structural links without a model.
        triple_extractor: Extracts triples with an LLM; None asks none.
    """

    name = "graph"

    def __init__(
        self, graph: KnowledgeGraph, linker: EntityLinker | None = None, triple_extractor: TripleExtractor | None = None
    ) -> None:
        self.graph = graph
        self.linker = linker or EntityLinker()
        self.triple_extractor = triple_extractor

    def settings(self) -> dict[str, Any]:
        """Return the settings of the linker, its recognizer and the triple extractor."""
        recognizer: dict[str, Any] = getattr(self.linker.recognizer, "to_dict", dict)()
        extractor = self.triple_extractor.to_dict() if self.triple_extractor is not None else {}
        return {"linker": self.linker.to_dict(), "recognizer": recognizer, "triples": extractor}

    def read(self, nodes: Sequence[BaseNode]) -> GraphRecords:
        """Extract what the graph gets; names that an LLM found join nodes as those found by rules do."""
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
        return GraphRecords(
            facts=facts,
            triples=triples,
            described=list(described.values()),
            belonging=belonging_to,
            failures=list(triples.failures) if triples is not None else [],
        )

    def write(self, doc_id: str, records: GraphRecords, *, again: bool = False) -> None:  # noqa: ARG002 # a layer's signature
        """Write records; what the graph knows of the same nodes is replaced, also what a model said of them before."""
        if again:
            # Also where no model is asked any more.
            self.graph.delete_nodes([facts.node_id for facts in records.facts])
        triples = records.triples or ExtractedTriples()
        entities = [*records.described, *triples.entities_by_source(), *triples.others]
        self.graph.put_triples(entities, [*records.belonging, *triples.relations])
        self.graph.put_facts(records.facts)

    def delete_nodes(self, doc_id: str, node_ids: Sequence[str]) -> None:  # noqa: ARG002 # a layer's signature
        """Delete what comes from nodes, triples of an earlier run with an LLM too."""
        self.graph.delete_nodes(node_ids)

    def delete_document(self, doc_id: str) -> None:
        """Delete what comes from a document."""
        self.graph.delete_document(doc_id)

    def flush(self) -> None:
        """Make what was written durable and visible to other processes."""
        self.graph.store.flush()


def _is_divided_page(node: BaseNode) -> bool:
    return node.metadata.get("content_type") == "page" and bool(node.child_nodes)


@dataclass(slots=True, kw_only=True)
class TableRecords(LayerRecords):
    """The tables of one document."""

    tables: list[TableRecord]


class TableLayer:
    """The tables in the nodes, for SQL."""

    name = "tables"

    def __init__(self, store: TableStore) -> None:
        self.store = store

    def settings(self) -> dict[str, Any]:
        """Return the version of the rules that read tables."""
        return {"version": _TABLE_VERSION}

    def read(self, nodes: Sequence[BaseNode]) -> TableRecords:
        """Read the tables in a document's nodes."""
        return TableRecords(tables=tables_of_nodes(nodes))

    def write(self, doc_id: str, records: TableRecords, *, again: bool = False) -> None:  # noqa: ARG002 # a layer's signature
        """Replace a document's tables."""
        self.store.put(doc_id, records.tables)

    def delete_nodes(self, doc_id: str, node_ids: Sequence[str]) -> None:
        """Delete the tables of nodes that a document no longer has."""
        self.store.delete_nodes(doc_id, node_ids)

    def delete_document(self, doc_id: str) -> None:
        """Delete a document's tables."""
        self.store.delete(doc_id)

    def flush(self) -> None:
        """Do nothing: each document's file is on disk when it is written."""


@dataclass(slots=True, kw_only=True)
class ImageRecords(LayerRecords):
    """The images of one document.

    Attributes:
        nodes: Copies of its nodes with the vectors of their images.
    """

    nodes: list[BaseNode]


class ImageLayer:
    """The vectors of the images of nodes.

    Args:
        embedder: Embeds images; a multimodal model stands for an :class:`ImageEmbedder` of :data:`IMAGE_TYPES`.
    """

    name = "visual"

    def __init__(self, store: MilvusVisualStore, embedder: ImageEmbedder | MultiModalEmbedding) -> None:
        self.store = store
        if not isinstance(embedder, ImageEmbedder):
            embedder = ImageEmbedder(embed_model=embedder, content_types=IMAGE_TYPES)
        self.embedder = embedder

    def settings(self) -> dict[str, Any]:
        """Return the embedding model and what is embedded with it."""
        embedder, model = self.embedder, self.embedder.embed_model
        return {
            "embed_model": [model.class_name(), model.model_name, getattr(model, "dimension", None)],
            "content_types": list(embedder.content_types) if embedder.content_types is not None else None,
            "max_pixels": embedder.max_pixels,
            "max_bytes": embedder.max_bytes,
            "fetch": embedder.fetch is not None,
        }

    def read(self, nodes: Sequence[BaseNode]) -> ImageRecords:
        """Embed the images of a document's nodes.

        Raises:
            SchemaMismatchError: The model's vectors have another length than the stored ones.
            Exception: Every further image would fail for the same reason.
        """
        result = self.embedder.process(nodes)
        if result.fatal is not None:
            raise result.fatal
        for node in result.changed[:1]:
            length = len(node.embedding or ())
            if self.store.dim is not None and length != self.store.dim:
                message = (
                    f"{model_name(self.embedder.embed_model)} returned a vector of length {length}, the collection "
                    f"{self.store.collection_name!r} holds vectors of dimension {self.store.dim}. Use the model it was "
                    "made with, or overwrite the collection."
                )
                raise SchemaMismatchError(message)
        return ImageRecords(nodes=result.changed, failures=result.failures, unanswered=result.unanswered)

    def write(self, doc_id: str, records: ImageRecords, *, again: bool = False) -> None:
        """Write the vectors of a document.

        Args:
            records: What :meth:`read` returned.
            again: The document was written before. Vectors of images that are gone are deleted; those that could not
                be renewed just now stay.
        """
        self.store.add(records.nodes)
        if again:
            kept = {node.node_id for node in records.nodes} | set(records.unanswered)
            stored = self.store.get_nodes(filters=of_documents(doc_id))
            self.store.delete_nodes([node.node_id for node in stored if node.node_id not in kept])

    def delete_nodes(self, doc_id: str, node_ids: Sequence[str]) -> None:  # noqa: ARG002  # a layer's signature
        """Delete the vectors of nodes."""
        self.store.delete_nodes(list(node_ids))

    def delete_document(self, doc_id: str) -> None:
        """Delete the vectors of a document."""
        self.store.delete(doc_id)

    def flush(self) -> None:
        """Make what was written durable and visible to other processes."""
        self.store.flush()
