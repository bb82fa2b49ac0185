"""What a walk through the graph is made of: links, their weights, and what it found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.graph.memory.arrays import Integers, Keys
from llama_index_raganything.ranking.set_coverage import SetScores
from llama_index_raganything.text.terms import Floats

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
        sources: How many candidates links start from.
        near: How many candidates are joined with through frequent names.
        unlinked: The best so many candidates are also paired without a link.
        beam: How many pairs are extended by a third node.
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
            limit: At most so many.
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
