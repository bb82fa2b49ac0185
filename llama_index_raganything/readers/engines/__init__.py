"""Parsers that other packages bring: docvortex, MinerU, Docling and any that RAG-Anything registers, by name."""
