r"""What a question may carry: images, tables and formulas.

>>> from llama_index_raganything import AttachedQuery, TableAttachment
>>> rows = [["Region", "Sales"], ["Asia", "20"]]
>>> query = AttachedQuery.of("Is this the same table?", [TableAttachment(rows)])
>>> query.query_str
'Is this the same table?\nRegion Sales Asia 20'

Nothing here is fetched from the network, and no text of a question is taken for a path.
"""

from __future__ import annotations

import base64
import csv
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from dataclasses_json import config
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.schema import BaseNode, ImageNode, QueryBundle
from lxml import html as lxml_html

from llama_index_raganything import images
from llama_index_raganything._arguments import argument_names, refuse_unknown, strict_arguments
from llama_index_raganything.errors import ConfigurationError, FileTooLargeError
from llama_index_raganything.tables.pipe_tables import pipe_row, pipe_rule, pipe_tables
from llama_index_raganything.text.terms import content_tokens

MAX_ATTACHMENTS: Final = 16
"""Maximum attachments of one question."""

_IMAGE_SUFFIXES: Final = frozenset({*images.IMAGE_SUFFIXES, ".jp2", ".svg", ".emf", ".wmf", ".ico"})
_TABLE_SUFFIXES: Final = frozenset({".csv", ".tsv", ".md", ".html", ".htm"})
_FORMULA_SUFFIXES: Final = frozenset({".tex", ".latex"})

MAX_TEXT: Final = 2_000_000
"""Maximum characters of an attached table or formula."""

MAX_WORDS: Final = 40
"""Maximum words of an attachment that join the question for retrieval, lest a large table drown it."""

MAX_PROMPT_CHARS: Final = 20_000
"""Maximum characters of an attachment that an LLM reads."""

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
_MOST_SPAN: Final = 100
_DELIMITERS: Final = ",;\t|"
_HTML = re.compile(r"<(?:table|tr|td|th)\b", re.IGNORECASE)

Rows = tuple[tuple[str, ...], ...]


@strict_arguments
@dataclass(frozen=True, slots=True)
class ImageAttachment:
    """An image that a question is about.

    Attributes:
        path: Path of a local file, or what ``data`` takes; URLs are not fetched.
        data: The encoded image, as bytes, base64 text or a data URI; kept as bytes. Never shown by ``repr``.
        caption: What the user says of it.
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
            object.__setattr__(self, "data", images.decoded_image(self.data, "The data of an attached image"))

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
        return images.image_bytes(self.source)

    def fit(self, **limits: Any) -> images.FittedImage:
        """Return the image as a model takes it; see :func:`~llama_index_raganything.images.fit_image`."""
        refuse_unknown("ImageAttachment.fit()", limits, argument_names(images.fit_image) - {"source"})
        return images.fit_image(self.source, **limits)

    @property
    def digest(self) -> str:
        """The digest that names the image in the reader's folder of assets."""
        return images.image_digest(self.read())

    @property
    def words(self) -> str:
        """The words to search for: those of the caption."""
        return content_words([self.caption])

    def full_text(self, max_chars: int = MAX_PROMPT_CHARS) -> str:
        """Return what an LLM reads beside the image."""
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
        caption: What the user says of it.
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
        """The words to search for: caption, header, names of the rows, and then numbers."""
        header, *body = self.cells
        first = [row[0] for row in body if row]
        rest = [cell for row in body for cell in row[1:]]
        named = [text for text in [*first, *rest] if not _is_number(text)]
        numbers = [text for text in [*first, *rest] if _is_number(text)]
        return content_words([self.caption, *header, *named, *numbers])

    def full_text(self, max_chars: int = MAX_PROMPT_CHARS) -> str:
        """Return what an LLM reads: the table as Markdown, with a note on how many rows were left out.

        Args:
            max_chars: Maximum characters, the note aside.
        """
        lines = [self.caption[:max_chars]] if self.caption else []
        room = max_chars - sum(map(len, lines))
        for number, row in enumerate(self.cells):
            line = pipe_row(row)
            lines.append(line[: max(0, room)])
            room -= len(line) + 1
            if number == 0:
                lines.append(pipe_rule(len(row))[: max(0, room)])
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
        caption: What the user says of it.
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
        return content_words([self.caption, *(word for word in found if word not in _LAYOUT)])

    def full_text(self, max_chars: int = MAX_PROMPT_CHARS) -> str:
        """Return what an LLM reads: caption and LaTeX."""
        formula = f"$${self.latex.strip().strip('$').strip()[:max_chars]}$$"
        return f"{self.caption[:max_chars]}\n{formula}" if self.caption else formula

    def to_dict(self) -> dict[str, Any]:
        """Return RAG-Anything's form, which :func:`attachments_of` takes."""
        return {"type": "equation", "latex": self.latex, "equation_caption": self.caption}


Attachment = ImageAttachment | TableAttachment | EquationAttachment
"""What a question may carry."""


