"""How long a query takes, against bare pymilvus on the same rows.

DIR is searched for ``corpus.jsonl`` (``{"id", "title", "text"}``) and ``queries.jsonl`` (``{"question"}``). At each
size, three systems answer the same questions in turn, over one Milvus Lite directory, flushed and loaded: ``bare``,
a ``MilvusClient.hybrid_search`` of a dense and a BM25 route with RRF that returns the texts; ``ours``, the same
through ``MilvusNodeStore.query``, which returns nodes; ``ranked``, ``NodeRetriever``, with 100 candidates per route
ranked by evidence. All get the question's vector, so that no embedding is measured. ``bare_candidates`` is ``bare``
with the 100 results per route that ``ranked`` needs.

Where the corpus is smaller than a size, texts are repeated with a number in front and a vector beside theirs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._harness import Result, percentile, run

TOP_K = 10
CANDIDATES = 100
WARM_UP = 5


def read_lines(folder: Path, name: str, key: str) -> list[str]:
    """Return one value of every line of all files of a name, files in order."""
    lines = [line for path in sorted(folder.rglob(name)) for line in path.read_text("utf-8").splitlines()]
    return [str(value) for line in lines if (value := json.loads(line).get(key))]


def make_nodes(texts: list[str], vectors: np.ndarray, size: int) -> Iterator[Any]:
    """Yield so many nodes with vectors."""
    from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

    rng = np.random.default_rng(0)
    for number in range(size):
        index, copy = number % len(texts), number // len(texts)
        vector = vectors[index] if not copy else vectors[index] + rng.normal(0, 0.02, vectors.shape[1])
        yield TextNode(
            id_=f"n{number}",
            text=texts[index] if not copy else f"{copy}. {texts[index]}",
            embedding=vector.tolist(),
            metadata={"doc_id": f"d{number // 10}", "content_type": "text", "page": number % 10 + 1},
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"d{number // 10}")},
        )


def make_bare(client: Any, name: str, nodes: list[Any], dim: int) -> None:
    """Fill a collection as a pymilvus tutorial does."""
    from pymilvus import DataType, Function, FunctionType

    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.VARCHAR, max_length=64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=65_535, enable_analyzer=True)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=dim)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(Function("bm25", FunctionType.BM25, input_field_names=["text"], output_field_names=["sparse"]))
    indexes = client.prepare_index_params()
    indexes.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
    indexes.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    client.create_collection(name, schema=schema, index_params=indexes, consistency_level="Strong")
    for start in range(0, len(nodes), 1000):
        rows = [{"id": n.node_id, "text": n.text, "dense": n.embedding} for n in nodes[start : start + 1000]]
        client.insert(name, rows)
    client.flush(name)


def bare_search(client: Any, name: str, question: str, vector: list[float], limit: int) -> Any:
    """Search both routes with pymilvus alone."""
    from pymilvus import AnnSearchRequest, RRFRanker

    routes = [
        AnnSearchRequest([vector], "dense", {"metric_type": "COSINE"}, limit),
        AnnSearchRequest([question], "sparse", {"metric_type": "BM25"}, limit),
    ]
    return client.hybrid_search(name, routes, RRFRanker(60), limit, output_fields=["text"])[0]


def systems(store: Any, bare: str) -> dict[str, Callable[[str, list[float]], Any]]:
    """Return what is measured, by name."""
    from llama_index.core.schema import QueryBundle
    from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

    from llama_index_raganything.retrievers.evidence.pages import NodeRetriever

    retriever = NodeRetriever(store, similarity_top_k=TOP_K, candidates=CANDIDATES)

    def ours(question: str, vector: list[float]) -> Any:
        query = VectorStoreQuery(
            query_embedding=vector, query_str=question, similarity_top_k=TOP_K, mode=VectorStoreQueryMode.HYBRID
        )
        return store.query(query).nodes

    return {
        "bare": lambda question, vector: bare_search(store.client, bare, question, vector, TOP_K),
        "ours": ours,
        "bare_candidates": lambda question, vector: bare_search(store.client, bare, question, vector, CANDIDATES),
        "ranked": lambda question, vector: retriever.retrieve(QueryBundle(question, embedding=vector)),
    }


def measure(
    measured: dict[str, Callable[[str, list[float]], Any]], questions: list[str], vectors: list[list[float]]
) -> dict[str, list[float]]:
    """Return milliseconds per question for every system, asked in turn."""
    times: dict[str, list[float]] = {name: [] for name in measured}
    for number, (question, vector) in enumerate(zip(questions, vectors, strict=True)):
        for name, ask in measured.items():
            began = time.perf_counter()
            found = ask(question, vector)
            took = (time.perf_counter() - began) * 1000
            if not found:
                message = f"{name} found nothing for {question!r}"
                raise RuntimeError(message)
            if number >= WARM_UP:
                times[name].append(took)
    return times


def main(args: argparse.Namespace) -> Result:
    """Measure at every size."""
    from llama_index_raganything import MilvusNodeStore, WordLlamaEmbedding

    texts = read_lines(args.dir, "corpus.jsonl", "text")[: args.limit]
    questions = read_lines(args.dir, "queries.jsonl", "question")
    if not texts or not questions:
        message = f"{args.dir} has no corpus.jsonl with texts or no queries.jsonl with questions."
        raise SystemExit(message)
    step = max(1, len(questions) // (args.questions + WARM_UP))
    questions = questions[::step][: args.questions + WARM_UP]
    model = WordLlamaEmbedding()
    vectors = np.array(model.get_text_embedding_batch(texts))
    asked = [model.get_query_embedding(question) for question in questions]
    result, table = Result(), []
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            nodes = list(make_nodes(texts, vectors, size))
            with MilvusNodeStore(f"{folder}/milvus.db", "ours", vectors.shape[1]) as store:
                store.add(nodes, force_flush=True)
                make_bare(store.client, "bare", nodes, vectors.shape[1])
                times = measure(systems(store, "bare"), questions, asked)
        middle = {name: percentile(values, 0.5) for name, values in times.items()}
        for name, values in times.items():
            result.metrics[f"{name}.p50_ms@{size}"] = middle[name]
            result.metrics[f"{name}.p95_ms@{size}"] = percentile(values, 0.95)
            table.append({"nodes": size, "system": name, "p50 ms": middle[name], "p95 ms": percentile(values, 0.95)})
            result.rows += [{"nodes": size, "system": name, "ms": value} for value in values]
        result.metrics[f"ratio_p50@{size}"] = middle["ours"] / middle["bare"]
        result.metrics[f"ratio_ranked_p50@{size}"] = middle["ranked"] / middle["bare"]
        result.metrics[f"ratio_ranked_to_candidates_p50@{size}"] = middle["ranked"] / middle["bare_candidates"]
    result.tables.append(("Milliseconds per question", table))
    return result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be changed."""
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 50_000], help="numbers of nodes")
    parser.add_argument("--questions", type=int, default=100, help="questions per size")


if __name__ == "__main__":
    raise SystemExit(run("latency", __doc__, main, add_arguments=add_arguments))
