"""RAG-Anything's parser registry, both ways.

:func:`register_parsers` makes our embedded parser known to RAG-Anything as ``"docvortex"``, and
:func:`named_parser` lets our reader use every parser that is known there. Importing RAG-Anything
takes seconds, so it happens only when a named parser is asked for.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any, Final

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything._imports import guarded_import
from llama_index_raganything.errors import ConfigurationError, MissingDependencyError, UnsupportedFormatError
from llama_index_raganything.readers.common.assets import AssetStore
from llama_index_raganything.readers.common.base import FileParser, ParseOptions
from llama_index_raganything.readers.embedded import package_version, run_embedded
from llama_index_raganything.readers.engines.content_list import FURNITURE_TYPES, NOTE_TYPES, elements_to_content_list
from llama_index_raganything.readers.sources.formats import FileFormat, detect_format

EMBEDDED_NAME: Final = "docvortex"
"""Name of our embedded parser in RAG-Anything's registry."""

_PACKAGES: Final = {
    "docling": "llama-index-raganything[docling]",
    "paddleocr": "llama-index-raganything[paddleocr]",
    "mineru": "mineru>=4",
}


@strict_arguments
def register_parsers() -> None:
    """Register the embedded parser with RAG-Anything, once; calling again changes nothing.

    Afterwards ``raganything.parser.get_parser("docvortex")`` and ``RAGAnythingConfig(parser="docvortex")`` work.

    Raises:
        MissingDependencyError: RAG-Anything cannot be imported.
    """
    parser_module = _raganything()
    if EMBEDDED_NAME not in parser_module.list_parsers():
        parser_module.register_parser(EMBEDDED_NAME, _embedded_class(parser_module.Parser))


def named_parser(name: str) -> FileParser:
    """Return a parser by its name in RAG-Anything's registry.

    Args:
        name: ``"mineru"``, ``"docling"``, ``"paddleocr"``, or one registered with ``register_parser``.

    Returns:
        The parser; weights that it needs are looked for when it gets a file that needs them.

    Raises:
        ConfigurationError: No parser has that name.
        MissingDependencyError: Its package is not installed.
    """
    known = name.strip().lower()
    if known in _PACKAGES and importlib.util.find_spec(known) is None:
        message = f"parser={name!r} needs a package: pip install '{_PACKAGES[known]}'"
        raise MissingDependencyError(message)
    if known == "mineru" and _major_version("mineru") >= 4:
        # RAG-Anything 1.4.3 calls the command line of MinerU 3, which MinerU 4 no longer has.
        from llama_index_raganything.readers.engines.mineru import parse_with_mineru

        return parse_with_mineru
    register_parsers()
    parser_module = _raganything()
    if known not in parser_module.list_parsers():
        message = (
            f"No parser is named {name!r}; use 'auto' or one of {', '.join(sorted(parser_module.list_parsers()))}."
        )
        raise ConfigurationError(message)
    if known not in _PACKAGES and not parser_module.get_parser(known).check_installation():
        message = f"parser={name!r} says that it is not installed; see what its own documentation asks for."
        raise MissingDependencyError(message)
    from llama_index_raganything.readers.engines.raganything_parsers import parse_with_raganything

    return functools.partial(parse_with_raganything, known)


def parse_to_content_list(
    path: Path, options: ParseOptions, assets: AssetStore, *, include_layout_blocks: bool = False
) -> list[dict[str, Any]]:
    """Parse a file with the embedded parsers into a content list for RAG-Anything's pipeline.

    The pipeline takes every item that is not text for something to be described by a model
    (``raganything.utils.separate_content``), so page headers and the like are left out, as its MinerU
    parser does, and footnotes are text.

    Args:
        path: An existing local file.
        options: What to extract.
        assets: Where crops go.
        include_layout_blocks: Keep headers, footers, page numbers and footnotes under their own types.

    Returns:
        A content list with 0-based pages and absolute image paths.

    Raises:
        ParseError: The file cannot be parsed.
        SourceError: The file cannot be read.
    """
    # Imported here: routing asks this module for named parsers.
    parsed = run_embedded(path, _parseable_format(path), options, assets)
    items = elements_to_content_list(parsed.elements, assets=assets)
    if include_layout_blocks:
        return items
    kept = [item for item in items if item["type"] not in FURNITURE_TYPES]
    return [item | {"type": "text"} if item["type"] in NOTE_TYPES else item for item in kept]


