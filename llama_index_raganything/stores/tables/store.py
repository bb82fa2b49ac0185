"""The tables of a knowledge base as typed SQL relations, with the way back to node, page and box."""

from __future__ import annotations

import asyncio
import datetime
import difflib
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.errors import (
    ConfigurationError,
    SQLError,
    SQLLimitError,
    SQLRefusedError,
    StoreUnavailableError,
    UnknownTableError,
)
from llama_index_raganything.stores.tables.files import CatalogEntry, TableFiles
from llama_index_raganything.stores.tables.relations import (
    CATALOG,
    COLUMN_CATALOG,
    TEXT_SUFFIX,
    Relation,
    all_relations,
    catalog_relation,
    column_relation,
    describe_columns,
    text_relation,
    typed_relation,
)
from llama_index_raganything.stores.tables.sql_process import SQLSession, close_idle
from llama_index_raganything.tables.model import TableRecord

if TYPE_CHECKING:
    import duckdb

DEFAULT_MEMORY_MB: Final = 512

_SHOW_TABLES: Final = "SELECT name FROM tables ORDER BY name"
_NAMES_SHOWN: Final = 20


@strict_arguments
@dataclass(frozen=True)
class SQLResult:
    """What a query returned.

    Attributes:
        columns: Names of the columns.
        rows: The rows.
        sql: The statement.
        truncated: There were more rows or longer texts than asked for.
        sources: Tables that the statement reads.
        types: DuckDB's types of the columns.
    """

    columns: list[str]
    rows: list[tuple[Any, ...]]
    sql: str
    truncated: bool = False
    sources: list[TableRecord] = field(default_factory=list)
    types: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return the rows as a Markdown table."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        cells = ([" ".join(_printed(value).split()).replace("|", "\\|") for value in line] for line in lines)
        return "\n".join("| " + " | ".join(line) + " |" for line in cells)


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
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, tenant: str = "", memory_limit_mb: int = DEFAULT_MEMORY_MB
    ) -> None:
        if memory_limit_mb < 64:
            message = f"memory_limit_mb is {memory_limit_mb}; DuckDB needs 64 at least."
            raise ConfigurationError(message)
        self.folder = Path(folder).expanduser().absolute()
        self.tenant = tenant
        self.memory_limit_mb = memory_limit_mb
        home = self.folder
        if tenant:
            # Names of tenants are arbitrary strings and must not be paths.
            home = home / "tenants" / hashlib.sha256(tenant.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        self._files = TableFiles(home)

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
        self._files.put(doc_id, records)

    def delete(self, doc_id: str) -> None:
        """Delete a document's tables, if it has any.

        Raises:
            StoreUnavailableError: The folder cannot be written.
        """
        self._files.delete(doc_id)

    def delete_nodes(self, doc_id: str, node_ids: Iterable[str]) -> None:
        """Delete a document's tables all of whose nodes are deleted.

        Args:
            node_ids: Nodes that the document no longer has.
        """
        gone = set(node_ids)
        records = self._files.records([doc_id])
        left = [record for record in records if not gone.issuperset(record.node_ids)]
        if len(left) < len(records):
            self._files.put(doc_id, left)

    def get(self, table_id: str) -> TableRecord | None:
        """Return a table, or None when there is none of this id."""
        return self._files.record(table_id)

    def tables(self, doc_ids: Iterable[str] | None = None) -> list[TableRecord]:
        """Return tables with all their cells.

        Args:
            doc_ids: Documents to look at; None for all.

        Returns:
            Tables of one document together and in its order.
        """
        return self._files.records(doc_ids)

    def entries(self, doc_ids: Iterable[str] | None = None) -> list[CatalogEntry]:
        """Return what the catalog says of tables, without their cells.

        Args:
            doc_ids: Documents to look at; None for all.

        Returns:
            Entries in the order of :meth:`tables`.
        """
        return self._files.entries(doc_ids)

    def by_node(self, node_id: str) -> list[TableRecord]:
        """Return the tables that a node holds, or a part of them."""
        found = (self._files.record(table_id) for table_id in self._files.ids_of_node(node_id))
        return [record for record in found if record is not None]

    def count(self) -> int:
        """Return how many tables there are."""
        return len(self._files.entries())

    def version(self) -> int:
        """Return a number that changes whenever the tables do, in this process or another."""
        return self._files.version()

    def query_sql(
        self, sql: str, *, tables: Sequence[str] | None = None, max_rows: int = 1_000, timeout: float = 10.0
    ) -> SQLResult:
        """Run one read-only query.

        It runs in a process of its own that sees no files, no network and none of our memory.

        Args:
            sql: One SELECT, WITH, VALUES, DESCRIBE, SUMMARIZE or SHOW TABLES in DuckDB's dialect.
            tables: Ids of the tables that it may read; None for all.
            max_rows: Rows to return at most.
            timeout: Seconds that it may take.

        Returns:
            The rows and the tables they come from.

        Raises:
            SQLRefusedError: It is no single read-only query, or reads something else than tables.
            UnknownTableError: It names a table that is not there or not allowed.
            SQLLimitError: It took too long or too much memory.
            SQLError: It has another error; the message lists the columns of its tables.
            ConfigurationError: A limit is not positive.
        """
        if max_rows < 1 or timeout <= 0:
            message = f"max_rows is {max_rows} and timeout {timeout}; both must be positive."
            raise ConfigurationError(message)
        with SQLSession(self.memory_limit_mb, timeout) as session:
            plan = session.inspect(sql)
            if "error" in plan:
                raise _error(plan, sql, [])
            statement = sql
            if plan["lists_tables"] and not plan["tables"]:
                statement, plan = _SHOW_TABLES, {"tables": [CATALOG]}
            sources, relations = self._relations(plan["tables"], tables)
            result = session.run(statement, relations, max_rows)
        if "error" in result:
            raise _error(result, sql, sources)
        return SQLResult(
            columns=result["columns"],
            rows=[tuple(_restored(value) for value in row) for row in result["rows"]],
            sql=sql,
            truncated=result["truncated"],
            sources=sources,
            types=result["types"],
        )

    async def aquery_sql(
        self, sql: str, *, tables: Sequence[str] | None = None, max_rows: int = 1_000, timeout: float = 10.0
    ) -> SQLResult:
        """Run one read-only query; see :meth:`query_sql`.

        Args:
            sql: One SELECT.
            tables: Ids of the tables that it may read; None for all.
            max_rows: Rows to return at most.
            timeout: Seconds that it may take.

        Returns:
            The rows and the tables they come from.
        """
        return await asyncio.to_thread(self.query_sql, sql, tables=tables, max_rows=max_rows, timeout=timeout)

    def connect(self, table_ids: Sequence[str]) -> duckdb.DuckDBPyConnection:
        """Open a DuckDB in memory with some tables, in this process.

        It reaches no files and its settings are locked, but DuckDB bounds neither the time of a statement nor all of
        its memory here: run SQL of unknown origin with :meth:`query_sql`.

        Args:
            table_ids: Ids of the tables; unknown ones are left out.

        Returns:
            The connection; close it.
        """
        from llama_index_raganything.stores.tables import sql_worker

        connection = sql_worker.connect(self.memory_limit_mb)
        records = [record for table_id in table_ids if (record := self.get(table_id)) is not None]
        for relation in all_relations(records):
            sql_worker.load(connection, relation)
        connection.execute("SET lock_configuration = true")
        return connection

    def export(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write all tables into a DuckDB file that any DuckDB opens.

        Args:
            path: Path of the new file.
            overwrite: Replace a file that is there.

        Returns:
            The path.

        Raises:
            ConfigurationError: There is a file and ``overwrite`` is not set.
            StoreUnavailableError: The file cannot be written.
        """
        import duckdb

        from llama_index_raganything.stores.tables import sql_worker

        target = Path(path).expanduser().absolute()
        if target.exists() and not overwrite:
            message = f"{target} is there already; give another path, or overwrite=True."
            raise ConfigurationError(message)
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with duckdb.connect(str(part)) as connection:
                for relation in all_relations(self.tables()):
                    sql_worker.load(connection, relation)
            part.replace(target)
        except (OSError, duckdb.IOException) as error:
            message = f"{target} cannot be written: {error}"
            raise StoreUnavailableError(message) from error
        finally:
            part.unlink(missing_ok=True)
        return target

    def _relations(
        self, names: Sequence[str], allowed: Sequence[str] | None
    ) -> tuple[list[TableRecord], list[Relation]]:
        """Return the tables that a statement names, and all its relations."""
        ids = None if allowed is None else set(allowed)
        own = {name: _base_name(name) for name in names if name.casefold() not in {CATALOG, COLUMN_CATALOG}}
        known = self._files.named(own.values())
        sources: dict[str, TableRecord] = {}
        relations: dict[str, Relation] = {}
        for name, base in own.items():
            entry = known.get(base)
            record = self.get(entry.table_id) if entry is not None and (ids is None or entry.table_id in ids) else None
            if record is None:
                raise self._unknown(name, ids)
            sources[record.table_id] = record
            typed = base.casefold() == name.casefold()
            relation = typed_relation(record) if typed else text_relation(record)
            relations[relation["name"]] = relation
        for name in {name.casefold() for name in names if name not in own}:
            relations[name] = self._catalog(name, ids)
        return list(sources.values()), list(relations.values())

    def _catalog(self, name: str, allowed: set[str] | None) -> Relation:
        if name == CATALOG:
            return catalog_relation([entry for entry in self.entries() if allowed is None or entry.table_id in allowed])
        return column_relation([record for record in self.tables() if allowed is None or record.table_id in allowed])

    def _unknown(self, name: str, allowed: set[str] | None) -> UnknownTableError:
        entries = [entry for entry in self.entries() if allowed is None or entry.table_id in allowed]
        names = [entry.name for entry in entries]
        close = difflib.get_close_matches(name.casefold(), names, n=_NAMES_SHOWN, cutoff=0.4)
        shown = list(dict.fromkeys([*close, *names]))[:_NAMES_SHOWN]
        lines = [f"There is no table {name!r}."]
        if not shown:
            lines.append("No table is there to be queried.")
        by_name = {entry.name: entry.table_id for entry in entries}
        records = (self.get(by_name[each]) for each in shown[:5])
        lines.extend(describe_columns(record) for record in records if record is not None)
        if len(shown) > 5:
            lines.append("Others: " + ", ".join(shown[5:]))
        if len(names) > len(shown):
            lines.append(f"The relation `{CATALOG}` lists all {len(names)}.")
        return UnknownTableError("\n".join(lines))


def _base_name(name: str) -> str:
    lower = name.casefold()
    return lower.removesuffix(TEXT_SUFFIX)


def _restored(value: Any) -> Any:
    return datetime.date.fromisoformat(value["date"]) if isinstance(value, dict) else value


def _printed(value: Any) -> str:
    return "" if value is None else str(value)


def _error(reply: dict[str, Any], sql: str, sources: Sequence[TableRecord]) -> SQLError:
    reason = str(reply["error"]).strip()
    shown = " ".join(sql.split())[:200]
    if reply["kind"] == "refused":
        return SQLRefusedError(f"{reason} The statement was: {shown}")
    if reply["kind"] == "limit":
        message = (
            f"The statement was stopped: {reason}. Ask for less, for example with WHERE and LIMIT. It was: {shown}"
        )
        return SQLLimitError(message)
    columns = "".join(f"\n{describe_columns(record)}" for record in sources)
    known = f"\nTables of the statement:{columns}" if columns else ""
    return SQLError(f"{reason}{known}")
