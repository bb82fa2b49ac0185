"""Which pages, files and images get OCR."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from llama_index_raganything.elements import Box, Element
from llama_index_raganything.readers.common.base import OcrMode
from llama_index_raganything.readers.common.layout import area
from llama_index_raganything.readers.common.rendering import has_ink

MIN_PAGE_CHARACTERS: Final = 200
"""A page with fewer characters is recognised, if there is more on it than those characters."""

GARBLED_FILE_SHARE: Final = 0.25
"""Share of pages with a broken font from which every page of the file is recognised."""

MIN_IMAGE_AREA: Final = 0.015
"""Smallest image on a page that is recognised on request, as a share of the page."""

MAX_IMAGE_CHARACTERS: Final = 60
"""Images on a page with at least this many characters of their own are not recognised."""


def whole_file_needs_ocr(garbled: Sequence[bool], mode: OcrMode) -> bool:
    """Tell whether enough pages of a file have a broken font for every page to be recognised.

    Args:
        garbled: Whether each page's font has no usable character map.
    """
    return mode != "off" and sum(garbled) >= max(1, GARBLED_FILE_SHARE * len(garbled))


def page_needs_ocr(
    text: str, mode: OcrMode, *, unreadable: bool, image: Callable[[], Any], known: Callable[[], list[Box]]
) -> bool:
    """Tell whether a page is recognised from its pixels.

    Args:
        text: The page's text layer.
        unreadable: The text layer cannot be trusted.
        image: Renders the page, or gives None; called only where the pixels decide.
        known: Gives the boxes of the text layer's words, likewise.
    """
    if mode == "off":
        return False
    if mode == "always" or unreadable:
        return image() is not None
    if len(text) >= MIN_PAGE_CHARACTERS or image() is None:
        return False
    return has_ink(image(), known() if text else [])


def image_lacks_words(element: Element) -> bool:
    """Tell whether an element is an image with hardly any text of its own."""
    return element.type == "image" and len(element.text) < MAX_IMAGE_CHARACTERS


def image_needs_ocr(element: Element) -> bool:
    """Tell whether an image on a page is recognised when the reader is asked for the words in images."""
    large = element.bbox is not None and area(element.bbox) >= MIN_IMAGE_AREA
    return large and not element.ocr and image_lacks_words(element)
