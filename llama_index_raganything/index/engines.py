"""Retrievers, engines and tools over a knowledge base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.chat_engine.types import BaseChatEngine, ChatMode
from llama_index.core.llms import LLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.tools import BaseTool, QueryEngineTool, RetrieverTool
from llama_index.core.vector_stores import MetadataFilters

from llama_index_raganything._arguments import argument_names
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.index.knowledge_base import KnowledgeBase
from llama_index_raganything.index.models import IndexModels
from llama_index_raganything.models.defaults import resolve_llm
from llama_index_raganything.query_engine.chat.engine import RAGAnythingChatEngine, simple_chat_engine
from llama_index_raganything.query_engine.context.page_context import (
    DEFAULT_CONTEXT_TOKENS,
    PageContextPostprocessor,
    default_context_tokens,
    results_to_read,
)
from llama_index_raganything.query_engine.engine import RAGAnythingQueryEngine
from llama_index_raganything.query_engine.tables.engine import TableQueryEngine
from llama_index_raganything.retrievers.evidence.graph import EvidenceRetriever
from llama_index_raganything.retrievers.inventory.retriever import InventoryRetriever
from llama_index_raganything.retrievers.router import QuestionRouter
from llama_index_raganything.retrievers.tables import TableRetriever
from llama_index_raganything.retrievers.visual import VisualRetriever

OWN_ARGUMENTS: Final = frozenset({"embed_model", "graph", "retriever", "store", "table_store"})
"""Arguments of retrievers and engines that only the index gives them."""

RETRIEVER_ARGUMENTS: Final = (argument_names(EvidenceRetriever) | {"inventory", "visual"}) - OWN_ARGUMENTS
"""Arguments of engines and tools that are passed on to their retriever."""

_SHARED: Final = frozenset({"callback_manager", "verbose"})
"""Those of them that the engine takes too."""

_QUOTED_FROM: Final = 5
"""Results to quote from without an LLM: of ten, wrong lines are quoted more often and right ones not."""


@dataclass(frozen=True)
class EngineBuilder:
    """Builds what answers questions about a knowledge base.

    Its methods are those of :class:`~llama_index_raganything.RAGAnythingIndex`, which describes their arguments.

    Attributes:
        base: The stores.
        models: The models where a call names none.
        asset_root: Folder of the images that nodes refer to.
    """

    base: KnowledgeBase
    models: IndexModels
    asset_root: str

    def retriever(
        self,
        *,
        similarity_top_k: int,
        filters: MetadataFilters | None,
        inventory: bool = True,
        visual: bool = True,
        **options: Any,
    ) -> BaseRetriever:
        """Return a router over the evidence retriever; the latter itself when no other retriever is wanted."""
        evidence = EvidenceRetriever(
            self.base.store,
            self.base.graph,
            embed_model=self.models.embed_model,
            similarity_top_k=similarity_top_k,
            filters=filters,
            **options,
        )
        specialists = []
        if inventory:
            specialists.append(InventoryRetriever(self.base.store, self.base.ledger, similarity_top_k, filters))
        routes = []
        if visual and self.base.visual_store is not None:
            routes.append(self.visual_retriever(similarity_top_k, filters, outstanding_only=True))
        if not specialists and not routes:
            return evidence
        return QuestionRouter(evidence, specialists, routes, similarity_top_k=similarity_top_k)

    def visual_retriever(
        self, similarity_top_k: int, filters: MetadataFilters | None, **options: Any
    ) -> VisualRetriever:
        """Return a retriever of images by what they show."""
        if self.base.visual_store is None or self.models.image_embed_model is None:
            message = (
                "Images are not embedded in this index: pass image_embed_model=... (a MultiModalEmbedding) when "
                "opening it, and add the documents again."
            )
            raise ConfigurationError(message)
        return VisualRetriever(
            self.base.visual_store, self.models.image_embed_model, similarity_top_k, filters, **options
        )

    def table_retriever(self, similarity_top_k: int, filters: MetadataFilters | None, **options: Any) -> TableRetriever:
        """Return a retriever of tables."""
        return TableRetriever(
            self.base.store,
            self.base.graph,
            embed_model=self.models.embed_model,
            similarity_top_k=similarity_top_k,
            filters=filters,
            table_store=self.base.table_store,
            **options,
        )

    def table_query_engine(
        self, llm: LLM | None, similarity_top_k: int, filters: MetadataFilters | None, **options: Any
    ) -> TableQueryEngine:
        """Return an engine that answers from tables."""
        return TableQueryEngine(
            self.table_retriever(similarity_top_k, filters),
            llm or self.models.answering_llm,
            self.base.table_store,
            settings=self.models.settings,
            **options,
        )

    def query_engine(
        self,
        llm: LLM | None,
        similarity_top_k: int | None,
        filters: MetadataFilters | None,
        node_postprocessors: Sequence[BaseNodePostprocessor],
        vision_llm: LLM | None,
        **options: Any,
    ) -> RAGAnythingQueryEngine:
        """Return an engine that answers with citations."""
        chosen = self._answering(llm)
        retriever = self._retriever_of_engine(chosen, similarity_top_k, filters, options)
        return RAGAnythingQueryEngine.from_args(
            retriever,
            llm=chosen,
            vision_llm=vision_llm or self.models.vision_llm,
            node_postprocessors=list(node_postprocessors),
            filters=filters,
            **(self._sources | {"settings": self.models.settings} | options),
        )

    def chat_engine(
        self,
        chat_mode: ChatMode | str,
        llm: LLM | None,
        similarity_top_k: int | None,
        filters: MetadataFilters | None,
        chat_history: list[ChatMessage] | None,
        vision_llm: LLM | None,
        **options: Any,
    ) -> BaseChatEngine:
        """Return a chat engine whose answers cite."""
        chosen = self._answering(llm)
        if chosen is None:
            message = "A chat engine needs an LLM: pass llm=... or set Settings.llm; as_query_engine() works without."
            raise ConfigurationError(message)
        if chat_mode == ChatMode.SIMPLE:
            return simple_chat_engine(chosen, chat_history, options | ({"filters": filters} if filters else {}))
        retriever = self._retriever_of_engine(chosen, similarity_top_k, filters, options)
        return RAGAnythingChatEngine.from_defaults(
            retriever,
            chosen,
            chat_history,
            chat_mode=chat_mode,
            vision_llm=vision_llm or self.models.vision_llm,
            **(self._sources | options),
        )

    def tools(self, similarity_top_k: int | None, filters: MetadataFilters | None, **options: Any) -> list[BaseTool]:
        """Return the tools ``ask`` and ``search``."""
        of_both = _take_retriever_arguments(options) | {"filters": filters}
        engine: dict[str, Any] = {"llm": None, "node_postprocessors": (), "vision_llm": None} | of_both | options
        ask = QueryEngineTool.from_defaults(
            self.query_engine(similarity_top_k=similarity_top_k, **engine),
            name="ask",
            description="Answer a question from the documents, with citations [n].",
        )
        tokens = options.get("context_tokens") or DEFAULT_CONTEXT_TOKENS
        top_k = results_to_read(tokens) if similarity_top_k is None else similarity_top_k
        search = RetrieverTool.from_defaults(
            self.retriever(similarity_top_k=top_k, **of_both),
            node_postprocessors=[
                *options.get("node_postprocessors", ()),
                PageContextPostprocessor(store=self.base.store, max_tokens=tokens),
            ],
            name="search",
            description="Find the passages, tables and figures that fit a query, with file name, page and section.",
        )
        return [ask, search]

    @property
    def _sources(self) -> dict[str, Any]:
        """Where engines find pages and images of retrieved nodes."""
        return {"asset_root": self.asset_root, "store": self.base.store}

    def _answering(self, llm: LLM | None) -> LLM | None:
        return self.models.answering_llm if llm is None else resolve_llm(llm)

    def _retriever_of_engine(
        self, llm: LLM | None, similarity_top_k: int | None, filters: MetadataFilters | None, options: dict[str, Any]
    ) -> BaseRetriever:
        """Return the retriever of an engine, and take its arguments out of those of the engine."""
        arguments = _take_retriever_arguments(options)
        if similarity_top_k is None and llm is not None:
            similarity_top_k = results_to_read(options.get("context_tokens") or default_context_tokens(llm))
        elif similarity_top_k is None:
            similarity_top_k = _QUOTED_FROM
        return self.retriever(similarity_top_k=similarity_top_k, filters=filters, **arguments)


def _take_retriever_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Take the arguments of a retriever out of those of an engine, but for those that both need."""
    taken = {name: options[name] for name in options if name in RETRIEVER_ARGUMENTS}
    for name in taken.keys() - _SHARED:
        del options[name]
    return taken
