"""Choose the sentences, table cells and images that answer a question, without a model.

A passage is scored by how much of the question it covers with its own words and with the words around it
(heading, question above, caption), each word weighted by its inverse document frequency among all passages;
by word order and nearness (Metzler and Croft, 2005); by the kind of answer the question asks for; and by the
rank that retrieval gave its node. Rows of tables are matched by row and column names, where the share of
the *name* that the question covers counts squared, which separates "Total sales" from "Total sales and marketing".
Where a first quote leaves the question open, a node that is linked to its own by a name may answer the rest.

The weights are round. On 89 questions over 12 PDFs (MMDocIR; eight nodes by BM25; a hit is the whole answer inside
the quotes; many answers there are counts or must be seen) all signals give 21 hits; without own words or nearness 19,
without word order 20; the other signals change nothing there by more than one and are held up by the unit tests.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

from llama_index.core.schema import NodeWithScore

from llama_index_raganything.elements import GRAPH_PATH_KEY
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.query_engine.extractive.passages import Passage, passages_of
from llama_index_raganything.questions.question import (
    Question,
    in_words_of,
    names_in,
    superlatives_in,
    understand,
    wants_most,
    without_function_words,
)
from llama_index_raganything.text.bm25 import PAIR_WINDOW, inverse_document_frequency, window_pairs
from llama_index_raganything.text.terms import content_tokens

ENOUGH_COVERAGE: Final = 0.5
"""Share of the question, by weight, that the quotes and their surroundings must cover; below it nothing is answered.

