"""The embedded parsers: which function reads which kind of file, and how their failures become typed errors."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

from llama_index_raganything.elements import Element
from llama_index_raganything.errors import (
    ConfigurationError,
    CorruptFileError,
    ParseError,
    RAGAnythingError,
    SourceError,
)
from llama_index_raganything.modalities import modality_named
from llama_index_raganything.readers.common.assets import AssetStore
from llama_index_raganything.readers.common.base import FileParser, ParsedFile, ParseOptions
from llama_index_raganything.readers.sources.formats import FileFormat, Kind
from llama_index_raganything.readers.sources.sources import with_suffix

EMBEDDED: Final = frozenset({"auto", "docvortex"})
"""Names of the embedded parsers: no download, no subprocess."""

PARSERS: Final[dict[Kind, str]] = {
    "pdf": "llama_index_raganything.readers.pdf.parser:parse_pdf",
    "image": "llama_index_raganything.readers.media.images:parse_image",
    "office": "llama_index_raganything.readers.office.parser:parse_office",
    "plain": "llama_index_raganything.readers.text_files:parse_plain",
    "email": "llama_index_raganything.readers.text_files:parse_plain",
    "audio": "llama_index_raganything.readers.media.recordings:parse_media",
    "video": "llama_index_raganything.readers.media.recordings:parse_media",
}
"""The embedded parser of each kind of file, imported when first needed."""


def embedded_parser(kind: Kind) -> FileParser:
    """Return the embedded function that parses one kind of file.

    Returns:
        The parser.
    """
    module, name = PARSERS[kind].split(":")
    return cast("Callable[..., ParsedFile]", getattr(importlib.import_module(module), name))


def modality_parser(name: str) -> FileParser:
    """Return the function that parses the files of a registered modality.

    Returns:
        The parser.

    Raises:
        ConfigurationError: None has that name.
    """
    modality = modality_named(name)

    def parse(path: Path, options: ParseOptions, assets: AssetStore) -> ParsedFile:
        del options
        elements = list(modality.read(path, assets))
        if not all(isinstance(element, Element) for element in elements):
            message = f"read of the modality {name!r} must give elements, not {elements!r:.200}."
            raise ConfigurationError(message)
        return ParsedFile(elements, parser=modality.id)

    return parse


def run_embedded(path: Path, file_format: FileFormat, options: ParseOptions, assets: AssetStore) -> ParsedFile:
    """Parse a local file with the embedded parser of its kind; see :func:`run_safely`.

    Args:
        file_format: What it is.
        options: What to extract.
        assets: Where crops and media go.

    Returns:
        Its elements.
    """
    modality = file_format.modality
    parse = modality_parser(modality) if modality else embedded_parser(file_format.kind)
    return run_safely(parse, path, file_format, options, assets)


def run_safely(
    parse: FileParser, path: Path, file_format: FileFormat, options: ParseOptions, assets: AssetStore
) -> ParsedFile:
    """Parse a local file whose format is known, so that only typed errors come out.

    Args:
        parse: The parser.
        file_format: What it is.
        options: What to extract.
        assets: Where crops and media go.

    Returns:
        Its elements.

    Raises:
        ParseError: The file cannot be parsed. Errors that a parser did not foresee become a
            :class:`CorruptFileError` with the cause attached.
        MissingDependencyError: The parser lacks its package or weights.
    """
    with with_suffix(path, file_format) as named:
        try:
            parsed = parse(named, options, assets)
        except RAGAnythingError as error:
            raise _about(error, named, path) from error.__cause__
        except OSError as error:
            # The file was readable a moment ago, so this is the disk, a permission or the asset folder.
            message = f"{str(path)!r} could not be read, or its assets not written below {assets.root}: {error}."
            raise SourceError(message) from error
        except (MemoryError, RecursionError) as error:
            message = f"{str(path)!r} needs more memory or nesting than allowed; it may be built to do harm."
            raise CorruptFileError(message, str(path)) from error
        # Parsers of damaged files fail in ways that nobody foresees; the batch must go on.
        except Exception as error:
            message = (
                f"{str(path)!r} could not be parsed as {file_format.suffix}: {type(error).__name__}: {error}. "
                "The file may be damaged; open it in its program and save it again."
            )
            raise CorruptFileError(message, str(path)) from error
    if file_format.mislabelled:
        parsed.warnings.append(f"{path.name!r} holds {file_format.suffix} data and was read as such")
    return parsed


@functools.cache
def package_version(name: str) -> str:
    """Return the version of an installed distribution, or ``"none"``; looked up once, as it reads the disk.

    Args:
        name: Name of the distribution.

    Returns:
        Its version.
    """
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _about(error: RAGAnythingError, named: Path, path: Path) -> RAGAnythingError:
    """Name the real file in the message of an error about a temporary alias of it."""
    if isinstance(error, ParseError) and named != path:
        return type(error)(error.message.replace(str(named), str(path)).replace(named.name, path.name), str(path))
    return error
