"""The graph of a knowledge base: stored in Milvus, walked in memory, and changed in both together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from llama_index.core.graph_stores.types import LabelledNode, Relation

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.graph.facts import NodeFacts
from llama_index_raganything.graph.mirror import GraphMirror
from llama_index_raganything.stores.graph.entity_descriptions import EntityDescription, describe_entity, similar_names
from llama_index_raganything.stores.graph.property_graph import MilvusPropertyGraphStore

_LOAD_BATCH = 2000
_OVERLAP_MS = 60_000
"""How far a refresh looks back: rows are stamped before they are sent, and clocks differ."""


@strict_arguments
class KnowledgeGraph:
    """A stored graph with its mirror in memory.

    The mirror is read on first use, changed in place by what is written here, and brought up to date when another
    process has written, at most ``refresh_after_s`` seconds later.

    Args:
        store: Where the facts are kept.
        refresh_after_s: Seconds between two checks for changes by other processes.
    """

    def __init__(self, store: MilvusPropertyGraphStore, refresh_after_s: float = 1.0) -> None:
        self.store = store
        self.refresh_after_s = refresh_after_s
        self._mirror: GraphMirror | None = None
        self._lock = threading.RLock()
        self._writing = threading.RLock()
        self._generation = ""
        self._checked = 0.0
        self._read_ms = 0
        self._counted: tuple[tuple[int, str], bool] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"store": self.store, "refresh_after_s": self.refresh_after_s}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc] # Restores what __getstate__ describes.

    @property
    def mirror(self) -> GraphMirror:
        """The graph in memory, at most ``refresh_after_s`` seconds old."""
        with self._lock:
            if self._mirror is None:
                self._load()
            elif time.monotonic() - self._checked >= self.refresh_after_s:
                self.refresh()
            assert self._mirror is not None  # _load has set it; mypy cannot see that.
            return self._mirror

    def has_all_nodes(self, count: Callable[[], int]) -> bool:
        """Return whether the graph has read every node of a store, so that its word counts cover the store.

        Pages whose elements are nodes too are not in the graph. The store is counted after changes of the graph only,
        and the graph is not read into memory for it.

        Args:
            count: Counts the nodes of the store.
        """
        with self._lock:
            mirror = self.mirror if self._mirror is not None else None
            state = (id(mirror), self._generation if mirror is not None else self.store.generation())
            if self._counted is None or self._counted[0] != state:
                self._counted = (state, count() == (mirror.size if mirror is not None else self.store.count_facts()))
            return self._counted[1]

    def refresh(self) -> None:
        """Bring the mirror up to date if another process has written."""
        with self._lock:
            if self._mirror is None or not self._writing.acquire(blocking=False):
                return  # The thread that is writing brings the mirror up to date.
            try:
                self._read_changes(self._mirror)
            finally:
                self._writing.release()

    def put_facts(self, facts: Sequence[NodeFacts]) -> None:
        """Write the facts of nodes; those of nodes that are here already are replaced.

        Args:
            facts: The facts, from :meth:`EntityLinker.extract`.

        Raises:
            NodeValueError: Those of one node cannot be stored; nothing was written.
        """
        if facts:
            self._write(lambda: self.store.put_facts(facts), lambda mirror: mirror.add(facts))

    def put_triples(self, entities: Sequence[LabelledNode], relations: Sequence[Relation]) -> None:
        """Write triples; they are for the property graph's API, the mirror holds what texts say.

        Args:
            entities: Entities, with where they come from.
            relations: Triples, with where they come from.

        Raises:
            NodeValueError: One of them cannot be stored.
        """

        def write() -> None:
            self.store.upsert_nodes(entities)
            self.store.upsert_relations(list(relations))

        if entities or relations:
            self._write(write, lambda _: None)

    def delete_facts(self, node_ids: Sequence[str]) -> None:
        """Delete the facts of nodes; triples stay."""
        if node_ids:
            self._write(lambda: self.store.delete_facts(node_ids), lambda mirror: mirror.remove(node_ids))

    def delete_nodes(self, node_ids: Sequence[str]) -> None:
        """Delete everything that comes from nodes, triples too."""
        if node_ids:
            self._write(
                lambda: self.store.delete_llama_nodes(node_ids=list(node_ids)), lambda mirror: mirror.remove(node_ids)
            )

    def delete_document(self, doc_id: str) -> None:
        """Delete everything that comes from a document; what other documents say too stays."""
        self._write(lambda: self.store.delete_document(doc_id), lambda mirror: mirror.remove_document(doc_id))

    def stats(self) -> dict[str, int]:
        """Count what is stored.

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
            limit: Maximum number of sentences, and of other names.

        Returns:
            The description, or None when no text has the name.
        """
        return describe_entity(self.store, self.mirror, name, limit)

    def similar_names(self, name: str, limit: int = 5) -> list[str]:
        """Return names that are written like one that the graph does not have.

        Args:
            limit: Maximum number of names.

        Returns:
            Names as the texts write them, the nearest first; of a large graph not all are compared.
        """
        return similar_names(self.store, name, limit)

    def close(self) -> None:
        """Close the store and drop the mirror."""
        with self._lock:
            self._mirror = None
            self.store.close()

    def _write(self, write: Callable[[], None], change: Callable[[GraphMirror], None]) -> None:
        """Write to the store, then do the same to the mirror."""
        with self._writing:
            with self._lock:
                current = self._mirror is not None and self.store.generation() == self._generation
            write()
            with self._lock:
                if self._mirror is not None:
                    change(self._mirror)
                if current:
                    self._generation = self.store.generation()
                # Otherwise another process wrote too, which the next refresh notices.

    def _read_changes(self, mirror: GraphMirror) -> None:
        generation = self.store.generation()
        self._checked = time.monotonic()
        if generation == self._generation:
            return
        if generation.partition(".")[2] != self._generation.partition(".")[2]:
            self._load()  # Deleted rows leave no trace to read.
            return
        now = _now_ms()
        mirror.add(list(self.store.scan_facts(since=self._read_ms - _OVERLAP_MS)))
        self._generation, self._read_ms = generation, now

    def _load(self) -> None:
        mirror = GraphMirror()
        self._read_ms = _now_ms()
        self._generation = self.store.generation()
        batch: list[NodeFacts] = []
        seen: set[str] = set()
        for facts in self.store.scan_facts():
            if facts.node_id in seen:
                continue  # It was rewritten during the scan.
            seen.add(facts.node_id)
            batch.append(facts)
            if len(batch) >= _LOAD_BATCH:
                mirror.add(batch, new=True)
                batch = []
        mirror.add(batch, new=True)
        mirror.settle()
        self._mirror = mirror
        self._checked = time.monotonic()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
