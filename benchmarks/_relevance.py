"""Does the score of a result tell whether it answers: questions asked of their own document and of another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters

from llama_index_raganything import RAGAnythingIndex
from llama_index_raganything.retrievers.inventory.retriever import INVENTORY_TYPE


def auc(index: RAGAnythingIndex, questions: Sequence[Mapping[str, Any]], document_ids: Mapping[str, str]) -> float:
    """Return how often a question scores higher in a document that answers one than in a document that does not.

    Args:
        index: Holds the documents; each question is asked twice under a filter by document.
        questions: Each with ``question`` and ``doc``, the name of its file.
        document_ids: Ids by name of file, of two documents or more.

    Returns:
        Area under the curve of the first score, over all pairs of a question in its own document and a question in
        another one; ties count half.

    Raises:
        ValueError: There was no question to measure by.
    """
    return area(*top_scores(index, questions, document_ids))


def top_scores(
    index: RAGAnythingIndex, questions: Sequence[Mapping[str, Any]], document_ids: Mapping[str, str]
) -> tuple[list[float], list[float]]:
    """Return the first scores of questions in their own document and in another one; see :func:`auc`.

    Questions that an inventory answers are left out: any document can say how many figures it has.
    """
    own, other = [], []
    for place, question in enumerate(questions):
        names = (question["doc"], another(question["doc"], document_ids, place))
        here, there = (top_score(index, question["question"], document_ids[name]) for name in names)
        if here is not None and there is not None:
            own.append(here)
            other.append(there)
    return own, other


def another(name: str, document_ids: Mapping[str, str], place: int) -> str:
    """Return the name of another document, for following places one after the other."""
    others = sorted(set(document_ids) - {name})
    return others[place % len(others)]


def top_score(index: RAGAnythingIndex, question: str, document_id: str) -> float | None:
    """Return the score of the best result within a document: 0 where nothing is found, None for an inventory."""
    filters = MetadataFilters(filters=[MetadataFilter(key="doc_id", value=document_id)])
    found = index.as_retriever(filters=filters).retrieve(question)
    if found and found[0].node.metadata.get("content_type") == INVENTORY_TYPE:
        return None
    return float(found[0].score or 0.0) if found else 0.0


def area(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Return the share of pairs in which the positive value is higher; ties count half."""
    if not len(positive) or not len(negative):
        raise ValueError("There is no question to measure by: none was asked, or an inventory answered them all.")
    ordered = np.sort(np.asarray(negative, dtype=np.float64))
    below = np.searchsorted(ordered, positive, side="left") + np.searchsorted(ordered, positive, side="right")
    return float(below.mean() / 2 / len(ordered))
