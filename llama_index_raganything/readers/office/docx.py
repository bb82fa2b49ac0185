"""What docvortex leaves out of Word files: comments, notes, text boxes, headers, chart titles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from llama_index_raganything.elements import Element
from llama_index_raganything.readers.common.base import AssetStore
from llama_index_raganything.readers.office.missing_text import SourceParagraph, add_missing
from llama_index_raganything.readers.office.ooxml import Package, chart_parts, name_charts, paragraphs

_SIDE_PARTS: Final = ("header", "footer", "footnotes", "endnotes", "diagramData")


def repair_docx(path: Path, elements: list[Element], _assets: AssetStore | None) -> list[Element]:
    """Add the paragraphs and names that the elements of a Word file lack.

    Args:
        elements: docvortex' elements.

    Returns:
        The elements, completed.
    """
    with Package(path) as package:
        main = package.main_part()
        named = name_charts(package, chart_parts(package, main), elements)
        return add_missing(named, _source_paragraphs(package, main))


def _source_paragraphs(package: Package, main: str) -> Iterator[SourceParagraph]:
    for _, text in paragraphs(package.xml(main)):
        yield SourceParagraph.of(text)
    for relation in package.relationships(main):
        if relation.kind in _SIDE_PARTS:
            subtype = relation.kind if relation.kind in {"header", "footer"} else relation.kind.removesuffix("s")
            for _, text in paragraphs(package.xml(relation.target)):
                yield SourceParagraph.of(text, subtype)
        elif relation.kind == "comments":
            yield from _comments(package.nodes(relation.target, "comment"))


def _comments(comments: list[Any]) -> Iterator[SourceParagraph]:
    for comment in comments:
        author = next((value for name, value in comment.attrib.items() if name.endswith("author")), "")
        text = " ".join(text for _, text in paragraphs(comment))
        if text:
            yield SourceParagraph.of_comment(text, author)
