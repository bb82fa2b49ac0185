"""From an LLM to a synthesizer that cites, with what the LLM reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.base.response.schema import RESPONSE_TYPE
from llama_index.core.llms import LLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.response_synthesizers import BaseSynthesizer, ResponseMode, get_response_synthesizer
from llama_index.core.response_synthesizers.context_only import ContextOnly
from llama_index.core.response_synthesizers.no_text import NoText
from llama_index.core.schema import NodeWithScore, QueryType
from llama_index.core.types import RESPONSE_TEXT_TYPE

from llama_index_raganything.attachments.query import AttachedQuery
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.images import MAX_PIXELS
from llama_index_raganything.query_engine.context.multimodal_context import (
    DEFAULT_MAX_IMAGES,
    MultimodalContextPostprocessor,
)
from llama_index_raganything.query_engine.context.node_images import is_about_a_picture
from llama_index_raganything.query_engine.context.page_context import PageContextPostprocessor, default_context_tokens
from llama_index_raganything.query_engine.synthesis.base import as_bundle
from llama_index_raganything.query_engine.synthesis.citing import CitingSynthesizer


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
    """Return what turns the sources into what an LLM reads: the text of their pages, and pictures for one that sees.

    Args:
        sees: Whether it is sent pictures.
        page_store: Vector store or docstore that holds all nodes.
        context_tokens: Tokens of all sources together; by default as
            :func:`~llama_index_raganything.query_engine.context.page_context.default_context_tokens` says.
        max_images: Images sent for one question.
        max_pixels: Pixels of an image; larger ones are scaled down.
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


def citing_synthesizer(
    llm: LLM,
    sees: bool,
    of_inner: dict[str, Any],
    of_citing: dict[str, Any],
    context_postprocessors: Sequence[BaseNodePostprocessor],
) -> CitingSynthesizer:
    """Make the synthesizer of one LLM.

    Args:
        sees: Whether it is sent pictures.
        of_inner: Arguments of LlamaIndex's ``get_response_synthesizer``.
        of_citing: Arguments of :class:`CitingSynthesizer`.
        context_postprocessors: What turns the sources into what the LLM reads.

    Raises:
        ConfigurationError: Pictures for an LLM that is no chat model.
    """
    _check_chat(llm, sees)
    inner = _without_llm(llm, of_inner) or get_response_synthesizer(llm=llm, multimodal=sees, **of_inner)
    return CitingSynthesizer(inner, context_postprocessors, **of_citing)


def _without_llm(llm: LLM, of_inner: dict[str, Any]) -> BaseSynthesizer | None:
    """Make the synthesizers that call no LLM, to which core 0.14.25 passes none and so builds its paid default."""
    kinds = {ResponseMode.NO_TEXT: NoText, ResponseMode.CONTEXT_ONLY: ContextOnly}
    kind = kinds.get(of_inner["response_mode"])
    if kind is None:
        return None
    return kind(llm=llm, callback_manager=of_inner["callback_manager"], streaming=of_inner["streaming"])


def _check_chat(llm: LLM, sees: bool) -> None:
    if sees and not llm.metadata.is_chat_model:
        message = (
            f"multimodal=True needs a chat model, and {llm.metadata.model_name!r} is none; "
            "pass a chat LLM or multimodal=False."
        )
        raise ConfigurationError(message)


_LOOKED_AT: Final = 5
"""Sources among which a picture makes the LLM that sees answer."""


class SightedSynthesizer(BaseSynthesizer):
    """Let a vision LLM answer where the question or a source has an image, and a text LLM elsewhere.

    RAG-Anything chooses so between its ``llm_model_func`` and its ``vision_model_func``.

    Args:
        viewer: Answers from texts and images.
    """

    def __init__(self, reader: CitingSynthesizer, viewer: CitingSynthesizer) -> None:
        super().__init__(
            llm=reader._llm,
            callback_manager=reader.callback_manager,
            prompt_helper=reader._prompt_helper,
            streaming=reader._streaming,
            output_cls=reader._output_cls,
        )
        self.reader = reader
        self.viewer = viewer

    def synthesize(
        self,
        query: QueryType,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """Answer a question from nodes; see :meth:`CitingSynthesizer.synthesize`."""
        return self._who(query, nodes).synthesize(query, nodes, additional_source_nodes, **response_kwargs)

    async def asynthesize(
        self,
        query: QueryType,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """Answer a question from nodes; see :meth:`CitingSynthesizer.synthesize`."""
        return await self._who(query, nodes).asynthesize(query, nodes, additional_source_nodes, **response_kwargs)

    def get_response(self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any) -> RESPONSE_TEXT_TYPE:
        """Answer from texts; see ``BaseSynthesizer``."""
        return self.reader.get_response(query_str, text_chunks, **response_kwargs)

    async def aget_response(
        self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """Answer from texts; see ``BaseSynthesizer``."""
        return await self.reader.aget_response(query_str, text_chunks, **response_kwargs)

    def get_response_from_messages(
        self, query_str: str, message_chunks: Sequence[ChatMessage], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """Answer from messages with text and images; see ``BaseSynthesizer``."""
        return self.viewer.get_response_from_messages(query_str, message_chunks, **response_kwargs)

    async def aget_response_from_messages(
        self, query_str: str, message_chunks: Sequence[ChatMessage], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """Answer from messages with text and images; see ``BaseSynthesizer``."""
        return await self.viewer.aget_response_from_messages(query_str, message_chunks, **response_kwargs)

    def _who(self, query: QueryType, nodes: Sequence[NodeWithScore]) -> CitingSynthesizer:
        asked = as_bundle(query)
        shown = isinstance(asked, AttachedQuery) and bool(asked.image_attachments)
        pictured = any(is_about_a_picture(scored.node) for scored in nodes[:_LOOKED_AT])
        who = self.viewer if shown or pictured else self.reader
        who._streaming = self._streaming
        return who

    def _get_prompts(self) -> PromptDictType:
        return self.viewer._get_prompts() | self.reader._get_prompts()

    def _update_prompts(self, prompts: PromptDictType) -> None:
        self.reader._update_prompts(prompts)
        self.viewer._update_prompts(prompts)
