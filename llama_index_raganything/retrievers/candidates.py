"""What to ask a store for, and how filters combine. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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

ELEMENT_KEYS: Final = frozenset(
    {"content_type", "page_label", "bbox", "section", "caption", "label", "element_id", "asset"}
)
"""Metadata keys that an element does not share with the node of its page."""


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
    if node.metadata.get("content_type") != "page" or not isinstance(children, list):
        return ()
    return tuple(child.node_id for child in children)


def mentions(filters: MetadataFilters | None, keys: frozenset[str]) -> bool:
    """Return whether filters, however deeply nested, set a condition on one of some keys.

    Args:
        filters: Filters, or None.
        keys: Metadata keys.
    """
    if filters is None:
        return False
    return any(
        mentions(item, keys) if isinstance(item, MetadataFilters) else item.key in keys for item in filters.filters
    )


def both(*conditions: MetadataFilters | None) -> MetadataFilters | None:
    """Return filters that hold when all of some filters hold.

    Args:
        *conditions: Filters, or None for no condition.
    """
    given = [item for item in conditions if item is not None and item.filters]
    if len(given) <= 1:
        return given[0] if given else None
    return MetadataFilters(filters=list(given), condition=FilterCondition.AND)


def look_ups(question: Question, documents: Sequence[str], filters: MetadataFilters | None) -> list[Fetch]:
    """Return the requests for pages and labelled elements that a question names outright.

    Args:
        question: The question.
        documents: Ids of the documents to look into, those with the best candidates first.
        filters: The caller's filters, which hold for these requests too.

    Returns:
        No, one or two requests.
    """
    if not documents:
        return []
    requests = []
    named = _named(question)
    if named:
        within = _in_documents(documents[:MAX_DOCUMENTS_LOOKED_UP])
        anyone = MetadataFilters(filters=list(named), condition=FilterCondition.OR)
        requests.append(Fetch(filters=both(filters, within, anyone)))
    if question.last_pages:
        pages = MetadataFilters(filters=[MetadataFilter(key="content_type", value="page")])
        requests.append(Fetch(filters=both(filters, _in_documents(documents[:MAX_DOCUMENTS_ENDED]), pages)))
    return requests


def _named(question: Question) -> list[MetadataFilter]:
    numbers = sorted({*question.pages, *question.positions, *([1] if question.about_document else [])})
    labels = [str(number) for number in question.pages] + list(question.page_labels)
    elements = [label_of(f"{kind} {number}") for kind, number in question.labels]
    wanted = {"page": numbers, "page_label": labels, "label": [label for label in elements if label]}
    return [
        MetadataFilter(key=key, operator=FilterOperator.IN, value=values) for key, values in wanted.items() if values
    ]


def _in_documents(documents: Sequence[str]) -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key="doc_id", operator=FilterOperator.IN, value=list(documents))])
