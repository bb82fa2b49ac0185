"""``llama-index-raganything export``: the nodes of a knowledge base as JSON lines, for other programs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_index_raganything.cli.options import add_command, add_filter_option, open_index, parse_filters
from llama_index_raganything.cli.output import hint_if_empty
from llama_index_raganything.errors import SourceError

if TYPE_CHECKING:
    from llama_index.core.schema import BaseNode


def add_export_command(commands: Any) -> None:
    """Add ``export``.

    Args:
        commands: What ``add_subparsers`` returned.
    """
    export = add_command(commands, "export", _export, "write the nodes as JSON lines: id, text and metadata of each")
    export.add_argument("file", nargs="?", help="where to (default: standard output)")
    add_filter_option(export)


def _export(arguments: argparse.Namespace) -> int:
    with open_index(arguments) as index:
        hint_if_empty(index, arguments)
        nodes = index.store.get_nodes(filters=parse_filters(arguments.filter))
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
