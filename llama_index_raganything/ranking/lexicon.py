"""Lexicons: words that belong to a question although it does not say them.

A lexicon is a JSON file, or the same as a dictionary: ``{"name", "groups": {name: words}, "entries":
[{"pattern": regular expression, "groups": [names], "words": further words}]}``. An entry fires when its pattern
is found in the question. Nothing is added when nothing fires.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.text.terms import content_tokens


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Patterns and the words they add to a question.

    Attributes:
        name: Its name, shown in evidence.
        entries: Pairs of a compiled pattern and tokens.
    """

    name: str
    entries: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Lexicon:
        """Read a lexicon from its dictionary form.

        Args:
            data: The dictionary; see the module's description.

        Returns:
            The lexicon.

        Raises:
            ConfigurationError: The dictionary has another form or a pattern is not valid.
        """
        name = str(data.get("name", "lexicon"))
        try:
            groups = dict(data.get("groups", {}))
            entries = tuple(_entry(entry, groups) for entry in data["entries"])
        except (KeyError, TypeError, AttributeError, re.error) as error:
            message = f"Lexicon {name!r} cannot be used ({error!r}); see llama_index_raganything.ranking.lexicon."
            raise ConfigurationError(message) from error
        return cls(name, entries)

    def expand(self, text: str) -> tuple[str, ...]:
        """Return the tokens that a question's wording calls for.

        Returns:
            Distinct tokens in order; empty when no pattern fires.
        """
        found: dict[str, None] = {}
        for pattern, tokens in self.entries:
            if pattern.search(text):
                found.update(dict.fromkeys(tokens))
        return tuple(found)


def _entry(entry: Mapping[str, Any], groups: Mapping[str, str]) -> tuple[re.Pattern[str], tuple[str, ...]]:
    words = " ".join([*(groups[name] for name in entry.get("groups", ())), str(entry.get("words", ""))])
    return re.compile(entry["pattern"], re.IGNORECASE), tuple(dict.fromkeys(content_tokens(words)))


@lru_cache(maxsize=32)
def packaged_lexicon(name: str) -> Lexicon:
    """Return a lexicon that comes with the package.

    Args:
        name: Its name: ``"finance"``.

    Returns:
        The lexicon.

    Raises:
        ConfigurationError: There is none of that name.
    """
    folder = resources.files(__package__) / "lexicon_files"
    names = sorted(item.name.removesuffix(".json") for item in folder.iterdir() if item.name.endswith(".json"))
    if name not in names:
        message = f"There is no lexicon {name!r}; packaged are {', '.join(names)}. Give a path for one of your own."
        raise ConfigurationError(message)
    return Lexicon.from_dict(json.loads((folder / f"{name}.json").read_text("utf-8")))


def load_lexicons(sources: Sequence[str | dict[str, Any]]) -> tuple[Lexicon, ...]:
    """Load lexicons by name, by path or from dictionaries.

    Args:
        sources: Names of packaged lexicons, paths ending in ``.json``, or dictionaries.

    Returns:
        The lexicons in order.

    Raises:
        ConfigurationError: One of them does not exist or has another form.
    """
    return tuple(_load(source) for source in sources)


def _load(source: str | dict[str, Any]) -> Lexicon:
    if isinstance(source, dict):
        return Lexicon.from_dict(source)
    if not source.endswith(".json"):
        return packaged_lexicon(source)
    try:
        return Lexicon.from_dict(json.loads(Path(source).read_text("utf-8")))
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigurationError):
            raise
        message = f"Lexicon {source!r} cannot be read: {error}"
        raise ConfigurationError(message) from error
