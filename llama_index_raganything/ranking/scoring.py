"""Score candidates against a question by their evidence, and keep account of every signal.

The text signals are standardised over the candidates and added with round weights; the sum is standardised again
before what the question points at is added, so that an explicit "page 14" is not drowned. Over several documents,
how well a document as a whole covers the question and how a text ranks within its own document are added too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from llama_index_raganything.questions.question import LABEL_KINDS, Question
from llama_index_raganything.ranking.lexicon import Lexicon
from llama_index_raganything.text import bm25
from llama_index_raganything.text.terms import Floats, TokenizedText

_BEST_TEXTS: Final = 3


@dataclass(slots=True)
class Candidate:
    """One text that may have the evidence.

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


def question_coverage(frequencies: Floats) -> Floats:
    """Return the share of the question that each text covers.

    Args:
        frequencies: How often each question term occurs, texts by terms.

    Returns:
        Between 0 (no word of the question) and 1 (all of them) per text.
    """
    size, terms = frequencies.shape
    if not terms:
        return np.zeros(size)
    present = frequencies > 0
    idf = bm25.inverse_document_frequency(present.sum(axis=0).astype(np.float64), size)
    return np.asarray(present @ idf / idf.sum(), dtype=np.float64)


def group_indexes(groups: Sequence[Hashable]) -> npt.NDArray[np.int64]:
    """Number groups in order of first appearance.

    Args:
        groups: The group of each text.

    Returns:
        An integer from 0 per text, equal for texts of one group.
    """
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)


