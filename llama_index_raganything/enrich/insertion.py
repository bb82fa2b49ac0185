"""A node with another text, in which marks of what a model said still point at it."""

from __future__ import annotations

from llama_index.core.schema import TextNode

from llama_index_raganything.elements import DESCRIPTION_KEY
from llama_index_raganything.enrich.describe import text_of


def with_text(node: TextNode, text: str) -> TextNode:
    """Return a copy of a node with a text into which something was inserted.

    Args:
        node: The node; it is not changed.
        text: Its text with more in it.

    Returns:
        The copy, without the embedding of the old text.
    """
    made = node.model_copy(deep=True)
    made.set_content(text)
    made.embedding = None
    start, _, end = str(node.metadata.get(DESCRIPTION_KEY) or "").partition(":")
    if start.isdecimal() and end.isdecimal():
        said = text_of(node)[int(start) : int(end)]
        place = text.find(said, int(start))
        if said and place >= 0:
            made.metadata[DESCRIPTION_KEY] = f"{place}:{place + len(said)}"
    return made
