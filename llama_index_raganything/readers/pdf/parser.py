"""PDF files: pdfium's words, docvortex's structure and, page by page, OCR where there are no words.

Each page's text layer comes first. Structure (headings, tables, images, captions, boxes) is joined to it; where the
structure lost words, the page's own lines replace it. A page without usable text is recognised from its pixels. A page
or a range of pages that fails becomes a warning, never a lost file.

Structure analysis gives types and boxes but loses words, breaks tables without rules into single numbers, and mixes
up right-to-left text. The lines of the text layer repair all three. Which pages and images are recognised from their
pixels is decided in :mod:`llama_index_raganything.readers.common.ocr_decision`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from llama_index_raganything.elements import Box, Element
from llama_index_raganything.errors import ConfigurationError, CorruptFileError
from llama_index_raganything.readers.common.base import AssetStore, ParsedFile, ParseOptions
from llama_index_raganything.readers.common.layout import Line, area, covered_share, is_row, paragraphs, rounded
from llama_index_raganything.readers.common.ocr import OCR_SCALE, recognise
from llama_index_raganything.readers.common.ocr_decision import (
    image_lacks_words,
    image_needs_ocr,
    page_needs_ocr,
    whole_file_needs_ocr,
)
from llama_index_raganything.readers.common.rendering import (
    PDFIUM_LOCK,
    crop_box,
    opened_pdf,
    render_page,
    store_jpeg,
    store_page,
)
from llama_index_raganything.readers.engines.docvortex import (
    analyse_pages,
    attach_loose_captions,
    blocks_to_elements,
    deepen_headings,
    docvortex_version,
)
from llama_index_raganything.readers.pdf.tables.finder import caption_tables, merge_tables, page_tables
from llama_index_raganything.readers.pdf.text import PageText, page_labels, page_lines, picture_boxes, read_page

MAX_PAGES: Final = 20_000
"""Pages read of one file; damaged files claim billions."""

_RANGE = re.compile(r"\s*(\d{1,9})\s*(?:(-)\s*(\d{1,9})?\s*)?")
_JUNK_TITLE = re.compile(
    r"microsoft (?:word|powerpoint)|powerpoint presentation|untitled|\(?anonymous\)?$|slide \d|document\d*$|[\W\d_]*$"
    r"|.*\.(?:docx?|pptx?|xlsx?|indd|qxd|pdf)$",
    re.IGNORECASE,
)


def parse_pdf(path: Path, options: ParseOptions, assets: AssetStore) -> ParsedFile:
    """Parse a PDF file.

    Args:
        path: An existing local file.
        options: What to extract; ``profile="fast"`` reads the text layer alone.
        assets: Where crops and page images go.

    Returns:
        One ``page`` element per page with its whole text, followed by the page's other elements.

    Raises:
        SourceError: The file cannot be read.
        EncryptedFileError: The file needs a password.
        CorruptFileError: The file is empty, truncated or no PDF, or none of its pages can be read.
        ConfigurationError: ``options.page_range`` is malformed or names no page of the file.
        MissingDependencyError: OCR is needed and its packages are not installed.
    """
    with opened_pdf(path) as document:
        with PDFIUM_LOCK:
            count, title = len(document), _title(document)
        warnings = [f"only the first {MAX_PAGES} of {count} pages are read"] if count > MAX_PAGES else []
        indices = select_pages(options.page_range, min(count, MAX_PAGES))
        texts = [read_page(document, index) for index in indices]
        warnings.extend(text.problem for text in texts if text.problem)
        if all(text.problem for text in texts):
            message = f"No page of {path.name!r} can be read: {texts[0].problem}."
            raise CorruptFileError(message, str(path))
        labels = page_labels(texts)
        if options.profile == "fast":
            elements = [_page_element(text, label) for text, label in zip(texts, labels, strict=True)]
            from pypdfium2 import PYPDFIUM_INFO

            return ParsedFile(elements, parser=f"pdfium {PYPDFIUM_INFO}", title=title, warnings=warnings)
        elements = _parse_standard(path, document, texts, labels, options, assets, warnings)
    title = title or next((e.text for e in elements if e.subtype == "doc_title"), None)
    return ParsedFile(elements, parser=docvortex_version(), title=title, warnings=warnings)


def select_pages(page_range: str | None, count: int) -> list[int]:
    """Read a page range.

    Args:
        page_range: 1-based inclusive ranges such as ``"1-5,8,20-"``, or None for all pages.

    Returns:
        0-based pages in increasing order, those beyond the file left out.

    Raises:
        ConfigurationError: The range is malformed or names no page of the file.
    """
    if page_range is None or not page_range.strip():
        return list(range(count))
    chosen: set[int] = set()
    for part in page_range.split(","):
        match = _RANGE.fullmatch(part)
        if match is None or int(match[1]) < 1:
            message = f"page_range {page_range!r} is malformed at {part!r}; write it as '1-5,8,20-'."
            raise ConfigurationError(message)
        first = int(match[1])
        last = int(match[3]) if match[3] else (count if match[2] else first)
        chosen.update(range(first - 1, min(last, count)))
    if not chosen:
        message = f"page_range {page_range!r} names no page of a file with {count} pages."
        raise ConfigurationError(message)
    return sorted(chosen)


def _parse_standard(
    path: Path,
    document: Any,
    texts: Sequence[PageText],
    labels: Sequence[str | None],
    options: ParseOptions,
    assets: AssetStore,
    warnings: list[str],
) -> list[Element]:
    everything_by_ocr = whole_file_needs_ocr([text.garbled for text in texts], options.ocr)
    structured = [] if everything_by_ocr else [t.index for t in texts if t.text and not t.garbled and not t.problem]
    structure: dict[int, list[Element]] = {}
    for result in analyse_pages(path, structured):
        if isinstance(result, str):
            warnings.append(result)
            continue
        index, blocks = result
        structure[index] = blocks_to_elements(blocks, page=index + 1)
    parser = PageParser(document, options, assets, warnings, everything_by_ocr=everything_by_ocr)
    elements: list[Element] = []
    by_columns, page_count = set(structured), len(document)
    for text, label in zip(texts, labels, strict=True):
        tables = page_tables(document, text, page_count) if text.index in by_columns else []
        found = merge_tables(structure.pop(text.index, []), tables)
        found = attach_loose_captions(found)
        page, others = parser.parse(text, found)
        elements.append(_page_element(text, label).model_copy(update=page))
        elements.extend(deepen_headings(caption_tables(others)))
    return elements


def _page_element(text: PageText, label: str | None) -> Element:
    return Element(type="page", text=text.text, page=text.index + 1, page_label=label)


def _title(document: Any) -> str | None:
    title = str(document.get_metadata_dict().get("Title") or "").strip()
    return None if not title or _JUNK_TITLE.match(title) else title[:300]


PICTURE_PAGE_AREA: Final = 0.6
"""Share of the page that an image covers on a page that is one large image."""

PICTURE_TEXT_CHARACTERS: Final = 1000
"""A page image with more text than this is a scanned text page; its words stay in its text elements."""

MIN_STRUCTURE_WORDS: Final = 0.5
"""Share of a page's words below which its structure is not trusted with text."""

