"""Tables on disk: one file per document, replaced as a whole, with a catalog that follows other processes' changes.

The first line of a file is its document's part of the catalog, each further line one table, all JSON. Nothing else is
kept, so no index can be out of step with the files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llama_index_raganything._files import replace_file
from llama_index_raganything.errors import StoreUnavailableError
from llama_index_raganything.tables.model import TableRecord

FORMAT: Final = 1
"""Version of the files."""

_SUFFIX: Final = ".jsonl"
_KEPT_CELLS: Final = 1_000_000
_RACY_SECONDS: Final = 2.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """What the catalog says of one table.

    Attributes:
        table_id: Its id.
        name: Name of its relation.
        doc_id: Its document.
        caption: Its caption.
        label: Label of the caption.
        section: Path of headings above it.
        page: 1-based page or None.
        file_name: Name of the file.
        rows: Body rows.
        columns: Number of columns.
        node_ids: Nodes that hold it.
    """

    table_id: str
    name: str
    doc_id: str
    caption: str
    label: str
    section: str
    page: int | None
    file_name: str
    rows: int
    columns: int
    node_ids: tuple[str, ...]

    @classmethod
    def of(cls, record: TableRecord) -> CatalogEntry:
        """Return the entry of a table."""
        return cls(
            table_id=record.table_id,
            name=record.name,
            doc_id=record.doc_id,
            caption=record.caption,
            label=record.label,
            section=record.section,
            page=record.page,
            file_name=record.file_name,
            rows=len(record.rows),
            columns=len(record.columns),
            node_ids=record.node_ids,
        )

    def to_list(self) -> list[Any]:
        """Return the values in order, JSON-ready; names would make the catalog twice as long."""
        return [getattr(self, name) for name in self.__slots__]


Signature = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _File:
    signature: Signature
    doc_id: str
    entries: tuple[CatalogEntry, ...]


class TableFiles:
    """The files of one folder and their catalog. Safe for threads.

    Args:
        folder: Where they are; made when the first table is written.

    Raises:
        StoreUnavailableError: From any method, when the folder cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._files: dict[str, _File] = {}
        self._ids: dict[str, tuple[str, CatalogEntry]] = {}
        self._names: dict[str, str] = {}
        self._nodes: dict[str, list[str]] = {}
        self._records: OrderedDict[tuple[str, Signature], tuple[TableRecord, ...]] = OrderedDict()
        self._cells = 0
        self._seen: tuple[int, float] | None = None

    def put(self, doc_id: str, records: Sequence[TableRecord]) -> None:
        """Replace a document's tables; none deletes its file."""
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
        """Delete a document's tables, if it has any."""
        name = _file_name(doc_id)
        with self._lock, self._reported("written"):
            (self.folder / name).unlink(missing_ok=True)
            self._forget(name)

    def entries(self, doc_ids: Iterable[str] | None = None) -> list[CatalogEntry]:
        """Return the catalog.

        Args:
            doc_ids: Documents to look at; None for all.

        Returns:
            Entries, tables of one document together and in its order, documents by id.
        """
        with self._lock:
            self.refresh()
            wanted = None if doc_ids is None else set(doc_ids)
            files = [file for file in self._files.values() if wanted is None or file.doc_id in wanted]
            return [entry for file in sorted(files, key=lambda file: file.doc_id) for entry in file.entries]

    def named(self, names: Iterable[str]) -> dict[str, CatalogEntry]:
        """Return the entries of relations, by name as given.

        Args:
            names: Names of relations in any case; unknown ones are left out.
        """
        with self._lock:
            self.refresh()
            found = {name: self._names.get(name.casefold()) for name in names}
            return {name: self._ids[table_id][1] for name, table_id in found.items() if table_id is not None}

    def ids_of_node(self, node_id: str) -> list[str]:
        """Return the ids of the tables that a node holds, or a part of them."""
        with self._lock:
            self.refresh()
            return list(self._nodes.get(node_id, ()))

    def record(self, table_id: str) -> TableRecord | None:
        """Return a table, or None when there is none of this id."""
        with self._lock:
            self.refresh()
            known = self._ids.get(table_id)
            records = self._read(known[0]) if known is not None else ()
        return next((record for record in records if record.table_id == table_id), None)

    def records(self, doc_ids: Iterable[str] | None = None) -> list[TableRecord]:
        """Return whole tables.

        Args:
            doc_ids: Documents to look at; None for all.

        Returns:
            The tables in the order of :meth:`entries`.
        """
        with self._lock:
            self.refresh()
            wanted = None if doc_ids is None else set(doc_ids)
            names = [name for name, file in self._files.items() if wanted is None or file.doc_id in wanted]
            names.sort(key=lambda name: self._files[name].doc_id)
            return [record for name in names for record in self._read(name)]

    def version(self) -> int:
        """Return a number that changes whenever the tables do, in this process or another."""
        with self._lock:
            self.refresh()
            return hash(frozenset((name, file.signature) for name, file in self._files.items()))

    def refresh(self) -> None:
        """Take notice of what other processes wrote; costs one look at the folder when they wrote nothing."""
        with self._lock, self._reported("read"):
            try:
                changed = self.folder.stat().st_mtime_ns
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
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder) as found:
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
            with (self.folder / name).open(encoding="utf-8", errors="surrogatepass") as lines:
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
            logger.warning("%s is damaged and is left out (%s); index its document again.", self.folder / name, error)
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
        dropped = self._records.pop((name, file.signature), ())
        self._cells -= _cells(dropped)

    def _read(self, name: str) -> tuple[TableRecord, ...]:
        file = self._files[name]
        key = (name, file.signature)
        if key in self._records:
            self._records.move_to_end(key)
            return self._records[key]
        try:
            with (self.folder / name).open(encoding="utf-8", errors="surrogatepass") as lines:
                next(lines)
                records = tuple(TableRecord.from_dict(json.loads(line)) for line in lines)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._unavailable("read", error) from error
        except (ValueError, KeyError, TypeError, StopIteration) as error:
            logger.warning("%s is damaged and is left out (%s); index its document again.", self.folder / name, error)
            return ()
        self._records[key] = records
        self._cells += _cells(records)
        while self._cells > _KEPT_CELLS and len(self._records) > 1:
            _, oldest = self._records.popitem(last=False)
            self._cells -= _cells(oldest)
        return records

    def _replace(self, name: str, lines: Iterable[dict[str, Any]]) -> Signature:
        text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
        return _signature(replace_file(self.folder / name, text.encode("utf-8", "surrogatepass"), durable=True))

    @contextlib.contextmanager
    def _reported(self, action: str) -> Any:
        try:
            yield
        except OSError as error:
            raise self._unavailable(action, error) from error

    def _unavailable(self, action: str, error: OSError) -> StoreUnavailableError:
        message = f"The folder of tables {self.folder} cannot be {action}: {error}. Give a folder of your own."
        return StoreUnavailableError(message)


def _file_name(doc_id: str) -> str:
    # Ids of documents are arbitrary strings: paths, URLs, "../..".
    return hashlib.sha256(doc_id.encode("utf-8", "surrogatepass")).hexdigest()[:40] + _SUFFIX


def _signature(stat: os.stat_result) -> Signature:
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


def _cells(records: Iterable[TableRecord]) -> int:
    return sum(len(record.rows) * len(record.columns) for record in records)
