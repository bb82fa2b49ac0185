"""Where files come from: paths, folders, bytes, content lists, other file systems and URLs.

Of folders, hidden, system, temporary and excluded files are left out, and the data of an index.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Final, Literal

from llama_index_raganything.elements import content_id
from llama_index_raganything.errors import BlockedSourceError, ConfigurationError, FileTooLargeError, SourceError
from llama_index_raganything.readers.cache import file_hash
from llama_index_raganything.readers.sources.formats import FileFormat
from llama_index_raganything.readers.sources.urls import UrlPolicy, fetch_url

logger = logging.getLogger(__name__)

SourceInput = str | Path | PurePath | Mapping[str, Any] | Iterable[Any]
"""What a reader takes: a path, folder or URL, a pair of a name and bytes or a binary stream, several of these, or a
content list."""

SkipReason = Literal[
    "hidden", "system", "temporary", "own data", "excluded", "other type", "linked folder", "no file", "unreadable"
]
"""Why something in a folder is not read.

``own data`` is a database of Milvus Lite, or the parse cache and assets of a reader; ``other type`` a file whose
extension is not asked for; ``linked folder`` a symbolic link to a folder, which may lead in a circle; ``no file`` a
pipe, socket or device, which may never end.
"""

_SYSTEM: Final = frozenset(
    {
        *(".ds_store", "__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin"),
        *("system volume information", "lost+found", "__pycache__", "node_modules"),
    }
)
_TEMPORARY_ENDS: Final = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".download", ".swp", ".swo", "~")
_TEMPORARY_STARTS: Final = ("~$", "~wrl", ".~lock.")
_WORKING_FOLDERS: Final = frozenset({"assets", "parse_cache", "tables", "descriptions", "tenants"})
"""Sub-folders that readers and indexes make in a working folder."""

_MAX_NAMES: Final = 10


@dataclass
class SkippedFiles:
    """What was skipped in folders, counted by reason; a folder counts as one, whatever is in it.

    Attributes:
        counts: Number skipped, by reason.
        names: The first ten paths of each reason, all of the unreadable ones; folders end in a slash.
    """

    counts: Counter[SkipReason] = field(default_factory=Counter)
    names: dict[SkipReason, list[str]] = field(default_factory=dict)

    def add(self, name: str, reason: SkipReason) -> None:
        """Count one file or folder.

        Args:
            name: Its path, of a folder with a slash at the end.
            reason: Why it is not read.
        """
        self.counts[reason] += 1
        kept = self.names.setdefault(reason, [])
        # All unreadable ones: nobody knows whether what is below these folders is gone.
        if len(kept) < _MAX_NAMES or reason == "unreadable":
            kept.append(name)

    def update(self, other: SkippedFiles) -> None:
        """Add what was skipped elsewhere.

        Args:
            other: What was skipped there.
        """
        self.counts.update(other.counts)
        for reason, names in other.names.items():
            kept = self.names.setdefault(reason, [])
            kept += names if reason == "unreadable" else names[: _MAX_NAMES - len(kept)]

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the numbers and names as plain values, by reason."""
        return {reason: {"count": count, "names": self.names[reason]} for reason, count in self.counts.items()}

    def __bool__(self) -> bool:
        return bool(self.counts)

    def __str__(self) -> str:
        """Return the numbers with a few names, in one line."""
        parts = []
        for reason, count in self.counts.items():
            shown = ", ".join(
                os.path.basename(name.rstrip("/")) + name[len(name.rstrip("/")) :] for name in self.names[reason][:3]
            )
            parts.append(f"{count} {reason} ({shown}{', …' if count > 3 else ''})")
        return ", ".join(parts)


