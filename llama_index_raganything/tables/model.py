"""One table of a document: its typed columns, its cells as read, and where it stands."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.tables.values import Value, cell_value

ColumnType = Literal["number", "text", "date", "boolean"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        name: SQL name, unique in its table and usable without quotes.
        header: Header as read, several header rows joined by `` > ``.
        type: What its values are.
        unit: Unit of its numbers, such as ``%``, ``USD``, ``CNY``, ``kg``; empty when none is stated.
        scale: What a printed number is multiplied by to get the amount in ``unit``: 1000 for "(in thousands)".
            Values stay as printed.
        notation: How its cells are written: the decimal mark of numbers, ``.`` or ``,``; the order of day, month
            and year of dates written in digits, ``dmy`` or ``mdy``.
        integers: All its numbers are whole.
    """

    name: str
    header: str = ""
    type: ColumnType = "text"
    unit: str = ""
    scale: float = 1.0
    notation: str = ""
    integers: bool = False

    @property
    def measure(self) -> str:
        """The unit with its scale in words, such as ``million USD``, ``%`` or an empty string."""
        words = {1e3: "thousand", 1e4: "10,000", 1e6: "million", 1e8: "100 million", 1e9: "billion", 1e12: "trillion"}
        scale = "" if self.scale == 1 else words.get(self.scale, f"{self.scale:,.0f}")
        return " ".join(part for part in (scale, self.unit) if part)


@strict_arguments
@dataclass(frozen=True, slots=True)
class TableRecord:
    """One table of a document.

    Attributes:
        table_id: Identifies it in all documents.
        name: Name of its SQL relation: readable words and a hash, the same at every run.
        doc_id: Document it is in.
        columns: Its columns.
        rows: Its body cells as read, all rows as long as ``columns``.
        header_rows: Its header cells as read, where known.
        node_ids: Nodes that hold it; several when it was cut.
        caption: Its caption.
        label: Label of the caption, such as ``Table 3``.
        section: Path of the headings above it.
        notes: Text around it in its nodes: what stands above, footnotes below.
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
    columns: tuple[Column, ...]
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
            data: The dictionary; lists stand for tuples.

        Returns:
            The table.
        """
        given = dict(data)
        given["columns"] = tuple(Column(**column) for column in data["columns"])
        for key in ("rows", "header_rows"):
            given[key] = tuple(tuple(row) for row in data.get(key, ()))
        given["node_ids"] = tuple(data.get("node_ids", ()))
        return cls(**given)
