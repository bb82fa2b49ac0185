"""Pictures of whole PDF pages, for search by what a page shows."""

from __future__ import annotations

import io
import logging
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from llama_index_raganything._files import replace_file
from llama_index_raganything.errors import RAGAnythingError
from llama_index_raganything.readers.cache import ParseCache, file_hash
from llama_index_raganything.readers.common.assets import AssetStore
from llama_index_raganything.readers.common.base import ParsedFile, ParseOptions
from llama_index_raganything.readers.pdf.crops import JPEG_QUALITY, has_ink, render_page, store_jpeg
from llama_index_raganything.readers.pdf.text import PDFIUM_LOCK, open_pdf

logger = logging.getLogger(__name__)


def store_page(image: Any, options: ParseOptions, assets: AssetStore) -> str | None:
    """Store the picture of a page.

    Args:
        image: The rendered page, a PIL image in RGB; None when it could not be rendered.
        options: Says how many pixels it may have.
        assets: Where it goes.

    Returns:
        The asset's relative path; None for a blank page and for one that could not be rendered.
    """
    if image is None or not has_ink(image):
        return None
    return store_jpeg(_within(image, options.max_page_pixels), assets)


def _within(image: Any, max_pixels: int) -> Any:
    factor = (max_pixels / (image.width * image.height)) ** 0.5
    if factor >= 1:
        return image
    size = (max(1, int(image.width * factor)), max(1, int(image.height * factor)))
    return image.resize(size, reducing_gap=2)


@dataclass(frozen=True, slots=True)
class PagePictures:
    """Pictures of the pages of PDF files that were read before, rendered when they are first asked for.

    A picture is made only of the file that was read: what has changed since, or what a forged path leads to, has
    another content. Pictures lie beside the cached parse of the file and go with it.

    Attributes:
        cache: Where they are kept; None keeps none.
        max_pixels: Pixels of a picture.
        dpi: Resolution of a page that has fewer, in dots per inch.
    """

    cache: ParseCache | None = None
    max_pixels: int = 2_000_000
    dpi: int = 150

    def get(self, source: str, content_hash: str, page: int) -> bytes | None:
        """Return the picture of a page as JPEG.

        Args:
            content_hash: SHA-256 of the file as it was read, in hex.
            page: 1-based number of the page.

        Returns:
            The picture; None where the file is gone, has changed, is no PDF or has no such page.
        """
        kept = None if self.cache is None else self.cache.folder(content_hash) / f"page-{page}-{self.max_pixels}.jpg"
        try:
            if kept is not None and kept.is_file():
                return kept.read_bytes()
            if not _is_content(source, content_hash):
                return None
            picture = self._render(Path(source), page)
        except (OSError, RAGAnythingError) as error:
            logger.warning("Page %d of %s is not shown as a picture: %s", page, source, error)
            return None
        if kept is not None and picture is not None:
            _keep(picture, kept)
        return picture

    def _render(self, path: Path, page: int) -> bytes | None:
        document = open_pdf(path)
        try:
            with PDFIUM_LOCK:
                count = len(document)
            image = render_page(document, page - 1, self.dpi / 72) if 1 <= page <= count else None
        finally:
            with PDFIUM_LOCK:
                document.close()
        if image is None:
            return None
        stream = io.BytesIO()
        _within(image, self.max_pixels).save(stream, "JPEG", quality=JPEG_QUALITY)
        return stream.getvalue()


def _keep(picture: bytes, path: Path) -> None:
    try:
        replace_file(path, picture)
    except OSError as error:
        logger.warning("The picture of a page is shown, and cannot be kept in %s: %s", path.parent, error)


def _is_content(source: str, content_hash: str) -> bool:
    """Tell whether a path leads to a PDF file with some content."""
    path = Path(source)
    if path.suffix.lower() != ".pdf" or not path.is_file():
        return False
    state = os.stat(path)
    return _hash_of(str(path), state.st_size, state.st_mtime_ns) == content_hash


@lru_cache(maxsize=256)
def _hash_of(path: str, size: int, modified_ns: int) -> str:  # noqa: ARG001 # Another size or time is another file.
    return file_hash(Path(path))


def add_page_images(path: Path, parsed: ParsedFile, options: ParseOptions, assets: AssetStore) -> None:
    """Add the pictures of pages after a parser that renders none: the fast profile, or one of RAG-Anything's.

    Args:
        path: The PDF file.
        parsed: What the parser made of it; its ``page`` elements are changed.
        options: Resolution and pixels.
        assets: Where the pictures go.
    """
    bare = {
        element.page: place
        for place, element in enumerate(parsed.elements)
        if element.type == "page" and element.page is not None and element.asset is None
    }
    if not bare:
        return
    try:
        document = open_pdf(path)
    except RAGAnythingError as error:
        parsed.warnings.append(f"its pages cannot be rendered: {error}")
        return
    try:
        with PDFIUM_LOCK:
            count = len(document)
        for page, place in bare.items():
            image = render_page(document, page - 1, options.crop_dpi / 72) if page <= count else None
            asset = store_page(image, options, assets)
            parsed.elements[place] = parsed.elements[place].model_copy(update={"asset": asset})
    finally:
        with PDFIUM_LOCK:
            document.close()
