"""The options that commands share, and what they open and filter."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_index_raganything.config import RAGAnythingSettings
from llama_index_raganything.errors import FilterError

if TYPE_CHECKING:
    from llama_index.core.vector_stores import MetadataFilters

    from llama_index_raganything.index.index import RAGAnythingIndex


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """Add a command with the options that all have.

    Args:
        commands: What ``add_subparsers`` returned.
        name: The command; "demo" takes no knowledge base.
        run: What it does, returning the exit code.
        text: What it does, in words that begin small and end without a full stop.

    Returns:
        Its parser.
    """
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--verbose", action="store_true", help="log what is going on")
    if name != "demo":
        parser.add_argument("--uri", help="Milvus Lite folder or server (default: MILVUS_URI or ./milvus.db)")
        parser.add_argument("--collection", help="knowledge base (default: MILVUS_COLLECTION or rag_anything)")
        parser.add_argument("--working-dir", help="parse cache and assets (default: RAG_WORKING_DIR or ./rag_storage)")
        parser.add_argument("--tenant", help="see and write this tenant's documents only")
        add_model_options(parser, default="auto")
    return parser


def add_model_options(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the options that choose the models.

    Args:
        parser: The command's parser.
        default: The choice when nothing is said.
    """
    parser.add_argument(
        "--models",
        choices=["auto", "embedded", "dashscope"],
        default=default,
        help="auto: DashScope's where DASHSCOPE_API_KEY is set, else embedded; embedded: no key, no network; "
        f"dashscope: the models that .env names, which also describe images (default {default})",
    )
    names = "openai:MODEL, openai-like:MODEL@URL, ollama:MODEL or dashscope:MODEL"
    parser.add_argument("--llm", metavar="NAME", help=f"model that answers: {names} (default: RAG_LLM)")
    parser.add_argument("--vision-llm", metavar="NAME", help="model that looks at images (default: RAG_VISION_LLM)")
    parser.add_argument(
        "--embed",
        metavar="NAME",
        help="embedding model (default: RAG_EMBED). Keys come from OPENAI_API_KEY, RAG_LLM_API_KEY, RAG_EMBED_API_KEY",
    )
    parser.add_argument(
        "--env-file", help="read settings from this .env file as well (with --models dashscope: ./.env if it is there)"
    )


def add_query_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that search.

    Args:
        parser: The command's parser.
    """
    parser.add_argument(
        "--top-k",
        type=int,
        metavar="K",
        help="how many results (default: 10 to list, 5 to quote from, as many as a model reads to let it answer)",
    )
    add_filter_option(parser)


def add_filter_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--filter``.

    Args:
        parser: The command's parser.
    """
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only nodes whose metadata has this value, e.g. content_type=image or page=3; may be repeated",
    )


def read_settings(arguments: argparse.Namespace) -> RAGAnythingSettings:
    """Return the settings that a command runs with.

    No ``.env`` file is read unless it is named: one in a folder of somebody else's could send a key from the
    environment to an address of theirs. ``--models dashscope`` names ``./.env``, and says so.

    Args:
        arguments: Those of a command.

    Raises:
        ConfigurationError: The ``.env`` file does not exist or cannot be used.
    """
    env_file = arguments.env_file
    if not env_file and arguments.models == "dashscope" and Path(".env").is_file():
        env_file = ".env"
        print(f"Settings from {Path(env_file).resolve()}", file=sys.stderr)
    if not env_file:
        return RAGAnythingSettings()
    return RAGAnythingSettings.from_env_file(env_file)


def open_index(arguments: argparse.Namespace, **options: Any) -> RAGAnythingIndex:
    """Open the knowledge base that the arguments name.

    Args:
        arguments: Those of a command made by :func:`add_command`.
        **options: Further arguments of the index.

    Returns:
        The index, to be closed by the caller.
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
        arguments: Those of a command.
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
    if arguments.embed is not None:
        chosen["embed_model"] = named_embed_model(arguments.embed, settings)
    return chosen


def question(text: str) -> str:
    """Return a question that says something; for argparse.

    Args:
        text: What the user typed.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; ask something")
    return text


def parse_filters(pairs: Sequence[str]) -> MetadataFilters | None:
    """Return filters for ``KEY=VALUE`` pairs.

    Args:
        pairs: The pairs; whole numbers are compared as numbers.

    Returns:
        The filters, None without pairs.

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
    """Refuses unknown options, as argparse does, with the nearest known one of the same command."""

    def parse_known_args(  # type: ignore[override]  # argparse's stub has overloads for other namespaces.
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse arguments; commands ask this of their own parser, so that the hint is one of theirs.

        Args:
            args: The arguments.
            namespace: Takes the result.
        """
        parsed, unknown = super().parse_known_args(args, namespace)
        options = [option for action in self._actions for option in action.option_strings]
        flags = [each.partition("=")[0] for each in unknown if each.startswith("-")]
        nearest = {flag: near[0] for flag in flags if (near := difflib.get_close_matches(flag, options))}
        if nearest:
            hints = "; ".join(f"{flag}: did you mean {option}?" for flag, option in nearest.items())
            self.error(f"unrecognized arguments: {hints}")
        return parsed, unknown
