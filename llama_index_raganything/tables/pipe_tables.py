"""Markdown pipe tables in text: found, read and written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_RULE = re.compile(r"\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?")

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PipeTable:
    """A pipe table in a text.

    Attributes:
        header: Its header cells.
        rows: Its body rows; they may differ in length.
        before: Text above it, back to the table before.
        after: Text below it; only the last table of a text has any.
    """

    header: Row
    rows: tuple[Row, ...]
    before: str = ""
    after: str = ""


def pipe_tables(text: str) -> list[PipeTable]:
    """Return the tables in a text, in order; a rule such as ``| --- | --- |`` below the header makes one."""
    lines = [line.strip() for line in text.splitlines()]
    rules = [number for number in range(1, len(lines)) if is_rule(lines[number]) and "|" in lines[number - 1]]
    tables: list[PipeTable] = []
    end = 0
    for number in rules:
        if number - 1 < end:
            continue
        stop = number + 1
        bar = lines[number - 1][:1] == "|"
        while stop < len(lines) and (lines[stop].startswith("|") if bar else "|" in lines[stop]):
            stop += 1
        rows = tuple(pipe_cells(line) for line in lines[number + 1 : stop])
        before = "\n".join(lines[end : number - 1]).strip()
        tables.append(PipeTable(pipe_cells(lines[number - 1]), rows, before))
        end = stop
    if tables:
        last = tables[-1]
        tables[-1] = PipeTable(last.header, last.rows, last.before, "\n".join(lines[end:]).strip())
    return tables


def split_rows(text: str) -> tuple[list[str], list[list[str]]] | None:
    """Return the header and the body rows of the first table in a text; None where there is none."""
    lines = [line.strip() for line in text.splitlines()]
    for start, end in table_spans(lines):
        return list(pipe_cells(lines[start])), [list(pipe_cells(row)) for row in lines[start + 2 : end]]
    return None


def table_spans(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield start and end, in lines, of each table whose lines begin with a pipe; the header is first."""
    end = 0
    for start in range(len(lines) - 1):
        if start >= end and lines[start].startswith("|") and is_rule(lines[start + 1]):
            end = next((place for place in range(start, len(lines)) if not lines[place].startswith("|")), len(lines))
            yield start, end


def join_table_parts(texts: Sequence[str]) -> str:
    """Join the texts of a table's parts, which repeat caption, header and notes.

    Returns:
        The table with all rows, and with caption, header and notes once. Texts that are not parts of one table follow
        each other, each once.
    """
    if len(texts) < 2:
        return "".join(texts)
    lines = [text.split("\n") for text in texts]
    start, _ = next(table_spans(lines[0]), (None, 0))
    head = [] if start is None else lines[0][: start + 2]
    if not head or any(each[: len(head)] != head for each in lines):
        return "\n\n".join(dict.fromkeys(texts))
    ends = [next(table_spans(each))[1] for each in lines]
    rows = [row for each, end in zip(lines, ends, strict=True) for row in each[len(head) : end]]
    notes = dict.fromkeys(line for each, end in zip(lines, ends, strict=True) for line in each[end:] if line.strip())
    return "\n".join([*head, *rows, *(["", *notes] if notes else [])])


def begins_with_table(text: str) -> bool:
    """Return whether the first line of a text is the header of a table; one dash is a rule here."""
    header, _, below = text.lstrip().partition("\n")
    rule = below.strip().partition("\n")[0].rstrip()
    return header.startswith("|") and rule.startswith("|") and "-" in rule and not rule.strip("|-: \t")


def is_rule(line: str) -> bool:
    """Return whether a line is the rule below the header of a table, such as ``| --- | --- |``.

    A rule has three dashes: a row of single ones is a row without values.
    """
    return "|" in line and "---" in line and not line.strip("|-: ") and _RULE.fullmatch(line) is not None


def pipe_cells(line: str) -> Row:
    r"""Return the stripped cells of a row such as ``| North | 4.2 |``; ``\|`` is a pipe inside a cell."""
    inner = line.strip().removeprefix("|")
    if inner.endswith("|") and not inner.endswith("\\|"):
        inner = inner[:-1]
    return tuple(cell.replace("\x00", "|").strip() for cell in inner.replace("\\|", "\x00").split("|"))


def pipe_row(cells: Sequence[str], width: int = 0) -> str:
    """Return cells as one line of a table, their blanks collapsed and pipes escaped.

    Args:
        width: Number of columns; missing cells are blank.
    """
    written = [" ".join(cell.split()).replace("|", "\\|") for cell in cells]
    return "| " + " | ".join([*written, *[""] * (width - len(written))]) + " |"


def pipe_rule(width: int) -> str:
    """Return the rule below the header of a table with ``width`` columns."""
    return "|" + " --- |" * width
