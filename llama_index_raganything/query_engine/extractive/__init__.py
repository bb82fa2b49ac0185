"""Answers without an LLM: quotes that cite."""
