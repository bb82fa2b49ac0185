"""Documents on their way in: what to load, and loading and splitting it, here or in worker processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from llama_index.core.node_parser import NodeParser
from llama_index.core.schema import BaseNode, Document

from llama_index_raganything.documents import document_id
from llama_index_raganything.errors import MissingDependencyError
from llama_index_raganything.readers.reader import RAGAnythingReader
from llama_index_raganything.readers.sources import Source
from llama_index_raganything.workers import Failure, map_in_processes


@dataclass
class Job:
    """One document on its way in.

    Attributes:
        doc_id: Id of the document.
        source: Path, URL or other name.
        content_hash: Hash of its content; empty while unknown, as for a URL that is not fetched yet.
        load: Loads it.
        file: The local file, when it is one.
    """

    doc_id: str
    source: str
    content_hash: str
    load: Callable[[], Document]
    file: Source | None = None

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
            file=source if source.kind == "file" else None,
        )

    @classmethod
    def of_document(cls, document: Document) -> Job:
        """Make the job of a document that is loaded already.

        Args:
            document: The document.

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


def load_and_split(
    jobs: Sequence[Job], reader: RAGAnythingReader, node_parser: NodeParser, num_workers: int
) -> Iterator[tuple[Job, SplitDocument | Failure]]:
    """Load and split documents, files in worker processes where more than one is asked for.

    Args:
        jobs: The documents.
        reader: Reads files.
        node_parser: Splits documents.
        num_workers: Number of processes.

    Yields:
        Each job with its split document, or why it failed.

    Raises:
        MissingDependencyError: The parser that the reader names is not installed.
    """
    files = [(job, job.file) for job in jobs if job.file is not None]
    rest: Sequence[Job] = jobs
    if num_workers > 1 and len(files) > 1:
        work = [(reader, node_parser, file) for _, file in files]
        outcomes = map_in_processes(_read_and_split, work, num_workers)
        yield from zip([job for job, _ in files], outcomes, strict=True)
        rest = [job for job in jobs if job.file is None]
    for job in rest:
        yield job, _attempt(job, reader, node_parser)


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
        title=str(document.metadata.get("title", "")),
        file_name=str(document.metadata.get("file_name", "")),
        content_hash=str(document.metadata.get("content_hash", "")),
        parse_seconds=parsed - started,
        split_seconds=time.perf_counter() - parsed,
    )
