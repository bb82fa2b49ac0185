"""How many of the package's files a document and a question enter, and how many calls lie before the parser.

    python -m benchmarks.entered --pdf report.pdf --question "What is the warranty period?"

Counts distinct files of the package whose functions run (``sys.setprofile``, in all threads), after every module has
been imported by a first document and question, so that code which runs at import does not count.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import llama_index_raganything
from benchmarks._harness import Result, run
from llama_index_raganything import RAGAnythingIndex

ROOT = str(Path(llama_index_raganything.__file__).parent) + "/"
PARSERS = ("readers/pdf/parser.py", "readers/pdf/layout/__init__.py")


class Entered:
    """Record the files and functions of the package that run, and the calls above the PDF parser."""

    def __init__(self) -> None:
        self.files: dict[str, int] = {}
        self.functions: set[tuple[str, str]] = set()
        self.calls_before_parser: list[str] = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Take one event of the interpreter."""
        path = frame.f_code.co_filename
        if event != "call" or not path.startswith(ROOT) or frame.f_code.co_name == "<module>":
            return
        name = path.removeprefix(ROOT)
        self.files[name] = self.files.get(name, 0) + 1
        self.functions.add((name, frame.f_code.co_qualname))
        if name in PARSERS and not self.calls_before_parser:
            self.calls_before_parser = _own_calls(frame.f_back)

    def during(self, work: Callable[[], object]) -> Entered:
        """Record while something runs."""
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            work()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        return self


def _own_calls(frame: FrameType | None) -> list[str]:
    calls = []
    while frame is not None:
        if frame.f_code.co_filename.startswith(ROOT):
            calls.append(f"{frame.f_code.co_filename.removeprefix(ROOT)}:{frame.f_code.co_qualname}")
        frame = frame.f_back
    return calls[::-1]


def main(args: argparse.Namespace) -> Result:
    """Count twice and keep the second count: the first imports every module."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(2):
            index = RAGAnythingIndex.from_paths([], uri=f"{folder}/{number}.db", working_dir=f"{folder}/{number}")
            with index:
                added = Entered().during(lambda index=index: index.add([str(args.pdf)]))
                engine = index.as_query_engine()
                asked = Entered().during(lambda engine=engine: engine.query(args.question))
    result = Result()
    result.metrics = {
        "add.files": len(added.files),
        "add.functions": len(added.functions),
        "add.calls_before_parser": len(added.calls_before_parser),
        "query.files": len(asked.files),
        "query.functions": len(asked.functions),
    }
    seen = (("add", added), ("query", asked))
    result.rows = [{"of": of, "file": file} for of, entered in seen for file in sorted(entered.files)]
    if args.list:
        result.tables = [
            ("Before the parser", [{"call": call} for call in added.calls_before_parser]),
            ("Files", result.rows),
        ]
    return result


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pdf", type=Path, default=Path(ROOT) / "demo_files" / "annual_report.pdf")
    parser.add_argument("--question", default="Which region grew fastest?")
    parser.add_argument("--list", action="store_true", help="name the files and the calls")


if __name__ == "__main__":
    raise SystemExit(run("entered", __doc__, main, add_arguments=_add_arguments, takes_data=False))
