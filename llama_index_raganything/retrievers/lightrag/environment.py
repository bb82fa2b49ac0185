"""What must hold around LightRAG's imports and its construction: no pip at run time, no stray environment."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from llama_index_raganything._imports import guarded_import
from llama_index_raganything.errors import MissingDependencyError

if TYPE_CHECKING:
    from llama_index_raganything.stores.clients import Address

_INSTALLERS: Final = ("install", "install_multiple", "install_version", "install_or_update", "ensure_packages")
_MILVUS_VARIABLES: Final = (
    "MILVUS_URI",
    "MILVUS_DB_NAME",
    "MILVUS_TOKEN",
    "MILVUS_USER",
    "MILVUS_PASSWORD",
    "MILVUS_WORKSPACE",
)
_GUARD = threading.RLock()


def _refuse(*packages: Any, **_: Any) -> None:
    wanted = packages[0] if packages else "a package"
    message = (
        f"LightRAG wants to install {wanted} at run time, which is refused. Install what it needs yourself: "
        "`pip install 'llama-index-raganything[lightrag]'` has LightRAG's storages."
    )
    raise MissingDependencyError(message)


@contextmanager
def lightrag_imports() -> Iterator[None]:
    """Import LightRAG, or let it import its storages, without installing anything.

    LightRAG's modules call ``pipmaster.install`` when a package is absent (1.4.16: ``kg.milvus_impl`` and others);
    pipmaster has no switch against it.

    Yields:
        None, with pipmaster's installers replaced by a refusal, ``.env`` loading off and ``MILVUS_URI`` hidden.

    Raises:
        MissingDependencyError: LightRAG or a package that it needs is not installed.
    """
    with _GUARD, guarded_import():
        try:
            import pipmaster  # type: ignore[import-untyped]  # It ships no types.
        except ImportError:
            pipmaster = None
        saved = {name: getattr(pipmaster, name) for name in _INSTALLERS if hasattr(pipmaster, name)}
        for name in saved:
            setattr(pipmaster, name, _refuse)
        quiet = "lightrag" not in sys.modules
        # nano-vectordb calls logging.basicConfig(level=INFO) when it is imported.
        root = logging.getLogger()
        level, handlers = root.level, list(root.handlers)
        if quiet:
            logging.getLogger("nano-vectordb").setLevel(logging.WARNING)
        try:
            yield
            if quiet and "lightrag" in sys.modules:
                # Both print several lines per question; who imports LightRAG first has settled its logging.
                logging.getLogger("lightrag").setLevel(logging.WARNING)
        except MissingDependencyError:
            raise
        except ImportError as error:
            message = (
                f"LightRAG cannot be imported ({error}); install it with "
                "`pip install 'llama-index-raganything[lightrag]'`."
            )
            raise MissingDependencyError(message) from error
        finally:
            root.setLevel(level)
            root.handlers[:] = handlers
            for name, value in saved.items():
                setattr(pipmaster, name, value)


@contextmanager
def milvus_environment(address: Address | None) -> Iterator[None]:
    """Set the variables from which LightRAG's Milvus storage takes its address; it takes no arguments.

    ``pymilvus`` is imported before, because a path in ``MILVUS_URI`` makes its import fail. ``MILVUS_WORKSPACE``,
    which would override every workspace, is hidden.

    Args:
        address: The Milvus. Nothing is changed when there is none.

    Yields:
        None. All is as before afterwards.
    """
    if address is None:
        yield
        return
    variables = {"MILVUS_URI": address.uri, "MILVUS_DB_NAME": address.db_name}
    if address.token is not None:
        variables["MILVUS_TOKEN"] = address.token.get_secret_value()
    with _GUARD:
        with guarded_import():
            import pymilvus  # noqa: F401  # See above.
        saved = {name: os.environ.pop(name, None) for name in _MILVUS_VARIABLES}
        os.environ.update(variables)
        try:
            yield
        finally:
            for name, value in saved.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
