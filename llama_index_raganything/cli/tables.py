"""The commands ``tables`` and ``sql``: list the tables of a knowledge base and query them."""

from __future__ import annotations

import argparse
import datetime
import sys
from typing import TYPE_CHECKING, Any

from llama_index_raganything.cli.options import add_command, open_index
from llama_index_raganything.cli.output import hint_if_empty, place_of, print_json

if TYPE_CHECKING:
    from llama_index_raganything.stores.tables.store import TableStore


def add_table_commands(commands: Any) -> None:
    """Add ``tables`` and ``sql``."""
    tables = add_command(commands, "tables", _tables, "list the tables in the documents, or profile one of them")
    tables.add_argument("name", nargs="?", help="name of a table, as the list shows it")
    text = "query the tables in the documents with a read-only SQL statement"
    sql = add_command(commands, "sql", _sql, text, "sql 'SELECT * FROM tables'")
    sql.add_argument(
        "statement", metavar="SQL", help="one SELECT, in DuckDB's dialect; the relation `tables` lists all"
    )
    sql.add_argument("--max-rows", type=int, default=100, metavar="N", help="rows shown (default 100)")
    sql.add_argument("--timeout-s", type=float, default=10.0, metavar="S", help="seconds allowed (default 10)")


def _tables(arguments: argparse.Namespace) -> int:
    with open_index(arguments) as index:
        hint_if_empty(index, arguments)
        if arguments.name:
            return _profile(index.table_store, arguments)
        entries = index.table_store.entries()
    if arguments.json:
        names = ("name", "caption", "file_name", "page", "rows", "columns")
        print_json([{name: getattr(entry, name) for name in names} for entry in entries])
        return 0
    for entry in entries:
        place = place_of({"file_name": entry.file_name, "page": entry.page, "label": entry.label})
        print(f"{entry.name}  {entry.rows} rows x {entry.columns} columns  {place}")
        if entry.caption:
            print(f"    {entry.caption}")
    return 0


def _profile(store: TableStore, arguments: argparse.Namespace) -> int:
    from llama_index_raganything.tables.records import profile

    named = (entry.table_id for entry in store.entries() if entry.name == arguments.name)
    found = store.get(next(named, ""))
    if found is None:
        print(f"No table is named {arguments.name!r}; `tables` without a name lists them.", file=sys.stderr)
        return 1
    if arguments.json:
        print_json(found.to_dict())
    else:
        print(profile(found).text)
    return 0


def _sql(arguments: argparse.Namespace) -> int:
    with open_index(arguments) as index:
        hint_if_empty(index, arguments)
        result = index.query_sql(arguments.statement, max_rows=arguments.max_rows, timeout_s=arguments.timeout_s)
    if arguments.json:
        rows = [[_plain(value) for value in row] for row in result.rows]
        sources = [
            {"name": table.name, "file_name": table.file_name, "page": table.page, "bbox": table.bbox}
            for table in result.sources
        ]
        print_json({"columns": result.columns, "rows": rows, "truncated": result.truncated, "sources": sources})
        return 0
    print(result)
    if result.truncated:
        print(f"Only the first {len(result.rows)} rows are shown; --max-rows shows more.", file=sys.stderr)
    for table in result.sources:
        print(f"   from {table.name}: {place_of(table.to_dict())}")
    return 0


def _plain(value: Any) -> Any:
    """Return a value of an ``SQLResult`` that JSON can hold."""
    return value.isoformat() if isinstance(value, datetime.date) else value
