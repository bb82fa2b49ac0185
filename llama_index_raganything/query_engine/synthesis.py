"""Any of LlamaIndex's response synthesizers made to cite its sources."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from typing import Any, Final

from llama_index.core.base.llms.types import ChatMessage, TextBlock
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.response_synthesizers import BaseSynthesizer, Generation
from llama_index.core.response_synthesizers.no_text import NoText
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryType
from llama_index.core.types import RESPONSE_TEXT_TYPE

from llama_index_raganything.query_engine.citations import (
    MarkerFilter,
    answer_citations,
    citation,
    node_text,
    supporting_numbers,
)
from llama_index_raganything.query_engine.evented import EventedSynthesizer, as_bundle
from llama_index_raganything.query_engine.postprocessors import neighbours_on_pages
from llama_index_raganything.query_engine.prompts import not_found_answer, says_not_found
from llama_index_raganything.query_engine.quotes import without_markers

_UNGROUNDED: Final = (Generation, NoText)
"""Synthesizers that do not read the sources, so that citing one would be a guess."""

_Around = Mapping[int, Sequence[BaseNode]]


class CitingSynthesizer(EventedSynthesizer):
    """Let any of LlamaIndex's synthesizers cite: number its sources, check its markers, say where they lead.

    Args:
        inner: The synthesizer that talks to the LLM.
        context_postprocessors: Applied to the sources just before the LLM reads them; they must keep number
            and order of the nodes. The response's ``source_nodes`` stay as they were retrieved.
        page_store: Vector store or docstore that holds all nodes, so that a citation can lead to the element of
            the page that holds the claim.
        max_pages: Pages that are looked at.
    """

    def __init__(
        self,
        inner: BaseSynthesizer,
        context_postprocessors: Sequence[BaseNodePostprocessor] = (),
        page_store: Any = None,
        max_pages: int = 3,
    ) -> None:
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
        self._page_store = page_store
        self._max_pages = max_pages

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
        query = as_bundle(query)
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
            made.append(self._finish(text, nodes, additional_source_nodes, self._around(nodes)))
        return made[0]

    async def asynthesize(
        self,
        query: QueryType,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """Answer a question from nodes; see :meth:`synthesize`."""
        query = as_bundle(query)
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
            around = await asyncio.to_thread(self._around, nodes)
            made.append(self._finish(text, nodes, additional_source_nodes, around))
        return made[0]

    def _around(self, nodes: Sequence[NodeWithScore]) -> _Around:
        """Return the elements on the pages of the sources, by number of the source."""
        around: dict[int, list[BaseNode]] = {}
        if self._page_store is not None:
            for index, node in neighbours_on_pages(self._page_store, list(nodes), self._max_pages):
                around.setdefault(index + 1, []).append(node)
        return around

    def _finish(
        self,
        text: RESPONSE_TEXT_TYPE,
        nodes: Sequence[NodeWithScore],
        additional: Sequence[NodeWithScore] | None,
        around: _Around,
    ) -> RESPONSE_TYPE:
        sources = [*nodes, *(additional or [])]
        metadata = self._metadata(sources) | _nothing()
        if isinstance(text, Generator):
            return StreamingResponse(
                self._stream(text, nodes, around, metadata), source_nodes=sources, metadata=metadata
            )
        if isinstance(text, AsyncGenerator):
            return AsyncStreamingResponse(
                self._astream(text, nodes, around, metadata), source_nodes=sources, metadata=metadata
            )
        if isinstance(text, str) and self._output_cls is None:
            markers = MarkerFilter(len(nodes))
            answer = markers.feed(text) + markers.close()
            answer += self._conclude(markers, nodes, around, metadata)
            return Response(answer, source_nodes=sources, metadata=metadata)
        # A structured answer has no room for markers: it rests on all its sources.
        metadata["citations"] = [citation(n, node, node_text(node.node)) for n, node in enumerate(nodes, 1)]
        metadata["answered"] = True
        response = self._prepare_response_output(text, sources)
        response.metadata = metadata
        return response

    def _stream(
        self,
        tokens: Generator[str, None, None],
        nodes: Sequence[NodeWithScore],
        around: _Around,
        metadata: dict[str, Any],
    ) -> Generator[str, None, None]:
        markers = MarkerFilter(len(nodes))
        for token in tokens:
            if ready := markers.feed(token):
                yield ready
        if rest := markers.close() + self._conclude(markers, nodes, around, metadata):
            yield rest

    async def _astream(
        self,
        tokens: AsyncGenerator[str, None],
        nodes: Sequence[NodeWithScore],
        around: _Around,
        metadata: dict[str, Any],
    ) -> AsyncGenerator[str, None]:
        markers = MarkerFilter(len(nodes))
        async for token in tokens:
            if ready := markers.feed(token):
                yield ready
        if rest := markers.close() + self._conclude(markers, nodes, around, metadata):
            yield rest

    def _conclude(
        self, markers: MarkerFilter, nodes: Sequence[NodeWithScore], around: _Around, metadata: dict[str, Any]
    ) -> str:
        """Fill in the citations of a finished answer and return markers to append where the LLM set none."""
        metadata["dropped_markers"] = markers.dropped
        if says_not_found(markers.text):
            return ""
        metadata["answered"] = True
        metadata["citations"] = answer_citations(markers.text, nodes, around)
        if metadata["citations"] or isinstance(self._inner, _UNGROUNDED):
            return ""
        numbers = supporting_numbers(markers.text, nodes)
        added = "".join(f" [{number}]" for number in numbers)
        metadata["citations"] = answer_citations(markers.text + added, nodes, around)
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


def _messages(context: Sequence[NodeWithScore]) -> list[ChatMessage]:
    return [ChatMessage(blocks=scored.node.get_content_blocks(metadata_mode=MetadataMode.LLM)) for scored in context]


def _texts(context: Sequence[NodeWithScore]) -> list[str]:
    return [scored.node.get_content(metadata_mode=MetadataMode.LLM) for scored in context]


def _nothing() -> dict[str, Any]:
    return {"citations": [], "answered": False, "dropped_markers": []}
