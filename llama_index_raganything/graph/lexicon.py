"""Lists of words that tell names from other words."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources


@cache
def words_called(name: str) -> frozenset[str]:
    """Return a packaged list of folded words.

    Args:
        name: ``connectors`` (stand inside names), ``not_names`` (have a capital without being names: words that begin
            sentences, months, days), ``honorifics``, ``name_suffixes``, or ``generic_headings`` (say nothing about
            what stands below them).
    """
    source = resources.files(__package__) / "words.json"
    return frozenset(json.loads(source.read_text("utf-8"))[name].split())
