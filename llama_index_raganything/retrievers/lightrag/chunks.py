"""Which of our nodes stand behind LightRAG's documents and chunks: a table beside its files."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from llama_index_raganything.errors import SchemaMismatchError

FILE_NAME: Final = "raganything_chunks.json"
_VERSION: Final = 1
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,128}")


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
            message = f"{path} is damaged ({error!r}); delete it to use the folder without it, or build anew."
            raise SchemaMismatchError(message) from error

    def save(self) -> None:
        """Write the table, whole or not at all."""
        self._by_chunk = None
        documents: dict[str, Any] = {
            name: {"key": entry.key, "nodes": entry.nodes, "chunks": entry.chunks}
            for name, entry in self.entries.items()
        }
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