COMPLETE_STRUCTURE_WORDS: Final = 0.9
"""Share of a page's words below which lines that the structure left out are looked for."""

PAGE_IMAGE_AREA: Final = 0.6
"""Images that cover a larger share of the page do not take its words away from text elements."""

PROSE_LINE_WORDS: Final = 12
"""A line with at least this many words that is no row of numbers is running text."""

MIN_PROSE_LINES: Final = 3
"""A table without a grid that holds at least this many lines of running text is no table."""

MIN_SHATTERED: Final = 6
"""Number of elements that are one number ("46,298") from which a page is taken to hold a shattered table."""

TITLE_DISTANCE: Final = 60
"""A header at most this far above a shattered table, in thousandths of the page, is the table's title."""

_CROPPED: Final = frozenset({"image", "table", "equation"})
_WORDED: Final = frozenset({"text", "list", "heading", "furniture", "code"})
_WORD = re.compile(r"\w+")
_LETTER = re.compile(r"[^\W\d_]{2}")


class RenderedPage:
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

    @cached_property
    def full(self) -> Any:
        """The page at the resolution of crops, or None when it cannot be rendered."""
        return render_page(self._document, self._index, self._scale)

    def for_ocr(self) -> Any:
        """Return the page at the resolution of OCR, or None when it cannot be rendered."""
        if self._scale < OCR_SCALE:
            return render_page(self._document, self._index, OCR_SCALE)
        image = self.full
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
        rendered = RenderedPage(self._document, page.index, self._options.crop_dpi / 72)
        changes: dict[str, Any] = {}
        elements = with_lost_words(page, structure, lambda: page_lines(self._document, page.index))
        if page_needs_ocr(
            page.text,
            self._options.ocr,
            unreadable=page.garbled or self._everything_by_ocr,
            image=lambda: rendered.full,
            known=lambda: [rounded(line.box) for line in page_lines(self._document, page.index)],
        ):
            image = rendered.for_ocr()
            found = recognise(image) if image is not None else []
            text = "" if page.garbled or self._everything_by_ocr else page.text
            changes = {"text": joined_text(text, found), "ocr": bool(found)}
            elements = self._merge_ocr([] if not text else elements, found, page)
        elif page.garbled:
            self._warnings.append(f"page {page.index + 1}: its font has no usable character map and OCR is off")
        if self._options.image_ocr and self._options.ocr != "off":
            elements = [self._with_image_words(element, rendered) for element in elements]
        elements = [self._with_crop(element, rendered) for element in elements]
        if self._options.page_images:
            changes["asset"] = store_page(rendered.full, self._options, self._assets)
        return changes, elements

    def _merge_ocr(self, elements: list[Element], lines: Sequence[Line], page: PageText) -> list[Element]:
        number = page.index + 1
        if not elements or all(element.type == "furniture" for element in elements):
            found = [*elements, *place_lines([], lines, number, ocr=True, reorder=True)]
            return [*self._page_picture(page, lines), *found]
        inside = [self._with_image_lines(element, lines) for element in elements]
        return place_lines(inside, lines, number, ocr=True, reorder=True)

    def _with_image_lines(self, element: Element, lines: Sequence[Line]) -> Element:
        if element.bbox is None or not image_lacks_words(element):
            return element
        inside = _lines_inside(element.bbox, lines)
        if not inside:
            return element
        return element.model_copy(update={"text": joined_text(element.text, inside), "ocr": True})

    def _page_picture(self, page: PageText, lines: Sequence[Line]) -> list[Element]:
        boxes = picture_boxes(self._document, page.index)
        large = [box for box in boxes if area(box) >= PICTURE_PAGE_AREA]
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

    def _with_image_words(self, element: Element, rendered: RenderedPage) -> Element:
        if element.bbox is None or not image_needs_ocr(element):
            return element
        crop = crop_box(rendered.for_ocr(), element.bbox)
        words = joined_text(element.text, recognise(crop)) if crop is not None else element.text
        return element.model_copy(update={"text": words, "ocr": True}) if words != element.text else element

    def _with_crop(self, element: Element, rendered: RenderedPage) -> Element:
        if element.type not in _CROPPED or element.bbox is None or element.asset:
            return element
        crop = crop_box(rendered.full, element.bbox)
        if crop is None:
            return element
        return element.model_copy(update={"asset": store_jpeg(crop, self._assets)})


