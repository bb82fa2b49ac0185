"""What Docling knows and RAG-Anything's Docling parser forgets, as a content list.

RAG-Anything 1.4.3 flattens headings, lists and code to text and drops table captions and boxes
(``DoclingParser.read_from_block``), but it also writes Docling's whole document as JSON. This reads
that JSON: the ``DoclingDocument`` schema of docling-core 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llama_index_raganything.readers.engines.content_list import flat_words, integer_of

Item = dict[str, Any]

_FURNITURE: Final = {"page_header": "header", "page_footer": "footer"}
_COLLECTIONS: Final = frozenset({"texts", "tables", "pictures", "groups", "key_value_items", "form_items"})
_MAX_DEPTH: Final = 100


def docling_items(document: Mapping[str, Any]) -> list[Item]:
    """Turn a Docling document into the items of a content list.

    Args:
        document: ``DoclingDocument.export_to_dict()``.

    Returns:
        Items in reading order with heading levels, lists, captions, code and boxes in thousandths of the page.
    """
    walker = _Walker(document)
    return _join_lists(list(walker.items("#/body", 0)))


class _Walker:
    """Walks the tree of a document; every reference is followed once."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        texts = document.get("texts") or []
        self._title_levels = 1 if any(t.get("label") == "title" for t in texts if isinstance(t, Mapping)) else 0
        # Captions and footnotes go with their image or table and not a second time as text.
        self._seen = {
            _reference(ref)
            for kind in ("pictures", "tables", "texts")
            for node in document.get(kind) or []
            if isinstance(node, Mapping)
            for key in ("captions", "footnotes")
            for ref in node.get(key) or []
        }

    def items(self, reference: str, depth: int) -> Iterator[Item]:
        node = self._node(reference)
        if node is None or reference in self._seen or depth > _MAX_DEPTH:
            return
        self._seen.add(reference)
        kind = reference.split("/")[1]
        item = self._item(kind, node)
        if item is not None:
            yield item | self._place(node)
        # The texts inside an image are part of its pixels; those of groups and list items are content.
        if kind not in {"pictures", "tables"}:
            for child in node.get("children") or []:
                yield from self.items(_reference(child), depth + 1)

    def _node(self, reference: str) -> Mapping[str, Any] | None:
        parts = reference.split("/")
        if reference == "#/body":
            node = self._document.get("body")
        elif len(parts) == 3 and parts[1] in _COLLECTIONS and parts[2].isdecimal():
            collection = self._document.get(parts[1]) or []
            node = collection[int(parts[2])] if int(parts[2]) < len(collection) else None
        else:
            node = None
        return node if isinstance(node, Mapping) else None

    def _item(self, kind: str, node: Mapping[str, Any]) -> Item | None:
        if kind == "texts":
            return self._text_item(node)
        if kind not in {"tables", "pictures"}:
            return None
        name = kind.replace("tables", "table").replace("pictures", "image")
        captions, notes = self._texts(node, "captions"), self._texts(node, "footnotes")
        item = {"type": name, "img_path": _uri(node), f"{name}_caption": captions, f"{name}_footnote": notes}
        return item | ({"table_body": node.get("data")} if kind == "tables" else {})

    def _text_item(self, node: Mapping[str, Any]) -> Item | None:
        label, text = str(node.get("label")), str(node.get("text") or node.get("orig") or "")
        if not text.strip():
            return None
        if label == "title":
            return {"type": "text", "text": text, "text_level": 1}
        if label == "section_header":
            level = (integer_of(node.get("level")) or 1) + self._title_levels
            return {"type": "text", "text": text, "text_level": level}
        if label == "list_item":
            marker = str(node.get("marker") or "").strip()
            return {"type": "list", "list_items": [f"{marker} {text}".strip()]}
        if label == "formula":
            return {"type": "equation", "text": text, "text_format": "latex"}
        if label == "code":
            language = str(node.get("code_language") or "").lower()
            return {"type": "code", "code_body": text, "code_language": "" if language == "unknown" else language}
        if label in _FURNITURE or node.get("content_layer") == "furniture":
            return {"type": _FURNITURE.get(label, "aside_text"), "text": text}
        return {"type": "page_footnote" if label == "footnote" else "text", "text": text}

    def _texts(self, node: Mapping[str, Any], key: str) -> list[str]:
        found = (self._node(_reference(ref)) for ref in node.get(key) or [])
        return [text for target in found if target for text in flat_words(target.get("text") or target.get("orig"))]

    def _place(self, node: Mapping[str, Any]) -> Item:
        """Return page and box of a node; a node that runs over several pages is where it begins."""
        for origin in node.get("prov") or []:
            page = integer_of(origin.get("page_no")) if isinstance(origin, Mapping) else None
            if page is None or page < 1:
                continue
            size = ((self._document.get("pages") or {}).get(str(page)) or {}).get("size") or {}
            box = _box(origin.get("bbox"), size)
            return {"page_idx": page - 1} | ({"bbox": box} if box else {})
        return {}


def _box(bbox: Any, size: Mapping[str, Any]) -> list[int] | None:
    """Scale a box to thousandths of the page, origin top left."""
    try:
        width, height = float(size["width"]), float(size["height"])
        left, right = 1000 * float(bbox["l"]) / width, 1000 * float(bbox["r"]) / width
        top, bottom = 1000 * float(bbox["t"]) / height, 1000 * float(bbox["b"]) / height
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if bbox.get("coord_origin") == "BOTTOMLEFT":
        top, bottom = 1000 - top, 1000 - bottom
    edges = (left, min(top, bottom), right, max(top, bottom))
    return [round(min(1000.0, max(0.0, edge))) for edge in edges]


def _join_lists(items: list[Item]) -> list[Item]:
    """Join the items of one list, which Docling keeps apart; their boxes are united."""
    joined: list[Item] = []
    for item in items:
        last = joined[-1] if joined else None
        if last and item["type"] == last["type"] == "list" and item.get("page_idx") == last.get("page_idx"):
            last["list_items"].extend(item["list_items"])
            if "bbox" in last and "bbox" in item:
                last["bbox"] = [min(last["bbox"][i], item["bbox"][i]) for i in (0, 1)] + [
                    max(last["bbox"][i], item["bbox"][i]) for i in (2, 3)
                ]
        else:
            joined.append(item)
    return joined


def _reference(value: Any) -> str:
    return str(value.get("$ref", "")) if isinstance(value, Mapping) else ""


def _uri(node: Mapping[str, Any]) -> str:
    image = node.get("image")
    return str(image.get("uri") or "") if isinstance(image, Mapping) else ""
