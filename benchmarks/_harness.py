"""What every benchmark shares: arguments, a printed table, and one JSON file of results.

A benchmark is one module with a ``main`` function and two last lines::

    if __name__ == "__main__":
        raise SystemExit(run("pages", __doc__, main))
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Result:
    """What a benchmark found.

    Attributes:
        metrics: Flat names and numbers, such as ``{"ours.R@5": 0.9}``.
        rows: One dictionary per measured thing (a question, a file), for later analysis.
        tables: Printed tables: a title and the rows to show under it.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    tables: list[tuple[str, list[Mapping[str, Any]]]] = field(default_factory=list)


def run(
    name: str,
    description: str | None,
    main: Callable[[argparse.Namespace], Result],
    *,
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
    several: bool = False,
    takes_data: bool = True,
    argv: list[str] | None = None,
) -> int:
    """Run a benchmark from the command line.

    The arguments are ``DIR`` (``args.dir``, a Path), ``--json OUT`` (``args.json``, a Path or None) and
    ``--limit N`` (``args.limit``, an int or None), and what ``add_arguments`` adds.

    Args:
        name: Name of the benchmark, written into the JSON file.
        description: Help text.
        main: Takes the parsed arguments and measures.
        add_arguments: Adds further arguments to the parser.
        several: Take one or more folders; ``args.dir`` is then a list.
        takes_data: Whether there is a folder and a limit to give at all.
        argv: Command line; by default the process's own.

    Returns:
        The exit code, 0.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--json", type=Path, default=None, help="write the results to this file")
    if takes_data:
        parser.add_argument("dir", type=Path, nargs="+" if several else None, help="folder with the benchmark's data")
        parser.add_argument("--limit", type=int, default=None, help="measure only the first N items")
    if add_arguments is not None:
        add_arguments(parser)
    args = parser.parse_args(argv)
    folders = [] if not takes_data else args.dir if several else [args.dir]
    for folder in folders:
        if not folder.is_dir():
            parser.error(f"{folder} is not a folder")
    result = main(args)
    for title, rows in result.tables:
        print_table(rows, title)
    print_table([{"metric": key, "value": value} for key, value in result.metrics.items()], name)
    if args.json is not None:
        write_json(args.json, name, result)
    return 0


def print_table(rows: Iterable[Mapping[str, Any]], title: str = "") -> None:
    """Print rows as an aligned table whose columns are the keys of all rows.

    Args:
        rows: Dictionaries, one per line.
        title: Line above the table.
    """
    kept = list(rows)
    columns = list(dict.fromkeys(key for row in kept for key in row))
    cells = [columns, *([_cell(row.get(column)) for column in columns] for row in kept)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    if title:
        print(f"\n{title}")
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def write_json(path: Path, name: str, result: Result) -> None:
    """Write ``{"benchmark", "metrics", "rows"}`` to a file.

    Args:
        path: The file; its folder is made when missing.
        name: Name of the benchmark.
        result: What was measured.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"benchmark": name, "metrics": result.metrics, "rows": result.rows}
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1, default=str) + "\n", encoding="utf-8")


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value below which a share of the values lies (nearest rank).

    Args:
        values: Numbers in any order.
        share: Share from 0 to 1; 0.5 is the median.

    Returns:
        The percentile, or NaN when there are no values.
    """
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def mean(values: Iterable[float]) -> float:
    """Return the arithmetic mean, or NaN when there are no values.

    Args:
        values: Numbers.

    Returns:
        Their mean.
    """
    kept = list(values)
    return sum(kept) / len(kept) if kept else math.nan


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) >= 1000 else f"{value:.3f}"
    return "" if value is None else str(value)
