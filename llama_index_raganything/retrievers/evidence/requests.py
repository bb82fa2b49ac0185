"""What to ask a store for. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from llama_index.core.vector_stores.types import MetadataFilters, VectorStoreQuery

from llama_index_raganything.elements import label_of
from llama_index_raganything.questions.question import Question
from llama_index_raganything.stores.metadata_filters import all_of, any_of, equal_to, of_documents, one_of

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


@dataclass(frozen=True, slots=True)
class Passing:
    """A request for those of some nodes that are stored and pass a filter, ids only.

    Attributes:
        node_ids: Ids of the nodes.
        filters: What they must pass.
    """

    node_ids: list[str]
    filters: MetadataFilters | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A request to do something that may wait, where an event loop is not held up.

    Attributes:
        function: Takes and returns nothing.
    """

    function: Callable[[], object]


Request = VectorStoreQuery | Fetch | Passing | Call


def look_ups(
    question: Question, documents: Sequence[str], filters: MetadataFilters | None, *, page_nodes: bool = True
) -> list[Fetch]:
    """Return the requests for pages and labelled elements that a question names outright.

    Args:
        documents: Ids of the documents to look into, those with the best candidates first.
        filters: The caller's filters, which hold for these requests too.
        page_nodes: Whether pages are nodes of their own; otherwise all elements of a named page are asked for.

    Returns:
        No, one or several requests.
    """
    if not documents:
        return []
    within = of_documents(*documents[:MAX_DOCUMENTS_LOOKED_UP])
    pages_only = equal_to("content_type", "page") if page_nodes else None
    numbers = sorted({*question.pages, *question.positions, *([1] if question.about_document else [])})
    names = [str(number) for number in question.pages] + list(question.page_labels)
    elements = [label for kind, number in question.labels if (label := label_of(f"{kind} {number}"))]
    named = any_of(
        one_of("page", numbers) if numbers else None,
        one_of("page_label", names) if names else None,
    )
    requests = []
    if named is not None:
        requests.append(Fetch(filters=all_of(filters, within, pages_only, named)))
    if elements:
        requests.append(Fetch(filters=all_of(filters, within, one_of("label", elements))))
    if question.last_pages:
        requests.append(Fetch(filters=all_of(filters, of_documents(*documents[:MAX_DOCUMENTS_ENDED]), pages_only)))
    return requests