At .40/.45/.50/.55 the 89 questions are answered from their own document 77/74/69/63 times (22/21/20/17 hits)
and from a wrong one 29/23/16/12 times.
"""

_OWN: Final = 0.4
_ORDER: Final = 0.15
_NEAR: Final = 0.1
_ANSWER_TYPE: Final = 0.12
_YES_NO: Final = 0.15
_DEFINES: Final = 0.15
_RANK: Final = 0.15
_ROW_NAME: Final = 0.3
_EXTREME: Final = 0.3
_LABEL: Final = 0.6
_WRONG_LENGTH: Final = 0.15
_HEADING: Final = 0.3
_GAIN: Final = 0.1
_RIVAL: Final = 0.5
_QUOTES: Final = 3
_QUOTE_CHARS: Final = 500
_CAPTION_CHARS: Final = 120
_COLUMNS: Final = 6

_IS_YES_NO = re.compile(
    r"^\s*(?:do|does|did|is|are|was|were|can|could|has|have|had|will|would|should|may|must)\b", re.I
)
_IS_YES_NO_CJK = re.compile(r"[吗么嗎麼]\s*[？?]?\s*$|是否|能否|可否|是不是|有没有")
_SAYS_YES_NO = re.compile(r"^(?:yes|no|not?)\b|^(?:是|否|不|可以|支持|没有)", re.I)
_WANTS_NUMBER = re.compile(
    r"\bhow (?:many|much|long|large|big|high|old|far|often|fast)\b|\bpercent|\bwhat (?:is|was|are|were) the (?:number|"
    r"amount|value|total|price|cost|rate|size|maximum|minimum|average)\b|多少|几|占比|比例",
    re.I,
)
_WANTS_DATE = re.compile(r"\bwhen\b|\bwhat (?:year|date|day|month)\b|\bwhich year\b|何时|什么时候|哪一?年|日期", re.I)
_HAS_NUMBER = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|hundred|thousand|million|billion)\b"
)
_HAS_DATE = re.compile(
    r"\b(?:1[5-9]|20)\d\d\b|\b\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}\b|\b(?:january|february|march|april|may|june|july|august|"
    r"september|october|november|december)\b|\d+\s*[年月日]",
    re.I,
)
_DEFINITION = re.compile(
    r"^\s*what (?:is|are|does) (?:an? |the )?(?P<what>[^?]{2,60}?)(?: mean| stand for)?\s*\?", re.I
)
_SUMMARY_ROW = re.compile(r"\b(?:total|sum|average|mean|overall|all)\b|合计|总计|平均|小计", re.I)
_CELL_NUMBER = re.compile(r"\(?-?[$€£¥]?\s?\d[\d,]*(?:\.\d+)?")
_NUMERIC_SHARE: Final = 0.6
_SHORT_ANSWER = re.compile(r"\b(?:short|brief|concise|one[- ]sentence)\b|\bbriefly\b|简短|简要|一句话", re.I)

_JOINED_BY_NAME: Final = frozenset({"mentions", "mentioned by", "shares"})
"""Relations of a ``graph_path`` that go over a name; the structure of a document joins without one."""


@dataclass(frozen=True)
class Quote:
    """Words of a source that answer a question.

    Attributes:
        number: Number of the source, from 1.
        text: Words to quote, or a table row with its header cells and caption.
        kind: Kind of the passage; see :class:`Passage`.
        score: For comparison within one question.
    """

    number: int
    text: str
    kind: str
    score: float


def find_quotes(question: str, sources: Sequence[NodeWithScore], ranks: Sequence[int] | None = None) -> list[Quote]:
    """Choose one to three passages that together answer a question.

    Args:
        sources: Source nodes, best first.
        ranks: Rank of each source, from 0; its place in the sequence by default.

    Returns:
        Quotes, best first; empty when the sources do not cover the question well enough.
    """
    asked = _understand(question)
    passages: list[Passage] = []
    for number, source in enumerate(sources, 1):
        for passage in passages_of(number, source):
            passage.rank = ranks[number - 1] if ranks is not None else number - 1
            passages.append(passage)
    if not passages or not asked.all_terms:
        return []
    asked = _with_table_words(asked, passages)
    words = {token for passage in passages for token in [*passage.tokens, *content_tokens(" ".join(passage.header))]}
    asked = replace(asked, terms=in_words_of(asked.terms, words))
    missing = {name for name in names_in(question) - words if not any(passage.held(name) for passage in passages)}
    scorer = _Scorer(asked, passages, sources, missing)
    ranked = sorted(((scorer.score(passage), passage) for passage in passages), key=lambda pair: -pair[0])
    most = 1 if _SHORT_ANSWER.search(question) else _QUOTES
    chosen = _choose(ranked, scorer, most)
    quoted = [passage for _, passage in chosen]
    # A second hop never turns "not found" into an answer, nor leads away from a name that no source has.
    if scorer.coverage(quoted) < ENOUGH_COVERAGE:
        return []
    if not missing:
        further = _further_passages(quoted, passages, sources, scorer.weights, most)
        chosen.extend((scorer.score(passage), passage) for passage in further)
    return [_with_caption(_cite_element(_quote(score, passage, scorer), sources), sources) for score, passage in chosen]


def _understand(question: str) -> Question:
    asked = understand(question)
    plain = without_function_words(question)
    if plain == question:
        return asked
    terms = understand(plain).terms
    return replace(asked, terms=terms or asked.terms)


def _with_table_words(asked: Question, passages: Sequence[Passage]) -> Question:
    """Take back the words that only ask ("total", "number", "percent") where a row or column bears their name."""
    names: set[str] = set()
    for passage in passages:
        if passage.kind == "row":
            names.update(content_tokens(" ".join([*passage.cells[:1], *passage.header])))
    kept = [term for term in asked.all_terms if term in asked.terms or term in names]
    return replace(asked, terms=tuple(kept) + tuple(term for term in asked.terms if term not in kept))


class _Scorer:
    """Scores the passages of one answer."""

    def __init__(
        self, question: Question, passages: Sequence[Passage], sources: Sequence[NodeWithScore], missing: Set[str]
    ) -> None:
        self.question = question
        self.weights = term_weights(question.terms, passages, missing)
        self._sources = sources
        self._total = sum(self.weights.values()) or 1.0
        self._pairs = [(a, b) for a, b in pairwise(question.terms) if a != b]
        self._windows = window_pairs(question.terms)
        self._row_tokens: dict[tuple[int, int, int], list[str]] = {}
        self._gains: dict[str, float] = {}
        self._superlatives = superlatives_in(question.text)
        self._extremes = _extreme_rows(passages, question.text, self._gain)
        definition = _DEFINITION.match(question.text)
        self._defined = content_tokens(definition["what"]) if definition else []

    def score(self, passage: Passage) -> float:
        tokens = self._tokens(passage)
        own = self._share(dict.fromkeys(tokens, 1.0))
        score = (1 - _OWN) * self.coverage([passage]) + _OWN * own
        score += _ORDER * self._order(tokens) + _NEAR * self._nearness(tokens)
        score += self._answer_type(passage) + _RANK / (1 + 0.5 * passage.rank)
        score += self._named(passage)
        if passage.kind == "row":
            score += _ROW_NAME * self._row_name(passage)
            score += _EXTREME * ((*passage.table, passage.position) in self._extremes)
        score -= _HEADING * (passage.kind == "heading")
        return score - _WRONG_LENGTH * _has_wrong_length(passage)

    def coverage(self, passages: Sequence[Passage]) -> float:
        """Return the share of the question that some passages cover together with the words around them."""
        own = [set(self._tokens(passage)) for passage in passages]
        held = {
            term: max(
                1.0 if term in tokens else passage.held(term) for tokens, passage in zip(own, passages, strict=True)
            )
            for term in self.weights
        }
        return self._share(held)

    def columns(self, passage: Passage) -> list[int]:
        """Return which cells of a row to quote: those that the question names, with the row's name."""
        cells = [index for index, cell in enumerate(passage.cells) if cell]
        by_header = {index: self._gain(passage.header[index]) for index in cells[1:] if index < len(passage.header)}
        best = max(by_header.values(), default=0.0)
        if best <= 0:
            return cells[:_COLUMNS]
        named = {index for index, value in by_header.items() if value >= 0.5 * best}
        asked = {index for index in cells if index in named or self._gain(passage.cells[index]) > 0}
        return sorted({cells[0], *asked})[:_COLUMNS]

    def _tokens(self, passage: Passage) -> list[str]:
        if passage.kind != "row":
            return passage.tokens
        key = (*passage.table, passage.position)
        if key not in self._row_tokens:
            self._row_tokens[key] = self._tokens_of_row(passage)
        return self._row_tokens[key]

    def _tokens_of_row(self, passage: Passage) -> list[str]:
        names = [passage.header[index] for index in self.columns(passage) if index < len(passage.header)]
        if (*passage.table, passage.position) in self._extremes:
            # The row *is* the highest or lowest, though no word in it says so.
            names.extend(self._superlatives)
        return [*passage.tokens, *content_tokens(" ".join(names))]

    def _share(self, held: Mapping[str, float]) -> float:
        return sum(weight * held.get(term, 0.0) for term, weight in self.weights.items()) / self._total

    def _gain(self, name: str) -> float:
        """Return how much of the question one cell covers, cached because cells repeat."""
        if name not in self._gains:
            self._gains[name] = sum(self.weights.get(token, 0.0) for token in set(content_tokens(name)))
        return self._gains[name]

    def _order(self, tokens: Sequence[str]) -> float:
        if not self._pairs:
            return 0.0
        present = set(pairwise(tokens))
        return sum(pair in present for pair in self._pairs) / len(self._pairs)

    def _nearness(self, tokens: Sequence[str]) -> float:
        if not self._windows:
            return 0.0
        places: dict[str, list[int]] = {}
        for index, token in enumerate(tokens):
            places.setdefault(token, []).append(index)
        near = sum(
            any(abs(a - b) <= PAIR_WINDOW for a in places.get(first, ()) for b in places.get(second, ()))
            for first, second in self._windows
        )
        return near / len(self._windows)

    def _answer_type(self, passage: Passage) -> float:
        text, asked = passage.text, self.question.text
        bonus = 0.0
        if _IS_YES_NO.match(asked) or _IS_YES_NO_CJK.search(asked):
            # The words in an image neither affirm nor deny.
            bonus += _YES_NO * (bool(_SAYS_YES_NO.match(text)) - (passage.kind == "image"))
        if _WANTS_DATE.search(asked):
            bonus += _ANSWER_TYPE * bool(_HAS_DATE.search(text))
        elif _WANTS_NUMBER.search(asked):
            bonus += _ANSWER_TYPE * bool(_HAS_NUMBER.search(text.lower()))
        if self._opens_with_subject(passage.tokens):
            bonus += _DEFINES
        return bonus

    def _opens_with_subject(self, tokens: Sequence[str]) -> bool:
        """Return whether a passage begins with what the question asks about ("X is ...", "Unit 14: ...")."""
        terms = list(self.question.terms)
        subjects = [self._defined, *(terms[-size:] for size in (2, 3) if len(terms) > size)]
        return any(
            subject and list(tokens[: len(subject)]) == subject and len(tokens) > len(subject) for subject in subjects
        )

    def _named(self, passage: Passage) -> float:
        """Return a bonus for passages of the image, table or page that the question names."""
        source = NodeView(self._sources[passage.number - 1].node)
        label = source.label.casefold()
        bonus = 0.0
        if label and any(
            label.endswith(f" {number.casefold()}") and _has_kind(label, kind) for kind, number in self.question.labels
        ):
            bonus += _LABEL
        if source.page in self.question.pages:
            bonus += _LABEL / 2
        if source.kind in self.question.kinds:
            bonus += _ANSWER_TYPE
        return bonus

    def _row_name(self, passage: Passage) -> float:
        name = set(content_tokens(passage.cells[0] if passage.cells else ""))
        if not name:
            return 0.0
        covered = sum(self.weights.get(token, 0.0) for token in name)
        # A word of the name that the question lacks weighs as much as a rare word of the question.
        missing = max(self.weights.values(), default=1.0) * sum(token not in self.weights for token in name)
        precision = covered / (covered + missing) if covered else 0.0
        return precision**2 * math.sqrt(covered / self._total)


