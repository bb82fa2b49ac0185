"""The process in which SQL of unknown origin runs: DuckDB in memory, no files, no network, bounded memory.

It is run as a script by :mod:`~.sql_process` and imports nothing of the package. DuckDB
interrupts a statement between vectors, but not within one call of a function: on DuckDB 2.0
``repeat('a', 1000000000)`` took 7 s and 2 GB outside its memory limit, and ``regexp_replace`` with a counted
repetition, ``levenshtein`` of long strings and ``generate_series`` of seconds ran for minutes. A process has a limit
of memory and can be ended.

Requests and answers are lines of JSON on stdin and stdout:
``{"op": "inspect", "sql"}`` -> ``{"tables", "lists_tables"}``;
``{"op": "run", "sql", "relations", "max_rows", "timeout", "memory_mb"}`` -> ``{"columns", "types", "rows",
"truncated"}``; a failure is ``{"error", "kind"}`` with kind ``refused``, ``limit`` or ``sql``.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final

import duckdb

MAX_SQL_CHARS: Final = 50_000
MAX_TEXT_CHARS: Final = 100_000
MAX_RESULT_CHARS: Final = 5_000_000

TABLE_FUNCTIONS: Final = frozenset({"range", "generate_series", "unnest"})
REFUSED_FUNCTIONS: Final = frozenset(
    {"getenv", "getvariable", "current_setting", "nextval", "currval", "which_secret", "set_config", "write_log"}
)
REFUSED_PREFIXES: Final = ("read_", "duckdb_", "pragma_", "pg_", "sniff_", "parquet_", "parse_duckdb_", "st_read")
TABLE_KINDS: Final = frozenset(
    {"BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "EMPTY", "SHOW_REF", "PIVOT"}
)
SYSTEM_SCHEMAS: Final = frozenset({"", "main", "memory", "temp"})
OUT_OF_MEMORY: Final = (MemoryError, duckdb.OutOfMemoryException)


class RefusedError(Exception):
    """Raised for a statement that is not one read-only query of tables."""


def connect(memory_mb: int) -> duckdb.DuckDBPyConnection:
    """Open a database in memory that can reach nothing else.

    Args:
        memory_mb: Megabytes that DuckDB may use.

    Returns:
        The connection, its settings not yet locked.
    """
    connection = duckdb.connect(":memory:", config={"threads": "1", "memory_limit": f"{memory_mb}MB"})
    for setting in (
        "temp_directory = ''",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "allow_community_extensions = false",
        "python_enable_replacements = false",
        # Last: it forbids to change some of the others.
        "enable_external_access = false",
    ):
        connection.execute(f"SET {setting}")
    return connection


def inspect(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    """Check a statement with DuckDB's own parser; binds and runs nothing.

    Returns:
        ``tables``: names of the relations it reads, its own common table expressions aside; ``lists_tables``: it is
        ``SHOW TABLES``.

    Raises:
        RefusedError: It is no single read-only query, or asks for more than tables.
        duckdb.Error: It does not parse.
    """
    if len(sql) > MAX_SQL_CHARS:
        message = f"The statement has {len(sql):,} characters; at most {MAX_SQL_CHARS:,} are read."
        raise RefusedError(message)
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        message = f"There are {len(statements)} statements; send one SELECT."
        raise RefusedError(message)
    if statements[0].type != duckdb.StatementType.SELECT:
        kind = str(statements[0].type).rpartition(".")[2]
        hint = " Write PIVOT as SELECT ... GROUP BY with FILTER." if kind == "MULTI" else ""
        message = f"This is a {kind} statement; only SELECT, WITH, VALUES, DESCRIBE and SHOW TABLES are run.{hint}"
        raise RefusedError(message)
    row = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone()
    tree = json.loads(row[0]) if row else {"error": True}
    if tree.get("error"):
        message = f"DuckDB cannot describe this statement ({tree.get('error_message', 'no reason')}); send a SELECT."
        raise RefusedError(message)
    return _checked(tree)


def _checked(tree: dict[str, Any]) -> dict[str, Any]:
    tables: dict[str, None] = {}
    own: set[str] = set()
    lists_tables = False
    for part in _parts(tree):
        own.update(str(entry.get("key", "")).casefold() for entry in (part.get("cte_map") or {}).get("map", ()))
        if part.get("class") == "FUNCTION":
            _check_function(str(part.get("function_name", "")))
        if part.get("class") is not None or "type" not in part:
            continue
        if part["type"] == "BASE_TABLE":
            tables[_table_name(part)] = None
        elif part["type"] == "TABLE_FUNCTION":
            _check_table_function(part)
        elif part["type"] == "SHOW_REF" and not part.get("query"):
            shown = _shown(part)
            lists_tables = lists_tables or not shown
            tables.update(dict.fromkeys(filter(None, [shown])))
        elif "sample" in part and "alias" in part and part["type"] not in TABLE_KINDS:
            message = f"{part['type']} is not read; name tables, subqueries and joins after FROM."
            raise RefusedError(message)
    return {"tables": [name for name in tables if name.casefold() not in own], "lists_tables": lists_tables}


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a syntax tree, without recursion."""
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _check_function(name: str) -> None:
    lower = name.casefold()
    if lower in REFUSED_FUNCTIONS or lower.startswith(REFUSED_PREFIXES):
        message = f"The function {name}() is not allowed: it reads files, settings or the environment."
        raise RefusedError(message)


def _check_table_function(part: dict[str, Any]) -> None:
    name = str((part.get("function") or {}).get("function_name", ""))
    if name.casefold() not in TABLE_FUNCTIONS:
        allowed = ", ".join(sorted(TABLE_FUNCTIONS))
        message = f"The table function {name}() is not allowed; only tables of the store and {allowed} are read."
        raise RefusedError(message)


