"""DashScope's models as named by the settings: chat, vision, embedding, rerank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import LLM

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.models.dashscope import endpoints
from llama_index_raganything.models.dashscope.catalog import chat_model, embedding_model, is_known_chat_model
from llama_index_raganything.models.dashscope.client import MULTIMODAL_EMBEDDING_PATH, TEXT_EMBEDDING_PATH
from llama_index_raganything.settings import RAGAnythingSettings

if TYPE_CHECKING:
    from llama_index.llms.openai_like import OpenAILike

    from llama_index_raganything.models.dashscope.rerank import DashScopeRerank


def dashscope_llm(model: str = "qwen-max", **kwargs: Any) -> OpenAILike:
    """Return a chat model of DashScope.

    Args:
        **kwargs: Those of :class:`~llama_index_raganything.models.dashscope.chat.DashScopeLLM`.

    Raises:
        MissingDependencyError: The extra ``[dashscope]`` is not installed.
        ConfigurationError: An argument is wrong.
        DashScopeAuthenticationError: There is no key.
    """
    from llama_index_raganything.models.dashscope.chat import DashScopeLLM

    return DashScopeLLM(model=model, **kwargs)


def dashscope_vlm(model: str = "qwen-vl-max", **kwargs: Any) -> OpenAILike:
    """Return a vision model of DashScope.

    Args:
        model: Unknown names are assumed to support images.
        **kwargs: Those of :class:`~llama_index_raganything.models.dashscope.chat.DashScopeLLM`.

    Raises:
        MissingDependencyError: The extra ``[dashscope]`` is not installed.
        ConfigurationError: The model is known not to support images, or an argument is wrong.
        DashScopeAuthenticationError: There is no key.
    """
    from llama_index_raganything.models.dashscope.chat import DashScopeLLM

    known = chat_model(model)
    if is_known_chat_model(model) and not known.vision and kwargs.get("supports_images") is None:
        message = (
            f"{model} does not look at images; take a model that does, such as qwen-vl-max, or pass "
            "supports_images=True where it does."
        )
        raise ConfigurationError(message)
    return DashScopeLLM(model=model, **{**kwargs, "supports_images": kwargs.get("supports_images") is not False})


@strict_arguments
@dataclass(frozen=True)
class DashScopeModels:
    """The models of one configuration.

    Attributes:
        llm: Answers.
        vision_llm: Reads images.
        embed_model: Embeds texts, and images if it is multimodal.
        reranker: Orders results.
    """

    llm: LLM
    vision_llm: LLM
    embed_model: BaseEmbedding
    reranker: DashScopeRerank


@strict_arguments
def dashscope_models(settings: RAGAnythingSettings | None = None) -> DashScopeModels:
    """Make the models named by the settings, without calling them.

    Args:
        settings: By default those of the environment.

    Raises:
        DashScopeAuthenticationError: There is no key.
        MissingDependencyError: The extra ``[dashscope]`` is not installed.
        ConfigurationError: A URL is unusable, or the embedding model has no vectors of ``EMBED_DIM``.
    """
    settings = settings or RAGAnythingSettings()
    return DashScopeModels(
        llm=make_llm(settings),
        vision_llm=make_vision_llm(settings),
        embed_model=make_embed_model(settings),
        reranker=make_reranker(settings),
    )


def make_llm(settings: RAGAnythingSettings, **options: Any) -> LLM:
    """Make the chat model of the settings.

    Args:
        **options: Further arguments of :func:`dashscope_llm`, such as ``temperature``.
    """
    return dashscope_llm(settings.llm_text_model, **_chat_connection(settings, settings.aliyun_llm_url), **options)


def make_vision_llm(settings: RAGAnythingSettings, **options: Any) -> LLM:
    """Make the vision model of the settings.

    Args:
        **options: Further arguments of :func:`dashscope_vlm`, such as ``temperature``.
    """
    return dashscope_vlm(settings.llm_vlm_model, **_chat_connection(settings, settings.aliyun_vlm_url), **options)


def make_embed_model(settings: RAGAnythingSettings) -> BaseEmbedding:
    """Make the embedding model of the settings, text or multimodal by its name."""
    from llama_index_raganything.models.dashscope.embedding import DashScopeMultiModalEmbedding, DashScopeTextEmbedding

    multimodal = embedding_model(settings.embed_model).multimodal
    if settings.aliyun_embed_url:
        path = MULTIMODAL_EMBEDDING_PATH if multimodal else TEXT_EMBEDDING_PATH
        used = endpoints.Endpoints.resolve(settings.aliyun_embed_url).native + path
        endpoints.announce_correction("ALIYUN_EMBED_URL", settings.aliyun_embed_url, used)
    made = DashScopeMultiModalEmbedding if multimodal else DashScopeTextEmbedding
    connection = _connection(settings, settings.aliyun_embed_url)
    return made(model_name=settings.embed_model, dimension=settings.embed_dim, **connection)


def make_reranker(settings: RAGAnythingSettings, **options: Any) -> DashScopeRerank:
    """Make the rerank model of the settings, at the host of the embedding model.

    Args:
        **options: Further arguments of :class:`DashScopeRerank`, such as ``top_n``.
    """
    from llama_index_raganything.models.dashscope.rerank import DashScopeRerank

    return DashScopeRerank(model=settings.rerank_model, **_connection(settings, settings.aliyun_embed_url), **options)


def _chat_connection(settings: RAGAnythingSettings, url: str | None) -> dict[str, Any]:
    options = _connection(settings, url)
    options["timeout"] = options.pop("timeout_s")  # The name of a field of OpenAILike.
    return options


def _connection(settings: RAGAnythingSettings, url: str | None) -> dict[str, Any]:
    endpoints.announce_unused_region(url, settings.dashscope_region)
    return {
        "api_key": endpoints.resolve_api_key(settings.dashscope_api_key),
        "api_base": url,
        "region": settings.dashscope_region,
        "workspace": settings.dashscope_workspace,
        "timeout_s": settings.dashscope_timeout_s,
        "max_retries": settings.dashscope_max_retries,
    }
