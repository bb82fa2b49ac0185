"""Which files of a folder are read: not hidden, system, temporary or excluded ones, nor the data of an index."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from llama_index_raganything.errors import ConfigurationError


@dataclass(frozen=True)
class ExcludePatterns:
    """Which paths in a folder are left out.

    A pattern without a slash (``*.bak``, ``drafts``) matches a name at any depth; one with a slash at its beginning or
    middle (``drafts/*.md``, ``/notes.md``) matches a path below the folder; one that ends in a slash matches only
    folders. ``*`` and ``?`` stop at slashes, ``**`` does not; ``[a-z]`` and ``[!a-z]`` are sets. ``!`` takes back what
    an earlier pattern left out, except below a folder that is left out.

    >>> patterns = ExcludePatterns.of(["drafts/**", "*.bak", "!keep.bak"])
    >>> [patterns.match(path, is_folder=False) for path in ("drafts/a.md", "x/old.bak", "keep.bak", "a.md")]
    [True, True, False, False]

    Attributes:
        patterns: The patterns; the last one that matches decides.
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
        """Return whether a path is left out.

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


logger = logging.getLogger(__name__)

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
class FolderRules:
    """What is read of a folder; files that are named themselves are read unless ``exclude`` fits them.

    Attributes:
        recursive: Folders in it are read too.
        suffixes: File name extensions with their dots, in lower case; None reads all.
        exclude: Paths that are left out, from the folder on.
        own: Absolute paths of databases and working folders, which are never read.
        working_dir: Absolute path of the folder in which each knowledge base has a folder of its own.
    """

    recursive: bool = True
    suffixes: frozenset[str] | None = None
    exclude: ExcludePatterns = field(default_factory=ExcludePatterns)
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
