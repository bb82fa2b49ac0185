"""Shorten sources to a budget of tokens: whole texts while they fit, then the passages that matter.

Sources go in whole, in rank order, up to half of the budget; what is left goes to the passages of the others that share
the question's words, those of better-ranked sources first. Nothing is cut inside a passage, and gaps between passages
are marked. Pure functions.

Measured on real PDFs (``benchmarks.context``): at 6,000 characters the context has the answer of .56 of the questions,
where whole pages in rank order have .49 and chunks in rank order .45; at 24,000 it is .68, .68 and .62.
Passages are scored by BM25, as in :mod:`llama_index_raganything.text.terms`. Smaller or larger passages, other
shares for whole texts and static vectors made no difference beyond noise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from llama_index_raganything.tables.pipe_tables import table_spans
from llama_index_raganything.text.bm25 import inverse_document_frequency, saturate
from llama_index_raganything.text.sentences import split_sentences
from llama_index_raganything.text.terms import content_tokens

GAP: Final = "…"
"""Marks passages that were left out."""

_WHOLE_SHARE: Final = 0.5
_READ_TIMES: Final = 2.5
"""Sources are read until their texts fill the budget this many times."""

_LEAST_READ: Final = 5
_PASSAGES_PER_BUDGET: Final = 40
_LEAST_PASSAGE_CHARS: Final = 200
_MOST_PASSAGE_CHARS: Final = 800
_ENDLESS: Final = 4
"""A sentence as long as this many passages is none: a log, a list without stops, encoded data."""

_NEIGHBOUR_SHARE: Final = 0.5
_RANK_DECAY: Final = 0.85
_WITHOUT_WORDS: Final = 0.05
_CAPTION_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a source that goes in whole or not at all.

    Attributes:
        source: Place of its source.
        place: Its place in the source.
        head: Caption and header of the table that its rows belong to; empty where it has none.
        rows: Number of table rows in it.
    """

    source: int
    place: int
    text: str
    head: str = ""
    rows: int = 0


def excerpts(
    question: str,
    texts: Sequence[str],
    budget: int,
    count: Callable[[str], int] = len,
    heads: Sequence[int] | None = None,
) -> list[str | None]:
    """Return what an LLM is to read of each source.

    Args:
        texts: The texts of the sources, best first.
        budget: Tokens of all excerpts together.
        count: Counts the tokens of a text; characters by default.
        heads: Tokens that each source takes beside its text, if any of it goes in; none by default.

    Returns:
        One excerpt per source: its whole text, its passages with ``…`` between them, or None where nothing of it
        fits. A table of which only some rows go in keeps its caption and header, and says how many rows were left out.
    """
    own = [0] * len(texts) if heads is None else heads
    sizes = [count(text) + head for text, head in zip(texts, own, strict=True)]
    if sum(sizes) <= budget:
        return list(texts)
    read = _sources_read(sizes, budget)
    chars = sum(map(len, texts[:read])) / max(1, sum(sizes[:read]))
    size = min(_MOST_PASSAGE_CHARS, max(_LEAST_PASSAGE_CHARS, int(budget * chars / _PASSAGES_PER_BUDGET)))
    passages = [passage for source in range(read) for passage in split_passages(texts[source], size, source)]
    choice = _Choice(passages, budget, count, own)
    choice.make(question, sizes)
    by_source: list[list[Passage]] = [[] for _ in texts]
    for passage in passages:
        by_source[passage.source].append(passage)
    while True:
        chosen = choice.passages()
        given = [
            text if source in choice.whole else _given(text, parts, chosen, count)
            for source, (text, parts) in enumerate(zip(texts, by_source, strict=True))
        ]
        spent = sum(count(text) + head for text, head in zip(given, own, strict=True) if text is not None)
        # Tokens of the parts are not those of the whole, and gaps were only estimated.
        if spent <= budget or not choice.take_back():
            return given


def _sources_read(sizes: Sequence[int], budget: int) -> int:
    total = 0
    for place, size in enumerate(sizes):
        if place >= _LEAST_READ and total >= _READ_TIMES * budget:
            return place
        total += size
    return len(sizes)


# -- passages ----------------------------------------------------------------------------------------------------------


