"""What stands out from the best of unrelated things."""

from __future__ import annotations

import numpy as np
import pytest

from llama_index_raganything.retrievers.visual import MIN_BACKGROUND, outstanding_threshold


def passing(size, related, seed, best=1000):
    """Return how many related and unrelated similarities pass, of a space with mean .2 and deviation .03."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0.2, 0.03, size)
    values[: len(related)] = [0.2 + 0.03 * (z + rng.normal(0, 0.5)) for z in related]
    shown = np.sort(values)[::-1][:best]
    least = outstanding_threshold(shown.tolist(), population=size if size > best else None)
    return np.sum(values[: len(related)] > least), np.sum(values[len(related) :] > least)


@pytest.mark.parametrize(("size", "best"), [(20, 1000), (100, 1000), (1000, 1000), (5000, 300)])
def test_unrelated_items_do_not_pass_and_related_ones_do(size, best):
    noise = [passing(size, [], seed, best)[1] > 0 for seed in range(100)]
    assert np.mean(noise) <= 0.1
    alone = [passing(size, [6.0], seed, best)[0] for seed in range(100)]
    assert np.mean(alone) >= 0.9


def test_several_related_items_pass_together():
    assert np.mean([passing(100, [5.5] * 5, seed)[0] for seed in range(100)]) >= 4.5


def test_scale_and_place_of_a_space_do_not_matter():
    values = np.random.default_rng(1).normal(size=50)
    values[0] = 7
    least = outstanding_threshold(values.tolist())
    assert outstanding_threshold((values * 0.01 + 0.8).tolist()) == pytest.approx(least * 0.01 + 0.8, abs=1e-4)
    assert outstanding_threshold(values[::-1].tolist()) == least


def test_too_few_or_equal_similarities_tell_nothing():
    assert outstanding_threshold([]) is None
    assert outstanding_threshold(np.linspace(0, 1, MIN_BACKGROUND - 1).tolist()) is None
    assert outstanding_threshold([0.5] * 100) is None
    assert outstanding_threshold(np.linspace(0, 1, MIN_BACKGROUND).tolist()) is not None


def test_a_picture_on_many_pages_counts_once():
    values = np.random.default_rng(2).normal(size=40).tolist()
    assert outstanding_threshold([*values, *[values[3]] * 100]) == outstanding_threshold(values)
