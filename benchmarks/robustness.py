"""Read every file of a folder in its own process, with limits on time and memory.

Counts ``ok``, ``typed`` (an error of this package, raised on purpose), ``untyped`` (any other
exception), ``hang`` (over the time limit) and ``crash`` (the process died or outgrew the memory
limit). Good software has no hang, crash or untyped error, whatever the file.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from benchmarks._harness import Result, percentile, run

OUTCOMES = ("ok", "typed", "untyped", "hang", "crash")
_POLL_SECONDS = 0.1
_PRELOAD = [
    "llama_index_raganything.readers.reader",
    "llama_index_raganything.readers.pdf.parser",
    "llama_index_raganything.readers.media.images",
    "llama_index_raganything.readers.office_files",
    "llama_index_raganything.readers.text_files",
    "docvortex",
]


@dataclass
class _Running:
    """One file that is being read in its own process."""

    path: Path
    process: Any
    connection: Connection
    started: float
    peak_bytes: int = 0


def main(args: argparse.Namespace) -> Result:
    """Read every file below ``args.dir`` and count how it ended.

    Args:
        args: The command line.

    Returns:
        Counts, times and one row per file.
    """
    paths = sorted(path for path in args.dir.rglob("*") if path.is_file())[: args.limit]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    with tempfile.TemporaryDirectory(prefix="robustness-") as working_dir:
        rows = list(_read_all(paths, context, working_dir, args))
    rows.sort(key=lambda row: row["file"])
    metrics = {outcome: float(sum(row["outcome"] == outcome for row in rows)) for outcome in OUTCOMES}
    metrics["files"] = float(len(rows))
    seconds = [row["seconds"] for row in rows]
    metrics |= {"p50_s": percentile(seconds, 0.5), "p95_s": percentile(seconds, 0.95)}
    metrics["max_mb"] = max((row["peak_mb"] for row in rows), default=0.0)
    errors = [row for row in rows if row["outcome"] != "ok"]
    return Result(metrics, rows, [("files that were not read", errors)])


def _read_all(paths: list[Path], context: Any, working_dir: str, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    waiting = list(reversed(paths))
    running: list[_Running] = []
    while waiting or running:
        while waiting and len(running) < args.workers:
            running.append(_start(waiting.pop(), context, working_dir, args.profile))
        wait([item for job in running for item in (job.connection, job.process.sentinel)], _POLL_SECONDS)
        for job in list(running):
            row = _poll(job, args.timeout, args.memory_mb * 1_000_000)
            if row is not None:
                running.remove(job)
                yield row


def _start(path: Path, context: Any, working_dir: str, profile: str) -> _Running:
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_read_one, args=(str(path), working_dir, profile, sender), daemon=True)
    process.start()
    sender.close()
    return _Running(path, process, receiver, time.monotonic())


def _poll(job: _Running, timeout: float, memory_bytes: int) -> dict[str, Any] | None:
    """Return the row of a file that is done or over a limit; None while it may go on."""
    job.peak_bytes = max(job.peak_bytes, _resident_bytes(job.process.pid))
    seconds = time.monotonic() - job.started
    outcome: dict[str, Any] | None = None
    # A file that took too long counts so even where its answer has come at last.
    if seconds <= timeout and job.connection.poll():
        try:
            outcome = job.connection.recv()
        except EOFError:
            outcome = None
    if outcome is None:
        if job.peak_bytes > memory_bytes:
            outcome = {"outcome": "crash", "error": f"over {memory_bytes / 1e6:.0f} MB of memory"}
        elif seconds > timeout:
            outcome = {"outcome": "hang", "error": f"over {timeout:.0f} s"}
        elif not job.process.is_alive():
            outcome = {"outcome": "crash", "error": f"exit code {job.process.exitcode}"}
        else:
            return None
    job.process.join(1.0 if outcome["outcome"] in OUTCOMES[:3] else 0.0)
    job.process.kill()
    job.process.join()
    job.connection.close()
    return {"file": job.path.name, "seconds": round(seconds, 2), "peak_mb": job.peak_bytes / 1e6} | outcome


def _read_one(path: str, working_dir: str, profile: str, sender: Connection) -> None:
    """Read one file in a child process and send how it ended."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    from llama_index_raganything.errors import RAGAnythingError
    from llama_index_raganything.readers.reader import RAGAnythingReader

    try:
        reader = RAGAnythingReader(working_dir=working_dir, profile=profile, cache=False)
        document = reader.load_data(path)[0]
        sender.send({"outcome": "ok", "characters": len(document.text)})
    except BaseException as error:  # noqa: BLE001  # every way to fail is what is counted here
        outcome = "typed" if isinstance(error, RAGAnythingError) else "untyped"
        cause = type(error.__cause__).__name__ if error.__cause__ else None
        sender.send({"outcome": outcome, "error": f"{type(error).__name__}: {error}"[:300], "cause": cause})


def _resident_bytes(pid: int) -> int:
    """Return the resident memory of a process in bytes, or 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds per file")
    parser.add_argument("--memory-mb", type=int, default=2000, help="resident memory per file, in megabytes")
    parser.add_argument("--workers", type=int, default=2, help="files read at the same time")
    parser.add_argument("--profile", default="standard", choices=["standard", "fast"], help="reader profile")


if __name__ == "__main__":
    raise SystemExit(run("robustness", __doc__, main, add_arguments=_add_arguments))
