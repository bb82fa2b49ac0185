"""Which passages hold the evidence: multi-hop questions, and questions over tables and paragraphs.

DIR has ``corpus.jsonl`` (``{id, title, text}``, optionally ``kind``: text or table, and ``doc``: its document) and
``queries.jsonl`` (``{id, question, type, gold: [ids]}``). ``R@k`` is the mean over questions of the share of gold
passages among the first k, ``all@5`` the share of questions with all gold passages among the first 5.

Systems: ``ours`` (MilvusNodeStore and the default retriever), ``bm25`` (words as they are), ``dense`` (the embedded
default's vectors), ``hybrid`` (Milvus: both, reciprocal rank fusion), and ``handwired`` (LlamaIndex's own
MilvusVectorStore and VectorStoreIndex with default settings, the same embedding model). A passage is one node: its
title, if any, on the first line.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.schema import BaseNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

from benchmarks._harness import Result, mean, percentile, run
from llama_index_raganything import MilvusNodeStore, NodeRetriever, WordLlamaEmbedding
from llama_index_raganything.elements import EXCLUDED_EMBED_KEYS, EXCLUDED_LLM_KEYS, content_id

DEPTHS = (1, 2, 5, 10)

Ranker = Callable[[str], list[str]]
"""Takes a question, returns ids of passages, best first."""


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def make_nodes(passages: Sequence[Mapping[str, Any]], model: BaseEmbedding) -> list[TextNode]:
    """Return one embedded node per passage."""
    nodes = []
    for passage in passages:
        text = "\n".join(part for part in (passage.get("title"), passage["text"]) if part)
        document = content_id("document", passage.get("doc") or passage["id"])
        node = TextNode(
            id_=content_id(document, passage["id"], text),
            text=text,
            metadata={"doc_id": document, "content_type": passage.get("kind") or "text", "passage": passage["id"]},
            excluded_embed_metadata_keys=[*EXCLUDED_EMBED_KEYS, "passage"],
            excluded_llm_metadata_keys=[*EXCLUDED_LLM_KEYS, "passage"],
        )
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=document)
        nodes.append(node)
    for node, vector in zip(nodes, model.get_text_embedding_batch([node.text for node in nodes]), strict=True):
        node.embedding = vector
    return nodes


class PlainBM25:
    """BM25 over words as they are, from postings in memory."""

    def __init__(self, nodes: Sequence[TextNode], k1: float = 1.2, b: float = 0.75) -> None:
        self.ids = [_passage(node) for node in nodes]
        counts = [Counter(re.findall(r"\w+", node.text.lower())) for node in nodes]
        lengths = [sum(count.values()) for count in counts]
        average = mean(lengths)
        self.postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for row, count in enumerate(counts):
            norm = k1 * (1 - b + b * lengths[row] / average)
            for word, number in count.items():
                self.postings[word].append((row, number / (number + norm)))

    def __call__(self, question: str) -> list[str]:
        """Return the best passages."""
        scores: dict[int, float] = defaultdict(float)
        for word in set(re.findall(r"\w+", question.lower())):
            postings = self.postings.get(word, [])
            idf = math.log1p((len(self.ids) - len(postings) + 0.5) / (len(postings) + 0.5))
            for row, value in postings:
                scores[row] += idf * value
        best = sorted(scores, key=lambda row: (-scores[row], row))
        return [self.ids[row] for row in best[: DEPTHS[-1]]]


def _passage(node: BaseNode) -> str:
    return str(node.metadata["passage"])


def store_ranker(store: MilvusNodeStore, model: BaseEmbedding, mode: VectorStoreQueryMode) -> Ranker:
    """Rank as Milvus does."""

    def rank(question: str) -> list[str]:
        vector = model.get_query_embedding(question)
        query = VectorStoreQuery(query_str=question, query_embedding=vector, mode=mode, similarity_top_k=DEPTHS[-1])
        return [_passage(node) for node in store.query(query).nodes or []]

    return rank


def handwired_ranker(nodes: Sequence[TextNode], model: BaseEmbedding, uri: str) -> Ranker:
    """Rank with LlamaIndex's own store and index, default settings."""
    from llama_index.core import StorageContext, VectorStoreIndex
    from llama_index.vector_stores.milvus import MilvusVectorStore

    store = MilvusVectorStore(uri=uri, dim=len(nodes[0].embedding or ()), overwrite=True, use_async_client=False)
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex(nodes=list(nodes), storage_context=context, embed_model=model)
    retriever = index.as_retriever(similarity_top_k=DEPTHS[-1])
    return lambda question: [_passage(item.node) for item in retriever.retrieve(question)]


