"""Turn docvortex's block tree into elements, purely: no files, no parser, no pixels.

The block types are those of docvortex 0.6's Middle JSON (``docvortex.schema``); blocks are
taken as the plain dictionaries of ``PageInfo.model_dump(mode="json")``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from llama_index_raganything.elements import Box, Element, ElementType, label_of
from llama_index_raganything.readers.common.html_tables import html_table_rows, rows_to_markdown

Block = Mapping[str, Any]
AssetResolver = Callable[[Block], str | None]
"""Gives the stored asset of a visual block's body, or None when it has none."""

_FURNITURE: Final = frozenset({"header", "footer", "page_number", "aside_text"})
_VISUALS: Final = frozenset({"image", "chart", "table", "code"})
_LOOSE_CAPTION_LENGTH: Final = 300
_LOOSE_CAPTION = re.compile(
    r"^\s*(?:fig(?:ure|\.)?|table|tab\.|chart|exhibit|图表|图|圖|表)\s*[A-Z]?\.?\d", re.IGNORECASE
)

# "3.1.2 Results" and "A.1 Proofs" tell their depth; so do 第三章, 第二节, 一、 and （一）.
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
    """Move captions that stayed plain text to the figure or table beside them.

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
        # A table's caption usually stands above it, a figure's below.
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
        text = (
            inline_text(body.get("content"))
            if isinstance(body.get("content"), list)
            else str(body.get("content") or "")
        )
        subtype = block.get("guess_lang") or block.get("sub_type")
        element = Element(type="code", text=text.strip("\n"), subtype=subtype, **fields)
    else:
        content = str(body.get("content") or "").strip()
        element = Element(**_visual_payload(kind, content, block), **fields)
    has_something = element.text or element.caption or element.asset or element.bbox
    return element if has_something else None


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
