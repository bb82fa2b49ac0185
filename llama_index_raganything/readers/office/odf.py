"""What docvortex leaves out of OpenDocument files: comments, notes, sheet names and stray paragraphs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from lxml import etree

from llama_index_raganything.elements import Element
from llama_index_raganything.readers.common.base import AssetStore
from llama_index_raganything.readers.office.missing_text import SourceParagraph, add_missing, complete_pages
from llama_index_raganything.readers.office.ooxml import Package
from llama_index_raganything.readers.office.sheets import name_sheet

_SKIPPED: Final = frozenset({"tracked-changes", "forms"})


def repair_odt(path: Path, elements: list[Element], _assets: AssetStore | None) -> list[Element]:
    """Add the paragraphs that the elements of a text document lack.

    Args:
        elements: docvortex' elements.

    Returns:
        The elements, completed.
    """
    body = _body(path, "text")
    return elements if body is None else add_missing(elements, _source_paragraphs(body, None))


def repair_odp(path: Path, elements: list[Element], _assets: AssetStore | None) -> list[Element]:
    """Add the paragraphs that the elements of a presentation lack, slide by slide.

    Args:
        elements: docvortex' elements; their page is the position of the slide.

    Returns:
        The elements, completed.
    """
    pages = _children(_body(path, "presentation"), "page")
    return complete_pages(elements, pages, lambda own, number, page: add_missing(own, _source_paragraphs(page, number)))


def repair_ods(path: Path, elements: list[Element], _assets: AssetStore | None) -> list[Element]:
    """Add the sheet names, comments and paragraphs that the elements of a spreadsheet lack.

    Args:
        elements: docvortex' elements; their page is the position of the sheet.

    Returns:
        The elements, completed.
    """
    return complete_pages(elements, _children(_body(path, "spreadsheet"), "table"), _complete_sheet)


def _complete_sheet(own: list[Element], number: int, sheet: Any) -> list[Element]:
    return name_sheet(add_missing(own, _source_paragraphs(sheet, number)), _attribute(sheet, "name"), number)


def _body(path: Path, kind: str) -> Any:
    with Package(path) as package:
        root = package.xml("content.xml")
    tag = f"{{urn:oasis:names:tc:opendocument:xmlns:office:1.0}}{kind}"
    return None if root is None else next(root.iter(tag), None)


def _children(body: Any, name: str) -> list[Any]:
    if body is None:
        return []
    return [child for child in body if isinstance(child.tag, str) and etree.QName(child).localname == name]


def _source_paragraphs(root: Any, page: int | None) -> Iterator[SourceParagraph]:
    for node in root.iter("{*}p", "{*}h"):
        around = {etree.QName(ancestor).localname: ancestor for ancestor in node.iterancestors()}
        if _SKIPPED & set(around):
            continue
        text = _text(node)
        if not text:
            continue
        if "annotation" in around:
            author = next((n.text or "" for n in around["annotation"].iter("{*}creator")), "")
            yield SourceParagraph.of_comment(text, author, page)
        elif "notes" in around:
            yield SourceParagraph.of(text, "slide_notes", page)
        else:
            yield SourceParagraph.of(text, "footnote" if "note-body" in around else None, page)


def _text(paragraph: Any) -> str:
    """Return a paragraph's own words: notes, comments and frames inside it have paragraphs of their own."""
    parts: list[str] = []
    for node in paragraph.iter():
        if not isinstance(node.tag, str):
            parts.append(node.tail or "")
            continue
        owner = next(node.iterancestors("{*}p", "{*}h"), None) if node is not paragraph else paragraph
        name = etree.QName(node).localname
        if (owner is paragraph and name not in {"p", "h", "creator", "date", "note-citation"}) or node is paragraph:
            parts.append(" " if name in {"s", "tab", "line-break"} else (node.text or ""))
        if node is not paragraph and owner is paragraph:
            parts.append(node.tail or "")
    return " ".join("".join(parts).split())


def _attribute(node: Any, name: str) -> str:
    return next((value for key, value in node.attrib.items() if key.endswith(f"}}{name}")), "")
