"""Retrievers: candidates from stores, fused and ordered by evidence."""
