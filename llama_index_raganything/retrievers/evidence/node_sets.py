"""Candidates ranked by the sets they are part of: joined by what they mention, or by the document's structure.

Where the best candidates are about things that other texts mention (an encyclopaedia, a wiki, files on people, places
or products), sets follow names from node to node: the link beam. Everywhere else links over names do harm (measured on
financial reports), and sets are a table and the text of its section, a figure and the text that cites it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from llama_index.core.vector_stores.types import MetadataFilters

from llama_index_raganything.graph.memory.mirror import GraphMirror
from llama_index_raganything.graph.walk.beam import LinkBeam
from llama_index_raganything.graph.walk.links import LINK_NAMES, LinkWeights, Walk
from llama_index_raganything.questions.question import understand
from llama_index_raganything.ranking.evidence_ranker import EvidenceRanker
from llama_index_raganything.ranking.passage_features import PassageFeatures, measure_units, passage_features
from llama_index_raganything.ranking.scoring import pointed_signals
from llama_index_raganything.ranking.set_coverage import (
    DEFAULT_TAU,
    SetScores,
    score_sets,
    single_sets,
    stack_sets,
    tied_pairs,
)
from llama_index_raganything.retrievers.evidence.node_cache import NodeMemory, Profile
from llama_index_raganything.retrievers.evidence.paths import STRUCTURE, Step
from llama_index_raganything.retrievers.evidence.requests import ELEMENT_KEYS, Fetch, Passing, Request
from llama_index_raganything.retrievers.evidence.session import Answer, Session, nodes_of
from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph
from llama_index_raganything.stores.metadata_filters import mentions
from llama_index_raganything.text.terms import Floats

AROUND: Final = 40
"""Structural links are followed from so many of the best candidates."""

ENOUGH_ABOUT_THINGS: Final = 0.2
"""Share of the best candidates that must be about one thing each for links over names to be followed."""

POINTED_SHARE: Final = 0.1
"""What the question points at ("page 14": 6, "Figure 4": 3) counts so much of what it does among pages."""

STATES_UNIT: Final = 0.13
"""Bonus of a table together with a text that tells the unit of its figures."""

_NO_ROW: Final = -1
_ATTEMPTS: Final = 3
"""Walks are begun so often when the graph is renumbered meanwhile, which large deletions do."""

_FAR_BEHIND: Final = 1e-6
_BY_ITSELF: Final = 1e-3
"""What a node's score by itself counts beside its sets, as in :meth:`Walk.ranked`."""

MAX_RANKED: Final = 200
"""So many of the nodes that a walk reached are ranked at least."""

Ranking = Generator[list[Request], list[Answer], "Ranked"]


@dataclass(slots=True)
class Ranked:
    """Nodes in order.

    Attributes:
        node_ids: Best first.
        evidence: What speaks for each of them.
        steps: The links of the best set that each is in.
        by_names: Whether links over names were followed.
    """

    node_ids: list[str]
    evidence: dict[str, dict[str, float]] = field(default_factory=dict)
    steps: dict[str, list[Step]] = field(default_factory=dict)
    by_names: bool = False


