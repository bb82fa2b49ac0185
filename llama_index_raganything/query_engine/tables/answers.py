"""The sources, texts and metadata that ``TableQueryEngine`` answers with."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from llama_index.core.schema import BaseNode, NodeWithScore, TextNode
from llama_index.core.vector_stores.types import MetadataFilters

from llama_index_raganything.nodes import NodeView, box_of
from llama_index_raganything.query_engine.citations import (
    attach_citations,
    citable_copies,
    citation,
    marker,
    without_markers,
)
from llama_index_raganything.query_engine.prompts import not_found_answer
from llama_index_raganything.query_engine.tables.lookup import CellAnswer, look_up
from llama_index_raganything.query_engine.tables.sql import SQLAttempts, result_text, table_text
from llama_index_raganything.stores.tables.sql import SQLResult
from llama_index_raganything.stores.tables.store import TableStore
from llama_index_raganything.tables.read import tables_of_nodes
from llama_index_raganything.tables.records import TableRecord

Source = tuple[TableRecord, NodeWithScore]
"""A table and the node that is cited for it."""


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A table and the retrieved nodes that hold it or a part of it, best first."""

    record: TableRecord
    nodes: tuple[NodeWithScore, ...]


@dataclass(slots=True)
class CitedAnswer:
    """An answer in pieces; the first of its sources is ``[1]``."""

    pieces: list[str]
    sources: list[NodeWithScore]
    metadata: dict[str, Any] = field(default_factory=dict)


def found_tables(nodes: Sequence[NodeWithScore], store: TableStore | None) -> list[FoundTable]:
    """Return the tables that nodes hold, in the order of their first nodes.

    Args:
        nodes: Nodes, best first.
        store: Knows tables whole; without it, or where it does not know a node, tables are read from the nodes.
    """
    held: dict[str, tuple[TableRecord, list[NodeWithScore]]] = {}
    for node in nodes:
        records = store.by_node(node.node.node_id) if store is not None else []
        for record in records or tables_of_nodes([node.node]):
            held.setdefault(record.table_id, (record, []))[1].append(node)
    return [FoundTable(record, tuple(own)) for record, own in held.values()]


def statement_sources(result: SQLResult, found: Sequence[FoundTable]) -> list[Source]:
    """Return the tables that a statement read, of those that it might read, each with a node that holds it."""
    nodes = {table.record.table_id: table.nodes[0] for table in found}
    return [(record, nodes[record.table_id]) for record in result.sources]


def context_nodes(result: SQLResult, sources: Sequence[Source]) -> list[NodeWithScore]:
    """Return what an LLM answers from: the result under the first table, and what the others are."""
    context = []
    for place, (record, scored) in enumerate(sources):
        text = table_text(record) if place else result_text(result, record)
        metadata = dict(scored.node.metadata)
        shown = TextNode(id_=scored.node.node_id, text=text, metadata=metadata, relationships=scored.node.relationships)
        shown.excluded_llm_metadata_keys = list(metadata)
        context.append(NodeWithScore(node=shown, score=scored.score))
    return context


def result_metadata(
    attempts: SQLAttempts, result: SQLResult, sources: Sequence[Source], max_rows: int
) -> dict[str, Any]:
    """Return what the metadata of a response say of a statement and its result."""
    return attempts.metadata | {
        "sql": result.sql,
        "columns": list(result.columns),
        "rows": [[_plain(value) for value in row] for row in result.rows[:max_rows]],
        "tables": [_place(record, node.node) for record, node in sources],
        "operation": "",
        "value": "",
    }


def answer_from_cells(
    question: str,
    nodes: Sequence[NodeWithScore],
    found: Sequence[FoundTable],
    store: Any = None,
    filters: MetadataFilters | None = None,
) -> CitedAnswer:
    """Look cells up and cite the node that holds them; where none answers, the fixed answer says so.

    Args:
        nodes: The retrieved nodes.
        found: The tables that they hold.
        store: Where the other parts of a long table are, or None.
        filters: Filters on these parts.
    """
    sources = list(nodes)
    answer = look_up(question, [table.record for table in found]) if found else None
    if answer is None:
        return CitedAnswer([not_found_answer(question)], sources, _nothing())
    holder = _holder(found[answer.place], answer, store, filters)
    if all(node.node.node_id != holder.node.node_id for node in sources):
        sources.append(holder)
    number = next(n for n, node in enumerate(sources, 1) if node.node.node_id == holder.node.node_id)
    pieces = [f"{without_markers(line)} {marker(number)}" for line in answer.lines]
    metadata = _nothing() | {
        "columns": ["row", "column", "value"],
        "rows": [_cell(answer, row, column) for row, column in answer.cells],
        "tables": [_place(answer.record, holder.node)],
        "citations": [citation(number, holder, "\n".join(answer.lines))],
        "answered": True,
        "operation": answer.operation,
        "value": answer.value,
    }
    carrying = citable_copies(sources)
    attach_citations(carrying, metadata["citations"], "\n".join(pieces))
    return CitedAnswer([piece if not place else f"\n{piece}" for place, piece in enumerate(pieces)], carrying, metadata)


def _holder(table: FoundTable, answer: CellAnswer, store: Any, filters: MetadataFilters | None) -> NodeWithScore:
    """Return the node that holds the row of an answer; a long table has several nodes."""
    cells = [cell for cell in answer.record.rows[answer.cells[0][0]] if cell]
    own = {node.node.node_id for node in table.nodes}
    others = [node_id for node_id in table.record.node_ids if node_id not in own]
    best = max(table.nodes, key=lambda node: _holds(node.node, cells))
    if not others or store is None or _holds(best.node, cells) == len(cells):
        return best
    parts = store.get_nodes(node_ids=others, filters=filters)
    other = max(parts, key=lambda node: _holds(node, cells), default=None)
    if other is None or _holds(other, cells) <= _holds(best.node, cells):
        return best
    return NodeWithScore(node=other, score=best.score)


def _place(record: TableRecord, node: BaseNode) -> dict[str, Any]:
    box = NodeView(node).box or box_of(record.bbox)
    return {
        "name": record.name,
        "node_id": node.node_id,
        "page": node.metadata.get("page", record.page),
        "bbox": list(box) if box else None,
        "file_name": record.file_name,
        "caption": record.caption,
    }


def _cell(answer: CellAnswer, row: int, column: int) -> list[str]:
    record = answer.record
    label = next((n for n, each in enumerate(record.columns) if each.type == "text"), 0)
    return [record.rows[row][label], record.columns[column].header, record.rows[row][column]]


def _holds(node: BaseNode, cells: Sequence[str]) -> int:
    lines = NodeView(node).text.splitlines()
    return max((sum(cell in line for cell in cells) for line in lines), default=0)


def _plain(value: Any) -> Any:
    """Return an SQL value as JSON has it."""
    if isinstance(value, Decimal):
        return float(value)
    return str(value) if isinstance(value, datetime.date | datetime.time | datetime.timedelta | bytes) else value


def _nothing() -> dict[str, Any]:
    return {
        "sql": None,
        "columns": [],
        "rows": [],
        "tables": [],
        "citations": [],
        "answered": False,
        "operation": "",
        "value": "",
    }
