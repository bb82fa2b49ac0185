"""RAG-Anything's ``content_list``, in all its dialects, to elements and back.

The dialects are those of MinerU's two formats, RAG-Anything's text reader, its Docling and PaddleOCR
parsers, and its documentation for lists made by hand: captions are a list, a string or missing and go by
``image_caption`` or ``img_caption``; ``table_body`` is HTML, Markdown, rows or Docling's cells; pages count from 0.

A content list may come from anywhere, so it may not choose which files are read: images are taken only from
below ``asset_root``, links resolved, and only when they are images by content. URLs are never fetched.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from llama_index_raganything.elements import Box, Element, label_of
from llama_index_raganything.errors import CorruptFileError, SourceError
from llama_index_raganything.readers.common.base import AssetStore, ParsedFile
from llama_index_raganything.readers.common.html_tables import html_table_rows, rows_to_html, rows_to_markdown
from llama_index_raganything.readers.sources.formats import KIND_OF_SUFFIX, image_suffix
from llama_index_raganything.tables.pipe_tables import begins_with_table, pipe_cells

MAX_ASSET_BYTES: Final = 100_000_000
"""Larger files named by a content list are not copied."""

FURNITURE_TYPES: Final = frozenset(
    {"header", "footer", "page_number", "aside_text", "page_header", "page_footer", "page_aside_text"}
)
"""Item types of page furniture."""

NOTE_TYPES: Final = frozenset({"page_footnote", "footnote"})
"""Item types of footnotes, which are text of the page and not furniture."""

_HEADINGS: Final = frozenset({"title", "heading", "doc_title", "paragraph_title"})
_LISTS: Final = frozenset({"list", "index"})
_CODES: Final = frozenset({"code", "algorithm"})
_EQUATIONS: Final = frozenset({"equation", "interline_equation", "equation_interline"})
_IMAGES: Final = frozenset({"image", "chart", "figure", "picture"})
_PLAIN: Final = frozenset({"text", "paragraph", "ref_text", "abstract", "phonetic"})

# "12", "- iv -", "Page A-3", "第 7 页"
_PAGE_NUMBER = re.compile(
    r"\W*(?:page|p\.|第)?\W*(?P<number>\d{1,4}|[ivxlcdm]{1,8}|[A-Z]-?\d{1,4})\W*页?\W*", re.IGNORECASE
)

Item = Mapping[str, Any]


def content_list_to_elements(
    items: Iterable[Any], *, assets: AssetStore, asset_root: Path | None, base: Path | None = None
) -> ParsedFile:
    """Normalise a content list.

    Args:
        items: Items of a content list, in reading order.
        assets: Where images and media are copied to.
        asset_root: Folder below which files may be taken; None takes none.
        base: Folder that relative paths start from; ``asset_root`` when None.

    Returns:
        The elements, with a warning for each file that was not taken and each unknown type.
    """
    normaliser = _Normaliser(assets, asset_root, base)
    elements = label_pages([element for item in items for element in normaliser.elements(item)])
    return ParsedFile(elements, parser="content_list", title=_title(elements), warnings=normaliser.warnings)


def label_pages(elements: list[Element]) -> list[Element]:
    """Give the elements of a page the number that is printed on it, where a parser found one.

    Args:
        elements: Elements of one document, page numbers among its furniture.

    Returns:
        The elements; a label that is the page's place in the document, or that is no number, is left out.
    """
    printed: dict[int, str] = {}
    for element in elements:
        match = _PAGE_NUMBER.fullmatch(element.text) if element.subtype == "page_number" else None
        if match is not None and element.page is not None:
            printed.setdefault(element.page, match["number"])
    labels = {page: label for page, label in printed.items() if label != str(page)}
    return [
        element.model_copy(update={"page_label": labels[element.page]}) if element.page in labels else element
        for element in elements
    ]


def read_content_list_file(path: Path, *, assets: AssetStore, asset_root: Path | None) -> ParsedFile:
    """Read a JSON file that holds a content list, bare or under the key ``content_list``.

    Args:
        path: The file; relative image paths start from its folder.
        assets: Where images and media are copied to.
        asset_root: Folder below which files may be taken.

    Returns:
        The elements.

    Raises:
        SourceError: The file cannot be read.
        CorruptFileError: It is no JSON, or no content list.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        msg = f"{str(path)!r} is not valid JSON ({error}); export it again."
        raise CorruptFileError(msg, str(path)) from error
    except OSError as error:
        msg = f"{str(path)!r} cannot be read ({error}); check the path."
        raise SourceError(msg) from error
    items = content.get("content_list") if isinstance(content, dict) else content
    if not isinstance(items, list):
        message = f"{str(path)!r} holds no content list: expected a list, or a dictionary with 'content_list'."
        raise CorruptFileError(message, str(path))
    return content_list_to_elements(items, assets=assets, asset_root=asset_root, base=path.parent)


