"""Retrieval by evidence: candidates, pages, and sets of linked nodes."""