def split_passages(text: str, size: int, source: int = 0) -> list[Passage]:
    """Split a text at line ends, and long lines at the ends of their sentences.

    Args:
        text: A text, with Markdown tables or without.
        size: Characters of a passage; a longer sentence or row stays whole.
        source: Place of its source.

    Returns:
        The passages, in order; rows of a Markdown table know its caption and header. A blank text, as of an image,
        is one empty passage.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return [Passage(source, 0, "")]
    passages: list[Passage] = []
    start = 0
    for header, end in table_spans(lines):
        passages += _of_lines(lines[start:header], size, source, len(passages))
        caption = lines[header - 1] if start < header and len(lines[header - 1]) <= _CAPTION_CHARS else ""
        passages += _of_table(lines[header:end], caption, size, source, len(passages))
        start = end
    return passages + _of_lines(lines[start:], size, source, len(passages))


def _of_table(lines: Sequence[str], caption: str, size: int, source: int, place: int) -> list[Passage]:
    header = "\n".join(lines[:2])
    head = f"{caption}\n{header}" if caption else header
    packed = enumerate(_packed(lines[2:], size), place)
    made = [Passage(source, place, "\n".join(rows), head, len(rows)) for place, rows in packed]
    return made or [Passage(source, place, header)]


def _of_lines(lines: Sequence[str], size: int, source: int, place: int) -> list[Passage]:
    parts = [part for line in lines for part in ([line] if len(line) <= size else _sentences(line, size))]
    return [Passage(source, place, "\n".join(held)) for place, held in enumerate(_packed(parts, size), place)]


def _packed(parts: Sequence[str], size: int) -> Iterator[list[str]]:
    """Yield parts in lists of about a size in characters."""
    held: list[str] = []
    for part in parts:
        if held and sum(map(len, held)) + len(part) > size:
            yield held
            held = []
        held.append(part)
    if held:
        yield held


def _sentences(line: str, size: int) -> list[str]:
    """Return the sentences of a line; one that is endless is cut between words."""
    return [
        part
        for sentence in split_sentences(line)
        for part in ([sentence.strip()] if len(sentence) <= _ENDLESS * size else _words(sentence, size))
        if part
    ]


def _words(text: str, size: int) -> list[str]:
    parts: list[str] = []
    rest = text.strip()
    while len(rest) > size:
        cut = rest.rfind(" ", 1, size + 1)
        cut = cut if cut > 0 else size
        parts.append(rest[:cut].strip())
        rest = rest[cut:].strip()
    return [*parts, rest]


# -- choice ------------------------------------------------------------------------------------------------------------


class _Choice:
    """The passages that go in, until the budget is spent."""

    def __init__(
        self, passages: Sequence[Passage], budget: int, count: Callable[[str], int], heads: Sequence[int]
    ) -> None:
        self._passages = passages
        self._budget = budget
        self._left = budget
        self._count = count
        self._heads = heads
        self._taken: list[int] = []
        self._begun: set[tuple[int, str]] = set()
        self._gaps = {False: count(f"\n{GAP}\n"), True: count(f"\n{_rows_left_out(100)}\n")}
        self.whole: set[int] = set()

    def make(self, question: str, sizes: Sequence[int]) -> None:
        """Take whole sources in order, then passages by their value.

        Args:
            sizes: Tokens of each source, its head included.
        """
        for source, size in enumerate(sizes):
            if size > self._left - (1 - _WHOLE_SHARE) * self._budget:
                break
            self._left -= size
            self._begun.add((source, ""))
            self.whole.add(source)
        values = _values(question, self._passages)
        taken: set[int] = set()
        for place in sorted(range(len(self._passages)), key=lambda place: -values[place]):
            if self._passages[place].source not in self.whole and self._take(place, taken):
                taken.add(place)
                self._taken.append(place)

    def passages(self) -> set[Passage]:
        """Return the passages that were taken of sources that do not go in whole."""
        return {self._passages[place] for place in self._taken}

    def take_back(self) -> bool:
        """Take back the passage that was taken last; return whether there was one."""
        if self._taken:
            self._taken.pop()
            return True
        return False

    def _take(self, place: int, taken: Collection[int]) -> bool:
        """Take a passage if it fits with what it needs: the head of its source and of its table, the mark of a gap."""
        passage = self._passages[place]
        needs = {(passage.source, ""), (passage.source, passage.head)} - self._begun
        cost = self._count(f"{passage.text}\n")
        cost += sum(self._count(head) if head else self._heads[source] for source, head in needs)
        if place - 1 not in taken and place + 1 not in taken:
            cost += self._gaps[passage.rows > 0]
        if cost > self._left:
            return False
        self._left -= cost
        self._begun |= needs
        return True


def _values(question: str, passages: Sequence[Passage]) -> list[float]:
    """Return the value of each passage: by its words, by those beside it, and by the rank of its source."""
    # A row says little without the words of its header and caption.
    scores = passage_scores(question, [f"{passage.head}\n{passage.text}" for passage in passages])
    values: list[float] = []
    for place, passage in enumerate(passages):
        beside = [
            scores[other]
            for other in (place - 1, place + 1)
            if 0 <= other < len(passages) and passages[other].source == passage.source
        ]
        values.append(scores[place] + _NEIGHBOUR_SHARE * max(beside, default=0.0))
    best = max(values, default=0.0) or 1.0
    return [
        (value / best + _WITHOUT_WORDS) * _RANK_DECAY**passage.source
        for value, passage in zip(values, passages, strict=True)
    ]


def passage_scores(question: str, texts: Sequence[str]) -> list[float]:
    """Return the BM25 score of each text for the content words of a question, with the texts' own statistics."""
    wanted = set(content_tokens(question))
    tokens = [content_tokens(text) for text in texts]
    counts = [Counter(token for token in each if token in wanted) for each in tokens]
    found = Counter(token for each in counts for token in each)
    size = len(texts)
    idf = {token: inverse_document_frequency(number, size) for token, number in found.items()}
    mean = sum(map(len, tokens)) / max(1, size) or 1.0
    return [
        sum(idf[token] * saturate(often, len(each) / mean) for token, often in counted.items())
        for each, counted in zip(tokens, counts, strict=True)
    ]


