"""How an index is put together: the stores of one knowledge base, opened and closed together, and its layers."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.llms import LLM

from llama_index_raganything._files import tenant_folder
from llama_index_raganything.config import DEFAULT_WORKING_DIR, RAGAnythingSettings
from llama_index_raganything.enrich.base import ElementProcessor
from llama_index_raganything.enrich.equation_words import EquationWords
from llama_index_raganything.enrich.image_ocr import ImageOCR
from llama_index_raganything.enrich.registry import (
    ProcessorOptions,
    make_processors,
    processors_from_config,
    registered_content_types,
)
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.graph.extraction.entity_linker import EntityLinker
from llama_index_raganything.graph.extraction.triples import TripleExtractor
from llama_index_raganything.ingestion.embedding import embedding_name
from llama_index_raganything.ingestion.layers import GraphLayer, ImageLayer, Layer, TableLayer
from llama_index_raganything.models.defaults import named_llm, resolve_embed_model
from llama_index_raganything.node_parser.parser import RAGAnythingNodeParser
from llama_index_raganything.readers.sources.folders import FolderRules
from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph
from llama_index_raganything.stores.graph.property_graph import MilvusPropertyGraphStore
from llama_index_raganything.stores.ledger import Ledger
from llama_index_raganything.stores.nodes.store import MilvusNodeStore
from llama_index_raganything.stores.nodes.visual import MilvusVisualStore, visual_store_beside
from llama_index_raganything.stores.tables.store import TableStore

logger = logging.getLogger(__name__)

_SAMPLE: Final = 100
"""Documents whose model is looked at when a knowledge base is opened."""

Models = Literal["auto", "embedded", "dashscope"]
"""Whose models serve where the caller names none."""

_OF_NETWORK: Final = ("dashscope_api_key", "rag_llm", "rag_vision_llm", "rag_embed")
"""Settings that name models behind a network."""

_Store = TypeVar("_Store", Ledger, MilvusPropertyGraphStore)


@dataclass(frozen=True)
class ChosenModels:
    """The models of an index.

    Attributes:
        embed_model: Embeds texts, and images if it can.
        llm: Answers; None leaves the choice to the moment of the question.
        vision_llm: Looks at images; None where there is none.
        settings: What later choices follow.
    """

    embed_model: BaseEmbedding
    llm: LLM | None
    vision_llm: LLM | None
    settings: RAGAnythingSettings

    @classmethod
    def of(
        cls,
        models: Models,
        settings: RAGAnythingSettings,
        embed_model: BaseEmbedding | None,
        llm: LLM | None,
        vision_llm: LLM | None,
    ) -> ChosenModels:
        """Choose the models that the caller does not name.

        Args:
            models: Whose models to choose.
            embed_model: The caller's choice, if any.
            llm: The caller's choice, if any.
            vision_llm: The caller's choice, if any.

        Raises:
            ConfigurationError: ``models`` is none of the known words.
            DashScopeAuthenticationError: DashScope is asked for, and there is no key.
        """
        if models not in get_args(Models):
            message = f"models={models!r} is not known; say one of {', '.join(get_args(Models))}."
            raise ConfigurationError(message)
        if models == "dashscope":
            from llama_index_raganything.models.dashscope.models import dashscope_models

            theirs = dashscope_models(settings)
            # "is None" and not "or": an embedding model may have a length, and an empty one is still the caller's.
            return cls(
                theirs.embed_model if embed_model is None else embed_model,
                theirs.llm if llm is None else llm,
                theirs.vision_llm if vision_llm is None else vision_llm,
                settings,
            )
        if models == "embedded":
            settings = settings.model_copy(update=dict.fromkeys(_OF_NETWORK))
        if vision_llm is None and settings.rag_vision_llm:
            vision_llm = named_llm(settings.rag_vision_llm, settings, supports_images=True)
        return cls(resolve_embed_model(embed_model, settings), llm, vision_llm, settings)


@dataclass
class Storage:
    """The stores of one knowledge base.

    Attributes:
        nodes: Nodes with their text vectors and keywords.
        ledger: The state of every document.
        graph: Names and facts, if they are kept.
        images: Images with their vectors, if there is a model that embeds images.
        tables: Tables that SQL can ask, if they are kept.
        folder: Folder of its files: assets, cached parses, tables.
    """

    nodes: MilvusNodeStore
    ledger: Ledger
    graph: KnowledgeGraph | None
    images: MilvusVisualStore | None
    tables: TableStore | None
    folder: Path

    @classmethod
    def beside(
        cls,
        nodes: MilvusNodeStore,
        working_dir: str | Path,
        *,
        graph: bool,
        tables: bool,
        image_embed_model: MultiModalEmbedding | None,
        overwrite: bool,
    ) -> Storage:
        """Open the other stores of a knowledge base beside its nodes.

        Args:
            nodes: The open store of the nodes.
            working_dir: Folder in which each knowledge base has its own.
            graph: Whether a graph is kept.
            tables: Whether tables are kept for SQL.
            image_embed_model: Embeds images; None keeps no image vectors.
            overwrite: Drop what they hold.

        Returns:
            All stores. When one cannot be opened, those opened here are closed again.

        Raises:
            StoreError: A collection cannot be opened; the subclass says why.
        """
        folder = storage_folder(Path(working_dir), nodes)
        opened: list[Ledger | KnowledgeGraph | MilvusNodeStore] = []
        try:
            ledger = _beside(Ledger, nodes, overwrite=overwrite)
            opened.append(ledger)
            knowledge_graph = None
            if graph:
                knowledge_graph = KnowledgeGraph(_beside(MilvusPropertyGraphStore, nodes, overwrite=overwrite))
                opened.append(knowledge_graph)
            images = None
            if image_embed_model is not None:
                images = visual_store_beside(nodes, dimension(image_embed_model), overwrite=overwrite)
                opened.append(images)
            table_store = TableStore(folder / "tables") if tables else None
            if table_store is not None and overwrite:
                for doc_id in {entry.doc_id for entry in table_store.entries()}:
                    table_store.delete(doc_id)
        except BaseException:
            # Nobody would have the stores to close, and the Lite folder would stay locked.
            for store in reversed(opened):
                store.close()
            raise
        return cls(nodes, ledger, knowledge_graph, images, table_store, folder)

    def layers(
        self,
        entity_linker: EntityLinker | None,
        triple_extractor: TripleExtractor | None,
        image_embed_model: MultiModalEmbedding | None,
    ) -> list[Layer]:
        """Return what keeps these stores in step with the nodes.

        Args:
            entity_linker: Reads the graph from nodes.
            triple_extractor: Reads triples with an LLM.
        """
        layers: list[Layer] = []
        if self.graph is not None:
            layers.append(GraphLayer(self.graph, entity_linker, triple_extractor))
        if self.tables is not None:
            layers.append(TableLayer(self.tables))
        if self.images is not None and image_embed_model is not None:
            layers.append(ImageLayer(self.images, image_embed_model))
        return layers

    def close(self) -> None:
        """Flush, let go of Milvus, and end the processes that run SQL."""
        for store in (self.ledger, self.graph, self.images, self.tables, self.nodes):
            if store is not None:
                store.close()


def _beside(kind: type[_Store], nodes: MilvusNodeStore, *, overwrite: bool) -> _Store:
    """Open a store of the same knowledge base."""
    return kind(
        uri=nodes.uri,
        collection=nodes.collection_name,
        token=nodes.token,
        db_name=nodes.db_name,
        tenant=nodes.tenant,
        overwrite=overwrite,
    )


def storage_folder(working_dir: Path, nodes: MilvusNodeStore) -> Path:
    """Return the folder of one knowledge base, so that deleting from it never takes an asset from another."""
    folder = working_dir / nodes.collection_name  # Milvus allows letters, digits and _ only.
    return folder if nodes.tenant is None else tenant_folder(folder, nodes.tenant)


def dimension(embed_model: BaseEmbedding) -> int:
    """Return a model's number of dimensions; models that do not say are asked for one vector."""
    known = getattr(embed_model, "dimension", None) or getattr(embed_model, "dimensions", None)
    return int(known) if isinstance(known, int) else len(embed_model.get_text_embedding("dimension"))


