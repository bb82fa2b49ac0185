"""What can be asked of an index: retrievers, engines, tools, and SQL over its tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.chat_engine.types import BaseChatEngine, ChatMode
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.llms import LLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.tools import BaseTool, QueryEngineTool, RetrieverTool
from llama_index.core.vector_stores import MetadataFilters

from llama_index_raganything._arguments import argument_names, refuse_unknown, strict_arguments
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.index.knowledge_base import ChosenModels
from llama_index_raganything.models.defaults import resolve_llm
from llama_index_raganything.query_engine.chat.engine import ALIASES, RAGAnythingChatEngine, simple_chat_engine
from llama_index_raganything.query_engine.context.page_context import (
    DEFAULT_CONTEXT_TOKENS,
    PageContextPostprocessor,
    default_context_tokens,
    results_to_read,
)
from llama_index_raganything.query_engine.engine import RAGAnythingQueryEngine
from llama_index_raganything.query_engine.tables.engine import TableQueryEngine
from llama_index_raganything.readers.reader import RAGAnythingReader
from llama_index_raganything.retrievers.evidence.candidates import DEFAULT_TOP_K
from llama_index_raganything.retrievers.evidence.graph import EvidenceRetriever
from llama_index_raganything.retrievers.evidence.pages import Returns
from llama_index_raganything.retrievers.inventory.retriever import InventoryRetriever
from llama_index_raganything.retrievers.router import QuestionRouter
from llama_index_raganything.retrievers.tables import TableRetriever
from llama_index_raganything.retrievers.visual import VisualRetriever
from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph
from llama_index_raganything.stores.ledger import Ledger
from llama_index_raganything.stores.nodes.store import MilvusNodeStore
from llama_index_raganything.stores.nodes.visual import MilvusVisualStore
from llama_index_raganything.stores.tables.sql import SQLResult
from llama_index_raganything.stores.tables.store import TableStore

_OWN: Final = frozenset({"embed_model", "graph", "retriever", "store", "table_store", "tables"})
"""Arguments of retrievers and engines that only the index gives them."""

_RETRIEVER_OPTIONS: Final = (argument_names(EvidenceRetriever) | {"inventory", "visual"}) - _OWN
"""Arguments of engines and tools that are their retriever's."""

_SHARED: Final = frozenset({"callback_manager", "verbose"})
"""Those of them that are the engine's too."""


_QUOTED_FROM: Final = 5
"""Results to quote from without an LLM: of ten, wrong lines are quoted more often and right ones not."""


