"""Questions for the highest or lowest: which row of a table they mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from llama_index_raganything.query_engine.extractive.passages import Passage

_MOST = re.compile(
    r"\b(?:highest|largest|most|maximum|max|biggest|greatest|fastest|longest|best|top)\b|最[高大多长快]", re.I
)
_LEAST = re.compile(r"\b(?:lowest|smallest|least|minimum|min|fewest|shortest|slowest|worst)\b|最[低小少短慢]", re.I)
_SUMMARY_ROW = re.compile(r"\b(?:total|sum|average|mean|overall|all)\b|合计|总计|平均|小计", re.I)
_NUMBER = re.compile(r"\(?-?[$€£¥]?\s?\d[\d,]*(?:\.\d+)?")
_NUMERIC_SHARE = 0.6


def superlatives_in(question: str) -> list[str]:
    """Return the words of a question that ask for the highest or lowest."""
    return [*_MOST.findall(question), *_LEAST.findall(question)]


def wants_most(question: str) -> bool | None:
    """Tell whether a question asks for the highest (True), the lowest (False), or neither (None)."""
    if _MOST.search(question):
        return True
    return False if _LEAST.search(question) else None


def is_summary(label: str) -> bool:
    """Tell whether a row or column sums up others, such as one of totals or averages."""
    return _SUMMARY_ROW.search(label) is not None


def extreme_rows(passages: Sequence[Passage], question: str, gain: Callable[[str], float]) -> set[tuple[int, int, int]]:
    """Find, in each table, the row with the largest or smallest number of the column that a question names.

    Args:
        passages: Passages, among them the rows of tables.
        question: The question; only one with a superlative has such rows.
        gain: How much of the question a column's name covers.

    Returns:
        ``(*table, position)`` of the rows. Rows of totals and averages do not take part.
    """
    if not superlatives_in(question):
        return set()
    pick = max if _MOST.search(question) else min
    tables: dict[tuple[int, int], list[Passage]] = {}
    for passage in passages:
        if passage.kind == "row":
            tables.setdefault(passage.table, []).append(passage)
    found: set[tuple[int, int, int]] = set()
    for rows in tables.values():
        column = _numeric_column(rows, gain)
        if column is not None:
            numbers = [(number, row) for row in rows if (number := _number(row, column)) is not None]
            _, row = pick(numbers, key=lambda pair: pair[0])
            found.add((*row.table, row.position))
    return found


def _numeric_column(rows: Sequence[Passage], gain: Callable[[str], float]) -> int | None:
    """Return the numeric column that the question names, or the only one there is."""
    needed = max(2, _NUMERIC_SHARE * len(rows))
    width = max(len(row.cells) for row in rows)
    numeric = [column for column in range(1, width) if sum(_number(row, column) is not None for row in rows) >= needed]
    header = rows[0].header
    gains = {column: gain(header[column]) for column in numeric if column < len(header)}
    named = max(gains, key=gains.__getitem__, default=None)
    if named is not None and gains[named] > 0:
        return named
    return numeric[0] if len(numeric) == 1 else None


def _number(row: Passage, column: int) -> float | None:
    if column >= len(row.cells) or _SUMMARY_ROW.search(row.cells[0]):
        return None
    match = _NUMBER.match(row.cells[column].strip())
    if match is None:
        return None
    digits = re.sub(r"[^\d.]", "", match.group())
    return -float(digits) if match.group().startswith(("(", "-")) else float(digits)
