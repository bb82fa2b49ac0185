"""The facts of all nodes of a graph in flat columns, with inverted lists over them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from llama_index_raganything.graph.facts import GUESSED, NodeFacts
from llama_index_raganything.graph.memory.arrays import Column, Integers, InvertedLists, Keys, Rows, ranges

_ID_BYTES: Final = 36
"""Node ids of ASCII up to the length of a UUID stand in an array, others in a dictionary."""

_WEIGHT: Final = 0x7F

Weights = npt.NDArray[np.float64]


class GraphColumns:
    """Nodes, their sentences, titles and ties, each numbered from 0 in the order in which they came.

    A node is a row. What belongs to a row stands in one stretch, told by the row's pointer and the next one.
    """

    def __init__(self) -> None:
        self._clear()

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

    def _clear(self) -> None:
        self._count = 0
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
        targets = np.array([id_hash(tie.node_id) for ties in kept for tie in ties], np.uint32)
        self.tie_target.extend(targets)
        self.tie_node.extend(np.repeat(rows, counts))
        self.ties.append(targets, np.arange(first, first + len(targets), dtype=np.int32))

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
