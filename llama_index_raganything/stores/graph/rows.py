"""Entities, chunks and triples as Milvus rows, and rows of several sources as one entity or triple again."""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from llama_index.core.graph_stores.types import TRIPLET_SOURCE_KEY, ChunkNode, EntityNode, LabelledNode, Relation
from pydantic_core import PydanticSerializationError

from llama_index_raganything.elements import content_id
from llama_index_raganything.errors import NodeValueError
from llama_index_raganything.graph.names import name_key
from llama_index_raganything.stores.graph.schema import DUMMY_VECTOR
from llama_index_raganything.stores.nodes.rows import byte_length, pieces_of, storable
from llama_index_raganything.stores.nodes.schema import MAX_OVERFLOW_PIECES, MAX_VARCHAR_BYTES

Row = dict[str, Any]
EntityKind = Literal["entity", "chunk", "implied", "name"]

DOCUMENT_KEYS: Final = ("ref_doc_id", "doc_id", "document_id")
"""Properties that name the document, the first one wins."""

PAYLOAD_FIELDS: Final = ("payload", "overflow")
ENTITY_FIELDS: Final = ("id", "kind", "entity", "source", "doc_id", "updated_at", *PAYLOAD_FIELDS)
TRIPLE_FIELDS: Final = ("id", "subject", "label", "object", "source", "doc_id", "updated_at", *PAYLOAD_FIELDS)

_SHORT_BYTES: Final = 1024
_MAX_PAYLOAD: Final = MAX_OVERFLOW_PIECES * MAX_VARCHAR_BYTES
_MICROSECONDS: Final = 1_000_000


def shortened(text: str) -> str:
    """Return text as it is compared in the collections: itself, or its beginning and a digest when it is long.

    Shortened text is longer than any text that is kept as it is, so nobody can write one that passes for another.

    Args:
        text: A name, a label or an id.
    """
    raw = text.encode("utf-8", "surrogatepass")
    valid = storable(text) == text
    if valid and len(raw) <= _SHORT_BYTES:
        return text
    beginning = pieces_of(storable(text[:_SHORT_BYTES]), _SHORT_BYTES)[0]
    padding = "." * (_SHORT_BYTES - byte_length(beginning))
    return f"{beginning}{padding}{hashlib.sha256(raw).hexdigest()}"


def packed(content: Any, whose: str) -> Row:
    """Return the payload fields of a row.

    Args:
        content: JSON values, or a string that is JSON already.
        whose: Begins the message.

    Returns:
        ``payload`` and ``overflow``.

    Raises:
        NodeValueError: There is too much of it.
    """
    text = content if isinstance(content, str) else _json(content)
    if storable(text) != text:
        # Escaped, a lone surrogate is valid UTF-8, and comes back as it was.
        text = json.dumps(json.loads(text))
    size = byte_length(text)
    if size <= MAX_VARCHAR_BYTES:
        return {"payload": text, "overflow": []}
    pieces = pieces_of(text, MAX_VARCHAR_BYTES) if size <= _MAX_PAYLOAD else []
    if not 0 < len(pieces) <= MAX_OVERFLOW_PIECES:
        message = f"{whose[:200]} has {size} bytes, the limit is {_MAX_PAYLOAD}; split it or make it shorter."
        raise NodeValueError(message)
    return {"payload": "", "overflow": pieces}


def unpacked(row: Mapping[str, Any]) -> str:
    """Return the payload of a row.

    Args:
        row: A row with its payload fields.
    """
    return str(row["payload"]) or "".join(row["overflow"])


