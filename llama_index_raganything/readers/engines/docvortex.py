"""docvortex, in this process, without models or a subprocess: office files and e-books, and the structure of PDF pages.

docvortex (MIT) reads office files, old and new, OpenDocument, RTF, EPUB, HTML and CSV. Of PDF files it gives the
structure alone, see :mod:`llama_index_raganything.readers.pdf.parser`. The block types are those of docvortex 0.6's
Middle JSON (``docvortex.schema``); blocks are the plain dictionaries of ``PageInfo.model_dump(mode="json")``.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import functools
import gc
import logging
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from llama_index_raganything._imports import package_version
from llama_index_raganything.elements import Box, Element, ElementType, label_of
from llama_index_raganything.errors import (
    CorruptFileError,
    EncryptedFileError,
    FileTooLargeError,
    MissingDependencyError,
    ParseError,
    UnsupportedFormatError,
)
from llama_index_raganything.readers.common.base import AssetStore, ParsedFile, ParseOptions
from llama_index_raganything.readers.common.html_tables import html_table_rows, rows_to_markdown
from llama_index_raganything.readers.common.rendering import PDFIUM_LOCK
from llama_index_raganything.readers.sources.formats import PAGED_SUFFIXES, SLIDE_SUFFIXES

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
    suffix = f".{result.middle_json.metadata.file_suffix}"
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


def analyse_pages(path: Path, indices: Sequence[int]) -> Iterator[tuple[int, list[Block]] | str]:
    """Analyse pages with docvortex, a few at a time.

    ``docvortex.parse(pdf)`` starts *spawn* workers to cut out images, which kills scripts without a ``__main__``
    guard; its analysis alone stays in this process.

    Args:
        path: A PDF file that pdfium opens.
        indices: 0-based pages in increasing order.

    Yields:
        Page and its blocks in reading order, or a warning for a range of pages that could not be analysed.
    """
    load_docvortex()
    # docvortex closes bitmaps it owns, of which pypdfium2 warns; pypdf reports every repaired reference.
    for name in ("pypdfium2", "pypdf"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for start in range(0, len(indices), PAGES_AT_ONCE):
        chosen = list(indices[start : start + PAGES_AT_ONCE])
        try:
            with PDFIUM_LOCK:
                pages = _analyse(path, chosen)
        except Exception as error:  # noqa: BLE001 - a damaged page may raise anything; its text is kept all the same.
            first, last = chosen[0] + 1, chosen[-1] + 1
            yield f"pages {first}-{last}: structure not recognised ({type(error).__name__}: {str(error)[:200]})"
        else:
            yield from pages
            del pages
        release_memory()


def release_memory() -> None:
    """Give freed memory back to the operating system, where its C library can."""
    gc.collect()
    if sys.platform == "linux":
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except (OSError, AttributeError):
            return  # musl has no malloc_trim.


def _analyse(path: Path, indices: list[int]) -> list[tuple[int, list[Block]]]:
    import docvortex
    from docvortex.analyzers.native import models
    from docvortex.document.source import prepare_source
    from docvortex.result import AnalysisResult
    from docvortex.schema import DocumentMetadata, ModelJson, Producer

    page_range = ",".join(str(index + 1) for index in indices)
    prepared = prepare_source(path, file_suffix="pdf", page_range=page_range)
    try:
        raw_pages: list[Any] = models.PdfModel().predict(prepared.document)
    finally:
        if prepared.document is not None:
            prepared.document.close()
    name, _, version = docvortex_version().partition(" ")
    metadata = DocumentMetadata(file_suffix="pdf", producer=Producer(name=name, version=version))
    model = ModelJson(pages=raw_pages, page_index_map=prepared.page_index_map or [], metadata=metadata)
    middle = docvortex.postprocess_document(AnalysisResult(model)).middle_json
    return [(page.page_idx, page.model_dump(mode="json")["blocks"]) for page in middle.pages]


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


def docvortex_version() -> str:
    """Return name and version of the parser, such as ``"docvortex 0.6.4"``."""
    return f"docvortex {package_version('docvortex')}"


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


PAGES_AT_ONCE: Final = 32
"""Pages analysed together: enough to recognise repeated headers, few enough to bound memory."""

Block = Mapping[str, Any]
AssetResolver = Callable[[Block], str | None]
"""Gives the stored asset of a visual block's body, or None when it has none."""

_FURNITURE: Final = frozenset({"header", "footer", "page_number", "aside_text"})
_VISUALS: Final = frozenset({"image", "chart", "table", "code"})
_LOOSE_CAPTION_LENGTH: Final = 300
_LOOSE_CAPTION = re.compile(
    r"^\s*(?:fig(?:ure|\.)?|table|tab\.|chart|exhibit|图表|图|圖|表)\s*[A-Z]?\.?\d", re.IGNORECASE
)

