"""Arguments that are not known are refused, with the nearest name that is.

Python refuses them only where nothing takes ``**kwargs``, and pydantic's models ignore them by default, so a misspelt
``tenant=`` would open a store without one. Here are the one check, :func:`refuse_unknown`; the names to check against,
:func:`argument_names`; and a decorator of classes and functions, :func:`strict_arguments`.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Collection, Iterable
from types import FunctionType
from typing import Any, Final, TypeVar, cast

from llama_index_raganything.errors import UnknownArgumentError

_LISTED: Final = 15
"""Known names that a message lists."""

_SHOWN: Final = 60
"""Characters of an unknown name that a message shows."""

_ALIKE: Final = 0.7
"""How alike a known name must be to be suggested, as difflib measures it."""

_MISSPELT: Final = 0.85
"""How alike a name must be to be taken for a misspelt one, where unknown ones are let pass."""

_SERIALIZED_KEY: Final = "class_name"
"""What LlamaIndex adds to the fields of a serialised component; constructors let it pass."""

_UNNAMED: Final = frozenset({"self", "cls"})

_Target = TypeVar("_Target", bound=Callable[..., Any])


def refuse_unknown(owner: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse arguments that are not known.

    Args:
        owner: Whose arguments they are, such as ``MilvusNodeStore`` or ``reader_options``.
        given: Names of the arguments that were given.
        known: Names of those that there are.

    Raises:
        UnknownArgumentError: A given name is not known; the message has the nearest ones that are.
    """
    refusal = _refusal(owner, given, known)
    if refusal is not None:
        raise refusal


