"""A LlamaIndex retriever over a LightRAG or RAG-Anything working directory."""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # re-exported, not in its __all__
from llama_index.core.llms import LLM
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import BasePydanticVectorStore, MetadataFilters
from pydantic import SecretStr
from tqdm import tqdm

from llama_index_raganything._arguments import argument_names, check_positive, refuse_unknown, strict_arguments
from llama_index_raganything._async import in_thread
from llama_index_raganything.errors import ConfigurationError, IngestionError
from llama_index_raganything.models.defaults import resolve_embed_model, resolve_llm
from llama_index_raganything.retrievers.lightrag.results import MODES, ChunkHit, NodeSource, merge, query_arguments
from llama_index_raganything.retrievers.lightrag.runner import LoopThread, shared_loop_thread
from llama_index_raganything.retrievers.lightrag.session import BuildReport, Session
from llama_index_raganything.retrievers.lightrag.workspace import (
    SessionSettings,
    check_folder,
    check_workspace,
    parse_address,
    prepare_folder,
)

dispatcher = get_dispatcher(__name__)
logger = logging.getLogger(__name__)
T = TypeVar("T")

_FETCH_FACTORS: Final = (1, 5, 25)


@strict_arguments
class LightRAGRetriever(BaseRetriever):
    """Retrieve through the graph that LightRAG's LLM has built, and get LlamaIndex nodes.

    Opens a working directory that LightRAG or RAG-Anything has made, or builds one from nodes
    (:meth:`from_nodes`). Works from plain scripts, running event loops, several ``asyncio.run`` and several threads:
    LightRAG lives on an event-loop thread of its own, which ends when the last retriever is closed.

    By default a question costs no LLM call: its content words are the keywords. Results are the nodes as stored in
    ``store`` (or as given as ``nodes``, or as kept in the directory by a build without a store); equal texts
    are all returned. Without them, chunks come as ``TextNode`` with ``file_path`` and ``chunk_id``. With a store,
    chunks whose node it does not give, or does not give to this tenant, are never returned.

    LightRAG orders chunks without scores: the score is 1 / (60 + rank), equal for equal texts. Metadata ``graph_path``
    (JSON; hidden from models) names the entities and relations that led to a node.

    One process at a time may write a directory; this is LightRAG's limit.

    Args:
        working_dir: LightRAG's working directory.
        store: Holds the nodes; decides filters and tenants.
        nodes: The nodes, where there is no store.
        llm: Builds the graph; ``Settings.llm`` where one is set. Not needed to ask.
        embed_model: The model that the directory was built with; ``Settings.embed_model``, else the embedded default.
        mode: ``local`` (entities), ``global`` (relations), ``hybrid`` (both), ``mix`` (both and chunks by vector), or
            ``naive`` (chunks by vector, which needs no graph and no LLM).
        similarity_top_k: How many nodes to return.
        filters: What every node must pass.
        workspace: LightRAG's workspace: letters, digits, ``_`` and ``-``; with Milvus no ``-`` and no digit in front.
        milvus_uri: Keep LightRAG's vectors in this Milvus, as collections that begin with the workspace's name.
        milvus_token: ``user:password`` or API key; by default the environment's ``MILVUS_TOKEN``. Not pickled.
        milvus_db_name: Database on the Milvus server.
        llm_keywords: Let the LLM extract the question's keywords, one call per new question.
        workers: How many documents and LLM calls run at the same time in a build.
        lightrag_options: Further arguments of ``LightRAG(...)``, such as ``{"entity_extract_max_gleaning": 0}``,
            which halves the LLM calls of a build. Keep its functions and tokenizer out of it.
        query_options: Further arguments of ``QueryParam(...)``.
        callback_manager: LlamaIndex's callbacks.
        verbose: Passed on to ``BaseRetriever``.

    Raises:
        ConfigurationError: An argument cannot work.
        SourceError: There is no LightRAG data in the working directory.
    """

    def __init__(
        self,
        working_dir: str | Path,
        store: BasePydanticVectorStore | None = None,
        nodes: Sequence[BaseNode] | None = None,
        llm: LLM | None = None,
        embed_model: BaseEmbedding | None = None,
        mode: str = "mix",
        similarity_top_k: int = 5,
        filters: MetadataFilters | None = None,
        workspace: str = "",
        milvus_uri: str | Path | None = None,
        milvus_token: SecretStr | str | None = None,
        milvus_db_name: str = "",
        llm_keywords: bool = False,
        workers: int = 4,
        lightrag_options: Mapping[str, Any] | None = None,
        query_options: Mapping[str, Any] | None = None,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        self.working_dir = Path(working_dir)
        self.llm = resolve_llm(llm)
        self.embed_model = resolve_embed_model(embed_model)
        self.mode = mode
        self.similarity_top_k = similarity_top_k
        self.filters = filters
        self.workspace = workspace
        self.llm_keywords = llm_keywords
        self.workers = workers
        self.lightrag_options = dict(lightrag_options or {})
        self.query_options = dict(query_options or {})
        self._address = parse_address(milvus_uri, milvus_token, milvus_db_name)
        self._check_arguments()
        if "kv_storage" not in self.lightrag_options:
            check_folder(self._settings.folder)
        self._source = NodeSource(store, nodes)
        self._source.load(self._settings.folder)
        self._reset()
        super().__init__(callback_manager=callback_manager, verbose=verbose)

    @classmethod
    def from_nodes(
        cls,
        nodes: Sequence[BaseNode],
        working_dir: str | Path,
        *,
        show_progress: bool = False,
        strict: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Build a working directory from nodes, or add them to one, with one LightRAG document per distinct text.

        Costs about two LLM calls per node and further ones where entities meet. Nodes that are in it already with the
        same text cost nothing.

        Args:
            nodes: The nodes, which ``store``, where one is given, has already. Each stays one chunk.
            working_dir: LightRAG's working directory; made where it is missing.
            show_progress: Show a progress bar.
            strict: Raise at the end when a node failed; by default it is logged.
            **kwargs: Arguments of the constructor.

        Returns:
            The retriever.

        Raises:
            ConfigurationError: There is no LLM and the mode needs a graph, or another argument cannot work.
            IngestionError: A node failed, with ``strict``.
        """
        retriever = cls._prepared(working_dir, kwargs)
        retriever.add_nodes(nodes, show_progress=show_progress, strict=strict)
        return retriever

    @classmethod
    async def afrom_nodes(
        cls,
        nodes: Sequence[BaseNode],
        working_dir: str | Path,
        *,
        show_progress: bool = False,
        strict: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Build a working directory without blocking the event loop; see :meth:`from_nodes`.

        Args:
            working_dir: LightRAG's working directory.
            show_progress: Show a progress bar.
            strict: Raise at the end when a node failed.
            **kwargs: Arguments of the constructor.

        Returns:
            The retriever.
        """
        retriever = cls._prepared(working_dir, kwargs)
        await retriever.aadd_nodes(nodes, show_progress=show_progress, strict=strict)
        return retriever

    def add_nodes(self, nodes: Sequence[BaseNode], *, show_progress: bool = False, strict: bool = False) -> BuildReport:
        """Add nodes; one that is there with another text is replaced.

        Args:
            show_progress: Show a progress bar.
            strict: Raise at the end when a node failed; by default it is logged.

        Returns:
            What became of them. Failed nodes are not in the graph and may be added again.

        Raises:
            ConfigurationError: There is no LLM and the mode needs a graph.
            IngestionError: A node failed, with ``strict``.
        """
        texts = self._texts(nodes)
        report = shared_loop_thread().run(self._add(self._session(), nodes, texts, show_progress=show_progress))
        return _checked(report, strict=strict)

    async def aadd_nodes(
        self, nodes: Sequence[BaseNode], *, show_progress: bool = False, strict: bool = False
    ) -> BuildReport:
        """Add nodes without blocking the event loop; see :meth:`add_nodes`.

        Args:
            show_progress: Show a progress bar.
            strict: Raise at the end when a node failed.

        Returns:
            What became of them.
        """
        texts = self._texts(nodes)
        report = await shared_loop_thread().arun(self._add(self._session(), nodes, texts, show_progress=show_progress))
        return _checked(report, strict=strict)

    def delete_nodes(self, node_ids: Sequence[str]) -> None:
        """Take nodes out of the graph; a text that other nodes share stays.

        LightRAG rebuilds the entities that other documents share: from its cache, and with further LLM calls where
        many descriptions have to be summarised. The nodes in ``store`` are not touched.

        Args:
            node_ids: Ids; unknown ones are passed over.
        """
        shared_loop_thread().run(self._delete(self._session(), list(node_ids)))

    async def adelete_nodes(self, node_ids: Sequence[str]) -> None:
        """Take nodes out without blocking the event loop; see :meth:`delete_nodes`."""
        await shared_loop_thread().arun(self._delete(self._session(), list(node_ids)))

    def close(self) -> None:
        """Close LightRAG and end its thread, if this is the last user; asking again opens it again."""
        session, runner = self._detach()
        if session is not None:
            try:
                runner.run(session.close())
            finally:
                runner.release()

    aclose = in_thread(close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name not in ("_guard", "_live", "_finalizer")}
        if self._address is not None:
            state["_address"] = (self._address.uri, None, self._address.db_name)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        address = state.pop("_address")
        vars(self).update(state, _address=address and parse_address(*address))
        self._reset()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        rounds = self._rounds(query_bundle.query_str)
        return shared_loop_thread().run(self._find(self._session(), rounds)) if rounds else []

    @dispatcher.span
    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        rounds = self._rounds(query_bundle.query_str)
        return await shared_loop_thread().arun(self._find(self._session(), rounds)) if rounds else []

    async def _find(self, session: Session, rounds: Sequence[dict[str, Any]]) -> list[NodeWithScore]:
        result: list[NodeWithScore] = []
        seen = 0
        for arguments in rounds:
            hits = await session.query(**arguments)
            result = await asyncio.to_thread(self._merge, hits)
            if len(result) >= self.similarity_top_k or len(hits) <= seen:
                break
            seen = len(hits)
        return result

    async def _add(
        self, session: Session, nodes: Sequence[BaseNode], texts: dict[str, str], *, show_progress: bool
    ) -> BuildReport:
        with tqdm(total=len(texts), desc="LightRAG", unit="node", disable=not show_progress) as bar:
            report = await session.add(texts, bar.update)
        added = [node for node in nodes if node.node_id not in report.failed]
        await asyncio.to_thread(self._source.record, self._settings.folder, added)
        return report

    async def _delete(self, session: Session, node_ids: Sequence[str]) -> None:
        await session.delete(node_ids)
        await asyncio.to_thread(self._source.record, self._settings.folder, dropped=node_ids)

    def _rounds(self, query: str) -> list[dict[str, Any]]:
        """Return the questions to LightRAG, each for more chunks, as long as too few pass the filters."""
        return [
            {"text": text, "arguments": arguments | self.query_options}
            for factor in _FETCH_FACTORS
            for text, arguments in query_arguments(
                query, self.mode, max(20, 4 * self.similarity_top_k) * factor, own_keywords=not self.llm_keywords
            )
        ]

    def _merge(self, hits: Sequence[ChunkHit]) -> list[NodeWithScore]:
        wanted = dict.fromkeys(node_id for hit in hits for node_id in hit.candidates)
        nodes = self._source.get(list(wanted), self.filters)
        return merge(hits, nodes, self._source, self.filters)[: self.similarity_top_k]

    @property
    def _settings(self) -> SessionSettings:
        return SessionSettings(
            working_dir=self.working_dir,
            workspace=self.workspace,
            llm=self.llm,
            embed_model=self.embed_model,
            address=self._address,
            options=self.lightrag_options,
            workers=self.workers,
            vectors_only=self.llm is None and self.mode == "naive",
        )

    @classmethod
    def _prepared(cls, working_dir: str | Path, kwargs: dict[str, Any]) -> Self:
        """Return a retriever over a folder that may be new."""
        refuse_unknown(f"{cls.__name__}.from_nodes()", kwargs, argument_names(cls, cls.from_nodes))
        prepare_folder(working_dir, str(kwargs.get("workspace", "")), with_milvus=kwargs.get("milvus_uri") is not None)
        return cls(working_dir, **kwargs)

    def _check_arguments(self) -> None:
        check_workspace(self.workspace, with_milvus=self._address is not None)
        if self.mode not in MODES:
            message = f"Unknown mode {self.mode!r}; choose one of {', '.join(MODES)}."
            raise ConfigurationError(message)
        check_positive(self, "similarity_top_k", "workers")
        if self.llm_keywords and self.llm is None:
            raise ConfigurationError("llm_keywords=True needs an LLM; pass llm=... or set Settings.llm.")

    def _texts(self, nodes: Sequence[BaseNode]) -> dict[str, str]:
        if self.llm is None and self.mode != "naive":
            raise ConfigurationError(
                "LightRAG builds its graph with an LLM and there is none: pass llm=... or set Settings.llm, or use "
                "mode='naive', which keeps vectors only."
            )
        return {node.node_id: node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes}

    def _reset(self) -> None:
        self._guard = threading.Lock()
        self._live: Session | None = None
        self._finalizer: weakref.finalize[[LoopThread, Session], Any] | None = None

    def _session(self) -> Session:
        with self._guard:
            if self._live is None:
                runner = shared_loop_thread()
                runner.acquire()
                self._live = Session(self._settings)
                self._finalizer = weakref.finalize(self, _abandon, runner, self._live)
                self._finalizer.atexit = False
            return self._live

    def _detach(self) -> tuple[Session | None, LoopThread]:
        with self._guard:
            session, self._live = self._live, None
            if self._finalizer is not None:
                self._finalizer.detach()
            return session, shared_loop_thread()


def _abandon(runner: LoopThread, session: Session) -> None:
    """Close what a retriever that nobody uses any more has left open, without waiting for it."""
    try:
        closing = runner.submit(session.close())
    except RuntimeError:
        runner.release()
    else:
        closing.add_done_callback(lambda _: runner.release())


def _checked(report: BuildReport, *, strict: bool) -> BuildReport:
    if report.failed:
        message = f"{len(report.failed)} nodes are not in the LightRAG graph:"
        if strict:
            raise IngestionError(message, list(report.failed.items()))
        node_id, reason = next(iter(report.failed.items()))
        logger.warning("%s %r (%s) and so on", message, node_id, reason)
    return report
