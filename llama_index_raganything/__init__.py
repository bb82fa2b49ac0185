"""Multimodal RAG for LlamaIndex: RAG-Anything's parsers, Milvus, and answers that cite a box on a page.

>>> from llama_index_raganything import RAGAnythingIndex
>>> index = RAGAnythingIndex.from_paths(["reports/"], uri="./milvus.db", show_progress=True)  # doctest: +SKIP
>>> response = index.as_query_engine().query("Which region grew fastest?")  # doctest: +SKIP

Names are imported when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from llama_index_raganything.errors import (
    BlockedSourceError,
    ConfigurationError,
    CorruptFileError,
    EncryptedFileError,
    FileTooLargeError,
    FilterError,
    IngestionError,
    MissingDependencyError,
    NodeValueError,
    ParseError,
    RAGAnythingError,
    SchemaMismatchError,
    SourceError,
    StoreError,
    StoreLockedError,
    StoreUnavailableError,
    UnsupportedFormatError,
)

if TYPE_CHECKING:
    from llama_index_raganything.config import RAGAnythingSettings
    from llama_index_raganything.documents import document_elements, elements_to_document
    from llama_index_raganything.elements import Element
    from llama_index_raganything.index import RAGAnythingIndex
    from llama_index_raganything.ingestion import Ingestion, IngestionReport
    from llama_index_raganything.models.wordllama import WordLlamaEmbedding
    from llama_index_raganything.node_parser import RAGAnythingNodeParser
    from llama_index_raganything.query_engine import ExtractiveSynthesizer, RAGAnythingQueryEngine
    from llama_index_raganything.ranking.evidence import EvidenceRanker
    from llama_index_raganything.readers.reader import RAGAnythingReader
    from llama_index_raganything.readers.registry import register_parsers
    from llama_index_raganything.retrievers.fusion import FusionRetriever
    from llama_index_raganything.retrievers.nodes import NodeRetriever
    from llama_index_raganything.stores.ledger import Ledger, LedgerEntry
    from llama_index_raganything.stores.milvus import MilvusNodeStore

__version__ = "0.1.0"

_HOMES = {
    "Element": "elements",
    "EvidenceRanker": "ranking.evidence",
    "ExtractiveSynthesizer": "query_engine",
    "FusionRetriever": "retrievers.fusion",
    "Ingestion": "ingestion",
    "IngestionReport": "ingestion",
    "Ledger": "stores.ledger",
    "LedgerEntry": "stores.ledger",
    "MilvusNodeStore": "stores.milvus",
    "NodeRetriever": "retrievers.nodes",
    "RAGAnythingIndex": "index",
    "RAGAnythingNodeParser": "node_parser",
    "RAGAnythingQueryEngine": "query_engine",
    "RAGAnythingReader": "readers.reader",
    "RAGAnythingSettings": "config",
    "WordLlamaEmbedding": "models.wordllama",
    "document_elements": "documents",
    "elements_to_document": "documents",
    "register_parsers": "readers.registry",
}

__all__ = [
    "BlockedSourceError",
    "ConfigurationError",
    "CorruptFileError",
    "Element",
    "EncryptedFileError",
    "EvidenceRanker",
    "ExtractiveSynthesizer",
    "FileTooLargeError",
    "FilterError",
    "FusionRetriever",
    "Ingestion",
    "IngestionError",
    "IngestionReport",
    "Ledger",
    "LedgerEntry",
    "MilvusNodeStore",
    "MissingDependencyError",
    "NodeRetriever",
    "NodeValueError",
    "ParseError",
    "RAGAnythingError",
    "RAGAnythingIndex",
    "RAGAnythingNodeParser",
    "RAGAnythingQueryEngine",
    "RAGAnythingReader",
    "RAGAnythingSettings",
    "SchemaMismatchError",
    "SourceError",
    "StoreError",
    "StoreLockedError",
    "StoreUnavailableError",
    "UnsupportedFormatError",
    "WordLlamaEmbedding",
    "__version__",
    "document_elements",
    "elements_to_document",
    "register_parsers",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home when it is first used."""
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return list(__all__)
