"""The columns of a table: its header rows, their names for SQL, and the types of their cells."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from llama_index_raganything.tables import values

ColumnType = Literal["number", "text", "date", "boolean"]


@dataclass(frozen=True, slots=True)
class TypedColumn:
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


# -- types ------------------------------------------------------------------------------------------------------------

MIN_TYPED_SHARE: Final = 0.8
"""Share of a column's filled cells that must be numbers (or dates) for it to be a column of them."""

_STATED_UNITS: Final = frozenset({*values.CURRENCIES.values(), "%", "‰", "bps", "pp", "x"})
_UNSCALED_UNITS: Final = frozenset({"%", "‰", "bps", "pp", "x"})
_YEAR_WORD = re.compile(r"\byears?\b|年", re.IGNORECASE)
_PER_SHARE = re.compile(r"\bper\b|/\s?share|每股", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Sample:
    """The filled cells of a column, and their decimal mark if they show one."""

    cells: tuple[str, ...]
    marks: str | None


def typed_columns(headers: Sequence[str], rows: Sequence[Sequence[str]], context: str = "") -> tuple[TypedColumn, ...]:
    """Return the columns of a table with their types, units and scales.

    Args:
        headers: One header per column, empty where there is none.
        rows: Body rows as read, all as long as ``headers``.
        context: Caption and lines around the table, which may state "(in thousands)".

    Returns:
        The columns.
    """
    filled = [row for row in rows if not is_spanning(row)]
    samples = [_sample_of([row[index] for row in filled]) for index in range(len(headers))]
    # A column of whole numbers alone leaves its marks open; its neighbours are written the same way.
    votes = Counter(sample.marks for sample in samples if sample.marks)
    usual = votes.most_common(1)[0][0] if votes else "."
    stated = values.stated_measure(context)
    if stated == values.Measure() and headers:
        stated = values.stated_measure(headers[0])
    columns = []
    for index, (name, header, sample) in enumerate(zip(column_names(headers), headers, samples, strict=True)):
        share = 1.0 if index == 0 else MIN_TYPED_SHARE
        column = _typed(TypedColumn(name, header), sample, sample.marks or usual, share)
        columns.append(_measured(column, sample, stated) if column.type == "number" else column)
    return tuple(columns)


def is_spanning(row: Sequence[str]) -> bool:
    """Return whether a row is one text over all columns, which readers repeat in each of them.

    Returns:
        True for two or more cells with the same words, none of which is a number.
    """
    words = {cell for cell in row if cell}
    if len(row) < 2 or len(words) != 1 or not all(row):
        return False
    return values.read_number(row[0]) is None and not values.is_missing(row[0])


def _sample_of(cells: Sequence[str]) -> _Sample:
    filled = tuple(cell for cell in cells if not values.is_missing(cell, number=True))
    return _Sample(filled, values.decimal_mark(filled))


def _typed(column: TypedColumn, sample: _Sample, marks: str, share: float) -> TypedColumn:
    cells = sample.cells
    if not cells:
        return column
    needed = share * len(cells)
    numbers = [number for cell in cells if (number := values.read_number(cell, marks)) is not None]
    if len(numbers) >= needed and _are_amounts(numbers):
        whole = all(isinstance(number.value, int) and abs(number.value) < 2**63 for number in numbers)
        return replace(column, type="number", notation=marks, integers=whole)
    order = values.date_order(cells)
    if sum(values.read_date(cell, order) is not None for cell in cells) >= needed:
        return replace(column, type="date", notation=order)
    if _are_truth_values(cells):
        return replace(column, type="boolean")
    return column


def _are_truth_values(cells: Sequence[str]) -> bool:
    if any(values.read_boolean(cell) is None for cell in cells):
        return False
    # A column of "x" alone, or of N for north, says something else than yes and no.
    return bool({values.plain(cell).casefold() for cell in cells} - {"x", "×", "n", "y", "有", "无"}) or (
        len({values.read_boolean(cell) for cell in cells}) == 2
    )


def _are_amounts(numbers: Sequence[values.Number]) -> bool:
    if any(number.code for number in numbers):
        return False  # 007 and twenty-digit numbers are identifiers.
    odd = Counter(number.unit for number in numbers if number.unit not in _STATED_UNITS)
    del odd[""]
    # "3 bedrooms" beside "2 garages" are texts; "3 years" in every cell is a number of years.
    return not odd or (len(odd) == 1 and sum(odd.values()) == len(numbers))


def _measured(column: TypedColumn, sample: _Sample, stated: values.Measure) -> TypedColumn:
    numbers = [number for cell in sample.cells if (number := values.read_number(cell, column.notation)) is not None]
    units = Counter(number.unit for number in numbers)
    del units[""]
    own = values.header_measure(column.header)
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
    return unit in values.CURRENCIES.values() or seen * 2 >= count


def _is_unscaled(column: TypedColumn, unit: str, numbers: Sequence[values.Number], units: Counter[str]) -> bool:
    """Return whether the scale of the table's amounts has no bearing on a column."""
    if unit in _UNSCALED_UNITS or (unit and unit not in _STATED_UNITS) or set(units) & _UNSCALED_UNITS:
        return True
    if _PER_SHARE.search(column.header):
        return True
    years = all(isinstance(number.value, int) and 1900 <= number.value <= 2100 for number in numbers)
    return years and (bool(_YEAR_WORD.search(column.header)) or column.name == "item")


# -- header rows ------------------------------------------------------------------------------------------------------

MAX_HEADER_ROWS: Final = 4

_YEAR = re.compile(r"(?:fy|cy)?\s*(?:19|20)\d\d\s*[a-z年]{0,2}", re.IGNORECASE)
_BEFORE: Final = frozenset({*values.CURRENCIES, "(", "$(", "-"})
_BEHIND: Final = frozenset({")", "%", ")%", "%)", "x", "bps"})

Row = tuple[str, ...]
Rows = tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class CellGrid:
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


def arranged(header: Sequence[Row], body: Sequence[Row]) -> CellGrid:
    """Find the header rows of a table and join the columns that a layout split.

    Args:
        header: Rows known to be headers; a row of blank cells is none.

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
    """Return whether the first body row is another header row."""
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
    return bool(_YEAR.fullmatch(cell)) or (values.read_number(cell) is None and not values.is_missing(cell))


def _is_amount(cell: str) -> bool:
    return values.read_number(cell) is not None and not _YEAR.fullmatch(cell)


def _with_signs_joined(header: list[Row], rows: list[Row]) -> tuple[list[Row], list[Row]]:
    width = len(rows[0]) if rows else 0
    target = list(range(width))
    for index in range(width):
        cells = {values.plain(row[index]).upper() for row in rows if row[index]}
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


def _without_idle_columns(header: list[Row], rows: list[Row]) -> CellGrid:
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
    return CellGrid(
        tuple(tuple(row[index] for index in kept) for row in header),
        tuple(tuple(row[index] for index in kept) for row in rows),
    )


# -- names for SQL ----------------------------------------------------------------------------------------------------

MAX_NAME_CHARS: Final = 48

_NO_WORD = re.compile(r"[^\w]+")
_RESERVED: Final = frozenset({
    "all", "analyse", "analyze", "and", "anti", "any", "array", "as", "asc", "asof", "asymmetric", "at",
    "authorization", "between", "binary", "both", "by", "case", "cast", "check", "collate", "collation", "column",
    "columns", "concurrently", "constraint", "create", "cross", "current_catalog", "current_date", "current_role",
    "current_schema", "current_time", "current_timestamp", "current_user", "default", "deferrable", "desc",
    "describe", "distinct", "do", "else", "end", "except", "exists", "extract", "false", "fetch", "filter", "for",
    "freeze", "unpack",
    "foreign", "from", "full", "generated", "glob", "grant", "group", "grouping", "having", "if", "ilike", "in",
    "initially", "inner", "intersect", "into", "is", "isnull", "join", "lambda", "lateral", "leading", "left", "like",
    "limit", "localtime", "localtimestamp", "map", "natural", "not", "notnull", "null", "nulls", "of", "offset", "on",
    "only", "or", "order", "outer", "over", "overlaps", "pivot", "pivot_longer", "pivot_wider", "placing", "position",
    "positional", "primary", "qualify", "references", "returning", "right", "row", "rows", "sample", "select", "semi",
    "session_user", "set", "show", "similar", "some", "struct", "summarize", "symmetric", "table", "tables",
    "tablesample", "then", "to", "trailing", "true", "try_cast", "union", "unique", "unpivot", "unnest", "user",
    "using", "values", "variadic", "verbose", "when", "where", "window", "with", "within", "date", "time",
    "timestamp", "interval",
})  # fmt: skip
"""Words that DuckDB reserves, or that mean something else without quotes."""


def slug(text: str, limit: int = MAX_NAME_CHARS) -> str:
    """Return letters and digits of a text, lower case, joined by underscores.

    Args:
        text: Any text; letters of all scripts stay.
        limit: Characters at most, cut at a word's end where possible.

    Returns:
        The name, empty when the text has no letters or digits. It may begin with a digit or be a reserved word.
    """
    folded = unicodedata.normalize("NFKC", text[: 4 * limit]).casefold()
    words = [word for word in _NO_WORD.sub("_", folded).split("_") if word]
    name = ""
    for word in words:
        longer = f"{name}_{word}" if name else word[:limit]
        if len(longer) > limit:
            break
        name = longer
    return name


def column_names(headers: Iterable[str]) -> list[str]:
    """Return an SQL name for each column, unique in the table without regard to case.

    Args:
        headers: The headers, any may be empty.

    Returns:
        Names: an empty first header becomes ``item``, another ``column_3``; a name that begins with a digit gets an
        underscore before it, a reserved word one behind it, a repeated one a number.
    """
    names: list[str] = []
    used: set[str] = set()
    for number, header in enumerate(headers, start=1):
        symbols = header.replace("%", " pct ").replace("#", " number ")
        name = slug(symbols) or ("item" if number == 1 else f"column_{number}")
        if name[0].isdigit():
            name = f"_{name}"
        if name in _RESERVED:
            name = f"{name}_"
        unique, repeat = name, 1
        while unique in used:
            repeat += 1
            unique = f"{name}_{repeat}"
        used.add(unique)
        names.append(unique)
    return names
