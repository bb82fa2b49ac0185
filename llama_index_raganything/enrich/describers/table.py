"""``TableDescriber``: an LLM describes tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from llama_index.core.schema import BaseNode
from pydantic import Field

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.enrich.base import ElementNodes
from llama_index_raganything.enrich.describers.base import Describer, Subject, body_paragraphs
from llama_index_raganything.enrich.describers.upstream import Description
from llama_index_raganything.errors import EnrichmentError
from llama_index_raganything.tables.pipe_tables import pipe_cells
from llama_index_raganything.text.terms import simple_tokens

_ROW = re.compile(r"^\s*\|.*\|\s*$")
_RULE = re.compile(r"^[\s|:-]*-[\s|:-]*$")


@strict_arguments
class TableDescriber(Describer):
    """Describe tables with an LLM; see :class:`~llama_index_raganything.enrich.describers.base.Describer`.

    The model reads the table as Markdown. A table that the node parser split into several nodes takes one call; the
    description goes into its first node and the entity into all.

    Args:
        max_table_tokens: Maximum tokens of a table that are sent; of a longer one the first rows and the number of the
            rest.
    """

    content_types: tuple[str, ...] = Field(default=("table",), description="Content types that are processed.")
    max_table_tokens: int = Field(default=8000, gt=0, description="Tokens of a table that are sent.")

    def _processor_name(self) -> str:
        return "TableModalProcessor"

    def _subject(self, element: ElementNodes) -> Subject:
        body, notes = table_markdown(element.parts)
        if not body:
            message = "The table has no cells that could be read, only its caption."
            raise EnrichmentError(message)
        node = element.first
        caption = str(node.metadata.get("caption") or "")
        asset = PurePosixPath(str(node.metadata.get("asset") or "None")).name
        item = {
            "table_body": "\n".join(_first_rows(body, self.max_table_tokens)),
            "table_caption": [caption] if caption else [],
            "table_footnote": notes,
            "img_path": asset,
        }
        return Subject(item)

    def _readable(self, description: Description) -> Description:
        # A pipe table in the description would be read as another table.
        lines = [_without_pipes(line) for line in description.text.splitlines() if not _is_rule(line)]
        return Description("\n".join(lines), description.entity, description.complete)


def table_markdown(parts: Sequence[BaseNode]) -> tuple[list[str], list[str]]:
    """Return the lines of a table, whose parts repeat its header, and the notes around it.

    Returns:
        The lines of the Markdown table, or of the text in its place, and the other paragraphs.
    """
    lines: list[str] = []
    notes: dict[str, None] = {}
    header: list[str] = []
    for part in parts:
        paragraphs = body_paragraphs(part)
        rows = [line for paragraph in paragraphs for line in paragraph.splitlines() if _ROW.match(line)]
        if not lines:
            header = rows[:2] if len(rows) > 1 and _is_rule(rows[1]) else []
        elif rows[: len(header)] == header:
            rows = rows[len(header) :]
        lines.extend(rows)
        notes.update(dict.fromkeys(text for text in map(_without_rows, paragraphs) if text))
    if lines:
        return lines, list(notes)
    # No pipe table: in another readable form the first paragraphs are the table.
    return [line for note in notes for line in note.splitlines()], []


def _without_rows(paragraph: str) -> str:
    return "\n".join(line for line in paragraph.splitlines() if not _ROW.match(line)).strip()


def _is_rule(line: str) -> bool:
    return "|" in line and _RULE.match(line) is not None


def _without_pipes(line: str) -> str:
    return ", ".join(pipe_cells(line)) if _ROW.match(line) else line


def _first_rows(lines: Sequence[str], budget: int) -> list[str]:
    kept: list[str] = []
    left = budget
    for number, line in enumerate(lines):
        left -= len(simple_tokens(line))
        if left < 0 and number > 0:
            return [*kept, f"({len(lines) - number:,} further rows)"]
        # A single row may exceed a model's limit.
        kept.append(line if left >= 0 else line[: 4 * budget])
    return kept
