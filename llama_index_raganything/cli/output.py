"""How results are printed."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llama_index_raganything.settings import names_provider

if TYPE_CHECKING:
    from llama_index.core.base.response.schema import RESPONSE_TYPE
    from llama_index.core.schema import BaseNode, NodeWithScore

    from llama_index_raganything.index.index import RAGAnythingIndex

GRAPH_PATH_KEY: Final = "graph_path"
"""As in ``elements``, whose import would make ``--help`` slow."""

_MAX_LINKS: Final = 3
_TITLE_CHARS: Final = 60


def hint_if_empty(index: RAGAnythingIndex, arguments: argparse.Namespace) -> None:
    """Say that the knowledge base is empty: a mistyped ``--uri`` would look like a question without an answer."""
    if not index.documents():
        status = index.status()
        place = f"{status['collection']!r} at {status['uri']}"
        print(f"The knowledge base {place} is empty; bring files in with `ingest`.", file=sys.stderr)
        if not arguments.env_file and not names_provider(arguments.models) and Path(".env").is_file():
            print("There is a .env file here, which is read with `--env-file .env` only.", file=sys.stderr)


def answer_fields(question: str, response: RESPONSE_TYPE) -> dict[str, Any]:
    """Return an answer as plain values."""
    metadata = response.metadata or {}
    return {
        "question": question,
        "answer": str(response),
        "answered": is_answered(response),
        "citations": metadata.get("citations", []),
    }


def is_answered(response: RESPONSE_TYPE) -> bool:
    """Return whether the documents hold an answer; an LLM that was shown some of them is taken at its word."""
    return bool((response.metadata or {}).get("answered", bool(response.source_nodes)))


def print_answer(response: RESPONSE_TYPE) -> None:
    """Print an answer with its citations."""
    print(f"A: {response}")
    print_citations(response)


def print_citations(response: RESPONSE_TYPE) -> None:
    """Print where the citations of an answer lead, each with the names that led to it; a stream must be read before."""
    nodes = {item.node.node_id: item.node for item in response.source_nodes}
    for citation in (response.metadata or {}).get("citations", []):
        print(f"   [{citation['n']}] {place_of(citation)}")
        for link in links_of(nodes.get(str(citation.get("node_id")))):
            print(f"       {link}")


def result_fields(result: NodeWithScore) -> dict[str, Any]:
    """Return a search result as plain values."""
    node = result.node
    return {"node_id": node.node_id, "score": result.score, "text": node.get_content(), "metadata": node.metadata}


def links_of(node: BaseNode | None) -> list[str]:
    """Return in words which names and sections join a result with others; nothing if it was found by itself."""
    if node is None:
        return []
    steps = json.loads(node.metadata.get(GRAPH_PATH_KEY) or "[]")
    own = [step for step in steps if node.node_id in (step["source"], step["target"])]
    return list(dict.fromkeys(_link(step) for step in own if step["relation"] != "same title"))[:_MAX_LINKS]


def _link(step: dict[str, str]) -> str:
    ends = [step["source_title"], step["target_title"]]
    if step["relation"] == "mentioned by":
        ends.reverse()
    reason = f"via {step['name']!r}" if step["name"] else step["relation"]
    return f"{reason}: {' -> '.join(shorten(end, _TITLE_CHARS) for end in ends)}"


def place_of(metadata: dict[str, Any]) -> str:
    """Return the place of a node or citation in words: file, page, box, label, section."""
    if metadata.get("content_type") == "inventory" and not metadata.get("file_name"):
        return "inventory of the documents"
    box = metadata.get("bbox")
    parts = [
        str(metadata.get("file_name") or metadata.get("source") or metadata.get("doc_id") or "?"),
        _page(metadata),
        f"box {box if isinstance(box, str) else json.dumps(box)}" if box else "",
        str(metadata.get("content_type") or ""),
        str(metadata.get("label") or ""),
        f"in {metadata['section']!r}" if metadata.get("section") else "",
    ]
    return ", ".join(part for part in parts if part)


def _page(metadata: dict[str, Any]) -> str:
    """Return the page, with the label printed on it where that is another."""
    page, label = metadata.get("page"), metadata.get("page_label")
    if not page:
        return ""
    return f"page {page} ({label})" if label and label != str(page) else f"page {page}"


def shorten(text: str, limit: int = 200) -> str:
    """Return the beginning of a text on one line, ``limit`` characters at most."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def print_json(value: Any) -> None:
    """Print a value as JSON; what JSON cannot hold is printed as text."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))
