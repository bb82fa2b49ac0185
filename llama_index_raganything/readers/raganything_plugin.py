"""Our embedded parser in RAG-Anything's registry, as ``"docvortex"``, for RAG-Anything's own pipeline.

The other way, our reader using the parsers registered there, is
:func:`llama_index_raganything.readers.engines.registry.named_parser`.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.errors import UnsupportedFormatError
from llama_index_raganything.readers.common.base import AssetStore, ParseOptions
from llama_index_raganything.readers.engines.content_list import FURNITURE_TYPES, NOTE_TYPES, elements_to_content_list
from llama_index_raganything.readers.engines.registry import raganything_module
from llama_index_raganything.readers.routing import run_parser
from llama_index_raganything.readers.sources.formats import FileFormat, detect_format

EMBEDDED_NAME: Final = "docvortex"
"""Name of our embedded parser in RAG-Anything's registry."""


@strict_arguments
def register_parsers() -> None:
    """Register the embedded parser with RAG-Anything, once; calling again changes nothing.

    Afterwards ``raganything.parser.get_parser("docvortex")`` and ``RAGAnythingConfig(parser="docvortex")`` work.

    Raises:
        MissingDependencyError: RAG-Anything cannot be imported.
    """
    parser_module = raganything_module()
    if EMBEDDED_NAME not in parser_module.list_parsers():
        parser_module.register_parser(EMBEDDED_NAME, _embedded_class(parser_module.Parser))


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
    parsed = run_parser(path, _parseable_format(path), "auto", options, assets)
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
