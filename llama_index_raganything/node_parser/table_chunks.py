"""Tables as Markdown, cut by rows with their header repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from llama_index_raganything.elements import Element
from llama_index_raganything.tables.pipe_tables import pipe_row, pipe_rule, split_rows

Cells = list[str]


def table_texts(element: Element, budget: int, count: Callable[[str], int]) -> list[str]:
    """Render a table as one text, or as several when it is over the budget.

    Args:
        budget: Tokens per text.
        count: Counts the tokens of a text.

    Returns:
        Markdown tables, each with the header; the element's own text when it has no cells.
    """
    header, body = table_cells(element)
    if not header and not body:
        text = element.text.strip()
        return list(pack_lines(text.splitlines(), "", budget, count)) if text else []
    width = max(len(row) for row in [header, *body])
    head = f"{pipe_row(header, width)}\n{pipe_rule(width)}"
    rows = [pipe_row(row, width) for row in body]
    return list(pack_lines(rows, head, budget, count)) or [head]


def table_cells(element: Element) -> tuple[Cells, list[Cells]]:
    """Return one header row and the body rows of a table element.

    Several header rows are joined column by column, because a Markdown table has one.

    Returns:
        Header cells (empty when the table has none) and body rows.
    """
    if not element.rows:
        return split_rows(element.text) or ([], [])
    rows = [[_clean(cell) for cell in row] for row in element.rows]
    count = min(max(0, element.header_rows), len(rows))
    width = max(len(row) for row in rows)
    header = [_join_header(row[column] for row in rows[:count] if column < len(row)) for column in range(width)]
    body = [row for row in rows[count:] if any(row)]
    return header, body


def pack_lines(lines: Iterable[str], head: str, budget: int, count: Callable[[str], int]) -> Iterator[str]:
    """Pack lines into texts up to a budget, each beginning with the same head.

    Args:
        lines: Lines in order.
        head: Text before the lines of every part; may be empty.
        budget: Tokens per text.
        count: Counts the tokens of a text.

    Yields:
        Texts; a single line over the budget is a text of its own.
    """
    head_size = count(head) if head else 0
    # A header wider than the budget must not cost one part per row.
    room = max(budget - head_size, budget // 2)
    part: list[str] = []
    used = 0
    for line in lines:
        size = count(line)
        if part and used + size > room:
            yield "\n".join([head, *part] if head else part)
            part, used = [], 0
        part.append(line)
        used += size
    if part:
        yield "\n".join([head, *part] if head else part)


def _join_header(cells: Iterable[str]) -> str:
    return " ".join(dict.fromkeys(cell for cell in cells if cell))


def _clean(cell: str) -> str:
    return " ".join(cell.split())
