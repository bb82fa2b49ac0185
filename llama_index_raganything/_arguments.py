"""Unknown arguments are refused, with the nearest known name.

Python refuses them only where nothing takes ``**kwargs``, and pydantic's models ignore them by default, so a misspelt
``tenant=`` would open a store without one. :func:`strict_arguments` decorates classes and functions; what passes
``**kwargs`` on says where with :func:`options_of`, or calls :func:`refuse_unknown` before it does anything else.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, TypeVar, cast

from pydantic import ValidationError
from wrapt import FunctionWrapper

from llama_index_raganything.errors import ConfigurationError, UnknownArgumentError

_LISTED: Final = 15
"""Maximum number of known names in a message."""

_SHOWN: Final = 60
"""Maximum number of characters of an unknown name in a message."""

_ALIKE: Final = 0.7
"""Similarity (difflib) above which a known name is suggested."""

_MISSPELT: Final = 0.85
"""Similarity above which a name counts as misspelt where unknown names may pass."""

_SERIALIZED_KEY: Final = "class_name"
"""Added by LlamaIndex to the fields of a serialised component; constructors accept it."""

ELSEWHERE: Final[dict[str, dict[str, str]]] = {}
"""Where arguments belong that a class does not take itself, by the names of the class and of the argument."""

_Target = TypeVar("_Target", bound=Callable[..., Any])
_Function = TypeVar("_Function", bound=Callable[..., Any])


def check_positive(owner: object, *names: str) -> None:
    """Refuse arguments, kept as attributes, that are below 1.

    Raises:
        ConfigurationError: One of them is.
    """
    for name in names:
        if getattr(owner, name) < 1:
            message = f"{name} must be 1 or more, not {getattr(owner, name)}."
            raise ConfigurationError(message)


def check_types(arguments: Mapping[str, Any], kinds: Mapping[str, tuple[Any, str]]) -> None:
    """Refuse arguments of a wrong type; None counts as not given.

    Args:
        kinds: The type of each argument (a tuple of types for one of them, a list of one type for several values),
            and in words "what it must be; what to give".

    Raises:
        ConfigurationError: One of them has another type.
    """
    for name, (kind, words) in kinds.items():
        value = arguments.get(name)
        if value is not None and not _has_type(value, kind):
            wanted, _, remedy = words.partition("; ")
            message = f"{name} must be {wanted}, not {_shown(value)}; {remedy}."
            raise ConfigurationError(message)


def _has_type(value: Any, kind: Any) -> bool:
    if isinstance(kind, tuple):
        return any(_has_type(value, each) for each in kind)
    if isinstance(kind, list):
        return isinstance(value, list | tuple | set) and all(isinstance(each, kind[0]) for each in value)
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def _shown(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__} itself"
    name = type(value).__name__
    shown = f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
    if isinstance(value, list | tuple) and value:
        return f"{shown} of {', '.join(dict.fromkeys(type(each).__name__ for each in value))}"
    return f"{shown} ({value!r:.{_SHOWN}})" if isinstance(value, str | int) else shown


def refuse_unknown(owner: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse arguments that are not known.

    Args:
        owner: Whose arguments they are, such as ``MilvusNodeStore`` or ``lightrag_options``.

    Raises:
        UnknownArgumentError: A given name is not known; the message has the nearest ones that are.
    """
    unknown = [name for name in given if name not in known]
    if unknown:
        names = sorted(name for name in known if not name.startswith("__") and name != _SERIALIZED_KEY)
        message = f"{owner} does not know {'; '.join(_hint(owner, name, names) for name in unknown)}"
        raise UnknownArgumentError(message)


