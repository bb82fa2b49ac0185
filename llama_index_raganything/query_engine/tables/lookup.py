"""Answers from the cells of tables without an LLM: the row and column that a question names, or what they add up to.

Nothing is answered that labels do not say: a question of which a row's label, a column's header and the words around
the table cover too little gets no answer, and neither does one for a year that the table does not have.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from llama_index_raganything.query_engine.extractive.quotes import is_summary
from llama_index_raganything.query_engine.tables.labels import (
    MOSTLY,
    NO_MATCH,
    WHOLLY,
    Labels,
    Match,
    QuestionWords,
    TableWords,
    Terms,
)
from llama_index_raganything.questions.question import superlatives_in, wants_most
from llama_index_raganything.tables.columns import TypedColumn
from llama_index_raganything.tables.records import TableRecord
from llama_index_raganything.text.characters import HAN
from llama_index_raganything.text.terms import tokenize

Operation = Literal["most", "least", "percentage change", "change", "average", "total"]

_ENOUGH_COVERAGE: Final = 0.6
"""Share of the question, by weight, that labels and surroundings must cover; below it nothing is answered."""

_MAX_CELLS: Final = 12
_MAX_ROWS: Final = 4
_SHOWN_CHARS: Final = 300
_CJK = re.compile(rf"[{HAN}]")
_SIGNS: Final = {"USD": "$", "EUR": "€", "GBP": "£", "CNY": "元", "%": "%"}

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
class CellAnswer:
    """An answer from cells.

    Attributes:
        place: Place of the table among those looked at.
        cells: Row and column of each cell that the answer rests on.
        lines: The lines of the answer.
        coverage: Share of the question that is covered.
        score: For comparison within one question.
        operation: What was computed or compared, if anything.
        value: The computed number, as printed in the answer.
    """

    place: int
    record: TableRecord
    cells: tuple[tuple[int, int], ...]
    lines: tuple[str, ...]
    coverage: float
    score: float
    operation: str = ""
    value: str = ""


def look_up(question: str, records: Sequence[TableRecord]) -> CellAnswer | None:
    """Answer an English or Chinese question from the cells of tables, the likeliest table first.

    Returns:
        The best answer, or None when no table covers enough of the question.
    """
    tables = [TableWords.of(record) for record in records]
    asked = QuestionWords.over(question, tables)
    if not asked.weights:
        return None
    answers: list[CellAnswer] = []
    for place, table in enumerate(tables):
        labels = Labels.of(asked, table, place)
        operation = _operation_in(asked, labels)
        if operation is None:
            answers.extend(_plain_answers(asked, labels))
        else:
            computed = _compute(asked, labels, operation)
            answers.extend([computed] if computed is not None else [])
    return max(answers, key=lambda answer: answer.score, default=None)


# -- cells as they are -------------------------------------------------------------------------------------------------


def _plain_answers(asked: QuestionWords, labels: Labels) -> Iterator[CellAnswer]:
    """Yield answers from the row that is named, by its label or another cell, or else from a whole column."""
    if not labels.table.rows:
        return
    found = [_by_label(asked, labels), _by_value(asked, labels)]
    answers = [answer for answer in found if answer is not None]
    yield from answers
    column = _by_column(asked, labels) if not answers else None
    if column is not None:
        yield column


def _by_label(asked: QuestionWords, labels: Labels) -> CellAnswer | None:
    _, match = labels.best_row()
    if match.share < MOSTLY:
        columns = labels.named_columns(asked, frozenset()) if len(labels.rows) == 1 else []
        return _answer(asked, labels, [0], NO_MATCH, columns) if columns else None
    rows = [n for n, other in enumerate(labels.rows) if other.score >= WHOLLY * match.score][:_MAX_ROWS]
    used = match.terms
    for n, other in enumerate(labels.rows):
        if len(rows) < _MAX_ROWS and n not in rows and other.share >= WHOLLY and other.terms - used - asked.operations:
            rows.append(n)
            used |= other.terms
    return _answer(asked, labels, rows, match, labels.named_columns(asked, used) or labels.value_columns(asked))


def _by_column(asked: QuestionWords, labels: Labels) -> CellAnswer | None:
    """List a column that is named where no row is ("revenue by segment")."""
    columns = labels.named_columns(asked, frozenset())[:1]
    if not columns or labels.columns[columns[0]].share < MOSTLY or labels.best_row()[1].share >= MOSTLY:
        return None
    rows = [row.place for row in labels.table.rows if not row.heads]
    return _answer(asked, labels, rows, NO_MATCH, columns)


def _by_value(asked: QuestionWords, labels: Labels) -> CellAnswer | None:
    """Find a row by a cell that is no label ("which product is discontinued?"); answer with label or named column."""
    table = labels.table
    best, found, match = 0.0, (-1, -1), NO_MATCH
    for row in table.rows:
        for column, terms in row.cells.items():
            own = asked.match(terms)
            if own.score > best and own.share >= MOSTLY and own.terms - asked.operations:
                best, found, match = own.score, (row.place, column), own
    place, column = found
    if place < 0 or best <= labels.best_row()[1].score:
        return None
    wanted = [n for n in labels.named_columns(asked, match.terms) if n != column] or [table.label_column]
    also = match.terms | labels.columns[column].terms
    return _answer(asked, labels, [place], match, [*wanted, column], also)


def _answer(
    asked: QuestionWords,
    labels: Labels,
    rows: Sequence[int],
    match: Match,
    columns: Sequence[int],
    also: Terms = frozenset(),
) -> CellAnswer | None:
    table = labels.table
    cells = [(row, column) for row in rows for column in columns if table.record.rows[row][column]][:_MAX_CELLS]
    coverage = labels.coverage(asked, rows, columns, also)
    if not cells or coverage < _ENOUGH_COVERAGE:
        return None
    chinese = _is_chinese(asked.text)
    lines = tuple(_cell_line(table, row, column, chinese=chinese) for row, column in cells)
    score = labels.score(coverage, match, columns)
    return CellAnswer(labels.place, table.record, tuple(cells), lines, coverage, score)


def _cell_line(table: TableWords, row: int, column: int, *, chinese: bool) -> str:
    """Return a line of an answer: label of the row, header of the column, the cell as printed, its unit."""
    cell = table.record.rows[row][column]
    header = table.record.columns[column].header
    if column == table.label_column:
        return f"{header}{'：' if chinese else ': '}{cell}" if header else cell
    comma, colon = ("，", "：") if chinese else (", ", ": ")
    name = comma.join(part for part in (table.rows[row].label, header) if part)[:_SHOWN_CHARS]
    return f"{name}{colon}{cell[:_SHOWN_CHARS]}{_unit_text(table.record.columns[column], cell, chinese=chinese)}"


def _unit_text(column: TypedColumn, cell: str, *, chinese: bool) -> str:
    """Return the unit and scale of a cell, where the cell does not print them."""
    if column.type != "number" or not any(character.isdigit() for character in cell):
        return ""
    unit = column.unit
    shown = bool(unit) and (unit in cell or _SIGNS.get(unit, unit) in cell)
    measure = column.measure.removesuffix(unit).strip() if shown else column.measure
    if not measure:
        return ""
    return f"（单位：{measure}）" if chinese else f" ({measure})"


def _is_chinese(text: str) -> bool:
    return _CJK.search(text) is not None


# -- calculations ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SeriesNumber:
    """A number of a series.

    Attributes:
        name: Distinguishes it from the others of the series: a header or the label of a row.
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
    entries: tuple[SeriesNumber, ...]
    match: Match
    covered: float
    columns: tuple[int, ...]


