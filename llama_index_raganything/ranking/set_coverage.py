"""Rank passages by the sets that they are part of.

A question is often answered by two or three passages together: a table and the paragraph that explains it, a page
that names a person and the page of that person. A set is scored by what its members cover jointly, each word of the
question once and where it is strongest, so that a second member earns only what the first one lacks and the rest of
the question needs no parsing. Which members may be together is for the caller to say; how strong a tie is, is the
link bonus.

Each passage is then ranked by its membership: the sum over all sets with it of exp((score - best score) / tau). This
soft maximum rewards a passage for one very good set and, a little, for several; averages of path scores and
personalised PageRank over the same links dilute both and were .04 to .06 recall@5 worse on multi-hop questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from llama_index_raganything.text.terms import Floats, Integers

DEFAULT_TAU: Final = 0.04
"""How far, in score, a set may be behind the best and still count (to 1/e); .02 to .08 measured alike."""

NO_MEMBER: Final = -1
"""Fills the row of a set that has fewer members than the largest."""

Sets = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SetScores:
    """The outcome of scoring sets.

    Attributes:
        sets: Members of each set, as rows of the passages, filled up with :data:`NO_MEMBER`.
        joint: What the members of each set cover together.
        extras: Mean of the extra scores of the members of each set.
        links: Link bonus of each set.
        totals: Score of each set: the sum of the three.
        membership: One value per passage, 0 for a passage in no set; higher is better. The best set alone gives 1.
    """

    sets: Sets
    joint: Floats
    extras: Floats
    links: Floats
    totals: Floats
    membership: Floats

    def best_sets(self, passage: int, count: int = 1) -> list[int]:
        """Return the sets that speak most for a passage.

        Args:
            count: How many sets at most.

        Returns:
            Indexes of sets, best first; empty for a passage in no set.
        """
        rows = np.flatnonzero((self.sets == passage).any(axis=1))
        order = np.argsort(-self.totals[rows], kind="stable")[:count]
        found: list[int] = rows[order].tolist()
        return found

    def members(self, index: int) -> list[int]:
        """Return the passages of one set.

        Args:
            index: Index of the set.

        Returns:
            Rows of passages, in the order given.
        """
        row: list[int] = self.sets[index].tolist()
        return [passage for passage in row if passage != NO_MEMBER]


def stack_sets(*groups: Sequence[Sequence[int]] | Sets) -> Sets:
    """Bring sets of any sizes into one array.

    Args:
        groups: Sequences of sets, or arrays of sets by members; an array may be filled up with :data:`NO_MEMBER`.

    Returns:
        Sets by members, filled up with :data:`NO_MEMBER`, in the order given.
    """
    arrays = [_padded(group) for group in groups]
    width = max((array.shape[1] for array in arrays), default=1)
    stacked = np.full((sum(len(array) for array in arrays), width), NO_MEMBER, dtype=np.int64)
    start = 0
    for array in arrays:
        stacked[start : start + len(array), : array.shape[1]] = array
        start += len(array)
    return stacked


def single_sets(count: int) -> Sets:
    """Return one set per passage, with that passage alone.

    Args:
        count: Number of passages.

    Returns:
        Sets by one member.
    """
    return np.arange(count, dtype=np.int64)[:, None]


def tied_pairs(
    around: Sequence[int] | Integers,
    groups: Sequence[int] | Integers,
    left: npt.NDArray[np.bool_],
    places: Sequence[int] | Integers | None = None,
    reach: int | None = None,
) -> tuple[Sets, Integers]:
    """Pair passages of one group that complete each other, such as a table and a paragraph of one section.

    Args:
        around: Rows of passages of which one must be in each pair, such as the best 40 by themselves. This bounds the
            work; pairing all instead changed nothing.
        groups: Number of the group of each passage, such as its section; passages with a negative number are in none.
        left: Which passages can be the first of a pair (tables); the others can be the second.
        places: Place of each passage in reading order, the same scale for all of a group; 0 for all by default.
        reach: The largest distance in ``places`` within a pair; any by default.

    Returns:
        Pairs of rows, each once, and the distance within each, by which the caller may weigh its link bonus.
    """
    group = np.asarray(groups, dtype=np.int64)
    place = np.zeros(group.size, dtype=np.int64) if places is None else np.asarray(places, dtype=np.int64)
    seeds = np.asarray(around, dtype=np.int64)
    seeds = seeds[group[seeds] >= 0]
    tied = (group[seeds][:, None] == group) & (left[seeds][:, None] != left)
    if reach is not None:
        tied &= np.abs(place[seeds][:, None] - place) <= reach
    seed, partner = np.nonzero(tied)
    seed = seeds[seed]
    first, second = np.where(left[seed], seed, partner), np.where(left[seed], partner, seed)
    pairs = np.unique(np.stack([first, second], axis=1), axis=0)
    return pairs, np.abs(place[pairs[:, 0]] - place[pairs[:, 1]])


def score_sets(
    coverage: npt.NDArray[np.floating],
    extras: Floats,
    sets: Sequence[Sequence[int]] | Sets,
    links: Floats | float = 0.0,
    tau: float = DEFAULT_TAU,
) -> SetScores:
    """Score sets by joint coverage, extra scores and links, and passages by the sets they are in.

    Args:
        coverage: What each term of the question gives to each passage, passages by terms. Scaled so that a passage
            with all of the question has about 1, which is what ``tau`` and usual link bonuses refer to.
        extras: What else speaks for each passage, on the same scale. A set gets the mean of its members.
        sets: Rows of passages that are taken together: sequences of distinct rows, or an array filled up with
            :data:`NO_MEMBER` at the end of rows. A passage by itself is a set only if given (:func:`single_sets`).
        links: Bonus of each set, or one for all: how much the tie between the members is worth. The caller may
            weigh it by distance, by rarity of what is shared, or make it negative for far-fetched sets.
        tau: How far, in score, a set may be behind the best and still count.

    Returns:
        The scores; 20,000 pairs over 15 terms take about 5 ms of one core.

    Raises:
        IndexError: A set names a passage that does not exist.
    """
    array = stack_sets(sets)
    size = len(array)
    bonus = np.broadcast_to(np.asarray(links, dtype=np.float64), (size,))
    if not size:
        empty = np.zeros(0)
        return SetScores(array, empty, empty, bonus, empty, np.zeros(len(extras)))
    joint = _joint_coverage(coverage, array)
    mean = _mean_extras(np.asarray(extras, dtype=np.float64), array)
    totals = joint + mean + bonus
    return SetScores(array, joint, mean, bonus, totals, _membership(array, totals, len(extras), tau))


def _padded(group: Sequence[Sequence[int]] | Sets) -> Sets:
    if isinstance(group, np.ndarray):
        return np.asarray(group if group.ndim == 2 else group[:, None], dtype=np.int64)
    width = max((len(members) for members in group), default=1)
    rows = [[*members, *[NO_MEMBER] * (width - len(members))] for members in group]
    return np.array(rows, dtype=np.int64).reshape(len(rows), width)


def _joint_coverage(coverage: npt.NDArray[np.floating], sets: Sets) -> Floats:
    # Single precision halves the memory that gathering has to move, which is all the time there is.
    values = np.ascontiguousarray(coverage, dtype=np.float32)
    strongest = values[sets[:, 0]]
    for column in range(1, sets.shape[1]):
        rows = np.flatnonzero(sets[:, column] != NO_MEMBER)
        if rows.size == len(sets):
            np.maximum(strongest, values[sets[:, column]], out=strongest)
        else:
            strongest[rows] = np.maximum(strongest[rows], values[sets[rows, column]])
    return np.asarray(strongest.sum(axis=1), dtype=np.float64)


def _mean_extras(extras: Floats, sets: Sets) -> Floats:
    present = sets != NO_MEMBER
    sums = np.where(present, extras[sets], 0.0).sum(axis=1)
    return np.asarray(sums / np.maximum(present.sum(axis=1), 1), dtype=np.float64)


def _membership(sets: Sets, totals: Floats, passages: int, tau: float) -> Floats:
    shares = np.exp((totals - totals.max()) / tau)
    membership = np.zeros(passages)
    for column in range(sets.shape[1]):
        rows: Integers = np.flatnonzero(sets[:, column] != NO_MEMBER)
        membership += np.bincount(sets[rows, column], shares[rows], minlength=passages)
    return membership
