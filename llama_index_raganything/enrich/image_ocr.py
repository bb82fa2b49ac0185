"""``ImageOCR``: the words in images and charts, recognised without a vision model.

It costs processor time and did not help to find pages, so it is off by default. It helps answers and citations, which
can then name a chart's axes, legend and numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from llama_index.core.schema import BaseNode, TextNode
from pydantic import Field, PrivateAttr

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything._imports import package_version
from llama_index_raganything.elements import content_id
from llama_index_raganything.enrich.base import ElementNodes, ElementProcessor, FolderName
from llama_index_raganything.enrich.describers.base import AnswerCache, described_text, with_text
from llama_index_raganything.enrich.describers.image import image_source, joined_repeats
from llama_index_raganything.images import image_bytes, image_digest, open_upright
from llama_index_raganything.nodes import NodeView

OCR_PREFIX: Final = "Words in the image:"
"""Precedes the recognised lines in the text of a node."""

_MAX_LINES: Final = 400
_VERSION: Final = 1


@strict_arguments
class ImageOCR(ElementProcessor):
    """Recognise the words in images and add them to the text of their nodes, after the caption.

    Recognition runs one image at a time per process (:func:`.recognise`) and took 1.4 s of processor time per image in
    the median, 2.4 s in the mean (40 images of 12 PDFs, 26 of them with words, one thread of a busy two-core machine).
    Lines that the text already contains are not repeated, so a second run changes nothing. Equal images of a document
    are recognised once; with a ``cache_folder`` no image is recognised twice. Images that cannot be drawn (SVG, EMF),
    are missing or damaged are reported.

    Args:
        content_types: Content types that are processed.
        cache_folder: Folder for the words, by the content of the image; in memory by default.
        max_pixels: Larger images are scaled down.
        min_side: Images with a shorter side, in pixels, are skipped.
    """

    content_types: tuple[str, ...] = Field(default=("image",), description="Content types that are processed.")
    cache_folder: FolderName = Field(default=None, description="Folder in which the words are kept.")
    max_pixels: int = Field(default=2_000_000, ge=10_000, description="Pixels of an image that is recognised.")
    min_side: int = Field(default=32, ge=8, description="Pixels of the shortest side that may hold words.")

    _cache: AnswerCache | None = PrivateAttr(default=None)

    def _elements(self, nodes: Sequence[BaseNode]) -> list[ElementNodes]:
        self._cache = self._cache or AnswerCache(self.cache_folder)
        return joined_repeats(super()._elements(nodes))

    def _process_element(self, element: ElementNodes) -> Sequence[BaseNode]:
        source, name = image_source(element.first)
        lines = self._lines(image_bytes(source, name=name), name)
        starts = set(element.starts)
        return [_with_lines(part, lines) if index in starts else part for index, part in enumerate(element.parts)]

    def _lines(self, data: bytes, name: str) -> list[str]:
        cache = self._cache or AnswerCache(self.cache_folder)
        engine = package_version("rapidocr")
        key = content_id("image-ocr", _VERSION, engine, self.max_pixels, self.min_side, image_digest(data))
        words = cache.get(key)
        if words is None:
            words = "\n".join(recognised_lines(data, self.max_pixels, self.min_side, name))
            cache.put(key, words, f"rapidocr {engine}")
        return words.splitlines()


def recognised_lines(data: bytes, max_pixels: int = 2_000_000, min_side: int = 32, name: str = "") -> list[str]:
    """Recognise the lines of text in an image.

    Args:
        data: The encoded image; of an animation the first frame is used.
        max_pixels: Larger images are scaled down.
        min_side: Images with a shorter side, in pixels, are taken to hold no words.
        name: Name of the image in errors.

    Returns:
        At most 400 lines in reading order.

    Raises:
        ParseError: The image cannot be drawn.
        MissingDependencyError: rapidocr or onnxruntime is not installed.
    """
    from llama_index_raganything.readers.common.ocr import recognised_text

    image = open_upright(data, name=name)
    if min(image.size) < min_side:
        return []
    factor = (max_pixels / (image.width * image.height)) ** 0.5
    if factor < 1:
        image = image.resize(
            (max(1, round(image.width * factor)), max(1, round(image.height * factor))), reducing_gap=2
        )
    if min(image.size) < 8:
        return []
    lines = map(str.strip, recognised_text(image).splitlines())
    return [line for line in lines if line][:_MAX_LINES]


def _with_lines(node: BaseNode, lines: Sequence[str]) -> BaseNode:
    if not isinstance(node, TextNode):
        return node
    known = {line.strip() for line in NodeView(node).text.splitlines()}
    new = [line for line in lines if line not in known]
    if not new:
        return node
    text, _, _ = described_text(node, "\n".join([OCR_PREFIX, *new]))
    return with_text(node, text)
