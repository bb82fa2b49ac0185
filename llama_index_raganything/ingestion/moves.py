"""Which files were renamed or moved since they came in: the same content as a document whose file is gone."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from llama_index_raganything.documents import document_id
from llama_index_raganything.ingestion.jobs import Job
from llama_index_raganything.stores.ledger import LedgerEntry


def find_moves(
    jobs: Iterable[Job],
    known: Mapping[str, LedgerEntry],
    all_entries: Callable[[], Iterable[LedgerEntry]],
    machine: str | None = None,
) -> dict[str, LedgerEntry]:
    """Tell which files were moved.

    Each document that is gone is the former self of one file at most, of one with the same name first. URLs, content
    lists, bytes under a name and documents of other readers are none, since nobody can tell that they are gone.

    Args:
        jobs: What is to be brought in.
        known: Rows of these documents, by id.
        all_entries: Returns all rows; asked only where a file has come that was not in before.
        machine: Only documents whose paths are on this machine: those of another one are not gone. None for a
            knowledge base that has one machine.

    Returns:
        The row of the old path, by the document id of the new one.
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
    for fits in (_same_name, _any_name):
        left = []
        for entry in gone:
            waiting = newcomers[entry.content_hash]
            place = next((place for place, job in enumerate(waiting) if fits(job, entry)), None)
            if place is None:
                left.append(entry)
            else:
                moves[waiting.pop(place).doc_id] = entry
        gone = left
    return moves


def _newcomers(jobs: Iterable[Job], known: Mapping[str, LedgerEntry]) -> dict[str, list[Job]]:
    """Return the files whose content was not in under their path, by that content."""
    found: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        entry = known.get(job.doc_id)
        is_in = entry is not None and entry.state == "ready" and entry.content_hash == job.content_hash
        is_file = job.parsed is not None and job.parsed.kind == "file"
        if is_file and job.content_hash and not is_in:
            found[job.content_hash].append(job)
    return found


def _same_name(job: Job, entry: LedgerEntry) -> bool:
    return os.path.basename(job.source) == os.path.basename(entry.source)


def _any_name(_job: Job, _entry: LedgerEntry) -> bool:
    return True


def _is_gone(entry: LedgerEntry) -> bool:
    """Tell whether a document was read from a local file that is no longer there."""
    if entry.doc_id != document_id(entry.source) or not os.path.isabs(entry.source):
        return False
    try:
        os.stat(entry.source)
        # A system that does not tell "A.md" from "a.md" finds the file after it was renamed from one to the other.
        return os.path.basename(entry.source) not in os.listdir(os.path.dirname(entry.source))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False  # It may be there: nothing is known of a place that cannot be entered.
