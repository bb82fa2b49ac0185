"""The reader of office files, web pages and books: docvortex, joined with what it leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from llama_index_raganything.elements import Element
from llama_index_raganything.errors import CorruptFileError
from llama_index_raganything.readers.assets import AssetStore
from llama_index_raganything.readers.base import ParsedFile, ParseOptions
from llama_index_raganything.readers.containers import check_container
from llama_index_raganything.readers.delimited import parse_delimited
from llama_index_raganything.readers.docvortex import parse_with_docvortex
from llama_index_raganything.readers.markdown import first_heading

DELIMITED_SUFFIXES: Final = frozenset({".csv", ".tsv"})


def parse_office(path: Path, options: ParseOptions, assets: AssetStore) -> ParsedFile:
    """Read an office file, a web page, a book or a delimited table.

    Args:
        path: An existing local file; its suffix must fit its content.
        options: ``profile="fast"`` stores no images.
        assets: Where embedded images go.

    Returns:
        The elements. Slides and sheets are pages, each with a ``page`` element; other formats have none.

    Raises:
        CorruptFileError: The file is empty or damaged.
        EncryptedFileError: The file needs a password.
        FileTooLargeError: The file is, or unpacks to, too much.
        UnsupportedFormatError: No embedded parser reads it.
    """
    check_container(path)
    if path.suffix.lower() in DELIMITED_SUFFIXES:
        return ParsedFile(elements=parse_delimited(path), parser="csv 1")
    parsed = parse_with_docvortex(path, options, assets)
    if not parsed.elements:
        message = f"{path.name!r} is empty: it holds no text, table or image."
        raise CorruptFileError(message, str(path))
    parsed.elements = add_pages(parsed.elements)
    parsed.title = parsed.title or first_heading(parsed.elements)
    return parsed


def add_pages(elements: list[Element]) -> list[Element]:
    """Put a ``page`` element with a page's whole text before the elements of each page.

    Args:
        elements: Elements in reading order, those of a page together.

    Returns:
        The elements with their pages; unchanged where no element has a page.
    """
    pages: dict[int, list[Element]] = {}
    for element in elements:
        if element.page is not None:
            pages.setdefault(element.page, []).append(element)
    placed: set[int] = set()
    result: list[Element] = []
    for element in elements:
        if element.page is not None and element.page not in placed:
            placed.add(element.page)
            result.append(_page(element.page, pages[element.page]))
        result.append(element)
    return result


def _page(number: int, elements: list[Element]) -> Element:
    parts = (part for e in elements for part in (e.caption, e.text, e.footnote))
    label = next((e.page_label for e in elements if e.page_label), None)
    return Element(type="page", text="\n".join(part for part in parts if part), page=number, page_label=label)
