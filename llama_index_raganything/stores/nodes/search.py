"""Queries as Milvus requests, and hits as results: everything about a search that needs no connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from llama_index.core.indices.query.embedding_utils import get_top_k_mmr_embeddings
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

from llama_index_raganything._imports import guarded_import
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.stores.nodes.collection import ID, OUTPUT_FIELDS, check_vector
from llama_index_raganything.text.terms import query_terms

with guarded_import():
    from pymilvus import AnnSearchRequest, RRFRanker, WeightedRanker

MAX_RESULTS: Final = 16_384
"""What a server gives per request; Milvus Lite would give more."""

MMR_PREFETCH_FACTOR: Final = 4.0
_RRF_K: Final = 60

_KEYWORD_MODES: Final = frozenset({VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH})
_DENSE_MODES: Final = frozenset({VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.MMR, VectorStoreQueryMode.HYBRID})


@dataclass(frozen=True)
class SearchSettings:
    """What a store's searches have in common.

    Attributes:
        collection: Name of the collection.
        dim: Dimension of the dense vectors, None without dense search.
        dense_field: Name of the dense vector field.
        sparse_field: Name of the sparse vector field, None without keyword search.
        metric: Metric of the dense index: COSINE, IP or L2.
        search_params: Parameters of the dense index at search time, such as ``{"ef": 200}``.
        filtered_params: The same for searches under a filter, where ``search_params`` says nothing else.
        ranker: ``RRFRanker`` or ``WeightedRanker``; joins the two routes of a hybrid search.
        ranker_params: ``{"k": 60}`` or ``{"weights": [dense, sparse]}``.
    """

    collection: str
    dim: int | None
    dense_field: str
    sparse_field: str | None
    metric: str
    search_params: Mapping[str, Any] = field(default_factory=dict)
    filtered_params: Mapping[str, Any] = field(default_factory=dict)
    ranker: str = "RRFRanker"
    ranker_params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchPlan:
    """One request to Milvus and how to read its answer.

    Attributes:
        method: Name of the client's method.
        arguments: Its keyword arguments.
        limit: How many results the caller gets.
        scale: What similarities are: "dense", "keyword", "fused" or "mmr".
        mmr: Query vector and threshold when results are to be diversified.
        ids_only: The caller wants ids and similarities, no nodes.
    """

    method: str
    arguments: Mapping[str, Any]
    limit: int
    scale: str
    mmr: tuple[Sequence[float], float | None] | None = None
    ids_only: bool = False


def plan_search(
    query: VectorStoreQuery, expression: str, settings: SearchSettings, options: Mapping[str, Any]
) -> SearchPlan | None:
    """Return the request for a query.

    Args:
        query: The query. ``output_fields=[]`` asks for ids and similarities without nodes.
        expression: Milvus expression of everything that restricts it.
        options: Keyword arguments of the caller's ``query``: ``mmr_threshold``, ``mmr_prefetch_factor`` or
            ``mmr_prefetch_k``, ``milvus_search_config``.

    Returns:
        The plan, or None when nothing can match.

    Raises:
        ConfigurationError: The mode is unknown or the store was not made for it.
        NodeValueError: The query vector has another dimension or is not finite.
    """
    plan = _Planner(query, expression, settings, options).plan()
    if plan is None or query.output_fields != [] or plan.mmr is not None:
        return plan
    # Not an empty list, which Milvus Lite takes for all fields, vectors included.
    return replace(plan, arguments={**plan.arguments, "output_fields": [ID]}, ids_only=True)


def similarity(distance: float, scale: str, metric: str) -> float:
    """Return a score of which higher is better.

    Args:
        distance: What Milvus calls distance.

    Returns:
        Cosine and inner product as they are, 1 / (1 + squared distance) for L2. BM25 is never negative here:
        Milvus Lite 3.2 gives it with the wrong sign.
    """
    if scale == "keyword":
        return abs(float(distance))
    if scale == "dense" and metric == "L2":
        return 1.0 / (1.0 + max(0.0, float(distance)))
    return float(distance)


def choose(hits: Sequence[Mapping[str, Any]], plan: SearchPlan, settings: SearchSettings) -> list[tuple[Any, float]]:
    """Return the hits of the result with their similarities, best first.

    Returns:
        Pairs of hit and similarity.
    """
    if plan.mmr is None:
        return [(hit, similarity(hit["distance"], plan.scale, settings.metric)) for hit in hits]
    vector, threshold = plan.mmr
    scores, order = get_top_k_mmr_embeddings(
        query_embedding=list(vector),
        embeddings=[np.asarray(hit["entity"][settings.dense_field], dtype=np.float64).tolist() for hit in hits],
        similarity_top_k=plan.limit,
        embedding_ids=list(range(len(hits))),
        mmr_threshold=threshold,
    )
    return [(hits[index], float(score)) for index, score in zip(order, scores, strict=True)]


def _checked_mode(name: str, settings: SearchSettings) -> VectorStoreQueryMode:
    modes = _DENSE_MODES | _KEYWORD_MODES
    mode = next((mode for mode in modes if mode.value == name), None)
    if mode is None:
        supported = ", ".join(sorted(mode.value for mode in modes))
        message = f"Query mode {getattr(name, 'value', name)!r} is not supported; use one of {supported}."
        raise ConfigurationError(message)
    if settings.sparse_field is None and mode in _KEYWORD_MODES | {VectorStoreQueryMode.HYBRID}:
        message = f"Query mode {mode.value!r} needs keyword search; open the store with enable_sparse=True."
        raise ConfigurationError(message)
    if settings.dim is None and mode in _DENSE_MODES:
        message = f"Query mode {mode.value!r} needs dense vectors; open the store with enable_dense=True."
        raise ConfigurationError(message)
    return mode


@dataclass(frozen=True)
class _Planner:
    """Plans one search."""

    query: VectorStoreQuery
    expression: str
    settings: SearchSettings
    options: Mapping[str, Any]

    def plan(self) -> SearchPlan | None:
        """Return the request, or None when nothing can match."""
        mode = _checked_mode(self.query.mode, self.settings)
        limit = _bounded(self.query.similarity_top_k)
        terms = query_terms(self.query.query_str or "")
        if mode in _KEYWORD_MODES:
            limit = _bounded(self.query.sparse_top_k or self.query.similarity_top_k)
            # No drop_ratio_search: Milvus Lite refuses every value but 0.
            arguments = self._route(self.settings.sparse_field, terms, {"metric_type": "BM25"}, limit)
            return SearchPlan("search", arguments, limit, "keyword") if terms and limit else None
        if limit < 1:
            return None
        vector = check_vector(self.query.query_embedding, self.settings.dim or 0, "The query")
        if mode == VectorStoreQueryMode.MMR:
            return self._mmr(vector)
        if mode == VectorStoreQueryMode.HYBRID:
            if terms:
                return self._hybrid(vector, terms)
            limit = _bounded(self.query.hybrid_top_k or limit)
        return SearchPlan("search", self._dense(vector, limit), limit, "dense")

    def _mmr(self, vector: list[float]) -> SearchPlan:
        """Plan a search by vector that reads more than asked for, with vectors, to choose diverse results."""
        prefetch, factor = self.options.get("mmr_prefetch_k"), self.options.get("mmr_prefetch_factor")
        if prefetch is not None and factor is not None:
            raise ConfigurationError("Give mmr_prefetch_k or mmr_prefetch_factor, not both.")
        if prefetch is None:
            prefetch = self.query.similarity_top_k * float(factor or MMR_PREFETCH_FACTOR)
        limit = _bounded(self.query.similarity_top_k)
        arguments = self._dense(vector, _bounded(max(limit, int(prefetch))))
        arguments["output_fields"] = [*OUTPUT_FIELDS, self.settings.dense_field]
        threshold = self.options.get("mmr_threshold", self.query.mmr_threshold)
        return SearchPlan("search", arguments, limit, "mmr", (vector, threshold))

    def _hybrid(self, vector: list[float], terms: str) -> SearchPlan:
        settings, top_k = self.settings, self.query.similarity_top_k
        limit = _bounded(self.query.hybrid_top_k or top_k)
        dense = {"metric_type": settings.metric, "params": dict(self._params)}
        routes = [
            AnnSearchRequest([vector], settings.dense_field, dense, _bounded(top_k), self.expression),
            AnnSearchRequest(
                [terms],
                settings.sparse_field,
                {"metric_type": "BM25"},
                _bounded(self.query.sparse_top_k or top_k),
                self.expression,
            ),
        ]
        arguments = {
            "collection_name": settings.collection,
            "reqs": routes,
            "ranker": self._ranker(),
            "limit": limit,
            "output_fields": list(OUTPUT_FIELDS),
        }
        return SearchPlan("hybrid_search", arguments, limit, "fused")

    def _ranker(self) -> Any:
        if self.query.alpha is not None:
            share = min(1.0, max(0.0, float(self.query.alpha)))
            return WeightedRanker(share, 1.0 - share)
        if self.settings.ranker == "WeightedRanker":
            return WeightedRanker(*self.settings.ranker_params.get("weights", (0.5, 0.5)))
        return RRFRanker(int(self.settings.ranker_params.get("k", _RRF_K)))

    @property
    def _params(self) -> Mapping[str, Any]:
        return self.options.get("milvus_search_config") or self.settings.search_params

    def _dense(self, vector: list[float], limit: int) -> dict[str, Any]:
        by_default = self.settings.filtered_params if self.expression else {}
        search = {"metric_type": self.settings.metric, "params": {**by_default, **self._params}}
        return self._route(self.settings.dense_field, vector, search, limit)

    def _route(self, column: str | None, query: Any, search: dict[str, Any], limit: int) -> dict[str, Any]:
        return {
            "collection_name": self.settings.collection,
            "data": [query],
            "anns_field": column,
            "filter": self.expression,
            "limit": limit,
            "output_fields": list(OUTPUT_FIELDS),
            "search_params": search,
        }


def _bounded(limit: int) -> int:
    return max(0, min(int(limit), MAX_RESULTS))
