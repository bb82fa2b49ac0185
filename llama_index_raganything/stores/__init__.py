"""Stores: nodes and the ledger of ingested documents, both in one Milvus.

Importing this package imports no Milvus client; the classes load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llama_index_raganything.stores.ledger import Ledger, LedgerEntry
    from llama_index_raganything.stores.milvus import MilvusNodeStore

__all__ = ["Ledger", "LedgerEntry", "MilvusNodeStore"]

_HOMES = {"Ledger": "ledger", "LedgerEntry": "ledger", "MilvusNodeStore": "milvus"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