@dataclass(frozen=True)
class ExcludePatterns:
    """Tells which paths in a folder are left out.

    A pattern without a slash (``*.bak``, ``drafts``) fits a name at any depth; one with a slash at its beginning or
    middle (``drafts/*.md``, ``/notes.md``) fits a path from the folder on; one that ends in a slash fits folders only.
    ``*`` and ``?`` stop at slashes, ``**`` does not; ``[a-z]`` and ``[!a-z]`` are sets. ``!`` takes back what an
    earlier pattern left out, but nothing below a folder that is left out.

    >>> patterns = ExcludePatterns.of(["drafts/**", "*.bak", "!keep.bak"])
    >>> [patterns.match(path, is_folder=False) for path in ("drafts/a.md", "x/old.bak", "keep.bak", "a.md")]
    [True, True, False, False]

    Attributes:
        patterns: The patterns; the last one that fits decides.
    """

    patterns: tuple[str, ...] = ()

    @classmethod
    def of(cls, patterns: str | Iterable[str] | None) -> ExcludePatterns:
        """Check patterns.

        Args:
            patterns: One pattern, several, or None.

        Raises:
            ConfigurationError: One is empty or no text.
        """
        several = isinstance(patterns, Iterable) and not isinstance(patterns, str | bytes)
        given: tuple[Any, ...] = () if patterns is None else tuple(patterns) if several else (patterns,)
        for pattern in given:
            if not isinstance(pattern, str) or not pattern.strip("!/ "):
                message = f"exclude holds {pattern!r}; give patterns such as 'drafts/**' or '*.bak'."
                raise ConfigurationError(message)
            _compiled(pattern)
        return cls(given)

    def match(self, path: str, *, is_folder: bool) -> bool:
        """Tell whether a path is left out.

        Args:
            path: Path from the folder on, with ``/`` between its parts.
            is_folder: Whether it is a folder.
        """
        for pattern in reversed(self.patterns):
            if (is_folder or not pattern.endswith("/")) and _compiled(pattern).match(path):
                return not pattern.startswith("!")
        return False


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    glob = pattern.removeprefix("!").rstrip("/")
    anchored = "/" in glob
    glob = glob.removeprefix("/")
    start = "" if anchored else "(?:.*/)?"
    try:
        return re.compile(f"{start}{_regex_of(glob)}\\Z", re.DOTALL)
    except re.error as error:
        message = f"exclude holds {pattern!r}, which is no pattern ({error})."
        raise ConfigurationError(message) from error


_TOKEN = re.compile(
    r"(?P<below>/\*\*\Z)|(?P<any>(?:(?<=/)|\A)\*\*/)|(?P<star>\*+)|(?P<one>\?)|(?P<set>\[!?\]?[^\]]*\])|(?P<char>\\?.)",
    re.DOTALL,
)


def _regex_of(glob: str) -> str:
    parts = []
    for token in _TOKEN.finditer(glob):
        text = token.group()
        if token.lastgroup == "below":
            parts.append("/.+")
        elif token.lastgroup == "any":
            parts.append("(?:.*/)?")
        elif token.lastgroup == "star":
            parts.append("[^/]*")
        elif token.lastgroup == "one":
            parts.append("[^/]")
        elif token.lastgroup == "set":
            negated = text[1] in "!^"
            inside = text[2 if negated else 1 : -1].replace("\\", r"\\").replace("[", r"\[").replace("]", r"\]")
            parts.append(f"(?!/)[{'^' if negated else ''}{inside}]")
        else:
            parts.append(re.escape(text[-1]))
    return "".join(parts)


@dataclass(frozen=True)
class FolderRules:
    """What is read of a folder; files that are named themselves are read unless ``exclude`` fits them.

    Attributes:
        recursive: Folders in it are read too.
        suffixes: File name extensions with their dots, in lower case; None reads all.
        exclude: Paths that are left out, from the folder on; see :class:`ExcludePatterns`.
        own: Absolute paths of databases and working folders, which are never read.
        working_dir: Absolute path of the folder in which each knowledge base has a folder of its own.
    """

    recursive: bool = True
    suffixes: frozenset[str] | None = None
    exclude: ExcludePatterns = ExcludePatterns()
    own: frozenset[str] = frozenset()
    working_dir: str | None = None

    def is_own(self, path: str | Path) -> bool:
        """Return whether a path is, or lies in, a database or working folder that is never read.

        Args:
            path: An absolute path.
        """
        place = Path(path)
        return not self.own.isdisjoint((str(place), *map(str, place.parents))) or is_milvus_lite(place)


def is_milvus_lite(folder: Path) -> bool:
    """Return whether a folder is a Milvus Lite database."""
    if folder.suffix != ".db" or not folder.is_dir():
        return False
    return (folder / "LOCK").exists() and ((folder / "collections").is_dir() or (folder / "databases").is_dir())


def why_skipped(name: str) -> SkipReason | None:
    """Return why a file or folder of this name is skipped; None for one that is read.

    Args:
        name: Its name alone.
    """
    lowered = name.lower()
    if lowered.startswith(_TEMPORARY_STARTS) or lowered.endswith(_TEMPORARY_ENDS):
        return "temporary"
    if lowered in _SYSTEM:
        return "system"
    return "hidden" if name.startswith(".") else None


