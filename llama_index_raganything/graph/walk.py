"""The link beam: sets of two and three nodes that together cover a question and are joined by what they mention.

From the best candidates it follows links through facts to other nodes, scores each pair by what its members cover
jointly plus the link, extends the best pairs by a third node, and ranks nodes by their membership in good sets. No
LLM, no embedding, no PageRank (measured worse on the same links). What each constant is worth: ``docs/graph.md``.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.graph.columns import Integers, Keys, Rows, ranges
from llama_index_raganything.graph.facts import OWN_TITLE, hash_names
from llama_index_raganything.graph.mirror import GraphMirror
from llama_index_raganything.graph.names import MAX_NAME_WORDS, candidates_of, name_key, words_of
from llama_index_raganything.ranking.set_coverage import SetScores, score_sets, stack_sets
from llama_index_raganything.text.bm25 import inverse_document_frequency, saturate
from llama_index_raganything.text.terms import Floats

MAX_QUESTION_CHARS: Final = 10_000
"""Longer questions are read for names up to here."""

MENTIONS_TITLE: Final = 0
TITLE_MENTIONED: Final = 1
SHARES_NAME: Final = 2
SAME_TITLE: Final = 3
NO_LINK: Final = -1

LINK_NAMES: Final = {
    MENTIONS_TITLE: "mentions",
    TITLE_MENTIONED: "mentioned by",
    SHARES_NAME: "shares",
    SAME_TITLE: "same title",
}


@strict_arguments
class LinkWeights(BaseModel):
    """How much the beam's parts count.

    Chosen on two sets of multi-hop questions, scored once on a third; see ``docs/graph.md``.

    Attributes:
        title_match: A name in the question is the node's title.
        pseudo_match: Factor of the former for a title that was read from the text.
        pseudo_title: Factor for links over a title that was read from the text.
        forward: A sentence of the source mentions the target's title.
        backward: A sentence of the target mentions the source's title.
        shared: Both mention a name that is neither's title.
        same_title: Both bear the same title.
        in_question: Factor for links over a name that the question has.
        third: What a third node costs.
        sources: Candidates that links start from.
        near: Candidates that are joined through frequent names.
        unlinked: Number of the best candidates that are also paired without a link.
        beam: Pairs that are extended by a third node.
        max_sentences: Names in more sentences link to near candidates only.
        max_holders: Titles of more nodes link to near candidates only.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title_match: float = 0.3
    pseudo_match: float = 1.3
    pseudo_title: float = 0.85
    forward: float = 0.35
    backward: float = 0.3
    shared: float = 0.45
    same_title: float = 0.05
    in_question: float = 0.3
    third: float = 0.3
    sources: int = Field(default=40, ge=1)
    near: int = Field(default=100, ge=1)
    unlinked: int = Field(default=12, ge=0)
    beam: int = Field(default=10, ge=0)
    max_sentences: int = Field(default=60, ge=1)
    max_holders: int = Field(default=20, ge=1)


@dataclass(slots=True)
class Links:
    """Links from nodes to nodes, one per pair: the best one.

    Attributes:
        source: Rows.
        target: Rows.
        bonus: What each is worth.
        kind: One of the kinds above.
        name: Hash of the name that joins them.
    """

    source: Integers
    target: Integers
    bonus: Floats
    kind: Integers
    name: Keys


@dataclass(slots=True)
class Walk:
    """What a walk found.

    Attributes:
        rows: The nodes that took part.
        coverage: Share of the question that each covers.
        base: Score of each by itself.
        sets: The sets and each node's membership; members are places in ``rows``.
        links: The links of the sets, for explanation.
    """

    rows: Integers
    coverage: Floats
    base: Floats
    sets: SetScores
    links: list[Links] = field(default_factory=list)

    def ranked(self, limit: int | None = None) -> list[tuple[int, float]]:
        """Return places in ``rows`` and scores, best first: membership, and far behind it the score by itself.

        Args:
            limit: Maximum number of places.
        """
        score = self.sets.membership + 1e-3 * self.base
        order = np.argsort(-score, kind="stable")[:limit]
        return list(zip(order.tolist(), score[order].tolist(), strict=True))

    def link_between(self, first: int, second: int) -> tuple[int, int] | None:
        """Return kind and name of the best link between two rows, as seen from the first, or None."""
        best: tuple[float, int, int] | None = None
        for links in self.links:
            for one, other, flip in ((first, second, False), (second, first, True)):
                for place in np.flatnonzero((links.source == one) & (links.target == other)).tolist():
                    kind = _flipped(int(links.kind[place])) if flip else int(links.kind[place])
                    if best is None or links.bonus[place] > best[0]:
                        best = (float(links.bonus[place]), kind, int(links.name[place]))
        return best[1:] if best else None