# "3.1.2 Results" and "A.1 Proofs" state their depth; so do 第三章, 第二节, 一、 and （一）.
_DECIMAL_NUMBER = re.compile(r"^(?P<number>(?:[A-Z]|\d{1,2})(?:\.\d{1,2})+|\d{1,2})\.?(?=\s+\S)")
_CHINESE_NUMBERS: Final = (
    (re.compile(r"^第\s*[一二三四五六七八九十百零\d]+\s*[章编篇部]"), 1),
    (re.compile(r"^第\s*[一二三四五六七八九十百零\d]+\s*节"), 2),
    (re.compile(r"^[一二三四五六七八九十]+、"), 1),
    (re.compile(r"^[(（][一二三四五六七八九十]+[)）]"), 2),
)


def blocks_to_elements(
    blocks: Iterable[Block],
    *,
    page: int | None,
    resolve_asset: AssetResolver | None = None,
    notes_subtype: str = "page_footnote",
) -> list[Element]:
    """Map the blocks of one page, slide, sheet or unpaged document to elements.

    Args:
        blocks: Blocks in reading order.
        page: 1-based page number, or None where the format has no pages.
        resolve_asset: Gives the asset of a visual body; none by default.
        notes_subtype: Subtype of ``page_footnote`` blocks, which are a slide's notes in presentations.

    Returns:
        Elements in the same order; blocks without words and without an asset or a box are left out.
    """
    resolve = resolve_asset or (lambda _body: None)
    elements = []
    for block in blocks:
        element = _element(block, resolve, notes_subtype)
        if element is not None:
            elements.append(element.model_copy(update={"page": page}))
    return elements


def inline_text(content: Any) -> str:
    """Return the words of a block's ``content``.

    Args:
        content: A string, a list of inline spans (formulas become ``$...$``), or nothing.

    Returns:
        Plain text without leading and trailing blanks.
    """
    return "".join(_inline_parts(content)).strip()


def list_text(content: Iterable[Block], depth: int = 0) -> str:
    """Return a list's items, one per line, nested lists indented by two blanks per level.

    Args:
        content: Child blocks of a ``list`` or ``index`` block.
        depth: Nesting level of these children.

    Returns:
        The items; their markers are part of docvortex's text.
    """
    lines = []
    for child in content:
        if child.get("type") in {"list", "index"}:
            lines.append(list_text(child.get("content") or [], depth + 1))
        elif words := inline_text(child.get("content")):
            lines.append("  " * depth + words)
    return "\n".join(line for line in lines if line)


def numbered_level(text: str) -> int | None:
    """Return how deep a heading's own numbering says it lies.

    Args:
        text: Heading text, such as ``"3.1.2 Results"`` or ``"第二节 方法"``.

    Returns:
        1 for a chapter, 2 for a section inside it and so on; None when the heading is not numbered.
    """
    text = text.strip()
    match = _DECIMAL_NUMBER.match(text)
    if match:
        return match["number"].count(".") + 1
    return next((depth for pattern, depth in _CHINESE_NUMBERS if pattern.match(text)), None)


def deepen_headings(elements: Iterable[Element]) -> list[Element]:
    """Give numbered headings the level that their numbering states.

    PDF analysis knows "title" and "heading" only; a title is level 1, so chapter 1 is level 2.

    Args:
        elements: Elements of a document whose parser flattens heading levels.

    Returns:
        The elements, numbered headings with their real level.
    """
    return [_deepen(element) if element.type == "heading" else element for element in elements]


def attach_loose_captions(elements: Iterable[Element]) -> list[Element]:
    """Move captions that stayed plain text to the image or table beside them.

    A short text that starts like "Figure 3" or "表 2" goes to the next neighbour on the same
    page that has no caption; a table's caption only to a table, any other not to a table.

    Args:
        elements: Elements of one document in reading order.

    Returns:
        The elements without the texts that became captions.
    """
    kept = list(elements)
    moved: set[int] = set()
    for index, element in enumerate(kept):
        if not _is_loose_caption(element):
            continue
        # A table's caption is usually above it, an image's below.
        order = (index + 1, index - 1) if _wants_table(element.text) else (index - 1, index + 1)
        for neighbour in order:
            if 0 <= neighbour < len(kept) and neighbour not in moved and _can_take(kept[neighbour], element):
                caption = element.text
                kept[neighbour] = kept[neighbour].model_copy(update={"caption": caption, "label": label_of(caption)})
                moved.add(index)
                break
    return [element for index, element in enumerate(kept) if index not in moved]


def to_box(bbox: Iterable[float] | None) -> Box | None:
    """Convert a box in fractions of the page to thousandths, rounded outwards.

    Args:
        bbox: ``(x0, y0, x1, y1)`` in 0..1, or None.

    Returns:
        The box in 0..1000, or None.
    """
    if bbox is None:
        return None
    x0, y0, x1, y1 = (float(edge) * 1000 for edge in bbox)
    return (math.floor(x0 + 1e-6), math.floor(y0 + 1e-6), math.ceil(x1 - 1e-6), math.ceil(y1 - 1e-6))


