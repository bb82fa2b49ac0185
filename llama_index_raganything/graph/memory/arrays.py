"""Inverted lists in flat arrays that grow: a sorted base, and a small sorted tail of what came since."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]
Keys = npt.NDArray[np.uint32]

_NO_KEYS: Final = np.zeros(0, np.uint32)
_NO_ROWS: Final = np.zeros(0, np.int32)


def ranges(starts: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> Integers:
    """Return the positions of several stretches, one after the other.

    Args:
        starts: Where each stretch begins.
        lengths: How long each is.

    Returns:
        ``[*range(starts[0], starts[0] + lengths[0]), *range(starts[1], ...), ...]``.
    """
    lengths = lengths.astype(np.int64)
    total = int(lengths.sum())
    if not total:
        return np.zeros(0, np.int64)
    ends = np.cumsum(lengths)
    offsets = np.repeat(starts.astype(np.int64) - (ends - lengths), lengths)
    found: Integers = offsets + np.arange(total)
    return found


class Column:
    """An array that grows at its end."""

    def __init__(self, dtype: Any) -> None:
        self._buffer = np.zeros(0, dtype)
        self.size = 0

    @property
    def values(self) -> npt.NDArray[Any]:
        """The values; a view, valid until the next growth."""
        return self._buffer[: self.size]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return int(self._buffer.nbytes)

    def extend(self, values: npt.NDArray[Any]) -> None:
        """Append values."""
        needed = self.size + len(values)
        if needed > len(self._buffer):
            # An eighth of slack keeps appending cheap without doubling the memory.
            grown = np.zeros(needed + needed // 8, self._buffer.dtype)
            grown[: self.size] = self.values
            self._buffer = grown
        self._buffer[self.size : needed] = values
        self.size = needed


class SortedLists:
    """Values by key: immutable, sorted by key and then by value.

    Args:
        keys: One key per value.
    """

    def __init__(self, keys: Keys = _NO_KEYS, values: Rows = _NO_ROWS) -> None:
        order = np.lexsort((values, keys))
        ordered = keys[order]
        self.values: Rows = values[order].astype(np.int32, copy=False)
        first = np.ones(len(ordered), bool)
        first[1:] = ordered[1:] != ordered[:-1]
        self.keys: Keys = ordered[first]
        self.starts: Rows = np.append(np.flatnonzero(first), len(ordered)).astype(np.int32)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return int(self.values.nbytes + self.keys.nbytes + self.starts.nbytes)

    def places(self, keys: Keys) -> tuple[Integers, Integers]:
        """Return where the values of keys begin and how many there are, 0 for unknown keys.

        Args:
            keys: Keys in any order.
        """
        if not len(self.keys):
            nothing = np.zeros(len(keys), np.int64)
            return nothing, nothing
        found = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        known = self.keys[found] == keys
        starts = self.starts[found].astype(np.int64)
        return starts, np.where(known, self.starts[found + 1] - starts, 0)

    def look_up(self, keys: Keys) -> tuple[Integers, Rows]:
        """Return the values of several keys.

        Args:
            keys: Keys, distinct or not.

        Returns:
            For each value the place of its key among ``keys``, and the values.
        """
        starts, lengths = self.places(keys)
        return np.repeat(np.arange(len(keys)), lengths), self.values[ranges(starts, lengths)]

    def of(self, key: int) -> Rows:
        """Return the values of one key, ascending."""
        starts, lengths = self.places(np.array([key], np.uint32))
        return self.values[starts[0] : starts[0] + lengths[0]]

    def pairs(self) -> tuple[Keys, Rows]:
        """Return all keys, repeated, and values."""
        return np.repeat(self.keys, np.diff(self.starts)), self.values


class InvertedLists:
    """Values by key that grow: what was there at the last :meth:`merge`, and a tail."""

    def __init__(self) -> None:
        self.base = SortedLists()
        self.tail = SortedLists()
        self._new: list[tuple[Keys, Rows]] = []

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        unsorted = sum(keys.nbytes + values.nbytes for keys, values in self._new)
        return self.base.nbytes + self.tail.nbytes + unsorted

    def append(self, keys: Keys, values: Rows) -> None:
        """Add values; they are found after the next :meth:`settle`.

        Args:
            keys: One key per value.
        """
        if len(keys):
            self._new.append((keys, values))

    def settle(self) -> None:
        """Sort what was appended into the tail."""
        if self._new:
            old = self.tail.pairs()
            self.tail = SortedLists(
                np.concatenate([old[0], *(keys for keys, _ in self._new)]),
                np.concatenate([old[1], *(values for _, values in self._new)]),
            )
            self._new = []

    def merge(self) -> None:
        """Sort the tail into the base."""
        self.settle()
        if len(self.tail.values):
            base, tail = self.base.pairs(), self.tail.pairs()
            self.base = SortedLists(np.concatenate([base[0], tail[0]]), np.concatenate([base[1], tail[1]]))
            self.tail = SortedLists()

    def renumber(self, numbers: npt.NDArray[Any]) -> None:
        """Give all values new numbers and drop those whose number is negative.

        Args:
            numbers: The new number of each value.
        """
        self.merge()
        keys, values = self.base.pairs()
        renumbered = numbers[values]
        kept = renumbered >= 0
        self.base = SortedLists(keys[kept], renumbered[kept].astype(np.int32))

    def look_up(self, keys: Keys) -> tuple[Integers, Rows]:
        """Return the values of several keys.

        Args:
            keys: Keys, distinct or not.

        Returns:
            For each value the place of its key among ``keys``, and the values; not in order.
        """
        base, tail = self.base.look_up(keys), self.tail.look_up(keys)
        return np.concatenate([base[0], tail[0]]), np.concatenate([base[1], tail[1]])

    def counts(self, keys: Keys) -> Integers:
        """Return how many values each key has."""
        return self.base.places(keys)[1] + self.tail.places(keys)[1]

    def of(self, key: int) -> Rows:
        """Return the values of one key, ascending when base values precede tail values."""
        tail = self.tail.of(key)
        base = self.base.of(key)
        return np.concatenate([base, tail]) if len(tail) else base


def pair(high: npt.NDArray[Any], low: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Return two 32-bit numbers as one of 64 bits.

    Args:
        high: The upper halves.
        low: The lower halves.
    """
    packed: npt.NDArray[np.uint64] = (high.astype(np.uint64) << np.uint64(32)) | low.astype(np.uint64)
    return packed


def contains(ordered: npt.NDArray[Any], values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which values are in a sorted array.

    Args:
        ordered: The sorted array.
    """
    if not len(ordered):
        return np.zeros(len(values), bool)
    found = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    same: npt.NDArray[np.bool_] = ordered[found] == values
    return same


def count_of(ordered: npt.NDArray[Any], counts: npt.NDArray[Any], keys: Keys) -> Integers:
    """Return the count of each key, 0 for those that are not there.

    Args:
        ordered: Keys, sorted.
        counts: The count of each of them.
        keys: The keys asked for.
    """
    if not len(ordered):
        return np.zeros(len(keys), np.int64)
    found = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    return np.where(ordered[found] == keys, counts[found], 0).astype(np.int64)