class SetRanking:
    """Ranks candidates by the sets they are part of.

    Args:
        graph: Links; None for none.
        ranker: What the question points at counts as it does there.
        memory: Keeps what is made of nodes.
        filters: What every node must pass.
        weights: How much the parts of the link beam count.
        gate: Share of the best candidates that must be about one thing each for links over names to be followed.
    """

    def __init__(
        self,
        graph: KnowledgeGraph | None,
        ranker: EvidenceRanker,
        memory: NodeMemory,
        filters: MetadataFilters | None,
        weights: LinkWeights,
        gate: float,
    ) -> None:
        self.graph = graph
        self.ranker = ranker
        self.memory = memory
        self.filters = filters
        self.weights = weights
        self.gate = gate

    def rank(self, session: Session, query: str, top: int) -> Ranking:
        """Rank the candidates of a session, and what is linked to them.

        Args:
            top: How many to explain.

        Yields:
            Requests to the store.

        Returns:
            The order.
        """
        units = self._units(session)
        if not units:
            return Ranked([])
        features = self._features(units, query)
        extras = features.extras + self._pointed(units, query)
        singles = features.coverage.sum(axis=1) + extras
        mirror = self.graph.mirror if self.graph is not None else None
        if mirror is None:
            pairs = _pairs_of_sections(units, singles)
            return _by_sets(units, features, extras, pairs, self._telling_units(units, pairs), top)
        for _ in range(_ATTEMPTS):
            with mirror.lock:
                epoch = mirror.epoch
                rows = mirror.rows_of([profile.node_id for profile in units])
                if not self._is_about_things(mirror, rows, singles):
                    break
            walk = yield from self._walk(mirror, epoch, rows, extras, query)
            ranked = _by_walk(mirror, epoch, walk, units, singles, rows, top) if walk is not None else None
            if ranked is not None:
                return ranked
        return (yield from self._by_structure(session, mirror, units, singles, query, top))

    def _units(self, session: Session) -> list[Profile]:
        """Return what is ranked: pages give way to their elements, unless the filters let only pages through."""
        hits = session.known(session.hits)
        if mentions(self.filters, ELEMENT_KEYS):
            return hits
        return [profile for profile in hits if not (profile.is_page and profile.element_ids)]

    def _features(self, units: Sequence[Profile], query: str) -> PassageFeatures:
        return passage_features(query, [self.memory.unit(profile) for profile in units])

    def _pointed(self, units: Sequence[Profile], query: str) -> Floats:
        signals = pointed_signals(
            understand(query), [profile.candidate for profile in units], self.ranker.weights
        ).values()
        return POINTED_SHARE * np.sum(list(signals), axis=0) if signals else np.zeros(len(units))

    def _is_about_things(self, mirror: GraphMirror, rows: npt.NDArray[np.int32], singles: Floats) -> bool:
        best = rows[np.argsort(-singles, kind="stable")[:AROUND]]
        best = best[best != _NO_ROW]
        mirror.settle()
        return len(best) > 0 and float(mirror.about_something(best).mean()) >= self.gate

    # -- links over names ------------------------------------------------------------------------------------------

    def _walk(
        self, mirror: GraphMirror, epoch: int, rows: npt.NDArray[np.int32], extras: Floats, query: str
    ) -> Generator[list[Request], list[Answer], Walk | None]:
        """Walk from the candidates; None when the graph was renumbered meanwhile."""
        known = rows != _NO_ROW
        with mirror.lock:
            if mirror.epoch != epoch:
                return None
            terms = understand(query).terms
            steps = LinkBeam(mirror, query, terms, rows[known], extras[known], self.weights).run()
            try:
                reached = next(steps)
            except StopIteration as stop:
                walk: Walk = stop.value
                return walk
        while True:
            with mirror.lock:
                if mirror.epoch != epoch:
                    return None
                ids = mirror.node_ids(reached.tolist())
            passed = yield from self._passing(ids)
            with mirror.lock:
                if mirror.epoch != epoch:
                    return None
                try:
                    reached = steps.send(passed)
                except StopIteration as stop:
                    walk = stop.value
                    return walk

    def _passing(self, ids: list[str]) -> Generator[list[Request], list[Answer], npt.NDArray[np.bool_]]:
        """Return which nodes pass the caller's filter; only they take part, so that a walk leads around nothing."""
        if self.filters is None or not self.filters.filters:
            return np.ones(len(ids), bool)
        answers = yield [Passing(ids, self.filters)]
        passed = {node.node_id for answer in answers for node in nodes_of(answer)}
        return np.array([node_id in passed for node_id in ids], bool)

    # -- links of the document's structure -------------------------------------------------------------------------

    def _by_structure(
        self,
        session: Session,
        mirror: GraphMirror,
        units: list[Profile],
        singles: Floats,
        query: str,
        top: int,
    ) -> Ranking:
        with mirror.lock:
            mirror.settle()
            rows = mirror.rows_of([profile.node_id for profile in units])
            around = rows[np.argsort(-singles, kind="stable")[:AROUND]]
            _, tied = mirror.tied_to(around[around != _NO_ROW])
            partners = mirror.node_ids(np.setdiff1d(tied, rows).tolist())
        if partners:
            answers = yield [Fetch(partners, self.filters)]
            found = [node for answer in answers for node in nodes_of(answer)]
            session.learn(found)
            units = [*units, *session.known([node.node_id for node in found])]
        features = self._features(units, query)
        extras = features.extras + self._pointed(units, query)
        pairs = _tied_pairs(mirror, [profile.node_id for profile in units])
        return _by_sets(units, features, extras, pairs, self._telling_units(units, pairs), top)

    def _telling_units(self, units: Sequence[Profile], pairs: npt.NDArray[np.int64]) -> Floats:
        """Return the bonus of each pair: that of a table with a text that tells the unit of its figures."""
        states = measure_units([self.memory.unit(profile) for profile in units])
        told = (_are_tables(units)[pairs] & states[pairs[:, ::-1]]).any(axis=1)
        links: Floats = np.where(told, STATES_UNIT, 0.0)
        return links


def _are_tables(units: Sequence[Profile]) -> npt.NDArray[np.bool_]:
    return np.array([profile.candidate.content_type == "table" for profile in units], bool)


