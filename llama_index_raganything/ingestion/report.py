"""What one run of ingestion did, and how long each stage took."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.errors import IngestionError
from llama_index_raganything.readers.reader import NamedEvent
from llama_index_raganything.readers.sources.sources import SkippedFiles

NOT_TRIED: Final = "Not tried, because the run ended early."
"""Reason given for documents that a run did not reach."""


@strict_arguments
@dataclass
class IngestionReport:
    """What one run did.

    Attributes:
        added: Sources that were new.
        updated: Sources whose content or pipeline had changed.
        unchanged: Sources that were stored already.
        moved: Pairs of old and new path of files that were renamed or moved.
        deleted: Sources that were removed.
        failures: Pairs of source and reason.
        not_found: Named paths that do not exist; they are among the failures too.
        skipped: What was found in folders and not read: hidden, temporary and system files, excluded ones, and the
            index's own data. By reason, with the first names of each.
        warnings: Pairs of source and what is missing: a part of a stored document, such as the triples of one node, or
            any file in an empty folder.
        nodes: Number of nodes written, by content type.
        pages: Number of pages written, where formats have pages.
        ended_early: Why the run ended before all documents were tried; empty when it did not. The others are among the
            failures, with the reason :data:`NOT_TRIED`.
        seconds: Seconds spent, by stage (``hash parse split enrich graph embed write``) and in ``total``.
    """

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    moved: list[tuple[str, str]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    not_found: list[str] = field(default_factory=list)
    skipped: SkippedFiles = field(default_factory=SkippedFiles)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    nodes: Counter[str] = field(default_factory=Counter)
    pages: int = 0
    ended_early: str = ""
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of documents by what became of them; those that failed count as ``failed``."""
        names = ("added", "updated", "unchanged", "moved", "deleted")
        return {name: len(getattr(self, name)) for name in names} | {"failed": len(self.failures)}

    @property
    def succeeded(self) -> int:
        """Number of documents that are stored now."""
        return len(self.added) + len(self.updated) + len(self.unchanged) + len(self.moved)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON-ready dictionary."""
        return {
            "added": self.added,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "moved": [{"old": old, "new": new} for old, new in self.moved],
            "deleted": self.deleted,
            "failures": [{"source": source, "reason": reason} for source, reason in self.failures],
            "not_found": self.not_found,
            "skipped": self.skipped.to_dict(),
            "warnings": [{"source": source, "reason": reason} for source, reason in self.warnings],
            "nodes": dict(self.nodes),
            "pages": self.pages,
            "ended_early": self.ended_early,
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
        }

    def __str__(self) -> str:
        """Return the run in a few lines: counts, nodes by type, one line per move, failure and warning."""
        counts = ", ".join(f"{size} {name}" for name, size in self.counts.items() if size or name == "added")
        nodes = ", ".join(f"{count} {kind}" for kind, count in sorted(self.nodes.items()))
        lines = [f"Documents: {counts} in {self.seconds['total']:.1f} s"]
        if nodes:
            lines.append(f"Nodes: {sum(self.nodes.values())} ({nodes})")
        lines += [f"Moved: {old} -> {new}" for old, new in self.moved]
        if self.skipped:
            lines.append(f"Skipped: {self.skipped}")
        lines += [f"Failed: {source}: {reason}" for source, reason in self.failures if reason != NOT_TRIED]
        if self.ended_early:
            count = sum(reason == NOT_TRIED for _, reason in self.failures)
            lines.append(f"Ended early, {count} not tried: {self.ended_early}")
        lines += [f"Warning: {source}: {reason}" for source, reason in self.warnings]
        return "\n".join(lines)

    def finish(self, *, strict: bool) -> IngestionReport:
        """Return the report, or raise where failures are not acceptable.

        Args:
            strict: Raise when a document failed.

        Returns:
            The report itself.

        Raises:
            IngestionError: ``strict`` is set and documents failed.
        """
        if strict and self.failures:
            rest = "the others are added" if self.succeeded else "no document was added"
            message = f"{len(self.failures)} of {len(self.failures) + self.succeeded} documents failed; {rest}."
            raise IngestionError(message, self.failures)
        return self

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that a block takes to a stage.

        Args:
            name: Name of the stage.

        Yields:
            None.
        """
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - started


class IngestionStartEvent(NamedEvent):
    """A run begins; nothing is parsed yet.

    Attributes:
        documents: Number of documents.
    """

    documents: int


class IngestionEndEvent(NamedEvent):
    """A run is over.

    Attributes:
        added: How many documents were new.
        updated: How many had changed.
        unchanged: How many were stored already.
        moved: How many were moved or renamed.
        failed: How many failed.
        nodes: How many nodes were written.
        ended_early: Why the run ended before all documents were tried; empty when it did not.
    """

    added: int
    updated: int
    unchanged: int
    moved: int
    failed: int
    nodes: int
    ended_early: str = ""


class DocumentIngestionStartEvent(NamedEvent):
    """A document was parsed, or could not be, and is about to be enriched, embedded and written.

    Attributes:
        source: Path, URL or other name of the document.
        doc_id: Its id.
    """

    source: str
    doc_id: str


class DocumentIngestionEndEvent(NamedEvent):
    """A document was stored, or failed.

    Attributes:
        source: Path, URL or other name of the document.
        doc_id: Its id.
        nodes: How many nodes were written.
        error: Why it failed, or None.
    """

    source: str
    doc_id: str
    nodes: int = 0
    error: str | None = None