def _shown(part: dict[str, Any]) -> str:
    """Return the relation that SHOW names, or an empty string for SHOW TABLES."""
    name = str(part.get("table_name") or "")
    if name in {"", '"tables"', "__show_tables_expanded"}:
        return ""
    if not name.startswith('"'):
        return name
    message = f"SHOW {name.strip(chr(34)).upper()} is not run; SHOW TABLES and DESCRIBE are."
    raise RefusedError(message)


def _table_name(part: dict[str, Any]) -> str:
    path = (part.get("qualified_name") or {}).get("path") or []
    schemas = [*path[:-1], str(part.get("schema_name") or ""), str(part.get("catalog_name") or "")]
    odd = next((schema for schema in schemas if str(schema).casefold() not in SYSTEM_SCHEMAS), None)
    if odd is not None:
        message = f"The schema {odd} is not read; the relations `tables` and `table_columns` list what there is."
        raise RefusedError(message)
    return str(part.get("table_name") or (path[-1] if path else ""))


def load(connection: duckdb.DuckDBPyConnection, relation: dict[str, Any]) -> None:
    """Create a relation and fill it.

    Args:
        relation: ``name``; ``columns``, pairs of name and SQL type; ``data``, the values column by column.
    """
    columns = [(_quoted(name), kind) for name, kind in relation["columns"]]
    name = _quoted(relation["name"])
    connection.execute(f"CREATE TABLE {name} ({', '.join(f'{column} {kind}' for column, kind in columns)})")
    if not relation["data"] or not relation["data"][0]:
        return
    # Lists of values are read ten times faster than rows one by one; dates come as texts.
    sources = {"DATE": "VARCHAR"}
    lists = ", ".join(f"unnest(?::{sources.get(kind, kind)}[])::{kind}" for _, kind in columns)
    connection.execute(f"INSERT INTO {name} SELECT {lists}", relation["data"])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run a statement that was inspected.

    Args:
        request: ``sql``, ``relations``, ``max_rows``, ``timeout`` in seconds, ``memory_mb``.

    Returns:
        ``columns``, ``types``, ``rows`` and whether rows or texts were ``truncated``.
    """
    connection = connect(request["memory_mb"])
    done = threading.Event()

    def watch() -> None:
        # An interrupt that comes between two calls is lost, so it is repeated.
        if not done.wait(request["timeout"]):
            while not done.wait(0.02):
                connection.interrupt()

    threading.Thread(target=watch, daemon=True).start()
    try:
        for relation in request["relations"]:
            load(connection, relation)
        connection.execute("SET lock_configuration = true")
        cursor = connection.execute(request["sql"])
        description = cursor.description or []
        rows, truncated = _fetch(cursor, request["max_rows"])
    finally:
        done.set()
        connection.close()
    return {
        "columns": [column[0] for column in description],
        "types": [str(column[1]) for column in description],
        "rows": rows,
        "truncated": truncated,
    }


def _fetch(cursor: duckdb.DuckDBPyConnection, max_rows: int) -> tuple[list[list[Any]], bool]:
    rows: list[list[Any]] = []
    left = MAX_RESULT_CHARS
    cut = False
    while batch := cursor.fetchmany(100):
        for values in batch:
            if len(rows) >= max_rows or left <= 0:
                return rows, True
            row = [plain_value(value) for value in values]
            cut = cut or any(isinstance(value, str) and len(value) > MAX_TEXT_CHARS for value in values)
            left -= sum(len(value) if isinstance(value, str) else 8 for value in row)
            rows.append(row)
    return rows, cut


def plain_value(value: Any) -> Any:
    """Return a value as JSON takes it; a date as ``{"date": ...}``, others that JSON lacks as texts.

    Returns:
        The plain value, a long text cut.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return {"date": value.isoformat()}
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= MAX_TEXT_CHARS else text[:MAX_TEXT_CHARS] + "…"


def answer(inspector: duckdb.DuckDBPyConnection, request: dict[str, Any]) -> dict[str, Any]:
    """Answer one request; every failure is an answer.

    Args:
        inspector: Connection for statements that are only inspected.
        request: See the module.

    Returns:
        The answer.
    """
    try:
        return inspect(inspector, request["sql"]) if request["op"] == "inspect" else run(request)
    except RefusedError as error:
        return {"error": str(error), "kind": "refused"}
    except OUT_OF_MEMORY:
        return {"error": f"it needs more than {request.get('memory_mb', 0)} MB of memory", "kind": "limit"}
    except duckdb.InterruptException:
        return {"error": f"it took longer than {request.get('timeout', 0):g} s", "kind": "limit"}
    except (duckdb.Error, RuntimeError, ValueError, UnicodeError) as error:
        return {"error": str(error), "kind": "sql"}


def limit_memory(megabytes: int) -> None:
    """Bound the memory of this process, where the operating system can.

    Args:
        megabytes: Address space, all libraries included.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    size = megabytes * 2**20
    try:
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ValueError, OSError):  # macOS refuses limits of address space.
        return


def main() -> None:
    """Answer requests until stdin ends. Arguments: megabytes of address space, megabytes for DuckDB's parser."""
    limit_memory(int(sys.argv[1]))
    inspector = connect(int(sys.argv[2]))
    inspector.execute("SET lock_configuration = true")
    for line in sys.stdin.buffer:
        reply = json.dumps(answer(inspector, json.loads(line)), ensure_ascii=True)
        sys.stdout.buffer.write(reply.encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
