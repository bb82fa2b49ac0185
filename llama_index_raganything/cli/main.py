"""The command line ``llama-index-raganything``: bring documents in, ask them, look after them."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import shtab

from llama_index_raganything import __version__
from llama_index_raganything.cli import options, output
from llama_index_raganything.cli.demo import add_demo_command
from llama_index_raganything.cli.graph import add_graph_commands
from llama_index_raganything.cli.tables import add_table_commands
from llama_index_raganything.errors import ConfigurationError, RAGAnythingError, SourceError

if TYPE_CHECKING:
    from llama_index.core.schema import BaseNode

_ENDS: Final = frozenset({"exit", "quit", "/exit", "/quit"})
"""Lines that end a chat."""

EXIT_CODES = (
    "Exit codes: 0 all went well; 1 an error, a path that does not exist, or nothing was added, found, answered or "
    "known; with --strict also when some files failed; 2 wrong usage; 130 interrupted."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; those of the process when None.

    Returns:
        What :data:`EXIT_CODES` says; 2 is raised by argparse.
    """
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO if arguments.verbose else logging.ERROR, format="%(message)s")
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        with _warnings_of_models():
            return run(arguments)
    except RAGAnythingError as error:
        _print_error(error, str(error), arguments)
        return 1
    except _errors_of_models() as error:
        _print_error(error, f"{_without_keys(_reason(error))} Check the model's name, address and key.", arguments)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again: it goes on where it stopped.", file=sys.stderr)
        return 130


def _print_error(error: Exception, message: str, arguments: argparse.Namespace) -> None:
    kind = type(error).__name__
    if arguments.json:
        output.print_json({"error": kind, "message": message})
    else:
        print(f"{kind}: {message}", file=sys.stderr)


def _errors_of_models() -> tuple[type[Exception], ...]:
    """Return what OpenAI's client raises, if it was imported; it serves every model that ``--llm`` names."""
    client = sys.modules.get("openai")
    return (client.OpenAIError,) if client is not None else ()


def _reason(error: Exception) -> str:
    """Return the message of OpenAI's client, with the address that it leaves out where no server answered."""
    url = error.request.url if isinstance(error, sys.modules["openai"].APIConnectionError) else None
    return f"{error} No answer from {url.scheme}://{url.netloc.decode()}." if url is not None else str(error)


def _without_keys(text: str) -> str:
    """Remove the keys of the environment from a message; some servers repeat them."""
    for name, value in os.environ.items():
        if name.endswith("_API_KEY") and len(value) > 5:
            text = text.replace(value, "***")
    return text


@contextmanager
def _warnings_of_models() -> Iterator[None]:
    """Show warnings about models, which decide about everything that follows."""
    names = ("models.defaults", "models.dashscope", "index.knowledge_base")
    loggers = [logging.getLogger(f"llama_index_raganything.{name}") for name in names]
    before = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(min(each.getEffectiveLevel(), logging.WARNING))
    try:
        yield
    finally:
        for each, level in zip(loggers, before, strict=True):
            each.setLevel(level)


def _parser() -> argparse.ArgumentParser:
    parser = options.HintingParser(
        prog="llama-index-raganything",
        description="Multimodal RAG on Milvus: ingest documents, search them, get answers that cite a box on a page.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_demo_command(commands)
    _add_ingest_command(commands)

    ask = options.add_command(
        commands,
        "ask",
        _ask,
        "answer a question with citations",
        "ask 'What was the revenue of Sweden in 2024?'",
        "ask 'Is this image known?' --attach curve.png",
    )
    ask.add_argument("question", type=options.question)
    ask.add_argument("--attach", action="append", default=[], metavar="FILE", help="image that the question is about")
    options.add_query_options(ask)

    text = "find the best passages, tables and images"
    search = options.add_command(commands, "search", _search, text, "search 'site layout' --filter content_type=image")
    search.add_argument("query", type=options.question)
    options.add_query_options(search)

    text = "talk about the documents, one message per line, until exit or the end of the input; needs a model (--llm)"
    options.add_query_options(options.add_command(commands, "chat", _chat, text, "chat --llm ollama:qwen3"))

    status = options.add_command(commands, "status", _status, "count documents and nodes", "status --documents")
    status.add_argument("--documents", action="store_true", help="list every document")

    text = "delete documents with every trace"
    delete = options.add_command(commands, "delete", _delete, text, "delete reports/old.pdf")
    delete.add_argument("documents", nargs="+", help="ids, paths, URLs or unique file names, as `status` lists them")

    add_table_commands(commands)
    add_graph_commands(commands)

    text = "write the nodes as JSON lines: id, text and metadata of each"
    export = options.add_command(commands, "export", _export, text, "export nodes.jsonl --filter content_type=table")
    export.add_argument("file", nargs="?", help="where to (default: standard output)")
    options.add_filter_option(export)

    completion = commands.add_parser("completion", help="print a script that lets a shell complete commands")
    completion.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)
    completion.set_defaults(run=_completion, json=False, verbose=False)
    return parser


