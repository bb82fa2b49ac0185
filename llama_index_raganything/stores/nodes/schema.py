"""The Milvus collection that holds nodes: its fields, its indexes, and the check of one that exists.

========================  =============  ====================================================================
field                     type           holds
========================  =============  ====================================================================
``id``                    VARCHAR, key   node id, behind ``tenant|`` where there are tenants
``doc_id``                VARCHAR        id of the document the node comes from, "" when none
``content_type``          VARCHAR        "text", "table", "image" ..., "" when none
``page``                  INT64          1-based page, -1 when none
``text``                  VARCHAR        the node's text, or its first 65,535 bytes
``embedding``             FLOAT_VECTOR   dense vector (only when dense search is on)
``_keywords``             VARCHAR        the text's terms; input of BM25 (only when keyword search is on)
``sparse_embedding``      SPARSE         BM25 vector that Milvus derives (only when keyword search is on)
``_node_content``         VARCHAR        the node as JSON without text and vector
``_overflow``             ARRAY          pieces of texts or nodes that are too long for one VARCHAR
``tenant``                VARCHAR        partition key (only in collections made for tenants)
========================  =============  ====================================================================

Metadata goes, for filters only, into the dynamic field.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from llama_index_raganything._imports import guarded_import
from llama_index_raganything.errors import SchemaMismatchError

with guarded_import():
    from pymilvus import DataType, Function, FunctionType, MilvusClient
    from pymilvus.exceptions import MilvusException

MAX_VARCHAR_BYTES: Final = 65_535
"""What servers take per VARCHAR, in bytes of UTF-8; Milvus Lite counts characters."""

MAX_DYNAMIC_BYTES: Final = 65_536
"""What servers take per row in the dynamic field, in bytes of JSON; Milvus Lite takes more."""

MAX_OVERFLOW_PIECES: Final = 64

ID: Final = "id"
DOC_ID: Final = "doc_id"
CONTENT_TYPE: Final = "content_type"
PAGE: Final = "page"
TEXT: Final = "text"
KEYWORDS: Final = "_keywords"
NODE: Final = "_node_content"
OVERFLOW: Final = "_overflow"
TENANT: Final = "tenant"


def create_indexed(
    client: Any, name: str, schema: Any, indexes: Any, *, optional: Any = None, consistency: str = "Strong"
) -> None:
    """Create a collection with indexes, and load it.

    Not by ``create_collection(index_params=...)``, which waits half a second for each index, with or without rows
    (pymilvus 2.6.17, ``wait_for_creating_index``).

    Args:
        client: A ``MilvusClient``.
        name: Name of the collection.
        schema: Its fields.
        indexes: Index settings, made by ``prepare_index_params``.
        optional: Indexes that not every Milvus has, and that only make it faster.
        consistency: Consistency level.
    """
    client.create_collection(name, schema=schema, consistency_level=consistency)
    client.create_index(name, indexes, sync=False)
    if optional is not None:
        with suppress(MilvusException):
            client.create_index(name, optional, sync=False)
    client.load_collection(name)


@dataclass(frozen=True)
class CollectionShape:
    """What a collection of nodes must look like.

    Attributes:
        dim: Dimension of the dense vectors; None without dense search.
        dense_field: Name of the dense vector field.
        sparse_field: Name of the sparse vector field, or None without keyword search.
        tenants: True when rows are divided by tenant.
    """

    dim: int | None
    dense_field: str
    sparse_field: str | None
    tenants: bool

    def create(self, client: Any, name: str, *, indexes: Mapping[str, Mapping[str, Any]], consistency: str) -> None:
        """Create the collection.

        Args:
            client: A ``MilvusClient``.
            name: Name of the collection.
            indexes: For each vector field its index settings.
            consistency: Consistency level.
        """
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True)
        schema.add_field(ID, DataType.VARCHAR, max_length=MAX_VARCHAR_BYTES, is_primary=True)
        if self.tenants:
            schema.add_field(TENANT, DataType.VARCHAR, max_length=MAX_VARCHAR_BYTES, is_partition_key=True)
        for field in (DOC_ID, CONTENT_TYPE, TEXT, NODE):
            schema.add_field(field, DataType.VARCHAR, max_length=MAX_VARCHAR_BYTES)
        schema.add_field(PAGE, DataType.INT64)
        schema.add_field(
            OVERFLOW,
            DataType.ARRAY,
            element_type=DataType.VARCHAR,
            max_length=MAX_VARCHAR_BYTES,
            max_capacity=MAX_OVERFLOW_PIECES,
        )
        if self.dim is not None:
            schema.add_field(self.dense_field, DataType.FLOAT_VECTOR, dim=self.dim)
        if self.sparse_field is not None:
            schema.add_field(KEYWORDS, DataType.VARCHAR, max_length=MAX_VARCHAR_BYTES, enable_analyzer=True)
            schema.add_field(self.sparse_field, DataType.SPARSE_FLOAT_VECTOR)
            schema.add_function(
                Function(
                    name="bm25",
                    function_type=FunctionType.BM25,
                    input_field_names=[KEYWORDS],
                    output_field_names=[self.sparse_field],
                )
            )
        params = MilvusClient.prepare_index_params()
        for field, settings in indexes.items():
            params.add_index(field_name=field, index_name=field, **settings)
        create_indexed(client, name, schema, params, consistency=consistency)

    def check(self, description: Mapping[str, Any], name: str) -> None:
        """Compare a stored collection with this shape.

        Args:
            description: What ``describe_collection`` says.
            name: Name of the collection, for the message.

        Raises:
            SchemaMismatchError: The collection cannot serve as this one.
        """
        fields = {field["name"]: field for field in description["fields"]}
        needed = {ID, DOC_ID, CONTENT_TYPE, TEXT, NODE, PAGE, OVERFLOW}
        if self.sparse_field is not None:
            needed |= {KEYWORDS, self.sparse_field}
        missing = sorted(needed - fields.keys())
        if missing:
            message = (
                f"Collection {name!r} lacks the fields {', '.join(missing)}: it was made by another program or with "
                "other options. Use another collection_name, or overwrite=True to replace it."
            )
            raise SchemaMismatchError(message)
        if (TENANT in fields) != self.tenants:
            message = (
                f"Collection {name!r} is divided by tenant; open it with tenant=..."
                if TENANT in fields
                else f"Collection {name!r} was made without tenants; open it without one, or use another name."
            )
            raise SchemaMismatchError(message)
        stored = dimension_of(description, self.dense_field) if self.dense_field else self.dim
        if stored != self.dim:
            message = (
                f"Collection {name!r} holds vectors of dimension {stored or 'none'}, but {self.dim or 'none'} was "
                "asked for. Use the embedding model it was made with (--models on the command line), another "
                "collection_name (--collection), or overwrite=True."
            )
            raise SchemaMismatchError(message)


def dimension_of(description: Mapping[str, Any], dense_field: str) -> int | None:
    """Return the dimension of a stored dense vector field.

    Args:
        description: What ``describe_collection`` says.

    Returns:
        The dimension, or None when there is no such field.
    """
    for field in description["fields"]:
        if field["name"] == dense_field:
            return int(field.get("params", {}).get("dim", 0)) or None
    return None
