"""What a graph knows of one entity, for people to read."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np

from llama_index_raganything.graph.facts import WHOLE, NodeFacts, name_hash
from llama_index_raganything.graph.mirror import GraphMirror
from llama_index_raganything.graph.names import name_key
from llama_index_raganything.stores.graph.property_graph import MilvusPropertyGraphStore

MAX_NODES_READ: Final = 200
"""Maximum nodes that are read for sentences with a name and for the names beside it."""

MAX_NODES_SPELLED: Final = 5000
"""Maximum nodes whose names are compared with an unknown one."""

_CLOSE: Final = 0.75
_CONTAINED: Final = 0.9


@dataclass(frozen=True, slots=True)
class Mention:
    """A sentence that mentions a name.

    Attributes:
        node_id: Its node.
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
        name: The name as most of the texts write it.
        nodes: How many nodes mention it or are about it.
        title_of: Ids of the nodes that are about it.
        mentions: Sentences that mention it, up to the limit.
        together_with: The names mentioned with it most often, with the number of those sentences.
        documents: How many documents these nodes are from.
    """

    name: str
    nodes: int
    title_of: list[str] = field(default_factory=list)
    mentions: list[Mention] = field(default_factory=list)
    together_with: list[tuple[str, int]] = field(default_factory=list)
    documents: int = 0


def describe_entity(
    store: MilvusPropertyGraphStore, mirror: GraphMirror, name: str, limit: int
) -> EntityDescription | None:
    """Return what a graph knows of an entity.

    Args:
        store: The stored graph, which finds every text that has the name.
        mirror: The graph in memory, which knows titles by their short forms too.
        name: Its name, in any case and with or without an article.
        limit: Maximum number of sentences, and of other names.

    Returns:
        The description, or None when no text has the name.
    """
    key = name_key(name)
    if not key:
        return None
    with mirror.lock:
        mirror.settle()
        title_of = mirror.node_ids(mirror.title_holders(np.array([name_hash(key)], np.uint32))[1].tolist())
    ids = store.named([name])[name]
    sources = list(dict.fromkeys(pair for pairs in store.sources([name, *ids]).values() for pair in pairs))
    node_ids = list(dict.fromkeys([*title_of, *(node_id for node_id, _ in sources if node_id)]))
    if not node_ids and not sources:
        return None
    known = store.facts(node_ids[:MAX_NODES_READ])
    documents = {doc_id for _, doc_id in sources} | {facts.doc_id for facts in known}
    spellings = Counter(text for facts in known for text, other, _ in facts.entity_names() if other == key)
    sentences = [(facts, place) for facts in known for place in sentences_with(facts, name_hash(key))]
    return EntityDescription(
        name=spellings.most_common(1)[0][0] if spellings else next(iter(ids), name),
        nodes=len(node_ids),
        title_of=sorted(title_of),
        mentions=[Mention(facts.node_id, facts.doc_id, *facts.spans[place]) for facts, place in sentences[:limit]],
        together_with=_names_beside(sentences, key, limit),
        documents=len(documents - {""}),
    )


def similar_names(store: MilvusPropertyGraphStore, name: str, limit: int) -> list[str]:
    """Return names of a graph that are written like one that it does not have.

    Args:
        store: The stored graph; the first nodes only are looked at.
        limit: Maximum number of names.

    Returns:
        Names as the texts write them, the nearest first.
    """
    wanted = name_key(name)
    spelled: dict[str, str] = {}
    for facts in islice(store.scan_facts(), MAX_NODES_SPELLED):
        for text, key, _ in facts.entity_names():
            spelled.setdefault(key, text)
    words = set(wanted.split())
    near = {key: _CONTAINED for key in spelled if words and words <= set(key.split())}
    for key in difflib.get_close_matches(wanted, spelled, limit, _CLOSE):
        near[key] = max(near.get(key, 0.0), difflib.SequenceMatcher(None, wanted, key).ratio())
    return [spelled[key] for key in sorted(near, key=lambda key: (-near[key], len(key), key))[:limit]]


def sentences_with(facts: NodeFacts, key: int) -> Iterator[int]:
    """Yield the numbers of the sentences of a node that have a name.

    Args:
        key: Hash of the name's key.
    """
    ends = np.cumsum(facts.name_counts.astype(np.int64))
    yield from np.unique(np.searchsorted(ends, np.flatnonzero(facts.names == key), side="right")).tolist()


def _names_beside(sentences: Sequence[tuple[NodeFacts, int]], key: str, limit: int) -> list[tuple[str, int]]:
    """Return the names in the same sentences as a name, the most frequent first."""
    counts: Counter[str] = Counter()
    spelled: dict[str, str] = {}
    for facts, place in sentences:
        texts = {name_hash(name_key(text)): text for text in facts.entities}
        for found in _longest_names(facts, place):
            if found in texts:
                other = name_key(texts[found])
                spelled.setdefault(other, texts[found])
                counts[other] += 1
    beside = [other for other in counts if not set(key.split()) & set(other.split())]
    kept = _without_longer_forms(beside)
    return [(spelled[other], counts[other]) for other in sorted(kept, key=lambda other: -counts[other])[:limit]]


def _longest_names(facts: NodeFacts, place: int) -> Iterable[int]:
    """Return the hashes of the longest names in a sentence, each once."""
    ends = np.cumsum(facts.name_counts.astype(np.int64))
    part = slice(int(ends[place]) - int(facts.name_counts[place]), int(ends[place]))
    found: list[int] = np.unique(facts.names[part][(facts.skips[part] & WHOLE) > 0]).tolist()
    return found


def _without_longer_forms(keys: Sequence[str]) -> list[str]:
    """Leave out names that only lengthen another one ("Stavanger in 1990" beside "Stavanger")."""
    return [key for key in keys if not any(key != other and key.startswith(f"{other} in ") for other in keys)]
