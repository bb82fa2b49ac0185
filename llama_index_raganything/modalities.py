"""The registry of content types beyond the package's own: which files hold them and how they are read.

Register one with :func:`llama_index_raganything.enrich.registry.register_modality`; readers and worker processes look
it up here.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from llama_index_raganything.elements import Element, add_element_type, remove_element_type
from llama_index_raganything.errors import ConfigurationError

if TYPE_CHECKING:
    from llama_index_raganything.readers.common.base import AssetStore

ModalityReader = Callable[[Path, "AssetStore"], Iterable[Element]]
"""Turns a file into elements of the modality's own type or any other; images go to the asset store."""


@dataclass(frozen=True)
class Modality:
    """One registered content type.

    Attributes:
        name: The content type.
        suffixes: File name endings in lower case, with their dots (".stl", ".sensor.csv").
        read: Turns a file into elements.
        detect: Returns whether a file with such an ending holds this type; None accepts all.
        version: To be raised when ``read`` returns other elements for the same file; part of the parse cache's key.
    """

    name: str
    suffixes: tuple[str, ...]
    read: ModalityReader
    detect: Callable[[Path], bool] | None = None
    version: str = "1"

    @property
    def id(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}"

    def holds(self, path: Path) -> bool:
        """Return whether a file is of this modality.

        Raises:
            ConfigurationError: ``detect`` failed.
        """
        if not path.name.lower().endswith(self.suffixes):
            return False
        if self.detect is None:
            return True
        try:
            return bool(self.detect(path))
        except Exception as error:
            message = f"detect of the modality {self.name!r} failed on {path.name!r}: {type(error).__name__}: {error}"
            raise ConfigurationError(message) from error


_lock = RLock()
_modalities: dict[str, Modality] = {}
_missing = ""


def add_modality(modality: Modality) -> None:
    """Register a modality in this process, replacing one of the same name.

    Raises:
        ConfigurationError: Its name is not a valid content type, or is one of the package's.
    """
    with _lock:
        add_element_type(modality.name)
        _modalities[modality.name] = modality


def remove_modality(name: str) -> None:
    """Unregister a modality; unknown names are ignored."""
    with _lock:
        if _modalities.pop(name, None) is not None:
            remove_element_type(name)


def modalities() -> tuple[Modality, ...]:
    """Return the registered modalities, the most recent first.

    Raises:
        ConfigurationError: This is a worker process that could not import those of its parent.
    """
    if _missing:
        raise ConfigurationError(_missing)
    with _lock:
        return tuple(reversed(_modalities.values()))


def modality_of(path: Path) -> Modality | None:
    """Return the modality of a file, or None for one that the package reads itself.

    Raises:
        ConfigurationError: A modality's ``detect`` failed.
    """
    return next((modality for modality in modalities() if modality.holds(path)), None)


def modality_named(name: str) -> Modality:
    """Return a modality by name.

    Raises:
        ConfigurationError: No modality has that name.
    """
    found = next((modality for modality in modalities() if modality.name == name), None)
    if found is None:
        message = f"No modality is registered as {name!r}; call register_modality first."
        raise ConfigurationError(message)
    return found


def packed_modalities() -> bytes:
    """Return the registered modalities in a form that worker processes can unpack.

    Raises:
        ConfigurationError: One has functions that another process cannot import.
    """
    packed = []
    for modality in reversed(modalities()):
        try:
            packed.append(pickle.dumps(modality))
        # Lambdas, nested functions and bound objects each raise a different error.
        except Exception as error:
            message = (
                f"The modality {modality.name!r} cannot be used with workers above 1, because another process "
                f"cannot import its functions ({error}); define them at the top of a module."
            )
            raise ConfigurationError(message) from error
    return pickle.dumps(packed)


def unpack_modalities(packed: bytes) -> None:
    """Register, in a worker process, what :func:`packed_modalities` returned in its parent.

    A failure is reported by each file that is read rather than by the death of the process.
    """
    global _missing  # noqa: PLW0603  # one registry per process
    try:
        for one in pickle.loads(packed):  # noqa: S301  # our own parent wrote it
            add_modality(pickle.loads(one))  # noqa: S301  # as above
    except Exception as error:  # noqa: BLE001  # importing a user's module may raise anything
        _missing = f"A worker process cannot load the registered modalities: {type(error).__name__}: {error}"
