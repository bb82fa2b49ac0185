"""Who answers a turn of a conversation, and from which prompts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.base.response.schema import RESPONSE_TYPE, AsyncStreamingResponse, StreamingResponse
from llama_index.core.callbacks import CallbackManager
from llama_index.core.chat_engine.types import AgentChatResponse, StreamingAgentChatResponse
from llama_index.core.llms import LLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.response_synthesizers import BaseSynthesizer, ResponseMode
from llama_index.core.schema import QueryBundle
from llama_index.core.tools import ToolOutput

from llama_index_raganything.models.vision import supports_images
from llama_index_raganything.query_engine.chat.prompts import Conversation, ConversationPrompt
from llama_index_raganything.query_engine.synthesis.factory import SightedSynthesizer, citing_synthesizer, context_for


@dataclass(frozen=True, slots=True)
class Voice:
    """An LLM and what it reads.

    Attributes:
        llm: The LLM.
        sees: Whether it is sent pictures.
        context: What turns sources into what it reads.
    """

    llm: LLM
    sees: bool
    context: tuple[BaseNodePostprocessor, ...]


def voices_of(
    llm: LLM,
    multimodal: bool | None,
    vision_llm: LLM | None,
    context_postprocessors: Sequence[BaseNodePostprocessor] | None,
    of_context: Mapping[str, Any],
) -> tuple[Voice, ...]:
    """Return who answers: an LLM, and after it the one that answers in its place where there are pictures.

    Args:
        multimodal: Whether it is sent pictures; None decides by what it is.
        vision_llm: Answers where there are pictures, if ``llm`` sees none and nobody said that it does.
        context_postprocessors: What turns sources into what both read; None makes it for each.
        of_context: Arguments of :func:`~.synthesizers.context_for`.
    """
    sees = supports_images(llm) if multimodal is None else multimodal
    speakers = [(llm, sees)]
    if vision_llm is not None and not sees and multimodal is None:
        speakers.append((vision_llm, True))
    given = context_postprocessors
    return tuple(
        Voice(speaker, looks, tuple(context_for(speaker, looks, **of_context) if given is None else given))
        for speaker, looks in speakers
    )


@dataclass(frozen=True, slots=True)
class Answerer:
    """Makes the synthesizer of one turn.

    Attributes:
        voices: The LLM that answers, and the one that answers where there are pictures, if that is another.
        prompts: Prompts by the names of ``get_response_synthesizer``.
        conversation: What stands before every question.
        of_citing: Arguments of ``CitingSynthesizer``.
        callback_manager: LlamaIndex callbacks.
    """

    voices: tuple[Voice, ...]
    prompts: dict[str, BasePromptTemplate]
    conversation: Conversation
    of_citing: dict[str, Any] = field(default_factory=dict)
    callback_manager: CallbackManager | None = None

    def synthesizer(self, history: Sequence[ChatMessage], question: str, *, streaming: bool) -> BaseSynthesizer:
        """Return a synthesizer whose prompts hold a conversation.

        Args:
            history: Messages before the question.
            question: The question as it stands alone, by which sources are cut to what matters.
            streaming: Return a stream.
        """
        conversation = replace(self.conversation, history=tuple(history))
        of_inner = {
            **{name: ConversationPrompt(prompt, conversation) for name, prompt in self.prompts.items()},
            "response_mode": ResponseMode.COMPACT,
            "callback_manager": self.callback_manager,
            "streaming": streaming,
        }
        of_citing = self.of_citing | {"context_query": QueryBundle(question)}
        made = [citing_synthesizer(each.llm, each.sees, of_inner, of_citing, each.context) for each in self.voices]
        return made[0] if len(made) == 1 else SightedSynthesizer(*made)


@dataclass
class CitingStreamingChatResponse(StreamingAgentChatResponse):
    """LlamaIndex's streaming chat response with the metadata that its other responses have.

    Attributes:
        metadata: As of :class:`~.synthesis.CitingSynthesizer`; complete when the stream has ended.
    """

    metadata: dict[str, Any] | None = None


def whole_response(response: RESPONSE_TYPE, source: ToolOutput) -> AgentChatResponse:
    """Return a chat response with the metadata of an answer.

    Args:
        source: Where it comes from.
    """
    return AgentChatResponse(
        response=str(response), sources=[source], source_nodes=response.source_nodes, metadata=response.metadata
    )


def _piece(text: str, delta: str) -> ChatResponse:
    return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=text), delta=delta)


def growing_answer(response: RESPONSE_TYPE) -> Generator[ChatResponse, None, None]:
    """Yield an answer as chat models do; a synthesizer may give a whole one where it was asked for a stream."""
    pieces = response.response_gen if isinstance(response, StreamingResponse) else [str(response)]
    text = ""
    for delta in pieces:
        text += delta
        yield _piece(text, delta)


async def agrowing_answer(response: RESPONSE_TYPE) -> AsyncGenerator[ChatResponse, None]:
    """Yield an answer as chat models do; see :func:`growing_answer`."""
    if not isinstance(response, AsyncStreamingResponse):
        yield _piece(str(response), str(response))
        return
    text = ""
    async for delta in response.async_response_gen():
        text += delta
        yield _piece(text, delta)
