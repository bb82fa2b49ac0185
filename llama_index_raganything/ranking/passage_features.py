"""The words of passages, and what speaks for each: words covered, words in order, matching table labels, years.

A passage is the text of a node: its words in segments and, for tables, the labels of rows and columns. A segment is a
sentence or a cell of a table: word order means nothing across its ends. A passage keeps 5 bytes a word and is read once
per node, so that scoring a question against some hundred of them reads arrays only.

The numbers go into :func:`~.set_coverage.score_sets`: ``coverage`` is what a set shares, ``extras`` what each member
brings of its own. All frequencies are those among the passages given. That needs no statistics of the corpus, which a
filter makes wrong anyway, and ranks better than them: what all candidates have in common does not say which of
them to take.

Table labels: Zhang and Balog, "Ad Hoc Table Retrieval using Semantic Similarity", 2018, match headings as bags of
words; here one label must be covered nearly whole, which separates "Total sales" from "Total sales and marketing".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from llama_index_raganything.tables.pipe_tables import is_rule, pipe_cells
from llama_index_raganything.text import bm25
from llama_index_raganything.text.sentences import sentences_of
from llama_index_raganything.text.terms import Floats, Integers, hash_tokens, normalize, tokenize, word_list

Hashes = npt.NDArray[np.int32]

BREAK: Final = 0
"""Follows each segment."""

TABLE: Final = "table"
_HEADER_ROWS: Final = 3
_MAX_LABELS: Final = 2_000

_UNESCAPED_PIPE = re.compile(r"(?<!\\)\|")
_COLUMNS = re.compile(r"\t+|\s{2,}|\s+(?=[-\u2212($€£¥]*\d)")
_FOOTNOTE_MARK = re.compile(r"\(\d{1,2}\)|\[\d{1,2}\]")
_UNIT_OF_MEASURE = re.compile(
    r"\b(?:thousands|millions|billions)\b|'000|\(in (?:thousand|million|billion)"
    r"|单位\s*[:：为]|單位\s*[:：為]|[百千万萬亿億]元",
    re.IGNORECASE,
)

Row = list[str]


@dataclass(frozen=True, slots=True)
class PassageWords:
    """The words of one passage.

    Attributes:
        kind: Its content type; ``table`` has labels, and lengths are compared within a kind.
        tokens: Its words as hashes in order, with :data:`BREAK` after each segment.
        content: Which of them are content words.
        label_terms: Content words of its row and column labels, label after label, each word once per label.
        label_sizes: How many each label has.
        states_unit: It states the unit of measure of numbers ("in thousands").
    """

    kind: str
    tokens: Hashes
    content: npt.NDArray[np.bool_]
    label_terms: Hashes
    label_sizes: Hashes
    states_unit: bool

    @classmethod
    def from_text(cls, text: str, kind: str = "text") -> PassageWords:
        """Read the words of a node.

        Args:
            text: The text. A table is a Markdown pipe table, or lines with cells between pipes, tabs or blanks, with
                any text around it.
            kind: The content type of the node.
        """
        rows: list[Row] = []
        prose = text
        if kind == TABLE:
            rows, prose = split_table(text)
        segments = [cell for row in rows for cell in row if cell]
        tokens, content = _hash_segments([*sentences_of(prose), *segments])
        labels = list(_unique_labels(rows))
        return cls(
            kind=kind,
            tokens=tokens,
            content=content,
            label_terms=hash_words(token for label in labels for token in label),
            label_sizes=np.array([len(label) for label in labels], dtype=np.int32),
            states_unit=bool(_UNIT_OF_MEASURE.search(normalize(text))),
        )


def split_table(text: str) -> tuple[list[Row], str]:
    """Return the rows of a table and the text around it.

    Args:
        text: The text of a table node.

    Returns:
        Rows of trimmed cells, and the lines that are no rows. Without pipes, every line is a row whose cells end at
        tabs, at two blanks and before numbers.
    """
    lines = text.splitlines()
    if not any(_UNESCAPED_PIPE.search(line) for line in lines):
        return [_COLUMNS.split(line.strip()) for line in lines if line.strip()], ""
    is_markdown = any(_is_markdown_rule(line) for line in lines)
    rows: list[Row] = []
    prose: list[str] = []
    for line in lines:
        if not _UNESCAPED_PIPE.search(line) or (is_markdown and not line.strip().startswith("|")):
            prose.append(line)
        elif not is_markdown:
            rows.append([cell.replace("\\|", "|").strip() for cell in _UNESCAPED_PIPE.split(line)])
        elif not _is_markdown_rule(line):
            rows.append(list(pipe_cells(line)))
    return rows, "\n".join(prose)


def table_labels(rows: Sequence[Row]) -> Iterator[str]:
    """Return what names the rows and columns of a table.

    Args:
        rows: Its rows, the header first.

    Yields:
        The first cell of each row; below a row with only a first cell (or one text in all, as merged cells are
        written), also that cell with it; and the further cells of the first three rows, which are the headers.
    """
    parent = ""
    for number, row in enumerate(rows):
        first = _FOOTNOTE_MARK.sub(" ", row[0]) if row else ""
        filled = {cell for cell in row if cell}
        if first.strip():
            yield first
            if len(filled) == 1:
                parent = first
            elif parent:
                yield f"{parent} {first}"
        if number < _HEADER_ROWS:
            yield from (" ".join(word for word in cell.split() if not word.isdigit()) for cell in row[1:])


def _is_markdown_rule(line: str) -> bool:
    return line.strip().startswith("|") and is_rule(line.strip())


def _unique_labels(rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    stop_words = word_list("stop_words")
    seen: set[frozenset[str]] = set()
    for label in table_labels(rows):
        terms = frozenset(tokenize(label)) - stop_words
        if terms and terms not in seen:
            seen.add(terms)
            yield tuple(terms)
        if len(seen) >= _MAX_LABELS:
            return


def _hash_segments(segments: Sequence[str]) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    stop_words = word_list("stop_words")
    tokens: list[str] = []
    for segment in segments:
        tokens += tokenize(segment)
        # The hash of the empty string is 0 in every process.
        tokens.append("")
    content = np.fromiter((token != "" and token not in stop_words for token in tokens), np.bool_, len(tokens))
    return hash_words(tokens), content


def hash_words(tokens: Iterable[str]) -> Hashes:
    """Return one 32-bit hash per token, equal for equal tokens within this process."""
    # Wraps around: a collision of 32 bits with one of the few words of a question is a matter of one in millions.
    return hash_tokens(tokens).astype(np.int32)


# -- features ----------------------------------------------------------------------------------------------------------

_GRAM_WEIGHTS: Final = {2: 0.4, 3: 0.6, 4: 0.6}
_GRAM_K1: Final = 0.4
_FEWEST_GRAMS: Final = 3
_WINDOW_B: Final = 0.3
_UNKNOWN: Final = 0.5
"""A word of which nothing is known weighs half of the rarest."""

_YEAR = re.compile(r"(?:19|20)\d\d")
_ABSENT: Final = -1
_LAST_BITS: Final = 0xFFFF


class PassageWeights(BaseModel):
    """How much each signal counts beside covered words, whose sum is at most 1.

    What each is worth on 1,668 questions over the tables and paragraphs of 278 financial reports, with pairs of a
    table and a paragraph of one section, as recall@2 and recall@5 when it is left out (.760 and .867 with all; one
    standard error is .016 and .011): operation .756/.862, table_ngrams .754/.862, text_ngrams .753/.863, windows
    .734/.852, all three of word order .696/.830, labels .666/.789, years .754/.864. Lengths compared over all kinds
    alike: .753/.860. No pairs at all: .689/.768.

    Attributes:
        operation: Weight of words that say what to compute ("average", "percentage change") and are seldom in the
            evidence; 1 for all other words.
        table_ngrams: Two to four words of the question in the same order within a cell.
        text_ngrams: The same within a sentence of anything but a table.
        windows: Two words near each other in the question and in a sentence.
        labels: A row or column label of a table that the question names.
        years: What a table loses that has none of the years of the question.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    operation: float = 0.3
    table_ngrams: float = 1.0
    text_ngrams: float = 0.5
    windows: float = 1.2
    labels: float = 0.5
    years: float = 0.3


