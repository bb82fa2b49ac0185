"""Candidates ranked by the sets they are part of: joined by what they mention, or by the document's structure.

Where the gate of the graph is open (an encyclopaedia, a wiki, files on people, places or products), sets follow names
from node to node: the link beam. Everywhere else sets are a table and the text of its section, an image and the text
that cites it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from llama_index.core.vector_stores.types import MetadataFilters

from llama_index_raganything.graph.mirror import GraphMirror
from llama_index_raganything.graph.walk import LINK_NAMES, LinkBeam, LinkWeights, Walk
from llama_index_raganything.questions.question import understand
from llama_index_raganything.ranking import set_coverage
from llama_index_raganything.ranking.evidence_ranker import EvidenceRanker
from llama_index_raganything.ranking.passage_features import PassageFeatures, passage_features, states_measure
from llama_index_raganything.ranking.scoring import pointed_signals
from llama_index_raganything.retrievers.evidence.candidates import ELEMENT_KEYS, NodeMemory, Profile, Session
from llama_index_raganything.retrievers.evidence.graph_gate import follows_names
from llama_index_raganything.retrievers.evidence.graph_paths import STRUCTURE, Step
from llama_index_raganything.retrievers.steps import Done, Fetch, MatchingIds, Steps, advance, ask
from llama_index_raganything.stores.metadata_filters import mentions
from llama_index_raganything.text.terms import Floats

AROUND: Final = 40
"""Number of the best candidates from which structural links are followed."""

POINTED_SHARE: Final = 0.1
"""What the question points at ("page 14": 6, "Figure 4": 3) counts for this share of what it does among pages."""

STATES_UNIT: Final = 0.13
"""Bonus of a table together with a text that states the unit of its numbers."""

_NO_ROW: Final = -1
_ATTEMPTS: Final = 3
"""Walks tried when the graph is renumbered while it is walked, which large deletions do."""

_FAR_BEHIND: Final = 1e-6
_BY_ITSELF: Final = 1e-3
"""Weight of a node's own score beside its sets, as in :meth:`Walk.ranked`."""

MAX_RANKED: Final = 200
"""Nodes reached by a walk that are ranked at least."""


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


@dataclass(frozen=True, slots=True)
class LinkedSetRanking:
    """Ranks candidates by the linked sets they are part of.

    Attributes:
        ranker: What the question points at counts as it does there.
        memory: Keeps what is read from the texts of nodes.
        filters: What every node must pass.
        weights: How much the parts of the link beam count.
        gate: See :func:`follows_names`.
    """

    ranker: EvidenceRanker
    memory: NodeMemory
    filters: MetadataFilters | None
    weights: LinkWeights
    gate: float

    def rank(self, session: Session, query: str, top: int, mirror: GraphMirror | None) -> Steps[Ranked]:
        """Rank the candidates of a session, and what is linked to them.

        Args:
            top: How many to explain.
            mirror: The graph, if there is one.
        """
        profiles = self._ranked_profiles(session)
        if not profiles:
            return Ranked([])
        features = self._features(profiles, query)
        extras = features.extras + self._pointed(profiles, query)
        singles = features.coverage.sum(axis=1) + extras
        if mirror is None:
            pairs = _pairs_of_sections(profiles, singles)
            return _by_sets(profiles, features, extras, pairs, self._unit_bonus(profiles, pairs), top)
        for _ in range(_ATTEMPTS):
            with mirror.lock:
                epoch = mirror.epoch
                rows = mirror.rows_of([profile.node_id for profile in profiles])
                best = _best(rows, singles)
                if not follows_names(mirror, best[best != _NO_ROW], self.gate):
                    break
            walk = yield from self._walk(mirror, epoch, rows, extras, query)
            ranked = _by_walk(mirror, epoch, walk, profiles, singles, rows, top) if walk is not None else None
            if ranked is not None:
                return ranked
        return (yield from self._by_structure(session, mirror, profiles, singles, query, top))

    def _ranked_profiles(self, session: Session) -> list[Profile]:
        """Return what is ranked: elements in place of their pages, unless the filters let only pages through."""
        hits = session.known(session.hits)
        if mentions(self.filters, ELEMENT_KEYS):
            return hits
        return [profile for profile in hits if not (profile.is_page and profile.element_ids)]

    def _features(self, profiles: Sequence[Profile], query: str) -> PassageFeatures:
        return passage_features(query, [self.memory.words(profile) for profile in profiles])

    def _pointed(self, profiles: Sequence[Profile], query: str) -> Floats:
        signals = pointed_signals(
            understand(query), [profile.candidate for profile in profiles], self.ranker.weights
        ).values()
        return POINTED_SHARE * np.sum(list(signals), axis=0) if signals else np.zeros(len(profiles))

    # -- links over names ------------------------------------------------------------------------------------------

    def _walk(
        self, mirror: GraphMirror, epoch: int, rows: npt.NDArray[np.int32], extras: Floats, query: str
    ) -> Steps[Walk | None]:
        """Walk from the candidates; None when the graph was renumbered in the meantime."""
        walking = passed = None
        while True:
            with mirror.lock:
                if mirror.epoch != epoch:
                    return None
                if walking is None:
                    known = rows != _NO_ROW
                    terms = understand(query).terms
                    walking = LinkBeam(mirror, query, terms, rows[known], extras[known], self.weights).run()
                reached = advance(walking, passed)
                if isinstance(reached, Done):
                    return reached.result
                ids = mirror.node_ids(reached.tolist())
            passed = yield from self._passing(ids)

    def _passing(self, ids: list[str]) -> Steps[npt.NDArray[np.bool_]]:
        """Return which nodes pass the caller's filter; only they take part, so that a walk leads around nothing."""
        if self.filters is None or not self.filters.filters:
            return np.ones(len(ids), bool)
        passed = set((yield from ask(MatchingIds(ids, self.filters))))
        return np.array([node_id in passed for node_id in ids], bool)

    # -- links of the document's structure -------------------------------------------------------------------------

    def _by_structure(
        self,
        session: Session,
        mirror: GraphMirror,
        profiles: list[Profile],
        singles: Floats,
        query: str,
        top: int,
    ) -> Steps[Ranked]:
        with mirror.lock:
            mirror.settle()
            rows = mirror.rows_of([profile.node_id for profile in profiles])
            around = _best(rows, singles)
            _, tied = mirror.tied_to(around[around != _NO_ROW])
            partners = mirror.node_ids(np.setdiff1d(tied, rows).tolist())
        if partners:
            found = yield from ask(Fetch(partners, self.filters))
            session.learn(found)
            profiles = [*profiles, *session.known([node.node_id for node in found])]
        features = self._features(profiles, query)
        extras = features.extras + self._pointed(profiles, query)
        pairs = _tied_pairs(mirror, [profile.node_id for profile in profiles])
        return _by_sets(profiles, features, extras, pairs, self._unit_bonus(profiles, pairs), top)

    def _unit_bonus(self, profiles: Sequence[Profile], pairs: npt.NDArray[np.int64]) -> Floats:
        """Return the bonus of each pair: that of a table with a text that states the unit of its numbers."""
        states = states_measure([self.memory.words(profile) for profile in profiles])
        stated = (_are_tables(profiles)[pairs] & states[pairs[:, ::-1]]).any(axis=1)
        links: Floats = np.where(stated, STATES_UNIT, 0.0)
        return links


