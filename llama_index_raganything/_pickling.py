"""What LlamaIndex's components and what holds them need: a serialised name, and pickles without secrets."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any, Final, Self

from llama_index.core.schema import BaseComponent
from pydantic import SecretStr

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.errors import ConfigurationError

_SECRETS: Final = frozenset(
    {
        *("api_key", "api_keys", "access_key", "secret_key", "api_token", "access_token", "auth_token", "token"),
        *("password", "secret", "client_secret", "azure_ad_token", "aws_access_key_id", "aws_secret_access_key"),
        *("aws_session_token", "default_headers", "headers", "credentials"),
    }
)
"""Fields in which LlamaIndex's integrations keep keys, and headers, which may contain keys."""


class PickledWithoutSecrets:
    """Base of classes whose pickles reopen the same stores and hold no secrets.

    Keys of models and tokens of stores are left out; on loading they come from the environment, as each model's own
    class reads it. A shallow copy shares all parts; a deep copy works like a pickle.
    """

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _restored, (type(self), _dumped(self))

    def __copy__(self) -> Self:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin


@strict_arguments
class Named:
    """Mixin for LlamaIndex components that are serialised under the name of their class; goes first among the bases."""

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return cls.__name__


class PickledWithoutKey(Named):
    """Mixin for LlamaIndex models whose constructor takes the key from the environment; goes first among the bases."""

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the key, which comes from the environment, and without connections."""
        # LlamaIndex takes what cannot be pickled out of the object itself, so it gets another one.
        state: Any = super(PickledWithoutKey, copy.copy(self)).__getstate__()
        return {"__dict__": {name: value for name, value in state["__dict__"].items() if name != "api_key"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore it with the key of the environment; a missing key fails here rather than at the first call."""
        self.__init__(**state["__dict__"])  # type: ignore[misc]  # as LlamaIndex's BaseComponent does


class _Pickler(pickle.Pickler):
    """Omits secrets from everything it pickles."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, SecretStr):
            return type(None), ()
        return _without_secrets(obj) if isinstance(obj, BaseComponent) else NotImplemented


def _without_secrets(component: BaseComponent) -> Any:
    # LlamaIndex takes what cannot be pickled out of the object itself, so it gets another one.
    reduced = copy.copy(component).__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    state = reduced[2] if isinstance(reduced, tuple) and len(reduced) > 2 else None
    if not isinstance(state, dict) or not isinstance(state.get("__dict__"), dict):
        return NotImplemented  # Its class defines its own pickles.
    fields = {name: value for name, value in state["__dict__"].items() if name not in _SECRETS}
    return (*reduced[:2], {**state, "__dict__": fields}, *reduced[3:])


def _dumped(obj: PickledWithoutSecrets) -> bytes:
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(obj.__dict__)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        message = (
            f"This {type(obj).__name__} cannot be pickled: {error}. A part that was passed to it (such as a lambda, a "
            "class of a notebook or an open client) cannot be. Leave it out, or open another one with the same uri, "
            "collection and working_dir instead."
        )
        raise ConfigurationError(message) from error
    return buffer.getvalue()


def _restored(kind: type[PickledWithoutSecrets], data: bytes) -> PickledWithoutSecrets:
    made = kind.__new__(kind)
    made.__dict__.update(pickle.loads(data))  # noqa: S301  # inside a pickle that is being loaded already
    return made
