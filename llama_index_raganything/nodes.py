"""Nodes, whoever made them: a typed view of one (text, page, box, label, kind), and those around it in a store."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    MetadataMode,
    Node,
    NodeRelationship,
    NodeWithScore,
    RelatedNodeInfo,
)

from llama_index_raganything.elements import ELEMENTS_KEY, SECTION_SEPARATOR

_PAGE_KEYS: Final = ("page", "page_number", "page_label")
_MAX_ELEMENTS: Final = 200
"""Maximum elements fetched of a page; a spreadsheet "page" may have thousands."""

_MAX_PAGES: Final = 3
"""Pages whose further elements are looked at for one question."""

logger = logging.getLogger(__name__)


class NodeView:
    """Read-only access to what a node's metadata and relationships say.

    >>> from llama_index.core.schema import TextNode
    >>> view = NodeView(TextNode(text="42", metadata={"page": 3, "section": "Results > Sales"}))
    >>> view.page, view.heading, view.kind
    (3, 'Sales', 'text')

    Args:
        node: Any node; nodes of other readers lack most of this and get empty values.
    """

    __slots__ = ("node",)

    def __init__(self, node: BaseNode) -> None:
        self.node = node

    @property
    def text(self) -> str:
        """The text without metadata."""
        return self.node.get_content(metadata_mode=MetadataMode.NONE)

    @property
    def document_id(self) -> str:
        """The id of the document; empty for a node of none."""
        return str(self.node.metadata.get("doc_id") or self.node.ref_doc_id or "")

    @property
    def kind(self) -> str:
        """The content type; of a node that names none "image" for an ``ImageNode``, else "text"."""
        return self._string("content_type") or ("image" if isinstance(self.node, ImageNode) else "text")

    @property
    def is_page(self) -> bool:
        """Whether the node holds a whole page."""
        return bool(self.node.metadata.get("content_type") == "page")

    @property
    def page(self) -> int | None:
        """The page, from 1; other readers keep it as a string, or only as a label."""
        return page_number(self.node.metadata)

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """Left, top, right, bottom in thousandths of the page."""
        return box_of(self.node.metadata.get("bbox"))

    @property
    def section(self) -> str:
        """The path of headings above the node, outermost first."""
        return self._string("section")

    @property
    def heading(self) -> str:
        """The innermost heading above the node."""
        return last_heading(self.section)

    @property
    def caption(self) -> str:
        """The caption."""
        return self._string("caption")

    @property
    def label(self) -> str:
        """The label that texts cite: "Figure 3"."""
        return self._string("label")

    @property
    def asset(self) -> str:
        """The path of its image in the folder of assets."""
        return self._string("asset")

    @property
    def page_node_id(self) -> str | None:
        """The id of the node of the page that an element is on; None for nodes that this package did not make."""
        parent = self.node.relationships.get(NodeRelationship.PARENT)
        metadata = self.node.metadata
        if not isinstance(parent, RelatedNodeInfo) or "content_type" not in metadata or "page" not in metadata:
            return None
        return parent.node_id

    @property
    def element_node_ids(self) -> tuple[str, ...]:
        """The ids of the elements on a page, in reading order; none for any other node."""
        children = self.node.relationships.get(NodeRelationship.CHILD)
        if not self.is_page or not isinstance(children, list):
            return ()
        return tuple(child.node_id for child in children)

    @property
    def has_image(self) -> bool:
        """Whether the node is one with an image, which may be a file that is gone."""
        return isinstance(self.node, ImageNode) or (
            isinstance(self.node, Node) and self.node.image_resource is not None
        )

    @property
    def best_elements(self) -> list[dict[str, Any]]:
        """What a retrieved page says of its best elements, at most three, best first; see :data:`ELEMENTS_KEY`."""
        found = self._json(ELEMENTS_KEY)
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []

    def _json(self, key: str) -> Any:
        try:
            return json.loads(self.node.metadata.get(key) or "null")
        except (TypeError, ValueError):
            return None

    def _string(self, key: str) -> str:
        return str(self.node.metadata.get(key) or "")


def page_number(metadata: dict[str, Any]) -> int | None:
    """Return the page that metadata name, from 1, as a number, as digits or as a label of digits."""
    for key in _PAGE_KEYS:
        value = metadata.get(key)
        if isinstance(value, bool) or value is None:
            continue
        digits = str(value).removesuffix(".0")
        if digits.isascii() and digits.isdigit() and int(digits) > 0:
            return int(digits)
    return None


def box_of(value: Any) -> tuple[int, int, int, int] | None:
    """Return a box from four numbers or their JSON text; None from anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if not isinstance(value, (list, tuple)) or len(value) != 4:
        return None
    try:
        left, top, right, bottom = (int(edge) for edge in value)
    except (TypeError, ValueError):
        return None
    return left, top, right, bottom


def last_heading(section: str) -> str:
    """Return the innermost heading of a section path."""
    return section.rpartition(SECTION_SEPARATOR)[2]


def in_reading_order(parts: Sequence[BaseNode]) -> list[BaseNode]:
    """Put the parts of a table in reading order by their links, where all but the first have one.

    Args:
        parts: The parts, in any order.

    Returns:
        The parts; as they were where their links do not tell.
    """
    by_id = {part.node_id: part for part in parts}
    following: dict[str, str] = {}
    for part in parts:
        previous = part.relationships.get(NodeRelationship.PREVIOUS)
        if previous is not None and not isinstance(previous, list) and previous.node_id in by_id:
            following[previous.node_id] = part.node_id
    firsts = by_id.keys() - set(following.values())
    if len(firsts) != 1:
        return list(parts)
    ordered = [*firsts]
    while (after := following.get(ordered[-1])) is not None and len(ordered) < len(parts):
        ordered.append(after)
    return [by_id[node_id] for node_id in ordered] if len(ordered) == len(parts) else list(parts)


# -- around a node, in a store -----------------------------------------------------------------------------------------


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
