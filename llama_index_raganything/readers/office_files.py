"""The parser of office files, web pages, books and delimited tables: docvortex, completed with what it leaves out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from llama_index_raganything.elements import Element
from llama_index_raganything.errors import CorruptFileError
from llama_index_raganything.readers.common.base import AssetStore, ParsedFile, ParseOptions, add_pages
from llama_index_raganything.readers.engines.docvortex import docvortex_version, parse_with_docvortex
from llama_index_raganything.readers.mail.email import parse_mhtml
from llama_index_raganything.readers.office.containers import check_container
from llama_index_raganything.readers.office.docx import repair_docx
from llama_index_raganything.readers.office.epub import repair_epub
from llama_index_raganything.readers.office.number_formats import workbook_as_shown
from llama_index_raganything.readers.office.odf import repair_odp, repair_ods, repair_odt
from llama_index_raganything.readers.office.pptx import repair_pptx
from llama_index_raganything.readers.office.sheets import caption_tables, tidy_sheet_table
from llama_index_raganything.readers.office.xlsx import is_large, parse_large_workbook, repair_xlsx
from llama_index_raganything.readers.sources.formats import SPREADSHEET_SUFFIXES, XLSX_SUFFIXES
from llama_index_raganything.readers.text.delimited import parse_delimited
from llama_index_raganything.readers.web.html import first_heading, parse_html

_Parser = Callable[[Path, ParseOptions, AssetStore], ParsedFile]


# What programs write into the title property by themselves.
_EMPTY_TITLE = re.compile(
    r"(?:microsoft )?(?:word|excel|powerpoint)?[ -]*(?:untitled|presentation|document|workbook|book|slide)?\s*\d*"
    r"|无标题|演示文稿\s*\d*|文档\s*\d*",
    re.IGNORECASE,
)


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
    parsed = _parsed(path, options, assets)
    parsed.elements = _repaired(path, parsed, assets if options.profile == "standard" else None)
    parsed.elements = _tidied(parsed.elements, path.suffix.lower())
    if not parsed.elements:
        message = f"{path.name!r} is empty: it holds no text, table or image."
        raise CorruptFileError(message, str(path))
    parsed.elements = add_pages(parsed.elements)
    parsed.title = _title(parsed, path.suffix.lower())
    return parsed


def _parsed(path: Path, options: ParseOptions, assets: AssetStore) -> ParsedFile:
    suffix = path.suffix.lower()
    if suffix in _PARSERS:
        return _PARSERS[suffix](path, options, assets)
    try:
        if suffix not in XLSX_SUFFIXES:
            return parse_with_docvortex(path, options, assets)
        if is_large(path):
            return parse_large_workbook(path)
        return parse_with_docvortex(path, options, assets, workbook_as_shown(path))
    except CorruptFileError as error:
        # The text alone can often be read where one damaged part stops docvortex.
        bare = ParsedFile(elements=[], parser=docvortex_version())
        bare.elements = _repaired(path, bare, None)
        if not any(element.text for element in bare.elements if element.type != "furniture"):
            raise
        bare.warnings.append(f"{path.name!r} is damaged; its text was read without its structure ({error}).")
        return bare


def _repaired(path: Path, parsed: ParsedFile, assets: AssetStore | None) -> list[Element]:
    repair = _REPAIRS.get(path.suffix.lower())
    if repair is None:
        return parsed.elements
    try:
        return repair(path, parsed.elements, assets)
    # A damaged part that docvortex skipped must not cost the document; what is there is returned.
    except Exception as error:  # noqa: BLE001
        parsed.warnings.append(
            f"{path.name!r} was read without its comments and notes ({type(error).__name__}: {error})."
        )
        return parsed.elements


def _title(parsed: ParsedFile, suffix: str) -> str | None:
    stated = " ".join((parsed.title or "").split())
    if stated and not _EMPTY_TITLE.fullmatch(stated):
        return stated
    # A sheet's name is no title of its workbook.
    return None if suffix in SPREADSHEET_SUFFIXES else first_heading(parsed.elements)


def _tidied(elements: list[Element], suffix: str) -> list[Element]:
    if suffix in SPREADSHEET_SUFFIXES:
        return caption_tables([tidy_sheet_table(element) for element in elements])
    return [_unframed(element) for element in elements]


def _unframed(element: Element) -> Element:
    """Make a table of one cell, which is a frame around a text, that text."""
    if element.type != "table" or not element.rows or not len(element.rows) == len(element.rows[0]) == 1:
        return element
    update = {"type": "text", "text": element.rows[0][0], "rows": None, "html": None, "header_rows": 1}
    return element.model_copy(update=update)


def _delimited(path: Path, _options: ParseOptions, _assets: AssetStore) -> ParsedFile:
    return ParsedFile(elements=parse_delimited(path), parser="csv 1")


def _html(path: Path, options: ParseOptions, assets: AssetStore) -> ParsedFile:
    return parse_html(path, None if options.profile == "fast" else assets)


def _mhtml(path: Path, options: ParseOptions, assets: AssetStore) -> ParsedFile:
    return parse_mhtml(path, None if options.profile == "fast" else assets)


_PARSERS: Final[dict[str, _Parser]] = {
    **dict.fromkeys((".csv", ".tsv"), _delimited),
    **dict.fromkeys((".html", ".htm", ".xhtml"), _html),
    **dict.fromkeys((".mhtml", ".mht"), _mhtml),
}


_REPAIRS: Final[dict[str, Callable[[Path, list[Element], AssetStore | None], list[Element]]]] = {
    **dict.fromkeys((".docx", ".docm", ".dotx", ".dotm"), repair_docx),
    **dict.fromkeys((".pptx", ".pptm", ".ppsx", ".ppsm", ".potx"), repair_pptx),
    **dict.fromkeys(XLSX_SUFFIXES, repair_xlsx),
    **dict.fromkeys((".odt", ".ott"), repair_odt),
    **dict.fromkeys((".odp", ".otp"), repair_odp),
    **dict.fromkeys((".ods", ".ots"), repair_ods),
    ".epub": repair_epub,
}
