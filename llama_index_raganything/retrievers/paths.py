"""How results hang together, told so that a person can read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from llama_index.core.schema import BaseNode, MetadataMode

from llama_index_raganything.graph.facts import name_hash
from llama_index_raganything.graph.names import candidates_of, name_key, words_of
from llama_index_raganything.sentences import split_sentences

GRAPH_PATH_KEY = "graph_path"
"""Metadata key, hidden from embedding models and LLMs, of the JSON list of links that led to a node."""

_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class Step:
    """A link between two nodes of one set.

    Attributes:
        source: Id of a node.
        target: Id of the other.
        relation: How the source is tied to the target: "mentions", "mentioned by", "shares", "same title", "section".
        name: Hash of the name that joins them; 0 for structural links.
    """

    source: str
    target: str
    relation: str
    name: int = 0


@dataclass(frozen=True, slots=True)
class _Shown:
    source: str
    source_title: str
    relation: str
    name: str
    target: str
    target_title: str


def shown_path(steps: Iterable[Step], nodes: Mapping[str, BaseNode]) -> list[dict[str, str]]:
    """Return links in words.

    Args:
        steps: The links.
        nodes: The nodes they join; links of others are left out.

    Returns:
        One dictionary per link: ids and titles of both ends, the relation and the name.
    """
    return [
        asdict(
            _Shown(
                step.source,
                title_of(nodes[step.source]),
                step.relation,
                _name(step.name, nodes[step.source], nodes[step.target]) if step.name else "",
                step.target,
                title_of(nodes[step.target]),
            )
        )
        for step in steps
        if step.source in nodes and step.target in nodes
    ]


def title_of(node: BaseNode) -> str:
    """Return a few words by which a person knows a node: its label, title or section, or how its text begins.

    Args:
        node: A node.
    """
    for key in ("label", "title", "section"):
        if node.metadata.get(key):
            return str(node.metadata[key])
    text = " ".join(node.get_content(metadata_mode=MetadataMode.NONE)[: 4 * _SHOWN_CHARS].split())
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1].rstrip() + "…"


def _name(wanted: int, *nodes: BaseNode) -> str:
    """Return a name as a node writes it."""
    for node in nodes:
        for title in (node.metadata.get("title"), node.metadata.get("section")):
            if title and name_hash(name_key(str(title))) == wanted:
                return str(title)
        text = node.get_content(metadata_mode=MetadataMode.NONE)
        start = 0
        for sentence in split_sentences(text):
            words = words_of(text, start, start + len(sentence))
            for item in candidates_of(text, words):
                if name_hash(item.key) == wanted:
                    return " ".join(text[item.start : item.end].split())
            start += len(sentence)
    return ""
