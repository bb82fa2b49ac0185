"""From nodes to tables: the pipe tables in their texts, parts of one table joined again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from llama_index.core.schema import BaseNode, NodeRelationship

from llama_index_raganything.elements import content_id, without_description
from llama_index_raganything.nodes import NodeView, in_reading_order, last_heading, page_number
from llama_index_raganything.tables.columns import CellGrid, arranged, slug, typed_columns
from llama_index_raganything.tables.pipe_tables import PipeTable, Row, pipe_cells, pipe_tables
from llama_index_raganything.tables.records import TableRecord

MAX_COLUMNS: Final = 1_000
"""Columns of one table; later ones are dropped."""

_SKIPPED_TYPES: Final = frozenset({"code", "equation", "page"})
_TEXT_KEYS: Final = ("caption", "label", "section", "title", "file_name", "page_label", "bbox")
_NAME_CHARS: Final = 36
_NOTE_CHARS: Final = 2_000
_LEAD_CHARS: Final = 200


@dataclass(slots=True)
class _Part:
    node: BaseNode
    text: str
    lead: str = ""  # The last line of the text before it.


def tables_of_nodes(nodes: Iterable[BaseNode]) -> list[TableRecord]:
    """Return the tables in nodes.

    The parts into which a node parser cut one table, known by the same ``doc_id`` and ``element_id``, become one
    table again. In nodes of another make each Markdown pipe table in the text is one.

    Args:
        nodes: Nodes of any documents, those of one table in reading order or linked as previous and next. Page
            nodes, code and equations are left out: what is on a page is in nodes of its own.

    Returns:
        The tables in the order of their first nodes.
    """
    found: list[TableRecord] = []
    for parts in _groups(nodes):
        found.extend(_tables_of(parts))
    return found


def _groups(nodes: Iterable[BaseNode]) -> Iterator[list[_Part]]:
    groups: dict[tuple[str, str], list[_Part]] = {}
    nodes = list(nodes)
    by_id = {node.node_id: node for node in nodes}
    for node in nodes:
        kind = node.metadata.get("content_type")
        if kind in _SKIPPED_TYPES:
            continue
        # A model's words about a table ("in thousands") must not change what its cells mean.
        text = without_description(NodeView(node).text, node.metadata)
        if "|" not in text:
            continue
        element = str(node.metadata.get("element_id") or "") if kind == "table" else ""
        key = (NodeView(node).document_id, f"element {element}" if element else f"node {node.node_id}")
        parts = groups.setdefault(key, [])
        if all(part.node.node_id != node.node_id for part in parts):
            parts.append(_Part(node, text, _lead(node, by_id)))
    for parts in groups.values():
        order = {node.node_id: place for place, node in enumerate(in_reading_order([part.node for part in parts]))}
        yield sorted(parts, key=lambda part: order[part.node.node_id])


def _lead(node: BaseNode, by_id: dict[str, BaseNode]) -> str:
    """Return the last line of the text before a table, which often states "(in thousands)"."""
    previous = node.relationships.get(NodeRelationship.PREVIOUS)
    if previous is None or isinstance(previous, list) or previous.node_id not in by_id:
        return ""
    before = by_id[previous.node_id]
    if before.metadata.get("content_type") != "text":
        return ""
    lines = NodeView(before).text.rstrip().splitlines()
    return lines[-1][-_LEAD_CHARS:] if lines else ""


def _tables_of(parts: Sequence[_Part]) -> Iterator[TableRecord]:
    first = parts[0].node
    if first.metadata.get("content_type") == "table":
        table = _joined(parts)
        if table is not None:
            element = str(first.metadata.get("element_id") or first.node_id)
            yield _record(table, [part.node for part in parts], (NodeView(first).document_id, element), parts[0].lead)
        return
    for number, table in enumerate(pipe_tables(parts[0].text)):
        yield _record(table, [first], (NodeView(first).document_id, first.node_id, str(number)))


def _joined(parts: Sequence[_Part]) -> PipeTable | None:
    """Join the parts of one table, each of which repeats the header."""
    table: PipeTable | None = None
    rows: list[Row] = []
    for text in _once([part.text for part in parts]):
        found = pipe_tables(text)
        if found:
            # A description may hold a small table of its own above the real one.
            own = max(found, key=lambda each: len(each.rows))
            table = table or own
            rows.extend(own.rows)
        elif table is not None:
            rows.extend(pipe_cells(line) for line in text.splitlines() if line.strip().startswith("|"))
    return PipeTable(table.header, tuple(rows), table.before, table.after) if table is not None else None


def _once(texts: Sequence[str]) -> list[str]:
    """Return the texts of one copy where a document without pages repeats a table."""
    for length in range(1, len(texts) // 2 + 1):
        if len(texts) % length == 0 and all(text == texts[index % length] for index, text in enumerate(texts)):
            return list(texts[:length])
    return list(texts)


def _record(table: PipeTable, nodes: Sequence[BaseNode], identity: tuple[str, ...], lead: str = "") -> TableRecord:
    metadata = nodes[0].metadata
    grid = arranged(_squared([table.header]), _squared(table.rows, len(table.header)))
    notes = "\n".join(part for part in (table.before, table.after) if part)[:_NOTE_CHARS]
    caption = _text(metadata, "caption")
    section = last_heading(_text(metadata, "section"))
    headers = grid.headers()
    table_id = content_id(*identity)
    return TableRecord(
        table_id=table_id,
        name=_name(metadata, notes, table_id),
        doc_id=identity[0],
        columns=typed_columns(headers, grid.rows, "\n".join((caption, section, notes, _corner(grid), lead))),
        rows=grid.rows,
        header_rows=grid.header_rows,
        node_ids=tuple(node.node_id for node in nodes),
        notes=notes,
        source=_text(metadata, "source") or _text(metadata, "file_path"),
        page=page_number(metadata),
        **{key: _text(metadata, key) for key in _TEXT_KEYS},
    )


def _squared(rows: Sequence[Row], width: int = 0) -> list[Row]:
    """Give all rows the same number of cells."""
    width = min(MAX_COLUMNS, max([width, *(len(row) for row in rows)], default=0))
    return [(*row[:width], *("",) * (width - len(row))) for row in rows]


def _corner(grid: CellGrid) -> str:
    # "(in thousands)" is often in the first header cell, or alone in the first row.
    corner = [row[0] for row in grid.header_rows if row]
    return "\n".join([*corner, *(row[0] for row in grid.rows[:1] if row and not any(row[1:]))])


def _text(metadata: dict[str, Any], key: str) -> str:
    value = metadata.get(key)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _name(metadata: dict[str, Any], notes: str, table_id: str) -> str:
    label, caption = _text(metadata, "label"), _text(metadata, "caption")
    section = last_heading(_text(metadata, "section"))
    first_line = notes.partition("\n")[0] if len(notes) < 4 * _NAME_CHARS else ""
    file_stem = PurePosixPath(_text(metadata, "file_name")).stem
    words = next(
        filter(None, (slug(each, _NAME_CHARS) for each in (caption, label, section, first_line, file_stem))), ""
    )
    if not words or words[0].isdigit():
        words = f"table_{words}".rstrip("_")
    return f"{words}_{hashlib.sha256(table_id.encode()).hexdigest()[:8]}"
