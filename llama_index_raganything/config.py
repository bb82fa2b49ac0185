"""Settings from arguments, the environment and, only where asked, a ``.env`` file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

DEFAULT_WORKING_DIR = Path("rag_storage")
"""Folder for parsed files and assets; the name is RAG-Anything's own default."""

DEFAULT_MILVUS_URI = "./milvus.db"
DEFAULT_COLLECTION = "rag_anything"


class RAGAnythingSettings(BaseSettings):
    """What the package reads from the environment.

    Arguments win over the environment, the environment over the ``.env`` file given to
    :meth:`from_env_file`. No ``.env`` file is read unless it is named.

    Attributes:
        milvus_uri: Milvus Lite directory, ``http(s)://`` server, or Zilliz Cloud endpoint (``MILVUS_URI``).
        milvus_token: ``user:password`` or API key (``MILVUS_TOKEN``); never printed.
        milvus_collection: Name of the knowledge base (``MILVUS_COLLECTION``).
        milvus_db_name: Database on the server (``MILVUS_DB_NAME``).
        working_dir: Folder for parse cache and assets (``RAG_WORKING_DIR``).
    """

    model_config = SettingsConfigDict(extra="ignore", env_file=None, populate_by_name=True)

    milvus_uri: str = Field(default=DEFAULT_MILVUS_URI, alias="MILVUS_URI")
    milvus_token: SecretStr | None = Field(default=None, alias="MILVUS_TOKEN")
    milvus_collection: str = Field(default=DEFAULT_COLLECTION, alias="MILVUS_COLLECTION")
    milvus_db_name: str = Field(default="", alias="MILVUS_DB_NAME")
    working_dir: Path = Field(default=DEFAULT_WORKING_DIR, alias="RAG_WORKING_DIR")

    @classmethod
    def from_env_file(cls, path: str | Path = ".env", **values: Any) -> RAGAnythingSettings:
        """Read settings from a ``.env`` file below the environment and the arguments.

        Args:
            path: The ``.env`` file.
            **values: Settings that win over everything else.

        Returns:
            The settings.
        """
        return cls(_env_file=path, **values)