class Clock:
    """Tells the time in microseconds since 1970, never twice the same and never backwards."""

    def __init__(self) -> None:
        self._last = 0
        self._guard = threading.Lock()

    def now(self) -> int:
        """Return the time."""
        with self._guard:
            self._last = max(self._last + 1, int(time.time() * _MICROSECONDS))
            return self._last


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

        Args:
            item: What is to be stored.

        Raises:
            NodeValueError: An id is too long or not valid Unicode.
        """
        doc_id = _document(item.properties)
        source = item.id if isinstance(item, ChunkNode) else str(item.properties.get(TRIPLET_SOURCE_KEY) or doc_id)
        return cls(check_id(source, "source"), check_id(doc_id, "document"))


def check_id(text: str, what: str) -> str:
    """Return an id of a node or document after checking that Milvus takes it.

    Raises:
        NodeValueError: It is too long or not valid Unicode.
    """
    if storable(text) != text:
        message = f"The {what} id {text!r} is not valid Unicode; remove its lone surrogates."
        raise NodeValueError(message)
    if byte_length(text) > MAX_VARCHAR_BYTES:
        message = f"The {what} id {text[:80]!r}... has {byte_length(text)} bytes, Milvus takes {MAX_VARCHAR_BYTES}."
        raise NodeValueError(message)
    return text


def entity_key(tenant: str, entity: str, source: str, kind: str = "entity") -> str:
    """Return the primary key of an entity's row.

    Args:
        tenant: Whose it is.
        entity: The shortened id, or for names their key.
        source: Where it comes from.
        kind: "name" for names; everything else shares one key.
    """
    return content_id(tenant, "name" if kind == "name" else "entity", entity, source)


def entity_row(tenant: str, node: LabelledNode, kind: EntityKind, origin: Provenance, now: int) -> Row:
    """Return the row of an entity or a chunk.

    Args:
        tenant: Whose it is.
        node: The entity or chunk.
        kind: What kind of row.
        origin: Where it comes from.
        now: Time of writing, microseconds.

    Raises:
        NodeValueError: It cannot be stored.
    """
    entity = shortened(node.id)
    whose = f"{type(node).__name__} {node.id[:80]!r}"
    content = _dump(node, whose) | ({"id_": node.id} if isinstance(node, ChunkNode) else {})
    return {
        "id": entity_key(tenant, entity, origin.source, kind),
        "tenant": tenant,
        "kind": kind,
        "entity": entity,
        "name_key": "" if kind == "chunk" else name_key(node.id),
        "label": shortened(node.label),
        "source": origin.source,
        "doc_id": origin.doc_id,
        "updated_at": now,
        "vector": DUMMY_VECTOR,
        **packed(content, whose),
    }


def triple_row(tenant: str, relation: Relation, origin: Provenance, now: int) -> Row:
    """Return the row of a triple.

    Args:
        tenant: Whose it is.
        relation: The triple.
        origin: Where it comes from.
        now: Time of writing, microseconds.

    Raises:
        NodeValueError: It cannot be stored.
    """
    ends = {"subject": relation.source_id, "label": relation.label, "object": relation.target_id}
    columns = {name: shortened(value) for name, value in ends.items()}
    whose = f"Relation {relation.label[:80]!r}"
    return {
        "id": content_id(tenant, "triple", *columns.values(), origin.source),
        "tenant": tenant,
        "kind": "triple",
        "names": "",
        **columns,
        "source": origin.source,
        "doc_id": origin.doc_id,
        "updated_at": now,
        "vector": DUMMY_VECTOR,
        **packed(_dump(relation, whose), whose),
    }


@dataclass(frozen=True)
class StoredTriple:
    """A triple, merged from the rows of all its sources.

    Attributes:
        subject: Shortened id of the entity it begins with.
        object: Shortened id of the entity it ends with.
        relation: The relation.
        sources: How many sources say so.
    """

    subject: str
    object: str
    relation: Relation
    sources: int = 1

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes it one triple."""
        return self.subject, shortened(self.relation.label), self.object


def merged_triples(rows: Iterable[Row]) -> list[StoredTriple]:
    """Return triples, those with most sources first.

    Args:
        rows: Rows of triples, with :data:`TRIPLE_FIELDS`.
    """
    found = []
    for (subject, _, target), group in _grouped(rows, ("subject", "label", "object")).items():
        contents = [json.loads(unpacked(row)) for row in group]
        relation = Relation(**(contents[-1] | {"properties": _united(contents)}))
        found.append(StoredTriple(subject, target, relation, len(group)))
    found.sort(key=lambda triple: (-triple.sources, triple.subject, triple.relation.label, triple.object))
    return found


def merged_nodes(rows: Iterable[Row]) -> dict[str, LabelledNode]:
    """Return entities and chunks by their shortened ids.

    What was written as an entity or chunk counts before what a triple or a text only names; of several rows
    the newest gives the label, and each property comes from the newest row that has it.

    Args:
        rows: Rows with :data:`ENTITY_FIELDS`.
    """
    return {entity: _merged_node(group) for (entity,), group in _grouped(rows, ("entity",)).items()}


def _merged_node(group: Sequence[Row]) -> LabelledNode:
    first = [row for row in group if row["kind"] in ("entity", "chunk")] or group
    if first[-1]["kind"] == "chunk":
        return ChunkNode(**json.loads(unpacked(first[-1])))
    contents = [json.loads(unpacked(row)) for row in first if row["kind"] != "chunk"]
    content = contents[-1]
    return EntityNode(name=content["name"], label=content["label"], properties=_united(contents))


def _united(contents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the properties of several sources, oldest first, as one."""
    return dict(itertools.chain.from_iterable(content.get("properties", {}).items() for content in contents))


def _grouped(rows: Iterable[Row], columns: Sequence[str]) -> dict[tuple[str, ...], list[Row]]:
    """Return rows by some of their columns, oldest first."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["updated_at"], row["id"])):
        groups.setdefault(tuple(row[column] for column in columns), []).append(row)
    return groups


def _document(properties: Mapping[str, Any]) -> str:
    for key in DOCUMENT_KEYS:
        value = properties.get(key)
        if value and not (value == "None" and "_node_content" in properties):
            return str(value)
    return _source_document(properties) if properties.get("ref_doc_id") == "None" else ""


def _source_document(properties: Mapping[str, Any]) -> str:
    """Tell a document of the id "None" from none, which LlamaIndex writes alike (``node_to_metadata_dict``)."""
    content = json.loads(properties["_node_content"])
    source = content.get("relationships", {}).get("1") or {}
    return "None" if source.get("node_id") == "None" else ""


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _dump(item: LabelledNode | Relation, whose: str) -> dict[str, Any]:
    try:
        return item.model_dump(mode="json", exclude={"embedding"})
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        message = f"{whose} has a property that is no JSON value ({error}); use strings, numbers, lists and dicts."
        raise NodeValueError(message) from error
