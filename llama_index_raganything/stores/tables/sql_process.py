"""Processes that run SQL of unknown origin and can be ended; see :mod:`~.sql_worker`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

from llama_index_raganything.errors import SQLError, SQLLimitError, StoreError

MAX_PROCESSES: Final = 4
"""Statements that run at the same time in one Python process; further ones wait."""

LIBRARY_MB: Final = 512
"""Address space that Python and DuckDB take before any table is there, in megabytes."""

GRACE_SECONDS: Final = 1.0
"""Time for DuckDB to notice an interrupt before its process is ended."""

_KEPT_IDLE: Final = 2
_PASSED_ON: Final = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "TMPDIR", "TEMP")
_START_SECONDS: Final = 60.0
_MIN_SECONDS: Final = 2.0

# Idle processes end by themselves when ours does, however it ends: their stdin closes.
_lock = threading.Lock()
_free_slots = threading.BoundedSemaphore(MAX_PROCESSES)
_idle: list[SQLProcess] = []


class SQLProcess:
    """One process that answers requests, one at a time.

    Args:
        memory_mb: Megabytes that DuckDB may use.
    """

    def __init__(self, memory_mb: int) -> None:
        self.memory_mb = memory_mb
        self.owner = os.getpid()
        # Without our environment: it may hold keys, and nothing in it is needed.
        environment = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
        # Every further arena of glibc takes 64 MB of the address space that is limited.
        environment["MALLOC_ARENA_MAX"] = "1"
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        script = Path(__file__).with_name("sql_worker.py")
        # -P: the script's folder holds modules with names of others' modules.
        command = [sys.executable, "-P", str(script), str(memory_mb + LIBRARY_MB), str(memory_mb)]
        try:
            self._process = subprocess.Popen(  # noqa: S603 # our own script
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
        except OSError as error:
            message = f"The process that runs SQL does not start: {error}. Check that {sys.executable} can be run."
            raise StoreError(message) from error
        # Starting takes a second or, on a busy machine, many; that is no fault of the first statement.
        try:
            self.ask({"op": "inspect", "sql": "SELECT 1"}, _START_SECONDS)
        except SQLLimitError as error:
            message = (
                f"The process that runs SQL did not start with {memory_mb + LIBRARY_MB:,} MB of address space; "
                f"see whether `{sys.executable} -c 'import duckdb'` works, or raise memory_limit_mb."
            )
            raise StoreError(message) from error

    @property
    def alive(self) -> bool:
        """Whether it can take another request."""
        return self._process.poll() is None

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request and wait for the answer.

        Args:
            seconds: Time after which the process is ended.

        Returns:
            The answer.

        Raises:
            SQLLimitError: The process had to be ended, or died for want of memory.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise StoreError("The process that runs SQL has no pipes.")
        timed_out = threading.Event()

        def end() -> None:
            timed_out.set()
            self._process.kill()

        timer = threading.Timer(seconds, end)
        timer.start()
        line = b""
        # A process that is ended closes its pipes, and both calls come back.
        with contextlib.suppress(OSError):
            self._process.stdin.write(_line(request))
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        timer.cancel()
        if line.endswith(b"\n"):
            reply: dict[str, Any] = json.loads(line)
            return reply
        self.close()
        reason = (
            f"took longer than {request.get('timeout', seconds):g} s" if timed_out.is_set() else "ran out of memory"
        )
        message = f"The statement {reason} and was stopped; ask for fewer rows, or for less in one statement."
        raise SQLLimitError(message)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait()


class SQLSession:
    """A process borrowed for the requests of one statement; a context manager.

    Args:
        memory_mb: Megabytes that DuckDB may use.
        timeout_s: Seconds that running the statement may take.
    """

    def __init__(self, memory_mb: int, timeout_s: float) -> None:
        self.memory_mb = memory_mb
        self.timeout_s = timeout_s
        self._process: SQLProcess | None = None

    def __enter__(self) -> SQLSession:
        _free_slots.acquire()
        try:
            self._process = _borrowed(self.memory_mb)
        except BaseException:
            _free_slots.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._process is not None:
                _give_back(self._process)
        finally:
            _free_slots.release()

    def inspect(self, sql: str) -> dict[str, Any]:
        """Check a statement; see :func:`~llama_index_raganything.stores.tables.sql_worker.inspect`.

        Returns:
            The worker's answer, possibly an error.
        """
        return self._ask({"op": "inspect", "sql": sql}, max(_MIN_SECONDS, self.timeout_s) + GRACE_SECONDS)

    def run(self, sql: str, relations: list[dict[str, Any]], max_rows: int) -> dict[str, Any]:
        """Run a statement; see :func:`~llama_index_raganything.stores.tables.sql_worker.run`.

        Args:
            max_rows: Rows to return at most.

        Returns:
            The worker's answer, possibly an error.
        """
        request = {
            "op": "run",
            "sql": sql,
            "relations": relations,
            "max_rows": max_rows,
            "timeout": self.timeout_s,
            "memory_mb": self.memory_mb,
        }
        return self._ask(request, self.timeout_s + GRACE_SECONDS)

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        if self._process is None:
            raise SQLError("A session is asked within its `with` block.")
        return self._process.ask(request, seconds)


def _line(request: dict[str, Any]) -> bytes:
    # DuckDB takes no lone surrogates, which ids of documents may hold.
    return json.dumps(request, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def close_idle() -> None:
    """End the processes that wait for a next statement; those that run one go on."""
    with _lock:
        _forget_parents()
        waiting = list(_idle)
        _idle.clear()
    for process in waiting:
        process.close()


def _borrowed(memory_mb: int) -> SQLProcess:
    with _lock:
        _forget_parents()
        for process in [process for process in _idle if process.memory_mb == memory_mb]:
            _idle.remove(process)
            if process.alive:
                return process
    return SQLProcess(memory_mb)


def _give_back(process: SQLProcess) -> None:
    if not process.alive:
        return
    with _lock:
        _idle.append(process)
        # The one that waited longest goes: stores with another limit of memory may have no use for it.
        surplus = _idle.pop(0) if len(_idle) > _KEPT_IDLE else None
    if surplus is not None:
        surplus.close()


def _forget_parents() -> None:
    """Forget processes that were started before a fork: they answer the parent, and both would read one pipe."""
    _idle[:] = [process for process in _idle if process.owner == os.getpid()]
