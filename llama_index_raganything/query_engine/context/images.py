"""The images of results: which an LLM is shown, where their files are, and which are listed beside an answer."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    MediaResource,
    Node,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from pydantic import Field

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything._pickling import Named
from llama_index_raganything.errors import BlockedSourceError, RAGAnythingError
from llama_index_raganything.images import MAX_PIXELS, FittedImage, fit_image, source_of_node
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.readers.cache import ParseCache
from llama_index_raganything.readers.common.base import AssetStore
from llama_index_raganything.readers.page_images import PageImages

logger = logging.getLogger(__name__)

DEFAULT_MAX_IMAGES: Final = 4
"""Images that an LLM is shown for one question."""

MAX_SENT_BYTES: Final = 12_000_000
"""Bytes of all images that are sent for one question."""

_MAX_FILE_BYTES: Final = 50_000_000
_PLACE_KEYS: Final = ("page", "page_label", "file_name", "label", "caption", "content_type")


# -- files -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Where the images of nodes may be read from.

    Attributes:
        asset_root: Folder in which to look for a node's ``asset`` when the path that the node names is gone.
        max_bytes: Bytes of a file that are read at most.
    """

    asset_root: str | None = None
    max_bytes: int = _MAX_FILE_BYTES

    def path_of(self, node: BaseNode) -> Path | None:
        """Return the existing file with a node's image: the one it names, or its asset, never outside the folder."""
        for find in (_named_path, self._asset_path):
            try:
                path = find(node)
                if path is not None and path.is_file():
                    return path
            except (OSError, ValueError):  # A path with a null byte or of 5,000 characters.
                continue
        return None

    def source_of(self, node: BaseNode) -> bytes | Path | None:
        """Return a node's image: its bytes where it carries them, else its file; URLs are not fetched.

        Raises:
            CorruptFileError: The bytes are no base64.
        """
        source = source_of_node(node)
        return source if isinstance(source, bytes) else self.path_of(node)

    def fitted(self, node: BaseNode, max_pixels: int) -> FittedImage | None:
        """Return a node's image as a model takes it, or None; one that cannot be read is only warned of."""
        try:
            source = self.source_of(node)
            if source is None:
                return None
            return fit_image(source, max_pixels=max_pixels, max_source_bytes=self.max_bytes)
        except (RAGAnythingError, ValueError) as error:
            logger.warning("The image of node %s cannot be read and is left out: %s", node.node_id, error)
            return None

    def fitted_page(self, node: BaseNode, max_pixels: int) -> FittedImage | None:
        """Return the PDF page that a node is, rendered; None where its file is not as it was read."""
        metadata = node.metadata
        source, content, page = (metadata.get(key) for key in ("source", "content_hash", "page"))
        if not NodeView(node).is_page or not (source and content) or not isinstance(page, int):
            return None
        cache = None if self.asset_root is None else ParseCache(Path(self.asset_root).parent / "parse_cache")
        picture = PageImages(cache, max_pixels).get(str(source), str(content), page)
        try:
            return None if picture is None else fit_image(picture, max_pixels=max_pixels)
        except (RAGAnythingError, ValueError) as error:
            logger.warning("The image of page %d of %s is left out: %s", page, source, error)
            return None

    def fitted_element(self, node: BaseNode, max_pixels: int) -> FittedImage | None:
        """Return the image of the best element of a retrieved page that has one."""
        for element in NodeView(node).best_elements:
            if element.get("asset"):
                shown = TextNode(id_=str(element.get("node_id")), metadata={"asset": element["asset"]})
                found = self.fitted(shown, max_pixels)
                if found is not None:
                    return found
        return None

    def _asset_path(self, node: BaseNode) -> Path | None:
        asset = node.metadata.get("asset")
        if not asset or self.asset_root is None:
            return None
        try:
            return AssetStore(self.asset_root).resolve(str(asset))
        except (BlockedSourceError, OSError, ValueError):
            return None


