"""Which parser takes which file.

``parser="auto"`` goes by content and name (:mod:`.formats`); a named parser gets PDFs, images and
office files, while text, mail, media and content lists are always read directly, as in RAG-Anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from llama_index_raganything.readers.common.assets import AssetStore
from llama_index_raganything.readers.common.base import FileParser, ParsedFile, ParseOptions
from llama_index_raganything.readers.embedded import (
    EMBEDDED,
    embedded_parser,
    modality_parser,
    package_version,
    run_safely,
)
from llama_index_raganything.readers.registry import named_parser
from llama_index_raganything.readers.sources.formats import FileFormat, Kind

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

    Returns:
        The parser.

    Raises:
        ConfigurationError: No parser has that name.
        MissingDependencyError: The named parser lacks its package or weights.
    """
    if parser not in EMBEDDED and kind in _NAMED_KINDS:
        return named_parser(parser)
    return embedded_parser(kind)


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
    """Parse a local file whose format is known.

    Args:
        file_format: What it is.
        options: What to extract.
        assets: Where crops and media go.

    Returns:
        Its elements.

    Raises:
        ParseError: The file cannot be parsed; see :func:`~.embedded.run_safely`.
        MissingDependencyError: The parser lacks its package or weights.
    """
    modality = file_format.modality
    parse = modality_parser(modality) if modality else parser_for(file_format.kind, parser)
    parsed = run_safely(parse, path, file_format, options, assets)
    renders = parser in EMBEDDED and options.profile != "fast"
    if options.page_images and file_format.kind == "pdf" and not renders:
        from llama_index_raganything.readers.pdf.page_images import add_page_images

        add_page_images(path, parsed, options, assets)
    return parsed