def term_weights(
    terms: Sequence[str], passages: Sequence[Passage], missing: Set[str] = frozenset()
) -> dict[str, float]:
    """Weight the words of a question by how few passages have them.

    Args:
        terms: Content words of the question.
        missing: Names that no passage has; unlike other words, they are not paraphrased, so they keep their weight.

    Returns:
        ln(1 + (N - df + .5) / (df + .5)) for each word, where a word that one passage or none has counts like
        one that two have: a paraphrase must not outweigh all that was found.
    """
    frequency: Counter[str] = Counter()
    for passage in passages:
        frequency.update(set(passage.tokens))
    size = len(passages)
    weights: dict[str, float] = {}
    for term in dict.fromkeys(terms):
        known = 0 if term in missing else min(max(2, frequency[term]), size)
        weights[term] = max(0.1, inverse_document_frequency(known, size))
    return weights


def _choose(ranked: Sequence[tuple[float, Passage]], scorer: _Scorer, most: int) -> list[tuple[float, Passage]]:
    """Take the best passage, then those that cover more of the question."""
    chosen = list(ranked[:1])
    covered = scorer.coverage([chosen[0][1]])
    for score, passage in ranked[1:]:
        if len(chosen) >= most or score < _RIVAL * chosen[0][0]:
            break
        joint = scorer.coverage([*(known for _, known in chosen), passage])
        if joint - covered >= _GAIN and not _repeats(passage, [known for _, known in chosen]):
            chosen.append((score, passage))
            covered = joint
    return chosen


