"""Which LLM answers a question, what it reads and sees, and the synthesizer that asks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.base.response.schema import RESPONSE_TYPE
from llama_index.core.llms import LLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.response_synthesizers import BaseSynthesizer, ResponseMode, get_response_synthesizer
from llama_index.core.response_synthesizers.context_only import ContextOnly
from llama_index.core.response_synthesizers.no_text import NoText
from llama_index.core.schema import BaseNode, NodeWithScore, QueryType
from llama_index.core.types import RESPONSE_TEXT_TYPE

from llama_index_raganything.attachments import AttachedQuery
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.images import MAX_PIXELS
from llama_index_raganything.models.model_names import supports_images
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.query_engine.context.images import DEFAULT_MAX_IMAGES, MultimodalContextPostprocessor
from llama_index_raganything.query_engine.context.page_context import PageContextPostprocessor, default_context_tokens
from llama_index_raganything.query_engine.synthesis.base import as_bundle
from llama_index_raganything.query_engine.synthesis.citing import CitingSynthesizer

_INSPECTED_SOURCES: Final = 5
"""Sources among which an image makes the vision LLM answer."""


@dataclass(frozen=True, slots=True)
class AnsweringLLM:
    """An LLM that answers, and what it is given.

    Attributes:
        sees: Whether it is sent images.
        context: Turns the sources into what it reads.
    """

    llm: LLM
    sees: bool
    context: tuple[BaseNodePostprocessor, ...]


def seeing_llms(llm: LLM, vision_llm: LLM | None, multimodal: bool | None) -> list[tuple[LLM, bool]]:
    """Return an LLM and, where that sees no images, the one that answers in its place where there are some.

    Args:
        multimodal: Whether ``llm`` is sent images; None decides by what it is.

    Returns:
        Each LLM with whether it is sent images.
    """
    sees = supports_images(llm) if multimodal is None else multimodal
    routed = vision_llm is not None and not sees and multimodal is None
    return [(llm, sees), (vision_llm, True)] if vision_llm is not None and routed else [(llm, sees)]


def context_for(
    llm: LLM,
    sees: bool,
    *,
    page_store: Any = None,
    context_tokens: int | None = None,
    max_images: int = DEFAULT_MAX_IMAGES,
    max_pixels: int = MAX_PIXELS,
    asset_root: str | None = None,
) -> list[BaseNodePostprocessor]:
    """Return what turns the sources into what an LLM reads: the text of their pages, and images if it sees them.

    Args:
        page_store: Vector store or docstore that holds all nodes.
        context_tokens: Tokens of all sources together; by default :func:`~.page_context.default_context_tokens`.
        max_images: Images sent for one question.
        max_pixels: Pixels of an image; larger ones are scaled down.
        asset_root: Folder of the assets.
    """
    budget = default_context_tokens(llm) if context_tokens is None else context_tokens
    if budget < 1:
        message = f"context_tokens must be 1 or more, not {budget}."
        raise ConfigurationError(message)
    context: list[BaseNodePostprocessor] = [PageContextPostprocessor(store=page_store, max_tokens=budget)]
    if sees:
        context.append(
            MultimodalContextPostprocessor(asset_root=asset_root, max_images=max_images, max_pixels=max_pixels)
        )
    return context


def answering_synthesizer(
    llms: Sequence[AnsweringLLM], of_inner: dict[str, Any], of_citing: dict[str, Any]
) -> CitingSynthesizer | VisionRoutingSynthesizer:
    """Make the synthesizer that cites.

    Args:
        llms: One LLM, or one for texts and one for images.
        of_inner: Arguments of LlamaIndex's ``get_response_synthesizer``.
        of_citing: Arguments of :class:`CitingSynthesizer`.

    Raises:
        ConfigurationError: Images are to be sent to an LLM that is no chat model.
    """
    made = [CitingSynthesizer(_inner(each, of_inner), each.context, **of_citing) for each in llms]
    return made[0] if len(made) == 1 else VisionRoutingSynthesizer(*made)


def _inner(answering: AnsweringLLM, of_inner: dict[str, Any]) -> BaseSynthesizer:
    llm = answering.llm
    if answering.sees and not llm.metadata.is_chat_model:
        message = (
            f"multimodal=True needs a chat model, and {llm.metadata.model_name!r} is none; "
            "pass a chat LLM or multimodal=False."
        )
        raise ConfigurationError(message)
    # To those that call no LLM, core 0.14.25 passes none, so that they would build its paid default.
    kind = {ResponseMode.NO_TEXT: NoText, ResponseMode.CONTEXT_ONLY: ContextOnly}.get(of_inner["response_mode"])
    if kind is not None:
        return kind(llm=llm, callback_manager=of_inner["callback_manager"], streaming=of_inner["streaming"])
    return get_response_synthesizer(llm=llm, multimodal=answering.sees, **of_inner)


class VisionRoutingSynthesizer(BaseSynthesizer):
    """Let a vision LLM answer where the question or a source has an image, and a text LLM elsewhere.

    RAG-Anything chooses so between its ``llm_model_func`` and its ``vision_model_func``.

    Args:
        text: Answers from texts.
        vision: Answers from texts and images.
    """

    def __init__(self, text: CitingSynthesizer, vision: CitingSynthesizer) -> None:
        self.text = text
        self.vision = vision
        super().__init__(
            llm=text._llm,
            callback_manager=text.callback_manager,
            prompt_helper=text._prompt_helper,
            streaming=text._streaming,
            output_cls=text._output_cls,
        )

    @property
    def _streaming(self) -> bool:
        """Whether answers are streams; ``CondenseQuestionChatEngine`` switches it."""
        return self.text._streaming

    @_streaming.setter
    def _streaming(self, streaming: bool) -> None:
        self.text._streaming = streaming
        self.vision._streaming = streaming

    def synthesize(
        self,
        query: QueryType,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """Answer a question from nodes; see :meth:`CitingSynthesizer.synthesize`."""
        return self._chosen(query, nodes).synthesize(query, nodes, additional_source_nodes, **response_kwargs)

    async def asynthesize(
        self,
        query: QueryType,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """Answer a question from nodes; see :meth:`CitingSynthesizer.synthesize`."""
        return await self._chosen(query, nodes).asynthesize(query, nodes, additional_source_nodes, **response_kwargs)

    def get_response(self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any) -> RESPONSE_TEXT_TYPE:
        """Answer from texts; see ``BaseSynthesizer``."""
        return self.text.get_response(query_str, text_chunks, **response_kwargs)

    async def aget_response(
        self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """Answer from texts; see ``BaseSynthesizer``."""
        return await self.text.aget_response(query_str, text_chunks, **response_kwargs)

    def get_response_from_messages(
        self, query_str: str, message_chunks: Sequence[ChatMessage], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """Answer from messages with text and images; see ``BaseSynthesizer``."""
        return self.vision.get_response_from_messages(query_str, message_chunks, **response_kwargs)

    async def aget_response_from_messages(
        self, query_str: str, message_chunks: Sequence[ChatMessage], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """Answer from messages with text and images; see ``BaseSynthesizer``."""
        return await self.vision.aget_response_from_messages(query_str, message_chunks, **response_kwargs)

    def _chosen(self, query: QueryType, nodes: Sequence[NodeWithScore]) -> CitingSynthesizer:
        question = as_bundle(query)
        if isinstance(question, AttachedQuery) and question.image_attachments:
            return self.vision
        return self.vision if any(_shows_image(each.node) for each in nodes[:_INSPECTED_SOURCES]) else self.text

    def _get_prompts(self) -> PromptDictType:
        return self.vision._get_prompts() | self.text._get_prompts()

    def _update_prompts(self, prompts: PromptDictType) -> None:
        self.text._update_prompts(prompts)
        self.vision._update_prompts(prompts)


def _shows_image(node: BaseNode) -> bool:
    """Return whether a result is an image, or a page whose best element is one."""
    view = NodeView(node)
    return view.has_image or any(each.get("content_type") == "image" for each in view.best_elements[:1])
