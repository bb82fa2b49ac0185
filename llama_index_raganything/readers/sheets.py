"""What all spreadsheets share: sheets are pages labelled by their name; a title above a table is its caption."""

from __future__ import annotations

from llama_index_raganything.elements import Element, label_of
from llama_index_raganything.readers.tables import rows_to_html, rows_to_markdown

Rows = list[list[str]]


def name_sheet(elements: list[Element], name: str, number: int) -> list[Element]:
    """Label a sheet's elements with its name and put the name before them as a heading.

    Args:
        elements: Elements of one sheet.
        name: Name of the sheet.
        number: Its position, from 1.

    Returns:
        The elements; an empty sheet stays empty.
    """
    name = " ".join(name.split())
    if not elements or not name:
        return elements
    labelled = [element.model_copy(update={"page_label": name}) for element in elements]
    if any(element.type == "heading" and element.text == name for element in labelled):
        return labelled
    return [Element(type="heading", text=name, level=2, page=number, page_label=name), *labelled]


def lift_title(element: Element) -> Element:
    """Make the title rows above a table its caption, so that its header row is the first row again.

    A title row has one filled cell, or the same text in all because it was merged, and a wider row below it.

    Args:
        element: Any element; all but tables are returned as they are.

    Returns:
        The table with its caption, or the element itself.
    """
    if element.type != "table" or not element.rows or element.caption:
        return element
    title, rows = split_title(element.rows)
    if not title:
        return element
    update = {
        "caption": title,
        "label": label_of(title),
        "rows": rows,
        "header_rows": 1,
        "text": rows_to_markdown(rows, 1),
        "html": rows_to_html(rows, 1),
    }
    return element.model_copy(update=update)


def split_title(rows: Rows) -> tuple[str, Rows]:
    """Split the title rows off the top of a table.

    Args:
        rows: All rows of a region of cells.

    Returns:
        The title, empty when there is none, and the remaining rows.
    """
    parts: list[str] = []
    start = 0
    for start, row in enumerate(rows):  # noqa: B007 - the index is needed after the loop.
        filled = {cell for cell in row if cell.strip()}
        if len(filled) > 1:
            break
        parts.extend(filled)
    rest = rows[start:]
    # Two rows at least: a header and a row of values. Otherwise the single cells are data.
    if not parts or len(rest) < 2 or start > _MAX_TITLE_ROWS or len(rows[0]) < 2:
        return "", rows
    return " ".join(parts), rest


_MAX_TITLE_ROWS = 4