def _inline_parts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for span in content:
            kind = span.get("type")
            if kind == "equation_inline":
                yield f"${span.get('content', '').strip()}$"
            else:
                yield from _inline_parts(span.get("content"))


def _element(block: Block, resolve: AssetResolver, notes_subtype: str) -> Element | None:
    kind = str(block.get("type"))
    if kind in _VISUALS:
        return _visual(block, kind, resolve)
    if kind == "equation":
        asset = resolve(block)
        text = inline_text(block.get("content"))
        box = to_box(block.get("bbox"))
        return Element(type="equation", text=text, asset=asset, bbox=box) if text or asset or box else None
    return _worded(block, kind, notes_subtype)


def _worded(block: Block, kind: str, notes_subtype: str) -> Element | None:
    if kind in {"list", "index"}:
        text = list_text(block.get("content") or [])
        subtype = "index" if kind == "index" else block.get("sub_type")
        target: ElementType = "list"
    else:
        text = inline_text(block.get("content"))
        target, subtype = _worded_type(kind, notes_subtype)
    if not text:
        return None
    level = block.get("level") or 1
    return Element(
        type=target,
        text=text,
        bbox=to_box(block.get("bbox")),
        level=level if target == "heading" else None,
        subtype=None if subtype == "text" else subtype,
    )


def _worded_type(kind: str, notes_subtype: str) -> tuple[ElementType, str | None]:
    if kind in {"doc_title", "paragraph_title"}:
        return "heading", kind if kind == "doc_title" else None
    if kind in _FURNITURE:
        return "furniture", kind
    # Footnotes and slide notes carry content of their own, so they are text and not furniture.
    return "text", notes_subtype if kind == "page_footnote" else (None if kind == "text" else kind)


def _visual(block: Block, kind: str, resolve: AssetResolver) -> Element | None:
    body, captions, footnotes = _split_visual(block)
    caption = " ".join(captions)
    fields: dict[str, Any] = {
        "caption": caption,
        "footnote": " ".join(footnotes),
        "label": label_of(caption),
        "bbox": to_box(block.get("bbox") or body.get("bbox")),
        "asset": resolve(body),
    }
    if kind == "code":
        content = body.get("content")
        text = inline_text(content) if isinstance(content, list) else str(content or "")
        subtype = block.get("guess_lang") or block.get("sub_type")
        element = Element(type="code", text=text.strip("\n"), subtype=subtype, **fields)
    else:
        content = str(body.get("content") or "").strip()
        element = Element(**_visual_payload(kind, content, block), **fields)
    return element if element.text or element.caption or element.asset or element.bbox else None


def _split_visual(block: Block) -> tuple[Block, list[str], list[str]]:
    body: Block = {}
    captions: list[str] = []
    footnotes: list[str] = []
    children = block.get("content")
    if not isinstance(children, list):
        return block, captions, footnotes
    for child in children:
        kind = str(child.get("type"))
        if kind.endswith("_body"):
            body = child
        elif words := inline_text(child.get("content")):
            (captions if kind.endswith("_caption") else footnotes).append(words)
    return body, captions, footnotes


def _visual_payload(kind: str, content: str, block: Block) -> dict[str, Any]:
    subtype = "chart" if kind == "chart" else block.get("sub_type")
    target = "table" if kind == "table" else "image"
    rows, header_rows = html_table_rows(content) if "<t" in content else ([], 0)
    if not rows:
        # Tables whose grid is not recognised come as text laid out with blanks.
        return {"type": target, "text": content, "subtype": subtype}
    return {
        "type": target,
        "subtype": subtype,
        "html": content,
        "rows": rows,
        # Most parsers mark no header, and most tables have one.
        "header_rows": header_rows or 1,
        "text": rows_to_markdown(rows, header_rows or 1),
    }


def _deepen(element: Element) -> Element:
    depth = numbered_level(element.text)
    if depth is None or element.subtype == "doc_title":
        return element
    return element.model_copy(update={"level": max(element.level or 1, depth + 1)})


def _is_loose_caption(element: Element) -> bool:
    return (
        element.type in {"text", "heading"}
        and len(element.text) < _LOOSE_CAPTION_LENGTH
        and _LOOSE_CAPTION.match(element.text) is not None
    )


def _wants_table(caption: str) -> bool:
    return caption.lstrip().lower().startswith(("tab", "表"))


def _can_take(visual: Element, caption: Element) -> bool:
    if visual.type not in {"image", "table"} or visual.caption or visual.page != caption.page:
        return False
    return (visual.type == "table") == _wants_table(caption.text)
