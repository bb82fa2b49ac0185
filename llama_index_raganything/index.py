"""``RAGAnythingIndex``: the one place that wires all parts together with defaults."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.chat_engine import CondensePlusContextChatEngine, MultiModalCondensePlusContextChatEngine
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.llms import LLM
from llama_index.core.node_parser import NodeParser
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import Document, TransformComponent
from llama_index.core.tools import BaseTool, QueryEngineTool, RetrieverTool
from llama_index.core.vector_stores import MetadataFilters
from pydantic import SecretStr

from llama_index_raganything.config import RAGAnythingSettings
from llama_index_raganything.elements import content_id
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.graph.linker import EntityLinker
from llama_index_raganything.graph.triples import TripleExtractor
from llama_index_raganything.ingestion import Ingestion, IngestionReport
from llama_index_raganything.ingestion.graph import GraphWriter
from llama_index_raganything.models.defaults import resolve_embed_model, resolve_llm
from llama_index_raganything.node_parser import RAGAnythingNodeParser
from llama_index_raganything.query_engine import ImageTextPostprocessor, RAGAnythingQueryEngine
from llama_index_raganything.query_engine.vision import supports_images
from llama_index_raganything.readers.reader import RAGAnythingReader
from llama_index_raganything.readers.sources import SourceInput
from llama_index_raganything.retrievers.graph import EvidenceRetriever
from llama_index_raganything.stores.knowledge_graph import KnowledgeGraph
from llama_index_raganything.stores.ledger import Ledger, LedgerEntry
from llama_index_raganything.stores.milvus import MilvusNodeStore
from llama_index_raganything.stores.property_graph import MilvusPropertyGraphStore

_Store = TypeVar("_Store", Ledger, MilvusPropertyGraphStore)


class RAGAnythingIndex:
    """Files in, cited answers out; every part can be replaced.

    Args:
        uri: Milvus Lite folder, server or Zilliz Cloud endpoint; ``MILVUS_URI`` or ``./milvus.db`` by default.
        collection: Name of the knowledge base; its collections in Milvus start with it.
        token: ``user:password`` or API key of the server.
        db_name: Database on the server.
        tenant: Read and write this tenant's documents only.
        working_dir: Folder of the parse cache and the assets; ``RAG_WORKING_DIR`` or ``./rag_storage`` by default.
            Each knowledge base and each tenant has a folder of its own in it.
        embed_model: Embedding model; ``Settings.embed_model`` if set, else the embedded default.
        llm: LLM that answers; ``Settings.llm`` if set, else answers quote the documents.
        reader: Reader of files; a ``RAGAnythingReader`` over ``working_dir`` by default.
        reader_options: Arguments of the default reader, such as ``{"profile": "fast"}``.
        node_parser: Makes nodes of documents; a ``RAGAnythingNodeParser`` by default.
        transformations: Run on the nodes of each document before they are embedded.
        node_store: An open store, in place of ``uri``, ``collection``, ``token``, ``db_name`` and ``tenant``.
        graph: Keep a graph of the names and facts in the nodes, and follow it where that helps.
        entity_linker: Reads the graph from nodes; an ``EntityLinker`` by default.
        triple_extractor: Reads triples into the graph with an LLM; none by default.
        overwrite: Drop what the knowledge base holds.
        settings: Settings in place of those read from the environment.

    Raises:
        StoreError: Milvus cannot be opened; the subclass says why.
        SchemaMismatchError: The knowledge base was made with vectors of another dimension.
        ConfigurationError: The arguments contradict each other.
    """

    def __init__(
        self,
        *,
        uri: str | None = None,
        collection: str | None = None,
        token: str | SecretStr | None = None,
        db_name: str | None = None,
        tenant: str | None = None,
        working_dir: str | Path | None = None,
        embed_model: BaseEmbedding | None = None,
        llm: LLM | None = None,
        reader: RAGAnythingReader | None = None,
        reader_options: dict[str, Any] | None = None,
        node_parser: NodeParser | None = None,
        transformations: Sequence[TransformComponent] = (),
        node_store: MilvusNodeStore | None = None,
        graph: bool = True,
        entity_linker: EntityLinker | None = None,
        triple_extractor: TripleExtractor | None = None,
        overwrite: bool = False,
        settings: RAGAnythingSettings | None = None,
    ) -> None:
        _check_arguments(
            reader=reader,
            reader_options=reader_options,
            node_store=node_store,
            of_store={
                "uri": uri,
                "collection": collection,
                "token": token,
                "db_name": db_name,
                "tenant": tenant,
                "overwrite": overwrite or None,
            },
        )
        settings = settings or RAGAnythingSettings()
        self.embed_model = resolve_embed_model(embed_model)
        self._llm = llm
        self.node_store = node_store or MilvusNodeStore(
            uri=uri or settings.milvus_uri,
            collection_name=collection or settings.milvus_collection,
            token=token or settings.milvus_token,
            db_name=db_name if db_name is not None else settings.milvus_db_name,
            tenant=tenant,
            dim=_dimension(self.embed_model),
            overwrite=overwrite,
        )
        try:
            self.ledger = self._beside_nodes(Ledger, overwrite=overwrite)
            self.graph = None
            if graph:
                self.graph = KnowledgeGraph(self._beside_nodes(MilvusPropertyGraphStore, overwrite=overwrite))
        except BaseException:
            # Nobody would have the stores to close, and the Lite folder would stay locked.
            if hasattr(self, "ledger"):
                self.ledger.close()
            if node_store is None:
                self.node_store.close()
            raise
        folder = _storage_folder(Path(working_dir or settings.working_dir), self.node_store)
        self.reader = reader or RAGAnythingReader(working_dir=str(folder), **(reader_options or {}))
        self.node_parser = node_parser or RAGAnythingNodeParser(asset_root=str(self.reader.assets.root))
        self.ingestion = Ingestion(
            reader=self.reader,
            node_parser=self.node_parser,
            embed_model=self.embed_model,
            node_store=self.node_store,
            ledger=self.ledger,
            transformations=transformations,
            layers=[GraphWriter(self.graph, entity_linker, triple_extractor)] if self.graph is not None else [],
        )
        self.last_report = IngestionReport()

    def _beside_nodes(self, kind: type[_Store], *, overwrite: bool) -> _Store:
        """Open a store of the same knowledge base."""
        return kind(
            uri=self.node_store.uri,
            collection_name=self.node_store.collection_name,
            token=self.node_store.token,
            db_name=self.node_store.db_name,
            tenant=self.node_store.tenant,
            overwrite=overwrite,
        )

    @classmethod
    def from_paths(
        cls,
        paths: SourceInput,
        *,
        strict: bool = False,
        show_progress: bool = False,
        num_workers: int = 1,
        **options: Any,
    ) -> Self:
        """Open an index and bring in files and folders.

        Args:
            paths: Files, folders (recursively), content lists, or URLs where the reader allows them.
            strict: Raise at the end when a document failed; otherwise see :attr:`last_report`.
            show_progress: Show a progress bar.
            num_workers: Processes that parse.
            **options: Arguments of the class.

        Returns:
            The index.

        Raises:
            IngestionError: ``strict`` is set and documents failed; the others are in.
        """
        index = cls(**options)
        index.add(paths, strict=strict, show_progress=show_progress, num_workers=num_workers)
        return index

    @classmethod
    def from_documents(
        cls, documents: Iterable[Document], *, strict: bool = False, show_progress: bool = False, **options: Any
    ) -> Self:
        """Open an index and bring in documents loaded by any LlamaIndex reader.

        Args:
            documents: The documents.
            strict: Raise at the end when a document failed; otherwise see :attr:`last_report`.
            show_progress: Show a progress bar.
            **options: Arguments of the class.

        Returns:
            The index.
        """
        index = cls(**options)
        index.add_documents(documents, strict=strict, show_progress=show_progress)
        return index

    @classmethod
    async def afrom_paths(cls, paths: SourceInput, **options: Any) -> Self:
        """Async twin of :meth:`from_paths`; the work runs in a thread."""
        return await asyncio.to_thread(cls.from_paths, paths, **options)

    @classmethod
    async def afrom_documents(cls, documents: Iterable[Document], **options: Any) -> Self:
        """Async twin of :meth:`from_documents`; the work runs in a thread."""
        return await asyncio.to_thread(cls.from_documents, documents, **options)

    def add(
        self, paths: SourceInput, *, strict: bool = False, show_progress: bool = False, num_workers: int = 1
    ) -> IngestionReport:
        """Bring in files and folders; skip what is unchanged, replace what changed.

        Args:
            paths: Files, folders (recursively), content lists, or URLs where the reader allows them.
            strict: Raise at the end when a document failed.
            show_progress: Show a progress bar.
            num_workers: Processes that parse.

        Returns:
            What was done, also kept as :attr:`last_report`.

        Raises:
            IngestionError: ``strict`` is set and documents failed; the others are in.
        """
        report = self.ingestion.add_paths(paths, strict=strict, show_progress=show_progress, num_workers=num_workers)
        self.last_report = report
        return report

    def add_documents(
        self, documents: Iterable[Document], *, strict: bool = False, show_progress: bool = False
    ) -> IngestionReport:
        """Bring in documents loaded by any LlamaIndex reader; their ids decide what replaces what.

        Args:
            documents: The documents.
            strict: Raise at the end when a document failed.
            show_progress: Show a progress bar.

        Returns:
            What was done, also kept as :attr:`last_report`.
        """
        self.last_report = self.ingestion.add_documents(documents, strict=strict, show_progress=show_progress)
        return self.last_report

    def sync(
        self, folder: str | Path, *, strict: bool = False, show_progress: bool = False, num_workers: int = 1
    ) -> IngestionReport:
        """Make the index agree with a folder: add, update, and delete what is gone from it.

        Args:
            folder: The folder; documents from elsewhere are not touched.
            strict: Raise at the end when a document failed.
            show_progress: Show a progress bar.
            num_workers: Processes that parse.

        Returns:
            What was done, also kept as :attr:`last_report`.

        Raises:
            SourceError: The folder does not exist; nothing is deleted.
        """
        self.last_report = self.ingestion.sync(
            folder, strict=strict, show_progress=show_progress, num_workers=num_workers
        )
        return self.last_report

    def delete(self, document: str) -> bool:
        """Delete a document with every trace: nodes, vectors, ledger row, assets and cached parse.

        Args:
            document: Its id, path or URL.

        Returns:
            True when the document was known.
        """
        return self.ingestion.delete(document)

    async def aadd(self, paths: SourceInput, **options: Any) -> IngestionReport:
        """Async twin of :meth:`add`; the work runs in a thread."""
        return await asyncio.to_thread(self.add, paths, **options)

    async def aadd_documents(self, documents: Iterable[Document], **options: Any) -> IngestionReport:
        """Async twin of :meth:`add_documents`; the work runs in a thread."""
        return await asyncio.to_thread(self.add_documents, documents, **options)

    async def async_sync(self, folder: str | Path, **options: Any) -> IngestionReport:
        """Async twin of :meth:`sync`; the work runs in a thread."""
        return await asyncio.to_thread(self.sync, folder, **options)

    async def adelete(self, document: str) -> bool:
        """Async twin of :meth:`delete`; the work runs in a thread."""
        return await asyncio.to_thread(self.delete, document)

    def as_retriever(
        self, *, similarity_top_k: int = 5, filters: MetadataFilters | None = None, **options: Any
    ) -> EvidenceRetriever:
        """Return the default retriever: candidates by vector and keyword, ranked by evidence and links.

        Args:
            similarity_top_k: How many results to return.
            filters: Only nodes that match take part.
            **options: Further arguments of :class:`EvidenceRetriever`.

        Returns:
            The retriever.
        """
        return EvidenceRetriever(
            self.node_store,
            self.graph,
            embed_model=self.embed_model,
            similarity_top_k=similarity_top_k,
            filters=filters,
            **options,
        )

    def as_query_engine(
        self,
        *,
        llm: LLM | None = None,
        similarity_top_k: int = 5,
        filters: MetadataFilters | None = None,
        node_postprocessors: Sequence[BaseNodePostprocessor] = (),
        **options: Any,
    ) -> RAGAnythingQueryEngine:
        """Return an engine that answers with citations.

        Args:
            llm: LLM for this engine; the index's by default.
            similarity_top_k: How many results to answer from.
            filters: Only nodes that match take part.
            node_postprocessors: Run on the results before the answer.
            **options: Further arguments of :meth:`RAGAnythingQueryEngine.from_args`, such as ``streaming=True``.

        Returns:
            The query engine.
        """
        return RAGAnythingQueryEngine.from_args(
            self.as_retriever(similarity_top_k=similarity_top_k, filters=filters),
            llm=resolve_llm(llm or self._llm),
            node_postprocessors=list(node_postprocessors),
            asset_root=str(self.reader.assets.root),
            page_store=self.node_store,
            **options,
        )

    def as_chat_engine(
        self,
        *,
        llm: LLM | None = None,
        similarity_top_k: int = 5,
        filters: MetadataFilters | None = None,
        chat_history: list[ChatMessage] | None = None,
        **options: Any,
    ) -> BaseChatEngine:
        """Return a chat engine over the index; it needs an LLM.

        Args:
            llm: LLM for this engine; the index's by default. One that sees images gets the figures too.
            similarity_top_k: How many results to answer from.
            filters: Only nodes that match take part.
            chat_history: Earlier messages.
            **options: Further arguments of LlamaIndex's chat engine.

        Returns:
            LlamaIndex's condense-plus-context chat engine, multimodal where the LLM sees images.

        Raises:
            ConfigurationError: There is no LLM.
        """
        chosen = resolve_llm(llm or self._llm)
        if chosen is None:
            message = "A chat engine needs an LLM: pass llm=... or set Settings.llm; as_query_engine() works without."
            raise ConfigurationError(message)
        retriever = self.as_retriever(similarity_top_k=similarity_top_k, filters=filters)
        if supports_images(chosen):
            own = options.pop("node_postprocessors", None) or []
            return MultiModalCondensePlusContextChatEngine.from_defaults(
                retriever,
                multi_modal_llm=chosen,
                chat_history=chat_history,
                node_postprocessors=[*own, ImageTextPostprocessor()],
                **options,
            )
        return CondensePlusContextChatEngine.from_defaults(retriever, llm=chosen, chat_history=chat_history, **options)

    def as_tools(self, *, similarity_top_k: int = 5, **options: Any) -> list[BaseTool]:
        """Return tools for agents: ``ask`` answers with citations, ``search`` lists evidence with its places.

        Args:
            similarity_top_k: How many results each tool looks at.
            **options: Further arguments of :meth:`as_query_engine`.

        Returns:
            The two tools; both give text, and their ``raw_output`` holds the response or the nodes.
        """
        ask = QueryEngineTool.from_defaults(
            self.as_query_engine(similarity_top_k=similarity_top_k, **options),
            name="ask",
            description="Answer a question from the documents, with citations [n].",
        )
        search = RetrieverTool.from_defaults(
            self.as_retriever(similarity_top_k=similarity_top_k, filters=options.get("filters")),
            name="search",
            description="Find the passages, tables and figures that fit a query, with file name, page and section.",
        )
        return [ask, search]

    def documents(self) -> list[LedgerEntry]:
        """Return the ledger's row of every document, sorted by source."""
        return sorted(self.ledger.list(), key=lambda entry: entry.source)

    def status(self) -> dict[str, Any]:
        """Return where the index lives and what it holds.

        Returns:
            ``uri``, ``collection``, ``embed_model``, ``working_dir``, numbers of documents by state and of
            nodes by content type.
        """
        entries = self.ledger.list()
        nodes: Counter[str] = Counter()
        for entry in entries:
            nodes.update(entry.node_counts if entry.state == "ready" else {})
        return {
            "uri": self.node_store.uri,
            "collection": self.node_store.collection_name,
            "embed_model": self.embed_model.model_name,
            "working_dir": self.reader.working_dir,
            "documents": dict(Counter(entry.state for entry in entries)),
            "nodes": dict(nodes),
        }

    def close(self) -> None:
        """Flush and let go of Milvus, so that another process may open a Lite folder."""
        self.ledger.close()
        if self.graph is not None:
            self.graph.close()
        self.node_store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_arguments(
    *,
    reader: RAGAnythingReader | None,
    reader_options: dict[str, Any] | None,
    node_store: MilvusNodeStore | None,
    of_store: dict[str, Any],
) -> None:
    if reader is not None and reader_options:
        message = f"reader and reader_options={reader_options!r} were both given; set the options on the reader."
        raise ConfigurationError(message)
    given = [name for name, value in of_store.items() if value is not None]
    if node_store is not None and given:
        message = f"node_store and {', '.join(given)} were both given; an open store has its own."
        raise ConfigurationError(message)


def _storage_folder(working_dir: Path, store: MilvusNodeStore) -> Path:
    """Return the folder of one knowledge base, so that deleting from it never takes an asset from another."""
    folder = working_dir / store.collection_name  # Milvus allows letters, digits and _ only.
    return folder if store.tenant is None else folder / "tenants" / content_id("tenant", store.tenant)


def _dimension(embed_model: BaseEmbedding) -> int:
    """Return the number of dimensions; models that do not say are asked for one vector."""
    known = getattr(embed_model, "dimension", None) or getattr(embed_model, "dimensions", None)
    return int(known) if isinstance(known, int) else len(embed_model.get_text_embedding("dimension"))