def content_words(texts: Iterable[str], most: int = MAX_WORDS) -> str:
    """Return the first content words of texts as written, each once, separated by blanks.

    Args:
        texts: Texts, the most important first.
        most: Maximum words.
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


def _is_number(text: str) -> bool:
    return not any(character.isalpha() for character in text)


def table_rows(table: Any) -> Rows:
    """Return a table as rows of strings, the first being the header where there is one; none where there is no table.

    Args:
        table: Rows of cells, rows as dictionaries (whose keys become the header), or text: HTML with a table, a
            Markdown pipe table, or values with commas, semicolons or tabs between them.
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


@strict_arguments
def attachments_of(value: Any) -> tuple[Attachment, ...]:
    """Return attachments from anything that can be read as one.

    Args:
        value: One or several of: an attachment; RAG-Anything's dictionary (``{"type": "image", "img_path": ...}``,
            ``{"type": "table", "table_data": ...}``, ``{"type": "equation", "latex": ...}``); LlamaIndex's
            ``ImageBlock`` or ``ImageNode``; bytes or a data URI of an image; the path of an image, of a table (.csv,
            .tsv, .md, .html) or of a formula (.tex). None for none. Strings are paths: pass bytes or attachments for
            what comes from people who may not read your files.

    Returns:
        The attachments, in order.

    Raises:
        ConfigurationError: Something else, more than :data:`MAX_ATTACHMENTS`, or a URL.
        SourceError: A file cannot be read.
        ParseError: An attachment is empty, damaged or too large.
    """
    several = isinstance(value, Iterable) and not isinstance(value, (str, bytes, bytearray, Mapping))
    one_by_one = value if several and not _is_single(value) else [] if value is None else [value]
    found: list[Attachment] = []
    for each in one_by_one:
        if len(found) == MAX_ATTACHMENTS:
            message = f"A question may carry {MAX_ATTACHMENTS} attachments, and more were given; ask in several steps."
            raise ConfigurationError(message)
        found.append(_attachment_of(each))
    return tuple(found)


def message_parts(message: ChatMessage) -> tuple[str, tuple[Attachment, ...]]:
    """Return the text and the images of a chat message.

    Raises:
        ConfigurationError: It carries something other than text and images.
    """
    words = [block.text for block in message.blocks if isinstance(block, TextBlock)]
    return "\n".join(words), attachments_of([b for b in message.blocks if not isinstance(b, TextBlock)])


def _is_single(value: Any) -> bool:
    return isinstance(value, (ImageAttachment, TableAttachment, EquationAttachment, ImageBlock, ImageNode, os.PathLike))


def _attachment_of(value: Any) -> Attachment:
    if isinstance(value, (ImageAttachment, TableAttachment, EquationAttachment)):
        return value
    if isinstance(value, Mapping):
        return _of_mapping(value)
    if isinstance(value, ImageBlock):
        return _of_block(value)
    if isinstance(value, ImageNode):
        return ImageAttachment(data=value.image) if value.image else ImageAttachment(value.image_path)
    if isinstance(value, (bytes, bytearray)):
        return ImageAttachment(data=bytes(value))
    if isinstance(value, (str, os.PathLike)):
        return _of_path(value)
    message = (
        f"{type(value).__name__} cannot be attached; pass an ImageAttachment, TableAttachment or EquationAttachment, "
        "a dictionary with a type, an ImageBlock, bytes or a path."
    )
    raise ConfigurationError(message)


def _of_mapping(value: Mapping[str, Any]) -> Attachment:
    kind = value.get("type")
    if kind == "image":
        data = value.get("data") or value.get("image") or value.get("image_data")
        return ImageAttachment(value.get("img_path") or value.get("path"), data, _caption(value, "image_caption"))
    if kind == "table":
        table = value.get("table_data") or value.get("table_body") or ""
        return TableAttachment(table, _caption(value, "table_caption"))
    if kind in {"equation", "formula"}:
        latex = value.get("latex") or value.get("equation") or value.get("text") or ""
        return EquationAttachment(latex, _caption(value, "equation_caption"))
    message = f"An attachment's type is 'image', 'table' or 'equation', not {kind!r}."
    raise ConfigurationError(message)


def _caption(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key) or value.get("caption") or ""
    return found if isinstance(found, str) else " ".join(str(part) for part in found)


def _of_block(block: ImageBlock) -> ImageAttachment:
    if isinstance(block.image, bytes):
        # The block's validator keeps bytes as base64.
        return ImageAttachment(data=block.image.decode("ascii", "replace"))
    if isinstance(block.image, io.IOBase):
        block.image.seek(0)
        return ImageAttachment(data=block.image.read())
    return ImageAttachment(block.path or (str(block.url) if block.url else None))


