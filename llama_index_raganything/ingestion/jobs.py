"""Documents on their way in: what to load, and loading and splitting it, here or in worker processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from llama_index.core.node_parser import NodeParser
from llama_index.core.schema import BaseNode, Document

from llama_index_raganything.documents.packing import document_contents, document_id
from llama_index_raganything.errors import ConfigurationError, Failure, MissingDependencyError
from llama_index_raganything.node_parser.parser import RAGAnythingNodeParser
from llama_index_raganything.node_parser.placed_splitter import PlacedSplitter
from llama_index_raganything.readers.reader import RAGAnythingReader
from llama_index_raganything.readers.sources.sources import Source
from llama_index_raganything.workers import TimedOut, map_in_processes


@dataclass
class Job:
    """One document on its way in.

    Attributes:
        doc_id: Id of the document.
        source: Path, URL or other name.
        content_hash: Hash of its content; empty while unknown, as for a URL that is not fetched yet.
        load: Loads it.
        parsed: The source, when a parser has to read it; a content list and a loaded document need none.
    """

    doc_id: str
    source: str
    content_hash: str
    load: Callable[[], Document]
    parsed: Source | None = None

    @classmethod
    def of_source(cls, source: Source, content_hash: str, reader: RAGAnythingReader) -> Job:
        """Make the job of reading a source.

        Args:
            source: What to read.
            content_hash: Hash of the file, or empty.
            reader: Reads it.

        Returns:
            The job.
        """
        return cls(
            doc_id=document_id(source.location),
            source=source.location,
            content_hash=content_hash,
            load=partial(reader.read_source, source, {}),
            parsed=source if source.kind != "content_list" else None,
        )

    @classmethod
    def of_document(cls, document: Document) -> Job:
        """Make the job of a document that is loaded already.

        Returns:
            The job.
        """
        source = str(document.metadata.get("source") or document.metadata.get("file_path") or document.doc_id)
        return cls(document.doc_id, source, content_hash=document.hash, load=lambda: document)


@dataclass
class SplitDocument:
    """A parsed and split document, as a worker process hands it back."""

    nodes: list[BaseNode]
    title: str
    file_name: str
    content_hash: str
    parse_seconds: float
    split_seconds: float


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


def with_pictures(node_parser: NodeParser, reader: RAGAnythingReader) -> NodeParser:
    """Return a node parser whose nodes have pictures and places.

    Args:
        node_parser: Any node parser; it is not changed.
        reader: Knows the folder of the pictures.

    Returns:
        The node parser with that folder where it has none; one that knows nothing of places, wrapped.
    """
    folder = str(reader.assets.root)
    if not isinstance(node_parser, RAGAnythingNodeParser | PlacedSplitter):
        return PlacedSplitter(node_parser, asset_root=folder)
    return node_parser if node_parser.asset_root is not None else node_parser.model_copy(update={"asset_root": folder})


def load_and_split(
    jobs: Sequence[Job], reader: RAGAnythingReader, node_parser: NodeParser, num_workers: int
) -> Iterator[tuple[Job, SplitDocument | Failure]]:
    """Load and split documents, in worker processes where several are asked for or the reader has a limit of time.

    Args:
        reader: Reads files; no file takes longer than its ``parse_timeout_s``.
        node_parser: Splits documents.
        num_workers: Number of processes.

    Yields:
        Each job with its split document, or why it failed.

    Raises:
        MissingDependencyError: The parser that the reader names is not installed.
    """
    apart = [(job, job.parsed) for job in jobs if job.parsed is not None]
    rest: Sequence[Job] = jobs
    limit = reader.parse_timeout_s
    if limit is not None or (num_workers > 1 and len(apart) > 1):
        work = [(reader, node_parser, source) for _, source in apart]
        outcomes = map_in_processes(_read_and_split, work, num_workers, time_limit_s=limit)
        for (job, _), outcome in zip(apart, outcomes, strict=True):
            yield job, _told(outcome)
        rest = [job for job in jobs if job.parsed is None]
    for job in rest:
        yield job, _attempt(job, reader, node_parser)


def _told(outcome: SplitDocument | Failure) -> SplitDocument | Failure:
    if isinstance(outcome, TimedOut):
        return TimedOut(f"{outcome.reason} Raise the reader's parse_timeout_s to wait longer.")
    return outcome


def _attempt(job: Job, reader: RAGAnythingReader, node_parser: NodeParser) -> SplitDocument | Failure:
    try:
        return _split(job.load, node_parser)
    except MissingDependencyError as error:
        if reader.parser != "auto":
            raise  # The named parser would fail for every file.
        return Failure.of(error)
    except Exception as error:  # noqa: BLE001  # one bad file never stops a batch; the reason is reported
        return Failure.of(error)


def _read_and_split(work: tuple[RAGAnythingReader, NodeParser, Source]) -> SplitDocument:
    reader, node_parser, source = work
    return _split(partial(reader.read_source, source, {}), node_parser)


def _split(load: Callable[[], Document], node_parser: NodeParser) -> SplitDocument:
    started = time.perf_counter()
    document = load()
    parsed = time.perf_counter()
    nodes = node_parser.get_nodes_from_documents([document])
    return SplitDocument(
        nodes=nodes,
        # Not of its metadata: what was taken out of its text is not to stand in the ledger either.
        title=str(document_contents(document).metadata.get("title", "")),
        file_name=str(document.metadata.get("file_name", "")),
        content_hash=str(document.metadata.get("content_hash", "")),
        parse_seconds=parsed - started,
        split_seconds=time.perf_counter() - parsed,
    )
