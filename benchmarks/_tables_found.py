"""Are the tables of PDF pages found: against boxes that people drew, and on pages of prose that have none.

Gold are the distinct evidence boxes of questions whose only kind of evidence is a table. ``overlap``: a table shares
at least half of the smaller one's area with the box; a table as large as the page would do, so that ``iou`` (at
least half of the area that both cover together) and ``false_per_60`` stand beside it: tables found by columns per 60
pages of prose (at least 1000 characters, less than 4 % of them digits) that are nobody's evidence. Some of them are
tables indeed. ``all_per_60`` counts those of docvortex on these pages as well.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llama_index.core.schema import BaseNode

from benchmarks._harness import mean
from llama_index_raganything.readers.common.rendering import open_pdf
from llama_index_raganything.readers.engines.docvortex import analyse_pages, blocks_to_elements
from llama_index_raganything.readers.pdf.tables.finder import COLUMNS, page_tables
from llama_index_raganything.readers.pdf.text import read_page

PROSE_PAGES = 60
MIN_CHARACTERS = 1000
MAX_DIGITS = 0.04
FOUND = 0.5

Box = Sequence[float]
Page = tuple[str, int]


def gold_boxes(questions: Sequence[Mapping[str, Any]]) -> dict[Page, list[Box]]:
    """Return the distinct boxes of table evidence by file and page, in thousandths of the page."""
    boxes: dict[Page, list[Box]] = {}
    for question in questions:
        for box in question["boxes"] if question["kinds"] == ["Table"] else []:
            width, height = box["page_size"]
            scales = (1000 / width, 1000 / height, 1000 / width, 1000 / height)
            scaled = [edge * scale for edge, scale in zip(box["bbox"], scales, strict=True)]
            found = boxes.setdefault((question["doc"], box["page"]), [])
            if scaled not in found:
                found.append(scaled)
    return boxes


def prose_pages(questions: Sequence[Mapping[str, Any]], texts: Mapping[Page, str]) -> list[Page]:
    """Return up to 60 pages of prose without evidence, spread evenly over the folder."""
    evidence = {(question["doc"], page) for question in questions for page in question["pages"]}
    prose = [
        page
        for page, text in sorted(texts.items())
        if page not in evidence
        and len(text) >= MIN_CHARACTERS
        and sum(character.isdigit() for character in text) < MAX_DIGITS * len(text)
    ]
    step = max(1.0, len(prose) / PROSE_PAGES)
    return [prose[int(place * step)] for place in range(min(PROSE_PAGES, len(prose)))]


def intersection(first: Box, second: Box) -> tuple[float, float]:
    """Return the intersection of two boxes over the smaller one's area, and over the area of both together."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    if min(width, height) <= 0 or min(areas) <= 0:
        return 0.0, 0.0
    return width * height / min(areas), width * height / (sum(areas) - width * height)


def node_tables(nodes: Sequence[BaseNode], subtype: str | None = None) -> dict[Page, list[Box]]:
    """Return the boxes of the tables in an index by file and page; the parts of one table count once."""
    boxes: dict[Page, list[Box]] = {}
    for node in nodes:
        metadata = node.metadata
        if metadata.get("content_type") != "table" or not metadata.get("bbox"):
            continue
        found = boxes.setdefault((str(metadata["file_name"]), int(metadata.get("page") or 0)), [])
        box = json.loads(metadata["bbox"])
        if subtype in (None, metadata.get("subtype")) and box not in found:
            found.append(box)
    return boxes


def docvortex_tables(folder: Path, pages: Sequence[Page]) -> dict[Page, list[Box]]:
    """Return the boxes of the tables that docvortex alone finds on some pages."""
    boxes: dict[Page, list[Box]] = {}
    for name in sorted({name for name, _ in pages}):
        indices = sorted({page - 1 for file, page in pages if file == name})
        for result in analyse_pages(folder / "pdf" / name, indices):
            if isinstance(result, str):
                print(f"{name}: {result}")
                continue
            index, blocks = result
            elements = blocks_to_elements(blocks, page=index + 1)
            boxes[name, index + 1] = [e.bbox for e in elements if e.type == "table" and e.bbox]
    return boxes


def scores(found: Mapping[Page, list[Box]], gold: Mapping[Page, list[Box]]) -> dict[str, float]:
    """Return ``overlap`` and ``iou``."""
    pairs = [[intersection(box, own) for own in found.get(page, [])] for page, boxes in gold.items() for box in boxes]
    best = [(max((o for o, _ in pair), default=0.0), max((u for _, u in pair), default=0.0)) for pair in pairs]
    return {
        "overlap": mean(float(overlap >= FOUND) for overlap, _ in best),
        "iou": mean(float(union >= FOUND) for _, union in best),
    }


def per_60(found: Mapping[Page, list[Box]], pages: Sequence[Page]) -> float:
    """Return the number of tables per 60 of these pages."""
    return PROSE_PAGES * mean(float(len(found.get(page, []))) for page in pages)


def measure_tables(
    folder: Path, questions: Sequence[Mapping[str, Any]], nodes: Sequence[BaseNode]
) -> tuple[dict[str, float], list[Mapping[str, Any]]]:
    """Score the tables of an index, those of docvortex alone, and the finder's speed; return metrics and a table."""
    texts, seconds = _finder(folder, sorted({question["doc"] for question in questions}))
    gold, prose = gold_boxes(questions), prose_pages(questions, texts)
    found, alone = node_tables(nodes), docvortex_tables(folder, [*gold, *prose])
    by_columns = node_tables(nodes, COLUMNS)
    ours = {**scores(found, gold), "false_per_60": per_60(by_columns, prose), "all_per_60": per_60(found, prose)}
    docvortex = {**scores(alone, gold), "false_per_60": 0.0, "all_per_60": per_60(alone, prose)}
    metrics = {f"tables.{key}": value for key, value in ours.items()}
    metrics |= {f"tables.docvortex.{key}": value for key, value in docvortex.items()}
    metrics |= {"tables.finder_pages_per_s": len(texts) / max(seconds, 1e-9)}
    boxes = sum(map(len, gold.values()))
    return metrics, [
        {"tables of": "ours", "gold boxes": boxes, "prose pages": len(prose), **ours},
        {"tables of": "docvortex alone", "gold boxes": boxes, "prose pages": len(prose), **docvortex},
    ]


def _finder(folder: Path, names: Sequence[str]) -> tuple[dict[Page, str], float]:
    """Return the text of every page, and the CPU seconds in which the column finder read and searched them all."""
    texts, seconds = {}, 0.0
    for name in names:
        document = open_pdf(folder / "pdf" / name)
        count = len(document)
        for index in range(count):
            page = read_page(document, index)
            texts[name, index + 1] = page.text
            started = time.process_time()
            page_tables(document, page, count)
            seconds += time.process_time() - started
        document.close()
    return texts, seconds
