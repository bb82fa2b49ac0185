"""DashScope's chat models by function; the package that they need is imported when one is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.models.dashscope.catalog import chat_model, is_known_chat_model

if TYPE_CHECKING:
    from llama_index.llms.openai_like import OpenAILike


def dashscope_llm(model: str = "qwen-max", **kwargs: Any) -> OpenAILike:
    """Return a chat model of DashScope.

    Args:
        model: Its name.
        **kwargs: Those of :class:`~llama_index_raganything.models.dashscope.llm.DashScopeLLM`.

    Raises:
        MissingDependencyError: The extra ``[dashscope]`` is not installed.
        ConfigurationError: An argument is wrong.
        DashScopeAuthenticationError: There is no key.
    """
    from llama_index_raganything.models.dashscope.llm import DashScopeLLM

    return DashScopeLLM(model=model, **kwargs)


def dashscope_vlm(model: str = "qwen-vl-max", **kwargs: Any) -> OpenAILike:
    """Return a chat model of DashScope that looks at images.

    Args:
        model: Its name; one that is not known is believed to see.
        **kwargs: Those of :class:`~llama_index_raganything.models.dashscope.llm.DashScopeLLM`.

    Raises:
        MissingDependencyError: The extra ``[dashscope]`` is not installed.
        ConfigurationError: The model is known to see nothing, or an argument is wrong.
        DashScopeAuthenticationError: There is no key.
    """
    from llama_index_raganything.models.dashscope.llm import DashScopeLLM

    known = chat_model(model)
    if is_known_chat_model(model) and not known.vision and kwargs.get("supports_images") is None:
        message = (
            f"{model} does not look at images; take a model that does, such as qwen-vl-max, or pass "
            "supports_images=True where it does."
        )
        raise ConfigurationError(message)
    return DashScopeLLM(model=model, **{**kwargs, "supports_images": kwargs.get("supports_images") is not False})
