"""Reading all rows that match, however many there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from llama_index_raganything.stores.milvus.connection import Connection, translated
from llama_index_raganything.stores.milvus.expressions import PRIMARY_KEY, any_of

_PAGE_ROWS: Final = 2000
_EVERYTHING: Final = 2**31 - 1


def scan(
    connection: Connection, collection: str, expression: str, fields: Sequence[str], limit: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the matching rows.

    Servers give at most 16,384 rows per request, and not in an order that one could page through. So what fits
    into one page is one request, and the rest comes from Milvus's iterator. On Milvus Lite every page of the iterator
    walks through the whole collection; there the keys are read at once, which it allows, and the rows by key.

    Args:
        connection: An open connection.
        expression: Which rows; empty for all.
        limit: At most so many rows.

    Yields:
        Rows.
    """
    if limit is not None and limit < 1:
        return
    arguments: dict[str, Any] = {"filter": expression, "output_fields": list(fields)}
    with translated(connection.address):
        first = min(_PAGE_ROWS, limit or _PAGE_ROWS)
        rows = connection.client.query(collection, limit=first, **arguments)
        if len(rows) < _PAGE_ROWS or limit == first:
            yield from rows
            return
        if connection.address.is_local:
            yield from _by_key(connection, collection, arguments, limit)
            return
        pages = connection.client.query_iterator(
            collection, batch_size=_PAGE_ROWS, limit=-1 if limit is None else limit, **arguments
        )
        try:
            while page := pages.next():
                yield from page
        finally:
            pages.close()


def _by_key(
    connection: Connection, collection: str, arguments: dict[str, Any], limit: int | None
) -> Iterator[dict[str, Any]]:
    """Yield the matching rows in time proportional to their number."""
    found = connection.client.query(
        collection, filter=arguments["filter"], output_fields=[PRIMARY_KEY], limit=limit or _EVERYTHING
    )
    keys = [row[PRIMARY_KEY] for row in found]
    for start in range(0, len(keys), _PAGE_ROWS):
        expression = any_of(PRIMARY_KEY, keys[start : start + _PAGE_ROWS])
        yield from connection.client.query(
            collection, filter=expression, output_fields=arguments["output_fields"], limit=_PAGE_ROWS
        )
