"""Which retriever a question goes to: inventories for questions about whole documents, evidence for the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # re-exported, not in its __all__
from llama_index.core.schema import NodeWithScore, QueryBundle

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.retrievers.evidence.candidates import DEFAULT_TOP_K
from llama_index_raganything.retrievers.fusion import FusionRetriever

dispatcher = get_dispatcher(__name__)


@strict_arguments
class QuestionRouter(BaseRetriever):
    """Ask specialists first; let the default retriever, fused with further routes, answer all other questions.

    A specialist is a retriever that returns nothing for questions that are not its own, such as
    :class:`InventoryRetriever`. The first that returns something answers; what is left of ``similarity_top_k`` is
    filled up by the default. Further routes, such as a visual one, are asked beside the default and their order is
    that of weighted reciprocal ranks; where none of them finds anything, the default's results stay as they are.

    Scores keep the scale of the retrievers: a result has the best score that a route gave it, or that of a result
    below it where that is higher. What each route gave is in the metadata as ``routes``.

    Args:
        default: The retriever for all questions.
        specialists: Retrievers for some questions, in the order in which they are asked.
        routes: Further retrievers for all questions.
        weights: Weight of the default and of each further route; 1 by default.
        similarity_top_k: How many results to return.
        fill: Fill up what a specialist returns.
        callback_manager: LlamaIndex's callbacks.
        verbose: Passed on to ``BaseRetriever``.

    Raises:
        ConfigurationError: A number is below 1, or the weights do not match the routes.
    """

    def __init__(
        self,
        default: BaseRetriever,
        specialists: Sequence[BaseRetriever] = (),
        routes: Sequence[BaseRetriever] = (),
        weights: Sequence[float] | None = None,
        similarity_top_k: int = DEFAULT_TOP_K,
        *,
        fill: bool = True,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        self.default = default
        self.specialists = list(specialists)
        self.routes = list(routes)
        self.similarity_top_k = similarity_top_k
        self.fill = fill
        self.retrievers = [default, *self.routes, *self.specialists]
        self._fusion = FusionRetriever([default, *self.routes], weights, similarity_top_k)
        super().__init__(callback_manager=callback_manager, verbose=verbose)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        for specialist in self.specialists:
            own = specialist.retrieve(query_bundle)
            if own:
                more = self.default.retrieve(query_bundle) if self._has_room(own) else []
                return self._filled(own, more)
        return self._fused([retriever.retrieve(query_bundle) for retriever in [self.default, *self.routes]])

    @dispatcher.span
    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        for specialist in self.specialists:
            own = await specialist.aretrieve(query_bundle)
            if own:
                more = await self.default.aretrieve(query_bundle) if self._has_room(own) else []
                return self._filled(own, more)
        retrievers = [self.default, *self.routes]
        return self._fused(await asyncio.gather(*(retriever.aretrieve(query_bundle) for retriever in retrievers)))

    def _has_room(self, own: Sequence[NodeWithScore]) -> bool:
        return self.fill and len(own) < self.similarity_top_k

    def _fused(self, results: Sequence[list[NodeWithScore]]) -> list[NodeWithScore]:
        if not any(results[1:]):
            return results[0][: self.similarity_top_k]
        return _scored_as_found(self._fusion.fuse(results), results)

    def _filled(self, own: Sequence[NodeWithScore], more: Sequence[NodeWithScore]) -> list[NodeWithScore]:
        """Return a specialist's results, and after them others, none of which scores higher than those."""
        known = {item.node.node_id for item in own}
        lowest = min(item.score or 0.0 for item in own)
        further = [
            NodeWithScore(node=item.node, score=min(lowest, item.score or 0.0))
            for item in more
            if item.node.node_id not in known
        ]
        return [*own, *further][: self.similarity_top_k]


def _scored_as_found(fused: list[NodeWithScore], results: Sequence[Sequence[NodeWithScore]]) -> list[NodeWithScore]:
    """Give fused results scores of the routes' own scale, which reciprocal ranks are not, in the same order."""
    found: dict[str, float] = {}
    for item in (item for route in results for item in route):
        found[item.node.node_id] = max(item.score or 0.0, found.get(item.node.node_id, 0.0))
    floor = 0.0
    for item in reversed(fused):
        # Falling scores are what readers expect of a list; raising the first keeps a cut from taking what is below it.
        floor = item.score = max(floor, found[item.node.node_id])
    return fused
