"""Tables between their three forms: HTML, rows of strings, and Markdown.

Spans are expanded as the HTML standard forms a table
(https://html.spec.whatwg.org/multipage/tables.html#forming-a-table), with its limits on spans and
a limit on the whole, because files state spans of a billion columns.
"""

from __future__ import annotations

import html as html_module
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from lxml import etree
from lxml import html as lxml_html

from llama_index_raganything.tables.pipe_tables import pipe_row, pipe_rule

MAX_COLUMNS: Final = 1000
"""Columns kept of one table; also the largest ``colspan``, as in the HTML standard."""

MAX_CELLS: Final = 2_000_000
"""Cells kept of one table, spans expanded; later rows are dropped."""

SKIPPED_TAGS: Final = frozenset({"script", "style", "template", "noscript"})
"""HTML tags whose content is not shown."""

_BLOCK_TAG_NAMES: Final = (
    "address article blockquote br caption center dd div dl dt figcaption figure footer form h1 h2 h3 h4 h5 h6 header "
    "hr li main menu nav ol p pre section table tbody td tfoot th thead tr ul"
)
BLOCK_TAGS: Final = frozenset(_BLOCK_TAG_NAMES.split())
"""HTML tags that start a new line."""

_MAX_FRAMES: Final = 5
_LEADING_INTEGER = re.compile(r"\s*\+?(\d{1,9})")

Rows = list[list[str]]


def html_table_rows(html: str) -> tuple[Rows, int]:
    """Read the first table of an HTML fragment.

    Row and column spans are expanded by copying the cell's text. Columns in which no cell starts are dropped.
    A nested table, a list or another rich cell becomes its text; a table whose only cell is a table is that table.

    Args:
        html: HTML with a table, possibly broken.

    Returns:
        The rows, all of the same length, and how many of them, from the top, are header rows (``thead``, or
        rows of ``th`` only). No rows when there is no table.
    """
    table = _unwrapped(_first_table(html))
    if table is None:
        return [], 0
    rows = list(_own_rows(table))
    grid, starts = _expand([row for row, _ in rows])
    kept = sorted(starts)
    filled = [[line.get(column, "") for column in kept] for line in grid]
    headers = 0
    for row, in_head in rows[: len(filled)]:
        cells = _cells(row)
        if not (in_head or (cells and all(cell.tag == "th" for cell in cells))):
            break
        headers += 1
    return filled, headers


def rows_to_markdown(rows: Sequence[Sequence[str]], header_rows: int = 1) -> str:
    """Render rows as a pipe table.

    Several header rows are joined into one, since Markdown tables have only one; a table without a header
    row gets an empty one.

    Args:
        rows: Cells, first the header rows; shorter rows are filled up.
        header_rows: How many of ``rows`` are header rows.

    Returns:
        The table, or an empty string for no rows.
    """
    width = max((len(row) for row in rows), default=0)
    if not width:
        return ""
    header_rows = min(max(header_rows, 0), len(rows))
    header = _joined_header(rows[:header_rows], width)
    lines = [pipe_row(header, width), pipe_rule(width)]
    lines.extend(pipe_row(row, width) for row in rows[header_rows:])
    return "\n".join(lines)


def rows_to_html(rows: Sequence[Sequence[str]], header_rows: int = 1) -> str:
    """Render rows as an HTML table, cells escaped.

    Args:
        rows: Cells, first the header rows.
        header_rows: How many of ``rows`` become ``th`` rows in a ``thead``.

    Returns:
        The table, or an empty string for no rows.
    """
    if not rows:
        return ""
    header_rows = min(max(header_rows, 0), len(rows))
    head = "".join(_html_line(row, "th") for row in rows[:header_rows])
    body = "".join(_html_line(row, "td") for row in rows[header_rows:])
    return f"<table>{f'<thead>{head}</thead>' if head else ''}{f'<tbody>{body}</tbody>' if body else ''}</table>"


def parse_html_fragment(html: str) -> Any:
    """Parse HTML leniently, without reading anything but the string.

    Args:
        html: HTML, possibly broken, a fragment or a whole page.

    Returns:
        The lxml root element, or None when there is nothing to parse.
    """
    # NUL and lone surrogates stop libxml2; declared encodings are wrong once the text is decoded.
    cleaned = html.replace("\x00", "").encode("utf-8", "replace")
    parser = lxml_html.HTMLParser(encoding="utf-8", huge_tree=True, no_network=True, remove_comments=True)
    try:
        return lxml_html.document_fromstring(cleaned, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError):
        return None