def measure(name: str, rank: Ranker, queries: Sequence[Mapping[str, Any]], result: Result) -> dict[str, Any]:
    """Ask all questions of one system; return its line of the table."""
    seconds = []
    for query, row in zip(queries, result.rows, strict=True):
        started = time.perf_counter()
        found = rank(query["question"])
        seconds.append(time.perf_counter() - started)
        gold = set(query["gold"])
        row |= {f"{name}.R@{depth}": len(gold & set(found[:depth])) / len(gold) for depth in DEPTHS}
        row[f"{name}.all@5"] = float(gold <= set(found[:5]))
        row[f"{name}.found"] = found
    columns = [*(f"R@{depth}" for depth in DEPTHS), "all@5"]
    line: dict[str, Any] = {column: mean(row[f"{name}.{column}"] for row in result.rows) for column in columns}
    line["p50_ms"] = 1000 * percentile(seconds, 0.5)
    result.metrics |= {f"{name}.{key}": value for key, value in line.items()}
    return {"system": name, **line}


def by_type(result: Result) -> list[Mapping[str, Any]]:
    """Return our and BM25's recall by type of question."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in result.rows:
        groups[str(row["type"])].append(row)
    return [
        {
            "type": kind,
            "n": len(rows),
            "bm25.R@5": mean(row["bm25.R@5"] for row in rows),
            "ours.R@5": mean(row["ours.R@5"] for row in rows),
            "ours.all@5": mean(row["ours.all@5"] for row in rows),
        }
        for kind, rows in sorted(groups.items())
    ]


def main(args: argparse.Namespace) -> Result:
    """Index the passages, ask, and compare."""
    passages = read_lines(args.dir / "corpus.jsonl")
    queries = read_lines(args.dir / "queries.jsonl")[: args.limit]
    model = WordLlamaEmbedding()
    result = Result(rows=[{"id": q["id"], "type": q.get("type"), "question": q["question"]} for q in queries])
    nodes = make_nodes(passages, model)
    with tempfile.TemporaryDirectory() as folder, MilvusNodeStore(f"{folder}/milvus.db", "passages") as store:
        started = time.perf_counter()
        store.add(nodes)
        store.flush()
        result.metrics["index.passages_per_s"] = len(nodes) / (time.perf_counter() - started)
        retriever = NodeRetriever(store, model, similarity_top_k=DEPTHS[-1])
        systems: dict[str, Ranker] = {
            "ours": lambda question: [_passage(item.node) for item in retriever.retrieve(question)],
            "bm25": PlainBM25(nodes),
            "dense": store_ranker(store, model, VectorStoreQueryMode.DEFAULT),
            "hybrid": store_ranker(store, model, VectorStoreQueryMode.HYBRID),
            "handwired": handwired_ranker(nodes, model, f"{folder}/handwired.db"),
        }
        lines = [measure(name, rank, queries, result) for name, rank in systems.items()]
    result.tables = [("systems", lines), ("by type of question", by_type(result))]
    result.metrics["llm_calls"] = 0
    return result


if __name__ == "__main__":
    raise SystemExit(run("passages", __doc__, main))