def _repeats(passage: Passage, chosen: Sequence[Passage]) -> bool:
    mine = _letters(passage.text)
    return any(mine in _letters(known.text) or _letters(known.text) in mine for known in chosen)


def _quote(score: float, passage: Passage, scorer: _Scorer) -> Quote:
    text = _row_text(passage, scorer.columns(passage)) if passage.kind == "row" else passage.text
    return Quote(passage.number, _shortened(text, _QUOTE_CHARS), passage.kind, score)


def _shortened(text: str, size: int) -> str:
    return text if len(text) <= size else text[:size].rsplit(" ", 1)[0] + " …"


def _with_caption(quote: Quote, sources: Sequence[NodeWithScore]) -> Quote:
    """Add the caption of its table to a row, because often only that names the units and what the numbers count."""
    caption = " ".join(NodeView(sources[quote.number - 1].node).caption.split())
    if quote.kind != "row" or not caption:
        return quote
    return replace(quote, text=f"{quote.text} ({_shortened(caption, _CAPTION_CHARS)})")


def _row_text(passage: Passage, columns: Sequence[int]) -> str:
    names = {column: passage.header[column] for column in columns if column < len(passage.header)}
    cells = (f"{names[n]}: {passage.cells[n]}" if names.get(n) else passage.cells[n] for n in columns)
    return "; ".join(cells)


