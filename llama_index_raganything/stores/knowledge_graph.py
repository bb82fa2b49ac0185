"""The graph of a knowledge base as retrieval uses it: stored in Milvus, walked in memory, both changed together."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llama_index_raganything.graph.facts import NodeFacts, name_hash
from llama_index_raganything.graph.mirror import GraphMirror
from llama_index_raganything.graph.names import name_key
from llama_index_raganything.stores.property_graph import MilvusPropertyGraphStore

_LOAD_BATCH = 2000
_OVERLAP_MS = 60_000
"""How far a refresh looks back: rows are stamped before they are sent, and clocks differ."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A sentence that mentions a name.

    Attributes:
        node_id: The node it stands in.
        doc_id: Its document.
        start: Where it begins in the node's text, in characters.
        end: Where it ends.
    """

    node_id: str
    doc_id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class EntityDescription:
    """What the graph knows of one entity.

    Attributes:
        name: The name asked for.
        nodes: How many nodes mention it.
        title_of: Ids of the nodes that are about it.
        mentions: Sentences that mention it, at most as many as asked for.
        together_with: The names mentioned with it most often, with the number of those sentences.
    """

    name: str
    nodes: int
    title_of: list[str] = field(default_factory=list)
    mentions: list[Mention] = field(default_factory=list)
    together_with: list[tuple[str, int]] = field(default_factory=list)


class KnowledgeGraph:
    """A stored graph with its mirror in memory.

    The mirror is read on first use, changed in place by what is written here, and brought up to date when another
    process has written, at most ``refresh_after_s`` seconds later.

    Args:
        store: Where the facts are kept.
        refresh_after_s: Seconds after which the store is asked whether somebody else wrote.
    """

    def __init__(self, store: MilvusPropertyGraphStore, refresh_after_s: float = 1.0) -> None:
        self.store = store
        self.refresh_after_s = refresh_after_s
        self._mirror: GraphMirror | None = None
        self._lock = threading.RLock()
        self._generation = ""
        self._checked = 0.0
        self._read_ms = 0

    @property
    def mirror(self) -> GraphMirror:
        """The graph in memory, as of a moment ago."""
        with self._lock:
            if self._mirror is None:
                self._load()
            elif time.monotonic() - self._checked >= self.refresh_after_s:
                self.refresh()
            assert self._mirror is not None  # _load has set it; told to mypy.
            return self._mirror

    def refresh(self) -> None:
        """Bring the mirror up to date if anybody wrote since it was."""
        with self._lock:
            if self._mirror is None:
                return
            generation = self.store.generation()
            self._checked = time.monotonic()
            if generation == self._generation:
                return
            if generation.partition(".")[2] != self._generation.partition(".")[2]:
                self._load()  # Something was deleted: what is gone leaves no trace to read.
                return
            since, self._read_ms = self._read_ms - _OVERLAP_MS, _now_ms()
            self._mirror.add(list(self.store.scan_facts(since=since)))
            self._generation = generation

    def put_facts(self, facts: Sequence[NodeFacts]) -> None:
        """Write the facts of nodes; those of nodes that are here already are replaced.

        Args:
            facts: The facts, from :meth:`EntityLinker.extract`.

        Raises:
            NodeValueError: Those of one node cannot be stored; nothing was written.
        """
        self.store.put_facts(facts)
        with self._lock:
            if self._mirror is not None and facts:
                self._mirror.add(facts)
                self._generation = self.store.generation()

    def delete_facts(self, node_ids: Sequence[str]) -> None:
        """Delete the facts of nodes.

        Args:
            node_ids: Ids of nodes.
        """
        if not node_ids:
            return
        self.store.delete_facts(node_ids)
        with self._lock:
            if self._mirror is not None:
                self._mirror.remove(node_ids)
                self._generation = self.store.generation()

    def delete_document(self, doc_id: str) -> None:
        """Delete everything that comes from a document; what other documents say too stays.

        Args:
            doc_id: The document.
        """
        self.store.delete_document(doc_id)
        with self._lock:
            if self._mirror is not None:
                self._mirror.remove_document(doc_id)
                self._generation = self.store.generation()

    def stats(self) -> dict[str, int]:
        """Return how much there is.

        Returns:
            What the store has (``entities``, ``triples``, ``nodes`` ...), and of the mirror ``names``, ``sentences``,
            ``mentions``, ``titles`` and ``bytes``.
        """
        mirror = self.mirror
        return {**self.store.stats(), **mirror.stats()}

    def describe(self, name: str, limit: int = 10) -> EntityDescription | None:
        """Return what the graph knows of an entity.

        Args:
            name: Its name, in any case and with or without an article.
            limit: How many sentences and how many other names to tell.

        Returns:
            The description, or None when no text has the name.
        """
        key = name_hash(name_key(name))
        mirror = self.mirror
        with mirror.lock:
            mirror.settle()
            keys = np.array([key], np.uint32)
            _, sentences = mirror.sentences_mentioning(keys)
            holders = mirror.title_holders(keys)[1]
            title_of = mirror.node_ids(holders.tolist())
            rows = mirror.sentence_node.values[sentences]
            nodes = len(np.unique(rows))
            first = mirror.node_sentence.values[rows]
            places = list(zip(mirror.node_ids(rows.tolist()), (sentences - first).tolist(), strict=True))[:limit]
            others, _ = mirror.mentions_of(sentences)
        if not len(rows) and not title_of:
            return None
        facts = {item.node_id: item for item in self.store.facts([node_id for node_id, _ in places])}
        mentions = [
            Mention(node_id, facts[node_id].doc_id, *facts[node_id].spans[place])
            for node_id, place in places
            if node_id in facts and place < len(facts[node_id].spans)
        ]
        together = _names_of(facts.values(), Counter(others[others != key].tolist()), limit)
        return EntityDescription(name, nodes, sorted(title_of), mentions, together)

    def close(self) -> None:
        """Let go of Milvus and of the mirror."""
        with self._lock:
            self._mirror = None
            self.store.close()

    def _load(self) -> None:
        mirror = GraphMirror()
        self._read_ms = _now_ms()
        self._generation = self.store.generation()
        batch: list[NodeFacts] = []
        for facts in self.store.scan_facts():
            batch.append(facts)
            if len(batch) >= _LOAD_BATCH:
                mirror.add(batch)
                batch = []
        mirror.add(batch)
        mirror.settle()
        self._mirror = mirror
        self._checked = time.monotonic()


def _names_of(facts: Any, counts: Counter[int], limit: int) -> list[tuple[str, int]]:
    """Return names for the most frequent hashes, as far as these nodes have them."""
    known: dict[int, str] = {}
    for item in facts:
        for name in item.entities:
            known.setdefault(name_hash(name_key(name)), name)
    found = [(known[key], count) for key, count in counts.most_common() if key in known]
    return found[:limit]


def _now_ms() -> int:
    return int(time.time() * 1000)
