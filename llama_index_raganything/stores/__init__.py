"""Stores: nodes, the graph, and the ledger of ingested documents, all in one Milvus.

Importing this package imports no Milvus client; the classes load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llama_index_raganything.stores.ledger import Ledger, LedgerEntry
    from llama_index_raganything.stores.milvus import MilvusNodeStore
    from llama_index_raganything.stores.property_graph import MilvusPropertyGraphStore
    from llama_index_raganything.stores.visual import MilvusVisualStore

__all__ = ["Ledger", "LedgerEntry", "MilvusNodeStore", "MilvusPropertyGraphStore", "MilvusVisualStore"]

_HOMES = {
    "Ledger": "ledger",
    "LedgerEntry": "ledger",
    "MilvusNodeStore": "milvus",
    "MilvusPropertyGraphStore": "property_graph",
    "MilvusVisualStore": "visual",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