@dataclass(frozen=True, slots=True)
class QuestionWords:
    """The words of a question.

    Attributes:
        raw: All its tokens in order.
        content: Its content words in order, without those that only ask.
        terms: The same, each once.
        operations: Which of the terms say what to compute.
        years: Those of the terms that are years.
    """

    raw: tuple[str, ...]
    content: tuple[str, ...]
    terms: tuple[str, ...]
    operations: tuple[bool, ...]
    years: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PassageFeatures:
    """What speaks for each of some passages.

    Attributes:
        terms: Content words of the question, as tokens.
        coverage: What each of them gives to each passage, passages by terms; the sum for a passage is at most 1.
        extras: Sum of the weighted signals of each passage.
        signals: The weighted signals by name: ``ngrams``, ``windows``, ``labels``, ``years``.
    """

    terms: tuple[str, ...]
    coverage: Floats
    extras: Floats
    signals: dict[str, Floats] = field(default_factory=dict)

    @property
    def singles(self) -> Floats:
        """The score of each passage by itself."""
        return np.asarray(self.coverage.sum(axis=1) + self.extras, dtype=np.float64)


@lru_cache(maxsize=256)
def question_words(text: str) -> QuestionWords:
    """Read the words of a question.

    Args:
        text: The question, in any language; function words and words of calculation are known in English and Chinese.

    Returns:
        Its words. A question of asking words only keeps them.
    """
    raw = tuple(tokenize(text[:4000]))
    known = [token for token in raw if token not in word_list("stop_words")]
    content = tuple(token for token in known if token not in word_list("asking_words")) or tuple(known)
    terms = tuple(dict.fromkeys(content))
    operations = word_list("operation_words")
    return QuestionWords(
        raw=raw,
        content=content,
        terms=terms,
        operations=tuple(term in operations for term in terms),
        years=tuple(term for term in terms if _YEAR.fullmatch(term)),
    )