def _parseable_format(path: Path) -> FileFormat:
    file_format = detect_format(path)
    if file_format.kind == "content_list":
        message = f"{str(path)!r} is a content list already; pass it to insert_content_list."
        raise UnsupportedFormatError(message, str(path))
    return file_format


def _raganything() -> Any:
    """Import RAG-Anything's parser module without its side effects."""
    try:
        with guarded_import():
            import raganything.parser
    except ImportError as error:
        message = f"RAG-Anything cannot be imported ({error}): pip install 'raganything>=1.4.3,<1.5'"
        raise MissingDependencyError(message) from error
    return raganything.parser


def _major_version(package: str) -> int:
    first = package_version(package).split(".")[0]
    return int(first) if first.isdecimal() else 0


@functools.cache
def _embedded_class(base: Any) -> Any:
    """Make the subclass of RAG-Anything's ``Parser``; at import time the base class is not there yet."""

    class EmbeddedParser(base):  # type: ignore[misc]
        """The embedded parser of ``llama-index-raganything`` for RAG-Anything's own pipeline."""

        OFFICE_FORMATS = base.OFFICE_FORMATS | {".odt", ".ods", ".odp", ".rtf", ".epub", ".csv", ".tsv"}
        HTML_FORMATS = {".html", ".htm", ".xhtml"}  # noqa: RUF012 - the form of RAG-Anything's own classes.

        def check_installation(self) -> bool:
            """Return True: everything it needs is installed with the package."""
            return True

        def parse_document(
            self,
            file_path: str | Path,
            method: str = "auto",
            output_dir: str | None = None,
            lang: str | None = None,
            **kwargs: Any,
        ) -> list[dict[str, Any]]:
            """Parse a file of any supported kind.

            Args:
                method: ``"auto"``, ``"txt"`` (no OCR) or ``"ocr"``.
                output_dir: Folder that image files go to; ``output`` below the current folder when None.
                lang: Language hint.
                **kwargs: Fields of :class:`ParseOptions` and ``include_layout_blocks``; others are ignored.

            Returns:
                The content list.
            """
            path = Path(file_path).absolute()
            root = self._unique_output_dir(output_dir or "output", path).absolute()
            return parse_to_content_list(
                path,
                _options(method, lang, kwargs),
                AssetStore(root / "images"),
                include_layout_blocks=bool(kwargs.get("include_layout_blocks")),
            )

        def parse_pdf(
            self, pdf_path: str | Path, output_dir: str | None = None, method: str = "auto", **kwargs: Any
        ) -> list[dict[str, Any]]:
            """Parse a PDF file; see :meth:`parse_document`."""
            return self.parse_document(pdf_path, method=method, output_dir=output_dir, **kwargs)

        def parse_image(
            self, image_path: str | Path, output_dir: str | None = None, **kwargs: Any
        ) -> list[dict[str, Any]]:
            """Parse an image file; see :meth:`parse_document`."""
            return self.parse_document(image_path, output_dir=output_dir, **kwargs)

        def parse_office_doc(
            self, doc_path: str | Path, output_dir: str | None = None, **kwargs: Any
        ) -> list[dict[str, Any]]:
            """Parse an office file; see :meth:`parse_document`."""
            return self.parse_document(doc_path, output_dir=output_dir, **kwargs)

        def parse_html(
            self, html_path: str | Path, output_dir: str | None = None, **kwargs: Any
        ) -> list[dict[str, Any]]:
            """Parse a web page; see :meth:`parse_document`."""
            return self.parse_document(html_path, output_dir=output_dir, **kwargs)

    return EmbeddedParser


def _options(method: str, lang: str | None, values: dict[str, Any]) -> ParseOptions:
    """Translate RAG-Anything's arguments."""
    known = {key: value for key, value in values.items() if key in ParseOptions.__dataclass_fields__}
    ocr = {"txt": "off", "ocr": "always"}.get(method, "auto")
    return ParseOptions(**({"ocr": ocr, "lang": lang} | known))
