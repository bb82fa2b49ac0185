"""The embedded default parser: docvortex, in this process, for everything that is not a PDF.

docvortex (MIT) reads office files, old and new, OpenDocument, RTF, EPUB, HTML and CSV without
models and without a subprocess. PDF files take their own way, see
:mod:`llama_index_raganything.readers.pdf.parser`.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any, Final

from llama_index_raganything.elements import Element
from llama_index_raganything.errors import (
    CorruptFileError,
    EncryptedFileError,
    FileTooLargeError,
    MissingDependencyError,
    ParseError,
    UnsupportedFormatError,
)
from llama_index_raganything.readers.common.assets import AssetStore
from llama_index_raganything.readers.common.base import ParsedFile, ParseOptions
from llama_index_raganything.readers.engines.docvortex_blocks import Block, attach_loose_captions, blocks_to_elements

PAGED_SUFFIXES: Final = frozenset({"ppt", "pptx", "odp", "xls", "xlsx", "ods", "ofd"})
"""Formats whose page numbers mean something: slides, sheets and fixed pages."""

SLIDE_SUFFIXES: Final = frozenset({"ppt", "pptx", "odp"})

_DATA_URI = re.compile(r"data:image/([a-z0-9.+-]+);base64,(.+)", re.IGNORECASE | re.DOTALL)
_ENCRYPTED = re.compile(r"encrypt|password|protected|irm|rights management", re.IGNORECASE)


def parse_with_docvortex(
    path: Path, options: ParseOptions, assets: AssetStore, data: bytes | None = None
) -> ParsedFile:
    """Parse a file that is not a PDF with docvortex.

    Args:
        path: An existing local file: docx, pptx, xlsx, doc, ppt, xls, odt, odp, ods, rtf, epub, html or csv.
        options: Only ``profile`` matters: ``"fast"`` stores no images.
        assets: Where embedded images go.
        data: Content to parse in place of the file's own.

    Returns:
        The elements; pages are slides or sheets, and None for formats without pages.

    Raises:
        EncryptedFileError: The file needs a password.
        CorruptFileError: The file is damaged or not what it says.
        FileTooLargeError: The file exceeds a limit of docvortex.
        UnsupportedFormatError: docvortex does not read this format.
    """
    result = run_docvortex(path, data)
    suffix = result.middle_json.metadata.file_suffix
    resolve = functools.partial(store_body_image, sources=result.assets, assets=assets)
    elements: list[Element] = []
    for page in result.middle_json.pages:
        found = blocks_to_elements(
            page.model_dump(mode="json")["blocks"],
            page=page.page_idx + 1 if suffix in PAGED_SUFFIXES else None,
            resolve_asset=None if options.profile == "fast" else resolve,
            notes_subtype="slide_notes" if suffix in SLIDE_SUFFIXES else "page_footnote",
        )
        elements.extend(attach_loose_captions(found))
    properties = result.middle_json.metadata.document
    return ParsedFile(
        elements=elements,
        parser=docvortex_version(),
        title=(properties.title or None) if properties else None,
        warnings=[diagnostic.message for diagnostic in result.diagnostics],
    )


def run_docvortex(path: Path, data: bytes | None = None) -> Any:
    """Run docvortex on a file that is not a PDF.

    Args:
        data: Content to parse in place of the file's own.

    Returns:
        docvortex's ``DocumentResult``.

    Raises:
        ParseError: The file cannot be parsed; the subclass says why.
    """
    docvortex = load_docvortex()
    try:
        return docvortex.parse(path if data is None else data)
    except OSError:
        raise
    except Exception as error:
        # docvortex lets errors of zipfile, lxml and struct through on damaged files.
        raise parse_error(error, path) from error


def load_docvortex() -> Any:
    """Import docvortex with its debug log switched off.

    Returns:
        The module.

    Raises:
        MissingDependencyError: docvortex is not installed.
    """
    try:
        import docvortex
        from loguru import logger
    except ImportError as error:
        message = f"docvortex cannot be imported ({error}); install it with: pip install 'docvortex>=0.6.4,<0.7'"
        raise MissingDependencyError(message) from error
    # docvortex writes DEBUG lines to stderr through loguru.
    logger.disable("docvortex")
    return docvortex


@functools.cache
def docvortex_version() -> str:
    """Return name and version of the parser, for cache keys.

    Returns:
        Such as ``"docvortex 0.6.4"``.
    """
    try:
        return f"docvortex {version('docvortex')}"
    except PackageNotFoundError:
        return "docvortex"


def parse_error(error: BaseException, path: Path) -> ParseError:
    """Translate an exception of docvortex or of a library under it.

    Args:
        error: What was raised.
        path: The file that was parsed.

    Returns:
        The typed error to raise instead.
    """
    code = str(getattr(error, "code", ""))
    detail = f"{type(error).__name__}: {error}"[:300]
    source = str(path)
    if code == "file_type_unsupported":
        return UnsupportedFormatError(f"No embedded parser reads {path.name!r} ({detail}).", source)
    if code == "resource_limit":
        message = f"{path.name!r} exceeds a limit of the parser ({detail}); split it or convert it to PDF."
        return FileTooLargeError(message, source)
    if _ENCRYPTED.search(str(error)):
        detail = detail.rstrip(".")
        return EncryptedFileError(f"{path.name!r} is encrypted; save it without a password first ({detail}).", source)
    return CorruptFileError(f"{path.name!r} is damaged or not what its name says ({detail}).", source)


def store_body_image(body: Block, *, sources: Any, assets: AssetStore) -> str | None:
    """Store the image of a visual block's body.

    Args:
        body: A ``*_body`` block or an equation with ``image_path`` or ``image_base64``.
        sources: docvortex's mapping from image path to bytes.
        assets: Where the image goes.

    Returns:
        The asset's relative path, or None when the block has no image of its own (remote images are not fetched).
    """
    path = body.get("image_path")
    if path and path in sources:
        return assets.put(bytes(sources[path]), PurePosixPath(path).suffix)
    match = _DATA_URI.fullmatch(str(body.get("image_base64") or ""))
    if match is None:
        return None
    try:
        data = base64.b64decode(match[2], validate=False)
    except (binascii.Error, ValueError):
        return None
    return assets.put(data, "." + match[1].lower().removesuffix("+xml"))