def _best(rows: npt.NDArray[Any], singles: Floats) -> npt.NDArray[Any]:
    """Return the rows of the best candidates by themselves."""
    return rows[np.argsort(-singles, kind="stable")[:AROUND]]


def _are_tables(profiles: Sequence[Profile]) -> npt.NDArray[np.bool_]:
    return np.array([profile.candidate.content_type == "table" for profile in profiles], bool)


def _pairs_of_sections(profiles: Sequence[Profile], singles: Floats) -> npt.NDArray[np.int64]:
    """Return pairs of a table and a text of one section, as well as they are known without a graph.

    Where there are pages, both are on one or on two that follow each other.
    """
    sections = [f"{profile.candidate.document}\n{profile.section}" for profile in profiles]
    _, groups = np.unique(sections, return_inverse=True)
    around = np.argsort(-singles, kind="stable")[:AROUND]
    places = [profile.candidate.page or 0 for profile in profiles]
    return set_coverage.tied_pairs(around, groups, _are_tables(profiles), places, reach=1)[0]


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
    profiles: Sequence[Profile],
    features: PassageFeatures,
    extras: Floats,
    pairs: npt.NDArray[np.int64],
    links: Floats,
    top: int,
) -> Ranked:
    """Rank by sets of one and two."""
    count = len(profiles)
    sets = set_coverage.stack_sets(set_coverage.single_sets(count), pairs)
    scores = set_coverage.score_sets(features.coverage, extras, sets, np.concatenate([np.zeros(count), links]))
    singles = features.coverage.sum(axis=1) + extras
    value = scores.membership + _FAR_BEHIND * (singles - singles.min() + _FAR_BEHIND)
    order = np.argsort(-value, kind="stable")
    ids = [profile.node_id for profile in profiles]
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
    profiles: Sequence[Profile],
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
        scored += [(profiles[place].node_id, score) for place, score in zip(unknown.tolist(), alone, strict=True)]
        scored.sort(key=lambda item: -item[1])
    # A node that came into the graph in the meantime is among both, once as reached and once as unknown.
    ranked = Ranked(list(dict.fromkeys(node_id for node_id, _ in scored)), by_names=True)
    for place, members in explained.items():
        covered, extra = float(walk.coverage[place]), float(walk.base[place] - walk.coverage[place])
        ranked.evidence[names[place]] = _account(covered, extra, float(walk.sets.membership[place]))
        ranked.steps[names[place]] = _links(walk, members, names)
    return ranked


def _alone(walk: Walk, singles: Floats) -> Floats:
    """Return the scores of nodes that the graph does not know: each is a set of its own beside those of the walk."""
    best = float(walk.sets.totals.max()) if len(walk.sets.totals) else float(singles.max())
    membership: Floats = np.exp(np.minimum(0.0, singles - best) / set_coverage.DEFAULT_TAU)
    return membership + _BY_ITSELF * singles


def _links(walk: Walk, members: Sequence[int], names: dict[int, str]) -> list[Step]:
    steps = []
    for index, first in enumerate(members):
        for second in members[index + 1 :]:
            link = walk.link_between(int(walk.rows[first]), int(walk.rows[second]))
            if link is not None:
                steps.append(Step(names[first], names[second], LINK_NAMES[link[0]], link[1]))
    return steps


def _best_members(scores: set_coverage.SetScores, place: int) -> list[int]:
    best = scores.best_sets(place)
    return scores.members(best[0]) if best else []


def _account(coverage: float, extras: float, membership: float) -> dict[str, float]:
    return {"coverage": round(coverage, 2), "extras": round(extras, 2), "sets": round(membership, 2)}
