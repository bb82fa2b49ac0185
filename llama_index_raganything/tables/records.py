"""One table of a document: its typed columns, its cells as read, where it is, and a profile of what it holds."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.tables.columns import TypedColumn
from llama_index_raganything.tables.values import Value, cell_value


@strict_arguments
@dataclass(frozen=True, slots=True)
class TableRecord:
    """One table of a document.

    Attributes:
        table_id: Identifies it in all documents.
        name: Name of its SQL relation: readable words and a hash, the same at every run.
        doc_id: Its document.
        columns: Its columns.
        rows: Its body cells as read, all rows as long as ``columns``.
        header_rows: Its header cells as read, where known.
        node_ids: Nodes that hold it; several when it was cut.
        caption: Its caption.
        label: Label of the caption, such as ``Table 3``.
        section: Path of the headings above it.
        notes: Text around it in its nodes: lines above, footnotes below.
        title: Title of the document.
        file_name: Name of the file.
        source: Path or URL of the file.
        page: 1-based page of its first part, or None.
        page_label: Label printed on that page.
        bbox: Box on that page in thousandths, as JSON ``[x0,y0,x1,y1]``, or an empty string.
    """

    table_id: str
    name: str
    doc_id: str
    columns: tuple[TypedColumn, ...]
    rows: tuple[tuple[str, ...], ...]
    header_rows: tuple[tuple[str, ...], ...] = ()
    node_ids: tuple[str, ...] = ()
    caption: str = ""
    label: str = ""
    section: str = ""
    notes: str = ""
    title: str = ""
    file_name: str = ""
    source: str = ""
    page: int | None = None
    page_label: str = ""
    bbox: str = ""

    def values(self) -> list[tuple[Value, ...]]:
        """Return the body rows as typed values.

        Returns:
            Numbers as printed (not multiplied by the scale), dates, truth values and texts; None for cells that
            are blank, a dash, "n/a", or not of their column's type.
        """
        return [
            tuple(
                cell_value(cell, column.type, column.notation) for cell, column in zip(row, self.columns, strict=True)
            )
            for row in self.rows
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the table as a JSON-ready dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the table that :meth:`to_dict` described.

        Args:
            data: The dictionary; lists become tuples.

        Returns:
            The table.
        """
        given = dict(data)
        given["columns"] = tuple(TypedColumn(**column) for column in data["columns"])
        for key in ("rows", "header_rows"):
            given[key] = tuple(tuple(row) for row in data.get(key, ()))
        given["node_ids"] = tuple(data.get("node_ids", ()))
        return cls(**given)


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """What a catalog says of one table; enough to list it without reading its cells.

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
        counts = {"rows": len(record.rows), "columns": len(record.columns)}
        return cls(**{name: counts.get(name, getattr(record, name)) for name in cls.__slots__})

    def to_list(self) -> list[Any]:
        """Return the values in order, JSON-ready; names would make the catalog twice as long."""
        return [getattr(self, name) for name in self.__slots__]


_SHOWN_COLUMNS: Final = 40
_SHOWN_LABELS: Final = 40
_SHOWN_EXAMPLES: Final = 3
_EXAMPLE_CHARS: Final = 40


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """The content of one column.

    Attributes:
        column: Its name, header, type, unit and scale.
        filled: Cells with a value.
        minimum: Smallest value; None for texts and empty columns.
        maximum: Largest value.
        examples: Some different values as printed.
        distinct: Number of different values.
    """

    column: TypedColumn
    filled: int
    minimum: int | float | datetime.date | None = None
    maximum: int | float | datetime.date | None = None
    examples: tuple[str, ...] = ()
    distinct: int = 0


@dataclass(frozen=True, slots=True)
class TableProfile:
    """The content of a table in a few lines: columns, types, units, ranges and row labels.

    Attributes:
        columns: Its columns.
        row_labels: Texts of the first column, each once.
        row_count: Body rows.
    """

    columns: tuple[ColumnProfile, ...]
    row_labels: tuple[str, ...]
    row_count: int

    @property
    def text(self) -> str:
        """The profile in readable lines."""
        size = f"{self.row_count} {'row' if self.row_count == 1 else 'rows'}, {len(self.columns)} columns"
        lines = [size.replace(" 1 columns", " 1 column")]
        lines.extend(_line(each) for each in self.columns[:_SHOWN_COLUMNS])
        if len(self.columns) > _SHOWN_COLUMNS:
            lines.append(f"and {len(self.columns) - _SHOWN_COLUMNS} more columns")
        if self.row_labels:
            shown = "; ".join(_short(label) for label in self.row_labels[:_SHOWN_LABELS])
            more = len(self.row_labels) - _SHOWN_LABELS
            lines.append(f"Rows: {shown}{f'; and {more} more' if more > 0 else ''}")
        return "\n".join(lines)


def profile(record: TableRecord) -> TableProfile:
    """Return the profile of a table."""
    values = record.values()
    columns = tuple(
        _column_profile(column, [row[index] for row in record.rows], [row[index] for row in values])
        for index, column in enumerate(record.columns)
    )
    has_labels = bool(record.columns) and record.columns[0].type == "text"
    labels = tuple(dict.fromkeys(row[0] for row in record.rows if row[0])) if has_labels else ()
    return TableProfile(columns, labels, len(record.rows))


def _column_profile(column: TypedColumn, cells: Sequence[str], values: Sequence[Value]) -> ColumnProfile:
    filled = [(cell, value) for cell, value in zip(cells, values, strict=True) if value is not None]
    printed = list(dict.fromkeys(cell for cell, _ in filled))
    numbers = [value for _, value in filled if isinstance(value, int | float) and not isinstance(value, bool)]
    dates = [value for _, value in filled if isinstance(value, datetime.date)]
    ordered: Sequence[int | float | datetime.date] = numbers or dates
    return ColumnProfile(
        column=column,
        filled=len(filled),
        minimum=min(ordered) if ordered else None,
        maximum=max(ordered) if ordered else None,
        examples=tuple(printed[:_SHOWN_EXAMPLES]),
        distinct=len(printed),
    )


def _line(each: ColumnProfile) -> str:
    column = each.column
    measure = f" in {column.measure}" if column.measure else ""
    name = f"{column.name}" + (f' ("{_short(column.header)}")' if column.header else "")
    if not each.filled:
        return f"{name}: empty"
    if each.minimum is not None:
        return f"{name}: {column.type}{measure}, {_printed(each.minimum)} to {_printed(each.maximum)}"
    examples = ", ".join(_short(example) for example in each.examples)
    return f"{name}: {column.type}, {each.distinct} different, such as {examples}"


def _printed(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)


def _short(text: str) -> str:
    return text if len(text) <= _EXAMPLE_CHARS else text[: _EXAMPLE_CHARS - 1] + "…"
