"""Which pages hold the evidence, and does a cited box lie on it.

DIR has ``pdf/`` and ``questions.jsonl`` with one ``{id, doc, question, pages, kinds, boxes: [{page, page_size,
bbox}]}`` per line; pages are 1-based. Pages are ranked inside the question's own document and, as ``<system>.open``,
over the whole folder. A system's pages are the distinct pages of its first 20 results, in order. ``R@k`` is the mean
over questions of the share of evidence pages among the first k pages; ``box@k`` the share of questions for which
the box of one of the first k results, an element on an evidence page, covers an evidence box: intersection over the
smaller area >= .5. Page nodes have no box and count for nothing there.

Systems: ``ours`` (RAGAnythingIndex and its default retriever, asked for the best element of each page), ``routed``
(questions about the document as a whole go to the inventory first; its summaries, which stand on no page, are left
out of the ranking; ``routed.asked`` is how many questions it answers, and ``routed.there`` compares the two on
those), and over the same page texts ``bm25`` (whole pages), ``dense`` (the embedded default's vectors), ``hybrid``
(Milvus: both, reciprocal rank fusion); ``handwired`` is plain LlamaIndex: pypdf, SentenceSplitter, the same embedding
model, LlamaIndex's own MilvusVectorStore.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from pydantic import PrivateAttr

from benchmarks._harness import Result, mean, percentile, run
from benchmarks._tables_found import measure_tables
from llama_index_raganything import EvidenceRanker, NodeRetriever, RAGAnythingIndex, WordLlamaEmbedding
from llama_index_raganything.ranking.scoring import EvidenceWeights
from llama_index_raganything.retrievers.inventory.retriever import InventoryRetriever
from llama_index_raganything.retrievers.router import QuestionRouter

DEPTHS = (1, 3, 5, 10)
RESULTS = 20
COVERED = 0.5

Page = tuple[str, int]
"""File name and page number."""

Ranker = Callable[[str, str | None], list[Page]]
"""Takes a question and the file to look into (None: all files); returns pages, best first."""


@dataclass
class Corpus:
    """The questions, and the index over their documents.

    Attributes:
        questions: The questions.
        index: The index.
        nodes: All nodes by id.
        document_ids: Document id by file name.
    """

    questions: list[dict[str, Any]]
    index: RAGAnythingIndex
    nodes: dict[str, BaseNode] = field(default_factory=dict)
    document_ids: dict[str, str] = field(default_factory=dict)

    def page_nodes(self) -> list[BaseNode]:
        """Return the nodes that hold whole pages."""
        return [node for node in self.nodes.values() if node.metadata.get("content_type") == "page"]

    def page_of(self, node: BaseNode) -> Page:
        """Return the file and page of a node."""
        return str(node.metadata["file_name"]), int(node.metadata.get("page") or 0)

    def filters(self, file_name: str | None) -> MetadataFilters | None:
        """Return the filter for one file."""
        if file_name is None:
            return None
        return MetadataFilters(filters=[MetadataFilter(key="doc_id", value=self.document_ids[file_name])])


class ReplayedStore(BasePydanticVectorStore):
    """A store's answers, kept: an ablation asks the same searches again and only ranks them otherwise."""

    stores_text: bool = True
    is_embedding_query: bool = True
    _store: Any = PrivateAttr()
    _nodes: dict[str, BaseNode] = PrivateAttr()
    _answers: dict[str, Any] = PrivateAttr(default_factory=dict)

    def __init__(self, store: BasePydanticVectorStore, nodes: dict[str, BaseNode]) -> None:
        super().__init__()
        self._store = store
        self._nodes = nodes

    @property
    def client(self) -> Any:
        """None: nothing is written."""
        return None

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Not used."""
        raise NotImplementedError

    def delete(self, ref_doc_id: str, **kwargs: Any) -> None:
        """Not used."""
        raise NotImplementedError

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Return the store's answer, the first time and again."""
        key = f"{query.mode} {query.query_str} {query.similarity_top_k} {query.filters}"
        if key not in self._answers:
            self._answers[key] = self._store.query(query, **kwargs)
        return self._answers[key]

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return nodes by id, which the searches had filtered, or the store's kept answer."""
        if node_ids is not None:
            return [self._nodes[node_id] for node_id in node_ids if node_id in self._nodes]
        key = str(filters)
        if key not in self._answers:
            self._answers[key] = self._store.get_nodes(filters=filters)
        return self._answers[key]


