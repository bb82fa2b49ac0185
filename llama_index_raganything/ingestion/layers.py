"""Layers: what is kept beside the nodes and written and deleted with them, such as the graph, tables and images.

The nodes are the first layer and always there. Every further one reads what it needs from a document's nodes before
anything is written, is written after the nodes and before the ledger says ``ready``, and loses a document with them.
A new kind of storage is one more class with these methods, given to
:class:`~llama_index_raganything.ingestion.pipeline.Ingestion`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from llama_index.core.schema import BaseNode


class LayerRecords(Protocol):
    """What a layer gets from one document.

    Records may also have ``unanswered``: what a model gave no answer for; then the next run tries the document again.
    """

    @property
    def failures(self) -> Sequence[tuple[str, str]]:
        """Ids of nodes of which something is missing, each with the reason."""


class Layer(Protocol):
    """One kind of storage beside the nodes.

    Attributes:
        name: Its name, also that of its stage in the report.
    """

    name: str

    def settings(self) -> dict[str, Any]:
        """Return what decides what the layer gets, as plain values; part of the pipeline's fingerprint."""

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
