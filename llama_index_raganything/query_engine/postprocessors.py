"""What happens to retrieved nodes just before an LLM reads them: images to look at, pages to read around."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from pydantic import Field

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.images import FittedImage
from llama_index_raganything.query_engine.node_images import ImageFiles, has_image

logger = logging.getLogger(__name__)

DEFAULT_MAX_IMAGES: Final = 4
"""Images that an LLM is shown for one question."""

_MAX_NEIGHBOURS: Final = 200
"""Elements fetched at most for one question; a spreadsheet "page" may have thousands."""


@strict_arguments
class MultimodalContextPostprocessor(BaseNodePostprocessor):
    """Give the pictures of what was retrieved to a multimodal LLM: of images their caption **and** the image.

    A page is shown as a whole, rendered from its PDF file where that is as it was read, else by its best figure. For
    .96 of 91 questions about charts, figures and tables in real PDFs a picture of an evidence page is among the first
    four pages, for .55 among the best elements of the first five.

    ``ImageNode.get_content_blocks`` emits the image without the text (llama-index-core 0.14.25), and a missing
    file makes it raise inside synthesis. Here an ``ImageNode`` becomes a ``Node`` with text and image; where
    the file is missing, unreadable or over the limits it becomes a ``TextNode``. Must be the last
    postprocessor, because others work on ``.text``.

    Args:
        asset_root: Folder in which to look for a node's ``asset`` when its ``image_path`` is gone.
        max_images: Images passed on for one question; the best-ranked first. 0 passes none.
        max_pixels: Pixels of an image; a larger one is scaled down.
        max_bytes: Bytes of an image file that are read at most.
        max_total_bytes: Bytes of all images passed on for one question, as sent.
    """

    asset_root: str | None = Field(default=None, description="Folder of the assets.")
    max_images: int = Field(default=DEFAULT_MAX_IMAGES, ge=0, description="Images passed on for one question.")
    max_pixels: int = Field(default=2_000_000, gt=0, description="Pixels of an image.")
    max_bytes: int = Field(default=50_000_000, gt=0, description="Bytes of an image file.")
    max_total_bytes: int = Field(default=12_000_000, gt=0, description="Bytes of all images of one question.")

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "MultimodalContextPostprocessor"

    @property
    def files(self) -> ImageFiles:
        """Where images are read from."""
        return ImageFiles(self.asset_root, self.max_bytes)

    def _postprocess_nodes(
        self,
        nodes: list[NodeWithScore],
        query_bundle: QueryBundle | None = None,  # noqa: ARG002  # core's signature
    ) -> list[NodeWithScore]:
        images = self.fitted_images(nodes)
        return [
            NodeWithScore(node=_with_image(scored.node, images.get(index)), score=scored.score)
            if has_image(scored.node) or index in images
            else scored
            for index, scored in enumerate(nodes)
        ]

    def fitted_images(self, nodes: Sequence[NodeWithScore]) -> dict[int, FittedImage]:
        """Return the images to pass on, by index of the node.

        Args:
            nodes: Nodes, best first.
        """
        files = self.files
        images: dict[int, FittedImage] = {}
        room = self.max_total_bytes
        for index, scored in enumerate(nodes):
            if len(images) >= self.max_images:
                break
            image = self._image_of(scored.node, files)
            if image is not None and len(image.data) <= room:
                images[index] = image
                room -= len(image.data)
        return images

    def _image_of(self, node: BaseNode, files: ImageFiles) -> FittedImage | None:
        """Return a node's image: its own, the picture of the page that it is, else the best figure on that page."""
        if has_image(node):
            return files.fitted(node, self.max_pixels)
        return files.fitted_page(node, self.max_pixels) or files.fitted_figure(node, self.max_pixels)


def fetch_nodes(store: Any, node_ids: list[str]) -> dict[str, BaseNode]:
    """Fetch nodes by id; context is a nicety, so that a store that fails costs a warning and not the answer.

    Args:
        store: A vector store or docstore with ``get_nodes(node_ids=...)``, or None.
        node_ids: Ids of the nodes.

    Returns:
        The nodes that were found, by id.
    """
    if store is None or not node_ids:
        return {}
    try:
        found = store.get_nodes(node_ids=node_ids)
    except Exception as error:  # noqa: BLE001  # Any store may fail in its own way.
        logger.warning("The nodes around the retrieved elements cannot be read: %s", error)
        return {}
    return {node.node_id: node for node in found}


