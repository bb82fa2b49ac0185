"""The loosely typed values of content lists: words, numbers, boxes and tables in all their forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index_raganything.elements import Box
from llama_index_raganything.readers.common.html_tables import html_table_rows, rows_to_markdown


def first_words(item: Mapping[str, Any], *keys: str) -> str:
    """Return the first value among some keys that has words.

    Args:
        item: An item of a content list.
        *keys: Keys to try, in order.

    Returns:
        The words, or an empty string.
    """
    return next((text for key in keys if (text := text_of(item.get(key)))), "")


def text_of(value: Any) -> str:
    """Return the words of a string, number, list or dictionary, joined by blanks.

    Args:
        value: Any JSON value.

    Returns:
        The words; empty for None.
    """
    return " ".join(flat_words(value))


def flat_words(value: Any, depth: int = 0) -> list[str]:
    """Return the strings inside a JSON value, however deep.

    Args:
        value: Any JSON value; dictionaries give their ``text``, ``content`` or ``list_items``.
        depth: How deep the value lies already; below 20 nothing is looked for.

    Returns:
        Non-empty strings without surrounding blanks.
    """
    if value is None or depth > 20:
        return []
    if isinstance(value, list | tuple):
        return [part for entry in value for part in flat_words(entry, depth + 1)]
    if isinstance(value, Mapping):
        return flat_words(value.get("text") or value.get("content") or value.get("list_items"), depth + 1)
    text = str(value).strip()
    return [text] if text else []


def strip_math(text: str) -> str:
    """Return LaTeX without the marks that delimit it.

    Args:
        text: LaTeX, possibly inside ``$``, ``$$`` or brackets.

    Returns:
        The formula.
    """
    for mark in ("$$", "$"):
        if len(text) >= 2 * len(mark) and text.startswith(mark) and text.endswith(mark):
            return text[len(mark) : -len(mark)].strip()
    if text.startswith("\\[") and text.endswith("\\]"):
        return text[2:-2].strip()
    return text


def integer_of(value: Any) -> int | None:
    """Return an integer given as a number or as digits.

    Args:
        value: Any JSON value.

    Returns:
        The integer, or None.
    """
    if isinstance(value, str) and len(value) < 20 and value.strip().isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def page_of(value: Any) -> int | None:
    """Return the 1-based page of a 0-based ``page_idx``.

    Args:
        value: Any JSON value.

    Returns:
        The page, or None.
    """
    number = integer_of(value)
    return number + 1 if number is not None and 0 <= number < 10_000_000 else None


def box_of(value: Any) -> Box | None:
    """Return a box in thousandths of the page.

    Args:
        value: Four numbers in thousandths, or in fractions as in MinerU's own JSON.

    Returns:
        The box, or None when it is in another unit or no box.
    """
    if not isinstance(value, list | tuple) or len(value) != 4:
        return None
    if not all(isinstance(edge, int | float) and not isinstance(edge, bool) for edge in value):
        return None
    # Thousandths of the page are the rule; fractions come from MinerU's own JSON. Other units are unknown.
    scale = 1000 if max(value) <= 1 and any(isinstance(edge, float) for edge in value) else 1
    edges = [edge * scale for edge in value]
    if not all(-1 <= edge <= 1001 for edge in edges):
        return None
    x0, y0, x1, y1 = (round(edge) for edge in edges)
    return (x0, y0, x1, y1)


def table_fields(body: Any) -> dict[str, Any]:
    """Return the element fields of a table, whatever form its body has.

    Args:
        body: HTML, a Markdown table, rows, records, or Docling's ``TableData``.

    Returns:
        ``text``, and where the form is known ``rows``, ``header_rows`` and ``html``.
    """
    if isinstance(body, Mapping):
        rows, header_rows, html = *_docling_rows(body), None
    elif isinstance(body, list | tuple):
        rows, header_rows, html = *_listed_rows(body), None
    elif "<t" in (text := str(body)):
        rows, header_rows = html_table_rows(text)
        html = text
    else:
        rows, header_rows, html = *_markdown_rows(text), None
    if not rows:
        return {"text": text_of(body), "html": html}
    # Most parsers mark no header, and most tables have one.
    header_rows = min(header_rows or 1, len(rows))
    return {"rows": rows, "header_rows": header_rows, "html": html, "text": rows_to_markdown(rows, header_rows)}


def _docling_rows(data: Mapping[str, Any]) -> tuple[list[list[str]], int]:
    """Lay out Docling's ``TableData``: cells with offsets, spans expanded."""
    cells = data.get("table_cells")
    if not isinstance(cells, list):
        return _listed_rows(data.get("grid") or data.get("rows") or [])
    grid: dict[tuple[int, int], str] = {}
    header_rows: set[int] = set()
    for cell in cells:
        if not isinstance(cell, Mapping):
            continue
        top, bottom = _span(cell, "start_row_offset_idx", "end_row_offset_idx")
        left, right = _span(cell, "start_col_offset_idx", "end_col_offset_idx")
        if cell.get("column_header"):
            header_rows.update(range(top, bottom))
        for row in range(top, bottom):
            grid.update({(row, column): text_of(cell.get("text")) for column in range(left, right)})
    height = max((row for row, _ in grid), default=-1) + 1
    width = max((column for _, column in grid), default=-1) + 1
    rows = [[grid.get((row, column), "") for column in range(width)] for row in range(height)]
    leading = next((index for index in range(height) if index not in header_rows), height)
    return rows, leading


def _span(cell: Mapping[str, Any], start_key: str, end_key: str) -> tuple[int, int]:
    """Return a cell's first and past-the-end index, kept within limits that hostile input would break."""
    first = min(max(integer_of(cell.get(start_key)) or 0, 0), 10_000)
    last = integer_of(cell.get(end_key)) or first + 1
    return first, min(max(last, first + 1), first + 100)


def _listed_rows(body: Sequence[Any]) -> tuple[list[list[str]], int]:
    if body and all(isinstance(row, Mapping) for row in body):
        header = list(dict.fromkeys(str(key) for row in body for key in row))
        return [header, *([text_of(row.get(key)) for key in header] for row in body)], 1
    rows = [[text_of(cell) for cell in row] if isinstance(row, list | tuple) else [text_of(row)] for row in body]
    width = max((len(row) for row in rows), default=0)
    return [row + [""] * (width - len(row)) for row in rows], 0


def _markdown_rows(text: str) -> tuple[list[list[str]], int]:
    lines = [line.strip() for line in text.strip().splitlines()]
    if len(lines) < 2 or not lines[0].startswith("|") or set(lines[1]) - set("|-: "):
        return [], 0
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return _listed_rows([rows[0], *rows[2:]])[0], 1
