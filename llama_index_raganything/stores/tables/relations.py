"""Relations made of tables: typed, as printed, and the catalog."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from typing import Any, Final

from llama_index_raganything.stores.tables.files import CatalogEntry
from llama_index_raganything.tables.model import Column, TableRecord

CATALOG: Final = "tables"
"""Relation that lists the tables."""

COLUMN_CATALOG: Final = "table_columns"
"""Relation that lists their columns."""

TEXT_SUFFIX: Final = "__text"
"""Added to the name of a table's relation, gives the one with its cells as printed."""

_COLUMNS_SHOWN: Final = 40
_CATALOG_COLUMNS: Final = (
    ("table_id", "VARCHAR"),
    ("name", "VARCHAR"),
    ("caption", "VARCHAR"),
    ("label", "VARCHAR"),
    ("section", "VARCHAR"),
    ("page", "BIGINT"),
    ("file_name", "VARCHAR"),
    ("doc_id", "VARCHAR"),
    ("rows", "BIGINT"),
    ("columns", "BIGINT"),
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
    """Return the relation that lists tables.

    Args:
        entries: Their entries.
    """
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


def sql_type(column: Column) -> str:
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
