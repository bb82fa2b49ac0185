"""Atomic file writes, and the folders of tenants."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path


def replace_file(path: Path, data: bytes, *, durable: bool = False) -> os.stat_result:
    """Write a file atomically: under a temporary name, then renamed.

    Args:
        path: The file; missing parent folders are made, and an existing file is replaced.
        data: The new content.
        durable: Wait until the content is on disk.

    Returns:
        The status of the file written here, even if another process has replaced it since.

    Raises:
        OSError: It cannot be written; the old content stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
            status = os.fstat(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return status


def tenant_folder(folder: Path, tenant: str) -> Path:
    """Return the folder of one tenant: its name may be any string, also one that is no path."""
    return folder / "tenants" / hashlib.sha256(tenant.encode("utf-8", "surrogatepass")).hexdigest()[:32]
