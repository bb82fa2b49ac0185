"""The tables of a knowledge base on disk, with the way back to node, page and box; SQL over them is in ``sql``.

Each document's tables are one file, replaced as a whole: its first line is the document's part of the catalog, each
further line one table, all JSON. Nothing else is kept, so no index can be out of step with the files. The catalog
follows other processes' changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from cachetools import LRUCache

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything._async import in_thread
from llama_index_raganything._files import replace_file, tenant_folder
from llama_index_raganything.errors import ConfigurationError, StoreUnavailableError
from llama_index_raganything.stores.tables.sql_process import close_idle
from llama_index_raganything.tables.records import CatalogEntry, TableRecord

if TYPE_CHECKING:
    import duckdb

    from llama_index_raganything.stores.tables.sql import SQLResult

DEFAULT_MEMORY_MB: Final = 512

FORMAT: Final = 1
"""Version of the files."""

_SUFFIX: Final = ".jsonl"
_KEPT_CELLS: Final = 1_000_000
_RACY_SECONDS: Final = 2.0

logger = logging.getLogger(__name__)


Signature = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _File:
    signature: Signature
    doc_id: str
    entries: tuple[CatalogEntry, ...]


@strict_arguments
class TableStore:
    """Tables of documents on disk, queried with SQL.

    Each document's tables are one file, replaced as a whole; relations are made in memory for the tables that a
    statement names. A table's relation has its typed columns alone; ``<name>__text`` has its cells as printed,
    ``tables`` lists the tables and ``table_columns`` their columns with units and scales.

    Args:
        folder: Where the files are; made when the first table is written.
        tenant: Sees and changes only this tenant's tables, which are in a folder of their own.
        memory_limit_mb: Megabytes of memory for one statement.

    Raises:
        ConfigurationError: The memory limit is below 64 MB.
        StoreUnavailableError: From any method, when the folder cannot be read or written.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, tenant: str | None = None, memory_limit_mb: int = DEFAULT_MEMORY_MB
    ) -> None:
        if memory_limit_mb < 64:
            message = f"memory_limit_mb is {memory_limit_mb}; DuckDB needs 64 at least."
            raise ConfigurationError(message)
        self.folder = Path(folder).expanduser().absolute()
        self.tenant = tenant
        self.memory_limit_mb = memory_limit_mb
        self._home = self.folder if tenant is None else tenant_folder(self.folder, tenant)
        self._lock = threading.RLock()
        self._files: dict[str, _File] = {}
        self._ids: dict[str, tuple[str, CatalogEntry]] = {}
        self._names: dict[str, str] = {}
        self._nodes: dict[str, list[str]] = {}
        self._records: LRUCache[tuple[str, Signature], tuple[TableRecord, ...]] = LRUCache(_KEPT_CELLS, _cells)
        self._seen: tuple[int, float] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r}, tenant={self.tenant!r})"

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], Self], tuple[dict[str, Any]]]:
        return type(self).from_dict, (self.to_dict(),)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return {"folder": str(self.folder), "tenant": self.tenant, "memory_limit_mb": self.memory_limit_mb}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the store that :meth:`to_dict` described."""
        return cls(**data)

    def close(self) -> None:
        """End the processes that wait for a statement. Nothing else is open; the store can still be used."""
        close_idle()

    def put(self, doc_id: str, records: Sequence[TableRecord]) -> None:
        """Replace a document's tables.

        Args:
            records: All its tables; none deletes those it had.

        Raises:
            StoreUnavailableError: The folder cannot be written.
        """
        if not records:
            self.delete(doc_id)
            return
        entries = tuple(CatalogEntry.of(record) for record in records)
        head = {"format": FORMAT, "doc_id": doc_id, "tables": [entry.to_list() for entry in entries]}
        lines = [head, *(record.to_dict() for record in records)]
        name = _file_name(doc_id)
        with self._lock, self._reported("written"):
            signature = self._replace(name, lines)
            self._forget(name)
            self._learn(name, _File(signature, doc_id, entries))

    def delete(self, doc_id: str) -> None:
        """Delete a document's tables, if it has any.

        Raises:
            StoreUnavailableError: The folder cannot be written.
        """
        name = _file_name(doc_id)
        with self._lock, self._reported("written"):
            (self._home / name).unlink(missing_ok=True)
            self._forget(name)

    def delete_nodes(self, doc_id: str, node_ids: Iterable[str]) -> None:
        """Delete those of a document's tables that no node holds any more.

        Args:
            node_ids: Nodes that it no longer has.
        """
        gone = set(node_ids)
        records = self.tables([doc_id])
        left = [record for record in records if not gone.issuperset(record.node_ids)]
        if len(left) < len(records):
            self.put(doc_id, left)

    def entries(self, doc_ids: Iterable[str] | None = None) -> list[CatalogEntry]:
        """Return the catalog.

        Args:
            doc_ids: Documents to look at; None for all.

        Returns:
            Entries, tables of one document together and in its order, documents by id.
        """
        with self._lock:
            return [entry for _, file in self._files_of(doc_ids) for entry in file.entries]

    def named(self, names: Iterable[str]) -> dict[str, CatalogEntry]:
        """Return the catalog's entries of relations, by name as given.

        Args:
            names: Names of relations in any case; unknown ones are left out.
        """
        with self._lock:
            self._refresh()
            found = {name: self._names.get(name.casefold()) for name in names}
            return {name: self._ids[table_id][1] for name, table_id in found.items() if table_id is not None}

    def by_node(self, node_id: str) -> list[TableRecord]:
        """Return the tables that a node holds, or a part of them."""
        with self._lock:
            self._refresh()
            found = [self.get(table_id) for table_id in self._nodes.get(node_id, ())]
        return [record for record in found if record is not None]

    def get(self, table_id: str) -> TableRecord | None:
        """Return a table, or None when there is none of this id."""
        with self._lock:
            self._refresh()
            known = self._ids.get(table_id)
            records = self._read(known[0]) if known is not None else ()
        return next((record for record in records if record.table_id == table_id), None)

    def tables(self, doc_ids: Iterable[str] | None = None) -> list[TableRecord]:
        """Return tables with all their cells.

        Args:
            doc_ids: Documents to look at; None for all.

        Returns:
            The tables in the order of :meth:`entries`.
        """
        with self._lock:
            return [record for name, _ in self._files_of(doc_ids) for record in self._read(name)]

    def count(self) -> int:
        """Return how many tables there are."""
        return len(self.entries())

    def version(self) -> int:
        """Return a number that changes whenever the tables do, in this process or another."""
        with self._lock:
            self._refresh()
            return hash(frozenset((name, file.signature) for name, file in self._files.items()))

    def query_sql(
        self, sql: str, *, tables: Sequence[str] | None = None, max_rows: int = 1_000, timeout_s: float = 10.0
    ) -> SQLResult:
        """Run one read-only query.

        It runs in a process of its own that sees no files, no network and none of our memory.

        Args:
            sql: One SELECT, WITH, VALUES, DESCRIBE, SUMMARIZE or SHOW TABLES in DuckDB's dialect.
            tables: Ids of the tables that it may read; None for all.
            max_rows: Rows to return at most.
            timeout_s: Seconds that it may take.

        Returns:
            The rows and the tables they come from.

        Raises:
            SQLRefusedError: It is no single read-only query, or reads something else than tables.
            UnknownTableError: It names a table that is not there or not allowed.
            SQLLimitError: It took too long or too much memory.
            SQLError: It has another error; the message lists the columns of its tables.
            ConfigurationError: A limit is not positive.
        """
        from llama_index_raganything.stores.tables.sql import query

        return query(self, sql, tables, max_rows, timeout_s)

    aquery_sql = in_thread(query_sql)

    def connect(self, table_ids: Sequence[str]) -> duckdb.DuckDBPyConnection:
        """Open a DuckDB in memory with some tables, in this process.

        It reaches no files and its settings are locked, but DuckDB bounds neither the time of a statement nor all of
        its memory here: run SQL of unknown origin with :meth:`query_sql`.

        Args:
            table_ids: Ids of the tables; unknown ones are left out.

        Returns:
            The connection; close it.
        """
        from llama_index_raganything.stores.tables.sql import connect

        return connect(self, table_ids)

    def export(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write all tables into a DuckDB file that any DuckDB opens.

        Args:
            overwrite: Replace a file that is there.

        Returns:
            The path.

        Raises:
            ConfigurationError: There is a file and ``overwrite`` is not set.
            StoreUnavailableError: The file cannot be written.
        """
        from llama_index_raganything.stores.tables.sql import export

        return export(self, path, overwrite=overwrite)

    def _files_of(self, doc_ids: Iterable[str] | None) -> list[tuple[str, _File]]:
        """Return the files of documents with their names, by the documents' ids."""
        self._refresh()
        wanted = None if doc_ids is None else set(doc_ids)
        found = [pair for pair in self._files.items() if wanted is None or pair[1].doc_id in wanted]
        return sorted(found, key=lambda pair: pair[1].doc_id)

    def _refresh(self) -> None:
        """Read what other processes wrote; costs one ``stat`` of the folder when they wrote nothing."""
        with self._lock, self._reported("read"):
            try:
                changed = self._home.stat().st_mtime_ns
            except FileNotFoundError:
                changed = 0
            # A folder that changed just before it was read may have changed again in the same tick of its clock.
            if self._seen is not None and self._seen[0] == changed and self._seen[1] - changed / 1e9 > _RACY_SECONDS:
                return
            now = time.time()
            self._scan()
            self._seen = (changed, now)

    def _scan(self) -> None:
        present: dict[str, Signature] = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self._home) as found:
            for item in found:
                if item.name.endswith(_SUFFIX):
                    with contextlib.suppress(FileNotFoundError):
                        present[item.name] = _signature(item.stat())
        for name in set(self._files) - set(present):
            self._forget(name)
        for name, signature in present.items():
            known = self._files.get(name)
            if known is None or known.signature != signature:
                self._forget(name)
                file = self._head(name)
                if file is not None:
                    self._learn(name, file)

    def _head(self, name: str) -> _File | None:
        try:
            with (self._home / name).open(encoding="utf-8", errors="surrogatepass") as lines:
                signature = _signature(os.fstat(lines.fileno()))
                head = json.loads(lines.readline())
            if head["format"] != FORMAT:
                logger.warning("%s has format %s and is left out; this version reads %s.", name, head["format"], FORMAT)
                return None
            entries = tuple(CatalogEntry(*[*values, tuple(node_ids)]) for *values, node_ids in head["tables"])
            return _File(signature, head["doc_id"], entries)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("%s is damaged and is left out (%s); index its document again.", self._home / name, error)
            return None

    def _learn(self, name: str, file: _File) -> None:
        self._files[name] = file
        for entry in file.entries:
            self._ids[entry.table_id] = (name, entry)
            self._names[entry.name.casefold()] = entry.table_id
            for node_id in entry.node_ids:
                self._nodes.setdefault(node_id, []).append(entry.table_id)

    def _forget(self, name: str) -> None:
        file = self._files.pop(name, None)
        if file is None:
            return
        for entry in file.entries:
            self._ids.pop(entry.table_id, None)
            self._names.pop(entry.name.casefold(), None)
            for node_id in entry.node_ids:
                left = [table_id for table_id in self._nodes.get(node_id, ()) if table_id != entry.table_id]
                if left:
                    self._nodes[node_id] = left
                else:
                    self._nodes.pop(node_id, None)
        self._records.pop((name, file.signature), None)

    def _read(self, name: str) -> tuple[TableRecord, ...]:
        file = self._files[name]
        key = (name, file.signature)
        if key in self._records:
            return self._records[key]
        try:
            with (self._home / name).open(encoding="utf-8", errors="surrogatepass") as lines:
                next(lines)
                records = tuple(TableRecord.from_dict(json.loads(line)) for line in lines)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._unavailable("read", error) from error
        except (ValueError, KeyError, TypeError, StopIteration) as error:
            logger.warning("%s is damaged and is left out (%s); index its document again.", self._home / name, error)
            return ()
        self._records[key] = records
        return records

    def _replace(self, name: str, lines: Iterable[dict[str, Any]]) -> Signature:
        text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
        return _signature(replace_file(self._home / name, text.encode("utf-8", "surrogatepass"), durable=True))

    @contextlib.contextmanager
    def _reported(self, action: str) -> Any:
        try:
            yield
        except OSError as error:
            raise self._unavailable(action, error) from error

    def _unavailable(self, action: str, error: OSError) -> StoreUnavailableError:
        message = f"The folder of tables {self._home} cannot be {action}: {error}. Give a folder of your own."
        return StoreUnavailableError(message)


def _file_name(doc_id: str) -> str:
    # Ids of documents are arbitrary strings: paths, URLs, "../..".
    return hashlib.sha256(doc_id.encode("utf-8", "surrogatepass")).hexdigest()[:40] + _SUFFIX


def _signature(stat: os.stat_result) -> Signature:
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


def _cells(records: Iterable[TableRecord]) -> int:
    # The cache refuses what is larger than itself, and a huge document is to be cached too.
    return min(_KEPT_CELLS, sum(len(record.rows) * len(record.columns) for record in records))
