"""Plug a modality in: CSV files of sensor readings become nodes that say what a series does.

    python examples/time_series.py [FILE.csv]

A CSV file whose first column holds times and whose others hold numbers is read as a time series: one node per column,
with period, sampling rate, least, greatest and mean value, trend, gaps and outliers in words. All other CSV files stay
tables. Nothing of this is part of the package; it is what ``docs/modalities.md`` describes.
"""

from __future__ import annotations

import csv
import math
import statistics
import sys
import tempfile
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from llama_index_raganything import RAGAnythingIndex
from llama_index_raganything.elements import Element
from llama_index_raganything.enrich.registry import register_modality

MIN_ROWS = 8


def parse_rows(path: Path, limit: int | None = None) -> tuple[list[str], list[tuple[datetime, list[float]]]]:
    """Return the header and the readings; a reading that is missing is NaN.

    Raises:
        ValueError: The file is no time series.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row, _ in zip(csv.reader(file), range(limit or sys.maxsize), strict=False) if row]
    header, body = rows[0], rows[1:]
    if len(header) < 2 or len(body) < min(MIN_ROWS, (limit or MIN_ROWS) - 1):
        message = "a time series needs a column of times, one of numbers and several rows"
        raise ValueError(message)
    readings = [
        (datetime.fromisoformat(row[0]), [float(cell) if cell.strip() else math.nan for cell in row[1:]])
        for row in body
    ]
    if any(len(values) != len(header) - 1 for _, values in readings):
        message = "its rows are of different lengths"
        raise ValueError(message)
    return header, sorted(readings, key=lambda reading: reading[0])


def is_time_series(path: Path) -> bool:
    """Tell whether a CSV file is a time series, by its first rows."""
    try:
        parse_rows(path, limit=MIN_ROWS + 1)
    except (ValueError, IndexError, TypeError, OSError, csv.Error):
        return False
    return True


def read_time_series(path: Path, _assets: object) -> list[Element]:
    """Return one ``time_series`` element per column of numbers."""
    header, readings = parse_rows(path)
    elements = []
    for column, name in enumerate(header[1:]):
        series = [(time, values[column]) for time, values in readings if math.isfinite(values[column])]
        if len(series) >= 2:
            caption = f"Time series {name} ({path.name})"
            elements.append(Element(type="time_series", caption=caption, text="\n".join(facts(name, series))))
    return elements


def facts(name: str, series: list[tuple[datetime, float]]) -> list[str]:
    """Return what a series does, in lines."""
    times, values = [time for time, _ in series], [value for _, value in series]
    steps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    step = statistics.median(steps) or 1.0
    mean, spread = statistics.fmean(values), statistics.pstdev(values)
    low, high = min(series, key=lambda item: item[1]), max(series, key=lambda item: item[1])
    lines = [
        f"Period: {times[0]} to {times[-1]}; {len(values)} readings, one every {timedelta(seconds=step)}.",
        f"Minimum {low[1]:g} at {low[0]}, maximum {high[1]:g} at {high[0]}, mean {mean:.4g}.",
        f"Trend: {trend(name, times, values, spread)}.",
    ]
    gaps = [(times[index], seconds) for index, seconds in enumerate(steps) if seconds > 1.5 * step]
    for start, seconds in gaps[:5]:
        lines.append(f"Gap: no readings for {timedelta(seconds=seconds)} after {start}.")
    # Distance from the median in median absolute deviations (Iglewicz and Hoaglin 1993), which outliers do not move.
    middle = statistics.median(values)
    deviation = statistics.median(abs(value - middle) for value in values) / 0.6745
    strange = [(time, value) for time, value in series if deviation and abs(value - middle) > 5 * deviation]
    for time, value in strange[:5]:
        lines.append(f"Anomaly: {value:g} at {time}, far from the usual {middle:g}.")
    return lines


def trend(name: str, times: list[datetime], values: list[float], spread: float) -> str:
    """Say whether a series rises, by the slope of its regression line."""
    hours = [(time - times[0]).total_seconds() / 3600 for time in times]
    if not spread or hours[-1] == 0:
        return f"{name} is constant"
    slope = statistics.linear_regression(hours, values).slope
    if abs(slope) * hours[-1] < spread:
        return f"{name} is stable"
    return f"{name} is {'rising' if slope > 0 else 'falling'} by {abs(slope):.3g} per hour"


def make_demo(path: Path) -> Path:
    """Write two days of temperatures with a gap and a spike."""
    start = datetime(2024, 5, 1)  # sensors log local time
    rows = [["time", "boiler temperature", "pressure"]]
    for hour in range(48):
        if 20 <= hour < 25:
            continue
        temperature = 60 + 0.5 * hour + (hour % 3) * 0.1 + (90 if hour == 30 else 0)
        rows.append([str(start + timedelta(hours=hour)), f"{temperature:.1f}", f"{2 + (hour % 2) * 0.01:.2f}"])
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def register() -> None:
    """Make the package know time series."""
    register_modality("time_series", suffixes=[".csv"], detect=is_time_series, read=read_time_series)


def main() -> None:
    """Index a file and ask what happened."""
    register()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(sys.argv[1]) if len(sys.argv) > 1 else make_demo(Path(folder) / "boiler.csv")
        with RAGAnythingIndex.from_paths([path], working_dir=Path(folder) / "index") as index:
            for found in index.as_retriever(similarity_top_k=1).retrieve("When was the boiler temperature anomaly?"):
                print(found.node.metadata["content_type"])
                print(found.node.get_content())


if __name__ == "__main__":
    main()