def passage_features(
    question: str, passages: Sequence[PassageWords], weights: PassageWeights | None = None
) -> PassageFeatures:
    """Measure what speaks for each passage.

    Args:
        passages: Candidates and those that are linked to them: some hundred, from which rare words are told from
            common ones.
        weights: How much each signal counts.

    Returns:
        Coverage and extras, in the order of the passages.
    """
    weights = weights or PassageWeights()
    words = question_words(question)
    if not passages or not words.terms:
        empty = np.zeros((len(passages), len(words.terms)))
        return PassageFeatures(words.terms, empty, np.zeros(len(passages)))
    matches = _Matches(words, passages)
    frequencies = matches.term_frequencies(words.terms)
    idf = _idf(frequencies)
    relative = _relative_lengths(matches.lengths, [passage.kind for passage in passages])
    grams = np.where(matches.tables, weights.table_ngrams, weights.text_ngrams) * _ngrams(matches, words)
    signals = {
        "ngrams": grams,
        "windows": weights.windows * _windows(matches, words, relative),
        "labels": weights.labels * _labels(matches, words, passages, idf),
        "years": weights.years * np.where(matches.tables, _missing_years(frequencies, words), 0.0),
    }
    coverage = _coverage(frequencies, relative, idf, np.where(words.operations, weights.operation, 1.0))
    return PassageFeatures(words.terms, coverage, np.sum(list(signals.values()), axis=0), signals)