def warn_of_other_vectors(ledger: Ledger, embed_model: BaseEmbedding) -> None:
    """Say so where documents were embedded with another model of the same dimension, as Milvus cannot tell.

    Args:
        embed_model: What will search them.
    """
    name = embedding_name(embed_model)
    others = {entry.embed_model for entry in ledger.list("ready", limit=_SAMPLE)} - {name, ""}
    if others:
        logger.warning(
            "Documents of %r were embedded with %s and are searched with %s, whose vectors do not compare: "
            "open it with the first model, or add the documents again.",
            ledger.collection,
            ", ".join(sorted(others)),
            name,
        )


def image_model(chosen: BaseEmbedding | None, embed_model: BaseEmbedding) -> MultiModalEmbedding | None:
    """Return the model that embeds images: the caller's, else that of the texts where it embeds images too.

    Args:
        chosen: The caller's choice, if any.

    Raises:
        ConfigurationError: The caller's choice embeds no images.
    """
    # Typed as any embedding, because callers without a type checker do pass one of texts.
    if chosen is None:
        return embed_model if isinstance(embed_model, MultiModalEmbedding) else None
    if not isinstance(chosen, MultiModalEmbedding):
        message = f"image_embed_model must embed images; {type(chosen).__name__} is no MultiModalEmbedding."
        raise ConfigurationError(message)
    return chosen


