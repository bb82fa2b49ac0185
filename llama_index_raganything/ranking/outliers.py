"""Tell similarities that mean something from those of the best among unrelated things.

A search by vector always returns its nearest items, related or not, and what similarity means differs from model to
model: a picture that fits a text has .3 in one space and .8 in another. What can be told without knowing the model is
whether the best items stand out from all the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Final

import numpy as np

MIN_BACKGROUND: Final = 12
"""Fewer different similarities tell nothing about what is usual."""

FALSE_ALARMS: Final = 0.01
"""Questions, as a share, of which an unrelated item may pass."""


def outstanding_threshold(
    similarities: Sequence[float], population: int | None = None, false_alarms: float = FALSE_ALARMS
) -> float | None:
    """Return the similarity over which items stand out from the rest.

    The similarities of unrelated items are taken for normally distributed. Mean and deviation are those of the line
    through the middle (of the lower half, when only the best were read) of the quantile plot, which related items at
    the top do not bend; the threshold is what the best of so many unrelated items exceeds in ``false_alarms`` of all
    questions (Bonferroni). Equal similarities, as of the same logo on many pages, count once.

    Args:
        similarities: Similarities of the best items, or of all, in any order; higher is better.
        population: How many items there are, when not all were read.
        false_alarms: Share of questions without any related item of which one may pass.

    Returns:
        The threshold; None when fewer than :data:`MIN_BACKGROUND` different similarities are known.
    """
    values = np.unique(np.round(np.asarray(similarities, dtype=np.float64), 6))[::-1]
    size = len(values)
    if size < MIN_BACKGROUND:
        return None
    total = size if population is None or population <= len(similarities) else population
    first, last = (size // 4, size - size // 8) if total == size else (size // 2, size)
    normal = NormalDist()
    quantiles = [normal.inv_cdf(1 - (place + 0.5) / total) for place in range(first, last)]
    slope, mean = np.polyfit(quantiles, values[first:last], 1)
    return float(mean + max(slope, 0.0) * normal.inv_cdf(1 - false_alarms / total))
