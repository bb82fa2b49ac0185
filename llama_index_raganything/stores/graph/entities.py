"""Entities and chunks of the graph: written one row per source, read as one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from llama_index.core.graph_stores.types import TRIPLET_SOURCE_KEY, ChunkNode, EntityNode, LabelledNode, Relation

from llama_index_raganything.errors import NodeValueError
from llama_index_raganything.graph.names import name_key
from llama_index_raganything.stores.graph.collections import GraphTables
from llama_index_raganything.stores.graph.rows import (
    ENTITY_FIELDS,
    Clock,
    EntityKind,
    Provenance,
    Row,
    entity_key,
    entity_row,
    merged_nodes,
    shortened,
    unpacked,
)
from llama_index_raganything.stores.milvus.expressions import all_of, any_of

MAX_ROWS_PER_READ: Final = 10_000
"""An entity that more sources mention is put together from so many of them."""

_PER_QUERY: Final = 2000
_COPIES_PER_ENTITY: Final = 20


class EntityRows:
    """The entities and chunks of one graph.

    Args:
        tables: Its collections.
        clock: Stamps the rows.
    """

    def __init__(self, tables: GraphTables, clock: Clock) -> None:
        self._tables = tables
        self._clock = clock

    def add(self, nodes: Sequence[LabelledNode]) -> None:
        """Write entities and chunks.

        Args:
            nodes: Entities and chunks.

        Raises:
            NodeValueError: One of them cannot be stored; nothing was written.
        """
        origins = self.located([Provenance.of(node) for node in nodes], nodes)
        rows: dict[str, Row] = {}
        embeddings: dict[str, Sequence[float] | None] = {}
        for node, origin in zip(nodes, origins, strict=True):
            row = entity_row(self._tables.tenant, node, _kind(node), origin, self._clock.now())
            rows[row["id"]] = row
            if row["kind"] == "entity":
                embeddings[row["id"]] = node.embedding
        # Vectors first: what is wrong with one is told before anything is written, and a vector whose entity a
        # crash kept from being written is not found.
        self._tables.write_vectors([rows[key] for key in embeddings], list(embeddings.values()))
        self._tables.entities.write(list(rows.values()))

    def add_ends(self, relations: Sequence[Relation], origins: Sequence[Provenance]) -> None:
        """Write, for each source, that it knows the entities at the ends of its triples.

        ``PropertyGraphIndex`` writes an entity only for the first source that has it. With a copy for each further
        source the entity outlives the document that brought it first.

        Args:
            relations: Triples.
            origins: Where each comes from.
        """
        tenant = self._tables.tenant
        ends = {
            entity_key(tenant, shortened(end), origin.source): (end, origin, _node_source(relation))
            for relation, origin in zip(relations, origins, strict=True)
            for end in (relation.source_id, relation.target_id)
        }
        missing = ends.keys() - self._tables.entities.get(ends, ["kind"]).keys()
        known = self._examples({ends[key][0] for key in missing})
        rows, copies = [], {}
        for key in ends:
            if key not in missing:
                continue
            end, origin, properties = ends[key]
            example = known.get(shortened(end))
            if example is None:
                rows.append(
                    entity_row(
                        tenant, EntityNode(name=end, properties=properties), "implied", origin, self._clock.now()
                    )
                )
                rows[-1] |= {"id": key, "entity": shortened(end)}
            elif example["kind"] == "entity":
                rows.append(_copied(example, origin, properties, tenant))
                copies[key] = example["id"]
        self._copy_vectors(rows, copies)
        self._tables.entities.write(rows)

    def located(self, origins: Sequence[Provenance], nodes: Sequence[Any] = ()) -> list[Provenance]:
        """Return where things come from, with the documents of those that name only a node.

        Args:
            origins: Where they come from, as they say themselves.
            nodes: Chunks among what is written now.
        """
        documents = {node.id: origin.doc_id for node, origin in zip(nodes, origins, strict=False) if _is_chunk(node)}
        tenant = self._tables.tenant
        keys = {
            entity_key(tenant, shortened(origin.source), origin.source): origin.source
            for origin in origins
            if origin.source and not origin.doc_id and origin.source not in documents
        }
        for key, row in self._tables.entities.get(keys, ["kind", "doc_id"]).items():
            if row["kind"] == "chunk":
                documents[keys[key]] = row["doc_id"]
        return [
            origin if origin.doc_id else Provenance(origin.source, documents.get(origin.source, ""))
            for origin in origins
        ]

    def by_ids(self, ids: Iterable[str]) -> dict[str, LabelledNode]:
        """Return entities and chunks by shortened id, in the order asked for."""
        return self.by_columns(shortened(str(entity)) for entity in ids)

    def by_columns(self, entities: Iterable[str]) -> dict[str, LabelledNode]:
        """Return entities and chunks by shortened id, in the order asked for.

        Args:
            entities: Shortened ids, as they stand in the collection.
        """
        wanted = list(dict.fromkeys(entities))
        found: dict[str, LabelledNode] = {}
        for start in range(0, len(wanted), _PER_QUERY):
            expression = any_of("entity", wanted[start : start + _PER_QUERY])
            found |= merged_nodes(self._tables.entities.rows(expression, ENTITY_FIELDS, MAX_ROWS_PER_READ))
        return {entity: found[entity] for entity in wanted if entity in found}

    def by_keys(self, keys: Sequence[str]) -> dict[str, LabelledNode]:
        """Return entities as some of their rows have them.

        Args:
            keys: Primary keys of rows.
        """
        return merged_nodes(self._tables.entities.get(keys, ENTITY_FIELDS).values())

    def everything(self) -> dict[str, LabelledNode]:
        """Return all entities and chunks by shortened id."""
        return merged_nodes(self._tables.entities.rows("", ENTITY_FIELDS))

    def matching(self, properties: Mapping[str, Any], within: Sequence[str] | None = None) -> list[str]:
        """Return the shortened ids of entities and chunks of which a source has one of some properties.

        Args:
            properties: Names and values.
            within: Only among these shortened ids.
        """
        if not properties:
            return []
        limits = [] if within is None else [any_of("entity", within)]
        columns = provenance_expression(properties)
        rows = self._tables.entities.rows(all_of(*limits, columns), ENTITY_FIELDS)
        return list(dict.fromkeys(row["entity"] for row in rows if row_matches(row, properties)))

    def chunks(self, node_ids: Sequence[str]) -> list[ChunkNode]:
        """Return chunks by primary key, in the order asked for."""
        tenant = self._tables.tenant
        keys = [entity_key(tenant, shortened(node_id), node_id) for node_id in dict.fromkeys(node_ids)]
        rows = self._tables.entities.get(keys, ["kind", "payload", "overflow"])
        return [
            ChunkNode(**json.loads(unpacked(rows[key]))) for key in keys if key in rows and rows[key]["kind"] == "chunk"
        ]

    def named(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Return for each name the ids of the entities that go by it, however it is written."""
        keys = {name: name_key(name) for name in names}
        wanted = sorted({key for key in keys.values() if key})
        found: dict[str, set[str]] = {key: set() for key in keys.values()}
        for start in range(0, len(wanted), _PER_QUERY):
            expression = any_of("name_key", wanted[start : start + _PER_QUERY])
            for row in self._tables.entities.rows(expression, ["name_key", "entity"], MAX_ROWS_PER_READ):
                found[row["name_key"]].add(row["entity"])
        return {name: sorted(found[key]) for name, key in keys.items()}

    def sources(self, ids: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
        """Return for each entity the nodes and documents it comes from."""
        wanted = {shortened(entity): entity for entity in ids}
        found: dict[str, set[tuple[str, str]]] = {entity: set() for entity in wanted.values()}
        names = list(wanted)
        for start in range(0, len(names), _PER_QUERY):
            expression = any_of("entity", names[start : start + _PER_QUERY])
            for row in self._tables.entities.rows(expression, ENTITY_FIELDS):
                found[wanted[row["entity"]]].update(_sources_of(row))
        return {entity: sorted(origins) for entity, origins in found.items()}

    def _examples(self, ids: Iterable[str]) -> dict[str, Row]:
        """Return for each entity a row that tells its label, properties and vector, if there is one."""
        names = [shortened(entity) for entity in ids]
        examples: dict[str, Row] = {}
        for start in range(0, len(names), _PER_QUERY):
            part = names[start : start + _PER_QUERY]
            expression = all_of(any_of("entity", part), any_of("kind", ["entity", "chunk"]))
            limit = _COPIES_PER_ENTITY * len(part) + _PER_QUERY
            for row in self._tables.entities.rows(expression, ENTITY_FIELDS, limit):
                known = examples.get(row["entity"])
                if known is None or known["updated_at"] < row["updated_at"]:
                    examples[row["entity"]] = row
        return examples

    def _copy_vectors(self, rows: Sequence[Row], copies: Mapping[str, str]) -> None:
        store = self._tables.vectors() if copies else None
        if store is None:
            return
        originals = store.get_nodes(sorted(set(copies.values())), include_embeddings=True)
        vectors = {node.node_id: node.embedding for node in originals}
        copied = [row for row in rows if copies.get(row["id"]) in vectors]
        self._tables.write_vectors(copied, [vectors[copies[row["id"]]] for row in copied])


def provenance_expression(properties: Mapping[str, Any]) -> str:
    """Return an expression that at least the rows with one of some properties meet; empty when all may.

    Args:
        properties: Names and values.
    """
    parts = []
    for key, value in properties.items():
        if key not in (TRIPLET_SOURCE_KEY, "ref_doc_id") or not isinstance(value, str) or value in ("", "None"):
            return ""
        parts.append(any_of("source" if key == TRIPLET_SOURCE_KEY else "doc_id", [value]))
    return " or ".join(parts)


def row_matches(row: Row, properties: Mapping[str, Any]) -> bool:
    """Return whether a row has one of some properties; where it comes from counts as properties.

    Args:
        row: A row with its payload, source and document.
        properties: Names and values.
    """
    own = json.loads(unpacked(row)).get("properties", {})
    return any(_has(row, own, key, value) for key, value in properties.items())


def _has(row: Row, own: Mapping[str, Any], key: str, value: Any) -> bool:
    if own.get(key) == value:
        return True
    if not isinstance(value, str) or not value:
        return False
    return (key == TRIPLET_SOURCE_KEY and row["source"] == value and row.get("kind") != "chunk") or (
        key == "ref_doc_id" and row["doc_id"] == value
    )


def _node_source(relation: Relation) -> dict[str, Any]:
    """Return the property that says which node a triple comes from, if it does."""
    return {key: value for key, value in relation.properties.items() if key == TRIPLET_SOURCE_KEY}


def _copied(example: Row, origin: Provenance, properties: dict[str, Any], tenant: str) -> Row:
    """Return the row with which another source knows an entity: its name and label, but nobody else's properties."""
    content = json.loads(unpacked(example))
    node = EntityNode(name=content["name"], label=content["label"], properties=properties)
    # Older than the original, which is to win where both are read.
    return entity_row(tenant, node, "entity", origin, example["updated_at"] - 1)


def _sources_of(row: Row) -> Iterator[tuple[str, str]]:
    if row["kind"] == "name":
        for node_id in json.loads(unpacked(row))["nodes"]:
            yield node_id, row["doc_id"]
    elif row["source"] != row["doc_id"] or row["kind"] == "chunk":
        yield row["source"], row["doc_id"]
    elif row["doc_id"]:
        # A node and its document of one id, or a document that is the source for want of a node.
        own = json.loads(unpacked(row))["properties"]
        yield str(own.get(TRIPLET_SOURCE_KEY) or ""), row["doc_id"]


def _kind(node: LabelledNode) -> EntityKind:
    if _is_chunk(node):
        return "chunk"
    if isinstance(node, EntityNode):
        return "entity"
    message = f"{type(node).__name__} is neither an EntityNode nor a ChunkNode; the graph store keeps only these."
    raise NodeValueError(message)


def _is_chunk(node: Any) -> bool:
    return isinstance(node, ChunkNode)
