"""The pages that results are on, and the other elements on these, read from the store."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from llama_index.core.schema import BaseNode, NodeWithScore

from llama_index_raganything.nodes import NodeView

logger = logging.getLogger(__name__)

_MAX_ELEMENTS: Final = 200
"""Maximum elements fetched of a page; a spreadsheet "page" may have thousands."""

_MAX_PAGES: Final = 3
"""Pages whose further elements are looked at for one question."""


def fetch_nodes(store: Any, node_ids: list[str]) -> dict[str, BaseNode]:
    """Return the nodes of some ids that a store has; a store that fails costs a warning and not the answer.

    Args:
        store: A vector store or docstore with ``get_nodes(node_ids=...)``, or None.
    """
    if store is None or not node_ids:
        return {}
    try:
        found = store.get_nodes(node_ids=node_ids)
    except Exception as error:  # noqa: BLE001  # Any store may fail in its own way.
        logger.warning("The nodes around the retrieved elements cannot be read: %s", error)
        return {}
    return {node.node_id: node for node in found}


def fetch_pages(store: Any, results: Iterable[NodeWithScore]) -> dict[str, BaseNode]:
    """Return the pages that results are or are on, by id; those among the results are not fetched."""
    nodes = [scored.node for scored in results]
    own = {node.node_id: node for node in nodes if NodeView(node).is_page}
    fetched = fetch_nodes(store, sorted({own_page_id(node) for node in nodes} - own.keys() - {""}))
    # Nodes that were split once more have parents that are no pages.
    return own | {node_id: node for node_id, node in fetched.items() if NodeView(node).is_page}


def own_page_id(node: BaseNode) -> str:
    """Return the id of the page that a node is or, if its parent is a page, is on; empty where there is none."""
    if NodeView(node).is_page:
        return node.node_id
    return node.parent_node.node_id if node.parent_node is not None else ""


def elements_on_pages(store: Any, cited: Mapping[int, NodeWithScore]) -> dict[int, list[BaseNode]]:
    """Fetch the elements on the pages of cited sources, so that a citation can lead to the box of one of them.

    Args:
        store: See :func:`fetch_nodes`.
        cited: Source nodes by their number: pages, or elements on one.

    Returns:
        Nodes by the number of the source: all elements of a page; for an element the others of its page, but for
        those that are cited by a number of their own. A page without elements, as in a fast parse, counts as its own
        only element.
    """
    own = {scored.node.node_id for scored in cited.values()}
    pages = fetch_pages(store, cited.values())
    wanted: dict[int, Sequence[str]] = {}
    for number, scored in cited.items():
        page = pages.get(own_page_id(scored.node))
        if page is not None:
            ids = NodeView(page).element_node_ids[:_MAX_ELEMENTS]
            others = [node_id for node_id in ids or (page.node_id,) if node_id not in own]
            wanted[number] = ids if NodeView(scored.node).is_page else others
    nodes = pages | fetch_nodes(store, sorted({i for ids in wanted.values() for i in ids} - pages.keys()))
    return {number: [nodes[node_id] for node_id in ids if node_id in nodes] for number, ids in wanted.items()}


def elements_beside(store: Any, nodes: Sequence[NodeWithScore]) -> list[tuple[int, BaseNode]]:
    """Fetch the other elements on the pages of the best results.

    Returns:
        Nodes that are not among the results, each with the index of the first result on its page.
    """
    first: dict[str, int] = {}
    for index, scored in enumerate(nodes):
        if page := own_page_id(scored.node):
            first.setdefault(page, index)
    found = elements_on_pages(store, {index: nodes[index] for index in list(first.values())[:_MAX_PAGES]})
    present = {scored.node.node_id for scored in nodes}
    return [(index, node) for index, near in found.items() for node in near if node.node_id not in present]
