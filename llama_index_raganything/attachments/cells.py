"""An attached table, however it is written, as rows of strings."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lxml import html as lxml_html

from llama_index_raganything.tables.read import pipe_tables

_MOST_SPAN: Final = 100
_DELIMITERS: Final = ",;\t|"
_HTML = re.compile(r"<(?:table|tr|td|th)\b", re.IGNORECASE)

Rows = tuple[tuple[str, ...], ...]


def table_rows(table: Any) -> Rows:
    """Return a table as rows of strings.

    Args:
        table: Rows of cells, rows as dictionaries (whose keys become the header), or text: HTML with a table, a
            Markdown pipe table, or values with commas, semicolons or tabs between them.

    Returns:
        The rows, the first being the header where there is one; none for what holds no table.
    """
    if isinstance(table, str):
        return _of_text(table)
    if not isinstance(table, Sequence):
        return ()
    if all(isinstance(row, Mapping) for row in table):
        header = list(dict.fromkeys(key for row in table for key in row))
        body = (tuple(_cell(row.get(key)) for key in header) for row in table)
        return (tuple(_cell(key) for key in header), *body) if header else ()
    return tuple(
        tuple(_cell(cell) for cell in row) if isinstance(row, Sequence) and not isinstance(row, str) else (_cell(row),)
        for row in table
    )


def _cell(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _of_text(text: str) -> Rows:
    if _HTML.search(text):
        return _of_html(text)
    if tables := pipe_tables(text):
        return (tables[0].header, *tables[0].rows)
    return _of_values(text)


def _of_html(text: str) -> Rows:
    """Read the rows of a fragment; cells over several columns are repeated, those over several rows are not."""
    try:
        root = lxml_html.fragment_fromstring(text, create_parent="div")
    except (ValueError, lxml_html.etree.ParserError):
        return ()
    return tuple(row for line in root.iter("tr") if (row := tuple(_html_cells(line))))


def _html_cells(line: Any) -> list[str]:
    cells: list[str] = []
    for cell in line.iterchildren("td", "th"):
        span = cell.get("colspan", "1")
        width = min(int(span), _MOST_SPAN) if span.isascii() and span.isdigit() and len(span) < 5 else 1
        cells.extend([" ".join(cell.text_content().split())] * max(1, width))
    return cells


def _of_values(text: str) -> Rows:
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return ()
    # The delimiter that the first line has most of; a sniffer guesses letters where there is none.
    delimiter = max(_DELIMITERS, key=lines[0].count)
    if not lines[0].count(delimiter):
        return tuple((line.strip(),) for line in lines)
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        return tuple(tuple(cell.strip() for cell in row) for row in reader if row)
    except csv.Error:
        # A field over the limit of the csv module, or a null byte.
        return tuple(tuple(cell.strip() for cell in line.split(delimiter)) for line in lines)
