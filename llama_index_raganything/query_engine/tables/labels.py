"""How well a question names the rows and columns of tables. Pure functions of table records.

A label is scored by the share of *its* words that the question has, squared, times the share of the question that it
covers, as :mod:`~.ranking.passage_features` scores labels of tables: that separates "Total sales" from
"Total sales and marketing".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from llama_index_raganything.questions.question import in_words_of, names_in, without_function_words
from llama_index_raganything.ranking.passage_features import question_words
from llama_index_raganything.tables.columns import is_spanning
from llama_index_raganything.tables.records import TableRecord
from llama_index_raganything.tables.values import Number, read_number
from llama_index_raganything.text.bm25 import inverse_document_frequency, rarest
from llama_index_raganything.text.terms import content_tokens, tokenize

MAX_ROWS: Final = 5_000
"""Maximum rows of a table that are looked at."""

_UNKNOWN: Final = 0.5
"""A word that no table has weighs half of the rarest."""

_OPERATION: Final = 0.3
_MISSING_NAME: Final = 2.0
_CELL_CHARS: Final = 300
_NOTE_CHARS: Final = 600
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_YEAR_WORDS: Final = frozenset({"年", "年度", "fy", "fiscal", "end", "year"})
_FOOTNOTE_MARK = re.compile(r"\(\d{1,2}\)|\[\d{1,2}\]")
_NOTE = re.compile(r"[(（].*[)）]$")
"""A row such as "(in thousands)" applies to all rows and heads none."""

MOSTLY: Final = 0.5
"""Share of a label, by weight, that the question must have for the label to be meant."""

WHOLLY: Final = 0.99

_ROW_BONUS: Final = 0.3
_COLUMN_BONUS: Final = 0.1
_PER_PLACE: Final = 0.03

Terms = frozenset[str]


def years_in(text: str) -> frozenset[str]:
    """Return the years in a text such as ``"FY2019"`` or ``"December 31, 2019"``."""
    return frozenset(_YEAR.findall(text))


def label_terms(text: str) -> Terms:
    """Return the words of a label without years; its function words only where it has no others."""
    bare = without_function_words(_YEAR.sub(" ", _FOOTNOTE_MARK.sub(" ", text[:_CELL_CHARS])))
    return frozenset(content_tokens(bare) or tokenize(bare)) - _YEAR_WORDS


@dataclass(frozen=True, slots=True)
class Row:
    """A body row as it is looked up.

    Attributes:
        place: Its place among the body rows.
        label: Its name, after that of the row that heads it.
        forms: Words of the label, alone and with its heading.
        cells: Words of its other cells, by column.
        years: Years in its label.
        heads: It is a heading: nothing but its label is filled.
    """

    place: int
    label: str
    forms: tuple[Terms, ...]
    cells: dict[int, Terms]
    years: frozenset[str]
    heads: bool


@dataclass(frozen=True, slots=True)
class TableWords:
    """The words of one table.

    Attributes:
        label_column: The column whose cells name the rows.
        headers: Words of the header of each column.
        years: Years in the header of each column.
        around: Words of caption, section, title, notes, file name and units.
    """

    record: TableRecord
    label_column: int
    rows: tuple[Row, ...]
    headers: tuple[Terms, ...]
    years: tuple[frozenset[str], ...]
    around: Terms

    @classmethod
    def of(cls, record: TableRecord) -> TableWords:
        """Read the words of a table."""
        label = next((n for n, column in enumerate(record.columns) if column.type == "text"), 0)
        return cls(
            record=record,
            label_column=label,
            rows=tuple(_rows(record, label)),
            headers=tuple(label_terms(column.header) for column in record.columns),
            years=tuple(years_in(column.header) for column in record.columns),
            around=_around(record),
        )

    def number(self, row: int, column: int) -> Number | None:
        """Return the number in a cell, or None."""
        return read_number(self.record.rows[row][column], self.record.columns[column].notation or ".")


@dataclass(frozen=True, slots=True)
class Match:
    """How well a question names a label.

    Attributes:
        share: Share of the label, by weight, that the question has.
        score: That squared, times the share of the question that the label covers.
        terms: Words that both have.
    """

    share: float = 0.0
    score: float = 0.0
    terms: Terms = frozenset()


NO_MATCH: Final = Match()


@dataclass(frozen=True)
class QuestionWords:
    """The words of a question, each weighted by how few labels of some tables have it.

    Attributes:
        text: The question.
        terms: Its content words without years.
        operations: Those that say what to compute.
        unknown: Weight of a word that no table has.
    """

    text: str
    terms: tuple[str, ...]
    operations: frozenset[str]
    years: frozenset[str]
    weights: dict[str, float] = field(default_factory=dict)
    unknown: float = 1.0

    @classmethod
    def over(cls, question: str, tables: Sequence[TableWords]) -> QuestionWords:
        """Read a question that some tables may answer."""
        words = question_words(without_function_words(question))
        operations = {term for term, says in zip(words.terms, words.operations, strict=True) if says}
        labels = list(_labels(tables))
        counts = Counter(term for terms in labels for term in terms)
        surroundings = {term for table in tables for term in table.around}
        years = years_in(question[: _CELL_CHARS * 10])
        given = [term for term in words.terms if term not in years | _YEAR_WORDS]
        terms = in_words_of(given, {*counts, *surroundings})
        known = counts.keys() | surroundings
        renamed = {new for old, new in zip(given, terms, strict=True) if old in operations}
        weights: dict[str, float] = {}
        missing = names_in(question) - known
        size = len(labels)
        unknown = _UNKNOWN * rarest(size)
        for term in terms:
            count = counts[term]
            weight = inverse_document_frequency(count, size) if count else unknown
            weights[term] = weight * (_MISSING_NAME if term in missing else 1.0)
        for term in renamed:
            weights[term] *= _OPERATION
        for year in years:
            weights[year] = 2 * unknown
        return cls(question, tuple(dict.fromkeys(terms)), frozenset(renamed), years, weights, unknown)

    def match(self, label: Terms) -> Match:
        """Return how well the question names a label."""
        shared = label & self.weights.keys()
        if not shared:
            return NO_MATCH
        # A word to compute with is as much a part of its label as any other.
        own = sum(max(self.weights[term], self.unknown * _OPERATION) for term in shared)
        share = own / (own + self.unknown * len(label - shared))
        return Match(share, share * share * self.coverage(shared), frozenset(shared))

    def coverage(self, terms: Iterable[str]) -> float:
        """Return the share of the question, by weight, that some words and years cover."""
        total = sum(self.weights.values())
        return sum(self.weights.get(term, 0.0) for term in set(terms)) / total if total else 0.0


@dataclass(frozen=True, slots=True)
class Labels:
    """How well a question names the rows and columns of one table.

    Attributes:
        place: Place of the table among those looked at.
        rows: Match of each row's best form.
        columns: Match of each column's header.
    """

    table: TableWords
    place: int
    rows: tuple[Match, ...]
    columns: tuple[Match, ...]

    @classmethod
    def of(cls, asked: QuestionWords, table: TableWords, place: int) -> Labels:
        """Match the labels of a table."""
        rows = tuple(_row_match(asked, row) for row in table.rows)
        return cls(table, place, rows, tuple(asked.match(header) for header in table.headers))

    def best_row(self) -> tuple[int, Match]:
        """Return the place of the row that fits best, and how well it fits."""
        place = max(range(len(self.rows)), key=lambda n: self.rows[n].score, default=-1)
        return place, (self.rows[place] if place >= 0 else NO_MATCH)

    def value_columns(self, asked: QuestionWords) -> list[int]:
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

    def named_columns(self, asked: QuestionWords, used: Terms) -> list[int]:
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

    def coverage(
        self, asked: QuestionWords, rows: Sequence[int], columns: Sequence[int], also: Terms = frozenset()
    ) -> float:
        """Return the share of the question that rows, columns and the words around the table cover.

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
        """Return how well an answer fits, for comparison among tables."""
        named = max((self.columns[n].share for n in columns), default=0.0)
        return coverage + _ROW_BONUS * row.share + _COLUMN_BONUS * named - _PER_PLACE * self.place


