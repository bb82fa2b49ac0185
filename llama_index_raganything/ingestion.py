"""Bring documents into the store: one document is one commit, recorded in the ledger.

A document's ledger row says ``writing`` before its first node is written and ``ready`` after its last.
A crash leaves a row that is not ready; the next run removes that document's leftovers and does it again.
Unchanged documents (same content hash, same pipeline fingerprint) cost one hash.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.node_parser import NodeParser
from llama_index.core.schema import BaseNode, Document, MetadataMode, TransformComponent
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
from tqdm import tqdm

from llama_index_raganything.documents import document_id
from llama_index_raganything.elements import SCHEMA_VERSION
from llama_index_raganything.errors import IngestionError, MissingDependencyError, RAGAnythingError, SourceError
from llama_index_raganything.readers.cache import file_hash
from llama_index_raganything.readers.reader import RAGAnythingReader
from llama_index_raganything.readers.sources import Source, SourceInput, expand_sources
from llama_index_raganything.stores.clients import Address
from llama_index_raganything.stores.ledger import Ledger, LedgerEntry
from llama_index_raganything.stores.milvus import MilvusNodeStore
from llama_index_raganything.workers import Failure, map_in_processes

logger = logging.getLogger(__name__)

_STALE_AFTER_MS = 60 * 60 * 1000
"""Age after which another process's unfinished row on a shared server counts as left by a crash."""


