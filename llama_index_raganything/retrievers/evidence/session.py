"""What is known about nodes while one question is answered."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace

from llama_index.core.schema import BaseNode, NodeWithScore
from llama_index.core.vector_stores.types import VectorStoreQueryResult

from llama_index_raganything.nodes import NodeView
from llama_index_raganything.ranking.evidence_ranker import EvidenceRanker
from llama_index_raganything.retrievers.evidence.node_cache import NodeMemory, Profile
from llama_index_raganything.retrievers.evidence.requests import Fetch, Request

Answer = VectorStoreQueryResult | Sequence[BaseNode]
Steps = Generator[list[Request], list[Answer], list[NodeWithScore]]
Reading = Generator[list[Request], list[Answer], None]


class Session:
    """What is known about nodes while one question is answered; it asks for what it does not know, and makes no I/O.

    Args:
        ranker: Makes candidates of nodes.
        memory: What is remembered of earlier questions.
    """

    def __init__(self, ranker: EvidenceRanker, memory: NodeMemory) -> None:
        self._ranker = ranker
        self._memory = memory
        self._profiles: dict[str, Profile] = {}
        self._remembered: set[str] = set()
        self.hits: dict[str, float | None] = {}

    def read(self, node_ids: Iterable[str]) -> Reading:
        """Get to know nodes by id that are not remembered.

        Yields:
            Requests.
        """
        unknown = self.unknown(node_ids)
        if unknown:
            for answer in (yield [Fetch(unknown)]):
                self.learn(nodes_of(answer))

    def add_hits(self, answer: Answer, *, by_vector: bool = False) -> None:
        """Add the answer of a search; vector similarities are kept, other scores are of no common scale."""
        self.learn(nodes_of(answer))
        ids = [node.node_id for node in nodes_of(answer)]
        similarities: Sequence[float] = []
        if isinstance(answer, VectorStoreQueryResult):
            ids = list(answer.ids or ids)
            similarities = answer.similarities or []
        for index, node_id in enumerate(ids):
            known = self.hits.get(node_id)
            value = float(similarities[index]) if by_vector and index < len(similarities) else None
            self.hits[node_id] = known if value is None else value

    def learn(self, nodes: Iterable[BaseNode]) -> None:
        """Get to know nodes; those whose ids derive from their content are remembered."""
        for node in nodes:
            placed = {key: str(node.metadata.get(key) or "") for key in ("section", "bbox", "asset")}
            element = str(node.metadata.get("element_id") or "")
            candidate = self._ranker.candidate(node)
            profile = Profile(
                node.node_id,
                candidate,
                NodeView(node).page_node_id,
                NodeView(node).element_node_ids,
                element=element,
                **placed,
            )
            self._profiles[node.node_id] = profile
            self._memory.keep(profile, node)

    def unknown(self, node_ids: Iterable[str]) -> list[str]:
        """Return which ids are neither known nor remembered."""
        missing = [node_id for node_id in dict.fromkeys(node_ids) if node_id not in self._profiles]
        found = self._memory.recall(missing)
        self._profiles |= found
        self._remembered |= found.keys()
        return [node_id for node_id in missing if node_id not in found]

    def forget(self) -> None:
        """Forget what came from memory: something in the store is no longer as it was."""
        self._memory.forget(self._remembered)
        self._profiles = {key: value for key, value in self._profiles.items() if key not in self._remembered}
        self._remembered = set()

    def known(self, node_ids: Iterable[str]) -> list[Profile]:
        """Return the profiles of those nodes that are known, in the order of the ids."""
        return [self._profiles[node_id] for node_id in node_ids if node_id in self._profiles]

    def documents(self) -> list[str]:
        """Return the documents of the hits, those of the best hits first."""
        return list(dict.fromkeys(p.candidate.document for p in self.known(self.hits) if p.candidate.document))

    def has_page_nodes(self) -> bool:
        """Return whether any hit is a page or stands on one."""
        return any(profile.is_page or profile.page_id is not None for profile in self.known(self.hits))

    def page_ids(self) -> list[str]:
        """Return the ids of the pages on which hits stand."""
        return [profile.page_id for profile in self.known(self.hits) if profile.page_id is not None]

    def share_on_pages(self) -> float:
        """Return the share of the hits that are pages or stand on one."""
        hits = self.known(self.hits)
        return sum(profile.is_page or profile.page_id is not None for profile in hits) / max(len(hits), 1)

    def units(self, *, by_page: bool) -> list[Profile]:
        """Return what is ranked: pages, each with the best similarity on it, and elements without a page node."""
        units: dict[str, Profile] = {}
        similarities: dict[str, float] = {}
        for profile in self.known(self.hits):
            owner = self._profiles.get(profile.page_id or "") if by_page else None
            unit = owner if owner is not None and owner.is_page else profile
            units.setdefault(unit.node_id, unit)
            value = self.hits[profile.node_id]
            if value is not None:
                similarities[unit.node_id] = max(value, similarities.get(unit.node_id, value))
        # What the vector search missed is at most as similar as the last it returned.
        lowest = min(similarities.values(), default=0.0)
        return [
            replace(unit, candidate=replace(unit.candidate, prior=similarities.get(node_id, lowest)))
            for node_id, unit in units.items()
        ]


def nodes_of(answer: Answer) -> Sequence[BaseNode]:
    """Return the nodes of an answer of the store, none when it has ids only.

    Args:
        answer: What a request yielded.
    """
    return answer.nodes or [] if isinstance(answer, VectorStoreQueryResult) else answer
