"""Entities named by models: those of triples, merged over chunks, and those of described images, tables and equations.

LlamaIndex's ``PropertyGraphIndex`` keeps only the last source of an entity, and one row per spelling
(run-llama/llama_index#22394). Here the spellings of a name become one entity before anything is embedded, each relation
is kept once per chunk that states it, and each entity has the list of its chunks.

Processors leave name, type and summary of an element's entity in the metadata of its nodes
(:data:`~llama_index_raganything.elements.ENTITY_KEYS`). RAG-Anything makes one entity per name, so the next document's
"Figure 1" overwrites it, and links every name of the element's chunk to it ("belongs_to"). Here each node has its own
entity, which keeps provenance, summaries and deletion separate, and the same links are made.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llama_index.core.graph_stores.types import TRIPLET_SOURCE_KEY, EntityNode, LabelledNode, Relation
from llama_index.core.schema import BaseNode

from llama_index_raganything.elements import ENTITY_KEYS
from llama_index_raganything.graph.facts import NodeFacts
from llama_index_raganything.nodes import NodeView

MAX_NAME_CHARS: Final = 500
"""Names of entities and relations are cut at this length: a paragraph is not a name."""

SOURCE_KEYS: Final = frozenset({TRIPLET_SOURCE_KEY, "node_id", "doc_id", "ref_doc_id"})
"""Properties that state the source. They are set from the chunk, never taken from an LLM's answer."""

_DEFAULT_LABEL: Final = EntityNode.model_fields["label"].default
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]+")
_POSSESSIVE = re.compile(r"(?<=\w)['\u2019]s\b|(?<=s)['\u2019](?=\s|$)")
# Only before a letter: "A 380" is not 380, and the band "The 1975" is not a year.
_ARTICLE = re.compile(r"^(?:the|an|a)\s+(?=[^\W\d_])")
_QUOTES: Final = " \t\"'`\u2018\u2019\u201c\u201d\u00ab\u00bb"


@dataclass(frozen=True)
class TripleSource:
    """The chunk that states something.

    Attributes:
        node_id: Id of the node.
        doc_id: Id of its document; empty if it has none.
    """

    node_id: str
    doc_id: str

    def properties(self) -> dict[str, str]:
        """Return the source as properties of an entity or a relation."""
        return {TRIPLET_SOURCE_KEY: self.node_id, "node_id": self.node_id, "doc_id": self.doc_id}


@dataclass(frozen=True)
class ChunkTriples:
    """What was extracted from one chunk.

    Attributes:
        source: The chunk.
        text: Its text, from which the case of names is restored.
        nodes: Entities as extracted, with all spellings and repetitions.
        relations: Relations between them, by their ids.
    """

    source: TripleSource
    text: str = ""
    nodes: Sequence[LabelledNode] = ()
    relations: Sequence[Relation] = ()


class MergedEntity(EntityNode):
    """An entity whose text is its name and description, without ids.

    ``PropertyGraphIndex`` embeds ``str(entity)``, which for an :class:`EntityNode` ends with the random id of its
    chunk.
    """

    def __str__(self) -> str:
        """Return name and description."""
        description = clean_name(self.properties.get("description") or "", limit=None)
        return f"{self.name}: {description}" if description else self.name


@dataclass
class ExtractedTriples:
    """Merged entities and relations of many chunks.

    Attributes:
        entities: One entity per name, without source properties.
        relations: One relation per triple and chunk, each with the properties of its chunk.
        sources: Chunks of each entity in order, by the entity's id.
        others: Graph nodes that are not entities (such as a ``ChunkNode``), each with the properties of its chunk.
        failures: Pairs of node id and reason, one per chunk that failed.
        empty: Ids of the chunks that were read without failure but gave no triples.
    """

    entities: list[EntityNode] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    sources: dict[str, list[TripleSource]] = field(default_factory=dict)
    others: list[LabelledNode] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    def entities_by_source(self) -> list[EntityNode]:
        """Return each entity once per chunk that names it, with the properties of that chunk.

        Returns:
            New objects in the order of ``entities``; a store that keys entities by id and source keeps them all.
        """
        return [
            entity.model_copy(update={"properties": entity.properties | source.properties()})
            for entity in self.entities
            for source in self.sources[entity.id]
        ]


def clean_name(name: object, limit: int | None = MAX_NAME_CHARS) -> str:
    """Return a name in NFKC form on one line, without control or format characters and surrounding quotes.

    Args:
        name: A name as an LLM wrote it.
        limit: Maximum number of characters; None for no limit.
    """
    text = unicodedata.normalize("NFKC", _UNPRINTABLE.sub(" ", str(name)))
    return " ".join(text.split()).strip(_QUOTES)[:limit].rstrip()


