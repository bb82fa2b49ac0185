"""``llama-index-raganything chat``: a conversation about the documents, with citations."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from llama_index_raganything.cli.options import add_command, add_query_options, open_index, parse_filters
from llama_index_raganything.cli.output import answer_fields, hint_if_empty, print_citations, print_json

if TYPE_CHECKING:
    from llama_index.core.chat_engine.types import BaseChatEngine

_ENDS: Final = frozenset({"exit", "quit", "/exit", "/quit"})


def add_chat_command(commands: Any) -> None:
    """Add ``chat``.

    Args:
        commands: What ``add_subparsers`` returned.
    """
    chat = add_command(
        commands,
        "chat",
        _chat,
        "talk about the documents, one line a message, until exit or the end of the input; it needs a model (--llm)",
    )
    add_query_options(chat)


def _chat(arguments: argparse.Namespace) -> int:
    with open_index(arguments) as index:
        hint_if_empty(index, arguments)
        engine = index.as_chat_engine(similarity_top_k=arguments.top_k, filters=parse_filters(arguments.filter))
        said = 0
        for message in _messages(prompts=not arguments.json and sys.stdin.isatty()):
            said += 1
            if arguments.json:
                response: Any = engine.chat(message)
                print_json(answer_fields(message, response))
            else:
                _answer(engine, message)
    return 0 if said else 1


def _messages(*, prompts: bool) -> Iterator[str]:
    """Return what the user types, line by line."""
    while True:
        if prompts:
            print("> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line or line.strip().lower() in _ENDS:
            return
        if line.strip():
            yield line.strip()


def _answer(engine: BaseChatEngine, message: str) -> None:
    """Print an answer while it is written, and then where its citations lead."""
    stream: Any = engine.stream_chat(message)
    for piece in stream.response_gen:
        print(piece, end="", flush=True)
    print()
    print_citations(stream)
