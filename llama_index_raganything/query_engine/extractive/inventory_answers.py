"""Answers without an LLM to questions about whole documents, from the summary that the inventory retriever gives."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from llama_index.core.schema import NodeWithScore

from llama_index_raganything.nodes import NodeView
from llama_index_raganything.query_engine.citations import citation, without_markers
from llama_index_raganything.questions.document_parts import ENTRIES_KEY, INVENTORY_TYPE
from llama_index_raganything.text.characters import HAN

_CJK: Final = re.compile(rf"[{HAN}]")


def inventory_answer(sources: Sequence[NodeWithScore]) -> tuple[list[str], list[dict[str, Any]]] | None:
    """Return the answer that an inventory's summary among the sources gives.

    Args:
        sources: Source nodes; the first is ``[1]``.

    Returns:
        The answer in pieces, each part followed by the number of its source, and the citations; None when there is
        no summary among the sources.
    """
    place = next((number for number, source in enumerate(sources, 1) if _is_summary(source)), None)
    if place is None:
        return None
    summary = sources[place - 1]
    numbers = {source.node.node_id: number for number, source in enumerate(sources, 1)}
    cited = {place: NodeView(summary.node).text}
    lines = []
    entries = _entries(summary)
    chinese = bool(_CJK.search("".join(entry["heading"] for entry in entries)))
    for entry in entries:
        parts = []
        for node_id, text in entry["things"]:
            number = numbers.get(node_id)
            parts.append(without_markers(text) + (f" [{number}]" if number else ""))
            if number:
                cited.setdefault(number, text)
        if entry["more"]:
            parts.append(f"另有{entry['more']}个" if chinese else f"and {entry['more']} more")
        lines.append(_line(f"{without_markers(entry['heading'])} [{place}]", parts, chinese=chinese))
    pieces = [line if index == 0 else f"\n{line}" for index, line in enumerate(lines)]
    return pieces, [citation(number, sources[number - 1], quote) for number, quote in cited.items()]


def _is_summary(source: NodeWithScore) -> bool:
    return NodeView(source.node).kind == INVENTORY_TYPE and ENTRIES_KEY in source.node.metadata


def _line(heading: str, parts: Sequence[str], *, chinese: bool) -> str:
    colon, separator, stop = ("：", "；", "。") if chinese else (": ", "; ", ".")
    return heading + (colon + separator.join(parts) if parts else "") + stop


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
        # A postprocessor changed it; the text says the same without the places of its parts.
        return [{"heading": NodeView(summary.node).text.rstrip(".。"), "things": [], "more": 0}]
