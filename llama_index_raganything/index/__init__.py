"""``RAGAnythingIndex``: the one place that wires all parts together with defaults."""

from llama_index_raganything.index.index import RAGAnythingIndex

__all__ = ["RAGAnythingIndex"]
