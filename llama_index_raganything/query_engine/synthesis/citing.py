"""Any of LlamaIndex's response synthesizers made to cite its sources."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llama_index.core.base.llms.types import ChatMessage, ContentBlock, ImageBlock, TextBlock
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
from llama_index.core.schema import MetadataMode, Node, NodeWithScore, QueryBundle, QueryType
from llama_index.core.types import RESPONSE_TEXT_TYPE

from llama_index_raganything.attachments.query import AttachedQuery
from llama_index_raganything.attachments.types import MAX_PROMPT_CHARS
from llama_index_raganything.images import MAX_BYTES, MAX_PIXELS
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.query_engine.citations import (
    MarkerFilter,
    answer_citations,
    citation,
    cited_numbers,
    supporting_numbers,
)
from llama_index_raganything.query_engine.context.multimodal_context import DEFAULT_MAX_IMAGES
from llama_index_raganything.query_engine.context.neighbours import elements_on_pages
from llama_index_raganything.query_engine.context.node_images import (
    ImageFiles,
    attached_record,
    evidence_images,
    reading_order,
)
from llama_index_raganything.query_engine.extractive.quotes import without_markers
from llama_index_raganything.query_engine.prompts import ATTACHED_IMAGES, not_found_answer, says_not_found
from llama_index_raganything.query_engine.responses import carriers, carry
from llama_index_raganything.query_engine.synthesis.base import EventedSynthesizer, as_bundle

logger = logging.getLogger(__name__)

_UNGROUNDED: Final = (Generation, NoText)
"""Synthesizers that do not read the sources, so that citing one would be a guess."""

_IMAGE_TOKENS: Final = 2125
"""What LlamaIndex counts for an image (``ImageBlock.estimate_tokens``, core 0.14.25)."""

_MAX_TOTAL_BYTES: Final = 12_000_000
"""Bytes of all images of a question."""

_BEGINNING: Final = "Source [{}]:"
_END: Final = "End of source [{}]"
SOURCE_FRAME: Final = f"{_BEGINNING.format(10)}\n\n{_END.format(10)}\n\n"
"""What numbering adds to a source."""

_FRAMING: Final = re.compile(r"(?P<word>\bsource[^\w:;,.()\n]{0,4})[\[【［](?=\W{0,3}\d)", re.IGNORECASE)
"""Begins as a frame does. What follows may be no citation, as "[0001]", and an LLM may still read it as one."""

_NUMBER: Final = "source_number"
"""Where a message keeps the number of its source; 0 for what is no source."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question as an LLM is asked it: its text, what else the prompt takes, and the images that go with it."""

    text: str
    options: dict[str, Any]
    records: list[dict[str, Any]] = field(default_factory=list)
    messages: list[ChatMessage] = field(default_factory=list)


