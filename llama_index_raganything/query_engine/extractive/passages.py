"""Cut source nodes into what can be quoted: sentences, lists, table rows, images. Pure functions of nodes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from llama_index.core.schema import NodeWithScore

from llama_index_raganything.elements import labels_in
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.tables.pipe_tables import split_rows
from llama_index_raganything.text.characters import CJK_AND_PUNCTUATION
from llama_index_raganything.text.sentences import sentences_of
from llama_index_raganything.text.terms import content_tokens

Kind = Literal["sentence", "list", "row", "image", "block", "heading"]

_ABOVE: Final = 0.9
_ABOVE_FAR: Final = 0.6
_SECTION: Final = 0.6
_BEFORE: Final = 0.4
_TITLE: Final = 0.4
_ELSEWHERE: Final = 0.3
_CONTEXT_KEYS: Final = (("title", _TITLE), ("section", _SECTION), ("caption", _SECTION))
_MEDIA_TYPES: Final = frozenset({"image", "audio", "video"})
_BLOCK_TYPES: Final = frozenset({"equation", "code"})
_BLOCK_CHARS: Final = 600
_LIST_ITEMS: Final = 10
_SHORT_WORDS: Final = 3
_SHORT_CHARACTERS: Final = 4
_HEADING_WORDS: Final = 12
_LABEL_WORDS: Final = 15

_BULLET = re.compile(r"^\s*(?:[-*•●▪■◦‣–·\uf0a7\uf0b7]\s+|\(?\d{1,2}[.)]\s+|\(?[a-z]\)\s+)")
_VALUE = re.compile(r"[(\-–—+]*[$€£¥]?\(?\d(?:[\d.,]*\d)?[%)]*$|[-–—]+$")
_CURRENCY: Final = frozenset("$€£¥")
_YEAR = re.compile(r"(?:19|20)\d\d")
_WORD = re.compile(r"[^\W\d_]{3,}|(?:19|20)\d\d")
_FINAL = re.compile(r"[.!?。！？;；:：…][\"'”’)\]」』）]*$")
_ASKS = re.compile(r"[?？][\"'”’)\]」』）]*$")
_QUESTION_MARK_LABEL = re.compile(r"^(?:Q|A|Question|Answer|问|答)\s*\d*\s*[:：.]\s*", re.IGNORECASE)
_CJK_EDGE = re.compile(rf"[{CJK_AND_PUNCTUATION}]")


@dataclass
class Passage:
    """Something that may be quoted in an answer.

    Attributes:
        number: Number of the source node, from 1.
        kind: "image" for images, sound and videos; "block" for code and formulas.
        text: Words to quote.
        tokens: Its content words, in order.
        context: Words near it (heading or question above, sentence before), each with its weight.
        shared: Words around all passages of its source (caption, section, title), each with its weight.
        header: Header cells of the table (rows only).
        cells: Cells of the row (rows only).
        position: Place among the rows of its table (rows only).
        table: Identifies the table of a row within one answer.
        rank: Rank of the source among the retrieved nodes, from 0.
    """

    number: int
    kind: Kind
    text: str
    tokens: list[str]
    context: dict[str, float] = field(default_factory=dict)
    shared: Mapping[str, float] = field(default_factory=dict)
    header: Sequence[str] = ()
    cells: Sequence[str] = ()
    position: int = 0
    table: tuple[int, int] = (0, 0)
    rank: int = 0

    def held(self, term: str) -> float:
        """Return the weight of a content word that is around the passage and not in it."""
        return max(self.context.get(term, 0.0), self.shared.get(term, 0.0))


def passages_of(number: int, source: NodeWithScore) -> list[Passage]:
    """Cut a source node into passages, in reading order."""
    view = NodeView(source.node)
    text, content_type = view.text, str(source.node.metadata.get("content_type", "text"))
    context = dict.fromkeys(content_tokens(text), _ELSEWHERE)
    for words, weight in _names_around(source.node.metadata):
        _weigh(context, content_tokens(words), weight)
    if content_type in _MEDIA_TYPES:
        words = _image_words(text, view.caption, view.label)
        # The sentences that cite an image help to find it, but are quoted from their own place.
        return [Passage(number, "image", words, content_tokens(text), shared=context)]
    if content_type in _BLOCK_TYPES:
        block = text.strip()[:_BLOCK_CHARS]
        return [Passage(number, "block", block, content_tokens(block), shared=context)]
    splitter = _Splitter(number, context)
    for paragraph in re.split(r"\n\s*\n", text):
        splitter.take(paragraph)
    splitter.finish()
    return splitter.passages


class _Splitter:
    """Splits the paragraphs of one node and remembers the heading or question above the current one."""

    def __init__(self, number: int, context: dict[str, float]) -> None:
        self.passages: list[Passage] = []
        self._number = number
        self._context = context
        self._above: list[str] = []
        self._distance = 0
        self._before: list[str] = []
        self._tables = 0
        self._held: list[str] = []
        self._columns: list[str] = []
        self._columns_text: list[str] = []
        self._rows = 0

    def take(self, paragraph: str) -> None:
        table = split_rows(paragraph)
        if table is not None:
            self._take_table(*table)
            lines = [line for line in paragraph.splitlines() if not line.strip().startswith("|")]
            paragraph = "\n".join(lines)
        blocks = [*self._held, *blocks_of(paragraph)]
        # What ends with a colon goes on in the next paragraph.
        self._held = [blocks.pop()] if blocks and table is None and _is_open(blocks[-1]) else []
        self._take_blocks(blocks)

    def finish(self) -> None:
        """Take what was held back for a paragraph that did not come."""
        self._take_blocks(self._held)

    def _take_blocks(self, blocks: Sequence[str]) -> None:
        index = 0
        while index < len(blocks):
            if _introduces_list(blocks, index):
                index = self._take_list(blocks, index)
                continue
            follower = blocks[index + 1] if index + 1 < len(blocks) and _is_open(blocks[index]) else ""
            short = len(follower.split()) <= 2 * _HEADING_WORDS
            self._take_block(blocks[index], follower if short else "")
            index += 1

    def _take_block(self, block: str, follower: str = "") -> None:
        """Take a block; ``follower`` completes its last sentence, which ends with a colon."""
        if self._take_printed_row(block):
            return
        if is_heading(block):
            self._add("heading", block)
            self._set_above(block)
            return
        waiting = ""
        sentences = sentences_of(block)
        if follower and sentences:
            sentences[-1] = f"{sentences[-1]} {follower}"
        for sentence in sentences:
            if _ASKS.search(sentence):
                self._set_above(sentence)
                waiting = ""
                continue
            gap = "" if _CJK_EDGE.search(waiting) else " "
            sentence = f"{waiting}{gap}{sentence}".strip()  # noqa: PLW2901  # "Yes." means nothing without what follows.
            waiting = sentence if _is_short(sentence) else ""
            if not waiting:
                self._add("sentence", sentence)
        if waiting:
            self._add("sentence", waiting)

    def _take_list(self, blocks: Sequence[str], start: int) -> int:
        end = start + 1
        while end < len(blocks) and end - start <= _LIST_ITEMS and _BULLET.match(blocks[end]):
            end += 1
        items = [_BULLET.sub("", block).strip().rstrip(";,.") for block in blocks[start + 1 : end]]
        intro = sentences_of(blocks[start])[-1]
        self._add("list", f"{intro} {'; '.join(items)}.")
        for item in blocks[start + 1 : end]:
            self._add("sentence", _BULLET.sub("", item).strip(), extra=content_tokens(intro))
        return end

    def _take_printed_row(self, block: str) -> bool:
        """Take a line of a table that is only printed as text, such as ``"Total revenue $ 4.2 $ 3.9"``."""
        cells = printed_row(block)
        years = _YEAR.findall(block)
        if len(years) > 1 and (cells is None or all(_YEAR.fullmatch(cell) for cell in cells[1:])):
            self._columns = [cells[0] if cells else "", *years]
            self._columns_text = content_tokens(block)
            self._tables += 1
            self._rows = 0
            return is_heading(block) or cells is not None
        if cells is None:
            return False
        passage = self._add("row", block, extra=self._columns_text)
        if passage is not None:
            passage.header = self._columns if len(self._columns) == len(cells) else [""] * len(cells)
            passage.cells, passage.position = cells, self._rows
            passage.table = (self._number, self._tables)
            self._rows += 1
        return True

    def _take_table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self._tables += 1
        for position, cells in enumerate(rows):
            passage = self._add("row", "; ".join(cell for cell in cells if cell))
            if passage is not None:
                passage.header, passage.cells, passage.position = header, cells, position
                passage.table = (self._number, self._tables)

    def _add(self, kind: Kind, text: str, extra: Sequence[str] = ()) -> Passage | None:
        text = _QUESTION_MARK_LABEL.sub("", text).strip()
        if not any(char.isalnum() for char in text):
            return None
        context: dict[str, float] = {}
        weight = _ABOVE if self._distance == 0 else _ABOVE_FAR
        for tokens, value in ((self._before, _BEFORE), (self._above, weight), (extra, _ABOVE)):
            _weigh(context, tokens, value)
        tokens = content_tokens(text)
        passage = Passage(self._number, kind, text, tokens, context, self._context)
        self.passages.append(passage)
        if kind != "row":
            self._before = tokens
            self._distance += 1
        return passage

    def _set_above(self, text: str) -> None:
        self._above = content_tokens(text)
        self._before = []
        self._distance = 0


def blocks_of(paragraph: str) -> Iterator[str]:
    """Join the wrapped lines of a paragraph, and keep list items, number rows and headings apart.

    Args:
        paragraph: Lines without a blank line between them.

    Yields:
        Blocks of running text, single list items and single lines.
    """
    lines = [" ".join(line.split()) for line in paragraph.splitlines() if line.strip()]
    longest = max((len(line) for line in lines), default=0)
    block = ""
    previous = ""
    for line in lines:
        if block and not _continues(previous, line, longest):
            yield block
            block = ""
        block = _glue(block, line)
        previous = line
    if block:
        yield block


def is_heading(block: str) -> bool:
    """Return whether a block looks like a heading: short, no final mark, not a list item or a row of numbers."""
    if _FINAL.search(block) or _BULLET.match(block) or printed_row(block) is not None:
        return False
    return len(block.split()) <= _HEADING_WORDS and len(block) <= 100


def printed_row(line: str) -> list[str] | None:
    """Read a line of text as a table row: a name, then numbers.

    Returns:
        The name and the numbers, or None. One number makes a row only with a currency or percent sign.
    """
    words = line.split()
    values: list[str] = []
    while words and (_VALUE.match(words[-1]) or words[-1] in _CURRENCY):
        word = words.pop()
        if word in _CURRENCY and values:
            values[-1] = word + values[-1]
        elif word not in _CURRENCY:
            values.append(word)
    name = " ".join(words).rstrip(" .:")
    marked = any(char in value for value in values for char in "$€£¥%")
    if not (len(values) >= 2 or (values and marked)) or not 0 < len(words) <= _LABEL_WORDS:
        return None
    return [name, *reversed(values)] if any(char.isalpha() for char in name) else None


def _is_short(sentence: str) -> bool:
    """Return whether a sentence is too short to mean something by itself ("Yes.", "不支持。")."""
    if _CJK_EDGE.search(sentence):
        return len(sentence) <= _SHORT_CHARACTERS
    return len(sentence.split()) < _SHORT_WORDS


def _introduces_list(blocks: Sequence[str], index: int) -> bool:
    return _is_open(blocks[index]) and index + 1 < len(blocks) and _BULLET.match(blocks[index + 1]) is not None


def _is_open(block: str) -> bool:
    return block.rstrip().endswith((":", "："))


def _continues(previous: str, line: str, longest: int) -> bool:
    """Return whether a line continues the sentence of the line before."""
    if _BULLET.match(line) or _is_number_row(line) or _is_number_row(previous):
        return False
    if line[0].islower():
        return True
    if _FINAL.search(previous):
        # A full line may end a sentence in the middle of its paragraph; a short one ends the paragraph.
        return len(previous) > 0.75 * longest and _ASKS.search(previous) is None
    return len(previous) > 0.6 * longest and len(previous) > 30


def _is_number_row(line: str) -> bool:
    words = line.split()
    numbers = sum(1 for word in words if _VALUE.match(word))
    return printed_row(line) is not None or (numbers >= 2 and numbers >= 0.4 * len(words))


def _glue(block: str, line: str) -> str:
    if not block:
        return line
    if block.endswith("-") and line[0].islower() and len(block) > 1 and block[-2].isalpha():
        return block[:-1] + line
    if _CJK_EDGE.match(block[-1]) and _CJK_EDGE.match(line[0]):
        return block + line
    return f"{block} {line}"


def _image_words(text: str, caption: str, label: str) -> str:
    """Return the caption of an image and the words in it, without axis numbers and the sentences that cite it."""
    parts = [" ".join(line.split()) for line in text.splitlines()]
    words = [part for part in parts if any(char.isalpha() for char in part)]
    own = [part for part in words if part == caption or not label or label not in labels_in(part)]
    return "; ".join(dict.fromkeys(own or words or parts)).strip("; ")[:_BLOCK_CHARS]


def _names_around(metadata: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield file name, title, section and caption, each with the weight of its words."""
    # No question means the hexadecimal digits of a hashed file name.
    yield " ".join(_WORD.findall(str(metadata.get("file_name") or "").replace("_", " "))), _TITLE
    for key, weight in _CONTEXT_KEYS:
        yield str(metadata.get(key) or ""), weight


def _weigh(context: dict[str, float], tokens: Sequence[str], weight: float) -> None:
    """Give words at least a weight."""
    for token in tokens:
        context[token] = max(context.get(token, 0.0), weight)