@dataclass
class IngestionReport:
    """What one run did.

    Attributes:
        added: Sources that were new.
        updated: Sources whose content or pipeline had changed.
        unchanged: Sources that were ready already.
        deleted: Sources that were removed.
        failures: Pairs of source and reason.
        nodes: Number of nodes written, by content type.
        pages: Number of pages written, where formats have pages.
        seconds: Seconds spent, by stage (``hash parse split enrich embed write``) and in ``total``.
    """

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    nodes: Counter[str] = field(default_factory=Counter)
    pages: int = 0
    seconds: Counter[str] = field(default_factory=Counter)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON-ready dictionary."""
        return {
            "added": self.added,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "deleted": self.deleted,
            "failures": [{"source": source, "reason": reason} for source, reason in self.failures],
            "nodes": dict(self.nodes),
            "pages": self.pages,
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
        }

    def __str__(self) -> str:
        """Return the run in a few lines: counts, nodes by type, one line per failure."""
        counts = ", ".join(
            f"{len(sources)} {name}"
            for name, sources in [
                ("added", self.added),
                ("updated", self.updated),
                ("unchanged", self.unchanged),
                ("deleted", self.deleted),
                ("failed", self.failures),
            ]
            if sources or name == "added"
        )
        nodes = ", ".join(f"{count} {kind}" for kind, count in sorted(self.nodes.items()))
        lines = [f"Documents: {counts} in {self.seconds['total']:.1f} s"]
        if nodes:
            lines.append(f"Nodes: {sum(self.nodes.values())} ({nodes})")
        lines += [f"Failed: {source}: {reason}" for source, reason in self.failures]
        return "\n".join(lines)


@dataclass
class _Job:
    """One document on its way in."""

    doc_id: str
    source: str
    content_hash: str
    load: Callable[[], Document]
    file: Source | None = None


@dataclass
class _Split:
    """A parsed and split document, as a worker process hands it back."""

    nodes: list[BaseNode]
    title: str
    file_name: str
    content_hash: str
    parse_seconds: float
    split_seconds: float


class Ingestion:
    """Parse, split, enrich, embed and store documents, each as one commit.

    Args:
        reader: Turns files into documents.
        node_parser: Turns documents into nodes.
        embed_model: Embeds the nodes.
        node_store: Where nodes go.
        ledger: Where the state of every document is kept.
        transformations: Run on the nodes of each document between splitting and embedding.
    """

    def __init__(
        self,
        *,
        reader: RAGAnythingReader,
        node_parser: NodeParser,
        embed_model: BaseEmbedding,
        node_store: MilvusNodeStore,
        ledger: Ledger,
        transformations: Sequence[TransformComponent] = (),
    ) -> None:
        self.reader = reader
        self.node_parser = node_parser
        self.embed_model = embed_model
        self.node_store = node_store
        self.ledger = ledger
        self.transformations = list(transformations)
        self._opened_at = _now_ms()

    def fingerprint(self) -> str:
        """Return 32 hex digits that change when the pipeline would make other nodes or vectors."""
        parts = {
            "schema": SCHEMA_VERSION,
            "reader": self.reader.fingerprint(),
            "node_parser": _stable(self.node_parser.to_dict()),
            "transformations": [_stable(part.to_dict()) for part in self.transformations],
            "embed_model": [self.embed_model.class_name(), self.embed_model.model_name],
        }
        payload = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.sha256(payload.encode()).hexdigest()[:32]

    def add_paths(
        self,
        paths: SourceInput,
        *,
        strict: bool = False,
        show_progress: bool = False,
        num_workers: int = 1,
    ) -> IngestionReport:
        """Bring in files and folders; skip what is unchanged, replace what changed.

        Args:
            paths: Files, folders (recursively), content lists, or URLs where the reader allows them.
            strict: Raise at the end when a document failed.
            show_progress: Show a progress bar.
            num_workers: Processes that parse; more than one needs an importable ``__main__``.

        Returns:
            What was done. One bad file never stops the others.

        Raises:
            IngestionError: ``strict`` is set and documents failed.
        """
        report = IngestionReport()
        with _stage(report, "total"):
            jobs = self._jobs(paths, report)
            self._run(jobs, report, show_progress=show_progress, num_workers=num_workers)
        return _finish(report, strict=strict)

    def add_documents(
        self, documents: Iterable[Document], *, strict: bool = False, show_progress: bool = False
    ) -> IngestionReport:
        """Bring in documents that are loaded already, made by any reader.

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
        with _stage(report, "total"):
            jobs = [_document_job(document) for document in documents]
            self._run(jobs, report, show_progress=show_progress, num_workers=1)
        return _finish(report, strict=strict)

    def sync(
        self, folder: str | Path, *, strict: bool = False, show_progress: bool = False, num_workers: int = 1
    ) -> IngestionReport:
        """Make the store agree with a folder: add, update, and delete what is gone from it.

        Args:
            folder: The folder; documents from elsewhere are not touched.
            strict: Raise at the end when a document failed.
            show_progress: Show a progress bar.
            num_workers: Processes that parse.

        Returns:
            What was done.

        Raises:
            SourceError: The folder does not exist; nothing is deleted.
            IngestionError: ``strict`` is set and documents failed.
        """
        root = Path(folder).expanduser().absolute()
        if not root.is_dir():
            message = f"{str(root)!r} is not a folder; nothing was changed. Name an existing folder to sync."
            raise SourceError(message)
        present = {source.location for source in expand_sources(root)[0]}
        report = self.add_paths(root, show_progress=show_progress, num_workers=num_workers)
        for entry in self.ledger.list():
            if entry.source not in present and Path(entry.source).is_relative_to(root):
                self._delete_entry(entry)
                report.deleted.append(entry.source)
        self.node_store.flush()
        return _finish(report, strict=strict)

    def delete(self, document: str) -> bool:
        """Delete a document with every trace: nodes, vectors, ledger row, assets and cached parse.

        Args:
            document: Its id, or its source (path or URL).

        Returns:
            True when the document was known.
        """
        entry = self.ledger.get(document) or self.ledger.get(document_id(document))
        if entry is None:
            return False
        self._delete_entry(entry)
        self.node_store.flush()
        return True

    async def aadd_paths(self, paths: SourceInput, **options: Any) -> IngestionReport:
        """Async twin of :meth:`add_paths`; the work runs in a thread."""
        return await asyncio.to_thread(self.add_paths, paths, **options)

    async def aadd_documents(self, documents: Iterable[Document], **options: Any) -> IngestionReport:
        """Async twin of :meth:`add_documents`; the work runs in a thread."""
        return await asyncio.to_thread(self.add_documents, documents, **options)

    async def async_sync(self, folder: str | Path, **options: Any) -> IngestionReport:
        """Async twin of :meth:`sync`; the work runs in a thread."""
        return await asyncio.to_thread(self.sync, folder, **options)

    async def adelete(self, document: str) -> bool:
        """Async twin of :meth:`delete`; the work runs in a thread."""
        return await asyncio.to_thread(self.delete, document)

    def _jobs(self, paths: SourceInput, report: IngestionReport) -> list[_Job]:
        jobs: dict[str, _Job] = {}
        for source in expand_sources(paths)[0]:
            try:
                with _stage(report, "hash"):
                    digest = file_hash(Path(source.target)) if source.kind == "file" else ""
            except RAGAnythingError as error:
                report.failures.append((source.location, str(error)))
                continue
            job = _Job(
                doc_id=document_id(source.location),
                source=source.location,
                content_hash=digest,
                load=partial(self.reader.read_source, source, {}),
                file=source if source.kind == "file" else None,
            )
            jobs[job.doc_id] = job
        return list(jobs.values())

    def _run(self, jobs: list[_Job], report: IngestionReport, *, show_progress: bool, num_workers: int) -> None:
        fingerprint = self.fingerprint()
        known = self.ledger.get_many([job.doc_id for job in jobs])
        self._clean_leftovers({job.doc_id for job in jobs})
        todo = []
        for job in jobs:
            entry = known.get(job.doc_id)
            if entry and _same(entry, job, fingerprint):
                report.unchanged.append(job.source)
            else:
                todo.append(job)
        progress = tqdm(total=len(todo), desc="Documents", unit="doc", disable=not show_progress)
        with progress:
            for job, outcome in self._parsed(todo, num_workers):
                progress.set_postfix_str(Path(job.source).name[:40])
                self._commit(job, outcome, known.get(job.doc_id), fingerprint, report)
                progress.update()
        if todo:
            with _stage(report, "write"):
                self.node_store.flush()

    def _parsed(self, jobs: list[_Job], num_workers: int) -> Iterator[tuple[_Job, _Split | Failure]]:
        files = [job for job in jobs if job.file is not None]
        if num_workers > 1 and len(files) > 1:
            work = [(self.reader, self.node_parser, job.file) for job in files]
            yield from zip(files, map_in_processes(_read_and_split, work, num_workers), strict=True)
            jobs = [job for job in jobs if job.file is None]
        for job in jobs:
            try:
                yield job, _split(job.load, self.node_parser)
            except MissingDependencyError as error:
                if self.reader.parser != "auto":
                    raise  # The named parser would fail for every file.
                yield job, Failure.of(error)
            except Exception as error:  # noqa: BLE001  # one bad file never stops a batch; the reason is reported
                yield job, Failure.of(error)

    def _commit(
        self,
        job: _Job,
        outcome: _Split | Failure,
        known: LedgerEntry | None,
        fingerprint: str,
        report: IngestionReport,
    ) -> None:
        if isinstance(outcome, Failure):
            self._record_failure(job, known, fingerprint, outcome.reason, report)
            return
        report.seconds["parse"] += outcome.parse_seconds
        report.seconds["split"] += outcome.split_seconds
        job.content_hash = job.content_hash or outcome.content_hash
        if known and _same(known, job, fingerprint):
            report.unchanged.append(job.source)
            return
        try:
            self._write(job, outcome, known, fingerprint, report)
        except Exception as error:  # noqa: BLE001  # as above: embedding and storing may fail for one document alone
            self._record_failure(job, known, fingerprint, Failure.of(error).reason, report)
            return
        (report.updated if known and known.state == "ready" else report.added).append(job.source)

    def _write(
        self, job: _Job, split: _Split, known: LedgerEntry | None, fingerprint: str, report: IngestionReport
    ) -> None:
        nodes = split.nodes
        with _stage(report, "enrich"):
            for transformation in self.transformations:
                nodes = list(transformation(nodes))
        with _stage(report, "embed"):
            texts = [node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
            for node, vector in zip(nodes, self.embed_model.get_text_embedding_batch(texts), strict=True):
                node.embedding = vector
        counts = Counter(str(node.metadata.get("content_type", "text")) for node in nodes)
        pages = {node.metadata["page"] for node in nodes if node.metadata.get("page")}
        entry = LedgerEntry(
            doc_id=job.doc_id,
            source=job.source,
            file_name=split.file_name,
            title=split.title,
            content_hash=job.content_hash,
            fingerprint=fingerprint,
            state="writing",
            node_counts=dict(counts),
            pages=len(pages) or None,
        )
        with _stage(report, "write"):
            self.ledger.put(entry)
            self.node_store.add(nodes)
            if known is not None:
                # Last, so that a reader finds the old version or the new one at any time.
                self._delete_stale(known.doc_id, keep={node.node_id for node in nodes})
            self.ledger.put(entry.model_copy(update={"state": "ready", "updated_at": _now_ms()}))
        report.nodes.update(counts)
        report.pages += len(pages)

    def _record_failure(
        self, job: _Job, known: LedgerEntry | None, fingerprint: str, reason: str, report: IngestionReport
    ) -> None:
        report.failures.append((job.source, reason))
        logger.warning("Failed: %s: %s", job.source, reason)
        if known is not None and known.state == "ready":
            return  # The last good version stays searchable until the file can be read again.
        self.node_store.delete(job.doc_id)
        entry = LedgerEntry(
            doc_id=job.doc_id,
            source=job.source,
            file_name=Path(job.source).name,
            content_hash=job.content_hash,
            fingerprint=fingerprint,
            state="failed",
            error=reason[:2000],
        )
        self.ledger.put(entry)

    def _clean_leftovers(self, in_this_run: set[str]) -> None:
        """Remove what a crash left of documents that this run does not bring in again."""
        for entry in self.ledger.list():
            if entry.state in {"writing", "deleting"} and entry.doc_id not in in_this_run and self._is_stale(entry):
                logger.warning("Removing what an interrupted run left of %s", entry.source)
                self._delete_entry(entry)

    def _is_stale(self, entry: LedgerEntry) -> bool:
        # Milvus Lite has one process: a row older than this object cannot belong to a run that still lives.
        is_lite = Address.parse(self.node_store.uri).is_local
        limit = self._opened_at if is_lite else _now_ms() - _STALE_AFTER_MS
        return entry.updated_at < limit

    def _document_nodes(self, doc_id: str) -> list[BaseNode]:
        return self.node_store.get_nodes(filters=_where("doc_id", doc_id))

    def _delete_stale(self, doc_id: str, keep: set[str]) -> None:
        gone = [node.node_id for node in self._document_nodes(doc_id) if node.node_id not in keep]
        self.node_store.delete_nodes(gone)

    def _delete_entry(self, entry: LedgerEntry) -> None:
        self.ledger.put(entry.model_copy(update={"state": "deleting", "updated_at": _now_ms()}))
        nodes = self._document_nodes(entry.doc_id)
        assets = {str(node.metadata["asset"]) for node in nodes if node.metadata.get("asset")}
        self.node_store.delete(entry.doc_id)
        for asset in assets:
            if not self.node_store.count(_where("asset", asset)):
                self.reader.assets.discard(asset)
        twins = [other for other in self.ledger.list() if other.content_hash == entry.content_hash]
        if entry.content_hash and len(twins) <= 1:
            self.reader.forget(entry.content_hash)
        self.ledger.delete(entry.doc_id)


def _where(key: str, value: str) -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value)])


