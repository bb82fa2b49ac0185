"""What docvortex leaves out of Excel files: sheet names, comments, notes, text boxes, chart titles."""

from __future__ import annotations

import datetime
import itertools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from llama_index_raganything.elements import Element
from llama_index_raganything.errors import CorruptFileError
from llama_index_raganything.readers.common.base import AssetStore, ParsedFile
from llama_index_raganything.readers.common.html_tables import MAX_CELLS, MAX_COLUMNS, rows_to_markdown
from llama_index_raganything.readers.office.missing_text import SourceParagraph, add_missing, complete_pages
from llama_index_raganything.readers.office.number_formats import GENERAL, shown_date, shown_number
from llama_index_raganything.readers.office.ooxml import Package, chart_parts, name_charts, paragraphs
from llama_index_raganything.readers.office.sheets import name_sheet


def repair_xlsx(path: Path, elements: list[Element], _assets: AssetStore | None) -> list[Element]:
    """Add the names, comments and texts that the elements of a workbook lack.

    Args:
        elements: docvortex' elements; their page is the position of the sheet among the visible worksheets.

    Returns:
        The elements, completed, sheet by sheet; sheets without any content are left out.
    """
    with Package(path) as package:
        sheets = _visible_sheets(package)
        people = _people(package)

        def complete(own: list[Element], number: int, sheet: tuple[str, Any]) -> list[Element]:
            part, entry = sheet
            own = name_charts(package, chart_parts(package, part), own)
            own = add_missing(own, _source_paragraphs(package, part, number, people))
            return name_sheet(own, entry.get("name") or "", number)

        return complete_pages(elements, sheets, complete)


def _visible_sheets(package: Package) -> list[tuple[str, Any]]:
    """Return the sheets that docvortex counts: neither hidden ones nor chart sheets."""
    main = package.main_part()
    worksheets = set(package.targets(main, "worksheet"))
    sheets = package.ordered_parts(main, "sheet")
    return [(part, entry) for part, entry in sheets if part in worksheets and "idden" not in (entry.get("state") or "")]


def _source_paragraphs(package: Package, part: str, number: int, people: dict[str, str]) -> Iterator[SourceParagraph]:
    threaded = package.targets(part, "threadedComment")
    for comments in threaded:
        yield from _threaded(package.nodes(comments, "threadedComment"), number, people)
    for comments in package.targets(part, "comments"):
        yield from _notes(package.xml(comments), number, skip_threads=bool(threaded))
    for drawing in package.targets(part, "drawing"):
        for _, text in paragraphs(package.xml(drawing)):
            yield SourceParagraph.of(text, page=number)


def _threaded(thread: list[Any], number: int, people: dict[str, str]) -> Iterator[SourceParagraph]:
    for comment in thread:
        text = " ".join(" ".join(node.itertext()) for node in comment.findall("{*}text"))
        author = people.get(comment.get("personId") or "", "")
        yield _comment(text, comment.get("ref") or "", author, (comment.get("dT") or "")[:10], number)


def _notes(root: Any, number: int, *, skip_threads: bool) -> Iterator[SourceParagraph]:
    if root is None:
        return
    authors = [" ".join((node.text or "").split()) for node in root.iter("{*}author")]
    for comment in root.iter("{*}comment"):
        index = comment.get("authorId") or ""
        author = authors[int(index)] if index.isdecimal() and int(index) < len(authors) else ""
        # Excel repeats each thread as a note with a warning, its author named "tc={id}".
        if skip_threads and author.startswith("tc="):
            continue
        text = "".join(node.text or "" for node in comment.iter("{*}t"))
        yield _comment(text, comment.get("ref") or "", author, "", number)


def _comment(text: str, cell: str, author: str, date: str, number: int) -> SourceParagraph:
    words = " ".join(text.split())
    where = f"Comment on {cell}" if cell else "Comment"
    who = f" by {author}" if author else ""
    when = f" on {date}" if date else ""
    return SourceParagraph.of(words, "comment", page=number, prefix=f"{where}{who}{when}: " if words else "")


def _people(package: Package) -> dict[str, str]:
    parts = package.targets(package.main_part(), "person")
    people = (node for part in parts for node in package.nodes(part, "person"))
    return {node.get("id") or "": node.get("displayName") or "" for node in people}


PARSER: Final = "openpyxl stream 1"

LARGE_SHEET_BYTES: Final = 16 * 1024**2
"""Unpacked size of all sheets from which a workbook is streamed: about half a million cells."""


def is_large(path: Path) -> bool:
    """Tell whether a workbook is too large for docvortex.

    Args:
        path: A workbook that :func:`~llama_index_raganything.readers.office.containers.check_container` passed.

    Returns:
        True when its sheets unpack to more than :data:`LARGE_SHEET_BYTES`.
    """
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        sheets = (member for member in archive.infolist() if member.filename.startswith("xl/worksheets/"))
        return sum(member.file_size for member in sheets) > LARGE_SHEET_BYTES


def parse_large_workbook(path: Path) -> ParsedFile:
    """Read the visible sheets of a large workbook, values only.

    Args:
        path: The workbook.

    Returns:
        One table element per block of rows; pages are positions among the visible sheets. Cells over
        :data:`~llama_index_raganything.readers.common.html_tables.MAX_CELLS` are left out with a warning.

    Raises:
        CorruptFileError: The workbook is damaged.
    """
    import openpyxl

    warnings: list[str] = []
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
            elements = list(_elements(sheets, path.name, warnings))
        finally:
            book.close()
    # openpyxl lets errors of zipfile, expat and its own descriptors through on damaged files.
    except Exception as error:
        message = f"{path.name!r} is a damaged workbook ({type(error).__name__}: {error}); save it again."
        raise CorruptFileError(message, str(path)) from error
    return ParsedFile(elements=elements, parser=PARSER, warnings=warnings)


def _elements(sheets: list[Any], name: str, warnings: list[str]) -> Iterator[Element]:
    left = MAX_CELLS
    for number, sheet in enumerate(sheets, start=1):
        for rows in _regions(sheet.iter_rows(max_col=MAX_COLUMNS)):
            kept = rows[: max(left // len(rows[0]), 0)]
            left -= len(kept) * len(rows[0])
            if kept:
                yield Element(type="table", text=rows_to_markdown(kept, 1), rows=kept, page=number)
            if len(kept) < len(rows):
                warnings.append(f"{name!r} has more than {MAX_CELLS:,} cells; the rest was left out. Split it.")
                return


def _regions(rows: Iterator[tuple[Any, ...]]) -> Iterator[list[list[str]]]:
    """Yield blocks of rows between blank rows, all rows of a block of one length."""
    texts = ([_text(cell.value, cell.number_format) for cell in cells] for cells in rows)
    for filled, group in itertools.groupby(texts, key=any):
        if filled:
            block = list(group)
            width = max(place + 1 for row in block for place, text in enumerate(row) if text)
            yield [(row + [""] * width)[:width] for row in block]


def _text(value: Any, code: str | None) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return shown_date(value.date(), code or "") or value.date().isoformat()
    if isinstance(value, datetime.timedelta):
        value /= datetime.timedelta(days=1)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return shown_number(value, code or GENERAL)
    return " ".join(str(value).split())
