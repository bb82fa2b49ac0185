"""Simple calculations over a row or column that a question names: extremes, sums, averages, changes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from llama_index_raganything.query_engine.extractive.superlatives import is_summary, superlatives_in, wants_most
from llama_index_raganything.query_engine.tables.cells import (
    ENOUGH_COVERAGE,
    MOSTLY,
    WHOLLY,
    CellAnswer,
    Labels,
    cell_line,
    is_chinese,
    plain_answers,
    unit_text,
)
from llama_index_raganything.query_engine.tables.words import NO_MATCH, Asked, Match, TableWords, Terms
from llama_index_raganything.tables.model import TableRecord
from llama_index_raganything.text.terms import tokenize

Operation = Literal["most", "least", "percentage change", "change", "average", "total"]

_PERCENTAGE = re.compile(
    r"\b(?:percent(?:age)?|%|relative)\s+(?:change|increase|decrease|growth|decline|difference)\b|\bgrowth rate\b"
    r"|\bby (?:what|how many) percent\b|百分比变化|变化率|变动率|增长率|增幅|降幅|增长了?百分",
    re.IGNORECASE,
)
_CHANGE = re.compile(
    r"\b(?:differences?|changed?|increased?|decreased?|declined?|grow|grew|growth)\b"
    r"|\bhow much (?:more|less|higher|lower)\b|差额|差异|相差|变化|变动|增加|减少|增长|下降",
    re.IGNORECASE,
)
_AVERAGE = re.compile(r"\b(?:average|mean)\b|平均", re.IGNORECASE)
_TOTAL = re.compile(r"\b(?:total|sum|combined|altogether|added up)\b|合计|总计|总和|一共|总共", re.IGNORECASE)
_OPERATIONS: Final[tuple[tuple[Operation, re.Pattern[str]], ...]] = (
    ("percentage change", _PERCENTAGE),
    ("average", _AVERAGE),
    ("change", _CHANGE),
    ("total", _TOTAL),
)
_ORDINAL = re.compile(r"\b(second|third|2nd|3rd)[\s-]+(?=\w+est\b|most|least|best|worst)|第(二|三)", re.IGNORECASE)
_PLACES: Final = {"second": 1, "2nd": 1, "二": 1, "third": 2, "3rd": 2, "三": 2}
_NAMES: Final = {
    "percentage change": "变化率",
    "change": "变化",
    "difference": "差额",
    "average": "平均值",
    "total": "合计",
}
_SHOWN_TERMS: Final = 8
_MIN_DECIMALS: Final = {"average": 2, "percentage change": 2}


@dataclass(frozen=True, slots=True)
class Entry:
    """A number of a series.

    Attributes:
        row: Place of its row.
        column: Place of its column.
        name: What tells it from the others of the series.
        value: The number.
        printed: The cell.
        years: Years in its name.
    """

    row: int
    column: int
    name: str
    value: float
    printed: str
    years: frozenset[str]


@dataclass(frozen=True, slots=True)
class Series:
    """Numbers of one kind: of a row, or of a column.

    Attributes:
        name: Label of the row or header of the column.
        entries: The numbers.
        match: How well the question names it.
        covered: Share of the question that is covered.
        columns: Columns it is in.
    """

    name: str
    entries: tuple[Entry, ...]
    match: Match
    covered: float
    columns: tuple[int, ...]


def look_up(question: str, records: Sequence[TableRecord]) -> CellAnswer | None:
    """Answer a question from the cells of tables.

    Args:
        question: The question, in English or Chinese.
        records: Tables, the likeliest first.

    Returns:
        The best answer, or None when no table covers enough of the question.
    """
    tables = [TableWords.of(record) for record in records]
    asked = Asked.over(question, tables)
    if not asked.weights:
        return None
    answers: list[CellAnswer] = []
    for place, table in enumerate(tables):
        labels = Labels.of(asked, table, place)
        operation = operation_in(asked, labels)
        if operation is None:
            answers.extend(plain_answers(asked, labels))
        else:
            computed = compute(asked, labels, operation)
            answers.extend([computed] if computed is not None else [])
    return max(answers, key=lambda answer: answer.score, default=None)


def operation_in(asked: Asked, labels: Labels) -> Operation | None:
    """Return what a question asks to compute, unless a label says that the table has it.

    Args:
        labels: How the labels of a table fit.
    """
    text = asked.text
    named = _named_terms(labels)
    most = wants_most(text)
    if most is not None and not named.intersection(*[tokenize(" ".join(superlatives_in(text)))]):
        return "most" if most else "least"
    for operation, pattern in _OPERATIONS:
        match = pattern.search(text)
        if match is not None:
            return None if named.intersection(tokenize(match.group())) else operation
    return None


def compute(asked: Asked, labels: Labels, operation: Operation) -> CellAnswer | None:
    """Compute over the row or column that a question names.

    Args:
        labels: How the labels of a table fit.
        operation: What to compute.

    Returns:
        The answer, or None where it is not clear which numbers are meant.
    """
    ranked = sorted((_row_series(asked, labels), _column_series(asked, labels)), key=lambda s: -s.match.score)
    for series in ranked:
        if series.covered < ENOUGH_COVERAGE:
            continue
        answer = (
            _extreme(asked, labels, series, operation)
            if operation in ("most", "least")
            else _combined(asked, labels, series, operation)
        )
        if answer is not None:
            return answer
    return None


def _named_terms(labels: Labels) -> Terms:
    """Return the words of the labels that the question has wholly."""
    matches = (match for match in (*labels.rows, *labels.columns) if match.share >= WHOLLY)
    return frozenset(term for match in matches for term in match.terms)


# -- series ------------------------------------------------------------------------------------------------------------


def _row_series(asked: Asked, labels: Labels) -> Series:
    """Return the numbers of the row that is named, of columns of one kind."""
    table = labels.table
    place, match = labels.best_row()
    if match.share < MOSTLY:
        return Series("", (), NO_MATCH, 0.0, ())
    columns = [n for n in range(len(table.headers)) if n != table.label_column and not is_summary(_header(table, n))]
    if sum(bool(table.years[n]) for n in columns) > 1:
        columns = [n for n in columns if table.years[n]]
    named = [n for n in columns if labels.columns[n].terms - match.terms]
    best = max((labels.columns[n].score for n in named), default=0.0)
    columns = [n for n in named if labels.columns[n].score >= WHOLLY * best] or columns
    entries = [entry for n in columns if (entry := _entry(table, place, n, _header(table, n), table.years[n]))]
    entries = _of_one_measure(table, entries)
    kept = tuple(entry.column for entry in entries)
    covered = labels.coverage(asked, [place], kept, asked.operations)
    return Series(table.rows[place].label, tuple(entries), match, covered, kept)


def _column_series(asked: Asked, labels: Labels) -> Series:
    """Return the numbers of the column that is named, or of the only one: of the rows that are named, or of all."""
    table = labels.table
    columns = [n for n in labels.value_columns(asked) if table.record.columns[n].type == "number"]
    named = [n for n in labels.named_columns(asked, frozenset()) if n in columns]
    chosen = named[:1] if len({labels.columns[n].score for n in named}) == len(named) else named
    chosen = chosen or columns
    if len(chosen) != 1:
        return Series("", (), NO_MATCH, 0.0, ())
    column = chosen[0]
    own = [n for n, match in enumerate(labels.rows) if match.share >= WHOLLY and match.terms - asked.operations]
    picked = own if len(own) > 1 else range(len(table.rows))
    rows = [table.rows[n] for n in picked if not table.rows[n].heads and not is_summary(table.rows[n].label)]
    entries = tuple(e for row in rows if (e := _entry(table, row.place, column, row.label, row.years)))
    match = labels.columns[column]
    covered = labels.coverage(asked, own if len(own) > 1 else [], [column], asked.operations | _years_of(entries))
    return Series(_header(table, column), entries, match, covered, (column,))


def _years_of(entries: Sequence[Entry]) -> Terms:
    return frozenset(year for entry in entries for year in entry.years)


def _header(table: TableWords, column: int) -> str:
    return table.record.columns[column].header


def _entry(table: TableWords, row: int, column: int, name: str, years: frozenset[str]) -> Entry | None:
    number = table.number(row, column)
    if number is None or number.code:
        return None
    return Entry(row, column, name, float(number.value), table.record.rows[row][column], years)


def _of_one_measure(table: TableWords, entries: Sequence[Entry]) -> list[Entry]:
    """Keep the numbers with the unit and scale that most of them have."""
    measures = [table.record.columns[entry.column].measure for entry in entries]
    usual = max(set(measures), key=measures.count, default="")
    return [entry for entry, measure in zip(entries, measures, strict=True) if measure == usual]


# -- extremes ----------------------------------------------------------------------------------------------------------


def _extreme(asked: Asked, labels: Labels, series: Series, operation: Operation) -> CellAnswer | None:
    entries = _of_years(asked, series.entries)
    match = _ORDINAL.search(asked.text)
    place = _PLACES[(match[1] or match[2]).lower()] if match else 0
    if len(entries) <= max(1, place):
        return None
    ordered = sorted(entries, key=lambda entry: entry.value, reverse=operation == "most")
    entry = ordered[place]
    line = cell_line(labels.table, entry.row, entry.column, chinese=is_chinese(asked.text))
    return _made(labels, series, [entry], line, operation)


def _of_years(asked: Asked, entries: Sequence[Entry]) -> list[Entry]:
    """Keep the numbers of the years that are asked for, where several are and the numbers have years."""
    if len(asked.years) < 2 or not any(entry.years for entry in entries):
        return list(entries)
    return [entry for entry in entries if entry.years & asked.years]


# -- sums, averages, changes -------------------------------------------------------------------------------------------


def _combined(asked: Asked, labels: Labels, series: Series, operation: Operation) -> CellAnswer | None:
    entries = _pair(asked, series.entries) if "change" in operation else _of_years(asked, series.entries)
    if len(entries) < 2 or len({entry.name for entry in entries}) < len(entries):
        return None
    value, terms = _value(entries, operation)
    if not math.isfinite(value):
        return None
    decimals = max([_decimals(entry.printed) for entry in entries] + [_MIN_DECIMALS.get(operation, 0)])
    shown = f"{value:,.{min(decimals, 6)}f}"
    chinese = is_chinese(asked.text)
    column = labels.table.record.columns[entries[0].column]
    unit = "%" if operation == "percentage change" else unit_text(column, shown, chinese=chinese)
    names = ", ".join(entry.name for entry in entries[:_SHOWN_TERMS] if entry.name)
    if len(entries) > _SHOWN_TERMS:
        names += f", … ({len(entries)})"
        terms = ""
    kind = "difference" if operation == "change" and not entries[0].years else operation
    title = f"{_NAMES[kind]}，" if chinese else f"{kind.capitalize()}, "
    line = f"{title}{series.name} ({names}){'：' if chinese else ': '}{shown}{unit}{f' = {terms}' if terms else ''}"
    return _made(labels, series, entries, line, operation, shown + unit.strip())


def _pair(asked: Asked, entries: Sequence[Entry]) -> list[Entry]:
    """Return the two numbers of a change, the earlier first; the smaller first where they are of no years."""
    dated = sorted((entry for entry in entries if len(entry.years) == 1), key=lambda entry: min(entry.years))
    if len(asked.years) == 2:
        pair = [entry for entry in dated if entry.years <= asked.years]
    elif len(asked.years) == 1:
        year = min(asked.years)
        earlier = [entry for entry in dated if min(entry.years) < year]
        pair = [*earlier[-1:], *(entry for entry in dated if entry.years == asked.years)]
    else:
        pair = dated if len(dated) == len(entries) else sorted(entries, key=lambda entry: entry.value)
    return pair if len(pair) == 2 else []


def _value(entries: Sequence[Entry], operation: Operation) -> tuple[float, str]:
    """Return a number and how it comes about."""
    values = [entry.value for entry in entries]
    printed = [f"({each.printed})" if each.value < 0 and "(" not in each.printed else each.printed for each in entries]
    if operation == "total":
        return math.fsum(values), " + ".join(printed)
    if operation == "average":
        return math.fsum(values) / len(values), f"({' + '.join(printed)}) / {len(values)}"
    first, last = values
    if operation == "change":
        return last - first, f"{printed[1]} − {printed[0]}"
    if first == 0:
        return math.nan, ""
    return 100 * (last - first) / abs(first), f"({printed[1]} − {printed[0]}) / {printed[0]}"


def _decimals(printed: str) -> int:
    match = re.search(r"\d\.(\d+)", printed)
    return len(match[1]) if match else 0


def _made(
    labels: Labels, series: Series, entries: Sequence[Entry], line: str, operation: Operation, value: str = ""
) -> CellAnswer:
    cells = tuple((entry.row, entry.column) for entry in entries)
    score = labels.score(series.covered, series.match, series.columns)
    return CellAnswer(labels.place, labels.table.record, cells, (line,), series.covered, score, operation, value)
