"""The graph of one knowledge base in memory: flat arrays, under a kilobyte per node, changed in place.

What a sentence mentions depends on all other texts: of its candidate names those are mentions that are a node's title
or stand as a longest span in two nodes or more, the longest first. So a new document may turn words of an old sentence
into a mention, and a removed one may turn them back. :class:`GraphMirror` keeps that exact: after any changes it
answers as one built anew from the nodes that are left.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from llama_index_raganything.graph.facts import NodeFacts, hash_names
from llama_index_raganything.graph.memory.arrays import (
    Column,
    Integers,
    InvertedLists,
    Keys,
    Rows,
    SortedLists,
    contains,
    ranges,
)
from llama_index_raganything.graph.memory.columns import Weights, id_hash, unpacked_weights
from llama_index_raganything.graph.memory.mentions import MentionIndex
from llama_index_raganything.text.terms import BM25_B, BM25_K1

_TAIL_NODES: Final = 2048
_TAIL_SHARE: Final = 0.1
_DEAD_SHARE: Final = 0.25
_LONG_ID_BYTES: Final = 160
"""A string and its place in a dictionary, about."""

_FULL_TITLE: Final = 1.0


class GraphMirror(MentionIndex):
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
        super().__init__()

    @property
    def size(self) -> int:
        """How many nodes are alive."""
        with self.lock:
            return int(np.count_nonzero(self.alive.values))

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        with self.lock:
            self.settle()
            overflow = sum(_LONG_ID_BYTES + len(node_id) for node_id in self._long_ids.values())
            held = (Column, InvertedLists, SortedLists, np.ndarray)
            return overflow + sum(int(part.nbytes) for part in vars(self).values() if isinstance(part, held))

    def stats(self) -> dict[str, int]:
        """Return the numbers of ``names`` known, ``sentences``, ``mentions`` and ``titles``, and ``bytes``."""
        with self.lock:
            self.settle()
            mentioned = [self._mention_base.keys[self._mention_base_nodes > 0], self._mention_tail.keys]
            titles = self.alias_key.values[self.alive.values[self.alias_node.values]]
            return {
                "names": len(np.unique(np.concatenate([*mentioned, titles]))),
                "sentences": int(np.count_nonzero(self.alive.values[self.sentence_node.values])),
                "mentions": int(np.count_nonzero(self._kept_base())) + len(self._mention_tail.values),
                "titles": len(titles),
                "bytes": self.nbytes,
            }

    def rows_of(self, node_ids: Sequence[str]) -> Rows:
        """Return the row of each node, -1 for those that are not here."""
        with self.lock:
            self.ids.settle()
            keys = np.array([id_hash(node_id) for node_id in node_ids], np.uint32)
            owners, rows = self.ids.look_up(keys)
            found = np.full(len(node_ids), -1, np.int32)
            for owner, row in zip(owners.tolist(), rows.tolist(), strict=True):
                if self.alive.values[row] and self._id(row) == node_ids[owner]:
                    found[owner] = row
            return found

    def node_ids(self, rows: Iterable[int]) -> list[str]:
        """Return the ids of the nodes in some rows."""
        with self.lock:
            return [self._id(int(row)) for row in rows]

    def document_rows(self, doc_id: str) -> Rows:
        """Return the rows of a document's nodes."""
        with self.lock:
            self.documents.settle()
            rows = self.documents.of(id_hash(doc_id))
            alive: Rows = rows[self.alive.values[rows]]
            return alive

    def title_holders(self, keys: Keys) -> tuple[Integers, Rows, Weights, npt.NDArray[np.bool_]]:
        """Return who bears names as title: the place of the key, the row, the weight, and whether it was given.

        Args:
            keys: Hashes of keys.
        """
        owners, places = self.aliases.look_up(keys)
        rows = self.alias_node.values[places]
        kept = self.alive.values[rows]
        return owners[kept], rows[kept], *unpacked_weights(self.alias_weight.values[places[kept]])

    def frequencies(self, term: int, rows: npt.NDArray[Any]) -> Integers:
        """Return how often a word occurs in nodes, each occurrence in the title counted twice.

        Args:
            term: Hash of the word.
        """
        starts, ends = self.node_sentence.values[rows], self.node_sentence.values[rows + 1]
        count = np.zeros(len(rows), np.int64)
        for lists in (self.terms.base, self.terms.tail):
            posting = lists.of(term)
            count += np.searchsorted(posting, ends) - np.searchsorted(posting, starts)
        titles = self.title_terms.of(term)
        return count + 2 * np.isin(rows, titles) if len(titles) else count

    def has_term(self, term: int) -> bool:
        """Return whether any node has a word.

        Args:
            term: Hash of the word.
        """
        key = np.array([term], np.uint32)
        if not self._dead:
            return bool(self.terms.counts(key)[0] or self.title_terms.counts(key)[0])
        rows = np.concatenate([self.sentence_node.values[self.terms.of(term)], self.title_terms.of(term)])
        return bool(self.alive.values[rows].any())

    def about_something(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Return which nodes are about one thing that others may mention.

        Those are nodes whose first sentence defines their subject, and those with a title of a document that the text
        of another node mentions.
        """
        owners, keys, weights, given = self.titles_of(rows)
        named = given & (weights >= _FULL_TITLE) & (self.mention_counts(keys) > 0)
        titled = np.bincount(owners[named], minlength=len(rows)) > 0
        found: npt.NDArray[np.bool_] = self.defines.values[rows] | titled
        return found

    def tied_to(self, rows: npt.NDArray[Any]) -> tuple[Integers, Integers]:
        """Return the nodes tied to nodes by the document's structure: the place of each row, and the other node."""
        starts = self.node_tie.values[rows]
        lengths = self.node_tie.values[rows + 1] - starts
        owners, others = self.ids.look_up(self.tie_target.values[ranges(starts, lengths)])
        outward = np.repeat(np.arange(len(rows)), lengths)[owners]
        ids = np.array([id_hash(self._id(int(row))) for row in rows], np.uint32)
        places, ties = self.ties.look_up(ids)
        owner = np.concatenate([outward, places])
        other = np.concatenate([others, self.tie_node.values[ties]]).astype(np.int64)
        # The hash of another document's node may be the same.
        same = self.document_hash.values[other] == self.document_hash.values[np.asarray(rows)[owner]]
        kept = same & self.alive.values[other] & (other != np.asarray(rows)[owner])
        return owner[kept], other[kept]

    def sentences_with(self, term: int, sentences: Integers) -> npt.NDArray[np.bool_]:
        """Return which of some sentences have a word, in themselves or in the title of their node.

        Args:
            term: Hash of the word.
        """
        found = np.zeros(len(sentences), bool)
        for lists in (self.terms.base, self.terms.tail):
            found |= contains(lists.of(term), sentences)
        titles = self.title_terms.of(term)
        if len(titles):
            found |= contains(titles, self.sentence_node.values[sentences])
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
            if self._count and not new:
                self.remove([item.node_id for item in latest])
            self._append(latest)
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
            self.epoch += 1
            self._clear()

    def settle(self) -> None:
        """Make everything added so far part of what is found; called by every reader."""
        with self.lock:
            if not self._unsettled:
                return
            self._unsettled = False
            if self._is_overdue():
                self._rebuild()
                return
            for lists in self._inverted():
                lists.settle()
            self._settle_names()

    def _kill(self, rows: Rows) -> None:
        rows = np.unique(rows)
        if not len(rows):
            return
        self.alive.values[rows] = False
        self._dead += len(rows)
        self._unsettled = True
        if self._dead > max(_TAIL_NODES, _DEAD_SHARE * self._count):
            self._compact()
            self.epoch += 1
            self._rebuild()

    def _is_overdue(self) -> bool:
        """Whether so much has changed since the last rebuild that another is cheaper than a long tail."""
        gone = int(np.count_nonzero(self._base_alive.values)) - int(
            np.count_nonzero(self.alive.values[: self._base_nodes])
        )
        return self._count - self._base_nodes + gone > max(_TAIL_NODES, _TAIL_SHARE * self._base_nodes)

    def _clear(self) -> None:
        super()._clear()
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
        size = mirror.length.size
        scores = np.zeros(size, np.float32)
        lengths = mirror.length.values
        mean = float(lengths.mean()) if size else 1.0
        for term in hash_names(dict.fromkeys(terms)).tolist():
            count = np.bincount(mirror.sentence_node.values[mirror.terms.of(term)], minlength=size)
            count[mirror.title_terms.of(term)] += 2
            nodes = np.flatnonzero(count)
            idf = np.log1p((size - len(nodes) + 0.5) / (len(nodes) + 0.5))
            norm = BM25_K1 * (1 - BM25_B + BM25_B * lengths[nodes] / (mean or 1.0))
            scores[nodes] += idf * count[nodes] / (count[nodes] + norm)
        scores[~mirror.alive.values] = 0.0
        best = np.argpartition(-scores, min(limit, size - 1))[:limit] if size else np.zeros(0, np.int64)
        best = best[scores[best] > 0]
        return best[np.argsort(-scores[best], kind="stable")].astype(np.int32)
