"""Entities that a model named when it described an image, table or equation, and the names that belong to them.

A processor leaves name, type and summary in the metadata of the element's nodes
(:data:`~llama_index_raganything.elements.ENTITY_KEYS`). RAG-Anything makes one entity per name, so the next document's
"Figure 1" overwrites it, and links every name of the element's chunk to it ("belongs_to"). Here each node has its own
entity, which keeps provenance, summaries and deletion separate, and the same links are made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from llama_index.core.graph_stores.types import EntityNode, Relation
from llama_index.core.schema import BaseNode

from llama_index_raganything.elements import ENTITY_KEYS
from llama_index_raganything.graph.extraction.merging import TripleSource, clean_name, merge_key
from llama_index_raganything.graph.facts import NodeFacts
from llama_index_raganything.nodes import NodeView

BELONGS_TO: Final = "belongs_to"
"""Label of the relation from a name in an element's node to the element."""

MAX_BELONGING: Final = 50
"""Maximum names of a node that are linked to its element."""

_DEFAULT_LABEL: Final = EntityNode.model_fields["label"].default


def described_entity(node: BaseNode) -> EntityNode | None:
    """Return the entity that a node's metadata describe.

    Returns:
        The entity with its type as label, its summary as description and the node as its source, or None.
    """
    name_field, type_field, summary_field = ENTITY_KEYS
    name = clean_name(node.metadata.get(name_field) or "")
    if not merge_key(name):
        return None
    source = TripleSource(node.node_id, NodeView(node).document_id)
    label = clean_name(node.metadata.get(type_field) or "") or _DEFAULT_LABEL
    summary = clean_name(node.metadata.get(summary_field) or "", limit=None)
    return EntityNode(name=name, label=label, properties={"description": summary, **source.properties()})


def plain_name(entity: EntityNode) -> str:
    """Return an entity's name as texts write it, without the type that RAG-Anything appends.

    Args:
        entity: An entity of :func:`described_entity`.
    """
    return entity.name.removesuffix(f"({entity.label})").rstrip() or entity.name


def names_in(facts: NodeFacts) -> list[str]:
    """Return the names in a node that may belong to its element; not labels, which name it only within its document."""
    return [name for name, _, label in facts.entity_names() if label != "label"]


def belonging(entity: EntityNode, names: Iterable[str]) -> list[Relation]:
    """Return the relations from names in an element's node to the element.

    Args:
        entity: The element's entity, with its source.
        names: Other names in the node.

    Returns:
        One relation per name, with the same source, at most fifty.
    """
    own = {merge_key(entity.name), merge_key(plain_name(entity))}
    source = {key: value for key, value in entity.properties.items() if key != "description"}
    found: dict[str, Relation] = {}
    for name in names:
        if len(found) >= MAX_BELONGING:
            break
        key = merge_key(name)
        if key and key not in own and key not in found:
            member = EntityNode(name=name)  # As made by the linker, so that the relation's end exists.
            found[key] = Relation(source_id=member.id, target_id=entity.id, label=BELONGS_TO, properties=dict(source))
    return list(found.values())
