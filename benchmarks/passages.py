"""Which passages hold the evidence: multi-hop questions, and questions over tables and paragraphs.

Each DIR has ``corpus.jsonl`` (``{id, title, text}``, optionally ``kind``: text or table, ``cells`` and ``doc``: its
document) and ``queries.jsonl`` (``{id, question, type, gold: [ids]}``). Several folders are one mixed corpus, measured
folder by folder. ``R@k`` is the mean over questions of the share of gold passages among the first k, ``all@5`` the
share of questions with all gold passages among the first 5. A passage is one node: its title, if any, on the first
line and in the metadata, its document as ``doc_id``; tables are rendered as our node parser does.

Systems, all with the embedded default embedding: ``bm25`` (words as they are), ``dense`` and ``hybrid`` (our store's
own searches; reciprocal rank fusion), ``nodes`` (NodeRetriever), ``graph`` (GraphRetriever), ``fused``
(EvidenceRetriever, the default of the index, so its metrics are also called ``ours``). Peers: ``handwired``
(LlamaIndex's own MilvusVectorStore with BM25 and vectors, reciprocal rank fusion, under VectorStoreIndex) and
``property_graph`` (PropertyGraphIndex with ImplicitPathExtractor, and with some help: see ``benchmarks/_peers.py``).

``index_s`` has everything from passages in memory to the first question: embedding, extraction, storing; of our own
systems together what each needs. ``llm_calls`` counts the calls of the whole run to the one LLM that there is.
Metrics are ``<system>.R@5`` and so on, with several folders ``<folder>/<system>.R@5``. ``fused_to_best_route.R@5`` is
how far ``fused`` is above (or below) the best of the other systems of our own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

from benchmarks import _peers
from benchmarks._harness import Result, mean, percentile, run
from benchmarks._llm import counted_llm
from benchmarks._passages import DEPTHS, RESULTS, Passage, PlainBM25, embed, make_nodes, passage_of, read_corpus
from benchmarks._peers import Ranker
from llama_index_raganything import MilvusNodeStore, NodeRetriever, WordLlamaEmbedding
from llama_index_raganything.graph.extraction.entity_linker import EntityLinker
from llama_index_raganything.graph.walk import LinkWeights
from llama_index_raganything.retrievers.evidence.graph import EvidenceRetriever, GraphRetriever
from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph
from llama_index_raganything.stores.graph.property_graph import MilvusPropertyGraphStore
from llama_index_raganything.testing import ScriptedTextLLM

ABLATIONS: dict[str, dict[str, float]] = {
    "walk": {},
    "walk-title_match": {"title_match": 0},
    "walk-forward": {"forward": 0},
    "walk-backward": {"backward": 0},
    "walk-shared": {"shared": 0},
    "walk-in_question": {"in_question": 1},
    "walk-unlinked": {"unlinked": 0},
    "walk-third": {"beam": 0},
}
"""The walk over names without its gate, as it is and with one part left out, measured with ``--ablate``."""

SYSTEMS = ("bm25", "dense", "hybrid", "nodes", "graph", "fused", "handwired", "property_graph")
ROUTES = ("bm25", "dense", "hybrid", "nodes", "graph")
Made = TypeVar("Made")
COLUMNS = (*(f"R@{depth}" for depth in DEPTHS), "all@5")


@dataclass
class System:
    """What is measured.

    Attributes:
        rank: Takes a question, returns ids of passages.
        index_s: Seconds until it could answer.
        llm_calls: Calls to an LLM so far.
    """

    rank: Ranker
    index_s: float
    llm_calls: int = 0


class Systems:
    """All systems over the same nodes; each is built when it is first asked for.

    Args:
        nodes: Nodes without vectors.
        folder: Where to keep the databases.
        llm: The one LLM there is.
    """

    def __init__(self, nodes: Sequence[TextNode], folder: str, llm: ScriptedTextLLM) -> None:
        self.nodes, self.folder, self.llm = nodes, folder, llm
        self.model: BaseEmbedding = WordLlamaEmbedding()
        self.embed_s = _seconds(lambda: embed(nodes, self.model))[0]
        self._closing = ExitStack()
        self._store: tuple[float, MilvusNodeStore] | None = None
        self._graph: tuple[float, KnowledgeGraph] | None = None

    def build(self, name: str) -> System:
        """Return one system."""
        if name == "bm25":
            return System(*_swap(_seconds(lambda: PlainBM25(self.nodes))))
        if name == "handwired":
            uri = f"{self.folder}/handwired.db"
            seconds, rank = _seconds(lambda: _peers.handwired(self.nodes, self.model, uri))
            return System(rank, self.embed_s + seconds)
        if name == "property_graph":
            return System(*_swap(_seconds(lambda: _peers.property_graph(self.nodes, self.model, self.llm))))
        return self._own(name)

    def _own(self, name: str) -> System:
        seconds, store = self.store()
        if name in ("dense", "hybrid"):
            mode = VectorStoreQueryMode.DEFAULT if name == "dense" else VectorStoreQueryMode.HYBRID
            return System(store_ranker(store, self.model, mode), seconds)
        if name == "nodes":
            return System(retriever_ranker(NodeRetriever(store, self.model, similarity_top_k=RESULTS)), seconds)
        graph_seconds, graph = self.graph()
        kind = EvidenceRetriever if name == "fused" else GraphRetriever
        options = {"gate": 0.0, "link_weights": LinkWeights(**ABLATIONS[name])} if name in ABLATIONS else {}
        retriever = kind(store, graph, embed_model=self.model, similarity_top_k=RESULTS, **options)
        return System(retriever_ranker(retriever), seconds + graph_seconds)

    def store(self) -> tuple[float, MilvusNodeStore]:
        """Return the seconds it took to embed and store the nodes, and the store."""
        if self._store is None:
            store = self._closing.enter_context(MilvusNodeStore(f"{self.folder}/milvus.db", "passages"))
            seconds, _ = _seconds(lambda: store.add([*self.nodes], force_flush=True))
            self._store = (self.embed_s + seconds, store)
        return self._store

    def graph(self) -> tuple[float, KnowledgeGraph]:
        """Return the seconds it took to extract, store and load the graph, and the graph."""
        if self._graph is None:
            graph = KnowledgeGraph(MilvusPropertyGraphStore(f"{self.folder}/milvus.db", "passages"))
            self._closing.callback(graph.close)

            def fill() -> None:
                graph.put_facts(EntityLinker().extract(self.nodes))
                graph.store.flush()
                graph.mirror.settle()

            self._graph = (_seconds(fill)[0], graph)
        return self._graph

    def close(self) -> None:
        """Close the databases."""
        self._closing.close()


def _seconds(make: Callable[[], Made]) -> tuple[float, Made]:
    started = time.perf_counter()
    made = make()
    return time.perf_counter() - started, made


def _swap(timed: tuple[float, Made]) -> tuple[Made, float]:
    return timed[1], timed[0]


def store_ranker(store: MilvusNodeStore, model: BaseEmbedding, mode: VectorStoreQueryMode) -> Ranker:
    """Rank as Milvus does."""

    def rank(question: str) -> list[str]:
        vector = model.get_query_embedding(question)
        query = VectorStoreQuery(query_str=question, query_embedding=vector, mode=mode, similarity_top_k=RESULTS)
        return [passage_of(node) for node in store.query(query).nodes or []]

    return rank


def retriever_ranker(retriever: BaseRetriever) -> Ranker:
    """Rank as a retriever does."""
    return lambda question: [passage_of(item.node) for item in retriever.retrieve(question)]


# -- measuring ---------------------------------------------------------------------------------------------------------


def recalls(gold: Sequence[str], found: Sequence[str]) -> dict[str, float]:
    """Return what one answer is worth: recall at each depth, and whether all gold is among the first five."""
    wanted = set(gold)
    values = {f"R@{depth}": len(wanted & set(found[:depth])) / len(wanted) for depth in DEPTHS}
    return values | {"all@5": float(wanted <= set(found[:5]))}


def measure(name: str, rank: Ranker, queries: Sequence[Passage], rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Ask all questions of one folder; write the answers into the rows and return means and milliseconds."""
    seconds = []
    for query, row in zip(queries, rows, strict=True):
        took, found = _seconds(lambda: rank(query["question"]))  # noqa: B023 # Called at once.
        seconds.append(took)
        row |= {f"{name}.{key}": value for key, value in recalls(query["gold"], found).items()}
        row[f"{name}.found"] = found
    line = {column: mean(row[f"{name}.{column}"] for row in rows) for column in COLUMNS}
    return line | {"p50_ms": 1000 * percentile(seconds, 0.5)}