def _of_path(value: str | os.PathLike[str]) -> Attachment:
    if isinstance(value, str) and DATA_URI.match(value):
        return ImageAttachment(data=value)
    path = local_path(value)
    suffix = Path(path).suffix.lower()
    if suffix in _IMAGE_SUFFIXES:
        return ImageAttachment(path)
    if suffix in _TABLE_SUFFIXES | _FORMULA_SUFFIXES:
        text = images.image_bytes(path).decode("utf-8-sig", "replace")
        return EquationAttachment(text) if suffix in _FORMULA_SUFFIXES else TableAttachment(text)
    message = (
        f"{path[:200]!r} names no file that can be attached; pass a path to an image, .csv, .tsv, .md, .html or .tex, "
        "or wrap text in TableAttachment or EquationAttachment."
    )
    raise ConfigurationError(message)


@strict_arguments
@dataclass
class AttachedQuery(QueryBundle):
    """A question with attachments, which every retriever and synthesizer of LlamaIndex takes.

    Make one with :meth:`of`. ``query_str`` is what is searched for: the question and the content words of its
    attachments; ``image_path`` is the first image that is a file, for retrievers that know only that.

    Attributes:
        question: The question as it was asked.
        readings: Recognised words or a description of each image; None until the images were read.
        same: Stored nodes that the images are, byte for byte; None until they were looked for. Not serialised.
    """

    question: str = ""
    attachments: tuple[Attachment, ...] = field(
        default=(),
        metadata=config(encoder=lambda found: [each.to_dict() for each in found], decoder=attachments_of),
    )
    readings: tuple[str, ...] | None = None
    same: tuple[BaseNode, ...] | None = field(
        default=None, repr=False, compare=False, metadata=config(exclude=lambda _: True)
    )

    @classmethod
    def of(cls, question: str | QueryBundle | ChatMessage, attachments: Any = None) -> AttachedQuery:
        """Make a question with attachments.

        Args:
            question: The question; the images of a message and the ``image_path`` of a bundle are attachments too.
            attachments: See :func:`attachments_of`.

        Returns:
            A new object; ``question`` is left as it is.

        Raises:
            RAGAnythingError: See :func:`attachments_of`.
        """
        given = attachments_of(attachments)
        if isinstance(question, ChatMessage):
            words, carried = message_parts(question)
            return cls._made(words, (*carried, *given))
        if isinstance(question, AttachedQuery):
            return cls._made(question.question, (*question.attachments, *given), question)
        if isinstance(question, QueryBundle):
            carried = (ImageAttachment(question.image_path),) if question.image_path else ()
            return cls._made(question.query_str, (*carried, *given), question)
        return cls._made(question, given)

    def with_readings(self, readings: Sequence[str]) -> AttachedQuery:
        """Return the question with the recognised words or a description of each image, empty where there are none."""
        return replace(self._made(self.question, self.attachments, self, tuple(readings)), same=self.same)

    def with_same(self, nodes: Sequence[BaseNode]) -> AttachedQuery:
        """Return the question with the stored nodes that its images are."""
        return replace(self, same=tuple(nodes))

    @property
    def images(self) -> list[str | bytes]:
        """The attached images, each as a path or as bytes."""
        return [image.source for image in self.image_attachments]

    @property
    def image_attachments(self) -> list[ImageAttachment]:
        """The attached images."""
        return [each for each in self.attachments if isinstance(each, ImageAttachment)]

    def prompt(self, max_chars: int = MAX_PROMPT_CHARS) -> str:
        """Return what an LLM is asked: the question after the attached tables and formulas.

        Args:
            max_chars: Maximum characters of all attachments together; the question is never cut.
        """
        readings = [text for text in self.readings or () if text]
        share = max_chars // max(1, len(self.attachments) + len(readings))
        texts = ((_title_of(each), each.full_text(share)) for each in self.attachments)
        parts = [f"{title}:\n{text}" for title, text in texts if text]
        parts += [f"Attached image {n}, as read:\n{t[:share]}" for n, t in enumerate(self.readings or (), 1) if t]
        return "\n\n".join([*parts, self.question]).strip()

    @classmethod
    def _made(
        cls,
        question: str,
        attachments: tuple[Attachment, ...],
        bundle: QueryBundle | None = None,
        readings: tuple[str, ...] | None = None,
    ) -> AttachedQuery:
        words = [question, *(each.words for each in attachments), *(content_words([text]) for text in readings or ())]
        paths = (each.path for each in attachments if isinstance(each, ImageAttachment) and each.path is not None)
        path = next(paths, None)
        return cls(
            query_str="\n".join(part for part in words if part.strip()),
            image_path=None if path is None else str(path),
            custom_embedding_strs=bundle.custom_embedding_strs if bundle is not None else None,
            embedding=bundle.embedding if bundle is not None else None,
            question=question,
            attachments=attachments,
            readings=readings,
        )


def _title_of(attachment: Attachment) -> str:
    return {ImageAttachment: "Attached image", TableAttachment: "Attached table"}.get(
        type(attachment), "Attached formula"
    )
