"""A document's tables: read from its nodes, written and deleted with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.schema import BaseNode

from llama_index_raganything.stores.tables.store import TableStore
from llama_index_raganything.tables.model import TableRecord
from llama_index_raganything.tables.read import tables_of_nodes

READING_VERSION = 1
"""Changes when the same nodes give other tables, so that documents are read again."""


@dataclass(slots=True)
class TableRecords:
    """The tables of one document.

    Attributes:
        tables: The tables.
        failures: Ids of nodes whose table could not be read, each with the reason.
    """

    tables: list[TableRecord] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


class TableWriter:
    """Reads tables from nodes and keeps the store in step with them.

    Args:
        store: Where they are kept.
    """

    name = "tables"

    def __init__(self, store: TableStore) -> None:
        self.store = store

    def settings(self) -> dict[str, Any]:
        """Return what decides what the store gets, as plain values."""
        return {"version": READING_VERSION}

    def read(self, nodes: Sequence[BaseNode]) -> TableRecords:
        """Read the tables in a document's nodes.

        Returns:
            Its tables.
        """
        return TableRecords(tables_of_nodes(nodes))

    def write(self, doc_id: str, records: TableRecords, *, again: bool = False) -> None:  # noqa: ARG002 # a layer's signature
        """Replace a document's tables.

        Args:
            again: The document was written before.
        """
        self.store.put(doc_id, records.tables)

    def delete_nodes(self, doc_id: str, node_ids: Sequence[str]) -> None:
        """Delete the tables of nodes that a document no longer has."""
        self.store.delete_nodes(doc_id, node_ids)

    def delete_document(self, doc_id: str) -> None:
        """Delete a document's tables."""
        self.store.delete(doc_id)

    def flush(self) -> None:
        """Do nothing: each document's file is on disk when it is written."""
