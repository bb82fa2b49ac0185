"""LLMs with scripted answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from pydantic import Field, PrivateAttr

_PIECE: Final = 3

Reply = str | Callable[[Sequence[ChatMessage]], str]


class ScriptedTextLLM(CustomLLM):
    """An LLM with scripted answers that records its input and streams three letters at a time.

    Args:
        replies: Answers in order, the last repeated; a function makes one from the messages.
        context_window: Reported context window in tokens.
        num_output: Reported output limit in tokens.
    """

    replies: list[Reply] = Field(default_factory=lambda: list[Reply](["An answer. [1]"]), exclude=True)
    context_window: int = Field(default=16_000, description="Tokens it claims to take.")
    num_output: int = Field(default=256, description="Tokens it claims to give.")

    _requests: list[list[ChatMessage]] = PrivateAttr(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "ScriptedTextLLM"

    @property
    def supports_images(self) -> bool:
        """Whether images may be sent to it."""
        return False

    @property
    def requests(self) -> list[list[ChatMessage]]:
        """The messages of every call, in order; a prompt counts as one user message."""
        return self._requests

    @property
    def metadata(self) -> LLMMetadata:
        """Return what LlamaIndex needs to know about the model."""
        return LLMMetadata(
            context_window=self.context_window,
            num_output=self.num_output,
            is_chat_model=self.supports_images,
            model_name=self.class_name(),
        )

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: ARG002  # core's signature
        """Return the next reply."""
        return CompletionResponse(text=self._reply([ChatMessage(content=prompt)]))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:  # noqa: ARG002  # core's signature
        """Return the next reply in pieces."""
        reply = self._reply([ChatMessage(content=prompt)])
        return (
            CompletionResponse(text=reply[: start + _PIECE], delta=reply[start : start + _PIECE])
            for start in range(0, len(reply), _PIECE)
        )

    def _reply(self, messages: Sequence[ChatMessage]) -> str:
        self._requests.append(list(messages))
        reply = self.replies[min(len(self._requests), len(self.replies)) - 1]
        return reply if isinstance(reply, str) else reply(messages)


class ScriptedChatLLM(ScriptedTextLLM):
    """A multimodal chat LLM with scripted answers that records the text and image blocks it receives."""

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "ScriptedChatLLM"

    @property
    def supports_images(self) -> bool:
        """Whether images may be sent to it."""
        return True

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:  # noqa: ARG002  # core's signature
        """Return the next reply."""
        return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=self._reply(messages)))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:  # noqa: ARG002  # core's signature
        """Return the next reply in pieces."""
        reply = self._reply(messages)
        return (_chat_piece(reply, start) for start in range(0, len(reply), _PIECE))


def _chat_piece(reply: str, start: int) -> ChatResponse:
    message = ChatMessage(role=MessageRole.ASSISTANT, content=reply[: start + _PIECE])
    return ChatResponse(message=message, delta=reply[start : start + _PIECE])
