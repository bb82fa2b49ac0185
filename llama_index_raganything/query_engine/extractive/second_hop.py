"""The second hop of an answer: what a linked node says where the first quote leaves the question open.

Retrieval tells over which name a node was reached (``graph_path``). A name that the question does not have ("the
town where she was born") is what the question goes through, and the node about it is quoted for the words that
neither the first quote nor its node has. Pure functions of passages and sources.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

from llama_index.core.schema import NodeWithScore

from llama_index_raganything.query_engine.extractive.passages import Passage
from llama_index_raganything.text.terms import content_tokens

JOINED_BY_NAME: Final = frozenset({"mentions", "mentioned by", "shares"})
"""Relations of a ``graph_path`` that go over a name; the document's structure joins without one."""

_PATH_KEY: Final = "graph_path"
_GAIN: Final = 0.1


@dataclass(frozen=True, slots=True)
class Link:
    """A name that leads from one source to another.

    Attributes:
        origin: Number of the source it starts from, from 1.
        number: Number of the source it leads to.
        name: Content words of the name, as tokens.
        title: Content words of the title of the source it leads to.
    """

    origin: int
    number: int
    name: tuple[str, ...]
    title: frozenset[str]


def links_from(number: int, sources: Sequence[NodeWithScore]) -> list[Link]:
    """Return the links over names of the set that one source is in, nearest first.

    Args:
        number: Number of the source, from 1.

    Returns:
        Links that lead away from the source, each other source at most once; none for damaged paths.
    """
    numbers = {source.node.node_id: place for place, source in enumerate(sources, 1)}
    steps = list(_steps(sources[number - 1].node.metadata.get(_PATH_KEY)))
    found: list[Link] = []
    reached = [number]
    for origin in reached:
        for step in steps:
            for near, far in (("source", "target"), ("target", "source")):
                place = numbers.get(str(step.get(far)))
                if numbers.get(str(step.get(near))) != origin or place is None or place in reached:
                    continue
                name = tuple(content_tokens(str(step.get("name") or "")))
                if name:
                    reached.append(place)
                    title = frozenset(content_tokens(str(step.get(f"{far}_title") or "")))
                    found.append(Link(origin, place, name, title))
    return found


def further_passages(
    chosen: Sequence[Passage],
    passages: Sequence[Passage],
    sources: Sequence[NodeWithScore],
    weights: Mapping[str, float],
    most: int,
) -> list[Passage]:
    """Choose what the nodes linked to the first quote say of the words that the quotes leave open.

    Args:
        chosen: Passages already quoted, best first.
        weights: Words of the question and their weights.
        most: How many passages may be quoted in all.

    Returns:
        Passages to quote after the chosen ones; none where the quoted nodes have all words of the question.
    """
    if not chosen:
        return []
    quoted = list(chosen)
    for link in links_from(chosen[0].number, sources):
        left = _left_open(quoted, weights)
        if not left or len(quoted) >= most:
            break
        # A name of the question leads to more about what was asked for, not to what was asked about it.
        if set(link.name) <= weights.keys() or link.number in {passage.number for passage in quoted}:
            continue
        quoted.extend(_over_link(link, quoted, passages, weights, left)[: most - len(quoted)])
    return quoted[len(chosen) :]


def _over_link(
    link: Link, quoted: Sequence[Passage], passages: Sequence[Passage], weights: Mapping[str, float], left: Set[str]
) -> list[Passage]:
    """Return the passage that a link leads to, after the one that names it where no quote does."""
    linked = [p for p in passages if p.number == link.number and p.kind == "sentence"]
    named = any(_holds(passage, link.name) for passage in quoted)
    best = _covering(link, linked, weights, left)
    if best is None:
        return []
    if named:
        return [best]
    naming = (p for p in passages if p.number == link.origin and p.kind == "sentence" and _holds(p, link.name))
    bridge = next(naming, None)
    return [bridge, best] if bridge is not None else []


def _covering(link: Link, linked: Sequence[Passage], weights: Mapping[str, float], left: Set[str]) -> Passage | None:
    """Return the sentence that has most of the words left open by weight, if it has enough and is on the name."""
    about = set(link.name) <= link.title
    gains = [
        (sum(weights[term] for term in left & set(passage.tokens)), -place, passage)
        for place, passage in enumerate(linked)
        if about or _holds(passage, link.name)
    ]
    gain, _, best = max(gains, key=lambda item: item[:2], default=(0.0, 0, None))
    return best if gain >= _GAIN * sum(weights.values()) else None


def _left_open(quoted: Sequence[Passage], weights: Mapping[str, float]) -> set[str]:
    return {term for term in weights if not any(term in p.tokens or p.held(term) > 0 for p in quoted)}


def _holds(passage: Passage, name: Sequence[str]) -> bool:
    size = len(name)
    return any(tuple(passage.tokens[at : at + size]) == tuple(name) for at in range(len(passage.tokens) - size + 1))


def _steps(path: Any) -> Iterator[dict[str, Any]]:
    try:
        steps = json.loads(path) if isinstance(path, str) and path else []
    except ValueError:
        return
    for step in steps if isinstance(steps, list) else []:
        if isinstance(step, dict) and step.get("relation") in JOINED_BY_NAME:
            yield step
