"""Answers with citations: synthesis with or without an LLM, and what an LLM gets to see."""

from __future__ import annotations

from llama_index_raganything.query_engine.chat import RAGAnythingChatEngine
from llama_index_raganything.query_engine.engine import RAGAnythingQueryEngine
from llama_index_raganything.query_engine.extractive import ExtractiveSynthesizer
from llama_index_raganything.query_engine.page_context import PageContextPostprocessor
from llama_index_raganything.query_engine.postprocessors import MultimodalContextPostprocessor
from llama_index_raganything.query_engine.synthesis import CitingSynthesizer

__all__ = [
    "CitingSynthesizer",
    "ExtractiveSynthesizer",
    "MultimodalContextPostprocessor",
    "PageContextPostprocessor",
    "RAGAnythingChatEngine",
    "RAGAnythingQueryEngine",
]