def _flipped(kind: int) -> int:
    return {MENTIONS_TITLE: TITLE_MENTIONED, TITLE_MENTIONED: MENTIONS_TITLE}.get(kind, kind)


class LinkBeam:
    """One question's walk.

    Which words are informative is judged by the candidates, as everywhere in ranking: what they all have in common
    does not say which to take, and a filter makes statistics of the whole corpus wrong.

    Args:
        mirror: The graph; the caller keeps its lock while the walk runs.
        terms: The question's content words as tokens.
        candidates: Rows that the search found and that may take part; those of no node are left out.
        extras: What else speaks for each of them, such as word order; see
            :mod:`llama_index_raganything.ranking.passage_features`.
        weights: How much the parts count.
    """

    def __init__(
        self,
        mirror: GraphMirror,
        text: str,
        terms: Sequence[str],
        candidates: npt.NDArray[Any],
        extras: Floats | None = None,
        weights: LinkWeights | None = None,
    ) -> None:
        mirror.settle()
        self.mirror = mirror
        self.weights = weights or LinkWeights()
        self.terms = hash_names(dict.fromkeys(terms)).tolist()
        self.names = _names_in_question(mirror, text)
        rows, first = np.unique(np.asarray(candidates, np.int64), return_index=True)
        # rows_of answers -1 for nodes that are not here; a node may have been removed since it was found.
        here = (rows >= 0) & (rows < mirror.columns.alive.size)
        here[here] = mirror.columns.alive.values[rows[here]]
        rows, first = rows[here], first[here]
        self.candidates = rows
        self._extras = np.zeros(len(rows)) if extras is None else np.asarray(extras, np.float64)[first]
        found = np.array([(mirror.frequencies(term, rows) > 0).sum() for term in self.terms], np.float64)
        everywhere = np.array([mirror.has_term(term) for term in self.terms], bool)
        self.idf = inverse_document_frequency(found, max(1, len(rows)))
        self._factor = np.where(everywhere, self.idf, 0.0)
        unknown = 0.5 * float(inverse_document_frequency(0, len(rows)))
        self._scale = float(self._factor.sum() + unknown * (~everywhere).sum()) or 1.0
        self._mean_length = float(mirror.columns.length.values[rows].mean()) if len(rows) else 1.0

    # -- nodes by themselves ---------------------------------------------------------------------------------------

    def coverage(self, rows: npt.NDArray[Any]) -> Floats:
        """Return what each word of the question gives to each node, as shares of the whole question.

        Returns:
            Rows by terms.
        """
        relative = self.mirror.columns.length.values[rows] / (self._mean_length or 1.0)
        terms = zip(self.terms, self._factor.tolist(), strict=True)
        columns = [factor * saturate(self.mirror.frequencies(term, rows), relative) for term, factor in terms]
        return np.stack(columns, axis=1) / self._scale if columns else np.zeros((len(rows), 0))

    def title_holders(self) -> tuple[Rows, Floats]:
        """Return the nodes whose title the question names, and how well it fits."""
        if not len(self.names):
            return np.zeros(0, np.int32), np.zeros(0)
        keys = np.array([key for key, _ in self.names], np.uint32)
        shares = np.array([1.0 if words > 1 else 0.6 for _, words in self.names])
        owners, rows, weights, given = self.mirror.title_holders(keys)
        weights = np.where(given, weights, self.weights.pseudo_match * weights)
        holders = np.bincount(owners, minlength=len(keys))
        value = weights * shares[owners] / (1 + 0.3 * np.log(np.maximum(holders[owners], 1)))
        crowded = holders[owners] > self.weights.near
        return rows[~crowded], value[~crowded]

    def extras(self, rows: npt.NDArray[Any]) -> Floats:
        """Return what else speaks for nodes: that the question names their title, and what the caller knows."""
        value = self.weights.title_match * self._title_match(rows)
        if len(self.candidates):
            places = np.minimum(np.searchsorted(self.candidates, rows), len(self.candidates) - 1)
            value += np.where(self.candidates[places] == rows, self._extras[places], 0.0)
        return value

    def _title_match(self, rows: npt.NDArray[Any]) -> Floats:
        found, values = self.title_holders()
        best = np.zeros(len(rows))
        if len(found):
            order = np.argsort(rows, kind="stable")
            ordered = np.asarray(rows)[order]
            places = np.minimum(np.searchsorted(ordered, found), len(rows) - 1)
            same = ordered[places] == found
            np.maximum.at(best, order[places[same]], values[same])
        return best

    # -- the walk --------------------------------------------------------------------------------------------------

    def run(self) -> Generator[Integers, npt.NDArray[np.bool_], Walk]:
        """Walk from the candidates.

        Yields:
            Rows of which the caller must say which may take part.

        Returns:
            What was found.
        """
        rows = self.candidates
        titled = np.setdiff1d(self.title_holders()[0].astype(np.int64), rows)
        if len(titled):
            titled = titled[(yield titled)]
        rows = np.concatenate([rows, titled])
        base = self.coverage(rows).sum(axis=1) + self.extras(rows)
        order = np.argsort(-base, kind="stable")
        near = rows[order[: self.weights.near]]
        sources = near[: self.weights.sources]
        first = yield from self._allowed(self._links(sources, near), rows)
        units = _Units(self, rows)
        pairs = self._pairs(first, sources, units)
        triples, second = yield from self._triples(pairs, near, units)
        walk_sets = stack_sets(pairs.sets, triples.sets)
        bonus = np.concatenate([pairs.links, triples.links])
        scores = score_sets(units.coverage, units.extras, walk_sets, bonus)
        coverage = units.coverage.sum(axis=1)
        return Walk(units.rows, coverage, coverage + units.extras, scores, [first, second])

    def _allowed(self, links: Links, known: Integers) -> Generator[Integers, npt.NDArray[np.bool_], Links]:
        targets = np.setdiff1d(links.target, known)
        if not len(targets):
            return links
        passed = yield targets
        if passed.all():
            return links
        kept = ~np.isin(links.target, targets[~passed])
        return Links(links.source[kept], links.target[kept], links.bonus[kept], links.kind[kept], links.name[kept])

    def _pairs(self, links: Links, sources: Integers, units: _Units) -> SetScores:
        units.add(links.target)
        linked = np.stack([units.places(links.source), units.places(links.target)], axis=1)
        top = units.places(sources[: self.weights.unlinked])
        left, right = np.triu_indices(len(top), 1)
        unlinked = np.stack([top[left], top[right]], axis=1)
        sets, bonus = _best_per_set(
            np.sort(np.concatenate([linked, unlinked]), axis=1),
            np.concatenate([links.bonus, np.zeros(len(unlinked))]),
        )
        return score_sets(units.coverage, units.extras, sets, bonus)

    def _triples(
        self, pairs: SetScores, near: Integers, units: _Units
    ) -> Generator[Integers, npt.NDArray[np.bool_], tuple[SetScores, Links]]:
        best = np.argsort(-pairs.totals, kind="stable")[: self.weights.beam]
        members = units.rows[pairs.sets[best]] if len(best) else np.zeros((0, 2), np.int64)
        links = self._links(np.unique(members), near)
        links = yield from self._allowed(links, units.rows)
        units.add(links.target)
        sets: list[Any] = [np.zeros((0, 3), np.int64)]
        bonus: list[Any] = [np.zeros(0)]
        sources = units.places(links.source)
        targets = units.places(links.target)
        for index, (one, other) in zip(best.tolist(), pairs.sets[best][:, :2].tolist(), strict=True):
            kept = np.flatnonzero(((sources == one) | (sources == other)) & (targets != one) & (targets != other))
            third = targets[kept]
            sets.append(np.stack([np.full(len(third), one), np.full(len(third), other), third], axis=1))
            bonus.append(pairs.links[index] + links.bonus[kept] - self.weights.third)
        return score_sets(units.coverage, units.extras, np.concatenate(sets), np.concatenate(bonus)), links

    # -- links -----------------------------------------------------------------------------------------------------

    def _links(self, sources: Integers, near: Integers) -> Links:
        """Return the best link from each source to each node that it leads to."""
        parts = [*self._from_mentions(sources, near), *self._from_titles(sources, near)]
        kinds = np.repeat([part[6] for part in parts], [len(part[0]) for part in parts])
        columns = [*(np.concatenate(column) for column in zip(*(part[:6] for part in parts), strict=True)), kinds]
        kept = columns[0] != columns[1]
        source, target, own, other, factor, name, kind = (column[kept] for column in columns)
        bonus = factor * self._relevance(own, other)
        asked = np.array([key for key, _ in self.names], np.uint32)
        bonus = np.where(np.isin(name, asked), self.weights.in_question * bonus, bonus)
        order = np.lexsort((-bonus, target, source))
        first = np.ones(len(order), bool)
        first[1:] = (source[order][1:] != source[order][:-1]) | (target[order][1:] != target[order][:-1])
        best = order[first]
        return Links(source[best], target[best], bonus[best], kind[best], name[best])

    def _from_mentions(self, sources: Integers, near: Integers) -> list[_Part]:
        """Links over the names that the sources mention: to who bears them as title, to who mentions them too."""
        keys, sentences = self.mirror.mentions.of(self.mirror.columns.sentences_of(sources))
        unique, inverse = np.unique(keys, return_inverse=True)
        rarity = self._rarity(unique)
        holders, rows, weights = self._holders(unique, near)
        mine, theirs = _join(inverse, holders)
        node = self.mirror.columns.sentence_node.values
        forward = self.weights.forward * (0.5 + 0.5 * rarity[holders[theirs]]) * weights[theirs]
        to_title = (
            node[sentences[mine]].astype(np.int64), rows[theirs].astype(np.int64), sentences[mine],
            np.full(len(mine), -1), forward, keys[mine], MENTIONS_TITLE,
        )  # fmt: skip
        owners, found = self._mentioning(unique, near)
        mine, theirs = _join(inverse, owners)
        shared = self.weights.shared * rarity[owners[theirs]]
        to_mention = (
            node[sentences[mine]].astype(np.int64), node[found[theirs]].astype(np.int64), sentences[mine],
            found[theirs], shared, keys[mine], SHARES_NAME,
        )  # fmt: skip
        return [to_title, to_mention]

    def _from_titles(self, sources: Integers, near: Integers) -> list[_Part]:
        """Links over the sources' own titles: to who mentions them, to who bears them too."""
        owners, keys, own_weights, given = self.mirror.columns.titles_of(sources)
        own = own_weights >= OWN_TITLE
        owners, keys = owners[own], keys[own]
        sure = np.where(given[own], 1.0, self.weights.pseudo_title)
        unique, inverse = np.unique(keys, return_inverse=True)
        rarity = self._rarity(unique)
        places, found = self._mentioning(unique, near)
        mine, theirs = _join(inverse, places)
        backward = self.weights.backward * (0.5 + 0.5 * rarity[places[theirs]]) * sure[mine]
        node = self.mirror.columns.sentence_node.values
        mentioned = (
            sources[owners[mine]], node[found[theirs]].astype(np.int64), np.full(len(mine), -1),
            found[theirs], backward, keys[mine], TITLE_MENTIONED,
        )  # fmt: skip
        holders, rows, weights = self._holders(unique, near)
        mine, theirs = _join(inverse, holders)
        none = np.full(len(mine), -1)
        same = (
            sources[owners[mine]], rows[theirs].astype(np.int64), none, none,
            self.weights.same_title * rarity[holders[theirs]] * weights[theirs], keys[mine], SAME_TITLE,
        )  # fmt: skip
        return [mentioned, same]

    def _rarity(self, keys: Keys) -> Floats:
        """Return how informative names are: 1 over the logarithm of how many nodes mention them."""
        counts = np.maximum(self.mirror.mentions.counts(keys), 1)
        return 1.0 / np.log2(1.0 + counts)

    def _holders(self, keys: Keys, near: Integers) -> tuple[Integers, Rows, Floats]:
        owners, rows, weights, given = self.mirror.title_holders(keys)
        weights = np.where(given, weights, self.weights.pseudo_title * weights)
        crowded = np.bincount(owners, minlength=len(keys)) > self.weights.max_holders
        kept = ~crowded[owners] | np.isin(rows, near)
        return owners[kept], rows[kept], weights[kept].astype(np.float64)

    def _mentioning(self, keys: Keys, near: Integers) -> tuple[Integers, Integers]:
        frequent = self.mirror.mentions.counts(keys) > self.weights.max_sentences
        rare_places = np.flatnonzero(~frequent)
        places, sentences = self.mirror.mentions.sentences_mentioning(keys[rare_places])
        parts = [(rare_places[places], sentences)]
        if frequent.any():
            near_keys, near_sentences = self.mirror.mentions.of(self.mirror.columns.sentences_of(near))
            order = np.searchsorted(keys, near_keys)
            order = np.minimum(order, len(keys) - 1)
            kept = (keys[order] == near_keys) & frequent[order]
            parts.append((order[kept], near_sentences[kept]))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _relevance(self, own: Integers, other: Integers) -> Floats:
        """Return how well the sentences of links fit the question: .85 for none of it, 1.25 for all.

        Where a link has one sentence only it is that one's, where it has none it is 1.
        """
        unique, inverse = np.unique(np.concatenate([own, other]), return_inverse=True)
        real = unique >= 0
        value = np.zeros(len(unique))
        whole = float(self.idf.sum()) or 1.0
        for term, idf in zip(self.terms, self.idf.tolist(), strict=True):
            value[real] += idf * self.mirror.sentences_with(term, unique[real])
        value = 0.85 + 0.4 * value / whole
        mine, theirs = value[inverse[: len(own)]], value[inverse[len(own) :]]
        both = (own >= 0) & (other >= 0)
        single = np.where(own >= 0, mine, np.where(other >= 0, theirs, 1.0))
        return np.where(both, (mine + theirs) / 2, single)


