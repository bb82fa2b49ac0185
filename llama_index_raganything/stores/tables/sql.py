"""SQL over the tables of a store: the relations that a statement names, its result, and what it may not do."""

from __future__ import annotations

import datetime
import difflib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.errors import (
    ConfigurationError,
    SQLError,
    SQLLimitError,
    SQLRefusedError,
    StoreUnavailableError,
    UnknownTableError,
)
from llama_index_raganything.stores.tables.sql_process import SQLSession
from llama_index_raganything.tables.columns import TypedColumn
from llama_index_raganything.tables.pipe_tables import pipe_row, pipe_rule
from llama_index_raganything.tables.records import CatalogEntry, TableRecord

if TYPE_CHECKING:
    import duckdb

    from llama_index_raganything.stores.tables.store import TableStore

_SHOW_TABLES: Final = "SELECT name FROM tables ORDER BY name"
_NAMES_SHOWN: Final = 20

CATALOG: Final = "tables"
"""Relation that lists the tables."""

COLUMN_CATALOG: Final = "table_columns"
"""Relation that lists their columns."""

TEXT_SUFFIX: Final = "__text"
"""Added to the name of a table's relation, gives the one with its cells as printed."""

_COLUMNS_SHOWN: Final = 40
_CATALOG_COLUMNS: Final = (
    *((name, "VARCHAR") for name in ("table_id", "name", "caption", "label", "section")),
    ("page", "BIGINT"),
    *((name, "VARCHAR") for name in ("file_name", "doc_id")),
    *((name, "BIGINT") for name in ("rows", "columns")),
)
_COLUMN_CATALOG_COLUMNS: Final = (
    ("table_name", "VARCHAR"),
    ("column_name", "VARCHAR"),
    ("header", "VARCHAR"),
    ("type", "VARCHAR"),
    ("unit", "VARCHAR"),
    ("scale", "DOUBLE"),
)

Relation = dict[str, Any]
"""``name``; ``columns``, pairs of name and SQL type; ``data``, the values column by column."""


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
        rows = (["" if value is None else str(value) for value in row] for row in self.rows)
        return "\n".join([pipe_row(self.columns), pipe_rule(len(self.columns)), *map(pipe_row, rows)])


def query(store: TableStore, sql: str, tables: Sequence[str] | None, max_rows: int, timeout_s: float) -> SQLResult:
    """Run one read-only query; see :meth:`TableStore.query_sql`."""
    if max_rows < 1 or timeout_s <= 0:
        message = f"max_rows is {max_rows} and timeout_s {timeout_s}; both must be positive."
        raise ConfigurationError(message)
    with SQLSession(store.memory_limit_mb, timeout_s) as session:
        plan = session.inspect(sql)
        if "error" in plan:
            raise _error(plan, sql, [])
        statement = sql
        if plan["lists_tables"] and not plan["tables"]:
            statement, plan = _SHOW_TABLES, {"tables": [CATALOG]}
        sources, relations = _relations(store, plan["tables"], tables)
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


def connect(store: TableStore, table_ids: Sequence[str]) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB in memory with some tables; see :meth:`TableStore.connect`."""
    from llama_index_raganything.stores.tables import sql_worker

    connection = sql_worker.connect(store.memory_limit_mb)
    records = [record for table_id in table_ids if (record := store.get(table_id)) is not None]
    for relation in all_relations(records):
        sql_worker.load(connection, relation)
    connection.execute("SET lock_configuration = true")
    return connection


def export(store: TableStore, path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Write all tables into a DuckDB file; see :meth:`TableStore.export`."""
    import duckdb

    from llama_index_raganything.stores.tables import sql_worker

    target = Path(path).expanduser().absolute()
    if target.exists() and not overwrite:
        message = f"{target} is there already; give another path, or overwrite=True."
        raise ConfigurationError(message)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with duckdb.connect(str(part)) as connection:
            for relation in all_relations(store.tables()):
                sql_worker.load(connection, relation)
        part.replace(target)
    except (OSError, duckdb.IOException) as error:
        message = f"{target} cannot be written: {error}"
        raise StoreUnavailableError(message) from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _relations(
    store: TableStore, names: Sequence[str], allowed: Sequence[str] | None
) -> tuple[list[TableRecord], list[Relation]]:
    """Return the tables that a statement names, and all its relations."""
    ids = None if allowed is None else set(allowed)
    own = {name: _base_name(name) for name in names if name.casefold() not in {CATALOG, COLUMN_CATALOG}}
    known = store.named(own.values())
    sources: dict[str, TableRecord] = {}
    relations: dict[str, Relation] = {}
    for name, base in own.items():
        entry = known.get(base)
        record = store.get(entry.table_id) if entry is not None and (ids is None or entry.table_id in ids) else None
        if record is None:
            raise _unknown(store, name, ids)
        sources[record.table_id] = record
        typed = base.casefold() == name.casefold()
        relation = typed_relation(record) if typed else text_relation(record)
        relations[relation["name"]] = relation
    for name in {name.casefold() for name in names if name not in own}:
        relations[name] = _catalog(store, name, ids)
    return list(sources.values()), list(relations.values())


