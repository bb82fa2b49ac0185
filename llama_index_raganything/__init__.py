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
    from llama_index_raganything.documents.packing import document_elements, elements_to_document
    from llama_index_raganything.elements import Element
    from llama_index_raganything.enrich.base import ElementProcessor
    from llama_index_raganything.enrich.describers.base import ElementDescriber
    from llama_index_raganything.enrich.describers.equation import EquationDescriber
    from llama_index_raganything.enrich.describers.image import ImageDescriber
    from llama_index_raganything.enrich.describers.media import MediaDescriber
    from llama_index_raganything.enrich.describers.table import TableDescriber
    from llama_index_raganything.enrich.equation_words import EquationWords
    from llama_index_raganything.enrich.image_embedder import ImageEmbedder
    from llama_index_raganything.enrich.image_ocr import ImageOCR
    from llama_index_raganything.enrich.registry import ProcessorOptions, register_modality, register_processor
    from llama_index_raganything.graph.extraction.entity_linker import EntityLinker
    from llama_index_raganything.graph.extraction.recognizers import (
        EntityRecognizer,
        EntitySpan,
        GLiNERRecognizer,
        LLMRecognizer,
        SpacyRecognizer,
    )
    from llama_index_raganything.graph.extraction.triples import TripleExtractor
    from llama_index_raganything.graph.walk import LinkWeights
    from llama_index_raganything.index.index import RAGAnythingIndex
    from llama_index_raganything.ingestion.pipeline import Ingestion
    from llama_index_raganything.ingestion.report import IngestionReport
    from llama_index_raganything.models.dashscope.embedding import DashScopeMultiModalEmbedding, DashScopeTextEmbedding
    from llama_index_raganything.models.dashscope.models import (
        DashScopeModels,
        dashscope_llm,
        dashscope_models,
        dashscope_vlm,
    )
    from llama_index_raganything.models.dashscope.rerank import DashScopeRerank
    from llama_index_raganything.models.wordllama import WordLlamaEmbedding
    from llama_index_raganything.node_parser.parser import RAGAnythingNodeParser
    from llama_index_raganything.node_parser.placed_splitter import PlacedSplitter
    from llama_index_raganything.query_engine.chat.engine import RAGAnythingChatEngine
    from llama_index_raganything.query_engine.citations import Citation
    from llama_index_raganything.query_engine.context.images import MultimodalContextPostprocessor
    from llama_index_raganything.query_engine.context.page_context import PageContextPostprocessor
    from llama_index_raganything.query_engine.engine import RAGAnythingQueryEngine
    from llama_index_raganything.query_engine.extractive.synthesizer import ExtractiveSynthesizer
    from llama_index_raganything.query_engine.responses import acitations_of, citations_of
    from llama_index_raganything.query_engine.tables.engine import TableQueryEngine
    from llama_index_raganything.ranking.evidence_ranker import EvidenceRanker
    from llama_index_raganything.readers.reader import RAGAnythingReader
    from llama_index_raganything.readers.registry import register_parsers
    from llama_index_raganything.retrievers.evidence.graph import EvidenceRetriever, GraphRetriever
    from llama_index_raganything.retrievers.evidence.pages import NodeRetriever
    from llama_index_raganything.retrievers.fusion import FusionRetriever
    from llama_index_raganything.retrievers.inventory.retriever import InventoryRetriever
    from llama_index_raganything.retrievers.lightrag.retriever import LightRAGRetriever
    from llama_index_raganything.retrievers.router import QuestionRouter
    from llama_index_raganything.retrievers.tables import TableRetriever
    from llama_index_raganything.retrievers.visual import VisualRetriever
    from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph
    from llama_index_raganything.stores.graph.property_graph import MilvusPropertyGraphStore
    from llama_index_raganything.stores.ledger import Ledger, LedgerEntry
    from llama_index_raganything.stores.nodes.store import MilvusNodeStore
    from llama_index_raganything.stores.nodes.visual import MilvusVisualStore
    from llama_index_raganything.stores.tables.sql import SQLResult
    from llama_index_raganything.stores.tables.store import TableStore
    from llama_index_raganything.tables.records import TableRecord

