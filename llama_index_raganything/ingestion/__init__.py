"""Ingestion: one document is one commit, recorded in the ledger."""

from __future__ import annotations

from llama_index_raganything.ingestion.pipeline import Ingestion
from llama_index_raganything.ingestion.report import IngestionReport

__all__ = ["Ingestion", "IngestionReport"]