def _cite_element(quote: Quote, sources: Sequence[NodeWithScore]) -> Quote:
    """Move a quote from a page to a retrieved element of that page that holds it, because elements have boxes."""
    own = NodeView(sources[quote.number - 1].node)
    if not own.is_page:
        return quote
    wanted = _letters(quote.text)
    for number, source in enumerate(sources, 1):
        other = NodeView(source.node)
        same_page = (other.document_id, other.page) == (own.document_id, own.page)
        if same_page and other.box and wanted in _letters(other.text):
            return replace(quote, number=number)
    return quote


def _has_wrong_length(passage: Passage) -> bool:
    return len(passage.tokens) < 2 or (passage.kind == "sentence" and len(passage.tokens) > 45)


def _letters(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())


def _has_kind(label: str, kind: str) -> bool:
    """Return whether a label in lower case ("figure 4", "图 4") is of a kind that a question names ("figure")."""
    names = {"figure": ("figure", "图", "chart"), "table": ("table", "表"), "equation": ("equation", "式", "公式")}
    return label.startswith(names.get(kind, (kind,)))


# -- the highest and the lowest ---------------------------------------------------------------------------------------


def is_summary(label: str) -> bool:
    """Return whether a label is that of a row or column that sums up others, such as one of totals or averages."""
    return _SUMMARY_ROW.search(label) is not None


def _extreme_rows(
    passages: Sequence[Passage], question: str, gain: Callable[[str], float]
) -> set[tuple[int, int, int]]:
    """Find, in each table, the row with the largest or smallest number of the column that a question names.

    Rows of totals and averages do not take part.

    Args:
        question: The question; only one with a superlative has such rows.
        gain: How much of the question a column's name covers.

    Returns:
        ``(*table, position)`` of each row.
    """
    most = wants_most(question)
    if most is None:
        return set()
    pick = max if most else min
    tables: dict[tuple[int, int], list[Passage]] = {}
    for passage in passages:
        if passage.kind == "row":
            tables.setdefault(passage.table, []).append(passage)
    found: set[tuple[int, int, int]] = set()
    for rows in tables.values():
        column = _numeric_column(rows, gain)
        if column is not None:
            numbers = [(number, row) for row in rows if (number := _number(row, column)) is not None]
            _, row = pick(numbers, key=lambda pair: pair[0])
            found.add((*row.table, row.position))
    return found


def _numeric_column(rows: Sequence[Passage], gain: Callable[[str], float]) -> int | None:
    """Return the numeric column that the question names, or the only one there is."""
    needed = max(2, _NUMERIC_SHARE * len(rows))
    width = max(len(row.cells) for row in rows)
    numeric = [column for column in range(1, width) if sum(_number(row, column) is not None for row in rows) >= needed]
    header = rows[0].header
    gains = {column: gain(header[column]) for column in numeric if column < len(header)}
    named = max(gains, key=gains.__getitem__, default=None)
    if named is not None and gains[named] > 0:
        return named
    return numeric[0] if len(numeric) == 1 else None


def _number(row: Passage, column: int) -> float | None:
    if column >= len(row.cells) or _SUMMARY_ROW.search(row.cells[0]):
        return None
    match = _CELL_NUMBER.match(row.cells[column].strip())
    if match is None:
        return None
    digits = re.sub(r"[^\d.]", "", match.group())
    return -float(digits) if match.group().startswith(("(", "-")) else float(digits)


# -- the second hop ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Link:
    """A name that leads from one source to another.

    Attributes:
        origin: Number of the source it starts from, from 1.
        number: Number of the source it leads to.
        name: Content words of the name, as tokens.
        title: Content words of the title of the source it leads to.
    """

    origin: int
    number: int
    name: tuple[str, ...]
    title: frozenset[str]


