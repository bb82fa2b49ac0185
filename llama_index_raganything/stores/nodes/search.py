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

    def without_nodes(self) -> SearchPlan:
        """Return the same request for ids and similarities alone, which costs no text and no decoding."""
        # Not an empty list, which Milvus Lite takes for all fields, vectors included.
        return replace(self, arguments={**self.arguments, "output_fields": [ID]}, ids_only=True)


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
    plan = _plan(query, expression, settings, options)
    if plan is None or query.output_fields != [] or plan.mmr is not None:
        return plan
    return plan.without_nodes()


def _plan(
    query: VectorStoreQuery, expression: str, settings: SearchSettings, options: Mapping[str, Any]
) -> SearchPlan | None:
    mode = _checked_mode(query.mode, settings)
    limit = _bounded(query.similarity_top_k)
    if mode in _KEYWORD_MODES:
        terms = query_terms(query.query_str or "")
        limit = _bounded(query.sparse_top_k or query.similarity_top_k)
        if not terms or limit < 1:
            return None
        return SearchPlan("search", _keyword(terms, expression, limit, settings), limit, "keyword")
    if limit < 1:
        return None
    params = options.get("milvus_search_config") or settings.search_params
    vector = check_vector(query.query_embedding, settings.dim or 0, "The query")
    if mode == VectorStoreQueryMode.MMR:
        return _plan_mmr(query, vector, expression, settings, options)
    if mode == VectorStoreQueryMode.HYBRID:
        terms = query_terms(query.query_str or "")
        if terms:
            return _plan_hybrid(query, vector, terms, expression, settings, params)
        limit = _bounded(query.hybrid_top_k or limit)
    return SearchPlan("search", _dense(vector, expression, limit, settings, params), limit, "dense")


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


def _plan_mmr(
    query: VectorStoreQuery,
    vector: list[float],
    expression: str,
    settings: SearchSettings,
    options: Mapping[str, Any],
) -> SearchPlan:
    if options.get("mmr_prefetch_k") is not None and options.get("mmr_prefetch_factor") is not None:
        raise ConfigurationError("Give mmr_prefetch_k or mmr_prefetch_factor, not both.")
    prefetch = options.get("mmr_prefetch_k")
    if prefetch is None:
        prefetch = query.similarity_top_k * float(options.get("mmr_prefetch_factor") or MMR_PREFETCH_FACTOR)
    limit = _bounded(query.similarity_top_k)
    params = options.get("milvus_search_config") or settings.search_params
    arguments = _dense(vector, expression, _bounded(max(limit, int(prefetch))), settings, params)
    arguments["output_fields"] = [*OUTPUT_FIELDS, settings.dense_field]
    threshold = options.get("mmr_threshold", query.mmr_threshold)
    return SearchPlan("search", arguments, limit, "mmr", (vector, threshold))


def _plan_hybrid(
    query: VectorStoreQuery,
    vector: list[float],
    terms: str,
    expression: str,
    settings: SearchSettings,
    params: Mapping[str, Any],
) -> SearchPlan:
    limit = _bounded(query.hybrid_top_k or query.similarity_top_k)
    routes = [
        AnnSearchRequest(
            data=[vector],
            anns_field=settings.dense_field,
            param={"metric_type": settings.metric, "params": dict(params)},
            limit=_bounded(query.similarity_top_k),
            expr=expression,
        ),
        AnnSearchRequest(
            data=[terms],
            anns_field=settings.sparse_field,
            param={"metric_type": "BM25"},
            limit=_bounded(query.sparse_top_k or query.similarity_top_k),
            expr=expression,
        ),
    ]
    arguments = {
        "collection_name": settings.collection,
        "reqs": routes,
        "ranker": _ranker(query.alpha, settings),
        "limit": limit,
        "output_fields": list(OUTPUT_FIELDS),
    }
    return SearchPlan("hybrid_search", arguments, limit, "fused")


def _ranker(alpha: float | None, settings: SearchSettings) -> Any:
    if alpha is not None:
        share = min(1.0, max(0.0, float(alpha)))
        return WeightedRanker(share, 1.0 - share)
    if settings.ranker == "WeightedRanker":
        return WeightedRanker(*settings.ranker_params.get("weights", (0.5, 0.5)))
    return RRFRanker(int(settings.ranker_params.get("k", _RRF_K)))


def _dense(
    vector: list[float], expression: str, limit: int, settings: SearchSettings, params: Mapping[str, Any]
) -> dict[str, Any]:
    by_default = settings.filtered_params if expression else {}
    search = {"metric_type": settings.metric, "params": {**by_default, **params}}
    return _route(settings.dense_field, vector, search, expression, limit, settings)


def _keyword(terms: str, expression: str, limit: int, settings: SearchSettings) -> dict[str, Any]:
    # No drop_ratio_search: Milvus Lite refuses every value but 0.
    return _route(settings.sparse_field, terms, {"metric_type": "BM25"}, expression, limit, settings)


def _route(
    column: str | None, query: Any, search: dict[str, Any], expression: str, limit: int, settings: SearchSettings
) -> dict[str, Any]:
    return {
        "collection_name": settings.collection,
        "data": [query],
        "anns_field": column,
        "filter": expression,
        "limit": limit,
        "output_fields": list(OUTPUT_FIELDS),
        "search_params": search,
    }


def _bounded(limit: int) -> int:
    return max(0, min(int(limit), MAX_RESULTS))