def with_lost_words(page: PageText, structure: list[Element], lines: Callable[[], list[Line]]) -> list[Element]:
    """Complete the structure of a page with the words of its text layer.

    Args:
        page: The page's text layer.
        structure: Elements that structure analysis found on it, in reading order.
        lines: Gives the lines of the text layer; called only where they are needed.

    Returns:
        The elements; those that lost their words replaced by paragraphs of the text layer.
    """
    words = len(_WORD.findall(page.text))
    kept = sum(len(_WORD.findall(f"{e.text} {e.caption} {e.footnote}")) for e in structure)
    complete = kept >= COMPLETE_STRUCTURE_WORDS * words
    if not words or (complete and not page.right_to_left and not _is_doubtful(structure)):
        return structure
    found = lines()
    if kept < MIN_STRUCTURE_WORDS * words:
        visuals = [element for element in structure if element.type not in _WORDED]
        return place_lines(visuals, found, page.index + 1, ocr=False)
    if page.right_to_left:
        # docvortex mixes up the order of right-to-left words; pdfium does not.
        structure = [reworded(element, found) for element in structure]
    structure = [formula_words(element, found) for element in structure]
    structure = [element for element in structure if not _is_prose_table(element, found)]
    if is_shattered(structure):
        structure = without_shattered(structure)
    return place_lines(structure, found, page.index + 1, ocr=False)


def is_shattered(elements: Iterable[Element]) -> bool:
    """Tell whether a table without rules was broken into single numbers.

    Returns:
        True when at least :data:`MIN_SHATTERED` text elements hold no word.
    """
    return sum(_is_single_number(element) for element in elements) >= MIN_SHATTERED


def without_shattered(elements: Sequence[Element]) -> list[Element]:
    """Leave out single numbers and what is beside them, so that whole rows can take their place.

    Returns:
        The elements that have nothing to do with the shattered table.
    """
    numbers = [element.bbox for element in elements if _is_single_number(element) and element.bbox]
    top = min((box[1] for box in numbers), default=0)
    return [e for e in elements if not _is_part_of_rows(e, numbers) and not _is_title_above(e, top)]