def refuse_misspelt(owner: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse arguments that look like known ones, where others may be meant for someone else.

    A pipeline of LlamaIndex hands the same arguments to all its transformations.

    Args:
        owner: Whose arguments they are.
        given: Names of the arguments that were given.
        known: Names of those that there are.

    Raises:
        UnknownArgumentError: A given name is misspelt.
    """
    refuse_unknown(owner, [name for name in given if difflib.get_close_matches(name, known, cutoff=_MISSPELT)], known)


def _refusal(owner: str, given: Iterable[str], known: Collection[str]) -> UnknownArgumentError | None:
    unknown = [name for name in given if name not in known]
    if not unknown:
        return None
    names = sorted(name for name in known if not name.startswith("__") and name != _SERIALIZED_KEY)
    return UnknownArgumentError(f"{owner} does not know {'; '.join(_hint(name, names) for name in unknown)}")


def _hint(name: str, names: list[str]) -> str:
    shown = name if len(name) <= _SHOWN and name.isidentifier() else repr(name[:_SHOWN])
    # top_k is not like similarity_top_k to difflib, but it is in it; mode is in chat_mode and only looks like modes.
    near = [each for each in names if f"_{name}_" in f"_{each}_"][:2]
    near = near or difflib.get_close_matches(name, names, n=2, cutoff=_ALIKE)
    if near:
        return f"{shown}: did you mean {' or '.join(near)}?"
    public = [each for each in names if not each.startswith("_")]
    more = f" and {len(public) - _LISTED} more" if len(public) > _LISTED else ""
    return f"{shown}: it takes {', '.join(public[:_LISTED]) or 'no arguments'}{more}."


def argument_names(*targets: Callable[..., Any]) -> frozenset[str]:
    """Return the keywords that functions, methods and classes take.

    The ``**kwargs`` of a constructor count as those of the base class, which is where they go.

    Args:
        *targets: Functions, methods and classes.
    """
    return frozenset().union(
        *(
            _constructor_names(each, each) if isinstance(each, type) else _parameters(inspect.unwrap(each))[0]
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
            taken, goes_on = _parameters(inspect.unwrap(vars(owner)["__init__"]))
            names |= taken
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


@functools.lru_cache(maxsize=2048)
def _parameters(function: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    """Return the keywords of a function, and whether it takes any others."""
    parameters = inspect.signature(function).parameters.values()
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = frozenset(each.name for each in parameters if each.kind in by_name) - _UNNAMED
    return names, any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)


def strict_arguments(target: _Target) -> _Target:
    """Make a class, or a function, refuse arguments that it does not know with :class:`UnknownArgumentError`.

    Of a class, this is the constructor (also one with ``**kwargs``, and pydantic's), and the public methods that the
    class itself defines without ``**kwargs``. What takes ``**kwargs`` calls :func:`refuse_unknown` itself, before it
    does anything else, because only its author knows where they go.

    Args:
        target: The class or function.

    Returns:
        The same class; or a function that calls the given one.
    """
    if not isinstance(target, type):
        return cast(_Target, _strict_function(target))
    for name, member in list(vars(target).items()):
        if not name.startswith("_") or name == "__call__":
            strict = _strict_member(member)
            if strict is not member:
                setattr(target, name, strict)
    _make_constructor_strict(target)
    return target


def _make_constructor_strict(cls: type) -> None:
    names_of: Callable[[type, type], frozenset[str]] = _constructor_names  # mypy takes no class for a key of a cache.
    own = vars(cls).get("__init__")
    inherited: Callable[..., None] = cls.__init__  # type: ignore[misc]  # Only its name and signature are taken.
    if own is None and getattr(inherited, "__strict_arguments__", False):
        return

    @functools.wraps(own or inherited)
    def constructor(self: Any, /, *args: Any, **kwargs: Any) -> None:
        # Before the call, and not when it fails: pydantic's models, and what takes **kwargs, would not fail.
        if not (known := names_of(type(self), cls)).issuperset(kwargs) and not _takes_anything(type(self)):
            refuse_unknown(type(self).__name__, kwargs, known)
        if own is not None:
            own(self, *args, **kwargs)
        else:
            super(cls, self).__init__(*args, **kwargs)  # type: ignore[arg-type]  # A class, whatever mypy says.

    constructor.__strict_arguments__ = True  # type: ignore[attr-defined]
    cls.__init__ = constructor  # type: ignore[misc]


def _takes_anything(cls: type) -> bool:
    """Return whether a subclass asks pydantic to keep what is no field."""
    config: dict[str, Any] = getattr(cls, "model_config", {})
    return config.get("extra") == "allow"


def _strict_member(member: Any) -> Any:
    """Return a strict twin of a method; whatever else a class holds is returned as it is."""
    if isinstance(member, classmethod | staticmethod):
        function = member.__func__
        return type(member)(_strict_function(function)) if _is_closed(function) else member
    return _strict_function(member) if _is_closed(member) else member


def _is_closed(function: Any) -> bool:
    """Return whether something is a function that takes no ``**kwargs`` and that a subclass need not write."""
    if not isinstance(function, FunctionType) or getattr(function, "__isabstractmethod__", False):
        return False
    return not inspect.unwrap(function).__code__.co_flags & inspect.CO_VARKEYWORDS


def _strict_function(function: Callable[..., Any]) -> Callable[..., Any]:
    is_plain = type(function) is FunctionType
    wrapper: Callable[..., Any]
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                call, args = (function, args) if is_plain else _bound(function, args)
                return await call(*args, **kwargs)
            except TypeError:
                if refusal := _refusal_of_call(function, kwargs):
                    raise refusal from None
                raise
    else:

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                call, args = (function, args) if is_plain else _bound(function, args)
                return call(*args, **kwargs)
            except TypeError:
                if refusal := _refusal_of_call(function, kwargs):
                    raise refusal from None
                raise

    return wrapper


def _bound(method: Any, args: tuple[Any, ...]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Bind a method by its descriptor, as LlamaIndex's spans look at the instance that they are bound to."""
    return (method.__get__(args[0], type(args[0])), args[1:]) if args else (method, args)


def _refusal_of_call(function: Callable[..., Any], kwargs: dict[str, Any]) -> UnknownArgumentError | None:
    """Return what to say of a call that failed; None where its arguments are known, as it failed in the body then."""
    known, takes_others = _parameters(inspect.unwrap(function))
    return None if takes_others else _refusal(f"{function.__qualname__}()", kwargs, known)