def _add_ingest_command(commands: Any) -> None:
    ingest = options.add_command(
        commands,
        "ingest",
        _ingest,
        "bring files and folders in; unchanged ones are skipped",
        "ingest reports/ --workers 2",
        "ingest . --exclude 'drafts/**' --chunk-size 512",
        "ingest reports/ --sync --strict",
    )
    ingest.add_argument("paths", nargs="+", help="files and folders")
    ingest.add_argument("--sync", action="store_true", help="also delete documents that are gone from the folders")
    ingest.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out matching paths, as in a .gitignore: 'drafts/**', '*.bak'; may be repeated",
    )
    ingest.add_argument("--strict", action="store_true", help="exit with 1 when a file failed")
    ingest.add_argument(
        "--parser", default="auto", help="auto, docvortex, mineru, docling, paddleocr or a registered one"
    )
    ingest.add_argument(
        "--profile", default="standard", choices=["standard", "fast"], help="fast: text layer and pages only"
    )
    ingest.add_argument("--ocr", default="auto", choices=["auto", "off", "always"], help="when to recognise characters")
    ingest.add_argument("--chunk-size", type=int, metavar="N", help="tokens of a text chunk (default 256)")
    ingest.add_argument("--chunk-overlap", type=int, metavar="N", help="tokens that two chunks share (default 32)")
    ingest.add_argument("--allow-urls", action="store_true", help="allow http(s) URLs among the paths")
    ingest.add_argument("--workers", type=int, default=1, metavar="N", help="processes that parse (default 1)")
    ingest.add_argument("--no-progress", action="store_true", help="no progress bar")


def _completion(arguments: argparse.Namespace) -> int:
    print(shtab.complete(_parser(), shell=arguments.shell))
    return 0


def _ingest(arguments: argparse.Namespace) -> int:
    from llama_index_raganything.readers.reader import RAGAnythingReader

    reader = RAGAnythingReader(
        parser=arguments.parser, profile=arguments.profile, ocr=arguments.ocr, allow_urls=arguments.allow_urls
    )
    sizes = {"chunk_size": arguments.chunk_size, "chunk_overlap": arguments.chunk_overlap}
    with options.open_index(arguments, reader=reader, **sizes) as index:
        common = {
            "exclude": arguments.exclude,
            "show_progress": not (arguments.json or arguments.no_progress),
            "workers": arguments.workers,
        }
        if arguments.sync:
            reports = [index.sync(path, **common) for path in arguments.paths]
        else:
            reports = [index.add(arguments.paths, **common)]
    failures = [failure for report in reports for failure in report.failures]
    nothing = not any(report.succeeded or report.deleted for report in reports)
    if arguments.json:
        merged = [report.to_dict() for report in reports]
        output.print_json(merged[0] if len(merged) == 1 else merged)
    else:
        for report in reports:
            print(report)
        if nothing:
            print("Nothing was added.", file=sys.stderr)
        elif failures and arguments.strict:
            print(f"{len(failures)} failed with --strict.", file=sys.stderr)
    went_wrong = any(report.ended_early or report.not_found for report in reports)
    return 1 if nothing or went_wrong or (failures and arguments.strict) else 0


def _ask(arguments: argparse.Namespace) -> int:
    with options.open_index(arguments) as index:
        output.hint_if_empty(index, arguments)
        engine = index.as_query_engine(
            similarity_top_k=arguments.top_k, filters=options.parse_filters(arguments.filter)
        )
        response = engine.query(arguments.question, attachments=arguments.attach)
    if arguments.json:
        output.print_json(output.answer_fields(arguments.question, response))
    else:
        output.print_answer(response)
    return 0 if output.is_answered(response) else 1


