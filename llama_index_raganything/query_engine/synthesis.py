"""Response synthesizers: quotes without an LLM, and any of LlamaIndex's made to cite."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from llama_index.core.base.llms.types import ChatMessage, TextBlock
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.indices.prompt_helper import ChatPromptHelper, PromptHelper
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # not in its __all__
from llama_index.core.instrumentation.events.synthesis import SynthesizeEndEvent, SynthesizeStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.response_synthesizers import BaseSynthesizer, Generation
from llama_index.core.response_synthesizers.no_text import NoText
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, QueryType, TextNode
from llama_index.core.types import RESPONSE_TEXT_TYPE

from llama_index_raganything.node_parser.tokens import simple_tokens
from llama_index_raganything.query_engine.citations import (
    MarkerFilter,
    answer_citations,
    citation,
    node_text,
    supporting_numbers,
)
from llama_index_raganything.query_engine.prompts import not_found_answer, says_not_found
from llama_index_raganything.query_engine.quotes import Quote, find_quotes, without_markers

dispatcher = get_dispatcher(__name__)

_UNGROUNDED: Final = (Generation, NoText)
"""Synthesizers that do not read the sources, so that citing one would be a guess."""


class _Synthesizer(BaseSynthesizer):
    """What both synthesizers share: the events around an answer and the answer when there is nothing to say."""

    @contextmanager
    def _events(self, query: QueryBundle) -> Iterator[list[RESPONSE_TYPE]]:
        """Emit LlamaIndex's events around the making of a response, which is put into the list."""
        dispatcher.event(SynthesizeStartEvent(query=query))
        made: list[RESPONSE_TYPE] = []
        payload: dict[str, Any] = {EventPayload.QUERY_STR: query.query_str}
        with self._callback_manager.event(CBEventType.SYNTHESIZE, payload=payload) as event:
            yield made
            event.on_end(payload={EventPayload.RESPONSE: made[0]})
        dispatcher.event(SynthesizeEndEvent(query=query, response=made[0]))

    def _whole(
        self, pieces: Sequence[str], sources: Sequence[NodeWithScore], metadata: dict[str, Any]
    ) -> RESPONSE_TYPE:
        """Return a response whose text is known, as a stream if streaming was asked for."""
        text = "".join(pieces)
        if not self._streaming:
            return Response(text, source_nodes=list(sources), metadata=metadata)
        return StreamingResponse((piece for piece in pieces), source_nodes=list(sources), metadata=metadata)

    def _awhole(
        self, pieces: Sequence[str], sources: Sequence[NodeWithScore], metadata: dict[str, Any]
    ) -> RESPONSE_TYPE:
        if not self._streaming:
            return self._whole(pieces, sources, metadata)
        return AsyncStreamingResponse(_each(pieces), source_nodes=list(sources), metadata=metadata)

    def _metadata(self, sources: Sequence[NodeWithScore]) -> dict[str, Any]:
        return self._get_metadata_for_response([source.node for source in sources]) or {}