def load(folder: Path, limit: int | None, working_dir: str) -> tuple[Corpus, float]:
    """Read the questions, index their documents, and return both with the seconds that indexing took."""
    lines = (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines if line.strip()][:limit]
    files = [folder / "pdf" / name for name in dict.fromkeys(question["doc"] for question in questions)]
    started = time.perf_counter()
    index = RAGAnythingIndex(uri=f"{working_dir}/milvus.db", working_dir=working_dir, overwrite=True)
    report = index.add(files)
    seconds = time.perf_counter() - started
    for failure in report.failures:
        print(f"not indexed: {failure}")
    corpus = Corpus(questions, index)
    corpus.nodes = {node.node_id: node for node in index.store.get_nodes()}
    corpus.document_ids = {str(n.metadata["file_name"]): str(n.metadata["doc_id"]) for n in corpus.nodes.values()}
    return corpus, seconds


def pages_in_order(pages: Sequence[Page]) -> list[Page]:
    """Return distinct pages in order of first appearance."""
    return list(dict.fromkeys(pages))


def bm25_ranker(corpus: Corpus) -> Ranker:
    """Rank by plain BM25 over whole pages, words as they are; statistics of the pages ranked."""
    nodes = corpus.page_nodes()
    counts = [Counter(re.findall(r"\w+", node.get_content(metadata_mode=MetadataMode.NONE).lower())) for node in nodes]
    pages = [corpus.page_of(node) for node in nodes]

    def rank(question: str, file_name: str | None) -> list[Page]:
        rows = [row for row, page in enumerate(pages) if file_name in (None, page[0])]
        scores = bm25([counts[row] for row in rows], re.findall(r"\w+", question.lower()))
        return [pages[rows[place]] for place in np.argsort(-scores, kind="stable")[:RESULTS]]

    return rank


def bm25(counts: Sequence[Mapping[str, int]], words: Sequence[str], k1: float = 1.2, b: float = 0.75) -> np.ndarray:
    """Return the BM25 score of each text for some words."""
    lengths = np.array([sum(count.values()) for count in counts], dtype=float)
    norm = k1 * (1 - b + b * lengths / max(lengths.mean(), 1.0))
    scores = np.zeros(len(counts))
    for word in set(words):
        frequency = np.array([count.get(word, 0) for count in counts], dtype=float)
        found = (frequency > 0).sum()
        scores += np.log1p((len(counts) - found + 0.5) / (found + 0.5)) * frequency / (frequency + norm)
    return scores


def store_ranker(corpus: Corpus, mode: VectorStoreQueryMode) -> Ranker:
    """Rank page nodes as Milvus does."""
    model = corpus.index.embed_model

    def rank(question: str, file_name: str | None) -> list[Page]:
        conditions: list[Any] = [MetadataFilter(key="content_type", value="page")]
        if file_name is not None:
            conditions.append(MetadataFilter(key="doc_id", value=corpus.document_ids[file_name]))
        query = VectorStoreQuery(
            query_str=question,
            query_embedding=model.get_query_embedding(question),
            mode=mode,
            similarity_top_k=RESULTS,
            filters=MetadataFilters(filters=conditions),
        )
        return [corpus.page_of(node) for node in corpus.index.store.query(query).nodes or []]

    return rank


def handwired_ranker(folder: Path, corpus: Corpus, uri: str) -> Ranker:
    """Rank as a LlamaIndex tutorial does, with its default settings."""
    from llama_index.core import StorageContext, VectorStoreIndex
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.core.schema import Document
    from llama_index.vector_stores.milvus import MilvusVectorStore
    from pypdf import PdfReader

    model = WordLlamaEmbedding()
    documents = [
        Document(text=page.extract_text(), metadata={"file_name": name, "page": number})
        for name in corpus.document_ids
        for number, page in enumerate(PdfReader(folder / "pdf" / name).pages, start=1)
    ]
    store = MilvusVectorStore(uri=uri, dim=model.dimension, overwrite=True, use_async_client=False)
    index = VectorStoreIndex.from_documents(
        documents,
        transformations=[SentenceSplitter()],
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=model,
    )

    def rank(question: str, file_name: str | None) -> list[Page]:
        only = MetadataFilters(filters=[MetadataFilter(key="file_name", value=file_name)]) if file_name else None
        found = index.as_retriever(similarity_top_k=2 * RESULTS, filters=only).retrieve(question)
        return [(item.node.metadata["file_name"], item.node.metadata["page"]) for item in found]

    return rank


def recalls(question: Mapping[str, Any], pages: Sequence[Page]) -> dict[str, float]:
    """Return the recall of a question's evidence pages at each depth."""
    gold = {(question["doc"], page) for page in question["pages"]}
    distinct = pages_in_order(pages)
    return {f"R@{depth}": len(gold & set(distinct[:depth])) / len(gold) for depth in DEPTHS}


