"""Vectors of images beside the nodes: ``<kb>__visual`` in the same Milvus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from llama_index.core.schema import BaseNode, ImageNode

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.settings import DEFAULT_COLLECTION, DEFAULT_MILVUS_URI
from llama_index_raganything.stores.nodes.store import MilvusNodeStore

VISUAL_SUFFIX: Final = "__visual"
"""Suffix of the collection of image vectors."""


@strict_arguments
class MilvusVisualStore(MilvusNodeStore):
    """Nodes found by the vector of their image, by filters and by ids; without keywords.

    The rows have the ids, texts and metadata of the same nodes in the node store, so filters, tenants and deletion by
    document work alike. An image goes in as its path or URL; its bytes (``ImageNode.image``) stay outside, since a
    server takes 64 KB per value and every hit would carry them.

    Args:
        uri: As for :class:`MilvusNodeStore`.
        collection_name: As for :class:`MilvusNodeStore`.
        dim: Dimension of the vectors; by default that of the stored collection or of the first image.
        **kwargs: Further arguments of :class:`MilvusNodeStore`.

    Raises:
        SchemaMismatchError: The stored collection has another schema or dimension.
    """

    enable_sparse: bool = False

    def __init__(
        self,
        uri: str = DEFAULT_MILVUS_URI,
        collection_name: str = DEFAULT_COLLECTION + VISUAL_SUFFIX,
        dim: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(uri, collection_name, dim, **kwargs)

    @classmethod
    def class_name(cls) -> str:
        """Return the key of serialisation."""
        return "MilvusVisualStore"

    def add(self, nodes: Sequence[BaseNode], **add_kwargs: Any) -> list[str]:
        """Write nodes without the bytes of their images; see :meth:`MilvusNodeStore.add`.

        Args:
            nodes: Nodes with the vectors of their images as embeddings.
            **add_kwargs: ``force_flush=True`` flushes at the end.

        Returns:
            The ids of the nodes, in order.

        Raises:
            NodeValueError: A node cannot be stored; nothing was written.
        """
        return super().add([without_bytes(node) for node in nodes], **add_kwargs)


def without_bytes(node: BaseNode) -> BaseNode:
    """Return a node without the bytes of its image; its path and URL stay.

    Args:
        node: Any node; it stays as it is.
    """
    if not isinstance(node, ImageNode):
        return node
    inline = (node.image_url or "").startswith("data:")
    if node.image is None and not inline:
        return node
    return node.model_copy(update={"image": None, "image_url": None if inline else node.image_url})


def visual_store_beside(
    store: MilvusNodeStore, dimension: int | None = None, *, overwrite: bool = False
) -> MilvusVisualStore:
    """Open the image vectors of a knowledge base, in the same database and for the same tenant.

    Args:
        dimension: Dimension of the vectors; by default that of the stored collection or of the first image.
        overwrite: Delete the image vectors that are stored (of this tenant).

    Returns:
        The store; close it like any other.

    Raises:
        SchemaMismatchError: The stored vectors have another dimension.
    """
    return MilvusVisualStore(
        uri=store.uri,
        collection_name=store.collection_name + VISUAL_SUFFIX,
        dim=dimension,
        token=store.token,
        db_name=store.db_name,
        tenant=store.tenant,
        consistency_level=store.consistency_level,
        timeout_s=store.timeout_s,
        overwrite=overwrite,
    )
