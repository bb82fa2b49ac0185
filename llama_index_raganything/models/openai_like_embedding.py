"""Embeddings of any server that speaks OpenAI's protocol; LlamaIndex's own class, whose key shows nowhere."""

from __future__ import annotations

import copy
from typing import Any

from llama_index.core.bridge.pydantic import Field
from llama_index.embeddings.openai_like import OpenAILikeEmbedding

from llama_index_raganything.config import RAGAnythingSettings
from llama_index_raganything.models.model_names import api_key_of

_BATCH = 64
_RETRIES = 3
_TIMEOUT = 120.0


class CompatibleEmbedding(OpenAILikeEmbedding):
    """An embedding model of a server that speaks OpenAI's protocol.

    Args:
        provider: Whose it is, which says where the key comes from when it is unpickled.
        **kwargs: Those of ``OpenAILikeEmbedding``.
    """

    api_key: str = Field(default="", exclude=True, repr=False, description="Key of the service.")
    provider: str = Field(default="openai-like", description="Whose model it is.")

    def __init__(self, **kwargs: Any) -> None:
        if not kwargs.get("api_key"):
            settings = RAGAnythingSettings()
            kwargs["api_key"] = api_key_of(kwargs.get("provider", "openai-like"), settings, settings.rag_embed_api_key)
        super().__init__(**{"embed_batch_size": _BATCH, "max_retries": _RETRIES, "timeout": _TIMEOUT, **kwargs})

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which it is serialised."""
        return "CompatibleEmbedding"

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: no key, which the environment has."""
        # LlamaIndex takes what cannot be pickled out of the object itself, so it gets another one.
        state = super(CompatibleEmbedding, copy.copy(self)).__getstate__()
        return {"__dict__": {name: value for name, value in state["__dict__"].items() if name != "api_key"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the key from the environment.

        Args:
            state: What :meth:`__getstate__` returned.
        """
        self.__init__(**state["__dict__"])  # type: ignore[misc]  # as LlamaIndex's BaseComponent does
