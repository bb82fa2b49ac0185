"""How well texts, and the documents they belong to, cover a question.

Coverage is the share of a question's telling words that a text has, each weighed by how rare it is. A document's
coverage takes for each word the text that has most of it, so that a document is not held back by its length.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from llama_index_raganything.ranking.lexical import Floats, inverse_document_frequency, standardize

_BEST_TEXTS = 3


def question_coverage(frequencies: Floats) -> Floats:
    """Return the share of the question that each text covers.

    Args:
        frequencies: How often each question term occurs, texts by terms.

    Returns:
        Between 0 (no word of the question) and 1 (all of them) per text.
    """
    size, terms = frequencies.shape
    if not terms:
        return np.zeros(size)
    present = frequencies > 0
    idf = inverse_document_frequency(present.sum(axis=0).astype(np.float64), size)
    return np.asarray(present @ idf / idf.sum(), dtype=np.float64)


def joint_coverage(contributions: Floats, members: Sequence[int]) -> float:
    """Return how well several texts together cover a question: each term counts once, where it is strongest.

    Args:
        contributions: What each term gives to each text, texts by terms.
        members: Rows of the texts that are taken together.

    Returns:
        The sum over terms of the largest contribution among the members; 0 without members.
    """
    if not members:
        return 0.0
    return float(contributions[list(members)].max(axis=0).sum())


def group_indexes(groups: Sequence[Hashable]) -> npt.NDArray[np.int64]:
    """Number groups in order of first appearance.

    Args:
        groups: The group of each text.

    Returns:
        An integer from 0 per text, equal for texts of one group.
    """
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)


def document_scores(contributions: Floats, totals: Floats, documents: npt.NDArray[np.int64]) -> Floats:
    """Return how well the document of each text covers the question.

    The combination of joint coverage and the mean of the best three texts places the right document first more
    often than either alone.

    Args:
        contributions: What each term gives to each text, texts by terms.
        totals: The score of each text by itself.
        documents: Number of the document of each text, from 0 without gaps.

    Returns:
        One standardised value per text, equal for the texts of one document; zeros for a single document.
    """
    count = int(documents.max()) + 1 if documents.size else 0
    if count < 2:
        return np.zeros(documents.size)
    strongest = np.zeros((count, contributions.shape[1]))
    np.maximum.at(strongest, documents, contributions)
    coverage = strongest.sum(axis=1)
    order = np.lexsort((-totals, documents))
    sizes = np.bincount(documents, minlength=count)
    place = np.arange(documents.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    top = order[place < _BEST_TEXTS]
    best = np.bincount(documents[top], totals[top], minlength=count) / np.minimum(sizes, _BEST_TEXTS)
    combined = standardize(coverage) + 0.5 * standardize(best)
    return standardize(combined)[documents]
