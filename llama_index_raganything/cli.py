"""The command line: ``llama-index-raganything demo | ingest | ask | search | status | delete``."""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_index_raganything import __version__
from llama_index_raganything.config import RAGAnythingSettings
from llama_index_raganything.errors import ConfigurationError, FilterError, IngestionError, RAGAnythingError

if TYPE_CHECKING:
    from llama_index.core.base.response.schema import RESPONSE_TYPE
    from llama_index.core.schema import NodeWithScore
    from llama_index.core.vector_stores import MetadataFilters

    from llama_index_raganything.index import RAGAnythingIndex

DEMO_QUESTIONS = (
    "Does Milvus support simultaneous insertion and search? Give a short answer.",
    "What are the key components of the Milvus architecture?",
    "What was the revenue of Sweden in 2024?",
    "Which figure shows the layout of the Skagen site?",
    "How many yaw motors are on hand?",
    "How often are the brake pads inspected?",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; those of the process when None.

    Returns:
        0 when all went well, 1 when something failed, 2 for wrong usage (raised by argparse).
    """
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO if arguments.verbose else logging.ERROR, format="%(message)s")
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except RAGAnythingError as error:
        if arguments.json:
            _print_json({"error": type(error).__name__, "message": str(error)})
        else:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again: it goes on where it stopped.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llama-index-raganything",
        description="Multimodal RAG on Milvus: ingest documents, search them, get answers that cite a box on a page.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = _command(commands, "demo", _demo, "parse the bundled documents and answer questions about them")
    demo.add_argument("--keep", action="store_true", help="keep the demo's data in ./demo_storage")

    ingest = _command(commands, "ingest", _ingest, "bring files and folders in; unchanged ones are skipped")
    ingest.add_argument("paths", nargs="+", help="files and folders")
    ingest.add_argument("--sync", action="store_true", help="also delete documents that are gone from the folders")
    ingest.add_argument("--strict", action="store_true", help="exit with 1 when a file failed")
    ingest.add_argument(
        "--parser", default="auto", help="auto, docvortex, mineru, docling, paddleocr or a registered one"
    )
    ingest.add_argument(
        "--profile", default="standard", choices=["standard", "fast"], help="fast: text layer and pages only"
    )
    ingest.add_argument("--ocr", default="auto", choices=["auto", "off", "always"], help="when to recognise characters")
    ingest.add_argument("--allow-urls", action="store_true", help="allow http(s) URLs among the paths")
    ingest.add_argument("--num-workers", type=int, default=1, metavar="N", help="processes that parse (default 1)")
    ingest.add_argument("--no-progress", action="store_true", help="no progress bar")

    ask = _command(commands, "ask", _ask, "answer a question with citations")
    ask.add_argument("question")
    _add_query_options(ask)

    search = _command(commands, "search", _search, "find the best passages, tables and figures")
    search.add_argument("query")
    _add_query_options(search)

    status = _command(commands, "status", _status, "list the documents and count the nodes")
    status.add_argument("--documents", action="store_true", help="list every document")

    delete = _command(commands, "delete", _delete, "delete documents with every trace")
    delete.add_argument("documents", nargs="+", help="ids, paths or URLs as `status --documents` lists them")
    return parser


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--verbose", action="store_true", help="log what is going on")
    if name != "demo":
        parser.add_argument("--uri", help="Milvus Lite folder or server (default: MILVUS_URI or ./milvus.db)")
        parser.add_argument("--collection", help="knowledge base (default: MILVUS_COLLECTION or rag_anything)")
        parser.add_argument("--working-dir", help="parse cache and assets (default: RAG_WORKING_DIR or ./rag_storage)")
        parser.add_argument("--tenant", help="see and write this tenant's documents only")
        parser.add_argument("--env-file", help="read settings from this .env file as well")
    return parser


def _add_query_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--top-k", type=int, default=5, metavar="K", help="how many results (default 5)")
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only nodes whose metadata has this value, e.g. content_type=image or page=3; may be repeated",
    )


def _settings(arguments: argparse.Namespace) -> RAGAnythingSettings:
    env_file = arguments.env_file
    if not env_file:
        return RAGAnythingSettings()
    if not Path(env_file).is_file():
        message = f"--env-file {env_file!r} is not a file; check the path, or leave it out."
        raise ConfigurationError(message)
    return RAGAnythingSettings.from_env_file(env_file)


def _open(arguments: argparse.Namespace, **reader_options: Any) -> RAGAnythingIndex:
    from llama_index_raganything.index import RAGAnythingIndex

    return RAGAnythingIndex(
        uri=arguments.uri,
        collection=arguments.collection,
        working_dir=arguments.working_dir,
        tenant=arguments.tenant,
        settings=_settings(arguments),
        **reader_options,
    )


def _demo(arguments: argparse.Namespace) -> int:
    if arguments.keep:
        return _run_demo(Path("demo_storage"), as_json=arguments.json)
    with tempfile.TemporaryDirectory(prefix="raganything-demo-") as folder:
        return _run_demo(Path(folder), as_json=arguments.json)


def _run_demo(folder: Path, *, as_json: bool) -> int:
    from llama_index_raganything.index import RAGAnythingIndex

    started = time.perf_counter()
    documents = Path(str(files("llama_index_raganything") / "demo_files"))
    with RAGAnythingIndex(uri=str(folder / "milvus.db"), working_dir=folder / "rag_storage") as index:
        report = index.add(documents, show_progress=not as_json)
        engine = index.as_query_engine()
        answers = [(question, engine.query(question)) for question in DEMO_QUESTIONS]
    seconds = time.perf_counter() - started
    if as_json:
        _print_json(
            {
                "report": report.to_dict(),
                "answers": [_answer(question, response) for question, response in answers],
                "seconds": round(seconds, 2),
            }
        )
        return 1 if report.failures else 0
    print(f"\n{report}\n")
    for question, response in answers:
        print(f"Q: {question}")
        _print_answer(response)
        print()
    print(f"{len(answers)} answers, {seconds:.1f} s in all, no key, no download.")
    return 1 if report.failures else 0


def _ingest(arguments: argparse.Namespace) -> int:
    options = {"parser": arguments.parser, "profile": arguments.profile, "ocr": arguments.ocr}
    with _open(arguments, reader_options={**options, "allow_urls": arguments.allow_urls}) as index:
        common = {
            "show_progress": not (arguments.json or arguments.no_progress),
            "num_workers": arguments.num_workers,
        }
        if arguments.sync:
            reports = [index.sync(path, **common) for path in arguments.paths]
        else:
            reports = [index.add(arguments.paths, **common)]
    if arguments.json:
        merged = [report.to_dict() for report in reports]
        _print_json(merged[0] if len(merged) == 1 else merged)
    else:
        for report in reports:
            print(report)
    failures = [failure for report in reports for failure in report.failures]
    if failures and arguments.strict and not arguments.json:
        print(IngestionError(f"{len(failures)} failed with --strict.").message, file=sys.stderr)
    return 1 if failures and arguments.strict else 0


def _ask(arguments: argparse.Namespace) -> int:
    with _open(arguments) as index:
        _hint_if_empty(index)
        engine = index.as_query_engine(similarity_top_k=arguments.top_k, filters=_filters(arguments.filter))
        response = engine.query(arguments.question)
    if arguments.json:
        _print_json(_answer(arguments.question, response))
    else:
        _print_answer(response)
    return 0


def _search(arguments: argparse.Namespace) -> int:
    with _open(arguments) as index:
        _hint_if_empty(index)
        retriever = index.as_retriever(similarity_top_k=arguments.top_k, filters=_filters(arguments.filter))
        results = retriever.retrieve(arguments.query)
    if arguments.json:
        _print_json([_result(result) for result in results])
        return 0
    for rank, result in enumerate(results, start=1):
        print(f"{rank}. {_place(result.node.metadata)}  score {result.get_score():.3f}")
        print(f"   {_shorten(result.node.get_content())}")
    if not results:
        print("Nothing found.")
    return 0


def _hint_if_empty(index: RAGAnythingIndex) -> None:
    """Tell a mistyped ``--uri`` or ``--collection`` from a question without an answer."""
    if not index.documents():
        status = index.status()
        place = f"{status['collection']!r} at {status['uri']}"
        print(f"The knowledge base {place} is empty; bring files in with `ingest`.", file=sys.stderr)


def _status(arguments: argparse.Namespace) -> int:
    with _open(arguments) as index:
        status = index.status()
        documents = index.documents() if arguments.documents or arguments.json else []
    if arguments.json:
        _print_json(status | {"documents": [entry.model_dump(mode="json") for entry in documents]})
        return 0
    for key, value in status.items():
        shown = ", ".join(f"{count} {name}" for name, count in value.items()) if isinstance(value, dict) else value
        print(f"{key.replace('_', ' ').capitalize()}: {shown}")
    for entry in documents:
        reason = f"  {entry.error}" if entry.error else ""
        print(f"  {entry.doc_id}  {entry.state:8} {sum(entry.node_counts.values()):5} nodes  {entry.source}{reason}")
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    with _open(arguments) as index:
        deleted = {document: index.delete(document) for document in arguments.documents}
    if arguments.json:
        _print_json({"deleted": deleted})
    else:
        for document, known in deleted.items():
            print(f"{'Deleted' if known else 'Not known'}: {document}")
    return 0 if all(deleted.values()) else 1


def _filters(pairs: Sequence[str]) -> MetadataFilters | None:
    from llama_index.core.vector_stores import MetadataFilter, MetadataFilters

    filters = []
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            message = f"--filter {pair!r} is not KEY=VALUE; for example --filter content_type=table."
            raise FilterError(message)
        filters.append(MetadataFilter(key=key, value=int(value) if re.fullmatch(r"-?[0-9]+", value) else value))
    return MetadataFilters(filters=list(filters)) if filters else None


def _answer(question: str, response: RESPONSE_TYPE) -> dict[str, Any]:
    metadata = response.metadata or {}
    return {"question": question, "answer": str(response), "citations": metadata.get("citations", [])}


def _print_answer(response: RESPONSE_TYPE) -> None:
    print(f"A: {response}")
    for citation in (response.metadata or {}).get("citations", []):
        print(f"   [{citation['n']}] {_place(citation)}")


def _result(result: NodeWithScore) -> dict[str, Any]:
    node = result.node
    return {"node_id": node.node_id, "score": result.score, "text": node.get_content(), "metadata": node.metadata}


def _place(metadata: dict[str, Any]) -> str:
    """Say where something stands: file, page, box, label, section."""
    box = metadata.get("bbox")
    parts = [
        str(metadata.get("file_name") or metadata.get("source") or metadata.get("doc_id") or "?"),
        _page(metadata),
        f"box {box if isinstance(box, str) else json.dumps(box)}" if box else "",
        str(metadata.get("content_type") or ""),
        str(metadata.get("label") or ""),
        f"in {metadata['section']!r}" if metadata.get("section") else "",
    ]
    return ", ".join(part for part in parts if part)


def _page(metadata: dict[str, Any]) -> str:
    """Say which page, with the label printed on it where that is another."""
    page, label = metadata.get("page"), metadata.get("page_label")
    if not page:
        return ""
    return f"page {page} ({label})" if label and label != str(page) else f"page {page}"


def _shorten(text: str, limit: int = 200) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))
