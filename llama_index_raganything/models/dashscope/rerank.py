"""``DashScopeRerank``: reorders results with DashScope's rerank models."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # not in its __all__
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import Field, PrivateAttr, SecretStr

from llama_index_raganything import errors
from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything._async import gather
from llama_index_raganything.models.dashscope.catalog import cut_to_tokens, estimate_tokens, rerank_model
from llama_index_raganything.models.dashscope.client import FLAT_RERANK_PATH, RERANK_PATH, DashScopeConnection
from llama_index_raganything.models.dashscope.embedding import BLANK_TEXT
from llama_index_raganything.models.dashscope.endpoints import COMPATIBLE_API, Endpoints, resolve_api_key
from llama_index_raganything.models.dashscope.failures import protocol_error
from llama_index_raganything.workers import map_in_threads

logger = logging.getLogger(__name__)
dispatcher = get_dispatcher(__name__)

RETRIEVAL_SCORE_KEY = "retrieval_score"
"""Metadata key of the old score, as in LlamaIndex's own rerankers."""

_Scores = dict[int, float]


@strict_arguments
class DashScopeRerank(DashScopeConnection, BaseNodePostprocessor):
    """Order nodes by relevance with one of DashScope's rerank models.

    Requests are as full as the model allows and run concurrently; texts are cut to its limit. A text that content
    inspection rejects costs only its node, which goes to the end with score 0. Images are judged by their text. The
    given nodes are not changed.

    Args:
        model: ``qwen3-rerank``, ``gte-rerank-v2`` or ``qwen3-vl-rerank`` (which receives only texts).
        top_n: Number of nodes to return.
        instruct: The task in one English sentence, replacing the model's own "retrieve passages that answer the query".
        keep_retrieval_score: Keep the old score as ``retrieval_score`` in the metadata.
        api_key: DashScope's key; by default ``DASHSCOPE_API_KEY``. Never shown, pickled or serialised.
        api_base: Host, base URL or full route of the service; by default that of ``region`` and ``workspace``.
        region: Region of the key, such as ``ap-southeast-1``; Beijing by default.
        workspace: Workspace with its own address.
        timeout_s: Seconds without a sign of the service after which a call fails.
        max_retries: Retries after 429 and 5xx.
        workers: Concurrent requests over all calls.
        **kwargs: Those of LlamaIndex's ``BaseNodePostprocessor``.

    Raises:
        ConfigurationError: The URL is unusable.
        DashScopeAuthenticationError: There is no key.

    Examples:
        >>> from llama_index_raganything.models.dashscope.rerank import DashScopeRerank
        >>> DashScopeRerank(top_n=3, api_key="sk-0123456789").model
        'qwen3-rerank'
    """

    model: str = Field(default="qwen3-rerank", description="Name of the model.")
    top_n: int = Field(default=5, gt=0, description="How many nodes to return.")
    instruct: str | None = Field(default=None, description="What is looked for.")
    keep_retrieval_score: bool = Field(default=False, description="Keep the score before in the metadata.")
    _is_flat: bool = PrivateAttr(default=False)

    def __init__(self, *, api_key: str | SecretStr | None = None, **kwargs: Any) -> None:
        super().__init__(api_key=resolve_api_key(api_key), **kwargs)
        Endpoints.resolve(self.api_base, self.region, self.workspace)

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _query_of(query_bundle)
        if not nodes:
            return []
        with self._events(query, nodes) as made:
            requests = _Request.about(self, query, nodes).parted()
            scores = map_in_threads(self._scores, requests, self.workers)
            made.extend(self._ordered(nodes, scores))
        return made

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _query_of(query_bundle)
        if not nodes:
            return []
        with self._events(query, nodes) as made:
            requests = _Request.about(self, query, nodes).parted()
            scores = await gather(map(self._ascores, requests))
            made.extend(self._ordered(nodes, scores))
        return made

    def _scores(self, request: _Request) -> _Scores:
        try:
            return request.read(self._post(request))
        except errors.DashScopeContentError as error:
            if not request.is_part:
                # If the question itself is at fault, this is rejected too, and nothing can be ordered.
                self._post(request.without_texts())
            halves = request.halves(error)
        return {place: score for half in halves for place, score in self._scores(half).items()}

    async def _ascores(self, request: _Request) -> _Scores:
        try:
            return request.read(await self._apost(request))
        except errors.DashScopeContentError as error:
            if not request.is_part:
                await self._apost(request.without_texts())
            halves = request.halves(error)
        # Sequentially, to respect the limit on concurrent requests.
        return {place: score for half in halves for place, score in (await self._ascores(half)).items()}

    def _post(self, request: _Request) -> dict[str, Any]:
        client = self._connected()
        with client.limit.threads:
            if not self._is_flat:
                try:
                    return client.post(RERANK_PATH, request.body())
                except (errors.DashScopeBadRequestError, errors.DashScopePermissionError) as error:
                    self._choose_flat_route(error)
            return client.post(FLAT_RERANK_PATH, request.flat_body(), base=COMPATIBLE_API)

    async def _apost(self, request: _Request) -> dict[str, Any]:
        client = self._connected()
        async with client.limit.tasks:
            if not self._is_flat:
                try:
                    return await client.apost(RERANK_PATH, request.body())
                except (errors.DashScopeBadRequestError, errors.DashScopePermissionError) as error:
                    self._choose_flat_route(error)
            return await client.apost(FLAT_RERANK_PATH, request.flat_body(), base=COMPATIBLE_API)

    def _choose_flat_route(self, error: errors.DashScopeError) -> None:
        """Switch to qwen3-rerank's other route if the native one does not serve it; else raise the error.

        The official pages disagree about its route, and the SDK uses the native one.
        """
        missing = "url error" in error.message.lower() or (error.status == 404 and "model" not in error.code.lower())
        if not missing or not self.model.startswith("qwen3-rerank"):
            raise error
        self._is_flat = True

    def _ordered(self, nodes: Sequence[NodeWithScore], scores: Sequence[_Scores]) -> list[NodeWithScore]:
        known = {place: score for part in scores for place, score in part.items()}
        best = sorted(known, key=lambda place: (-known[place], place))
        # Rejected texts, and those that a request omitted in favour of better ones.
        rest = [place for place in range(len(nodes)) if place not in known]
        return [self._scored(nodes[place], known.get(place, 0.0)) for place in [*best, *rest][: self.top_n]]

    def _scored(self, scored: NodeWithScore, score: float) -> NodeWithScore:
        if not self.keep_retrieval_score:
            return NodeWithScore(node=scored.node, score=score)
        node = scored.node
        changes = {
            "metadata": {**node.metadata, RETRIEVAL_SCORE_KEY: scored.score},
            # Models must not read it as text.
            "excluded_embed_metadata_keys": [*node.excluded_embed_metadata_keys, RETRIEVAL_SCORE_KEY],
            "excluded_llm_metadata_keys": [*node.excluded_llm_metadata_keys, RETRIEVAL_SCORE_KEY],
        }
        return NodeWithScore(node=node.model_copy(update=changes), score=score)

    @contextmanager
    def _events(self, query: str, nodes: list[NodeWithScore]) -> Iterator[list[NodeWithScore]]:
        """Emit LlamaIndex's events around the ordering; the caller fills the list."""
        dispatcher.event(ReRankStartEvent(query=query, nodes=nodes, top_n=self.top_n, model_name=self.model))
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: self.model,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: self.top_n,
        }
        made: list[NodeWithScore] = []
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            yield made
            event.on_end(payload={EventPayload.NODES: made})
        dispatcher.event(ReRankEndEvent(nodes=made))


