"""How fast documents come in, and what everything after the parse costs.

DIR is a folder of PDFs (searched recursively). Each system runs in a process of its own, over the same files, into
a fresh Milvus Lite folder: ``ours`` (default profile, one process), ``ours_2_processes``, and, over the PDFs that
have a text layer, ``fast`` (``profile="fast"``) against ``handwired``: pypdf, SentenceSplitter, the same embedding
model and LlamaIndex's own MilvusVectorStore.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pypdfium2

from benchmarks._harness import Result, run

MIN_TEXT_CHARS = 200
"""A page with fewer characters has no usable text layer."""


def ingest_ours(files: list[Path], profile: str, workers: int) -> dict[str, Any]:
    """Ingest with this package and report its own stages."""
    from llama_index_raganything import RAGAnythingIndex, RAGAnythingReader

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with RAGAnythingIndex(
            uri=f"{folder}/milvus.db", working_dir=folder, reader=RAGAnythingReader(profile=profile)
        ) as index:
            opened = time.perf_counter()
            report = index.add(files, workers=workers)
            seconds = time.perf_counter() - opened
    return {
        "seconds": seconds,
        "open_seconds": opened - started,
        "nodes": sum(report.nodes.values()),
        "failed": len(report.failures),
        "peak_mb": _peak_mb(),
        "stages": dict(report.seconds),
    }


def ingest_handwired(files: list[Path]) -> dict[str, Any]:
    """Ingest as a LlamaIndex tutorial does: pypdf pages, SentenceSplitter, MilvusVectorStore."""
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.core.schema import Document
    from llama_index.vector_stores.milvus import MilvusVectorStore
    from pypdf import PdfReader

    from llama_index_raganything import WordLlamaEmbedding

    embed_model = WordLlamaEmbedding()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        store = MilvusVectorStore(
            uri=f"{folder}/milvus.db", dim=embed_model.dimension, overwrite=True, use_async_client=False
        )
        opened = time.perf_counter()
        pages = [
            Document(text=page.extract_text(), metadata={"file_name": path.name, "page": number})
            for path in files
            for number, page in enumerate(PdfReader(path).pages, start=1)
        ]
        nodes = SentenceSplitter().get_nodes_from_documents(pages)
        vectors = embed_model.get_text_embedding_batch([node.get_content() for node in nodes])
        for node, vector in zip(nodes, vectors, strict=True):
            node.embedding = vector
        store.add(nodes)
        seconds = time.perf_counter() - opened
    return {
        "seconds": seconds,
        "open_seconds": opened - started,
        "nodes": len(nodes),
        "failed": 0,
        "peak_mb": _peak_mb(),
        "stages": {},
    }


def main(args: argparse.Namespace) -> Result:
    """Run every system over the folder."""
    files = sorted(path for path in args.dir.rglob("*.pdf") if path.is_file())[: args.limit]
    counted = {path: _pages(path) for path in files}
    text_files = [path for path, (pages, with_text) in counted.items() if with_text >= pages]
    pages = sum(total for total, _ in counted.values())
    text_pages = sum(counted[path][0] for path in text_files)
    ours = _in_process(ingest_ours, files, "standard", 1)
    two = _in_process(ingest_ours, files, "standard", 2)
    fast = _in_process(ingest_ours, text_files, "fast", 1)
    handwired = _in_process(ingest_handwired, text_files)
    stages = ours["stages"]
    after = sum(stages.get(stage, 0.0) for stage in ("hash", "split", "enrich", "embed", "write"))
    systems = [
        ("ours", ours, pages),
        ("ours_2_processes", two, pages),
        ("fast", fast, text_pages),
        ("handwired", handwired, text_pages),
    ]
    rows = [
        {"system": name, "pages": count, "pages_per_s": count / measured["seconds"], **measured}
        for name, measured, count in systems
    ]
    metrics = {
        "files": len(files),
        "pages": pages,
        "pages_per_s": pages / ours["seconds"],
        "overhead_ratio": after / stages["parse"],
        "speedup_2_processes": ours["seconds"] / two["seconds"],
        "peak_mb": ours["peak_mb"],
        "fast.pages_per_s": text_pages / fast["seconds"],
        "fast.peak_mb": fast["peak_mb"],
        "handwired.pages_per_s": text_pages / handwired["seconds"],
        "handwired.peak_mb": handwired["peak_mb"],
        "fast_vs_handwired": handwired["seconds"] / fast["seconds"],
    }
    shown = [{key: value for key, value in row.items() if key != "stages"} for row in rows]
    stage_rows = [{"stage": stage, "seconds": seconds} for stage, seconds in stages.items()]
    return Result(metrics=metrics, rows=rows, tables=[("systems", list(shown)), ("ours, by stage", list(stage_rows))])


def _in_process(function: Any, *arguments: Any) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        result: dict[str, Any] = pool.submit(function, *arguments).result()
        return result


def _pages(path: Path) -> tuple[int, int]:
    """Return the number of pages and of those that have a text layer."""
    document = pypdfium2.PdfDocument(path)
    try:
        lengths = [len(page.get_textpage().get_text_range().strip()) for page in document]
    finally:
        document.close()
    # Dividers and blank pages have little text in any document; one in ten is no scan.
    enough = sum(length >= MIN_TEXT_CHARS for length in lengths) + len(lengths) // 10
    return len(lengths), enough


def _peak_mb() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(own, children) / 1024


if __name__ == "__main__":
    raise SystemExit(run("ingest", __doc__, main))
