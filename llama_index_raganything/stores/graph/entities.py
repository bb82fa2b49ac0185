"""Entities and chunks of the graph: written one row per source, read as one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from llama_index.core.graph_stores.types import TRIPLET_SOURCE_KEY, ChunkNode, EntityNode, LabelledNode, Relation
from pydantic_core import PydanticSerializationError

from llama_index_raganything.errors import NodeValueError
from llama_index_raganything.graph.names import name_key
from llama_index_raganything.stores.graph.collections import (
    PAYLOAD_FIELDS,
    VALUES_PER_QUERY,
    GraphCollections,
    Row,
    entity_key,
    packed,
    shortened,
    unpacked,
)
from llama_index_raganything.stores.milvus.connection import check_id
from llama_index_raganything.stores.milvus.filter_expressions import all_of, any_of

EntityKind = Literal["entity", "chunk", "implied", "name"]

DOCUMENT_KEYS: Final = ("ref_doc_id", "doc_id", "document_id")
"""Properties that name the document, the first one wins."""

ENTITY_FIELDS: Final = ("id", "kind", "entity", "source", "doc_id", "updated_at", *PAYLOAD_FIELDS)

MAX_ROWS_PER_READ: Final = 10_000
"""Maximum rows from which entities are put together, per request."""

_COPIES_PER_ENTITY: Final = 20


class EntityRows:
    """The entities and chunks of one graph."""

    def __init__(self, collections: GraphCollections) -> None:
        self._collections = collections

    def add(self, nodes: Sequence[LabelledNode]) -> None:
        """Write entities and chunks.

        Raises:
            NodeValueError: One of them cannot be stored; nothing was written.
        """
        origins = self.located([Provenance.of(node) for node in nodes], nodes)
        rows: dict[str, Row] = {}
        embeddings: dict[str, Sequence[float] | None] = {}
        for node, origin in zip(nodes, origins, strict=True):
            row = entity_row(self._collections.tenant, node, _kind(node), origin, self._collections.now())
            rows[row["id"]] = row
            if row["kind"] == "entity":
                embeddings[row["id"]] = node.embedding
        # Vectors first: a wrong one is refused before anything is written, and a vector that a crash left without
        # its entity is never found.
        self._collections.write_vectors([rows[key] for key in embeddings], list(embeddings.values()))
        self._collections.entities.write(list(rows.values()))

    def add_ends(self, relations: Sequence[Relation], origins: Sequence[Provenance]) -> None:
        """Write, for each source, that it knows the entities at the ends of its triples.

        ``PropertyGraphIndex`` writes an entity only for the first source that has it. With a copy for each further
        source the entity outlives the document that brought it first.
        """
        tenant = self._collections.tenant
        ends = {
            entity_key(tenant, shortened(end), origin.source): (end, origin, _node_source(relation))
            for relation, origin in zip(relations, origins, strict=True)
            for end in (relation.source_id, relation.target_id)
        }
        missing = ends.keys() - self._collections.entities.get(ends, ["kind"]).keys()
        known = self._examples({ends[key][0] for key in missing})
        rows, copies = [], {}
        for key in ends:
            if key not in missing:
                continue
            end, origin, properties = ends[key]
            example = known.get(shortened(end))
            if example is None:
                node = EntityNode(name=end, properties=properties)
                row = entity_row(tenant, node, "implied", origin, self._collections.now())
                rows.append(row | {"id": key, "entity": shortened(end)})
            elif example["kind"] == "entity":
                rows.append(_copied(example, origin, properties, tenant))
                copies[key] = example["id"]
        self._copy_vectors(rows, copies)
        self._collections.entities.write(rows)

    def located(self, origins: Sequence[Provenance], nodes: Sequence[Any] = ()) -> list[Provenance]:
        """Complete provenance that names a node but no document.

        Args:
            origins: Where entities or relations come from, as their properties say.
            nodes: What is being written; the chunks among it name the documents of nodes.
        """
        documents = {
            node.id: origin.doc_id for node, origin in zip(nodes, origins, strict=False) if isinstance(node, ChunkNode)
        }
        tenant = self._collections.tenant
        keys = {
            entity_key(tenant, shortened(origin.source), origin.source): origin.source
            for origin in origins
            if origin.source and not origin.doc_id and origin.source not in documents
        }
        for key, row in self._collections.entities.get(keys, ["kind", "doc_id"]).items():
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
            entities: Shortened ids, as stored.
        """
        wanted = list(dict.fromkeys(entities))
        rows = self._collections.entities.rows_with("entity", wanted, ENTITY_FIELDS, limit=MAX_ROWS_PER_READ)
        found = merged_nodes(rows)
        return {entity: found[entity] for entity in wanted if entity in found}

    def by_keys(self, keys: Sequence[str]) -> dict[str, LabelledNode]:
        """Return entities as some of their rows have them."""
        return merged_nodes(self._collections.entities.get(keys, ENTITY_FIELDS).values())

    def everything(self) -> dict[str, LabelledNode]:
        """Return all entities and chunks by shortened id."""
        return merged_nodes(self._collections.entities.rows("", ENTITY_FIELDS))

    def matching(self, properties: Mapping[str, Any], within: Sequence[str] | None = None) -> list[str]:
        """Return the shortened ids of entities and chunks with any of the given properties.

        Args:
            within: Only among these shortened ids.
        """
        limits = [] if within is None else [any_of("entity", within)]
        columns = provenance_expression(properties)
        rows = self._collections.entities.rows(all_of(*limits, columns), ENTITY_FIELDS)
        return list(dict.fromkeys(row["entity"] for row in rows if row_matches(row, properties)))

    def chunks(self, node_ids: Sequence[str]) -> list[ChunkNode]:
        """Return chunks by primary key, in the order asked for."""
        tenant = self._collections.tenant
        keys = [entity_key(tenant, shortened(node_id), node_id) for node_id in dict.fromkeys(node_ids)]
        rows = self._collections.entities.get(keys, ["kind", "payload", "overflow"])
        return [
            ChunkNode(**json.loads(unpacked(rows[key]))) for key in keys if key in rows and rows[key]["kind"] == "chunk"
        ]

    def named(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Return for each name the ids of the entities with it, in any spelling."""
        keys = {name: name_key(name) for name in names}
        wanted = sorted({key for key in keys.values() if key})
        found: dict[str, set[str]] = {key: set() for key in keys.values()}
        columns = ["name_key", "entity"]
        for row in self._collections.entities.rows_with("name_key", wanted, columns, limit=MAX_ROWS_PER_READ):
            found[row["name_key"]].add(row["entity"])
        return {name: sorted(found[key]) for name, key in keys.items()}

    def sources(self, ids: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
        """Return for each entity the nodes and documents it comes from."""
        wanted = {shortened(entity): entity for entity in ids}
        found: dict[str, set[tuple[str, str]]] = {entity: set() for entity in wanted.values()}
        for row in self._collections.entities.rows_with("entity", list(wanted), ENTITY_FIELDS):
            found[wanted[row["entity"]]].update(_sources_of(row))
        return {entity: sorted(origins) for entity, origins in found.items()}

    def _examples(self, ids: Iterable[str]) -> dict[str, Row]:
        """Return for each entity its newest row that has a label and properties, if there is one."""
        names = [shortened(entity) for entity in ids]
        examples: dict[str, Row] = {}
        kinds = any_of("kind", ["entity", "chunk"])
        limit = _COPIES_PER_ENTITY * min(len(names), VALUES_PER_QUERY) + VALUES_PER_QUERY
        for row in self._collections.entities.rows_with("entity", names, ENTITY_FIELDS, kinds, limit):
            known = examples.get(row["entity"])
            if known is None or known["updated_at"] < row["updated_at"]:
                examples[row["entity"]] = row
        return examples

    def _copy_vectors(self, rows: Sequence[Row], copies: Mapping[str, str]) -> None:
        store = self._collections.vectors() if copies else None
        if store is None:
            return
        originals = store.get_nodes(sorted(set(copies.values())), include_embeddings=True)
        vectors = {node.node_id: node.embedding for node in originals}
        copied = [row for row in rows if copies.get(row["id"]) in vectors]
        self._collections.write_vectors(copied, [vectors[copies[row["id"]]] for row in copied])


def provenance_expression(properties: Mapping[str, Any]) -> str:
    """Return an expression that all rows with any of the given properties pass; empty when any row may have them."""
    parts = []
    for key, value in properties.items():
        if key not in (TRIPLET_SOURCE_KEY, "ref_doc_id") or not isinstance(value, str) or value in ("", "None"):
            return ""
        parts.append(any_of("source" if key == TRIPLET_SOURCE_KEY else "doc_id", [value]))
    return " or ".join(parts)


def row_matches(row: Row, properties: Mapping[str, Any]) -> bool:
    """Return whether a row has any of the given properties; its provenance counts as properties.

    Args:
        row: A row with its payload, source and document.
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
    """Return the row of an entity for a further source: name and label without other sources' properties."""
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
    if isinstance(node, ChunkNode):
        return "chunk"
    if isinstance(node, EntityNode):
        return "entity"
    message = f"{type(node).__name__} is neither an EntityNode nor a ChunkNode; the graph store keeps only these."
    raise NodeValueError(message)


@dataclass(frozen=True)
class Provenance:
    """Where a row comes from.

    Attributes:
        source: The node, else the document, else "".
        doc_id: The document, "" when unknown.
    """

    source: str
    doc_id: str

    @classmethod
    def of(cls, item: LabelledNode | Relation) -> Provenance:
        """Read the properties of an entity, a chunk or a relation.

        Raises:
            NodeValueError: An id is too long or not valid Unicode.
        """
        doc_id = _document(item.properties)
        source = item.id if isinstance(item, ChunkNode) else str(item.properties.get(TRIPLET_SOURCE_KEY) or doc_id)
        return cls(check_id(source, "source id"), check_id(doc_id, "document id"))


def entity_row(tenant: str, node: LabelledNode, kind: EntityKind, origin: Provenance, now: int) -> Row:
    """Return the row of an entity or a chunk.

    Args:
        now: Time of writing, microseconds.

    Raises:
        NodeValueError: It cannot be stored.
    """
    entity = shortened(node.id)
    owner = f"{type(node).__name__} {node.id[:80]!r}"
    content = dumped(node, owner) | ({"id_": node.id} if isinstance(node, ChunkNode) else {})
    return {
        "id": entity_key(tenant, entity, origin.source, kind),
        "kind": kind,
        "entity": entity,
        "name_key": "" if kind == "chunk" else name_key(node.id),
        "label": shortened(node.label),
        "source": origin.source,
        "doc_id": origin.doc_id,
        "updated_at": now,
        **packed(content, owner),
    }


def merged_nodes(rows: Iterable[Row]) -> dict[str, LabelledNode]:
    """Return entities and chunks by their shortened ids.

    What was written as an entity or chunk counts before what a triple or a text only names; of several rows
    the newest gives the label, and each property comes from the newest row that has it.

    Args:
        rows: Rows with :data:`ENTITY_FIELDS`.
    """
    return {entity: _merged_node(group) for (entity,), group in grouped(rows, ("entity",)).items()}


def _merged_node(group: Sequence[Row]) -> LabelledNode:
    first = [row for row in group if row["kind"] in ("entity", "chunk")] or group
    if first[-1]["kind"] == "chunk":
        return ChunkNode(**json.loads(unpacked(first[-1])))
    contents = [json.loads(unpacked(row)) for row in first if row["kind"] != "chunk"]
    content = contents[-1]
    return EntityNode(name=content["name"], label=content["label"], properties=united(contents))


def united(contents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the properties of several sources, oldest first, as one."""
    return dict(itertools.chain.from_iterable(content.get("properties", {}).items() for content in contents))


def grouped(rows: Iterable[Row], columns: Sequence[str]) -> dict[tuple[str, ...], list[Row]]:
    """Return rows by some of their columns, oldest first."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["updated_at"], row["id"])):
        groups.setdefault(tuple(row[column] for column in columns), []).append(row)
    return groups


def dumped(item: LabelledNode | Relation, owner: str) -> dict[str, Any]:
    """Return an entity, chunk or relation as JSON values, without its embedding.

    Raises:
        NodeValueError: A property is no JSON value.
    """
    try:
        return item.model_dump(mode="json", exclude={"embedding"})
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        message = f"{owner} has a property that is no JSON value ({error}); use strings, numbers, lists and dicts."
        raise NodeValueError(message) from error


def _document(properties: Mapping[str, Any]) -> str:
    for key in DOCUMENT_KEYS:
        value = properties.get(key)
        if value and not (value == "None" and "_node_content" in properties):
            return str(value)
    if properties.get("ref_doc_id") != "None":
        return ""
    # A document of the id "None" and none at all, which LlamaIndex writes alike (``node_to_metadata_dict``).
    source = json.loads(properties["_node_content"]).get("relationships", {}).get("1") or {}
    return "None" if source.get("node_id") == "None" else ""
