"""The kinds of things that a question may carry: images, tables, formulas. Nothing is fetched from the network."""

from __future__ import annotations

import base64
import csv
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lxml import html as lxml_html

from llama_index_raganything._arguments import argument_names, refuse_unknown, strict_arguments
from llama_index_raganything.errors import ConfigurationError, FileTooLargeError
from llama_index_raganything.images import FittedImage, decoded_image, fit_image, image_bytes, image_digest
from llama_index_raganything.tables.read import pipe_tables
from llama_index_raganything.text.terms import content_tokens

_MOST_SPAN: Final = 100
_DELIMITERS: Final = ",;\t|"
_HTML = re.compile(r"<(?:table|tr|td|th)\b", re.IGNORECASE)

Rows = tuple[tuple[str, ...], ...]


def table_rows(table: Any) -> Rows:
    """Return a table as rows of strings.

    Args:
        table: Rows of cells, rows as dictionaries (whose keys become the header), or text: HTML with a table, a
            Markdown pipe table, or values with commas, semicolons or tabs between them.

    Returns:
        The rows, the first being the header where there is one; none for what holds no table.
    """
    if isinstance(table, str):
        return _of_text(table)
    if not isinstance(table, Sequence):
        return ()
    if all(isinstance(row, Mapping) for row in table):
        header = list(dict.fromkeys(key for row in table for key in row))
        body = (tuple(_cell(row.get(key)) for key in header) for row in table)
        return (tuple(_cell(key) for key in header), *body) if header else ()
    return tuple(
        tuple(_cell(cell) for cell in row) if isinstance(row, Sequence) and not isinstance(row, str) else (_cell(row),)
        for row in table
    )


