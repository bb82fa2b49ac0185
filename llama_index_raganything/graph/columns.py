"""The facts of all nodes of a graph in flat columns that grow, with inverted lists over them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from llama_index_raganything.graph.facts import GUESSED, NodeFacts

Integers = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]
Keys = npt.NDArray[np.uint32]
Weights = npt.NDArray[np.float64]

_ID_BYTES: Final = 36
"""Node ids of ASCII up to the length of a UUID are kept in an array, others in a dictionary."""

_WEIGHT: Final = 0x7F

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
        """Bytes of the arrays."""
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
        """Bytes of the arrays."""
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
        """Bytes of the arrays."""
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


class GraphColumns:
    """Nodes, their sentences, titles and ties, each numbered from 0 in the order in which they came.

    A node is a row. What belongs to a row is one stretch, from the row's pointer to the next one.
    """

    def __init__(self) -> None:
        self.count = 0
        self.long_ids: dict[int, str] = {}
        self.node_id = Column(f"S{_ID_BYTES}")
        self.alive = Column(bool)
        self.defines = Column(bool)
        self.length = Column(np.float32)
        self.document_hash = Column(np.uint32)
        self.node_sentence = _pointers()
        self.node_alias = _pointers()
        self.alias_key = Column(np.uint32)
        self.alias_node = Column(np.int32)
        self.alias_weight = Column(np.uint8)
        self.sentence_node = Column(np.int32)
        self.sentence_names = _pointers()
        self.names = Column(np.uint32)
        self.skips = Column(np.uint8)
        self.node_tie = _pointers()
        self.tie_target = Column(np.uint32)
        self.tie_node = Column(np.int32)
        self.ties = InvertedLists()
        self.ids = InvertedLists()
        self.documents = InvertedLists()
        self.terms = InvertedLists()
        self.title_terms = InvertedLists()
        self.aliases = InvertedLists()

    def sentences_of(self, rows: npt.NDArray[Any]) -> Integers:
        """Return the numbers of all sentences of some nodes."""
        starts = self.node_sentence.values[rows]
        return ranges(starts, self.node_sentence.values[rows + 1] - starts)

    def titles_of(self, rows: npt.NDArray[Any]) -> tuple[Integers, Keys, Weights, npt.NDArray[np.bool_]]:
        """Return the titles of nodes: the place of the row, the key, the weight, and whether it was given."""
        starts = self.node_alias.values[rows]
        lengths = self.node_alias.values[rows + 1] - starts
        places = ranges(starts, lengths)
        owners = np.repeat(np.arange(len(rows)), lengths)
        return owners, self.alias_key.values[places], *unpacked_weights(self.alias_weight.values[places])

    def inverted_lists(self) -> tuple[InvertedLists, ...]:
        """Return all inverted lists."""
        return (self.ids, self.documents, self.terms, self.title_terms, self.aliases, self.ties)

    def id_of(self, row: int) -> str:
        """Return the id of the node in a row."""
        return self.long_ids.get(row) or bytes(self.node_id.values[row]).decode("ascii")

    def append(self, facts: Sequence[NodeFacts]) -> None:
        """Add nodes at the end, without looking whether they are here."""
        first = self.count
        rows = np.arange(first, first + len(facts), dtype=np.int32)
        ids = [item.node_id for item in facts]
        for row, node_id in zip(rows.tolist(), ids, strict=True):
            if not node_id.isascii() or len(node_id) > _ID_BYTES or node_id.endswith("\0"):
                self.long_ids[row] = node_id
        short = [b"" if row in self.long_ids else i.encode() for row, i in zip(rows.tolist(), ids, strict=True)]
        self.node_id.extend(np.array(short, f"S{_ID_BYTES}"))
        documents = np.array([id_hash(item.doc_id) for item in facts], np.uint32)
        self.document_hash.extend(documents)
        self.alive.extend(np.ones(len(facts), bool))
        self.defines.extend(np.array([item.defines for item in facts], bool))
        self.length.extend(np.array([item.terms.size + 2 * item.title_terms.size for item in facts], np.float32))
        self.ids.append(np.array([id_hash(node_id) for node_id in ids], np.uint32), rows)
        self.documents.append(documents, rows)
        self._append_titles(facts, rows)
        self._append_sentences(facts, rows)
        self._append_ties(facts, rows)
        self.count += len(facts)

    def _append_titles(self, facts: Sequence[NodeFacts], rows: Rows) -> None:
        counts = np.array([item.subject_names.size for item in facts])
        first = self.alias_key.size
        _extend_pointers(self.node_alias, counts)
        keys = np.concatenate([item.subject_names for item in facts])
        self.alias_key.extend(keys)
        self.alias_node.extend(np.repeat(rows, counts))
        self.alias_weight.extend(np.concatenate([item.subject_weights for item in facts]))
        self.aliases.append(keys, np.arange(first, first + len(keys), dtype=np.int32))
        terms = [item.title_terms for item in facts]
        self.title_terms.append(np.concatenate(terms), np.repeat(rows, [len(item) for item in terms]))

    def _append_sentences(self, facts: Sequence[NodeFacts], rows: Rows) -> None:
        first = self.sentence_node.size
        counts = np.array([item.term_counts.size for item in facts])
        _extend_pointers(self.node_sentence, counts)
        self.sentence_node.extend(np.repeat(rows, counts))
        sentences = np.arange(first, first + int(counts.sum()), dtype=np.int32)
        per_sentence = np.concatenate([item.term_counts for item in facts])
        self.terms.append(np.concatenate([item.terms for item in facts]), np.repeat(sentences, per_sentence))
        _extend_pointers(self.sentence_names, np.concatenate([item.name_counts for item in facts]))
        self.names.extend(np.concatenate([item.names for item in facts]))
        self.skips.extend(np.concatenate([item.skips for item in facts]))

    def _append_ties(self, facts: Sequence[NodeFacts], rows: Rows) -> None:
        kept = [[tie for tie in item.ties if _is_evidence(item.kind, tie.kind)] for item in facts]
        counts = np.array([len(ties) for ties in kept])
        first = self.tie_target.size
        _extend_pointers(self.node_tie, counts)
        targets = np.array([id_hash(tie.node_id) for ties in kept for tie in ties], np.uint32)
        self.tie_target.extend(targets)
        self.tie_node.extend(np.repeat(rows, counts))
        self.ties.append(targets, np.arange(first, first + len(targets), dtype=np.int32))

    def compacted(self) -> GraphColumns:
        """Return columns without the rows of removed nodes; rows get new numbers, and these columns are used up."""
        rows = np.flatnonzero(self.alive.values)
        sentences = self.sentences_of(rows)
        titles = ranges(self.node_alias.values[rows], np.diff(self.node_alias.values)[rows])
        ties = ranges(self.node_tie.values[rows], np.diff(self.node_tie.values)[rows])
        names = ranges(self.sentence_names.values[sentences], np.diff(self.sentence_names.values)[sentences])
        numbers = {
            "rows": _numbering(self.count, rows),
            "sentences": _numbering(self.sentence_node.size, sentences),
            "titles": _numbering(self.alias_key.size, titles),
            "ties": _numbering(self.tie_target.size, ties),
        }
        new = GraphColumns()
        new.count = len(rows)
        kept = {"node_id": rows, "alive": rows, "defines": rows, "length": rows, "document_hash": rows, "names": names}
        kept |= {"skips": names, "alias_key": titles, "alias_weight": titles, "tie_target": ties}
        for name, places in kept.items():
            getattr(new, name).extend(getattr(self, name).values[places])
        for name, places in (("alias_node", titles), ("tie_node", ties), ("sentence_node", sentences)):
            getattr(new, name).extend(numbers["rows"][getattr(self, name).values[places]])
        pointers = {"node_sentence": rows, "node_alias": rows, "node_tie": rows, "sentence_names": sentences}
        for name, places in pointers.items():
            _extend_pointers(getattr(new, name), np.diff(getattr(self, name).values)[places])
        new.long_ids = {int(numbers["rows"][row]): i for row, i in self.long_ids.items() if self.alive.values[row]}
        for name, kind in _NUMBERED.items():
            lists = getattr(self, name)
            lists.renumber(numbers[kind])
            setattr(new, name, lists)
        return new


_NUMBERED: Final = {
    "ids": "rows",
    "documents": "rows",
    "terms": "sentences",
    "title_terms": "rows",
    "aliases": "titles",
    "ties": "ties",
}
"""What the values of each inverted list number."""


def _numbering(size: int, kept: npt.NDArray[Any]) -> Rows:
    """Return the new number of each old one, -1 for those that are dropped."""
    numbers = np.full(size, -1, np.int32)
    numbers[kept] = np.arange(len(kept), dtype=np.int32)
    return numbers


def _is_evidence(kind: str, tie: str) -> bool:
    """Whether a tie joins what together may answer a question: a table with its text, a label with who cites it."""
    return tie in ("cites", "caption", "continues") or (kind == "table" and tie in ("section", "page"))


def unpacked_weights(packed: npt.NDArray[np.uint8]) -> tuple[Weights, npt.NDArray[np.bool_]]:
    """Return the weights of titles, 0 to 1, and which of them were given, not read from the text.

    Args:
        packed: As ``NodeFacts.subject_weights`` has them.
    """
    return (packed & _WEIGHT).astype(np.float64) / 100, (packed & GUESSED) == 0


def id_hash(text: str) -> int:
    """Return 32 bits that stand for an id.

    Args:
        text: Id of a node or document.
    """
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _pointers() -> Column:
    column = Column(np.int32)
    column.extend(np.zeros(1, np.int32))
    return column


def _extend_pointers(column: Column, counts: npt.NDArray[Any]) -> None:
    column.extend((column.values[-1] + np.cumsum(counts, dtype=np.int64)).astype(np.int32))
