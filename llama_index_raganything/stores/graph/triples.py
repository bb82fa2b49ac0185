"""Triples of the graph: written one row per source, read as one, walked breadth first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from llama_index.core.graph_stores.types import TRIPLET_SOURCE_KEY, EntityNode, LabelledNode, Relation, Triplet

from llama_index_raganything.stores.graph.collections import GraphTables
from llama_index_raganything.stores.graph.entities import (
    EntityRows,
    row_matches,
)
from llama_index_raganything.stores.graph.facts import MENTIONS, FactRows, mentions
from llama_index_raganything.stores.graph.rows import (
    TRIPLE_FIELDS,
    Clock,
    Provenance,
    Row,
    StoredTriple,
    merged_triples,
    shortened,
    triple_row,
)
from llama_index_raganything.stores.milvus.expressions import all_of, any_of

IS_TRIPLE: Final = 'kind == "triple"'
_MAX_FRONTIER: Final = 2000
_LEVEL_ROWS: Final = 1000
_ROWS_PER_TRIPLE: Final = 20


class TripleRows:
    """The triples of one graph.

    Args:
        tables: Its collections.
        facts: Its node facts, which are triples too.
        clock: Stamps the rows.
    """

    def __init__(self, tables: GraphTables, entities: EntityRows, facts: FactRows, clock: Clock) -> None:
        self._tables = tables
        self._entities = entities
        self._facts = facts
        self._clock = clock

    def add(self, relations: Sequence[Relation]) -> None:
        """Write triples, and the entities at their ends for each source that has them.

        Args:
            relations: Triples.

        Raises:
            NodeValueError: One of them cannot be stored; nothing was written.
        """
        origins = self._entities.located([Provenance.of(relation) for relation in relations])
        rows: dict[str, Row] = {}
        for relation, origin in zip(relations, origins, strict=True):
            row = triple_row(self._tables.tenant, relation, origin, self._clock.now())
            rows[row["id"]] = row
        self._entities.add_ends(relations, origins)
        self._tables.facts.write(list(rows.values()))

    def find(
        self,
        entities: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        properties: Mapping[str, Any] | None = None,
        ids: Sequence[str] | None = None,
    ) -> list[StoredTriple]:
        """Return the triples that meet all of some conditions.

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
        rows = list(self._tables.facts.rows(expression, TRIPLE_FIELDS))
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
            level = merged_triples(self._tables.facts.rows(expression, TRIPLE_FIELDS, rows))
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

        The entity a triple begins with tells the triple's source as its own, because LlamaIndex's retrievers look
        there for the text that says so (``BasePGRetriever._get_nodes_with_score``).
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
