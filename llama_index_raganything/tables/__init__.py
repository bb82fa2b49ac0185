"""Tables as typed relations: printed cells read as numbers, dates and truth values. Pure functions of data.

The names load on first use, so that a process that only keeps tables imports no LlamaIndex.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llama_index_raganything.tables.model import Column, TableRecord
    from llama_index_raganything.tables.profile import TableProfile
    from llama_index_raganything.tables.read import tables_of_nodes

__all__ = ["Column", "TableProfile", "TableRecord", "tables_of_nodes"]

_HOMES = {
    "Column": "model",
    "TableProfile": "profile",
    "TableRecord": "model",
    "tables_of_nodes": "read",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