class CitingSynthesizer(EventedSynthesizer):
    """Let any of LlamaIndex's synthesizers cite: number its sources, check its markers, say where they lead.

    Args:
        inner: The synthesizer that talks to the LLM.
        context_postprocessors: Applied to the sources just before the LLM reads them; they must keep ids and order
            of the nodes and may leave some out. The response's ``source_nodes`` are those that were read, as they
            were retrieved.
        page_store: Vector store or docstore that holds all nodes, so that a citation can lead to the element of
            the page that holds the claim.
        max_images: Images of a question that are sent.
        max_pixels: Pixels of an image of a question; larger ones are scaled down.
        asset_root: Folder of the assets, for the list of images beside the answer.
        context_query: What the context postprocessors take for the question, where it is another one than the LLM is
            asked: a chat's follow-up says little without the messages before.
    """

    def __init__(
        self,
        inner: BaseSynthesizer,
        context_postprocessors: Sequence[BaseNodePostprocessor] = (),
        page_store: Any = None,
        max_images: int = DEFAULT_MAX_IMAGES,
        max_pixels: int = MAX_PIXELS,
        asset_root: str | None = None,
        context_query: QueryBundle | None = None,
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
        self._max_images = max_images
        self._max_pixels = max_pixels
        self._files = ImageFiles(asset_root)
        self._context_query = context_query

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
            nodes: Source nodes, best first; the first is ``[1]``.
            additional_source_nodes: Nodes to list after the sources.
            **response_kwargs: Passed on to the LLM.

        Returns:
            The response. ``metadata["citations"]`` tells what each ``[n]`` leads to, ``metadata["answered"]``
            whether the sources held an answer, ``metadata["dropped_markers"]`` which numbers led nowhere.
            While a stream is open they are empty; they are filled when it ends. ``metadata["images"]`` lists the
            images of the question and of the sources, to be shown beside the answer, and which of them were sent;
            see :func:`~llama_index_raganything.query_engine.context.node_images.image_record`.
        """
        query = as_bundle(query)
        # ``CondenseQuestionChatEngine`` switches it on the synthesizer that it sees.
        self._inner._streaming = self._streaming
        with self._events(query) as made:
            context: list[NodeWithScore] = list(nodes)
            for postprocessor in self._context_postprocessors if nodes else ():
                context = postprocessor.postprocess_nodes(context, query_bundle=self._context_query or query)
            if self._lacks_sources(nodes, context):
                made.append(self._whole([not_found_answer(query.query_str)], [], _nothing()))
                return made[0]
            asked = self._asked(query, response_kwargs)
            if self._multimodal:
                text = self.get_response_from_messages(
                    asked.text, [*_messages(context), *asked.messages], **asked.options
                )
            else:
                text = self.get_response(asked.text, _texts(context), **asked.options)
            read = _read_of(nodes, context)
            images = [*asked.records, *self._images(read, context)]
            made.append(self._finish(text, read, additional_source_nodes, images))
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
        # ``CondenseQuestionChatEngine`` switches it on the synthesizer that it sees.
        self._inner._streaming = self._streaming
        with self._events(query) as made:
            context: list[NodeWithScore] = list(nodes)
            for postprocessor in self._context_postprocessors if nodes else ():
                context = await postprocessor.apostprocess_nodes(context, query_bundle=self._context_query or query)
            if self._lacks_sources(nodes, context):
                made.append(self._awhole([not_found_answer(query.query_str)], [], _nothing()))
                return made[0]
            asked = await asyncio.to_thread(self._asked, query, response_kwargs)
            if self._multimodal:
                text = await self.aget_response_from_messages(
                    asked.text, [*_messages(context), *asked.messages], **asked.options
                )
            else:
                text = await self.aget_response(asked.text, _texts(context), **asked.options)
            read = _read_of(nodes, context)
            images = [*asked.records, *await asyncio.to_thread(self._images, read, context)]
            made.append(await asyncio.to_thread(self._finish, text, read, additional_source_nodes, images))
        return made[0]

    def _lacks_sources(self, nodes: Sequence[NodeWithScore], context: Sequence[NodeWithScore]) -> bool:
        """Tell whether there is nothing to answer from: an LLM that is asked all the same makes something up."""
        if context or isinstance(self._inner, _UNGROUNDED):
            return False
        if nodes:
            logger.warning("Nothing of %d sources is left to answer from; a larger context may take them.", len(nodes))
        return True

    def _asked(self, query: QueryBundle, options: dict[str, Any]) -> _Asked:
        """Return what the LLM is asked, with the question's images where it can look at them."""
        if not isinstance(query, AttachedQuery):
            return _Asked(query.query_str, options)
        # Half a character per token leaves most of a small window to the sources.
        room = min(MAX_PROMPT_CHARS, self._llm.metadata.context_window // 2)
        text = _inert(query.prompt(room))
        images = query.image_attachments if self._multimodal else []
        most = min(self._max_images, max(1, self._llm.metadata.context_window // 2 // _IMAGE_TOKENS))
        share = min(MAX_BYTES, _MAX_TOTAL_BYTES // max(1, min(most, len(images))))
        fitted = [image.fit(max_pixels=self._max_pixels, max_bytes=share) for image in images[:most]]
        shown = [*fitted, *[None] * (len(images) - len(fitted))]
        records = [attached_record(image.source, sent) for image, sent in zip(images, shown, strict=True)]
        if not fitted:
            return _Asked(text, options, records)
        if self._prompts_show_attachments():
            urls = [f"data:{image.mimetype};base64,{base64.b64encode(image.data).decode()}" for image in fitted]
            return _Asked(text, options | {ATTACHED_IMAGES: urls}, records)
        looks = [ImageBlock(image=image.data, image_mimetype=image.mimetype) for image in fitted]
        blocks = [TextBlock(text="Attached to the question, which is no source:"), *looks]
        return _Asked(text, options, records, [ChatMessage(blocks=blocks, additional_kwargs={_NUMBER: 0})])

    def _prompts_show_attachments(self) -> bool:
        """Tell whether the prompts have a place for attached images; a prompt of the user's own may have none."""
        rich = [each for each in self._inner._get_prompts().values() if isinstance(each, RichPromptTemplate)]
        return all(ATTACHED_IMAGES in each.template_str for each in rich)

    def _images(self, nodes: Sequence[NodeWithScore], context: Sequence[NodeWithScore]) -> list[dict[str, Any]]:
        """Return the images of the sources, in reading order, and which of them the LLM has seen."""
        seen = {
            index: scored.node.image_resource
            for index, scored in enumerate(context)
            if self._multimodal and isinstance(scored.node, Node) and scored.node.image_resource is not None
        }
        return evidence_images(nodes, self._files, seen)

    def _finish(
        self,
        text: RESPONSE_TEXT_TYPE,
        nodes: Sequence[NodeWithScore],
        additional: Sequence[NodeWithScore] | None,
        images: list[dict[str, Any]],
    ) -> RESPONSE_TYPE:
        """Make the response from what the LLM said of the sources that it has read."""
        carrying = carriers(nodes)
        sources = [*carrying, *(additional or [])]
        metadata = self._metadata([*nodes, *(additional or [])]) | _nothing() | {"images": images}
        if isinstance(text, Generator):
            return StreamingResponse(self._stream(text, carrying, metadata), source_nodes=sources, metadata=metadata)
        if isinstance(text, AsyncGenerator):
            return AsyncStreamingResponse(
                self._astream(text, carrying, metadata), source_nodes=sources, metadata=metadata
            )
        if isinstance(text, str) and self._output_cls is None:
            markers = MarkerFilter(len(carrying))
            answer = markers.feed(text) + markers.close()
            answer += self._conclude(markers, carrying, metadata)
            return Response(answer, source_nodes=sources, metadata=metadata)
        # A structured answer has no room for markers: it rests on all its sources.
        metadata["citations"] = [citation(n, node, NodeView(node.node).text) for n, node in enumerate(carrying, 1)]
        metadata["answered"] = True
        response = self._prepare_response_output(text, sources)
        carry(carrying, metadata["citations"], str(response))
        response.metadata = metadata
        return response

    def _stream(
        self, tokens: Generator[str, None, None], sources: Sequence[NodeWithScore], metadata: dict[str, Any]
    ) -> Generator[str, None, None]:
        markers = MarkerFilter(len(sources))
        for token in tokens:
            if ready := markers.feed(token):
                yield ready
        if rest := markers.close() + self._conclude(markers, sources, metadata):
            yield rest

    async def _astream(
        self, tokens: AsyncGenerator[str, None], sources: Sequence[NodeWithScore], metadata: dict[str, Any]
    ) -> AsyncGenerator[str, None]:
        markers = MarkerFilter(len(sources))
        async for token in tokens:
            if ready := markers.feed(token):
                yield ready
        if rest := markers.close() + await asyncio.to_thread(self._conclude, markers, sources, metadata):
            yield rest

    def _conclude(self, markers: MarkerFilter, sources: Sequence[NodeWithScore], metadata: dict[str, Any]) -> str:
        """Fill in the citations of a finished answer and return markers to append where the LLM set none."""
        metadata["dropped_markers"] = markers.dropped
        if not markers.text.strip() or says_not_found(markers.text):
            return ""
        metadata["answered"] = True
        numbers = cited_numbers(markers.text)
        added = ""
        if not numbers and not isinstance(self._inner, _UNGROUNDED):
            numbers = supporting_numbers(markers.text, sources)
            added = "".join(f" [{number}]" for number in numbers)
        cited = {number: sources[number - 1] for number in numbers if number <= len(sources)}
        around = elements_on_pages(self._page_store, cited) if self._page_store is not None else {}
        metadata["citations"] = answer_citations(markers.text + added, sources, around)
        carry(sources, metadata["citations"], markers.text)
        return added


def number_texts(chunks: Sequence[str]) -> list[str]:
    """Put ``Source [n]:`` before each text and its end after it, and round brackets around its own bracketed numbers.

    So no text can pass for another source, nor for what follows the sources.

    Args:
        chunks: Texts, the first being source 1.
    """
    return [
        f"{_BEGINNING.format(number)}\n{_unframed(chunk)}\n{_END.format(number)}"
        for number, chunk in enumerate(chunks, 1)
    ]


def number_messages(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Put ``Source [n]:`` before the blocks of each message and its end after them; see :func:`number_texts`.

    Args:
        messages: Messages with text and media blocks. One that was told its number keeps it, and 0 is no
            source; of the others the first is source 1.
    """
    numbered: list[ChatMessage] = []
    for place, message in enumerate(messages, 1):
        number = message.additional_kwargs.get(_NUMBER, place)
        if not number:
            numbered.append(ChatMessage(role=message.role, blocks=message.blocks))
            continue
        blocks: list[ContentBlock] = [
            TextBlock(text=_inert(_unframed(block.text))) if isinstance(block, TextBlock) else block
            for block in message.blocks
        ]
        # LlamaIndex (core 0.14.25) joins text blocks by spaces, which puts a table's rows on the lines of the frame.
        first, last = f"{_BEGINNING.format(number)}\n", f"\n{_END.format(number)}\n"
        begins = blocks[0] if blocks else None
        if isinstance(begins, TextBlock):
            first, blocks = f"{first}{begins.text}", blocks[1:]
        framed = [TextBlock(text=first), *blocks, TextBlock(text=last)] if blocks else [TextBlock(text=first + last)]
        numbered.append(ChatMessage(role=message.role, blocks=framed))
    return numbered


def _unframed(text: str) -> str:
    """Write the brackets of a source round where they could pass for a citation or for the frame of a source."""
    return _FRAMING.sub(r"\g<word>(", without_markers(text))


def _inert(text: str) -> str:
    # Releases of banks (RichPromptTemplate's engine) without sentinels read this tag of a source as an image to send.
    return text.replace("<content_block", "< content_block")


def _messages(context: Sequence[NodeWithScore]) -> list[ChatMessage]:
    """Return one message per source in reading order, each with the number that its rank gave it."""
    return [
        ChatMessage(
            blocks=context[index].node.get_content_blocks(metadata_mode=MetadataMode.LLM),
            additional_kwargs={_NUMBER: index + 1},
        )
        for index in reading_order(context)
    ]


def _read_of(nodes: Sequence[NodeWithScore], context: Sequence[NodeWithScore]) -> list[NodeWithScore]:
    """Return the retrieved nodes that the LLM has read, in the order in which they are numbered."""
    retrieved = {scored.node.node_id: scored for scored in nodes}
    return [retrieved.get(scored.node.node_id, scored) for scored in context]


def _texts(context: Sequence[NodeWithScore]) -> list[str]:
    return [scored.node.get_content(metadata_mode=MetadataMode.LLM) for scored in context]


def _nothing() -> dict[str, Any]:
    return {"citations": [], "answered": False, "dropped_markers": [], "images": []}