def refuse_misspelt(owner: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse arguments that look like known ones, where others may be meant for someone else.

    A pipeline of LlamaIndex hands the same arguments to all its transformations.

    Raises:
        UnknownArgumentError: A given name is misspelt.
    """
    refuse_unknown(owner, [name for name in given if difflib.get_close_matches(name, known, cutoff=_MISSPELT)], known)


def _hint(owner: str, name: str, names: list[str]) -> str:
    if place := ELSEWHERE.get(owner.partition(".")[0], {}).get(name):
        return f"{name}: it belongs to {place}."
    shown = name if len(name) <= _SHOWN and name.isidentifier() else repr(name[:_SHOWN])
    # To difflib, top_k is not like similarity_top_k, and mode is more like modes than like chat_mode.
    near = [each for each in names if each.endswith(f"_{name}")]
    near = near or [each for each in names if name in {f"{each}s", each.removesuffix("s")}]
    near = (near or [each for each in names if f"_{name}_" in f"_{each}_"])[:2]
    alike = _ALIKE if len(name) > 3 else 0.66  # One letter of three may be wrong.
    near = near or difflib.get_close_matches(name, names, n=2, cutoff=alike)
    if near:
        return f"{shown}: did you mean {' or '.join(near)}?"
    public = [each for each in names if not each.startswith("_")]
    more = f" and {len(public) - _LISTED} more" if len(public) > _LISTED else ""
    return f"{shown}: it takes {', '.join(public[:_LISTED]) or 'no arguments'}{more}."


def options_of(
    *targets: Callable[..., Any], also: Iterable[str] = (), without: Iterable[str] = ()
) -> Callable[[_Function], _Function]:
    """Say which arguments a function's ``**kwargs`` are, so that :func:`strict_arguments` refuses all others.

    Args:
        *targets: Functions, methods and classes that the ``**kwargs`` are passed on to.
        also: Further names.
        without: Names that only the function itself passes on.
    """
    names = argument_names(*targets).union(also).difference(without)

    def mark(function: _Function) -> _Function:
        function.__option_names__ = names  # type: ignore[attr-defined]  # Functions take any attribute.
        return function

    return mark


def argument_names(*targets: Callable[..., Any]) -> frozenset[str]:
    """Return the keywords that functions, methods and classes take, with those that :func:`options_of` names.

    The ``**kwargs`` of a constructor count as those of the base class, which is where they go.
    """
    return frozenset().union(
        *(
            _constructor_names(each, each)
            if isinstance(each, type)
            else _keywords(each) | getattr(each, "__option_names__", frozenset())
            for each in targets
        )
    )


@functools.lru_cache(maxsize=1024)
def _constructor_names(cls: type, first: type) -> frozenset[str]:
    """Return what the constructor takes that ``first``, a class among the ancestors of ``cls``, defines."""
    names: set[str] = set()
    goes_on = True
    for owner in cls.__mro__[cls.__mro__.index(first) :]:
        if goes_on and "__init__" in vars(owner):
            names |= _keywords(vars(owner)["__init__"])
            goes_on = _is_open(vars(owner)["__init__"])
    if goes_on:
        names |= _field_names(cls)
    return frozenset(names)


def _field_names(cls: type) -> set[str]:
    """Return what pydantic takes for the fields of a model."""
    names: set[str] = set()
    config = getattr(cls, "model_config", {})
    for name, field in getattr(cls, "__pydantic_fields__", {}).items():
        aliases = _spellings(field.alias) | _spellings(field.validation_alias)
        by_name = not aliases or config.get("populate_by_name") or config.get("validate_by_name")
        names |= aliases | ({name} if by_name else set())
    return names | ({_SERIALIZED_KEY} if hasattr(cls, _SERIALIZED_KEY) else set())


def _spellings(alias: object) -> set[str]:
    """Return the keywords that an alias of pydantic stands for."""
    each = getattr(alias, "choices", [alias])  # Those of AliasChoices; a path into a value begins with its keyword.
    return {first for name in each if isinstance(first := getattr(name, "path", [name])[0], str)}


def _keywords(function: Callable[..., Any]) -> frozenset[str]:
    """Return the names by which a function takes its arguments."""
    parameters = inspect.signature(inspect.unwrap(function)).parameters.values()
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return frozenset(each.name for each in parameters if each.kind in by_name) - {"self", "cls"}


def _is_open(function: Callable[..., Any]) -> bool:
    """Return whether a function takes ``**kwargs``; the builtin ones of ``object`` do."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is None or bool(code.co_flags & inspect.CO_VARKEYWORDS)


def strict_arguments(target: _Target) -> _Target:
    """Make a class, or a function, refuse arguments that it does not know with :class:`UnknownArgumentError`.

    Of a class, this is the constructor (also one with ``**kwargs``, and pydantic's), and the public methods that the
    class itself defines. What takes ``**kwargs`` is checked where :func:`options_of` says what they are.

    Returns:
        The same class; or a function that calls the given one.
    """
    if not isinstance(target, type):
        return cast(_Target, _strict(target))
    for name, member in list(vars(target).items()):
        if not name.startswith("_") or name == "__call__":
            strict = _strict(member)
            if strict is not member:
                setattr(target, name, strict)
    _make_constructor_strict(target)
    return target


def _strict(member: Any) -> Any:
    """Return a strict twin of a function or method; what cannot be called strictly is returned as it is."""
    if isinstance(member, classmethod | staticmethod):
        return type(member)(_strict(member.__func__))
    if not inspect.isfunction(member) or getattr(member, "__isabstractmethod__", False):
        return member
    return _checked(member) if not _is_open(member) or hasattr(member, "__option_names__") else member


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that checks its keywords before the call: a TypeError of the call may come from its body."""
    known = argument_names(function)

    def check(kwargs: dict[str, Any]) -> None:
        if not known.issuperset(kwargs):
            refuse_unknown(f"{function.__qualname__}()", kwargs, known)

    if isinstance(function, FunctionWrapper):
        # A span of LlamaIndex, which has to see the instance that it is bound to.
        def spanned(bound: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            check(kwargs)
            return bound(*args, **kwargs)

        return FunctionWrapper(function, spanned)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        check(kwargs)
        return function(*args, **kwargs)

    @functools.wraps(function)
    async def await_call(*args: Any, **kwargs: Any) -> Any:
        check(kwargs)
        return await function(*args, **kwargs)

    return await_call if inspect.iscoroutinefunction(function) else call


def _make_constructor_strict(cls: type) -> None:
    names_of: Callable[[type, type], frozenset[str]] = _constructor_names  # mypy takes no class for a key of a cache.
    own = vars(cls).get("__init__")
    inherited: Callable[..., None] = cls.__init__  # type: ignore[misc]  # Only its name and signature are taken.
    if own is None and getattr(inherited, "__strict_arguments__", False):
        return

    @functools.wraps(own or inherited)
    def constructor(self: Any, /, *args: Any, **kwargs: Any) -> None:
        if not names_of(type(self), cls).issuperset(kwargs) and not _takes_anything(type(self)):
            refuse_unknown(type(self).__name__, kwargs, names_of(type(self), cls))
        try:
            if own is not None:
                own(self, *args, **kwargs)
            else:
                super(cls, self).__init__(*args, **kwargs)  # type: ignore[arg-type]  # A class, whatever mypy says.
        except ValidationError as error:
            raise ConfigurationError(_wrong_values(error)) from error

    constructor.__strict_arguments__ = True  # type: ignore[attr-defined]
    cls.__init__ = constructor  # type: ignore[misc]


def _wrong_values(error: ValidationError) -> str:
    """Return pydantic's reasons in one line, without its class, which the caller may never have named."""
    reasons = [(".".join(map(str, each["loc"])), _shown(each["input"]), each["msg"]) for each in error.errors()]
    return "; ".join(f"{name} is {shown}: {reason}" for name, shown, reason in reasons) + "."


def _takes_anything(cls: type) -> bool:
    """Return whether a subclass asks pydantic to keep what is no field."""
    config: dict[str, Any] = getattr(cls, "model_config", {})
    return config.get("extra") == "allow"
