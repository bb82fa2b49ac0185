"""Which parser takes which file, and how its failures become typed errors.

``parser="auto"`` goes by content and name (:mod:`.sources.formats`); a named parser gets PDFs, images and office files,
while text, mail, media and content lists are always read by the embedded parsers, as in RAG-Anything. The embedded
parsers need no download and no subprocess.
"""

from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path
from typing import Final, cast

from llama_index_raganything._imports import package_version
from llama_index_raganything.elements import Element
from llama_index_raganything.errors import (
    ConfigurationError,
    CorruptFileError,
    ParseError,
    RAGAnythingError,
    SourceError,
)
from llama_index_raganything.modalities import modality_named
from llama_index_raganything.readers.common.base import AssetStore, FileParser, ParsedFile, ParseOptions
from llama_index_raganything.readers.sources.formats import FileFormat, Kind
from llama_index_raganything.readers.sources.sources import with_suffix

EMBEDDED: Final = frozenset({"auto", "docvortex"})
"""Names of the embedded parsers."""

PARSERS: Final[dict[Kind, str]] = {
    "pdf": "pdf.parser:parse_pdf",
    "image": "media.images:parse_image",
    "office": "office_files:parse_office",
    "plain": "text_files:parse_plain",
    "email": "text_files:parse_plain",
    "audio": "media.recordings:parse_media",
    "video": "media.recordings:parse_media",
}
"""The embedded parser of each kind of file, imported when it is first needed."""

_NAMED_KINDS: Final = frozenset({"pdf", "image", "office"})
_VERSIONED: Final[dict[str, tuple[str, ...]]] = {
    "pdf": ("docvortex", "pypdfium2", "rapidocr"),
    "image": ("rapidocr", "pillow"),
    "office": ("docvortex",),
}


def parser_for(kind: Kind, parser: str) -> FileParser:
    """Return the function that parses one kind of file.

    Args:
        parser: ``"auto"``, ``"docvortex"``, or a parser of RAG-Anything's registry.

    Raises:
        ConfigurationError: No parser has that name.
        MissingDependencyError: The named parser lacks its package.
    """
    if parser not in EMBEDDED and kind in _NAMED_KINDS:
        from llama_index_raganything.readers.engines.registry import named_parser

        return named_parser(parser)
    module, name = PARSERS[kind].split(":")
    found = getattr(importlib.import_module(f"{__package__}.{module}"), name)
    return cast("FileParser", found)


def parser_id(kind: Kind, parser: str) -> str:
    """Return parser and versions as one string, for the parse cache and fingerprints.

    Returns:
        Such as ``"auto docvortex=0.6.4 pypdfium2=5.15.0 rapidocr=3.10.0"``.
    """
    packages = _VERSIONED.get(kind, ()) if parser in EMBEDDED or kind not in _NAMED_KINDS else (parser, "raganything")
    return " ".join([parser, *(f"{name}={package_version(name)}" for name in packages)])


def run_parser(
    path: Path, file_format: FileFormat, parser: str, options: ParseOptions, assets: AssetStore
) -> ParsedFile:
    """Parse a local file whose format is known, so that only typed errors come out.

    Raises:
        ParseError: The file cannot be parsed. Errors that a parser did not foresee become a
            :class:`CorruptFileError` with the cause attached.
        MissingDependencyError: The parser lacks its package or weights.
    """
    with with_suffix(path, file_format) as named:
        try:
            parse, warning = _parser_and_warning(file_format, parser, named.suffix.lower())
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
        # Damaged files make parsers fail in unforeseen ways; the batch must go on.
        except Exception as error:
            message = (
                f"{str(path)!r} could not be parsed as {file_format.suffix}: {type(error).__name__}: {error}. "
                "The file may be damaged; open it in its program and save it again."
            )
            raise CorruptFileError(message, str(path)) from error
    if warning:
        parsed.warnings.append(warning)
    if file_format.mislabelled:
        parsed.warnings.append(f"{path.name!r} holds {file_format.suffix} data and was read as such")
    renders = parser in EMBEDDED and options.profile != "fast"
    if options.page_images and file_format.kind == "pdf" and not renders:
        from llama_index_raganything.readers.page_images import add_page_images

        add_page_images(path, parsed, options, assets)
    return parsed


def _parser_and_warning(file_format: FileFormat, parser: str, suffix: str) -> tuple[FileParser, str]:
    kind = file_format.kind
    if file_format.modality:
        return partial(_parse_modality, file_format.modality), ""
    if parser not in EMBEDDED and kind in _NAMED_KINDS:
        from llama_index_raganything.readers.engines.registry import reads_suffix

        if not reads_suffix(parser, suffix):
            return parser_for(kind, "auto"), f"{parser} does not read {suffix}; the embedded parser did."
    return parser_for(kind, parser), ""


def _parse_modality(name: str, path: Path, options: ParseOptions, assets: AssetStore) -> ParsedFile:
    del options
    modality = modality_named(name)
    elements = list(modality.read(path, assets))
    if not all(isinstance(element, Element) for element in elements):
        message = f"read of the modality {name!r} must give elements, not {elements!r:.200}."
        raise ConfigurationError(message)
    return ParsedFile(elements, parser=modality.id)


def _about(error: RAGAnythingError, named: Path, path: Path) -> RAGAnythingError:
    """Name the real file in the message of an error about a temporary alias of it."""
    if isinstance(error, ParseError) and named != path:
        return type(error)(error.message.replace(str(named), str(path)).replace(named.name, path.name), str(path))
    return error
