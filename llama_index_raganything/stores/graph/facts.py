"""Facts that are read from nodes without a model: one packed row per node, and one per name that a document is about.

Names that a text only mentions are kept with the node, as hashes that can be searched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from llama_index_raganything.elements import content_id
from llama_index_raganything.graph.facts import NodeFacts, name_hash
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
from llama_index_raganything.stores.milvus.filter_expressions import all_of

IS_NODE: Final = 'kind == "node"'
IS_NAME: Final = 'kind == "name"'
MENTIONED: Final = "name"
"""Label of names that a text only mentions."""

MAX_NODES_PER_NAME: Final = 1000
"""Maximum nodes listed per name and document."""

MAX_NAMES_PER_NODE: Final = 7000
"""Maximum names per node that can be searched."""

_FIELDS: Final = ("source", "doc_id", *PAYLOAD_FIELDS)
_NAME_FIELDS: Final = ("source", "doc_id", "entity", "name_key", "label", "updated_at", *PAYLOAD_FIELDS)
_NAMES_PER_QUERY: Final = 50
_MICROSECONDS_PER_MILLISECOND: Final = 1000


class FactRows:
    """The node facts of one graph."""

    def __init__(self, collections: GraphCollections) -> None:
        self._collections = collections

    def put(self, facts: Sequence[NodeFacts]) -> None:
        """Write the facts of nodes; those of a node that has some are replaced.

        Raises:
            NodeValueError: Those of one node cannot be stored; nothing was written.
        """
        latest = {self._key(item.node_id): item for item in facts}
        rows = [self._row(key, item) for key, item in latest.items()]
        stored = self._collections.facts.get(latest, ["source"])
        if stored:
            self._forget([row["source"] for row in stored.values()])
        names = self._names(latest.values())
        self._unite(names, self._collections.entities.get(names, PAYLOAD_FIELDS))
        self._collections.facts.write(rows)
        self._collections.entities.write([_name_row(key, name) for key, name in names.items()])

    def get(self, node_ids: Sequence[str]) -> list[NodeFacts]:
        """Return the facts of nodes in the order asked for; nodes without facts are left out."""
        keys = [self._key(node_id) for node_id in dict.fromkeys(node_ids)]
        rows = self._collections.facts.get(keys, _FIELDS)
        return [_facts_of(rows[key]) for key in keys if key in rows]

    def scan(self, doc_ids: Sequence[str] | None, since: int | None) -> Iterator[NodeFacts]:
        """Yield the facts of many nodes.

        Args:
            doc_ids: Only of these documents.
            since: Only those written since then, milliseconds since 1970.
        """
        recent = "" if since is None else f"updated_at >= {int(since) * _MICROSECONDS_PER_MILLISECOND}"
        expression = all_of(IS_NODE, recent)
        stored = self._collections.facts
        if doc_ids is None:
            rows = stored.rows(expression, _FIELDS)
        else:
            rows = stored.rows_with("doc_id", doc_ids, _FIELDS, expression)
        yield from map(_facts_of, rows)

    def delete(self, node_ids: Sequence[str]) -> None:
        """Delete the facts of nodes, and the names that only they have."""
        self._forget(node_ids)
        self._collections.facts.delete_keys([self._key(node_id) for node_id in dict.fromkeys(node_ids)])

    def naming(self, names: Iterable[str], limit: int | None = None) -> Iterator[tuple[str, str, NodeFacts]]:
        """Yield the nodes that have any of the given names, in any spelling.

        Args:
            limit: Maximum number of nodes read.

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
            for row in self._collections.facts.rows(all_of(IS_NODE, like), _FIELDS, limit):
                facts = _facts_of(row)
                for text, key, _ in facts.entity_names():
                    for name in keys.get(key, ()) if key in part else ():
                        yield name, text, facts

    def holders(self, entities: Sequence[str], limit: int) -> dict[tuple[str, str], list[str]]:
        """Return the nodes that are about some entities.

        Args:
            entities: Shortened ids of entities.
            limit: Maximum number of rows read, one per name and document.

        Returns:
            Ids of nodes by shortened id and name of the entity.
        """
        found: dict[tuple[str, str], list[str]] = {}
        first, fields = entities[:VALUES_PER_QUERY], ["entity", *PAYLOAD_FIELDS]
        for row in self._collections.entities.rows_with("entity", first, fields, IS_NAME, limit):
            name = json.loads(unpacked(row))
            found.setdefault((row["entity"], name["name"]), []).extend(name["nodes"])
        return found

    def _forget(self, node_ids: Sequence[str]) -> None:
        """Remove nodes from the lists of their names, and delete names that are left without a node."""
        keys = [self._key(node_id) for node_id in dict.fromkeys(node_ids)]
        gone = set(node_ids)
        stored = self._collections.facts.get(keys, ["source", "doc_id"]).values()
        origins = sorted({row["doc_id"] or row["source"] for row in stored})
        empty, changed = [], []
        for row in self._collections.entities.rows_with("source", origins, ["id", *_NAME_FIELDS], IS_NAME):
            name = json.loads(unpacked(row))
            left = [node_id for node_id in name["nodes"] if node_id not in gone]
            if not left and not name["more"]:
                empty.append(row["id"])
            elif len(left) < len(name["nodes"]):
                changed.append({**row, **name, "nodes": left})
        self._collections.entities.delete_keys(empty)
        self._collections.entities.write([_name_row(row["id"], row) for row in changed])

    def _names(self, facts: Any) -> dict[str, dict[str, Any]]:
        """Return the names of nodes by the primary keys of their rows, one for each name and document."""
        names: dict[str, dict[str, Any]] = {}
        for item in facts:
            origin = item.doc_id or item.node_id
            for text, key, label in item.entity_names():
                if label == MENTIONED:
                    continue
                row_key = entity_key(self._collections.tenant, shortened(key), origin, "name")
                known = names.get(row_key)
                if known is None:
                    known = names[row_key] = {
                        "entity": shortened(text.replace('"', " ")),
                        "name": text,
                        "name_key": key,
                        "label": label,
                        "source": origin,
                        "doc_id": item.doc_id,
                        "updated_at": self._collections.now(),
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
        return content_id(self._collections.tenant, "node", node_id)

    def _row(self, key: str, facts: NodeFacts) -> Row:
        return {
            "id": key,
            "kind": "node",
            "subject": "",
            "label": "",
            "object": "",
            "names": _hashes(key for _, key, _ in facts.entity_names()),
            "source": check_id(facts.node_id, "node id"),
            "doc_id": check_id(facts.doc_id, "document id"),
            "updated_at": self._collections.now(),
            **packed(facts.to_payload(), f"The facts of node {facts.node_id!r}"),
        }


def _name_row(key: str, name: Mapping[str, Any]) -> Row:
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
        "kind": "name",
        **{column: name[column] for column in ("entity", "name_key", "label", "source", "doc_id", "updated_at")},
        **packed(content, f"Name {name['name'][:80]!r}"),
    }


def _hashes(keys: Iterable[str]) -> str:
    """Return the hashes of names, up to the length of the column."""
    hashes = list(dict.fromkeys(f"{name_hash(key):08x}" for key in keys))[:MAX_NAMES_PER_NODE]
    return f"|{'|'.join(hashes)}|" if hashes else ""


def _facts_of(row: Row) -> NodeFacts:
    return NodeFacts.from_payload(row["source"], row["doc_id"], unpacked(row))
