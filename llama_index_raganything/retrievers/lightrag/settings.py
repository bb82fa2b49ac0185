"""What a LightRAG object is opened with, and the checks of what callers give."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import LLM
from pydantic import SecretStr

from llama_index_raganything.errors import ConfigurationError, SourceError
from llama_index_raganything.retrievers.lightrag.chunks import FILE_NAME, ChunkTable

if TYPE_CHECKING:
    from llama_index_raganything.stores.milvus.connection import Address

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
    # Models show their keys.
    llm: LLM | None = field(repr=False)
    embed_model: BaseEmbedding = field(repr=False)
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
    from llama_index_raganything.stores.milvus.connection import Address

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


def prepare_folder(working_dir: str | Path, workspace: str, *, with_milvus: bool) -> None:
    """Make the folder of a workspace, with an empty table where there is none.

    Args:
        working_dir: LightRAG's working directory.
        with_milvus: Whether the vectors are kept in Milvus.

    Raises:
        ConfigurationError: The workspace's name cannot be one.
        SourceError: The folder cannot be written.
    """
    check_workspace(workspace, with_milvus=with_milvus)
    if with_milvus and not workspace:
        raise ConfigurationError(
            "Name a workspace, such as workspace='my_graph': LightRAG's collections in Milvus begin with it, and "
            "without it all directories would share the collections chunks, entities and relationships."
        )
    table = ChunkTable.load(Path(working_dir) / workspace)
    if not table.path.exists():
        try:
            table.save()
        except OSError as error:
            message = f"The working directory {working_dir} cannot be written: {error.strerror or error}."
            raise SourceError(message) from error


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds nothing of LightRAG.

    Args:
        folder: Folder of the workspace.

    Raises:
        SourceError: There is neither our table nor a file of LightRAG.
    """
    if not (folder / FILE_NAME).exists() and not any(folder.glob("kv_store_*.json")):
        message = (
            f"There is no LightRAG data in {folder}. Check working_dir and workspace, or build it with "
            "LightRAGRetriever.from_nodes(nodes, working_dir)."
        )
        raise SourceError(message)
