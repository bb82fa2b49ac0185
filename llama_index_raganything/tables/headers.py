"""Which rows are headers, several of them flattened into one, and columns that are one column to a reader."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from llama_index_raganything.tables.values import CURRENCIES, is_missing, plain, read_number

MAX_HEADER_ROWS: Final = 4

_YEAR = re.compile(r"(?:fy|cy)?\s*(?:19|20)\d\d\s*[a-z年]{0,2}", re.IGNORECASE)
_BEFORE: Final = frozenset({*CURRENCIES, "(", "$(", "-"})
_BEHIND: Final = frozenset({")", "%", ")%", "%)", "x", "bps"})

Row = tuple[str, ...]
Rows = tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table's cells, all rows of the same length.

    Attributes:
        header_rows: Header rows, possibly none.
        rows: Body rows.
    """

    header_rows: Rows
    rows: Rows

    def headers(self) -> list[str]:
        """Return one header per column: those of all header rows from above, joined by `` > ``."""
        width = len(self.header_rows[0]) if self.header_rows else len(self.rows[0]) if self.rows else 0
        columns = ([row[index] for row in self.header_rows if row[index]] for index in range(width))
        return [" > ".join(dict.fromkeys(column)) for column in columns]


def arranged(header: Sequence[Row], body: Sequence[Row]) -> Grid:
    """Find the header rows of a table and join the columns that a layout split.

    Args:
        header: Rows known to be headers; a row of blank cells is none.
        body: The other rows.

    Returns:
        The table without blank rows and columns; a column of currency signs is joined with the numbers behind it, a
        column of percent signs or closing parentheses with those before it.
    """
    known = [row for row in header if any(row)]
    rows = [row for row in body if any(row)]
    width = max((len(row) for row in (*known, *rows)), default=0)
    known, rows = _padded(known, width), _padded(rows, width)
    while len(known) < MAX_HEADER_ROWS and len(rows) > 1 and _is_header(known, rows):
        known.append(rows.pop(0))
    return _without_idle_columns(*_with_signs_joined(known, rows))


def _padded(rows: Sequence[Row], width: int) -> list[Row]:
    return [(*row, *("",) * (width - len(row))) for row in rows]


def _is_header(known: Sequence[Row], rows: Sequence[Row]) -> bool:
    """Tell whether the first body row is (another) header row."""
    row, below = rows[0], rows[1:]
    cells = [cell for cell in row[1:] if cell]
    if not cells or not all(_is_words(cell) for cell in cells):
        return False
    if known and row[0] and row[0] != known[-1][0]:
        return False  # Under a header, a row with a label of its own is a row of the body.
    if len({*cells, row[0]}) == 1 and known:
        return False  # One text over the whole width opens a part of the body.
    # Numbers below words make the words a header.
    filled = [index for index, cell in enumerate(row) if index and cell]
    return any(_is_amount(line[index]) for line in below[:5] for index in filled)


def _is_words(cell: str) -> bool:
    return bool(_YEAR.fullmatch(cell)) or (read_number(cell) is None and not is_missing(cell))


def _is_amount(cell: str) -> bool:
    return read_number(cell) is not None and not _YEAR.fullmatch(cell)


def _with_signs_joined(header: list[Row], rows: list[Row]) -> tuple[list[Row], list[Row]]:
    width = len(rows[0]) if rows else 0
    target = list(range(width))
    for index in range(width):
        cells = {plain(row[index]).upper() for row in rows if row[index]}
        if not cells or not all(len(cell) <= 4 for cell in cells):
            continue
        if cells <= _BEFORE and index + 1 < width and not cells <= {"-"}:
            target[index] = index + 1
        elif {cell.casefold() for cell in cells} <= _BEHIND and index and not any(cell in {"X"} for cell in cells):
            target[index] = target[index - 1] if target[index - 1] != index else index - 1
    if target == list(range(width)):
        return header, rows
    kept = sorted(set(target))
    return [_merged(row, target, kept, words=True) for row in header], [_merged(row, target, kept) for row in rows]


def _merged(row: Row, target: Sequence[int], kept: Sequence[int], *, words: bool = False) -> Row:
    cells: dict[int, list[str]] = {index: [] for index in kept}
    for index, cell in enumerate(row):
        if cell:
            cells[target[index]].append(cell)
    # A header that spans sign and number is repeated in both.
    return tuple(" ".join(dict.fromkeys(cells[index]) if words else cells[index]) for index in kept)


def _without_idle_columns(header: list[Row], rows: list[Row]) -> Grid:
    lines = [*header, *rows]
    width = len(lines[0]) if lines else 0
    kept: list[int] = []
    for index in range(width):
        if not any(line[index] for line in lines):
            continue
        # A cell over two columns comes as two equal columns.
        if kept and header and rows and all(line[index] == line[kept[-1]] for line in lines):
            continue
        kept.append(index)
    return Grid(
        tuple(tuple(row[index] for index in kept) for row in header),
        tuple(tuple(row[index] for index in kept) for row in rows),
    )
