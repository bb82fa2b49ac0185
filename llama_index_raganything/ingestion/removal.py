"""Delete documents from every store of a knowledge base, with their files."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from typing import Final

from llama_index.core.schema import BaseNode

from llama_index_raganything.documents.packing import document_id
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.ingestion.layers import Layer
from llama_index_raganything.readers.reader import RAGAnythingReader
from llama_index_raganything.stores.ledger import Ledger, LedgerEntry, now_ms
from llama_index_raganything.stores.metadata_filters import equal_to, of_documents
from llama_index_raganything.stores.milvus.connection import Address
from llama_index_raganything.stores.nodes.store import MilvusNodeStore

logger = logging.getLogger(__name__)

UNFINISHED: Final = ("writing", "deleting")
"""States of documents that a run is writing or deleting, or that a crash has left."""

_STALE_AFTER_MS = 60 * 60 * 1000
"""Age at which an unfinished row of another process on a shared server counts as left by a crash."""

_SHOWN = 20
"""Documents of one file name that an error lists."""


class Removal:
    """Deletes documents, leftovers of their earlier versions, and leftovers of a crash.

    Args:
        layers: The pipeline's own list, which may change.
        reader: Gives access to assets and cached parses.
    """

    def __init__(self, store: MilvusNodeStore, ledger: Ledger, layers: list[Layer], reader: RAGAnythingReader) -> None:
        self.store = store
        self.ledger = ledger
        self.layers = layers
        self.reader = reader
        self._opened_at = now_ms()

    def clean_leftovers(self, unfinished: Sequence[LedgerEntry]) -> None:
        """Remove what a crash left of documents.

        Args:
            unfinished: Rows in a state of :data:`UNFINISHED`; those of runs that still live are left.
        """
        for entry in unfinished:
            if self._is_stale(entry):
                logger.warning("Removing what an interrupted run left of %s", entry.source)
                self.delete_entries([entry])

    def _is_stale(self, entry: LedgerEntry) -> bool:
        # Milvus Lite has one process: a row older than this object cannot belong to a run that still lives.
        is_lite = Address.parse(self.store.uri).is_local
        limit = self._opened_at if is_lite else now_ms() - _STALE_AFTER_MS
        return entry.updated_at < limit

    def entry_named(self, document: str) -> LedgerEntry | None:
        """Return the ledger row of a document, or None where there is none of that name.

        Args:
            document: Id, path, URL, or file name.

        Raises:
            ConfigurationError: Several documents have this file name.
        """
        written = document.encode("utf-8", "replace").decode("utf-8")  # So the ledger writes what is no Unicode.
        names = [written, document_id(document), document_id(os.path.abspath(document))]
        found = self.ledger.get_many(names)
        entry = next((found[name] for name in names if name in found), None)
        if entry is not None:
            return entry
        namesakes = [entry for entry in self.ledger.list() if document and entry.file_name == written]
        if len(namesakes) > 1:
            shown = "".join(f"\n  {entry.doc_id}  {entry.source}" for entry in namesakes[:_SHOWN])
            more = f"\n  and {len(namesakes) - _SHOWN} more" if len(namesakes) > _SHOWN else ""
            message = (
                f"{len(namesakes)} documents have the file name {document!r}; give the path or the id of one of them:"
                f"{shown}{more}"
            )
            raise ConfigurationError(message)
        return namesakes[0] if namesakes else None

    def document_nodes(self, doc_id: str) -> list[BaseNode]:
        """Return the stored nodes of a document."""
        return self.store.get_nodes(filters=of_documents(doc_id))

    def delete_stale(self, entry: LedgerEntry, before: Sequence[BaseNode], content_hash: str, keep: set[str]) -> None:
        """Delete the nodes and assets that only an earlier version has, and the cached parse of other content.

        Args:
            entry: The ledger row of the earlier version.
            before: Nodes of the earlier version.
            content_hash: Hash of the new version.
            keep: Ids of the nodes of the new version.
        """
        gone = [node for node in before if node.node_id not in keep]
        self.store.delete_nodes([node.node_id for node in gone])
        for layer in self.layers:
            layer.delete_nodes(entry.doc_id, [node.node_id for node in gone])
        # A node keeps its id when only its image changed, so nodes that stay may have left an asset too.
        self._discard_assets(before)
        if entry.content_hash != content_hash:
            self._forget(entry.content_hash, self._hashes())

    def delete_entries(self, entries: Sequence[LedgerEntry]) -> None:
        """Delete documents with every trace."""
        hashes = self._hashes() if entries else Counter()
        for entry in entries:
            hashes[entry.content_hash] -= 1
            self._delete_entry(entry, hashes)

    def delete_moved(self, entry: LedgerEntry) -> None:
        """Delete a document whose content is stored under another path, which needs its assets and cached parse."""
        self._delete_entry(entry)

    def delete_nodes(self, doc_id: str) -> None:
        """Delete the nodes of a document, and what the layers keep of them."""
        self.store.delete(doc_id)
        for layer in self.layers:
            layer.delete_document(doc_id)

    def _delete_entry(self, entry: LedgerEntry, hashes: Counter[str] | None = None) -> None:
        """Delete a document; its cached parse too, unless a document of ``hashes`` has the same content."""
        self.ledger.put(entry.model_copy(update={"state": "deleting", "updated_at": now_ms()}))
        nodes = self.document_nodes(entry.doc_id)
        self.delete_nodes(entry.doc_id)
        self._discard_assets(nodes)
        if hashes is not None:
            self._forget(entry.content_hash, hashes)
        self.ledger.delete(entry.doc_id)

    def _hashes(self) -> Counter[str]:
        return Counter(entry.content_hash for entry in self.ledger.list())

    def _forget(self, content_hash: str, hashes: Counter[str]) -> None:
        """Drop cached parses that no document of the knowledge base has any more."""
        if content_hash and hashes[content_hash] <= 0:
            self.reader.forget(content_hash)

    def _discard_assets(self, nodes: Sequence[BaseNode]) -> None:
        """Delete the assets of deleted nodes that no other node has."""
        for asset in {str(node.metadata["asset"]) for node in nodes if node.metadata.get("asset")}:
            if not self.store.count(equal_to("asset", asset)):
                self.reader.assets.discard(asset)
