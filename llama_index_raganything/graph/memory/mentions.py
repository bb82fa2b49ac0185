"""Which candidate names are mentions, kept exact while nodes come and go."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from llama_index_raganything.graph.facts import OWN_TITLE, WHOLE
from llama_index_raganything.graph.memory.arrays import (
    Column,
    Integers,
    InvertedLists,
    Keys,
    Rows,
    SortedLists,
    contains,
    count_of,
    pair,
    ranges,
)
from llama_index_raganything.graph.memory.columns import GraphColumns

MIN_NODES_OF_A_NAME: Final = 2
"""A longest span is a name when it stands in so many nodes."""

_SKIP: Final = 0x7F
_NOTHING: Final = np.zeros(0, np.int32)


class MentionIndex(GraphColumns):
    """The names that sentences mention.

    What a sentence mentions depends on all other texts: of its candidates those are mentions that are a title or stand
    as a longest span in several nodes, the longest first. What was there at the last rebuild is the base; of it only
    the nodes are read again that have a name which came or went since.
    """

    def is_known(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Return which keys are names: a title, or a longest span in two nodes or more.

        Args:
            keys: Hashes of keys.
        """
        nodes = count_of(self._name_keys.values, self._name_nodes.values, keys)
        nodes += count_of(self._tail_keys, self._tail_nodes, keys) - count_of(self._gone_keys, self._gone_nodes, keys)
        return self._are_titles(self.aliases, keys, self.alive) | (nodes >= MIN_NODES_OF_A_NAME)

    def mentions_of(self, sentences: Integers) -> tuple[Keys, Integers]:
        """Return the names that sentences mention, without those that are titles of their own node.

        Returns:
            Keys and the sentence of each; no pair twice.
        """
        starts = self.sentence_names.values[sentences]
        lengths = self.sentence_names.values[sentences + 1] - starts
        places = ranges(starts, lengths)
        owners = np.repeat(sentences, lengths)
        keys = self.names.values[places]
        kept = self._longest(keys, self.skips.values[places] & _SKIP, np.cumsum(lengths))
        keys, owners = keys[kept], owners[kept]
        own = self._own_titles(self.sentence_node.values[owners])
        pairs = pair(self.sentence_node.values[owners], keys)
        foreign = ~contains(own, pairs)
        keys, owners = keys[foreign], owners[foreign]
        _, first = np.unique(pair(owners, keys), return_index=True)
        return keys[first], owners[first]

    def sentences_mentioning(self, keys: Keys) -> tuple[Integers, Integers]:
        """Return the sentences that mention names: for each the place of its key, and its number.

        Args:
            keys: Distinct hashes of keys.
        """
        owners, found = [], []
        for lists, valid in ((self._mention_base, self._valid), (self._mention_tail, self.alive)):
            starts, lengths = lists.places(keys)
            sentences = lists.values[ranges(starts, lengths)]
            places = np.repeat(np.arange(len(keys)), lengths)
            kept = valid.values[self.sentence_node.values[sentences]]
            owners.append(places[kept])
            found.append(sentences[kept].astype(np.int64))
        return np.concatenate(owners), np.concatenate(found)

    def mention_counts(self, keys: Keys) -> Integers:
        """Return how many nodes mention each name.

        Args:
            keys: Hashes of keys.
        """
        base = count_of(self._mention_base.keys, self._mention_base_nodes, keys)
        return base + count_of(self._mention_tail.keys, self._mention_tail_nodes, keys)

    def _clear(self) -> None:
        super()._clear()
        self._base_nodes = 0
        self._base_sentences = 0
        self._name_keys = Column(np.uint32)
        self._name_nodes = Column(np.int32)
        self._base_alive = Column(bool)
        self._valid = Column(bool)
        self._mention_base = SortedLists()
        self._mention_tail = SortedLists()
        self._mention_base_nodes, self._mention_tail_nodes = _NOTHING, _NOTHING
        self._tail_keys = np.zeros(0, np.uint32)
        self._tail_nodes = np.zeros(0, np.int64)
        self._gone_keys = np.zeros(0, np.uint32)
        self._gone_nodes = np.zeros(0, np.int64)

    def _rebuild(self) -> None:
        """Merge all tails, and settle anew which candidates are mentions."""
        for lists in self._inverted():
            lists.merge()
        self._base_nodes, self._base_sentences = self._count, self.sentence_node.size
        self._base_alive, self._valid = _copied(self.alive), _copied(self.alive)
        rows = np.flatnonzero(self.alive.values)
        keys, nodes = self._name_pairs(rows)
        self._name_keys, self._name_nodes = Column(np.uint32), Column(np.int32)
        self._name_keys.extend(keys)
        self._name_nodes.extend(nodes.astype(np.int32))
        nothing = np.zeros(0, np.uint32), np.zeros(0, np.int64)
        self._tail_keys, self._tail_nodes = nothing
        self._gone_keys, self._gone_nodes = nothing
        self._mention_base = self._mentions(self.sentences_of(rows))
        self._mention_base_nodes = self._nodes_per_key(self._mention_base, self._kept_base())
        self._mention_tail, self._mention_tail_nodes = SortedLists(), _NOTHING

    def _settle_names(self) -> None:
        """Find out which names came or went since the last rebuild, and read the base's nodes that have them again."""
        gone = np.flatnonzero(self._base_alive.values & ~self.alive.values[: self._base_nodes])
        came = self._base_nodes + np.flatnonzero(self.alive.values[self._base_nodes :])
        self._tail_keys, self._tail_nodes = self._name_pairs(came)
        self._gone_keys, self._gone_nodes = self._name_pairs(gone)
        titles = self.titles_of(np.concatenate([gone, came]))[1]
        candidates = np.unique(np.concatenate([self._tail_keys, self._gone_keys, titles]))
        changed = candidates[self._were_known(candidates) != self.is_known(candidates)]
        again = np.unique(self.sentence_node.values[self._base_sentences_with(changed)])
        again = again[self.alive.values[again]]
        self._valid = _copied(self.alive)
        self._valid.values[again] = False
        self._mention_base_nodes = self._nodes_per_key(self._mention_base, self._kept_base())
        self._mention_tail = self._mentions(self.sentences_of(np.concatenate([again, came])))
        self._mention_tail_nodes = self._nodes_per_key(
            self._mention_tail, np.ones(len(self._mention_tail.values), bool)
        )

    def _were_known(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Return which keys were names at the last rebuild."""
        nodes = count_of(self._name_keys.values, self._name_nodes.values, keys)
        return self._are_titles(self.aliases.base, keys, self._base_alive) | (nodes >= MIN_NODES_OF_A_NAME)

    def _are_titles(self, lists: InvertedLists | SortedLists, keys: Keys, alive: Column) -> npt.NDArray[np.bool_]:
        owners, places = lists.look_up(keys)
        titled = np.zeros(len(keys), bool)
        titled[owners[alive.values[self.alias_node.values[places]]]] = True
        return titled

    def _kept_base(self) -> npt.NDArray[np.bool_]:
        """Return which of the base's mentions still hold: their nodes are neither removed nor read again."""
        kept: npt.NDArray[np.bool_] = self._valid.values[self.sentence_node.values[self._mention_base.values]]
        return kept

    def _name_pairs(self, rows: npt.NDArray[Any]) -> tuple[Keys, Integers]:
        """Return the longest spans in some nodes, and in how many of them each stands."""
        sentences = self.sentences_of(rows)
        starts = self.sentence_names.values[sentences]
        lengths = self.sentence_names.values[sentences + 1] - starts
        places = ranges(starts, lengths)
        whole = (self.skips.values[places] & WHOLE) > 0
        nodes = np.repeat(self.sentence_node.values[sentences], lengths)[whole]
        pairs = np.unique(pair(self.names.values[places[whole]], nodes))
        keys, counts = np.unique((pairs >> np.uint64(32)).astype(np.uint32), return_counts=True)
        return keys, counts

    def _base_sentences_with(self, keys: Keys) -> Integers:
        """Return the base's sentences that have one of some candidates."""
        if not len(keys) or not self._base_sentences:
            return np.zeros(0, np.int64)
        names = self.names.values[: self.sentence_names.values[self._base_sentences]]
        table = np.zeros(65_536, bool)
        table[keys & 0xFFFF] = True
        places = np.flatnonzero(table[names & 0xFFFF])
        places = places[np.isin(names[places], keys)]
        sentences = np.searchsorted(self.sentence_names.values, places, side="right") - 1
        return np.unique(sentences)

    def _mentions(self, sentences: Integers) -> SortedLists:
        keys, owners = self.mentions_of(sentences)
        return SortedLists(keys, owners.astype(np.int32))

    def _nodes_per_key(self, lists: SortedLists, kept: npt.NDArray[np.bool_]) -> Rows:
        """Return in how many nodes the sentences of each key stand, of those that are kept."""
        owners = np.repeat(np.arange(len(lists.keys)), np.diff(lists.starts))[kept]
        nodes = self.sentence_node.values[lists.values[kept]]
        first = np.ones(len(nodes), bool)
        first[1:] = (nodes[1:] != nodes[:-1]) | (owners[1:] != owners[:-1])
        return np.bincount(owners[first], minlength=len(lists.keys)).astype(np.int32)

    def _longest(self, keys: Keys, skips: npt.NDArray[Any], ends: Integers) -> Integers:
        """Return the places of the candidates that are mentions: known ones, from the left, the longest first."""
        if not len(keys):
            return np.zeros(0, np.int64)
        unique, inverse = np.unique(keys, return_inverse=True)
        known = np.flatnonzero(self.is_known(unique)[inverse])
        following = np.searchsorted(known, known + 1 + skips[known])
        stops = np.searchsorted(known, ends)
        current = np.searchsorted(known, np.concatenate([[0], ends[:-1]]))
        taken = np.zeros(len(known), bool)
        running = current < stops
        while running.any():
            current, stops = current[running], stops[running]
            taken[current] = True
            current = following[current]
            running = current < stops
        return known[taken]

    def _own_titles(self, nodes: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
        """Return sorted pairs of node and title for the nodes' own titles."""
        rows = np.unique(nodes)
        owners, keys, weights, _ = self.titles_of(rows)
        own = weights >= OWN_TITLE
        return np.sort(pair(rows[owners[own]], keys[own]))


def _copied(column: Column) -> Column:
    copy = Column(column.values.dtype)
    copy.extend(column.values)
    return copy
