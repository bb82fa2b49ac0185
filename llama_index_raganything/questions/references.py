"""Signals from what a question points at: pages, labelled parts, kinds of answers.

Each function returns one value per candidate, between 0 and 1, which the scoring weighs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from llama_index_raganything.questions.question import LABEL_KINDS, Question
from llama_index_raganything.text.terms import Floats, TokenizedText

_MIN_OFFSET_SHARE: Final = 0.3
_MIN_OFFSET_PAGES: Final = 3
_LABEL_LINES: Final = 2
_MAX_SCOPE: Final = 6

_LONE_NUMBER = re.compile(r"^\W*(?:page|p\.|slide)?\s*(\d{1,4})(?:\s*(?:of|/)\s*\d+)?\W*$", re.IGNORECASE)
_EDGE_NUMBER = re.compile(r"^\s*(\d{1,4})\b|\b(\d{1,4})\s*$")
_ANSWER_PATTERNS: Final = {
    "email": re.compile(r"(?<![\w.+-])[\w.+-]{1,64}\s?@\s?[\w-]{1,63}\.\w"),
    "url": re.compile(r"https?://|\bwww\.|\b[\w-]{1,63}\.(?:com|org|net|gov|edu|info|io|cn|eu)\b", re.IGNORECASE),
    "phone": re.compile(
        r"(?:\+\d{1,3}[\s.-]?)?\(?\d{2,4}\)?[\s.-]\d{3,4}[\s.-]\d{3,4}\b|\b(?:tel|fax|phone)\b\W{0,3}[\d(+]",
        re.IGNORECASE,
    ),
}
_CAPTION_WORDS: Final = {
    "figure": r"fig(?:ure)?s?\.?|图|圖",
    "table": r"tables?|tab\.|表",
    "appendix": r"appendix|appendices|附录|附錄",
    "equation": r"eq(?:uation|s)?\.?|公式|式",
    "image": r"fig(?:ure)?\.?|image|图|圖",
    "picture": r"fig(?:ure)?\.?|picture|图|圖",
    "chart": r"chart|fig(?:ure)?\.?",
    "graph": r"graph|fig(?:ure)?\.?",
    "diagram": r"diagram|fig(?:ure)?\.?",
    "chapter": r"chapter|章",
}


@dataclass(slots=True)
class Candidate:
    """One text that may hold the evidence.

    Attributes:
        text: Its text.
        tokens: Its content words.
        document: Identifies its document.
        page: Its page, counted from 1; None where there are no pages.
        page_label: The label printed on the page, or None when unknown.
        label: The label of the element ("Figure 3"), or None.
        content_type: The content type of its node.
        prior: The score it came with.
    """

    text: str
    tokens: TokenizedText
    document: str = ""
    page: int | None = None
    page_label: str | None = None
    label: str | None = None
    content_type: str = "text"
    prior: float = 0.0


def label_offsets(candidates: Sequence[Candidate]) -> dict[str, int]:
    """Return, per document, by how much printed page numbers differ from positions.

    Returns:
        Printed number minus position, for the documents in which enough pages agree on one other than 0.
    """
    votes: dict[str, Counter[int]] = {}
    pages: Counter[str] = Counter()
    for candidate in candidates:
        if candidate.page is None:
            continue
        pages[candidate.document] += 1
        counter = votes.setdefault(candidate.document, Counter())
        counter.update({number - candidate.page for number in _printed_numbers(candidate)})
    offsets = {}
    for document, counter in votes.items():
        if not counter:
            continue
        offset, count = counter.most_common(1)[0]
        enough = count >= max(_MIN_OFFSET_PAGES, _MIN_OFFSET_SHARE * pages[document])
        if enough and offset:
            offsets[document] = offset
    return offsets


def _printed_numbers(candidate: Candidate) -> set[int]:
    if candidate.page_label and candidate.page_label.isdigit():
        return {int(candidate.page_label)}
    lines = [line for line in candidate.text.splitlines() if line.strip()]
    found = set()
    for line in lines[:_LABEL_LINES] + lines[-_LABEL_LINES:]:
        lone = _LONE_NUMBER.match(line)
        if lone:
            found.add(int(lone.group(1)))
            continue
        for match in _EDGE_NUMBER.finditer(line.strip()):
            found.add(int(match.group(1) or match.group(2)))
    return found


def printed_pages(question: Question, candidates: Sequence[Candidate], offsets: dict[str, int]) -> Floats:
    """Mark the pages whose printed label the question names.

    Args:
        offsets: From :func:`label_offsets`.

    Returns:
        1 for a page with a named printed label, else 0. Documents without printed labels of their own get 0.
    """
    values = np.zeros(len(candidates))
    names = {str(number) for number in question.pages} | set(question.page_labels)
    for index, candidate in enumerate(candidates):
        if candidate.page is None:
            continue
        offset = offsets.get(candidate.document)
        label = (candidate.page_label or "").lower()
        if offset is not None:
            label = label if label and not label.isdigit() else str(candidate.page + offset)
        values[index] = float(bool(label) and label in names)
    return values


def page_positions(question: Question, candidates: Sequence[Candidate]) -> Floats:
    """Mark the pages at a position that the question names by number.

    Returns:
        1 for a page at a named position, else 0.
    """
    return np.array([float(candidate.page in question.pages) for candidate in candidates])


def covers_and_ends(question: Question, candidates: Sequence[Candidate]) -> Floats:
    """Mark covers, first pages and last pages that the question names.

    Args:
        candidates: Candidates; the last page is the last among them, by document.

    Returns:
        1 for a page at such a place, else 0.
    """
    last: dict[str, int] = {}
    for candidate in candidates:
        last[candidate.document] = max(last.get(candidate.document, 0), candidate.page or 0)
    return np.array(
        [
            float(
                candidate.page is not None
                and (
                    candidate.page in question.positions
                    or candidate.page > last[candidate.document] - question.last_pages
                )
            )
            for candidate in candidates
        ]
    )


def first_pages(question: Question, candidates: Sequence[Candidate]) -> Floats:
    """Mark first pages when the question asks about the document itself.

    Returns:
        1 for a first page, else 0.
    """
    return np.array([float(question.about_document and candidate.page == 1) for candidate in candidates])


def label_matches(question: Question, candidates: Sequence[Candidate]) -> Floats:
    """Rate how surely a candidate holds the labelled parts that the question names.

    Returns:
        Per candidate the sum over labels: 1 where the part itself or its caption stands, .7 where a line starts
        with it, .5 on the following pages of an appendix, section, chapter or unit, .3 where it is mentioned.
    """
    values = np.zeros(len(candidates))
    for kind, number in question.labels:
        found = np.array([_label_match(candidate, kind, number) for candidate in candidates])
        if kind in {"appendix", "annex", "section", "chapter", "unit", "part", "exhibit", "lesson", "module"}:
            found = np.maximum(found, _scope(candidates, found, kind, number))
        values += found
    return values


def _label_pattern(kind: str, number: str) -> str:
    words = _CAPTION_WORDS.get(kind, rf"{re.escape(kind)}s?")
    return rf"(?:{words})[\s\-]*(?:no\.?\s*)?\(?{re.escape(number)}(?![\w]|[.\-]\d)"


def _label_match(candidate: Candidate, kind: str, number: str) -> float:
    if candidate.label is not None:
        own_kind, _, own_number = candidate.label.partition(" ")
        own_kind = own_kind.lower()
        if (LABEL_KINDS.get(own_kind, own_kind), own_number.upper()) == (kind, number):
            return 1.0
    best = 0.0
    for match in re.finditer(_label_pattern(kind, number), candidate.text, re.IGNORECASE):
        start = candidate.text.rfind("\n", 0, match.start()) + 1
        end = candidate.text.find("\n", match.end())
        before = candidate.text[start : match.start()].strip()
        after = candidate.text[match.end() : end if end >= 0 else len(candidate.text)].strip()
        if re.search(r"\w", before):
            value = 0.3
        elif re.match(r"[:.|—–-]|$", after) or (len(after) < 80 and not after[:1].islower()):
            value = 1.0
        else:
            value = 0.7
        best = max(best, value)
    if best == 0.0 and kind == "section":
        numbered = re.search(rf"^\W{{0,3}}{re.escape(number)}\.?\s+\w", candidate.text, re.MULTILINE)
        best = 0.7 if numbered else 0.0
    return best


def _scope(candidates: Sequence[Candidate], found: Floats, kind: str, number: str) -> Floats:
    """Extend a heading's match to the pages after it, up to the next heading of the same kind."""
    values = np.zeros(len(candidates))
    other = re.compile(rf"^\W{{0,3}}(?:{_CAPTION_WORDS.get(kind, kind)})[\s\-]*(?P<number>[\w.\-]+)", re.I | re.M)
    by_page = {(c.document, c.page): i for i, c in enumerate(candidates) if c.page is not None}
    for index in np.flatnonzero(found >= 0.7).tolist():
        start = candidates[index]
        if start.page is None:
            continue
        for page in range(start.page + 1, start.page + 1 + _MAX_SCOPE):
            follower = by_page.get((start.document, page))
            if follower is None or _next_heading(other, candidates[follower].text, number):
                break
            values[follower] = 0.5
    return values


def _next_heading(pattern: re.Pattern[str], text: str, number: str) -> bool:
    heads = (match["number"].strip(".:").upper() for match in pattern.finditer(text[:600]))
    return any(head != number for head in heads)


def answer_kinds(question: Question, candidates: Sequence[Candidate]) -> Floats:
    """Mark candidates that hold the kind of thing asked for: an e-mail address, a link, a telephone number.

    Returns:
        1 where one of the kinds occurs, else 0.
    """
    patterns = [_ANSWER_PATTERNS[kind] for kind in question.answers]
    return np.array([float(any(pattern.search(c.text) for pattern in patterns)) for c in candidates])


def counted_parts(question: Question, candidates: Sequence[Candidate]) -> Floats:
    """Mark candidates with a caption or heading of the kind that the question counts or lists.

    Returns:
        1 where one stands, else 0.
    """
    if not question.counted:
        return np.zeros(len(candidates))
    words = _CAPTION_WORDS.get(question.counted, re.escape(question.counted))
    pattern = re.compile(rf"^\W{{0,3}}(?:{words})\s*(?:[A-Z]\b|\d|[IVX]+\b)", re.IGNORECASE | re.MULTILINE)
    return np.array([float(bool(pattern.search(c.text))) for c in candidates])
