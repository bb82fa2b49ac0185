"""LightRAG as a retriever: a bridge for those who have, or want, a graph that an LLM has built."""

from llama_index_raganything.retrievers.lightrag.retriever import LightRAGRetriever
from llama_index_raganything.retrievers.lightrag.session import BuildReport

__all__ = ["BuildReport", "LightRAGRetriever"]
