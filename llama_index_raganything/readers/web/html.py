"""HTML to elements in one walk over the tree; Markdown, mail and e-books come this way too."""

from __future__ import annotations

import base64
import binascii
import html as html_module
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes

from lxml import etree
from lxml import html as lxml_html

from llama_index_raganything.elements import Element, label_of
from llama_index_raganything.errors import FileTooLargeError
from llama_index_raganything.images import SUFFIX_OF_FORMAT
from llama_index_raganything.readers.common.base import AssetStore, ParsedFile
from llama_index_raganything.readers.common.encoding import declared_encoding, decode_text
from llama_index_raganything.readers.common.html_tables import (
    BLOCK_TAGS,
    SKIPPED_TAGS,
    element_text,
    html_table_rows,
    parse_html_fragment,
    rows_to_markdown,
)

_LISTS: Final = frozenset({"ul", "ol", "menu"})
_MAX_INDENT: Final = 20


def list_text(root: Any) -> str:
    """Render a list with everything inside it.

    Args:
        root: An lxml ``ul``, ``ol`` or ``dl`` element.

    Returns:
        Lines with ``-`` or ``1.`` marks, indented by two blanks per level.
    """
    return _ListText().render(root)


class _ListText:
    """Walks without recursion; words are buffered until a line ends."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._buffer: list[str] = []
        self._counters: list[int] = []
        self._mark = ""

    def render(self, root: Any) -> str:
        """Walk and return the text."""
        walk = etree.iterwalk(root, events=("start", "end"))
        for event, node in walk:
            tag = node.tag if isinstance(node.tag, str) else ""
            if event == "start" and (not tag or tag in SKIPPED_TAGS):
                walk.skip_subtree()
            elif event == "start":
                self._start(node, tag)
            else:
                self._end(tag)
                self._buffer.append((node.tail or "") if node is not root else "")
        self._flush()
        return "\n".join(self._lines)

    def _start(self, node: Any, tag: str) -> None:
        if tag in BLOCK_TAGS and tag not in {"td", "th"}:
            self._flush()
        if tag in _LISTS:
            self._counters.append(0)
        elif tag == "li":
            self._mark = self._next_mark(node)
        self._buffer.append(f" {node.get('alt') or ''} " if tag == "img" else (node.text or ""))

    def _end(self, tag: str) -> None:
        if tag in {"td", "th"}:
            self._buffer.append(" ")
        elif tag in BLOCK_TAGS:
            self._flush()
        if tag in _LISTS and self._counters:
            self._counters.pop()

    def _next_mark(self, item: Any) -> str:
        parent = item.getparent()
        if not self._counters or parent is None or parent.tag != "ol":
            return "- "
        self._counters[-1] += 1
        return f"{self._counters[-1]}. "

    def _flush(self) -> None:
        text = " ".join("".join(self._buffer).split())
        self._buffer.clear()
        if text:
            indent = "  " * min(max(len(self._counters) - 1, 0), _MAX_INDENT)
            self._lines.append(indent + self._mark + text)
            self._mark = ""


PARSER: Final = "html 1"
"""Name and version for cache keys; raise the number when the output changes."""

MAX_BYTES: Final = 64 * 1024**2

ImageResolver = Callable[[str], str | None]
"""Turns an image reference into an asset, or None."""

_SKIPPED: Final = SKIPPED_TAGS | {"head", "svg", "iframe"}
_BLOCK_NAMES: Final = (
    "address article aside blockquote body button caption center dd details dialog div dt fieldset figure footer form "
    "header hr html legend li main nav option p section summary tbody td textarea tfoot th thead title tr"
)
_BLOCKS: Final = frozenset(_BLOCK_NAMES.split())
_HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
_MAX_LAYOUT_DEPTH: Final = 20
_LANGUAGE = re.compile(r"(?:^|\s)(?:language|lang|highlight|brush:?\s?)-?([\w+#\-]{1,30})")
_STRIPPED_LENGTH: Final = 10_000
_UNREAD = re.compile(r"<(script|style|head|svg)\b.*?</\1\s*>|<!--.*?-->", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<[^<>]{0,10000}>")
_SPACES = re.compile(r"[ \t\r\f\v\u00a0\n]+")


def html_elements(html: str, resolve_image: ImageResolver | None = None) -> list[Element]:
    """Turn HTML into elements.

    Args:
        html: A page or a fragment, possibly broken.
        resolve_image: Stores the image behind a reference; images have no asset without it.

    Returns:
        Headings, texts, lists, tables, images, code and equations in document order; no pages.
    """
    return _elements(parse_html_fragment(html), html, resolve_image)


def parse_html(path: Path, assets: AssetStore | None) -> ParsedFile:
    """Read a web page.

    Args:
        path: An ``.html`` file.
        assets: Where images go that lie in the page's own folder or inside it; None stores none.
            A URL is never followed.

    Returns:
        The page's title, description and elements.

    Raises:
        FileTooLargeError: The page is larger than :data:`MAX_BYTES`.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        message = f"{path.name!r} has {size:,} bytes; web pages may have {MAX_BYTES:,}. Split it."
        raise FileTooLargeError(message, str(path))
    data = path.read_bytes()
    html = decode_text(data, declared_encoding(data))
    return page_to_parsed(html, LocalImages(path.parent, assets) if assets is not None else None)


