"""A knowledge graph in Milvus: entities, triples and node facts, each with all the sources it comes from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Self

from llama_index.core.graph_stores.types import TRIPLET_SOURCE_KEY, LabelledNode, PropertyGraphStore, Relation, Triplet
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import VectorStoreQuery
from llama_index.core.vector_stores.utils import metadata_dict_to_node
from pydantic import SecretStr

from llama_index_raganything._arguments import refuse_unknown, strict_arguments
from llama_index_raganything._async import in_thread
from llama_index_raganything.graph.facts import NodeFacts
from llama_index_raganything.settings import DEFAULT_COLLECTION, DEFAULT_MILVUS_URI
from llama_index_raganything.stores.graph.collections import VECTORS_SUFFIX, GraphCollections, shortened
from llama_index_raganything.stores.graph.entities import DOCUMENT_KEYS, EntityRows, row_matches
from llama_index_raganything.stores.graph.facts import IS_NODE, FactRows
from llama_index_raganything.stores.graph.triples import IS_TRIPLE, TRIPLE_FIELDS, TripleRows
from llama_index_raganything.stores.milvus.connection import DEFAULT_TIMEOUT_S, Address, check_store_arguments
from llama_index_raganything.stores.milvus.filter_expressions import all_of, any_of

_MAX_SPELLINGS: Final = 200
_OVERFETCH: Final = 4
_MAX_HITS: Final = 16_384


@strict_arguments
class MilvusPropertyGraphStore(PropertyGraphStore):
    """Entities and facts as Milvus collections, beside the nodes of the same knowledge base.

    Every entity and every triple is kept once *per source* and read as one. So provenance is many-to-many, deleting
    a document needs neither a language model nor a look at other documents, and what they share stays.
    It works under ``PropertyGraphIndex`` and is where :class:`EntityLinker`'s facts are kept.

    Which node something comes from is read from its property ``triplet_source_id`` (LlamaIndex's extractors set it),
    which document from ``ref_doc_id`` or ``doc_id``, or from the chunk of that node.

    Args:
        uri: Milvus Lite directory (ends in ``.db``), or URL of a server or of Zilliz Cloud.
        collection: Name of the knowledge base, to which ``__entities`` and ``__facts`` are added.
        dimension: Dimension of the entities' embeddings; by default that of the first one. They are optional.
        token: ``user:password`` or API key; by default the environment's ``MILVUS_TOKEN``. Never serialised.
        db_name: Database on the server.
        tenant: Sees, changes and deletes only this tenant's graph.
        overwrite: Delete what is stored under this name (and tenant) when opening. Not serialised.
        timeout_s: Seconds to wait for a server when opening.

    Raises:
        ConfigurationError: An argument cannot work.
        SchemaMismatchError: The graph was written by another version, or for another dimension.
        StoreLockedError: Another process holds the Milvus Lite directory.
        StoreUnavailableError: The server or directory cannot be reached or written.
    """

    supports_structured_queries: bool = False
    supports_vector_queries: bool = True

    def __init__(
        self,
        uri: str = DEFAULT_MILVUS_URI,
        collection: str = DEFAULT_COLLECTION,
        *,
        dimension: int | None = None,
        token: SecretStr | str | None = None,
        db_name: str = "",
        tenant: str | None = None,
        overwrite: bool = False,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        address = Address.parse(uri, token, db_name)
        self.uri = address.uri
        self.db_name = db_name
        self.collection = collection
        self.dimension = dimension
        self.tenant = tenant
        self.timeout_s = timeout_s
        check_store_arguments(collection, tenant, dimension, longest_suffix=len(VECTORS_SUFFIX))
        self._collections = GraphCollections(address, collection, dimension, tenant, timeout_s, overwrite=overwrite)
        self._entities = EntityRows(self._collections)
        self._facts = FactRows(self._collections)
        self._triples = TripleRows(self._collections, self._entities, self._facts)

    @property
    def client(self) -> Any:
        """The shared ``MilvusClient``."""
        return self._collections.connected().client

    # -- LlamaIndex's interface ---------------------------------------------------------------------------------------

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
            self._collections.changed("put")

    def upsert_relations(self, relations: list[Relation]) -> None:
        """Write triples, and the entities at their ends that are not stored yet.

        Raises:
            NodeValueError: One of them cannot be stored; nothing was written.
        """
        if relations:
            self._triples.add(relations)
            self._collections.changed("put")

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
            self._delete_triples(
                entities=entity_names or None, labels=relation_names, properties=properties or None, ids=ids or None
            )
        elif properties:
            self._delete_properties(properties, [*(entity_names or ()), *(ids or ())] or None)
        else:
            self._delete_entities([shortened(str(entity)) for entity in (*(entity_names or ()), *(ids or ()))])
            self._delete_sources(ids or ())
        self._collections.changed("delete")

    def delete_llama_nodes(self, node_ids: list[str] | None = None, ref_doc_ids: list[str] | None = None) -> None:
        """Delete nodes and documents with everything that comes from them."""
        if node_ids:
            self._delete_sources(node_ids)
        if ref_doc_ids:
            self._delete_documents(ref_doc_ids)
        self._collections.changed("delete")

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
        store = self._collections.vectors()
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
        raise NotImplementedError("Milvus has no graph query language; use get_triplets, get_rel_map or vector_query.")

    def get_schema(self, refresh: bool = False) -> dict[str, list[str]]:  # noqa: ARG002 # LlamaIndex's signature.
        """Return all labels, which reads the whole graph.

        Args:
            refresh: Not used; nothing is cached.

        Returns:
            ``entity_labels`` and ``relation_labels``.
        """
        entities = {row["label"] for row in self._collections.entities.rows("", ["label"])}
        relations = {row["label"] for row in self._collections.facts.rows(IS_TRIPLE, ["label"])}
        return {"entity_labels": sorted(entities), "relation_labels": sorted(relations)}

    def get_schema_str(self, refresh: bool = False) -> str:
        """Return all labels as JSON; see :meth:`get_schema`.

        Args:
            refresh: Not used.
        """
        return json.dumps(self.get_schema(refresh), ensure_ascii=False)

    # -- node facts ---------------------------------------------------------------------------------------------------

    def put_facts(self, facts: Sequence[NodeFacts]) -> None:
        """Write the facts that were read from nodes without a model, in place of earlier ones.

        Raises:
            NodeValueError: Those of one node cannot be stored; nothing was written.
        """
        if facts:
            self._facts.put(facts)
            self._collections.changed("put")

    def facts(self, node_ids: Sequence[str]) -> list[NodeFacts]:
        """Return the facts of nodes, read by primary key.

        Returns:
            Their facts in the same order; nodes without facts are left out.

        Raises:
            SchemaMismatchError: Facts were written by another version of the package.
        """
        return self._facts.get(node_ids)

    def scan_facts(self, doc_ids: Sequence[str] | None = None, since: int | None = None) -> Iterator[NodeFacts]:
        """Yield the facts of many nodes, in no particular order.

        Args:
            doc_ids: Only nodes of these documents; an empty list gives none.
            since: Only those written since then, milliseconds since 1970 by the writer's clock. Rows are stamped
                before they are sent: go back a minute to miss none.
        """
        return self._facts.scan(doc_ids, since)

    def delete_facts(self, node_ids: Sequence[str]) -> None:
        """Delete the facts of nodes, and the names that only they have; triples stay."""
        if node_ids:
            self._facts.delete(node_ids)
            self._collections.changed("delete")

    def count_facts(self) -> int:
        """Return the number of nodes that have facts."""
        return self._collections.facts.count(IS_NODE)

    def generation(self) -> str:
        """Return a string that changes with every write to this tenant's graph, by any process.

        Returns:
            ``"<puts>.<deletions>"``, each random; empty before the first write. The second half changes only when
            something was deleted.
        """
        return self._collections.generation()

    def named(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Return the entities with given names, in any spelling.

        Args:
            names: Names; spellings that :func:`name_key` makes equal are one name.

        Returns:
            For each name ids of entities; of those that texts only mention, the spellings in the first texts.
        """
        wanted = list(dict.fromkeys(names))
        found = {name: set(ids) for name, ids in self._entities.named(wanted).items()}
        for name, spelling, _ in self._facts.naming(wanted, _MAX_SPELLINGS):
            found[name].add(spelling.replace('"', " "))
        return {name: sorted(ids) for name, ids in found.items()}

    def sources(self, ids: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
        """Return where entities come from.

        Returns:
            For each id pairs of node id and document id, either "" when unknown: what says so in triples, and the
            texts that mention the name, in any spelling.
        """
        wanted = list(dict.fromkeys(ids))
        found = {entity: set(origins) for entity, origins in self._entities.sources(wanted).items()}
        for name, _, facts in self._facts.naming(wanted):
            found[name].add((facts.node_id, facts.doc_id))
        return {entity: sorted(origins) for entity, origins in found.items()}

    def stats(self) -> dict[str, int]:
        """Count what is stored, which reads the ids of all entities.

        Returns:
            Numbers of ``entities``, ``chunks``, ``triples`` (one per source) and ``nodes`` with facts.
        """
        entities = self._collections.entities.rows('kind != "chunk"', ["entity"])
        return {
            "entities": len({row["entity"] for row in entities}),
            "chunks": self._collections.entities.count('kind == "chunk"'),
            "triples": self._collections.facts.count(IS_TRIPLE),
            "nodes": self.count_facts(),
        }

    # -- open to close ------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Seal what was written, once after each ingest: Milvus Lite reads unsealed rows slowly."""
        self._collections.flush()

    def clear(self) -> None:
        """Delete everything (of this tenant)."""
        self._collections.clear()

    def close(self) -> None:
        """Release the connection; the last user of a Milvus Lite directory unlocks it."""
        self._collections.close()

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments that open the same graph again, without the token."""
        names = ("uri", "collection", "dimension", "db_name", "tenant", "timeout_s")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], token: SecretStr | str | None = None) -> Self:
        """Open the graph that :meth:`to_dict` describes.

        Args:
            data: What :meth:`to_dict` returned.
            token: As for the constructor.
        """
        return cls(**data, token=token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.to_dict().items())})"

    def __getstate__(self) -> dict[str, Any]:
        # Pickles must not hold the token, nor connections; __setstate__ opens the same address again.
        return self.to_dict()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc] # Restores what __getstate__ describes.

    aget = in_thread(get)
    aget_triplets = in_thread(get_triplets)
    aget_rel_map = in_thread(get_rel_map)
    aget_llama_nodes = in_thread(get_llama_nodes)
    aupsert_nodes = in_thread(upsert_nodes)
    aupsert_relations = in_thread(upsert_relations)
    aupsert_llama_nodes = in_thread(PropertyGraphStore.upsert_llama_nodes)
    adelete = in_thread(delete)
    adelete_llama_nodes = in_thread(delete_llama_nodes)
    adelete_document = in_thread(delete_document)
    astructured_query = in_thread(structured_query)
    aget_schema_str = in_thread(get_schema_str)
    aput_facts = in_thread(put_facts)
    afacts = in_thread(facts)
    adelete_facts = in_thread(delete_facts)
    ageneration = in_thread(generation)
    anamed = in_thread(named)
    asources = in_thread(sources)
    astats = in_thread(stats)
    aflush = in_thread(flush)
    aclear = in_thread(clear)

    async def avector_query(self, query: VectorStoreQuery, **kwargs: Any) -> tuple[list[LabelledNode], list[float]]:
        """Return the entities nearest to a vector; see :meth:`vector_query`."""
        return await asyncio.to_thread(self.vector_query, query, **kwargs)

    async def aget_schema(self, refresh: bool = False) -> Any:
        """Return all labels; see :meth:`get_schema`."""
        return await asyncio.to_thread(self.get_schema, refresh)

    async def ascan_facts(self, doc_ids: Sequence[str] | None = None, since: int | None = None) -> list[NodeFacts]:
        """Return the facts of many nodes; see :meth:`scan_facts`."""
        return await asyncio.to_thread(lambda: list(self.scan_facts(doc_ids, since)))

    def _best(self, keys: Sequence[str], scores: Sequence[float]) -> dict[str, float]:
        """Return for each entity its best score; keys of rows that are gone are left out."""
        rows = self._collections.entities.get(keys, ["entity"])
        best: dict[str, float] = {}
        for key, score in zip(keys, scores, strict=True):
            if key in rows:
                best.setdefault(rows[key]["entity"], float(score))
        return best

    def _delete_entities(self, names: Sequence[str]) -> None:
        """Delete entities or chunks with all their sources, and their triples."""
        for end in ("subject", "object"):
            self._collections.facts.delete_any(end, names, IS_TRIPLE)
        self._delete_rows("entity", names)

    def _delete_triples(self, **conditions: Any) -> None:
        """Delete triples; the entities at their ends stay.

        Args:
            **conditions: As for :meth:`TripleRows.find`.
        """
        for triple in self._triples.find(**conditions):
            columns = zip(("subject", "label", "object"), triple.identity, strict=True)
            self._collections.facts.delete(all_of(IS_TRIPLE, *(any_of(column, [value]) for column, value in columns)))

    def _delete_properties(self, properties: Mapping[str, Any], ids: Sequence[str] | None) -> None:
        """Delete what has any of the given properties.

        Args:
            properties: Names and values. The ones that name a node or a document delete only what comes from there.
            ids: Only among these entities.
        """
        own = dict(properties)
        if ids is None:
            self._delete_sources(_named(own, [TRIPLET_SOURCE_KEY]), chunks=False)
            self._delete_documents(_named(own, DOCUMENT_KEYS))
        if not own:
            return
        within = None if ids is None else [shortened(entity) for entity in ids]
        self._delete_entities(self._entities.matching(own, within))
        if ids is None:
            rows = self._collections.facts.rows(IS_TRIPLE, ["id", *TRIPLE_FIELDS])
            self._collections.facts.delete_keys([row["id"] for row in rows if row_matches(row, own)])

    def _delete_sources(self, node_ids: Sequence[str], *, chunks: bool = True) -> None:
        """Delete everything that comes from some nodes.

        Args:
            chunks: The nodes themselves too.
        """
        sources = [node_id for node_id in dict.fromkeys(node_ids) if node_id]
        if not sources:
            return
        self._facts.delete(sources)
        self._collections.facts.delete_any("source", sources)
        # Chunks last: a deletion that is repeated after a crash finds the nodes by them.
        self._delete_rows("source", sources, any_of("kind", ["entity", "implied"]))
        if chunks:
            self._collections.entities.delete_any("source", sources, any_of("kind", ["chunk"]))

    def _delete_documents(self, doc_ids: Sequence[str]) -> None:
        """Delete everything that comes from some documents."""
        documents = [doc_id for doc_id in dict.fromkeys(doc_ids) if doc_id]
        if not documents:
            return
        # Read once and deleted by primary key: on Milvus Lite every other condition is a walk through all rows.
        rows = list(self._collections.entities.rows(any_of("doc_id", documents), ["id", "kind", "source"]))
        facts = self._collections.facts.rows(any_of("doc_id", documents), ["id"])
        self._collections.facts.delete_keys([row["id"] for row in facts])
        self._delete_sources([row["source"] for row in rows if row["kind"] == "chunk"], chunks=False)
        self._collections.delete_vectors([row["id"] for row in rows if row["kind"] == "entity"])
        # Chunks go with the last request: a deletion that is repeated after a crash finds the nodes by them.
        rows.sort(key=lambda row: bool(row["kind"] == "chunk"))
        self._collections.entities.delete_keys([row["id"] for row in rows])

    def _delete_rows(self, column: str, values: Sequence[str], extra: str = "") -> None:
        """Delete rows of entities with their embeddings."""
        if values and self._collections.vectors() is not None:
            expression = all_of(any_of(column, values), extra, any_of("kind", ["entity"]))
            self._collections.delete_vectors([row["id"] for row in self._collections.entities.rows(expression, ["id"])])
        self._collections.entities.delete_any(column, values, extra)


def _named(properties: dict[str, Any], keys: Iterable[str]) -> list[str]:
    """Take the properties that say where something comes from out of others, and return their values."""
    values = [properties.pop(key, None) for key in keys]
    return [value for value in values if isinstance(value, str)]
