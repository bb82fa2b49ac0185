"""Deleting from the graph: by entity, by triple, by node and by document, without reading what stays.

Because each row belongs to one source, a document goes with the rows that carry its id; entities that other
documents share keep their other rows, and those of one document disappear with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llama_index.core.graph_stores.types import TRIPLET_SOURCE_KEY

from llama_index_raganything.stores.graph.collections import GraphCollections, shortened
from llama_index_raganything.stores.graph.entities import DOCUMENT_KEYS, EntityRows, row_matches
from llama_index_raganything.stores.graph.facts import FactRows
from llama_index_raganything.stores.graph.triples import IS_TRIPLE, TRIPLE_FIELDS, TripleRows
from llama_index_raganything.stores.milvus.filters import all_of, any_of


class Deletion:
    """Deletes from one graph."""

    def __init__(
        self, collections: GraphCollections, entities: EntityRows, triples: TripleRows, facts: FactRows
    ) -> None:
        self._collections = collections
        self._entities = entities
        self._triples = triples
        self._facts = facts

    def entities(self, ids: Sequence[str]) -> None:
        """Delete entities or chunks with all their sources, and their triples."""
        self._delete_entities([shortened(str(entity)) for entity in ids])

    def _delete_entities(self, names: Sequence[str]) -> None:
        for end in ("subject", "object"):
            self._collections.facts.delete_any(end, names, IS_TRIPLE)
        self._delete_rows("entity", names)

    def triples(self, **conditions: Any) -> None:
        """Delete triples; the entities at their ends stay.

        Args:
            **conditions: As for :meth:`TripleRows.find`.
        """
        for triple in self._triples.find(**conditions):
            columns = zip(("subject", "label", "object"), triple.identity, strict=True)
            self._collections.facts.delete(all_of(IS_TRIPLE, *(any_of(column, [value]) for column, value in columns)))

    def properties(self, properties: Mapping[str, Any], ids: Sequence[str] | None) -> None:
        """Delete what has any of the given properties.

        Args:
            properties: Names and values. The ones that name a node or a document delete only what comes from there.
            ids: Only among these entities.
        """
        own = dict(properties)
        if ids is None:
            self.sources(_named(own, [TRIPLET_SOURCE_KEY]), chunks=False)
            self.documents(_named(own, DOCUMENT_KEYS))
        if not own:
            return
        within = None if ids is None else [shortened(entity) for entity in ids]
        self._delete_entities(self._entities.matching(own, within))
        if ids is None:
            rows = self._collections.facts.rows(IS_TRIPLE, ["id", *TRIPLE_FIELDS])
            self._collections.facts.delete_keys([row["id"] for row in rows if row_matches(row, own)])

    def sources(self, node_ids: Sequence[str], *, chunks: bool = True) -> None:
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

    def documents(self, doc_ids: Sequence[str]) -> None:
        """Delete everything that comes from some documents."""
        documents = [doc_id for doc_id in dict.fromkeys(doc_ids) if doc_id]
        if not documents:
            return
        # Read once and deleted by primary key: on Milvus Lite every other condition is a walk through all rows.
        rows = list(self._collections.entities.rows(any_of("doc_id", documents), ["id", "kind", "source"]))
        facts = self._collections.facts.rows(any_of("doc_id", documents), ["id"])
        self._collections.facts.delete_keys([row["id"] for row in facts])
        self.sources([row["source"] for row in rows if row["kind"] == "chunk"], chunks=False)
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
