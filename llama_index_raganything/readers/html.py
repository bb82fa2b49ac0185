"""HTML to elements in one walk over the tree; Markdown, mail and the ground text of web formats come this way too."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from lxml import etree
from lxml import html as lxml_html

from llama_index_raganything.elements import Element, label_of
from llama_index_raganything.readers.tables import (
    element_text,
    html_table_rows,
    parse_html_fragment,
    rows_to_markdown,
)

ImageResolver = Callable[[str], str | None]
"""Turns an image reference into an asset, or None."""

_SKIPPED: Final = frozenset({"script", "style", "template", "noscript", "head", "svg", "iframe", "object"})
_BLOCKS: Final = frozenset(
    {"address", "article", "aside", "blockquote", "body", "center", "dd", "details", "dialog", "div", "dt", "fieldset"}
    | {"figcaption", "footer", "form", "header", "hr", "legend", "li", "main", "nav", "option", "p", "section"}
    | {"summary", "tbody", "td", "textarea", "tfoot", "th", "thead", "title", "tr", "button", "caption", "html"}
)
_HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
_LANGUAGE = re.compile(r"(?:^|\s)(?:language|lang|highlight|brush:?\s?)-?([\w+#\-]{1,30})")
_SPACES = re.compile(r"[ \t\r\f\v\u00a0\n]+")


def html_elements(html: str, resolve_image: ImageResolver | None = None) -> list[Element]:
    """Turn HTML into elements.

    Args:
        html: A page or a fragment, possibly broken.
        resolve_image: Stores the image behind a reference; images have no asset without it.

    Returns:
        Headings, texts, lists, tables, images, code and equations in document order; no pages.
    """
    root = parse_html_fragment(html)
    return [] if root is None else _Walker(resolve_image or (lambda _reference: None)).walk(root)


def html_title(html: str) -> str | None:
    """Return the ``title`` of a page.

    Args:
        html: A page.

    Returns:
        The title with white space collapsed, or None.
    """
    root = parse_html_fragment(html)
    node = None if root is None else next(root.iter("title"), None)
    return (element_text(node) or None) if node is not None else None


class _Walker:
    """Collects elements; inline text is buffered until a block begins or ends."""

    def __init__(self, resolve_image: ImageResolver) -> None:
        self._resolve = resolve_image
        self._elements: list[Element] = []
        self._buffer: list[str] = []
        self._pending: list[Element] = []
        self._handlers: dict[str, Callable[[Any], None]] = {
            "table": self._table,
            "pre": self._code,
            "ul": self._list,
            "ol": self._list,
            "dl": self._list,
            "img": self._image,
            "math": self._math,
            "figure": self._figure,
        } | dict.fromkeys(_HEADINGS, self._heading)

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
        css = node.get("class") or ""
        if "math" in css.split():
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
        text = _list_text(node)
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

    def _figure(self, node: Any) -> None:
        caption_node = next(node.iter("figcaption"), None)
        caption = element_text(caption_node) if caption_node is not None else ""
        if caption_node is not None:
            caption_node.drop_tree() if hasattr(caption_node, "drop_tree") else None
        inner = _Walker(self._resolve).walk(node) if _shallow(node) else [Element(type="text", text=element_text(node))]
        target = next((e for e in inner if e.type in {"image", "table", "code"}), None)
        if target is not None and caption:
            index = inner.index(target)
            inner[index] = target.model_copy(update={"caption": caption, "label": label_of(caption)})
        elif caption:
            inner.append(Element(type="text", text=caption))
        self._elements.extend(inner)

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
        """Add the images inside a heading, list or table whose alternative text is already told."""
        for image in node.iter("img"):
            asset = self._resolve(image.get("src") or "")
            if asset:
                alt = " ".join((image.get("alt") or "").split())
                self._elements.append(_image_element(asset, alt, alt))


def table_element(html: str, caption: str = "") -> Element | None:
    """Make a table element from the HTML of one table.

    Args:
        html: The table.
        caption: Its caption.

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
    """Tell a table that only places things on the page: mail and old web pages are full of them."""
    if (table.get("role") or "").lower() in {"presentation", "none"}:
        return True
    if any(next(table.iter(tag), None) is not None for tag in ("h1", "h2", "h3")):
        return True
    return all(len([cell for cell in row if cell.tag in {"td", "th"}]) <= 1 for row in table.iter("tr"))


def _shallow(node: Any, limit: int = 50) -> bool:
    """Tell whether a subtree may be walked by a nested walker without deep recursion."""
    return sum(1 for _ in node.iterancestors("figure")) < limit


def _language(node: Any) -> str | None:
    for part in (node, *node.iter("code")):
        match = _LANGUAGE.search(part.get("class") or "")
        if match:
            return match[1].lower()
    return None


def _latex(node: Any) -> str:
    annotation = next((a for a in node.iter("annotation") if "tex" in (a.get("encoding") or "")), None)
    if annotation is not None:
        return (annotation.text or "").strip()
    return (node.get("alttext") or "".join(node.itertext())).strip()


def _list_text(root: Any) -> str:
    """Render a list with its nested lists, one item per line, indented by two blanks per level."""
    lines: list[str] = []
    buffer: list[str] = []
    depth, counters = 0, [0]
    prefix = ""

    def flush() -> None:
        nonlocal prefix
        text = " ".join("".join(buffer).split())
        buffer.clear()
        if text:
            lines.append("  " * max(depth - 1, 0) + prefix + text)
            prefix = ""

    for event, node in (walk := etree.iterwalk(root, events=("start", "end"))):
        tag = node.tag if isinstance(node.tag, str) else ""
        if event == "start":
            if tag in _SKIPPED or not tag:
                walk.skip_subtree()
                continue
            if tag in _BLOCKS or tag in {"ul", "ol", "dl", "pre", "table", "br"}:
                flush()
            if tag in {"ul", "ol"}:
                depth += 1
                counters.append(0)
            elif tag == "li":
                counters[-1] += 1
                prefix = f"{counters[-1]}. " if _is_ordered(node) else "- "
            buffer.append((node.get("alt") or "") if tag == "img" else (node.text or ""))
            continue
        if tag in _BLOCKS or tag in {"ul", "ol", "dl", "pre", "table"}:
            flush()
        if tag in {"ul", "ol"}:
            depth -= 1
            counters.pop()
        if node is not root:
            buffer.append(" " if tag in {"td", "th"} else "")
            buffer.append(node.tail or "")
    flush()
    return "\n".join(lines)


def _is_ordered(item: Any) -> bool:
    parent = item.getparent()
    return parent is not None and parent.tag == "ol"


def _tidy(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)
