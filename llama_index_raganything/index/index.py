"""``RAGAnythingIndex``: adds files and answers questions with citations."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.chat_engine.types import BaseChatEngine, ChatMode
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.llms import LLM
from llama_index.core.node_parser import NodeParser
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import Document, TransformComponent
from llama_index.core.tools import BaseTool, QueryEngineTool, RetrieverTool
from llama_index.core.vector_stores import MetadataFilters
from pydantic import SecretStr

from llama_index_raganything._arguments import argument_names, check_types, options_of, refuse_unknown, strict_arguments
from llama_index_raganything._async import in_thread
from llama_index_raganything._pickling import PickledWithoutSecrets
from llama_index_raganything.enrich.registry import reader_options_from_config
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.index import options as index_options
from llama_index_raganything.index.knowledge_base import KnowledgeBase
from llama_index_raganything.index.models import IndexModels, dimension
from llama_index_raganything.ingestion.layers import Layer
from llama_index_raganything.ingestion.pipeline import Ingestion, Patterns, refuse_pages
from llama_index_raganything.ingestion.report import IngestionReport
from llama_index_raganything.models.defaults import resolve_llm
from llama_index_raganything.query_engine.chat.engine import ALIASES, RAGAnythingChatEngine, simple_chat_engine
from llama_index_raganything.query_engine.context.page_context import (
    DEFAULT_CONTEXT_TOKENS,
    PageContextPostprocessor,
    default_context_tokens,
    results_to_read,
)
from llama_index_raganything.query_engine.engine import RAGAnythingQueryEngine
from llama_index_raganything.query_engine.tables.engine import TableQueryEngine
from llama_index_raganything.readers.reader import RAGAnythingReader
from llama_index_raganything.readers.sources.sources import FolderRules, SourceInput, named_bytes
from llama_index_raganything.retrievers.evidence.candidates import DEFAULT_TOP_K
from llama_index_raganything.retrievers.evidence.graph import EvidenceRetriever
from llama_index_raganything.retrievers.evidence.pages import Returns
from llama_index_raganything.retrievers.inventory.retriever import InventoryRetriever
from llama_index_raganything.retrievers.router import QuestionRouter
from llama_index_raganything.retrievers.tables import TableRetriever
from llama_index_raganything.retrievers.visual import VisualRetriever
from llama_index_raganything.settings import Models, RAGAnythingSettings, names_provider
from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph
from llama_index_raganything.stores.ledger import Ledger, LedgerEntry
from llama_index_raganything.stores.nodes.store import MilvusNodeStore
from llama_index_raganything.stores.nodes.visual import MilvusVisualStore
from llama_index_raganything.stores.tables.sql import SQLResult
from llama_index_raganything.stores.tables.store import TableStore

OWN_ARGUMENTS: Final = frozenset({"embed_model", "graph", "retriever", "store", "table_store"})
"""Arguments of retrievers and engines that only the index gives them."""

RETRIEVER_ARGUMENTS: Final = (argument_names(EvidenceRetriever) | {"inventory", "visual"}) - OWN_ARGUMENTS
"""Arguments of engines and tools that are passed on to their retriever."""

_SHARED: Final = frozenset({"callback_manager", "verbose"})
"""Those of them that the engine takes too."""

_QUOTED_FROM: Final = 5
"""Results to quote from without an LLM: of ten, wrong lines are quoted more often and right ones not."""


@strict_arguments
class RAGAnythingIndex(PickledWithoutSecrets):
    """Add files and answer questions about them with citations; every part can be replaced.

    A pickle of an index opens the same stores again where it is loaded, by their addresses. It holds no token and no
    key; those come from the environment. One process at a time can have a Milvus Lite folder open, so another one can
    load the pickle only after :meth:`close`.

    Args:
        uri: Milvus Lite folder, server or Zilliz Cloud endpoint; ``MILVUS_URI`` or ``./milvus.db`` by default.
        token: ``user:password`` or API key of the server.
        db_name: Database on the server.
        collection: Name of the knowledge base; the names of its collections in Milvus start with it.
        tenant: Read and write this tenant's documents only.
        working_dir: Folder of the parse cache, the assets and the tables; ``RAG_WORKING_DIR`` or ``./rag_storage`` by
            default. Each knowledge base and each tenant has its own folder in it.
        store: An open store, in place of ``uri``, ``token``, ``db_name``, ``collection`` and ``tenant``.
        overwrite: Drop what the knowledge base holds; ``layers`` of your own keep what they have.
        llm: LLM that answers; ``Settings.llm`` if set, else as ``models`` says. Without one, answers quote.
        vision_llm: Describes images, one call each, and answers in place of an ``llm`` that sees no images where there
            are some among the sources.
        embed_model: Embedding model; ``Settings.embed_model`` if set, else as ``models`` says.
        image_embed_model: Embeds images, which are then found by what they show; ``embed_model`` where that embeds
            images too. Without one, images are found by their words.
        models: Which models are used where none is given: "auto" takes those of ``RAG_LLM``, ``RAG_VISION_LLM`` and
            ``RAG_EMBED``, else DashScope's where ``DASHSCOPE_API_KEY`` is set, else the embedded ones; "embedded"
            needs no key and no network; "dashscope" takes the models that the settings name.
        settings: Settings in place of those read from the environment.
        chunk_size: Tokens of a text chunk.
        chunk_overlap: Tokens that two chunks share; at most an eighth of ``chunk_size`` by default.
        node_parser: Makes nodes of documents; a ``RAGAnythingNodeParser`` by default. Chunks of any other splitter of
            LlamaIndex get pages, boxes and sections too, and images become nodes beside them.
        reader: Reads files, such as ``RAGAnythingReader(profile="fast")``. Without a ``working_dir`` of its own, it
            works in the folder of the knowledge base.
        enrichment: How elements are described, or the processors that do it; an empty list describes nothing.
        transformations: Run on the nodes of each document before they are embedded.
        graph: Keep a graph of the names and facts in the nodes, and follow it where that helps.
        tables: Keep tables as relations for SQL; see :meth:`query_sql`.
        layers: Further storage, written and deleted with the nodes; the caller closes it.

    Attributes:
        knowledge_base: The stores, opened and closed together.
        reader: Reads files.
        node_parser: Makes nodes of documents.
        ingestion: Brings documents in.
        workers: Processes that parse where a call does not say.

    Raises:
        StoreError: Milvus cannot be opened; the subclass says why.
        SchemaMismatchError: The knowledge base was made with vectors of another dimension.
        UnknownArgumentError: There is no such argument; nothing was opened.
        ConfigurationError: Two arguments contradict each other.
    """

    def __init__(
        self,
        *,
        uri: str | None = None,
        token: str | SecretStr | None = None,
        db_name: str | None = None,
        collection: str | None = None,
        tenant: str | None = None,
        working_dir: str | Path | None = None,
        store: MilvusNodeStore | None = None,
        overwrite: bool = False,
        llm: LLM | None = None,
        vision_llm: LLM | None = None,
        embed_model: BaseEmbedding | None = None,
        image_embed_model: MultiModalEmbedding | None = None,
        models: Models = "auto",
        settings: RAGAnythingSettings | None = None,
        chunk_size: int | None = None,
        chunk_overlap: int | None = None,
        node_parser: NodeParser | None = None,
        reader: RAGAnythingReader | None = None,
        enrichment: index_options.Enrichment = None,
        transformations: Sequence[TransformComponent] = (),
        graph: index_options.GraphOptions | bool | None = True,
        tables: bool = True,
        layers: Sequence[Layer] = (),
    ) -> None:
        check_types(locals(), index_options.KINDS)
        if store is not None:
            address = {"uri": uri, "token": token, "db_name": db_name, "collection": collection, "tenant": tenant}
            index_options.refuse_beside("store", address | {"overwrite": overwrite}, "an open store has its own")
        node_parser = index_options.node_parser_for(node_parser, chunk_size, chunk_overlap)
        index_options.refuse_node_parsers(transformations)
        index_options.refuse_equal_names(layers)
        reader = reader or RAGAnythingReader()
        refuse_pages(reader.split)
        chosen = IndexModels.choose(
            models,
            settings,
            llm=llm,
            vision_llm=vision_llm,
            embed_model=embed_model,
            image_embed_model=image_embed_model,
        )
        settings = chosen.settings
        working_dir = working_dir or settings.working_dir
        owned = store is None
        if store is None:
            store = MilvusNodeStore(
                uri=uri or settings.milvus_uri,
                collection_name=collection or settings.milvus_collection,
                token=token or settings.milvus_token,
                db_name=db_name if db_name is not None else settings.milvus_db_name,
                tenant=tenant,
                dim=dimension(chosen.embed_model),
                overwrite=overwrite,
            )
        base = KnowledgeBase.open(
            store,
            working_dir,
            graph=graph is not False,
            tables=tables,
            image_embed_model=chosen.image_embed_model,
            overwrite=overwrite,
            owned=owned,
        )
        base.warn_of_other_vectors(chosen.embed_model)
        if reader.working_dir == type(reader).model_fields["working_dir"].default:
            reader = reader.model_copy(update={"working_dir": str(base.folder)})
        processors = index_options.processors_for(enrichment, chosen.vision_llm, base.folder / "descriptions")
        graph_options = graph if isinstance(graph, index_options.GraphOptions) else index_options.GraphOptions()
        self.knowledge_base = base
        self.reader = reader
        self.ingestion = Ingestion(
            reader=reader,
            node_parser=node_parser,
            embed_model=chosen.embed_model,
            store=base.store,
            ledger=base.ledger,
            transformations=[*processors, *transformations],
            layers=[*base.layers(graph_options, chosen.image_embed_model), *layers],
            folder_rules=FolderRules(
                own=frozenset({os.path.abspath(base.folder)}), working_dir=os.path.abspath(working_dir)
            ),
        )
        self.node_parser = self.ingestion.node_parser
        self.workers = 1
        self._models = chosen

    @property
    def store(self) -> MilvusNodeStore:
        """Nodes with their text vectors and keywords."""
        return self.knowledge_base.store

    @property
    def ledger(self) -> Ledger:
        """The state of every document."""
        return self.knowledge_base.ledger

    @property
    def visual_store(self) -> MilvusVisualStore | None:
        """Vectors of images; None where no model embeds images."""
        return self.knowledge_base.visual_store

    @property
    def knowledge_graph(self) -> KnowledgeGraph:
        """Names and facts.

        Raises:
            ConfigurationError: The index keeps none.
        """
        if self.knowledge_base.graph is None:
            raise ConfigurationError("This index keeps no graph: it was opened with graph=False.")
        return self.knowledge_base.graph

    @property
    def table_store(self) -> TableStore:
        """Tables for SQL.

        Raises:
            ConfigurationError: The index keeps none.
        """
        if self.knowledge_base.table_store is None:
            raise ConfigurationError("This index keeps no tables: it was opened with tables=False.")
        return self.knowledge_base.table_store

    @property
    def embed_model(self) -> BaseEmbedding:
        """Embeds texts."""
        return self._models.embed_model

    @property
    def image_embed_model(self) -> MultiModalEmbedding | None:
        """Embeds images; None where no model does."""
        return self._models.image_embed_model

    @property
    def llm(self) -> LLM | None:
        """The LLM that answers where a call names none; None quotes the documents."""
        return self._models.answering_llm

    @property
    def last_report(self) -> IngestionReport:
        """What the last :meth:`add`, :meth:`add_documents` or :meth:`sync` did, also where it raised."""
        return self.ingestion.last_report

    @classmethod
    def from_paths(
        cls,
        paths: SourceInput,
        *,
        exclude: Patterns = None,
        strict: bool = False,
        show_progress: bool = False,
        workers: int | None = None,
        **options: Any,
    ) -> Self:
        """Open an index and bring in files and folders.

        Args:
            paths: Files, folders (recursively), pairs of a name and bytes, content lists, or URLs where the reader
                allows them.
            exclude: Patterns of paths that are left out, as in a ``.gitignore``.
            strict: Raise at the end when a document failed; otherwise see :attr:`last_report`.
            show_progress: Show a progress bar.
            workers: Processes that parse; :attr:`workers` by default.
            **options: Arguments of the class.

        Returns:
            The index.

        Raises:
            SourceError: A path does not exist, and there was nothing else to bring in.
            IngestionError: ``strict`` is set and documents failed; the others are added.
        """
        refuse_unknown("RAGAnythingIndex.from_paths()", options, argument_names(cls, cls.from_paths))
        index = cls(**options)
        with _closed_on_error(index, keep=options.get("store") is not None):
            index.add(paths, exclude=exclude, strict=strict, show_progress=show_progress, workers=workers)
        return index

    @classmethod
    def from_documents(
        cls, documents: Iterable[Document], *, strict: bool = False, show_progress: bool = False, **options: Any
    ) -> Self:
        """Open an index and bring in documents loaded by any LlamaIndex reader.

        Args:
            strict: Raise at the end when a document failed; otherwise see :attr:`last_report`.
            show_progress: Show a progress bar.
            **options: Arguments of the class.

        Returns:
            The index.
        """
        refuse_unknown("RAGAnythingIndex.from_documents()", options, argument_names(cls, cls.from_documents))
        index = cls(**options)
        with _closed_on_error(index, keep=options.get("store") is not None):
            index.add_documents(documents, strict=strict, show_progress=show_progress)
        return index

    @classmethod
    def from_config(cls, config: Any, *, llm: LLM | None = None, vision_llm: LLM | None = None, **options: Any) -> Self:
        """Open an index as RAG-Anything's own configuration object says.

        Its ``parser``, ``parse_method``, ``working_dir``, ``enable_*_processing``, context fields,
        ``max_concurrent_files``, ``recursive_folder_processing`` and ``supported_file_extensions`` are honoured; the
        last two for folders, as files that are named themselves are always read. ``parser_output_dir`` has no use:
        crops are in the working folder.

        Args:
            config: A ``RAGAnythingConfig``, or anything with such attributes.
            llm: Answers, and describes tables and equations, as RAG-Anything's ``llm_model_func`` does.
            vision_llm: Describes images, as RAG-Anything's ``vision_model_func`` does.
            **options: Further arguments of the class; they win over the configuration. ``models="dashscope"`` takes
                DashScope's for both where they are not given.

        Returns:
            The index.

        Raises:
            ConfigurationError: The configuration holds a value that cannot work.
        """
        refuse_unknown("RAGAnythingIndex.from_config()", options, argument_names(cls, cls.from_config))
        reader_options = reader_options_from_config(config)
        reader_options.pop("working_dir", None)
        workers = int(reader_options.pop("workers", 1))
        options.setdefault("working_dir", getattr(config, "working_dir", None))
        if options.get("reader") is None:
            options["reader"] = RAGAnythingReader(**reader_options)
        if names_provider(options.get("models", "auto")):
            names = ("settings", "embed_model", "image_embed_model")
            chosen = IndexModels.choose(
                options["models"], llm=llm, vision_llm=vision_llm, **{name: options.get(name) for name in names}
            )
            llm, vision_llm, options["embed_model"] = chosen.llm, chosen.vision_llm, chosen.embed_model
        descriptions = index_options.descriptions_of_config(options["working_dir"])
        if "enrichment" not in options:
            options["enrichment"] = index_options.processors_of_config(config, llm, vision_llm, descriptions)
        index = cls(llm=llm, vision_llm=vision_llm, **options)
        index.workers = workers
        rules = index.ingestion.folder_rules
        own = rules.own | {os.path.abspath(descriptions)}
        index.ingestion.folder_rules = replace(
            index_options.folder_rules_of_config(config), own=own, working_dir=rules.working_dir
        )
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
        self,
        paths: SourceInput,
        *,
        exclude: Patterns = None,
        strict: bool = False,
        show_progress: bool = False,
        workers: int | None = None,
    ) -> IngestionReport:
        """Bring in files and folders; skip what is unchanged, replace what changed, follow what was renamed.

        Hidden, temporary and system files in folders are skipped, as is the index's own data; the report counts them.
        A file whose path is gone while the same content comes in at another one has moved: the document at the old
        path is replaced. Nothing else is deleted; that is what :meth:`sync` does.

        Args:
            paths: Files, folders (recursively), pairs of a name and bytes or a binary stream, content lists, or URLs
                where the reader allows them. Files that are named themselves are read whatever they are called.
            exclude: Patterns of paths that are left out, as in a ``.gitignore``: ``"drafts/**"``, ``["*.bak"]``.
            strict: Raise at the end when a document failed or a path does not exist.
            show_progress: Show a progress bar.
            workers: Processes that parse; :attr:`workers` by default.

        Returns:
            What was done, also kept as :attr:`last_report`. Among several paths, one that does not exist is a failure
            in it, and in its ``not_found``.

        Raises:
            SourceError: A path does not exist, and there was nothing else to bring in.
            IngestionError: ``strict`` is set and documents failed; the others are added.
        """
        workers = self.workers if workers is None else workers
        return self.ingestion.add_paths(
            paths, exclude=exclude, strict=strict, show_progress=show_progress, workers=workers
        )

    def add_bytes(
        self, data: bytes | bytearray | memoryview | BinaryIO, name: str, *, strict: bool = False
    ) -> IngestionReport:
        """Add a file that is in memory or comes as a stream.

        Args:
            data: Its bytes, or a binary stream, which is read to its end.
            name: Its file name; its format shows in the content and in the name's extension. The document's id derives
                from it, so that other content under the same name replaces the document.
            strict: Raise when the document failed.

        Returns:
            What was done, also kept as :attr:`last_report`.

        Raises:
            ConfigurationError: There is no name, or the data is text or a stream of it.
            IngestionError: ``strict`` is set and the document failed.
        """
        return self.add(named_bytes(name, data), strict=strict)

    def add_documents(
        self, documents: Iterable[Document], *, strict: bool = False, show_progress: bool = False
    ) -> IngestionReport:
        """Bring in documents loaded by any LlamaIndex reader; their ids decide what replaces what.

        Args:
            strict: Raise at the end when a document failed.
            show_progress: Show a progress bar.

        Returns:
            What was done, also kept as :attr:`last_report`.
        """
        return self.ingestion.add_documents(documents, strict=strict, show_progress=show_progress)

    def sync(
        self,
        folder: str | Path,
        *,
        exclude: Patterns = None,
        strict: bool = False,
        show_progress: bool = False,
        workers: int | None = None,
    ) -> IngestionReport:
        """Make the index agree with a folder: add, update, and delete what is gone from it or left out.

        Args:
            folder: The folder; documents from elsewhere, and below folders that cannot be read, are not touched.
            exclude: Patterns of paths that are left out, as in a ``.gitignore``; documents there are deleted.
            strict: Raise at the end when a document failed.
            show_progress: Show a progress bar.
            workers: Processes that parse; :attr:`workers` by default.

        Returns:
            What was done, also kept as :attr:`last_report`.

        Raises:
            SourceError: The folder does not exist; nothing is deleted.
        """
        workers = self.workers if workers is None else workers
        return self.ingestion.sync(folder, exclude=exclude, strict=strict, show_progress=show_progress, workers=workers)

    def delete(self, document: str | Path) -> bool:
        """Delete a document with every trace: nodes, vectors, ledger row, assets and cached parse.

        Args:
            document: Its id, path or URL, or its file name where no other document has the same.

        Returns:
            True when the document was known.

        Raises:
            ConfigurationError: Several documents have this file name; the message lists them.
        """
        return self.ingestion.delete(document)

    aadd = in_thread(add)
    aadd_bytes = in_thread(add_bytes)
    aadd_documents = in_thread(add_documents)
    adelete = in_thread(delete)

    async def async_sync(self, folder: str | Path, **options: Any) -> IngestionReport:
        """Async twin of :meth:`sync`; the work runs in a thread."""
        return await asyncio.to_thread(self.sync, folder, **options)

    @options_of(EvidenceRetriever, without=OWN_ARGUMENTS)
    def as_retriever(
        self,
        *,
        similarity_top_k: int = DEFAULT_TOP_K,
        filters: MetadataFilters | None = None,
        returns: Returns = "pages",
        inventory: bool = True,
        visual: bool = True,
        **options: Any,
    ) -> BaseRetriever:
        """Return the default retriever: evidence and links, inventories for questions about whole documents, images.

        ``similarity_top_k`` counts pages; whole tables and passages where nodes have no page. Each returned page names
        its best element, image and table with their boxes (``metadata["elements"]``).

        Args:
            filters: Only nodes that match take part.
            returns: ``"pages"``, or ``"elements"`` for the smallest parts that can be cited, each with its box.
            inventory: Let :class:`InventoryRetriever` answer questions such as "how many tables are there?".
            visual: Also look for images by what they show, where there is a model that embeds images.
            **options: Further arguments of :class:`EvidenceRetriever`.

        Returns:
            A :class:`QuestionRouter` over an :class:`EvidenceRetriever`, or the latter itself where it is alone.
        """
        check_types(locals(), index_options.KINDS)
        base = self.knowledge_base
        evidence = EvidenceRetriever(
            base.store,
            base.graph,
            embed_model=self.embed_model,
            similarity_top_k=similarity_top_k,
            filters=filters,
            returns=returns,
            **options,
        )
        specialists = [InventoryRetriever(base.store, base.ledger, similarity_top_k, filters)] if inventory else []
        routes = []
        if visual and base.visual_store is not None:
            routes.append(
                self.as_visual_retriever(similarity_top_k=similarity_top_k, filters=filters, outstanding_only=True)
            )
        if not specialists and not routes:
            return evidence
        return QuestionRouter(evidence, specialists, routes, similarity_top_k=similarity_top_k)

    @options_of(VisualRetriever, without=OWN_ARGUMENTS)
    def as_visual_retriever(
        self, *, similarity_top_k: int = 5, filters: MetadataFilters | None = None, **options: Any
    ) -> VisualRetriever:
        """Return a retriever of images by what they show, asked with words or with an image.

        Args:
            filters: Only nodes that match take part.
            **options: Further arguments of :class:`VisualRetriever`.

        Raises:
            ConfigurationError: There is no model that embeds images.
        """
        check_types(locals(), index_options.KINDS)
        store, model = self.knowledge_base.visual_store, self.image_embed_model
        if store is None or model is None:
            message = (
                "Images are not embedded in this index: pass image_embed_model=... (a MultiModalEmbedding) when "
                "opening it, and add the documents again."
            )
            raise ConfigurationError(message)
        return VisualRetriever(store, model, similarity_top_k, filters, **options)

    @options_of(TableRetriever, without=OWN_ARGUMENTS)
    def as_table_retriever(
        self, *, similarity_top_k: int = 5, filters: MetadataFilters | None = None, **options: Any
    ) -> TableRetriever:
        """Return a retriever of tables by their headers, rows and surroundings.

        Args:
            filters: Only nodes that match take part.
            **options: Further arguments of :class:`TableRetriever`.
        """
        check_types(locals(), index_options.KINDS)
        return TableRetriever(
            self.store,
            self.knowledge_base.graph,
            embed_model=self.embed_model,
            similarity_top_k=similarity_top_k,
            filters=filters,
            table_store=self.knowledge_base.table_store,
            **options,
        )

    @options_of(TableQueryEngine, without=OWN_ARGUMENTS)
    def as_table_query_engine(
        self,
        *,
        llm: LLM | None = None,
        similarity_top_k: int = 3,
        filters: MetadataFilters | None = None,
        **options: Any,
    ) -> TableQueryEngine:
        """Return an engine that answers from tables: by SQL that an LLM writes, or by looking up cells without one.

        Args:
            llm: LLM of this engine; the index's by default.
            similarity_top_k: Number of tables to answer from.
            filters: Only nodes that match take part.
            **options: Further arguments of :class:`TableQueryEngine`.
        """
        return TableQueryEngine(
            self.as_table_retriever(similarity_top_k=similarity_top_k, filters=filters),
            llm or self.llm,
            self.knowledge_base.table_store,
            settings=self._models.settings,
            **options,
        )

    @options_of(TableStore.query_sql)
    def query_sql(self, sql: str, **options: Any) -> SQLResult:
        """Query the tables of the documents with a read-only SQL statement.

        The relation ``tables`` lists them, with their names, captions, pages and files.

        Args:
            sql: One ``SELECT`` in DuckDB's dialect.
            **options: Further arguments of :meth:`TableStore.query_sql`: ``tables``, ``max_rows``, ``timeout_s``.

        Returns:
            Columns, rows, and the tables that they come from.

        Raises:
            ConfigurationError: The index keeps no tables.
            SQLError: The statement is refused, wrong, or takes too long; the subclass says which.
        """
        return self.table_store.query_sql(sql, **options)

    @options_of(TableStore.query_sql)
    async def aquery_sql(self, sql: str, **options: Any) -> SQLResult:
        """Async twin of :meth:`query_sql`."""
        return await self.table_store.aquery_sql(sql, **options)

    @options_of(RAGAnythingQueryEngine.from_args, also=RETRIEVER_ARGUMENTS, without=OWN_ARGUMENTS)
    def as_query_engine(
        self,
        *,
        llm: LLM | None = None,
        similarity_top_k: int | None = None,
        filters: MetadataFilters | None = None,
        node_postprocessors: Sequence[BaseNodePostprocessor] = (),
        vision_llm: LLM | None = None,
        **options: Any,
    ) -> RAGAnythingQueryEngine:
        """Return an engine that answers with citations.

        Args:
            llm: LLM of this engine; the index's by default.
            similarity_top_k: Number of results to answer from, as :meth:`as_retriever` counts them; by default as many
                as fit into the LLM's budget, 10 to 50 (20 for 6,000 tokens), and 5 to quote from without an LLM.
            filters: Only nodes that match take part.
            node_postprocessors: Run on the results before the answer.
            vision_llm: Answers in place of an LLM that sees no images where there are some; the index's by default.
            **options: Further arguments of :meth:`RAGAnythingQueryEngine.from_args`, such as ``streaming=True`` and
                ``context_tokens=``, and of :meth:`as_retriever`.
        """
        chosen = self.llm if llm is None else resolve_llm(llm)
        retriever = self._retriever_of_engine(chosen, similarity_top_k, filters, options)
        return RAGAnythingQueryEngine.from_args(
            retriever,
            llm=chosen,
            vision_llm=vision_llm or self._models.vision_llm,
            node_postprocessors=list(node_postprocessors),
            filters=filters,
            **(self._sources | {"settings": self._models.settings} | options),
        )

    @options_of(
        RAGAnythingChatEngine.from_defaults,
        SimpleChatEngine.from_defaults,
        also=RETRIEVER_ARGUMENTS | ALIASES.keys(),
        without=OWN_ARGUMENTS,
    )
    def as_chat_engine(
        self,
        chat_mode: ChatMode | str = ChatMode.BEST,
        llm: LLM | None = None,
        *,
        similarity_top_k: int | None = None,
        filters: MetadataFilters | None = None,
        chat_history: list[ChatMessage] | None = None,
        vision_llm: LLM | None = None,
        **options: Any,
    ) -> BaseChatEngine:
        """Return a chat engine over the index, whose answers cite; it needs an LLM.

        Args:
            chat_mode: ``best``, ``condense_plus_context``, ``context``, ``condense_question``, or ``simple``, which
                does not look at the documents.
            llm: LLM of this engine; the index's by default. One that sees images is shown them too.
            similarity_top_k: Number of results to answer from; see :meth:`as_query_engine`.
            filters: Only nodes that match take part.
            chat_history: Earlier messages.
            vision_llm: Answers in place of an LLM that sees no images where there are some; the index's by default.
            **options: Further arguments of :meth:`RAGAnythingChatEngine.from_defaults`, such as ``system_prompt``,
                and of :meth:`as_retriever`.

        Returns:
            A :class:`RAGAnythingChatEngine`; for ``simple`` LlamaIndex's own.

        Raises:
            ConfigurationError: There is no LLM, the mode is unknown, or an argument is unknown or has no effect.
        """
        chosen = self.llm if llm is None else resolve_llm(llm)
        if chosen is None:
            message = "A chat engine needs an LLM: pass llm=... or set Settings.llm; as_query_engine() works without."
            raise ConfigurationError(message)
        if chat_mode == ChatMode.SIMPLE:
            return simple_chat_engine(chosen, chat_history, options | ({"filters": filters} if filters else {}))
        retriever = self._retriever_of_engine(chosen, similarity_top_k, filters, options)
        return RAGAnythingChatEngine.from_defaults(
            retriever,
            chosen,
            chat_history,
            chat_mode=chat_mode,
            vision_llm=vision_llm or self._models.vision_llm,
            **(self._sources | options),
        )

    @options_of(as_query_engine)
    def as_tools(
        self, *, similarity_top_k: int | None = None, filters: MetadataFilters | None = None, **options: Any
    ) -> list[BaseTool]:
        """Return tools for agents: ``ask`` answers with citations, ``search`` returns the evidence to read.

        Args:
            similarity_top_k: Number of results each tool looks at; see :meth:`as_query_engine`.
            filters: Only nodes that match take part.
            **options: Further arguments of :meth:`as_query_engine`, and of :meth:`as_retriever` for both tools.
                ``context_tokens`` also bounds what ``search`` returns.

        Returns:
            The two tools; both return text, and their ``raw_output`` holds the response or the nodes.
        """
        tokens = options.get("context_tokens") or DEFAULT_CONTEXT_TOKENS
        top_k = results_to_read(tokens) if similarity_top_k is None else similarity_top_k
        postprocessors = options.get("node_postprocessors", ())
        of_retriever = {name: value for name, value in options.items() if name in RETRIEVER_ARGUMENTS}
        ask = QueryEngineTool.from_defaults(
            self.as_query_engine(similarity_top_k=similarity_top_k, filters=filters, **options),
            name="ask",
            description="Answer a question from the documents, with citations [n].",
        )
        search = RetrieverTool.from_defaults(
            self.as_retriever(similarity_top_k=top_k, filters=filters, **of_retriever),
            node_postprocessors=[*postprocessors, PageContextPostprocessor(store=self.store, max_tokens=tokens)],
            name="search",
            description="Find the passages, tables and figures that fit a query, with file name, page and section.",
        )
        return [ask, search]

    @property
    def _sources(self) -> dict[str, Any]:
        """Where engines find pages and images of retrieved nodes."""
        return {"asset_root": str(self.reader.assets.root), "store": self.store}

    def _retriever_of_engine(
        self, llm: LLM | None, similarity_top_k: int | None, filters: MetadataFilters | None, options: dict[str, Any]
    ) -> BaseRetriever:
        """Return the retriever of an engine, and take its arguments out of those of the engine."""
        arguments = {name: options[name] for name in options if name in RETRIEVER_ARGUMENTS}
        for name in arguments.keys() - _SHARED:
            del options[name]
        if similarity_top_k is None and llm is not None:
            similarity_top_k = results_to_read(options.get("context_tokens") or default_context_tokens(llm))
        elif similarity_top_k is None:
            similarity_top_k = _QUOTED_FROM
        return self.as_retriever(similarity_top_k=similarity_top_k, filters=filters, **arguments)

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
            "uri": self.store.uri,
            "collection": self.store.collection_name,
            "embed_model": self.embed_model.model_name,
            "working_dir": self.reader.working_dir,
            "documents": dict(Counter(entry.state for entry in entries)),
            "nodes": dict(nodes),
        }

    def close(self) -> None:
        """Flush and close all stores, so that another process may open a Milvus Lite folder."""
        self.knowledge_base.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _closed_on_error(index: RAGAnythingIndex, *, keep: bool) -> Iterator[None]:
    """Close an index that its maker never gets; one over a store of theirs stays open, for they may go on with it."""
    try:
        yield
    except BaseException:
        if not keep:
            index.close()
        raise
