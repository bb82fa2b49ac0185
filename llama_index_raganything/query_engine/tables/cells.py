"""Answers from the cells of tables without an LLM: the row and the column that a question names.

Only what the labels say is answered. A question of which too little is found in a row's label, a column's header and
what stands around the table gets no answer, and neither does one for a year that the table does not have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from llama_index_raganything.query_engine.tables.words import NO_MATCH, Asked, Match, Row, TableWords, Terms
from llama_index_raganything.tables.model import Column, TableRecord
from llama_index_raganything.text.characters import HAN

ENOUGH_COVERAGE: Final = 0.6
"""Share of the question, by weight, that labels and surroundings must cover; below it nothing is answered."""

MAX_CELLS: Final = 12
"""Cells of one answer."""

MOSTLY: Final = 0.5
"""Share of a label, by weight, that the question must have for the label to be meant."""

WHOLLY: Final = 0.99

_MAX_ROWS: Final = 4
_ROW_BONUS: Final = 0.3
_COLUMN_BONUS: Final = 0.1
_PER_PLACE: Final = 0.03
_SHOWN_CHARS: Final = 300
_CJK = re.compile(rf"[{HAN}]")
_SIGNS: Final = {"USD": "$", "EUR": "€", "GBP": "£", "CNY": "元", "%": "%"}


@dataclass(frozen=True, slots=True)
class CellAnswer:
    """What cells answer.

    Attributes:
        place: Place of the table among those looked at.
        record: The table.
        cells: Row and column of each cell that the answer rests on.
        lines: What is said, a line for each.
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


@dataclass(frozen=True, slots=True)
class Labels:
    """How the rows and columns of one table fit a question.

    Attributes:
        table: The table.
        place: Its place among the tables.
        rows: Match of each row's best form.
        columns: Match of each column's header.
    """

    table: TableWords
    place: int
    rows: tuple[Match, ...]
    columns: tuple[Match, ...]

    @classmethod
    def of(cls, asked: Asked, table: TableWords, place: int) -> Labels:
        """Match the labels of a table.

        Args:
            place: Its place among the tables.
        """
        rows = tuple(_row_match(asked, row) for row in table.rows)
        return cls(table, place, rows, tuple(asked.match(header) for header in table.headers))

    def best_row(self) -> tuple[int, Match]:
        """Return the row that fits best, and how well."""
        place = max(range(len(self.rows)), key=lambda n: self.rows[n].score, default=-1)
        return place, (self.rows[place] if place >= 0 else NO_MATCH)

    def value_columns(self, asked: Asked) -> list[int]:
        """Return the columns with values: those of the years that are asked for, where columns are years."""
        own = [n for n in range(len(self.table.headers)) if n != self.table.label_column]
        if not asked.years:
            return own
        dated = [n for n in own if self.table.years[n] & asked.years]
        if dated:
            return dated
        elsewhere = self.table.around | {year for row in self.table.rows for year in row.years}
        yearly = any(self.table.years[n] for n in own)
        return [] if yearly and not asked.years & elsewhere else own

    def named_columns(self, asked: Asked, used: Terms) -> list[int]:
        """Return the value columns whose headers the question names beside a row's label, best first."""
        pool = [n for n in self.value_columns(asked) if self.columns[n].terms - used]
        if not pool:
            return []
        best = max(self.columns[n].score for n in pool)
        chosen = [n for n in pool if self.columns[n].score >= WHOLLY * best]
        covered = used.union(*(self.columns[n].terms for n in chosen))
        for n in pool:
            if n not in chosen and self.columns[n].share >= WHOLLY and self.columns[n].terms - covered:
                chosen.append(n)
        return chosen

    def coverage(self, asked: Asked, rows: Sequence[int], columns: Sequence[int], also: Terms = frozenset()) -> float:
        """Return the share of the question that rows, columns and what stands around the table cover.

        Args:
            rows: Places of rows.
            columns: Places of columns.
            also: Further words that are covered.
        """
        table = self.table
        words: set[str] = {*table.around, *table.headers[table.label_column], *also}
        for row in rows:
            words |= self.rows[row].terms | table.rows[row].years
        for column in columns:
            words |= self.columns[column].terms | table.years[column]
        return asked.coverage(words)

    def score(self, coverage: float, row: Match, columns: Sequence[int]) -> float:
        """Return how well an answer fits, for comparison among tables.

        Args:
            coverage: Share of the question that it covers.
            row: How well its row fits.
        """
        named = max((self.columns[n].share for n in columns), default=0.0)
        return coverage + _ROW_BONUS * row.share + _COLUMN_BONUS * named - _PER_PLACE * self.place


