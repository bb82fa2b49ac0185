"""The ingestion pipeline: one document is one commit, recorded in the ledger.

A document's ledger row says ``writing`` before its first node is written and ``ready`` after its last.
A crash leaves a row that is not ready; the next run removes that document's leftovers and does it again.
Unchanged documents (same content hash, same pipeline fingerprint) cost one hash.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.node_parser import NodeParser
from llama_index.core.schema import BaseNode, Document, MetadataMode, TransformComponent
from llama_index_instrumentation import get_dispatcher

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.documents.packing import document_contents, document_id
from llama_index_raganything.elements import SCHEMA_VERSION
from llama_index_raganything.enrich.base import ElementProcessor
from llama_index_raganything.errors import (
    ConfigurationError,
    ErrorKind,
    Failure,
    MissingDependencyError,
    PartialEmbeddingError,
    RAGAnythingError,
    SourceError,
)
from llama_index_raganything.ingestion.discovery import Job, find_jobs, find_moves
from llama_index_raganything.ingestion.layers import Layer
from llama_index_raganything.ingestion.removal import UNFINISHED, Removal
from llama_index_raganything.ingestion.report import (
    NOT_TRIED,
    DocumentIngestionEndEvent,
    DocumentIngestionStartEvent,
    IngestionEndEvent,
    IngestionReport,
    IngestionStartEvent,
)
from llama_index_raganything.node_parser.parser import RAGAnythingNodeParser
from llama_index_raganything.node_parser.placed_splitter import PlacedSplitter
from llama_index_raganything.readers.reader import RAGAnythingReader
from llama_index_raganything.readers.sources.sources import ExcludePatterns, FolderRules, SourceInput, expand_sources
from llama_index_raganything.stores.ledger import Ledger, LedgerEntry, now_ms, this_machine
from llama_index_raganything.stores.milvus.connection import Address
from llama_index_raganything.stores.nodes.store import MilvusNodeStore
from llama_index_raganything.workers import run_batch

logger = logging.getLogger(__name__)
dispatcher = get_dispatcher(__name__)

Patterns = str | Iterable[str] | None
"""Patterns of paths to leave out: one, several, or none."""


@dataclass
class SplitDocument:
    """A parsed and split document, as a worker process hands it back."""

    nodes: list[BaseNode]
    title: str
    file_name: str
    content_hash: str
    parse_seconds: float
    split_seconds: float


@dataclass(frozen=True)
class _Run:
    """One run: its report, and the state of the ledger when it began.

    Attributes:
        fingerprint: The fingerprint of the pipeline.
        known: Ledger rows of the run's documents, by id.
        moves: Ledger rows of the old paths of moved files, by the new document id.
    """

    report: IngestionReport
    fingerprint: str
    known: dict[str, LedgerEntry]
    moves: dict[str, LedgerEntry]

    def is_in(self, job: Job) -> bool:
        """Return whether the document is stored already, as this pipeline would make it."""
        entry = self.known.get(job.doc_id)
        if entry is None or not job.content_hash:
            return False
        wanted = ("ready", job.content_hash, self.fingerprint)
        return (entry.state, entry.content_hash, entry.fingerprint) == wanted


@strict_arguments
class Ingestion:
    """Parse, split, enrich, embed and store documents, each as one commit.

    Args:
        reader: Turns files into documents, within its ``parse_timeout_s``.
        node_parser: Turns documents into nodes. Any of LlamaIndex will do: their chunks get pages, boxes and sections,
            and images become nodes beside them; see :class:`~llama_index_raganything.node_parser.PlacedSplitter`.
        store: Where nodes go.
        ledger: Where the state of every document is kept.
        transformations: Run on the nodes of each document between splitting and embedding.
        layers: What is kept beside the nodes: the graph, tables, vectors of images.
        folder_rules: What is read of folders; by default everything that is not hidden. The database of ``store``
            and the working folder of ``reader`` are never read.

    Raises:
        ConfigurationError: The reader splits documents by page; here a file is one document.
    """

    def __init__(
        self,
        *,
        reader: RAGAnythingReader,
        node_parser: NodeParser,
        embed_model: BaseEmbedding,
        store: MilvusNodeStore,
        ledger: Ledger,
        transformations: Sequence[TransformComponent] = (),
        layers: Sequence[Layer] = (),
        folder_rules: FolderRules | None = None,
    ) -> None:
        self.folder_rules = folder_rules or FolderRules()
        self.layers = list(layers)
        refuse_pages(reader.split)
        self.reader = reader
        self.node_parser = _with_images(node_parser, reader)
        self.embed_model = embed_model
        self.store = store
        self.ledger = ledger
        self.transformations = list(transformations)
        self.last_report = IngestionReport()
        self._removal = Removal(store, ledger, self.layers, reader)

    def fingerprint(self) -> str:
        """Return 32 hex digits that change when the pipeline would make other nodes or vectors."""
        parts = {
            "schema": SCHEMA_VERSION,
            "reader": self.reader.fingerprint(),
            "node_parser": _stable(self.node_parser.to_dict()),
            "transformations": [_stable(part.to_dict()) for part in self.transformations],
            "layers": {layer.name: _stable(layer.settings()) for layer in self.layers},
            "embed_model": embedding_name(self.embed_model),
        }
        payload = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.sha256(payload.encode()).hexdigest()[:32]

    @dispatcher.span
    def add_paths(
        self,
        paths: SourceInput,
        *,
        exclude: Patterns = None,
        strict: bool = False,
        show_progress: bool = False,
        workers: int = 1,
    ) -> IngestionReport:
        """Add files and folders; skip what is unchanged, replace what changed, follow what was renamed.

        Args:
            paths: Files, folders (recursively), pairs of a name and bytes, content lists, or URLs where the reader
                allows them.
            exclude: Patterns of paths that are left out, as in a ``.gitignore``.
            strict: Raise at the end when a document failed.
            show_progress: Show a progress bar.
            workers: Processes that parse; more than one needs an importable ``__main__``.

        Returns:
            What was done. Neither a bad file nor a path that does not exist stops the others.

        Raises:
            SourceError: A path does not exist, and there is nothing else to add.
            ConfigurationError: ``workers`` is below 1, the reader's parser has a name that is not known, or its
                ``working_dir`` cannot be written.
            MissingDependencyError: The parser that the reader names is not installed.
            IngestionError: ``strict`` is set and documents failed.
        """
        report = IngestionReport()
        with report.stage("total"):
            self._check(workers)
            found = expand_sources(paths, rules=self._rules(exclude))
            jobs = find_jobs(found, self.reader, report)
            self._run(jobs, report, show_progress=show_progress, workers=workers)
        return report.finish(strict=strict)

    def _check(self, workers: int) -> None:
        """Raise before anything is written, where every file would fail for the same reason."""
        if workers < 1:
            message = f"workers must be 1 or more, not {workers}."
            raise ConfigurationError(message)
        _check_writable(self.reader.working_dir)
        self.reader.check_parser()

    def _rules(self, exclude: Patterns) -> FolderRules:
        """Return the rules for folders, which exclude the knowledge base's own data."""
        own = {str(self.reader.assets.root.absolute()), os.path.abspath(self.reader.parse_cache_root)}
        if Address.parse(self.store.uri).is_local:
            own.add(self.store.uri)
        return replace(self.folder_rules, exclude=ExcludePatterns.of(exclude), own=self.folder_rules.own | own)

    @dispatcher.span
    def add_documents(
        self, documents: Iterable[Document], *, strict: bool = False, show_progress: bool = False
    ) -> IngestionReport:
        """Add documents that are loaded already, made by any reader.

        Args:
            documents: The documents; their ids decide what replaces what.
            strict: Raise at the end when a document failed.
            show_progress: Show a progress bar.

        Returns:
            What was done.

        Raises:
            IngestionError: ``strict`` is set and documents failed.
        """
        report = IngestionReport()
        with report.stage("total"):
            jobs = [Job.of_document(document) for document in documents]
            self._run(jobs, report, show_progress=show_progress, workers=1)
        return report.finish(strict=strict)

    @dispatcher.span
    def sync(
        self,
        folder: str | Path,
        *,
        exclude: Patterns = None,
        strict: bool = False,
        show_progress: bool = False,
        workers: int = 1,
    ) -> IngestionReport:
        """Make the store agree with a folder: add, update, and delete what is gone from it or left out.

        Args:
            folder: The folder; documents from elsewhere, and below folders that cannot be read, are not touched.
            exclude: Patterns of paths that are left out, as in a ``.gitignore``; documents there are deleted.
            strict: Raise at the end when a document failed.
            show_progress: Show a progress bar.
            workers: Processes that parse.

        Returns:
            What was done.

        Raises:
            SourceError: The folder does not exist; nothing is deleted.
            IngestionError: ``strict`` is set and documents failed.
        """
        root = Path(os.path.abspath(Path(folder).expanduser()))  # As the reader names its sources.
        if not root.is_dir():
            message = f"{str(root)!r} is not a folder; nothing was changed. Name an existing folder to sync."
            raise SourceError(message)
        report = IngestionReport()
        with report.stage("total"):
            self._check(workers)
            found = expand_sources(root, rules=self._rules(exclude))
            jobs = find_jobs(found, self.reader, report)
            self._run(jobs, report, show_progress=show_progress, workers=workers)
        present = {source.location for source in found.sources}
        # By id too: the ledger writes what is no Unicode in a file's name as "?".
        present_ids = {document_id(location) for location in present}
        unreadable = found.skipped.names.get("unreadable", [])
        gone = [
            entry
            for entry in self.ledger.list()
            if entry.source not in present
            and entry.doc_id not in present_ids
            and Path(entry.source).is_relative_to(root)
            and not any(Path(entry.source).is_relative_to(place) for place in unreadable)
        ]
        self._removal.delete_entries(gone)
        report.deleted += [entry.source for entry in gone]
        self._flush()
        return report.finish(strict=strict)

    def delete(self, document: str | Path) -> bool:
        """Delete a document with every trace: nodes, vectors, ledger row, assets and cached parse.

        Args:
            document: Its id, its source (path or URL), or its file name where no other document has the same.

        Returns:
            True when the document was known.

        Raises:
            ConfigurationError: Several documents have this file name.
        """
        entry = self._removal.entry_named(os.fspath(document))
        if entry is None:
            return False
        self._removal.delete_entries([entry])
        self._flush()
        return True

    def _run(self, jobs: list[Job], report: IngestionReport, *, show_progress: bool, workers: int) -> None:
        self.last_report = report
        dispatcher.event(IngestionStartEvent(documents=len(jobs)))
        run = self._begun(jobs, report)
        report.unchanged += [job.source for job in jobs if run.is_in(job)]
        todo = [job for job in jobs if not run.is_in(job)]
        outcomes = run_batch(
            partial(_read_and_split, self.reader, self.node_parser),
            todo,
            workers=workers,
            timeout_s=self.reader.parse_timeout_s,
            for_worker=lambda job: job.needs_parser,
            progress="Documents" if show_progress else "",
            name=lambda job: Path(job.source).name,
        )
        with closing(outcomes):
            for place, outcome in enumerate(outcomes, start=1):
                split = outcome.result
                if isinstance(split, Failure) and split.error is not None and self.reader.lacks_parser(split.error):
                    report.ended_early = split.reason
                    report.failures += [(later.source, NOT_TRIED) for later in todo[place - 1 :]]
                    raise split.error
                failure = self._commit(outcome.item, split, run)
                if failure is not None and failure is not split and _ends_run(failure):
                    # Every other document would fail for the same reason, each after a parse.
                    report.ended_early = failure.reason
                    report.failures += [(later.source, NOT_TRIED) for later in todo[place:]]
                    break
        if todo:
            with report.stage("write"):
                self._flush()
        counts = {name: size for name, size in report.counts.items() if name != "deleted"}
        ended = IngestionEndEvent(**counts, nodes=sum(report.nodes.values()), ended_early=report.ended_early)
        dispatcher.event(ended)

    def _begun(self, jobs: list[Job], report: IngestionReport) -> _Run:
        """Look up the documents of a run in the ledger, and remove what a crash left of others."""
        known = self.ledger.get_many([job.doc_id for job in jobs])
        ids = {job.doc_id for job in jobs}
        unfinished = [entry for entry in self.ledger.list(state=UNFINISHED) if entry.doc_id not in ids]
        if unfinished:
            self._removal.clean_leftovers(unfinished)
        is_lite = Address.parse(self.store.uri).is_local
        moves = find_moves(jobs, known, self.ledger.list, None if is_lite else this_machine())
        return _Run(report, self.fingerprint(), known, moves)

    @dispatcher.span
    def _commit(self, job: Job, split: SplitDocument | Failure, run: _Run) -> Failure | None:
        """Add one document; return why it failed, if it did."""
        dispatcher.event(DocumentIngestionStartEvent(source=job.source, doc_id=job.doc_id))
        before = sum(run.report.nodes.values())
        failure = None
        try:
            failure = split if isinstance(split, Failure) else self._store(job, split, run)
            if failure is not None:
                self._record_failure(job, failure.reason, run)
        finally:
            error = failure.reason if failure is not None else None
            nodes = sum(run.report.nodes.values()) - before
            dispatcher.event(DocumentIngestionEndEvent(source=job.source, doc_id=job.doc_id, nodes=nodes, error=error))
        return failure

    def _store(self, job: Job, split: SplitDocument, run: _Run) -> Failure | None:
        report, known = run.report, run.known.get(job.doc_id)
        report.seconds["parse"] += split.parse_seconds
        report.seconds["split"] += split.split_seconds
        job.content_hash = job.content_hash or split.content_hash
        if run.is_in(job):
            report.unchanged.append(job.source)
            return None
        try:
            self._write(job, split, run)
        except Exception as error:  # noqa: BLE001  # embedding and storing may fail for one document alone
            return Failure.of(error)
        moved_from = run.moves.get(job.doc_id)
        if moved_from is not None:
            # Last, so that a reader finds the document under its old path or its new one at any time.
            self._removal.delete_moved(moved_from)
            report.moved.append((moved_from.source, job.source))
        else:
            (report.updated if known and known.state == "ready" else report.added).append(job.source)
        return None

    def _write(self, job: Job, split: SplitDocument, run: _Run) -> None:
        report, known = run.report, run.known.get(job.doc_id)
        nodes, complete = self._enriched(job, split.nodes, report)
        with report.stage("embed"):
            nodes, refused = embed_nodes(self.embed_model, nodes)
        report.warnings += [(job.source, f"node {node_id} was left out: {reason}") for node_id, reason in refused]
        records = []
        for layer in self.layers:
            with report.stage(layer.name):
                records.append(layer.read(nodes))
            report.warnings += [(job.source, f"node {node_id}: {reason}") for node_id, reason in records[-1].failures]
        complete = complete and not any(read.unanswered for read in records)
        counts = Counter(str(node.metadata.get("content_type", "text")) for node in nodes)
        pages = {node.metadata["page"] for node in nodes if node.metadata.get("page")}
        entry = LedgerEntry(
            doc_id=job.doc_id,
            source=job.source,
            file_name=split.file_name,
            title=split.title,
            content_hash=job.content_hash,
            # Where a model gave no answer, the next run tries again.
            fingerprint=run.fingerprint if complete else "",
            state="writing",
            node_counts=dict(counts),
            pages=len(pages) or None,
            embed_model=embedding_name(self.embed_model),
            machine=this_machine(),
        )
        with report.stage("write"):
            before = [] if known is None else self._removal.document_nodes(job.doc_id)
            self.ledger.put(entry)
            self.store.add(nodes)
            for layer, read in zip(self.layers, records, strict=True):
                layer.write(job.doc_id, read, again=known is not None)
            if known is not None:
                # Last, so that a reader finds the old version or the new one at any time.
                self._removal.delete_stale(known, before, job.content_hash, keep={node.node_id for node in nodes})
            self.ledger.put(entry.model_copy(update={"state": "ready", "updated_at": now_ms()}))
        report.nodes.update(counts)
        report.pages += len(pages)

    def _enriched(self, job: Job, nodes: Sequence[BaseNode], report: IngestionReport) -> tuple[list[BaseNode], bool]:
        """Run the transformations; return the nodes and whether all models answered. Failures become warnings."""
        unanswered = 0
        with report.stage("enrich"):
            for transformation in self.transformations:
                if isinstance(transformation, ElementProcessor):
                    processed = transformation.process(nodes)
                    nodes = processed.nodes
                    unanswered += len(processed.unanswered)
                    report.warnings += [(job.source, f"node {node}: {reason}") for node, reason in processed.failures]
                else:
                    nodes = transformation(nodes)
        return list(nodes), not unanswered

    def _flush(self) -> None:
        self.store.flush()
        for layer in self.layers:
            layer.flush()

    def _record_failure(self, job: Job, reason: str, run: _Run) -> None:
        run.report.failures.append((job.source, reason))
        logger.warning("Failed: %s: %s", job.source, reason)
        known = run.known.get(job.doc_id)
        if known is not None and known.state == "ready":
            return  # The last good version stays searchable until the file can be read again.
        self._removal.delete_nodes(job.doc_id)
        entry = LedgerEntry(
            doc_id=job.doc_id,
            source=job.source,
            file_name=Path(job.source).name,
            content_hash=job.content_hash,
            fingerprint=run.fingerprint,
            state="failed",
            error=reason[:2000],
        )
        self.ledger.put(entry)


