"""Import heavy third-party packages without their side effects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_UNSET_DURING_IMPORT = ("MILVUS_URI",)


@contextmanager
def guarded_import() -> Iterator[None]:
    """Keep third-party imports from reading ``.env`` files and from choking on ``MILVUS_URI``.

    ``pymilvus`` and ``lightrag`` call ``load_dotenv()`` when imported, and
    ``MILVUS_URI=/path/x.db`` in the environment makes ``import pymilvus`` raise
    ``ConnectionConfigException`` because it is taken for a server address.

    Yields:
        None, with ``.env`` loading disabled and ``MILVUS_URI`` hidden. Both are as before afterwards.
    """
    saved = {name: os.environ.pop(name, None) for name in _UNSET_DURING_IMPORT}
    saved["PYTHON_DOTENV_DISABLED"] = os.environ.get("PYTHON_DOTENV_DISABLED")
    os.environ["PYTHON_DOTENV_DISABLED"] = "1"
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