def elements_to_content_list(elements: Iterable[Element], *, assets: AssetStore) -> list[dict[str, Any]]:
    """Express elements as a content list that RAG-Anything's pipeline takes.

    Args:
        elements: Elements in reading order.
        assets: The store that their assets are in.

    Returns:
        Items with 0-based pages and absolute image paths. A page's whole text, which a content list cannot
        tell from a paragraph, is left out where the page has other elements.
    """
    kept = list(elements)
    covered = {e.page for e in kept if e.type not in {"page", "furniture"}}
    return [_item(e, assets) for e in kept if not (e.type == "page" and e.page in covered)]


class _Normaliser:
    """Turns items into elements and collects warnings."""

    def __init__(self, assets: AssetStore, asset_root: Path | None, base: Path | None) -> None:
        self._assets = assets
        self._root = asset_root.resolve() if asset_root is not None else None
        self._base = base or self._root or Path()
        self._unknown: set[str] = set()
        self.warnings: list[str] = []

    def elements(self, item: Any) -> list[Element]:
        if not isinstance(item, Mapping):
            self.warnings.append(f"Item {str(item)[:80]!r} of the content list is no dictionary and was left out.")
            return []
        kind = str(item.get("type") or "text")
        fields = self._fields(kind, item)
        if not fields:
            return []
        element = Element(page=page_of(item.get("page_idx")), bbox=box_of(item.get("bbox")), **fields)
        empty = not (element.text or element.caption or element.footnote or element.asset or element.rows)
        # An image or equation with a box can be cited although nothing is known of its content.
        return [] if empty and (element.bbox is None or element.type in {"text", "list", "heading"}) else [element]

    def _fields(self, kind: str, item: Item) -> dict[str, Any]:
        if kind in _IMAGES:
            return self._image(kind, item)
        if kind == "table":
            return self._table(item)
        if kind in _EQUATIONS:
            text = strip_math(first_words(item, "text", "latex", "content"))
            return {"type": "equation", "text": text, "asset": self._asset(item, "img_path", "equation_img_path")}
        if kind in _CODES:
            return _code(item) | {"asset": self._asset(item, "img_path")}
        if kind in {"audio", "video"}:
            return self._media(kind, item)
        return self._worded(kind, item)

    def _worded(self, kind: str, item: Item) -> dict[str, Any]:
        items = item.get("list_items")
        if kind in _LISTS or (items and kind in _PLAIN):
            text = "\n".join(flat_words(items)) if items else first_words(item, "text", "content")
            subtype = "index" if kind == "index" else text_of(item.get("sub_type") or item.get("list_type")) or None
            return {"type": "list", "text": text, "subtype": subtype}
        text = first_words(item, "text", "content")
        level = integer_of(item.get("text_level")) or 0
        if kind in _HEADINGS or (kind in _PLAIN and level > 0):
            return {"type": "heading", "text": text, "level": max(1, level)}
        if kind in FURNITURE_TYPES:
            return {"type": "furniture", "text": text, "subtype": kind}
        if kind not in _PLAIN | NOTE_TYPES and kind not in self._unknown:
            self._unknown.add(kind)
            self.warnings.append(f"Items of the unknown type {kind[:80]!r} were read as text.")
        subtype = "page_footnote" if kind in NOTE_TYPES else text_of(item.get("sub_type")) or None
        return {"type": "text", "text": text, "subtype": None if subtype == "text" else subtype}

    def _image(self, kind: str, item: Item) -> dict[str, Any]:
        caption = first_words(item, "image_caption", "img_caption", "chart_caption", "caption", "captions")
        footnote = first_words(item, "image_footnote", "img_footnote", "chart_footnote", "footnote", "footnotes")
        subtype = "chart" if kind == "chart" else text_of(item.get("sub_type")) or None
        text = first_words(item, "content", "text", "alt")
        table = table_fields(text) if "<table" in text else {"text": text}
        return table | {
            "type": "image",
            "caption": caption,
            "footnote": footnote,
            "label": label_of(caption),
            "subtype": subtype,
            "asset": self._asset(item, "img_path", "image_path"),
        }

    def _table(self, item: Item) -> dict[str, Any]:
        caption = first_words(item, "table_caption", "caption", "captions")
        body = next((item[key] for key in ("table_body", "html", "table_data", "content", "text") if item.get(key)), "")
        return table_fields(body) | {
            "type": "table",
            "caption": caption,
            "footnote": first_words(item, "table_footnote", "footnote", "footnotes"),
            "label": label_of(caption),
            "asset": self._asset(item, "img_path", "table_img_path"),
        }

    def _media(self, kind: str, item: Item) -> dict[str, Any]:
        path = text_of(item.get(f"{kind}_path"))
        return {
            "type": kind,
            "text": first_words(item, "text", "content", "transcript") or Path(path).name,
            "caption": first_words(item, f"{kind}_caption", "caption"),
            "footnote": first_words(item, f"{kind}_footnote"),
            "asset": self._asset(item, f"{kind}_path"),
        }

    def _asset(self, item: Item, *keys: str) -> str | None:
        reference = next((text_of(item[key]) for key in keys if item.get(key)), "")
        if not reference:
            return None
        try:
            data = _data_uri(reference) if reference[:5].lower() == "data:" else self._read(reference)
        except (OSError, ValueError, SourceError) as error:
            self.warnings.append(f"{reference[:200]!r} was not taken from the content list: {error}")
            return None
        suffix = image_suffix(data[:64])
        if suffix is None and KIND_OF_SUFFIX.get(Path(reference).suffix.lower()) in {"audio", "video"}:
            suffix = Path(reference).suffix
        if suffix is None:
            self.warnings.append(f"{reference[:200]!r} is no image and was not taken from the content list.")
            return None
        return self._assets.put(data, suffix)

    def _read(self, reference: str) -> bytes:
        if "://" in reference:
            raise SourceError("URLs in content lists are not fetched.")
        if self._root is None:
            raise SourceError("no asset_root is given, so no file is read.")
        path = (self._base / reference).resolve()
        if not path.is_relative_to(self._root):
            message = f"it is not below {str(self._root)!r}; set asset_root to the folder of the images."
            raise SourceError(message)
        if not path.is_file():
            raise SourceError("there is no such file.")
        if path.stat().st_size > MAX_ASSET_BYTES:
            msg = f"it has over {MAX_ASSET_BYTES:,} bytes."
            raise SourceError(msg)
        return path.read_bytes()