def _read_and_split(reader: RAGAnythingReader, node_parser: NodeParser, job: Job) -> SplitDocument:
    started = time.perf_counter()
    document = job.origin if isinstance(job.origin, Document) else reader._read_source(job.origin, {})
    parsed = time.perf_counter()
    nodes = node_parser.get_nodes_from_documents([document])
    return SplitDocument(
        nodes=nodes,
        # Not the metadata's: what was taken out of the text must not be in the ledger either.
        title=str(document_contents(document).metadata.get("title", "")),
        file_name=str(document.metadata.get("file_name", "")),
        content_hash=str(document.metadata.get("content_hash", "")),
        parse_seconds=parsed - started,
        split_seconds=time.perf_counter() - parsed,
    )


def refuse_pages(split: str) -> None:
    """Refuse a reader that splits files into pages.

    Args:
        split: The reader's ``split``.

    Raises:
        ConfigurationError: It is not "document".
    """
    if split != "document":
        message = (
            f"The reader's split={split!r} does not go with an index, where a file is one document and its nodes have "
            "their pages anyway; leave it out."
        )
        raise ConfigurationError(message)


def _with_images(node_parser: NodeParser, reader: RAGAnythingReader) -> NodeParser:
    """Return a node parser whose nodes have images, pages and boxes; wrap one that knows nothing of them."""
    folder = str(reader.assets.root)
    if not isinstance(node_parser, RAGAnythingNodeParser | PlacedSplitter):
        return PlacedSplitter(node_parser, asset_root=folder)
    return node_parser if node_parser.asset_root is not None else node_parser.model_copy(update={"asset_root": folder})


