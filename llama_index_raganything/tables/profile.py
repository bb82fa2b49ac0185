"""What is in a table, in a few lines: columns, types, units, ranges and the labels of its rows."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from llama_index_raganything.tables.model import Column, TableRecord
from llama_index_raganything.tables.values import Value

_SHOWN_COLUMNS: Final = 40
_SHOWN_LABELS: Final = 40
_SHOWN_EXAMPLES: Final = 3
_EXAMPLE_CHARS: Final = 40


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """What is in one column.

    Attributes:
        column: Its name, header, type, unit and scale.
        filled: Cells with a value.
        minimum: Smallest value; None for texts and empty columns.
        maximum: Largest value.
        examples: Some different values as printed.
        distinct: Number of different values.
    """

    column: Column
    filled: int
    minimum: int | float | datetime.date | None = None
    maximum: int | float | datetime.date | None = None
    examples: tuple[str, ...] = ()
    distinct: int = 0


@dataclass(frozen=True, slots=True)
class TableProfile:
    """What is in a table.

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
    """Describe what is in a table.

    Returns:
        Its profile.
    """
    values = record.values()
    columns = tuple(
        _column_profile(column, [row[index] for row in record.rows], [row[index] for row in values])
        for index, column in enumerate(record.columns)
    )
    has_labels = bool(record.columns) and record.columns[0].type == "text"
    labels = tuple(dict.fromkeys(row[0] for row in record.rows if row[0])) if has_labels else ()
    return TableProfile(columns, labels, len(record.rows))


def _column_profile(column: Column, cells: Sequence[str], values: Sequence[Value]) -> ColumnProfile:
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
