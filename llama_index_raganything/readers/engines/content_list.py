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
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from llama_index_raganything.elements import Element, label_of
from llama_index_raganything.errors import CorruptFileError, SourceError
from llama_index_raganything.readers.common.assets import AssetStore
from llama_index_raganything.readers.common.base import ParsedFile
from llama_index_raganything.readers.common.html_tables import rows_to_html
from llama_index_raganything.readers.engines.content_values import (
    box_of,
    first_words,
    flat_words,
    integer_of,
    page_of,
    strip_math,
    table_fields,
    text_of,
)
from llama_index_raganything.readers.sources.formats import KIND_OF_SUFFIX, image_suffix

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
            self._warn(f"Item {str(item)[:80]!r} of the content list is no dictionary and was left out.")
            return []
        kind = str(item.get("type") or "text")
        fields = self._fields(kind, item)
        if not fields:
            return []
        element = Element(page=page_of(item.get("page_idx")), bbox=box_of(item.get("bbox")), **fields)
        empty = not (element.text or element.caption or element.footnote or element.asset or element.rows)
        # A figure or formula with a place on the page can be cited although nothing is known of its content.
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
            self._warn(f"Items of the unknown type {kind[:80]!r} were read as text.")
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
            self._warn(f"{reference[:200]!r} was not taken from the content list: {error}")
            return None
        suffix = image_suffix(data[:64])
        if suffix is None and KIND_OF_SUFFIX.get(Path(reference).suffix.lower()) in {"audio", "video"}:
            suffix = Path(reference).suffix
        if suffix is None:
            self._warn(f"{reference[:200]!r} is no image and was not taken from the content list.")
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

    def _warn(self, message: str) -> None:
        self.warnings.append(message)


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
    return {"type": "code", "text": text, "caption": caption, "footnote": footnote} | {
        "label": label_of(caption),
        "subtype": subtype,
    }


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
    item = _item_body(element, path)
    item["page_idx"] = (element.page or 1) - 1
    if element.bbox is not None:
        item["bbox"] = list(element.bbox)
    return item


def _item_body(element: Element, path: str) -> dict[str, Any]:
    captions = [element.caption] if element.caption else []
    footnotes = [element.footnote] if element.footnote else []
    if element.type == "heading":
        return {"type": "text", "text": element.text, "text_level": element.level or 1}
    if element.type == "list":
        item = {"type": "text", "text": element.text, "list_items": element.text.split("\n")}
        return item | ({"sub_type": element.subtype} if element.subtype else {})
    if element.type == "image":
        item = {"type": "image", "img_path": path, "image_caption": captions, "image_footnote": footnotes}
        return item | _extras(element, content=element.html or element.text)
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
    if element.type in {"audio", "video"}:
        kind = element.type
        return {"type": kind, f"{kind}_path": path, f"{kind}_caption": captions, "text": element.text}
    if element.type == "furniture" or element.subtype in NOTE_TYPES:
        return {"type": element.subtype or "aside_text", "text": element.text}
    return {"type": "text", "text": element.text}


def _extras(element: Element, content: str) -> dict[str, Any]:
    extras: dict[str, Any] = {"content": content} if content else {}
    return extras | ({"sub_type": element.subtype} if element.subtype else {})
