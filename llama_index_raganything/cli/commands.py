"""The command line ``llama-index-raganything`` and its commands that look after documents and ask them."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import shtab

from llama_index_raganything import __version__
from llama_index_raganything.cli.chat import add_chat_command
from llama_index_raganything.cli.demo import add_demo_command
from llama_index_raganything.cli.export import add_export_command
from llama_index_raganything.cli.graph import add_graph_commands
from llama_index_raganything.cli.options import (
    HintingParser,
    add_command,
    add_query_options,
    open_index,
    parse_filters,
    question,
)
from llama_index_raganything.cli.output import (
    answer_fields,
    hint_if_empty,
    is_answered,
    links_of,
    place_of,
    print_answer,
    print_json,
    result_fields,
    shorten,
)
from llama_index_raganything.cli.tables import add_table_commands
from llama_index_raganything.errors import ConfigurationError, RAGAnythingError

EXIT_CODES = (
    "Exit codes: 0 all went well; 1 an error, a path that does not exist, or nothing came in, was found, answered or "
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
        with _telling_of_models():
            return run(arguments)
    except RAGAnythingError as error:
        if arguments.json:
            print_json({"error": type(error).__name__, "message": str(error)})
        else:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except _errors_of_models() as error:
        kind, message = type(error).__name__, f"{_without_keys(_told(error))} Check the model's name, address and key."
        if arguments.json:
            print_json({"error": kind, "message": message})
        else:
            print(f"{kind}: {message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again: it goes on where it stopped.", file=sys.stderr)
        return 130


def _errors_of_models() -> tuple[type[Exception], ...]:
    """Return what OpenAI's client raises, if it was imported: it answers for every model that ``--llm`` names."""
    client = sys.modules.get("openai")
    return (client.OpenAIError,) if client is not None else ()


def _told(error: Exception) -> str:
    """Return what OpenAI's client says; where it reached no server it does not say which, so that is added."""
    url = error.request.url if isinstance(error, sys.modules["openai"].APIConnectionError) else None
    return f"{error} No answer from {url.scheme}://{url.netloc.decode()}." if url is not None else str(error)


def _without_keys(text: str) -> str:
    """Return what a server says without the keys of the environment, which some servers repeat."""
    for name, value in os.environ.items():
        if name.endswith("_API_KEY") and len(value) > 5:
            text = text.replace(value, "***")
    return text


@contextmanager
def _telling_of_models() -> Iterator[None]:
    """Show warnings about models: what was put right, is not used or does not fit decides about all that follows."""
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
    parser = HintingParser(
        prog="llama-index-raganything",
        description="Multimodal RAG on Milvus: ingest documents, search them, get answers that cite a box on a page.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add_demo_command(commands)

    ingest = add_command(commands, "ingest", _ingest, "bring files and folders in; unchanged ones are skipped")
    ingest.add_argument("paths", nargs="+", help="files and folders")
    ingest.add_argument("--sync", action="store_true", help="also delete documents that are gone from the folders")
    ingest.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out what fits, as in a .gitignore: 'drafts/**', '*.bak'; may be repeated",
    )
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

    ask = add_command(commands, "ask", _ask, "answer a question with citations")
    ask.add_argument("question", type=question)
    ask.add_argument(
        "--attach", action="append", default=[], metavar="FILE", help="an image that the question is about"
    )
    add_query_options(ask)

    search = add_command(commands, "search", _search, "find the best passages, tables and figures")
    search.add_argument("query", type=question)
    add_query_options(search)

    add_chat_command(commands)

    status = add_command(commands, "status", _status, "list the documents and count the nodes")
    status.add_argument("--documents", action="store_true", help="list every document")

    delete = add_command(commands, "delete", _delete, "delete documents with every trace")
    delete.add_argument("documents", nargs="+", help="ids, paths, URLs or unique file names as `status` lists them")

    add_table_commands(commands)
    add_graph_commands(commands)
    add_export_command(commands)
    completion = commands.add_parser("completion", help="print a script by which a shell completes commands")
    completion.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)
    completion.set_defaults(run=_completion, json=False, verbose=False)
    return parser


def _completion(arguments: argparse.Namespace) -> int:
    print(shtab.complete(_parser(), shell=arguments.shell))
    return 0


def _ingest(arguments: argparse.Namespace) -> int:
    options = {"parser": arguments.parser, "profile": arguments.profile, "ocr": arguments.ocr}
    with open_index(arguments, reader_options={**options, "allow_urls": arguments.allow_urls}) as index:
        common = {
            "exclude": arguments.exclude,
            "show_progress": not (arguments.json or arguments.no_progress),
            "num_workers": arguments.num_workers,
        }
        if arguments.sync:
            reports = [index.sync(path, **common) for path in arguments.paths]
        else:
            reports = [index.add(arguments.paths, **common)]
    if arguments.json:
        merged = [report.to_dict() for report in reports]
        print_json(merged[0] if len(merged) == 1 else merged)
    else:
        for report in reports:
            print(report)
    failures = [failure for report in reports for failure in report.failures]
    nothing = not any(report.succeeded or report.deleted for report in reports)
    if not arguments.json:
        if nothing:
            print("Nothing came in.", file=sys.stderr)
        elif failures and arguments.strict:
            print(f"{len(failures)} failed with --strict.", file=sys.stderr)
    went_wrong = any(report.ended_early or report.not_found for report in reports)
    return 1 if nothing or went_wrong or (failures and arguments.strict) else 0


def _ask(arguments: argparse.Namespace) -> int:
    with open_index(arguments) as index:
        hint_if_empty(index, arguments)
        engine = index.as_query_engine(similarity_top_k=arguments.top_k, filters=parse_filters(arguments.filter))
        response = engine.query(arguments.question, attachments=arguments.attach)
    if arguments.json:
        print_json(answer_fields(arguments.question, response))
    else:
        print_answer(response)
    return 0 if is_answered(response) else 1


def _search(arguments: argparse.Namespace) -> int:
    from llama_index_raganything.retrievers.evidence.candidates import DEFAULT_TOP_K

    with open_index(arguments) as index:
        hint_if_empty(index, arguments)
        top_k = DEFAULT_TOP_K if arguments.top_k is None else arguments.top_k
        retriever = index.as_retriever(similarity_top_k=top_k, filters=parse_filters(arguments.filter))
        results = retriever.retrieve(arguments.query)
    if arguments.json:
        print_json([result_fields(result) for result in results])
        return 0 if results else 1
    for rank, result in enumerate(results, start=1):
        print(f"{rank}. {place_of(result.node.metadata)}  score {result.get_score():.3f}")
        print(f"   {shorten(result.node.get_content())}")
        for link in links_of(result.node):
            print(f"   {link}")
    if not results:
        print("Nothing found.")
    return 0 if results else 1


def _status(arguments: argparse.Namespace) -> int:
    with open_index(arguments) as index:
        status = index.status()
        documents = index.documents() if arguments.documents or arguments.json else []
    if arguments.json:
        print_json(status | {"documents": [entry.model_dump(mode="json") for entry in documents]})
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
    with open_index(arguments) as index:
        for document in arguments.documents:
            try:
                deleted[document] = index.delete(document)
            except ConfigurationError as error:  # Its file name is that of several; the others are still deleted.
                deleted[document], errors[document] = False, str(error)
    if arguments.json:
        print_json({"deleted": deleted, "errors": errors})
    else:
        for document, known in deleted.items():
            print(errors.get(document) or f"{'Deleted' if known else 'Not known'}: {document}")
    return 0 if all(deleted.values()) else 1
