"""Filter expressions of Milvus: their pieces, and LlamaIndex's metadata filters translated.

Filters mean what llama-index-core says they mean.

What ``llama_index.core.vector_stores.utils.build_metadata_filter_fn`` says holds here on every backend:

* A key that is missing, or None, matches only NE, NIN and IS_EMPTY.
* IN [] and ANY [] match nothing, NIN [] everything, ALL [] every row that has the key.
* CONTAINS, ANY and ALL look into lists, and into strings as substrings. TEXT_MATCH is a substring.
* NOT matches when none of its filters does. A group without filters is no restriction.

Beyond core: groups may be nested, and keys may lead into nested values (``size.width``, ``tags[0]``).
A comparison of values of different types never matches, not even under NOT.

Values are escaped, keys must be plain names: no string from a caller can change the shape of an expression.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from llama_index_raganything.errors import FilterError

PRIMARY_KEY: Final = "id"

# Not every backend takes the constants true and false; the primary key is never empty.
EVERYTHING: Final = f'({PRIMARY_KEY} != "")'
NOTHING: Final = f'({PRIMARY_KEY} == "")'

INT64_LIMIT: Final = 2**63

_STRING: Final = re.compile(r"""\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'""", re.DOTALL)

COLUMNS: Final[Mapping[str, str]] = {
    "doc_id": "doc_id",
    "ref_doc_id": "doc_id",
    "document_id": "doc_id",
    "content_type": "content_type",
    "page": "page",
}
"""Filter keys that are columns of their own; every other key lives in the dynamic field."""

RESERVED: Final = frozenset({"text", "embedding", "sparse_embedding", "tenant"})
"""Names of columns that hold no metadata."""

LITERAL_FIELD: Final = "_literal"
LOWER_FIELD: Final = "_lower"