def _code(item: Item) -> dict[str, Any]:
    caption = first_words(item, "code_caption", "caption")
    text = next((_code_text(item[key]) for key in ("code_body", "content", "text") if item.get(key)), "")
    subtype = text_of(item.get("code_language") or item.get("guess_lang") or item.get("sub_type")) or None
    lines = text.split("\n")
    if len(lines) > 1 and lines[0].startswith("```") and lines[-1].strip() == "```":
        subtype = lines[0][3:].strip() or subtype
        text = "\n".join(lines[1:-1])
    if subtype is None and item.get("type") == "algorithm":
        subtype = "algorithm"
    footnote = first_words(item, "code_footnote", "footnote")
    fields = {"type": "code", "text": text, "caption": caption, "footnote": footnote}
    return fields | {"label": label_of(caption), "subtype": subtype}


def _code_text(value: Any) -> str:
    return "\n".join(str(line) for line in value) if isinstance(value, list) else str(value).strip("\n")


def _title(elements: list[Element]) -> str | None:
    first_page = elements[0].page if elements else None
    return next((e.text for e in elements if e.type == "heading" and e.level == 1 and e.page == first_page), None)


def _data_uri(reference: str) -> bytes:
    head, _, body = reference.partition(",")
    if ";base64" not in head.lower() or len(body) > 2 * MAX_ASSET_BYTES:
        raise SourceError("only base64 data URIs of moderate size are read.")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        msg = f"its base64 is damaged ({error})."
        raise SourceError(msg) from error


