"""Arguments of an index that cannot work, refused before anything is opened."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from llama_index.core.node_parser import NodeParser
from llama_index.core.schema import TransformComponent

from llama_index_raganything._arguments import argument_names, refuse_unknown
from llama_index_raganything.errors import ConfigurationError


def check_options(name: str, options: Mapping[str, Any] | None, target: type, own: Collection[str]) -> None:
    """Refuse a dictionary of options that the class which they are for would refuse later.

    Args:
        name: The argument that holds them.
        target: The class that takes them. It is made once here, so that wrong values are told early too.
        own: Arguments of that class that the index gives it.

    Raises:
        UnknownArgumentError: The class does not know one of them.
        ConfigurationError: One of them is the index's to give.
    """
    if not options:
        return
    refuse_unknown(name, options, argument_names(target))
    doubled = sorted(set(own).intersection(options))
    if doubled:
        message = f"{name} holds {', '.join(doubled)}, which the index sets from its own arguments."
        raise ConfigurationError(message)
    target(**options)


def refuse_beside(name: str, others: Mapping[str, object], reason: str) -> None:
    """Refuse arguments that would have no effect beside another one.

    Args:
        name: The argument that rules the others out.
        others: The others by name; None, False and nothing are not given.
        reason: What makes them useless.

    Raises:
        ConfigurationError: One of them was given.
    """
    given = [other for other, value in others.items() if value not in (None, False, {})]
    if given:
        message = f"{name} and {', '.join(given)} were both given; {reason}."
        raise ConfigurationError(message)


def refuse_node_parsers(transformations: Iterable[TransformComponent]) -> None:
    """Refuse a node parser among the transformations, which LlamaIndex takes for the one that splits documents.

    Args:
        transformations: What runs on the nodes of each document.

    Raises:
        ConfigurationError: One of them is a node parser: it would split nodes again.
    """
    for each in transformations:
        if isinstance(each, NodeParser):
            message = f"{type(each).__name__} in transformations would split nodes again; pass it as node_parser=."
            raise ConfigurationError(message)
