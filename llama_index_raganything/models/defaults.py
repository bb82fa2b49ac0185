"""Which models are used: those of the caller, the settings, or the defaults.

In order: what the caller passes; what the caller set on ``Settings``; what the settings name (``RAG_LLM``,
``RAG_VISION_LLM``, ``RAG_EMBED``); DashScope's models if there is a key; the embedded default (WordLlama embeddings,
extractive answers without an LLM). LlamaIndex's own lazy default, a paid third party, is never used.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import LLM, MockLLM
from llama_index.core.settings import Settings

from llama_index_raganything._arguments import check_types
from llama_index_raganything.errors import MissingDependencyError
from llama_index_raganything.models.dashscope.endpoints import is_placeholder
from llama_index_raganything.models.model_names import ModelName, address_of, api_key_of, is_vision_name
from llama_index_raganything.settings import RAGAnythingSettings, names_provider

if TYPE_CHECKING:
    from llama_index_raganything.models.dashscope.models import DashScopeModels

logger = logging.getLogger(__name__)
_announced: set[str] = set()

_LLM: Final = "an LLM of LlamaIndex; give a model such as OpenAILike(model=...), or name one in"
_EMBED: Final = "a BaseEmbedding of LlamaIndex; give one such as OpenAILikeEmbedding(model_name=...), or name one in"

MODEL_KINDS: Final[dict[str, tuple[Any, str]]] = {
    "embed_model": (BaseEmbedding, f"{_EMBED} RAG_EMBED"),
    "llm": (LLM, f"{_LLM} RAG_LLM"),
    "vision_llm": (LLM, f"{_LLM} RAG_VISION_LLM"),
}
"""Types of the models that a caller passes: LlamaIndex accepts names in some places."""


def resolve_embed_model(
    embed_model: BaseEmbedding | None = None, settings: RAGAnythingSettings | None = None
) -> BaseEmbedding:
    """Return the embedding model to use.

    Args:
        embed_model: The caller's choice, if any.
        settings: By default those of the environment.
    """
    if embed_model is not None:
        check_types({"embed_model": embed_model}, MODEL_KINDS)
        return embed_model
    # Reading the public property would build the OpenAI default; the private field says what the caller set.
    chosen = Settings._embed_model
    if chosen is not None:
        return chosen
    settings = settings or RAGAnythingSettings()
    if settings.rag_embed:
        _announce(f"Embedding model: {settings.rag_embed} (RAG_EMBED is set).")
        return named_embed_model(settings.rag_embed, settings)
    if has_dashscope_key(settings):
        from llama_index_raganything.models.dashscope.models import make_embed_model

        # Needs no other package, so there is no fallback: another model would make another knowledge base.
        _announce(f"Embedding model: {settings.embed_model} (DASHSCOPE_API_KEY is set).")
        return make_embed_model(settings)
    from llama_index_raganything.models.wordllama import WordLlamaEmbedding

    _announce("Embedding model: WordLlama (embedded default); set Settings.embed_model or pass embed_model to change.")
    return WordLlamaEmbedding()


def resolve_llm(llm: LLM | None = None, settings: RAGAnythingSettings | None = None) -> LLM | None:
    """Return the LLM to use, or None for extractive answers.

    Args:
        llm: The caller's choice, if any.
        settings: By default those of the environment.

    Raises:
        ConfigurationError: The caller's choice is not a LlamaIndex LLM but, for example, a name.
    """
    return _resolve(llm, settings, vision=False)


def resolve_vision_llm(llm: LLM | None = None, settings: RAGAnythingSettings | None = None) -> LLM | None:
    """Return the LLM for images, or None.

    An LLM of the caller, ``Settings``, ``RAG_VISION_LLM`` or ``RAG_LLM`` is returned whether it supports images or not.

    Args:
        llm: The caller's choice, if any.
        settings: By default those of the environment.
    """
    return _resolve(llm, settings, vision=True)


def _resolve(llm: LLM | None, settings: RAGAnythingSettings | None, *, vision: bool) -> LLM | None:
    if llm is not None:
        check_types({"llm": llm}, MODEL_KINDS)
        return llm
    chosen = Settings._llm
    if chosen is not None:
        # `Settings.llm = None` puts a MockLLM there: the user wants no LLM, not an echo of the prompt.
        return None if type(chosen) is MockLLM else chosen
    settings = settings or RAGAnythingSettings()
    name = settings.rag_vision_llm if vision and settings.rag_vision_llm else settings.rag_llm
    if name:
        _announce(f"LLM: {name} ({'RAG_LLM' if name == settings.rag_llm else 'RAG_VISION_LLM'} is set).")
        return named_llm(name, settings, supports_images=True if vision and settings.rag_vision_llm else None)
    if not has_dashscope_key(settings):
        _announce("LLM: none; answers quote the documents. Set Settings.llm or pass llm to change.")
        return None
    from llama_index_raganything.models.dashscope.models import make_llm, make_vision_llm

    try:
        made = make_vision_llm(settings) if vision else make_llm(settings)
    except MissingDependencyError as error:
        _announce(f"DASHSCOPE_API_KEY is set, but answers quote the documents: {error}", logging.WARNING)
        return None
    _announce(f"LLM: {made.metadata.model_name} (DASHSCOPE_API_KEY is set).")
    return made


def has_dashscope_key(settings: RAGAnythingSettings) -> bool:
    """Return whether the settings hold a DashScope key that is not an example's placeholder."""
    key = settings.dashscope_api_key.get_secret_value().strip() if settings.dashscope_api_key else ""
    if key and is_placeholder(key):
        _announce("DASHSCOPE_API_KEY is the placeholder of an example, and is not used.", logging.WARNING)
        return False
    return bool(key)


def provider_models(settings: RAGAnythingSettings) -> DashScopeModels:
    """Make all models of the provider that there is, as the settings name them; nothing is called yet.

    Raises:
        DashScopeAuthenticationError: There is no key.
        MissingDependencyError: The provider's extra is not installed.
    """
    from llama_index_raganything.models.dashscope.models import dashscope_models

    return dashscope_models(settings)


def provider_in_use(models: str, settings: RAGAnythingSettings) -> str | None:
    """Return the provider whose models serve where the caller names none; None where those are embedded."""
    return "DashScope" if names_provider(models) or (models == "auto" and has_dashscope_key(settings)) else None


def _announce(message: str, level: int = logging.INFO) -> None:
    if message not in _announced:
        _announced.add(message)
        logger.log(level, message)


_OLLAMA_CONTEXT: Final = 4096
"""Ollama's default context window in tokens; it silently cuts off longer prompts."""

_CONTEXT: Final = 32_768


def named_llm(name: str, settings: RAGAnythingSettings | None = None, *, supports_images: bool | None = None) -> LLM:
    """Make a chat model by name, without calling it.

    Args:
        name: ``PROVIDER:MODEL`` or ``PROVIDER:MODEL@URL``.
        settings: Keys, Ollama's address and the context window; by default those of the environment.
        supports_images: None decides by the name.

    Raises:
        ConfigurationError: The name is unusable, or OpenAI's key is missing.
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
    """Make an embedding model by name, without calling it.

    Args:
        name: ``PROVIDER:MODEL`` or ``PROVIDER:MODEL@URL``.
        settings: Keys and Ollama's address; by default those of the environment.

    Raises:
        ConfigurationError: The name is unusable, or OpenAI's key is missing.
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