def _item(element: Element, assets: AssetStore) -> dict[str, Any]:
    path = str(assets.resolve(element.asset)) if element.asset else ""
    item = _item_body(element, path) | {"page_idx": (element.page or 1) - 1}
    return item if element.bbox is None else item | {"bbox": list(element.bbox)}


def _item_body(element: Element, path: str) -> dict[str, Any]:
    captions = [element.caption] if element.caption else []
    footnotes = [element.footnote] if element.footnote else []
    sub_type = {"sub_type": element.subtype} if element.subtype else {}
    if element.type == "heading":
        return {"type": "text", "text": element.text, "text_level": element.level or 1}
    if element.type == "list":
        item = {"type": "text", "text": element.text, "list_items": element.text.split("\n")}
        return item | sub_type
    if element.type == "image":
        item = {"type": "image", "img_path": path, "image_caption": captions, "image_footnote": footnotes}
        content = element.html or element.text
        return item | ({"content": content} if content else {}) | sub_type
    if element.type == "table":
        body = element.html or rows_to_html(element.rows or [], element.header_rows) or element.text
        item = {"type": "table", "img_path": path, "table_body": body}
        return item | {"table_caption": captions, "table_footnote": footnotes}
    if element.type == "equation":
        text_format = "latex" if element.text else "unknown"
        return {"type": "equation", "text": element.text, "text_format": text_format, "img_path": path}
    if element.type == "code":
        item = {"type": "code", "code_body": element.text, "code_language": element.subtype or "", "img_path": path}
        return item | {"code_caption": captions, "code_footnote": footnotes}
    if (kind := element.type) in {"audio", "video"}:
        return {"type": kind, f"{kind}_path": path, f"{kind}_caption": captions, "text": element.text}
    if element.type == "furniture" or element.subtype in NOTE_TYPES:
        return {"type": element.subtype or "aside_text", "text": element.text}
    return {"type": "text", "text": element.text}


def first_words(item: Mapping[str, Any], *keys: str) -> str:
    """Return the first value among some keys that has words.

    Args:
        item: An item of a content list.
        *keys: Keys to try, in order.

    Returns:
        The words, or an empty string.
    """
    return next((text for key in keys if (text := text_of(item.get(key)))), "")


def text_of(value: Any) -> str:
    """Return the words of a string, number, list or dictionary, joined by blanks.

    Args:
        value: Any JSON value.

    Returns:
        The words; empty for None.
    """
    return " ".join(flat_words(value))


def flat_words(value: Any, depth: int = 0) -> list[str]:
    """Return the strings inside a JSON value, however deep.

    Args:
        value: Any JSON value; dictionaries give their ``text``, ``content`` or ``list_items``.
        depth: How deep the value lies already; below 20 nothing is looked for.

    Returns:
        Non-empty strings without surrounding blanks.
    """
    if value is None or depth > 20:
        return []
    if isinstance(value, list | tuple):
        return [part for entry in value for part in flat_words(entry, depth + 1)]
    if isinstance(value, Mapping):
        return flat_words(value.get("text") or value.get("content") or value.get("list_items"), depth + 1)
    text = str(value).strip()
    return [text] if text else []


def strip_math(text: str) -> str:
    """Return LaTeX without the marks that delimit it.

    Args:
        text: LaTeX, possibly inside ``$``, ``$$`` or brackets.

    Returns:
        The formula.
    """
    for mark in ("$$", "$"):
        if len(text) >= 2 * len(mark) and text.startswith(mark) and text.endswith(mark):
            return text[len(mark) : -len(mark)].strip()
    return text[2:-2].strip() if text.startswith("\\[") and text.endswith("\\]") else text


def integer_of(value: Any) -> int | None:
    """Return an integer given as a number or as digits.

    Args:
        value: Any JSON value.

    Returns:
        The integer, or None.
    """
    if isinstance(value, str) and len(value) < 20 and value.strip().isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def page_of(value: Any) -> int | None:
    """Return the 1-based page of a 0-based ``page_idx``.

    Args:
        value: Any JSON value.

    Returns:
        The page, or None.
    """
    number = integer_of(value)
    return number + 1 if number is not None and 0 <= number < 10_000_000 else None