def walk(folder: Path, rules: FolderRules, skipped: SkippedFiles) -> Iterator[Path]:
    """Yield the files of a folder that are read, in sorted order.

    Args:
        folder: Absolute path of the folder.
        rules: What is read.
        skipped: Gets what is not.

    Yields:
        Absolute paths.
    """

    def unreadable(error: OSError) -> None:
        logger.warning("The folder %s cannot be read (%s).", error.filename, error.strerror or error)
        skipped.add(f"{error.filename}/", "unreadable")

    for root, names, files in os.walk(folder, onerror=unreadable):
        here = Path(root)
        inside = here.relative_to(folder).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        is_working_folder = "parse_cache" in names or (
            # Of a knowledge base that was never given a file.
            str(here.parent) == rules.working_dir and not files and _WORKING_FOLDERS.issuperset(names)
        )
        entered = []
        for name in sorted(names) if rules.recursive else ():
            reason = _why_not_folder(here / name, f"{prefix}{name}", rules, is_working_folder=is_working_folder)
            if reason is None:
                entered.append(name)
            else:
                skipped.add(f"{here / name}/", reason)
        names[:] = entered
        for name in sorted(files):
            reason = _why_not_file(here / name, f"{prefix}{name}", rules)
            if reason is None:
                yield here / name
            else:
                skipped.add(str(here / name), reason)


def _why_not_folder(path: Path, inside: str, rules: FolderRules, *, is_working_folder: bool) -> SkipReason | None:
    reason = why_skipped(path.name)
    if reason is not None:
        return reason
    if rules.exclude.match(inside, is_folder=True):
        return "excluded"
    if str(path) in rules.own or (is_working_folder and path.name in _WORKING_FOLDERS) or is_milvus_lite(path):
        return "own data"
    if path.is_symlink():
        return "linked folder"
    return "system" if (path / "pyvenv.cfg").is_file() else None


def _why_not_file(path: Path, inside: str, rules: FolderRules) -> SkipReason | None:
    reason = why_skipped(path.name)
    if reason is not None:
        return reason
    if rules.exclude.match(inside, is_folder=False):
        return "excluded"
    if rules.suffixes is not None and path.suffix.lower() not in rules.suffixes:
        return "other type"
    # A dangling link is kept, so that it is reported as a failure.
    return "no file" if os.path.exists(path) and not os.path.isfile(path) else None


_ALL_FILES = FolderRules()


@dataclass(frozen=True)
class Source:
    """One file, URL, content list or other input to read.

    Attributes:
        kind: ``file`` (local), ``remote`` (another file system), ``url``, ``bytes`` or ``content_list``.
        location: Absolute path, URL, given name of bytes, or made-up name of a content list; goes to the metadata.
        target: The path, URL, bytes (or binary stream), or content list itself.
        content_hash: SHA-256 of its content in hex, where :func:`with_hash` has taken it.
        hashed_ns: Time of modification of the file that was hashed, in nanoseconds.
    """

    kind: Literal["file", "remote", "url", "bytes", "content_list"]
    location: str
    target: Any = field(repr=False)
    content_hash: str = ""
    hashed_ns: int = 0


