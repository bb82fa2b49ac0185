"""A document's pictures as vectors: read from its nodes, written and deleted with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.schema import BaseNode

from llama_index_raganything.errors import SchemaMismatchError
from llama_index_raganything.models.image_embedder import ImageEmbedder, model_name
from llama_index_raganything.stores.metadata_filters import of_documents
from llama_index_raganything.stores.nodes.visual import MilvusVisualStore

VISUAL_TYPES: Final = ("image", "page")
"""Content types whose pictures are embedded; crops of tables and formulas are found by their text."""


@dataclass(slots=True)
class VisualRecords:
    """The pictures of one document.

    Attributes:
        nodes: Copies of its nodes with the vectors of their pictures.
        failures: Ids of nodes whose picture could not be embedded, each with the reason.
        unanswered: Ids of those of them that may be embedded later.
    """

    nodes: list[BaseNode] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)


class VisualWriter:
    """Embeds the pictures of documents and keeps their vectors in step with the nodes.

    Args:
        store: Where the vectors go.
        embedder: Embeds pictures; a multimodal model stands for an :class:`ImageEmbedder` of :data:`VISUAL_TYPES`.
    """

    name = "visual"

    def __init__(self, store: MilvusVisualStore, embedder: ImageEmbedder | MultiModalEmbedding) -> None:
        self.store = store
        if not isinstance(embedder, ImageEmbedder):
            embedder = ImageEmbedder(embed_model=embedder, content_types=VISUAL_TYPES)
        self.embedder = embedder

    def settings(self) -> dict[str, Any]:
        """Return what decides which vectors there are, as plain values."""
        embedder, model = self.embedder, self.embedder.embed_model
        return {
            "embed_model": [model.class_name(), model.model_name, getattr(model, "dimension", None)],
            "content_types": list(embedder.content_types) if embedder.content_types is not None else None,
            "max_pixels": embedder.max_pixels,
            "max_bytes": embedder.max_bytes,
            "fetch": embedder.fetch is not None,
        }

    def read(self, nodes: Sequence[BaseNode]) -> VisualRecords:
        """Embed the pictures of a document's nodes.

        Returns:
            The vectors, and what could not be embedded.

        Raises:
            SchemaMismatchError: The model's vectors have another length than the stored ones.
            RAGAnythingError: Every further picture would fail for the same reason.
        """
        result = self.embedder.process(nodes)
        if result.final is not None:
            raise result.final
        for node in result.embedded[:1]:
            length = len(node.embedding or ())
            if self.store.dim is not None and length != self.store.dim:
                message = (
                    f"{model_name(self.embedder.embed_model)} returned a vector of length {length}, the collection "
                    f"{self.store.collection_name!r} holds vectors of dimension {self.store.dim}. Use the model it was "
                    "made with, or overwrite the collection."
                )
                raise SchemaMismatchError(message)
        return VisualRecords(result.embedded, result.failures, result.unanswered)

    def write(self, doc_id: str, records: VisualRecords, *, again: bool = False) -> None:
        """Write the vectors of a document.

        Args:
            records: What :meth:`read` returned.
            again: The document was written before: vectors of pictures that are gone go, while those that could not
                be renewed just now stay.
        """
        self.store.add(records.nodes)
        if again:
            kept = {node.node_id for node in records.nodes} | set(records.unanswered)
            stored = self.store.get_nodes(filters=of_documents(doc_id))
            self.store.delete_nodes([node.node_id for node in stored if node.node_id not in kept])

    def delete_nodes(self, doc_id: str, node_ids: Sequence[str]) -> None:  # noqa: ARG002  # a layer's signature
        """Delete the vectors of nodes.

        Args:
            node_ids: Their ids.
        """
        self.store.delete_nodes(list(node_ids))

    def delete_document(self, doc_id: str) -> None:
        """Delete the vectors of a document."""
        self.store.delete(doc_id)

    def flush(self) -> None:
        """Make what was written durable and visible to other processes."""
        self.store.flush()
