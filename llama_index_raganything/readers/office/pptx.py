"""What docvortex leaves out of PowerPoint files: images in placeholders, comments, diagrams, chart titles."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llama_index_raganything.elements import Element, label_of
from llama_index_raganything.images import IMAGE_SUFFIXES
from llama_index_raganything.readers.common.base import AssetStore
from llama_index_raganything.readers.office.missing_text import SourceParagraph, add_missing, complete_pages
from llama_index_raganything.readers.office.ooxml import Package, chart_parts, name_charts, paragraphs
from llama_index_raganything.readers.web.html import readable_image_suffix

_PICTURE_SUFFIXES = (*IMAGE_SUFFIXES, ".emf", ".wmf", ".svg")
_FIELD_PLACEHOLDERS = frozenset({"sldNum", "dt", "ftr", "hdr"})


def repair_pptx(path: Path, elements: list[Element], assets: AssetStore | None) -> list[Element]:
    """Add the paragraphs, images and chart titles that the elements of a presentation lack.

    Args:
        elements: docvortex' elements; their page is the position of the slide.
        assets: Where images go; None stores none.

    Returns:
        The elements, completed, slide by slide.
    """
    with Package(path) as package:
        slides = package.ordered_parts(package.main_part(), "sldId")
        authors = _authors(package)

        def complete(own: list[Element], number: int, slide: tuple[str, Any]) -> list[Element]:
            part, _ = slide
            own = name_charts(package, chart_parts(package, part), own)
            own = add_missing(own, _source_paragraphs(package, part, number, authors))
            return [*own, *_placeholder_images(package, part, number, own, assets)]

        return complete_pages(elements, slides, complete)


def _source_paragraphs(package: Package, part: str, number: int, authors: dict[str, str]) -> Iterator[SourceParagraph]:
    for paragraph, text in paragraphs(package.xml(part)):
        if not _is_field(paragraph):
            yield SourceParagraph.of(text, page=number)
    for data in package.targets(part, "diagramData"):
        for _, text in paragraphs(package.xml(data)):
            yield SourceParagraph.of(text, page=number)
    for notes in package.targets(part, "notesSlide"):
        for paragraph, text in paragraphs(package.xml(notes)):
            if not _is_field(paragraph):
                yield SourceParagraph.of(text, "slide_notes", page=number)
    for comments in package.targets(part, "comments"):
        yield from _comments(package.nodes(comments, "cm", "reply"), number, authors)


def _comments(comments: list[Any], number: int, authors: dict[str, str]) -> Iterator[SourceParagraph]:
    """Read classic (``p:text``) and modern (paragraphs) comments."""
    for comment in comments:
        classic = " ".join((node.text or "") for node in comment.findall("{*}text"))
        body = comment.find("{*}txBody")
        text = " ".join(classic.split()) or " ".join(text for _, text in paragraphs(body))
        author = authors.get(comment.get("authorId") or "", "")
        if text:
            yield SourceParagraph.of_comment(text, author, number)


def _authors(package: Package) -> dict[str, str]:
    parts = package.targets(package.main_part(), "commentAuthors", "authors")
    authors = (node for part in parts for node in package.nodes(part, "cmAuthor", "author"))
    return {node.get("id") or "": node.get("name") or "" for node in authors}


def _is_field(paragraph: Any) -> bool:
    """Tell whether a paragraph is a slide number, date or footer, which repeat on every slide."""
    for shape in paragraph.iterancestors("{*}sp"):
        return any(node.get("type") in _FIELD_PLACEHOLDERS for node in shape.iter("{*}ph"))
    return False


def _placeholder_images(
    package: Package, part: str, number: int, own: list[Element], assets: AssetStore | None
) -> Iterator[Element]:
    images = {relation.id: relation.target for relation in package.relationships(part) if relation.kind == "image"}
    known = {element.asset for element in own}
    for shape in package.nodes(part, "pic"):
        if next(shape.iter("{*}ph"), None) is None:
            continue
        data = package.read(_target(shape, images))
        suffix = readable_image_suffix(data) if data else None
        asset = assets.put(data, suffix) if assets is not None and suffix else None
        alt = next((node.get("descr") or "" for node in shape.iter("{*}cNvPr")), "")
        # PowerPoint uses the file name as description until somebody writes one.
        alt = "" if alt.lower().endswith(_PICTURE_SUFFIXES) and len(alt.split()) == 1 else alt
        if (asset or alt) and asset not in known:
            yield Element(type="image", text=alt, caption=alt, label=label_of(alt), page=number, asset=asset)


def _target(shape: Any, images: dict[str, str]) -> str:
    for blip in shape.iter("{*}blip"):
        for name, value in blip.attrib.items():
            if name.endswith("}embed"):
                return posixpath.normpath(images.get(value, ""))
    return ""
