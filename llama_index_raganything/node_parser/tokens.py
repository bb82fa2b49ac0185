"""A token count that is cheap and needs no data."""

from __future__ import annotations

import re

from llama_index_raganything._scripts import CJK

_TOKEN = re.compile(rf"[{CJK}]|[^\W{CJK}]{{1,12}}|[^\w\s]")


def simple_tokens(text: str) -> list[str]:
    """Cut a text into words, CJK characters and marks, about as many as a model's tokenizer would.

    A regular expression is some ten times faster than ``tiktoken``, LlamaIndex's default, and needs no data.

    Args:
        text: Any text.

    Returns:
        The tokens; words are cut every twelve letters, so that no token hides a long string.
    """
    return _TOKEN.findall(text)