def best_route(lines: Mapping[str, Mapping[str, float]]) -> float | None:
    """Return how far the fusion is above the best of its routes in R@5, or None when one of them is missing."""
    routes = [lines[name]["R@5"] for name in ROUTES if name in lines]
    return lines["fused"]["R@5"] - max(routes) if routes and "fused" in lines else None


def by_type(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return recall by type of question."""
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[str(row["type"])].append(row)
    shown = [name for name in ("bm25", "nodes", "graph", "fused") if name in names]
    return [
        {
            "type": kind,
            "n": len(members),
            **{f"{name}.R@5": mean(row[f"{name}.R@5"] for row in members) for name in shown},
            **{f"{name}.all@5": mean(row[f"{name}.all@5"] for row in members) for name in shown if name == "fused"},
        }
        for kind, members in sorted(groups.items())
    ]


def main(args: argparse.Namespace) -> Result:
    """Index the passages, ask, and compare."""
    corpus = read_corpus(args.dir, args.limit)
    nodes = make_nodes(corpus.passages, titles=not args.no_titles)
    rows = {
        name: [
            {"folder": name, "id": query["id"], "type": query.get("type"), "question": query["question"]}
            for query in queries
        ]
        for name, queries in corpus.queries.items()
    }
    lines: dict[str, dict[str, dict[str, float]]] = {name: {} for name in rows}
    with tempfile.TemporaryDirectory() as folder, counted_llm() as llm:
        systems = Systems(nodes, folder, llm)
        for name in [*args.systems, *(ABLATIONS if args.ablate else ())]:
            before = len(llm.requests)
            system = systems.build(name)
            for key, queries in corpus.queries.items():
                lines[key][name] = measure(name, system.rank, queries, rows[key]) | {"index_s": system.index_s}
            for key in lines:
                lines[key][name]["llm_calls"] = len(llm.requests) - before
        systems.close()
        calls = len(llm.requests)
    return summary(lines, rows, llm_calls=calls)


def summary(
    lines: Mapping[str, Mapping[str, Mapping[str, float]]],
    rows: Mapping[str, Sequence[dict[str, Any]]],
    *,
    llm_calls: int,
) -> Result:
    """Return tables and metrics of all folders.

    Args:
        lines: Numbers by folder and system.
        rows: Questions by folder.
        llm_calls: Calls of the whole run.
    """
    result = Result(rows=[row for members in rows.values() for row in members])
    for folder, systems in lines.items():
        prefix, title = (f"{folder}/", f"{folder}: ") if len(lines) > 1 else ("", "")
        for name, line in systems.items():
            for shown in (name, "ours") if name == "fused" else (name,):
                result.metrics |= {f"{prefix}{shown}.{key}": value for key, value in line.items()}
        difference = best_route(systems)
        if difference is not None:
            result.metrics[f"{prefix}fused_to_best_route.R@5"] = difference
        table: list[Mapping[str, Any]] = [{"system": name, **line} for name, line in systems.items()]
        result.tables.append((f"{title}systems", table))
        result.tables.append((f"{title}by type of question", by_type(rows[folder], list(systems))))
    result.metrics["llm_calls"] = llm_calls
    return result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be changed."""
    parser.add_argument("--no-titles", action="store_true", help="leave the titles out, of texts and metadata")
    parser.add_argument("--ablate", action="store_true", help="also measure the walk with one part left out at a time")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS, help="measure only these")


if __name__ == "__main__":
    raise SystemExit(run("passages", __doc__, main, add_arguments=add_arguments, several=True))