class ExtractiveSynthesizer(_Synthesizer):
    """Answer without an LLM: quote the sentences, table cells and figures that cover the question, with ``[n]``.

    Args:
        streaming: Return the answer piece by piece.
        callback_manager: LlamaIndex callbacks.
    """

    def __init__(self, streaming: bool = False, callback_manager: CallbackManager | None = None) -> None:
        # The base class would otherwise build LlamaIndex's default LLM, a paid third party.
        super().__init__(
            llm=MockLLM(),
            callback_manager=callback_manager,
            prompt_helper=PromptHelper(tokenizer=simple_tokens),
            chat_prompt_helper=ChatPromptHelper(tokenizer=simple_tokens),
            streaming=streaming,
        )

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        """Do nothing: quoting needs no prompt."""

    def get_response(self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any) -> RESPONSE_TEXT_TYPE:  # noqa: ARG002  # core's signature
        """Answer from plain texts.

        Args:
            query_str: The question.
            text_chunks: Texts, best first; the first is ``[1]``.
            **response_kwargs: Ignored.

        Returns:
            The answer.
        """
        sources = [NodeWithScore(node=TextNode(text=chunk)) for chunk in text_chunks]
        return "".join(_pieces(query_str, find_quotes(query_str, sources)))

    async def aget_response(
        self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """Answer from plain texts; see :meth:`get_response`."""
        return self.get_response(query_str, text_chunks, **response_kwargs)

    def synthesize(
        self,
        query: QueryType,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,  # noqa: ARG002  # core's signature
    ) -> RESPONSE_TYPE:
        """Answer a question from nodes.

        Args:
            query: The question.
            nodes: Source nodes, best first.
            additional_source_nodes: Nodes to list after the sources, not quoted.
            **response_kwargs: Ignored.

        Returns:
            The response; ``metadata["citations"]`` tells what each ``[n]`` leads to.
        """
        query = _bundle(query)
        with self._events(query) as made:
            pieces, sources, metadata = self._answer(query.query_str, nodes, additional_source_nodes)
            made.append(self._whole(pieces, sources, metadata))
        return made[0]

    async def asynthesize(
        self,
        query: QueryType,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,  # noqa: ARG002  # core's signature
    ) -> RESPONSE_TYPE:
        """Answer a question from nodes; see :meth:`synthesize`."""
        query = _bundle(query)
        with self._events(query) as made:
            pieces, sources, metadata = self._answer(query.query_str, nodes, additional_source_nodes)
            made.append(self._awhole(pieces, sources, metadata))
        return made[0]

    def _answer(
        self, question: str, nodes: Sequence[NodeWithScore], additional: Sequence[NodeWithScore] | None
    ) -> tuple[list[str], list[NodeWithScore], dict[str, Any]]:
        quotes = find_quotes(question, nodes)
        sources = [*nodes, *(additional or [])]
        metadata = self._metadata(sources)
        first: dict[int, Quote] = {}
        for quote in quotes:
            first.setdefault(quote.number, quote)
        metadata["citations"] = [citation(n, nodes[n - 1], quote.text) for n, quote in first.items()]
        metadata["answered"] = bool(quotes)
        return _pieces(question, quotes), sources, metadata


class CitingSynthesizer(_Synthesizer):
    """Let any of LlamaIndex's synthesizers cite: number its sources, check its markers, say where they lead.

    Args:
        inner: The synthesizer that talks to the LLM.
        context_postprocessors: Applied to the sources just before the LLM reads them; they must keep number
            and order of the nodes. The response's ``source_nodes`` stay as they were retrieved.
    """

    def __init__(self, inner: BaseSynthesizer, context_postprocessors: Sequence[BaseNodePostprocessor] = ()) -> None:
        super().__init__(
            llm=inner._llm,
            callback_manager=inner.callback_manager,
            prompt_helper=inner._prompt_helper,
            chat_prompt_helper=inner._chat_prompt_helper,
            streaming=inner._streaming,
            output_cls=inner._output_cls,
            multimodal=inner._multimodal,
        )
        self._inner = inner
        self._context_postprocessors = list(context_postprocessors)

    @property
    def inner(self) -> BaseSynthesizer:
        """The synthesizer that talks to the LLM."""
        return self._inner

    def _get_prompts(self) -> PromptDictType:
        return self._inner._get_prompts()

    def _update_prompts(self, prompts: PromptDictType) -> None:
        self._inner._update_prompts(prompts)

    def get_response(self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any) -> RESPONSE_TEXT_TYPE:
        """Answer from texts, which are numbered from 1; see ``BaseSynthesizer``."""
        return self._inner.get_response(query_str, number_texts(text_chunks), **response_kwargs)

    async def aget_response(
        self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """Answer from texts, which are numbered from 1; see ``BaseSynthesizer``."""
        return await self._inner.aget_response(query_str, number_texts(text_chunks), **response_kwargs)

    def get_response_from_messages(
        self, query_str: str, message_chunks: Sequence[ChatMessage], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """Answer from messages with text and images, which are numbered from 1; see ``BaseSynthesizer``."""
        numbered = number_messages(message_chunks)
        return self._inner.get_response_from_messages(query_str, numbered, **response_kwargs)

    async def aget_response_from_messages(
        self, query_str: str, message_chunks: Sequence[ChatMessage], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """Answer from messages with text and images, which are numbered from 1; see ``BaseSynthesizer``."""
        numbered = number_messages(message_chunks)
        return await self._inner.aget_response_from_messages(query_str, numbered, **response_kwargs)

    def synthesize(
        self,
        query: QueryType,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """Answer a question from nodes.

        Args:
            query: The question.
            nodes: Source nodes, best first; the first is ``[1]``.
            additional_source_nodes: Nodes to list after the sources.
            **response_kwargs: Passed on to the LLM.

        Returns:
            The response. ``metadata["citations"]`` tells what each ``[n]`` leads to, ``metadata["answered"]``
            whether the sources held an answer, ``metadata["dropped_markers"]`` which numbers led nowhere.
            While a stream is open they are empty; they are filled when it ends.
        """
        query = _bundle(query)
        if not nodes and not isinstance(self._inner, _UNGROUNDED):
            with self._events(query) as made:
                made.append(self._whole([not_found_answer(query.query_str)], [], _nothing()))
            return made[0]
        with self._events(query) as made:
            context: list[NodeWithScore] = list(nodes)
            for postprocessor in self._context_postprocessors:
                context = postprocessor.postprocess_nodes(context, query_bundle=query)
            if self._multimodal:
                text = self.get_response_from_messages(query.query_str, _messages(context), **response_kwargs)
            else:
                text = self.get_response(query.query_str, _texts(context), **response_kwargs)
            made.append(self._finish(text, nodes, additional_source_nodes))
        return made[0]

    async def asynthesize(
        self,
        query: QueryType,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """Answer a question from nodes; see :meth:`synthesize`."""
        query = _bundle(query)
        if not nodes and not isinstance(self._inner, _UNGROUNDED):
            with self._events(query) as made:
                made.append(self._awhole([not_found_answer(query.query_str)], [], _nothing()))
            return made[0]
        with self._events(query) as made:
            context: list[NodeWithScore] = list(nodes)
            for postprocessor in self._context_postprocessors:
                context = await postprocessor.apostprocess_nodes(context, query_bundle=query)
            if self._multimodal:
                text = await self.aget_response_from_messages(query.query_str, _messages(context), **response_kwargs)
            else:
                text = await self.aget_response(query.query_str, _texts(context), **response_kwargs)
            made.append(self._finish(text, nodes, additional_source_nodes))
        return made[0]

    def _finish(
        self,
        text: RESPONSE_TEXT_TYPE,
        nodes: Sequence[NodeWithScore],
        additional: Sequence[NodeWithScore] | None,
    ) -> RESPONSE_TYPE:
        sources = [*nodes, *(additional or [])]
        metadata = self._metadata(sources) | _nothing()
        if isinstance(text, Generator):
            return StreamingResponse(self._stream(text, nodes, metadata), source_nodes=sources, metadata=metadata)
        if isinstance(text, AsyncGenerator):
            return AsyncStreamingResponse(self._astream(text, nodes, metadata), source_nodes=sources, metadata=metadata)
        if isinstance(text, str) and self._output_cls is None:
            markers = MarkerFilter(len(nodes))
            answer = markers.feed(text) + markers.close()
            answer += self._conclude(markers, nodes, metadata)
            return Response(answer, source_nodes=sources, metadata=metadata)
        # A structured answer has no room for markers: it rests on all its sources.
        metadata["citations"] = [citation(n, node, node_text(node.node)) for n, node in enumerate(nodes, 1)]
        metadata["answered"] = True
        response = self._prepare_response_output(text, sources)
        response.metadata = metadata
        return response

    def _stream(
        self, tokens: Generator[str, None, None], nodes: Sequence[NodeWithScore], metadata: dict[str, Any]
    ) -> Generator[str, None, None]:
        markers = MarkerFilter(len(nodes))
        for token in tokens:
            if ready := markers.feed(token):
                yield ready
        if rest := markers.close() + self._conclude(markers, nodes, metadata):
            yield rest

    async def _astream(
        self, tokens: AsyncGenerator[str, None], nodes: Sequence[NodeWithScore], metadata: dict[str, Any]
    ) -> AsyncGenerator[str, None]:
        markers = MarkerFilter(len(nodes))
        async for token in tokens:
            if ready := markers.feed(token):
                yield ready
        if rest := markers.close() + self._conclude(markers, nodes, metadata):
            yield rest

    def _conclude(self, markers: MarkerFilter, nodes: Sequence[NodeWithScore], metadata: dict[str, Any]) -> str:
        """Fill in the citations of a finished answer and return markers to append where the LLM set none."""
        metadata["dropped_markers"] = markers.dropped
        if says_not_found(markers.text):
            return ""
        metadata["answered"] = True
        metadata["citations"] = answer_citations(markers.text, nodes)
        if metadata["citations"] or isinstance(self._inner, _UNGROUNDED):
            return ""
        numbers = supporting_numbers(markers.text, nodes)
        added = "".join(f" [{number}]" for number in numbers)
        metadata["citations"] = answer_citations(markers.text + added, nodes)
        return added


def number_texts(chunks: Sequence[str]) -> list[str]:
    """Put ``Source [n]:`` before each text, and round brackets around bracketed numbers of its own.

    Args:
        chunks: Texts, the first being source 1.
    """
    return [f"Source [{number}]:\n{without_markers(chunk)}" for number, chunk in enumerate(chunks, 1)]


def number_messages(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Put ``Source [n]:`` before the blocks of each message; see :func:`number_texts`.

    Args:
        messages: Messages with text and media blocks, the first being source 1.
    """
    numbered: list[ChatMessage] = []
    for number, message in enumerate(messages, 1):
        blocks = [
            TextBlock(text=_inert(without_markers(block.text))) if isinstance(block, TextBlock) else block
            for block in message.blocks
        ]
        numbered.append(ChatMessage(role=message.role, blocks=[TextBlock(text=f"Source [{number}]:"), *blocks]))
    return numbered


def _inert(text: str) -> str:
    # Releases of banks (RichPromptTemplate's engine) without sentinels read this tag of a source as an image to send.
    return text.replace("<content_block", "< content_block")


def _pieces(question: str, quotes: Sequence[Quote]) -> list[str]:
    """Return the answer in pieces, one per quote."""
    if not quotes:
        return [not_found_answer(question)]
    pieces: list[str] = []
    for index, quote in enumerate(quotes):
        plain = quote.kind == "sentence" and (index == 0 or quotes[index - 1].kind == "sentence")
        gap = "" if index == 0 else " " if plain else "\n"
        pieces.append(f"{gap}{without_markers(quote.text)} [{quote.number}]")
    return pieces


def _messages(context: Sequence[NodeWithScore]) -> list[ChatMessage]:
    return [ChatMessage(blocks=scored.node.get_content_blocks(metadata_mode=MetadataMode.LLM)) for scored in context]


def _texts(context: Sequence[NodeWithScore]) -> list[str]:
    return [scored.node.get_content(metadata_mode=MetadataMode.LLM) for scored in context]


def _nothing() -> dict[str, Any]:
    return {"citations": [], "answered": False, "dropped_markers": []}


def _bundle(query: QueryType) -> QueryBundle:
    return QueryBundle(query_str=query) if isinstance(query, str) else query


async def _each(pieces: Sequence[str]) -> AsyncGenerator[str, None]:
    for piece in pieces:
        yield piece