def _row_match(asked: QuestionWords, row: Row) -> Match:
    if row.heads or (row.years and asked.years and not row.years & asked.years):
        return NO_MATCH
    best = max((asked.match(form) for form in row.forms), key=lambda match: match.score, default=NO_MATCH)
    if row.years & asked.years:
        named = row.years & asked.years
        return Match(
            max(best.share, MOSTLY) if best.terms else 1.0, best.score + asked.coverage(named), best.terms | named
        )
    return best


def _labels(tables: Sequence[TableWords]) -> Iterator[Terms]:
    for table in tables:
        yield from table.headers
        for row in table.rows:
            yield row.forms[0] if row.forms else frozenset()


def _rows(record: TableRecord, label_column: int) -> Iterator[Row]:
    heading = ""
    for place, cells in enumerate(record.rows[:MAX_ROWS]):
        label = cells[label_column] if label_column < len(cells) else ""
        filled = {cell for cell in cells if cell}
        heads = len(cells) > 1 and len(filled) == 1 and bool(label) and (cells.count(label) == 1 or is_spanning(cells))
        terms = label_terms(label)
        forms = [terms] if terms else []
        if heading and not heads and terms:
            forms.append(terms | label_terms(heading))
        others = {n: _cell_terms(record, n, cell) for n, cell in enumerate(cells) if n != label_column and cell}
        named = f"{heading}: {label}".replace("::", ":") if heading and not heads and label else label
        yield Row(place, named, tuple(forms), others, years_in(label), heads)
        if heads and not _NOTE.match(label):
            heading = label


def _cell_terms(record: TableRecord, column: int, cell: str) -> Terms:
    kind = record.columns[column].type
    if kind == "date":
        return years_in(cell)
    return frozenset(tokenize(cell) if kind == "number" else content_tokens(cell[:_CELL_CHARS]))


def _around(record: TableRecord) -> Terms:
    stem = PurePosixPath(record.file_name).stem.replace("_", " ").replace("-", " ")
    texts = (record.caption, record.label, record.section, record.title, record.notes[:_NOTE_CHARS], stem)
    measures = (column.measure for column in record.columns)
    text = " \n".join([*texts, *measures])
    return frozenset([*content_tokens(without_function_words(text)), *content_tokens(text)]) | years_in(text)
