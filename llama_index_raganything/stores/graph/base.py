"""What LlamaIndex does not know of the graph store: node facts, provenance, and its life from open to close."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Self

from llama_index.core.graph_stores.types import PropertyGraphStore
from pydantic import SecretStr

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.config import DEFAULT_COLLECTION, DEFAULT_MILVUS_URI
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.graph.facts import NodeFacts
from llama_index_raganything.stores.graph.collections import GraphTables
from llama_index_raganything.stores.graph.deletion import Deletion
from llama_index_raganything.stores.graph.entities import EntityRows
from llama_index_raganything.stores.graph.facts import IS_NODE, FactRows
from llama_index_raganything.stores.graph.rows import Clock
from llama_index_raganything.stores.graph.triples import IS_TRIPLE, TripleRows
from llama_index_raganything.stores.milvus.connection import DEFAULT_TIMEOUT, Address

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,230}")
_MAX_SPELLINGS: Final = 200


@strict_arguments
class FactStore(PropertyGraphStore):
    """An open graph; see :class:`MilvusPropertyGraphStore` for the arguments."""

    def __init__(
        self,
        uri: str = DEFAULT_MILVUS_URI,
        collection_name: str = DEFAULT_COLLECTION,
        *,
        dim: int | None = None,
        token: SecretStr | str | None = None,
        db_name: str = "",
        tenant: str | None = None,
        overwrite: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        address = Address.parse(uri, token, db_name)
        self.uri = address.uri
        self.db_name = db_name
        self.collection_name = collection_name
        self.dim = dim
        self.tenant = tenant
        self.timeout = timeout
        self._check_arguments()
        self._tables = GraphTables(address, collection_name, dim, tenant, timeout, overwrite=overwrite)
        clock = Clock()
        self._entities = EntityRows(self._tables, clock)
        self._facts = FactRows(self._tables, clock)
        self._triples = TripleRows(self._tables, self._entities, self._facts, clock)
        self._deletion = Deletion(self._tables, self._entities, self._triples, self._facts)

    @property
    def client(self) -> Any:
        """The shared ``MilvusClient``."""
        return self._tables.connected().client

    def put_facts(self, facts: Sequence[NodeFacts]) -> None:
        """Write what is known of nodes without a model; what is known of them already is replaced.

        Args:
            facts: Facts, any number of nodes at once.

        Raises:
            NodeValueError: Those of one node cannot be stored; nothing was written.
        """
        if facts:
            self._facts.put(facts)
            self._tables.changed("put")

    def facts(self, node_ids: Sequence[str]) -> list[NodeFacts]:
        """Return the facts of nodes, read by primary key.

        Returns:
            Their facts in the same order; nodes without facts are left out.

        Raises:
            SchemaMismatchError: Facts were written by another version of the package.
        """
        return self._facts.get(node_ids)

    def scan_facts(self, doc_ids: Sequence[str] | None = None, since: int | None = None) -> Iterator[NodeFacts]:
        """Yield the facts of many nodes, in no order.

        Args:
            doc_ids: Only of these documents; an empty list gives none.
            since: Only those written since then, milliseconds since 1970 by the writer's clock. Rows are stamped
                before they are sent: go back a minute to miss none.
        """
        return self._facts.scan(doc_ids, since)

    def delete_facts(self, node_ids: Sequence[str]) -> None:
        """Delete the facts of nodes, and the names that only they have; triples stay."""
        if node_ids:
            self._facts.delete(node_ids)
            self._tables.changed("delete")

    def generation(self) -> str:
        """Return a text that changes with every write of any process to this tenant's graph.

        Returns:
            ``"<puts>.<deletions>"``, each random; empty before the first write. The second half changes only when
            something was deleted.
        """
        return self._tables.generation()

    def named(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Return the entities that go by some names, however they are written.

        Args:
            names: Names, in any spelling that :func:`name_key` makes equal.

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
            texts in which the name stands, however it is written.
        """
        wanted = list(dict.fromkeys(ids))
        found = {entity: set(origins) for entity, origins in self._entities.sources(wanted).items()}
        for name, _, facts in self._facts.naming(wanted):
            found[name].add((facts.node_id, facts.doc_id))
        return {entity: sorted(origins) for entity, origins in found.items()}

    def stats(self) -> dict[str, int]:
        """Return how much there is, which reads the ids of all entities.

        Returns:
            Numbers of ``entities``, ``chunks``, ``triples`` (one per source) and ``nodes`` with facts.
        """
        entities = self._tables.entities.rows('kind != "chunk"', ["entity"])
        return {
            "entities": len({row["entity"] for row in entities}),
            "chunks": self._tables.entities.count('kind == "chunk"'),
            "triples": self._tables.facts.count(IS_TRIPLE),
            "nodes": self._tables.facts.count(IS_NODE),
        }

    def flush(self) -> None:
        """Seal what was written, once after each ingest: Milvus Lite reads unsealed rows slowly."""
        self._tables.flush()

    def clear(self) -> None:
        """Delete everything (of this tenant)."""
        self._tables.clear()

    def close(self) -> None:
        """Give the connection back; the last user of a Milvus Lite directory releases its lock."""
        self._tables.close()

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments that open the same graph again, without the token."""
        names = ("uri", "collection_name", "dim", "db_name", "tenant", "timeout")
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

    async def asources(self, ids: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
        """Return where entities come from; see ``sources``."""
        return await asyncio.to_thread(self.sources, list(ids))

    async def anamed(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Return the entities that go by names; see ``named``."""
        return await asyncio.to_thread(self.named, list(names))

    async def aput_facts(self, facts: Sequence[NodeFacts]) -> None:
        """Write facts of nodes; see ``put_facts``."""
        await asyncio.to_thread(self.put_facts, facts)

    async def afacts(self, node_ids: Sequence[str]) -> list[NodeFacts]:
        """Return facts of nodes; see ``facts``."""
        return await asyncio.to_thread(self.facts, node_ids)

    async def ascan_facts(self, doc_ids: Sequence[str] | None = None, since: int | None = None) -> list[NodeFacts]:
        """Return the facts of many nodes; see ``scan_facts``."""
        return await asyncio.to_thread(lambda: list(self.scan_facts(doc_ids, since)))

    async def adelete_facts(self, node_ids: Sequence[str]) -> None:
        """Delete facts of nodes; see ``delete_facts``."""
        await asyncio.to_thread(self.delete_facts, node_ids)

    async def ageneration(self) -> str:
        """Return what changes with every write; see ``generation``."""
        return await asyncio.to_thread(self.generation)

    async def astats(self) -> dict[str, int]:
        """Return how much there is; see ``stats``."""
        return await asyncio.to_thread(self.stats)

    async def aflush(self) -> None:
        """Seal what was written; see ``flush``."""
        await asyncio.to_thread(self.flush)

    async def aclear(self) -> None:
        """Delete everything; see ``clear``."""
        await asyncio.to_thread(self.clear)

    def _check_arguments(self) -> None:
        if not _NAME.fullmatch(self.collection_name):
            message = f"Collection name {self.collection_name!r} must be letters, digits and underscores."
            raise ConfigurationError(message)
        if self.tenant is not None and (not self.tenant or "|" in self.tenant):
            message = f"Tenant {self.tenant!r} must not be empty nor contain '|'."
            raise ConfigurationError(message)
        if self.dim is not None and self.dim < 1:
            message = f"Dimension {self.dim} must be at least 1."
            raise ConfigurationError(message)
