"""Images of whole PDF pages that were parsed before, or by a parser that renders none."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from llama_index_raganything._files import replace_file
from llama_index_raganything.errors import RAGAnythingError
from llama_index_raganything.readers.cache import ParseCache, file_hash
from llama_index_raganything.readers.common.base import AssetStore, ParsedFile, ParseOptions
from llama_index_raganything.readers.common.rendering import (
    PDFIUM_LOCK,
    encode_jpeg,
    opened_pdf,
    render_page,
    scaled_down,
    store_page,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PageImages:
    """Images of the pages of PDF files that were read before, rendered when they are first asked for.

    Only the file that was read is rendered: a file that has changed since, or that a forged path leads to, has another
    content hash. Images are kept beside the cached parse of the file and are deleted with it.

    Attributes:
        cache: Where they are kept; None keeps none.
        max_pixels: Pixels of an image at most.
        dpi: Resolution of pages that stay below that, in dots per inch.
    """

    cache: ParseCache | None = None
    max_pixels: int = 2_000_000
    dpi: int = 150

    def get(self, source: str, content_hash: str, page: int) -> bytes | None:
        """Return the image of a page as JPEG.

        Args:
            content_hash: SHA-256 of the file as it was read, in hex.
            page: 1-based number of the page.

        Returns:
            The image; None when the file is gone, has changed, is no PDF or has no such page.
        """
        kept = None if self.cache is None else self.cache.folder(content_hash) / f"page-{page}-{self.max_pixels}.jpg"
        try:
            if kept is not None and kept.is_file():
                return kept.read_bytes()
            if not _is_content(source, content_hash):
                return None
            image = self._render(Path(source), page)
        except (OSError, RAGAnythingError) as error:
            logger.warning("Page %d of %s is not shown as an image: %s", page, source, error)
            return None
        if kept is not None and image is not None:
            _keep(image, kept)
        return image

    def _render(self, path: Path, page: int) -> bytes | None:
        with opened_pdf(path) as document:
            with PDFIUM_LOCK:
                count = len(document)
            image = render_page(document, page - 1, self.dpi / 72) if 1 <= page <= count else None
        return None if image is None else encode_jpeg(scaled_down(image, self.max_pixels))


def _keep(image: bytes, path: Path) -> None:
    try:
        replace_file(path, image)
    except OSError as error:
        logger.warning("The image of a page cannot be kept in %s and will be rendered again: %s", path.parent, error)


def _is_content(source: str, content_hash: str) -> bool:
    """Tell whether a path leads to a PDF file with this content."""
    path = Path(source)
    if path.suffix.lower() != ".pdf" or not path.is_file():
        return False
    state = os.stat(path)
    return _hash_of(str(path), state.st_size, state.st_mtime_ns) == content_hash


@lru_cache(maxsize=256)
def _hash_of(path: str, size: int, modified_ns: int) -> str:  # noqa: ARG001 # Another size or time is another file.
    return file_hash(Path(path))


def add_page_images(path: Path, parsed: ParsedFile, options: ParseOptions, assets: AssetStore) -> None:
    """Add the images of pages after a parser that renders none: the fast profile, or one of RAG-Anything's.

    Args:
        path: The PDF file.
        parsed: What the parser made of it; its ``page`` elements are changed.
        options: Resolution and pixels.
    """
    bare = {
        element.page: place
        for place, element in enumerate(parsed.elements)
        if element.type == "page" and element.page is not None and element.asset is None
    }
    if not bare:
        return
    try:
        with opened_pdf(path) as document:
            with PDFIUM_LOCK:
                count = len(document)
            for page, place in bare.items():
                image = render_page(document, page - 1, options.crop_dpi / 72) if page <= count else None
                asset = store_page(image, options, assets)
                parsed.elements[place] = parsed.elements[place].model_copy(update={"asset": asset})
    except RAGAnythingError as error:
        parsed.warnings.append(f"its pages cannot be rendered: {error}")