def page_to_parsed(html: str, resolve_image: ImageResolver | None) -> ParsedFile:
    """Turn a whole web page into elements, with what its head says.

    Args:
        resolve_image: Stores the image behind a reference.

    Returns:
        The title, the description (as first element, where the body does not say the same) and the elements.
    """
    root = parse_html_fragment(html)
    elements = _elements(root, html, resolve_image)
    title_node = None if root is None else next(root.iter("title"), None)
    title = element_text(title_node) if title_node is not None else ""
    description = _description(root)
    if description and all(description not in element.text for element in elements):
        elements.insert(0, Element(type="text", text=description, subtype="description"))
    return ParsedFile(elements=elements, parser=PARSER, title=title or first_heading(elements))


def first_heading(elements: list[Element]) -> str | None:
    """Return the text of the first heading of the highest level, or None without headings.

    Returns:
        The heading's text.
    """
    headings = [element for element in elements if element.type == "heading"]
    top = min((element.level or 1 for element in headings), default=0)
    return next((element.text for element in headings if (element.level or 1) == top), None)


def _elements(root: Any, html: str, resolve_image: ImageResolver | None) -> list[Element]:
    elements = [] if root is None else _Walker(resolve_image or (lambda _reference: None)).walk(root)
    if not elements and len(html) > _STRIPPED_LENGTH:
        # libxml2 gives up on trees thousands of levels deep; the words alone are better than nothing.
        words = _tidy(html_module.unescape(_TAG.sub(" ", _UNREAD.sub(" ", html))))
        elements = [Element(type="text", text=words)] if words else []
    return elements


def _description(root: Any) -> str:
    for meta in [] if root is None else root.iter("meta"):
        if (meta.get("name") or meta.get("property") or "").lower() in {"description", "og:description"}:
            return " ".join((meta.get("content") or "").split())
    return ""


