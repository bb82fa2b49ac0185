"""RAG-Anything's parser registry, both ways."""

from __future__ import annotations

from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.readers.base import FileParser


def named_parser(name: str) -> FileParser:
    """placeholder."""
    raise ConfigurationError(f"No parser is named {name!r}.")