def plain_answers(asked: Asked, labels: Labels) -> Iterator[CellAnswer]:
    """Look up cells by the labels of their row and column.

    Args:
        labels: How the labels of a table fit.

    Yields:
        Answers by label of the row, by another cell of it ("which product is discontinued?"), and, where no row is
        named, whole columns.
    """
    if not labels.table.rows:
        return
    found = [_by_label(asked, labels), _by_value(asked, labels)]
    answers = [answer for answer in found if answer is not None]
    yield from answers
    column = _by_column(asked, labels) if not answers else None
    if column is not None:
        yield column


def cell_line(table: TableWords, row: int, column: int, *, chinese: bool) -> str:
    """Return a cell as an answer says it: label of the row, header of the column, the cell as printed, its unit.

    Args:
        row: Place of the row.
        column: Place of the column.
        chinese: Use Chinese punctuation.
    """
    cell = table.record.rows[row][column]
    header = table.record.columns[column].header
    if column == table.label_column:
        return f"{header}{'：' if chinese else ': '}{cell}" if header else cell
    comma, colon = ("，", "：") if chinese else (", ", ": ")
    name = comma.join(part for part in (table.rows[row].label, header) if part)[:_SHOWN_CHARS]
    return f"{name}{colon}{cell[:_SHOWN_CHARS]}{unit_text(table.record.columns[column], cell, chinese=chinese)}"


def unit_text(column: Column, cell: str, *, chinese: bool) -> str:
    """Return the unit and scale of a cell, where the cell does not print them.

    Args:
        chinese: Use Chinese punctuation.
    """
    if column.type != "number" or not any(character.isdigit() for character in cell):
        return ""
    unit = column.unit
    shown = bool(unit) and (unit in cell or _SIGNS.get(unit, unit) in cell)
    measure = column.measure.removesuffix(unit).strip() if shown else column.measure
    if not measure:
        return ""
    return f"（单位：{measure}）" if chinese else f" ({measure})"


def is_chinese(text: str) -> bool:
    """Tell whether a text has Chinese characters."""
    return _CJK.search(text) is not None


def _row_match(asked: Asked, row: Row) -> Match:
    if row.heads or (row.years and asked.years and not row.years & asked.years):
        return NO_MATCH
    best = max((asked.match(form) for form in row.forms), key=lambda match: match.score, default=NO_MATCH)
    if row.years & asked.years:
        named = row.years & asked.years
        return Match(
            max(best.share, MOSTLY) if best.terms else 1.0, best.score + asked.coverage(named), best.terms | named
        )
    return best


def _by_label(asked: Asked, labels: Labels) -> CellAnswer | None:
    _, match = labels.best_row()
    if match.share < MOSTLY:
        return _only_row(asked, labels) if len(labels.rows) == 1 else None
    rows = [n for n, other in enumerate(labels.rows) if other.score >= WHOLLY * match.score][:_MAX_ROWS]
    used = match.terms
    for n, other in enumerate(labels.rows):
        if len(rows) < _MAX_ROWS and n not in rows and other.share >= WHOLLY and other.terms - used - asked.operations:
            rows.append(n)
            used |= other.terms
    return _answer(asked, labels, rows, match, labels.named_columns(asked, used) or labels.value_columns(asked))


def _only_row(asked: Asked, labels: Labels) -> CellAnswer | None:
    columns = labels.named_columns(asked, frozenset())
    return _answer(asked, labels, [0], NO_MATCH, columns) if columns else None


def _by_column(asked: Asked, labels: Labels) -> CellAnswer | None:
    """List a column that is named where no row is ("revenue by segment")."""
    columns = labels.named_columns(asked, frozenset())[:1]
    if not columns or labels.columns[columns[0]].share < MOSTLY or labels.best_row()[1].share >= MOSTLY:
        return None
    rows = [row.place for row in labels.table.rows if not row.heads]
    return _answer(asked, labels, rows, NO_MATCH, columns)


def _by_value(asked: Asked, labels: Labels) -> CellAnswer | None:
    """Find a row by another cell than its label; the answer is the label, or the column that is named."""
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
    asked: Asked,
    labels: Labels,
    rows: Sequence[int],
    match: Match,
    columns: Sequence[int],
    also: Terms = frozenset(),
) -> CellAnswer | None:
    table = labels.table
    cells = [(row, column) for row in rows for column in columns if table.record.rows[row][column]][:MAX_CELLS]
    coverage = labels.coverage(asked, rows, columns, also)
    if not cells or coverage < ENOUGH_COVERAGE:
        return None
    chinese = is_chinese(asked.text)
    lines = tuple(cell_line(table, row, column, chinese=chinese) for row, column in cells)
    score = labels.score(coverage, match, columns)
    return CellAnswer(labels.place, table.record, tuple(cells), lines, coverage, score)