class _Walker:
    """Collects elements; inline text is buffered until a block begins or ends."""

    def __init__(self, resolve_image: ImageResolver) -> None:
        self._resolve = resolve_image
        self._figures: list[tuple[int, str]] = []
        self._elements: list[Element] = []
        self._buffer: list[str] = []
        self._pending: list[Element] = []
        self._handlers: dict[str, Callable[[Any], None]] = {
            "table": self._table,
            "pre": self._code,
            "img": self._image,
            "math": self._math,
            "figcaption": self._caption,
            **dict.fromkeys(("ul", "ol", "dl"), self._list),
            **dict.fromkeys(_HEADINGS, self._heading),
        }

    def walk(self, root: Any) -> list[Element]:
        """Walk without recursion and return the elements."""
        events = etree.iterwalk(root, events=("start", "end"))
        for event, node in events:
            tag = node.tag if isinstance(node.tag, str) else ""
            if event == "start":
                if self._start(node, tag):
                    events.skip_subtree()
                continue
            if tag in _BLOCKS or tag in _HEADINGS:
                self._flush()
            if tag == "figure" and self._figures:
                self._end_figure()
            if node is not root:
                self._text(node.tail)
        self._flush()
        return self._elements

    def _start(self, node: Any, tag: str) -> bool:
        """Take an opening tag; return True when the subtree is done with."""
        if tag in _SKIPPED or not tag:
            return True
        if tag == "br":
            self._buffer.append("\n")
        handler = self._handlers.get(tag)
        if handler is not None and not (tag == "table" and _is_layout(node)):
            if tag not in {"img", "math"}:
                self._flush()
            handler(node)
            return True
        if tag in _BLOCKS or tag == "table":
            self._flush()
        if tag == "figure":
            self._figures.append((len(self._elements), ""))
        if "math" in (node.get("class") or "").split():
            self._math(node)
            return True
        self._text(node.text)
        return False

    def _text(self, text: str | None) -> None:
        if text:
            self._buffer.append(_SPACES.sub(" ", text))

    def _flush(self) -> None:
        text = _tidy("".join(self._buffer))
        self._buffer.clear()
        if text:
            self._elements.append(Element(type="text", text=text))
        self._elements.extend(self._pending)
        self._pending.clear()

    def _heading(self, node: Any) -> None:
        text = element_text(node)
        if text:
            self._elements.append(Element(type="heading", text=text, level=_HEADINGS[node.tag]))
        self._stored_images(node)

    def _table(self, node: Any) -> None:
        element = table_element(lxml_html.tostring(node, encoding="unicode", with_tail=False))
        caption = next(node.iter("caption"), None)
        if element is not None:
            text = element_text(caption) if caption is not None else ""
            self._elements.append(element.model_copy(update={"caption": text, "label": label_of(text)}))
        self._stored_images(node)

    def _code(self, node: Any) -> None:
        text = "".join(node.itertext()).strip("\n")
        if text.strip():
            self._elements.append(Element(type="code", text=text, subtype=_language(node)))

    def _list(self, node: Any) -> None:
        text = list_text(node)
        if text:
            self._elements.append(Element(type="list", text=text))
        self._stored_images(node)

    def _image(self, node: Any) -> None:
        alt = " ".join((node.get("alt") or "").split())
        asset = self._resolve(node.get("src") or "")
        # The alternative text stays where it is read; the image itself follows its paragraph.
        if alt and any(part.strip() for part in self._buffer):
            self._buffer.append(f" {alt} ")
        if asset or alt or node.get("title"):
            caption = " ".join((node.get("title") or "").split()) or alt
            self._pending.append(_image_element(asset, alt, caption))

    def _caption(self, node: Any) -> None:
        text = element_text(node)
        if self._figures:
            self._figures[-1] = (self._figures[-1][0], text)
        elif text:
            self._elements.append(Element(type="text", text=text))

    def _end_figure(self) -> None:
        """Give the figure's caption to its first image, table or code; keep it as text where there is none."""
        start, caption = self._figures.pop()
        if not caption:
            return
        for index in range(start, len(self._elements)):
            if self._elements[index].type in {"image", "table", "code"}:
                update = {"caption": caption, "label": label_of(caption)}
                self._elements[index] = self._elements[index].model_copy(update=update)
                return
        self._elements.append(Element(type="text", text=caption))

    def _math(self, node: Any) -> None:
        latex = _latex(node)
        if not latex:
            return
        if node.get("display") == "block" or "block" in (node.get("class") or "").split():
            self._flush()
            self._elements.append(Element(type="equation", text=latex))
        else:
            self._buffer.append(f"${latex}$")

    def _stored_images(self, node: Any) -> None:
        """Add the images inside a heading, list or table whose alternative text is already part of its text."""
        for image in node.iter("img"):
            asset = self._resolve(image.get("src") or "")
            if asset:
                alt = " ".join((image.get("alt") or "").split())
                self._elements.append(_image_element(asset, alt, alt))


