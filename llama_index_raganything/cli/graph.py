"""The commands ``graph stats`` and ``graph show``: look at the graph of a knowledge base."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, Final

from llama_index_raganything.cli.options import add_command, open_index
from llama_index_raganything.cli.output import hint_if_empty, place_of, print_json, shorten

if TYPE_CHECKING:
    from llama_index_raganything.index.index import RAGAnythingIndex
    from llama_index_raganything.stores.graph.entity_descriptions import EntityDescription
    from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph

_LABELS: Final = {
    "nodes": "Nodes with facts",
    "sentences": "Sentences",
    "entities": "Entities (titles, headings, ends of triples)",
    "names": "Names that link documents",
    "mentions": "Mentions of such names",
    "triples": "Triples read by an LLM (one per source)",
    "bytes": "Bytes in memory",
}
_SENTENCE_CHARS: Final = 300


def add_graph_commands(commands: Any) -> None:
    """Add ``graph stats`` and ``graph show``."""
    text = "look at the names and facts that join the documents"
    parser = commands.add_parser("graph", help=text, description=text[0].upper() + text[1:] + ".")
    actions = parser.add_subparsers(required=True, metavar="COMMAND")
    add_command(actions, "stats", _stats, "count names, sentences, mentions and triples")
    text = "show where a name is mentioned and what it occurs with"
    show = add_command(actions, "show", _show, text, "graph show 'Nordlys Wind'")
    show.add_argument("entity", metavar="ENTITY", help="a name, in any case: 'Port Blair', \"Table 1\", 北京")
    show.add_argument("--limit", type=_positive, default=10, metavar="N", help="number shown of each kind (default 10)")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")  # noqa: EM102 # argparse shows it as usage.
    return value


def _stats(arguments: argparse.Namespace) -> int:
    with open_index(arguments) as index:
        hint_if_empty(index, arguments)
        stats = index.knowledge_graph.stats()
    if arguments.json:
        print_json(stats)
        return 0
    for key, label in _LABELS.items():
        print(f"{label}: {stats.get(key, 0):,}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    with open_index(arguments) as index:
        hint_if_empty(index, arguments)
        graph = index.knowledge_graph
        found = graph.describe(arguments.entity, arguments.limit)
        if found is None:
            return _unknown(graph, arguments)
        fields = _fields(index, found, arguments.limit)
    if arguments.json:
        print_json(fields)
    else:
        _print_fields(fields)
    return 0


def _unknown(graph: KnowledgeGraph, arguments: argparse.Namespace) -> int:
    near = graph.similar_names(arguments.entity)
    message = f"No text has the name {arguments.entity!r}."
    if arguments.json:
        print_json({"error": "NotFound", "message": message, "similar": near})
    else:
        hint = f" Did you mean {', '.join(repr(name) for name in near)}?" if near else ""
        print(message + hint, file=sys.stderr)
    return 1


def _fields(index: RAGAnythingIndex, found: EntityDescription, limit: int) -> dict[str, Any]:
    titled = found.title_of[:limit]
    wanted = list(dict.fromkeys([*titled, *(mention.node_id for mention in found.mentions)]))
    nodes = {node.node_id: node for node in index.store.get_nodes(node_ids=wanted)} if wanted else {}
    shown = {
        node_id: {"node_id": node_id, "place": place_of(node.metadata), "metadata": node.metadata}
        for node_id, node in nodes.items()
    }
    return {
        "name": found.name,
        "nodes": found.nodes,
        "documents": found.documents,
        "title_of": [shown[node_id] for node_id in titled if node_id in nodes],
        "mentions": [
            shown[mention.node_id] | {"text": nodes[mention.node_id].get_content()[mention.start : mention.end]}
            for mention in found.mentions
            if mention.node_id in nodes
        ],
        "together_with": [{"name": name, "sentences": count} for name, count in found.together_with],
        "triples": _triples(index.knowledge_graph, found.name, limit),
    }


def _triples(graph: KnowledgeGraph, name: str, limit: int) -> list[list[str]]:
    """Return the triples that an LLM read about an entity; mentions are shown as sentences instead."""
    from llama_index_raganything.stores.graph.triples import MENTIONS

    ids = graph.store.named([name])[name]
    triplets = graph.store.get_triplets(entity_names=ids) if ids else []
    triples = [[relation.source_id, relation.label, relation.target_id] for _, relation, _ in triplets]
    return [triple for triple in triples if triple[1] != MENTIONS][:limit]


def _print_fields(fields: dict[str, Any]) -> None:
    nodes, documents = fields["nodes"], fields["documents"]
    print(f"{fields['name']}: in {nodes} node{'s' * (nodes != 1)} of {documents} document{'s' * (documents != 1)}")
    _print_list("Title or heading of", [item["place"] for item in fields["title_of"]])
    _print_list(
        "Mentioned in",
        [f"{shorten(item['text'], _SENTENCE_CHARS)}\n    {item['place']}" for item in fields["mentions"]],
    )
    _print_list("Together with", [f"{item['name']} ({item['sentences']})" for item in fields["together_with"]])
    _print_list("Triples", [" -> ".join(triple) for triple in fields["triples"]])


def _print_list(heading: str, lines: list[str]) -> None:
    if lines:
        print(f"{heading}:")
        for line in lines:
            print(f"  {line}")
