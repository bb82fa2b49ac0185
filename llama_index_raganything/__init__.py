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
    DashScopeAuthenticationError,
    DashScopeBadRequestError,
    DashScopeConnectionError,
    DashScopeContentError,
    DashScopeError,
    DashScopePermissionError,
    DashScopeProtocolError,
    DashScopeQuotaError,
    DashScopeRateLimitError,
    DashScopeServerError,
    DashScopeTimeoutError,
    EncryptedFileError,
    EnrichmentError,
    FileTooLargeError,
    FilterError,
    IngestionError,
    MissingDependencyError,
    NoAnswerError,
    NodeValueError,
    ParseError,
    PartialEmbeddingError,
    RAGAnythingError,
    SchemaMismatchError,
    SourceError,
    SQLError,
    SQLLimitError,
    SQLRefusedError,
    StoreError,
    StoreLockedError,
    StoreUnavailableError,
    UnknownArgumentError,
    UnknownTableError,
    UnsupportedFormatError,
)

if TYPE_CHECKING:
    from llama_index_raganything.attachments import (
        AttachedQuery,
        EquationAttachment,
        ImageAttachment,
        TableAttachment,
        attachments_of,
    )
    from llama_index_raganything.config import RAGAnythingSettings
    from llama_index_raganything.documents import document_elements, elements_to_document
    from llama_index_raganything.elements import Element
    from llama_index_raganything.enrich import (
        ElementDescriber,
        ElementProcessor,
        EquationDescriber,
        EquationWords,
        FigureOCR,
        ImageDescriber,
        MediaDescriber,
        ProcessorOptions,
        TableDescriber,
        register_modality,
        register_processor,
    )
    from llama_index_raganything.graph.linker import EntityLinker
    from llama_index_raganything.graph.recognizers import (
        EntityRecognizer,
        EntitySpan,
        GLiNERRecognizer,
        LLMRecognizer,
        SpacyRecognizer,
    )
    from llama_index_raganything.graph.triples import TripleExtractor
    from llama_index_raganything.graph.walk import LinkWeights
    from llama_index_raganything.index import RAGAnythingIndex
    from llama_index_raganything.ingestion import Ingestion, IngestionReport
    from llama_index_raganything.models.dashscope.chat import dashscope_llm, dashscope_vlm
    from llama_index_raganything.models.dashscope.multimodal import DashScopeMultiModalEmbedding
    from llama_index_raganything.models.dashscope.rerank import DashScopeRerank
    from llama_index_raganything.models.dashscope.stack import DashScopeModels, dashscope_models
    from llama_index_raganything.models.dashscope.text import DashScopeTextEmbedding
    from llama_index_raganything.models.image_embedder import ImageEmbedder
    from llama_index_raganything.models.wordllama import WordLlamaEmbedding
    from llama_index_raganything.node_parser import PlacedSplitter, RAGAnythingNodeParser
    from llama_index_raganything.query_engine import (
        ExtractiveSynthesizer,
        MultimodalContextPostprocessor,
        PageContextPostprocessor,
        RAGAnythingQueryEngine,
    )
    from llama_index_raganything.query_engine.chat import RAGAnythingChatEngine
    from llama_index_raganything.query_engine.citations import Citation
    from llama_index_raganything.query_engine.responses import acitations_of, citations_of
    from llama_index_raganything.query_engine.tables import TableQueryEngine
    from llama_index_raganything.ranking.evidence import EvidenceRanker
    from llama_index_raganything.readers.reader import RAGAnythingReader
    from llama_index_raganything.readers.registry import register_parsers
    from llama_index_raganything.retrievers.fusion import FusionRetriever
    from llama_index_raganything.retrievers.graph import EvidenceRetriever, GraphRetriever
    from llama_index_raganything.retrievers.inventory import InventoryRetriever
    from llama_index_raganything.retrievers.lightrag import LightRAGRetriever
    from llama_index_raganything.retrievers.nodes import NodeRetriever
    from llama_index_raganything.retrievers.routes import QuestionRouter
    from llama_index_raganything.retrievers.tables import TableRetriever
    from llama_index_raganything.retrievers.visual import VisualRetriever
    from llama_index_raganything.stores.knowledge_graph import KnowledgeGraph
    from llama_index_raganything.stores.ledger import Ledger, LedgerEntry
    from llama_index_raganything.stores.milvus import MilvusNodeStore
    from llama_index_raganything.stores.property_graph import MilvusPropertyGraphStore
    from llama_index_raganything.stores.tables import SQLResult, TableStore
    from llama_index_raganything.stores.visual import MilvusVisualStore
    from llama_index_raganything.tables.model import TableRecord

__version__ = "0.1.0"

