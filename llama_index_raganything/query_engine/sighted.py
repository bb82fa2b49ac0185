"""Two LLMs for one engine: one that reads, and one that looks where there is something to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.base.response.schema import RESPONSE_TYPE
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.response_synthesizers import BaseSynthesizer
from llama_index.core.schema import NodeWithScore, QueryType
from llama_index.core.types import RESPONSE_TEXT_TYPE

from llama_index_raganything.attachments import AttachedQuery
from llama_index_raganything.query_engine.evented import as_bundle
from llama_index_raganything.query_engine.node_images import is_about_a_picture
from llama_index_raganything.query_engine.synthesis import CitingSynthesizer

_LOOKED_AT: Final = 5
"""Sources among which a picture makes the LLM that sees answer."""


class SightedSynthesizer(BaseSynthesizer):
    """Let a vision LLM answer where the question or a source has an image, and a text LLM elsewhere.

    RAG-Anything chooses so between its ``llm_model_func`` and its ``vision_model_func``.

    Args:
        reader: Answers from texts.
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