def _search(arguments: argparse.Namespace) -> int:
    from llama_index_raganything.retrievers.evidence.candidates import DEFAULT_TOP_K

    with options.open_index(arguments) as index:
        output.hint_if_empty(index, arguments)
        top_k = DEFAULT_TOP_K if arguments.top_k is None else arguments.top_k
        retriever = index.as_retriever(similarity_top_k=top_k, filters=options.parse_filters(arguments.filter))
        results = retriever.retrieve(arguments.query)
    if arguments.json:
        output.print_json([output.result_fields(result) for result in results])
        return 0 if results else 1
    for rank, result in enumerate(results, start=1):
        print(f"{rank}. {output.place_of(result.node.metadata)}  score {result.get_score():.3f}")
        print(f"   {output.shorten(result.node.get_content())}")
        for link in output.links_of(result.node):
            print(f"   {link}")
    if not results:
        print("Nothing found.")
    return 0 if results else 1


def _chat(arguments: argparse.Namespace) -> int:
    with options.open_index(arguments) as index:
        output.hint_if_empty(index, arguments)
        engine = index.as_chat_engine(similarity_top_k=arguments.top_k, filters=options.parse_filters(arguments.filter))
        said = 0
        for message in _typed(prompts=not arguments.json and sys.stdin.isatty()):
            said += 1
            response: Any
            if arguments.json:
                response = engine.chat(message)
                output.print_json(output.answer_fields(message, response))
            else:
                response = engine.stream_chat(message)
                for piece in response.response_gen:
                    print(piece, end="", flush=True)
                print()
                output.print_citations(response)
    return 0 if said else 1


def _typed(*, prompts: bool) -> Iterator[str]:
    """Return what the user types, line by line."""
    while True:
        if prompts:
            print("> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line or line.strip().lower() in _ENDS:
            return
        if line.strip():
            yield line.strip()


def _status(arguments: argparse.Namespace) -> int:
    with options.open_index(arguments) as index:
        status = index.status()
        documents = index.documents() if arguments.documents or arguments.json else []
    if arguments.json:
        output.print_json(status | {"documents": [entry.model_dump(mode="json") for entry in documents]})
        return 0
    for key, value in status.items():
        shown = ", ".join(f"{count} {name}" for name, count in value.items()) if isinstance(value, dict) else value
        print(f"{key.replace('_', ' ').capitalize()}: {shown}")
    for entry in documents:
        reason = f"  {entry.error}" if entry.error else ""
        print(f"  {entry.doc_id}  {entry.state:8} {sum(entry.node_counts.values()):5} nodes  {entry.source}{reason}")
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    deleted: dict[str, bool] = {}
    errors: dict[str, str] = {}
    with options.open_index(arguments) as index:
        for document in arguments.documents:
            try:
                deleted[document] = index.delete(document)
            except ConfigurationError as error:  # Its file name is that of several; the others are still deleted.
                deleted[document], errors[document] = False, str(error)
    if arguments.json:
        output.print_json({"deleted": deleted, "errors": errors})
    else:
        for document, known in deleted.items():
            print(errors.get(document) or f"{'Deleted' if known else 'Not known'}: {document}")
    return 0 if all(deleted.values()) else 1


def _export(arguments: argparse.Namespace) -> int:
    with options.open_index(arguments) as index:
        output.hint_if_empty(index, arguments)
        nodes = index.store.get_nodes(filters=options.parse_filters(arguments.filter))
    ordered = sorted(nodes, key=lambda node: (str(node.metadata.get("source")), node.metadata.get("page") or 0))
    if not ordered:
        print("There is nothing to export.", file=sys.stderr)
        return 1
    if arguments.file is None:
        sys.stdout.writelines(_lines(ordered))
        return 0
    try:
        with Path(arguments.file).open("w", encoding="utf-8") as file:
            file.writelines(_lines(ordered))
    except OSError as error:
        message = f"{arguments.file!r} cannot be written ({error.strerror or error}); name a file in a folder that can."
        raise SourceError(message) from error
    print(f"{len(ordered)} nodes written to {arguments.file}", file=sys.stderr)
    return 0


def _lines(nodes: Iterable[BaseNode]) -> Iterable[str]:
    for node in nodes:
        fields = {"id": node.node_id, "text": node.get_content(), "metadata": node.metadata}
        yield json.dumps(fields, ensure_ascii=False, default=str) + "\n"
