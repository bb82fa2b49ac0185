"""The harness that all benchmarks share, and the robustness benchmark on a small folder."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks import robustness
from benchmarks._harness import Result, mean, percentile, run


def test_run_writes_json_and_prints_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def main(args):
        rows = [{"question": "船?", "rank": 1}, {"question": "b", "score": 0.5}]
        return Result({"ours.R@5": 0.25, "n": args.limit}, rows, [("by kind", rows)])

    out = tmp_path / "new" / "out.json"
    assert run("pages", "Help.", main, argv=[str(tmp_path), "--json", str(out), "--limit", "3"]) == 0
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content["benchmark"] == "pages"
    assert content["metrics"] == {"ours.R@5": 0.25, "n": 3}
    assert content["rows"][0] == {"question": "船?", "rank": 1}
    printed = capsys.readouterr().out
    assert "by kind" in printed
    assert "ours.R@5" in printed


def test_a_missing_folder_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run("pages", None, lambda args: Result(), argv=[str(tmp_path / "gone")])


def test_statistics() -> None:
    assert percentile([3, 1, 2, 4], 0.5) == 2
    assert percentile([1], 0.95) == 1
    assert percentile(range(1, 101), 0.95) == 95
    assert math.isnan(percentile([], 0.5))
    assert mean([1, 2]) == 1.5
    assert math.isnan(mean([]))


@pytest.mark.slow
def test_robustness_counts_how_files_end(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "good.md").write_text("# A")
    (files / "bad.pdf").write_bytes(b"%PDF-1.7 broken")
    out = tmp_path / "out.json"
    arguments = [str(files), "--json", str(out)]
    add = robustness._add_arguments
    assert run("robustness", None, robustness.main, add_arguments=add, argv=arguments) == 0
    content = json.loads(out.read_text())
    counts = {name: content["metrics"][name] for name in ("ok", "typed", "untyped", "hang", "crash")}
    assert counts == {"ok": 1, "typed": 1, "untyped": 0, "hang": 0, "crash": 0}
    assert (
        run("r", None, robustness.main, add_arguments=robustness._add_arguments, argv=[*arguments, "--timeout", "0"])
        == 0
    )
    assert json.loads(out.read_text())["metrics"]["hang"] == 2