def _catalog(store: TableStore, name: str, allowed: set[str] | None) -> Relation:
    if name == CATALOG:
        return catalog_relation([entry for entry in store.entries() if allowed is None or entry.table_id in allowed])
    return column_relation([record for record in store.tables() if allowed is None or record.table_id in allowed])


def _unknown(store: TableStore, name: str, allowed: set[str] | None) -> UnknownTableError:
    entries = [entry for entry in store.entries() if allowed is None or entry.table_id in allowed]
    names = [entry.name for entry in entries]
    close = difflib.get_close_matches(name.casefold(), names, n=_NAMES_SHOWN, cutoff=0.4)
    shown = list(dict.fromkeys([*close, *names]))[:_NAMES_SHOWN]
    lines = [f"There is no table {name!r}."]
    if not shown:
        lines.append("No table is there to be queried.")
    by_name = {entry.name: entry.table_id for entry in entries}
    records = (store.get(by_name[each]) for each in shown[:5])
    lines.extend(describe_columns(record) for record in records if record is not None)
    if len(shown) > 5:
        lines.append("Others: " + ", ".join(shown[5:]))
    if len(names) > len(shown):
        lines.append(f"The relation `{CATALOG}` lists all {len(names)}.")
    return UnknownTableError("\n".join(lines))


def _base_name(name: str) -> str:
    return name.casefold().removesuffix(TEXT_SUFFIX)


def _restored(value: Any) -> Any:
    return datetime.date.fromisoformat(value["date"]) if isinstance(value, dict) else value


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


def typed_relation(record: TableRecord) -> Relation:
    """Return a table's relation of typed values.

    Returns:
        Its name, its columns with SQL types, and its values column by column, dates in ISO 8601.
    """
    values = record.values()
    data = [[_plain(row[index]) for row in values] for index in range(len(record.columns))]
    columns = [(column.name, sql_type(column)) for column in record.columns]
    return {"name": record.name, "columns": columns, "data": data}


def text_relation(record: TableRecord) -> Relation:
    """Return a table's relation of cells as printed."""
    data = [[row[index] for row in record.rows] for index in range(len(record.columns))]
    return {
        "name": record.name + TEXT_SUFFIX,
        "columns": [(column.name, "VARCHAR") for column in record.columns],
        "data": data,
    }


def catalog_relation(entries: Sequence[CatalogEntry]) -> Relation:
    """Return the relation that lists tables."""
    data = [[getattr(entry, name) for entry in entries] for name, _ in _CATALOG_COLUMNS]
    return {"name": CATALOG, "columns": list(_CATALOG_COLUMNS), "data": data}


def column_relation(records: Sequence[TableRecord]) -> Relation:
    """Return the relation that lists the columns of tables."""
    rows = [
        (record.name, column.name, column.header, column.type, column.unit, column.scale)
        for record in records
        for column in record.columns
    ]
    data = [list(values) for values in zip(*rows, strict=True)] if rows else []
    return {"name": COLUMN_CATALOG, "columns": list(_COLUMN_CATALOG_COLUMNS), "data": data}


def sql_type(column: TypedColumn) -> str:
    """Return the SQL type of a column."""
    if column.type == "number":
        return "BIGINT" if column.integers else "DOUBLE"
    return {"date": "DATE", "boolean": "BOOLEAN"}.get(column.type, "VARCHAR")


def describe_columns(record: TableRecord) -> str:
    """Return a table's relation in one line: ``name(column TYPE in unit, ...)``."""
    shown = [
        f"{column.name} {sql_type(column)}{f' in {column.measure}' if column.measure else ''}"
        for column in record.columns[:_COLUMNS_SHOWN]
    ]
    more = len(record.columns) - len(shown)
    return f"{record.name}({', '.join(shown)}{f', and {more} more' if more else ''})"


def all_relations(records: Sequence[TableRecord]) -> list[Relation]:
    """Return the relations of tables, typed and as printed, and the catalog of them."""
    entries = [CatalogEntry.of(record) for record in records]
    own = [relation(record) for record in records for relation in (typed_relation, text_relation)]
    relations = [*own, catalog_relation(entries), column_relation(records)]
    # DuckDB takes no lone surrogates, which ids of documents may hold.
    plain: list[Relation] = json.loads(json.dumps(relations, ensure_ascii=False).encode("utf-8", "replace"))
    return plain


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime.date) else value