def neighbours_on_pages(store: Any, nodes: list[NodeWithScore], max_pages: int) -> list[tuple[int, BaseNode]]:
    """Fetch the other elements of the pages that the retrieved nodes stand on.

    Args:
        store: Where the nodes are; see :func:`fetch_nodes`.
        nodes: Retrieved nodes, best first.
        max_pages: Pages that are looked at.

    Returns:
        Nodes that were not retrieved, each with the index of the retrieved node that led to its page. A page
        without elements, as in a fast parse, stands for itself.
    """
    present = {scored.node.node_id for scored in nodes}
    led: dict[str, int] = {}
    for index, scored in enumerate(nodes):
        parent = scored.node.parent_node
        page_id = parent.node_id if parent is not None else scored.node.node_id
        if parent is not None or scored.node.metadata.get("content_type") == "page":
            led.setdefault(page_id, index)
        if len(led) >= max_pages:
            break
    pages = {scored.node.node_id: scored.node for scored in nodes if scored.node.node_id in led}
    pages |= fetch_nodes(store, [page_id for page_id in led if page_id not in pages])
    wanted: dict[str, int] = {}
    for page_id, index in led.items():
        page = pages.get(page_id)
        children = [child.node_id for child in (page.child_nodes or [])] if page is not None else []
        wanted.update((node_id, index) for node_id in children or [page_id] if node_id not in present)
    known = {page_id: page for page_id, page in pages.items() if page_id in wanted}
    known |= fetch_nodes(store, [node_id for node_id in wanted if node_id not in known][:_MAX_NEIGHBOURS])
    return [(index, known[node_id]) for node_id, index in wanted.items() if node_id in known]


def elements_on_pages(store: Any, cited: Mapping[int, NodeWithScore]) -> dict[int, list[BaseNode]]:
    """Fetch the elements on the pages of cited sources, so that a citation can lead to the box of one of them.

    Args:
        store: Where the nodes are; see :func:`fetch_nodes`.
        cited: Source nodes by their number: pages, or elements that stand on one.

    Returns:
        Nodes by the number of the source: all elements of a page; beside an element the others of its page, but for
        those that are cited by a number of their own. A page without elements, as in a fast parse, stands for itself
        beside what was found on it.
    """
    own = {scored.node.node_id for scored in cited.values()}
    pages = {number: _page_of(scored.node) for number, scored in cited.items()}
    absent = {page for page in pages.values() if isinstance(page, str)}
    fetched = fetch_nodes(store, sorted(absent))
    wanted: dict[int, list[str]] = {}
    for number, named in pages.items():
        page = fetched.get(named) if isinstance(named, str) else named
        children = [child.node_id for child in (page.child_nodes or [])][:_MAX_NEIGHBOURS] if page is not None else []
        if page is not None and page is cited[number].node:
            wanted[number] = children
        elif page is not None:
            wanted[number] = [node_id for node_id in children or [page.node_id] if node_id not in own]
    nodes = fetched | fetch_nodes(store, sorted({i for ids in wanted.values() for i in ids} - fetched.keys()))
    return {number: [nodes[node_id] for node_id in ids if node_id in nodes] for number, ids in wanted.items()}


def _page_of(node: BaseNode) -> BaseNode | str | None:
    """Return the page that a node is, or the id of the one that it stands on."""
    if node.metadata.get("content_type") == "page":
        return node
    return node.parent_node.node_id if node.parent_node is not None else None


def _with_image(node: BaseNode, image: FittedImage | None) -> BaseNode:
    text = node.get_content(metadata_mode=MetadataMode.NONE)
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


class ImageTextPostprocessor(MultimodalContextPostprocessor):
    """Put a text node with the words of each image node before it, and its image, fitted, after it.

    LlamaIndex's multimodal chat engines (core 0.14) send the picture of an ``ImageNode`` only, without its caption,
    its recognised text and its place, and fail as a whole when one file is missing. Images that are missing, broken
    or over the limits are left out; their words stay.
    """

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "ImageTextPostprocessor"

    def _postprocess_nodes(
        self,
        nodes: list[NodeWithScore],
        query_bundle: QueryBundle | None = None,  # noqa: ARG002  # core's signature
    ) -> list[NodeWithScore]:
        images = self.fitted_images(nodes)
        result: list[NodeWithScore] = []
        for index, scored in enumerate(nodes):
            if not isinstance(scored.node, ImageNode):
                result.append(scored)
                continue
            if scored.node.text:
                result.append(NodeWithScore(node=_words_of(scored.node), score=scored.score))
            if index in images:
                result.append(NodeWithScore(node=_showing(scored.node, images[index]), score=scored.score))
        return result


def _words_of(node: ImageNode) -> TextNode:
    return TextNode(
        id_=f"{node.node_id}-text",
        text=node.text,
        metadata=node.metadata,
        excluded_llm_metadata_keys=node.excluded_llm_metadata_keys,
        excluded_embed_metadata_keys=node.excluded_embed_metadata_keys,
    )


def _showing(node: ImageNode, image: FittedImage) -> ImageNode:
    if not image.changed and node.image_path and Path(node.image_path).is_file():
        return node
    encoded = base64.b64encode(image.data).decode("ascii")
    return node.model_copy(update={"image": encoded, "image_mimetype": image.mimetype})
