"""PDF files: pdfium's words, docvortex's structure and, page by page, OCR where there are no words.

Each page's text layer is the ground. Structure (headings, tables, figures, captions, boxes) is joined
to it; where the structure lost words, the page's own lines stand in. A page without usable text is
recognised from its pixels. A page or a range of pages that fails becomes a warning, never a lost file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from llama_index_raganything.elements import Element
from llama_index_raganything.errors import ConfigurationError, CorruptFileError
from llama_index_raganything.readers.common.assets import AssetStore
from llama_index_raganything.readers.common.base import ParsedFile, ParseOptions
from llama_index_raganything.readers.engines.docvortex import docvortex_version
from llama_index_raganything.readers.engines.docvortex_blocks import (
    attach_loose_captions,
    blocks_to_elements,
    deepen_headings,
)
from llama_index_raganything.readers.pdf.page_labels import page_labels
from llama_index_raganything.readers.pdf.pages import PageParser
from llama_index_raganything.readers.pdf.structure import analyse_pages
from llama_index_raganything.readers.pdf.text import PDFIUM_LOCK, PageText, open_pdf, read_page
from llama_index_raganything.readers.pdf.unruled_tables.finder import caption_tables, merge_tables, page_tables

MAX_PAGES: Final = 20_000
"""Pages read of one file; damaged files claim billions."""

GARBLED_DOCUMENT_SHARE: Final = 0.25
"""Share of pages with a broken font from which the whole file is recognised from its pixels."""

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
    document = open_pdf(path)
    try:
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
            return ParsedFile(elements, parser=_fast_version(), title=title, warnings=warnings)
        elements = _parse_standard(path, document, texts, labels, options, assets, warnings)
    finally:
        with PDFIUM_LOCK:
            document.close()
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
    garbled = sum(text.garbled for text in texts)
    everything_by_ocr = options.ocr != "off" and garbled >= GARBLED_DOCUMENT_SHARE * len(texts) and garbled > 0
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


def _fast_version() -> str:
    from pypdfium2 import PYPDFIUM_INFO

    return f"pdfium {PYPDFIUM_INFO}"
