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

NOT_TRIED: Final = "Not tried, because the run ended early."
"""Reason of documents that a run did not come to."""


@strict_arguments
@dataclass
class IngestionReport:
    """What one run did.

    Attributes:
        added: Sources that were new.
        updated: Sources whose content or pipeline had changed.
        unchanged: Sources that were ready already.
        deleted: Sources that were removed.
        failures: Pairs of source and reason.
        warnings: Pairs of source and what is missing of a document that is in, such as triples of one node.
        nodes: Number of nodes written, by content type.
        pages: Number of pages written, where formats have pages.
        ended_early: Why the run ended before all documents were tried; empty when it did not. Those that were not are
            among the failures, with the reason :data:`NOT_TRIED`.
        seconds: Seconds spent, by stage (``hash parse split enrich graph embed write``) and in ``total``.
    """

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    nodes: Counter[str] = field(default_factory=Counter)
    pages: int = 0
    ended_early: str = ""
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON-ready dictionary."""
        return {
            "added": self.added,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "deleted": self.deleted,
            "failures": [{"source": source, "reason": reason} for source, reason in self.failures],
            "warnings": [{"source": source, "reason": reason} for source, reason in self.warnings],
            "nodes": dict(self.nodes),
            "pages": self.pages,
            "ended_early": self.ended_early,
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
        }

    def __str__(self) -> str:
        """Return the run in a few lines: counts, nodes by type, one line per failure."""
        sizes = {
            "added": len(self.added),
            "updated": len(self.updated),
            "unchanged": len(self.unchanged),
            "deleted": len(self.deleted),
            "failed": len(self.failures),
        }
        counts = ", ".join(f"{size} {name}" for name, size in sizes.items() if size or name == "added")
        nodes = ", ".join(f"{count} {kind}" for kind, count in sorted(self.nodes.items()))
        lines = [f"Documents: {counts} in {self.seconds['total']:.1f} s"]
        if nodes:
            lines.append(f"Nodes: {sum(self.nodes.values())} ({nodes})")
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
            succeeded = len(self.added) + len(self.updated) + len(self.unchanged)
            rest = "the others are in" if succeeded else "no other came in"
            message = f"{len(self.failures)} of {len(self.failures) + succeeded} documents failed; {rest}."
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
