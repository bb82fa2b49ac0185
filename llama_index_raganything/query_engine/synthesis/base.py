"""The base of the synthesizers: LlamaIndex's events around an answer, and responses whose text is known."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # not in its __all__
from llama_index.core.instrumentation.events.synthesis import SynthesizeEndEvent, SynthesizeStartEvent
from llama_index.core.response_synthesizers import BaseSynthesizer
from llama_index.core.schema import NodeWithScore, QueryBundle, QueryType

from llama_index_raganything._arguments import strict_arguments

dispatcher = get_dispatcher(__name__)


@strict_arguments
class SynthesizerBase(BaseSynthesizer):
    """Emit LlamaIndex's events around a response, which a subclass makes."""

    def synthesize(
        self,
        query: QueryType,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """Answer a question from nodes.

        Args:
            nodes: Source nodes, best first; the first is ``[1]``.
            additional_source_nodes: Nodes to list after the sources, which are not cited.
            **response_kwargs: Passed on to the LLM, if there is one.

        Returns:
            The response. ``metadata["citations"]`` says what each ``[n]`` leads to, ``metadata["answered"]``
            whether the sources held an answer; ``metadata["images"]`` lists the images of the question and of the
            sources, to be shown beside the answer, and which of them were sent to an LLM (see
            :func:`~llama_index_raganything.query_engine.context.images.evidence_images`). An LLM's answer has
            ``metadata["dropped_markers"]``, the numbers that led nowhere. Of a stream all but the images are filled
            in when it ends.
        """
        asked = as_bundle(query)
        with self._events(asked) as made:
            made.append(self._respond(asked, nodes, additional_source_nodes or [], response_kwargs))
        return made[0]

    async def asynthesize(
        self,
        query: QueryType,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """Answer a question from nodes; see :meth:`synthesize`."""
        asked = as_bundle(query)
        with self._events(asked) as made:
            made.append(await self._arespond(asked, nodes, additional_source_nodes or [], response_kwargs))
        return made[0]

    @abstractmethod
    def _respond(
        self,
        query: QueryBundle,
        nodes: Sequence[NodeWithScore],
        additional: Sequence[NodeWithScore],
        options: dict[str, Any],
    ) -> RESPONSE_TYPE:
        """Make a response."""

    @abstractmethod
    async def _arespond(
        self,
        query: QueryBundle,
        nodes: Sequence[NodeWithScore],
        additional: Sequence[NodeWithScore],
        options: dict[str, Any],
    ) -> RESPONSE_TYPE:
        """Make a response without blocking the event loop."""

    @contextmanager
    def _events(self, query: QueryBundle) -> Iterator[list[RESPONSE_TYPE]]:
        """Emit LlamaIndex's events around the making of a response, which the caller puts into the list."""
        dispatcher.event(SynthesizeStartEvent(query=query))
        made: list[RESPONSE_TYPE] = []
        payload: dict[str, Any] = {EventPayload.QUERY_STR: query.query_str}
        with self._callback_manager.event(CBEventType.SYNTHESIZE, payload=payload) as event:
            yield made
            event.on_end(payload={EventPayload.RESPONSE: made[0]})
        dispatcher.event(SynthesizeEndEvent(query=query, response=made[0]))

    def _metadata(self, sources: Sequence[NodeWithScore]) -> dict[str, Any]:
        return self._get_metadata_for_response([source.node for source in sources]) or {}


def as_bundle(query: QueryType) -> QueryBundle:
    """Return a question as a ``QueryBundle``."""
    return QueryBundle(query_str=query) if isinstance(query, str) else query


def whole_response(
    pieces: Sequence[str], sources: Sequence[NodeWithScore], metadata: dict[str, Any], *, streaming: bool
) -> RESPONSE_TYPE:
    """Return a response whose text is known."""
    if not streaming:
        return Response("".join(pieces), source_nodes=list(sources), metadata=metadata)
    return StreamingResponse((piece for piece in pieces), source_nodes=list(sources), metadata=metadata)


def awhole_response(
    pieces: Sequence[str], sources: Sequence[NodeWithScore], metadata: dict[str, Any], *, streaming: bool
) -> RESPONSE_TYPE:
    """Return a response whose text is known, with an asynchronous stream."""
    if not streaming:
        return whole_response(pieces, sources, metadata, streaming=False)
    return AsyncStreamingResponse(_each(pieces), source_nodes=list(sources), metadata=metadata)


async def _each(pieces: Sequence[str]) -> AsyncGenerator[str, None]:
    for piece in pieces:
        yield piece
