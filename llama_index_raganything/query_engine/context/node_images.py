"""The images of nodes: where they are, fitted for a model, in reading order, and listed beside an answer."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama_index.core.schema import BaseNode, ImageNode, MediaResource, Node, NodeWithScore, TextNode

from llama_index_raganything.elements import ELEMENTS_KEY
from llama_index_raganything.errors import BlockedSourceError, RAGAnythingError
from llama_index_raganything.images import FittedImage, decoded_image, fit_image
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.readers.cache import ParseCache
from llama_index_raganything.readers.common.assets import AssetStore
from llama_index_raganything.readers.pdf.page_images import PagePictures

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Where the images of nodes may be read from.

    Attributes:
        asset_root: Folder in which to look for a node's ``asset`` when the path that the node names is gone.
        max_bytes: Bytes of a file that are read at most.
    """

    asset_root: str | None = None
    max_bytes: int = 50_000_000

    def path_of(self, node: BaseNode) -> Path | None:
        """Return the file with a node's image: the one that the node names, or its asset inside the folder.

        Args:
            node: Any node; metadata never lead outside the folder.

        Returns:
            An existing file, or None.
        """
        for path in (_named_path(node), self._asset_path(node)):
            try:
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
        if isinstance(node, ImageNode) and node.image:
            return decoded_image(node.image)
        if isinstance(node, Node) and node.image_resource is not None and node.image_resource.data:
            return decoded_image(node.image_resource.data)
        return self.path_of(node)

    def fitted(self, node: BaseNode, max_pixels: int) -> FittedImage | None:
        """Return a node's image as a model takes it; one that cannot be read costs a warning and not the answer.

        Returns:
            The image, or None when there is none to be had.
        """
        try:
            source = self.source_of(node)
            if source is None:
                return None
            return fit_image(source, max_pixels=max_pixels, max_source_bytes=self.max_bytes)
        except (RAGAnythingError, ValueError) as error:
            logger.warning("The image of node %s cannot be read and is left out: %s", node.node_id, error)
            return None

    def fitted_page(self, node: BaseNode, max_pixels: int) -> FittedImage | None:
        """Return the picture of the PDF page that a node is, rendered from its file.

        Returns:
            The image, or None when the node is no such page or its file is not as it was read.
        """
        metadata = node.metadata
        source, content, page = (metadata.get(key) for key in ("source", "content_hash", "page"))
        if not NodeView(node).is_page or not (source and content) or not isinstance(page, int):
            return None
        cache = None if self.asset_root is None else ParseCache(Path(self.asset_root).parent / "parse_cache")
        picture = PagePictures(cache, max_pixels).get(str(source), str(content), page)
        try:
            return None if picture is None else fit_image(picture, max_pixels=max_pixels)
        except (RAGAnythingError, ValueError) as error:
            logger.warning("The picture of page %d of %s is left out: %s", page, source, error)
            return None

    def fitted_figure(self, node: BaseNode, max_pixels: int) -> FittedImage | None:
        """Return the picture of the best figure or table of a page that was retrieved."""
        for element in attached_elements(node):
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


def attached_elements(node: BaseNode) -> list[dict[str, Any]]:
    """Return what a page that was retrieved says of its best elements; see :data:`ELEMENTS_KEY`.

    Returns:
        At most three elements, best first; none for other nodes.
    """
    try:
        told = json.loads(node.metadata.get(ELEMENTS_KEY) or "[]")
    except (TypeError, ValueError):
        return []
    return [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []


def is_about_a_picture(node: BaseNode) -> bool:
    """Tell whether a result is a picture, or a page whose best element is one."""
    best = attached_elements(node)[:1]
    return has_image(node) or (bool(best) and best[0].get("content_type") == "image")


def has_image(node: BaseNode) -> bool:
    """Tell whether a node is one with an image."""
    return isinstance(node, ImageNode) or (isinstance(node, Node) and node.image_resource is not None)


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
        name = str(node.metadata.get("doc_id") or node.ref_doc_id or node.node_id)
        page = node.metadata.get("page")
        left, top, _, _ = NodeView(node).box or (-1, -1, 0, 0)
        return documents.setdefault(name, index), page if isinstance(page, int) else 0, top, left, index

    return sorted(range(len(nodes)), key=key)


def image_record(
    node: BaseNode, number: int, path: str | None, *, size: tuple[int, int, int] | None, sent: bool
) -> dict[str, Any]:
    """Return what a notebook needs to show an image beside the answer.

    Args:
        number: Its number in the answer, from 1.
        path: The image's file, if it is one.
        size: Width and height in pixels, and bytes, as sent or as stored.
        sent: Whether the LLM has seen it.

    Returns:
        A dictionary with ``n``, ``node_id``, ``path``, ``page``, ``page_label``, ``file_name``, ``label``,
        ``caption``, ``content_type``, ``width``, ``height``, ``bytes``, ``attached`` and ``sent``.
    """
    metadata = node.metadata
    width, height, count = size or (None, None, None)
    keys = ("page", "page_label", "file_name", "label", "caption", "content_type")
    return {
        "n": number,
        "node_id": node.node_id,
        "path": path,
        **{key: metadata.get(key) for key in keys},
        "width": width,
        "height": height,
        "bytes": count,
        "attached": False,
        "sent": sent,
    }


def attached_record(source: str | bytes, image: FittedImage | None) -> dict[str, Any]:
    """Return the same for an image that the question carried.

    Args:
        source: The image's path or bytes.
        image: The image as it was sent; None when it was not.
    """
    names = ("page", "page_label", "file_name", "label", "caption", "content_type")
    return {
        "n": None,
        "node_id": None,
        "path": source if isinstance(source, str) else None,
        **dict.fromkeys(names),
        "width": image.width if image is not None else None,
        "height": image.height if image is not None else None,
        "bytes": len(image.data) if image is not None else None,
        "attached": True,
        "sent": image is not None,
    }


def evidence_images(
    nodes: Sequence[NodeWithScore], files: ImageFiles, sent: Mapping[int, MediaResource] | None = None
) -> list[dict[str, Any]]:
    """Return the images of source nodes in reading order.

    Args:
        nodes: Source nodes; the first is ``[1]``.
        files: Where images may be read from.
        sent: What the LLM has seen, by index of the node.

    Returns:
        One record per image that was sent or that is a file; see :func:`image_record`.
    """
    records: list[dict[str, Any]] = []
    for index in reading_order(nodes):
        node = nodes[index].node
        resource = (sent or {}).get(index)
        if not has_image(node) and resource is None:
            node = _figure_of(node)
        path = files.path_of(node)
        if resource is None and (path is None or not has_image(node)):
            continue
        size = _size_of(base64.b64decode(resource.data or b"") if resource is not None else path)
        shown = None if path is None else str(path)
        records.append(image_record(node, index + 1, shown, size=size, sent=resource is not None))
    return records


def _figure_of(page: BaseNode) -> BaseNode:
    """Return the best figure of a page that was retrieved, as far as the page tells it; else the node itself."""
    figure = next((each for each in attached_elements(page) if each.get("content_type") == "image"), None)
    if figure is None or not figure.get("asset"):
        return page
    told = {key: figure.get(key) for key in ("content_type", "label", "bbox", "asset")}
    return ImageNode(id_=str(figure.get("node_id")), metadata={**page.metadata, **told})


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


def _named_path(node: BaseNode) -> Path | None:
    if isinstance(node, ImageNode):
        return Path(node.image_path) if node.image_path else None
    if isinstance(node, Node) and node.image_resource is not None and node.image_resource.path is not None:
        return Path(node.image_resource.path)
    return None
