"""Tables as Markdown, cut by rows with their header repeated, and joined again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from llama_index_raganything.elements import Element
from llama_index_raganything.tables.read import is_rule, pipe_cells

Cells = list[str]


def split_rows(text: str) -> tuple[Cells, list[Cells]] | None:
    """Return the header and the body of a table element's readable text.

    Args:
        text: A text with a Markdown pipe table in it.

    Returns:
        Header cells and body rows, or None when the text holds no pipe table.
    """
    lines = [line.strip() for line in text.splitlines()]
    for number, line in enumerate(lines[1:], start=1):
        if is_rule(line) and lines[number - 1].startswith("|"):
            body = [list(pipe_cells(row)) for row in _leading_rows(lines[number + 1 :])]
            return list(pipe_cells(lines[number - 1])), body
    return None


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
    head = f"{_render_row(header, width)}\n{'|' + ' --- |' * width}"
    rows = [_render_row(row, width) for row in body]
    return list(pack_lines(rows, head, budget, count)) or [head]


def table_cells(element: Element) -> tuple[Cells, list[Cells]]:
    """Return one header row and the body rows of a table element.

    Several header rows are joined column by column, because a Markdown table has one.

    Returns:
        Header cells (empty when the table has none) and body rows.
    """
    if not element.rows:
        parsed = split_rows(element.text)
        return parsed if parsed is not None else ([], [])
    rows = [[_clean(cell) for cell in row] for row in element.rows]
    count = min(max(0, element.header_rows), len(rows))
    width = max(len(row) for row in rows)
    header = [_join_header(row[column] for row in rows[:count] if column < len(row)) for column in range(width)]
    body = [row for row in rows[count:] if any(row)]
    return header, body


def join_table_parts(texts: Sequence[str]) -> str:
    """Join the texts of a table's parts, which repeat caption, header and notes, into one.

    Args:
        texts: Texts in order.

    Returns:
        The text of the table with all rows, and with caption, header and notes once.
    """
    if len(texts) < 2:
        return "".join(texts)
    lines = [text.split("\n") for text in texts]
    rule = next((place for place, line in enumerate(lines[0]) if place and is_rule(line)), None)
    head = [] if rule is None else lines[0][: rule + 1]
    if not head or any(each[: len(head)] != head for each in lines):
        return "\n\n".join(dict.fromkeys(texts))
    ends = [len(head) + len(list(_leading_rows(each[len(head) :]))) for each in lines]
    rows = [row for each, end in zip(lines, ends, strict=True) for row in each[len(head) : end]]
    notes = dict.fromkeys(line for each, end in zip(lines, ends, strict=True) for line in each[end:] if line.strip())
    return "\n".join([*head, *rows, *(["", *notes] if notes else [])])


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


def _leading_rows(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("|"):
            return
        yield line


def _join_header(cells: Iterable[str]) -> str:
    return " ".join(dict.fromkeys(cell for cell in cells if cell))


def _clean(cell: str) -> str:
    return " ".join(cell.split())


def _render_row(cells: Sequence[str], width: int) -> str:
    padded = [*cells, *[""] * (width - len(cells))]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in padded) + " |"