# -- print -------------------------------------------------------------------------------------------------------------


def _given(
    text: str, passages: Sequence[Passage], chosen: Collection[Passage], count: Callable[[str], int]
) -> str | None:
    """Return the excerpt of one source: the text as it is where nothing is left out and it costs no more."""
    printed = _printed(passages, chosen)
    complete = printed is not None and all(passage in chosen for passage in passages)
    return text if complete and count(text) <= count(printed or "") else printed


def _printed(passages: Sequence[Passage], chosen: Collection[Passage]) -> str | None:
    """Return those passages of one source that are chosen as one text, None where there are none."""
    printed: list[str] = []
    heads: set[str] = set()
    left_out: list[Passage] = []
    for passage in passages:
        if passage not in chosen:
            left_out.append(passage)
            continue
        if passage.head and passage.head not in heads:
            printed += _gap([each for each in left_out if each.head != passage.head], heads)
            heads.add(passage.head)
            printed.append(_without_caption(passage.head, printed))
            left_out = [each for each in left_out if each.head == passage.head]
        printed += [*_gap(left_out, heads), passage.text]
        left_out = []
    return "\n".join([*printed, *_gap(left_out, heads)]) if printed else None


def _gap(left_out: Sequence[Passage], heads: Collection[str]) -> list[str]:
    """Return the mark of a gap; one inside a table whose header is printed gives the number of rows."""
    if not left_out:
        return []
    rows = sum(passage.rows for passage in left_out if passage.head in heads)
    marks = [_rows_left_out(rows)] if rows else []
    return marks if rows and all(passage.head in heads for passage in left_out) else [*marks, GAP]


def _rows_left_out(rows: int) -> str:
    return f"{GAP} ({rows} row{'' if rows == 1 else 's'} of the table left out)"


def _without_caption(head: str, printed: Sequence[str]) -> str:
    """Return caption and header of a table, without the caption where it has just been printed."""
    caption, _, header = head.partition("\n")
    return header if not caption.startswith("|") and printed and printed[-1].endswith(caption) else head
