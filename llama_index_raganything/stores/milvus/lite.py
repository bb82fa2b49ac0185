"""What Milvus Lite needs that a server does not: reasons why it cannot open a directory, and less noise."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from llama_index_raganything._imports import guarded_import
from llama_index_raganything.errors import StoreError, StoreLockedError, StoreUnavailableError

with guarded_import():
    import grpc  # type: ignore[import-untyped]  # grpcio ships no types.
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

_LITE_LOGGERS: Final = ("milvus_lite", "grpc._server", "pymilvus.orm.iterator")


def open_lite(path: str, arguments: dict[str, Any]) -> MilvusClient:
    """Open a Milvus Lite directory, which starts its embedded server in this process.

    Args:
        path: The directory; it must end in ``.db``.
        arguments: Arguments of ``MilvusClient``.

    Raises:
        StoreLockedError: Another process holds the directory.
        StoreUnavailableError: It cannot be opened; the message says why.
    """
    _check_directory(path)
    for name in _LITE_LOGGERS:
        logging.getLogger(name).addFilter(_is_wanted)  # A logger takes a filter once.
    with _recorded("milvus_lite.server_manager") as causes:
        try:
            return MilvusClient(**arguments, dedicated=True)
        except (MilvusException, grpc.RpcError, OSError) as error:
            raise _why_not(path, causes, error) from error


def release_lite(path: str) -> None:
    """Stop the embedded server of a directory, which ``MilvusClient.close()`` leaves running and locked."""
    from milvus_lite.server_manager import server_manager_instance

    server_manager_instance.release_server(path)


def _check_directory(path: str) -> None:
    """Refuse a path that cannot work; Milvus Lite would say why in a log message only."""
    here = Path(path)
    if os.path.isfile(path):
        message = f"{path} is a file: a database of Milvus Lite 2. Version 3 keeps a directory; choose another path."
        raise StoreUnavailableError(message)
    try:
        here.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"The folder of {path} cannot be made: {error.strerror or error}. Choose a path you may write to."
        raise StoreUnavailableError(message) from error
    place = path if os.path.exists(path) else str(here.parent)
    if not os.access(place, os.W_OK | os.X_OK):
        message = f"No permission to write to {place}. Choose another path for the Milvus uri or change the rights."
        raise StoreUnavailableError(message)


def _why_not(path: str, causes: list[BaseException], error: BaseException) -> StoreError:
    if any(type(cause).__name__ == "DataDirLockedError" for cause in causes):
        return StoreLockedError(
            f"Another process has {path} open, and Milvus Lite serves one process at a time. Close the other one, or "
            f"serve it to both: `milvus-lite server --data-dir {path} --host 127.0.0.1 --port 19530`, and connect "
            "to http://127.0.0.1:19530."
        )
    cause = causes[-1] if causes else error
    return StoreUnavailableError(f"Milvus Lite cannot open {path}: {cause}")


class _Recorder(logging.Handler):
    """Keeps the exceptions that are logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.causes: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.causes.append(record.exc_info[1])


@contextmanager
def _recorded(name: str) -> Iterator[list[BaseException]]:
    """Record the exceptions that a logger reports, instead of printing them."""
    logger, recorder = logging.getLogger(name), _Recorder()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(recorder)
    try:
        yield recorder.causes
    finally:
        logger.removeHandler(recorder)
        logger.propagate = propagate


def _is_wanted(record: logging.LogRecord) -> bool:
    """Drop what is logged about calls and timestamps that Milvus Lite does not offer, and does not need."""
    error = record.exc_info[1] if record.exc_info else None
    message = record.getMessage().lower()
    return not (isinstance(error, NotImplementedError) or "not implemented" in message or "mvccts" in message)