def place_lines(
    elements: list[Element], lines: Iterable[Line], page: int, *, ocr: bool, reorder: bool = False
) -> list[Element]:
    """Add lines that no element covers, as paragraphs, where they belong in the reading order.

    Args:
        elements: Elements of the page in reading order.
        page: 1-based page.
        ocr: Whether the lines were recognised from pixels.
        reorder: Find the reading order of the lines from their boxes.

    Returns:
        The elements with the new text elements among them.
    """
    boxes = [e.bbox for e in elements if e.bbox and (e.text or e.type == "image") and (ocr or not _fills_page(e))]
    missing = [
        line
        for line in lines
        # Bullets and specks that OCR sees as lines of their own are no words.
        if (not ocr or _WORD.search(line.text)) and not any(covered_share(line.box, box) >= 0.5 for box in boxes)
    ]
    placed = list(elements)
    position = 0
    for paragraph in paragraphs(missing, reorder=reorder):
        added = Element(type="text", text=paragraph.text, page=page, bbox=rounded(paragraph.box), ocr=ocr)
        below = (i for i, other in enumerate(elements) if other.bbox and _stands_above(paragraph.box, other.bbox))
        anchor = next(below, None)
        position = len(placed) if anchor is None else placed.index(elements[anchor])
        placed.insert(position, added)
    return placed


def reworded(element: Element, lines: Iterable[Line]) -> Element:
    """Replace an element's words by the lines of the text layer inside its box.

    Args:
        lines: Lines of the page's text layer.

    Returns:
        The element with the lines' words, or as it was when no line lies inside.
    """
    text = _words_inside(element, lines) if not element.rows else ""
    return element.model_copy(update={"text": text}) if text else element


def formula_words(element: Element, lines: Iterable[Line]) -> Element:
    """Give an equation without LaTeX the characters in its box.

    Args:
        lines: Lines of the page's text layer.

    Returns:
        An equation with plain characters (``subtype="plain"``), or the element as it was.
    """
    if element.type != "equation" or element.text:
        return element
    text = _words_inside(element, lines)
    return element.model_copy(update={"text": text, "subtype": "plain"}) if text else element


def joined_text(text: str, lines: Iterable[Line]) -> str:
    """Append recognised lines to a text, except those it already has.

    Args:
        text: The text layer, or an empty string.
        lines: Recognised lines.

    Returns:
        The text with one more line per line that is new.
    """
    known = " ".join(text.split()).casefold()
    new = [line.text for line in lines if " ".join(line.text.split()).casefold() not in known or not known]
    return "\n".join(part for part in (text, *new) if part)


def _words_inside(element: Element, lines: Iterable[Line]) -> str:
    if element.bbox is None:
        return ""
    return "\n".join(paragraph.text for paragraph in paragraphs(_lines_inside(element.bbox, lines)))


def _lines_inside(box: Box, lines: Iterable[Line]) -> list[Line]:
    return [line for line in lines if covered_share(line.box, box) >= 0.5]


def _stands_above(box: Sequence[float], other: Box) -> bool:
    overlap = min(box[2], other[2]) - max(box[0], other[0])
    return overlap > 0 and box[3] <= other[1] + 5


def _fills_page(element: Element) -> bool:
    return element.type == "image" and element.bbox is not None and area(element.bbox) > PAGE_IMAGE_AREA


def _is_doubtful(structure: Sequence[Element]) -> bool:
    """Tell whether elements may hold less than the lines in their place, however many words they have."""
    without_words = any(e.type == "equation" and not e.text for e in structure)
    without_grid = any(e.type == "table" and not e.rows for e in structure)
    return without_words or without_grid or is_shattered(structure) or any(map(_fills_page, structure))


def _is_prose_table(element: Element, lines: Iterable[Line]) -> bool:
    """Tell whether a table is a stretch of the page with paragraphs in it, taken for a table by mistake."""
    if element.type != "table" or element.rows or element.bbox is None:
        return False
    inside = (line.text for line in _lines_inside(element.bbox, lines))
    return sum(len(text.split()) >= PROSE_LINE_WORDS and not is_row(text) for text in inside) >= MIN_PROSE_LINES


def _is_single_number(element: Element) -> bool:
    if element.type not in {"text", "furniture"} or element.subtype == "page_number" or len(element.text) > 20:
        return False
    return _LETTER.search(element.text) is None


def _is_title_above(element: Element, top: int) -> bool:
    """Tell whether a line just above a table is its title, taken for a running header because it is repeated."""
    if element.subtype != "header" or element.bbox is None:
        return False
    return 0 <= top - element.bbox[3] <= TITLE_DISTANCE


def _is_part_of_rows(element: Element, numbers: Sequence[Box]) -> bool:
    if _is_single_number(element):
        return True
    if element.type not in {"text", "furniture", "heading"} or element.bbox is None:
        return False
    top, bottom = element.bbox[1], element.bbox[3]
    return any(top <= (box[1] + box[3]) / 2 <= bottom for box in numbers)
