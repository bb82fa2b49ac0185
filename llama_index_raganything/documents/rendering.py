"""Elements as readable text. Pure functions of data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from llama_index_raganything.elements import Element

SEPARATOR: Final = "\n\n"
"""What stands between two elements."""


def elements_to_text(elements: Iterable[Element]) -> str:
    """Render elements as readable text, page furniture left out.

    Args:
        elements: Elements in reading order.

    Returns:
        Markdown-like text. Page elements are used only where a page has no other element.
    """
    return SEPARATOR.join(part for part in readable_parts(list(elements)) if part)


def readable_parts(elements: Sequence[Element]) -> list[str]:
    """Render elements one by one.

    Args:
        elements: Elements in reading order.

    Returns:
        What each element adds to the readable text: nothing for furniture, for a page that other elements cover, and
        for a picture without words.
    """
    covered = {element.page for element in elements if element.type not in {"page", "furniture"}}
    return [
        "" if element.type == "furniture" or (element.type == "page" and element.page in covered) else _render(element)
        for element in elements
    ]


def _render(element: Element) -> str:
    if element.type == "heading":
        return f"{'#' * min(element.level or 1, 6)} {element.text}".strip()
    if element.type == "equation" and element.text:
        return f"$$\n{element.text}\n$$"
    if element.type == "code":
        body = f"```{element.subtype or ''}\n{element.text}\n```" if element.text else ""
        return "\n".join(part for part in (element.caption, body) if part)
    # An image's alternative text is often its caption as well.
    return "\n".join(dict.fromkeys(part for part in (element.caption, element.text, element.footnote) if part))