_Part = tuple[Integers, Integers, Integers, Integers, Floats, Keys, int]


class _Units:
    """The nodes of a walk with their coverage, numbered as they come."""

    def __init__(self, beam: LinkBeam, rows: Integers) -> None:
        self._beam = beam
        self.rows = np.zeros(0, np.int64)
        self.coverage = np.zeros((0, len(beam.terms)))
        self.extras = np.zeros(0)
        self.add(rows)

    def add(self, rows: Integers) -> None:
        new = np.setdiff1d(rows, self.rows)
        if len(new):
            self.rows = np.concatenate([self.rows, new])
            self.coverage = np.concatenate([self.coverage, self._beam.coverage(new)])
            self.extras = np.concatenate([self.extras, self._beam.extras(new)])
        self._order = np.argsort(self.rows, kind="stable")

    def places(self, rows: Integers) -> Integers:
        found: Integers = self._order[np.searchsorted(self.rows, rows, sorter=self._order)]
        return found


def _best_per_set(sets: Integers, bonus: Floats) -> tuple[Integers, Floats]:
    """Return sets without repetition, each with its best bonus."""
    order = np.lexsort((-bonus, sets[:, 1], sets[:, 0]))
    ordered = sets[order]
    first = np.ones(len(order), bool)
    first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return ordered[first], bonus[order][first]