def covers(question: Mapping[str, Any], node: BaseNode) -> bool:
    """Return whether an element's box covers an evidence box of its page, or lies in it."""
    metadata = node.metadata
    if metadata.get("file_name") != question["doc"] or metadata.get("content_type") == "page" or "bbox" not in metadata:
        return False
    own = json.loads(metadata["bbox"])
    for box in question["boxes"]:
        if box["page"] == metadata.get("page"):
            width, height = box["page_size"]
            scale = (1000 / width, 1000 / height, 1000 / width, 1000 / height)
            if overlap(own, [edge * factor for edge, factor in zip(box["bbox"], scale, strict=True)]) >= COVERED:
                return True
    return False


def overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the intersection of two boxes over the smaller one's area."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    if min(width, height) <= 0 or min(areas) <= 0:
        return 0.0
    return width * height / min(areas)


def retrieve_all(
    corpus: Corpus, store: BasePydanticVectorStore, weights: EvidenceWeights, *, inside: bool
) -> tuple[list[list[NodeWithScore]], list[float]]:
    """Return our results and seconds for every question."""
    ranker = EvidenceRanker(weights=weights)
    results, seconds = [], []
    for question in corpus.questions:
        retriever = NodeRetriever(
            store,
            corpus.index.embed_model,
            similarity_top_k=RESULTS,
            filters=corpus.filters(question["doc"] if inside else None),
            ranker=ranker,
            returns="elements",
        )
        started = time.perf_counter()
        results.append(retriever.retrieve(question["question"]))
        seconds.append(time.perf_counter() - started)
    return results, seconds


def measure_ours(corpus: Corpus, result: Result) -> list[Mapping[str, Any]]:
    """Measure our retriever inside documents and over all; return the rows of the ablation."""
    store = ReplayedStore(corpus.index.store, corpus.nodes)
    summaries = []
    for name, inside in (("ours", True), ("ours.open", False)):
        results, seconds = retrieve_all(corpus, corpus.index.store, EvidenceWeights(), inside=inside)
        found = [[corpus.page_of(item.node) for item in items] for items in results]
        summaries.append(record(corpus, result, name, found))
        for depth in (1, 5):
            hits = [
                any(covers(question, item.node) for item in items[:depth])
                for question, items in zip(corpus.questions, results, strict=True)
            ]
            result.metrics[f"{name}.box@{depth}"] = mean(map(float, hits))
            for row, hit in zip(result.rows, hits, strict=True):
                row[f"{name}.box@{depth}"] = hit
        result.metrics[f"{name}.p50_ms"] = 1000 * percentile(seconds, 0.5)
        result.metrics[f"{name}.p95_ms"] = 1000 * percentile(seconds, 0.95)
    result.tables.append(("ours, by kind of evidence", by_kind(corpus, result)))
    return [ablation(corpus, store, name) for name in ["", *EvidenceWeights.model_fields]]


def measure_routed(corpus: Corpus, result: Result) -> list[Mapping[str, Any]]:
    """Measure our retriever behind the router of questions about whole documents."""
    summaries = []
    for name, ours, inside in (("routed", "ours", True), ("routed.open", "ours.open", False)):
        results, asked = zip(
            *(ask_router(corpus, question, inside=inside) for question in corpus.questions), strict=True
        )
        summaries.append(record(corpus, result, name, [[corpus.page_of(i.node) for i in items] for items in results]))
        for depth in (1, 5):
            pairs = zip(corpus.questions, results, strict=True)
            hits = [any(covers(question, item.node) for item in items[:depth]) for question, items in pairs]
            result.metrics[f"{name}.box@{depth}"] = mean(map(float, hits))
        rows = [row for row, own in zip(result.rows, asked, strict=True) if own]
        result.metrics[f"{name}.asked"] = len(rows)
        for depth in DEPTHS if rows else ():
            for system in (ours, name):
                result.metrics[f"{name}.there.{system}.R@{depth}"] = mean(row[f"{system}.R@{depth}"] for row in rows)
    return summaries


def ask_router(corpus: Corpus, question: Mapping[str, Any], *, inside: bool) -> tuple[list[NodeWithScore], bool]:
    """Return the results that stand on pages, and whether the inventory answered."""
    index, filters = corpus.index, corpus.filters(question["doc"] if inside else None)
    default = NodeRetriever(
        index.store, index.embed_model, similarity_top_k=RESULTS, filters=filters, returns="elements"
    )
    inventory = InventoryRetriever(index.store, index.ledger, RESULTS, filters)
    items = QuestionRouter(default, [inventory], similarity_top_k=RESULTS).retrieve(question["question"])
    placed = [item for item in items if item.node.metadata.get("page")]
    return placed, len(placed) < len(items)


