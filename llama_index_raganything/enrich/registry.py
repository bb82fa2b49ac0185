"""The one place where a new modality plugs in: which files, how they are read, how their nodes are processed.

>>> from llama_index_raganything.elements import Element
>>> def read_mesh(path, assets):
...     return [Element(type="mesh", text=f"3D model {path.stem}")]
>>> register_modality("mesh", suffixes=[".stl", ".obj"], read=read_mesh)
>>> unregister_modality("mesh")

``docs/modalities.md`` tells the whole way, ``examples/time_series.py`` walks it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.enrich.processors import ProcessorFactory, register_processor, unregister_processor
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.modalities import Modality, ModalityReader, add_modality, remove_modality


@strict_arguments
def register_modality(
    name: str,
    *,
    suffixes: Sequence[str],
    read: ModalityReader,
    detect: Callable[[Path], bool] | None = None,
    processor: ProcessorFactory | type | None = None,
    version: str = "1",
) -> None:
    """Let files of a new kind be read, split, processed and found like all others.

    Elements of the new type are atomic: each becomes a node of its own whose ``content_type`` is the name. Elements of
    the package's own types may stand beside them. Registered modalities come before the package's own formats, the
    last registered first, so that ``detect`` can take some files of a suffix that the package knows.

    Args:
        name: Content type: lower-case letters, digits and underscores, a letter first.
        suffixes: Ends of the names of such files, with their dots (".stl", ".sensor.csv").
        read: Turns a path and the store of assets into elements. Of worker processes (``num_workers`` above 1) it
            must be importable.
        detect: Tells whether a file with such a name is one; without it all of them are.
        processor: Processes the nodes, as for ``register_processor``; used by ``make_processors``.
        version: Raise it when ``read`` gives other elements for the same file.

    Raises:
        ConfigurationError: A name or a suffix that cannot be one, or a processor that is none.
    """
    ends = (suffixes,) if isinstance(suffixes, str) else tuple(suffixes)
    wrong = [end for end in ends if len(str(end)) < 2 or not str(end).startswith(".")]
    if not ends or wrong:
        message = f"suffixes of the modality {name!r} are {suffixes!r}; give ends of file names such as '.stl'."
        raise ConfigurationError(message)
    add_modality(Modality(name, tuple(str(end).lower() for end in ends), read, detect, version))
    if processor is not None:
        register_processor(name, processor)


def unregister_modality(name: str) -> None:
    """Forget a modality and its processor.

    Args:
        name: The content type.
    """
    remove_modality(name)
    unregister_processor(name)
