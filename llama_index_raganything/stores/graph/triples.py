"""Triples of the graph: written one row per source, read as one, walked breadth first."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llama_index.core.graph_stores.types import TRIPLET_SOURCE_KEY, EntityNode, LabelledNode, Relation, Triplet

from llama_index_raganything.elements import content_id
from llama_index_raganything.graph.facts import NodeFacts
from llama_index_raganything.graph.names import name_key
from llama_index_raganything.stores.graph.collections import (
    PAYLOAD_FIELDS,
    GraphCollections,
    Row,
    packed,
    shortened,
    unpacked,
)
from llama_index_raganything.stores.graph.entities import EntityRows, Provenance, dumped, grouped, row_matches, united
from llama_index_raganything.stores.graph.facts import FactRows
from llama_index_raganything.stores.milvus.filter_expressions import all_of, any_of

IS_TRIPLE: Final = 'kind == "triple"'
TRIPLE_FIELDS: Final = ("id", "subject", "label", "object", "source", "doc_id", "updated_at", *PAYLOAD_FIELDS)

MENTIONS: Final = "MENTIONS"
"""Label of the triples read from node facts."""

MAX_NODES_READ: Final = 100
"""Nodes whose facts are read for one answer."""

_MAX_FRONTIER: Final = 2000
_LEVEL_ROWS: Final = 1000
_ROWS_PER_TRIPLE: Final = 20


@dataclass(frozen=True)
class StoredTriple:
    """A triple, merged from the rows of all its sources.

    Attributes:
        subject: Shortened id of the entity it begins with.
        object: Shortened id of the entity it ends with.
        relation: The relation.
        sources: Number of sources.
    """

    subject: str
    object: str
    relation: Relation
    sources: int = 1

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes it one triple."""
        return self.subject, shortened(self.relation.label), self.object


class TripleRows:
    """The triples of one graph.

    Args:
        facts: Its node facts, which are triples too.
    """

    def __init__(self, collections: GraphCollections, entities: EntityRows, facts: FactRows) -> None:
        self._collections = collections
        self._entities = entities
        self._facts = facts

    def add(self, relations: Sequence[Relation]) -> None:
        """Write triples, and the entities at their ends for each source that has them.

        Raises:
            NodeValueError: One of them cannot be stored; nothing was written.
        """
        origins = self._entities.located([Provenance.of(relation) for relation in relations])
        rows: dict[str, Row] = {}
        for relation, origin in zip(relations, origins, strict=True):
            row = triple_row(self._collections.tenant, relation, origin, self._collections.now())
            rows[row["id"]] = row
        self._entities.add_ends(relations, origins)
        self._collections.facts.write(list(rows.values()))

    def find(
        self,
        entities: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        properties: Mapping[str, Any] | None = None,
        ids: Sequence[str] | None = None,
    ) -> list[StoredTriple]:
        """Return the triples that meet all conditions.

        Args:
            entities: One of these is at one of its ends.
            labels: It has one of these labels.
            properties: A source of it, or of one of its ends, has one of these properties.
            ids: As ``entities``.
        """
        expression = all_of(
            IS_TRIPLE,
            "" if entities is None else _touching([shortened(entity) for entity in entities]),
            "" if labels is None else any_of("label", [shortened(label) for label in labels]),
            "" if ids is None else _touching([shortened(entity) for entity in ids]),
        )
        rows = list(self._collections.facts.rows(expression, TRIPLE_FIELDS))
        if properties:
            ends = {row[end] for row in rows for end in ("subject", "object")}
            within = sorted(ends) if len(ends) <= _MAX_FRONTIER else None
            matching = set(self._entities.matching(properties, within))
            kept = {
                _identity(row)
                for row in rows
                if matching & {row["subject"], row["object"]} or row_matches(row, properties)
            }
            rows = [row for row in rows if _identity(row) in kept]
        return merged_triples(rows)

    def mentioned(
        self, entities: Sequence[str] | None, labels: Sequence[str] | None, ids: Sequence[str] | None
    ) -> list[StoredTriple]:
        """Return what the texts about some entities mention; see :func:`mentions`.

        Args:
            entities: About these entities.
            labels: None unless :data:`MENTIONS` is among them.
            ids: About these entities.
        """
        if labels is not None and MENTIONS not in labels:
            return []
        chosen = [{shortened(entity) for entity in part} for part in (entities, ids) if part is not None]
        return mentions(self._facts, sorted(set.intersection(*chosen))) if chosen else []

    def walk(self, ids: Sequence[str], depth: int, limit: int, ignored: Iterable[str]) -> list[StoredTriple]:
        """Return the triples around some entities, the nearest first.

        A query per level for triples and two for node facts. Of an entity with very many triples not all are read:
        the first :data:`_LEVEL_ROWS` and :data:`_ROWS_PER_TRIPLE` for each triple of the answer.

        Args:
            ids: Where to begin.
            depth: How many triples away, at most.
            limit: How many triples, at most.
            ignored: Labels that are neither returned nor walked.
        """
        skipped = [shortened(label) for label in ignored]
        extra = f"not ({any_of('label', skipped)})" if skipped else ""
        frontier = list(dict.fromkeys(shortened(entity) for entity in ids))
        seen: set[tuple[str, str, str]] = set()
        reached = set(frontier)
        rows = _LEVEL_ROWS + _ROWS_PER_TRIPLE * max(limit, 0)
        found: list[StoredTriple] = []
        for _ in range(depth):
            if not frontier or len(found) >= limit:
                break
            expression = all_of(IS_TRIPLE, _touching(frontier[:_MAX_FRONTIER]), extra)
            level = merged_triples(self._collections.facts.rows(expression, TRIPLE_FIELDS, rows))
            if MENTIONS not in skipped and len(found) + len(level) < limit:
                level += mentions(self._facts, frontier, {triple.identity for triple in level})
            fresh = [triple for triple in level if triple.identity not in seen]
            seen.update(triple.identity for triple in fresh)
            found += fresh
            ends = dict.fromkeys(end for triple in fresh for end in (triple.subject, triple.object))
            frontier = [end for end in ends if end not in reached]
            reached.update(frontier)
        return found[:limit]

    def triplets(self, triples: Sequence[StoredTriple]) -> list[Triplet]:
        """Return triples as LlamaIndex has them, with the entities at their ends.

        The first entity of a triple carries the triple's source as its own, because LlamaIndex's retrievers look
        there for the text behind the triple (``BasePGRetriever._get_nodes_with_score``).
        """
        nodes = self._entities.by_columns(end for triple in triples for end in (triple.subject, triple.object))
        found: list[Triplet] = []
        for triple in triples:
            subject = nodes.get(triple.subject) or EntityNode(name=triple.relation.source_id)
            target = nodes.get(triple.object) or EntityNode(name=triple.relation.target_id)
            found.append((_with_source(subject, triple.relation), triple.relation, target))
        return found


