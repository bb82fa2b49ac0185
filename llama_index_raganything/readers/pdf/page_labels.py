"""Page labels: what is printed on a page where that differs from its place in the file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from llama_index_raganything.readers.pdf.text import PageText

MIN_SHARE: Final = 0.3
"""Share of pages whose printed number must lie at the same distance from their place in the file."""

_EDGE_LINES: Final = 2
_NUMBER = re.compile(r"(?<![\d.,$%])\d{1,4}(?![\d.,%]*\d|%)")


def page_labels(pages: Sequence[PageText]) -> list[str | None]:
    """Return the printed label of each page where it differs from the page's place in the file.

    The labels that the file states win. Without them a number counts that stands in the first or
    last two lines of many pages, always at the same distance from their place in the file.

    Args:
        pages: The pages read, in order.

    Returns:
        One label per page, or None where label and place agree or no label is known.
    """
    if any(page.label for page in pages):
        return [page.label if page.label and page.label != str(page.index + 1) else None for page in pages]
    offset = _offset(pages)
    if not offset:
        return [None] * len(pages)
    printed = [page.index + 1 + offset for page in pages]
    return [str(number) if number >= 1 else None for number in printed]


def _offset(pages: Sequence[PageText]) -> int:
    distances: Counter[int] = Counter()
    for page in pages:
        lines = page.text.split("\n")
        edges = " ".join(lines[:_EDGE_LINES] + lines[-_EDGE_LINES:])
        distances.update({int(number) - page.index - 1 for number in _NUMBER.findall(edges)})
    if len(pages) < 3 or not distances:
        return 0
    offset, hits = distances.most_common(1)[0]
    # Equal counts mean that nothing stands out; the place in the file is then as good a label.
    return offset if hits >= MIN_SHARE * len(pages) and hits > distances[0] else 0