def _cell(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _of_text(text: str) -> Rows:
    if _HTML.search(text):
        return _of_html(text)
    if tables := pipe_tables(text):
        return (tables[0].header, *tables[0].rows)
    return _of_values(text)


def _of_html(text: str) -> Rows:
    """Read the rows of a fragment; cells over several columns are repeated, those over several rows are not."""
    try:
        root = lxml_html.fragment_fromstring(text, create_parent="div")
    except (ValueError, lxml_html.etree.ParserError):
        return ()
    return tuple(row for line in root.iter("tr") if (row := tuple(_html_cells(line))))


def _html_cells(line: Any) -> list[str]:
    cells: list[str] = []
    for cell in line.iterchildren("td", "th"):
        span = cell.get("colspan", "1")
        width = min(int(span), _MOST_SPAN) if span.isascii() and span.isdigit() and len(span) < 5 else 1
        cells.extend([" ".join(cell.text_content().split())] * max(1, width))
    return cells


def _of_values(text: str) -> Rows:
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return ()
    # The delimiter that the first line has most of; a sniffer guesses letters where there is none.
    delimiter = max(_DELIMITERS, key=lines[0].count)
    if not lines[0].count(delimiter):
        return tuple((line.strip(),) for line in lines)
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        return tuple(tuple(cell.strip() for cell in row) for row in reader if row)
    except csv.Error:
        # A field over the limit of the csv module, or a null byte.
        return tuple(tuple(cell.strip() for cell in line.split(delimiter)) for line in lines)


MAX_TEXT: Final = 2_000_000
"""Characters of an attached table or formula."""

MAX_WORDS: Final = 40
"""Words of one attachment that join the question for retrieval: a large table must not drown it."""

MAX_PROMPT_CHARS: Final = 20_000
"""Characters of one attachment that an LLM reads."""

DATA_URI: Final = re.compile(r"data:[\w.+-]*/?[\w.+-]*(?:;[\w=.+-]+)*;base64,", re.IGNORECASE)
"""The beginning of a data URI with base64."""

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_FORMULA_WORD = re.compile(r"\\?[^\W\d_]{2,}|\d+(?:\.\d+)?|[^\W\d_]")
_LAYOUT: Final = frozenset(
    {"frac", "dfrac", "tfrac", "left", "right", "begin", "end", "mathrm", "mathbf"}
    | {"mathit", "mathcal", "mathbb", "mathsf", "text", "textrm", "textbf", "operatorname", "displaystyle"}
    | {"quad", "qquad", "label", "tag", "nonumber", "limits", "nolimits", "big", "bigg"}
    | {"over", "aligned", "align", "array", "matrix", "pmatrix", "bmatrix", "cases", "equation"}
    | {"split", "gathered", "cdot", "times", "hline", "hspace", "vspace", "bar", "hat"}
    | {"tilde", "vec", "overline", "underline"}
)


@strict_arguments
@dataclass(frozen=True, slots=True)
class ImageAttachment:
    """An image that a question is about.

    Attributes:
        path: Path of a local file, or what ``data`` takes; URLs are not fetched.
        data: The encoded image, as bytes, base64 text or a data URI; kept as bytes. Never shown by ``repr``.
        caption: What the asker says of it.
    """

    path: str | bytes | os.PathLike[str] | None = None
    data: bytes | str | None = field(default=None, repr=False)
    caption: str = ""

    def __post_init__(self) -> None:
        """Check that there is one image.

        Raises:
            ConfigurationError: Both or neither of ``path`` and ``data`` are given, or the path is a URL.
            CorruptFileError: The base64 text is broken.
        """
        is_data = isinstance(self.path, bytes) or (isinstance(self.path, str) and bool(DATA_URI.match(self.path)))
        if is_data and self.data is None:
            object.__setattr__(self, "data", self.path)
            object.__setattr__(self, "path", None)
        if (self.path is None) == (self.data is None):
            raise ConfigurationError("An image attachment needs a path or data, and not both.")
        if self.path is not None:
            object.__setattr__(self, "path", local_path(os.fsdecode(self.path)))
        if isinstance(self.data, str):
            object.__setattr__(self, "data", decoded_image(self.data, "The data of an attached image"))

    @property
    def source(self) -> str | bytes:
        """The path or the bytes."""
        source = self.path if self.path is not None else self.data
        assert isinstance(source, (str, bytes))
        return source

    def read(self) -> bytes:
        """Return the encoded image.

        Raises:
            SourceError: The file cannot be read.
            ParseError: It is empty or too large.
        """
        return image_bytes(self.source)

    def fit(self, **limits: Any) -> FittedImage:
        """Return the image as a model takes it; see :func:`~llama_index_raganything.images.fit_image`.

        Args:
            **limits: Limits of pixels and bytes.
        """
        refuse_unknown("ImageAttachment.fit()", limits, argument_names(fit_image) - {"source"})
        return fit_image(self.source, **limits)

    @property
    def digest(self) -> str:
        """The name that equal images share in the reader's folder of assets."""
        return image_digest(self.read())

    @property
    def words(self) -> str:
        """What the image adds to the words to search for."""
        return telling_words([self.caption])

    def full_text(self, max_chars: int = MAX_PROMPT_CHARS) -> str:
        """Return what an LLM reads beside the image.

        Args:
            max_chars: Characters returned at most.
        """
        return self.caption[:max_chars]

    def to_dict(self) -> dict[str, Any]:
        """Return RAG-Anything's form, which :func:`attachments_of` takes."""
        if self.path is not None:
            return {"type": "image", "img_path": str(self.path), "image_caption": self.caption}
        encoded = base64.b64encode(self.read()).decode("ascii")
        return {"type": "image", "data": f"data:;base64,{encoded}", "image_caption": self.caption}


@strict_arguments
@dataclass(frozen=True, slots=True)
class TableAttachment:
    """A table that a question is about.

    Attributes:
        rows: Rows of cells, or text: Markdown, HTML or values with commas, semicolons or tabs between them. Kept as
            rows of strings, the first being the header where there is one.
        caption: What the asker says of it.
    """

    rows: Sequence[Sequence[Any]] | Sequence[Mapping[str, Any]] | str = field(repr=False)
    caption: str = ""

    def __post_init__(self) -> None:
        """Read the table.

        Raises:
            ConfigurationError: There is no cell in it.
            FileTooLargeError: It is over :data:`MAX_TEXT`.
        """
        if isinstance(self.rows, str):
            _check_length("table", self.rows)
        rows = table_rows(self.rows)
        if not any(cell.strip() for row in rows for cell in row):
            message = "An attached table has no cell; pass rows, or Markdown, HTML or CSV text."
            raise ConfigurationError(message)
        if sum(len(cell) for row in rows for cell in row) > MAX_TEXT:
            message = f"An attached table has more than {MAX_TEXT:,} characters; pass the part asked about."
            raise FileTooLargeError(message)
        object.__setattr__(self, "rows", rows)

    @property
    def cells(self) -> tuple[tuple[str, ...], ...]:
        """The rows of strings."""
        assert isinstance(self.rows, tuple)
        return self.rows

    @property
    def words(self) -> str:
        """The words to search for: caption, header, names of the rows, and then figures."""
        header, *body = self.cells
        first = [row[0] for row in body if row]
        rest = [cell for row in body for cell in row[1:]]
        named = [text for text in [*first, *rest] if not _is_figure(text)]
        figures = [text for text in [*first, *rest] if _is_figure(text)]
        return telling_words([self.caption, *header, *named, *figures])

    def full_text(self, max_chars: int = MAX_PROMPT_CHARS) -> str:
        """Return what an LLM reads: the table as Markdown, as many rows as there is room for and how many are left.

        Args:
            max_chars: Characters returned at most, the note on what is left out aside.
        """
        lines = [self.caption[:max_chars]] if self.caption else []
        room = max_chars - sum(map(len, lines))
        for number, row in enumerate(self.cells):
            line = "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) + " |"
            lines.append(line[: max(0, room)])
            room -= len(line) + 1
            if number == 0:
                lines.append(("|" + " --- |" * len(row))[: max(0, room)])
                room -= len(lines[-1]) + 1
            if room < 0:
                lines[-1] += " ..."
                lines.append(f"({len(self.cells) - number - 1} more rows are left out.)")
                break
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary that :func:`attachments_of` takes."""
        return {"type": "table", "table_data": [list(row) for row in self.cells], "table_caption": self.caption}


@strict_arguments
@dataclass(frozen=True, slots=True)
class EquationAttachment:
    """A formula that a question is about.

    Attributes:
        latex: LaTeX; it need not be valid.
        caption: What the asker says of it.
    """

    latex: str
    caption: str = ""

    def __post_init__(self) -> None:
        """Check that there is a formula.

        Raises:
            ConfigurationError: It is empty.
            FileTooLargeError: It is over :data:`MAX_TEXT`.
        """
        if not isinstance(self.latex, str) or not self.latex.strip():
            raise ConfigurationError("An attached formula is empty; pass its LaTeX.")
        _check_length("formula", self.latex)

    @property
    def words(self) -> str:
        """The words to search for: caption, names and numbers, without the commands that only lay out."""
        found = (match[0].lstrip("\\") for match in _FORMULA_WORD.finditer(self.latex[:MAX_PROMPT_CHARS]))
        return telling_words([self.caption, *(word for word in found if word not in _LAYOUT)])

    def full_text(self, max_chars: int = MAX_PROMPT_CHARS) -> str:
        """Return what an LLM reads: caption and LaTeX.

        Args:
            max_chars: Characters of LaTeX returned at most.
        """
        formula = f"$${self.latex.strip().strip('$').strip()[:max_chars]}$$"
        return f"{self.caption[:max_chars]}\n{formula}" if self.caption else formula

    def to_dict(self) -> dict[str, Any]:
        """Return RAG-Anything's form, which :func:`attachments_of` takes."""
        return {"type": "equation", "latex": self.latex, "equation_caption": self.caption}


Attachment = ImageAttachment | TableAttachment | EquationAttachment
"""Anything that a question may carry."""


def telling_words(texts: Iterable[str], most: int = MAX_WORDS) -> str:
    """Return the first words of content in texts, each once.

    Args:
        texts: Texts, the most telling first.
        most: Words returned at most.

    Returns:
        Words as they stand, separated by blanks.
    """
    seen: set[str] = set()
    kept: list[str] = []
    for word in (word for text in texts for word in text[:MAX_PROMPT_CHARS].split()):
        tokens = set(content_tokens(word))
        if tokens <= seen:
            continue
        # A run of Chinese is one "word" of many tokens.
        room = most - len(kept)
        if room <= 0:
            break
        seen |= tokens
        kept.append(word[: 4 * most])
    return " ".join(kept)


def local_path(value: str | os.PathLike[str]) -> str:
    """Return a path as text.

    Raises:
        ConfigurationError: It is a URL.
    """
    path = os.fsdecode(os.fspath(value))
    if _URL.match(path):
        message = f"{path[:200]!r} is a URL, and attachments are not fetched; download it and pass path or bytes."
        raise ConfigurationError(message)
    return path


def _check_length(kind: str, text: str) -> None:
    if len(text) > MAX_TEXT:
        message = f"An attached {kind} has {len(text):,} characters, more than {MAX_TEXT:,}; pass the part asked about."
        raise FileTooLargeError(message)


def _is_figure(text: str) -> bool:
    return not any(character.isalpha() for character in text)
