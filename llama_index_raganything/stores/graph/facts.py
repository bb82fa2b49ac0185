"""What is known of nodes without a model: one packed row per node, and an entity for what a document is about.

The names that a text only mentions are kept with the node, as hashes that can be searched.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from llama_index.core.graph_stores.types import TRIPLET_SOURCE_KEY, Relation

from llama_index_raganything.elements import content_id
from llama_index_raganything.graph.facts import NodeFacts, name_hash
from llama_index_raganything.graph.names import name_key
from llama_index_raganything.stores.graph.collections import GraphTables
from llama_index_raganything.stores.graph.rows import (
    PAYLOAD_FIELDS,
    Clock,
    Row,
    StoredTriple,
    check_id,
    entity_key,
    packed,
    shortened,
    unpacked,
)
from llama_index_raganything.stores.graph.schema import DUMMY_VECTOR
from llama_index_raganything.stores.milvus.expressions import all_of, any_of

IS_NODE: Final = 'kind == "node"'
IS_NAME: Final = 'kind == "name"'
MENTIONED: Final = "name"
"""Label of names that a text only mentions."""

MAX_NODES_PER_NAME: Final = 1000
"""Of the nodes of one document that have one name, so many are listed with it."""

MAX_NAMES_PER_NODE: Final = 7000
"""Of the names in one node, so many can be searched."""

_FIELDS: Final = ("source", "doc_id", *PAYLOAD_FIELDS)
_NAME_FIELDS: Final = ("source", "doc_id", "entity", "name_key", "label", "updated_at", *PAYLOAD_FIELDS)
_PER_QUERY: Final = 2000
_NAMES_PER_QUERY: Final = 50
_MICROSECONDS_PER_MILLISECOND: Final = 1000


class FactRows:
    """The node facts of one graph.

    Args:
        tables: Its collections.
        clock: Stamps the rows.
    """

    def __init__(self, tables: GraphTables, clock: Clock) -> None:
        self._tables = tables
        self._clock = clock

    def put(self, facts: Sequence[NodeFacts]) -> None:
        """Write the facts of nodes; those of a node that has some are replaced.

        Raises:
            NodeValueError: Those of one node cannot be stored; nothing was written.
        """
        latest = {self._key(item.node_id): item for item in facts}
        rows = [self._row(key, item) for key, item in latest.items()]
        stored = self._tables.facts.get(latest, ["source"])
        if stored:
            self._forget([row["source"] for row in stored.values()])
        names = self._names(latest.values())
        self._unite(names, self._tables.entities.get(names, PAYLOAD_FIELDS))
        self._tables.facts.write(rows)
        self._tables.entities.write([_name_row(self._tables.tenant, key, name) for key, name in names.items()])

    def get(self, node_ids: Sequence[str]) -> list[NodeFacts]:
        """Return the facts of nodes in the order asked for; nodes without facts are left out."""
        keys = [self._key(node_id) for node_id in dict.fromkeys(node_ids)]
        rows = self._tables.facts.get(keys, _FIELDS)
        return [_facts_of(rows[key]) for key in keys if key in rows]

    def scan(self, doc_ids: Sequence[str] | None, since: int | None) -> Iterator[NodeFacts]:
        """Yield the facts of many nodes.

        Args:
            doc_ids: Only of these documents.
            since: Only those written since then, milliseconds since 1970.
        """
        recent = "" if since is None else f"updated_at >= {int(since) * _MICROSECONDS_PER_MILLISECOND}"
        documents = (
            [None] if doc_ids is None else [doc_ids[at : at + _PER_QUERY] for at in range(0, len(doc_ids), _PER_QUERY)]
        )
        for part in documents:
            expression = all_of(IS_NODE, recent, "" if part is None else any_of("doc_id", part))
            for row in self._tables.facts.rows(expression, _FIELDS):
                yield _facts_of(row)

    def delete(self, node_ids: Sequence[str]) -> None:
        """Delete the facts of nodes, and the names that only they have."""
        self._forget(node_ids)
        self._tables.facts.delete_keys([self._key(node_id) for node_id in dict.fromkeys(node_ids)])

    def naming(self, names: Iterable[str], limit: int | None = None) -> Iterator[tuple[str, str, NodeFacts]]:
        """Yield the nodes that have names, however these are written.

        Args:
            limit: Look at so many nodes at most.

        Yields:
            The name asked for, the name as the node has it, and what is known of the node.
        """
        keys: dict[str, list[str]] = {}
        for name in names:
            if key := name_key(name):
                keys.setdefault(key, []).append(name)
        wanted = list(keys)
        for start in range(0, len(wanted), _NAMES_PER_QUERY):
            part = wanted[start : start + _NAMES_PER_QUERY]
            # Hexadecimal digits only: nothing in the pattern needs an escape, which LIKE on Milvus Lite has not.
            like = " or ".join(f'names like "%|{name_hash(key):08x}|%"' for key in part)
            for row in self._tables.facts.rows(all_of(IS_NODE, like), _FIELDS, limit):
                facts = _facts_of(row)
                for text, key, _ in facts.entity_names():
                    for name in keys.get(key, ()) if key in part else ():
                        yield name, text, facts

    def holders(self, entities: Sequence[str], limit: int) -> dict[tuple[str, str], list[str]]:
        """Return the nodes that are about some entities.

        Args:
            entities: Shortened ids of entities.
            limit: Look at so many documents at most.

        Returns:
            Ids of nodes by shortened id and name of the entity.
        """
        found: dict[tuple[str, str], list[str]] = {}
        expression = all_of(IS_NAME, any_of("entity", entities[:_PER_QUERY]))
        for row in self._tables.entities.rows(expression, ["entity", *PAYLOAD_FIELDS], limit):
            name = json.loads(unpacked(row))
            found.setdefault((row["entity"], name["name"]), []).extend(name["nodes"])
        return found

    def _forget(self, node_ids: Sequence[str]) -> None:
        """Take nodes off the lists of the names they have, and delete the names that are left without a node."""
        keys = [self._key(node_id) for node_id in dict.fromkeys(node_ids)]
        gone = set(node_ids)
        stored = self._tables.facts.get(keys, ["source", "doc_id"]).values()
        origins = sorted({row["doc_id"] or row["source"] for row in stored})
        empty, changed = [], []
        for start in range(0, len(origins), _PER_QUERY):
            expression = all_of(IS_NAME, any_of("source", origins[start : start + _PER_QUERY]))
            for row in self._tables.entities.rows(expression, ["id", *_NAME_FIELDS]):
                name = json.loads(unpacked(row))
                left = [node_id for node_id in name["nodes"] if node_id not in gone]
                if not left and not name["more"]:
                    empty.append(row["id"])
                elif len(left) < len(name["nodes"]):
                    changed.append({**row, **name, "nodes": left})
        self._tables.entities.delete_keys(empty)
        self._tables.entities.write([_name_row(self._tables.tenant, row["id"], row) for row in changed])

    def _names(self, facts: Any) -> dict[str, dict[str, Any]]:
        """Return the names of nodes by the primary keys of their rows, one for each name and document."""
        names: dict[str, dict[str, Any]] = {}
        for item in facts:
            origin = item.doc_id or item.node_id
            for text, key, label in item.entity_names():
                if label == MENTIONED:
                    continue
                row_key = entity_key(self._tables.tenant, shortened(key), origin, "name")
                known = names.get(row_key)
                if known is None:
                    known = names[row_key] = {
                        "entity": shortened(text.replace('"', " ")),
                        "name": text,
                        "name_key": key,
                        "label": label,
                        "source": origin,
                        "doc_id": item.doc_id,
                        "updated_at": self._clock.now(),
                        "nodes": [],
                        "more": False,
                    }
                known["nodes"].append(item.node_id)
        return names

    def _unite(self, names: Mapping[str, dict[str, Any]], stored: Mapping[str, Row]) -> None:
        """Add the nodes that are listed with names already."""
        for key, row in stored.items():
            known = json.loads(unpacked(row))
            names[key]["nodes"] = [*dict.fromkeys(known["nodes"] + names[key]["nodes"])]
            names[key]["more"] = known["more"]

    def _key(self, node_id: str) -> str:
        return content_id(self._tables.tenant, "node", node_id)

    def _row(self, key: str, facts: NodeFacts) -> Row:
        return {
            "id": key,
            "tenant": self._tables.tenant,
            "kind": "node",
            "subject": "",
            "label": "",
            "object": "",
            "names": _hashes(key for _, key, _ in facts.entity_names()),
            "source": check_id(facts.node_id, "node"),
            "doc_id": check_id(facts.doc_id, "document"),
            "updated_at": self._clock.now(),
            "vector": DUMMY_VECTOR,
            **packed(facts.to_payload(), f"The facts of node {facts.node_id!r}"),
        }


def _name_row(tenant: str, key: str, name: Mapping[str, Any]) -> Row:
    nodes = name["nodes"][:MAX_NODES_PER_NAME]
    content = {
        "name": name["name"],
        "label": name["label"],
        "properties": {},
        "nodes": nodes,
        "more": name["more"] or len(nodes) < len(name["nodes"]),
    }
    return {
        "id": key,
        "tenant": tenant,
        "kind": "name",
        **{column: name[column] for column in ("entity", "name_key", "label", "source", "doc_id", "updated_at")},
        "vector": DUMMY_VECTOR,
        **packed(content, f"Name {name['name'][:80]!r}"),
    }


def _hashes(keys: Iterable[str]) -> str:
    """Return the hashes of names, as many as fit into the column."""
    hashes = list(dict.fromkeys(f"{name_hash(key):08x}" for key in keys))[:MAX_NAMES_PER_NODE]
    return f"|{'|'.join(hashes)}|" if hashes else ""


def _facts_of(row: Row) -> NodeFacts:
    return NodeFacts.from_payload(row["source"], row["doc_id"], unpacked(row))


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
