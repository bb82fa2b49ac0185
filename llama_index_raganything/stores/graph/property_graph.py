"""A knowledge graph in Milvus: entities, triples and node facts, each with all the sources it comes from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from llama_index.core.graph_stores.types import LabelledNode, Relation, Triplet
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import VectorStoreQuery
from llama_index.core.vector_stores.utils import metadata_dict_to_node

from llama_index_raganything._arguments import refuse_unknown, strict_arguments
from llama_index_raganything.stores.graph.base import FactStore
from llama_index_raganything.stores.graph.rows import shortened
from llama_index_raganything.stores.graph.triples import IS_TRIPLE

_OVERFETCH: Final = 4
_MAX_HITS: Final = 16_384


@strict_arguments
class MilvusPropertyGraphStore(FactStore):
    """Entities and facts as Milvus collections, beside the nodes of the same knowledge base.

    Every entity and every triple is kept once *per source* and read as one. So provenance is many-to-many, deleting
    a document needs neither a language model nor a look at other documents, and what they share stays.
    It works under ``PropertyGraphIndex`` and is where :class:`EntityLinker`'s facts are kept.

    Which node something comes from is read from its property ``triplet_source_id`` (LlamaIndex's extractors set it),
    which document from ``ref_doc_id`` or ``doc_id``, or from the chunk of that node.

    Args:
        uri: Milvus Lite directory (ends in ``.db``), or URL of a server or of Zilliz Cloud.
        collection_name: Name of the knowledge base, to which ``__entities`` and ``__facts`` are added.
        dim: Dimension of the entities' embeddings; by default that of the first one. They are optional.
        token: ``user:password`` or API key; by default the environment's ``MILVUS_TOKEN``. Never serialised.
        db_name: Database on the server.
        tenant: Sees, changes and deletes only this tenant's graph.
        overwrite: Delete what is stored under this name (and tenant) when opening. Not serialised.
        timeout: Seconds to wait for a server when opening.

    Raises:
        ConfigurationError: An argument cannot work.
        SchemaMismatchError: The graph was written by another version, or for another dimension.
        StoreLockedError: Another process holds the Milvus Lite directory.
        StoreUnavailableError: The server or directory cannot be reached or written.
    """

    supports_structured_queries: bool = False
    supports_vector_queries: bool = True

    def get(self, properties: dict[str, Any] | None = None, ids: list[str] | None = None) -> list[LabelledNode]:
        """Return entities and chunks.

        Args:
            properties: Only those of which a source has one of these properties. Where something comes from counts
                as properties ``triplet_source_id`` and ``ref_doc_id``; any other property reads the whole graph.
            ids: Only those with one of these ids, in this order; an empty list gives none
                (``SimplePropertyGraphStore`` gives all).

        Returns:
            Entities, put together from all their sources, and chunks. Embeddings are not read.
        """
        if properties:
            within = None if ids is None else [shortened(entity) for entity in ids]
            return list(self._entities.by_columns(self._entities.matching(properties, within)).values())
        return list((self._entities.everything() if ids is None else self._entities.by_ids(ids)).values())

    def get_triplets(
        self,
        entity_names: list[str] | None = None,
        relation_names: list[str] | None = None,
        properties: dict[str, Any] | None = None,
        ids: list[str] | None = None,
    ) -> list[Triplet]:
        """Return the triplets that meet all conditions, those with most sources first.

        Args:
            entity_names: One of these entities is at one of its ends.
            relation_names: Its relation has one of these labels.
            properties: It, or an entity at one of its ends, has one of these properties.
            ids: As ``entity_names``.

        Returns:
            Triplets; none when there is no condition. After those of :meth:`upsert_relations` come those that are
            read from node facts: what texts about these entities mention, labelled ``MENTIONS``. The first entity's
            ``triplet_source_id`` is the triplet's, as LlamaIndex's retrievers expect.
        """
        if not (entity_names or relation_names or properties or ids):
            return []
        # As in SimplePropertyGraphStore, an empty list is no condition beside others.
        names, labels, ids = entity_names or None, relation_names or None, ids or None
        triples = self._triples.find(names, labels, properties, ids)
        if not properties:
            triples += self._triples.mentioned(names, labels, ids)
        return self._triples.triplets(triples)

    def get_rel_map(
        self,
        graph_nodes: list[LabelledNode],
        depth: int = 2,
        limit: int = 30,
        ignore_rels: list[str] | None = None,
    ) -> list[Triplet]:
        """Return the triplets around some entities, the nearest first, walking in both directions.

        Args:
            graph_nodes: Where to begin.
            depth: How many triplets away, at most.
            limit: How many triplets, at most.
            ignore_rels: Labels that are neither returned nor walked.

        Returns:
            Triplets.
        """
        ids = [node.id for node in graph_nodes]
        return self._triples.triplets(self._triples.walk(ids, depth, limit, ignore_rels or ()))

    def get_llama_nodes(self, node_ids: list[str]) -> list[BaseNode]:
        """Return nodes that :meth:`upsert_llama_nodes` has written.

        Args:
            node_ids: Ids of nodes; ids of entities give nothing.

        Returns:
            The nodes in the order of the ids.
        """
        chunks = self._entities.chunks(node_ids)
        return [metadata_dict_to_node(c.properties, text=c.text) for c in chunks if "_node_content" in c.properties]

    def upsert_nodes(self, nodes: Sequence[LabelledNode]) -> None:
        """Write entities and chunks; the row of an entity that came from the same source is replaced.

        Args:
            nodes: ``EntityNode`` and ``ChunkNode``. Embeddings of entities are kept for :meth:`vector_query`.

        Raises:
            NodeValueError: One of them cannot be stored; nothing was written.
        """
        if nodes:
            self._entities.add(nodes)
            self._tables.changed("put")

    def upsert_relations(self, relations: list[Relation]) -> None:
        """Write triples; entities at their ends that are unknown are made.

        Args:
            relations: Triples.

        Raises:
            NodeValueError: One of them cannot be stored; nothing was written.
        """
        if relations:
            self._triples.add(relations)
            self._tables.changed("put")

    def delete(
        self,
        entity_names: list[str] | None = None,
        relation_names: list[str] | None = None,
        properties: dict[str, Any] | None = None,
        ids: list[str] | None = None,
    ) -> None:
        """Delete what matches; without any condition nothing (``SimplePropertyGraphStore`` deletes everything).

        Args:
            entity_names: Delete these entities with all their triples.
            relation_names: Delete triples with these labels, of those that meet the other conditions too; entities
                stay.
            properties: Delete entities and triples with one of these properties. ``triplet_source_id``,
                ``ref_doc_id`` and ``doc_id`` delete what comes from there, and leave what comes from elsewhere too.
            ids: Delete these entities with all their triples, and these nodes with all that comes from them.
        """
        if relation_names:
            self._deletion.triples(
                entities=entity_names or None, labels=relation_names, properties=properties or None, ids=ids or None
            )
        else:
            if properties:
                self._deletion.properties(properties, [*(entity_names or ()), *(ids or ())] or None)
            else:
                self._deletion.entities([*(entity_names or ()), *(ids or ())])
                self._deletion.sources(ids or ())
        self._tables.changed("delete")

    def delete_llama_nodes(self, node_ids: list[str] | None = None, ref_doc_ids: list[str] | None = None) -> None:
        """Delete nodes and documents with everything that comes from them."""
        if node_ids:
            self._deletion.sources(node_ids)
        if ref_doc_ids:
            self._deletion.documents(ref_doc_ids)
        self._tables.changed("delete")

    def delete_document(self, doc_id: str) -> None:
        """Delete everything that comes from a document; entities that others share stay."""
        self.delete_llama_nodes(ref_doc_ids=[doc_id])

    def vector_query(self, query: VectorStoreQuery, **kwargs: Any) -> tuple[list[LabelledNode], list[float]]:
        """Return the entities nearest to a vector.

        Args:
            query: Vector, how many, metadata filters on the entities' properties, and documents.
            **kwargs: LlamaIndex's signature has them and its callers give none; any is refused.

        Returns:
            Entities and their similarities, best first. Under filters an entity is what its matching sources say.

        Raises:
            FilterError: A filter cannot be expressed safely.
            NodeValueError: The query vector does not fit.
            UnknownArgumentError: There are further arguments.
        """
        refuse_unknown("vector_query()", kwargs, ("query",))
        store = self._tables.vectors()
        if store is None or query.similarity_top_k < 1:
            return [], []
        restricted = query.filters is not None or query.doc_ids is not None
        wanted, fetch = query.similarity_top_k, query.similarity_top_k * _OVERFETCH
        while True:
            result = store.query(replace(query, similarity_top_k=min(fetch, _MAX_HITS), output_fields=[]))
            keys, scores = list(result.ids or ()), list(result.similarities or ())
            best = self._best(keys, scores)
            if len(best) >= wanted or len(keys) < fetch or fetch >= _MAX_HITS:
                break
            fetch *= _OVERFETCH
        chosen = dict(sorted(best.items(), key=lambda item: -item[1])[:wanted])
        nodes = self._entities.by_keys(keys) if restricted else self._entities.by_columns(chosen)
        return [nodes[entity] for entity in chosen], [chosen[entity] for entity in chosen]

    def structured_query(self, query: str, param_map: dict[str, Any] | None = None) -> Any:  # LlamaIndex's signature.
        """Refuse: Milvus has no graph query language.

        Raises:
            NotImplementedError: Always.
        """
        message = "Milvus has no graph query language; use get_triplets, get_rel_map or vector_query."
        raise NotImplementedError(message)

    def get_schema(self, refresh: bool = False) -> dict[str, list[str]]:  # noqa: ARG002 # LlamaIndex's signature.
        """Return the labels there are, which reads the whole graph.

        Args:
            refresh: Not used; nothing is cached.

        Returns:
            ``entity_labels`` and ``relation_labels``.
        """
        entities = {row["label"] for row in self._tables.entities.rows("", ["label"])}
        relations = {row["label"] for row in self._tables.facts.rows(IS_TRIPLE, ["label"])}
        return {"entity_labels": sorted(entities), "relation_labels": sorted(relations)}

    def get_schema_str(self, refresh: bool = False) -> str:
        """Return the labels there are as JSON; see :meth:`get_schema`.

        Args:
            refresh: Not used.
        """
        return json.dumps(self.get_schema(refresh), ensure_ascii=False)

    async def aget(self, properties: dict[str, Any] | None = None, ids: list[str] | None = None) -> list[LabelledNode]:
        """Return entities and chunks; see ``get``."""
        return await asyncio.to_thread(self.get, properties, ids)

    async def aget_triplets(
        self,
        entity_names: list[str] | None = None,
        relation_names: list[str] | None = None,
        properties: dict[str, Any] | None = None,
        ids: list[str] | None = None,
    ) -> list[Triplet]:
        """Return triplets; see ``get_triplets``."""
        return await asyncio.to_thread(self.get_triplets, entity_names, relation_names, properties, ids)

    async def aget_rel_map(
        self,
        graph_nodes: list[LabelledNode],
        depth: int = 2,
        limit: int = 30,
        ignore_rels: list[str] | None = None,
    ) -> list[Triplet]:
        """Return the triplets around some entities; see ``get_rel_map``."""
        return await asyncio.to_thread(self.get_rel_map, graph_nodes, depth, limit, ignore_rels)

    async def aget_llama_nodes(self, node_ids: list[str]) -> list[BaseNode]:
        """Return nodes; see ``get_llama_nodes``."""
        return await asyncio.to_thread(self.get_llama_nodes, node_ids)

    async def aupsert_nodes(self, nodes: Sequence[LabelledNode]) -> None:
        """Write entities and chunks; see ``upsert_nodes``."""
        await asyncio.to_thread(self.upsert_nodes, nodes)

    async def aupsert_relations(self, relations: list[Relation]) -> None:
        """Write triples; see ``upsert_relations``."""
        await asyncio.to_thread(self.upsert_relations, relations)

    async def aupsert_llama_nodes(self, llama_nodes: list[BaseNode]) -> None:
        """Write nodes as chunks; see ``upsert_llama_nodes``."""
        await asyncio.to_thread(self.upsert_llama_nodes, llama_nodes)

    async def adelete(
        self,
        entity_names: list[str] | None = None,
        relation_names: list[str] | None = None,
        properties: dict[str, Any] | None = None,
        ids: list[str] | None = None,
    ) -> None:
        """Delete what matches; see ``delete``."""
        await asyncio.to_thread(self.delete, entity_names, relation_names, properties, ids)

    async def adelete_llama_nodes(
        self, node_ids: list[str] | None = None, ref_doc_ids: list[str] | None = None
    ) -> None:
        """Delete nodes and documents; see ``delete_llama_nodes``."""
        await asyncio.to_thread(self.delete_llama_nodes, node_ids, ref_doc_ids)

    async def astructured_query(self, query: str, param_map: dict[str, Any] | None = None) -> Any:
        """Refuse; see ``structured_query``."""
        return self.structured_query(query, param_map)

    async def avector_query(self, query: VectorStoreQuery, **kwargs: Any) -> tuple[list[LabelledNode], list[float]]:
        """Return the entities nearest to a vector; see ``vector_query``."""
        return await asyncio.to_thread(self.vector_query, query, **kwargs)

    async def aget_schema(self, refresh: bool = False) -> Any:
        """Return the labels there are; see ``get_schema``."""
        return await asyncio.to_thread(self.get_schema, refresh)

    async def aget_schema_str(self, refresh: bool = False) -> str:
        """Return the labels there are as JSON; see ``get_schema_str``."""
        return await asyncio.to_thread(self.get_schema_str, refresh)

    async def adelete_document(self, doc_id: str) -> None:
        """Delete a document; see :meth:`delete_document`."""
        await asyncio.to_thread(self.delete_document, doc_id)

    def _best(self, keys: Sequence[str], scores: Sequence[float]) -> dict[str, float]:
        """Return for each entity its best score; keys of rows that are gone are left out."""
        rows = self._tables.entities.get(keys, ["entity"])
        best: dict[str, float] = {}
        for key, score in zip(keys, scores, strict=True):
            if key in rows:
                best.setdefault(rows[key]["entity"], float(score))
        return best
