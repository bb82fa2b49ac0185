"""How the graph grows: milliseconds and memory from thousands of passages to a hundred thousand.

DIR has ``corpus.jsonl`` and ``queries.jsonl`` as for ``benchmarks.passages``. Up to each size the passages are copied
with other names: every word that names are made of gets the copy's mark ("Paris" is "Parisqbk" in the first copy), so
that each copy has a graph of its own while all lower-case text is the same. Every copy is embedded, extracted and
stored as any passage is. The questions ask for the passages of the original: ``R@5`` shows that speed is not bought
with quality.

Each question is asked of ``nodes`` (NodeRetriever, no graph) and ``graph`` (GraphRetriever) in turn, with its vector
given, so that no embedding is measured. ``walk`` is the part of ``graph`` between its requests to the store (the
candidates' words, links, sets, order), in processor time. The whole query is mostly Milvus's: Milvus Lite searches
keywords in Python, in time linear in the number of nodes, with or without a graph. All questions are asked twice:
``first`` are times with an empty memory of nodes, the others those of a running service.

Metrics, at each size N: ``walk.p50_ms@N``, ``graph.p50_ms@N``, ``nodes.p50_ms@N`` and the same for ``p95_ms``;
``with_graph/without_graph_p50@N``; ``graph.R@5@N``, ``nodes.R@5@N``, ``bm25.R@5@N``; ``bytes_per_node@N`` of the graph
in memory as it says itself, ``traced_bytes_per_node@N`` as Python's allocator sees it; ``mirror_load_s@N`` to read it
from Milvus. From the first to the last size: ``ratio_p50@LAST/FIRST`` of the walk, ``total_ratio_p50@LAST/FIRST`` of
the whole query. ``extract_ms_per_passage`` is processor time of one core; ``bytes_per_node`` the worst of all sizes.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle

from benchmarks._harness import Result, mean, percentile, run
from benchmarks._passages import RESULTS, Corpus, Passage, PlainBM25, embed, grow, make_nodes, passage_of, read_corpus
from llama_index_raganything import MilvusNodeStore, NodeRetriever, WordLlamaEmbedding
from llama_index_raganything.graph.extraction.entity_linker import EntityLinker
from llama_index_raganything.retrievers.evidence.candidates import NodeMemory, Session
from llama_index_raganything.retrievers.evidence.graph import GraphRetriever
from llama_index_raganything.retrievers.steps import Done, Steps, advance
from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph
from llama_index_raganything.stores.graph.property_graph import MilvusPropertyGraphStore

BATCH = 2000
KIND = "passages"


class TimedGraphRetriever(GraphRetriever):
    """Adds up the processor time that it spends itself, without that of the store."""

    walk_s: float = 0.0

    def _select(self, session: Session, query: str) -> Steps[list[NodeWithScore]]:
        steps = super()._select(session, query)
        answers: Any = None
        while True:
            began = time.thread_time()
            step = advance(steps, answers)
            self.walk_s += time.thread_time() - began
            if isinstance(step, Done):
                return step.result
            answers = yield step


@dataclass
class Asked:
    """What a system answered.

    Attributes:
        ms: Milliseconds per question.
        walk_ms: Of these, the graph's own.
        recalls: Recall at five per question.
    """

    ms: list[float] = field(default_factory=list)
    walk_ms: list[float] = field(default_factory=list)
    recalls: list[float] = field(default_factory=list)


class GrowingCorpus:
    """A corpus in Milvus that grows by renamed copies.

    Args:
        corpus: The original.
        folder: Where to keep the database.
    """

    def __init__(self, corpus: Corpus, folder: str) -> None:
        self.passages = corpus.passages
        self.model = WordLlamaEmbedding()
        uri = f"{folder}/milvus.db"
        self.store = MilvusNodeStore(uri, KIND)
        self.graph_store = MilvusPropertyGraphStore(uri, KIND)
        self.bm25 = PlainBM25()
        self.size = 0
        self.extract_s: list[float] = []

    def grow(self, size: int) -> None:
        """Add copies up to a size."""
        linker = EntityLinker()
        for batch in _batches(list(grow(self.passages, size, self.size)), BATCH):
            nodes = make_nodes(batch)
            embed(nodes, self.model)
            began = time.process_time()
            facts = linker.extract(nodes)
            self.extract_s.append((time.process_time() - began) / len(batch))
            self.store.add(nodes)
            self.graph_store.put_facts(facts)
            self.bm25.add(nodes)
            self.size += len(batch)
        self.store.flush()
        self.graph_store.flush()

    def close(self) -> None:
        """Close the database."""
        self.graph_store.close()
        self.store.close()


def _batches(items: Sequence[Passage], size: int) -> list[Sequence[Passage]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def load_graph(store: MilvusPropertyGraphStore) -> tuple[KnowledgeGraph, float, int]:
    """Read the graph from Milvus twice: for the time it takes, and for the memory.

    Returns:
        The graph, seconds, and bytes that Python's allocator holds for it.
    """
    graph = KnowledgeGraph(store)
    began = time.perf_counter()
    _ = graph.mirror
    seconds = time.perf_counter() - began
    gc.collect()
    tracemalloc.start()
    traced = KnowledgeGraph(store)
    _ = traced.mirror
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return graph, seconds, held


def ask_all(
    retrievers: Mapping[str, BaseRetriever], queries: Sequence[Passage], vectors: Sequence[list[float]]
) -> dict[str, Asked]:
    """Ask all questions of all systems in turn."""
    asked = {name: Asked() for name in retrievers}
    for query, vector in zip(queries, vectors, strict=True):
        for name, retriever in retrievers.items():
            before = getattr(retriever, "walk_s", 0.0)
            began = time.perf_counter()
            found = retriever.retrieve(QueryBundle(query["question"], embedding=vector))
            asked[name].ms.append(1000 * (time.perf_counter() - began))
            asked[name].walk_ms.append(1000 * (getattr(retriever, "walk_s", 0.0) - before))
            asked[name].recalls.append(recall(query["gold"], [passage_of(item.node) for item in found]))
    return asked


def recall(gold: Sequence[str], found: Sequence[str], depth: int = 5) -> float:
    """Return the share of gold passages among the first found."""
    return len(set(gold) & set(found[:depth])) / len(set(gold))


def answerable(queries: Sequence[Passage], passages: Sequence[Passage], count: int) -> list[Passage]:
    """Return so many questions, evenly spread, of those whose gold is among the passages."""
    known = {passage["id"] for passage in passages}
    kept = [query for query in queries if known.issuperset(query["gold"])]
    step = max(1, len(kept) // max(1, count))
    return kept[::step][:count]


def measure(corpus: GrowingCorpus, queries: Sequence[Passage], result: Result) -> None:
    """Measure at the present size."""
    size = corpus.size
    graph, load_s, held = load_graph(corpus.graph_store)
    options: dict[str, Any] = {"embed_model": corpus.model, "similarity_top_k": RESULTS}
    retrievers: dict[str, BaseRetriever] = {
        "nodes": NodeRetriever(corpus.store, memory=NodeMemory(), **options),
        "graph": TimedGraphRetriever(corpus.store, graph, memory=NodeMemory(), **options),
    }
    vectors = [corpus.model.get_query_embedding(query["question"]) for query in queries]
    ask_all(retrievers, queries[:1], vectors[:1])
    first = ask_all(retrievers, queries, vectors)
    warm = ask_all(retrievers, queries, vectors)
    metrics = result.metrics
    for prefix, asked in (("", warm), ("first.", first)):
        times = {"walk": asked["graph"].walk_ms, **{name: found.ms for name, found in asked.items()}}
        for name, values in times.items():
            metrics[f"{prefix}{name}.p50_ms@{size}"] = percentile(values, 0.5)
            metrics[f"{prefix}{name}.p95_ms@{size}"] = percentile(values, 0.95)
        metrics[f"{prefix}with_graph/without_graph_p50@{size}"] = (
            metrics[f"{prefix}graph.p50_ms@{size}"] / metrics[f"{prefix}nodes.p50_ms@{size}"]
        )
    recalls = {name: mean(found.recalls) for name, found in warm.items()}
    recalls["bm25"] = mean(recall(query["gold"], corpus.bm25(query["question"])) for query in queries)
    metrics |= {f"{name}.R@5@{size}": value for name, value in recalls.items()}
    metrics[f"bytes_per_node@{size}"] = graph.mirror.nbytes / graph.mirror.size
    metrics[f"traced_bytes_per_node@{size}"] = held / graph.mirror.size
    metrics[f"mirror_load_s@{size}"] = load_s
    for name, found in warm.items():
        result.rows += [{"nodes": size, "system": name, "ms": ms} for ms in found.ms]


def curve(metrics: Mapping[str, float], sizes: Sequence[int]) -> list[Mapping[str, Any]]:
    """Return one line per size."""
    names = ("walk.p50_ms", "walk.p95_ms", "graph.p50_ms", "graph.p95_ms", "nodes.p50_ms", "nodes.p95_ms")
    more = ("bytes_per_node", "mirror_load_s", "graph.R@5", "nodes.R@5", "bm25.R@5")
    return [{"nodes": size, **{name: metrics[f"{name}@{size}"] for name in (*names, *more)}} for size in sizes]


def add_ratios(metrics: dict[str, float], sizes: Sequence[int]) -> None:
    """Add what grew from the first size to the last, and the most memory per node."""
    first, last = sizes[0], sizes[-1]
    for name, system in (("ratio_p50", "walk"), ("total_ratio_p50", "graph"), ("nodes_ratio_p50", "nodes")):
        metrics[f"{name}@{last}/{first}"] = metrics[f"{system}.p50_ms@{last}"] / metrics[f"{system}.p50_ms@{first}"]
    metrics["bytes_per_node"] = max(metrics[f"bytes_per_node@{size}"] for size in sizes)


def main(args: argparse.Namespace) -> Result:
    """Grow the corpus from size to size and measure at each."""
    corpus = read_corpus([args.dir], args.limit)
    sizes = sorted(set(args.sizes))
    queries = answerable(next(iter(corpus.queries.values())), corpus.passages[: sizes[0]], args.questions)
    if not queries:
        message = f"None of the questions of {args.dir} has its passages among the first {sizes[0]}."
        raise SystemExit(message)
    result = Result()
    with tempfile.TemporaryDirectory() as folder:
        growing = GrowingCorpus(corpus, folder)
        for size in sizes:
            began = time.perf_counter()
            growing.grow(size)
            result.metrics[f"grow_s@{size}"] = time.perf_counter() - began
            measure(growing, queries, result)
        growing.close()
    add_ratios(result.metrics, sizes)
    result.metrics["extract_ms_per_passage"] = 1000 * mean(growing.extract_s)
    result.tables.append(("By number of nodes", curve(result.metrics, sizes)))
    return result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be changed."""
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000], help="numbers of nodes")
    parser.add_argument("--questions", type=int, default=100, help="questions per size")


if __name__ == "__main__":
    raise SystemExit(run("graph_scale", __doc__, main, add_arguments=add_arguments))
