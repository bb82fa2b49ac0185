"""Any of LlamaIndex's response synthesizers made to cite its sources."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import RichPromptTemplate
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.response_synthesizers import BaseSynthesizer, Generation
from llama_index.core.response_synthesizers.no_text import NoText
from llama_index.core.schema import MetadataMode, Node, NodeWithScore, QueryBundle
from llama_index.core.types import RESPONSE_TEXT_TYPE

from llama_index_raganything.attachments import MAX_PROMPT_CHARS, AttachedQuery
from llama_index_raganything.images import MAX_BYTES, MAX_PIXELS
from llama_index_raganything.nodes import NodeView, elements_on_pages
from llama_index_raganything.query_engine import citations
from llama_index_raganything.query_engine.context import images as context_images
from llama_index_raganything.query_engine.prompts import ATTACHED_IMAGES, inert, not_found_answer, says_not_found
from llama_index_raganything.query_engine.synthesis import base

logger = logging.getLogger(__name__)

_UNGROUNDED: Final = (Generation, NoText)
"""Synthesizers that do not read the sources, so that citing one would be a guess."""

_IMAGE_TOKENS: Final = 2125
"""Tokens that LlamaIndex counts for an image (``ImageBlock.estimate_tokens``, core 0.14.25)."""


_INSPECTED_SOURCES: Final = 5
"""Sources among which an image makes the vision LLM answer."""


@dataclass(frozen=True, slots=True)
class _LLMRequest:
    """A question as it is put to an LLM: its text, what else the prompt takes, and the images that go with it."""

    text: str
    options: dict[str, Any]
    records: list[dict[str, Any]] = field(default_factory=list)
    messages: list[ChatMessage] = field(default_factory=list)


class CitingSynthesizer(base.SynthesizerBase):
    """Let any of LlamaIndex's synthesizers cite: number its sources, check its markers, find where these lead.

    Args:
        inner: The synthesizer that calls the LLM.
        context_postprocessors: Applied to the sources just before the LLM reads them; they must keep ids and order
            of the nodes and may leave some out. The response's ``source_nodes`` are those that were read, as they
            were retrieved.
        store: Vector store or docstore that holds all nodes, so that a citation can lead to the element of
            the page that holds the claim.
        max_images: Images of a question that are sent.
        max_pixels: Pixels of an image of a question; larger ones are scaled down.
        asset_root: Folder of the assets, for the list of images beside the answer.
        context_query: The question for the context postprocessors, where it differs from the one the LLM is asked: a
            chat's follow-up says little without the messages before.
        vision: Answers in its place where the question or one of the first sources has an image, for an LLM that sees
            none. RAG-Anything chooses so between its ``llm_model_func`` and its ``vision_model_func``.
    """

    def __init__(
        self,
        inner: BaseSynthesizer,
        context_postprocessors: Sequence[BaseNodePostprocessor] = (),
        store: Any = None,
        max_images: int = context_images.DEFAULT_MAX_IMAGES,
        max_pixels: int = MAX_PIXELS,
        asset_root: str | None = None,
        context_query: QueryBundle | None = None,
        vision: CitingSynthesizer | None = None,
    ) -> None:
        self._inner = inner
        self._vision = vision
        super().__init__(
            llm=inner._llm,
            callback_manager=inner.callback_manager,
            prompt_helper=inner._prompt_helper,
            chat_prompt_helper=inner._chat_prompt_helper,
            streaming=inner._streaming,
            output_cls=inner._output_cls,
            multimodal=inner._multimodal,
        )
        self._context_postprocessors = list(context_postprocessors)
        self._store = store
        self._max_images = max_images
        self._max_pixels = max_pixels
        self._files = context_images.ImageFiles(asset_root)
        self._context_query = context_query

    @property
    def inner(self) -> BaseSynthesizer:
        """The synthesizer that calls the LLM."""
        return self._inner

    @property
    def _streaming(self) -> bool:
        """Whether answers are streams; ``CondenseQuestionChatEngine`` switches it."""
        return self._inner._streaming

    @_streaming.setter
    def _streaming(self, streaming: bool) -> None:
        self._inner._streaming = streaming
        if self._vision is not None:
            self._vision._streaming = streaming

    def _get_prompts(self) -> PromptDictType:
        return (self._vision._get_prompts() if self._vision is not None else {}) | self._inner._get_prompts()

    def _update_prompts(self, prompts: PromptDictType) -> None:
        self._inner._update_prompts(prompts)
        if self._vision is not None:
            self._vision._update_prompts(prompts)

    def get_response(self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any) -> RESPONSE_TEXT_TYPE:
        """Answer from texts, which are numbered from 1; see ``BaseSynthesizer``."""
        return self._inner.get_response(query_str, citations.number_texts(text_chunks), **response_kwargs)

    async def aget_response(
        self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """Answer from texts, which are numbered from 1; see ``BaseSynthesizer``."""
        return await self._inner.aget_response(query_str, citations.number_texts(text_chunks), **response_kwargs)

    def get_response_from_messages(
        self, query_str: str, message_chunks: Sequence[ChatMessage], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """Answer from messages with text and images, which are numbered from 1; see ``BaseSynthesizer``."""
        numbered = citations.number_messages(message_chunks)
        return self._inner.get_response_from_messages(query_str, numbered, **response_kwargs)

    async def aget_response_from_messages(
        self, query_str: str, message_chunks: Sequence[ChatMessage], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """Answer from messages with text and images, which are numbered from 1; see ``BaseSynthesizer``."""
        numbered = citations.number_messages(message_chunks)
        return await self._inner.aget_response_from_messages(query_str, numbered, **response_kwargs)

    def _respond(
        self,
        query: QueryBundle,
        nodes: Sequence[NodeWithScore],
        additional: Sequence[NodeWithScore],
        options: dict[str, Any],
    ) -> RESPONSE_TYPE:
        if self._vision is not None and _needs_vision(query, nodes):
            return self._vision._respond(query, nodes, additional, options)
        context: list[NodeWithScore] = list(nodes)
        for postprocessor in self._context_postprocessors if nodes else ():
            context = postprocessor.postprocess_nodes(context, query_bundle=self._context_query or query)
        if self._lacks_sources(nodes, context):
            return base.whole_response([not_found_answer(query.query_str)], [], _nothing(), streaming=self._streaming)
        asked = self._llm_request(query, options)
        if self._multimodal:
            messages = [*_messages(context), *asked.messages]
            text = self.get_response_from_messages(asked.text, messages, **asked.options)
        else:
            text = self.get_response(asked.text, _texts(context), **asked.options)
        return self._response(text, nodes, context, additional, asked.records)

    async def _arespond(
        self,
        query: QueryBundle,
        nodes: Sequence[NodeWithScore],
        additional: Sequence[NodeWithScore],
        options: dict[str, Any],
    ) -> RESPONSE_TYPE:
        if self._vision is not None and _needs_vision(query, nodes):
            return await self._vision._arespond(query, nodes, additional, options)
        context: list[NodeWithScore] = list(nodes)
        for postprocessor in self._context_postprocessors if nodes else ():
            context = await postprocessor.apostprocess_nodes(context, query_bundle=self._context_query or query)
        if self._lacks_sources(nodes, context):
            return base.awhole_response([not_found_answer(query.query_str)], [], _nothing(), streaming=self._streaming)
        asked = await asyncio.to_thread(self._llm_request, query, options)
        if self._multimodal:
            messages = [*_messages(context), *asked.messages]
            text = await self.aget_response_from_messages(asked.text, messages, **asked.options)
        else:
            text = await self.aget_response(asked.text, _texts(context), **asked.options)
        return await asyncio.to_thread(self._response, text, nodes, context, additional, asked.records)

    def _lacks_sources(self, nodes: Sequence[NodeWithScore], context: Sequence[NodeWithScore]) -> bool:
        """Return whether there is nothing to answer from: an LLM that is asked all the same makes something up."""
        if context or isinstance(self._inner, _UNGROUNDED):
            return False
        if nodes:
            logger.warning("Nothing of %d sources fits into the context; raise context_tokens.", len(nodes))
        return True

    def _llm_request(self, query: QueryBundle, options: dict[str, Any]) -> _LLMRequest:
        """Return what the LLM is asked, with the question's images where it sees images."""
        if not isinstance(query, AttachedQuery):
            return _LLMRequest(query.query_str, options)
        # Half a character per token leaves most of a small window to the sources.
        room = min(MAX_PROMPT_CHARS, self._llm.metadata.context_window // 2)
        text = inert(query.prompt(room))
        images = query.image_attachments if self._multimodal else []
        most = min(self._max_images, max(1, self._llm.metadata.context_window // 2 // _IMAGE_TOKENS))
        share = min(MAX_BYTES, context_images.MAX_SENT_BYTES // max(1, min(most, len(images))))
        fitted = [image.fit(max_pixels=self._max_pixels, max_bytes=share) for image in images[:most]]
        shown = [*fitted, *[None] * (len(images) - len(fitted))]
        records = [
            context_images.attached_record(image.source, sent) for image, sent in zip(images, shown, strict=True)
        ]
        if not fitted:
            return _LLMRequest(text, options, records)
        if self._prompts_show_attachments():
            urls = [f"data:{image.mimetype};base64,{base64.b64encode(image.data).decode()}" for image in fitted]
            return _LLMRequest(text, options | {ATTACHED_IMAGES: urls}, records)
        shown_images = [ImageBlock(image=image.data, image_mimetype=image.mimetype) for image in fitted]
        blocks = [TextBlock(text="Attached to the question, which is no source:"), *shown_images]
        message = ChatMessage(blocks=blocks, additional_kwargs={citations.SOURCE_NUMBER_KEY: 0})
        return _LLMRequest(text, options, records, [message])

    def _prompts_show_attachments(self) -> bool:
        """Return whether the prompts have a place for attached images; a caller's own prompt may have none."""
        rich = [each for each in self._inner._get_prompts().values() if isinstance(each, RichPromptTemplate)]
        return all(ATTACHED_IMAGES in each.template_str for each in rich)

    def _response(
        self,
        text: RESPONSE_TEXT_TYPE,
        nodes: Sequence[NodeWithScore],
        context: Sequence[NodeWithScore],
        additional: Sequence[NodeWithScore],
        attached: list[dict[str, Any]],
    ) -> RESPONSE_TYPE:
        """Make the response from what the LLM said.

        Args:
            text: What it said.
            nodes: The sources as they were retrieved.
            context: The sources as the LLM has read them, in the order of their numbers.
            additional: Nodes to list after the sources.
            attached: Records of the question's images.
        """
        retrieved = {scored.node.node_id: scored for scored in nodes}
        read = [retrieved.get(scored.node.node_id, scored) for scored in context]
        seen = {
            index: scored.node.image_resource
            for index, scored in enumerate(context)
            if self._multimodal and isinstance(scored.node, Node) and scored.node.image_resource is not None
        }
        images = [*attached, *context_images.evidence_images(read, self._files, seen)]
        carrying = citations.citable_copies(read)
        sources = [*carrying, *additional]
        metadata = self._metadata([*read, *additional]) | _nothing() | {"images": images}
        if isinstance(text, Generator):
            return StreamingResponse(self._stream(text, carrying, metadata), source_nodes=sources, metadata=metadata)
        if isinstance(text, AsyncGenerator):
            stream = self._astream(text, carrying, metadata)
            return AsyncStreamingResponse(stream, source_nodes=sources, metadata=metadata)
        if isinstance(text, str) and self._output_cls is None:
            markers = citations.MarkerFilter(len(carrying))
            answer = markers.feed(text) + markers.close()
            answer += self._conclude(markers, carrying, metadata)
            return Response(answer, source_nodes=sources, metadata=metadata)
        # A structured answer has no room for markers: it rests on all its sources.
        metadata["citations"] = [
            citations.citation(n, node, NodeView(node.node).text) for n, node in enumerate(carrying, 1)
        ]
        metadata["answered"] = True
        response = self._prepare_response_output(text, sources)
        citations.attach_citations(carrying, metadata["citations"], str(response))
        response.metadata = metadata
        return response

    def _stream(
        self, tokens: Generator[str, None, None], sources: Sequence[NodeWithScore], metadata: dict[str, Any]
    ) -> Generator[str, None, None]:
        markers = citations.MarkerFilter(len(sources))
        for token in tokens:
            if ready := markers.feed(token):
                yield ready
        if rest := markers.close() + self._conclude(markers, sources, metadata):
            yield rest

    async def _astream(
        self, tokens: AsyncGenerator[str, None], sources: Sequence[NodeWithScore], metadata: dict[str, Any]
    ) -> AsyncGenerator[str, None]:
        markers = citations.MarkerFilter(len(sources))
        async for token in tokens:
            if ready := markers.feed(token):
                yield ready
        if rest := markers.close() + await asyncio.to_thread(self._conclude, markers, sources, metadata):
            yield rest

    def _conclude(
        self, markers: citations.MarkerFilter, sources: Sequence[NodeWithScore], metadata: dict[str, Any]
    ) -> str:
        """Fill in the citations of a finished answer and return markers to append where the LLM set none."""
        metadata["dropped_markers"] = markers.dropped
        if not markers.text.strip() or says_not_found(markers.text):
            return ""
        metadata["answered"] = True
        numbers = citations.cited_numbers(markers.text)
        added = ""
        if not numbers and not isinstance(self._inner, _UNGROUNDED):
            numbers = citations.supporting_numbers(markers.text, sources)
            added = "".join(f" {citations.marker(number)}" for number in numbers)
        cited = {number: sources[number - 1] for number in numbers if number <= len(sources)}
        around = elements_on_pages(self._store, cited) if self._store is not None else {}
        metadata["citations"] = citations.answer_citations(markers.text + added, sources, around)
        citations.attach_citations(sources, metadata["citations"], markers.text)
        return added


def _messages(context: Sequence[NodeWithScore]) -> list[ChatMessage]:
    """Return one message per source in reading order, each with the number that its rank gave it."""
    return [
        ChatMessage(
            blocks=context[index].node.get_content_blocks(metadata_mode=MetadataMode.LLM),
            additional_kwargs={citations.SOURCE_NUMBER_KEY: index + 1},
        )
        for index in context_images.reading_order(context)
    ]


def _needs_vision(query: QueryBundle, nodes: Sequence[NodeWithScore]) -> bool:
    """Return whether the question or one of the first sources has an image."""
    if isinstance(query, AttachedQuery) and query.image_attachments:
        return True
    return any(_shows_image(NodeView(scored.node)) for scored in nodes[:_INSPECTED_SOURCES])


def _shows_image(view: NodeView) -> bool:
    """Return whether a result is an image, or a page whose best element is one."""
    return view.has_image or any(each.get("content_type") == "image" for each in view.best_elements[:1])


def _texts(context: Sequence[NodeWithScore]) -> list[str]:
    return [scored.node.get_content(metadata_mode=MetadataMode.LLM) for scored in context]


def _nothing() -> dict[str, Any]:
    return {"citations": [], "answered": False, "dropped_markers": [], "images": []}