def _read_and_split(work: tuple[RAGAnythingReader, NodeParser, Source]) -> _Split:
    reader, node_parser, source = work
    return _split(partial(reader.read_source, source, {}), node_parser)


def _split(load: Callable[[], Document], node_parser: NodeParser) -> _Split:
    started = time.perf_counter()
    document = load()
    parsed = time.perf_counter()
    nodes = node_parser.get_nodes_from_documents([document])
    return _Split(
        nodes=nodes,
        title=str(document.metadata.get("title", "")),
        file_name=str(document.metadata.get("file_name", "")),
        content_hash=str(document.metadata.get("content_hash", "")),
        parse_seconds=parsed - started,
        split_seconds=time.perf_counter() - parsed,
    )


def _document_job(document: Document) -> _Job:
    source = str(document.metadata.get("source") or document.metadata.get("file_path") or document.doc_id)
    return _Job(document.doc_id, source, content_hash=document.hash, load=lambda: document)


def _same(entry: LedgerEntry, job: _Job, fingerprint: str) -> bool:
    """Tell whether the document is in already, as this pipeline would make it."""
    wanted = ("ready", job.content_hash, fingerprint)
    return bool(job.content_hash) and (entry.state, entry.content_hash, entry.fingerprint) == wanted


def _stable(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out what does not change the output: callbacks and functions with addresses in their repr."""
    return {key: value for key, value in settings.items() if key != "callback_manager" and " at 0x" not in str(value)}


def _finish(report: IngestionReport, *, strict: bool) -> IngestionReport:
    if strict and report.failures:
        count = len(report.failures)
        message = f"{count} document{'s' if count > 1 else ''} failed; the others are in."
        raise IngestionError(message, report.failures)
    return report


@contextmanager
def _stage(report: IngestionReport, name: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        report.seconds[name] += time.perf_counter() - started


def _now_ms() -> int:
    return int(time.time() * 1000)
