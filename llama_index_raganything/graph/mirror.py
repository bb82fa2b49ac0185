"""The graph of one knowledge base in memory: flat arrays, under a kilobyte per node, changed in place.

What a sentence mentions depends on all other texts: of its candidate names those are mentions that are a node's title
or stand as a longest span in two nodes or more, the longest first. So a new document may turn words of an old sentence
into a mention, and a removed one may turn them back. :class:`GraphMirror` keeps that exact: after any changes it
answers as one built anew from the nodes that are left.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from llama_index_raganything.graph.arrays import Column, Integers, InvertedLists, Keys, Rows, SortedLists, ranges
from llama_index_raganything.graph.facts import GUESSED, OWN_TITLE, WHOLE, NodeFacts

MIN_NODES_OF_A_NAME: Final = 2
"""A longest span is a name when it stands in so many nodes."""

_TAIL_NODES: Final = 2048
_TAIL_SHARE: Final = 0.1
_DEAD_SHARE: Final = 0.25
_ID_BYTES: Final = 36
"""Node ids of ASCII up to the length of a UUID stand in an array, others in a dictionary."""

_LONG_ID_BYTES: Final = 160
"""A string and its place in a dictionary, about."""

_SKIP: Final = 0x7F
_FULL_TITLE: Final = 1.0
_WEIGHT: Final = 0x7F
_NOTHING: Final = np.zeros(0, np.int32)


Weights = npt.NDArray[np.float64]


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
        self._clear()

    # -- reading ---------------------------------------------------------------------------------------------------

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
        """Return the row of each node, -1 for those that are not here.

        Args:
            node_ids: Ids of nodes.
        """
        with self.lock:
            self.ids.settle()
            keys = np.array([_hash(node_id) for node_id in node_ids], np.uint32)
            owners, rows = self.ids.look_up(keys)
            found = np.full(len(node_ids), -1, np.int32)
            for owner, row in zip(owners.tolist(), rows.tolist(), strict=True):
                if self.alive.values[row] and self._id(row) == node_ids[owner]:
                    found[owner] = row
            return found

    def node_ids(self, rows: Iterable[int]) -> list[str]:
        """Return the ids of the nodes in some rows.

        Args:
            rows: Rows.
        """
        with self.lock:
            return [self._id(int(row)) for row in rows]

    def document_rows(self, doc_id: str) -> Rows:
        """Return the rows of a document's nodes.

        Args:
            doc_id: The document.
        """
        with self.lock:
            self.documents.settle()
            rows = self.documents.of(_hash(doc_id))
            alive: Rows = rows[self.alive.values[rows]]
            return alive

    def is_known(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Return which keys are names: a title, or a longest span in two nodes or more.

        Args:
            keys: Hashes of keys.
        """
        nodes = _count_of(self._name_keys.values, self._name_nodes.values, keys)
        nodes += _count_of(self._tail_keys, self._tail_nodes, keys) - _count_of(self._gone_keys, self._gone_nodes, keys)
        return self._are_titles(self.aliases, keys, self.alive) | (nodes >= MIN_NODES_OF_A_NAME)

    def mentions_of(self, sentences: Integers) -> tuple[Keys, Integers]:
        """Return the names that sentences mention, without those that are titles of their own node.

        Args:
            sentences: Numbers of sentences.

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
        pairs = _pair(self.sentence_node.values[owners], keys)
        foreign = ~_member(pairs, own)
        keys, owners = keys[foreign], owners[foreign]
        _, first = np.unique(_pair(owners, keys), return_index=True)
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
        base = _count_of(self._mention_base.keys, self._mention_base_nodes, keys)
        return base + _count_of(self._mention_tail.keys, self._mention_tail_nodes, keys)

    def title_holders(self, keys: Keys) -> tuple[Integers, Rows, Weights, npt.NDArray[np.bool_]]:
        """Return who bears names as title: the place of the key, the row, the weight, and whether it was given.

        Args:
            keys: Hashes of keys.
        """
        owners, places = self.aliases.look_up(keys)
        rows = self.alias_node.values[places]
        kept = self.alive.values[rows]
        return owners[kept], rows[kept], *_weights(self.alias_weight.values[places[kept]])

    def titles_of(self, rows: npt.NDArray[Any]) -> tuple[Integers, Keys, Weights, npt.NDArray[np.bool_]]:
        """Return the titles of nodes: the place of the row, the key, the weight, and whether it was given.

        Args:
            rows: Rows.
        """
        starts = self.node_alias.values[rows]
        lengths = self.node_alias.values[rows + 1] - starts
        places = ranges(starts, lengths)
        owners = np.repeat(np.arange(len(rows)), lengths)
        return owners, self.alias_key.values[places], *_weights(self.alias_weight.values[places])

    def sentences_of(self, rows: npt.NDArray[Any]) -> Integers:
        """Return the numbers of all sentences of some nodes.

        Args:
            rows: Rows.
        """
        starts = self.node_sentence.values[rows]
        return ranges(starts, self.node_sentence.values[rows + 1] - starts)

    def frequencies(self, term: int, rows: npt.NDArray[Any]) -> Integers:
        """Return how often a word occurs in nodes, each occurrence in the title counted twice.

        Args:
            term: Hash of the word.
            rows: Rows.
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

        Args:
            rows: Rows.
        """
        owners, keys, weights, given = self.titles_of(rows)
        named = given & (weights >= _FULL_TITLE) & (self.mention_counts(keys) > 0)
        titled = np.bincount(owners[named], minlength=len(rows)) > 0
        found: npt.NDArray[np.bool_] = self.defines.values[rows] | titled
        return found

    def tied_to(self, rows: npt.NDArray[Any]) -> tuple[Integers, Integers]:
        """Return the nodes tied to nodes by the document's structure: the place of each row, and the other node.

        Args:
            rows: Rows.
        """
        starts = self.node_tie.values[rows]
        lengths = self.node_tie.values[rows + 1] - starts
        owners, others = self.ids.look_up(self.tie_target.values[ranges(starts, lengths)])
        outward = np.repeat(np.arange(len(rows)), lengths)[owners]
        ids = np.array([_hash(self._id(int(row))) for row in rows], np.uint32)
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
            sentences: Numbers of sentences.
        """
        found = np.zeros(len(sentences), bool)
        for lists in (self.terms.base, self.terms.tail):
            found |= _contains(lists.of(term), sentences)
        titles = self.title_terms.of(term)
        if len(titles):
            found |= _contains(titles, self.sentence_node.values[sentences])
        return found

    # -- writing ---------------------------------------------------------------------------------------------------

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
        """Remove all nodes of a document.

        Args:
            doc_id: The document.
        """
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

    # -- inside ----------------------------------------------------------------------------------------------------

    def _clear(self) -> None:
        self._count = 0
        self._base_nodes = 0
        self._base_sentences = 0
        self._dead = 0
        self._unsettled = False
        self._long_ids: dict[int, str] = {}
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

    def _inverted(self) -> tuple[InvertedLists, ...]:
        return (self.ids, self.documents, self.terms, self.title_terms, self.aliases, self.ties)

    def _id(self, row: int) -> str:
        return self._long_ids.get(row) or bytes(self.node_id.values[row]).decode("ascii")

    def _append(self, facts: Sequence[NodeFacts]) -> None:
        first = self._count
        rows = np.arange(first, first + len(facts), dtype=np.int32)
        ids = [item.node_id for item in facts]
        for row, node_id in zip(rows.tolist(), ids, strict=True):
            if not node_id.isascii() or len(node_id) > _ID_BYTES or node_id.endswith("\0"):
                self._long_ids[row] = node_id
        short = [b"" if row in self._long_ids else i.encode() for row, i in zip(rows.tolist(), ids, strict=True)]
        self.node_id.extend(np.array(short, f"S{_ID_BYTES}"))
        documents = np.array([_hash(item.doc_id) for item in facts], np.uint32)
        self.document_hash.extend(documents)
        self.alive.extend(np.ones(len(facts), bool))
        self.defines.extend(np.array([item.defines for item in facts], bool))
        self.length.extend(np.array([item.terms.size + 2 * item.title_terms.size for item in facts], np.float32))
        self.ids.append(np.array([_hash(node_id) for node_id in ids], np.uint32), rows)
        self.documents.append(documents, rows)
        self._append_titles(facts, rows)
        self._append_sentences(facts, rows)
        self._append_ties(facts, rows)
        self._count += len(facts)

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
        targets = np.array([_hash(tie.node_id) for ties in kept for tie in ties], np.uint32)
        self.tie_target.extend(targets)
        self.tie_node.extend(np.repeat(rows, counts))
        self.ties.append(targets, np.arange(first, first + len(targets), dtype=np.int32))

    def _kill(self, rows: Rows) -> None:
        rows = np.unique(rows)
        if not len(rows):
            return
        self.alive.values[rows] = False
        self._dead += len(rows)
        self._unsettled = True
        if self._dead > max(_TAIL_NODES, _DEAD_SHARE * self._count):
            self._compact()

    def _is_overdue(self) -> bool:
        """Whether so much has changed since the last rebuild that another is cheaper than a long tail."""
        gone = int(np.count_nonzero(self._base_alive.values)) - int(
            np.count_nonzero(self.alive.values[: self._base_nodes])
        )
        return self._count - self._base_nodes + gone > max(_TAIL_NODES, _TAIL_SHARE * self._base_nodes)

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
        nodes = _count_of(self._name_keys.values, self._name_nodes.values, keys)
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
        pairs = np.unique(_pair(self.names.values[places[whole]], nodes))
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
        return np.sort(_pair(rows[owners[own]], keys[own]))

    def _compact(self) -> None:
        """Drop the rows of removed nodes; rows get new numbers."""
        rows = np.flatnonzero(self.alive.values)
        sentences = self.sentences_of(rows)
        titles = ranges(self.node_alias.values[rows], np.diff(self.node_alias.values)[rows])
        ties = ranges(self.node_tie.values[rows], np.diff(self.node_tie.values)[rows])
        names = ranges(self.sentence_names.values[sentences], np.diff(self.sentence_names.values)[sentences])
        old = dict(vars(self))
        numbers = {
            "rows": _numbering(self._count, rows),
            "sentences": _numbering(self.sentence_node.size, sentences),
            "titles": _numbering(self.alias_key.size, titles),
            "ties": _numbering(self.tie_target.size, ties),
        }
        self._clear()
        self.epoch = old["epoch"] + 1
        self._count = len(rows)
        for name in ("node_id", "alive", "defines", "length", "document_hash"):
            getattr(self, name).extend(old[name].values[rows])
        for name, kept in (("alias_key", titles), ("alias_weight", titles), ("tie_target", ties), ("names", names)):
            getattr(self, name).extend(old[name].values[kept])
        self.skips.extend(old["skips"].values[names])
        for name, kept in (("alias_node", titles), ("tie_node", ties), ("sentence_node", sentences)):
            getattr(self, name).extend(numbers["rows"][old[name].values[kept]])
        for name, kept in (("node_sentence", rows), ("node_alias", rows), ("node_tie", rows)):
            _extend_pointers(getattr(self, name), np.diff(old[name].values)[kept])
        _extend_pointers(self.sentence_names, np.diff(old["sentence_names"].values)[sentences])
        self._long_ids = {
            int(numbers["rows"][row]): i for row, i in old["_long_ids"].items() if old["alive"].values[row]
        }
        for name, kind in _NUMBERED.items():
            lists = old[name]
            lists.renumber(numbers[kind])
            setattr(self, name, lists)
        self._rebuild()


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


