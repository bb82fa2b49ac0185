"""A knowledge base: what belongs together on disk and in Milvus, opened and closed together."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.embeddings import MultiModalEmbedding

from llama_index_raganything._files import tenant_folder
from llama_index_raganything.index.models import dimension
from llama_index_raganything.index.options import GraphOptions
from llama_index_raganything.ingestion.layers import GraphLayer, ImageLayer, Layer, TableLayer
from llama_index_raganything.ingestion.pipeline import embedding_name
from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph
from llama_index_raganything.stores.graph.property_graph import MilvusPropertyGraphStore
from llama_index_raganything.stores.ledger import Ledger
from llama_index_raganything.stores.nodes.store import MilvusNodeStore
from llama_index_raganything.stores.nodes.visual import MilvusVisualStore, visual_store_beside
from llama_index_raganything.stores.tables.store import TableStore

logger = logging.getLogger(__name__)

_SAMPLE: Final = 100
"""Documents whose embedding model is compared when a knowledge base is opened."""

_Store = TypeVar("_Store", Ledger, MilvusPropertyGraphStore)


@dataclass
class KnowledgeBase:
    """The stores of one knowledge base.

    Attributes:
        store: Nodes with their text vectors and keywords.
        ledger: The state of every document.
        graph: Names and facts; None where none are kept.
        table_store: Tables for SQL; None where none are kept.
        visual_store: Images with their vectors; None where no model embeds images.
        folder: Folder of its files: assets, cached parses, tables.
    """

    store: MilvusNodeStore
    ledger: Ledger
    graph: KnowledgeGraph | None
    table_store: TableStore | None
    visual_store: MilvusVisualStore | None
    folder: Path

    @classmethod
    def open(
        cls,
        store: MilvusNodeStore,
        working_dir: str | Path,
        *,
        graph: bool,
        tables: bool,
        image_embed_model: MultiModalEmbedding | None,
        overwrite: bool,
        owned: bool,
    ) -> Self:
        """Open the other stores of a knowledge base beside its nodes.

        Args:
            store: The open store of the nodes.
            working_dir: Folder in which each knowledge base has its own.
            graph: Keep a graph.
            tables: Keep tables for SQL.
            image_embed_model: Embeds images; None keeps no image vectors.
            overwrite: Drop what the other stores hold.
            owned: Close the store of the nodes too, where another cannot be opened.

        Raises:
            StoreError: A collection cannot be opened; the subclass says why.
        """
        folder = _folder_of(store, Path(working_dir))
        opened: list[Ledger | KnowledgeGraph | MilvusNodeStore] = [store] if owned else []
        try:
            ledger = _beside(Ledger, store, overwrite=overwrite)
            opened.append(ledger)
            knowledge_graph = None
            if graph:
                knowledge_graph = KnowledgeGraph(_beside(MilvusPropertyGraphStore, store, overwrite=overwrite))
                opened.append(knowledge_graph)
            visual_store = None
            if image_embed_model is not None:
                visual_store = visual_store_beside(store, dimension(image_embed_model), overwrite=overwrite)
                opened.append(visual_store)
            table_store = TableStore(folder / "tables") if tables else None
            if table_store is not None and overwrite:
                for doc_id in {entry.doc_id for entry in table_store.entries()}:
                    table_store.delete(doc_id)
        except BaseException:
            # Nobody would have the stores to close, and the Lite folder would stay locked.
            for each in reversed(opened):
                each.close()
            raise
        return cls(store, ledger, knowledge_graph, table_store, visual_store, folder)

    def layers(self, graph_options: GraphOptions, image_embed_model: MultiModalEmbedding | None) -> list[Layer]:
        """Return what keeps the other stores in step with the nodes."""
        layers: list[Layer] = []
        if self.graph is not None:
            layers.append(GraphLayer(self.graph, graph_options.entity_linker, graph_options.triple_extractor))
        if self.table_store is not None:
            layers.append(TableLayer(self.table_store))
        if self.visual_store is not None and image_embed_model is not None:
            layers.append(ImageLayer(self.visual_store, image_embed_model))
        return layers

    def warn_of_other_vectors(self, embed_model: BaseEmbedding) -> None:
        """Warn where documents were embedded with another model of the same dimension, which Milvus cannot tell.

        Args:
            embed_model: The model that will search them.
        """
        name = embedding_name(embed_model)
        others = {entry.embed_model for entry in self.ledger.list("ready", limit=_SAMPLE)} - {name, ""}
        if others:
            logger.warning(
                "Documents of %r were embedded with %s and are searched with %s, whose vectors do not compare: "
                "open it with the first model, or add the documents again.",
                self.ledger.collection,
                ", ".join(sorted(others)),
                name,
            )

    def close(self) -> None:
        """Flush, close the connections to Milvus, and end the processes that run SQL."""
        for store in (self.ledger, self.graph, self.visual_store, self.table_store, self.store):
            if store is not None:
                store.close()


def _beside(kind: type[_Store], store: MilvusNodeStore, *, overwrite: bool) -> _Store:
    """Open a store of the same knowledge base."""
    return kind(
        uri=store.uri,
        collection=store.collection_name,
        token=store.token,
        db_name=store.db_name,
        tenant=store.tenant,
        overwrite=overwrite,
    )


def _folder_of(store: MilvusNodeStore, working_dir: Path) -> Path:
    """Return the folder of one knowledge base, so that deleting from it never takes an asset from another."""
    folder = working_dir / store.collection_name  # Milvus allows letters, digits and _ only.
    return folder if store.tenant is None else tenant_folder(folder, store.tenant)