class _Matches:
    """Where the words of a question are in passages, all passages laid end to end.

    Attributes:
        tables: Which passages are tables.
        lengths: Content words of each passage.
        numbers: The words of the question, numbered.
        token: Number of the word at each match, in order of place.
        position: Place of each match; words next to each other in one segment differ by 1.
        place: The same, counted in content words, with a gap after each segment that no window crosses.
        owner: Whose each match is.
        is_content: Which matches are content words.
    """

    def __init__(self, question: QuestionWords, passages: Sequence[PassageWords]) -> None:
        self.tables = np.array([passage.kind == TABLE for passage in passages], dtype=np.bool_)
        self.numbers = {token: number for number, token in enumerate(dict.fromkeys(question.raw))}
        hashes = hash_words(self.numbers)
        self._order = np.argsort(hashes)
        self._sorted = hashes[self._order]
        # Most words are none of the question's; their last 16 bits say so faster than a search does.
        self._possible = np.zeros(_LAST_BITS + 1, dtype=np.bool_)
        self._possible[hashes & _LAST_BITS] = True
        tokens = np.concatenate([passage.tokens for passage in passages])
        content = np.concatenate([passage.content for passage in passages])
        ends = np.cumsum([passage.tokens.size for passage in passages])
        self.position, self.token = self.find(tokens)
        self.owner = np.searchsorted(ends, self.position, side="right")
        self.is_content = content[self.position]
        steps = content.astype(np.int64)
        steps[tokens == BREAK] = bm25.PAIR_WINDOW + 1
        self.place = np.cumsum(steps)[self.position]
        counted = np.concatenate([[0], np.cumsum(content)])[np.concatenate([[0], ends])]
        self.lengths = np.diff(counted).astype(np.float64)

    def find(self, tokens: Hashes) -> tuple[Integers, Integers]:
        """Return where in ``tokens`` a word of the question is, and its number."""
        position = np.flatnonzero(self._possible[tokens & _LAST_BITS])
        place = np.searchsorted(self._sorted, tokens[position])
        place[place == self._sorted.size] = 0
        same = self._sorted[place] == tokens[position]
        return position[same], self._order[place[same]]

    def count(self, features: Integers, size: int, owner: Integers | None = None) -> Floats:
        """Return how often each passage has each of ``size`` features; ``features`` has one or none for each match."""
        owner = self.owner if owner is None else owner
        found = np.flatnonzero(features != _ABSENT)
        passages = self.tables.size
        counts = np.bincount(owner[found] * size + features[found], minlength=passages * size)
        return counts.reshape(passages, size).astype(np.float64)

    def term_frequencies(self, terms: Sequence[str]) -> Floats:
        """Return how often each term is a content word of each passage."""
        return self.count(np.where(self.is_content, self.columns(terms)[self.token], _ABSENT), len(terms))

    def columns(self, terms: Sequence[str]) -> Integers:
        """Return the place among ``terms`` of each word of the question."""
        columns = np.full(len(self.numbers), _ABSENT)
        columns[[self.numbers[term] for term in terms]] = np.arange(len(terms))
        return columns


def _idf(frequencies: Floats) -> Floats:
    """Return how telling each column is; 0 for what no passage has."""
    found = (frequencies > 0).sum(axis=0).astype(np.float64)
    return np.where(found > 0, bm25.inverse_document_frequency(found, frequencies.shape[0]), 0.0)


def _relative_lengths(lengths: Floats, kinds: Sequence[str]) -> Floats:
    """Return lengths as multiples of the mean of the same kind: a table is long and few of its words are sentences."""
    _, group = np.unique(np.array(kinds), return_inverse=True)
    means = np.bincount(group, lengths) / np.bincount(group)
    relative: Floats = lengths / np.maximum(means, 1.0)[group]
    return relative


def _coverage(frequencies: Floats, relative: Floats, idf: Floats, weights: Floats) -> Floats:
    """Return BM25 contributions as shares of what a passage with all words of the question could have."""
    unknown = _UNKNOWN * bm25.rarest(frequencies.shape[0]) * weights[idf == 0].sum()
    total = float((weights * idf).sum() + unknown)
    return np.asarray(
        bm25.saturate(frequencies, relative[:, None]) * (weights * idf / max(total, 1e-9)), dtype=np.float64
    )


def _ngrams(matches: _Matches, question: QuestionWords) -> Floats:
    """Return how much of the question's wording each passage has, in runs of two to four words of one segment.

    A run is recognised by its last word and the number of the run before it, so that three passes over the matches
    find all runs.
    """
    passages = matches.tables.size
    asked = [matches.numbers[token] for token in question.raw]
    telling = np.isin(question.raw, question.terms)
    follows = np.diff(matches.position, prepend=_ABSENT - 1) == 1
    scores = np.zeros(passages)
    state, runs = matches.token, asked
    for length, weight in _GRAM_WEIGHTS.items():
        if len(asked) < length:
            break
        table, runs = _longer_runs(runs, asked[length - 1 :], len(matches.numbers))
        previous = np.concatenate([[_ABSENT], state[:-1]]) if state.size else state
        state = np.where(follows & (previous != _ABSENT), table[previous, matches.token], _ABSENT)
        size = max(runs) + 1
        counts = matches.count(state, size)
        kept = np.zeros(size)
        for start, run in enumerate(runs):
            kept[run] = telling[start : start + length].any()
        values = counts / (counts + _GRAM_K1) * (_idf(counts) * kept)
        scores += weight * values.sum(axis=1) / (max(size, _FEWEST_GRAMS) * bm25.rarest(passages))
    return scores


