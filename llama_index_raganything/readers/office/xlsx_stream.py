"""Large workbooks, row by row: docvortex keeps every cell as an object, which takes gigabytes for a million."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from llama_index_raganything.elements import Element
from llama_index_raganything.errors import CorruptFileError
from llama_index_raganything.readers.base import ParsedFile
from llama_index_raganything.readers.office.number_formats import GENERAL, shown_date, shown_number
from llama_index_raganything.readers.tables import MAX_CELLS, MAX_COLUMNS, rows_to_markdown

PARSER: Final = "openpyxl stream 1"

LARGE_SHEET_BYTES: Final = 16 * 1024**2
"""Unpacked size of all sheets from which a workbook is streamed: about half a million cells."""


def is_large(path: Path) -> bool:
    """Tell whether a workbook is too large for docvortex.

    Args:
        path: A workbook that :func:`~llama_index_raganything.readers.office.containers.check_container` passed.

    Returns:
        True when its sheets unpack to more than :data:`LARGE_SHEET_BYTES`.
    """
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        sheets = (member for member in archive.infolist() if member.filename.startswith("xl/worksheets/"))
        return sum(member.file_size for member in sheets) > LARGE_SHEET_BYTES


def parse_large_workbook(path: Path) -> ParsedFile:
    """Read the visible sheets of a large workbook, values only.

    Args:
        path: The workbook.

    Returns:
        One table element per block of rows; pages are positions among the visible sheets. Cells over
        :data:`~llama_index_raganything.readers.tables.MAX_CELLS` are left out with a warning.

    Raises:
        CorruptFileError: The workbook is damaged.
    """
    import openpyxl

    warnings: list[str] = []
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
            elements = list(_elements(sheets, path.name, warnings))
        finally:
            book.close()
    # openpyxl lets errors of zipfile, expat and its own descriptors through on damaged files.
    except Exception as error:
        message = f"{path.name!r} is a damaged workbook ({type(error).__name__}: {error}); save it again."
        raise CorruptFileError(message, str(path)) from error
    return ParsedFile(elements=elements, parser=PARSER, warnings=warnings)


def _elements(sheets: list[Any], name: str, warnings: list[str]) -> Iterator[Element]:
    left = MAX_CELLS
    for number, sheet in enumerate(sheets, start=1):
        for rows in _regions(sheet.iter_rows(max_col=MAX_COLUMNS)):
            kept = rows[: max(left // len(rows[0]), 0)]
            left -= len(kept) * len(rows[0])
            if kept:
                yield Element(type="table", text=rows_to_markdown(kept, 1), rows=kept, page=number)
            if len(kept) < len(rows):
                warnings.append(f"{name!r} has more than {MAX_CELLS:,} cells; the rest was left out. Split it.")
                return


def _regions(rows: Iterator[tuple[Any, ...]]) -> Iterator[list[list[str]]]:
    """Yield blocks of rows between blank rows, all rows of a block of one length."""
    block: list[list[str]] = []
    for cells in rows:
        row = [_text(cell.value, cell.number_format) for cell in cells]
        while row and not row[-1]:
            row.pop()
        if row:
            block.append(row)
        elif block:
            yield _padded(block)
            block = []
    if block:
        yield _padded(block)


def _padded(block: list[list[str]]) -> list[list[str]]:
    width = max(map(len, block))
    return [row + [""] * (width - len(row)) for row in block]


def _text(value: Any, code: str | None) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return shown_date(value.date(), code or "") or value.date().isoformat()
    if isinstance(value, datetime.timedelta):
        value /= datetime.timedelta(days=1)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return shown_number(value, code or GENERAL)
    return " ".join(str(value).split())
