"""``TableQueryEngine``: answers from tables, with SQL that an LLM writes or by looking cells up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.response.schema import RESPONSE_TYPE
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.indices.struct_store.sql_retriever import NLSQLRetriever
from llama_index.core.llms import LLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.prompts.mixin import PromptDictType, PromptMixinType
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.settings import Settings

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.attachments import AttachedQuery
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.models.defaults import resolve_llm
from llama_index_raganything.query_engine.citations import citable_copies
from llama_index_raganything.query_engine.prompts import CITATION_REFINE_PROMPT
from llama_index_raganything.query_engine.synthesis.base import awhole_response, whole_response
from llama_index_raganything.query_engine.synthesis.citing import CitingSynthesizer
from llama_index_raganything.query_engine.tables import answers
from llama_index_raganything.query_engine.tables.sql import (
    SQL_RETRY_PROMPT,
    TABLE_ANSWER_PROMPT,
    TEXT_TO_SQL_PROMPT,
    SQLAttempts,
    TableSQLDatabase,
)
from llama_index_raganything.settings import RAGAnythingSettings
from llama_index_raganything.stores.tables.store import TableStore

_PROMPTS: Final = ("text_to_sql_prompt", "sql_retry_prompt", "response_synthesis_prompt")
_ASKED_CHARS: Final = 4_000


@strict_arguments
class TableQueryEngine(BaseQueryEngine):
    """Answer questions from the tables of documents, with citations that lead to the table's page and box.

    With an LLM and a :class:`TableStore`, LlamaIndex's text-to-SQL has the LLM write a statement over the retrieved
    tables only; :meth:`TableStore.query_sql` runs it with all its limits, and the LLM answers from the rows. If a
    statement fails, is refused or finds nothing, the LLM writes another one, knowing what was wrong.

    When that fails too, and without an LLM, cells are looked up: the row whose label and the column whose header the
    question names, extremes, sums, averages and changes over them. The answer has the cells as printed, with label,
    header and unit; questions that labels cover too little get the fixed answer that nothing was found.

    ``response.metadata`` has ``sql`` (None for cells), ``columns`` and ``rows`` (of the result, or row, column and
    value of each cell), ``tables`` (name, node_id, page, bbox, file_name and caption of those used), ``citations``
    (see :func:`~llama_index_raganything.query_engine.citations.citation`), ``answered``, ``operation`` and ``value``
    (what was computed), ``statements`` and ``sql_errors`` (all attempts).

    Args:
        retriever: Finds nodes with tables, such as a :class:`TableRetriever`; nodes without tables are ignored.
        llm: Writes statements and answers. None means the LLM set on ``Settings``, or cells when none is set there.
        table_store: Knows the tables whole and runs SQL; by default the retriever's. Without it tables are read from
            the retrieved nodes, and cells are looked up.
        store: Vector store with all nodes, for citing the part of a long table that holds the row; by default
            the retriever's.
        text_to_sql_prompt: Has ``dialect``, ``schema`` and ``query_str``.
        sql_retry_prompt: The same and ``sql_query`` and ``sql_error``.
        response_synthesis_prompt: Has ``sql_query``, ``context_str`` and ``query_str``.
        max_rows: Rows of a result that the LLM and the metadata get.
        timeout_s: Seconds that a statement may take.
        settings: Settings in place of those read from the environment, where ``llm`` is None.

    Raises:
        ConfigurationError: A limit is not positive.
    """

    def __init__(
        self,
        retriever: BaseRetriever,
        llm: LLM | None = None,
        table_store: TableStore | None = None,
        *,
        store: Any = None,
        node_postprocessors: Sequence[BaseNodePostprocessor] = (),
        text_to_sql_prompt: BasePromptTemplate | None = None,
        sql_retry_prompt: BasePromptTemplate | None = None,
        response_synthesis_prompt: BasePromptTemplate | None = None,
        max_rows: int = 50,
        timeout_s: float = 10.0,
        streaming: bool = False,
        settings: RAGAnythingSettings | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        if max_rows < 1 or timeout_s <= 0:
            message = f"max_rows is {max_rows} and timeout_s {timeout_s}; both must be positive."
            raise ConfigurationError(message)
        super().__init__(callback_manager=callback_manager or Settings.callback_manager)
        self._retriever = retriever
        self._llm = resolve_llm(llm, settings)
        self._table_store: TableStore | None = (
            table_store if table_store is not None else getattr(retriever, "table_store", None)
        )
        self._store = store if store is not None else getattr(retriever, "store", None)
        self._node_postprocessors = list(node_postprocessors)
        self._text_to_sql_prompt = text_to_sql_prompt or TEXT_TO_SQL_PROMPT
        self._sql_retry_prompt = sql_retry_prompt or SQL_RETRY_PROMPT
        self._response_synthesis_prompt = response_synthesis_prompt or TABLE_ANSWER_PROMPT
        self._max_rows = max_rows
        self._timeout = timeout_s
        self._streaming = streaming

    @property
    def retriever(self) -> BaseRetriever:
        """What finds the tables."""
        return self._retriever

    def _get_prompts(self) -> PromptDictType:
        return {name: getattr(self, f"_{name}") for name in _PROMPTS}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        for name in _PROMPTS:
            if name in prompts:
                setattr(self, f"_{name}", prompts[name])

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}

    # -- LlamaIndex's interface ------------------------------------------------------------------------------------

    def retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Retrieve and postprocess nodes."""
        nodes = self._retriever.retrieve(query_bundle)
        for postprocessor in self._node_postprocessors:
            nodes = postprocessor.postprocess_nodes(nodes, query_bundle=query_bundle)
        return nodes

    async def aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Retrieve and postprocess nodes; see :meth:`retrieve`."""
        nodes = await self._retriever.aretrieve(query_bundle)
        for postprocessor in self._node_postprocessors:
            nodes = await postprocessor.apostprocess_nodes(nodes, query_bundle=query_bundle)
        return nodes

    def synthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
    ) -> RESPONSE_TYPE:
        """Answer from nodes.

        Args:
            nodes: Nodes with tables, best first.
            additional_source_nodes: Nodes to list after the sources.
        """
        found = answers.found_tables(nodes, self._table_store)
        attempts = self._ask_sql(query_bundle, found)
        if attempts.result is not None:
            sources = answers.statement_sources(attempts.result, found)
            texts = answers.context_nodes(attempts.result, sources)
            response = self._synthesizer(attempts.result.sql).synthesize(query_bundle, texts)
            return self._with_result(response, attempts, sources, [*nodes, *(additional_source_nodes or [])])
        answered = self._from_cells(query_bundle, nodes, found)
        answered.sources.extend(additional_source_nodes or [])
        answered.metadata |= attempts.metadata
        return whole_response(answered.pieces, answered.sources, answered.metadata, streaming=self._streaming)

    async def asynthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
    ) -> RESPONSE_TYPE:
        """Answer from nodes; see :meth:`synthesize`."""
        found = await asyncio.to_thread(answers.found_tables, nodes, self._table_store)
        attempts = await self._aask_sql(query_bundle, found)
        if attempts.result is not None:
            sources = answers.statement_sources(attempts.result, found)
            texts = answers.context_nodes(attempts.result, sources)
            response = await self._synthesizer(attempts.result.sql).asynthesize(query_bundle, texts)
            return self._with_result(response, attempts, sources, [*nodes, *(additional_source_nodes or [])])
        answered = await asyncio.to_thread(self._from_cells, query_bundle, nodes, found)
        answered.sources.extend(additional_source_nodes or [])
        answered.metadata |= attempts.metadata
        return awhole_response(answered.pieces, answered.sources, answered.metadata, streaming=self._streaming)

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        with self._event(query_bundle) as made:
            made.append(self.synthesize(query_bundle, self.retrieve(query_bundle)))
        return made[0]

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        with self._event(query_bundle) as made:
            made.append(await self.asynthesize(query_bundle, await self.aretrieve(query_bundle)))
        return made[0]

    @contextmanager
    def _event(self, query_bundle: QueryBundle) -> Iterator[list[RESPONSE_TYPE]]:
        made: list[RESPONSE_TYPE] = []
        payload: dict[str, Any] = {EventPayload.QUERY_STR: query_bundle.query_str}
        with self.callback_manager.event(CBEventType.QUERY, payload=payload) as event:
            yield made
            event.on_end(payload={EventPayload.RESPONSE: made[0]})

    # -- SQL -------------------------------------------------------------------------------------------------------

    def _ask_sql(self, query: QueryBundle, found: Sequence[answers.FoundTable]) -> SQLAttempts:
        attempts = SQLAttempts(self._text_to_sql_prompt, self._sql_retry_prompt)
        database = self._database(query, found)
        asked = QueryBundle(query.query_str[:_ASKED_CHARS])
        while database is not None and attempts.open:
            _, written = self._writer(database, attempts.prompt).retrieve_with_metadata(asked)
            sql = str(written["sql_query"])
            attempts.add(sql, database.query(sql))
        return attempts

    async def _aask_sql(self, query: QueryBundle, found: Sequence[answers.FoundTable]) -> SQLAttempts:
        attempts = SQLAttempts(self._text_to_sql_prompt, self._sql_retry_prompt)
        database = self._database(query, found)
        asked = QueryBundle(query.query_str[:_ASKED_CHARS])
        while database is not None and attempts.open:
            _, written = await self._writer(database, attempts.prompt).aretrieve_with_metadata(asked)
            sql = str(written["sql_query"])
            attempts.add(sql, await database.aquery(sql))
        return attempts

    def _database(self, query: QueryBundle, found: Sequence[answers.FoundTable]) -> TableSQLDatabase | None:
        """Return the retrieved tables as a database, or None where no LLM is to be asked."""
        if self._llm is None or self._table_store is None or not found or not query.query_str.strip():
            return None
        records = [table.record for table in found]
        return TableSQLDatabase(self._table_store, records, max_rows=self._max_rows, timeout_s=self._timeout)

    def _writer(self, database: TableSQLDatabase, prompt: BasePromptTemplate) -> NLSQLRetriever:
        return NLSQLRetriever(
            database,
            text_to_sql_prompt=prompt,
            llm=self._llm,
            # It would otherwise build LlamaIndex's default, a paid third party; nothing is embedded.
            embed_model=MockEmbedding(embed_dim=1),
            sql_only=True,
            callback_manager=self.callback_manager,
        )

    def _synthesizer(self, sql: str) -> CitingSynthesizer:
        return CitingSynthesizer(
            get_response_synthesizer(
                llm=self._llm,
                text_qa_template=self._response_synthesis_prompt.partial_format(sql_query=sql),
                refine_template=CITATION_REFINE_PROMPT,
                response_mode=ResponseMode.COMPACT,
                streaming=self._streaming,
                callback_manager=self.callback_manager,
            )
        )

    def _with_result(
        self,
        response: RESPONSE_TYPE,
        attempts: SQLAttempts,
        sources: Sequence[answers.Source],
        others: Sequence[NodeWithScore],
    ) -> RESPONSE_TYPE:
        """Add the statement, its result and its tables to a response; a stream fills in its citations when it ends."""
        assert attempts.result is not None  # Only called with one.
        # What the LLM read of a table is cited; a stream writes its citation into these metadata when it ends.
        used = [
            NodeWithScore(node=each.node.model_copy(update={"metadata": read.node.metadata}), score=each.score)
            for each, read in zip(citable_copies(node for _, node in sources), response.source_nodes, strict=True)
        ]
        ids = {node.node.node_id for node in used}
        response.source_nodes = [*used, *(node for node in others if node.node.node_id not in ids)]
        # A stream holds on to this dictionary.
        metadata = response.metadata if response.metadata is not None else {}
        metadata |= answers.result_metadata(attempts, attempts.result, sources, self._max_rows)
        response.metadata = metadata
        return response

    def _from_cells(
        self, query: QueryBundle, nodes: Sequence[NodeWithScore], found: Sequence[answers.FoundTable]
    ) -> answers.CitedAnswer:
        question = query.question if isinstance(query, AttachedQuery) else query.query_str
        filters = getattr(self._retriever, "filters", None)
        answered = answers.answer_from_cells(question[:_ASKED_CHARS], nodes, found, self._store, filters)
        answered.metadata |= {node.node.node_id: node.node.metadata for node in answered.sources}
        return answered
