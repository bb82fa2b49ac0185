"""Tables as typed relations: printed cells read as numbers, dates and truth values. Pure functions of data."""

from __future__ import annotations

from llama_index_raganything.tables.model import Column, TableRecord
from llama_index_raganything.tables.profile import TableProfile, profile
from llama_index_raganything.tables.read import tables_of_nodes

__all__ = ["Column", "TableProfile", "TableRecord", "profile", "tables_of_nodes"]
