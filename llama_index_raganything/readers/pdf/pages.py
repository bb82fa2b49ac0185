"""One page of a PDF: its structure, its lines and its pixels become elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from llama_index_raganything.elements import Element
from llama_index_raganything.readers.common.assets import AssetStore
from llama_index_raganything.readers.common.base import ParseOptions
from llama_index_raganything.readers.common.layout import Line, covered_share
from llama_index_raganything.readers.common.ocr import OCR_SCALE, recognise
from llama_index_raganything.readers.pdf.crops import crop_box, has_ink, render_page, store_jpeg
from llama_index_raganything.readers.pdf.page_images import store_page
from llama_index_raganything.readers.pdf.text import PageText, page_lines, picture_boxes
from llama_index_raganything.readers.pdf.words import joined_text, place_lines, rounded, with_lost_words

MIN_PAGE_CHARACTERS: Final = 200
"""A page with fewer characters is recognised from its pixels, if there is more on it than those characters."""

FIGURE_OCR_AREA: Final = 0.015
"""Smallest figure whose characters are recognised on request, as a share of the page."""

FIGURE_OCR_CHARACTERS: Final = 60
"""Figures with this many characters of their own are not recognised."""

PICTURE_PAGE_AREA: Final = 0.6
"""Share of the page that a picture covers on a page that is one big picture."""

PICTURE_TEXT_CHARACTERS: Final = 1000
"""A page picture with more text than this is a scanned text page; its words stay in its text elements."""

_CROPPED: Final = frozenset({"image", "table", "equation"})


class PagePicture:
    """The pixels of one page, rendered at most once per resolution and only when asked for.

    Args:
        document: An open ``pypdfium2.PdfDocument``.
        index: 0-based page.
        scale: Pixels per point (1/72 inch) of crops.
    """

    def __init__(self, document: Any, index: int, scale: float) -> None:
        self._document = document
        self._index = index
        self._scale = scale
        self._image: Any = None
        self._rendered = False

    def full(self) -> Any:
        """Return the page at the resolution of crops, or None when it cannot be rendered."""
        if not self._rendered:
            self._image = render_page(self._document, self._index, self._scale)
            self._rendered = True
        return self._image

    def for_ocr(self) -> Any:
        """Return the page at the resolution of OCR, or None when it cannot be rendered."""
        if self._scale < OCR_SCALE:
            return render_page(self._document, self._index, OCR_SCALE)
        image = self.full()
        if image is None or self._scale == OCR_SCALE:
            return image
        factor = OCR_SCALE / self._scale
        return image.resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))), reducing_gap=2)


class PageParser:
    """Turns the pages of one open file into elements.

    Args:
        document: An open ``pypdfium2.PdfDocument``.
        options: What to extract.
        assets: Where crops and page images go.
        warnings: List to which problems are added.
        everything_by_ocr: Recognise all pages, because the file's fonts are broken.
    """

    def __init__(
        self, document: Any, options: ParseOptions, assets: AssetStore, warnings: list[str], *, everything_by_ocr: bool
    ) -> None:
        self._document = document
        self._options = options
        self._assets = assets
        self._warnings = warnings
        self._everything_by_ocr = everything_by_ocr

    def parse(self, page: PageText, structure: list[Element]) -> tuple[dict[str, Any], list[Element]]:
        """Turn one page into elements.

        Args:
            page: The page's text layer.
            structure: Elements that the structure analysis found on it.

        Returns:
            Changes to the page's own element (``text``, ``ocr``, ``asset``), and the page's other elements.
        """
        picture = PagePicture(self._document, page.index, self._options.crop_dpi / 72)
        changes: dict[str, Any] = {}
        elements = with_lost_words(page, structure, lambda: page_lines(self._document, page.index))
        if self._needs_ocr(page, picture):
            found = recognise_page(picture)
            text = "" if page.garbled or self._everything_by_ocr else page.text
            changes = {"text": joined_text(text, found), "ocr": bool(found)}
            elements = self._merge_ocr([] if not text else elements, found, page)
        elif page.garbled:
            self._warnings.append(f"page {page.index + 1}: its font has no usable character map and OCR is off")
        if self._options.image_ocr and self._options.ocr != "off":
            elements = [self._read_figure(element, picture) for element in elements]
        elements = [self._with_crop(element, picture) for element in elements]
        if self._options.page_images:
            changes["asset"] = store_page(picture.full(), self._options, self._assets)
        return changes, elements

    def _needs_ocr(self, page: PageText, picture: PagePicture) -> bool:
        if self._options.ocr == "off":
            return False
        if self._options.ocr == "always" or self._everything_by_ocr or page.garbled:
            return picture.full() is not None
        if len(page.text) >= MIN_PAGE_CHARACTERS or picture.full() is None:
            return False
        known = [rounded(line.box) for line in page_lines(self._document, page.index)] if page.text else []
        return has_ink(picture.full(), known)

    def _merge_ocr(self, elements: list[Element], lines: Sequence[Line], page: PageText) -> list[Element]:
        number = page.index + 1
        if not elements or all(element.type == "furniture" for element in elements):
            found = [*elements, *place_lines([], lines, number, ocr=True, reorder=True)]
            return [*self._page_picture(page, lines), *found]
        inside = [self._with_figure_lines(element, lines) for element in elements]
        return place_lines(inside, lines, number, ocr=True, reorder=True)

    def _with_figure_lines(self, element: Element, lines: Sequence[Line]) -> Element:
        if element.type != "image" or element.bbox is None or len(element.text) >= FIGURE_OCR_CHARACTERS:
            return element
        box = element.bbox
        inside = [line for line in lines if covered_share(line.box, box) >= 0.5]
        if not inside:
            return element
        return element.model_copy(update={"text": joined_text(element.text, inside), "ocr": True})

    def _page_picture(self, page: PageText, lines: Sequence[Line]) -> list[Element]:
        boxes = picture_boxes(self._document, page.index)
        large = [box for box in boxes if (box[2] - box[0]) * (box[3] - box[1]) >= PICTURE_PAGE_AREA * 1_000_000]
        if not large:
            return []
        words = joined_text("", lines)
        return [
            Element(
                type="image",
                text=words if len(words) <= PICTURE_TEXT_CHARACTERS else "",
                page=page.index + 1,
                bbox=rounded(large[0]),
                subtype="page_picture",
                ocr=bool(words),
            )
        ]

    def _read_figure(self, element: Element, picture: PagePicture) -> Element:
        if element.type != "image" or element.bbox is None or len(element.text) >= FIGURE_OCR_CHARACTERS:
            return element
        x0, y0, x1, y1 = element.bbox
        if element.ocr or (x1 - x0) * (y1 - y0) < FIGURE_OCR_AREA * 1_000_000:
            return element
        image = picture.for_ocr()
        crop = crop_box(image, element.bbox) if image is not None else None
        words = joined_text(element.text, recognise(crop)) if crop is not None else element.text
        return element.model_copy(update={"text": words, "ocr": True}) if words != element.text else element

    def _with_crop(self, element: Element, picture: PagePicture) -> Element:
        if element.type not in _CROPPED or element.bbox is None or element.asset:
            return element
        image = picture.full()
        crop = crop_box(image, element.bbox) if image is not None else None
        if crop is None:
            return element
        return element.model_copy(update={"asset": store_jpeg(crop, self._assets)})


def recognise_page(picture: PagePicture) -> list[Line]:
    """Recognise a page's lines from its pixels.

    Returns:
        Lines with boxes in thousandths of the page; none when the page cannot be rendered.
    """
    image = picture.for_ocr()
    return recognise(image) if image is not None else []