def _named_path(node: BaseNode) -> Path | None:
    if isinstance(node, ImageNode):
        return Path(node.image_path) if node.image_path else None
    if isinstance(node, Node) and node.image_resource is not None and node.image_resource.path is not None:
        return Path(node.image_resource.path)
    return None


# -- shown to an LLM ---------------------------------------------------------------------------------------------------


@strict_arguments
class MultimodalContextPostprocessor(Named, BaseNodePostprocessor):
    """Show the images of results to a multimodal LLM, each with its caption and text.

    A page is shown whole, rendered from its PDF file if that has not changed, else by its best element with an image.
    For .95 of the questions about charts, images and tables in real PDFs an evidence page is among the first four
    (``benchmarks.context``).

    ``ImageNode.get_content_blocks`` emits the image without the text (llama-index-core 0.14.25), and a missing
    file makes it raise inside synthesis. Here an ``ImageNode`` becomes a ``Node`` with text and image; where
    the file is missing, unreadable or over the limits it becomes a ``TextNode``. Must be the last
    postprocessor, because others work on ``.text``.

    Args:
        asset_root: Folder of the assets, for nodes whose ``image_path`` is gone.
        max_images: Images sent for one question, the best-ranked first.
        max_pixels: Pixels of an image; a larger one is scaled down.
        max_bytes: Maximum size of an image file.
        max_total_bytes: Bytes of all images sent for one question.
    """

    asset_root: str | None = Field(default=None, description="Folder of the assets.")
    max_images: int = Field(default=DEFAULT_MAX_IMAGES, ge=0, description="Images passed on for one question.")
    max_pixels: int = Field(default=MAX_PIXELS, gt=0, description="Pixels of an image.")
    max_bytes: int = Field(default=_MAX_FILE_BYTES, gt=0, description="Bytes of an image file.")
    max_total_bytes: int = Field(default=MAX_SENT_BYTES, gt=0, description="Bytes of all images of one question.")

    def _postprocess_nodes(
        self,
        nodes: list[NodeWithScore],
        query_bundle: QueryBundle | None = None,  # noqa: ARG002  # core's signature
    ) -> list[NodeWithScore]:
        images = self._fitted_images(nodes)
        return [
            NodeWithScore(node=_with_image(scored.node, images.get(index)), score=scored.score)
            if NodeView(scored.node).has_image or index in images
            else scored
            for index, scored in enumerate(nodes)
        ]

    def _fitted_images(self, nodes: Sequence[NodeWithScore]) -> dict[int, FittedImage]:
        """Return the images to send, by index of the node."""
        files = ImageFiles(self.asset_root, self.max_bytes)
        images: dict[int, FittedImage] = {}
        room = self.max_total_bytes
        for index, scored in enumerate(nodes):
            if len(images) >= self.max_images:
                break
            node, most = scored.node, self.max_pixels
            if NodeView(node).has_image:
                image = files.fitted(node, most)
            else:
                image = files.fitted_page(node, most) or files.fitted_element(node, most)
            if image is not None and len(image.data) <= room:
                images[index] = image
                room -= len(image.data)
        return images


def _with_image(node: BaseNode, image: FittedImage | None) -> BaseNode:
    text = NodeView(node).text
    shared: dict[str, Any] = {
        "id_": node.node_id,
        "metadata": node.metadata,
        "excluded_embed_metadata_keys": node.excluded_embed_metadata_keys,
        "excluded_llm_metadata_keys": node.excluded_llm_metadata_keys,
        "relationships": node.relationships,
    }
    if image is None:
        return TextNode(text=text, **shared)
    resource = MediaResource(data=image.data, mimetype=image.mimetype)
    return Node(text_resource=MediaResource(text=text), image_resource=resource, **shared)


# -- listed beside an answer -------------------------------------------------------------------------------------------


