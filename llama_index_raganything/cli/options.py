"""Options that commands share, and the index, models and filters that they stand for."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from llama_index_raganything.errors import FilterError
from llama_index_raganything.settings import Models, RAGAnythingSettings, names_provider

if TYPE_CHECKING:
    from llama_index.core.vector_stores import MetadataFilters

    from llama_index_raganything.index.index import RAGAnythingIndex


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str, *examples: str
) -> argparse.ArgumentParser:
    """Add a command with the options that all commands have.

    Args:
        commands: What ``add_subparsers`` returned.
        name: The command; "demo" takes no knowledge base.
        run: What it does, returning the exit code.
        text: What it does, in words that begin in lower case and end without a full stop.
        *examples: Command lines without the program's name, shown below the help.
    """
    lines = [f"  llama-index-raganything {example}" for example in examples]
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog="\n".join(["examples:", *lines]) if lines else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--verbose", action="store_true", help="log progress")
    if name != "demo":
        parser.add_argument("--uri", help="Milvus Lite folder or server (default: MILVUS_URI or ./milvus.db)")
        parser.add_argument("--collection", help="knowledge base (default: MILVUS_COLLECTION or rag_anything)")
        parser.add_argument("--working-dir", help="caches, images, tables (default: RAG_WORKING_DIR or ./rag_storage)")
        parser.add_argument("--tenant", help="read and write this tenant's documents only")
        add_model_options(parser, default="auto")
    return parser


def add_model_options(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the options that choose the models.

    Args:
        default: The default of ``--models``.
    """
    parser.add_argument(
        "--models",
        choices=get_args(Models),
        default=default,
        help="auto: DashScope's where DASHSCOPE_API_KEY is set, else embedded; embedded: no key, no network; "
        f"dashscope: the models that .env names, which also describe images (default {default})",
    )
    names = "openai:MODEL, openai-like:MODEL@URL, ollama:MODEL or dashscope:MODEL"
    parser.add_argument("--llm", metavar="NAME", help=f"model that answers: {names} (default: RAG_LLM)")
    parser.add_argument("--vision-llm", metavar="NAME", help="model that looks at images (default: RAG_VISION_LLM)")
    parser.add_argument(
        "--embed-model",
        metavar="NAME",
        help="embedding model (default: RAG_EMBED). Keys come from OPENAI_API_KEY, RAG_LLM_API_KEY, RAG_EMBED_API_KEY",
    )
    parser.add_argument(
        "--env-file", help="read settings from this .env file as well (with --models dashscope: ./.env if it is there)"
    )


def add_query_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that search."""
    parser.add_argument(
        "--top-k",
        type=int,
        metavar="K",
        help="number of results (default: 10 to list, 5 to quote from, as many as fit for a model that answers)",
    )
    add_filter_option(parser)


def add_filter_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--filter``."""
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only nodes whose metadata has this value, e.g. content_type=image or page=3; may be repeated",
    )


def read_settings(arguments: argparse.Namespace) -> RAGAnythingSettings:
    """Return the settings that a command runs with.

    No ``.env`` file is read unless it is named: a file in somebody else's folder could send a key from the environment
    to their address. ``--models PROVIDER`` reads ``./.env``, and says so.

    Raises:
        ConfigurationError: The ``.env`` file does not exist or cannot be used.
    """
    env_file = arguments.env_file
    if not env_file and names_provider(arguments.models) and Path(".env").is_file():
        env_file = ".env"
        print(f"Settings from {Path(env_file).resolve()}", file=sys.stderr)
    if not env_file:
        return RAGAnythingSettings()
    return RAGAnythingSettings.from_env_file(env_file)


def open_index(arguments: argparse.Namespace, **options: Any) -> RAGAnythingIndex:
    """Open the knowledge base that the arguments of a command name; the caller closes it.

    Args:
        **options: Further arguments of the index.
    """
    from llama_index_raganything.index.index import RAGAnythingIndex

    settings = read_settings(arguments)
    return RAGAnythingIndex(
        uri=arguments.uri,
        collection=arguments.collection,
        working_dir=arguments.working_dir,
        tenant=arguments.tenant,
        models=arguments.models,
        settings=settings,
        **named_models(arguments, settings),
        **options,
    )


def named_models(arguments: argparse.Namespace, settings: RAGAnythingSettings) -> dict[str, Any]:
    """Return the models that the arguments name, as arguments of the index.

    Args:
        settings: Where their keys come from.

    Raises:
        ConfigurationError: A name cannot be used.
        MissingDependencyError: The extra ``[openai]`` is not installed.
    """
    from llama_index_raganything.models.defaults import named_embed_model, named_llm

    chosen: dict[str, Any] = {}
    if arguments.llm is not None:
        chosen["llm"] = named_llm(arguments.llm, settings)
    if arguments.vision_llm is not None:
        chosen["vision_llm"] = named_llm(arguments.vision_llm, settings, supports_images=True)
    if arguments.embed_model is not None:
        chosen["embed_model"] = named_embed_model(arguments.embed_model, settings)
    return chosen


def question(text: str) -> str:
    """Return a question that is not empty; for argparse."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; ask something")
    return text


def parse_filters(pairs: Sequence[str]) -> MetadataFilters | None:
    """Return filters for ``KEY=VALUE`` pairs; whole numbers are compared as numbers.

    Raises:
        FilterError: A pair has no key or no "=".
    """
    from llama_index_raganything.stores.metadata_filters import all_of, equal_to

    filters = []
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            message = f"--filter {pair!r} is not KEY=VALUE; for example --filter content_type=table."
            raise FilterError(message)
        filters.append(equal_to(key, int(value) if re.fullmatch(r"-?[0-9]+", value) else value))
    return all_of(*filters)


class HintingParser(argparse.ArgumentParser):
    """Refuses unknown options with the nearest known one of the same command."""

    def parse_known_args(  # type: ignore[override]  # argparse's stub has overloads for other namespaces.
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse arguments; commands call this on their own parser, so that the hint is one of their options."""
        parsed, unknown = super().parse_known_args(args, namespace)
        options = [option for action in self._actions for option in action.option_strings]
        flags = [each.partition("=")[0] for each in unknown if each.startswith("-")]
        nearest = {flag: near[0] for flag in flags if (near := difflib.get_close_matches(flag, options))}
        if nearest:
            hints = "; ".join(f"{flag}: did you mean {option}?" for flag, option in nearest.items())
            self.error(f"unrecognized arguments: {hints}")
        return parsed, unknown
