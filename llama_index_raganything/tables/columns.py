"""From the printed cells of a table to typed columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from llama_index_raganything.tables.measures import Measure, header_measure, stated_measure
from llama_index_raganything.tables.model import Column
from llama_index_raganything.tables.names import column_names
from llama_index_raganything.tables.values import (
    CURRENCIES,
    Number,
    date_order,
    decimal_mark,
    is_missing,
    plain,
    read_boolean,
    read_date,
    read_number,
)

MIN_TYPED_SHARE: Final = 0.8
"""Share of a column's filled cells that must be numbers (or dates) for it to be a column of them."""

_STATED_UNITS: Final = frozenset({*CURRENCIES.values(), "%", "‰", "bps", "pp", "x"})
_UNSCALED_UNITS: Final = frozenset({"%", "‰", "bps", "pp", "x"})
_YEAR_WORD = re.compile(r"\byears?\b|年", re.IGNORECASE)
_PER_SHARE = re.compile(r"\bper\b|/\s?share|每股", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Draft:
    """One column on its way to its type."""

    cells: tuple[str, ...]
    marks: str | None


def typed_columns(headers: Sequence[str], rows: Sequence[Sequence[str]], context: str = "") -> tuple[Column, ...]:
    """Return the columns of a table with their types, units and scales.

    Args:
        headers: One header per column, empty where there is none.
        rows: Body rows as read, all as long as ``headers``.
        context: Caption and lines around the table, where "(in thousands)" and the like stand.

    Returns:
        The columns.
    """
    filled = [row for row in rows if not is_spanning(row)]
    drafts = [_draft([row[index] for row in filled]) for index in range(len(headers))]
    # A column of whole numbers alone leaves its marks open; its neighbours are written the same way.
    votes = Counter(draft.marks for draft in drafts if draft.marks)
    usual = votes.most_common(1)[0][0] if votes else "."
    stated = stated_measure(context)
    if stated == Measure():
        stated = next((found for found in map(stated_measure, headers[:1]) if found != Measure()), Measure())
    columns = []
    for index, (name, header, draft) in enumerate(zip(column_names(headers), headers, drafts, strict=True)):
        share = 1.0 if index == 0 else MIN_TYPED_SHARE
        column = _typed(Column(name, header), draft, draft.marks or usual, share)
        columns.append(_measured(column, draft, stated) if column.type == "number" else column)
    return tuple(columns)


def is_spanning(row: Sequence[str]) -> bool:
    """Tell whether a row is one text over all columns, which readers repeat in each of them.

    Returns:
        True for two or more cells with the same words, none of which is a number.
    """
    words = {cell for cell in row if cell}
    return len(row) > 1 and len(words) == 1 and all(row) and read_number(row[0]) is None and not is_missing(row[0])


def _draft(cells: Sequence[str]) -> _Draft:
    filled = tuple(cell for cell in cells if not is_missing(cell, number=True))
    return _Draft(filled, decimal_mark(filled))


def _typed(column: Column, draft: _Draft, marks: str, share: float) -> Column:
    cells = draft.cells
    if not cells:
        return column
    needed = share * len(cells)
    numbers = [number for cell in cells if (number := read_number(cell, marks)) is not None]
    if len(numbers) >= needed and _are_amounts(numbers):
        whole = all(isinstance(number.value, int) and abs(number.value) < 2**63 for number in numbers)
        return replace(column, type="number", notation=marks, integers=whole)
    order = date_order(cells)
    if sum(read_date(cell, order) is not None for cell in cells) >= needed:
        return replace(column, type="date", notation=order)
    if _are_truth_values(cells):
        return replace(column, type="boolean")
    return column


def _are_truth_values(cells: Sequence[str]) -> bool:
    if any(read_boolean(cell) is None for cell in cells):
        return False
    # A column of "x" alone, or of N for north, says something else than yes and no.
    return bool({plain(cell).casefold() for cell in cells} - {"x", "×", "n", "y", "有", "无"}) or (
        len({read_boolean(cell) for cell in cells}) == 2
    )


def _are_amounts(numbers: Sequence[Number]) -> bool:
    if any(number.code for number in numbers):
        return False  # 007 and twenty-digit numbers are names of things.
    odd = Counter(number.unit for number in numbers if number.unit not in _STATED_UNITS)
    del odd[""]
    # "3 bedrooms" beside "2 garages" are texts; "3 years" in every cell is a number of years.
    return not odd or (len(odd) == 1 and sum(odd.values()) == len(numbers))


def _measured(column: Column, draft: _Draft, stated: Measure) -> Column:
    numbers = [number for cell in draft.cells if (number := read_number(cell, column.notation)) is not None]
    units = Counter(number.unit for number in numbers)
    del units[""]
    own = header_measure(column.header)
    unit = next(iter(units)) if len(units) == 1 and _covers(units, len(numbers)) else ""
    if not unit and not units:
        unit = own.unit
    if own.scale != 1:
        return replace(column, unit=unit, scale=own.scale)
    if _is_unscaled(column, unit, numbers, units):
        return replace(column, unit=unit)
    return replace(column, unit=unit or (stated.unit if not units else ""), scale=stated.scale)


def _covers(units: Counter[str], count: int) -> bool:
    unit, seen = units.most_common(1)[0]
    # Statements print the currency sign in the first and last row only.
    return unit in CURRENCIES.values() or seen * 2 >= count


def _is_unscaled(column: Column, unit: str, numbers: Sequence[Number], units: Counter[str]) -> bool:
    """Tell whether the scale of the table's amounts has no bearing on a column."""
    if unit in _UNSCALED_UNITS or (unit and unit not in _STATED_UNITS) or set(units) & _UNSCALED_UNITS:
        return True
    if _PER_SHARE.search(column.header):
        return True
    years = all(isinstance(number.value, int) and 1900 <= number.value <= 2100 for number in numbers)
    return years and (bool(_YEAR_WORD.search(column.header)) or column.name == "item")
