"""The tables of a page of an open file as elements."""

from __future__ import annotations

import re
from typing import Any, Final

from llama_index_raganything.elements import Element, label_of
from llama_index_raganything.readers.common.html_tables import rows_to_markdown
from llama_index_raganything.readers.pdf.text import PageText
from llama_index_raganything.readers.pdf.unruled_tables.finder import MIN_SHORT_FIGURES, find_tables
from llama_index_raganything.readers.pdf.unruled_tables.merge import COLUMNS
from llama_index_raganything.readers.pdf.unruled_tables.words import read_glyphs

_NUMBER: Final = re.compile(r"\d[\d.,]*")


def page_tables(document: Any, page: PageText, page_count: int) -> list[Element]:
    """Find the tables of one page by the columns that their figures stand in.

    Args:
        document: An open ``pypdfium2.PdfDocument``.
        page: The page's text layer; a page with hardly any number is not looked at again.

    Returns:
        Elements of type ``table`` and subtype ``columns`` with cells, box and, as caption, title and unit;
        lists of contents left out.
    """
    if page.garbled or page.right_to_left or not _has_numbers(page.text):
        return []
    read = read_glyphs(document, page.index)
    if read is None:
        return []
    return [
        Element(
            type="table",
            subtype=COLUMNS,
            text=rows_to_markdown(table.rows, table.header_rows),
            rows=table.rows,
            header_rows=table.header_rows,
            page=page.index + 1,
            bbox=read.frame.box(table.x0, table.y0, table.x1, table.y1),
            caption=table.title,
            label=label_of(table.title),
        )
        for table in find_tables(read.glyphs, page_count)
        if not table.contents
    ]


def _has_numbers(text: str) -> bool:
    numbers = _NUMBER.finditer(text)
    return sum(1 for _, _ in zip(range(MIN_SHORT_FIGURES), numbers, strict=False)) == MIN_SHORT_FIGURES