def reading_order(nodes: Sequence[NodeWithScore]) -> list[int]:
    """Return the places of nodes in reading order: the best document first, its pages, and each from top to bottom.

    Args:
        nodes: Nodes, best first.

    Returns:
        Indexes into ``nodes``; nodes without page and box stay in the order in which they were.
    """
    documents: dict[str, int] = {}

    def key(index: int) -> tuple[int, int, int, int, int]:
        node = nodes[index].node
        name = NodeView(node).document_id or node.node_id
        page = node.metadata.get("page")
        left, top, _, _ = NodeView(node).box or (-1, -1, 0, 0)
        return documents.setdefault(name, index), page if isinstance(page, int) else 0, top, left, index

    return sorted(range(len(nodes)), key=key)


def attached_record(source: str | bytes, image: FittedImage | None) -> dict[str, Any]:
    """Return a record, as of :func:`evidence_images`, of an image that the question carried.

    Args:
        source: The image's path or bytes.
        image: The image as it was sent; None when it was not.
    """
    path = source if isinstance(source, str) else None
    size = None if image is None else (image.width, image.height, len(image.data))
    return _record(None, None, path, dict.fromkeys(_PLACE_KEYS), size, attached=True, sent=image is not None)


def _record(
    number: int | None,
    node_id: str | None,
    path: str | None,
    place: dict[str, Any],
    size: tuple[int, int, int] | None,
    *,
    attached: bool,
    sent: bool,
) -> dict[str, Any]:
    width, height, count = size or (None, None, None)
    measures = {"width": width, "height": height, "bytes": count}
    return {"n": number, "node_id": node_id, "path": path, **place, **measures, "attached": attached, "sent": sent}


def evidence_images(
    nodes: Sequence[NodeWithScore], files: ImageFiles, sent: Mapping[int, MediaResource] | None = None
) -> list[dict[str, Any]]:
    """Return what a notebook needs to show the images of the sources that were sent or are files, in reading order.

    Args:
        sent: What the LLM has seen, by index of the node.

    Returns:
        Dictionaries with ``n`` (the number of the source), ``node_id``, ``path``, ``page``, ``page_label``,
        ``file_name``, ``label``, ``caption``, ``content_type``, ``width``, ``height`` and ``bytes`` (as sent or as
        stored), ``attached`` and ``sent``.
    """
    records: list[dict[str, Any]] = []
    for index in reading_order(nodes):
        node = nodes[index].node
        resource = (sent or {}).get(index)
        if not NodeView(node).has_image and resource is None:
            node = _best_image_of(node)
        path = files.path_of(node)
        if resource is None and (path is None or not NodeView(node).has_image):
            continue
        size = _size_of(base64.b64decode(resource.data or b"") if resource is not None else path)
        place = {key: node.metadata.get(key) for key in _PLACE_KEYS}
        shown, was_sent = None if path is None else str(path), resource is not None
        records.append(_record(index + 1, node.node_id, shown, place, size, attached=False, sent=was_sent))
    return records


def _best_image_of(page: BaseNode) -> BaseNode:
    """Return the best image on a retrieved page, with what the page says of it; else the node itself."""
    image = next((each for each in NodeView(page).best_elements if each.get("content_type") == "image"), None)
    if image is None or not image.get("asset"):
        return page
    known = {key: image.get(key) for key in ("content_type", "label", "bbox", "asset")}
    return ImageNode(id_=str(image.get("node_id")), metadata={**page.metadata, **known})


def _size_of(source: bytes | Path | None) -> tuple[int, int, int] | None:
    """Return width, height and bytes from an image's header, without decoding it."""
    from PIL import Image

    if source is None:
        return None
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            width, height = image.size
        return width, height, len(source) if isinstance(source, bytes) else source.stat().st_size
    except Exception:  # noqa: BLE001  # Pillow raises anything on damaged files, and the size is a nicety.
        return None
