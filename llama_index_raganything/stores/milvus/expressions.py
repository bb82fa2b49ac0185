"""The pieces of Milvus's expression language: literals, lists, conjunctions. Everything is escaped here."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Final

from llama_index_raganything.errors import FilterError

PRIMARY_KEY: Final = "id"

# Not every backend takes the constants true and false; the primary key is never empty.
EVERYTHING: Final = f'({PRIMARY_KEY} != "")'
NOTHING: Final = f'({PRIMARY_KEY} == "")'

INT64_LIMIT: Final = 2**63

_STRING: Final = re.compile(r"""\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'""", re.DOTALL)


def quote(text: str) -> str:
    r"""Return a string as a literal of Milvus's expression language.

    Returns:
        The literal with its quotes. ``json.dumps`` would not do: Milvus knows no ``\uXXXX``.

    Raises:
        FilterError: The text holds lone surrogates, which UTF-8 cannot express.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        message = f"Filter value {text!r} is not valid Unicode; remove its lone surrogates."
        raise FilterError(message) from error
    for raw, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(raw, escaped)
    return f'"{text}"'


def literal(value: Any) -> str:
    """Return a scalar as a literal of Milvus's expression language.

    Args:
        value: A string, bool, int or float.

    Returns:
        The literal.

    Raises:
        FilterError: The value is no scalar, not finite, or beyond 64 bits.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, int) and -INT64_LIMIT < value < INT64_LIMIT:
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    message = f"Filter value {value!r} is not a string, a finite number or a boolean."
    raise FilterError(message)


def any_of(column: str, values: Sequence[str]) -> str:
    """Return an expression that is true where a string column has one of some values.

    Args:
        column: Name of a declared column; trusted, never from a caller.
        values: The values; none of them matches nothing.

    Returns:
        The expression.
    """
    if not values:
        return NOTHING
    return f"{column} in [{', '.join(quote(str(value)) for value in values)}]"


def all_of(*expressions: str) -> str:
    """Return expressions joined by ``and``; empty ones are left out.

    Returns:
        The expression, or an empty string when there is no restriction.
    """
    kept = [expression for expression in expressions if expression and expression != EVERYTHING]
    return " and ".join(f"({expression})" for expression in kept) if len(kept) > 1 else "".join(kept)


def check_expression(expression: str) -> str:
    """Refuse an expression that could reach out of the brackets it is put into.

    Args:
        expression: An expression of the caller's own.

    Returns:
        The expression.

    Raises:
        FilterError: Its brackets or quotes are not balanced.
    """
    depth = 0
    for bracket in _STRING.sub("", expression):
        depth += {"(": 1, ")": -1}.get(bracket, 0)
        if depth < 0 or bracket in "\"'":
            break
    else:
        if depth == 0:
            return expression
    message = f"The expression {expression!r} has brackets or quotes that are not closed."
    raise FilterError(message)