def _pairs_of_sections(units: Sequence[Profile], singles: Floats) -> npt.NDArray[np.int64]:
    """Return pairs of a table and a text of one section, as good as candidates tell without a graph.

    Where there are pages, both stand on one or on two that follow each other.
    """
    _, groups = np.unique([f"{unit.candidate.document}\n{unit.section}" for unit in units], return_inverse=True)
    around = np.argsort(-singles, kind="stable")[:AROUND]
    places = [unit.candidate.page or 0 for unit in units]
    return tied_pairs(around, groups, _are_tables(units), places, reach=1)[0]


def _tied_pairs(mirror: GraphMirror, node_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the pairs of places of nodes that the document's structure ties, each once."""
    with mirror.lock:
        mirror.settle()
        rows = mirror.rows_of(node_ids).astype(np.int64)
        places = np.flatnonzero(rows != _NO_ROW)
        owners, others = mirror.tied_to(rows[places])
    order = np.argsort(rows, kind="stable")
    found = np.minimum(np.searchsorted(rows, others, sorter=order), len(rows) - 1)
    same = rows[order[found]] == others
    pairs = np.stack([places[owners[same]], order[found[same]]], axis=1)
    return np.unique(np.sort(pairs, axis=1), axis=0)


def _by_sets(
    units: Sequence[Profile],
    features: PassageFeatures,
    extras: Floats,
    pairs: npt.NDArray[np.int64],
    links: Floats,
    top: int,
) -> Ranked:
    """Rank by sets of one and two."""
    count = len(units)
    sets = stack_sets(single_sets(count), pairs)
    scores = score_sets(features.coverage, extras, sets, np.concatenate([np.zeros(count), links]))
    singles = features.coverage.sum(axis=1) + extras
    value = scores.membership + _FAR_BEHIND * (singles - singles.min() + _FAR_BEHIND)
    order = np.argsort(-value, kind="stable")
    ids = [profile.node_id for profile in units]
    ranked = Ranked([ids[place] for place in order.tolist()])
    for place in order[:top].tolist():
        ranked.evidence[ids[place]] = _account(
            float(features.coverage[place].sum()), float(extras[place]), float(scores.membership[place])
        )
        members = _best_members(scores, place)
        ranked.steps[ids[place]] = [Step(ids[members[0]], ids[other], STRUCTURE) for other in members[1:]]
    return ranked


def _by_walk(
    mirror: GraphMirror,
    epoch: int,
    walk: Walk,
    units: Sequence[Profile],
    singles: Floats,
    rows: npt.NDArray[np.int32],
    top: int,
) -> Ranked | None:
    """Rank by the sets of a walk, and candidates that the graph does not know; None when it was renumbered."""
    found = walk.ranked(max(top, MAX_RANKED))
    explained = {place: _best_members(walk.sets, place) for place, _ in found[:top]}
    places = list(dict.fromkeys([*(place for place, _ in found), *(m for set_ in explained.values() for m in set_)]))
    with mirror.lock:
        if mirror.epoch != epoch:
            return None
        names = dict(zip(places, mirror.node_ids(walk.rows[places].tolist()), strict=True))
    scored = [(names[place], score) for place, score in found]
    unknown = np.flatnonzero(rows == _NO_ROW)
    if len(unknown):
        alone = _alone(walk, singles[unknown]).tolist()
        scored += [(units[place].node_id, score) for place, score in zip(unknown.tolist(), alone, strict=True)]
        scored.sort(key=lambda item: -item[1])
    # A node that came into the graph meanwhile is among both, once as reached and once as unknown.
    ranked = Ranked(list(dict.fromkeys(node_id for node_id, _ in scored)), by_names=True)
    for place, members in explained.items():
        covered, extra = float(walk.coverage[place]), float(walk.base[place] - walk.coverage[place])
        ranked.evidence[names[place]] = _account(covered, extra, float(walk.sets.membership[place]))
        ranked.steps[names[place]] = _links(walk, members, names)
    return ranked


def _alone(walk: Walk, singles: Floats) -> Floats:
    """Return the scores of nodes that the graph does not know: each is a set of its own beside those of the walk."""
    best = float(walk.sets.totals.max()) if len(walk.sets.totals) else float(singles.max())
    membership: Floats = np.exp(np.minimum(0.0, singles - best) / DEFAULT_TAU)
    return membership + _BY_ITSELF * singles


def _links(walk: Walk, members: Sequence[int], names: dict[int, str]) -> list[Step]:
    steps = []
    for index, first in enumerate(members):
        for second in members[index + 1 :]:
            link = walk.link_between(int(walk.rows[first]), int(walk.rows[second]))
            if link is not None:
                steps.append(Step(names[first], names[second], LINK_NAMES[link[0]], link[1]))
    return steps


def _best_members(scores: SetScores, place: int) -> list[int]:
    best = scores.best_sets(place)
    return scores.members(best[0]) if best else []


def _account(coverage: float, extras: float, membership: float) -> dict[str, float]:
    return {"coverage": round(coverage, 2), "extras": round(extras, 2), "sets": round(membership, 2)}
