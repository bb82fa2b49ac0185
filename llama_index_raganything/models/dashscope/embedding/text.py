"""``DashScopeTextEmbedding``: text embeddings of DashScope, which tell queries from documents."""

from __future__ import annotations

from typing import Any

from llama_index.core.base.embeddings.base import Embedding

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.models.dashscope.api.client import TEXT_EMBEDDING_PATH
from llama_index_raganything.models.dashscope.catalog import EmbeddingModel
from llama_index_raganything.models.dashscope.embedding.base import DashScopeEmbeddingModel
from llama_index_raganything.models.dashscope.embedding.batches import EmbeddingCall


@strict_arguments
class DashScopeTextEmbedding(DashScopeEmbeddingModel):
    """Embed texts with text-embedding-v4 and its kin.

    It speaks the native protocol, because the OpenAI-compatible one does not take ``text_type``. Long texts are cut to
    what the model takes. Requests are as full as the model allows, several at a time.

    Args:
        model_name: Name of the model: ``text-embedding-v4``, ``-v3``, ``-v2`` or ``-v1``.
        **options: Those of
            :class:`~llama_index_raganything.models.dashscope.embedding.base.DashScopeEmbeddingModel`.

    Examples:
        >>> from llama_index_raganything.models.dashscope.embedding.text import DashScopeTextEmbedding
        >>> DashScopeTextEmbedding(api_key="sk-0123456789").dimension
        1024
    """

    def __init__(self, model_name: str = "text-embedding-v4", **options: Any) -> None:
        super().__init__(model_name=model_name, **options)

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "DashScopeTextEmbedding"

    def _check_kind(self, known: EmbeddingModel) -> None:
        if known.multimodal:
            message = f"{known.name} is no text embedding model; use DashScopeMultiModalEmbedding for it."
            raise ConfigurationError(message)

    def _text_call(self, texts: list[str], query: bool) -> EmbeddingCall:
        parameters: dict[str, Any] = {"text_type": "query" if query else "document", **self._own_dimension()}
        parameters["output_type"] = "dense"
        if query and self.instruct:
            parameters["instruct"] = self.instruct

        def body(contents: list[str]) -> dict[str, Any]:
            return {"model": self.model_name, "input": {"texts": contents}, "parameters": parameters}

        def read(answer: dict[str, Any], count: int) -> list[Embedding]:
            return self._read(answer, count, "text_index")

        return EmbeddingCall(
            TEXT_EMBEDDING_PATH,
            len(texts),
            self.max_contents,
            lambda place: self._fitted_text(texts[place]),
            body,
            read,
        )
