"""A LightRAG workspace: what it is opened with, its folder, and which of our nodes are behind its chunks."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import LLM
from pydantic import SecretStr

from llama_index_raganything.errors import ConfigurationError, SchemaMismatchError, SourceError

if TYPE_CHECKING:
    from llama_index_raganything.stores.milvus.connection import Address

FILE_NAME: Final = "raganything_chunks.json"
_VERSION: Final = 1
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,128}")
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
        workers: How many documents and LLM calls run at the same time.
        vectors_only: Without an LLM, build without entities.
    """

    working_dir: Path
    workspace: str
    # Models show their keys.
    llm: LLM | None = field(repr=False)
    embed_model: BaseEmbedding = field(repr=False)
    address: Address | None
    options: Mapping[str, Any]
    workers: int
    vectors_only: bool = False

    @property
    def folder(self) -> Path:
        """Where the workspace's files are."""
        return self.working_dir / self.workspace if self.workspace else self.working_dir


def document_id(node_id: str) -> str:
    """Return the LightRAG document id, which is also its file path, of a node.

    Returns:
        The node id itself where it is plain. Other ids are hashed: LightRAG writes file paths into GraphML, which
        forbids control characters, joins them with ``<SEP>``, and since 1.5 keeps only what follows the last slash.
    """
    if _PLAIN.fullmatch(node_id):
        return node_id
    return "node-" + hashlib.sha256(node_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def text_key(text: str) -> str:
    """Return what identifies a text.

    Args:
        text: The text as LightRAG stores it.

    Returns:
        A digest.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(slots=True)
class Entry:
    """One LightRAG document.

    Attributes:
        key: What identifies its text.
        nodes: Ids of the nodes that have this text.
        chunks: Ids of its chunks.
    """

    key: str
    nodes: list[str]
    chunks: list[str] = field(default_factory=list)


class ChunkTable:
    """Documents of one LightRAG workspace, with the nodes that share each text.

    LightRAG keys chunks by their text (1.4.16), so that of two nodes with one text it keeps one, and deleting one
    destroys the other's chunk. Here one text is one document, and all its nodes are listed.

    Args:
        path: The JSON file.
        entries: Entries by document id.
    """

    def __init__(self, path: Path, entries: Mapping[str, Entry] | None = None) -> None:
        self.path = path
        self.entries: dict[str, Entry] = dict(entries or {})
        self._by_chunk: dict[str, list[str]] | None = None

    @classmethod
    def load(cls, folder: Path) -> ChunkTable:
        """Read the table of a folder.

        Args:
            folder: Folder of the workspace.

        Returns:
            The table; empty where there is none, as in a folder that LightRAG or RAG-Anything has made.

        Raises:
            SchemaMismatchError: The file is no such table or has a later version.
        """
        path = folder / FILE_NAME
        if not path.exists():
            return cls(path)
        try:
            stored = json.loads(path.read_text(encoding="utf-8", errors="surrogatepass"))
            if stored["version"] != _VERSION:
                message = f"{path} has version {stored['version']}; this package reads version {_VERSION}."
                raise SchemaMismatchError(message)
            return cls(path, {name: Entry(**entry) for name, entry in stored["documents"].items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"{path} is damaged ({error!r}); delete it to use the folder without it, or build it again."
            raise SchemaMismatchError(message) from error

    def save(self) -> None:
        """Write the table, whole or not at all."""
        self._by_chunk = None
        documents = {name: asdict(entry) for name, entry in self.entries.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".tmp")
        draft.write_text(json.dumps({"version": _VERSION, "documents": documents}), encoding="utf-8")
        os.replace(draft, self.path)

    def by_key(self) -> dict[str, str]:
        """Return document ids by text key."""
        return {entry.key: name for name, entry in self.entries.items()}

    def by_node(self) -> dict[str, str]:
        """Return document ids by node id."""
        return {node_id: name for name, entry in self.entries.items() for node_id in entry.nodes}

    def nodes_of(self, chunk_id: str, file_path: str) -> list[str] | None:
        """Return the nodes behind a chunk.

        Args:
            file_path: Its file path, a document id where we have built the folder.

        Returns:
            Node ids, or None when the table does not know the chunk.
        """
        if self._by_chunk is None:
            self._by_chunk = {}
            for name, entry in self.entries.items():
                for chunk in entry.chunks:
                    self._by_chunk.setdefault(chunk, []).append(name)
        names = [*self._by_chunk.get(chunk_id, ()), *([file_path] if file_path in self.entries else ())]
        return list(dict.fromkeys(i for name in names for i in self.entries[name].nodes)) if names else None

    def drop_nodes(self, node_ids: Iterable[str]) -> list[str]:
        """Take nodes out.

        Args:
            node_ids: Their ids; unknown ones are passed over.

        Returns:
            Ids of the documents that no node has any more, earlier ones whose deletion failed among them; they stay in
            the table until they are deleted.
        """
        owners = self.by_node()
        for node_id in node_ids:
            name = owners.pop(node_id, None)
            if name is not None:
                self.entries[name].nodes.remove(node_id)
        return [name for name, entry in self.entries.items() if not entry.nodes]


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
    """Refuse a folder without LightRAG data.

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