def _join(left: Integers, right: Integers) -> tuple[Integers, Integers]:
    """Return all pairs of places at which two arrays have the same value."""
    order = np.argsort(right, kind="stable")
    ordered = right[order]
    low = np.searchsorted(ordered, left, side="left")
    high = np.searchsorted(ordered, left, side="right")
    places = ranges(low, high - low)
    return np.repeat(np.arange(len(left)), high - low), order[places]


def _names_in_question(mirror: GraphMirror, text: str) -> list[tuple[int, int]]:
    """Return hash and number of words of each name in a question.

    Capitalised spans count always, other runs of two words and more when the graph knows them.
    """
    text = text[:MAX_QUESTION_CHARS]
    words = words_of(text)
    candidates = candidates_of(text, words)
    spans: dict[tuple[int, int], str] = {(item.start, item.end): item.key for item in candidates if item.whole}
    for first in range(len(words)):
        for last in range(first + 2, min(len(words), first + MAX_NAME_WORDS) + 1):
            key = name_key(" ".join(word.folded for word in words[first:last]))
            spans.setdefault((words[first].start, words[last - 1].end), key)
    for item in candidates:
        spans.setdefault((item.start, item.end), item.key)
    keys = list(dict.fromkeys(spans.values()))
    if not keys:
        return []
    known = dict(zip(keys, mirror.mentions.is_known(hash_names(keys)).tolist(), strict=True))
    taken: dict[str, None] = {}
    stop = 0
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= stop and known[spans[start, end]]:
            taken[spans[start, end]] = None
            stop = end
    return [(int(hash_names([key])[0]), len(key.split())) for key in taken]