@dataclass(frozen=True)
class _Request:
    """A question to the model about some of the texts.

    Attributes:
        query: The question as sent.
        texts: All texts as sent.
        names: Names of the nodes in messages.
        places: Positions of the texts in this request.
        is_part: Whether it is part of a rejected request.
    """

    reranker: DashScopeRerank
    query: str
    texts: Sequence[str]
    names: Sequence[str]
    places: Sequence[int]
    is_part: bool = False

    @classmethod
    def about(cls, reranker: DashScopeRerank, query: str, nodes: Sequence[NodeWithScore]) -> _Request:
        """Return the request about all nodes, which may be too large to send."""
        limits = rerank_model(reranker.model)
        asked = cut_to_tokens(query, limits.max_document_tokens)
        most = min(limits.max_document_tokens, limits.max_request_tokens - estimate_tokens(asked))
        contents = (scored.node.get_content(metadata_mode=MetadataMode.EMBED) for scored in nodes)
        texts = [cut_to_tokens(text, most) for text in contents]
        # The service rejects blank texts.
        texts = [text if text.strip() else BLANK_TEXT for text in texts]
        return cls(reranker, asked, texts, [scored.node.node_id for scored in nodes], range(len(nodes)))

    def parted(self) -> list[_Request]:
        """Split it into requests within the model's limits."""
        limits = rerank_model(self.reranker.model)
        asked = estimate_tokens(self.query)
        requests: list[list[int]] = []
        tokens = 0
        for place in self.places:
            cost = asked + estimate_tokens(self.texts[place])
            full = len(requests[-1]) >= limits.max_documents if requests else True
            if full or tokens + cost > limits.max_request_tokens:
                requests.append([])
                tokens = 0
            requests[-1].append(place)
            tokens += cost
        return [replace(self, places=places) for places in requests]

    def body(self) -> dict[str, Any]:
        """Return the body for the native route."""
        parameters: dict[str, Any] = {"top_n": self._wanted(), "return_documents": False}
        if self.reranker.instruct:
            parameters["instruct"] = self.reranker.instruct
        texts = [self.texts[place] for place in self.places]
        # The documentation has objects (which may hold images) for the vision model, strings for the others.
        is_visual = self.reranker.model.startswith("qwen3-vl-rerank")
        documents = [{"text": text} for text in texts] if is_visual else texts
        return {
            "model": self.reranker.model,
            "input": {"query": self.query, "documents": documents},
            "parameters": parameters,
        }

    def flat_body(self) -> dict[str, Any]:
        """Return the body for the OpenAI-like route."""
        native = self.body()
        return {
            "model": native["model"],
            **native["input"],
            **{name: value for name, value in native["parameters"].items() if name != "return_documents"},
        }

    def without_texts(self) -> _Request:
        """Return a request that shows whether the question itself is rejected."""
        return replace(self, texts=[BLANK_TEXT], places=[0])

    def read(self, answer: dict[str, Any]) -> _Scores:
        """Return the scores in an answer by the position of the text.

        The native route answers ``output.results``, the compatible one and some gateways ``results``.
        """
        request_id = str(answer.get("request_id") or answer.get("id") or "")
        output = answer.get("output")
        results = output.get("results") if isinstance(output, dict) else answer.get("results")
        if not isinstance(results, list):
            raise protocol_error("it has no output.results", request_id)
        scores: _Scores = {}
        for item in results:
            index, score = (item.get("index"), item.get("relevance_score")) if isinstance(item, dict) else (None, None)
            if type(index) is not int or not 0 <= index < len(self.places) or self.places[index] in scores:
                problem = f"index {index!r} is not expected among {len(self.places)} documents"
                raise protocol_error(problem, request_id)
            if not isinstance(score, int | float) or not math.isfinite(score):
                problem = f"the relevance_score {score!r} is no number"
                raise protocol_error(problem, request_id)
            scores[self.places[index]] = float(score)
        if len(scores) < self._wanted():
            problem = f"it has {len(scores)} results where {self._wanted()} were asked for"
            raise protocol_error(problem, request_id)
        return scores

    def halves(self, error: errors.DashScopeContentError) -> list[_Request]:
        """Return two halves of a rejected request; none if it has a single text, which is then at fault."""
        if len(self.places) == 1:
            name = self.names[self.places[0]]
            logger.warning("The text of node %s was refused and goes to the end of the results: %s", name, error)
            return []
        middle = len(self.places) // 2
        return [replace(self, places=part, is_part=True) for part in (self.places[:middle], self.places[middle:])]

    def _wanted(self) -> int:
        return min(self.reranker.top_n, len(self.places))


def _query_of(query_bundle: QueryBundle | None) -> str:
    if query_bundle is None:
        raise errors.ConfigurationError("Reranking needs the question: pass query_bundle=... or query_str=...")
    return query_bundle.query_str if query_bundle.query_str.strip() else BLANK_TEXT
