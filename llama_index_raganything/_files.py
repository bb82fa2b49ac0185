"""Write files so that nobody ever reads half of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace_file(path: Path, data: bytes, *, durable: bool = False) -> os.stat_result:
    """Write a file aside and rename it, so that neither a crash nor a second process leaves or sees half of it.

    Args:
        path: The file; folders above it are made, and a file that is there is replaced.
        data: Its new content.
        durable: Wait until the content is on the disk.

    Returns:
        The status of the new file, its own even when another process has replaced it since.

    Raises:
        OSError: It cannot be written; what was there stays.
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
