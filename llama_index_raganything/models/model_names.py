"""Names of models in settings and on the command line, such as ``openai-like:MODEL@http://localhost:8000/v1``.

A name never holds a key: keys come from the environment, and OpenAI's goes to OpenAI only. A name also tells whether
the model supports images.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NoReturn
from urllib.parse import urlsplit

from llama_index.core.llms import LLM
from pydantic import SecretStr

from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.settings import RAGAnythingSettings

OPENAI_URL: Final = "https://api.openai.com/v1"
_OLLAMA_PORT: Final = 11434
_NAME: Final = re.compile(r"(?P<provider>[a-z-]+):(?P<model>.+?)(?:@(?P<url>[a-z]+://.*))?", re.IGNORECASE | re.DOTALL)
_ROUTE: Final = re.compile(r"/(?:chat/completions|completions|embeddings)/?$")
_PROVIDERS: Final = ("openai", "openai-like", "ollama", "dashscope")
_NO_KEY: Final = "no-key"
"""OpenAI's client requires a key, and would otherwise send ``OPENAI_API_KEY`` to other servers."""


@dataclass(frozen=True)
class ModelName:
    """A model and where it is served.

    >>> ModelName.parse("openai-like:Qwen/Qwen3-8B@http://localhost:8000").url
    'http://localhost:8000/v1'
    >>> ModelName.parse("ollama:qwen3:8b").model
    'qwen3:8b'

    Attributes:
        provider: ``openai``, ``openai-like``, ``ollama`` or ``dashscope``.
        model: The provider's name of the model.
        url: Base URL of the service; empty for the provider's own.
    """

    provider: str
    model: str
    url: str = ""

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """Parse ``PROVIDER:MODEL`` or ``PROVIDER:MODEL@URL``.

        Args:
            text: The URL may be a full route such as ``.../v1/chat/completions`` or a bare host.

        Raises:
            ConfigurationError: The name is malformed, or its URL holds a key or password.
        """
        found = _NAME.fullmatch(text.strip())
        if found is None or found["provider"].lower() not in _PROVIDERS:
            shown = text.partition("://")[0]  # What follows may hold a key.
            message = (
                f"{shown!r} does not name a model; use PROVIDER:MODEL or PROVIDER:MODEL@URL with one of "
                f"{', '.join(_PROVIDERS)}, for example ollama:qwen3 or openai-like:my-model@http://localhost:8000/v1."
            )
            raise ConfigurationError(message)
        provider, url = found["provider"].lower(), _base_url(found["url"] or "")
        if provider == "openai-like" and not url:
            with_scheme = re.sub(r"@(?=[\w.-]+:\d+)", "@http://", text)
            whole = with_scheme if with_scheme != text else f"{text}@http://localhost:8000/v1"
            message = f"{text!r} does not say where the model is; add its address: {whole}."
            raise ConfigurationError(message)
        if provider in {"openai", "dashscope"} and url:
            message = f"{text!r} has an address, but {provider} has its own; use openai-like:{found['model']}@URL."
            raise ConfigurationError(message)
        return cls(provider, found["model"], url)


def api_key_of(provider: str, settings: RAGAnythingSettings, own: SecretStr | None) -> str:
    """Return the key to send to a provider.

    Args:
        own: The key set for this model, if any.

    Raises:
        ConfigurationError: OpenAI's key is missing.
    """
    key = own or (settings.openai_api_key if provider == "openai" else None)
    if key is None and provider == "openai":
        raise ConfigurationError("OpenAI's models need a key; set OPENAI_API_KEY in the environment.")
    return key.get_secret_value() if key is not None else _NO_KEY


def address_of(name: ModelName, settings: RAGAnythingSettings) -> str:
    """Return the base URL of a model."""
    if name.url:
        return name.url
    return OPENAI_URL if name.provider == "openai" else _ollama_url(settings.ollama_host)


