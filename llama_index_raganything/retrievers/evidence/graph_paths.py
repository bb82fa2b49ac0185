"""How results are linked, in words for people to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from llama_index.core.schema import BaseNode

from llama_index_raganything.elements import labels_in
from llama_index_raganything.graph.extraction.subjects import heading_name, title_forms
from llama_index_raganything.graph.facts import name_hash
from llama_index_raganything.graph.names import MAX_NAME_WORDS, candidates_of, name_key, words_of
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.text.sentences import split_sentences

STRUCTURE: Final = "structure"
"""Relation of two nodes that their document's structure ties, shown as "cites", "cited by" or what they share."""

_SHOWN_CHARS: Final = 60
_READ_CHARS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Step:
    """A link between two nodes of one set.

    Attributes:
        source: Id of a node.
        target: Id of the other.
        relation: How the source is tied to the target: "mentions", "mentioned by", "shares", "same title", or
            :data:`STRUCTURE`.
        name: Hash of the name that joins them; 0 for structural links.
    """

    source: str
    target: str
    relation: str
    name: int = 0


def shown_path(steps: Iterable[Step], nodes: Mapping[str, BaseNode]) -> list[dict[str, str]]:
    """Return links in words.

    Args:
        steps: The links.
        nodes: The nodes they join; links of others are left out.

    Returns:
        One dictionary per link: ids and titles of both ends, the relation and the name.
    """
    return [
        _shown(step, nodes[step.source], nodes[step.target])
        for step in steps
        if step.source in nodes and step.target in nodes
    ]


def title_of(node: BaseNode) -> str:
    """Return a few words by which a person recognises a node: its label, title or section, or how its text begins."""
    for key in ("label", "title", "section"):
        if node.metadata.get(key):
            return str(node.metadata[key])
    text = " ".join(NodeView(node).text[: 4 * _SHOWN_CHARS].split())
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1].rstrip() + "…"


def _shown(step: Step, source: BaseNode, target: BaseNode) -> dict[str, str]:
    """Return one entry of the path, with the titles of both nodes."""
    if step.relation == STRUCTURE:
        relation, name = _structure(source, target)
    else:
        relation, name = step.relation, _name(step.name, source, target)
    return {
        "source": step.source,
        "source_title": title_of(source),
        "relation": relation,
        "name": name,
        "target": step.target,
        "target_title": title_of(target),
    }


def _structure(source: BaseNode, target: BaseNode) -> tuple[str, str]:
    """Return how the structure of their document ties two nodes, and over which label, section or page."""
    for relation, citing, cited in (("cites", source, target), ("cited by", target, source)):
        label = str(cited.metadata.get("label") or "")
        if label and citing.metadata.get("label") != label and label in labels_in(_text(citing)):
            return relation, label
    for key in ("label", "section", "page"):
        value = source.metadata.get(key)
        if value and target.metadata.get(key) == value:
            return f"same {key}", str(value)
    return "same document", str(source.metadata.get("title") or source.metadata.get("file_name") or "")


def _name(wanted: int, *nodes: BaseNode) -> str:
    """Return a name as a node writes it."""
    surfaces = (name for read in (_given_names, _found_names, _word_runs) for node in nodes for name in read(node))
    return next((" ".join(name.split()) for name in surfaces if name_hash(name_key(name)) == wanted), "")


def _given_names(node: BaseNode) -> Iterator[str]:
    """Yield the forms of a node's title, and its heading."""
    for title in (str(node.metadata.get("title") or ""), heading_name(NodeView(node).heading)):
        yield from (form for form, _ in title_forms(title))


def _found_names(node: BaseNode) -> Iterator[str]:
    """Yield the names that rules find in a text."""
    text = _text(node)
    start = 0
    for sentence in split_sentences(text):
        for item in candidates_of(text, words_of(text, start, start + len(sentence))):
            yield text[item.start : item.end]
        start += len(sentence)


def _word_runs(node: BaseNode) -> Iterator[str]:
    """Yield all runs of a few words: what a model takes for a name need not look like one."""
    text = _text(node)
    words = words_of(text)
    for first in range(len(words)):
        for last in range(first, min(len(words), first + MAX_NAME_WORDS)):
            yield text[words[first].start : words[last].end]


def _text(node: BaseNode) -> str:
    return NodeView(node).text[:_READ_CHARS]
