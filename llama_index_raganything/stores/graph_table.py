"""One collection of the graph in an open Milvus: made when first written, scoped to a tenant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from llama_index_raganything.stores.clients import Connection, translated
from llama_index_raganything.stores.expressions import all_of, any_of
from llama_index_raganything.stores.graph_rows import Row
from llama_index_raganything.stores.graph_schema import check_collection, create_collection
from llama_index_raganything.stores.rows import batches
from llama_index_raganything.stores.scan import scan

_MAX_KEYS: Final = 1000
_MAX_ROWS: Final = 2000
_MAX_BYTES: Final = 32_000_000


class GraphTable:
    """One collection, or one tenant's part of it.

    Args:
        connection: Returns the open connection.
        name: Name of the collection.
        columns: Its VARCHAR fields.
        tenant: Whose rows these are, "" without tenants.
        prepare: Called once with the table when the collection has been made or found.
    """

    def __init__(
        self,
        connection: Callable[[], Connection],
        name: str,
        columns: tuple[str, ...],
        tenant: str,
        prepare: Callable[[GraphTable], None] | None = None,
    ) -> None:
        self.name = name
        self.tenant = tenant
        self._connection = connection
        self._columns = columns
        self._prepare = prepare
        self._ready = False

    def exists(self) -> bool:
        """Return whether the collection is there; one that another process has made is found.

        Raises:
            SchemaMismatchError: It is of another kind.
        """
        connection = self._connection()
        if not self._ready:
            with connection.writing(self.name):
                if connection.client.has_collection(self.name):
                    check_collection(connection.client, self.name, self._columns)
                    self._adopt()
        return self._ready

    def write(self, rows: Sequence[Row]) -> None:
        """Insert rows, or replace those with the same key; make the collection when there is none.

        Args:
            rows: Rows.
        """
        if not rows:
            return
        connection = self._connection()
        with connection.writing(self.name):
            if not self.exists():
                create_collection(connection.client, self.name, self._columns)
                self._adopt()
            for batch in batches(rows, _MAX_ROWS, _MAX_BYTES):
                connection.client.upsert(self.name, batch)

    def rows(self, expression: str, fields: Sequence[str], limit: int | None = None) -> Iterator[Row]:
        """Yield rows of this tenant.

        Args:
            expression: Which rows; all when empty.
            fields: Which fields.
            limit: At most so many rows.
        """
        if self.exists():
            yield from scan(self._connection(), self.name, self.scoped(expression), fields, limit)

    def get(self, keys: Iterable[str], fields: Sequence[str]) -> dict[str, Row]:
        """Return rows by primary key, which takes milliseconds however large the collection is.

        The tenant is in the key; a second condition would make Milvus Lite walk through all rows.

        Args:
            keys: Primary keys.
            fields: Which fields.
        """
        found: dict[str, Row] = {}
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), _MAX_KEYS):
            if self.exists():
                expression = any_of("id", wanted[start : start + _MAX_KEYS])
                for row in scan(self._connection(), self.name, expression, ["id", *fields]):
                    found[row["id"]] = row
        return found

    def delete(self, expression: str) -> None:
        """Delete rows of this tenant.

        Args:
            expression: Which rows; all when empty.
        """
        if self.exists():
            connection = self._connection()
            with connection.writing(self.name):
                connection.client.delete(self.name, filter=self.scoped(expression))

    def delete_keys(self, keys: Sequence[str]) -> None:
        """Delete rows by primary key, which takes milliseconds however large the collection is.

        Args:
            keys: Primary keys.
        """
        for start in range(0, len(keys), _MAX_KEYS):
            if self.exists():
                connection = self._connection()
                with connection.writing(self.name):
                    connection.client.delete(self.name, filter=any_of("id", keys[start : start + _MAX_KEYS]))

    def delete_any(self, column: str, values: Sequence[str], extra: str = "") -> None:
        """Delete the rows of this tenant that have one of some values.

        Args:
            column: Name of a column.
            values: The values; none of them deletes nothing.
            extra: Further restricts the rows.
        """
        for start in range(0, len(values), _MAX_KEYS):
            self.delete(all_of(any_of(column, values[start : start + _MAX_KEYS]), extra))

    def count(self, expression: str = "") -> int:
        """Return the number of rows of this tenant.

        Args:
            expression: Which rows; all when empty.
        """
        if not self.exists():
            return 0
        connection = self._connection()
        with translated(connection.address):
            answer = connection.client.query(self.name, filter=self.scoped(expression), output_fields=["count(*)"])
        return int(answer[0]["count(*)"])

    def flush(self) -> None:
        """Seal what was written: Milvus Lite reads unsealed rows slowly."""
        if self.exists():
            connection = self._connection()
            with connection.writing(self.name):
                connection.client.flush(self.name)

    def drop(self) -> None:
        """Delete the collection with the rows of all tenants."""
        connection = self._connection()
        with connection.writing(self.name):
            if connection.client.has_collection(self.name):
                connection.client.drop_collection(self.name)
            self._ready = False

    def scoped(self, expression: str) -> str:
        """Return an expression that holds for this tenant's rows only.

        Args:
            expression: Which of them; all when empty.
        """
        return all_of(any_of("tenant", [self.tenant]), expression)

    def raw(self, expression: str, fields: Sequence[str], limit: int) -> list[Row]:
        """Return rows of any tenant.

        Args:
            expression: Which rows.
            fields: Which fields.
            limit: At most so many.
        """
        return list(scan(self._connection(), self.name, expression, fields, limit))

    def _adopt(self) -> None:
        self._ready = True
        if self._prepare is not None:
            try:
                self._prepare(self)
            except BaseException:
                self._ready = False
                raise