__version__ = "0.1.0"

_HOMES = {
    "AttachedQuery": "attachments",
    "Citation": "query_engine.citations",
    "DashScopeModels": "models.dashscope.models",
    "DashScopeMultiModalEmbedding": "models.dashscope.embedding",
    "DashScopeRerank": "models.dashscope.rerank",
    "DashScopeTextEmbedding": "models.dashscope.embedding",
    "Element": "elements",
    "ElementDescriber": "enrich.describers.base",
    "ElementProcessor": "enrich.base",
    "EntityLinker": "graph.extraction.entity_linker",
    "EntityRecognizer": "graph.extraction.recognizers",
    "EntitySpan": "graph.extraction.recognizers",
    "EquationAttachment": "attachments",
    "EquationDescriber": "enrich.describers.equation",
    "EquationWords": "enrich.equation_words",
    "EvidenceRanker": "ranking.evidence_ranker",
    "EvidenceRetriever": "retrievers.evidence.graph",
    "ExtractiveSynthesizer": "query_engine.extractive.synthesizer",
    "FusionRetriever": "retrievers.fusion",
    "GLiNERRecognizer": "graph.extraction.recognizers",
    "GraphRetriever": "retrievers.evidence.graph",
    "ImageAttachment": "attachments",
    "ImageDescriber": "enrich.describers.image",
    "ImageEmbedder": "enrich.image_embedder",
    "ImageOCR": "enrich.image_ocr",
    "Ingestion": "ingestion.pipeline",
    "IngestionReport": "ingestion.report",
    "InventoryRetriever": "retrievers.inventory.retriever",
    "KnowledgeGraph": "stores.graph.knowledge_graph",
    "LLMRecognizer": "graph.extraction.recognizers",
    "Ledger": "stores.ledger",
    "LedgerEntry": "stores.ledger",
    "LightRAGRetriever": "retrievers.lightrag.retriever",
    "LinkWeights": "graph.walk",
    "MediaDescriber": "enrich.describers.media",
    "MilvusNodeStore": "stores.nodes.store",
    "MilvusPropertyGraphStore": "stores.graph.property_graph",
    "MilvusVisualStore": "stores.nodes.visual",
    "MultimodalContextPostprocessor": "query_engine.context.images",
    "NodeRetriever": "retrievers.evidence.pages",
    "PageContextPostprocessor": "query_engine.context.page_context",
    "PlacedSplitter": "node_parser.placed_splitter",
    "ProcessorOptions": "enrich.registry",
    "QuestionRouter": "retrievers.router",
    "RAGAnythingChatEngine": "query_engine.chat.engine",
    "RAGAnythingIndex": "index.index",
    "RAGAnythingNodeParser": "node_parser.parser",
    "RAGAnythingQueryEngine": "query_engine.engine",
    "RAGAnythingReader": "readers.reader",
    "RAGAnythingSettings": "config",
    "SQLResult": "stores.tables.sql",
    "SpacyRecognizer": "graph.extraction.recognizers",
    "TableAttachment": "attachments",
    "TableDescriber": "enrich.describers.table",
    "TableQueryEngine": "query_engine.tables.engine",
    "TableRecord": "tables.records",
    "TableRetriever": "retrievers.tables",
    "TableStore": "stores.tables.store",
    "TripleExtractor": "graph.extraction.triples",
    "VisualRetriever": "retrievers.visual",
    "WordLlamaEmbedding": "models.wordllama",
    "acitations_of": "query_engine.responses",
    "attachments_of": "attachments",
    "citations_of": "query_engine.responses",
    "dashscope_llm": "models.dashscope.models",
    "dashscope_models": "models.dashscope.models",
    "dashscope_vlm": "models.dashscope.models",
    "document_elements": "documents.packing",
    "elements_to_document": "documents.packing",
    "register_modality": "enrich.registry",
    "register_parsers": "readers.registry",
    "register_processor": "enrich.registry",
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
    "FileTooLargeError",
    "FilterError",
    "FusionRetriever",
    "GLiNERRecognizer",
    "GraphRetriever",
    "ImageAttachment",
    "ImageDescriber",
    "ImageEmbedder",
    "ImageOCR",
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
