"""What docvortex leaves out of EPUB books: paragraphs in the pages of the spine that are not in its elements."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from llama_index_raganything.elements import Element
from llama_index_raganything.readers.common.base import AssetStore
from llama_index_raganything.readers.common.encoding import declared_encoding, decode_text
from llama_index_raganything.readers.office.missing_text import SourceParagraph, add_missing
from llama_index_raganything.readers.office.ooxml import Package
from llama_index_raganything.readers.web.html import html_elements


def repair_epub(path: Path, elements: list[Element], _assets: AssetStore | None) -> list[Element]:
    """Add the paragraphs that the elements of a book lack.

    Args:
        elements: docvortex' elements.

    Returns:
        The elements, completed.
    """
    with Package(path) as package:
        return add_missing(elements, _source_paragraphs(package))


def _source_paragraphs(package: Package) -> Iterator[SourceParagraph]:
    for name in _spine(package):
        data = package.read(name)
        for element in html_elements(decode_text(data, declared_encoding(data))):
            if element.type != "image":
                yield SourceParagraph(element.text, element)


def _spine(package: Package) -> Iterator[str]:
    """Yield the pages in reading order (EPUB 3.3, package document)."""
    for rootfile in package.nodes("META-INF/container.xml", "rootfile"):
        opf = rootfile.get("full-path") or ""
        links = {item.get("id"): item.get("href") or "" for item in package.nodes(opf, "item")}
        for reference in package.nodes(opf, "itemref"):
            href = unquote(links.get(reference.get("idref"), "").split("#")[0])
            yield posixpath.normpath(posixpath.join(posixpath.dirname(opf), href))