_HOMES = {
    "AttachedQuery": "attachments",
    "Citation": "query_engine.citations",
    "DashScopeModels": "models.dashscope.stack",
    "DashScopeMultiModalEmbedding": "models.dashscope.multimodal",
    "DashScopeRerank": "models.dashscope.rerank",
    "DashScopeTextEmbedding": "models.dashscope.text",
    "Element": "elements",
    "ElementDescriber": "enrich",
    "ElementProcessor": "enrich",
    "EntityLinker": "graph.linker",
    "EntityRecognizer": "graph.recognizers",
    "EntitySpan": "graph.recognizers",
    "EquationAttachment": "attachments",
    "EquationDescriber": "enrich",
    "EquationWords": "enrich",
    "EvidenceRanker": "ranking.evidence",
    "EvidenceRetriever": "retrievers.graph",
    "ExtractiveSynthesizer": "query_engine",
    "FigureOCR": "enrich",
    "FusionRetriever": "retrievers.fusion",
    "GLiNERRecognizer": "graph.recognizers",
    "GraphRetriever": "retrievers.graph",
    "ImageAttachment": "attachments",
    "ImageDescriber": "enrich",
    "ImageEmbedder": "models.image_embedder",
    "Ingestion": "ingestion",
    "IngestionReport": "ingestion",
    "InventoryRetriever": "retrievers.inventory",
    "KnowledgeGraph": "stores.knowledge_graph",
    "LLMRecognizer": "graph.recognizers",
    "Ledger": "stores.ledger",
    "LedgerEntry": "stores.ledger",
    "LightRAGRetriever": "retrievers.lightrag",
    "LinkWeights": "graph.walk",
    "MediaDescriber": "enrich",
    "MilvusNodeStore": "stores.milvus",
    "MilvusPropertyGraphStore": "stores.property_graph",
    "MilvusVisualStore": "stores.visual",
    "MultimodalContextPostprocessor": "query_engine",
    "NodeRetriever": "retrievers.nodes",
    "PageContextPostprocessor": "query_engine",
    "PlacedSplitter": "node_parser",
    "ProcessorOptions": "enrich",
    "QuestionRouter": "retrievers.routes",
    "RAGAnythingChatEngine": "query_engine.chat",
    "RAGAnythingIndex": "index",
    "RAGAnythingNodeParser": "node_parser",
    "RAGAnythingQueryEngine": "query_engine",
    "RAGAnythingReader": "readers.reader",
    "RAGAnythingSettings": "config",
    "SQLResult": "stores.tables",
    "SpacyRecognizer": "graph.recognizers",
    "TableAttachment": "attachments",
    "TableDescriber": "enrich",
    "TableQueryEngine": "query_engine.tables",
    "TableRecord": "tables.model",
    "TableRetriever": "retrievers.tables",
    "TableStore": "stores.tables",
    "TripleExtractor": "graph.triples",
    "VisualRetriever": "retrievers.visual",
    "WordLlamaEmbedding": "models.wordllama",
    "acitations_of": "query_engine.responses",
    "attachments_of": "attachments",
    "citations_of": "query_engine.responses",
    "dashscope_llm": "models.dashscope.chat",
    "dashscope_models": "models.dashscope.stack",
    "dashscope_vlm": "models.dashscope.chat",
    "document_elements": "documents",
    "elements_to_document": "documents",
    "register_modality": "enrich",
    "register_parsers": "readers.registry",
    "register_processor": "enrich",
}

__all__ = [
    "AttachedQuery",
    "BlockedSourceError",
    "Citation",
    "ConfigurationError",
    "CorruptFileError",
    "DashScopeAuthenticationError",
    "DashScopeBadRequestError",
    "DashScopeConnectionError",
    "DashScopeContentError",
    "DashScopeError",
    "DashScopeModels",
    "DashScopeMultiModalEmbedding",
    "DashScopePermissionError",
    "DashScopeProtocolError",
    "DashScopeQuotaError",
    "DashScopeRateLimitError",
    "DashScopeRerank",
    "DashScopeServerError",
    "DashScopeTextEmbedding",
    "DashScopeTimeoutError",
    "Element",
    "ElementDescriber",
    "ElementProcessor",
    "EncryptedFileError",
    "EnrichmentError",
    "EntityLinker",
    "EntityRecognizer",
    "EntitySpan",
    "EquationAttachment",
    "EquationDescriber",
    "EquationWords",
    "EvidenceRanker",
    "EvidenceRetriever",
    "ExtractiveSynthesizer",
    "FigureOCR",
    "FileTooLargeError",
    "FilterError",
    "FusionRetriever",
    "GLiNERRecognizer",
    "GraphRetriever",
    "ImageAttachment",
    "ImageDescriber",
    "ImageEmbedder",
    "Ingestion",
    "IngestionError",
    "IngestionReport",
    "InventoryRetriever",
    "KnowledgeGraph",
    "LLMRecognizer",
    "Ledger",
    "LedgerEntry",
    "LightRAGRetriever",
    "LinkWeights",
    "MediaDescriber",
    "MilvusNodeStore",
    "MilvusPropertyGraphStore",
    "MilvusVisualStore",
    "MissingDependencyError",
    "MultimodalContextPostprocessor",
    "NoAnswerError",
    "NodeRetriever",
    "NodeValueError",
    "PageContextPostprocessor",
    "ParseError",
    "PartialEmbeddingError",
    "PlacedSplitter",
    "ProcessorOptions",
    "QuestionRouter",
    "RAGAnythingChatEngine",
    "RAGAnythingError",
    "RAGAnythingIndex",
    "RAGAnythingNodeParser",
    "RAGAnythingQueryEngine",
    "RAGAnythingReader",
    "RAGAnythingSettings",
    "SQLError",
    "SQLLimitError",
    "SQLRefusedError",
    "SQLResult",
    "SchemaMismatchError",
    "SourceError",
    "SpacyRecognizer",
    "StoreError",
    "StoreLockedError",
    "StoreUnavailableError",
    "TableAttachment",
    "TableDescriber",
    "TableQueryEngine",
    "TableRecord",
    "TableRetriever",
    "TableStore",
    "TripleExtractor",
    "UnknownArgumentError",
    "UnknownTableError",
    "UnsupportedFormatError",
    "VisualRetriever",
    "WordLlamaEmbedding",
    "__version__",
    "acitations_of",
    "attachments_of",
    "citations_of",
    "dashscope_llm",
    "dashscope_models",
    "dashscope_vlm",
    "document_elements",
    "elements_to_document",
    "register_modality",
    "register_parsers",
    "register_processor",
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