def _check_writable(working_dir: str) -> None:
    """Raise unless the folder, or the nearest existing one above it, can be written; make nothing."""
    folder = Path(os.path.abspath(working_dir))
    # os.path.exists() instead of Path.exists(), which raises below a folder that may not be entered.
    nearest = next((place for place in (folder, *folder.parents) if os.path.exists(place)), folder)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        reason = "may not be written" if nearest.is_dir() else "is not a folder"
        message = f"working_dir {working_dir!r} cannot be used: {str(nearest)!r} {reason}; choose another folder."
        raise ConfigurationError(message)


def _stable(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out what does not change the output: callbacks and functions with addresses in their repr."""
    inner = {key: _stable(value) if isinstance(value, dict) else value for key, value in settings.items()}
    return {key: value for key, value in inner.items() if key != "callback_manager" and " at 0x" not in str(value)}


def embedding_name(embed_model: BaseEmbedding) -> str:
    """Return class and name of a model, which identify its vectors."""
    return f"{embed_model.class_name()} {embed_model.model_name}"


def _ends_run(failure: Failure) -> bool:
    """Tell whether every other document would fail for the same reason.

    What a transformation or model finds wrong with its settings while it works on a document may be that document's.
    """
    of_document = isinstance(failure.error, ConfigurationError | MissingDependencyError)
    return failure.kind is ErrorKind.FATAL and not of_document


def embed_nodes(
    embed_model: BaseEmbedding, nodes: Sequence[BaseNode]
) -> tuple[list[BaseNode], list[tuple[str, RAGAnythingError]]]:
    """Give nodes the vectors of their texts.

    Args:
        nodes: Nodes of one document; they are changed.

    Returns:
        The nodes that have a vector, and the ids of those that were refused, with the reasons.

    Raises:
        RAGAnythingError: A text could not be embedded for another reason, or all of them were refused.
    """
    texts = [node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
    size = max(1, embed_model.embed_batch_size)
    embedded: list[BaseNode] = []
    refused: list[tuple[str, RAGAnythingError]] = []
    # Batch by batch, because positions in an error count from the beginning of LlamaIndex's own batches.
    for start in range(0, len(nodes), size):
        vectors, reasons = _embed(embed_model, texts[start : start + size])
        for place, (node, vector) in enumerate(zip(nodes[start : start + size], vectors, strict=True)):
            if vector is None:
                refused.append((node.node_id, reasons[place]))
            else:
                node.embedding = vector
                embedded.append(node)
    if refused and not embedded:
        raise refused[0][1]
    return embedded, refused


def _embed(
    embed_model: BaseEmbedding, texts: list[str], *, again: bool = False
) -> tuple[Sequence[list[float] | None], dict[int, RAGAnythingError]]:
    """Return the vectors of texts, and why those that have none were refused."""
    try:
        return embed_model.get_text_embedding_batch(texts), {}
    except PartialEmbeddingError as error:
        vectors = list(error.embeddings)
        refused = {place: reason for place, reason in error.failures.items() if reason.refuses_content}
        missing = [place for place in error.failures if place not in refused]
        for place in missing:
            if again or error.failures[place].kind is not ErrorKind.TRANSIENT:
                raise error.failures[place] from error
    except RAGAnythingError as error:
        if not error.refuses_content:
            raise
        # All of the batch; the nodes of other batches may still be good.
        return [None] * len(texts), dict.fromkeys(range(len(texts)), error)
    if missing:
        # Once more, for what is missing alone: what has come is paid.
        late, reasons = _embed(embed_model, [texts[place] for place in missing], again=True)
        for number, place in enumerate(missing):
            vectors[place] = late[number]
        refused |= {missing[number]: reason for number, reason in reasons.items()}
    return vectors, refused
