"""Where the nodes are that LightRAG's chunks stand for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from llama_index.core.schema import BaseNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.types import BasePydanticVectorStore, MetadataFilters
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from llama_index_raganything.errors import ConfigurationError, FilterError

FILE_NAME: Final = "raganything_nodes.json"


class NodeSource:
    """Looks nodes up by id, in a vector store or in memory.

    Args:
        vector_store: Holds the nodes; the truth about them, filters and tenants.
        nodes: Nodes in memory, where there is no store.
    """

    def __init__(
        self, vector_store: BasePydanticVectorStore | None = None, nodes: Iterable[BaseNode] | None = None
    ) -> None:
        self.vector_store = vector_store
        self._nodes = {node.node_id: node for node in nodes or ()}

    def decides(self, node_id: str) -> bool:
        """Tell whether a node that was looked up in vain must not be replaced by its chunk's text.

        Args:
            node_id: Its id.

        Returns:
            True where a store is the boundary of its tenant, or the node is known and did not pass the filters.
        """
        return self.vector_store is not None or node_id in self._nodes

    def load(self, folder: Path) -> None:
        """Read the nodes that an earlier build without a store has left in a folder.

        Args:
            folder: Folder of the workspace.
        """
        path = folder / FILE_NAME
        if self.vector_store is None and path.exists():
            kept = SimpleDocumentStore.from_persist_path(str(path))
            self._nodes = {**kept.docs, **self._nodes}

    def record(self, folder: Path, added: Iterable[BaseNode] = (), dropped: Iterable[str] = ()) -> None:
        """Keep nodes in memory and in a folder, unless a store has them.

        Args:
            folder: Folder of the workspace.
            added: Nodes to keep.
            dropped: Ids of nodes to keep no longer.
        """
        if self.vector_store is not None:
            return
        self.load(folder)
        self._nodes.update((node.node_id, node.model_copy(update={"embedding": None})) for node in added)
        for node_id in dropped:
            self._nodes.pop(node_id, None)
        kept = SimpleDocumentStore()
        kept.add_documents(list(self._nodes.values()))
        kept.persist(str(folder / FILE_NAME))

    def get(self, node_ids: Sequence[str], filters: MetadataFilters | None) -> dict[str, BaseNode]:
        """Return nodes.

        Args:
            node_ids: Their ids.
            filters: What they must pass.

        Returns:
            Copies by id, without embeddings; those that are not there or do not pass are left out.

        Raises:
            ConfigurationError: The store cannot look nodes up by id.
        """
        if not node_ids:
            return {}
        if self.vector_store is None:
            found: list[BaseNode] = [self._nodes[node_id] for node_id in node_ids if node_id in self._nodes]
            found = passing(found, filters)
        else:
            try:
                found = self.vector_store.get_nodes(node_ids=list(node_ids), filters=filters)
            except NotImplementedError as error:
                message = (
                    f"{type(self.vector_store).__name__} cannot look nodes up by id; "
                    "pass nodes=... or use MilvusNodeStore."
                )
                raise ConfigurationError(message) from error
        return {node.node_id: node.model_copy(update={"embedding": None}, deep=True) for node in found}


def passing(nodes: Sequence[BaseNode], filters: MetadataFilters | None) -> list[BaseNode]:
    """Return the nodes that pass some filters.

    Args:
        nodes: Nodes.
        filters: Filters; all pass where there are none.

    Returns:
        Those that pass, in order.

    Raises:
        FilterError: A filter's value cannot be compared with what is stored.
    """
    if filters is None or not filters.filters:
        return list(nodes)
    passes = build_metadata_filter_fn(lambda node_id: by_id[node_id].metadata, filters)
    by_id = {node.node_id: node for node in nodes}
    try:
        return [node for node in nodes if passes(node.node_id)]
    except TypeError as error:
        message = f"A filter compares values of different types ({error}): {filters}."
        raise FilterError(message) from error