def _operation_in(asked: QuestionWords, labels: Labels) -> Operation | None:
    """Return what a question asks to compute, unless a label says that the table has it."""
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


def _compute(asked: QuestionWords, labels: Labels, operation: Operation) -> CellAnswer | None:
    """Compute over the row or column that a question names; None where it is not clear which numbers are meant."""
    ranked = sorted((_row_series(asked, labels), _column_series(asked, labels)), key=lambda s: -s.match.score)
    for series in ranked:
        if series.covered < _ENOUGH_COVERAGE:
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
    """Return the words of the labels of which the question has every word."""
    matches = (match for match in (*labels.rows, *labels.columns) if match.share >= WHOLLY)
    return frozenset(term for match in matches for term in match.terms)


# -- series ------------------------------------------------------------------------------------------------------------


def _row_series(asked: QuestionWords, labels: Labels) -> Series:
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


def _column_series(asked: QuestionWords, labels: Labels) -> Series:
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


def _years_of(entries: Sequence[SeriesNumber]) -> Terms:
    return frozenset(year for entry in entries for year in entry.years)


def _header(table: TableWords, column: int) -> str:
    return table.record.columns[column].header


def _entry(table: TableWords, row: int, column: int, name: str, years: frozenset[str]) -> SeriesNumber | None:
    number = table.number(row, column)
    if number is None or number.code:
        return None
    return SeriesNumber(row, column, name, float(number.value), table.record.rows[row][column], years)


