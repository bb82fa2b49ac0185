"""One LightRAG object: opened, filled, asked and closed by coroutines that run on LightRAG's own event loop."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_index_raganything._arguments import argument_names, refuse_unknown
from llama_index_raganything.errors import StoreError
from llama_index_raganything.retrievers.lightrag import opening, workspace
from llama_index_raganything.retrievers.lightrag.results import ChunkHit, read_hits

if TYPE_CHECKING:
    from llama_index_raganything.stores.milvus.connection import Connection


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What became of the nodes of one build.

    Attributes:
        added: Ids of nodes that are in the graph now.
        unchanged: Ids of nodes that were there already, with the same text.
        failed: Reasons by id of the nodes that are not in it.
    """

    added: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Folder:
    """What all sessions of one folder share; used on LightRAG's loop only."""

    table: workspace.ChunkTable
    key: str
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


_folders: dict[str, _Folder] = {}
_generation = 0


class Session:
    """An open LightRAG object. All methods run on LightRAG's event loop.

    Args:
        settings: What to open.
    """

    def __init__(self, settings: workspace.SessionSettings) -> None:
        self.settings = settings
        self._opening = asyncio.Lock()
        self._place = os.path.realpath(settings.folder)
        self._folder: _Folder | None = None
        self._rag: Any = None
        self._failures = opening.Failures()
        self._connection: Connection | None = None

    async def open(self) -> Any:
        """Return the LightRAG object, opening it on the first call.

        Raises:
            MissingDependencyError: LightRAG, or what its storage needs, is not installed.
            SchemaMismatchError: The stored vectors have another dimension.
            StoreError: LightRAG cannot open its storages.
        """
        async with self._opening:
            if self._rag is None:
                self._folder = _enter(self._place, self.settings.folder)
                try:
                    self._connection = opening.connect_milvus(self.settings.address)
                    self._rag = await opening.open_lightrag(self.settings, self._folder.key, self._failures)
                except BaseException:
                    _leave(self._place)
                    self._folder = None
                    self._disconnect()
                    raise
            return self._rag

    async def close(self) -> None:
        """Close the object, write what it holds back, and end its workers."""
        async with self._opening:
            rag, self._rag, self._folder = self._rag, None, None
            if rag is None:
                return
            last = _leave(self._place)
            try:
                await rag.finalize_storages()
                for function in (rag.llm_model_func, getattr(rag.embedding_func, "func", None)):
                    shutdown = getattr(function, "shutdown", None)
                    if shutdown is not None:
                        await shutdown()
            finally:
                for name in opening.STORAGES:
                    opening.close_storage(getattr(rag, name, None), forget=last)
                self._disconnect()

    async def query(self, text: str, arguments: Mapping[str, Any]) -> list[ChunkHit]:
        """Ask for chunks.

        Args:
            arguments: Arguments of ``QueryParam``.

        Returns:
            Chunks, best first, with the nodes behind them.

        Raises:
            UnknownArgumentError: LightRAG does not have one of the arguments.
            StoreError: LightRAG failed.
        """
        with opening.lightrag_imports():
            from lightrag import QueryParam
        refuse_unknown("query_options", arguments, argument_names(QueryParam))
        rag = await self.open()
        before = self._failures.count
        with opening.translated("query", self.settings):
            answer = await rag.aquery_data(text, QueryParam(**arguments))
            if self._failures.last is not None and self._failures.count > before:
                raise self._failures.last
        table = self._shared().table
        return [
            replace(hit, node_ids=table.nodes_of(hit.chunk_id, hit.file_path))
            for hit in read_hits(answer, str(arguments["mode"]))
        ]

    async def add(self, texts: Mapping[str, str], progress: Callable[[int], object]) -> BuildReport:
        """Add nodes; a node that is there with another text is replaced.

        Args:
            texts: Texts by node id.
            progress: Called with the number of nodes done, now and then.

        Returns:
            What became of them. A failed document is taken out again, so that the next build tries it again.
        """
        rag = await self.open()
        report = BuildReport()
        async with self._shared().writing, self._saving(rag) as save:
            waiting = await self._plan(rag, texts, report, save)
            progress(len(texts) - sum(len(nodes) for _, nodes in waiting.values()))
            names, size = list(waiting), 4 * self.settings.workers
            for start in range(0, len(names), size):
                batch = {name: waiting[name] for name in names[start : start + size]}
                await self._insert(rag, batch, report)
                await save()
                progress(sum(len(nodes) for _, nodes in batch.values()))
        return report

    async def delete(self, node_ids: Sequence[str]) -> None:
        """Take nodes out; a text that other nodes share stays.

        Args:
            node_ids: Ids; unknown ones are passed over.

        Raises:
            StoreError: LightRAG refused.
        """
        rag = await self.open()
        async with self._shared().writing, self._saving(rag) as save:
            await self._drop(rag, node_ids, save)

    @asynccontextmanager
    async def _saving(self, rag: Any) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Write files now and then and at the end: LightRAG rewrites all of them after each document.

        That makes a build quadratic (1.4.16, scripted LLM: 70 ms for each of 100 documents, 151 ms for each of 400).
        The table is written with them, so that what a crash leaves behind is known to be unfinished.

        Yields:
            A function that writes when as much time has passed as keeps writing under a twentieth of it.
        """
        write, last, cost = rag._insert_done, time.monotonic(), 0.0
        # LightRAG 1.5 embeds when it writes: put off, a failing text could not be told from the others any more.
        embeds_when_writing = hasattr(rag, "_flush_storages")

        async def save(*, now: bool = False) -> None:
            nonlocal last, cost
            started = time.monotonic()
            if now or started - last >= 20 * cost:
                with opening.translated("writing", self.settings):
                    await write()
                self._shared().table.save()
                last = time.monotonic()
                cost = last - started

        async def later(*_: Any, **__: Any) -> None:
            return

        if not embeds_when_writing:
            rag._insert_done = later
        try:
            yield save
        finally:
            rag._insert_done = write
            await save(now=True)

    async def _drop(self, rag: Any, node_ids: Sequence[str], save: Callable[[], Awaitable[None]]) -> None:
        table = self._shared().table
        for name in table.drop_nodes(node_ids):
            with opening.translated("deletion", self.settings):
                result = await rag.adelete_by_doc_id(name)
            if result.status not in ("success", "not_found"):
                message = f"LightRAG did not delete {name}: {result.message}"
                raise StoreError(message)
            del table.entries[name]
            await save()

    async def _plan(
        self, rag: Any, texts: Mapping[str, str], report: BuildReport, save: Callable[[], Awaitable[None]]
    ) -> dict[str, tuple[str, list[str]]]:
        """Return the documents to insert, as text and node ids, and settle the nodes that need no insertion."""
        with opening.lightrag_imports():
            from lightrag.utils import sanitize_text_for_encoding
        table = self._shared().table
        cleaned = {node_id: sanitize_text_for_encoding(text) for node_id, text in texts.items()}
        owners = table.by_node()
        changed = [
            i for i, text in cleaned.items() if i in owners and table.entries[owners[i]].key != workspace.text_key(text)
        ]
        await self._drop(rag, changed, save)
        owners, keys = table.by_node(), table.by_key()
        taken = set(table.entries)
        waiting: dict[str, tuple[str, list[str]]] = {}
        for node_id, text in cleaned.items():
            name = keys.get(workspace.text_key(text))
            if node_id in owners:
                report.unchanged.append(node_id)
            elif not text:
                report.failed[node_id] = "The node has no text that LightRAG could store."
            elif name in waiting:
                waiting[name][1].append(node_id)
            elif name is not None:
                table.entries[name].nodes.append(node_id)
                report.added.append(node_id)
            else:
                name = _free_name(node_id, taken)
                taken.add(name)
                keys[workspace.text_key(text)] = name
                waiting[name] = (text, [node_id])
        return waiting

    async def _insert(self, rag: Any, batch: Mapping[str, tuple[str, list[str]]], report: BuildReport) -> None:
        table, names = self._shared().table, list(batch)
        with opening.translated("insertion", self.settings):
            # What an interrupted build left behind would make LightRAG take these for duplicates.
            for name in {*names} - await rag.doc_status.filter_keys({*names}):
                await rag.adelete_by_doc_id(name)
            await rag.ainsert([batch[name][0] for name in names], ids=names, file_paths=names)
            statuses = await rag.aget_docs_by_ids(names)
            for name, (text, nodes) in batch.items():
                status = statuses.get(name)
                if _status(status, "status") == "processed":
                    chunks = [str(chunk) for chunk in _status(status, "chunks_list") or ()]
                    table.entries[name] = workspace.Entry(workspace.text_key(text), nodes, chunks)
                    report.added.extend(nodes)
                    continue
                reason = str(_status(status, "error_msg") or "LightRAG did not process the document.")
                report.failed.update(dict.fromkeys(nodes, reason))
                await rag.adelete_by_doc_id(name)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            from llama_index_raganything.stores.milvus.connection import release

            release(connection)

    def _shared(self) -> _Folder:
        if self._folder is None:
            raise StoreError("The LightRAG retriever was closed while it was in use.")
        return self._folder


def _enter(place: str, folder: Path) -> _Folder:
    """Count one more session of a folder."""
    global _generation  # noqa: PLW0603  # A number that is used once per process.
    if place not in _folders:
        _generation += 1
        _folders[place] = _Folder(workspace.ChunkTable.load(folder), f"{place}#{_generation}")
    _folders[place].users += 1
    return _folders[place]


def _leave(place: str) -> bool:
    """Count one session of a folder fewer; return whether it was the last."""
    _folders[place].users -= 1
    if _folders[place].users:
        return False
    del _folders[place]
    return True


def _free_name(node_id: str, taken: set[str]) -> str:
    """Return a document id for a node; another one where a node with another text has taken it before."""
    name, number = workspace.document_id(node_id), 1
    while name in taken:
        number += 1
        name = f"{workspace.document_id(node_id)}-{number}"
    return name


def _status(status: Any, name: str) -> Any:
    """Return a field of a document's status, which is a dictionary or an object, by LightRAG's storage."""
    value = status.get(name) if isinstance(status, dict) else getattr(status, name, None)
    return getattr(value, "value", value)
