"""``RAGAnythingIndex``: the one place that wires all parts together with defaults."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Self

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.llms import LLM
from llama_index.core.node_parser import NodeParser
from llama_index.core.schema import Document, TransformComponent
from pydantic import SecretStr

from llama_index_raganything._arguments import argument_names, refuse_unknown, strict_arguments
from llama_index_raganything._pickling import PickledWithoutSecrets
from llama_index_raganything.config import RAGAnythingSettings
from llama_index_raganything.enrich.base import ElementProcessor
from llama_index_raganything.enrich.registry import ProcessorOptions, reader_options_from_config
from llama_index_raganything.graph.extraction.entity_linker import EntityLinker
from llama_index_raganything.graph.extraction.triples import TripleExtractor
from llama_index_raganything.index.knowledge_base import (
    ChosenModels,
    Models,
    Storage,
    configured_processors,
    default_node_parser,
    default_processors,
    descriptions_folder,
    dimension,
    folder_rules,
    image_model,
    warn_of_other_vectors,
)
from llama_index_raganything.index.options import check_options, refuse_beside, refuse_node_parsers
from llama_index_raganything.index.queryable import Queryable
from llama_index_raganything.ingestion.pipeline import Ingestion, Patterns, refuse_pages
from llama_index_raganything.ingestion.report import IngestionReport
from llama_index_raganything.readers.reader import RAGAnythingReader
from llama_index_raganything.readers.sources.folders import FolderRules
from llama_index_raganything.readers.sources.sources import SourceInput, named_bytes
from llama_index_raganything.stores.ledger import LedgerEntry
from llama_index_raganything.stores.nodes.store import MilvusNodeStore


@strict_arguments
class RAGAnythingIndex(PickledWithoutSecrets, Queryable):
    """Files in, cited answers out; every part can be replaced.

    A pickle of an index opens the same stores again where it is loaded, by their addresses; it holds no token and no
    key, which come from the environment. A Milvus Lite folder is open in one process at a time, so that another
    process can load it only after :meth:`close`.

    Args:
        uri: Milvus Lite folder, server or Zilliz Cloud endpoint; ``MILVUS_URI`` or ``./milvus.db`` by default.
        collection: Name of the knowledge base; its collections in Milvus start with it.
        token: ``user:password`` or API key of the server.
        db_name: Database on the server.
        tenant: Read and write this tenant's documents only.
        working_dir: Folder of the parse cache and the assets; ``RAG_WORKING_DIR`` or ``./rag_storage`` by default.
            Each knowledge base and each tenant has a folder of its own in it.
        embed_model: Embedding model; ``Settings.embed_model`` if set, else as ``models`` says.
        llm: LLM that answers; ``Settings.llm`` if set, else as ``models`` says: an answer of the embedded ones quotes.
        models: Whose models serve where none is named: "auto" takes those that ``RAG_LLM``, ``RAG_VISION_LLM`` and
            ``RAG_EMBED`` name, else those of DashScope where ``DASHSCOPE_API_KEY`` is set, else the embedded ones;
            "embedded" needs no key and no network; "dashscope" takes the models that the
            settings name, and its vision model describes images too.
        reader: Reader of files; a ``RAGAnythingReader`` over ``working_dir`` by default.
        reader_options: Arguments of the default reader, such as ``{"profile": "fast"}``.
        node_parser: Makes nodes of documents; a ``RAGAnythingNodeParser`` by default. Chunks of any other splitter of
            LlamaIndex get pages, boxes and sections too, and pictures are nodes beside them.
        chunk_size: Tokens of a text chunk of the default node parser.
        transformations: Run on the nodes of each document before they are embedded.
        node_store: An open store, in place of ``uri``, ``collection``, ``token``, ``db_name`` and ``tenant``.
        graph: Keep a graph of the names and facts in the nodes, and follow it where that helps.
        entity_linker: Reads the graph from nodes; an ``EntityLinker`` by default.
        triple_extractor: Reads triples into the graph with an LLM; none by default.
        tables: Keep tables as relations that SQL can ask; see :meth:`query_sql`.
        image_embed_model: Embeds images, which are then found by what they show; ``embed_model`` where that embeds
            images too. Without one, images are found by their words.
        processors: Describe elements before they are embedded, in place of those made from the arguments below.
        description_llm: Describes tables and equations, one call each; images too where it sees them. None asks none.
        vision_llm: Describes images, one call each, and answers in place of an ``llm`` that sees none where there are
            images among the sources. None asks none.
        description_options: Further fields of ``ProcessorOptions``: ``language``, ``prompts``, ``context_window`` ...
        enable_image_processing: Describe images, as in RAG-Anything.
        enable_table_processing: Describe tables.
        enable_equation_processing: Describe equations; without an LLM, write them in words.
        max_workers: Elements that are described at the same time.
        image_ocr: Read the text in images with OCR, which takes about a second for each.
        overwrite: Drop what the knowledge base holds.
        settings: Settings in place of those read from the environment.

    Raises:
        StoreError: Milvus cannot be opened; the subclass says why.
        SchemaMismatchError: The knowledge base was made with vectors of another dimension.
        UnknownArgumentError: There is no such argument, or no such option; nothing was opened.
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
        models: Models = "auto",
        reader: RAGAnythingReader | None = None,
        reader_options: dict[str, Any] | None = None,
        node_parser: NodeParser | None = None,
        chunk_size: int | None = None,
        transformations: Sequence[TransformComponent] = (),
        node_store: MilvusNodeStore | None = None,
        graph: bool = True,
        entity_linker: EntityLinker | None = None,
        triple_extractor: TripleExtractor | None = None,
        tables: bool = True,
        image_embed_model: MultiModalEmbedding | None = None,
        processors: Sequence[ElementProcessor] | None = None,
        description_llm: LLM | None = None,
        vision_llm: LLM | None = None,
        description_options: dict[str, Any] | None = None,
        enable_image_processing: bool = True,
        enable_table_processing: bool = True,
        enable_equation_processing: bool = True,
        max_workers: int = 4,
        image_ocr: bool = False,
        overwrite: bool = False,
        settings: RAGAnythingSettings | None = None,
    ) -> None:
        check_options("reader_options", reader_options, RAGAnythingReader, {"working_dir"})
        own_options = {"llm", "vision_llm", "cache_folder", "workers"}
        check_options("description_options", description_options, ProcessorOptions, own_options)
        if reader is not None:
            refuse_beside("reader", {"reader_options": reader_options}, "set the options on the reader")
        refuse_node_parsers(transformations)
        if node_parser is not None:
            refuse_beside("node_parser", {"chunk_size": chunk_size}, "set the size on the node parser")
        node_parser = node_parser or default_node_parser(chunk_size)
        refuse_pages(reader.split if reader is not None else (reader_options or {}).get("split", "document"))
        if node_store is not None:
            of_store = {"uri": uri, "collection": collection, "token": token, "db_name": db_name, "tenant": tenant}
            refuse_beside("node_store", of_store | {"overwrite": overwrite}, "an open store has its own")
        if processors is not None:
            of_processors = {
                "description_llm": description_llm,
                "description_options": description_options,
                "enable_image_processing=False": not enable_image_processing,
                "enable_table_processing=False": not enable_table_processing,
                "enable_equation_processing=False": not enable_equation_processing,
                "image_ocr": image_ocr,
            }
            refuse_beside("processors", of_processors, "they take the place of those that it would make")
        if not graph:
            of_graph = {"entity_linker": entity_linker, "triple_extractor": triple_extractor}
            refuse_beside("graph=False", of_graph, "there is no graph to read into")
        chosen = ChosenModels.of(models, settings or RAGAnythingSettings(), embed_model, llm, vision_llm)
        self._models, settings = chosen, chosen.settings
        self.embed_model = chosen.embed_model
        self.node_store = node_store or MilvusNodeStore(
            uri=uri or settings.milvus_uri,
            collection_name=collection or settings.milvus_collection,
            token=token or settings.milvus_token,
            db_name=db_name if db_name is not None else settings.milvus_db_name,
            tenant=tenant,
            dim=dimension(self.embed_model),
            overwrite=overwrite,
        )
        self.image_embed_model = image_model(image_embed_model, self.embed_model)
        try:
            storage = Storage.beside(
                self.node_store,
                working_dir or settings.working_dir,
                graph=graph,
                tables=tables,
                image_embed_model=self.image_embed_model,
                overwrite=overwrite,
            )
        except BaseException:
            if node_store is None:
                self.node_store.close()
            raise
        self._storage = storage
        self.ledger, self._graph, self._tables, self.visual_store = (
            storage.ledger,
            storage.graph,
            storage.tables,
            storage.images,
        )
        warn_of_other_vectors(self.ledger, self.embed_model)
        self.reader = reader or RAGAnythingReader(working_dir=str(storage.folder), **(reader_options or {}))
        if processors is None:
            enabled = {
                "image": enable_image_processing,
                "table": enable_table_processing,
                "equation": enable_equation_processing,
            }
            processors = default_processors(
                ProcessorOptions(
                    llm=description_llm,
                    vision_llm=chosen.vision_llm,
                    cache_folder=storage.folder / "descriptions",
                    workers=max_workers,
                    **(description_options or {}),
                ),
                disabled=[name for name, wanted in enabled.items() if not wanted],
                image_ocr=image_ocr,
            )
        self.ingestion = Ingestion(
            reader=self.reader,
            node_parser=node_parser,
            embed_model=self.embed_model,
            node_store=self.node_store,
            ledger=self.ledger,
            transformations=[*processors, *transformations],
            layers=storage.layers(entity_linker, triple_extractor, self.image_embed_model),
            folder_rules=FolderRules(
                own=frozenset({os.path.abspath(storage.folder)}),
                working_dir=os.path.abspath(working_dir or settings.working_dir),
            ),
        )
        self.node_parser = self.ingestion.node_parser
        self.num_workers = 1
        self.last_report = IngestionReport()

    @classmethod
    def from_paths(
        cls,
        paths: SourceInput,
        *,
        exclude: Patterns = None,
        strict: bool = False,
        show_progress: bool = False,
        num_workers: int | None = None,
        **options: Any,
    ) -> Self:
        """Open an index and bring in files and folders.

        Args:
            paths: Files, folders (recursively), pairs of a name and bytes, content lists, or URLs where the reader
                allows them.
            exclude: Patterns of paths that are left out, as in a ``.gitignore``.
            strict: Raise at the end when a document failed; otherwise see :attr:`last_report`.
            show_progress: Show a progress bar.
            num_workers: Processes that parse; :attr:`num_workers` by default.
            **options: Arguments of the class.

        Returns:
            The index.

        Raises:
            SourceError: A path does not exist, and there was nothing else to bring in.
            IngestionError: ``strict`` is set and documents failed; the others are in.
        """
        refuse_unknown("RAGAnythingIndex.from_paths()", options, argument_names(cls, cls.from_paths))
        index = cls(**options)
        with _closed_on_error(index, keep=options.get("node_store") is not None):
            index.add(paths, exclude=exclude, strict=strict, show_progress=show_progress, num_workers=num_workers)
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
        with _closed_on_error(index, keep=options.get("node_store") is not None):
            index.add_documents(documents, strict=strict, show_progress=show_progress)
        return index

    @classmethod
    def from_config(cls, config: Any, *, llm: LLM | None = None, vision_llm: LLM | None = None, **options: Any) -> Self:
        """Open an index as RAG-Anything's own configuration object says.

        Its ``parser``, ``parse_method``, ``working_dir``, ``enable_*_processing``, context fields,
        ``max_concurrent_files``, ``recursive_folder_processing`` and ``supported_file_extensions`` are honoured; the
        last two for folders, as files that are named themselves are always read. ``parser_output_dir`` has no use:
        crops lie in the working folder.

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
        num_workers = int(reader_options.pop("workers", 1))
        options.setdefault("working_dir", getattr(config, "working_dir", None))
        if options.get("reader") is None:
            options["reader_options"] = reader_options | (options.get("reader_options") or {})
        if options.get("models") == "dashscope":
            settings = options.setdefault("settings", None) or RAGAnythingSettings()
            chosen = ChosenModels.of("dashscope", settings, options.get("embed_model"), llm, vision_llm)
            llm, vision_llm, options["embed_model"] = chosen.llm, chosen.vision_llm, chosen.embed_model
        if "processors" not in options:
            options["processors"] = configured_processors(config, llm, vision_llm, options["working_dir"])
        index = cls(llm=llm, vision_llm=vision_llm, **options)
        index.num_workers = num_workers
        rules = index.ingestion.folder_rules
        own = rules.own | {os.path.abspath(descriptions_folder(options["working_dir"]))}
        index.ingestion.folder_rules = replace(folder_rules(config), own=own, working_dir=rules.working_dir)
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
        num_workers: int | None = None,
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
            num_workers: Processes that parse; :attr:`num_workers` by default.

        Returns:
            What was done, also kept as :attr:`last_report`. Among several paths, one that does not exist is a failure
            in it, and in its ``not_found``.

        Raises:
            SourceError: A path does not exist, and there was nothing else to bring in.
            IngestionError: ``strict`` is set and documents failed; the others are in.
        """
        self.last_report = self.ingestion.add_paths(
            paths,
            exclude=exclude,
            strict=strict,
            show_progress=show_progress,
            workers=self.num_workers if num_workers is None else num_workers,
        )
        return self.last_report

    def add_bytes(
        self, data: bytes | bytearray | memoryview | BinaryIO, name: str, *, strict: bool = False
    ) -> IngestionReport:
        """Bring in a file that lies in memory or comes as a stream.

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
        self.last_report = self.ingestion.add_documents(documents, strict=strict, show_progress=show_progress)
        return self.last_report

    def sync(
        self,
        folder: str | Path,
        *,
        exclude: Patterns = None,
        strict: bool = False,
        show_progress: bool = False,
        num_workers: int | None = None,
    ) -> IngestionReport:
        """Make the index agree with a folder: add, update, and delete what is gone from it or left out.

        Args:
            folder: The folder; documents from elsewhere, and below folders that cannot be read, are not touched.
            exclude: Patterns of paths that are left out, as in a ``.gitignore``; documents there are deleted.
            strict: Raise at the end when a document failed.
            show_progress: Show a progress bar.
            num_workers: Processes that parse; :attr:`num_workers` by default.

        Returns:
            What was done, also kept as :attr:`last_report`.

        Raises:
            SourceError: The folder does not exist; nothing is deleted.
        """
        self.last_report = self.ingestion.sync(
            folder,
            exclude=exclude,
            strict=strict,
            show_progress=show_progress,
            workers=self.num_workers if num_workers is None else num_workers,
        )
        return self.last_report

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

    async def aadd(self, paths: SourceInput, **options: Any) -> IngestionReport:
        """Async twin of :meth:`add`; the work runs in a thread."""
        return await asyncio.to_thread(self.add, paths, **options)

    async def aadd_bytes(
        self, data: bytes | bytearray | memoryview | BinaryIO, name: str, *, strict: bool = False
    ) -> IngestionReport:
        """Async twin of :meth:`add_bytes`; the work runs in a thread."""
        return await asyncio.to_thread(self.add_bytes, data, name, strict=strict)

    async def aadd_documents(self, documents: Iterable[Document], **options: Any) -> IngestionReport:
        """Async twin of :meth:`add_documents`; the work runs in a thread."""
        return await asyncio.to_thread(self.add_documents, documents, **options)

    async def async_sync(self, folder: str | Path, **options: Any) -> IngestionReport:
        """Async twin of :meth:`sync`; the work runs in a thread."""
        return await asyncio.to_thread(self.sync, folder, **options)

    async def adelete(self, document: str | Path) -> bool:
        """Async twin of :meth:`delete`; the work runs in a thread."""
        return await asyncio.to_thread(self.delete, document)

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
        self._storage.close()

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
