"""Triples extracted by an LLM through LlamaIndex's own extractors, with every source kept.

Optional: the graph needs no LLM. :class:`TripleExtractor` wraps an extractor such as ``SimpleLLMPathExtractor`` or
``DynamicLLMPathExtractor`` and adds what those lack: limited concurrency with retries, failures that are reported and
cost no other chunk, names merged before they are embedded, and every source of a statement instead of the last.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from llama_index.core.async_utils import asyncio_run, run_jobs
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.graph_stores.types import (
    KG_NODES_KEY,
    KG_RELATIONS_KEY,
    TRIPLET_SOURCE_KEY,
    LabelledNode,
    PropertyGraphStore,
    Relation,
)
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.schema import BaseComponent, BaseNode, MetadataMode, TextNode, TransformComponent
from pydantic import BaseModel, Field, PrivateAttr, SerializeAsAny

from llama_index_raganything._arguments import refuse_misspelt, strict_arguments
from llama_index_raganything.errors import Failure, IngestionError
from llama_index_raganything.graph.extraction.entities import ChunkTriples, ExtractedTriples, TripleSource, merge_chunks
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.retries import attempt

logger = logging.getLogger(__name__)

Item = TypeVar("Item", LabelledNode, Relation)

_KG_KEYS: Final = (KG_NODES_KEY, KG_RELATIONS_KEY)


@strict_arguments
class TripleExtractor(TransformComponent):
    """Run a LlamaIndex extractor over nodes, merge the results, and pass them to a graph.

    >>> from llama_index.core.indices.property_graph import SimpleLLMPathExtractor
    >>> from llama_index.core.schema import TextNode
    >>> from llama_index_raganything.testing import ScriptedTextLLM
    >>> llm = ScriptedTextLLM(replies=["(Ada Lovelace, wrote for, Charles Babbage)"])
    >>> found = TripleExtractor(extractor=SimpleLLMPathExtractor(llm=llm)).extract([TextNode(text="...")])
    >>> [entity.name for entity in found.entities]
    ['Ada lovelace', 'Charles babbage']

    As a transformation it writes into ``property_graph_store`` if there is one; else it leaves the merged objects where
    LlamaIndex's extractors do, so that ``PropertyGraphIndex(kg_extractors=[...])`` finds them.

    Args:
        extractor: Puts ``EntityNode`` and ``Relation`` objects into node metadata: ``SimpleLLMPathExtractor``,
            ``DynamicLLMPathExtractor``, ``SchemaLLMPathExtractor``, ``ImplicitPathExtractor`` or your own.
        embed_model: Embeds name and description of each merged entity; None leaves that to the store.
        property_graph_store: Receives the result of a call as a transformation.
        workers: Number of chunks processed concurrently.
        max_retries: Retries of a failed chunk.
        retry_s: Seconds before the first retry; doubled for each further one.
        strict: Raise if a chunk failed, after the others are done (and written).
    """

    extractor: SerializeAsAny[TransformComponent] = Field(exclude=True, repr=False, description="Extractor to wrap.")
    embed_model: BaseEmbedding | None = Field(
        default=None, exclude=True, repr=False, description="Embeds the entities."
    )
    property_graph_store: Any = Field(
        default=None, exclude=True, repr=False, description="PropertyGraphStore to write into."
    )
    workers: int = Field(default=4, ge=1, description="Chunks extracted at the same time.")
    max_retries: int = Field(default=2, ge=0, description="Further attempts after a failure.")
    retry_s: float = Field(default=1.0, ge=0.0, description="Seconds before the first retry.")
    strict: bool = Field(default=False, description="Raise when a chunk failed.")

    _failures: list[tuple[str, str]] = PrivateAttr(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "TripleExtractor"

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Pairs of node id and reason of the last call as a transformation."""
        return list(self._failures)

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Return the settings that decide the output, without models' secrets and functions.

        Args:
            **kwargs: Passed on to the base class.
        """
        data = super().to_dict(**kwargs)
        data["extractor"] = _settings_of(self.extractor)
        if self.embed_model is not None:
            data["embed_model"] = [self.embed_model.class_name(), self.embed_model.model_name]
        return data

    def extract(self, nodes: Sequence[BaseNode], show_progress: bool = False) -> ExtractedTriples:
        """Extract triples from nodes; also works inside a running event loop.

        Args:
            nodes: Chunks; they are not changed. Objects that an earlier extractor left in them are merged too.
            show_progress: Show a progress bar.

        Returns:
            Merged entities and relations, and the chunks that failed.
        """
        # asyncio_run() hides a RuntimeError of the coroutine behind "nested async"; chunks never raise one.
        merged = _merge(asyncio_run(self._achunks(nodes, show_progress)))
        if self.embed_model is not None and merged.entities:
            texts = [str(entity) for entity in merged.entities]
            _set_embeddings(merged, self.embed_model.get_text_embedding_batch(texts, show_progress=show_progress))
        return merged

    async def aextract(self, nodes: Sequence[BaseNode], show_progress: bool = False) -> ExtractedTriples:
        """Async twin of :meth:`extract`."""
        merged = _merge(await self._achunks(nodes, show_progress))
        if self.embed_model is not None and merged.entities:
            texts = [str(entity) for entity in merged.entities]
            vectors = await self.embed_model.aget_text_embedding_batch(texts, show_progress=show_progress)
            _set_embeddings(merged, vectors)
        return merged

    def __call__(self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any) -> Sequence[BaseNode]:
        """Extract triples and write them into the store, or leave them in the nodes' metadata for an index.

        Args:
            nodes: Chunks.
            show_progress: Show a progress bar.
            **kwargs: Ignored: LlamaIndex's pipelines pass theirs to every transformation.

        Returns:
            The same nodes.

        Raises:
            IngestionError: ``strict`` is set and chunks failed.
        """
        refuse_misspelt(f"{type(self).__name__}()", kwargs, ("show_progress",))
        merged = self.extract(nodes, show_progress)
        store: PropertyGraphStore | None = self.property_graph_store
        if store is not None and (graph_nodes := _graph_nodes(merged)):
            store.upsert_nodes(graph_nodes)
        if store is not None and merged.relations:  # After the nodes: stores refuse relations without ends.
            store.upsert_relations(merged.relations)
        return self._finish(nodes, merged)

    async def acall(self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any) -> Sequence[BaseNode]:
        """Async twin of :meth:`__call__`."""
        refuse_misspelt(f"{type(self).__name__}()", kwargs, ("show_progress",))
        merged = await self.aextract(nodes, show_progress)
        store: PropertyGraphStore | None = self.property_graph_store
        if store is not None and (graph_nodes := _graph_nodes(merged)):
            await store.aupsert_nodes(graph_nodes)
        if store is not None and merged.relations:
            await store.aupsert_relations(merged.relations)
        return self._finish(nodes, merged)

    def _finish(self, nodes: Sequence[BaseNode], merged: ExtractedTriples) -> Sequence[BaseNode]:
        for node in nodes:
            for key in _KG_KEYS:
                node.metadata.pop(key, None)
        if self.property_graph_store is None:
            _leave_in_metadata(nodes, merged)
        self._failures = merged.failures
        for node_id, reason in merged.failures:
            logger.warning("No triples from node %s: %s", node_id, reason)
        if self.strict and merged.failures:
            message = f"{len(merged.failures)} of {len(nodes)} nodes gave no triples."
            raise IngestionError(message, merged.failures)
        return nodes

    async def _achunks(self, nodes: Sequence[BaseNode], show_progress: bool) -> list[ChunkTriples | tuple[str, str]]:
        """Extract from each node alone; a failure becomes a pair of id and reason."""
        extractor = _outspoken(self.extractor)
        distinct = {node.node_id: node for node in nodes}
        jobs = [self._achunk(extractor, node) for node in distinct.values()]
        return await run_jobs(jobs, show_progress=show_progress, workers=self.workers, desc="Extracting triples")

    async def _achunk(self, extractor: TransformComponent, node: BaseNode) -> ChunkTriples | tuple[str, str]:
        found = await attempt(lambda: _extract_one(extractor, node), self.max_retries, self.retry_s)
        return (node.node_id, found.reason) if isinstance(found, Failure) else found


async def _extract_one(extractor: TransformComponent, node: BaseNode) -> ChunkTriples:
    source = TripleSource(node.node_id, NodeView(node).document_id)
    nodes: list[LabelledNode] = list(node.metadata.get(KG_NODES_KEY) or ())
    relations: list[Relation] = list(node.metadata.get(KG_RELATIONS_KEY) or ())
    probe = _probe(node)
    # Given an empty chunk, an LLM invents triples, at the cost of a full one.
    if NodeView(node).text.strip() or getattr(extractor, "llm", None) is None:
        for answer in await extractor.acall([probe]):
            nodes.extend(_without_metadata(item, node) for item in answer.metadata.get(KG_NODES_KEY) or ())
            relations.extend(_without_metadata(item, node) for item in answer.metadata.get(KG_RELATIONS_KEY) or ())
    return ChunkTriples(source, probe.text, nodes, relations)


def _probe(node: BaseNode) -> TextNode:
    """Return a text node that shows an LLM what it would see of a node of any class.

    ``SimpleLLMPathExtractor`` asserts that nodes have ``.text``, which a multimodal ``Node`` lacks.
    """
    metadata = {key: value for key, value in node.metadata.items() if key not in _KG_KEYS}
    plain = node.model_copy(update={"metadata": metadata})
    return TextNode(
        id_=node.node_id,
        text=plain.get_content(metadata_mode=MetadataMode.LLM),
        metadata=dict(metadata),
        excluded_llm_metadata_keys=list(metadata),  # They are in the text already.
        relationships=dict(node.relationships),
    )


def _without_metadata(item: Item, node: BaseNode) -> Item:
    """Return an extracted object without the chunk's metadata, which extractors copy into it."""
    shared = node.metadata
    own = {key: value for key, value in item.properties.items() if key not in shared or shared[key] != value}
    return item.model_copy(update={"properties": own})