@strict_arguments
class Queryable:
    """The questions that an index answers, over the stores that it opened.

    Attributes:
        node_store: Nodes with their text vectors and keywords.
        ledger: The state of every document.
        visual_store: Vectors of images, or None.
        embed_model: Embeds texts.
        image_embed_model: Embeds images, or None.
        reader: Knows where the assets are.
    """

    node_store: MilvusNodeStore
    ledger: Ledger
    visual_store: MilvusVisualStore | None
    embed_model: BaseEmbedding
    image_embed_model: MultiModalEmbedding | None
    reader: RAGAnythingReader
    _models: ChosenModels
    _graph: KnowledgeGraph | None
    _tables: TableStore | None

    @property
    def graph(self) -> KnowledgeGraph:
        """Names and facts.

        Raises:
            ConfigurationError: The index keeps none.
        """
        if self._graph is None:
            raise ConfigurationError("This index keeps no graph: it was opened with graph=False.")
        return self._graph

    @property
    def tables(self) -> TableStore:
        """Tables for SQL.

        Raises:
            ConfigurationError: The index keeps none.
        """
        if self._tables is None:
            raise ConfigurationError("This index keeps no tables: it was opened with tables=False.")
        return self._tables

    @property
    def llm(self) -> LLM | None:
        """The LLM that answers where a call names none; None quotes the documents."""
        return resolve_llm(self._models.llm, self._models.settings)

    def as_retriever(
        self,
        *,
        similarity_top_k: int = DEFAULT_TOP_K,
        filters: MetadataFilters | None = None,
        returns: Returns = "pages",
        inventory: bool = True,
        visual: bool = True,
        **options: Any,
    ) -> BaseRetriever:
        """Return the default retriever: evidence and links, inventories for questions about whole documents, images.

        ``similarity_top_k`` counts pages; where nodes stand on no page, whole tables and passages. Each page that is
        returned tells its best element, figure and table with their boxes (``metadata["elements"]``).

        Args:
            similarity_top_k: How many results to return.
            filters: Only nodes that match take part.
            returns: ``"pages"``, or ``"elements"`` for the smallest things that can be cited, each with its box.
            inventory: Let :class:`InventoryRetriever` answer questions such as "how many tables are there?".
            visual: Look for images by what they show too, where there is a model that embeds images.
            **options: Further arguments of :class:`EvidenceRetriever`.

        Returns:
            A :class:`QuestionRouter` over an :class:`EvidenceRetriever`; the latter itself when it has no company.
        """
        self._refuse_unknown("as_retriever", options, EvidenceRetriever)
        evidence = EvidenceRetriever(
            self.node_store,
            self._graph,
            embed_model=self.embed_model,
            similarity_top_k=similarity_top_k,
            filters=filters,
            returns=returns,
            **options,
        )
        specialists = []
        if inventory:
            specialists.append(InventoryRetriever(self.node_store, self.ledger, similarity_top_k, filters))
        routes = []
        if visual and self.visual_store is not None:
            routes.append(
                self.as_visual_retriever(similarity_top_k=similarity_top_k, filters=filters, outstanding_only=True)
            )
        if not specialists and not routes:
            return evidence
        return QuestionRouter(evidence, specialists, routes, similarity_top_k=similarity_top_k)

    def as_visual_retriever(
        self, *, similarity_top_k: int = 5, filters: MetadataFilters | None = None, **options: Any
    ) -> VisualRetriever:
        """Return a retriever of images by what they show, with words or with an image.

        Args:
            similarity_top_k: How many results to return.
            filters: Only nodes that match take part.
            **options: Further arguments of :class:`VisualRetriever`.

        Raises:
            ConfigurationError: There is no model that embeds images.
        """
        self._refuse_unknown("as_visual_retriever", options, VisualRetriever)
        if self.visual_store is None or self.image_embed_model is None:
            message = (
                "Images are not embedded in this index: pass image_embed_model=... (a MultiModalEmbedding) when "
                "opening it, and add the documents again."
            )
            raise ConfigurationError(message)
        return VisualRetriever(self.visual_store, self.image_embed_model, similarity_top_k, filters, **options)

    def as_table_retriever(
        self, *, similarity_top_k: int = 5, filters: MetadataFilters | None = None, **options: Any
    ) -> TableRetriever:
        """Return a retriever of tables by their headers, rows and surroundings.

        Args:
            similarity_top_k: How many tables to return.
            filters: Only nodes that match take part.
            **options: Further arguments of :class:`TableRetriever`.
        """
        self._refuse_unknown("as_table_retriever", options, TableRetriever)
        return TableRetriever(
            self.node_store,
            self._graph,
            embed_model=self.embed_model,
            similarity_top_k=similarity_top_k,
            filters=filters,
            table_store=self._tables,
            **options,
        )

    def as_table_query_engine(
        self,
        *,
        llm: LLM | None = None,
        similarity_top_k: int = 3,
        filters: MetadataFilters | None = None,
        **options: Any,
    ) -> TableQueryEngine:
        """Return an engine that answers from tables: by SQL that an LLM writes, or by looking cells up without one.

        Args:
            llm: LLM for this engine; the index's by default.
            similarity_top_k: How many tables to answer from.
            filters: Only nodes that match take part.
            **options: Further arguments of :class:`TableQueryEngine`.
        """
        self._refuse_unknown("as_table_query_engine", options, TableQueryEngine)
        retriever = self.as_table_retriever(similarity_top_k=similarity_top_k, filters=filters)
        return TableQueryEngine(retriever, llm or self.llm, self._tables, settings=self._models.settings, **options)

    def query_sql(self, sql: str, **options: Any) -> SQLResult:
        """Ask the tables of the documents with a read-only SQL statement.

        The relation ``tables`` lists them, with their names, captions, pages and files.

        Args:
            sql: One ``SELECT`` in DuckDB's dialect.
            **options: Further arguments of :meth:`TableStore.query_sql`: ``tables``, ``max_rows``, ``timeout_s``.

        Returns:
            Columns, rows, and the tables that they come from.

        Raises:
            ConfigurationError: The index keeps no tables.
            SQLError: The statement is refused, wrong, or takes too long; the subclass says which.
        """
        self._refuse_unknown("query_sql", options, TableStore.query_sql)
        return self.tables.query_sql(sql, **options)

    async def aquery_sql(self, sql: str, **options: Any) -> SQLResult:
        """Async twin of :meth:`query_sql`."""
        self._refuse_unknown("aquery_sql", options, TableStore.query_sql)
        return await self.tables.aquery_sql(sql, **options)

    def as_query_engine(
        self,
        *,
        llm: LLM | None = None,
        similarity_top_k: int | None = None,
        filters: MetadataFilters | None = None,
        node_postprocessors: Sequence[BaseNodePostprocessor] = (),
        vision_llm: LLM | None = None,
        **options: Any,
    ) -> RAGAnythingQueryEngine:
        """Return an engine that answers with citations.

        Args:
            llm: LLM for this engine; the index's by default.
            similarity_top_k: How many results to answer from, as :meth:`as_retriever` counts them; by default as many
                as the LLM's budget reads, 10 to 50 (20 for 6,000 tokens), and 5 to quote from without an LLM.
            filters: Only nodes that match take part.
            node_postprocessors: Run on the results before the answer.
            vision_llm: Answers in place of an LLM that sees no images where there are some; the index's by default.
            **options: Further arguments of :meth:`RAGAnythingQueryEngine.from_args`, such as ``streaming=True`` and
                ``context_tokens=``, and of :meth:`as_retriever`.

        Returns:
            The query engine.
        """
        self._refuse_unknown("as_query_engine", options, RAGAnythingQueryEngine.from_args, also=_RETRIEVER_OPTIONS)
        of_retriever = _of_retriever(options)
        own: dict[str, Any] = {
            "asset_root": str(self.reader.assets.root),
            "store": self.node_store,
            "settings": self._models.settings,
        }
        chosen = self.llm if llm is None else resolve_llm(llm)
        top_k = _results_to_read(chosen, options) if similarity_top_k is None else similarity_top_k
        return RAGAnythingQueryEngine.from_args(
            self.as_retriever(similarity_top_k=top_k, filters=filters, **of_retriever),
            llm=chosen,
            vision_llm=vision_llm or self._models.vision_llm,
            node_postprocessors=list(node_postprocessors),
            filters=filters,
            **(own | options),
        )

    def as_chat_engine(
        self,
        chat_mode: ChatMode | str = ChatMode.BEST,
        llm: LLM | None = None,
        *,
        similarity_top_k: int | None = None,
        filters: MetadataFilters | None = None,
        chat_history: list[ChatMessage] | None = None,
        vision_llm: LLM | None = None,
        **options: Any,
    ) -> BaseChatEngine:
        """Return a chat engine over the index, whose answers cite; it needs an LLM.

        Args:
            chat_mode: ``best``, ``condense_plus_context``, ``context``, ``condense_question``, or ``simple``, which
                does not look at the documents.
            llm: LLM for this engine; the index's by default. One that sees images gets the figures too.
            similarity_top_k: How many results to answer from, as :meth:`as_retriever` counts them; by default as many
                as the LLM's budget reads, 10 to 50 (20 for 6,000 tokens), and 5 to quote from without an LLM.
            filters: Only nodes that match take part.
            chat_history: Earlier messages.
            vision_llm: Answers in place of an LLM that sees no images where there are some; the index's by default.
            **options: Further arguments of :meth:`RAGAnythingChatEngine.from_defaults`, such as ``system_prompt``,
                and of :meth:`as_retriever`.

        Returns:
            A :class:`RAGAnythingChatEngine`; for ``simple`` LlamaIndex's own.

        Raises:
            ConfigurationError: There is no LLM, the mode is not known, or an argument is not known or has no effect.
        """
        engines = (RAGAnythingChatEngine.from_defaults, SimpleChatEngine.from_defaults)
        self._refuse_unknown("as_chat_engine", options, *engines, also=_RETRIEVER_OPTIONS | ALIASES.keys())
        chosen = self.llm if llm is None else resolve_llm(llm)
        if chosen is None:
            message = "A chat engine needs an LLM: pass llm=... or set Settings.llm; as_query_engine() works without."
            raise ConfigurationError(message)
        if chat_mode == ChatMode.SIMPLE:
            return simple_chat_engine(chosen, chat_history, options | ({"filters": filters} if filters else {}))
        of_retriever = _of_retriever(options)
        own: dict[str, Any] = {
            "asset_root": str(self.reader.assets.root),
            "store": self.node_store,
            "vision_llm": vision_llm or self._models.vision_llm,
        }
        top_k = _results_to_read(chosen, options) if similarity_top_k is None else similarity_top_k
        return RAGAnythingChatEngine.from_defaults(
            self.as_retriever(similarity_top_k=top_k, filters=filters, **of_retriever),
            chosen,
            chat_history,
            chat_mode=chat_mode,
            **(own | options),
        )

    def as_tools(
        self, *, similarity_top_k: int | None = None, filters: MetadataFilters | None = None, **options: Any
    ) -> list[BaseTool]:
        """Return tools for agents: ``ask`` answers with citations, ``search`` gives the evidence to read.

        Args:
            similarity_top_k: How many results each tool looks at; see :meth:`as_query_engine`.
            filters: Only nodes that match take part.
            **options: Further arguments of :meth:`as_query_engine`, and of :meth:`as_retriever` for both tools.
                ``context_tokens`` bounds what ``search`` gives too.

        Returns:
            The two tools; both give text, and their ``raw_output`` holds the response or the nodes.
        """
        targets = (Queryable.as_query_engine, RAGAnythingQueryEngine.from_args)
        self._refuse_unknown("as_tools", options, *targets, also=_RETRIEVER_OPTIONS)
        of_both = _of_retriever(options) | {"filters": filters}
        ask = QueryEngineTool.from_defaults(
            self.as_query_engine(similarity_top_k=similarity_top_k, **(of_both | options)),
            name="ask",
            description="Answer a question from the documents, with citations [n].",
        )
        tokens = options.get("context_tokens") or DEFAULT_CONTEXT_TOKENS
        top_k = results_to_read(tokens) if similarity_top_k is None else similarity_top_k
        search = RetrieverTool.from_defaults(
            self.as_retriever(similarity_top_k=top_k, **of_both),
            node_postprocessors=[
                *options.get("node_postprocessors", ()),
                PageContextPostprocessor(store=self.node_store, max_tokens=tokens),
            ],
            name="search",
            description="Find the passages, tables and figures that fit a query, with file name, page and section.",
        )
        return [ask, search]

    @classmethod
    def _refuse_unknown(
        cls, method: str, options: dict[str, Any], *targets: Callable[..., Any], also: Collection[str] = ()
    ) -> None:
        """Refuse what neither a method nor what its options go to knows, before anything is made."""
        known = argument_names(getattr(cls, method), *targets).union(also) - _OWN
        refuse_unknown(f"{cls.__name__}.{method}()", options, known)


def _of_retriever(options: dict[str, Any]) -> dict[str, Any]:
    """Take the arguments of a retriever out of those of an engine, but for those that both need."""
    taken = {name: options[name] for name in options if name in _RETRIEVER_OPTIONS}
    for name in taken.keys() - _SHARED:
        del options[name]
    return taken


def _results_to_read(llm: LLM | None, options: dict[str, Any]) -> int:
    """Return how many results an LLM reads where the caller does not say; without one few are quoted."""
    if llm is None:
        return _QUOTED_FROM
    return results_to_read(options.get("context_tokens") or default_context_tokens(llm))