def table_element(html: str, caption: str = "") -> Element | None:
    """Make a table element from the HTML of one table.

    Returns:
        The element, or None when the table has no text.
    """
    rows, header_rows = html_table_rows(html)
    if not any(cell for row in rows for cell in row):
        return None
    text = rows_to_markdown(rows, header_rows)
    return Element(
        type="table", text=text, caption=caption, label=label_of(caption), html=html, rows=rows, header_rows=header_rows
    )


def _image_element(asset: str | None, alt: str, caption: str) -> Element:
    return Element(type="image", text=alt, caption=caption, label=label_of(caption), asset=asset)


def _is_layout(table: Any) -> bool:
    """Tell whether a table is only there for layout: mail and old web pages are full of them."""
    if sum(1 for _ in zip(range(_MAX_LAYOUT_DEPTH), table.iterancestors("table"), strict=False)) == _MAX_LAYOUT_DEPTH:
        return False
    if (table.get("role") or "").lower() in {"presentation", "none"}:
        return True
    if any(next(table.iter(tag), None) is not None for tag in ("h1", "h2", "h3")):
        return True
    return all(len([cell for cell in row if cell.tag in {"td", "th"}]) <= 1 for row in table.iter("tr"))


def _language(node: Any) -> str | None:
    found = (_LANGUAGE.search(part.get("class") or "") for part in (node, *node.iter("code")))
    return next((match[1].lower() for match in found if match), None)


def _latex(node: Any) -> str:
    annotation = next((a for a in node.iter("annotation") if "tex" in (a.get("encoding") or "")), None)
    if annotation is not None:
        return (annotation.text or "").strip()
    return (node.get("alttext") or "".join(node.itertext())).strip()


def _tidy(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


MAX_IMAGE_BYTES: Final = 32 * 1024 * 1024
"""Larger images are not stored."""

_SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.\-]*:|^//|^\\\\")


class LocalImages:
    """Store the images that references lead to.

    Args:
        folder: References are resolved here and must not lead outside; None refuses all but ``data:`` URIs.
        assets: Where images go.
        parts: Images inside the file itself, by the name that references use, such as ``cid:logo`` in mail.
    """

    def __init__(self, folder: Path | None, assets: AssetStore, parts: dict[str, bytes] | None = None) -> None:
        self._folder = folder.resolve() if folder is not None else None
        self._assets = assets
        self._parts = parts or {}

    def __call__(self, reference: str) -> str | None:
        """Store the image behind a reference.

        Args:
            reference: A relative path, a ``data:`` URI or the name of a part; a URL is never followed.

        Returns:
            The asset's relative path, or None when there is no such image here.
        """
        data = self._bytes(reference.strip())
        suffix = readable_image_suffix(data) if data else None
        return self._assets.put(data, suffix) if data and suffix else None

    def _bytes(self, reference: str) -> bytes | None:
        if reference in self._parts:
            return self._parts[reference]
        if reference[:5].lower() == "data:":
            return _data_uri(reference)
        if not reference or self._folder is None or _SCHEME.match(reference):
            return None
        try:
            path = (self._folder / unquote(reference.split("#")[0].split("?")[0])).resolve()
            inside = path.is_relative_to(self._folder) and path.is_file() and path.stat().st_size <= MAX_IMAGE_BYTES
            return path.read_bytes() if inside else None
        except (OSError, ValueError):
            return None


def readable_image_suffix(data: bytes) -> str | None:
    """Return the file name extension of a raster image by its content.

    Args:
        data: Bytes that may be an image.

    Returns:
        ``".png"`` and so on, or None for anything that Pillow does not recognise.
    """
    from PIL import Image

    if len(data) > MAX_IMAGE_BYTES:
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            return SUFFIX_OF_FORMAT.get(image.format or "")
    except Exception:  # noqa: BLE001 - Pillow's readers raise many kinds of errors on damaged bytes; none of these is an image.
        return None


def _data_uri(reference: str) -> bytes | None:
    head, separator, body = reference.partition(",")
    if not separator or len(body) > 2 * MAX_IMAGE_BYTES:
        return None
    try:
        return base64.b64decode(unquote_to_bytes(body)) if ";base64" in head.lower() else unquote_to_bytes(body)
    except (binascii.Error, ValueError):
        return None
