"""The graph of one knowledge base in memory: flat arrays, under a kilobyte per node, changed in place.

What a sentence mentions depends on all other texts: of its candidate names those are mentions that are a node's title
or are a longest span in two nodes or more, the longest first. So a new document may turn words of an old sentence
into a mention, and a removed one may turn them back. :class:`GraphMirror` keeps that exact: after any changes it
answers as one built anew from the nodes that are left.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from llama_index_raganything.graph.columns import (
    Column,
    GraphColumns,
    Integers,
    InvertedLists,
    Keys,
    Rows,
    SortedLists,
    Weights,
    contains,
    count_of,
    id_hash,
    pair,
    ranges,
    unpacked_weights,
)
from llama_index_raganything.graph.facts import OWN_TITLE, WHOLE, NodeFacts, hash_names
from llama_index_raganything.text.bm25 import inverse_document_frequency, relative_lengths, saturate

MIN_NODES_OF_A_NAME: Final = 2
"""A longest span is a name when this many nodes have it."""

_SKIP: Final = 0x7F
_TAIL_NODES: Final = 2048
_TAIL_SHARE: Final = 0.1
_DEAD_SHARE: Final = 0.25
_LONG_ID_BYTES: Final = 160
"""A string and its place in a dictionary, about."""

_FULL_TITLE: Final = 1.0


class MentionIndex:
    """The names that sentences mention.

    What a sentence mentions depends on all other texts: of its candidates those are mentions that are a title or
    a longest span in several nodes, the longest first. What was there at the last rebuild is the base; of it only
    the nodes are read again that have a name which came or went since.
    """

    def __init__(self, columns: GraphColumns) -> None:
        self._columns = columns
        self.base_nodes = 0
        self._base_sentences = 0
        self._name_keys = Column(np.uint32)
        self._name_nodes = Column(np.int32)
        self.base_alive = Column(bool)
        self._valid = Column(bool)
        self.base = SortedLists()
        self.tail = SortedLists()
        self.base_counts, self.tail_counts = np.zeros(0, np.int32), np.zeros(0, np.int32)
        self._tail_keys = np.zeros(0, np.uint32)
        self._tail_nodes = np.zeros(0, np.int64)
        self._gone_keys = np.zeros(0, np.uint32)
        self._gone_nodes = np.zeros(0, np.int64)

    def is_known(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Return which keys are names: a title, or a longest span in two nodes or more.

        Args:
            keys: Hashes of keys.
        """
        nodes = count_of(self._name_keys.values, self._name_nodes.values, keys)
        nodes += count_of(self._tail_keys, self._tail_nodes, keys) - count_of(self._gone_keys, self._gone_nodes, keys)
        return self._are_titles(self._columns.aliases, keys, self._columns.alive) | (nodes >= MIN_NODES_OF_A_NAME)

    def of(self, sentences: Integers) -> tuple[Keys, Integers]:
        """Return the names that sentences mention, without those that are titles of their own node.

        Returns:
            Keys and the sentence of each; no pair twice.
        """
        starts = self._columns.sentence_names.values[sentences]
        lengths = self._columns.sentence_names.values[sentences + 1] - starts
        places = ranges(starts, lengths)
        owners = np.repeat(sentences, lengths)
        keys = self._columns.names.values[places]
        kept = self._longest(keys, self._columns.skips.values[places] & _SKIP, np.cumsum(lengths))
        keys, owners = keys[kept], owners[kept]
        own = self._own_titles(self._columns.sentence_node.values[owners])
        pairs = pair(self._columns.sentence_node.values[owners], keys)
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
        for lists, valid in ((self.base, self._valid), (self.tail, self._columns.alive)):
            starts, lengths = lists.places(keys)
            sentences = lists.values[ranges(starts, lengths)]
            places = np.repeat(np.arange(len(keys)), lengths)
            kept = valid.values[self._columns.sentence_node.values[sentences]]
            owners.append(places[kept])
            found.append(sentences[kept].astype(np.int64))
        return np.concatenate(owners), np.concatenate(found)

    def counts(self, keys: Keys) -> Integers:
        """Return how many nodes mention each name.

        Args:
            keys: Hashes of keys.
        """
        base = count_of(self.base.keys, self.base_counts, keys)
        return base + count_of(self.tail.keys, self.tail_counts, keys)

    def rebuild(self) -> None:
        """Merge all tails, and decide again which candidates are mentions."""
        for lists in self._columns.inverted_lists():
            lists.merge()
        self.base_nodes, self._base_sentences = self._columns.count, self._columns.sentence_node.size
        self.base_alive, self._valid = _copied(self._columns.alive), _copied(self._columns.alive)
        rows = np.flatnonzero(self._columns.alive.values)
        keys, nodes = self._name_pairs(rows)
        self._name_keys, self._name_nodes = Column(np.uint32), Column(np.int32)
        self._name_keys.extend(keys)
        self._name_nodes.extend(nodes.astype(np.int32))
        nothing = np.zeros(0, np.uint32), np.zeros(0, np.int64)
        self._tail_keys, self._tail_nodes = nothing
        self._gone_keys, self._gone_nodes = nothing
        self.base = self._mentions(self._columns.sentences_of(rows))
        self.base_counts = self._nodes_per_key(self.base, self.kept_base())
        self.tail, self.tail_counts = SortedLists(), np.zeros(0, np.int32)

    def settle(self) -> None:
        """Find out which names came or went since the last rebuild, and read the base's nodes that have them again."""
        gone = np.flatnonzero(self.base_alive.values & ~self._columns.alive.values[: self.base_nodes])
        came = self.base_nodes + np.flatnonzero(self._columns.alive.values[self.base_nodes :])
        self._tail_keys, self._tail_nodes = self._name_pairs(came)
        self._gone_keys, self._gone_nodes = self._name_pairs(gone)
        titles = self._columns.titles_of(np.concatenate([gone, came]))[1]
        candidates = np.unique(np.concatenate([self._tail_keys, self._gone_keys, titles]))
        changed = candidates[self._were_known(candidates) != self.is_known(candidates)]
        again = np.unique(self._columns.sentence_node.values[self._base_sentences_with(changed)])
        again = again[self._columns.alive.values[again]]
        self._valid = _copied(self._columns.alive)
        self._valid.values[again] = False
        self.base_counts = self._nodes_per_key(self.base, self.kept_base())
        self.tail = self._mentions(self._columns.sentences_of(np.concatenate([again, came])))
        self.tail_counts = self._nodes_per_key(self.tail, np.ones(len(self.tail.values), bool))

    def _were_known(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Return which keys were names at the last rebuild."""
        nodes = count_of(self._name_keys.values, self._name_nodes.values, keys)
        return self._are_titles(self._columns.aliases.base, keys, self.base_alive) | (nodes >= MIN_NODES_OF_A_NAME)

    def _are_titles(self, lists: InvertedLists | SortedLists, keys: Keys, alive: Column) -> npt.NDArray[np.bool_]:
        owners, places = lists.look_up(keys)
        titled = np.zeros(len(keys), bool)
        titled[owners[alive.values[self._columns.alias_node.values[places]]]] = True
        return titled

    def kept_base(self) -> npt.NDArray[np.bool_]:
        """Return which of the base's mentions are still valid: their nodes are neither removed nor read again."""
        kept: npt.NDArray[np.bool_] = self._valid.values[self._columns.sentence_node.values[self.base.values]]
        return kept

    def _name_pairs(self, rows: npt.NDArray[Any]) -> tuple[Keys, Integers]:
        """Return the longest spans in some nodes, and in how many of them each is."""
        sentences = self._columns.sentences_of(rows)
        starts = self._columns.sentence_names.values[sentences]
        lengths = self._columns.sentence_names.values[sentences + 1] - starts
        places = ranges(starts, lengths)
        whole = (self._columns.skips.values[places] & WHOLE) > 0
        nodes = np.repeat(self._columns.sentence_node.values[sentences], lengths)[whole]
        pairs = np.unique(pair(self._columns.names.values[places[whole]], nodes))
        keys, counts = np.unique((pairs >> np.uint64(32)).astype(np.uint32), return_counts=True)
        return keys, counts

    def _base_sentences_with(self, keys: Keys) -> Integers:
        """Return the base's sentences that have one of some candidates."""
        if not len(keys) or not self._base_sentences:
            return np.zeros(0, np.int64)
        names = self._columns.names.values[: self._columns.sentence_names.values[self._base_sentences]]
        table = np.zeros(65_536, bool)
        table[keys & 0xFFFF] = True
        places = np.flatnonzero(table[names & 0xFFFF])
        places = places[np.isin(names[places], keys)]
        sentences = np.searchsorted(self._columns.sentence_names.values, places, side="right") - 1
        return np.unique(sentences)

    def _mentions(self, sentences: Integers) -> SortedLists:
        keys, owners = self.of(sentences)
        return SortedLists(keys, owners.astype(np.int32))

    def _nodes_per_key(self, lists: SortedLists, kept: npt.NDArray[np.bool_]) -> Rows:
        """Return in how many nodes the sentences of each key stand, of those that are kept."""
        owners = np.repeat(np.arange(len(lists.keys)), np.diff(lists.starts))[kept]
        nodes = self._columns.sentence_node.values[lists.values[kept]]
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
        owners, keys, weights, _ = self._columns.titles_of(rows)
        own = weights >= OWN_TITLE
        return np.sort(pair(rows[owners[own]], keys[own]))


class GraphMirror:
    """Facts of all nodes as arrays.

    Rows number the nodes, from 0 in the order in which they came; removing leaves a gap until the next compaction,
    which gives rows new numbers and changes :attr:`epoch`.

    Methods that take ids, and all that write, may be called from any thread. Those that take rows, sentences or keys
    are for a walk, which holds :attr:`lock` for its whole length, as rows mean nothing after it, and calls
    :meth:`settle` first.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.epoch = 0
        self.columns = GraphColumns()
        self.mentions = MentionIndex(self.columns)
        self._dead = 0
        self._unsettled = False

    @property
    def size(self) -> int:
        """How many nodes are alive."""
        with self.lock:
            return int(np.count_nonzero(self.columns.alive.values))

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        with self.lock:
            self.settle()
            overflow = sum(_LONG_ID_BYTES + len(node_id) for node_id in self.columns.long_ids.values())
            held = (Column, InvertedLists, SortedLists, np.ndarray)
            parts = [*vars(self.columns).values(), *vars(self.mentions).values()]
            return overflow + sum(int(part.nbytes) for part in parts if isinstance(part, held))

    def stats(self) -> dict[str, int]:
        """Return the numbers of ``names`` known, ``sentences``, ``mentions`` and ``titles``, and ``bytes``."""
        with self.lock:
            self.settle()
            mentioned = [self.mentions.base.keys[self.mentions.base_counts > 0], self.mentions.tail.keys]
            titles = self.columns.alias_key.values[self.columns.alive.values[self.columns.alias_node.values]]
            return {
                "names": len(np.unique(np.concatenate([*mentioned, titles]))),
                "sentences": int(np.count_nonzero(self.columns.alive.values[self.columns.sentence_node.values])),
                "mentions": int(np.count_nonzero(self.mentions.kept_base())) + len(self.mentions.tail.values),
                "titles": len(titles),
                "bytes": self.nbytes,
            }

    def rows_of(self, node_ids: Sequence[str]) -> Rows:
        """Return the row of each node, -1 for those that are not here."""
        with self.lock:
            self.columns.ids.settle()
            keys = np.array([id_hash(node_id) for node_id in node_ids], np.uint32)
            owners, rows = self.columns.ids.look_up(keys)
            found = np.full(len(node_ids), -1, np.int32)
            for owner, row in zip(owners.tolist(), rows.tolist(), strict=True):
                if self.columns.alive.values[row] and self.columns.id_of(row) == node_ids[owner]:
                    found[owner] = row
            return found

    def node_ids(self, rows: Iterable[int]) -> list[str]:
        """Return the ids of the nodes in some rows."""
        with self.lock:
            return [self.columns.id_of(int(row)) for row in rows]

    def document_rows(self, doc_id: str) -> Rows:
        """Return the rows of a document's nodes."""
        with self.lock:
            self.columns.documents.settle()
            rows = self.columns.documents.of(id_hash(doc_id))
            alive: Rows = rows[self.columns.alive.values[rows]]
            return alive

    def title_holders(self, keys: Keys) -> tuple[Integers, Rows, Weights, npt.NDArray[np.bool_]]:
        """Return who bears names as title: the place of the key, the row, the weight, and whether it was given.

        Args:
            keys: Hashes of keys.
        """
        owners, places = self.columns.aliases.look_up(keys)
        rows = self.columns.alias_node.values[places]
        kept = self.columns.alive.values[rows]
        return owners[kept], rows[kept], *unpacked_weights(self.columns.alias_weight.values[places[kept]])

    def frequencies(self, term: int, rows: npt.NDArray[Any]) -> Integers:
        """Return how often a word occurs in nodes, each occurrence in the title counted twice.

        Args:
            term: Hash of the word.
        """
        starts, ends = self.columns.node_sentence.values[rows], self.columns.node_sentence.values[rows + 1]
        count = np.zeros(len(rows), np.int64)
        for lists in (self.columns.terms.base, self.columns.terms.tail):
            posting = lists.of(term)
            count += np.searchsorted(posting, ends) - np.searchsorted(posting, starts)
        titles = self.columns.title_terms.of(term)
        return count + 2 * np.isin(rows, titles) if len(titles) else count

    def has_term(self, term: int) -> bool:
        """Return whether any node has a word.

        Args:
            term: Hash of the word.
        """
        key = np.array([term], np.uint32)
        if not self._dead:
            return bool(self.columns.terms.counts(key)[0] or self.columns.title_terms.counts(key)[0])
        rows = np.concatenate(
            [self.columns.sentence_node.values[self.columns.terms.of(term)], self.columns.title_terms.of(term)]
        )
        return bool(self.columns.alive.values[rows].any())

    def about_one_subject(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Return which nodes are about one subject that others may mention.

        Those are nodes whose first sentence defines their subject, and those with a title of a document that the text
        of another node mentions.
        """
        owners, keys, weights, given = self.columns.titles_of(rows)
        named = given & (weights >= _FULL_TITLE) & (self.mentions.counts(keys) > 0)
        titled = np.bincount(owners[named], minlength=len(rows)) > 0
        found: npt.NDArray[np.bool_] = self.columns.defines.values[rows] | titled
        return found

    def tied_to(self, rows: npt.NDArray[Any]) -> tuple[Integers, Integers]:
        """Return the nodes tied to nodes by the document's structure: the place of each row, and the other node."""
        starts = self.columns.node_tie.values[rows]
        lengths = self.columns.node_tie.values[rows + 1] - starts
        owners, others = self.columns.ids.look_up(self.columns.tie_target.values[ranges(starts, lengths)])
        outward = np.repeat(np.arange(len(rows)), lengths)[owners]
        ids = np.array([id_hash(self.columns.id_of(int(row))) for row in rows], np.uint32)
        places, ties = self.columns.ties.look_up(ids)
        owner = np.concatenate([outward, places])
        other = np.concatenate([others, self.columns.tie_node.values[ties]]).astype(np.int64)
        # The hash of another document's node may be the same.
        same = self.columns.document_hash.values[other] == self.columns.document_hash.values[np.asarray(rows)[owner]]
        kept = same & self.columns.alive.values[other] & (other != np.asarray(rows)[owner])
        return owner[kept], other[kept]

    def sentences_with(self, term: int, sentences: Integers) -> npt.NDArray[np.bool_]:
        """Return which of some sentences have a word, in themselves or in the title of their node.

        Args:
            term: Hash of the word.
        """
        found = np.zeros(len(sentences), bool)
        for lists in (self.columns.terms.base, self.columns.terms.tail):
            found |= contains(lists.of(term), sentences)
        titles = self.columns.title_terms.of(term)
        if len(titles):
            found |= contains(titles, self.columns.sentence_node.values[sentences])
        return found

    def add(self, facts: Sequence[NodeFacts], *, new: bool = False) -> None:
        """Add nodes; those that are here already are replaced.

        Args:
            facts: Their facts.
            new: None of them is here. Loading a whole graph in batches then takes time in proportion to its size.
        """
        if not facts:
            return
        with self.lock:
            latest = list({item.node_id: item for item in facts}.values())
            if self.columns.count and not new:
                self.remove([item.node_id for item in latest])
            self.columns.append(latest)
            self._unsettled = True
            if not new and self._is_overdue():
                # Many small batches without a reader between them would sort an ever longer tail of ids.
                self.settle()

    def remove(self, node_ids: Sequence[str]) -> None:
        """Remove nodes.

        Args:
            node_ids: Their ids; unknown ones are ignored.
        """
        with self.lock:
            rows = self.rows_of(node_ids)
            self._kill(rows[rows >= 0])

    def remove_document(self, doc_id: str) -> None:
        """Remove all nodes of a document."""
        with self.lock:
            self._kill(self.document_rows(doc_id))

    def clear(self) -> None:
        """Remove everything."""
        with self.lock:
            self._replace(GraphColumns())

    def settle(self) -> None:
        """Make everything added so far part of what is found; called by every reader."""
        with self.lock:
            if not self._unsettled:
                return
            self._unsettled = False
            if self._is_overdue():
                self.mentions.rebuild()
                return
            for lists in self.columns.inverted_lists():
                lists.settle()
            self.mentions.settle()

    def _kill(self, rows: Rows) -> None:
        rows = np.unique(rows)
        if not len(rows):
            return
        self.columns.alive.values[rows] = False
        self._dead += len(rows)
        self._unsettled = True
        if self._dead > max(_TAIL_NODES, _DEAD_SHARE * self.columns.count):
            self._compact()

    def _is_overdue(self) -> bool:
        """Whether so much has changed since the last rebuild that another is cheaper than a long tail."""
        gone = int(np.count_nonzero(self.mentions.base_alive.values)) - int(
            np.count_nonzero(self.columns.alive.values[: self.mentions.base_nodes])
        )
        return self.columns.count - self.mentions.base_nodes + gone > max(
            _TAIL_NODES, _TAIL_SHARE * self.mentions.base_nodes
        )

    def _compact(self) -> None:
        self._replace(self.columns.compacted())
        self.mentions.rebuild()

    def _replace(self, columns: GraphColumns) -> None:
        self.epoch += 1
        self.columns = columns
        self.mentions = MentionIndex(columns)
        self._dead = 0
        self._unsettled = False


def best_by_words(mirror: GraphMirror, terms: Iterable[str], limit: int) -> Rows:
    """Return the nodes that fit words best: BM25 over texts, with words of the title counted twice.

    Frequencies are those of the whole graph, which Milvus Lite knows per segment only. Per word it takes time in
    proportion to the texts that have it: about 1 ms a question over 10,000 nodes, where Milvus Lite, which scores in
    Python, takes some 30 (``python -m benchmarks.graph_scale``).

    Args:
        mirror: The graph.
        limit: How many nodes at most.

    Returns:
        Rows, best first; only nodes that have one of the words.
    """
    with mirror.lock:
        mirror.settle()
        size = mirror.columns.length.size
        scores = np.zeros(size, np.float32)
        relative = relative_lengths(mirror.columns.length.values)
        for term in hash_names(dict.fromkeys(terms)).tolist():
            count = np.bincount(mirror.columns.sentence_node.values[mirror.columns.terms.of(term)], minlength=size)
            count[mirror.columns.title_terms.of(term)] += 2
            nodes = np.flatnonzero(count)
            idf = inverse_document_frequency(len(nodes), size)
            scores[nodes] += idf * saturate(count[nodes].astype(np.float64), relative[nodes])
        scores[~mirror.columns.alive.values] = 0.0
        best = np.argpartition(-scores, min(limit, size - 1))[:limit] if size else np.zeros(0, np.int64)
        best = best[scores[best] > 0]
        return best[np.argsort(-scores[best], kind="stable")].astype(np.int32)


def _copied(column: Column) -> Column:
    copy = Column(column.values.dtype)
    copy.extend(column.values)
    return copy
