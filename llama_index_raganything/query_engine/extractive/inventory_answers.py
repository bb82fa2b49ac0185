"""Answers without an LLM to questions about whole documents, from the summary that the inventory retriever gives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from llama_index.core.schema import NodeWithScore

from llama_index_raganything.nodes import NodeView
from llama_index_raganything.query_engine.citations import citation, marker, without_markers
from llama_index_raganything.retrievers.inventory.retriever import entry_line, read_entries
from llama_index_raganything.text.characters import HAN

_CJK: Final = re.compile(rf"[{HAN}]")


def inventory_answer(sources: Sequence[NodeWithScore]) -> tuple[list[str], list[dict[str, Any]]] | None:
    """Return the answer that an inventory's summary among the sources gives.

    Args:
        sources: Source nodes; the first is ``[1]``.

    Returns:
        The answer in pieces, each item followed by the number of its source, and the citations; None when there is
        no summary among the sources.
    """
    found = ((number, source, read_entries(source.node)) for number, source in enumerate(sources, 1))
    place, summary, entries = next((each for each in found if each[2] is not None), (0, None, None))
    if summary is None or entries is None:
        return None
    numbers = {source.node.node_id: number for number, source in enumerate(sources, 1)}
    cited = {place: NodeView(summary.node).text}
    lines = []
    chinese = bool(_CJK.search("".join(entry.heading for entry in entries)))
    for entry in entries:
        items = []
        for node_id, text in entry.items:
            number = numbers.get(node_id)
            items.append(without_markers(text) + (f" {marker(number)}" if number else ""))
            if number:
                cited.setdefault(number, text)
        heading = f"{without_markers(entry.heading)} {marker(place)}"
        lines.append(entry_line(heading, items, entry.more, chinese=chinese))
    pieces = [line if index == 0 else f"\n{line}" for index, line in enumerate(lines)]
    return pieces, [citation(number, sources[number - 1], quote) for number, quote in cited.items()]
