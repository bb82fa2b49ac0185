"""What a LightRAG object is opened with, and the checks of what callers give."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import LLM
from pydantic import SecretStr

from llama_index_raganything.errors import ConfigurationError

if TYPE_CHECKING:
    from llama_index_raganything.stores.clients import Address

_WORKSPACE = re.compile(r"[A-Za-z0-9_-]{0,64}")
_MILVUS_WORKSPACE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}|")


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What a LightRAG object is opened with.

    Attributes:
        working_dir: LightRAG's working directory.
        workspace: Its workspace, a folder below the directory and a prefix of Milvus collections.
        llm: Extracts entities and, where asked to, keywords.
        embed_model: Embeds texts and questions.
        address: The Milvus for LightRAG's vectors; None for LightRAG's own vector files.
        options: Further arguments of ``LightRAG(...)``.
        num_workers: How many documents and LLM calls run at the same time.
        vectors_only: Without an LLM, build without entities.
    """

    working_dir: Path
    workspace: str
    llm: LLM | None
    embed_model: BaseEmbedding
    address: Address | None
    options: Mapping[str, Any]
    num_workers: int
    vectors_only: bool = False

    @property
    def folder(self) -> Path:
        """Where the workspace's files are."""
        return self.working_dir / self.workspace if self.workspace else self.working_dir


def parse_address(uri: str | Path | None, token: SecretStr | str | None, db_name: str) -> Address | None:
    """Read the address of a Milvus.

    Args:
        uri: Path or URL; None for no Milvus.
        token: ``user:password`` or API key.
        db_name: Database on the server.

    Returns:
        The address, or None.
    """
    if uri is None:
        return None
    from llama_index_raganything.stores.clients import Address

    return Address.parse(uri, token, db_name)


def check_workspace(workspace: str, *, with_milvus: bool) -> None:
    """Refuse names that lead out of the working directory, or that Milvus would not take for a collection.

    Args:
        workspace: The name; LightRAG joins it to a path and to the names of collections as it is.
        with_milvus: Whether it names collections too.

    Raises:
        ConfigurationError: It has other characters than letters, digits, ``_`` and ``-``.
    """
    if not (_MILVUS_WORKSPACE if with_milvus else _WORKSPACE).fullmatch(workspace):
        allowed = "letters, digits and _, not beginning with a digit" if with_milvus else "letters, digits, _ and -"
        message = f"The workspace {workspace!r} may have up to 64 {allowed}."
        raise ConfigurationError(message)