def _longer_runs(runs: Sequence[int], following: Sequence[int], words: int) -> tuple[Integers, list[int]]:
    """Number the runs that are one word longer; return a table from run and next word to them, and them in order."""
    table = np.full((max(runs) + 1, words), _ABSENT)
    longer: list[int] = []
    for run, word in zip(runs, following, strict=False):
        if table[run, word] == _ABSENT:
            table[run, word] = max(longer, default=_ABSENT) + 1
        longer.append(int(table[run, word]))
    return table, longer


def _windows(matches: _Matches, question: QuestionWords, relative: Floats) -> Floats:
    """Return how much each passage has of the pairs of words that are near each other in the question; 0 for tables."""
    table, size = _near_pairs([matches.numbers[token] for token in question.content], len(matches.numbers))
    kept = matches.is_content & ~matches.tables[matches.owner]
    token, place, owner = matches.token[kept], matches.place[kept], matches.owner[kept]
    counts = np.zeros((matches.tables.size, size))
    for step in range(1, bm25.PAIR_WINDOW + 1):
        near = place[step:] - place[:-step] <= bm25.PAIR_WINDOW
        pairs = np.where(near, table[token[:-step], token[step:]], _ABSENT)
        counts += matches.count(pairs, size, owner[step:])
    values = bm25.saturate(counts, relative[:, None], _WINDOW_B) * _idf(counts)
    return np.asarray(values.sum(axis=1) / (max(size, 1) * bm25.rarest(matches.tables.size)), dtype=np.float64)


def _near_pairs(words: Sequence[int], vocabulary: int) -> tuple[Integers, int]:
    """Number the unordered pairs of near words; return a table from two words to their pair, and how many there are."""
    table = np.full((vocabulary, vocabulary), _ABSENT)
    size = 0
    for index, first in enumerate(words):
        for second in words[index + 1 : index + 1 + bm25.QUESTION_PAIR_WINDOW]:
            if first != second and table[first, second] == _ABSENT:
                table[first, second] = table[second, first] = size
                size += 1
    return table, size


def _labels(matches: _Matches, question: QuestionWords, passages: Sequence[PassageWords], idf: Floats) -> Floats:
    """Return how well the best label of each table fits: share of the label squared, times share of the question.

    Words of a label that are not in the question all weigh the same; looking their frequencies up changed nothing.
    """
    best = np.zeros(len(passages))
    sizes = np.concatenate([passage.label_sizes for passage in passages])
    words = np.concatenate([passage.label_terms for passage in passages])
    position, token = matches.find(words)
    column = matches.columns(question.terms)[token]
    position, column = position[column != _ABSENT], column[column != _ABSENT]
    label = np.searchsorted(np.cumsum(sizes), position, side="right")
    named = np.array([not term[0].isdigit() for term in question.terms]) & ~np.array(question.operations)
    asked = np.where(named, idf, 0.0)
    covered = np.bincount(label, idf[column], minlength=sizes.size)
    shared = np.bincount(label, asked[column], minlength=sizes.size)
    others = (sizes - np.bincount(label, minlength=sizes.size)) * _UNKNOWN * bm25.rarest(len(passages))
    fit = (covered / np.maximum(covered + others, 1e-9)) ** 2 * shared / max(float(asked.sum()), 1e-9)
    owner = np.repeat(np.arange(len(passages)), [passage.label_sizes.size for passage in passages])
    np.maximum.at(best, owner, fit)
    return best


def _missing_years(frequencies: Floats, question: QuestionWords) -> Floats:
    """Return minus the share of the question's years that each passage lacks."""
    columns = [question.terms.index(year) for year in question.years]
    if not columns:
        return np.zeros(frequencies.shape[0])
    return np.asarray((frequencies[:, columns] > 0).mean(axis=1) - 1.0, dtype=np.float64)


def states_measure(passages: Sequence[PassageWords]) -> npt.NDArray[np.bool_]:
    """Return which passages state the unit of measure of the numbers in tables beside them.

    Returns:
        True for passages other than tables that say "in thousands" and the like. A number needs its unit: a bonus of
        .13 for pairs of a table and such a text was worth .018 recall@5, but part of that is how the evidence of those
        questions was annotated.
    """
    return np.array([passage.states_unit and passage.kind != TABLE for passage in passages], dtype=np.bool_)
