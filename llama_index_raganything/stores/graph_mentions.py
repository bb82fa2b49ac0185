"""Node facts as triples: what a document is about, and which names its texts mention.

So LlamaIndex's retrievers walk a graph that no language model has seen. These triples are not stored: they are read
from the facts of the nodes that an entity lists, by primary key.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from llama_index.core.graph_stores.types import TRIPLET_SOURCE_KEY, Relation

from llama_index_raganything.graph.facts import NodeFacts
from llama_index_raganything.graph.names import name_key
from llama_index_raganything.stores.graph_facts import FactRows
from llama_index_raganything.stores.graph_rows import StoredTriple, shortened

MENTIONS: Final = "MENTIONS"
"""Label of the triples."""

MAX_NODES: Final = 100
"""Nodes that are read for one answer."""


def mentions(
    facts: FactRows, entities: Sequence[str], seen: Collection[tuple[str, str, str]] = ()
) -> list[StoredTriple]:
    """Return what the texts about some entities mention, in the order of the texts.

    Args:
        facts: The node facts of a graph.
        entities: Shortened ids of entities.
        seen: Triples that are known already, as of :attr:`StoredTriple.identity`.

    Returns:
        Triples from the entity to each name in the first nodes that are about it.
    """
    holders = facts.holders(entities, MAX_NODES)
    wanted = [node_id for nodes in holders.values() for node_id in nodes]
    known = {item.node_id: item for item in facts.get(wanted[:MAX_NODES])}
    found: dict[tuple[str, str, str], StoredTriple] = {}
    for (entity, name), node_ids in holders.items():
        for node_id in node_ids:
            if node_id in known:
                for triple in _triples(entity, name, known[node_id]):
                    if triple.identity not in seen:
                        found.setdefault(triple.identity, triple)
    return list(found.values())


def _triples(entity: str, name: str, facts: NodeFacts) -> list[StoredTriple]:
    origin = {TRIPLET_SOURCE_KEY: facts.node_id, "ref_doc_id": facts.doc_id}
    subject = name.replace('"', " ")
    triples = []
    for text, key, _ in facts.entity_names():
        if key != name_key(name):
            target = text.replace('"', " ")
            relation = Relation(label=MENTIONS, source_id=subject, target_id=target, properties=dict(origin))
            triples.append(StoredTriple(entity, shortened(target), relation))
    return triples
