"""From documents to nodes: sections, chunks, atomic units and whole pages."""

from __future__ import annotations

from llama_index_raganything.node_parser.parser import RAGAnythingNodeParser
from llama_index_raganything.node_parser.placed import PlacedSplitter

__all__ = ["PlacedSplitter", "RAGAnythingNodeParser"]
