"""The official Milvus vector store, made safe.

:class:`MilvusNodeStore` is a ``MilvusVectorStore`` (llama-index-vector-stores-milvus 1.2) whose every public
method is replaced, because each has a defect that loses data, leaks rows or fails on Milvus Lite. Each override
names the defect in its comment, and ``tests/contract/test_milvus_official_defects.py`` pins it on the official
class, so that an override can go when upstream mends it.

LlamaIndex hands keyword arguments through to its stores: ``vector_store_kwargs`` of a retriever to ``query``, further
arguments of ``VectorStoreIndex``, ``from_documents``, ``insert`` and ``insert_nodes`` to ``add`` (after the
transformations have seen them), those of ``delete_ref_doc`` and ``delete_nodes`` to the deletion. Of its own it passes
none (llama-index-core 0.14.25). So unknown ones are refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Self

from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)
from pydantic import SecretStr

from llama_index_raganything._arguments import argument_names, refuse_misspelt, refuse_unknown, strict_arguments
from llama_index_raganything._imports import guarded_import
from llama_index_raganything.errors import ConfigurationError, StoreUnavailableError
from llama_index_raganything.settings import DEFAULT_COLLECTION, DEFAULT_MILVUS_URI
from llama_index_raganything.stores.milvus import connection as milvus
from llama_index_raganything.stores.milvus.filter_expressions import any_of
from llama_index_raganything.stores.nodes.collection import DOC_ID, ID, NodeCollection
from llama_index_raganything.stores.nodes.search import SearchPlan, SearchSettings, choose, plan_search

with guarded_import():
    from llama_index.vector_stores.milvus import MilvusVectorStore
    from llama_index.vector_stores.milvus.base import IndexManagement, similarity_metrics_map
    from llama_index.vector_stores.milvus.utils import BM25BuiltInFunction

_IDS_PER_QUERY: Final = 1000

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


@strict_arguments
class MilvusNodeStore(MilvusVectorStore):
    """Nodes in Milvus, found by vector, by keyword, by both, and by metadata filters.

    Filters mean what llama-index-core says they mean; see :mod:`~.milvus.filter_expressions`.

    Args:
        uri: Milvus Lite directory (ends in ``.db``), or URL of a server or of Zilliz Cloud.
        collection_name: Collection; made on the first ``add`` when ``dim`` is not known before.
        dim: Dimension of the embeddings; by default that of the stored collection or of the first node.
        token: ``user:password`` or API key; by default the environment's ``MILVUS_TOKEN``. Never serialised.
        db_name: Database on the server.
        tenant: Sees, changes and deletes only this tenant's rows. Collections are made for tenants or without.
        overwrite: Delete what is stored under this name (and tenant) when opening. Not serialised as True.
        enable_dense: Keep dense vectors.
        enable_sparse: Keep keywords (BM25).
        similarity_metric: COSINE, IP or L2.
        index_config: Dense index, such as ``{"index_type": "HNSW", "M": 16}``; AUTOINDEX by default.
        sparse_index_config: Keyword index, such as ``{"bm25_k1": 1.2, "bm25_b": 0.75}``.
        search_config: Parameters of the dense index at search time, such as ``{"ef": 200}``.
        hybrid_ranker: ``RRFRanker`` or ``WeightedRanker``.
        hybrid_ranker_params: ``{"k": 60}`` or ``{"weights": [dense, keyword]}``.
        consistency_level: Strong by default: what was written is found at once.
        batch_size: Rows per request.
        max_batch_bytes: Bytes per request; servers refuse more than 64 MB.
        timeout_s: Seconds to wait for a server when opening.
        **kwargs: Other fields of ``MilvusVectorStore``; accepted so that its serialised form loads, refused where
            they ask for what this store does not do. ``upsert_mode`` and ``use_async_client`` are always on.

    Raises:
        ConfigurationError: An argument is unknown or cannot work.
        SchemaMismatchError: The stored collection has another schema or dimension.
        StoreLockedError: Another process holds the Milvus Lite directory.
        StoreUnavailableError: The server or directory cannot be reached or written.
    """

    uri: str = DEFAULT_MILVUS_URI
    token: SecretStr | None = Field(default=None, exclude=True, repr=False)  # type: ignore[assignment] # Was str, printed.
    collection_name: str = DEFAULT_COLLECTION
    db_name: str = ""
    tenant: str | None = None
    similarity_metric: str = "COSINE"
    consistency_level: str = "Strong"
    upsert_mode: bool = True
    enable_sparse: bool = True
    batch_size: int = 1000
    max_batch_bytes: int = 32_000_000
    timeout_s: float = milvus.DEFAULT_TIMEOUT_S
    hybrid_ranker: str = "RRFRanker"
    index_management: IndexManagement = Field(default=IndexManagement.CREATE_IF_NOT_EXISTS, exclude=True)  # No JSON.

    _open_collection: NodeCollection | None = PrivateAttr(default=None)

    def __init__(
        self,
        uri: str = DEFAULT_MILVUS_URI,
        collection_name: str = DEFAULT_COLLECTION,
        dim: int | None = None,
        *,
        token: SecretStr | str | None = None,
        overwrite: bool = False,
        **kwargs: Any,
    ) -> None:
        refuse_ineffective(kwargs)
        address = milvus.Address.parse(uri, token, kwargs.get("db_name", ""))
        fields = dict(kwargs)
        for name in ("index_config", "sparse_index_config", "search_config"):
            fields[name] = fields.get(name) or {}
        for name in ("collection_properties", "scalar_field_names", "scalar_field_types", "sparse_embedding_function"):
            fields[name] = None
        fields["similarity_metric"] = _metric(fields.get("similarity_metric", "COSINE"))
        # Not MilvusVectorStore.__init__: it drops uri and token, ignores dim, and never loads the collection.
        BasePydanticVectorStore.__init__(
            self,
            uri=address.uri,
            token=address.token,
            collection_name=collection_name,
            dim=dim,
            overwrite=False,
            **fields,
        )
        self._check_arguments()
        self._open(address, overwrite=overwrite)

    @classmethod
    def class_name(cls) -> str:
        """Return the key of serialisation."""
        return "MilvusNodeStore"

    @property
    def client(self) -> Any:
        """The shared ``MilvusClient``."""
        return self._collection.connection.client

    @property
    def aclient(self) -> Any:
        """None: an async client belongs to one event loop. Use the store's async methods."""
        return None

    def add(self, nodes: Sequence[BaseNode], **add_kwargs: Any) -> list[str]:
        """Write nodes; a node whose id is stored already is replaced.

        Repairs: inserts duplicates on servers, accepts NaN, no byte limits, duplicates the text, no batches by bytes.

        Args:
            nodes: Nodes with embeddings.
            **add_kwargs: ``force_flush=True`` flushes at the end. Others may be meant for transformations, since an
                index hands the same ones to both.

        Returns:
            The ids of the nodes, in order.

        Raises:
            ConfigurationError: An option is misspelt, or only the official store has it.
            NodeValueError: A node cannot be stored; nothing was written.
        """
        _refuse_options(f"{type(self).__name__}.add", add_kwargs, ADD_OPTIONS, others_pass=True)
        if not nodes:
            return []
        collection = self._collection
        if not collection.exists:
            collection.make_for(nodes[0])
            self.dim = collection.dim
        # The last of several nodes with one id wins, as in upserts one after the other.
        rows = {row[ID]: row for row in map(collection.codec.encode, nodes)}
        collection.connection.upsert(collection.name, list(rows.values()), self.batch_size, self.max_batch_bytes)
        if add_kwargs.get("force_flush"):
            self.flush()
        return [node.node_id for node in nodes]

    async def async_add(self, nodes: Sequence[BaseNode], **add_kwargs: Any) -> list[str]:
        """Write nodes without blocking the event loop; see :meth:`add`."""
        # A thread, because writers of one collection wait for each other.
        return await asyncio.to_thread(self.add, nodes, **add_kwargs)

    def flush(self) -> None:
        """Seal what was written, once after each ingest: Milvus Lite searches unsealed rows slowly."""
        self._collection.flush()

    async def aflush(self) -> None:
        """Seal what was written without blocking the event loop; see :meth:`flush`."""
        await asyncio.to_thread(self.flush)

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete all nodes of a document.

        Repairs: an id could delete other documents, quotes failed, documents over 16,384 nodes stayed in part.

        Args:
            **delete_kwargs: None is known.

        Raises:
            ConfigurationError: There are ``delete_kwargs``.
        """
        _refuse_options(f"{type(self).__name__}.delete", delete_kwargs, ("ref_doc_id",))
        wanted = [ref_doc_id] if isinstance(ref_doc_id, str) else list(ref_doc_id)
        self._collection.delete(any_of(DOC_ID, wanted))

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete all nodes of a document; see :meth:`delete`."""
        await asyncio.to_thread(self.delete, ref_doc_id, **delete_kwargs)

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Delete nodes by id and filter; with both, those that meet both.

        Repairs: ids and filters could be forged; an empty list of ids failed.

        Args:
            node_ids: Ids; an empty list deletes nothing.
            filters: Filters; at least one when no ids are given.
            **delete_kwargs: None is known.

        Raises:
            ConfigurationError: Neither ids nor a filter, which would delete everything, or ``delete_kwargs``.
        """
        _refuse_options(f"{type(self).__name__}.delete_nodes", delete_kwargs, ("node_ids", "filters"))
        expression = self._collection.expression(filters, node_ids)
        if not expression:
            raise ConfigurationError("delete_nodes needs node ids or a filter; clear() deletes everything.")
        self._collection.delete(expression)

    async def adelete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Delete nodes without blocking the event loop; see :meth:`delete_nodes`."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **delete_kwargs)

    def clear(self) -> None:
        """Delete everything (of this tenant); the store stays usable.

        Repairs: the official store drops the collection and then fails on the next add.
        """
        self._collection.clear()

    async def aclear(self) -> None:
        """Delete everything without blocking the event loop; see :meth:`clear`."""
        await asyncio.to_thread(self.clear)

    def get_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        limit: int | None = None,
        *,
        include_embeddings: bool = False,
        **kwargs: Any,
    ) -> list[BaseNode]:
        """Return nodes.

        Repairs: empty lists returned everything; ids and filters excluded each other; 16,384 nodes at most.

        Args:
            node_ids: Ids; an empty list gives no node. The order of the ids is the order of the nodes.
            filters: Filters; empty filters are no restriction.
            limit: Maximum number of nodes.
            include_embeddings: Read the dense vectors too, which takes three times as long.
            **kwargs: None is known.

        Returns:
            The nodes.

        Raises:
            ConfigurationError: There are ``kwargs``.
        """
        _refuse_options(f"{type(self).__name__}.get_nodes", kwargs, argument_names(self.get_nodes))
        expression = self._collection.expression(filters, node_ids)
        nodes = self._collection.nodes(expression, limit, vectors=include_embeddings)
        if node_ids is not None:
            place = {node_id: index for index, node_id in enumerate(node_ids)}
            nodes.sort(key=lambda node: place[node.node_id])
        return nodes

    async def aget_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        limit: int | None = None,
        **kwargs: Any,
    ) -> list[BaseNode]:
        """Return nodes without blocking the event loop; see :meth:`get_nodes`."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters, limit, **kwargs)

    def matching_ids(self, node_ids: Sequence[str], filters: MetadataFilters | None = None) -> list[str]:
        """Return which nodes are stored and pass the filters, without reading them.

        Args:
            filters: Filters; without any, all that are stored.

        Returns:
            Ids, in the order given.
        """
        found = {
            self._collection.codec.node_id(row[ID])
            for start in range(0, len(node_ids), _IDS_PER_QUERY)
            for row in self._collection.rows(
                self._collection.expression(filters, node_ids[start : start + _IDS_PER_QUERY]), [ID]
            )
        }
        return [node_id for node_id in node_ids if node_id in found]

    def read_metadata(self, keys: Sequence[str], filters: MetadataFilters | None = None) -> list[dict[str, Any]]:
        """Return metadata of nodes without reading the nodes, which is several times faster.

        Args:
            keys: Keys at the top level of the metadata that filters can name.
            filters: Filters; all nodes without.

        Returns:
            One dictionary per node with ``node_id`` and those of the keys that it has, in no particular order.
        """
        return self._collection.metadata(self._collection.expression(filters), keys)

    def count(self, filters: MetadataFilters | None = None) -> int:
        """Return how many nodes pass the filters.

        Args:
            filters: Filters; all nodes without.

        Returns:
            The number.
        """
        return self._collection.count(self._collection.expression(filters))

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Return the best nodes for a query.

        Repairs: keyword modes failed on Milvus Lite, NOT was dropped, values were not escaped, MMR needed a field
        name, BM25 scores were negative, filters and ``string_expr`` excluded each other.

        An empty list of ``node_ids`` restricts nothing: LlamaIndex's index retrievers always pass the ids that their
        index struct records, and for a store that keeps the text there are none (or those of pictures and index
        nodes alone). ``doc_ids`` come from callers only (llama-index-core 0.14.25), so an empty list of them matches
        nothing.

        Args:
            query: The query: mode, vector, words, filters, ids, and how many. With ``output_fields=[]`` the result
                has ids and similarities but no nodes (not with MMR), which is much cheaper for many results.
            **kwargs: ``mmr_threshold``, ``mmr_prefetch_factor``, ``mmr_prefetch_k``, ``milvus_search_config``, and
                ``string_expr``, a trusted Milvus expression that further restricts the result.

        Returns:
            Nodes, similarities (higher is better) and ids, aligned, best first.

        Raises:
            ConfigurationError: The mode is not supported, or an option is unknown.
            FilterError: A filter cannot be expressed safely.
            NodeValueError: The query vector does not fit.
        """
        plan = self._plan(query, kwargs)
        if plan is None:
            return VectorStoreQueryResult(nodes=[], similarities=[], ids=[])
        connection = self._collection.connection
        with milvus.translated(connection.address):
            hits = getattr(connection.client, plan.method)(**plan.arguments)[0]
        return self._result(plan, hits)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Return the best nodes for a query; see :meth:`query`.

        Repairs: failed in a second ``asyncio.run``.

        Args:
            **kwargs: As for :meth:`query`.

        Returns:
            Nodes, similarities and ids.
        """
        plan = self._plan(query, kwargs)
        if plan is None:
            return VectorStoreQueryResult(nodes=[], similarities=[], ids=[])
        connection = self._collection.connection
        client = await connection.aclient()
        with milvus.translated(connection.address):
            hits = (await getattr(client, plan.method)(**plan.arguments))[0]
        return await asyncio.to_thread(self._result, plan, hits)  # Long nodes are read in further requests.

    def close(self) -> None:
        """Release the connection; the last user of a Milvus Lite directory unlocks it."""
        collection, self._open_collection = self._open_collection, None
        if collection is not None:
            milvus.release(collection.connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        # Pickles must not hold the token, nor connections; __init__ opens the same address again.
        state = dict(self.__dict__)
        state.pop("token", None)
        return {"__dict__": state, "__pydantic_fields_set__": set(state), "__pydantic_private__": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # BaseComponent's hides every error of __init__ and leaves a store without connection.
        self.__init__(**state["__dict__"])  # type: ignore[misc] # How LlamaIndex restores components.

    def _check_arguments(self) -> None:
        milvus.check_store_arguments(self.collection_name, self.tenant, self.dim)
        if not (self.enable_dense or self.enable_sparse):
            raise ConfigurationError("A store needs enable_dense or enable_sparse.")
        if self.hybrid_ranker not in ("RRFRanker", "WeightedRanker"):
            message = f"Ranker {self.hybrid_ranker!r} is unknown; use RRFRanker or WeightedRanker."
            raise ConfigurationError(message)

    def _open(self, address: milvus.Address, *, overwrite: bool) -> None:
        indexes = self._indexes()
        connection = milvus.connect(address, self.timeout_s)
        try:
            collection = NodeCollection(
                connection=connection,
                name=self.collection_name,
                dense_field=self.embedding_field if self.enable_dense else None,
                sparse_field=self.sparse_embedding_field if self.enable_sparse else None,
                tenant=self.tenant,
                indexes=indexes,
                consistency=self.consistency_level,
            )
            collection.open(self.dim, overwrite=overwrite)
        except BaseException:
            milvus.release(connection)
            raise
        self._open_collection = collection
        self.dim = collection.dim or self.dim

    def _indexes(self) -> dict[str, dict[str, Any]]:
        indexes: dict[str, dict[str, Any]] = {}
        if self.enable_dense:
            indexes[self.embedding_field] = _index(self.index_config, "AUTOINDEX", self.similarity_metric)
        if self.enable_sparse:
            indexes[self.sparse_embedding_field] = _index(self.sparse_index_config, "SPARSE_INVERTED_INDEX", "BM25")
        return indexes

    @property
    def _collection(self) -> NodeCollection:
        if self._open_collection is None:
            message = f"This index (or its store of {self.uri}) is closed; open it again with RAGAnythingIndex(...)."
            raise StoreUnavailableError(message)
        return self._open_collection

    def _settings(self) -> SearchSettings:
        return SearchSettings(
            collection=self.collection_name,
            dim=self._collection.dim if self.enable_dense else None,
            dense_field=self.embedding_field,
            sparse_field=self.sparse_embedding_field if self.enable_sparse else None,
            metric=self.similarity_metric,
            search_params=self.search_config or {},
            filtered_params=_LITE_FILTERED if milvus.Address.parse(self.uri).is_local else {},
            ranker=self.hybrid_ranker,
            ranker_params=self.hybrid_ranker_params,
        )

    def _plan(self, query: VectorStoreQuery, options: Mapping[str, Any]) -> SearchPlan | None:
        _refuse_options(f"{type(self).__name__}.query", options, QUERY_OPTIONS)
        collection = self._collection
        expression = collection.expression(
            query.filters, query.node_ids or None, query.doc_ids, options.get("string_expr") or ""
        )
        if not collection.exists or query.doc_ids == []:
            return None
        return plan_search(query, collection.scoped(expression), self._settings(), options)

    def _result(self, plan: SearchPlan, hits: Sequence[Mapping[str, Any]]) -> VectorStoreQueryResult:
        collection = self._collection
        chosen = choose(hits, plan, self._settings())
        rows = [(hit["id"], hit["entity"]) for hit, _ in chosen]
        return VectorStoreQueryResult(
            nodes=None if plan.ids_only else collection.decoded(rows),
            similarities=[similarity for _, similarity in chosen],
            ids=[collection.codec.node_id(key) for key, _ in rows],
        )


_LITE_FILTERED: Final = {"ef": 10_000}
"""Candidates that Milvus Lite looks at under a filter. Of its own 64 (faiss's ``efSearch``) only those that pass are
returned: of 50 asked for, 23 came where 84 nodes of 1,734 passed (milvus-lite 3.2.2, ``index/faiss_hnsw.py``)."""


def _index(config: Mapping[str, Any] | None, index_type: str, metric: str) -> dict[str, Any]:
    params = dict(config or {})
    asked = params.pop("metric_type", metric)
    if asked != metric:
        message = f"An index of metric {asked!r} cannot serve {metric} search; choose it with similarity_metric=."
        raise ConfigurationError(message)
    index = {"index_type": params.pop("index_type", index_type), "metric_type": metric}
    return {**index, "params": params} if params else index


def _metric(name: str) -> str:
    metric = similarity_metrics_map.get(str(name).lower())
    if metric is None:
        message = f"Similarity metric {name!r} is unknown; use COSINE, IP or L2."
        raise ConfigurationError(message)
    return str(metric)


def _refuse_options(method: str, given: Collection[str], known: Collection[str], *, others_pass: bool = False) -> None:
    """Refuse options of a method that would be ignored.

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
