"""A cache of parsed files, keyed by content and by everything that changes the result.

The key does not hold the path, so a moved or renamed file is a hit. RAG-Anything's own cache
is keyed by path and time and ignores most options (HKUDS/RAG-Anything PR #325).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from llama_index_raganything._files import replace_file
from llama_index_raganything.elements import SCHEMA_VERSION, Element, content_id
from llama_index_raganything.errors import BlockedSourceError, SourceError
from llama_index_raganything.readers.common.base import AssetStore, ParsedFile, ParseOptions

logger = logging.getLogger(__name__)

READER_VERSION: Final = 3
"""Raised whenever the package's own parsing gives other elements for the same file."""

_CHUNK_BYTES: Final = 1 << 20
_HEX = re.compile(r"[0-9a-f]{16,128}")


def file_hash(path: Path) -> str:
    """Return the SHA-256 digest of a file's content in hex.

    Args:
        path: A readable file.

    Returns:
        64 hex digits.

    Raises:
        SourceError: The file cannot be read, or is none.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        # A pipe, socket or device: opening or reading it may block for ever.
        message = f"{str(path)!r} is not a regular file; give the path of an existing file."
        raise SourceError(message)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        message = f"{str(path)!r} cannot be read ({error}); check the path and its permissions."
        raise SourceError(message) from error
    return digest.hexdigest()


def parse_key(kind: str, parser: str, options: ParseOptions) -> str:
    """Return the part of a cache key that is not the file's content.

    Args:
        kind: Kind and extension that the file is parsed as.
        parser: Parser with its version(s).
        options: Everything else that changes the result.

    Returns:
        32 hex digits.
    """
    described = json.dumps(dataclasses.asdict(options), sort_keys=True, default=repr)
    return content_id(SCHEMA_VERSION, READER_VERSION, kind, parser, described)


class ParseCache:
    """A folder of parsed files: one subfolder per content, one JSON file per parser and options.

    Args:
        root: The folder; made when the first file is stored.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def get(self, content_hash: str, key: str, assets: AssetStore) -> ParsedFile | None:
        """Return a parsed file, or None.

        Args:
            content_hash: SHA-256 of the file, in hex.
            key: What :func:`parse_key` returned.
            assets: Where the elements' assets must be.

        Returns:
            The parsed file; None when it is not there, damaged, or has lost an asset.
        """
        path = self.folder(content_hash) / f"{key}.json"
        try:
            parsed = _from_dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        # A damaged entry is as good as none: the file is parsed again and the entry overwritten.
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, ValidationError) as error:
            logger.warning("Ignoring the damaged parse cache entry %s: %s", path, error)
            return None
        return parsed if _assets_exist(parsed, assets) else None

    def put(self, content_hash: str, key: str, parsed: ParsedFile) -> None:
        """Store a parsed file; a folder that cannot be written is a warning, not an error.

        Args:
            content_hash: SHA-256 of the file, in hex.
            key: What :func:`parse_key` returned.
        """
        path = self.folder(content_hash) / f"{key}.json"
        fields = vars(parsed) | {"elements": [element.to_dict() for element in parsed.elements]}
        content = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        try:
            replace_file(path, content.encode("utf-8"))
        except OSError as error:
            logger.warning("Cannot write the parse cache entry %s: %s", path, error)

    def forget(self, content_hash: str) -> None:
        """Delete every parse of one content; a content that is not there is fine.

        Args:
            content_hash: SHA-256 of the file, in hex.
        """
        shutil.rmtree(self.folder(content_hash), ignore_errors=True)

    def folder(self, content_hash: str) -> Path:
        """Return the folder of all parses of one content.

        Args:
            content_hash: SHA-256 of the file, in hex.
        """
        # Hashed once more when it is no plain name, so that no caller's string leaves the cache folder.
        name = content_hash if _HEX.fullmatch(content_hash) else content_id(content_hash)
        return self.root / name[:2] / name


def _from_dict(content: dict[str, Any]) -> ParsedFile:
    return ParsedFile(
        elements=[Element(**element) for element in content["elements"]],
        parser=str(content["parser"]),
        title=content["title"],
        warnings=[str(warning) for warning in content["warnings"]],
    )


def _assets_exist(parsed: ParsedFile, assets: AssetStore) -> bool:
    try:
        return all(assets.resolve(e.asset).is_file() for e in parsed.elements if e.asset)
    except BlockedSourceError:
        return False