def _of_one_measure(table: TableWords, entries: Sequence[SeriesNumber]) -> list[SeriesNumber]:
    """Keep the numbers with the unit and scale that most of them have."""
    measures = [table.record.columns[entry.column].measure for entry in entries]
    usual = max(set(measures), key=measures.count, default="")
    return [entry for entry, measure in zip(entries, measures, strict=True) if measure == usual]


# -- extremes ----------------------------------------------------------------------------------------------------------


def _extreme(asked: QuestionWords, labels: Labels, series: Series, operation: Operation) -> CellAnswer | None:
    entries = _of_years(asked, series.entries)
    match = _ORDINAL.search(asked.text)
    place = _PLACES[(match[1] or match[2]).lower()] if match else 0
    if len(entries) <= max(1, place):
        return None
    ordered = sorted(entries, key=lambda entry: entry.value, reverse=operation == "most")
    entry = ordered[place]
    line = _cell_line(labels.table, entry.row, entry.column, chinese=_is_chinese(asked.text))
    return _made(labels, series, [entry], line, operation)


def _of_years(asked: QuestionWords, entries: Sequence[SeriesNumber]) -> list[SeriesNumber]:
    """Keep the numbers of the years that are asked for, where several are and the numbers have years."""
    if len(asked.years) < 2 or not any(entry.years for entry in entries):
        return list(entries)
    return [entry for entry in entries if entry.years & asked.years]


# -- sums, averages, changes -------------------------------------------------------------------------------------------


def _combined(asked: QuestionWords, labels: Labels, series: Series, operation: Operation) -> CellAnswer | None:
    entries = _pair(asked, series.entries) if "change" in operation else _of_years(asked, series.entries)
    if len(entries) < 2 or len({entry.name for entry in entries}) < len(entries):
        return None
    value, terms = _value(entries, operation)
    if not math.isfinite(value):
        return None
    decimals = max([_decimals(entry.printed) for entry in entries] + [_MIN_DECIMALS.get(operation, 0)])
    shown = f"{value:,.{min(decimals, 6)}f}"
    chinese = _is_chinese(asked.text)
    column = labels.table.record.columns[entries[0].column]
    unit = "%" if operation == "percentage change" else _unit_text(column, shown, chinese=chinese)
    names = ", ".join(entry.name for entry in entries[:_SHOWN_TERMS] if entry.name)
    if len(entries) > _SHOWN_TERMS:
        names += f", … ({len(entries)})"
        terms = ""
    kind = "difference" if operation == "change" and not entries[0].years else operation
    title = f"{_NAMES[kind]}，" if chinese else f"{kind.capitalize()}, "
    line = f"{title}{series.name} ({names}){'：' if chinese else ': '}{shown}{unit}{f' = {terms}' if terms else ''}"
    return _made(labels, series, entries, line, operation, shown + unit.strip())


def _pair(asked: QuestionWords, entries: Sequence[SeriesNumber]) -> list[SeriesNumber]:
    """Return the two numbers of a change, the earlier first, or the smaller first where they have no years."""
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


def _value(entries: Sequence[SeriesNumber], operation: Operation) -> tuple[float, str]:
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
    labels: Labels, series: Series, entries: Sequence[SeriesNumber], line: str, operation: Operation, value: str = ""
) -> CellAnswer:
    cells = tuple((entry.row, entry.column) for entry in entries)
    score = labels.score(series.covered, series.match, series.columns)
    return CellAnswer(labels.place, labels.table.record, cells, (line,), series.covered, score, operation, value)