def merge_key(name: str) -> str:
    """Return the form in which names are compared: NFKC, no case, possessive or leading article, single spaces.

    Unlike :func:`~.names.name_key` it keeps punctuation and accents: to an LLM asked for facts, "C", "C++" and "C#"
    differ, as do -5 and 5.
    """
    folded = clean_name(name).casefold()
    key = " ".join(_POSSESSIVE.sub("", folded).split())
    return _ARTICLE.sub("", key)


def merge_chunks(chunks: Iterable[ChunkTriples]) -> ExtractedTriples:
    """Merge what was extracted from many chunks.

    Args:
        chunks: In order; equal input gives equal output.

    Returns:
        The merged entities and relations, without failures.
    """
    known = list(chunks)
    entities: dict[str, _Spellings] = defaultdict(_Spellings)
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    merged = ExtractedTriples()
    for chunk in known:
        for node in chunk.nodes:
            if not isinstance(node, EntityNode):
                own = node.properties | chunk.source.properties()
                merged.others.append(node.model_copy(update={"properties": own}))
            elif key := merge_key(node.name):
                entities[key].add(node, chunk)
        for relation in chunk.relations:
            labels[merge_key(relation.label)][clean_name(relation.label)] += 1
        if not chunk.nodes and not chunk.relations:
            merged.empty.append(chunk.source.node_id)
    canonical = {key: spellings.entity() for key, spellings in entities.items()}
    merged.entities = list(canonical.values())
    merged.sources = {canonical[key].id: list(spellings.sources) for key, spellings in entities.items()}
    for chunk in known:
        merged.relations.extend(_relations_of(chunk, canonical, labels))
    return merged


@dataclass
class _Spellings:
    """The spellings, types and sources of one name."""

    surfaces: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    properties: dict[str, Any] = field(default_factory=dict)
    sources: dict[TripleSource, None] = field(default_factory=dict)

    def add(self, node: EntityNode, chunk: ChunkTriples) -> None:
        self.surfaces[_as_written(clean_name(node.name), chunk.text)] += 1
        self.labels[clean_name(node.label)] += 1
        self.sources[chunk.source] = None
        self.properties = _own_properties(node.properties) | self.properties  # The first value of a property stays.

    def entity(self) -> MergedEntity:
        typed = Counter({label: count for label, count in self.labels.items() if label and label != _DEFAULT_LABEL})
        return MergedEntity(
            name=_most_frequent(self.surfaces),
            label=_most_frequent(typed) if typed else _DEFAULT_LABEL,
            properties=dict(self.properties),
        )


def _relations_of(
    chunk: ChunkTriples, canonical: dict[str, MergedEntity], labels: dict[str, Counter[str]]
) -> list[Relation]:
    """Return the relations of one chunk between the merged entities, each triple once."""
    # Ends that are not entities of the chunk are node ids, as from ImplicitPathExtractor.
    ids = {
        node.id: canonical[key].id
        for node in chunk.nodes
        if isinstance(node, EntityNode) and (key := merge_key(node.name))
    }
    nameless = {node.id for node in chunk.nodes if isinstance(node, EntityNode) and node.id not in ids}
    found: dict[tuple[str, str, str], Relation] = {}
    for relation in chunk.relations:
        label = _most_frequent(labels[merge_key(relation.label)])
        if not label or relation.source_id in nameless or relation.target_id in nameless:
            continue
        ends = ids.get(relation.source_id, relation.source_id), ids.get(relation.target_id, relation.target_id)
        own = _own_properties(relation.properties)
        if (known := found.get((ends[0], label, ends[1]))) is not None:
            known.properties = own | known.properties
            continue
        found[(ends[0], label, ends[1])] = Relation(
            label=label, source_id=ends[0], target_id=ends[1], properties=own | chunk.source.properties()
        )
    return list(found.values())


def _own_properties(properties: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in properties.items() if key not in SOURCE_KEYS}


def _as_written(name: str, text: str) -> str:
    """Return a name in the case that its chunk uses most.

    ``SimpleLLMPathExtractor`` calls ``str.capitalize()`` on names, which turns "IBM" into "Ibm".
    """
    if name.lower() == name.upper():
        return name
    found = re.findall(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE)
    # The regular expression matches the Turkish dotless i as i, but it makes another name.
    written = Counter(form for form in found if form.casefold() == name.casefold())
    return _most_frequent(written) if written else name


def _most_frequent(counts: Counter[str]) -> str:
    """Return the most frequent string; of equals the first."""
    return max(counts, key=lambda text: counts[text])


BELONGS_TO: Final = "belongs_to"
"""Label of the relation from a name in an element's node to the element."""

MAX_BELONGING: Final = 50
"""Maximum names of a node that are linked to its element."""


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
