"""Chat models of any server that speaks OpenAI's protocol: LlamaIndex's ``OpenAILike``, without exposing the key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.bridge.pydantic import Field
from llama_index.llms.openai_like import OpenAILike
from openai import OpenAIError

from llama_index_raganything._pickling import PickledWithoutKey
from llama_index_raganything.models.model_names import api_key_of
from llama_index_raganything.settings import RAGAnythingSettings

_TIMEOUT = 300.0
"""Seconds for one answer: a local model may take minutes to read a long prompt."""


@contextmanager
def expecting_protocol(address: str | None) -> Iterator[None]:
    """Turn an answer that does not follow OpenAI's protocol, such as a web page, into an error of OpenAI's client.

    Args:
        address: Where the answer comes from.

    Raises:
        OpenAIError: The answer could not be parsed.
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        message = (
            f"{address} gave an answer that is none of OpenAI's protocol ({type(error).__name__}: {error}); is "
            "the path of the address right, such as /v1?"
        )
        raise OpenAIError(message) from error


class CompatibleLLM(PickledWithoutKey, OpenAILike):
    """A chat model of a server that speaks OpenAI's protocol.

    Args:
        provider: Decides where the key comes from on unpickling.
        supports_images: Whether the model supports images.
        **kwargs: Those of ``OpenAILike``.
    """

    api_key: str = Field(default="", exclude=True, repr=False, description="Key of the service.")
    provider: str = Field(default="openai-like", description="Whose model it is.")
    supports_images: bool = Field(default=False, description="Whether it looks at images.")

    def __init__(self, **kwargs: Any) -> None:
        if not kwargs.get("api_key"):
            settings = RAGAnythingSettings()
            kwargs["api_key"] = api_key_of(kwargs.get("provider", "openai-like"), settings, settings.rag_llm_api_key)
        super().__init__(**{"is_chat_model": True, "timeout": _TIMEOUT, **kwargs})

    def _chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        with expecting_protocol(self.api_base):
            response: ChatResponse = super()._chat(messages, **kwargs)
            return response

    async def _achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        with expecting_protocol(self.api_base):
            response: ChatResponse = await super()._achat(messages, **kwargs)
            return response
