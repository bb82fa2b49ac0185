"""Embeddings of any server that speaks OpenAI's protocol: LlamaIndex's own class, without exposing the key."""

from __future__ import annotations

from typing import Any

from llama_index.core.bridge.pydantic import Field
from llama_index.embeddings.openai_like import OpenAILikeEmbedding

from llama_index_raganything._pickling import PickledWithoutKey
from llama_index_raganything.models.model_names import api_key_of
from llama_index_raganything.models.openai_like import expecting_protocol
from llama_index_raganything.settings import RAGAnythingSettings

_BATCH = 64
_RETRIES = 3
_TIMEOUT = 120.0


class CompatibleEmbedding(PickledWithoutKey, OpenAILikeEmbedding):
    """An embedding model of a server that speaks OpenAI's protocol.

    Args:
        provider: Decides where the key comes from on unpickling.
        **kwargs: Those of ``OpenAILikeEmbedding``.
    """

    api_key: str = Field(default="", exclude=True, repr=False, description="Key of the service.")
    provider: str = Field(default="openai-like", description="Whose model it is.")

    def __init__(self, **kwargs: Any) -> None:
        if not kwargs.get("api_key"):
            settings = RAGAnythingSettings()
            kwargs["api_key"] = api_key_of(kwargs.get("provider", "openai-like"), settings, settings.rag_embed_api_key)
        super().__init__(**{"embed_batch_size": _BATCH, "max_retries": _RETRIES, "timeout": _TIMEOUT, **kwargs})

    def _get_query_embedding(self, query: str) -> list[float]:
        with expecting_protocol(self.api_base):
            return super()._get_query_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        with expecting_protocol(self.api_base):
            return await super()._aget_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        with expecting_protocol(self.api_base):
            return super()._get_text_embedding(text)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        with expecting_protocol(self.api_base):
            return await super()._aget_text_embedding(text)

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        with expecting_protocol(self.api_base):
            return super()._get_text_embeddings(texts)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        with expecting_protocol(self.api_base):
            return await super()._aget_text_embeddings(texts)