def _ollama_url(host: str) -> str:
    """Return the base URL for ``OLLAMA_HOST``, which may be a host, a port, both, or a URL."""
    text = host if "://" in host else f"http://{'127.0.0.1' if host.startswith(':') else ''}{host}"
    parts = urlsplit(text)
    name = "127.0.0.1" if parts.hostname in {None, "0.0.0.0"} else parts.hostname  # noqa: S104  # what servers listen on
    port = parts.port or (_OLLAMA_PORT if parts.scheme == "http" else 443)
    return _base_url(f"{parts.scheme}://{f'[{name}]' if ':' in str(name) else name}:{port}{parts.path}")


def _base_url(url: str) -> str:
    """Return the base of a URL, which may be a full route or a bare host."""
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        usable = parts.scheme.lower() in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
        parts = urlsplit("")
    if not usable:
        message = "The address of a model must be http(s)://HOST[:PORT][/PATH], for example http://localhost:8000/v1."
        raise ConfigurationError(message)
    if parts.username or parts.password or parts.query or parts.fragment:
        # Without the value: it may hold a key.
        message = (
            f"The address of the model at {parts.hostname} holds more than host and path; leave out user, password and "
            "query. Keys belong in the environment: RAG_LLM_API_KEY, RAG_EMBED_API_KEY."
        )
        raise ConfigurationError(message)
    path = _ROUTE.sub("", parts.path.rstrip("/"))
    return f"{parts.scheme.lower()}://{parts.netloc}{path or '/v1'}"


_VISION = re.compile(
    r"gpt-4o|gpt-4\.[1-9]|gpt-4-(?:turbo|vision)|gpt-[5-9]|(?<![a-z])o(?:[13](?:-(?!mini)|$)|4)|claude-(?:3|[4-9]|opus|sonnet|haiku)"
    r"|gemini|gemma-?3|pixtral|llava|internvl|minicpm-(?:v|o)|moondream|phi-(?:3|3\.5|4)-(?:vision|multimodal)"
    r"|llama-?3\.2-vision|llama-?4|grok-(?:2-vision|4)|mistral-(?:small-3|medium-3)|glm-4(?:\.\d)?v"
    r"|(?:^|[-_/.:])(?:vl|vlm|vision|omni)(?:[-_.:\d]|$)|qwen[\d.]*-?vl|qvq",
    re.IGNORECASE,
)

_TEXT_ONLY = re.compile(
    r"gpt-3\.5|gpt-4(?:-\d{4})?$|o1-mini|o3-mini|deepseek|qwen-?(?:max|plus|turbo|long|coder)|qwen[\d.]+-\d"
    r"|mi[sx]tral-(?:\d|large|nemo)|llama-?[23](?!\.2-vision)|phi-[23](?!.*vision)|command|kimi-k2|glm-4(?![.\d]*v)",
    re.IGNORECASE,
)


def supports_images(llm: LLM) -> bool:
    """Return whether an LLM supports images, by its own attribute, its name, or its class.

    Args:
        llm: Any LLM. An attribute ``supports_images`` decides if there is one; LlamaIndex declares none.

    Returns:
        True for a chat model known to support images, and for chat models that are not LlamaIndex integrations, whose
        names say nothing. Pass ``multimodal=...`` if the guess is wrong.
    """
    own_word = getattr(llm, "supports_images", None)
    if isinstance(own_word, bool):
        return own_word
    metadata = llm.metadata
    if not metadata.is_chat_model:
        return False
    name = metadata.model_name or ""
    if is_vision_name(name):
        return True
    is_integration = type(llm).__module__.split(".", 1)[0] == "llama_index"
    return not is_integration and not _TEXT_ONLY.search(name)


def refuse_blind(llm: LLM, sender: str, remedy: str) -> NoReturn:
    """Raise a ``ConfigurationError`` for an LLM that does not see the images it would be sent."""
    message = (
        f"{llm.class_name()} ({llm.metadata.model_name}) is not known to see images, which {sender} sends it. Pass a "
        f"multimodal LLM, {remedy}."
    )
    raise ConfigurationError(message)


def is_vision_name(name: str) -> bool:
    """Return whether the name of a model is that of a vision model."""
    return bool(_VISION.search(name))
