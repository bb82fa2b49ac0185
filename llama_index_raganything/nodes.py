"""How nodes of pages and of the elements on them lead to each other."""

from __future__ import annotations

from llama_index.core.schema import BaseNode, NodeRelationship, RelatedNodeInfo


def is_page(node: BaseNode) -> bool:
    """Tell whether a node is that of a whole page.

    Args:
        node: Any node.
    """
    return bool(node.metadata.get("content_type") == "page")


def page_id(node: BaseNode) -> str | None:
    """Return the id of the page node that an element belongs to, or None.

    Args:
        node: Any node; only this package's elements have a page as their parent.
    """
    parent = node.relationships.get(NodeRelationship.PARENT)
    if not isinstance(parent, RelatedNodeInfo) or "content_type" not in node.metadata or "page" not in node.metadata:
        return None
    return parent.node_id


def element_ids(node: BaseNode) -> tuple[str, ...]:
    """Return the ids of a page's elements in reading order.

    Args:
        node: Any node; only this package's pages have elements.
    """
    children = node.relationships.get(NodeRelationship.CHILD)
    if not is_page(node) or not isinstance(children, list):
        return ()
    return tuple(child.node_id for child in children)
