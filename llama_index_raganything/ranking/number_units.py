"""Nodes as units of evidence: their words in segments and, for tables, the labels of rows and columns.

A segment is a sentence, or a cell of a table: word order means nothing across its ends. A unit keeps 5 bytes a word
and is made once per node, so that scoring a question against some hundred of them reads arrays only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from llama_index_raganything.text.sentences import sentences_of
from llama_index_raganything.text.terms import hash_tokens, normalize, tokenize, word_list

Hashes = npt.NDArray[np.int32]

BREAK: Final = 0
"""Stands after each segment."""

TABLE: Final = "table"
_HEADER_ROWS: Final = 3
_MAX_LABELS: Final = 2_000

_UNESCAPED_PIPE = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r"\|[\s:|-]*---[\s:|-]*\|")
_COLUMNS = re.compile(r"\t+|\s{2,}|\s+(?=[-\u2212($€£¥]*\d)")
_FOOTNOTE_MARK = re.compile(r"\(\d{1,2}\)|\[\d{1,2}\]")
_UNIT_OF_MEASURE = re.compile(
    r"\b(?:thousands|millions|billions)\b|'000|\(in (?:thousand|million|billion)"
    r"|单位\s*[:：为]|單位\s*[:：為]|[百千万萬亿億]元",
    re.IGNORECASE,
)

Row = list[str]


@dataclass(frozen=True, slots=True)
class Unit:
    """What scoring needs to know of one node.

    Attributes:
        kind: Its content type; ``table`` has labels, and lengths are compared within a kind.
        tokens: Its words as hashes in order, with :data:`BREAK` after each segment.
        content: Which of them are content words.
        label_terms: Content words of its row and column labels, label after label, each word once per label.
        label_sizes: How many each label has.
        states_unit: It tells the unit of measure of figures ("in thousands").
    """

    kind: str
    tokens: Hashes
    content: npt.NDArray[np.bool_]
    label_terms: Hashes
    label_sizes: Hashes
    states_unit: bool

    @classmethod
    def from_text(cls, text: str, kind: str = "text") -> Unit:
        """Read a unit from the text of a node.

        Args:
            text: The text. A table is a Markdown pipe table, or lines with cells between pipes, tabs or blanks, with
                any text around it.
            kind: The content type of the node.

        Returns:
            The unit.
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
            label_terms=_hashes(token for label in labels for token in label),
            label_sizes=np.array([len(label) for label in labels], dtype=np.int32),
            states_unit=bool(_UNIT_OF_MEASURE.search(normalize(text))),
        )


def hash_words(tokens: Iterable[str]) -> Hashes:
    """Return the hashes that units keep: 32 bits, equal for equal tokens within this process.

    Args:
        tokens: Tokens as :func:`~llama_index_raganything.text.terms.tokenize` makes them.

    Returns:
        Hashes in the order of the tokens.
    """
    return _hashes(tokens)


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
    is_markdown = any(_RULE.fullmatch(line.strip()) for line in lines)
    rows: list[Row] = []
    prose: list[str] = []
    for line in lines:
        if not _UNESCAPED_PIPE.search(line):
            prose.append(line)
        elif not is_markdown or line.strip().startswith("|"):
            if not (is_markdown and _RULE.fullmatch(line.strip())):
                rows.append(_cells(line, is_markdown=is_markdown))
        else:
            prose.append(line)
    return rows, "\n".join(prose)


def table_labels(rows: Sequence[Row]) -> Iterator[str]:
    """Return what names the rows and columns of a table.

    Args:
        rows: Its rows, the header first.

    Yields:
        The first cell of each row; below a row with only a first cell (or one text in all, as merged cells are
        written), also that cell with it; and the further cells of the first three rows, which hold the headers.
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


def _cells(line: str, *, is_markdown: bool) -> Row:
    if is_markdown:
        line = line.strip().removeprefix("|")
        line = line[:-1] if line.endswith("|") and not line.endswith("\\|") else line
    return [cell.replace("\\|", "|").strip() for cell in _UNESCAPED_PIPE.split(line)]


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
    return _hashes(tokens), content


def _hashes(tokens: Iterable[str]) -> Hashes:
    # Wraps around: a collision of 32 bits with one of the few words of a question is a matter of one in millions.
    return hash_tokens(tokens).astype(np.int32)