_NUMBER_COLUMNS: Final = frozenset({"page"})
_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PATH: Final = re.compile(
    r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*|\[(?:\d{1,6}|\"[A-Za-z_][A-Za-z0-9_]*\")\])*"
)
_SEGMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|\d+")
_MAX_DEPTH: Final = 50


# LIKE has no escape on Milvus Lite, so its three special characters are stored and searched as these.
_WILDCARDS: Final = str.maketrans({"%": "\ue025", "_": "\ue05f", "\\": "\ue05c"})

# Words of the expression language, which cannot be used as a bare field name.
_WORDS: Final = frozenset(
    [
        *("and", "or", "not", "in", "like", "is", "null", "exists", "true", "false", "interval", "iso"),
        *("array_contains", "array_contains_any", "array_contains_all", "array_length"),
        *("json_contains", "json_contains_any", "json_contains_all"),
        *("text_match", "phrase_match", "random_sample"),
    ]
)


def compile_filters(filters: MetadataFilters | None, encode_id: Callable[[str], str] = str) -> str:
    """Translate filters into an expression.

    Args:
        filters: Filters of a query, a retrieval or a deletion.
        encode_id: Turns a node id into a primary key.

    Returns:
        The expression, or an empty string when everything matches.

    Raises:
        FilterError: A key or a value cannot be expressed safely.
    """
    if filters is None:
        return ""
    expression = _group(filters, encode_id, 0)
    return "" if expression == EVERYTHING else expression


def shadows(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the copies of metadata strings that substring filters need.

    Returns:
        At most two dictionaries: strings without LIKE's wildcards, and the same in lower case, each only
        for the strings that are changed by it.
    """
    copies = {
        LITERAL_FIELD: _changed(metadata, _without_wildcards),
        LOWER_FIELD: _changed(metadata, lambda text: _without_wildcards(text.lower())),
    }
    return {name: copy for name, copy in copies.items() if copy}


def is_filterable(key: str) -> bool:
    """Return whether a metadata key can be named in a filter.

    Args:
        key: Metadata key at the top level.

    Returns:
        False for keys that are no plain names or that name a column of another kind.
    """
    return _KEY.fullmatch(key) is not None and key not in RESERVED and not key.startswith("_")


def _without_wildcards(text: str) -> str:
    return text.translate(_WILDCARDS)


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        changed = change(value)
        return changed if changed != value else None
    if isinstance(value, Mapping):
        copies = {key: _changed(item, change) for key, item in value.items()}
        return {key: copy for key, copy in copies.items() if copy is not None} or None
    return None


def _group(filters: MetadataFilters, encode_id: Callable[[str], str], depth: int) -> str:
    if depth > _MAX_DEPTH:
        message = f"Filters are nested deeper than {_MAX_DEPTH} levels; flatten them."
        raise FilterError(message)
    parts = [
        _group(part, encode_id, depth + 1) if isinstance(part, MetadataFilters) else _leaf(part, encode_id)
        for part in filters.filters
    ]
    if not parts:
        return EVERYTHING
    condition = filters.condition or FilterCondition.AND
    if condition == FilterCondition.AND:
        return _join(" and ", parts)
    if condition == FilterCondition.OR:
        return _join(" or ", parts)
    return f"(not {_join(' or ', parts)})"


def _join(word: str, parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else "(" + word.join(f"({part})" for part in parts) + ")"


def _leaf(part: MetadataFilter, encode_id: Callable[[str], str]) -> str:
    if part.key == PRIMARY_KEY:
        return _identity(part, encode_id)
    field = _Field.of(part)
    if part.operator == FilterOperator.IS_EMPTY:
        return field.empty()
    if part.value is None:
        # Core: nothing equals None, and everything differs from it.
        return EVERYTHING if part.operator in (FilterOperator.NE, FilterOperator.NIN) else NOTHING
    build = _OPERATORS.get(part.operator)
    if build is None:
        message = f"Filter operator {part.operator!r} is not supported."
        raise FilterError(message)
    return build(field, part.value)


def _identity(part: MetadataFilter, encode_id: Callable[[str], str]) -> str:
    listed = part.value if isinstance(part.value, list) else [part.value]
    if part.operator in (FilterOperator.EQ, FilterOperator.IN):
        return any_of(PRIMARY_KEY, [encode_id(str(value)) for value in listed])
    if part.operator in (FilterOperator.NE, FilterOperator.NIN):
        return f"(not {any_of(PRIMARY_KEY, [encode_id(str(value)) for value in listed])})"
    message = f"Filter key 'id' is the node id; it takes ==, !=, in and nin, not {part.operator.value!r}."
    raise FilterError(message)


@dataclass(frozen=True, slots=True)
class _Field:
    """A metadata key in an expression: a typed column, or a path into the dynamic field."""

    key: str
    path: tuple[str | int, ...]
    column: str | None

    @classmethod
    def of(cls, part: MetadataFilter) -> _Field:
        path = _parse(part.key)
        name = str(path[0])
        column = COLUMNS.get(name) if len(path) == 1 else None
        if name in RESERVED or name.startswith("_"):
            message = f"Filter key {part.key!r} is a reserved name and holds no metadata."
            raise FilterError(message)
        if column is None and name in COLUMNS:
            path = (overflow_name(COLUMNS[name]), *path[1:])
        if column is not None and not _fits(column, part):
            path, column = (overflow_name(column),), None
        return cls(part.key, path, column)

    @property
    def value(self) -> str:
        """The expression of the value itself."""
        return self.column if self.column is not None else _dynamic(self.path)

    @property
    def known(self) -> str:
        """The expression that says the row has this key."""
        if self.column is None:
            # In its own brackets: Milvus 2.3 takes `exists a and b` for `exists (a and b)`.
            return f"(exists {self.value})"
        return f"({self.column} >= 0)" if self.column in _NUMBER_COLUMNS else f'({self.column} != "")'

    @property
    def bare(self) -> str:
        """The field's plain name, which json_contains demands."""
        if self.column is None and len(self.path) == 1 and str(self.path[0]).lower() not in _WORDS:
            return str(self.path[0])
        message = f"Filter key {self.key!r}: lists can be searched only under a plain top-level key."
        raise FilterError(message)

    def when_known(self, condition: str) -> str:
        """The expression that is true or false, never unknown, also for rows without the key."""
        return f"({self.known} and ({condition}))"

    def empty(self) -> str:
        """The expression that is true where the value is missing, None, empty text or an empty list."""
        if self.column is None:
            return f'((not {self.known}) or ({self.value} == ""))'
        other = _dynamic((overflow_name(self.column),))
        return f'((not {self.known}) and ((not (exists {other})) or ({other} == "")))'

    def like(self, text: str, *, fold: bool) -> str:
        """The expression that is true where the value is a string that has a substring."""
        plain = _without_wildcards(text.lower() if fold else text)
        pattern = quote(f"%{plain}%")
        shadow = _dynamic((LOWER_FIELD if fold else LITERAL_FIELD, *((self.column,) if self.column else self.path)))
        return f"(({self.value} like {pattern}) or ((exists {shadow}) and ({shadow} like {pattern})))"


def overflow_name(column: str) -> str:
    """Return the dynamic key of values that do not have their column's type.

    Returns:
        The key.
    """
    return f"_{column}"


def _parse(key: str) -> tuple[str | int, ...]:
    if not _PATH.fullmatch(key):
        message = (
            f"Filter key {key!r} is not a plain name. Use letters, digits and underscores, "
            "and dots or [0] for nested values; rename the metadata key if need be."
        )
        raise FilterError(message)
    return tuple(int(part) if part.isdigit() else part for part in _SEGMENT.findall(key))


def _dynamic(path: Sequence[str | int]) -> str:
    return "$meta" + "".join(f"[{part}]" if isinstance(part, int) else f'["{part}"]' for part in path)


def _fits(column: str, part: MetadataFilter) -> bool:
    """Say whether a filter asks for values of the column's own type."""
    values = part.value if isinstance(part.value, list) else [part.value]
    kind: tuple[type, ...] = (int, float) if column in _NUMBER_COLUMNS else (str,)
    if part.operator in _TEXT_OPERATORS and column in _NUMBER_COLUMNS:
        return False
    return all(value is None or isinstance(value, kind) for value in values)


def _equal(field: _Field, value: Any) -> str:
    if isinstance(value, list):
        message = f"Filter on {field.key!r} compares with the list {value!r}; use IN, ANY or ALL."
        raise FilterError(message)
    if field.column is None and not isinstance(value, (str, bool)) and value in (0, 1):
        # Metadata filters cannot hold booleans, and in Python True == 1.
        return f"(({field.value} == {literal(value)}) or ({field.value} == {literal(bool(value))}))"
    if field.column in _NUMBER_COLUMNS:
        return f"{field.column} == {int(value)}" if _is_whole(value) else NOTHING
    return f"{field.value} == {literal(value)}"


def _is_whole(value: float) -> bool:
    return float(value).is_integer() and -INT64_LIMIT < value < INT64_LIMIT


def _compare(word: str) -> Callable[[_Field, Any], str]:
    # An integer column takes integers only: greater than 2.5 is greater than 2, and less than 2.5 less than 3.
    whole = math.floor if word in (">", "<=") else math.ceil

    def build(field: _Field, value: Any) -> str:
        if field.column in _NUMBER_COLUMNS and isinstance(value, float) and math.isfinite(value):
            value = whole(value)
        return field.when_known(f"{field.value} {word} {literal(value)}")

    return build


def _is(field: _Field, value: Any) -> str:
    return field.when_known(_equal(field, value))


def _is_in(field: _Field, value: Any) -> str:
    values = _list(field, value)
    if not values:
        return NOTHING
    if field.column is not None:
        return field.when_known(f"{field.column} in [{', '.join(map(literal, _of_column(field.column, values)))}]")
    # Not `in`: Milvus Lite takes no path there, and fails on rows whose value is a list.
    return field.when_known(_join(" or ", [_equal(field, item) for item in values]))


def _contains(field: _Field, value: Any) -> str:
    if isinstance(value, list):
        message = f"Filter on {field.key!r} asks whether it contains the list {value!r}; use ANY or ALL."
        raise FilterError(message)
    return field.when_known(_has(field, [value], "any"))


def _contains_any(field: _Field, value: Any) -> str:
    values = _list(field, value)
    return field.when_known(_has(field, values, "any")) if values else NOTHING


def _contains_all(field: _Field, value: Any) -> str:
    values = _list(field, value)
    return field.when_known(_has(field, values, "all")) if values else f"({field.known})"


def _has(field: _Field, values: Sequence[Any], mode: str) -> str:
    """Membership in a list, or substring of a string, of any or all of the values."""
    parts = []
    if field.column is None:
        parts.append(f"json_contains_{mode}({field.bare}, [{', '.join(map(literal, values))}])")
    if all(isinstance(value, str) for value in values):
        parts.append(_join(" or " if mode == "any" else " and ", [field.like(value, fold=False) for value in values]))
    return _join(" or ", parts) if parts else NOTHING


def _text_match(*, fold: bool) -> Callable[[_Field, Any], str]:
    def build(field: _Field, value: Any) -> str:
        if not isinstance(value, str):
            message = f"Filter on {field.key!r}: a text match needs a string, not {value!r}."
            raise FilterError(message)
        return field.when_known(field.like(value, fold=fold))

    return build


def _list(field: _Field, value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    message = f"Filter on {field.key!r} needs a list of values, not {value!r}."
    raise FilterError(message)


def _of_column(column: str, values: Sequence[Any]) -> list[Any]:
    """Make a list fit a column: Milvus wants integers only in a list for an integer column."""
    if column not in _NUMBER_COLUMNS:
        return list(values)
    whole = [int(value) for value in values if _is_whole(value)]
    return whole or [-2]


def _negated(build: Callable[[_Field, Any], str]) -> Callable[[_Field, Any], str]:
    return lambda field, value: f"(not {build(field, value)})"


_TEXT_OPERATORS: Final = frozenset(
    {
        FilterOperator.TEXT_MATCH,
        FilterOperator.TEXT_MATCH_INSENSITIVE,
        FilterOperator.CONTAINS,
        FilterOperator.ANY,
        FilterOperator.ALL,
    }
)

_OPERATORS: Final[Mapping[FilterOperator, Callable[[_Field, Any], str]]] = {
    FilterOperator.EQ: _is,
    FilterOperator.NE: _negated(_is),
    FilterOperator.GT: _compare(">"),
    FilterOperator.GTE: _compare(">="),
    FilterOperator.LT: _compare("<"),
    FilterOperator.LTE: _compare("<="),
    FilterOperator.IN: _is_in,
    FilterOperator.NIN: _negated(_is_in),
    FilterOperator.CONTAINS: _contains,
    FilterOperator.ANY: _contains_any,
    FilterOperator.ALL: _contains_all,
    FilterOperator.TEXT_MATCH: _text_match(fold=False),
    FilterOperator.TEXT_MATCH_INSENSITIVE: _text_match(fold=True),
}


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
    """Return an expression that is true where a string column has any of the given values.

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
