"""How long it takes to delete a document from the graph, with few and with many documents beside it.

DIR has ``corpus.jsonl`` as for ``benchmarks.passages``. Ten passages at a time are made one document; where there are
too few, they are copied with other names. Of each number of documents some are deleted, one after the other, from
Milvus and from the graph in memory.

Metrics, with N documents in the store: ``delete.p50_ms@N``;
``shared_lost@N``: names that other documents have too and that are gone; ``orphans_left@N``: names that only deleted
documents had and that are still there; ``facts_left@N``. The last three must be 0. ``ratio_p50@LAST/FIRST`` says what
the other documents cost; ``llm_calls`` counts those of the whole run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from benchmarks._harness import Result, percentile, run
from benchmarks._llm import counted_llm
from benchmarks._passages import Passage, grow, make_nodes, read_corpus
from llama_index_raganything.graph.extraction.entity_linker import EntityLinker
from llama_index_raganything.graph.facts import NodeFacts
from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph
from llama_index_raganything.stores.graph.property_graph import MilvusPropertyGraphStore

PASSAGES = 10
NAMES = 50
"""Names of each kind that are looked up after each deletion."""


def as_documents(passages: Sequence[Passage], count: int) -> list[Passage]:
    """Return the passages of so many documents, ten each, copied with other names where there are too few."""
    grown = grow(passages, count * PASSAGES)
    return [{**passage, "doc": f"document {number // PASSAGES}"} for number, passage in enumerate(grown)]


def names_by_document(facts: Iterable[NodeFacts]) -> dict[str, dict[str, str]]:
    """Return the names in each document, as written, by the key under which they are compared."""
    names: dict[str, dict[str, str]] = defaultdict(dict)
    for item in facts:
        for name, key, _ in item.entity_names():
            names[item.doc_id].setdefault(key, name)
    return dict(names)


def split_names(names: Mapping[str, Mapping[str, str]], doc_id: str) -> tuple[list[str], list[str]]:
    """Return the names that a document shares with others, and those that only it has."""
    others = {key for other, own in names.items() if other != doc_id for key in own}
    shared = [name for key, name in names[doc_id].items() if key in others]
    return shared, [name for key, name in names[doc_id].items() if key not in others]


def chosen(count: int, repeat: int) -> list[int]:
    """Return the numbers of the documents to delete, evenly spread, not more than half of them."""
    repeat = max(1, min(repeat, count // 2))
    return [round((place + 0.5) * count / repeat - 0.5) for place in range(repeat)]


def measure(graph: KnowledgeGraph, facts: Sequence[NodeFacts], doc_ids: Sequence[str], result: Result) -> list[float]:
    """Delete documents and look for what must be gone and what must be left; return milliseconds."""
    names = names_by_document(facts)
    size, times = len(names), []
    left = dict.fromkeys(("shared_lost", "orphans_left", "facts_left"), 0)
    for doc_id in doc_ids:
        began = time.perf_counter()
        graph.delete_document(doc_id)
        times.append(1000 * (time.perf_counter() - began))
        shared, orphans = split_names(names, doc_id)
        left["shared_lost"] += sum(not origins for origins in graph.store.sources(shared[:NAMES]).values())
        left["orphans_left"] += sum(bool(origins) for origins in graph.store.sources(orphans[:NAMES]).values())
        left["facts_left"] += len(graph.store.facts([item.node_id for item in facts if item.doc_id == doc_id]))
        left["facts_left"] += len(graph.mirror.document_rows(doc_id))
        del names[doc_id]
    result.metrics |= {f"{name}@{size}": value for name, value in left.items()}
    result.metrics[f"delete.p50_ms@{size}"] = percentile(times, 0.5)
    result.rows += [{"documents": size, "ms": ms} for ms in times]
    return times


def run_size(passages: Sequence[Passage], count: int, repeat: int, result: Result) -> None:
    """Fill a graph with so many documents and delete some of them."""
    with tempfile.TemporaryDirectory() as folder:
        graph = KnowledgeGraph(MilvusPropertyGraphStore(f"{folder}/milvus.db", "documents"))
        facts = EntityLinker().extract(make_nodes(as_documents(passages, count)))
        graph.put_facts(facts)
        graph.store.flush()
        _ = graph.mirror
        doc_ids = list(dict.fromkeys(item.doc_id for item in facts))
        measure(graph, facts, [doc_ids[number] for number in chosen(count, repeat)], result)
        graph.close()


def main(args: argparse.Namespace) -> Result:
    """Delete with each number of documents in the store."""
    passages = read_corpus([args.dir], args.limit).passages
    sizes = sorted(set(args.documents))
    result = Result()
    with counted_llm() as llm:
        for size in sizes:
            run_size(passages, size, args.repeat, result)
        result.metrics["llm_calls"] = len(llm.requests)
    first, last = sizes[0], sizes[-1]
    ratio = result.metrics[f"delete.p50_ms@{last}"] / result.metrics[f"delete.p50_ms@{first}"]
    result.metrics[f"ratio_p50@{last}/{first}"] = ratio
    return result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be changed."""
    parser.add_argument("--documents", type=int, nargs="+", default=[10, 1000], help="documents in the store")
    parser.add_argument("--repeat", type=int, default=5, help="documents to delete, one after the other")


if __name__ == "__main__":
    raise SystemExit(run("graph_delete", __doc__, main, add_arguments=add_arguments))
