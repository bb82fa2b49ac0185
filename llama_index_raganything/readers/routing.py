"""Which parser takes which file.

``parser="auto"`` goes by content and name (:mod:`.formats`); a named parser gets PDFs, images and
office files, while text, mail, media and content lists are always read directly, as in RAG-Anything.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

from llama_index_raganything.errors import CorruptFileError, ParseError, RAGAnythingError, SourceError
from llama_index_raganything.readers.assets import AssetStore
from llama_index_raganything.readers.base import FileParser, ParsedFile, ParseOptions
from llama_index_raganything.readers.formats import FileFormat, Kind
from llama_index_raganything.readers.sources import with_suffix

EMBEDDED: Final = frozenset({"auto", "docvortex"})
"""Names of the embedded parsers: no download, no subprocess."""

PARSERS: Final[dict[Kind, str]] = {
    "pdf": "llama_index_raganything.readers.pdf.parser:parse_pdf",
    "image": "llama_index_raganything.readers.images:parse_image",
    "office": "llama_index_raganything.readers.office.parser:parse_office",
    "plain": "llama_index_raganything.readers.text.plain:parse_plain",
    "email": "llama_index_raganything.readers.text.plain:parse_plain",
    "audio": "llama_index_raganything.readers.media:parse_media",
    "video": "llama_index_raganything.readers.media:parse_media",
}
"""The embedded parser of each kind of file, imported when first needed."""

_NAMED_KINDS: Final = frozenset({"pdf", "image", "office"})
_VERSIONED: Final[dict[str, tuple[str, ...]]] = {
    "pdf": ("docvortex", "pypdfium2", "rapidocr"),
    "image": ("rapidocr", "pillow"),
    "office": ("docvortex",),
}


def parser_for(kind: Kind, parser: str) -> FileParser:
    """Return the function that parses one kind of file.

    Args:
        kind: Kind of the file.
        parser: ``"auto"``, ``"docvortex"``, or a parser of RAG-Anything's registry.

    Returns:
        The parser.

    Raises:
        ConfigurationError: No parser has that name.
        MissingDependencyError: The named parser lacks its package or weights.
    """
    if parser not in EMBEDDED and kind in _NAMED_KINDS:
        from llama_index_raganything.readers.registry import named_parser

        return named_parser(parser)
    return _load(PARSERS[kind])


def parser_id(kind: Kind, parser: str) -> str:
    """Return parser and versions as one string, for the parse cache and fingerprints.

    Args:
        kind: Kind of the file.
        parser: Name of the parser.

    Returns:
        Such as ``"auto docvortex=0.6.4 pypdfium2=5.15.0 rapidocr=3.10.0"``.
    """
    packages = _VERSIONED.get(kind, ()) if parser in EMBEDDED or kind not in _NAMED_KINDS else (parser, "raganything")
    return " ".join([parser, *(f"{name}={package_version(name)}" for name in packages)])


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


def run_parser(
    path: Path, file_format: FileFormat, parser: str, options: ParseOptions, assets: AssetStore
) -> ParsedFile:
    """Parse a local file whose format is known.

    Args:
        path: The file.
        file_format: What it is.
        parser: Name of the parser.
        options: What to extract.
        assets: Where crops and media go.

    Returns:
        Its elements.

    Raises:
        ParseError: The file cannot be parsed. Errors that a parser did not foresee become a
            :class:`CorruptFileError` with the cause attached.
        MissingDependencyError: The parser lacks its package or weights.
    """
    parse = parser_for(file_format.kind, parser)
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


def _about(error: RAGAnythingError, named: Path, path: Path) -> RAGAnythingError:
    """Name the real file in the message of an error about a temporary alias of it."""
    if isinstance(error, ParseError) and named != path:
        return type(error)(error.message.replace(str(named), str(path)).replace(named.name, path.name), str(path))
    return error


def _load(target: str) -> FileParser:
    module, name = target.split(":")
    return cast("Callable[..., ParsedFile]", getattr(importlib.import_module(module), name))
