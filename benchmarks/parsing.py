r"""Recall of the expected words, table cells and headings of documents, by format.

``DIR`` holds one folder per format (or files), each document next to ``<file>.expected.md``.
Systems: ``ours`` (no prefix in the metric names) and ``docvortex`` alone. All text counts: captions,
cells, page texts. A word is ``\w+`` after NFKC and casefold; recall is that of multisets. Pages repeat
the words of their elements, so our text is counted per word as the larger of the two, never as their sum.
"""

from __future__ import annotations

import argparse
import html
import re
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks._harness import Result, mean, run
from llama_index_raganything.elements import Element

PDF_FORMATS = frozenset({"pdf", "ocr"})
IMAGE_FORMATS = frozenset({"webp", "png", "jpg", "jpeg", "tiff", "image"})
MEASURES = ("word_recall", "cell_recall", "heading_recall")

_WORD = re.compile(r"\w+")
_IMAGE_LINK = re.compile(r"!\[([^\]]*)\]\([^)]*\)")
_LINK_TARGET = re.compile(r"\]\([^)]*\)")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_TAG = re.compile(r"</?[a-zA-Z][^>]*>")
_DELIMITER_ROW = re.compile(r"^\s*\|?[\s|:\-]+\|?\s*$")
_HEADING = re.compile(r"^#{1,6}\s+(.*)$", re.MULTILINE)
_CELL_SPLIT = re.compile(r"(?<!\\)\|")


def clean_markdown(text: str) -> str:
    """Return Markdown without comments, tags, entities, escapes and link targets."""
    text = _COMMENT.sub(" ", text)
    text = _LINK_TARGET.sub("] ", _IMAGE_LINK.sub(r"\1", text))
    text = html.unescape(html.unescape(_TAG.sub(" ", text)))
    return re.sub(r"\\([\\`*_{}\[\]()#+\-.!|<>~])", r"\1", text)


def words(text: str) -> Counter[str]:
    """Return the multiset of words of a text; underscores do not join or make words."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("_", " ")
    return Counter(_WORD.findall(folded))


def recall(expected: Counter[str], found: Counter[str]) -> float:
    """Return the share of the expected multiset that was found; 1 when nothing was expected."""
    total = sum(expected.values())
    return 1.0 if not total else sum((expected & found).values()) / total


def expected_cells(markdown: str) -> Counter[str]:
    """Return the non-empty cells of all pipe tables."""
    cells: Counter[str] = Counter()
    for line in markdown.splitlines():
        stripped = line.strip()
        if stripped.startswith("|") and not _DELIMITER_ROW.match(stripped):
            cells.update(_key(clean_markdown(cell)) for cell in _CELL_SPLIT.split(stripped.strip("|")))
    cells.pop("", None)
    return cells


def expected_headings(markdown: str) -> Counter[str]:
    """Return all headings."""
    headings = Counter(_key(clean_markdown(match)) for match in _HEADING.findall(markdown))
    headings.pop("", None)
    return headings


def _key(text: str) -> str:
    """Return what makes two cells or headings equal: their letters and digits in order."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("_", " ")
    return "".join(_WORD.findall(folded))


def element_texts(elements: Iterable[Element]) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Return words, cells and headings found in elements."""
    body: list[str] = []
    pages: list[str] = []
    cells: Counter[str] = Counter()
    headings: Counter[str] = Counter()
    for element in elements:
        (pages if element.type == "page" else body).append(element.text)
        body += [element.caption, element.footnote]
        # A title above a sheet's table is a caption here and a table of one cell in the reference.
        cells.update([_key(element.caption)] if element.caption else [])
        if element.type == "heading":
            headings[_key(element.text)] += 1
        for row in element.rows or []:
            cells.update(_key(cell) for cell in row)
            if not element.text:
                body.extend(row)
    return words("\n".join(body)) | words("\n".join(pages)), cells, headings


def ours(path: Path) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Read a file with the reader of this package."""
    from llama_index_raganything import RAGAnythingReader
    from llama_index_raganything.documents.packing import document_elements

    with tempfile.TemporaryDirectory() as folder:
        documents = RAGAnythingReader(working_dir=folder, cache=False).load_data(str(path))
    return element_texts(element for document in documents for element in document_elements(document))


