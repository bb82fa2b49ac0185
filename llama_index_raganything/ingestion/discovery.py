"""From paths to ingestion jobs; what cannot be found or read goes into the report."""

from __future__ import annotations

import difflib
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from llama_index.core.schema import Document

from llama_index_raganything._arguments import check_types
from llama_index_raganything.documents.packing import document_id
from llama_index_raganything.errors import BlockedSourceError, ParseError, SourceError
from llama_index_raganything.ingestion.report import IngestionReport
from llama_index_raganything.readers.reader import RAGAnythingReader
from llama_index_raganything.readers.sources.sources import FoundSources, Source, with_hash
from llama_index_raganything.stores.ledger import LedgerEntry

logger = logging.getLogger(__name__)


@dataclass
class Job:
    """One document on its way in.

    Attributes:
        doc_id: Id of the document.
        source: Path, URL or other name.
        content_hash: Hash of its content; empty while unknown, as for a URL that is not fetched yet.
        origin: What to read, or the document itself where it is loaded already.
    """

    doc_id: str
    source: str
    content_hash: str
    origin: Source | Document

    @classmethod
    def of_document(cls, document: Document) -> Self:
        """Make the job of a document that is loaded already.

        Raises:
            ConfigurationError: It is not a document.
        """
        kind = (Document, "Documents of LlamaIndex; give Document(text=...), and files to add() or from_paths()")
        check_types({"documents": document}, {"documents": kind})
        source = str(document.metadata.get("source") or document.metadata.get("file_path") or document.doc_id)
        return cls(document.doc_id, source, document.hash, document)

    @property
    def needs_parser(self) -> bool:
        """Whether a parser has to read it; a content list and a loaded document need none."""
        return isinstance(self.origin, Source) and self.origin.kind != "content_list"


def find_jobs(found: FoundSources, reader: RAGAnythingReader, report: IngestionReport) -> list[Job]:
    """Return the jobs of what was found.

    Args:
        found: What the caller's paths lead to.
        report: Gets failures, warnings and what was skipped.

    Raises:
        SourceError: Paths do not exist and nothing else was found; :class:`BlockedSourceError` for URLs that the
            reader may not fetch.
    """
    unusable = _unusable(found, reader)
    _check_any_left(found, unusable)
    report.skipped.update(found.skipped)
    report.not_found += found.missing
    report.warnings += [(folder, "there are no files to read in this folder") for folder in found.empty_folders]
    jobs: dict[str, Job] = {}
    for source in found.sources:
        if source.location in unusable:
            report.failures.append((source.location, unusable[source.location]))
            continue
        try:
            with report.stage("hash"):
                hashed = with_hash(source, reader.max_file_bytes)
        except (SourceError, ParseError) as error:
            report.failures.append((source.location, str(error)))
            continue
        job = Job(document_id(source.location), source.location, hashed.content_hash, hashed)
        if job.doc_id in jobs and jobs[job.doc_id].content_hash != job.content_hash:
            report.warnings.append((source.location, "other content came under this name before; the last one counts"))
        jobs[job.doc_id] = job
    for path in found.missing:
        logger.warning("Not found: %s", path)
    return list(jobs.values())


def not_found_message(path: str) -> str:
    """Return the message for a path that does not exist, with the nearest name in its folder."""
    place = Path(path)
    try:
        names = os.listdir(place.parent)
    except OSError:
        names = []
    near = difflib.get_close_matches(place.name, names, n=1, cutoff=0.75)
    hint = f"did you mean {near[0]!r}?" if near else "check the path."
    return f"{path!r} does not exist or cannot be reached; {hint}"


def _unusable(found: FoundSources, reader: RAGAnythingReader) -> dict[str, str]:
    """Return why named sources cannot be read, by location."""
    reasons = {path: not_found_message(path) for path in found.missing}
    if not reader.allow_urls:
        for source in found.sources:
            if source.kind == "url":
                reasons[source.location] = (
                    f"{source.location!r} is a URL, and the reader fetches none; allow_urls=True lets it."
                )
    return reasons


def _check_any_left(found: FoundSources, unusable: Mapping[str, str]) -> None:
    if not unusable or any(source.location not in unusable for source in found.sources):
        return
    reasons = list(unusable.values())
    message = reasons[0] if len(reasons) == 1 else f"Nothing can be read: {' '.join(reasons[:5])}"
    raise (SourceError if found.missing else BlockedSourceError)(message)


def find_moves(
    jobs: Iterable[Job],
    known: Mapping[str, LedgerEntry],
    all_entries: Callable[[], Iterable[LedgerEntry]],
    machine: str | None = None,
) -> dict[str, LedgerEntry]:
    """Find documents whose file was moved or renamed.

    Each document that is gone matches one new file at most, one of the same name first. URLs, content lists, bytes
    and documents of other readers never match, since nobody knows whether they are gone.

    Args:
        known: Ledger rows of the jobs, by document id.
        all_entries: Returns all ledger rows; called only where there is a new file.
        machine: Only documents whose paths are on this machine, as nobody knows whether those of another are gone;
            None for a knowledge base of one machine.

    Returns:
        The ledger row of the old path, by the document id of the new one.
    """
    jobs = list(jobs)
    newcomers = _newcomers(jobs, known)
    if not newcomers:
        return {}
    ids = {job.doc_id for job in jobs}
    gone = [
        entry
        for entry in all_entries()
        if entry.content_hash in newcomers
        and entry.state == "ready"
        and entry.doc_id not in ids
        and (machine is None or entry.machine == machine)
        and _is_gone(entry)
    ]
    moves: dict[str, LedgerEntry] = {}
    for any_name in (False, True):
        left = []
        for entry in gone:
            waiting = newcomers[entry.content_hash]
            new = next(
                (job for job in waiting if any_name or os.path.basename(job.source) == os.path.basename(entry.source)),
                None,
            )
            if new is None:
                left.append(entry)
            else:
                waiting.remove(new)
                moves[new.doc_id] = entry
        gone = left
    return moves


def _newcomers(jobs: Iterable[Job], known: Mapping[str, LedgerEntry]) -> dict[str, list[Job]]:
    """Return the files that are new or changed under their path, by content hash."""
    found: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        entry = known.get(job.doc_id)
        is_in = entry is not None and entry.state == "ready" and entry.content_hash == job.content_hash
        is_file = isinstance(job.origin, Source) and job.origin.kind == "file"
        if is_file and job.content_hash and not is_in:
            found[job.content_hash].append(job)
    return found


def _is_gone(entry: LedgerEntry) -> bool:
    """Return whether a document was read from a local file that is no longer there."""
    if entry.doc_id != document_id(entry.source) or not os.path.isabs(entry.source):
        return False
    try:
        os.stat(entry.source)
        # A file system that ignores case finds the file after it was renamed from one to the other.
        return os.path.basename(entry.source) not in os.listdir(os.path.dirname(entry.source))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False  # It may be there: nobody knows what is in a folder that cannot be read.
