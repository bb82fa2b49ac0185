"""Third-party packages: importing them without their side effects, and which versions are installed."""

from __future__ import annotations

import functools
import importlib.metadata
import os
from collections.abc import Iterator
from contextlib import contextmanager

_UNSET_DURING_IMPORT = ("MILVUS_URI",)
_SET_DURING_IMPORT = {"PYTHON_DOTENV_DISABLED": "1", "ORT_DISABLE_TELEMETRY": "1"}


@contextmanager
def guarded_import() -> Iterator[None]:
    """Keep third-party imports from reading ``.env`` files and from failing on ``MILVUS_URI``.

    ``pymilvus`` and ``lightrag`` call ``load_dotenv()`` on import, and ``MILVUS_URI=/path/x.db`` in the environment
    makes ``import pymilvus`` raise ``ConnectionConfigException``, because it expects a server address. ``onnxruntime``
    writes a device id for its telemetry below the home folder (seen with 1.32).

    Yields:
        None, with ``.env`` loading and telemetry disabled and ``MILVUS_URI`` hidden; the environment is restored
        afterwards.
    """
    saved = {name: os.environ.pop(name, None) for name in _UNSET_DURING_IMPORT}
    saved |= {name: os.environ.get(name) for name in _SET_DURING_IMPORT}
    os.environ.update(_SET_DURING_IMPORT)
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@functools.cache
def package_version(name: str) -> str:
    """Return the version of an installed distribution, or ``"none"``; looked up once, as it reads the disk."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"
