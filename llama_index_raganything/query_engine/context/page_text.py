"""The text of a page as an LLM reads it: its text layer, what only its elements say, and the table that is asked for.

Pure functions of texts. An element and its page are never both given: of real documents 16 % of the characters were
repeated that way.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Final

from llama_index_raganything.tables.read import is_rule
from llama_index_raganything.text.terms import content_tokens, tokenize

_NEW_SHARE: Final = 0.3
_NEW_WORDS: Final = 4
_LEAST_ROWS: Final = 2
_FAR: Final = 4
"""Lines of a page that may stand between two rows of one table, such as a row that wraps."""

_LONG_CELL: Final = 20
"""Characters from which equal neighbouring cells are taken for one merged cell, and not for equal values."""


def page_text(page: str, elements: Sequence[str], tables: Sequence[str] = ()) -> str:
    """Join what a page and its elements say, each thing once.

    Args:
        page: The page's own text.
        elements: Texts of its elements, in reading order. Those of which the page has nearly every word add nothing;
            what recognition or a description says of a figure is added at the end.
        tables: Tables on the page that are asked for; each stands in place of the lines that flatten it. One without
            rows in Markdown, which a parser did not understand, says no more than the page and is left out.

    Returns:
        The text.
    """
    text = page
    for table in tables:
        if has_rows(table):
            text = with_table(text, without_spread_cells(table))
    have = set(content_tokens(text))
    added = [text] if text.strip() else []
    for element in elements:
        words = set(content_tokens(element))
        new = words - have
        if len(new) >= max(_NEW_WORDS, _NEW_SHARE * len(words)):
            added.append(element)
            have |= words
    return "\n\n".join(added)


def with_table(page: str, table: str) -> str:
    """Put a Markdown table in place of the lines of a page that flatten it.

    A line goes only where the table has all its numbers and words, so that nothing is lost.

    Args:
        table: The table, with caption and notes.

    Returns:
        The text; the page as it is, with the table after it, where the lines cannot be told.
    """
    lines = page.split("\n")
    cells = set(tokenize(table))
    rows = [place for place, line in enumerate(lines) if _is_row(line, cells)]
    start, stop = _densest(rows)
    inside = set(rows[start:stop])
    if len(inside) < _LEAST_ROWS:
        return f"{page}\n\n{table}" if page.strip() else table
    first = min(inside)
    kept: list[str] = []
    for place, line in enumerate(lines):
        if place == first:
            kept += ["", table, ""]
        if place not in inside:
            kept.append(line)
    return "\n".join(kept).strip("\n")


def has_rows(table: str) -> bool:
    """Tell whether a text has a Markdown table in it: a line of cells with a rule under it."""
    return any(line.startswith("|") and is_rule(below) for line, below in pairwise(table.split("\n")))


def without_spread_cells(table: str) -> str:
    """Write a long text that stands in neighbouring cells, as parsers spread merged ones, into the first alone.

    Args:
        table: A Markdown table, with or without text around it.

    Returns:
        The table with as many columns.
    """
    return "\n".join(_merged(line) if line.startswith("|") else line for line in table.split("\n"))


def _merged(row: str) -> str:
    cells = row.split("|")
    kept = [
        "  " if place and len(cell) >= _LONG_CELL and cell == cells[place - 1] else cell
        for place, cell in enumerate(cells)
    ]
    return "|".join(kept)


def _is_row(line: str, cells: Collection[str]) -> bool:
    tokens = tokenize(line)
    return bool(tokens) and all(token in cells for token in tokens)


def _densest(places: Sequence[int]) -> tuple[int, int]:
    """Return the longest run of places of which each is near the next: a page may mention the words elsewhere."""
    best = (0, 0)
    start = 0
    for index in range(1, len(places) + 1):
        if index == len(places) or places[index] - places[index - 1] > _FAR:
            if index - start > best[1] - best[0]:
                best = (start, index)
            start = index
    return best
