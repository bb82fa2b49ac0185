"""Captions and headings in the text of pages: which labelled tables, figures and appendices a page shows.

Parsers miss elements, or take a table for a picture. A line that starts with "Table 3." still tells that the table is
there, and on which page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from llama_index_raganything.elements import label_of

_NUMBER: Final = r"(?:[A-Z]{1,2}[.\-–])?\d{1,4}(?:[.\-–]\d+)*[a-z]?|[IVXL]{1,6}|[A-Z]"
_LIST_LINE: Final = re.compile(r"(?:\.\s?){3,}|(?:…)+|\s\d{1,3}\s*$")
_TITLE: Final = re.compile(r"\s*(?:[.:：|—–-]\s*)?(?P<title>.*)$", re.DOTALL)
_TITLE_CHARS: Final = 120
_SPELLINGS: Final = {"figure": ("figure", "fig.", "fig"), "table": ("table", "tab."), "equation": ("equation", "eq.")}
_STATED, _LISTED = 2, 1


@dataclass(frozen=True, slots=True)
class CaptionLine:
    """A line that starts with a label.

    Attributes:
        label: The normalised label: "Table 3", "Appendix B".
        title: The rest of the line.
        weight: 2 where the thing itself seems to stand there, 1 in a list of contents.
    """

    label: str
    title: str
    weight: int


def caption_lines(text: str, kinds: Sequence[str]) -> list[CaptionLine]:
    """Return the lines of a page that caption or head something of some kinds.

    Args:
        text: Text of a page.
        kinds: Kinds of labels in lower case, such as ``"table"`` or ``"appendix"``; Chinese ones too.

    Returns:
        The lines in order. Sentences that only start with a label are left out.
    """
    found = []
    for match in _pattern(tuple(kinds)).finditer(text):
        rest = match["rest"].rstrip()
        if _is_sentence(rest):
            continue
        title = _TITLE.match(_LIST_LINE.sub("", rest))
        words = " ".join((title["title"] if title else "").split())
        weight = _LISTED if _LIST_LINE.search(rest) else _STATED
        found.append(CaptionLine(normalised(match["kind"], match["number"]), words[:_TITLE_CHARS], weight))
    return found


def normalised(kind: str, number: str) -> str:
    """Return a label as elements have it.

    Args:
        kind: Its kind, as written.
        number: Its number or letter.
    """
    label = label_of(f"{kind} {number}")
    return label or f"{kind.rstrip('.').capitalize()} {number.upper()}"


def best_lines(
    pages: Iterable[tuple[int | None, str, str]], kinds: Sequence[str]
) -> dict[str, tuple[CaptionLine, str]]:
    """Return for every label the line that most likely stands at the thing itself.

    Args:
        pages: Page number, node id and text of pages of one document, in order.
        kinds: As for :func:`caption_lines`.

    Returns:
        The line and the node id of its page, by label, in order of first appearance.
    """
    best: dict[str, tuple[CaptionLine, str]] = {}
    for _, node_id, text in pages:
        for line in caption_lines(text, kinds):
            known = best.get(line.label)
            untitled = known is not None and known[1] == node_id and not known[0].title
            if known is None or line.weight > known[0].weight or untitled:
                best[line.label] = (line, node_id)
    return best


def numbered_in_order(labels: Iterable[str]) -> bool:
    """Return whether labels are a numbering: at least two, and two of every three numbers up to the highest there.

    Args:
        labels: Labels of one kind in one document.
    """
    numbers = {label.partition(" ")[2] for label in labels}
    if len(numbers) < 2:
        return False
    plain = [int(number) for number in numbers if number.isdigit()]
    return not plain or 3 * len(set(plain)) >= 2 * max(plain)


@lru_cache(maxsize=64)
def _pattern(kinds: tuple[str, ...]) -> re.Pattern[str]:
    words = [re.escape(word) for kind in kinds for word in _SPELLINGS.get(kind, (kind,))]
    # Only the kind may be in any case: "Table of contents" has no number.
    kind = "|".join(sorted(words, key=len, reverse=True))
    return re.compile(
        rf"^[^\w\n(（]{{0,3}}(?P<kind>(?i:{kind}))[ \t]*(?:(?i:no)\.?\s*)?"
        rf"(?P<number>{_NUMBER})(?![\w]|[.\-]\d)(?P<rest>[^\n]*)$",
        re.MULTILINE,
    )


def _is_sentence(rest: str) -> bool:
    """Tell "Table 2 shows that", "Table 2)" and a sentence's end "Table 2." from a caption."""
    bare = rest.strip()
    if not bare:
        return False
    if bare[0] in ")],;）】，；、" or bare in {".", "。"}:
        return True
    return bare[0].islower()