def docvortex_alone(path: Path) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Read a file with docvortex as it is, all blocks counted."""
    import docvortex
    from loguru import logger

    logger.disable("docvortex")
    dump = docvortex.parse(path).middle_json.model_dump(mode="json")
    texts: list[str] = []
    headings: Counter[str] = Counter()
    _collect(dump["pages"], texts, headings)
    joined = "\n".join(texts)
    cells = Counter(_key(clean_markdown(cell)) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", joined, re.DOTALL))
    return words(clean_markdown(joined)), cells, headings


def _collect(value: Any, texts: list[str], headings: Counter[str]) -> None:
    """Gather every string under a ``content`` key of docvortex' result."""
    if isinstance(value, list):
        for item in value:
            _collect(item, texts, headings)
    elif isinstance(value, dict):
        content = value.get("content")
        if isinstance(content, str):
            texts.append(content)
        inner: list[str] = []
        for key, item in value.items():
            if isinstance(item, (list, dict)):
                _collect(item, inner, headings)
            elif key == "html" and isinstance(item, str):
                inner.append(item)
        if str(value.get("type", "")).endswith("_title"):
            headings[_key(" ".join(inner) if not isinstance(content, str) else content)] += 1
        texts.extend(inner)


SYSTEMS = {"": ours, "docvortex.": docvortex_alone}


def score(path: Path, expected: str, system: Any) -> dict[str, Any]:
    """Measure one system on one file; a file that fails scores zero."""
    wanted = {
        "word_recall": words(clean_markdown(expected)),
        "cell_recall": expected_cells(expected),
        "heading_recall": expected_headings(expected),
    }
    started = time.perf_counter()
    error = ""
    try:
        found = system(path)
    except Exception as failure:  # noqa: BLE001 - a peer may raise anything; a failure is a score of zero.
        found, error = (Counter(), Counter(), Counter()), f"{type(failure).__name__}: {failure}"[:200]
    row: dict[str, Any] = {"seconds": round(time.perf_counter() - started, 3)}
    for (measure, multiset), texts in zip(wanted.items(), found, strict=True):
        row[measure] = recall(multiset, texts) if multiset or measure == "word_recall" else None
    row["missing"] = " ".join((wanted["word_recall"] - found[0]).elements())[:2000]
    if error:
        row["error"] = error
    return row


def format_of(path: Path) -> str:
    """Return the suffix without its dot."""
    return path.suffix.lower().lstrip(".")


def main(args: argparse.Namespace) -> Result:
    """Measure every system on every file that has an expected text."""
    result = Result()
    paths = [Path(str(expected).removesuffix(".expected.md")) for expected in sorted(args.dir.rglob("*.expected.md"))]
    paths = [path for path in paths if path.is_file() and (not args.only or format_of(path) in args.only.split(","))]
    for path in paths[: args.limit]:
        expected = Path(f"{path}.expected.md").read_text(encoding="utf-8")
        for prefix, system in SYSTEMS.items():
            row = score(path, expected, system)
            identity = {"system": prefix.rstrip(".") or "ours", "format": format_of(path), "file": path.name}
            result.rows.append(identity | row)
    for prefix in SYSTEMS:
        result.metrics |= _means(prefix, [r for r in result.rows if r["system"] == (prefix.rstrip(".") or "ours")])
    files = [{key: row.get(key) for key in ("format", "file", *MEASURES, "seconds")} for row in result.rows]
    missing = [{"file": r["file"], "missing": (r.get("error") or r["missing"])[:300]} for r in result.rows]
    ours_only = [index for index, row in enumerate(result.rows) if row["system"] == "ours"]
    result.tables.append(("ours, by file", [files[index] for index in ours_only]))
    if args.missing:
        result.tables.append(
            ("ours, missing words", [missing[index] for index in ours_only if missing[index]["missing"]])
        )
    return result


def _means(prefix: str, rows: list[dict[str, Any]]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    groups = {name: [r for r in rows if r["format"] == name] for name in sorted({r["format"] for r in rows})}
    special = PDF_FORMATS | IMAGE_FORMATS
    groups["mean_office_web"] = [r for r in rows if r["format"] not in special]
    groups["mean_pdf"] = [r for r in rows if r["format"] in PDF_FORMATS]
    groups["mean"] = rows
    for measure in MEASURES:
        for name, group in groups.items():
            values = [r[measure] for r in group if r[measure] is not None]
            if values:
                metrics[f"{prefix}{measure}.{name}"] = mean(values)
    return metrics


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", default="", help="formats to measure, such as docx,html")
    parser.add_argument("--missing", action="store_true", help="print the words that were not found")


if __name__ == "__main__":
    raise SystemExit(run("parsing", __doc__, main, add_arguments=_add_arguments))
