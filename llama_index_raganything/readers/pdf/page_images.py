"""Pictures of whole PDF pages, for search by what a page shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llama_index_raganything.errors import RAGAnythingError
from llama_index_raganything.readers.assets import AssetStore
from llama_index_raganything.readers.base import ParsedFile, ParseOptions
from llama_index_raganything.readers.pdf.crops import has_ink, render_page, store_jpeg
from llama_index_raganything.readers.pdf.text import PDFIUM_LOCK, open_pdf


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
    factor = (options.max_page_pixels / (image.width * image.height)) ** 0.5
    if factor < 1:
        size = (max(1, int(image.width * factor)), max(1, int(image.height * factor)))
        image = image.resize(size, reducing_gap=2)
    return store_jpeg(image, assets)


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
