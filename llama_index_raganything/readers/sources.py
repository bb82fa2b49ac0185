"""Where files come from: paths, folders, content lists, other file systems and URLs."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Literal

from llama_index_raganything.elements import content_id
from llama_index_raganything.errors import BlockedSourceError, ConfigurationError, FileTooLargeError, SourceError
from llama_index_raganything.readers.formats import FileFormat
from llama_index_raganything.readers.urls import UrlPolicy, fetch_url

logger = logging.getLogger(__name__)

SourceInput = str | Path | PurePath | Mapping[str, Any] | Iterable[Any]
"""What a reader takes: a path, folder or URL, several of them, or a content list."""


@dataclass(frozen=True)
class Source:
    """One thing to read.

    Attributes:
        kind: ``file`` (local), ``remote`` (another file system), ``url`` or ``content_list``.
        location: Absolute path, URL, or made-up name of a content list; goes to the metadata.
        target: The path, URL, or content list itself.
    """

    kind: Literal["file", "remote", "url", "content_list"]
    location: str
    target: Any


@dataclass(frozen=True)
class FolderRules:
    """What is read of a local folder; files that are named themselves are always read.

    Attributes:
        recursive: Folders in it are read too.
        suffixes: File name extensions with their dots, in lower case; None reads all.
    """

    recursive: bool = True
    suffixes: frozenset[str] | None = None

    def allow(self, path: Path) -> bool:
        """Tell whether a file in a folder is read.

        Args:
            path: The file.
        """
        return self.suffixes is None or path.suffix.lower() in self.suffixes


_ALL_FILES = FolderRules()


def expand_sources(value: Any, fs: Any = None, rules: FolderRules = _ALL_FILES) -> tuple[list[Source], bool]:
    """Turn what a caller gave into single sources.

    Folders are walked recursively in sorted order; hidden files and folders and the lock files
    of office programs (``~$report.docx``) are left out.

    Args:
        value: A :data:`SourceInput`: path, folder, URL, content list, or an iterable of paths, folders and URLs.
        fs: fsspec file system that the paths belong to; the local one when None.
        rules: What is read of local folders.

    Returns:
        The sources, and whether they are a batch: a folder, or more than one source.

    Raises:
        ConfigurationError: The value is none of these.
    """
    content_list = as_content_list(value)
    if content_list is not None:
        return [_content_list_source(content_list)], False
    if isinstance(value, str | PurePath):
        return _expand_path(value, fs, rules)
    if not isinstance(value, Iterable):
        message = f"Cannot read {type(value).__name__} {value!r}; give a path, folder, URL, content list, or several."
        raise ConfigurationError(message)
    sources: list[Source] = []
    batch = False
    for item in value:
        if not isinstance(item, str | PurePath):
            message = f"Cannot read {type(item).__name__} {str(item)[:80]!r} in a list of paths; give paths or URLs."
            raise ConfigurationError(message)
        found, is_folder = _expand_path(item, fs, rules)
        sources.extend(found)
        batch = batch or is_folder
    return sources, batch or len(sources) > 1


def as_content_list(value: Any) -> list[Any] | None:
    """Return the content list that a value is, or None.

    Args:
        value: Anything; a non-empty list of dictionaries or ``{"content_list": [...]}`` is a content list.

    Returns:
        The list of items, or None.
    """
    if isinstance(value, Mapping):
        items = value.get("content_list")
        if not isinstance(items, list):
            message = "A dictionary must hold a list under the key 'content_list' to be read."
            raise ConfigurationError(message)
        return items
    if isinstance(value, list | tuple) and value and all(isinstance(item, Mapping) for item in value):
        return list(value)
    return None


@contextmanager
def local_file(source: Source, *, policy: UrlPolicy, max_bytes: int | None) -> Iterator[Path]:
    """Give a source as a local file, fetched into a temporary folder when it is not one.

    Args:
        source: A file, remote file or URL.
        policy: What may be fetched from the network.
        max_bytes: Size limit in bytes; None for none.

    Yields:
        The path; a temporary one is gone afterwards.

    Raises:
        SourceError: It cannot be read; :class:`BlockedSourceError` when refused on purpose.
        FileTooLargeError: It is larger than ``max_bytes``.
    """
    if source.kind == "file":
        path = Path(source.target)
        _check_size(path, max_bytes)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="raganything-") as folder:
        if source.kind == "url":
            yield fetch_url(source.target, Path(folder), policy=policy, max_bytes=max_bytes)
        else:
            yield _copy_remote(source, Path(folder), max_bytes)


@contextmanager
def with_suffix(path: Path, file_format: FileFormat) -> Iterator[Path]:
    """Give a file under the extension that fits its content, for parsers that go by name.

    Args:
        path: The file.
        file_format: What it is.

    Yields:
        The path itself, or a temporary link or copy with the right extension.
    """
    if path.suffix.lower() == file_format.suffix:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="raganything-") as folder:
        alias = Path(folder) / f"{path.stem}{file_format.suffix}"
        try:
            alias.symlink_to(path.resolve())
        except OSError:  # Windows without the privilege to make links.
            shutil.copyfile(path, alias)
        yield alias


def _expand_path(value: str | PurePath, fs: Any, rules: FolderRules) -> tuple[list[Source], bool]:
    text = os.fspath(value)
    if not text.strip():
        raise ConfigurationError("The path is empty; give the path of a file or folder.")
    if fs is not None and not _is_local(fs):
        return _expand_remote(text, fs)
    text = text if fs is None else fs._strip_protocol(text)
    if text.lower().startswith(("http://", "https://")):
        return [Source("url", text, text)], False
    if "://" in text:
        message = f"{text!r} is not http(s); pass a local path, or a path with fs=<fsspec file system>."
        raise BlockedSourceError(message)
    path = _from_home(Path(text))
    if _is_dir(path):
        found = [Source("file", str(p.absolute()), p.absolute()) for p in _walk(path, rules)]
        if not found:
            logger.warning("No files in the folder %s.", path)
        return found, True
    return [Source("file", str(_absolute(path)), _absolute(path))], False


def _from_home(path: Path) -> Path:
    """Expand a leading ``~``, unless a file really has that name or the user is unknown."""
    try:
        return path if os.path.lexists(path) else path.expanduser()
    except (RuntimeError, ValueError):
        return path


def _absolute(path: Path) -> Path:
    # Normalised so that "a/../b.pdf" and "b.pdf" are one document; links are kept as named.
    return Path(os.path.abspath(path))


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _walk(folder: Path, rules: FolderRules) -> Iterator[Path]:
    for root, names, files in os.walk(_absolute(folder)):
        names[:] = sorted(name for name in names if rules.recursive and not _is_hidden(name))
        for name in sorted(files):
            if not _is_hidden(name) and rules.allow(Path(name)):
                yield Path(root) / name


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "~$")) or name in {"__MACOSX", "Thumbs.db", "desktop.ini"}


def _is_local(fs: Any) -> bool:
    protocols = fs.protocol if isinstance(fs.protocol, list | tuple) else (fs.protocol,)
    return "file" in protocols or "local" in protocols


def _expand_remote(text: str, fs: Any) -> tuple[list[Source], bool]:
    path = fs._strip_protocol(text)
    if fs.isdir(path):
        prefix = PurePosixPath(path)
        names = [n for n in sorted(fs.find(path)) if not any(_is_hidden(p) for p in _relative_parts(n, prefix))]
        return [Source("remote", fs.unstrip_protocol(name), (fs, name)) for name in names], True
    return [Source("remote", fs.unstrip_protocol(path), (fs, path))], False


def _relative_parts(name: str, prefix: PurePosixPath) -> tuple[str, ...]:
    path = PurePosixPath(name)
    return path.relative_to(prefix).parts if path.is_relative_to(prefix) else path.parts


def _copy_remote(source: Source, folder: Path, max_bytes: int | None) -> Path:
    fs, name = source.target
    target = folder / (PurePosixPath(name).name or "file")
    try:
        size = fs.info(name).get("size")
        if max_bytes is not None and size is not None and size > max_bytes:
            raise _too_large(source.location, size, max_bytes)
        fs.get_file(name, str(target))
    # Every file system raises its own classes; the cause stays attached.
    except FileTooLargeError:
        raise
    except Exception as error:
        message = f"{source.location!r} cannot be read ({type(error).__name__}: {error}); check the path."
        raise SourceError(message) from error
    return target


def _check_size(path: Path, max_bytes: int | None) -> None:
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        message = f"{str(path)!r} cannot be read ({error}); give the path of an existing file."
        raise SourceError(message) from error
    if max_bytes is not None and size > max_bytes and path.is_file():
        raise _too_large(str(path), size, max_bytes)


def _too_large(location: str, size: int, limit: int) -> FileTooLargeError:
    message = f"{location!r} has {size:,} bytes, over the limit of {limit:,}; raise max_file_bytes to read it."
    return FileTooLargeError(message, location)


def _content_list_source(items: list[Any]) -> Source:
    digest = content_id("content_list", json.dumps(items, sort_keys=True, default=str))
    return Source("content_list", f"content_list:{digest}", items)
