"""``MultimodalContextPostprocessor``: the pictures of what was retrieved, for an LLM that sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import (
    BaseNode,
    MediaResource,
    Node,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from pydantic import Field

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.images import FittedImage
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.query_engine.context.node_images import ImageFiles, has_image

DEFAULT_MAX_IMAGES: Final = 4
"""Images that an LLM is shown for one question."""


@strict_arguments
class MultimodalContextPostprocessor(BaseNodePostprocessor):
    """Give the pictures of what was retrieved to a multimodal LLM: of images their caption **and** the image.

    A page is shown as a whole, rendered from its PDF file where that is as it was read, else by its best figure. For
    .95 of the questions about charts, figures and tables in real PDFs an evidence page is among the first four
    (``benchmarks.context``).

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
