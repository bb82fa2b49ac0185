"""Settings from arguments, the environment and, only where asked, a ``.env`` file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from llama_index_raganything._arguments import argument_names, refuse_unknown, strict_arguments
from llama_index_raganything.errors import ConfigurationError

DEFAULT_WORKING_DIR = Path("rag_storage")
"""Folder for parsed files and assets; the name is RAG-Anything's own default."""

DEFAULT_MILVUS_URI = "./milvus.db"
DEFAULT_COLLECTION = "rag_anything"

Models = Literal["auto", "embedded", "dashscope"]
"""Which models are used where the caller gives none: those that the settings choose, embedded or a provider's."""

_NETWORK_FIELDS = ("dashscope_api_key", "rag_llm", "rag_vision_llm", "rag_embed")
"""Settings that name models behind a network."""


def names_provider(models: str) -> bool:
    """Return whether this is the name of a provider, all of whose models the settings name."""
    return models not in {"auto", "embedded"}


@strict_arguments
class RAGAnythingSettings(BaseSettings):
    """Settings that the package reads from the environment.

    Arguments override the environment, which overrides the ``.env`` file given to :meth:`from_env_file`. No ``.env``
    file is read unless it is named.

    Attributes:
        milvus_uri: Milvus Lite directory, ``http(s)://`` server, or Zilliz Cloud endpoint (``MILVUS_URI``).
        milvus_token: ``user:password`` or API key (``MILVUS_TOKEN``); never printed.
        milvus_collection: Name of the knowledge base (``MILVUS_COLLECTION``).
        milvus_db_name: Database on the server (``MILVUS_DB_NAME``).
        working_dir: Folder for parse cache and assets (``RAG_WORKING_DIR``).
        rag_llm: LLM that answers, as ``PROVIDER:MODEL`` or ``PROVIDER:MODEL@URL`` (``RAG_LLM``), such as
            ``ollama:qwen3`` or ``openai-like:my-model@http://localhost:8000/v1``.
        rag_vision_llm: LLM that looks at images, in the same form (``RAG_VISION_LLM``).
        rag_embed: Embedding model, in the same form (``RAG_EMBED``).
        rag_llm_api_key: Key of the servers of both LLMs (``RAG_LLM_API_KEY``); never printed.
        rag_embed_api_key: Key of the embedding model's server (``RAG_EMBED_API_KEY``); never printed.
        rag_llm_context_window: Context window of the LLM in tokens (``RAG_LLM_CONTEXT_WINDOW``); 32,768 by default,
            with Ollama what its server was started with.
        openai_api_key: Key of OpenAI (``OPENAI_API_KEY``), sent nowhere else; never printed.
        ollama_host: Where Ollama is (``OLLAMA_HOST``).
        ollama_context_length: Tokens that Ollama's server takes (``OLLAMA_CONTEXT_LENGTH``); 4,096 by default.
        dashscope_api_key: Key of DashScope (``DASHSCOPE_API_KEY``); never printed.
        aliyun_llm_url: Host, base or route of the chat model (``ALIYUN_LLM_URL``).
        aliyun_vlm_url: The same of the vision model (``ALIYUN_VLM_URL``).
        aliyun_embed_url: The same of the embedding and the rerank model (``ALIYUN_EMBED_URL``).
        llm_text_model: Chat model (``LLM_TEXT_MODEL``).
        llm_vlm_model: Vision model (``LLM_VLM_MODEL``).
        embed_model: Embedding model, multimodal or of texts (``EMBED_MODEL``).
        embed_dim: Dimension of its vectors, its own by default (``EMBED_DIM``).
        rerank_model: Rerank model (``RERANK_MODEL``).
        dashscope_region: Region of the key where no URL is given (``DASHSCOPE_API_REGION``).
        dashscope_workspace: Workspace with an address of its own (``DASHSCOPE_WORKSPACE_ID``).
        dashscope_timeout_s: Seconds without any answer after which a call of DashScope fails (``DASHSCOPE_TIMEOUT``).
        dashscope_max_retries: Requests sent again after 429 and 5xx (``DASHSCOPE_MAX_RETRIES``).
    """

    model_config = SettingsConfigDict(
        extra="ignore",
        env_file=None,
        env_file_encoding="utf-8-sig",  # Older python-dotenv takes Windows' byte order mark for a letter.
        populate_by_name=True,
        env_ignore_empty=True,
    )

    milvus_uri: str = Field(default=DEFAULT_MILVUS_URI, alias="MILVUS_URI")
    milvus_token: SecretStr | None = Field(default=None, alias="MILVUS_TOKEN")
    milvus_collection: str = Field(default=DEFAULT_COLLECTION, alias="MILVUS_COLLECTION")
    milvus_db_name: str = Field(default="", alias="MILVUS_DB_NAME")
    working_dir: Path = Field(default=DEFAULT_WORKING_DIR, alias="RAG_WORKING_DIR")
    rag_llm: str | None = Field(default=None, alias="RAG_LLM")
    rag_vision_llm: str | None = Field(default=None, alias="RAG_VISION_LLM")
    rag_embed: str | None = Field(default=None, alias="RAG_EMBED")
    rag_llm_api_key: SecretStr | None = Field(default=None, alias="RAG_LLM_API_KEY")
    rag_embed_api_key: SecretStr | None = Field(default=None, alias="RAG_EMBED_API_KEY")
    rag_llm_context_window: int | None = Field(default=None, gt=0, alias="RAG_LLM_CONTEXT_WINDOW")
    openai_api_key: SecretStr | None = Field(default=None, alias="OPENAI_API_KEY")
    ollama_host: str = Field(default="http://127.0.0.1:11434", alias="OLLAMA_HOST")
    ollama_context_length: int | None = Field(default=None, gt=0, alias="OLLAMA_CONTEXT_LENGTH")
    dashscope_api_key: SecretStr | None = Field(default=None, alias="DASHSCOPE_API_KEY")
    aliyun_llm_url: str | None = Field(default=None, alias="ALIYUN_LLM_URL")
    aliyun_vlm_url: str | None = Field(default=None, alias="ALIYUN_VLM_URL")
    aliyun_embed_url: str | None = Field(default=None, alias="ALIYUN_EMBED_URL")
    llm_text_model: str = Field(default="qwen-max", alias="LLM_TEXT_MODEL")
    llm_vlm_model: str = Field(default="qwen-vl-max", alias="LLM_VLM_MODEL")
    embed_model: str = Field(default="tongyi-embedding-vision-plus", alias="EMBED_MODEL")
    embed_dim: int | None = Field(default=None, gt=0, alias="EMBED_DIM")
    rerank_model: str = Field(default="qwen3-rerank", alias="RERANK_MODEL")
    dashscope_region: str | None = Field(default=None, alias="DASHSCOPE_API_REGION")
    dashscope_workspace: str | None = Field(default=None, alias="DASHSCOPE_WORKSPACE_ID")
    dashscope_timeout_s: float = Field(default=60.0, gt=0, alias="DASHSCOPE_TIMEOUT")
    dashscope_max_retries: int = Field(default=2, ge=0, alias="DASHSCOPE_MAX_RETRIES")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            # Without the values: one of them may be a key in the wrong place.
            wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            message = f"Settings cannot be used ({wrong}); correct them in the environment, the .env file or the call."
            raise ConfigurationError(message) from None

    @model_validator(mode="before")
    @classmethod
    def _unquoted(cls, values: Any) -> Any:
        """Take off blanks and quotes, which Docker's ``--env-file`` leaves on; what is blank then is not set."""
        if not isinstance(values, dict):
            return values
        bare = {name: _bare(value) for name, value in values.items()}
        return {name: value for name, value in bare.items() if value != ""}

    def __reduce__(self) -> tuple[Any, tuple[dict[str, Any]]]:
        # Pickles hold no secret: one that is set is read from the environment again, one that is not stays so.
        values = {name: value for name, value in self if not isinstance(value, SecretStr)}
        return _settings_of, (values,)

    def without_network(self) -> Self:
        """Return these settings without the models behind a network."""
        return self.model_copy(update=dict.fromkeys(_NETWORK_FIELDS))

    @classmethod
    def from_env_file(cls, path: str | Path = ".env", **values: Any) -> RAGAnythingSettings:
        """Read settings from a ``.env`` file below the environment and the arguments.

        Args:
            path: The ``.env`` file.
            **values: Settings that win over everything else.

        Returns:
            The settings.

        Raises:
            ConfigurationError: There is no such file, it is no text, or a value cannot be used.
        """
        refuse_unknown(f"{cls.__name__}.from_env_file()", values, argument_names(cls, cls.from_env_file))
        if not Path(path).is_file():
            message = f"The .env file {str(path)!r} does not exist; check the path, or copy .env.example to it."
            raise ConfigurationError(message)
        try:
            return cls(_env_file=path, **values)
        except (OSError, UnicodeDecodeError) as error:
            message = f"The .env file {str(path)!r} cannot be read ({type(error).__name__}); save it as UTF-8 text."
            raise ConfigurationError(message) from error


def _settings_of(values: dict[str, Any]) -> RAGAnythingSettings:
    return RAGAnythingSettings(**values)


def _bare(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
