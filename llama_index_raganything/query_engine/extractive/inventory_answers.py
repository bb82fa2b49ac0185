"""Answers without an LLM to questions about whole documents, from the summary that an inventory gives."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from llama_index.core.schema import NodeWithScore

from llama_index_raganything.nodes import NodeView
from llama_index_raganything.query_engine.citations import citation
from llama_index_raganything.query_engine.extractive.quotes import without_markers
from llama_index_raganything.questions.document_parts import ENTRIES_KEY, INVENTORY_TYPE
from llama_index_raganything.text.characters import HAN

_CJK: Final = re.compile(rf"[{HAN}]")


def is_inventory(source: NodeWithScore) -> bool:
    """Tell whether a source is the summary of an inventory.

    Args:
        source: A retrieved node.
    """
    return source.node.metadata.get("content_type") == INVENTORY_TYPE and ENTRIES_KEY in source.node.metadata


def inventory_answer(sources: Sequence[NodeWithScore]) -> tuple[list[str], list[dict[str, Any]]] | None:
    """Return the answer that an inventory among the sources gives.

    Args:
        sources: Source nodes; the first is ``[1]``.

    Returns:
        The answer in pieces, each thing followed by the number of its source, and the citations; None when there is
        no inventory among the sources.
    """
    place = next((number for number, source in enumerate(sources, 1) if is_inventory(source)), None)
    if place is None:
        return None
    summary = sources[place - 1]
    numbers = {source.node.node_id: number for number, source in enumerate(sources, 1)}
    cited = {place: NodeView(summary.node).text}
    lines = []
    entries = _entries(summary)
    chinese = bool(_CJK.search("".join(entry["heading"] for entry in entries)))
    for entry in entries:
        things = []
        for node_id, text in entry["things"]:
            number = numbers.get(node_id)
            things.append(without_markers(text) + (f" [{number}]" if number else ""))
            if number:
                cited.setdefault(number, text)
        if entry["more"]:
            things.append(f"另有{entry['more']}个" if chinese else f"and {entry['more']} more")
        lines.append(_line(f"{without_markers(entry['heading'])} [{place}]", things, chinese=chinese))
    pieces = [line if index == 0 else f"\n{line}" for index, line in enumerate(lines)]
    citations = [citation(number, sources[number - 1], quote) for number, quote in cited.items()]
    return pieces, citations


def _line(heading: str, things: Sequence[str], *, chinese: bool) -> str:
    colon, separator, stop = ("：", "；", "。") if chinese else (": ", "; ", ".")
    return heading + (colon + separator.join(things) if things else "") + stop


def _entries(summary: NodeWithScore) -> list[dict[str, Any]]:
    try:
        found = json.loads(summary.node.metadata[ENTRIES_KEY])
        return [
            {
                "heading": str(entry["heading"]),
                "things": [(str(node_id), str(text)) for node_id, text in entry["things"]],
                "more": int(entry["more"]),
            }
            for entry in found
        ]
    except (ValueError, TypeError, KeyError):
        # Changed by a postprocessor: the text says the same without the things' own places.
        return [{"heading": NodeView(summary.node).text.rstrip(".。"), "things": [], "more": 0}]