def links_from(number: int, sources: Sequence[NodeWithScore]) -> list[Link]:
    """Return the links over names that lead away from one source, nearest first and each other source once.

    Damaged paths have none.
    """
    numbers = {source.node.node_id: place for place, source in enumerate(sources, 1)}
    steps = list(_steps(sources[number - 1].node.metadata.get(GRAPH_PATH_KEY)))
    found: list[Link] = []
    reached = [number]
    for origin in reached:
        for step in steps:
            for near, far in (("source", "target"), ("target", "source")):
                place = numbers.get(str(step.get(far)))
                if numbers.get(str(step.get(near))) != origin or place is None or place in reached:
                    continue
                name = tuple(content_tokens(str(step.get("name") or "")))
                if name:
                    reached.append(place)
                    title = frozenset(content_tokens(str(step.get(f"{far}_title") or "")))
                    found.append(Link(origin, place, name, title))
    return found


def _further_passages(
    chosen: Sequence[Passage],
    passages: Sequence[Passage],
    sources: Sequence[NodeWithScore],
    weights: Mapping[str, float],
    most: int,
) -> list[Passage]:
    """Choose what nodes linked to the first quote say where the quotes leave the question open.

    A retriever writes over which name a node was reached (``graph_path``). A name that the question does not have
    ("the town where she was born") is what the question goes through, and the node about it is quoted for the words
    that neither the first quote nor its node has.

    Args:
        chosen: Passages already quoted, best first.
        weights: Words of the question and their weights.
        most: Maximum passages to quote in all.

    Returns:
        Passages to quote after the chosen ones; none where the quoted nodes have all words of the question.
    """
    if not chosen:
        return []
    quoted = list(chosen)
    for link in links_from(chosen[0].number, sources):
        left = _open_terms(quoted, weights)
        if not left or len(quoted) >= most:
            break
        # A name of the question leads to more about what was asked for, not to what was asked about it.
        if set(link.name) <= weights.keys() or link.number in {passage.number for passage in quoted}:
            continue
        quoted.extend(_over_link(link, quoted, passages, weights, left)[: most - len(quoted)])
    return quoted[len(chosen) :]


def _over_link(
    link: Link, quoted: Sequence[Passage], passages: Sequence[Passage], weights: Mapping[str, float], left: Set[str]
) -> list[Passage]:
    """Return the passage that a link leads to, after the one that names it where no quote does."""
    linked = [p for p in passages if p.number == link.number and p.kind == "sentence"]
    named = any(_has_name(passage, link.name) for passage in quoted)
    best = _covering(link, linked, weights, left)
    if best is None:
        return []
    if named:
        return [best]
    naming = (p for p in passages if p.number == link.origin and p.kind == "sentence" and _has_name(p, link.name))
    bridge = next(naming, None)
    return [bridge, best] if bridge is not None else []


def _covering(link: Link, linked: Sequence[Passage], weights: Mapping[str, float], left: Set[str]) -> Passage | None:
    """Return the sentence that has most of the words that are open, by weight, if it has enough and is on the name."""
    about = set(link.name) <= link.title
    gains = [
        (sum(weights[term] for term in left & set(passage.tokens)), -place, passage)
        for place, passage in enumerate(linked)
        if about or _has_name(passage, link.name)
    ]
    gain, _, best = max(gains, key=lambda item: item[:2], default=(0.0, 0, None))
    return best if gain >= _GAIN * sum(weights.values()) else None


def _open_terms(quoted: Sequence[Passage], weights: Mapping[str, float]) -> set[str]:
    return {term for term in weights if not any(term in p.tokens or p.held(term) > 0 for p in quoted)}


def _has_name(passage: Passage, name: Sequence[str]) -> bool:
    size = len(name)
    return any(tuple(passage.tokens[at : at + size]) == tuple(name) for at in range(len(passage.tokens) - size + 1))


def _steps(path: Any) -> Iterator[dict[str, Any]]:
    try:
        steps = json.loads(path) if isinstance(path, str) and path else []
    except ValueError:
        return
    for step in steps if isinstance(steps, list) else []:
        if isinstance(step, dict) and step.get("relation") in _JOINED_BY_NAME:
            yield step