def _outspoken(extractor: TransformComponent) -> TransformComponent:
    """Return the extractor with errors raised; by default LlamaIndex's log them and return nothing."""
    if "raise_on_error" in type(extractor).model_fields:
        return extractor.model_copy(update={"raise_on_error": True})
    return extractor


def _merge(outcomes: Sequence[ChunkTriples | tuple[str, str]]) -> ExtractedTriples:
    merged = merge_chunks(outcome for outcome in outcomes if isinstance(outcome, ChunkTriples))
    merged.failures = [outcome for outcome in outcomes if not isinstance(outcome, ChunkTriples)]
    return merged


def _set_embeddings(merged: ExtractedTriples, vectors: Sequence[list[float]]) -> None:
    for entity, vector in zip(merged.entities, vectors, strict=True):
        entity.embedding = vector


def _graph_nodes(merged: ExtractedTriples) -> list[LabelledNode]:
    return [*merged.entities_by_source(), *merged.others]


def _leave_in_metadata(nodes: Sequence[BaseNode], merged: ExtractedTriples) -> None:
    """Put the objects into the metadata of their chunks; every node gets both lists, as PropertyGraphIndex requires."""
    places = {node.node_id: node.metadata for node in reversed(nodes)}  # The first of equal ids.
    for node in nodes:
        node.metadata.update({KG_NODES_KEY: [], KG_RELATIONS_KEY: []})
    for graph_node in _graph_nodes(merged):
        places[graph_node.properties[TRIPLET_SOURCE_KEY]][KG_NODES_KEY].append(graph_node)
    for relation in merged.relations:
        places[relation.properties[TRIPLET_SOURCE_KEY]][KG_RELATIONS_KEY].append(relation)


def _settings_of(component: BaseComponent) -> dict[str, Any]:
    """Return what decides a component's output as plain values: no strings, which may be secrets, and no functions."""
    settings: dict[str, Any] = {"class_name": component.class_name()}
    for name in type(component).model_fields:
        value = getattr(component, name)
        if isinstance(value, BasePromptTemplate):
            settings[name] = value.get_template()
        elif isinstance(value, BaseLLM):
            settings[name] = [value.class_name(), value.metadata.model_name]
        elif isinstance(value, type) and issubclass(value, BaseModel):
            settings[name] = value.model_json_schema()
        elif isinstance(value, bool | int | float | list | dict | None):
            settings[name] = value
    return settings
