"""The Milvus collections of the graph: their fields, how they are made, and the check of those that exist.

``<knowledge base>__entities`` has one row per entity *and source*: the same entity from two nodes is two rows, so
what one document contributed can be deleted without looking at any other.

==============  =======  ==============================================================================
field           type     holds
==============  =======  ==============================================================================
``id``          VARCHAR  hash of tenant, entity and source
``tenant``      VARCHAR  whose row it is, "" without tenants
``kind``        VARCHAR  "entity", "chunk", "implied" (only in a triple), "name" (found without a model)
``entity``      VARCHAR  id of the entity, shortened when it is long
``name_key``    VARCHAR  its name in the form in which names are compared
``label``       VARCHAR  its label
``source``      VARCHAR  the node it comes from, else the document, else ""
``doc_id``      VARCHAR  the document, "" when none
``updated_at``  INT64    microseconds since 1970
``payload``     VARCHAR  the entity as JSON
``overflow``    ARRAY    pieces of payloads that are too long for one VARCHAR
==============  =======  ==============================================================================

``<knowledge base>__facts`` is alike, with ``kind`` "triple" (one row per triple and source), "node" (all that is
known of one node without a model, packed) or "meta", and ``subject``, ``label`` and ``object`` in place of the
entity. ``names`` of a node are hashes of the names in it, ``|0a1b2c3d|...|``, to be found with LIKE: a row for each
name would make writing five times slower, and an ARRAY would make finding five times slower (Milvus Lite 3.2).

Embeddings of entities are kept by a :class:`MilvusNodeStore` called ``<knowledge base>__entity_vectors``, made when
the first one arrives: nearly all entities have none, and Milvus would store a vector for each.
"""

from __future__ import annotations

from typing import Any, Final

from llama_index_raganything._imports import guarded_import
from llama_index_raganything.errors import SchemaMismatchError
from llama_index_raganything.stores.nodes.schema import MAX_OVERFLOW_PIECES, MAX_VARCHAR_BYTES, create_indexed

with guarded_import():
    from pymilvus import DataType, MilvusClient

SCHEMA_VERSION: Final = "1"
"""Version of the collections' fields and payloads; another one cannot be read."""

ENTITIES_SUFFIX: Final = "__entities"
FACTS_SUFFIX: Final = "__facts"
VECTORS_SUFFIX: Final = "__entity_vectors"

ENTITY_COLUMNS: Final = ("tenant", "kind", "entity", "name_key", "label", "source", "doc_id")
FACT_COLUMNS: Final = ("tenant", "kind", "subject", "label", "object", "source", "doc_id", "names")

DUMMY_VECTOR: Final = [0.0, 1.0]
"""Milvus has no collection without a vector."""

_UNINDEXED: Final = frozenset({"label", "kind", "names"})
_COMMON: Final = frozenset({"id", "updated_at", "payload", "overflow"})


def create_collection(client: Any, name: str, columns: tuple[str, ...]) -> None:
    """Create one of the two collections and load it.

    Args:
        client: A ``MilvusClient``.
        name: Name of the collection.
        columns: Its VARCHAR fields.
    """
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.VARCHAR, max_length=MAX_VARCHAR_BYTES, is_primary=True)
    for column in (*columns, "payload"):
        schema.add_field(column, DataType.VARCHAR, max_length=MAX_VARCHAR_BYTES)
    schema.add_field("updated_at", DataType.INT64)
    schema.add_field(
        "overflow",
        DataType.ARRAY,
        element_type=DataType.VARCHAR,
        max_length=MAX_VARCHAR_BYTES,
        max_capacity=MAX_OVERFLOW_PIECES,
    )
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=len(DUMMY_VECTOR))
    vector = MilvusClient.prepare_index_params()
    vector.add_index(field_name="vector", index_name="vector", index_type="FLAT", metric_type="L2")
    scalars = MilvusClient.prepare_index_params()
    for column in columns:
        if column not in _UNINDEXED:
            scalars.add_index(field_name=column, index_name=column, index_type="INVERTED")
    # Milvus before 2.4 has no index of scalars; it finds the same rows more slowly.
    create_indexed(client, name, schema, vector, optional=scalars)


def check_collection(client: Any, name: str, columns: tuple[str, ...]) -> None:
    """Compare a stored collection with what this version of the package reads, and load it.

    Args:
        client: A ``MilvusClient``.
        name: Name of the collection.
        columns: Its VARCHAR fields.

    Raises:
        SchemaMismatchError: Fields are missing.
    """
    stored = {field["name"] for field in client.describe_collection(name)["fields"]}
    missing = sorted(({*columns} | _COMMON) - stored)
    if missing:
        raise mismatch(name, f"lacks the fields {', '.join(missing)}")
    client.load_collection(name)


def mismatch(name: str, what: str) -> SchemaMismatchError:
    """Return the error for a graph that this version of the package cannot read.

    Args:
        name: Name of the collection.
        what: What is wrong with it.
    """
    message = (
        f"Collection {name!r} {what}: this graph was written by another version of the package. Open it with "
        "overwrite=True (and no tenant) and bring the documents in again, or use another collection_name."
    )
    return SchemaMismatchError(message)
