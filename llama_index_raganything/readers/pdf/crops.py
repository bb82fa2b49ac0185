"""Pixels of PDF pages: rendering within limits, crops of elements, pictures of pages."""

from __future__ import annotations

import io
import math
from typing import Any, Final

from llama_index_raganything.elements import Box
from llama_index_raganything.readers.common.assets import AssetStore
from llama_index_raganything.readers.pdf.text import PDFIUM_LOCK

MAX_RENDER_PIXELS: Final = 20_000_000
"""Pixels of one rendered page; larger pages are rendered at a lower resolution. A4 at 300 dpi has 8.7 million."""

JPEG_QUALITY: Final = 90
_MARGIN: Final = 3
_INK_CONTRAST: Final = 48
"""Difference from the paper, of 255, that counts as ink."""

_INK_SHARE: Final = 0.002
"""Share of inked pixels below which a page counts as blank."""


def render_page(document: Any, index: int, scale: float) -> Any:
    """Render a page.

    Args:
        document: An open ``pypdfium2.PdfDocument``.
        index: 0-based page.
        scale: Pixels per point (1/72 inch).

    Returns:
        A PIL image in RGB, or None when the page cannot be rendered.
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
    """Cut an element out of the picture of its page.

    Args:
        image: The rendered page.
        box: Box in thousandths of the page.

    Returns:
        The crop with a margin of a few pixels, or None for an empty box.
    """
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
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=JPEG_QUALITY)
    return assets.put(stream.getvalue(), ".jpg")


def has_ink(image: Any, covered: list[Box] | None = None) -> bool:
    """Tell whether anything stands on a page outside the boxes already read.

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
