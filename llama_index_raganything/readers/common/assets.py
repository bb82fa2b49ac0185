"""Content-addressed storage of crops, page images and media."""

from __future__ import annotations

import contextlib
import hashlib
import re
from pathlib import Path

from llama_index_raganything._files import replace_file
from llama_index_raganything.errors import BlockedSourceError

_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")


class AssetStore:
    """A folder of files named by their content, so that equal images are stored once.

    Args:
        root: The folder; made when the first asset is stored.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def put(self, data: bytes, suffix: str) -> str:
        """Store bytes and return where.

        Args:
            data: The content.
            suffix: File name extension with its dot, such as ``".jpg"``.

        Returns:
            The path relative to :attr:`root`, with forward slashes.
        """
        suffix = suffix.lower()
        if not _SUFFIX.fullmatch(suffix):
            suffix = ".bin"
        digest = hashlib.sha256(data).hexdigest()[:32]
        relative = f"{digest[:2]}/{digest}{suffix}"
        target = self.root / relative
        if not target.exists():
            replace_file(target, data)
        return relative

    def resolve(self, relative: str) -> Path:
        """Return the absolute path of an asset.

        Args:
            relative: A path that :meth:`put` returned.

        Returns:
            The absolute path; the file may be missing.

        Raises:
            BlockedSourceError: The path leads outside the folder.
        """
        root = self.root.resolve()
        path = (root / relative).resolve()
        if not path.is_relative_to(root):
            message = f"Asset path {relative!r} leads outside {root}; only paths stored by the reader are allowed."
            raise BlockedSourceError(message)
        return path

    def discard(self, relative: str) -> None:
        """Delete an asset if it is there.

        Args:
            relative: A path that :meth:`put` returned.

        Raises:
            BlockedSourceError: The path leads outside the folder.
        """
        path = self.resolve(relative)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # The folder still holds other assets.
            path.parent.rmdir()
