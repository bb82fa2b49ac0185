"""The pure parts of the benchmarks over passages: data, renamed copies, measures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import graph_delete, graph_scale, passages
from benchmarks._harness import Result, run
from benchmarks._llm import counted_llm
from benchmarks._passages import PlainBM25, grow, make_nodes, passage_of, proper_words, read_corpus, rename
from llama_index_raganything.graph.extraction.entity_linker import EntityLinker

LINES: list[dict[str, Any]] = [
    {"id": "0", "title": "Port Blair", "text": "Port Blair is the capital of the Andaman Islands. It lies in the bay."},
    {
        "id": "1",
        "title": "",
        "text": "The port of the islands is old; on islands, it is said, ports are. 安达曼群岛属于印度。",
        "doc": "atlas",
    },
    {"id": "2", "title": "Sales", "text": "a | b", "kind": "table", "cells": [["Blair", "Sum"], ["2019", "4"]]}
    | {"doc": "atlas"},
]
QUERIES: list[dict[str, Any]] = [
    {"id": "a", "question": "Which capital lies in the bay?", "type": "one", "gold": ["0"]},
    {"id": "b", "question": "What is the port of the Andaman capital?", "type": "two", "gold": ["0", "1"]},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of passages and questions."""
    path = tmp_path / "set"
    path.mkdir()
    (path / "corpus.jsonl").write_text("\n".join(json.dumps(line) for line in LINES) + "\n\n", encoding="utf-8")
    (path / "queries.jsonl").write_text("\n".join(json.dumps(line) for line in QUERIES), encoding="utf-8")
    return path


def test_one_folder_keeps_its_ids_and_several_get_their_names(folder: Path) -> None:
    one = read_corpus([folder])
    assert [passage["id"] for passage in one.passages] == ["0", "1", "2"]
    assert [passage["doc"] for passage in one.passages] == ["0", "atlas", "atlas"]
    assert one.queries["set"][1]["gold"] == ["0", "1"]
    two = read_corpus([folder, folder], limit=1)
    assert [passage["id"] for passage in two.passages] == ["set/0", "set/1", "set/2", "set2/0", "set2/1", "set2/2"]
    assert two.passages[4]["doc"] == "set2/atlas"
    assert {name: [query["gold"] for query in queries] for name, queries in two.queries.items()} == {
        "set": [["set/0"]],
        "set2": [["set2/0"]],
    }
    assert len({node.node_id for node in make_nodes(two.passages)}) == 6


def test_titles_stand_in_text_and_metadata_or_nowhere() -> None:
    node, untitled, table = make_nodes(LINES)
    assert node.text.splitlines()[0] == "Port Blair"
    assert node.metadata["title"] == "Port Blair"
    assert "title" not in untitled.metadata
    assert table.text == "Sales\n| Blair | Sum |\n| --- | --- |\n| 2019 | 4 |"
    assert table.metadata["content_type"] == "table"
    assert untitled.metadata["doc_id"] == table.metadata["doc_id"] != node.metadata["doc_id"]
    assert untitled.next_node is not None
    assert untitled.next_node.node_id == table.node_id
    assert node.next_node is None
    bare = make_nodes(LINES, titles=False)
    assert "title" not in bare[0].metadata
    assert bare[0].text == LINES[0]["text"]
    assert passage_of(bare[2]) == "2"


def test_bm25_ranks_by_rare_words_and_takes_more() -> None:
    nodes = make_nodes(LINES)
    rank = PlainBM25(nodes[:2])
    assert rank("the capital of Blair") == ["0", "1"]
    assert rank("2019") == []
    assert rank("") == []
    rank.add(nodes[2:])
    assert rank("2019") == ["2"]
    assert PlainBM25()("anything") == []


def test_names_are_renamed_and_common_words_are_not() -> None:
    proper = proper_words(line["title"] + "\n" + line["text"] for line in LINES)
    assert {"blair", "andaman"} <= proper
    assert not proper & {"it", "the", "islands"}
    changed = rename("Port Blair is NATO's. It 安达曼", proper | {"nato"}, 1)
    assert changed == "Port Blairqbk is NATOQBK's. It 安达曼"
    assert rename("Blair", proper, 0) == "Blair"
    assert len({rename("Blair", proper, copy) for copy in range(800)}) == 800


def test_a_grown_corpus_has_copies_with_graphs_of_their_own() -> None:
    grown = list(grow(LINES, 8))
    assert grown[:3] == LINES
    assert [passage["id"] for passage in grown[3:]] == ["1:0", "1:1", "1:2", "2:0", "2:1"]
    assert [passage["doc"] for passage in grown[3:]] == ["1:0", "1:atlas", "1:atlas", "2:0", "2:atlas"]
    assert grown[3]["title"] != grown[0]["title"] != grown[6]["title"]
    assert list(grow(LINES, 8, start=5)) == grown[5:]
    assert grown[5]["cells"] == [["Blairqbk", "Sum"], ["2019", "4"]]
    assert list(grow(LINES, 2)) == LINES[:2]


def test_recall_counts_each_gold_passage_once() -> None:
    values = passages.recalls(["a", "b"], ["b", "x", "y", "z", "q", "a"])
    assert values == {"R@1": 0.5, "R@2": 0.5, "R@5": 0.5, "R@10": 1.0, "all@5": 0.0}
    assert passages.recalls(["a", "a"], ["a"])["all@5"] == 1.0
    assert graph_scale.recall(["a", "b"], ["x", "b"]) == 0.5


def _line(value: float) -> dict[str, float]:
    return {"R@5": value, "p50_ms": 1.0}


