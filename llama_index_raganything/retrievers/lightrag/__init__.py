"""LightRAG as a retriever: a bridge for those who have, or want, a graph that an LLM has built."""
