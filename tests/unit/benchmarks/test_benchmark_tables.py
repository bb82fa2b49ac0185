"""The tables benchmark: merging sections, questions about tables, and a run on a small folder."""

import argparse
import json

import pytest

from benchmarks.tables import main, merged_sections, table_questions

PASSAGES = [
    {"id": f"{kind}{number}", "doc": f"d{number}", "kind": "table" if kind == "t" else "text", "text": text}
    for number in range(4)
    for kind, text in (("t", f"Item | 2019\nSales {number} | {number}"), ("p", f"Paragraph {number} on sales."))
]
QUERIES = [
    {"id": "a", "question": "What were sales 2 in 2019?", "type": "table-text", "gold": ["t2", "p2"]},
    {"id": "b", "question": "What is paragraph 3 on?", "type": "text", "gold": ["p3"]},
]


def test_consecutive_sections_are_merged():
    merged = merged_sections(PASSAGES, 3)
    assert [passage["doc"] for passage in merged] == ["merged 0"] * 6 + ["merged 1"] * 2
    assert [passage["id"] for passage in merged] == [passage["id"] for passage in PASSAGES]


def test_questions_keep_their_tables_only():
    assert [(query["id"], query["gold"]) for query in table_questions(PASSAGES, QUERIES)] == [("a", ["t2"])]


@pytest.mark.slow
def test_a_run_has_metrics_by_type(tmp_path):
    for name, lines in (("corpus", PASSAGES), ("queries", QUERIES)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    result = main(argparse.Namespace(dir=tmp_path, limit=None, systems=["bm25", "default", "tables"]))
    assert result.metrics["ours.R@10"] == 1
    assert {"bm25.text.R@5", "tables.tables.table-text.R@5", "merged.default.R@5"} <= result.metrics.keys()