def test_metrics_have_the_folder_in_front_when_there_are_several() -> None:
    row = {"type": "2hop", "bm25.R@5": 0.5, "fused.R@5": 1.0, "fused.all@5": 1.0}
    lines = {"one": {"bm25": _line(0.5), "fused": _line(0.75)}}
    single = passages.summary(lines, {"one": [row]}, llm_calls=0)
    assert single.metrics["bm25.R@5"] == 0.5
    assert single.metrics["ours.R@5"] == single.metrics["fused.R@5"] == 0.75
    assert single.metrics["fused_to_best_route.R@5"] == 0.25
    assert single.metrics["llm_calls"] == 0
    assert dict(single.tables)["by type of question"][0] == {
        "type": "2hop",
        "n": 1,
        "bm25.R@5": 0.5,
        "fused.R@5": 1.0,
        "fused.all@5": 1.0,
    }
    several = passages.summary(lines | {"two": {"bm25": _line(0.5)}}, {"one": [row], "two": []}, llm_calls=2)
    assert several.metrics["one/fused.R@5"] == 0.75
    assert "two/fused_to_best_route.R@5" not in several.metrics
    assert "fused.R@5" not in several.metrics
    assert len(several.rows) == 1


def test_questions_are_spread_over_those_that_can_be_answered() -> None:
    queries = [{"id": str(number), "gold": [str(number % 4)]} for number in range(12)]
    kept = graph_scale.answerable(queries, LINES, 3)
    assert [query["id"] for query in kept] == ["0", "4", "8"]
    assert graph_scale.answerable(queries, [], 3) == []
    assert len(graph_scale.answerable(queries, LINES, 100)) == 9


def test_ratios_compare_the_last_size_with_the_first() -> None:
    metrics = {f"{name}.p50_ms@10": 2.0 for name in ("walk", "graph", "nodes")}
    metrics |= {"walk.p50_ms@100": 3.0, "graph.p50_ms@100": 4.0, "nodes.p50_ms@100": 8.0}
    metrics |= {"bytes_per_node@10": 900.0, "bytes_per_node@100": 800.0}
    graph_scale.add_ratios(metrics, [10, 100])
    assert metrics["ratio_p50@100/10"] == 1.5
    assert metrics["total_ratio_p50@100/10"] == 2.0
    assert metrics["nodes_ratio_p50@100/10"] == 4.0
    assert metrics["bytes_per_node"] == 900.0


def test_names_are_split_into_shared_ones_and_orphans() -> None:
    documents = graph_delete.as_documents(LINES, 2)
    assert [passage["doc"] for passage in documents] == ["document 0"] * 10 + ["document 1"] * 10
    facts = EntityLinker().extract(make_nodes(documents))
    names = graph_delete.names_by_document(facts)
    assert len(names) == 2
    shared, orphans = graph_delete.split_names({"a": {"x": "X", "y": "Y"}, "b": {"y": "y", "z": "Z"}}, "a")
    assert (shared, orphans) == (["Y"], ["X"])


@pytest.mark.parametrize(
    ("count", "repeat", "numbers"),
    [(10, 5, [0, 2, 4, 6, 8]), (1000, 2, [250, 750]), (1, 5, [0]), (2, 5, [0])],
)
def test_documents_to_delete_are_evenly_spread(count: int, repeat: int, numbers: list[int]) -> None:
    assert [number for number in graph_delete.chosen(count, repeat) if 0 <= number < count] == numbers


def test_every_call_to_the_default_llm_is_counted() -> None:
    from llama_index.core.settings import Settings

    before = Settings._llm
    with counted_llm() as llm:
        Settings.llm.complete("Who?")
        assert len(llm.requests) == 1
    assert Settings._llm is before


def test_several_folders_are_a_list(folder: Path) -> None:
    seen: list[Any] = []

    def main(args: Any) -> Result:
        seen.append(args.dir)
        return Result()

    assert run("passages", None, main, several=True, argv=[str(folder), str(folder)]) == 0
    assert run("pages", None, main, argv=[str(folder)]) == 0
    assert seen == [[folder, folder], folder]
    with pytest.raises(SystemExit):
        run("pages", None, main, argv=[str(folder), str(folder)])
    with pytest.raises(SystemExit):
        run("passages", None, main, several=True, argv=[str(folder), str(folder / "gone")])


@pytest.mark.slow
def test_the_benchmarks_run(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = {"add_arguments": passages.add_arguments, "several": True}
    assert run("p", None, passages.main, argv=[str(folder), "--json", str(out)], **options) == 0
    metrics = json.loads(out.read_text())["metrics"]
    assert {f"{name}.R@5" for name in (*passages.SYSTEMS, "ours")} <= metrics.keys()
    assert metrics["fused.all@5"] == metrics["bm25.R@5"] == metrics["handwired.R@5"] == 1.0
    assert metrics["property_graph.R@5"] > 0
    assert metrics["llm_calls"] == 0

    argv = [str(folder), "--sizes", "6", "12", "--json", str(out)]
    assert run("s", None, graph_scale.main, add_arguments=graph_scale.add_arguments, argv=argv) == 0
    metrics = json.loads(out.read_text())["metrics"]
    assert metrics["walk.p50_ms@6"] > 0
    assert metrics["ratio_p50@12/6"] > 0
    assert metrics["bytes_per_node"] > 0
    assert metrics["graph.R@5@12"] == 1.0

    argv = [str(folder), "--documents", "2", "4", "--repeat", "1", "--json", str(out)]
    assert run("d", None, graph_delete.main, add_arguments=graph_delete.add_arguments, argv=argv) == 0
    metrics = json.loads(out.read_text())["metrics"]
    checks = {f"{name}@{size}": 0 for name in ("shared_lost", "orphans_left", "facts_left") for size in (2, 4)}
    assert {name: metrics[name] for name in checks} == checks
    assert metrics["ratio_p50@4/2"] > 0
    assert metrics["llm_calls"] == 0
