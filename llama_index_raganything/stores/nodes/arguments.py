"""Which arguments the node store takes, and what to do instead of those that only the official store has.

LlamaIndex hands keyword arguments through to its stores: ``vector_store_kwargs`` of a retriever to ``query``, further
arguments of ``VectorStoreIndex``, ``from_documents``, ``insert`` and ``insert_nodes`` to ``add`` (after the
transformations have seen them), those of ``delete_ref_doc`` and ``delete_nodes`` to the deletion. Of its own it passes
none (llama-index-core 0.14.25).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from llama_index_raganything._arguments import refuse_misspelt, refuse_unknown
from llama_index_raganything._imports import guarded_import
from llama_index_raganything.errors import ConfigurationError

with guarded_import():
    from llama_index.vector_stores.milvus.base import IndexManagement
    from llama_index.vector_stores.milvus.utils import BM25BuiltInFunction

QUERY_OPTIONS: Final = frozenset(
    {"mmr_threshold", "mmr_prefetch_factor", "mmr_prefetch_k", "milvus_search_config", "string_expr"}
)
ADD_OPTIONS: Final = frozenset({"force_flush"})

_FILTERS: Final = "every metadata key can be filtered without being declared; use filters="
_TENANT: Final = "rows are divided by tenant; open the store with tenant="

INSTEAD: Final[Mapping[str, str]] = {
    "milvus_scalar_filters": _FILTERS,
    "milvus_partition_name": _TENANT,
    "milvus_partition_names": _TENANT,
}
"""Options of the official store's methods that this one does not have: each would restrict what is done."""

WITHOUT_EFFECT: Final[Mapping[str, tuple[Any, str]]] = {
    "collection_properties": (None, "set them with store.client.alter_collection_properties"),
    "doc_id_field": ("doc_id", "the field's name is fixed"),
    "index_management": (IndexManagement.CREATE_IF_NOT_EXISTS, "a missing index is always made"),
    "output_fields": (None, "nodes come back whole"),
    "scalar_field_names": (None, _FILTERS),
    "scalar_field_types": (None, _FILTERS),
    "sparse_embedding_function": (None, "keywords are searched by BM25; turn them off with enable_sparse=False"),
    "text_key": ("text", "the field's name is fixed"),
}
"""Fields of the official store that cannot be honoured: the value that is, and what to do instead of another."""


def check_options(method: str, given: Collection[str], known: Collection[str], *, others_pass: bool = False) -> None:
    """Refuse options of a method that nobody reads.

    Args:
        method: Class and method, for the message.
        given: Names of the options.
        known: Names of those that the method has.
        others_pass: Let options pass that look like none of the known, as they may be meant for someone else.

    Raises:
        ConfigurationError: One is unknown, misspelt, or belongs to the official store only.
    """
    for name in given:
        if name in INSTEAD:
            message = f"{method} does not know {name}: {INSTEAD[name]}."
            raise ConfigurationError(message)
    (refuse_misspelt if others_pass else refuse_unknown)(method, given, known)


def refuse_ineffective(fields: Mapping[str, Any]) -> None:
    """Refuse fields of the official store that would change nothing.

    Args:
        fields: Fields as given. Those of a serialised official store pass, where it has no features of its own.

    Raises:
        ConfigurationError: One has a value that cannot be honoured.
    """
    for name, (honoured, instead) in WITHOUT_EFFECT.items():
        value = fields.get(name)
        if value is not None and value not in (honoured, [], {}) and not _is_bm25(value):
            message = f"MilvusNodeStore cannot honour {name}={value!r}: {instead}."
            raise ConfigurationError(message)


def _is_bm25(value: Any) -> bool:
    """Say whether a sparse function is what the store does anyway; a serialised one is a dictionary."""
    return isinstance(value, BM25BuiltInFunction) or (isinstance(value, Mapping) and "output_field_names" in value)
