"""Comma, semicolon, tab and pipe separated files to one table."""

from __future__ import annotations

import csv
import io
import itertools
import re
from pathlib import Path
from typing import Final

from llama_index_raganything.elements import Element
from llama_index_raganything.errors import CorruptFileError, FileTooLargeError
from llama_index_raganything.readers.common.encoding import decode_text
from llama_index_raganything.readers.common.html_tables import MAX_CELLS, MAX_COLUMNS, rows_to_markdown

MAX_BYTES: Final = 256 * 1024**2
_DELIMITERS: Final = ",;\t|"
_SAMPLE_ROWS: Final = 50
_NUMBER = re.compile(r"^[\s$€£¥(]*[+\-−]?[\d.,\s]*\d[\d.,\s]*[)%]?\s*$")


def parse_delimited(path: Path) -> list[Element]:
    """Read a delimited text file.

    The delimiter is the one that splits the first rows into the most even number of columns. Rows shorter than
    the widest are filled up.

    Args:
        path: A ``.csv`` or ``.tsv`` file in any encoding.

    Returns:
        One table element; the first row is its header unless it holds numbers or blanks.

    Raises:
        CorruptFileError: The file holds no rows.
        FileTooLargeError: The file is larger than :data:`MAX_BYTES` or has more cells than
            :data:`~llama_index_raganything.readers.common.html_tables.MAX_CELLS`.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        message = f"{path.name!r} has {size:,} bytes; tables may have {MAX_BYTES:,}. Split it."
        raise FileTooLargeError(message, str(path))
    text = decode_text(path.read_bytes()).replace("\x00", "")
    rows = _rows(text, find_delimiter(text, "\t" if path.suffix.lower() == ".tsv" else ","), path)
    if not rows:
        message = f"{path.name!r} is empty: it holds no rows."
        raise CorruptFileError(message, str(path))
    header_rows = 1 if len(rows) > 1 and is_header(rows[0]) else 0
    return [Element(type="table", text=rows_to_markdown(rows, header_rows), rows=rows, header_rows=header_rows)]


def find_delimiter(text: str, default: str = ",") -> str:
    """Return the character that separates the columns.

    ``csv.Sniffer`` takes letters for delimiters on short or ragged files (https://github.com/python/cpython/issues/74529),
    so the usual four are tried instead.

    Args:
        text: The file, or its beginning.
        default: Returned when no candidate splits the rows.

    Returns:
        One of comma, semicolon, tab and pipe.
    """
    sample = text[:200_000]
    best, best_score = default, 0.0
    for delimiter in _DELIMITERS:
        try:
            rows = list(itertools.islice(csv.reader(io.StringIO(sample), delimiter=delimiter), _SAMPLE_ROWS))
        except csv.Error:
            continue
        widths = [len(row) for row in rows if row]
        common = max(set(widths), key=widths.count, default=1)
        if common < 2:
            continue
        # Evenness counts most, the number of columns breaks ties.
        score = widths.count(common) / len(widths) + min(common, 50) / 1000 + (0.0005 if delimiter == default else 0)
        if score > best_score:
            best, best_score = delimiter, score
    return best


def is_header(row: list[str]) -> bool:
    """Tell whether a first row names the columns: no blanks at the start, no numbers but years.

    Returns:
        True when most cells are words.
    """
    filled = [cell for cell in row if cell.strip()]
    numbers = sum(1 for cell in filled if _NUMBER.match(cell) and not re.fullmatch(r"\s*(?:19|20)\d\d\s*", cell))
    return bool(filled) and numbers * 2 < len(filled)


def _rows(text: str, delimiter: str, path: Path) -> list[list[str]]:
    csv.field_size_limit(min(MAX_BYTES, 2**31 - 1))
    rows: list[list[str]] = []
    cells = 0
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            if any(cell.strip() for cell in row):
                rows.append([" ".join(cell.split()) for cell in row[:MAX_COLUMNS]])
                cells += len(rows[-1])
            if cells > MAX_CELLS:
                message = f"{path.name!r} has more than {MAX_CELLS:,} cells; split it, or load it into a database."
                raise FileTooLargeError(message, str(path))
    except csv.Error as error:
        message = f"{path.name!r} cannot be read as a delimited file ({error})."
        raise CorruptFileError(message, str(path)) from error
    width = max(map(len, rows), default=0)
    return [row + [""] * (width - len(row)) for row in rows]