@dataclass
class FoundSources:
    """The sources that a caller's paths lead to.

    Attributes:
        sources: What to read.
        is_batch: Whether there was a folder, or more than one source.
        skipped: What was found in folders, or excluded by name, and is not read.
        empty_folders: Folders in which nothing is read.
        missing: Paths that were named and do not exist; they are among the sources too.
    """

    sources: list[Source] = field(default_factory=list)
    is_batch: bool = False
    skipped: SkippedFiles = field(default_factory=SkippedFiles)
    empty_folders: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def expand_sources(value: Any, fs: Any = None, rules: FolderRules = _ALL_FILES) -> FoundSources:
    """Turn what a caller gave into single sources.

    Folders are walked recursively in sorted order; what is left out of them is counted.

    Args:
        value: A :data:`SourceInput`.
        fs: fsspec file system that the paths belong to; the local one when None.
        rules: What is read of local folders.

    Raises:
        ConfigurationError: The value is none of these.
        BlockedSourceError: A path is a database or working folder of the index that reads.
    """
    found = FoundSources()
    content_list = as_content_list(value)
    if content_list is not None:
        digest = content_id("content_list", json.dumps(content_list, sort_keys=True, default=str))
        found.sources.append(Source("content_list", f"content_list:{digest}", content_list))
        return found
    if isinstance(value, str | PurePath) or _is_named_bytes(value):
        _expand(value, fs, rules, found)
        return found
    if not isinstance(value, Iterable) or isinstance(value, bytes | bytearray | memoryview) or hasattr(value, "read"):
        message = (
            f"Cannot read {type(value).__name__} {str(value)[:80]!r}; give a path, folder, URL, content list, a pair "
            "of a name and bytes such as ('report.pdf', data), or several."
        )
        raise ConfigurationError(message)
    for item in value:
        _expand(item, fs, rules, found)
    found.is_batch = found.is_batch or len(found.sources) > 1
    return found


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
    """Provide a source as a local file, fetched into a temporary folder when it is not one.

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
        elif source.kind == "bytes":
            path = Path(folder) / _file_name(source.location)
            path.write_bytes(with_bytes(source, max_bytes).target)
            yield path
        else:
            yield _copy_remote(source, Path(folder), max_bytes)


@contextmanager
def with_suffix(path: Path, file_format: FileFormat) -> Iterator[Path]:
    """Provide a file under the extension that fits its content, for parsers that go by name.

    Args:
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


def with_bytes(source: Source, max_bytes: int | None) -> Source:
    """Return a source of kind ``bytes`` with its bytes, read from its stream where it has one.

    Args:
        source: The source; a stream is read to its end.
        max_bytes: Size limit in bytes; None for none.

    Raises:
        FileTooLargeError: There are more.
        SourceError: The stream cannot be read.
        ConfigurationError: It is one of text.
    """
    data = source.target
    if hasattr(data, "read"):
        data = _read_all(data, source.location, max_bytes)
    if max_bytes is not None and len(data) > max_bytes:
        message = f"{source.location!r} has over {max_bytes:,} bytes, the limit; raise max_file_bytes to read it."
        raise FileTooLargeError(message, source.location)
    return replace(source, target=bytes(data))


def with_hash(source: Source, max_bytes: int | None) -> Source:
    """Return a source with the hash of its content, where that needs neither network nor parser.

    Args:
        source: Any source; of bytes, a stream is read to its end.
        max_bytes: Size limit in bytes for bytes; None for none.

    Raises:
        SourceError: The file or stream cannot be read.
        FileTooLargeError: There are more bytes.
    """
    if source.kind == "file":
        path = Path(source.target)
        before = _modified_ns(path)  # A file that is changed while it is hashed counts as changed since.
        return replace(source, content_hash=file_hash(path), hashed_ns=before)
    if source.kind == "bytes":
        source = with_bytes(source, max_bytes)
        return replace(source, content_hash=hashlib.sha256(source.target).hexdigest())
    return source


def content_hash_of(source: Source, path: Path) -> str:
    """Return the hash of a source's content: the one that it has, unless the file was changed since.

    Args:
        source: A source that is not a content list.
        path: The local file that holds its content.

    Raises:
        SourceError: The file cannot be read.
    """
    if source.content_hash and (source.kind == "bytes" or source.hashed_ns == _modified_ns(path)):
        return source.content_hash
    return file_hash(path)


def _modified_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except (OSError, ValueError):
        return -1  # Reading it raises the typed error.


def named_bytes(name: Any, data: Any) -> tuple[Any, Any]:
    """Return a pair of name and data as a file in memory.

    Args:
        data: Its bytes, or a binary stream.

    Raises:
        ConfigurationError: They are something else; two strings would be read as paths.
    """
    pair = (name, data)
    if not _is_named_bytes(pair):
        message = (
            f"Bytes or a binary stream and a file name are needed, not {type(data).__name__} and "
            f"{type(name).__name__}; text becomes bytes with text.encode()."
        )
        raise ConfigurationError(message)
    return pair


def _is_named_bytes(value: Any) -> bool:
    if not isinstance(value, tuple) or len(value) != 2 or not isinstance(value[0], str | PurePath):
        return False
    return isinstance(value[1], bytes | bytearray | memoryview) or hasattr(value[1], "read")