def default_node_parser(chunk_size: int | None) -> RAGAnythingNodeParser:
    """Return the node parser that serves when the user names none.

    Args:
        chunk_size: Tokens of a text chunk; the node parser's own default when None.

    Raises:
        ConfigurationError: ``chunk_size`` is below 1.
    """
    if chunk_size is None:
        return RAGAnythingNodeParser()
    if chunk_size < 1:
        message = f"chunk_size must be 1 or more, not {chunk_size}."
        raise ConfigurationError(message)
    overlap = RAGAnythingNodeParser.model_fields["chunk_overlap"].default
    return RAGAnythingNodeParser(chunk_size=chunk_size, chunk_overlap=min(overlap, chunk_size // 8))


def default_processors(
    options: ProcessorOptions, *, disabled: Collection[str] = (), image_ocr: bool = False
) -> list[ElementProcessor]:
    """Return what describes elements by default: models where there are some, and what needs none.

    Args:
        options: The models and how they are asked.
        disabled: Content types that are left alone.
        image_ocr: Read the text in images.

    Returns:
        The processors, in the order in which they run.
    """
    wanted = [name for name in registered_content_types() if name not in disabled]
    without_model: list[ElementProcessor] = []
    if image_ocr and "image" in wanted:
        without_model.append(ImageOCR(cache_folder=options.cache_folder))
    if "equation" in wanted:
        without_model.append(EquationWords())
    return [*without_model, *make_processors(options, wanted)]


def configured_processors(
    config: Any, llm: LLM | None, vision_llm: LLM | None, working_dir: str | Path | None
) -> list[ElementProcessor]:
    """Return what describes elements as a configuration of RAG-Anything says.

    Args:
        config: The configuration.
        llm: Describes tables and equations.
        vision_llm: Describes images.
        working_dir: Folder below which answers are kept.
    """
    folder = descriptions_folder(working_dir)
    words = [EquationWords()] if getattr(config, "enable_equation_processing", True) else []
    return [*words, *processors_from_config(config, llm, vision_llm, folder)]


def descriptions_folder(working_dir: str | Path | None) -> Path:
    """Return the folder in which the answers of models are kept for all knowledge bases of a configuration.

    Args:
        working_dir: The configuration's working folder.
    """
    return Path(working_dir or DEFAULT_WORKING_DIR) / "descriptions"


def folder_rules(config: Any) -> FolderRules:
    """Return which files of folders a configuration of RAG-Anything lets be read.

    Args:
        config: The configuration.
    """
    suffixes = getattr(config, "supported_file_extensions", None)
    return FolderRules(
        recursive=bool(getattr(config, "recursive_folder_processing", True)),
        suffixes=frozenset(suffix.lower() for suffix in suffixes) if suffixes else None,
    )
