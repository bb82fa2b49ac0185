"""What LightRAG answers, read: chunks in its order, each with the entities and relations that led to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llama_index.core.schema import BaseNode, NodeWithScore, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.types import BasePydanticVectorStore, MetadataFilters
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from llama_index_raganything.elements import GRAPH_PATH_KEY, content_id
from llama_index_raganything.errors import ConfigurationError, FilterError
from llama_index_raganything.questions.question import understand
from llama_index_raganything.ranking.evidence_ranker import annotated_copy

FILE_NAME: Final = "raganything_nodes.json"


class NodeSource:
    """Looks nodes up by id, in a vector store or in memory.

    Args:
        store: Holds the nodes; the truth about them, filters and tenants.
        nodes: Nodes in memory, where there is no store.
    """

    def __init__(self, store: BasePydanticVectorStore | None = None, nodes: Iterable[BaseNode] | None = None) -> None:
        self.store = store
        self._nodes = {node.node_id: node for node in nodes or ()}

    def decides(self, node_id: str) -> bool:
        """Return whether a node that was not found must not be replaced by its chunk's text.

        Returns:
            True where a store is the boundary of its tenant, or the node is known and did not pass the filters.
        """
        return self.store is not None or node_id in self._nodes

    def load(self, folder: Path) -> None:
        """Read the nodes that an earlier build without a store has left in a folder.

        Args:
            folder: Folder of the workspace.
        """
        path = folder / FILE_NAME
        if self.store is None and path.exists():
            kept = SimpleDocumentStore.from_persist_path(str(path))
            self._nodes = {**kept.docs, **self._nodes}

    def record(self, folder: Path, added: Iterable[BaseNode] = (), dropped: Iterable[str] = ()) -> None:
        """Keep nodes in memory and in a folder, unless a store has them.

        Args:
            folder: Folder of the workspace.
            added: Nodes to keep.
            dropped: Ids of nodes to keep no longer.
        """
        if self.store is not None:
            return
        self.load(folder)
        self._nodes.update((node.node_id, node.model_copy(update={"embedding": None})) for node in added)
        for node_id in dropped:
            self._nodes.pop(node_id, None)
        kept = SimpleDocumentStore()
        kept.add_documents(list(self._nodes.values()))
        kept.persist(str(folder / FILE_NAME))

    def get(self, node_ids: Sequence[str], filters: MetadataFilters | None) -> dict[str, BaseNode]:
        """Return nodes.

        Args:
            node_ids: Their ids.
            filters: What they must pass.

        Returns:
            Copies by id, without embeddings; those that are not there or do not pass are left out.

        Raises:
            ConfigurationError: The store cannot look nodes up by id.
        """
        if not node_ids:
            return {}
        if self.store is None:
            found: list[BaseNode] = [self._nodes[node_id] for node_id in node_ids if node_id in self._nodes]
            found = passing(found, filters)
        else:
            try:
                found = self.store.get_nodes(node_ids=list(node_ids), filters=filters)
            except NotImplementedError as error:
                message = (
                    f"{type(self.store).__name__} cannot look nodes up by id; pass nodes=... or use MilvusNodeStore."
                )
                raise ConfigurationError(message) from error
        return {node.node_id: node.model_copy(update={"embedding": None}, deep=True) for node in found}


def passing(nodes: Sequence[BaseNode], filters: MetadataFilters | None) -> list[BaseNode]:
    """Return the nodes that pass some filters.

    Args:
        filters: Filters; all pass where there are none.

    Returns:
        Those that pass, in order.

    Raises:
        FilterError: A filter's value cannot be compared with what is stored.
    """
    if filters is None or not filters.filters:
        return list(nodes)
    passes = build_metadata_filter_fn(lambda node_id: by_id[node_id].metadata, filters)
    by_id = {node.node_id: node for node in nodes}
    try:
        return [node for node in nodes if passes(node.node_id)]
    except TypeError as error:
        message = f"A filter compares values of different types ({error}): {filters}."
        raise FilterError(message) from error


RANK_CONSTANT: Final = 60
"""As in reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): LightRAG gives an order but no scores."""

MODES: Final = ("local", "global", "hybrid", "mix", "naive")

_WHOLE: Final = 1_000_000_000
"""A budget of tokens that cuts no result: none of this goes into a prompt."""

_LEAST_CHARACTERS: Final = 3
_SEPARATOR: Final = "<SEP>"
_SHOWN: Final = 5
_DESCRIPTION_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class ChunkHit:
    """A chunk that LightRAG found.

    Attributes:
        chunk_id: Its id in LightRAG.
        content: Its text.
        file_path: The file path it was stored under.
        rank: Its place, counted from 1.
        path: Entities and relations that name the chunk as a source; empty in mode naive.
        node_ids: Nodes behind the chunk, or None when it is not one of ours.
    """

    chunk_id: str
    content: str
    file_path: str
    rank: int
    path: Mapping[str, Any]
    node_ids: Sequence[str] | None = None

    @property
    def score(self) -> float:
        """The reciprocal of 60 plus the rank."""
        return 1.0 / (RANK_CONSTANT + self.rank)

    @property
    def candidates(self) -> Sequence[str]:
        """Ids that may be nodes of ours; others build directories with ``file_paths=node_ids`` too."""
        return self.node_ids if self.node_ids is not None else (self.file_path,)

    @property
    def own_id(self) -> str:
        """A node id for a chunk that is not one of our nodes."""
        return content_id("lightrag", self.chunk_id, self.file_path, self.content)


def query_arguments(query: str, mode: str, count: int, *, own_keywords: bool) -> list[tuple[str, dict[str, Any]]]:
    """Return what to ask LightRAG.

    Args:
        mode: LightRAG's mode.
        count: How many chunks to ask for.
        own_keywords: Give the question's content words as keywords, so that no LLM is asked for them.

    Returns:
        A question and the arguments of ``QueryParam``, or nothing when the question is empty.
    """
    # Lone surrogates cannot be encoded, and LightRAG hashes the question.
    text = query.encode("utf-8", "ignore").decode().strip()
    if not text:
        return []
    arguments: dict[str, Any] = {
        "mode": mode,
        "top_k": max(40, count),
        "chunk_top_k": count,
        "max_entity_tokens": _WHOLE,
        "max_relation_tokens": _WHOLE,
        "max_total_tokens": 4 * _WHOLE,
        "enable_rerank": False,
    }
    if own_keywords and mode != "naive":
        keywords = list(dict.fromkeys(understand(text).keywords)) or [text]
        arguments |= {"hl_keywords": keywords, "ll_keywords": keywords}
    if len(text) < _LEAST_CHARACTERS:
        # LightRAG 1.5 refuses questions of one or two letters.
        text += " ??"
    return [(text, arguments)]


def read_hits(answer: Mapping[str, Any], mode: str) -> list[ChunkHit]:
    """Read the answer of ``aquery_data``.

    Args:
        mode: The mode asked for.

    Returns:
        Chunks, best first, each once.
    """
    data = answer.get("data") or {}
    entities, relations = _by_chunk(data.get("entities")), _by_chunk(data.get("relationships"))
    hits: dict[tuple[str, str], ChunkHit] = {}
    for chunk in data.get("chunks") or ():
        chunk_id, content = str(chunk.get("chunk_id") or ""), str(chunk.get("content") or "")
        path = _path(mode, entities.get(chunk_id, ()), relations.get(chunk_id, ()))
        file_path = str(chunk.get("file_path") or "")
        hits.setdefault((chunk_id, content), ChunkHit(chunk_id, content, file_path, len(hits) + 1, path))
    return list(hits.values())


def merge(
    hits: Sequence[ChunkHit], nodes: Mapping[str, BaseNode], source: NodeSource, filters: MetadataFilters | None
) -> list[NodeWithScore]:
    """Return nodes for chunks.

    Args:
        hits: Chunks, best first.
        nodes: Nodes that were found and pass the filters, by id.
        source: Where they are from; says what must not be replaced by a chunk's text.
        filters: What replacements must pass.

    Returns:
        Nodes, best first, each once.
    """
    result: dict[str, NodeWithScore] = {}
    for hit in hits:
        found = [nodes[node_id] for node_id in hit.candidates if node_id in nodes]
        # A chunk of ours without nodes is one whose deletion has failed.
        if not found and hit.candidates and not any(source.decides(node_id) for node_id in hit.candidates):
            found = passing([_chunk_node(hit)], filters)
        for node in found:
            shown = annotated_copy(node, GRAPH_PATH_KEY, hit.path) if hit.path else node
            result.setdefault(node.node_id, NodeWithScore(node=shown, score=hit.score))
    return list(result.values())


def _chunk_node(hit: ChunkHit) -> BaseNode:
    return TextNode(
        id_=hit.node_ids[0] if hit.node_ids else hit.own_id,
        text=hit.content,
        metadata={"file_path": hit.file_path, "chunk_id": hit.chunk_id},
        excluded_embed_metadata_keys=["file_path", "chunk_id"],
        excluded_llm_metadata_keys=["chunk_id"],
    )


def _by_chunk(items: Sequence[Mapping[str, Any]] | None) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for item in items or ():
        for chunk_id in str(item.get("source_id") or "").split(_SEPARATOR):
            found.setdefault(chunk_id, []).append(item)
    return found


def _path(mode: str, entities: Sequence[Mapping[str, Any]], relations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not entities and not relations:
        return {}
    return {
        "route": "lightrag",
        "mode": mode,
        "entities": [
            {"name": item.get("entity_name"), "type": item.get("entity_type"), "description": _brief(item)}
            for item in entities[:_SHOWN]
        ],
        "relations": [
            {
                "source": item.get("src_id"),
                "target": item.get("tgt_id"),
                "keywords": item.get("keywords"),
                "description": _brief(item),
            }
            for item in relations[:_SHOWN]
        ],
    }


def _brief(item: Mapping[str, Any]) -> str:
    text = str(item.get("description") or "").replace(_SEPARATOR, " ")
    return text if len(text) <= _DESCRIPTION_CHARACTERS else text[: _DESCRIPTION_CHARACTERS - 1] + "…"
