"""Fuse the results of several retrievers by their ranks."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # re-exported, not in its __all__
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle

from llama_index_raganything._arguments import check_positive, strict_arguments
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.ranking.evidence_ranker import annotated_copy
from llama_index_raganything.workers import map_in_threads

dispatcher = get_dispatcher(__name__)

ROUTES_KEY = "routes"
"""Metadata key, hidden from embedding models and LLMs, of the JSON list of a node's ranks and scores by route."""

RRF_K = 60
"""Rank constant of Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion", SIGIR 2009."""


@strict_arguments
class FusionRetriever(BaseRetriever):
    """Ask several retrievers at once and fuse their results by weighted reciprocal rank.

    A node scores the sum of ``weight / (k + rank)`` over the retrievers that found it, ranks counted from 1. Nodes
    are the same when their ``node_id`` is the same. The retrievers' own results are not changed: every result is a
    new ``NodeWithScore`` over a copy whose metadata has ``routes``, a JSON list of ``{"route", "rank", "score"}``;
    metadata that only another route's copy carries (such as ``graph_facts``) is kept too. Reciprocal ranks give an
    order and no relevance, as retrievers of any scale may be fused; :class:`QuestionRouter` keeps the scale of its
    routes.

    Args:
        weights: One weight per retriever, 0 or more; 1 by default. Give a weak retriever less: at equal weights
            fusion with one is worse than the better one alone.
        similarity_top_k: Number of results.
        names: Names of the routes for ``routes``; by default the class names, numbered where they repeat.
        rank_constant: The k above.
        workers: Retrievers that run at the same time.
        callback_manager: LlamaIndex's callbacks.
        verbose: Passed on to ``BaseRetriever``.

    Raises:
        ConfigurationError: There are no retrievers, or weights or names do not match them.
    """

    def __init__(
        self,
        retrievers: Sequence[BaseRetriever],
        weights: Sequence[float] | None = None,
        similarity_top_k: int = 10,
        names: Sequence[str] | None = None,
        rank_constant: int = RRF_K,
        workers: int = 4,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        self.retrievers = list(retrievers)
        self.weights = [1.0] * len(self.retrievers) if weights is None else [float(weight) for weight in weights]
        self.names = _route_names(self.retrievers) if names is None else [str(name) for name in names]
        self.similarity_top_k = similarity_top_k
        self.rank_constant = rank_constant
        self.workers = workers
        self._check()
        super().__init__(callback_manager=callback_manager, verbose=verbose)

    def _check(self) -> None:
        if not self.retrievers:
            raise ConfigurationError("FusionRetriever needs at least one retriever; an empty list was given.")
        if not len(self.retrievers) == len(self.weights) == len(self.names):
            message = (
                f"{len(self.retrievers)} retrievers, {len(self.weights)} weights and {len(self.names)} names were "
                "given; give one weight and one name per retriever."
            )
            raise ConfigurationError(message)
        if not all(math.isfinite(weight) and weight >= 0 for weight in self.weights):
            message = f"Weights must be finite and 0 or more, not {self.weights}."
            raise ConfigurationError(message)
        check_positive(self, "similarity_top_k", "rank_constant", "workers")

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if self.workers == 1 or len(self.retrievers) == 1:
            return self.fuse([retriever.retrieve(query_bundle) for retriever in self.retrievers])
        return self.fuse(map_in_threads(lambda one: one.retrieve(query_bundle), self.retrievers, self.workers))

    @dispatcher.span
    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        limit = asyncio.Semaphore(self.workers)

        async def ask(retriever: BaseRetriever) -> list[NodeWithScore]:
            async with limit:
                return await retriever.aretrieve(query_bundle)

        return self.fuse(await asyncio.gather(*(ask(retriever) for retriever in self.retrievers)))

    def fuse(self, results: Sequence[Sequence[NodeWithScore]]) -> list[NodeWithScore]:
        """Fuse result lists, one per route, best first.

        Args:
            results: The lists, in the order of the retrievers.

        Returns:
            At most ``similarity_top_k`` nodes, best first; ties stay in the order of the routes.
        """
        return fuse_by_rank(results, self.names, self.weights, self.rank_constant, self.similarity_top_k)


def fuse_by_rank(
    results: Sequence[Sequence[NodeWithScore]],
    names: Sequence[str],
    weights: Sequence[float],
    rank_constant: int,
    similarity_top_k: int,
    key: str = ROUTES_KEY,
) -> list[NodeWithScore]:
    """Fuse result lists by weighted reciprocal rank; see :class:`FusionRetriever`.

    Args:
        results: One list per route, best first.
        names: Names of the routes.
        weights: One weight per route.
        rank_constant: The k of the formula.
        similarity_top_k: Number of results.
        key: Metadata key of the account of ranks and scores by route.

    Returns:
        New results over copies of the nodes, best first; ties stay in the order of the routes.
    """
    scores: dict[str, float] = {}
    nodes: dict[str, BaseNode] = {}
    routes: dict[str, list[dict[str, Any]]] = {}
    for name, weight, found in zip(names, weights, results, strict=True):
        for rank, item in enumerate(_distinct(found), 1):
            identity = item.node.node_id
            nodes[identity] = _merge(nodes.get(identity), item.node)
            scores[identity] = scores.get(identity, 0.0) + weight / (rank_constant + rank)
            routes.setdefault(identity, []).append({"route": name, "rank": rank, "score": item.score})
    best = sorted(scores, key=lambda identity: -scores[identity])[:similarity_top_k]
    return [NodeWithScore(node=annotated_copy(nodes[i], key, routes[i]), score=scores[i]) for i in best]


def _route_names(retrievers: Sequence[BaseRetriever]) -> list[str]:
    names = [type(retriever).__name__ for retriever in retrievers]
    return [
        name if names.count(name) == 1 else f"{name} {names[: index + 1].count(name)}"
        for index, name in enumerate(names)
    ]


def _distinct(found: Sequence[NodeWithScore]) -> list[NodeWithScore]:
    kept: dict[str, NodeWithScore] = {}
    for item in found:
        kept.setdefault(item.node.node_id, item)
    return list(kept.values())


def _merge(first: BaseNode | None, second: BaseNode) -> BaseNode:
    """Return the first copy of a node, with the metadata that only the second one has."""
    if first is None:
        return second
    extra = {key: value for key, value in second.metadata.items() if key not in first.metadata}
    if not extra:
        return first
    hidden = {
        name: list(dict.fromkeys([*getattr(first, name), *getattr(second, name)]))
        for name in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys")
    }
    return first.model_copy(update={"metadata": {**first.metadata, **extra}, **hidden})
