"""Texts over the byte limit of a node: cut into pieces, and which piece of a page an element stands on. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from llama_index_raganything.tables.read import is_rule

MAX_TEXT_BYTES: Final = 65_535
_HEADER_BYTES: Final = 4096
"""Bytes of a table's header at most that is repeated in the next piece of its page."""


def page_pieces(text: str) -> list[str]:
    """Cut the text of a page, such as a sheet of 5,000 rows, into pieces that fit a node.

    Returns:
        The pieces; one that begins inside a Markdown table repeats its header, without which cells say nothing.
    """
    if len(text.encode("utf-8", "replace")) <= MAX_TEXT_BYTES:
        return split_bytes(text)
    pieces = split_bytes(text, MAX_TEXT_BYTES - _HEADER_BYTES)
    header = ""
    for place, piece in enumerate(pieces):
        lines = piece.split("\n")
        rules = [line for line in range(1, len(lines)) if is_rule(lines[line]) and lines[line - 1].startswith("|")]
        if header and lines[0].startswith("|") and 1 not in rules:
            pieces[place] = f"{header}\n{piece}"
        if rules:
            header = "\n".join(lines[rules[-1] - 1 : rules[-1] + 1])
            header = header if len(header.encode("utf-8", "replace")) < _HEADER_BYTES else ""
    return pieces


def places_of(texts: Sequence[str], pieces: Sequence[str]) -> list[int | None]:
    """Find the piece of a page that each of its elements stands on.

    Returns:
        Per element the place of the piece that has most of its words, those that few elements share counting most;
        None where no piece has half of them. The page of a sheet is cut somewhere, and rows below are on none.
    """
    if len(pieces) == 1:
        return [0] * len(texts)
    own = [set(text.split()) for text in texts]
    known = [set(piece.split()) for piece in pieces]
    shared = Counter(word for words in own for word in words)
    found: list[int | None] = []
    for words in own:
        scores = [sum(1 / shared[word] for word in words & piece) for piece in known]
        best = max(scores)
        found.append(scores.index(best) if 2 * best >= sum(1 / shared[word] for word in words) else None)
    return found


def split_bytes(text: str, limit: int = MAX_TEXT_BYTES) -> list[str]:
    """Cut a text into pieces that fit a byte limit, at line ends or blanks where there are any.

    Args:
        limit: Bytes of UTF-8 per piece.

    Returns:
        The pieces; empty when the text is blank.
    """
    if not text.strip():
        return []
    if len(text) * 4 <= limit or len(text.encode("utf-8", "replace")) <= limit:
        return [text]
    pieces: list[str] = []
    rest = text
    while rest:
        head = rest.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")
        if len(head) < len(rest):
            cut = max(head.rfind("\n"), head.rfind(" ") if head.rfind("\n") < len(head) // 2 else -1)
            head = head[: cut + 1] if cut > len(head) // 2 else head
        pieces.append(head.strip())
        rest = rest[len(head) :]
    return [piece for piece in pieces if piece]