def box_of(value: Any) -> Box | None:
    """Return a box in thousandths of the page.

    Args:
        value: Four numbers in thousandths, or in fractions as in MinerU's own JSON.

    Returns:
        The box, or None when it is in another unit or no box.
    """
    if not isinstance(value, list | tuple) or len(value) != 4:
        return None
    if not all(isinstance(edge, int | float) and not isinstance(edge, bool) for edge in value):
        return None
    # Thousandths of the page are the rule; fractions come from MinerU's own JSON. Other units are unknown.
    scale = 1000 if max(value) <= 1 and any(isinstance(edge, float) for edge in value) else 1
    edges = [edge * scale for edge in value]
    if not all(-1 <= edge <= 1001 for edge in edges):
        return None
    x0, y0, x1, y1 = (round(edge) for edge in edges)
    return (x0, y0, x1, y1)


def table_fields(body: Any) -> dict[str, Any]:
    """Return the element fields of a table, whatever form its body has.

    Args:
        body: HTML, a Markdown table, rows, records, or Docling's ``TableData``.

    Returns:
        ``text``, and where the form is known ``rows``, ``header_rows`` and ``html``.
    """
    if isinstance(body, Mapping):
        rows, header_rows, html = *_docling_rows(body), None
    elif isinstance(body, list | tuple):
        rows, header_rows, html = *_listed_rows(body), None
    elif "<t" in (text := str(body)):
        rows, header_rows = html_table_rows(text)
        html = text
    else:
        rows, header_rows, html = *_markdown_rows(text), None
    if not rows:
        return {"text": text_of(body), "html": html}
    # Most parsers mark no header, and most tables have one.
    header_rows = min(header_rows or 1, len(rows))
    return {"rows": rows, "header_rows": header_rows, "html": html, "text": rows_to_markdown(rows, header_rows)}


def _docling_rows(data: Mapping[str, Any]) -> tuple[list[list[str]], int]:
    """Lay out Docling's ``TableData``: cells with offsets, spans expanded."""
    cells = data.get("table_cells")
    if not isinstance(cells, list):
        return _listed_rows(data.get("grid") or data.get("rows") or [])
    grid: dict[tuple[int, int], str] = {}
    header_rows: set[int] = set()
    for cell in cells:
        if not isinstance(cell, Mapping):
            continue
        top, bottom = _span(cell, "start_row_offset_idx", "end_row_offset_idx")
        left, right = _span(cell, "start_col_offset_idx", "end_col_offset_idx")
        if cell.get("column_header"):
            header_rows.update(range(top, bottom))
        for row in range(top, bottom):
            grid.update({(row, column): text_of(cell.get("text")) for column in range(left, right)})
    height = max((row for row, _ in grid), default=-1) + 1
    width = max((column for _, column in grid), default=-1) + 1
    rows = [[grid.get((row, column), "") for column in range(width)] for row in range(height)]
    leading = next((index for index in range(height) if index not in header_rows), height)
    return rows, leading


def _span(cell: Mapping[str, Any], start_key: str, end_key: str) -> tuple[int, int]:
    """Return a cell's first and past-the-end index, kept within limits that hostile input would break."""
    first = min(max(integer_of(cell.get(start_key)) or 0, 0), 10_000)
    last = integer_of(cell.get(end_key)) or first + 1
    return first, min(max(last, first + 1), first + 100)


def _listed_rows(body: Sequence[Any]) -> tuple[list[list[str]], int]:
    if body and all(isinstance(row, Mapping) for row in body):
        header = list(dict.fromkeys(str(key) for row in body for key in row))
        return [header, *([text_of(row.get(key)) for key in header] for row in body)], 1
    rows = [[text_of(cell) for cell in row] if isinstance(row, list | tuple) else [text_of(row)] for row in body]
    width = max((len(row) for row in rows), default=0)
    return [row + [""] * (width - len(row)) for row in rows], 0


def _markdown_rows(text: str) -> tuple[list[list[str]], int]:
    lines = [line.strip() for line in text.strip().splitlines()]
    if not begins_with_table(text):
        return [], 0
    rows = [list(pipe_cells(line)) for line in lines if line.startswith("|")]
    return _listed_rows([rows[0], *rows[2:]])[0], 1
