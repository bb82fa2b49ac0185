"""The text of HTML lists: one item per line, nested lists indented."""

from __future__ import annotations

from typing import Any, Final

from lxml import etree

from llama_index_raganything.readers.tables import BLOCK_TAGS, SKIPPED_TAGS

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
