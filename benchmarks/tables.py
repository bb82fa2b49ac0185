"""Questions over tables and the paragraphs around them: is the evidence found, by type of answer.

DIR has ``corpus.jsonl`` (``{id, kind: table or text, text, cells, doc}``, where ``doc`` is the section) and
``queries.jsonl`` (``{id, question, type, gold: [ids]}``); see ``benchmarks/_passages.py``. A passage is one node, a
table rendered as our node parser does. ``R@k`` is the mean over questions of the share of gold passages among the
first k, ``all@5`` the share of questions with all gold passages among the first 5.

All passages: ``default`` (the retriever that an index gives: EvidenceRetriever, and inventories for questions about
whole documents), ``evidence`` (EvidenceRetriever alone), ``nodes`` (NodeRetriever), ``bm25`` (words as they are) and
``handwired`` (LlamaIndex's own MilvusVectorStore with BM25 and vectors, reciprocal rank fusion, under
VectorStoreIndex), all with the embedded default embedding.

Tables only: gold tables of the questions that have some, under ``tables.<system>``. ``tables`` is TableRetriever;
``no_graph`` the same without a graph; the others see nothing but tables.

Sections merged: three consecutive sections are one, so that each holds three tables and the paragraphs of all, as real
documents do; metrics ``merged.<system>``.

Metrics are ``<system>.R@k``, ``<system>.<type>.R@5``, ``<system>.p50_ms``; those of ``default`` are also called
``ours``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters

from benchmarks import _peers
from benchmarks._harness import Result, mean, run
from benchmarks._llm import counted_llm
from benchmarks._passages import RESULTS, Passage, PlainBM25, make_nodes, read_corpus
from benchmarks._peers import Ranker
from benchmarks.passages import Systems, measure, retriever_ranker
from llama_index_raganything import EvidenceRetriever, InventoryRetriever, NodeRetriever, QuestionRouter
from llama_index_raganything.retrievers.tables import TableRetriever

MERGED = 3
"""So many consecutive sections are made one."""

ALL = ("bm25", "handwired", "nodes", "evidence", "default")
TABLES = ("bm25", "handwired", "nodes", "evidence", "no_graph", "tables")
AFTER_MERGING = ("evidence", "default")
_ONLY_TABLES = MetadataFilters(filters=[MetadataFilter(key="content_type", value="table")])
_KEPT_COLUMNS = ("R@2", "R@5", "R@10", "all@5")


def merged_sections(passages: Sequence[Passage], count: int = MERGED) -> list[Passage]:
    """Return passages whose sections, ``count`` consecutive ones at a time, are one.

    Args:
        passages: Passages with their section as ``doc``, those of a section together.
        count: How many sections become one.
    """
    places = {name: place for place, name in enumerate(dict.fromkeys(passage["doc"] for passage in passages))}
    return [{**passage, "doc": f"merged {places[passage['doc']] // count}"} for passage in passages]


@contextmanager
def opened(passages: Sequence[Passage]) -> Iterator[Systems]:
    """Index passages for as long as they are asked."""
    with tempfile.TemporaryDirectory() as folder, counted_llm() as llm:
        systems = Systems(make_nodes(passages), folder, llm)
        try:
            yield systems
        finally:
            systems.close()


def ranker_of(systems: Systems, name: str) -> Ranker:
    """Return a system over all passages."""
    if name in ("bm25", "handwired", "nodes"):
        return systems.build(name).rank
    store, graph = systems.store()[1], systems.graph()[1]
    evidence = EvidenceRetriever(store, graph, embed_model=systems.model, similarity_top_k=RESULTS)
    if name == "evidence":
        return retriever_ranker(evidence)
    inventory = InventoryRetriever(store, similarity_top_k=RESULTS)
    return retriever_ranker(QuestionRouter(evidence, [inventory], similarity_top_k=RESULTS))


def table_ranker_of(systems: Systems, name: str) -> Ranker:
    """Return a system that finds tables only."""
    nodes = [node for node in systems.nodes if node.metadata["content_type"] == "table"]
    if name == "bm25":
        return PlainBM25(nodes)
    if name == "handwired":
        return _peers.handwired(nodes, systems.model, f"{systems.folder}/handwired_tables.db")
    store = systems.store()[1]
    graph = None if name == "no_graph" else systems.graph()[1]
    options: dict[str, Any] = {"embed_model": systems.model, "similarity_top_k": RESULTS}
    if name == "nodes":
        return retriever_ranker(NodeRetriever(store, filters=_ONLY_TABLES, **options))
    if name == "evidence":
        return retriever_ranker(EvidenceRetriever(store, graph, filters=_ONLY_TABLES, **options))
    return retriever_ranker(TableRetriever(store, graph, **options))


def ask(name: str, rank: Ranker, queries: Sequence[Passage], rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Ask one system; return its metrics, with R@5 by type of answer."""
    line = measure(name, rank, queries, rows)
    groups: dict[str, list[float]] = defaultdict(list)
    for query, row in zip(queries, rows, strict=True):
        groups[str(query["type"])].append(row[f"{name}.R@5"])
    kept = {key: line[key] for key in _KEPT_COLUMNS}
    types = {f"{kind}.R@5": mean(values) for kind, values in sorted(groups.items())}
    return kept | types | {"p50_ms": line["p50_ms"]}


def table_questions(passages: Sequence[Passage], queries: Sequence[Passage]) -> list[Passage]:
    """Return the questions that have tables as evidence, with these alone as gold."""
    tables = {passage["id"] for passage in passages if passage.get("kind") == "table"}
    own = ({**query, "gold": [gold for gold in query["gold"] if gold in tables]} for query in queries)
    return [query for query in own if query["gold"]]


def main(args: argparse.Namespace) -> Result:
    """Index, ask, merge, ask again."""
    corpus = read_corpus([args.dir], args.limit)
    (queries,) = corpus.queries.values()
    about_tables = table_questions(corpus.passages, queries)
    rows: list[dict[str, Any]] = [{"id": query["id"], "type": query["type"]} for query in queries]
    by_id = {row["id"]: row for row in rows}
    table_rows = [by_id[query["id"]] for query in about_tables]
    result = Result(rows=rows)
    with opened(corpus.passages) as systems:
        lines = {name: ask(name, ranker_of(systems, name), queries, rows) for name in args.systems if name in ALL}
        report(result, "all passages", lines)
        lines = {
            f"tables.{name}": ask(f"tables.{name}", table_ranker_of(systems, name), about_tables, table_rows)
            for name in TABLES
            if name in args.systems
        }
        report(result, f"tables only ({len(about_tables)} questions)", lines)
    names = [name for name in AFTER_MERGING if name in args.systems]
    if names:
        with opened(merged_sections(corpus.passages)) as systems:
            lines = {f"merged.{name}": ask(f"merged.{name}", ranker_of(systems, name), queries, rows) for name in names}
            report(result, "sections merged", lines)
    return result


def report(result: Result, title: str, lines: Mapping[str, Mapping[str, float]]) -> None:
    """Add a table and its metrics."""
    if not lines:
        return
    result.tables.append((title, [{"system": name, **line} for name, line in lines.items()]))
    for name, line in lines.items():
        result.metrics |= {f"{name}.{key}": value for key, value in line.items()}
        if name == "default":
            result.metrics |= {f"ours.{key}": value for key, value in line.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be changed."""
    systems = tuple(dict.fromkeys((*ALL, *TABLES)))
    parser.add_argument("--systems", nargs="+", choices=systems, default=systems, help="measure only these")


if __name__ == "__main__":
    raise SystemExit(run("tables", __doc__, main, add_arguments=add_arguments))
