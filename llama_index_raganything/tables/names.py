"""Names for SQL from headers and captions of any script, usable without quotes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

MAX_NAME_CHARS: Final = 48

_NO_WORD = re.compile(r"[^\w]+")
_RESERVED: Final = frozenset({
    "all", "analyse", "analyze", "and", "anti", "any", "array", "as", "asc", "asof", "asymmetric", "at",
    "authorization", "between", "binary", "both", "by", "case", "cast", "check", "collate", "collation", "column",
    "columns", "concurrently", "constraint", "create", "cross", "current_catalog", "current_date", "current_role",
    "current_schema", "current_time", "current_timestamp", "current_user", "default", "deferrable", "desc",
    "describe", "distinct", "do", "else", "end", "except", "exists", "extract", "false", "fetch", "filter", "for",
    "freeze", "unpack",
    "foreign", "from", "full", "generated", "glob", "grant", "group", "grouping", "having", "if", "ilike", "in",
    "initially", "inner", "intersect", "into", "is", "isnull", "join", "lambda", "lateral", "leading", "left", "like",
    "limit", "localtime", "localtimestamp", "map", "natural", "not", "notnull", "null", "nulls", "of", "offset", "on",
    "only", "or", "order", "outer", "over", "overlaps", "pivot", "pivot_longer", "pivot_wider", "placing", "position",
    "positional", "primary", "qualify", "references", "returning", "right", "row", "rows", "sample", "select", "semi",
    "session_user", "set", "show", "similar", "some", "struct", "summarize", "symmetric", "table", "tables",
    "tablesample", "then", "to", "trailing", "true", "try_cast", "union", "unique", "unpivot", "unnest", "user",
    "using", "values", "variadic", "verbose", "when", "where", "window", "with", "within", "date", "time",
    "timestamp", "interval",
})  # fmt: skip
"""Words that DuckDB reserves, or that read as something else when they stand bare."""


def slug(text: str, limit: int = MAX_NAME_CHARS) -> str:
    """Return letters and digits of a text, lower case, joined by underscores.

    Args:
        text: Any text; letters of all scripts stay.
        limit: Characters at most, cut at a word's end where possible.

    Returns:
        The name, empty when the text has no letters or digits. It may begin with a digit or be a reserved word.
    """
    folded = unicodedata.normalize("NFKC", text[: 4 * limit]).casefold()
    words = [word for word in _NO_WORD.sub("_", folded).split("_") if word]
    name = ""
    for word in words:
        longer = f"{name}_{word}" if name else word[:limit]
        if len(longer) > limit:
            break
        name = longer
    return name


def column_names(headers: Iterable[str]) -> list[str]:
    """Return an SQL name for each column, unique in the table without regard to case.

    Args:
        headers: The headers, any may be empty.

    Returns:
        Names: an empty first header becomes ``item``, another ``column_3``; a name that begins with a digit gets an
        underscore before it, a reserved word one behind it, a repeated one a number.
    """
    names: list[str] = []
    used: set[str] = set()
    for number, header in enumerate(headers, start=1):
        symbols = header.replace("%", " pct ").replace("#", " number ")
        name = slug(symbols) or ("item" if number == 1 else f"column_{number}")
        if name[0].isdigit():
            name = f"_{name}"
        if name in _RESERVED:
            name = f"{name}_"
        unique, repeat = name, 1
        while unique in used:
            repeat += 1
            unique = f"{name}_{repeat}"
        used.add(unique)
        names.append(unique)
    return names
