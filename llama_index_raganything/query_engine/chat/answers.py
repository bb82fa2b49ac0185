"""The synthesizer of one turn of a conversation, and its answer as a chat response."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.base.response.schema import RESPONSE_TYPE, AsyncStreamingResponse, StreamingResponse
from llama_index.core.callbacks import CallbackManager
from llama_index.core.chat_engine.types import AgentChatResponse, StreamingAgentChatResponse
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.response_synthesizers import BaseSynthesizer, ResponseMode
from llama_index.core.schema import QueryBundle
from llama_index.core.tools import ToolOutput

from llama_index_raganything.query_engine.chat.prompts import Conversation, ConversationPrompt
from llama_index_raganything.query_engine.synthesis.vision_routing import AnsweringLLM, answering_synthesizer


@dataclass(frozen=True, slots=True)
class Answerer:
    """Make the synthesizer of one turn.

    Attributes:
        llms: The LLM that answers, and the one that answers where there are images, if that is another.
        prompts: Prompts by the names of ``get_response_synthesizer``.
        conversation: What comes before every question, without the history.
        of_citing: Arguments of ``CitingSynthesizer``.
    """

    llms: tuple[AnsweringLLM, ...]
    prompts: dict[str, BasePromptTemplate]
    conversation: Conversation
    of_citing: dict[str, Any] = field(default_factory=dict)
    callback_manager: CallbackManager | None = None

    def synthesizer(self, history: Sequence[ChatMessage], question: str, *, streaming: bool) -> BaseSynthesizer:
        """Return a synthesizer whose prompts hold a conversation.

        Args:
            history: Messages before the question.
            question: The question without need of the history, by which sources are shortened.
        """
        conversation = replace(self.conversation, history=tuple(history))
        of_inner = {
            **{name: ConversationPrompt(prompt, conversation) for name, prompt in self.prompts.items()},
            "response_mode": ResponseMode.COMPACT,
            "callback_manager": self.callback_manager,
            "streaming": streaming,
        }
        of_citing = self.of_citing | {"context_query": QueryBundle(question)}
        return answering_synthesizer(self.llms, of_inner, of_citing)


@dataclass
class CitingStreamingChatResponse(StreamingAgentChatResponse):
    """LlamaIndex's streaming chat response with the metadata that its other responses have.

    Attributes:
        metadata: See :class:`~.synthesis.citing.CitingSynthesizer`; complete when the stream has ended.
    """

    metadata: dict[str, Any] | None = None


def whole_response(response: RESPONSE_TYPE, source: ToolOutput) -> AgentChatResponse:
    """Return an answer as a chat response, with its metadata."""
    return AgentChatResponse(
        response=str(response), sources=[source], source_nodes=response.source_nodes, metadata=response.metadata
    )


def _piece(text: str, delta: str) -> ChatResponse:
    return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=text), delta=delta)


def growing_answer(response: RESPONSE_TYPE) -> Generator[ChatResponse, None, None]:
    """Yield an answer as chat models do; a synthesizer may return a whole one where streaming is on."""
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