def _read_all(stream: Any, location: str, max_bytes: int | None) -> bytes:
    """Read a stream to its end, or to the first byte behind the limit."""
    read = bytearray()
    while max_bytes is None or len(read) <= max_bytes:
        try:
            # Raw streams give what there is, which may be less than they are asked for.
            piece = stream.read() if max_bytes is None else stream.read(max_bytes + 1 - len(read))
        except Exception as error:  # Whatever the stream of a caller raises; the cause stays attached.
            reason = f"{type(error).__name__}: {error}"
            message = f"The stream of {location!r} cannot be read ({reason}); open it for reading."
            raise SourceError(message) from error
        if not isinstance(piece, bytes | bytearray):
            message = f"The stream of {location!r} gives {type(piece).__name__}; open it in binary mode ('rb')."
            raise ConfigurationError(message)
        if not piece:
            break
        read += piece
    return bytes(read)


def _expand(item: Any, fs: Any, rules: FolderRules, found: FoundSources) -> None:
    if _is_named_bytes(item):
        name, data = os.fspath(item[0]), item[1]
        if not _file_name(name):
            message = f"Bytes need a file name such as 'report.pdf', not {name!r}."
            raise ConfigurationError(message)
        found.sources.append(Source("bytes", name, data))
    elif isinstance(item, str | PurePath):
        _expand_path(item, fs, rules, found)
    else:
        message = (
            f"Cannot read {type(item).__name__} {str(item)[:80]!r} in a list of paths; give paths, URLs, or pairs of a "
            "name and bytes; documents of LlamaIndex go to add_documents()."
        )
        raise ConfigurationError(message)


def _file_name(name: str) -> str:
    """Return the last part of a name, by which no folder can be left."""
    path = name.split("?")[0] if "://" in name else name
    last = path.replace("\\", "/").rstrip("/").rpartition("/")[2].replace("\0", "").strip()
    return "" if last in {".", ".."} else last[-150:]


def _expand_path(value: str | PurePath, fs: Any, rules: FolderRules, found: FoundSources) -> None:
    text = os.fspath(value)
    if not text.strip():
        raise ConfigurationError("The path is empty; give the path of a file or folder.")
    if fs is not None and not _is_local(fs):
        _expand_remote(text, fs, found)
        return
    text = text if fs is None else fs._strip_protocol(text)
    if text.lower().startswith(("http://", "https://")):
        found.sources.append(Source("url", text, text))
        return
    if "://" in text:
        message = f"{text!r} is not http(s); pass a local path, or a path with fs=<fsspec file system>."
        raise BlockedSourceError(message)
    # Normalised so that "a/../b.pdf" and "b.pdf" are one document; links are kept as named.
    path = Path(os.path.abspath(_from_home(Path(text))))
    if rules.is_own(path):
        message = f"{str(path)!r} belongs to the data of an index, which is never read; name your documents instead."
        raise BlockedSourceError(message)
    if os.path.isdir(path):
        files = [Source("file", str(file), file) for file in walk(path, rules, found.skipped)]
        if not files:
            logger.warning("No files in the folder %s.", path)
            found.empty_folders.append(str(path))
        found.sources += files
        found.is_batch = True
    elif rules.exclude.match(_from_here(path), is_folder=False):
        found.skipped.add(str(path), "excluded")
    else:
        found.sources.append(Source("file", str(path), path))
        if not os.path.exists(path):
            found.missing.append(str(path))


def _from_here(path: Path) -> str:
    """Return a path relative to the current folder; the name of one that lies elsewhere."""
    here = Path.cwd()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else path.name


def _from_home(path: Path) -> Path:
    """Expand a leading ``~``, unless a file really has that name or the user is unknown."""
    try:
        return path if os.path.lexists(path) else path.expanduser()
    except (RuntimeError, ValueError):
        return path


def _is_local(fs: Any) -> bool:
    protocols = fs.protocol if isinstance(fs.protocol, list | tuple) else (fs.protocol,)
    return "file" in protocols or "local" in protocols


def _expand_remote(text: str, fs: Any, found: FoundSources) -> None:
    path = fs._strip_protocol(text)
    if not fs.isdir(path):
        found.sources.append(Source("remote", fs.unstrip_protocol(path), (fs, path)))
        return
    prefix = PurePosixPath(path)
    found.is_batch = True
    for name in sorted(fs.find(path)):
        place = PurePosixPath(name)
        parts = place.relative_to(prefix).parts if place.is_relative_to(prefix) else place.parts
        reasons = [reason for part in parts if (reason := why_skipped(part))]
        if reasons:
            found.skipped.add(fs.unstrip_protocol(name), reasons[0])
        else:
            found.sources.append(Source("remote", fs.unstrip_protocol(name), (fs, name)))


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
