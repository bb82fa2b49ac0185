"""What chat engines return, with the metadata of an answer; streams as LlamaIndex's chat responses read them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.base.response.schema import RESPONSE_TYPE, AsyncStreamingResponse, StreamingResponse
from llama_index.core.chat_engine.types import AgentChatResponse, StreamingAgentChatResponse
from llama_index.core.tools import ToolOutput


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
        response: The answer.
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
