"""Parsers that other packages bring: docvortex, MinerU, Docling and RAG-Anything's registry."""
