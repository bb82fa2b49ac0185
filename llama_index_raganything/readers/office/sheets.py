"""What all spreadsheets share: a sheet is a page whose label is its name; a title above a table is its caption."""

from __future__ import annotations

import re
from typing import Final

from llama_index_raganything.elements import Element, label_of
from llama_index_raganything.readers.common.html_tables import rows_to_html, rows_to_markdown

Rows = list[list[str]]

# A date without a time is stored as its midnight.
_MIDNIGHT = re.compile(r"(?<=\d{4}-\d\d-\d\d)[ T]00:00:00$")
_MAX_TITLE_LENGTH: Final = 120
_MAX_TITLE_ROWS: Final = 4


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


def tidy_sheet_table(element: Element) -> Element:
    """Make a region of cells a proper table: no blank rows and columns, its title as caption, words alone as text.

    A title row has one filled cell, or the same text in all because it was merged, and a wider row below it.

    Args:
        element: Any element; all but tables are returned as they are.

    Returns:
        The tidied table, a text when the region says one thing only, or the element itself.
    """
    if element.type != "table" or not element.rows:
        return element
    rows = _without_blanks(element.rows)
    values = {cell for row in rows for cell in row if cell}
    if len(values) == 1 and not element.caption:
        return Element(type="text", text=values.pop(), page=element.page, page_label=element.page_label)
    title, rows = ("", rows) if element.caption else split_title(rows)
    if rows == element.rows:
        return element
    header_rows = 1 if title else min(element.header_rows, len(rows))
    update = {
        "rows": rows,
        "header_rows": header_rows,
        "text": rows_to_markdown(rows, header_rows),
        "html": rows_to_html(rows, header_rows),
    }
    if title:
        update |= {"caption": title, "label": label_of(title)}
    return element.model_copy(update=update)


def _without_blanks(rows: Rows) -> Rows:
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    width = max(map(len, filled), default=0)
    kept = [index for index in range(width) if any(index < len(row) and row[index].strip() for row in filled)]
    return [[_MIDNIGHT.sub("", row[index]) if index < len(row) else "" for index in kept] for row in filled]


def caption_tables(elements: list[Element]) -> list[Element]:
    """Make a short text on its own right above a table the table's caption.

    Args:
        elements: Elements of a workbook, tables tidied.

    Returns:
        The elements without the texts that became captions.
    """
    result: list[Element] = []
    for element in elements:
        above = result[-1] if result else None
        if element.type == "table" and not element.caption and above is not None and _is_title(above, element):
            caption = above.text
            result[-1] = element.model_copy(update={"caption": caption, "label": label_of(caption)})
        else:
            result.append(element)
    return result


def _is_title(above: Element, table: Element) -> bool:
    lone = above.type == "text" and above.subtype is None and above.page == table.page
    return lone and len(above.text) <= _MAX_TITLE_LENGTH


def split_title(rows: Rows) -> tuple[str, Rows]:
    """Split the title rows off the top of a table.

    Args:
        rows: All rows of a region of cells.

    Returns:
        The title, empty when there is none, and the remaining rows.
    """
    parts: list[str] = []
    start = 0
    for row in rows:
        filled = {cell for cell in row if cell.strip()}
        if len(filled) > 1:
            break
        start += 1
        parts.extend(filled)
    rest = rows[start:]
    # Two rows at least: a header and a row of values. Otherwise the single cells are data.
    if not parts or len(rest) < 2 or start > _MAX_TITLE_ROWS or len(rows[0]) < 2:
        return "", rows
    return " ".join(parts), rest
