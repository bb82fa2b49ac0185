"""Answers with citations: synthesis with or without an LLM, and what an LLM gets to see."""
