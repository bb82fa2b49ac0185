"""``ImageDescriber``: a vision model describes images."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from llama_index.core.llms import LLM
from llama_index.core.schema import BaseNode, ImageNode
from pydantic import Field

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.enrich.base import ElementNodes
from llama_index_raganything.enrich.describers.base import Describer, Picture, Subject, body_paragraphs
from llama_index_raganything.errors import EnrichmentError, SourceError, UnsupportedFormatError
from llama_index_raganything.images import MAX_PIXELS, fit_image, image_digest, source_of_node
from llama_index_raganything.models.defaults import resolve_vision_llm
from llama_index_raganything.models.model_names import refuse_blind, supports_images
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.tables.pipe_tables import pipe_tables

_DRAWINGS = frozenset({".svg", ".emf", ".wmf", ".eps", ".svgz", ".emz", ".wmz"})
_MAX_NOTE_CHARS = 4000
_MAX_DATA_CHARS = 32_000


@strict_arguments
class ImageDescriber(Describer):
    """Describe images with a vision model; see :class:`~.base.Describer`.

    Images are turned upright, reduced to their first frame and scaled down before they are sent. An image that occurs
    several times in a document, such as a logo, is described once, at its first position, and all its nodes get the
    description. A chart of an office file, which has no image, is described from its data. Images that cannot be drawn
    here (SVG, EMF, WMF, EPS), are missing, damaged or smaller than ``min_side`` are reported; their content is not
    guessed from the caption.

    >>> from llama_index_raganything import ImageDescriber
    >>> from llama_index_raganything.testing import ScriptedChatLLM
    >>> ImageDescriber(llm=ScriptedChatLLM(), language="zh").content_types
    ('image',)

    Args:
        max_pixels: Larger images are scaled down.
        min_side: Images with a shorter side, in pixels, are not described.
        multimodal: Whether the model supports images; None decides by the model or its name.

    Raises:
        ConfigurationError: The model does not support images.
    """

    content_types: tuple[str, ...] = Field(default=("image",), description="Content types that are processed.")
    max_pixels: int = Field(default=MAX_PIXELS, gt=0, description="Pixels of an image that is sent.")
    min_side: int = Field(default=8, ge=1, description="Pixels of the shortest side of an image that is described.")
    multimodal: bool | None = Field(default=None, description="Whether the model sees images.")

    def __init__(self, llm: LLM | None = None, **values: Any) -> None:
        super().__init__(llm=llm, **values)
        if llm is not None:
            self._check_sight(llm)

    def _processor_name(self) -> str:
        return "ImageModalProcessor"

    def _llm_or_default(self) -> LLM | None:
        return resolve_vision_llm(self.llm)

    def _chosen_llm(self) -> LLM:
        llm = super()._chosen_llm()
        self._check_sight(llm)
        return llm

    def _check_sight(self, llm: LLM) -> None:
        if not (supports_images(llm) if self.multimodal is None else self.multimodal):
            refuse_blind(llm, "ImageDescriber", "or multimodal=True if it is one")

    def _elements(self, nodes: Sequence[BaseNode]) -> list[ElementNodes]:
        return joined_repeats(super()._elements(nodes))

    def _subject(self, element: ElementNodes) -> Subject:
        node = element.first
        if _is_native_chart(node):
            return Subject(NodeView(node).text[:_MAX_DATA_CHARS], processor="GenericModalProcessor")
        source, name = image_source(node)
        fitted = fit_image(source, max_pixels=self.max_pixels, name=name)
        if min(fitted.source_width, fitted.source_height) < self.min_side:
            message = (
                f"{name} has {fitted.source_width} x {fitted.source_height} pixels and shows nothing; "
                f"set min_side below {self.min_side} to describe it all the same."
            )
            raise EnrichmentError(message)
        # The digest is that of the file, which does not change with the imaging library, and the size limit.
        digest = f"{_digest_of(source)}/{self.max_pixels}"
        caption = str(node.metadata.get("caption") or "")
        item = {
            # RAG-Anything only checks that the path exists.
            "img_path": os.curdir,
            "image_caption": [caption] if caption else [],
            "image_footnote": _notes(node),
            "_section_path": str(node.metadata.get("section") or ""),
        }
        return Subject(item, Picture(fitted.data, fitted.mimetype, digest), {"image_path": name})


def _is_native_chart(node: BaseNode) -> bool:
    """Return whether a node has chart data but no image: office programs draw such charts on opening."""
    pictured = isinstance(node, ImageNode) and (node.image_path or node.image or node.image_url)
    return not pictured and not node.metadata.get("asset") and bool(pipe_tables(NodeView(node).text))


def image_source(node: BaseNode) -> tuple[bytes | Path, str]:
    """Return where a node's image is, and its name.

    Returns:
        Its bytes or path, and its file name.

    Raises:
        SourceError: It has no image that can be read without a network.
        UnsupportedFormatError: Its asset has a format that is not drawn here.
        CorruptFileError: Its bytes are not valid base64.
    """
    source = source_of_node(node)
    if isinstance(source, Path):
        return source, source.name
    if isinstance(source, bytes):
        return source, "image"
    asset = str(node.metadata.get("asset") or "")
    if PurePosixPath(asset).suffix.lower() in _DRAWINGS:
        name = PurePosixPath(asset).name
        message = f"{name} is a drawing that cannot be shown to a model here; convert it to PNG or JPEG."
        raise UnsupportedFormatError(message, name)
    if source is not None:
        message = (
            f"The image of node {node.node_id} is only known by its URL, and nothing is fetched: {source[:200]}; "
            "download it and set the node's image_path."
        )
        raise SourceError(message)
    message = (
        f"Node {node.node_id} has no image file"
        + (f" for its asset {asset!r}: give RAGAnythingNodeParser the asset_root" if asset else "")
        + "."
    )
    raise SourceError(message)


def joined_repeats(elements: Sequence[ElementNodes]) -> list[ElementNodes]:
    """Join elements of one document that show the same image, so that it is processed once.

    Returns:
        One element per image and document, in the order of their first nodes.
    """
    groups: dict[tuple[str, str], list[ElementNodes]] = defaultdict(list)
    sizes = [_size_of(element.first) for element in elements]
    often = Counter(sizes)
    for element, size in zip(elements, sizes, strict=True):
        # Only files of equal size can be equal, so most need not be read.
        key = element.first.node_id if often[size] == 1 else _content_key(element.first)
        groups[(NodeView(element.first).document_id, key)].append(element)
    return [_joined(group) for group in groups.values()]


def _joined(group: Sequence[ElementNodes]) -> ElementNodes:
    if len(group) == 1:
        return group[0]
    parts: list[BaseNode] = []
    starts: list[int] = []
    for element in group:
        starts.append(len(parts))
        parts.extend(element.parts)
    return replace(group[0], parts=tuple(parts), starts=tuple(starts))


def _size_of(node: BaseNode) -> int:
    try:
        source, _ = image_source(node)
        return len(source) if isinstance(source, bytes) else source.stat().st_size
    except (OSError, ValueError):
        return -1  # Reported when its turn comes.


def _content_key(node: BaseNode) -> str:
    try:
        return _digest_of(image_source(node)[0])
    except (OSError, ValueError):
        return node.node_id


def _digest_of(source: bytes | Path) -> str:
    return image_digest(source if isinstance(source, bytes) else source.read_bytes())


def _notes(node: BaseNode) -> list[str]:
    """Return what else the node says about the image: footnotes, words in it, sentences that cite it."""
    left = _MAX_NOTE_CHARS
    notes: list[str] = []
    for paragraph in body_paragraphs(node):
        if left <= 0:
            break
        notes.append(paragraph[:left])
        left -= len(paragraph)
    return notes
