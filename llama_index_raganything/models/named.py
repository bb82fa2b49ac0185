"""Models made by their names; all but DashScope's speak OpenAI's protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llama_index_raganything.config import RAGAnythingSettings
from llama_index_raganything.errors import MissingDependencyError
from llama_index_raganything.models.model_names import ModelName, address_of, api_key_of
from llama_index_raganything.models.vision import is_vision_name

if TYPE_CHECKING:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.llms import LLM

_OLLAMA_CONTEXT: Final = 4096
"""Tokens that Ollama takes where nobody tells it more; what is longer it cuts off without a word."""

_CONTEXT: Final = 32_768


def named_llm(name: str, settings: RAGAnythingSettings | None = None, *, supports_images: bool | None = None) -> LLM:
    """Make the chat model of a name; nothing is called yet.

    Args:
        name: ``PROVIDER:MODEL`` or ``PROVIDER:MODEL@URL``.
        settings: Where keys, the address of Ollama and the context window come from; the environment's by default.
        supports_images: Whether it looks at images; its name decides when None.

    Raises:
        ConfigurationError: The name cannot be used, or OpenAI's key is missing.
        MissingDependencyError: The extra ``[openai]`` is not installed.
    """
    settings = settings or RAGAnythingSettings()
    parsed = ModelName.parse(name)
    if parsed.provider == "dashscope":
        from llama_index_raganything.models.dashscope.models import make_llm, make_vision_llm

        if supports_images:
            return make_vision_llm(settings.model_copy(update={"llm_vlm_model": parsed.model}))
        return make_llm(settings.model_copy(update={"llm_text_model": parsed.model}))
    try:
        from llama_index_raganything.models.openai_like import CompatibleLLM
    except ImportError as error:
        raise _missing(name, "llama-index-llms-openai-like") from error
    window = _OLLAMA_CONTEXT if parsed.provider == "ollama" else _CONTEXT
    if parsed.provider == "ollama" and settings.ollama_context_length:
        window = settings.ollama_context_length
    return CompatibleLLM(
        model=parsed.model,
        api_base=address_of(parsed, settings),
        api_key=api_key_of(parsed.provider, settings, settings.rag_llm_api_key),
        provider=parsed.provider,
        context_window=settings.rag_llm_context_window or window,
        supports_images=is_vision_name(parsed.model) if supports_images is None else supports_images,
    )


def named_embed_model(name: str, settings: RAGAnythingSettings | None = None) -> BaseEmbedding:
    """Make the embedding model of a name; nothing is called yet.

    Args:
        name: ``PROVIDER:MODEL`` or ``PROVIDER:MODEL@URL``.
        settings: Where keys and the address of Ollama come from; the environment's by default.

    Raises:
        ConfigurationError: The name cannot be used, or OpenAI's key is missing.
        MissingDependencyError: The extra ``[openai]`` is not installed.
    """
    settings = settings or RAGAnythingSettings()
    parsed = ModelName.parse(name)
    if parsed.provider == "dashscope":
        from llama_index_raganything.models.dashscope.models import make_embed_model

        return make_embed_model(settings.model_copy(update={"embed_model": parsed.model}))
    try:
        from llama_index_raganything.models.openai_like_embedding import CompatibleEmbedding
    except ImportError as error:
        raise _missing(name, "llama-index-embeddings-openai-like") from error
    return CompatibleEmbedding(
        model_name=parsed.model,
        api_base=address_of(parsed, settings),
        api_key=api_key_of(parsed.provider, settings, settings.rag_embed_api_key),
        provider=parsed.provider,
    )


def _missing(name: str, package: str) -> MissingDependencyError:
    message = f'{name} needs {package}, which is not installed; run pip install "llama-index-raganything[openai]".'
    return MissingDependencyError(message)
