"""What to ask a store for, and how candidates, their pages and their elements belong together. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from llama_index.core.schema import BaseNode, NodeRelationship, RelatedNodeInfo
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)

from llama_index_raganything.elements import label_of
from llama_index_raganything.ranking.question import Question

MAX_DOCUMENTS_LOOKED_UP: Final = 20
"""Pages and labels that a question names are looked up in so many documents, those with the best candidates."""

MAX_DOCUMENTS_ENDED: Final = 3
"""The last pages of a document are found by reading all its pages, so this is done for few documents only."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """A request for nodes by id or by filter, without a search.

    Attributes:
        node_ids: Ids of the nodes; None to fetch by filter alone.
        filters: What every node must pass.
    """

    node_ids: list[str] | None = None
    filters: MetadataFilters | None = None


Request = VectorStoreQuery | Fetch


@dataclass(slots=True)
class Found:
    """A node with what is known about it from the searches that found it.

    Attributes:
        node: The node.
        similarity: Vector similarity; None when the vector search did not find it.
    """

    node: BaseNode
    similarity: float | None = None


@dataclass(slots=True)
class Pool:
    """The candidates of one question by node id, in order of first appearance.

    Attributes:
        found: Candidates.
    """

    found: dict[str, Found] = field(default_factory=dict)

    def add(self, nodes: Iterable[BaseNode], similarities: Sequence[float] | None = None) -> None:
        """Add nodes; one that is there already only gains a similarity.

        Args:
            nodes: Nodes from a store.
            similarities: Their vector similarities, when the search was one by vector.
        """
        for index, node in enumerate(nodes):
            entry = self.found.setdefault(node.node_id, Found(node))
            if similarities is not None and entry.similarity is None:
                entry.similarity = float(similarities[index])

    def documents(self, limit: int) -> list[str]:
        """Return the ids of the documents of the first candidates.

        Args:
            limit: How many at most.

        Returns:
            Distinct ids, best first.
        """
        known = (entry.node.metadata.get("doc_id") for entry in self.found.values())
        return list(dict.fromkeys(str(document) for document in known if document))[:limit]


def is_page(node: BaseNode) -> bool:
    """Return whether a node holds a whole page.

    Args:
        node: Any node.
    """
    return node.metadata.get("content_type") == "page"


def page_id(node: BaseNode) -> str | None:
    """Return the id of the page node that an element belongs to, or None.

    Args:
        node: Any node; only this package's elements have a page as their parent.
    """
    parent = node.relationships.get(NodeRelationship.PARENT)
    if not isinstance(parent, RelatedNodeInfo) or "content_type" not in node.metadata or "page" not in node.metadata:
        return None
    return parent.node_id


def element_ids(page: BaseNode) -> list[str]:
    """Return the ids of a page's elements in reading order.

    Args:
        page: A page node.
    """
    children = page.relationships.get(NodeRelationship.CHILD)
    return [child.node_id for child in children] if isinstance(children, list) else []


def mentions(filters: MetadataFilters | None, key: str) -> bool:
    """Return whether filters, however deeply nested, set a condition on a key.

    Args:
        filters: Filters, or None.
        key: Metadata key.
    """
    if filters is None:
        return False
    return any(
        mentions(item, key) if isinstance(item, MetadataFilters) else item.key == key for item in filters.filters
    )


def both(first: MetadataFilters | None, second: MetadataFilters | None) -> MetadataFilters | None:
    """Return filters that hold when both hold.

    Args:
        first: Filters, or None for no condition.
        second: The same.
    """
    given = [item for item in (first, second) if item is not None and item.filters]
    if len(given) < 2:
        return given[0] if given else None
    return MetadataFilters(filters=list(given), condition=FilterCondition.AND)


def look_ups(question: Question, pool: Pool, filters: MetadataFilters | None) -> list[Fetch]:
    """Return the requests for pages and labelled elements that a question names outright.

    Args:
        question: The question.
        pool: Candidates so far; only their documents are looked into.
        filters: The caller's filters, which hold for these requests too.

    Returns:
        No, one or two requests.
    """
    requests = []
    documents = pool.documents(MAX_DOCUMENTS_LOOKED_UP)
    wanted = _named(question)
    if documents and wanted:
        named = MetadataFilters(filters=list(wanted), condition=FilterCondition.OR)
        requests.append(Fetch(filters=both(filters, both(_in_documents(documents), named))))
    if documents and question.last_pages:
        pages = MetadataFilters(filters=[MetadataFilter(key="content_type", value="page")])
        ended = both(_in_documents(documents[:MAX_DOCUMENTS_ENDED]), pages)
        requests.append(Fetch(filters=both(filters, ended)))
    return requests


def _named(question: Question) -> list[MetadataFilter]:
    conditions = []
    numbers = sorted({*question.pages, *question.positions, *([1] if question.about_document else [])})
    labels = [str(number) for number in question.pages] + list(question.page_labels)
    elements = [label_of(f"{kind} {number}") for kind, number in question.labels]
    for key, values in (
        ("page", numbers),
        ("page_label", labels),
        ("label", [label for label in elements if label]),
    ):
        if values:
            conditions.append(MetadataFilter(key=key, operator=FilterOperator.IN, value=values))
    return conditions


def _in_documents(documents: list[str]) -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key="doc_id", operator=FilterOperator.IN, value=documents)])
