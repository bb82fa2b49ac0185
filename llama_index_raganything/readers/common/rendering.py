"""Pixels of PDF pages through pdfium: rendering within limits, crops of elements, images of pages."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from llama_index_raganything.elements import Box
from llama_index_raganything.errors import CorruptFileError, EncryptedFileError
from llama_index_raganything.readers.common.base import AssetStore, ParseOptions, check_readable

PDFIUM_LOCK: Final = threading.RLock()
"""pdfium is not thread-safe: every call into it, docvortex's included, is made under this lock."""

MAX_RENDER_PIXELS: Final = 20_000_000
"""Pixels of one rendered page; larger pages are rendered at a lower resolution. A4 at 300 dpi has 8.7 million."""

_JPEG_QUALITY: Final = 90
_MARGIN: Final = 3
_INK_CONTRAST: Final = 48
"""Difference from the paper, of 255, that counts as ink."""

_INK_SHARE: Final = 0.002
"""Share of inked pixels below which a page counts as blank."""


def open_pdf(path: Path) -> Any:
    """Open a PDF file with pdfium.

    Returns:
        A ``pypdfium2.PdfDocument``; the caller closes it.

    Raises:
        SourceError: The file cannot be read.
        EncryptedFileError: The file needs a password.
        CorruptFileError: The file is empty, truncated or no PDF.
    """
    import pypdfium2

    check_readable(path)
    try:
        with PDFIUM_LOCK:
            document = pypdfium2.PdfDocument(path)
            count = len(document)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            message = f"{path.name!r} is encrypted; save it without a password first ({str(error).rstrip('.')})."
            raise EncryptedFileError(message, str(path)) from error
        message = f"{path.name!r} is not a readable PDF: {str(error).rstrip('.')}; it may be truncated or mislabelled."
        raise CorruptFileError(message, str(path)) from error
    if count == 0:
        document.close()
        message = f"{path.name!r} has no pages; it may be truncated."
        raise CorruptFileError(message, str(path))
    return document


@contextmanager
def opened_pdf(path: Path) -> Iterator[Any]:
    """Open a PDF file with pdfium and close it under the lock; see :func:`open_pdf`."""
    document = open_pdf(path)
    try:
        yield document
    finally:
        with PDFIUM_LOCK:
            document.close()


def render_page(document: Any, index: int, scale: float) -> Any:
    """Render a page.

    Args:
        document: An open ``pypdfium2.PdfDocument``.
        index: 0-based page.
        scale: Pixels per point (1/72 inch).

    Returns:
        A PIL image in RGB, or None when there is no such page or it cannot be rendered.
    """
    import pypdfium2

    with PDFIUM_LOCK:
        page = None
        try:
            page = document[index]
            width, height = page.get_size()
            if not (math.isfinite(width * height) and width > 0 and height > 0):
                return None
            scale = min(scale, math.sqrt(MAX_RENDER_PIXELS / (width * height)))
            if width * scale < 1 or height * scale < 1:
                return None
            # pdfium's memory goes with the bitmap, so the pixels are copied.
            return page.render(scale=scale).to_pil().convert("RGB").copy()
        except (pypdfium2.PdfiumError, ValueError, MemoryError, OverflowError):
            return None
        finally:
            if page is not None:
                page.close()


def crop_box(image: Any, box: Box) -> Any:
    """Cut an element out of the image of its page.

    Args:
        image: The rendered page; None when it could not be rendered.
        box: Box in thousandths of the page.

    Returns:
        The crop with a margin of a few pixels; None without an image or for an empty box.
    """
    if image is None:
        return None
    width, height = image.size
    left = max(0, math.floor(box[0] * width / 1000) - _MARGIN)
    top = max(0, math.floor(box[1] * height / 1000) - _MARGIN)
    right = min(width, math.ceil(box[2] * width / 1000) + _MARGIN)
    bottom = min(height, math.ceil(box[3] * height / 1000) + _MARGIN)
    return image.crop((left, top, right, bottom)) if right - left > 1 and bottom - top > 1 else None


def store_jpeg(image: Any, assets: AssetStore) -> str:
    """Store an image as JPEG.

    Args:
        image: A PIL image.
        assets: Where it goes.

    Returns:
        The asset's relative path.
    """
    return assets.put(encode_jpeg(image), ".jpg")


def encode_jpeg(image: Any) -> bytes:
    """Encode a PIL image as JPEG."""
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=_JPEG_QUALITY)
    return stream.getvalue()


def store_page(image: Any, options: ParseOptions, assets: AssetStore) -> str | None:
    """Store the image of a whole page, scaled down to ``options.max_page_pixels``.

    Args:
        image: The rendered page, a PIL image in RGB; None when it could not be rendered.

    Returns:
        The asset's relative path; None for a blank page and for one that could not be rendered.
    """
    if image is None or not has_ink(image):
        return None
    return store_jpeg(scaled_down(image, options.max_page_pixels), assets)


def scaled_down(image: Any, max_pixels: int) -> Any:
    """Return an image with at most ``max_pixels`` pixels, its proportions kept."""
    factor = (max_pixels / (image.width * image.height)) ** 0.5
    if factor >= 1:
        return image
    size = (max(1, int(image.width * factor)), max(1, int(image.height * factor)))
    return image.resize(size, reducing_gap=2)


def has_ink(image: Any, covered: list[Box] | None = None) -> bool:
    """Tell whether anything is on a page outside the boxes already read.

    Args:
        image: The rendered page.
        covered: Boxes, in thousandths, of the words that are known.

    Returns:
        False for a blank page and for a page with nothing but those words.
    """
    import numpy as np

    small = image.convert("L")
    small.thumbnail((800, 800))
    pixels = np.asarray(small, dtype=np.int16)
    paper = int(np.median(pixels))
    ink = np.abs(pixels - paper) > _INK_CONTRAST
    height, width = ink.shape
    for x0, y0, x1, y1 in covered or []:
        pad = 3
        ink[
            max(0, y0 * height // 1000 - pad) : y1 * height // 1000 + pad + 1,
            max(0, x0 * width // 1000 - pad) : x1 * width // 1000 + pad + 1,
        ] = False
    return bool(ink.mean() > _INK_SHARE)
