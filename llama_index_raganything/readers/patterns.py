"""Patterns of paths to leave out, with the meaning that they have in a ``.gitignore``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from llama_index_raganything.errors import ConfigurationError


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
