"""How many tokens a text has at most, without a tokenizer, for models that refuse what is too long.

Qwen's tokenizer gives every digit a token of its own and Chinese signs about one; English words have one for every
four letters or fewer. Counting a little too many costs the end of a long text, too few costs the request.
"""

from __future__ import annotations

import re
from typing import Final

_PIECE: Final = re.compile(r"[A-Za-z]{1,20}|\s+|.", re.DOTALL)
_LETTERS_PER_TOKEN: Final = 4


def estimate_tokens(text: str) -> int:
    """Return an upper estimate of a text's tokens."""
    return sum(_tokens_of(piece.group()) for piece in _PIECE.finditer(text))


def cut_to_tokens(text: str, limit: int) -> str:
    """Return the beginning of a text that surely has no more tokens than a limit.

    Returns:
        The text itself where it fits; else it ends before a word.
    """
    if len(text.encode("utf-8", "replace")) <= limit:
        return text  # No tokenizer makes more tokens than bytes.
    count = 0
    for piece in _PIECE.finditer(text):
        count += _tokens_of(piece.group())
        if count > limit:
            return text[: piece.start()]
    return text


def _tokens_of(piece: str) -> int:
    if piece.isspace():
        # One blank goes with the word behind it; runs of others have tokens of their own.
        return 0 if piece == " " else 1
    if piece.isascii():
        return -(-len(piece) // _LETTERS_PER_TOKEN)
    # Letters beyond Chinese, such as emoji, may be made of bytes.
    return 1 if "\u0080" <= piece <= "\u9fff" else 3
