"""What docvortex leaves out of Excel files: sheet names, comments, notes, text boxes, chart titles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llama_index_raganything.elements import Element
from llama_index_raganything.readers.assets import AssetStore
from llama_index_raganything.readers.office.charts import chart_parts, name_charts
from llama_index_raganything.readers.office.ooxml import Package, paragraphs
from llama_index_raganything.readers.office.sheets import name_sheet
from llama_index_raganything.readers.office.supplement import Ground, add_missing, ground_text


def repair_xlsx(path: Path, elements: list[Element], _assets: AssetStore | None) -> list[Element]:
    """Add the names, comments and texts that the elements of a workbook lack.

    Args:
        path: The file.
        elements: docvortex' elements; their page is the position of the sheet among the visible worksheets.

    Returns:
        The elements, completed, sheet by sheet; sheets without any content are left out.
    """
    with Package(path) as package:
        sheets = _visible_sheets(package)
        if max((element.page or 0 for element in elements), default=0) > len(sheets):
            return elements
        people = _people(package)
        result: list[Element] = []
        for number, (part, entry) in enumerate(sheets, start=1):
            own = [element for element in elements if element.page == number]
            own = name_charts(package, chart_parts(package, part), own)
            own = add_missing(own, _ground(package, part, number, people))
            result.extend(name_sheet(own, entry.get("name") or "", number))
        return result


def _visible_sheets(package: Package) -> list[tuple[str, Any]]:
    """Return the sheets that docvortex counts: neither hidden ones nor chart sheets."""
    main = package.main_part()
    worksheets = set(package.targets(main, "worksheet"))
    sheets = package.ordered_parts(main, "sheet")
    return [(part, entry) for part, entry in sheets if part in worksheets and "idden" not in (entry.get("state") or "")]


def _ground(package: Package, part: str, number: int, people: dict[str, str]) -> Iterator[Ground]:
    threaded = package.targets(part, "threadedComment")
    for comments in threaded:
        yield from _threaded(package.xml(comments), number, people)
    for comments in package.targets(part, "comments"):
        yield from _notes(package.xml(comments), number, skip_threads=bool(threaded))
    for drawing in package.targets(part, "drawing"):
        for _, text in paragraphs(package.xml(drawing)):
            yield ground_text(text, page=number)


def _threaded(root: Any, number: int, people: dict[str, str]) -> Iterator[Ground]:
    for comment in [] if root is None else root.iter("{*}threadedComment"):
        text = " ".join(" ".join(node.itertext()) for node in comment.findall("{*}text"))
        author = people.get(comment.get("personId") or "", "")
        yield _comment(text, comment.get("ref") or "", author, (comment.get("dT") or "")[:10], number)


def _notes(root: Any, number: int, *, skip_threads: bool) -> Iterator[Ground]:
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


def _comment(text: str, cell: str, author: str, date: str, number: int) -> Ground:
    words = " ".join(text.split())
    where = f"Comment on {cell}" if cell else "Comment"
    who = f" by {author}" if author else ""
    when = f" on {date}" if date else ""
    return ground_text(words, "comment", page=number, prefix=f"{where}{who}{when}: " if words else "")


def _people(package: Package) -> dict[str, str]:
    names: dict[str, str] = {}
    for part in package.targets(package.main_part(), "person"):
        root = package.xml(part)
        for node in [] if root is None else root.iter("{*}person"):
            names[node.get("id") or ""] = node.get("displayName") or ""
    return names
