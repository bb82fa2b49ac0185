"""The metadata filters that this package asks stores for, and how filters combine.

How Milvus evaluates them is in :mod:`llama_index_raganything.stores.milvus.filter_expressions`.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)


def equal_to(key: str, value: str | int) -> MetadataFilters:
    """Return the filter for one value of a key."""
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value)])


def one_of(key: str, values: Sequence[str] | Sequence[int]) -> MetadataFilters:
    """Return the filter for any of several values of a key; without values nothing passes."""
    return MetadataFilters(filters=[MetadataFilter(key=key, operator=FilterOperator.IN, value=list(values))])


def of_documents(*doc_ids: str) -> MetadataFilters:
    """Return the filter for the nodes of some documents; without ids nothing passes."""
    return equal_to("doc_id", doc_ids[0]) if len(doc_ids) == 1 else one_of("doc_id", doc_ids)


def all_of(*filters: MetadataFilters | None) -> MetadataFilters | None:
    """Return the filter that passes what passes all of several; None stands for no restriction."""
    return _joined(filters, FilterCondition.AND)


def any_of(*filters: MetadataFilters | None) -> MetadataFilters | None:
    """Return the filter that passes what passes one of several; None is left out."""
    return _joined(filters, FilterCondition.OR)


def mentions(filters: MetadataFilters | None, keys: Set[str]) -> bool:
    """Return whether filters, however deeply nested, restrict one of some keys."""
    if filters is None:
        return False
    return any(
        mentions(item, keys) if isinstance(item, MetadataFilters) else item.key in keys for item in filters.filters
    )


def _joined(filters: Sequence[MetadataFilters | None], condition: FilterCondition) -> MetadataFilters | None:
    given = [item for item in filters if item is not None and item.filters]
    if len(given) <= 1:
        return given[0] if given else None
    # Flat where possible: not every store takes nested groups.
    parts: list[MetadataFilter | MetadataFilters] = []
    for item in given:
        is_flat = item.condition == condition or (len(item.filters) == 1 and item.condition != FilterCondition.NOT)
        parts.extend(item.filters if is_flat else [item])
    return MetadataFilters(filters=parts, condition=condition)