def ablation(corpus: Corpus, store: BasePydanticVectorStore, signal: str) -> dict[str, Any]:
    """Return recalls and boxes without one signal."""
    weights = EvidenceWeights(**({signal: 0.0} if signal else {}))
    row: dict[str, Any] = {"without": signal or "nothing"}
    for prefix, inside in (("", True), ("open ", False)):
        results, _ = retrieve_all(corpus, store, weights, inside=inside)
        pairs = list(zip(corpus.questions, results, strict=True))
        values = [recalls(q, [corpus.page_of(item.node) for item in items]) for q, items in pairs]
        row |= {f"{prefix}R@{depth}": mean(value[f"R@{depth}"] for value in values) for depth in DEPTHS[:3]}
        row[f"{prefix}box@5"] = mean(float(any(covers(q, item.node) for item in items[:5])) for q, items in pairs)
    return row


def record(corpus: Corpus, result: Result, name: str, found: Sequence[Sequence[Page]]) -> dict[str, Any]:
    """Write a system's recalls into metrics and rows."""
    values = [recalls(question, pages) for question, pages in zip(corpus.questions, found, strict=True)]
    for row, value, pages in zip(result.rows, values, found, strict=True):
        row |= {f"{name}.{key}": number for key, number in value.items()}
        row[f"{name}.pages"] = [list(page) for page in pages_in_order(pages)[:10]]
    means = {key: mean(value[key] for value in values) for key in values[0]}
    result.metrics |= {f"{name}.{key}": number for key, number in means.items()}
    return {"system": name, **means}


def by_kind(corpus: Corpus, result: Result) -> list[Mapping[str, Any]]:
    """Return our recalls by kind of evidence."""
    kinds = sorted({kind for question in corpus.questions for kind in question["kinds"] or ["none given"]})
    table = []
    for kind in kinds:
        rows = [
            row
            for question, row in zip(corpus.questions, result.rows, strict=True)
            if kind in (question["kinds"] or ["none given"])
        ]
        means = {f"R@{depth}": mean(row[f"ours.R@{depth}"] for row in rows) for depth in DEPTHS}
        table.append({"kind": kind, "n": len(rows), **means, "box@5": mean(float(row["ours.box@5"]) for row in rows)})
        result.metrics |= {f"ours.{kind}.R@{depth}": means[f"R@{depth}"] for depth in DEPTHS}
    return table


def measure_peers(corpus: Corpus, folder: Path, working_dir: str, result: Result) -> list[Mapping[str, Any]]:
    """Measure the other systems inside documents and over all."""
    systems = {
        "bm25": bm25_ranker(corpus),
        "dense": store_ranker(corpus, VectorStoreQueryMode.DEFAULT),
        "hybrid": store_ranker(corpus, VectorStoreQueryMode.HYBRID),
        "handwired": handwired_ranker(folder, corpus, f"{working_dir}/handwired.db"),
    }
    summaries = []
    for name, rank in systems.items():
        for suffix, inside in (("", True), (".open", False)):
            started = time.perf_counter()
            found = [rank(question["question"], question["doc"] if inside else None) for question in corpus.questions]
            summaries.append(record(corpus, result, name + suffix, found))
            result.metrics[f"{name}{suffix}.mean_ms"] = 1000 * (time.perf_counter() - started) / len(found)
    return summaries


def main(args: argparse.Namespace) -> Result:
    """Index, ask, and compare."""
    result = Result()
    with tempfile.TemporaryDirectory() as temporary:
        working_dir = args.working_dir or temporary
        corpus, seconds = load(args.dir, args.limit, working_dir)
        result.rows = [{"id": question["id"], "question": question["question"]} for question in corpus.questions]
        result.metrics["index.pages_per_s"] = len(corpus.page_nodes()) / seconds
        ablations = measure_ours(corpus, result)
        routed = measure_routed(corpus, result)
        summaries = measure_peers(corpus, args.dir, working_dir, result)
        ours = [
            {"system": name, **{f"R@{depth}": result.metrics[f"{name}.R@{depth}"] for depth in DEPTHS}}
            for name in ("ours", "ours.open")
        ]
        result.tables += [("systems", [*ours, *routed, *summaries]), ("ours, one signal left out", ablations)]
        found, comparison = measure_tables(args.dir, corpus.questions, list(corpus.nodes.values()))
        result.metrics |= found
        result.tables.append(("tables found", comparison))
        result.metrics["llm_calls"] = 0
        corpus.index.close()
    return result


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--working-dir", default=None, help="keep parsed files here for the next run")


if __name__ == "__main__":
    raise SystemExit(run("pages", __doc__, main, add_arguments=_arguments))