def _touching(entities: Sequence[str]) -> str:
    return f"{any_of('subject', entities)} or {any_of('object', entities)}"


def _identity(row: Row) -> tuple[str, str, str]:
    return row["subject"], row["label"], row["object"]


def _with_source(node: LabelledNode, relation: Relation) -> LabelledNode:
    source = relation.properties.get(TRIPLET_SOURCE_KEY)
    if source is None or not isinstance(node, EntityNode):
        return node
    return node.model_copy(update={"properties": node.properties | {TRIPLET_SOURCE_KEY: source}})


def triple_row(tenant: str, relation: Relation, origin: Provenance, now: int) -> Row:
    """Return the row of a triple.

    Args:
        now: Time of writing, microseconds.

    Raises:
        NodeValueError: It cannot be stored.
    """
    ends = {"subject": relation.source_id, "label": relation.label, "object": relation.target_id}
    columns = {name: shortened(value) for name, value in ends.items()}
    owner = f"Relation {relation.label[:80]!r}"
    return {
        "id": content_id(tenant, "triple", *columns.values(), origin.source),
        "kind": "triple",
        "names": "",
        **columns,
        "source": origin.source,
        "doc_id": origin.doc_id,
        "updated_at": now,
        **packed(dumped(relation, owner), owner),
    }


def merged_triples(rows: Iterable[Row]) -> list[StoredTriple]:
    """Return triples, those with most sources first.

    Args:
        rows: Rows of triples, with :data:`TRIPLE_FIELDS`.
    """
    found = []
    for (subject, _, target), group in grouped(rows, ("subject", "label", "object")).items():
        contents = [json.loads(unpacked(row)) for row in group]
        relation = Relation(**(contents[-1] | {"properties": united(contents)}))
        found.append(StoredTriple(subject, target, relation, len(group)))
    found.sort(key=lambda triple: (-triple.sources, triple.subject, triple.relation.label, triple.object))
    return found


def mentions(
    facts: FactRows, entities: Sequence[str], seen: Collection[tuple[str, str, str]] = ()
) -> list[StoredTriple]:
    """Return what the texts about some entities mention, in the order of the texts.

    Args:
        entities: Shortened ids of entities.
        seen: Triples that are known already, as of :attr:`StoredTriple.identity`.

    Returns:
        Triples from the entity to each name in the first nodes that are about it.
    """
    holders = facts.holders(entities, MAX_NODES_READ)
    wanted = [node_id for nodes in holders.values() for node_id in nodes]
    known = {item.node_id: item for item in facts.get(wanted[:MAX_NODES_READ])}
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