def document_scores(contributions: Floats, totals: Floats, documents: npt.NDArray[np.int64]) -> Floats:
    """Return how well the document of each text covers the question.

    The combination of joint coverage and the mean of the best three texts places the right document first more
    often than either alone.

    Args:
        contributions: What each term gives to each text, texts by terms.
        totals: The score of each text by itself.
        documents: Number of the document of each text, from 0 without gaps.

    Returns:
        One standardised value per text, equal for the texts of one document; zeros for a single document.
    """
    count = int(documents.max()) + 1 if documents.size else 0
    if count < 2:
        return np.zeros(documents.size)
    strongest = np.zeros((count, contributions.shape[1]))
    np.maximum.at(strongest, documents, contributions)
    coverage = strongest.sum(axis=1)
    order = np.lexsort((-totals, documents))
    sizes = np.bincount(documents, minlength=count)
    place = np.arange(documents.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    top = order[place < _BEST_TEXTS]
    best = np.bincount(documents[top], totals[top], minlength=count) / np.minimum(sizes, _BEST_TEXTS)
    combined = bm25.standardize(coverage) + 0.5 * bm25.standardize(best)
    return bm25.standardize(combined)[documents]


class EvidenceWeights(BaseModel):
    """How much each signal counts; 0 switches one off.

    The numbers are round on purpose: weights fitted on one set of documents did worse on the next. What each is worth
    on 100 questions over 13 PDFs, as recall@5 inside the document (.921) and over all documents (.803) when it is left
    out (``python -m benchmarks.pages``; one standard error is about .03): words .897/.807, adjacent .921/.815, near
    .921/.813, head .921/.793, prior .926/.812, lexicon .851/.733, neighbours .919/.803, document -/.802, within -/.770,
    printed_page .911/.788, page .911/.793, cover .921/.793, first_page .916/.803, label .921/.798, answer .914/.803,
    counted .912/.799. Without ``adjacent`` recall@1 falls from .606 to .591, without ``cover`` to .576, without
    ``lexicon`` to .581. ``prior`` pays with neural embeddings only and is small because static vectors cost a little.

    Attributes:
        words: BM25 over single words.
        adjacent: BM25 over neighbouring words of the question that are neighbours in the text.
        near: BM25 over words near each other in the question and in the text.
        head: BM25 over first lines, title, section and caption.
        prior: The score that a candidate came with (vector or keyword search, fusion).
        lexicon: BM25 over the words that a lexicon adds.
        neighbours: Share of the score of the pages before and after.
        document: How well the whole document covers the question (several documents only).
        within: How a candidate ranks within its own document (several documents only).
        printed_page: The printed page label that the question names.
        page: The position in the document that the question names.
        cover: Cover, first or last pages that the question names.
        first_page: First page, for questions about the document itself.
        label: "Figure 4", "Table 2", "Appendix B".
        answer: The kind of answer asked for occurs (e-mail address, link, telephone number).
        counted: A caption or heading of the kind to be counted.
        kind: The element is of a kind that the question names (among the elements of one page only).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: float = 0.5
    adjacent: float = 0.3
    near: float = 0.3
    head: float = 0.2
    prior: float = 0.1
    lexicon: float = 1.0
    neighbours: float = 0.1
    document: float = 1.0
    within: float = 0.5
    printed_page: float = 8.0
    page: float = 6.0
    cover: float = 5.0
    first_page: float = 1.0
    label: float = 3.0
    answer: float = 2.0
    counted: float = 2.0
    kind: float = 1.0


@dataclass(slots=True)
class Scores:
    """The outcome of scoring.

    Attributes:
        total: One value per candidate; higher is better.
        signals: What each signal that fired added to each candidate's total.
        coverage: Share of the question's telling words that each candidate has, 0 to 1.
    """

    total: Floats
    coverage: Floats
    signals: dict[str, Floats] = field(default_factory=dict)

    def explain(self, index: int) -> dict[str, float]:
        """Return what moved one candidate, largest first.

        Args:
            index: Its place among the candidates.

        Returns:
            Contributions by name of signal, those under .005 left out, and ``coverage``.
        """
        parts = {name: round(float(values[index]), 2) for name, values in self.signals.items()}
        moved = sorted((item for item in parts.items() if item[1]), key=lambda item: -abs(item[1]))
        return dict(moved) | {"coverage": round(float(self.coverage[index]), 2)}


def score(
    question: Question,
    candidates: Sequence[Candidate],
    weights: EvidenceWeights,
    lexicons: Sequence[Lexicon] = (),
) -> Scores:
    """Score candidates against a question.

    Args:
        candidates: Candidates of one or several documents.
        weights: How much each signal counts.
        lexicons: Lexicons that may add words.

    Returns:
        Totals, signals and coverage, in the order of the candidates.
    """
    size = len(candidates)
    if not size:
        return Scores(np.zeros(0), np.zeros(0))
    parts, per_term = _text_signals(question, candidates, weights, lexicons)
    documents = group_indexes([candidate.document for candidate in candidates])
    pointed = pointed_signals(question, candidates, weights)
    if documents.max() == 0:
        signals = _combine(parts, candidates, weights) | pointed
    else:
        signals = _over_documents(parts, pointed, per_term, documents, candidates, weights)
    signals = {name: values for name, values in signals.items() if np.any(values)}
    total = np.sum(list(signals.values()), axis=0) if signals else np.zeros(size)
    return Scores(total, question_coverage(per_term), signals)


def _text_signals(
    question: Question, candidates: Sequence[Candidate], weights: EvidenceWeights, lexicons: Sequence[Lexicon]
) -> tuple[dict[str, Floats], Floats]:
    """Return raw signal values by name, and BM25 contributions of the question's terms."""
    texts = bm25.TextCollection([candidate.tokens for candidate in candidates])
    terms = list(dict.fromkeys(question.terms))
    per_term = bm25.contributions(texts.unigrams(terms), texts.lengths)
    added = list(dict.fromkeys(token for lexicon in lexicons for token in lexicon.expand(question.text)))
    parts = {
        "words": per_term.sum(axis=1),
        "adjacent": bm25.contributions(texts.bigrams(bm25.adjacent_pairs(question.terms)), texts.lengths).sum(axis=1),
        "near": bm25.contributions(texts.windows(bm25.window_pairs(question.terms)), texts.lengths).sum(axis=1),
        "head": bm25.contributions(texts.heads(terms), texts.head_lengths).sum(axis=1),
        "prior": np.array([candidate.prior for candidate in candidates]),
        "lexicon": bm25.contributions(texts.unigrams(added), texts.lengths).sum(axis=1),
    }
    return {name: values for name, values in parts.items() if getattr(weights, name)}, per_term


def _combine(
    parts: dict[str, Floats],
    candidates: Sequence[Candidate],
    weights: EvidenceWeights,
    groups: npt.NDArray[np.int64] | None = None,
) -> dict[str, Floats]:
    """Add standardised signals and lend from neighbouring pages; the sum of what is returned is a z-score."""
    if not parts:
        return {}
    shares = {name: getattr(weights, name) * bm25.standardize(values, groups) for name, values in parts.items()}
    shares = _rescaled(shares, groups)
    if weights.neighbours:
        shares["neighbours"] = weights.neighbours * _neighbour_sum(np.sum(list(shares.values()), axis=0), candidates)
        shares = _rescaled(shares, groups)
    return shares


def _rescaled(shares: dict[str, Floats], groups: npt.NDArray[np.int64] | None) -> dict[str, Floats]:
    """Centre and scale signals so that their sum has mean 0 and standard deviation 1."""
    _, scale = bm25.moments(np.sum(list(shares.values()), axis=0), groups)
    return {name: (values - bm25.moments(values, groups)[0]) * scale for name, values in shares.items()}


def _neighbour_sum(total: Floats, candidates: Sequence[Candidate]) -> Floats:
    best: dict[tuple[str, int], float] = {}
    for value, candidate in zip(total.tolist(), candidates, strict=True):
        if candidate.page is not None:
            key = (candidate.document, candidate.page)
            best[key] = max(value, best.get(key, value))
    return np.array(
        [
            0.0
            if candidate.page is None
            else sum(best.get((candidate.document, candidate.page + step), 0.0) for step in (-1, 1))
            for candidate in candidates
        ]
    )


def _over_documents(
    parts: dict[str, Floats],
    pointed: dict[str, Floats],
    per_term: Floats,
    documents: npt.NDArray[np.int64],
    candidates: Sequence[Candidate],
    weights: EvidenceWeights,
) -> dict[str, Floats]:
    signals = _combine(parts, candidates, weights)
    totals = np.sum(list(signals.values()), axis=0) if signals else np.zeros(len(candidates))
    if weights.document:
        signals["document"] = weights.document * document_scores(per_term, totals, documents)
    if weights.within:
        own = _combine(parts, candidates, weights, documents)
        within = np.sum(list(own.values()), axis=0) if own else np.zeros(len(candidates))
        signals["within"] = weights.within * within
        signals |= {name: weights.within * values for name, values in pointed.items()}
    return signals


def pointed_signals(question: Question, candidates: Sequence[Candidate], weights: EvidenceWeights) -> dict[str, Floats]:
    """Return the weighted signals of what the question points at; only those that can fire.

    Args:
        candidates: Candidates of one or several documents.
        weights: How much each signal counts.

    Returns:
        Values in the order of the candidates, by name of signal.
    """
    signals: dict[str, Floats] = {}
    if question.pages or question.page_labels:
        printed = printed_pages(question, candidates, label_offsets(candidates))
        signals["printed_page"] = weights.printed_page * printed
        signals["page"] = weights.page * page_positions(question, candidates)
    if question.positions or question.last_pages:
        signals["cover"] = weights.cover * covers_and_ends(question, candidates)
    if question.about_document:
        signals["first_page"] = weights.first_page * np.array([float(candidate.page == 1) for candidate in candidates])
    if question.labels:
        signals["label"] = weights.label * label_matches(question, candidates)
    if question.answers:
        signals["answer"] = weights.answer * answer_kinds(question, candidates)
    if question.counted:
        signals["counted"] = weights.counted * counted_parts(question, candidates)
    return signals


# -- what the question points at ---------------------------------------------------------------------------------------

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


def label_matches(question: Question, candidates: Sequence[Candidate]) -> Floats:
    """Rate how surely a candidate has the labelled parts that the question names.

    Returns:
        Per candidate the sum over labels: 1 where the part itself or its caption is, .7 where a line starts
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
    """Mark candidates with the kind of answer asked for: an e-mail address, a link, a telephone number.

    Returns:
        1 where one of the kinds occurs, else 0.
    """
    patterns = [_ANSWER_PATTERNS[kind] for kind in question.answers]
    return np.array([float(any(pattern.search(c.text) for pattern in patterns)) for c in candidates])


def counted_parts(question: Question, candidates: Sequence[Candidate]) -> Floats:
    """Mark candidates with a caption or heading of the kind that the question counts or lists.

    Returns:
        1 where there is one, else 0.
    """
    words = _CAPTION_WORDS.get(question.counted, re.escape(question.counted))
    pattern = re.compile(rf"^\W{{0,3}}(?:{words})\s*(?:[A-Z]\b|\d|[IVX]+\b)", re.IGNORECASE | re.MULTILINE)
    return np.array([float(bool(pattern.search(c.text))) for c in candidates])