def _weights(packed: npt.NDArray[np.uint8]) -> tuple[Weights, npt.NDArray[np.bool_]]:
    return (packed & _WEIGHT).astype(np.float64) / 100, (packed & GUESSED) == 0


def _hash(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _copied(column: Column) -> Column:
    copy = Column(column.values.dtype)
    copy.extend(column.values)
    return copy


def _pointers() -> Column:
    column = Column(np.int32)
    column.extend(np.zeros(1, np.int32))
    return column


def _extend_pointers(column: Column, counts: npt.NDArray[Any]) -> None:
    column.extend((column.values[-1] + np.cumsum(counts, dtype=np.int64)).astype(np.int32))


def _pair(high: npt.NDArray[Any], low: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    packed: npt.NDArray[np.uint64] = (high.astype(np.uint64) << np.uint64(32)) | low.astype(np.uint64)
    return packed


def _member(values: npt.NDArray[np.uint64], ordered: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    return _contains(ordered, values)


def _contains(ordered: npt.NDArray[Any], values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which values are in a sorted array."""
    if not len(ordered):
        return np.zeros(len(values), bool)
    found = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    same: npt.NDArray[np.bool_] = ordered[found] == values
    return same


def _count_of(ordered: npt.NDArray[Any], counts: npt.NDArray[Any], keys: Keys) -> Integers:
    if not len(ordered):
        return np.zeros(len(keys), np.int64)
    found = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    return np.where(ordered[found] == keys, counts[found], 0).astype(np.int64)