def element_text(element: Any) -> str:
    """Return the readable text of an lxml element, white space collapsed.

    Args:
        element: An lxml element; image alt texts count, scripts and styles do not.

    Returns:
        One line of text.
    """
    return " ".join("".join(_text_parts(element)).split())


def _text_parts(element: Any) -> Iterator[str]:
    """Walk an element without recursion, because hostile files nest thousands deep."""
    skipping: Any = None
    for event, node in etree.iterwalk(element, events=("start", "end")):
        tag = node.tag if isinstance(node.tag, str) else ""
        if event == "start":
            if skipping is None and tag in SKIPPED_TAGS:
                skipping = node
            if skipping is None:
                yield from _opening(node, tag)
            continue
        if skipping is node:
            skipping = None
        if skipping is None:
            yield " " if tag in BLOCK_TAGS else ""
            yield (node.tail or "") if node is not element else ""


def _opening(node: Any, tag: str) -> Iterator[str]:
    if tag in BLOCK_TAGS:
        yield " "
    if tag == "img" and node.get("alt"):
        yield f" {node.get('alt')} "
    if tag:
        yield node.text or ""


def _first_table(html: str) -> Any:
    root = parse_html_fragment(html)
    if root is None:
        return None
    table = next(root.iter("table"), None)
    # Rows without their table element are common in fragments cut from pages.
    return table if table is not None else (root if next(root.iter("tr"), None) is not None else None)


def _unwrapped(table: Any) -> Any:
    """Step into tables that only frame another one."""
    for _ in range(_MAX_FRAMES):
        if table is None:
            break
        cells = [cell for row, _ in _own_rows(table) for cell in _cells(row)]
        inner = next(cells[0].iter("table"), None) if len(cells) == 1 else None
        if inner is None or element_text(inner) != element_text(cells[0]):
            return table
        table = inner
    return table


def _own_rows(table: Any) -> Iterator[tuple[Any, bool]]:
    """Yield the table's own rows, not those of nested tables, and whether they are in its head."""
    for row in table.iter("tr"):
        in_head = False
        for ancestor in row.iterancestors():
            if ancestor is table:
                yield row, in_head
                break
            if ancestor.tag in {"table", "td", "th"}:
                break
            in_head = in_head or ancestor.tag == "thead"


def _cells(row: Any) -> list[Any]:
    return [child for child in row if child.tag in {"td", "th"}]


def _expand(rows: list[Any]) -> tuple[list[dict[int, str]], set[int]]:
    """Place cells on a grid; return one mapping from column to text per row, and the columns where cells start."""
    grid: list[dict[int, str]] = []
    starts: set[int] = set()
    spanning: dict[int, tuple[str, int]] = {}
    total = 0
    for row in rows:
        line = {column: text for column, (text, _) in spanning.items()}
        below = {column: (text, left - 1) for column, (text, left) in spanning.items() if left > 1}
        column = 0
        for cell in _cells(row):
            while column in line:
                column += 1
            if column >= MAX_COLUMNS:
                break
            starts.add(column)
            text = element_text(cell)
            height = _span(cell, "rowspan", len(rows))
            for _ in range(min(_span(cell, "colspan", MAX_COLUMNS), MAX_COLUMNS - column)):
                if column in line:
                    break
                line[column] = text
                if height > 1:
                    below[column] = (text, height - 1)
                column += 1
        spanning = below
        grid.append(line)
        total += len(line)
        if total >= MAX_CELLS:
            break
    return grid, starts


def _span(cell: Any, name: str, limit: int) -> int:
    match = _LEADING_INTEGER.match(cell.get(name) or "")
    stated = int(match[1]) if match else 1
    if name == "rowspan" and match and stated == 0:
        return limit  # rowspan=0 means down to the end of the row group.
    return max(1, min(stated, limit))


def _joined_header(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    columns = ([row[index] for row in rows if index < len(row) and row[index].strip()] for index in range(width))
    return [" / ".join(dict.fromkeys(column)) for column in columns]


def _html_line(row: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html_module.escape(cell, quote=False)}</{tag}>" for cell in row) + "</tr>"
