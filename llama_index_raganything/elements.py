"""The typed, normalised parts of a document: what every parser's output becomes.

An :class:`Element` is one text block, heading, list, image, table, equation, code
block, media file, piece of page furniture, or one whole page. Pages are 1-based and
boxes are ``(x0, y0, x1, y1)`` in thousandths of the page, origin top left. Elements
are pure data: they know neither parsers nor nodes.

The metadata keys of the nodes made from elements are declared here too, with the
keys that embedding models and LLMs must not see.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.errors import ConfigurationError

ElementType = Literal[
    "page",
    "heading",
    "text",
    "list",
    "image",
    "table",
    "equation",
    "code",
    "audio",
    "video",
    "furniture",
]
"""Types of elements. ``page`` holds a page's whole text; ``furniture`` is header, footer, page number and the like."""

ATOMIC_TYPES: Final = frozenset({"image", "table", "equation", "code", "audio", "video"})
"""Element types that are never merged with their neighbours into one chunk."""

_MODALITY_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_modality_types: set[str] = set()

SCHEMA_VERSION: Final = 2
"""Version of the element and metadata schema; part of every parse cache key and pipeline fingerprint."""

SECTION_SEPARATOR: Final = " > "
"""Between the headings of a section path."""

DATE_KEYS: Final = ("creation_date", "last_modified_date")
"""Metadata keys that say when a local file was made and last changed ("YYYY-MM-DD"), as ``SimpleDirectoryReader`` says
it. A file that is touched and not changed stays as it was brought in, so they are those of its content."""

METADATA_KEYS: Final = (
    "doc_id",
    "source",
    "file_name",
    "title",
    "content_type",
    "page",
    "page_label",
    "bbox",
    "section",
    "caption",
    "label",
    "subtype",
    "element_id",
    "asset",
    "start_s",
    "end_s",
    *DATE_KEYS,
)
"""Metadata keys that a node made by this package may have; all values are strings or integers, and ``start_s`` and
``end_s``, of parts of sound and film, seconds as floats."""

ENTITY_KEYS: Final = ("entity_name", "entity_type", "entity_summary")
"""Metadata keys that say what a described element is, of which the graph makes an entity; hidden from models."""

DESCRIPTION_KEY: Final = "description_span"
"""Metadata key that says where in a node's text the words of a model stand, as ``"start:end"`` in characters."""

EVIDENCE_KEY: Final = "evidence"
"""Metadata key of the JSON account of a result's score."""

GRAPH_PATH_KEY: Final = "graph_path"
"""Metadata key of the JSON list of links that led to a result."""

ELEMENTS_KEY: Final = "elements"
"""Metadata key of the best element, figure and table of a page that is a result: a JSON list, best first, each with
``node_id``, ``content_type``, ``label``, ``bbox`` and ``asset`` (None where there is none)."""

CITED_KEY: Final = "cited_as"
"""Metadata key of a source node: the JSON of the citation that an answer made of it."""

QUESTION_KEYS: Final = frozenset({EVIDENCE_KEY, GRAPH_PATH_KEY, ELEMENTS_KEY, CITED_KEY})
"""What a question adds to the metadata of its results, hidden from embedding models and LLMs; never stored."""

EXCLUDED_EMBED_KEYS: Final = (*METADATA_KEYS, "content_hash", "parser")
"""Metadata keys hidden from embedding models: a chunk's own text already carries what it means."""

_SHOWN_TO_LLM: Final = frozenset({"file_name", "title", "page", "page_label", "section", "label"})

EXCLUDED_LLM_KEYS: Final = tuple(key for key in EXCLUDED_EMBED_KEYS if key not in _SHOWN_TO_LLM)
"""Metadata keys hidden from LLMs; file name, title, page, section and label stay visible."""

Box = tuple[int, int, int, int]

_CHINESE_DIGITS: Final = "零一二三四五六七八九"
# 一 is also "a" and "one": 表一个 and 图一般 name nothing.
_CHINESE_NUMBER: Final = (
    "(?:[一二三四五六七八九]?十[一二三四五六七八九]?|[一二三四五六七八九])"
    "(?![一二三四五六七八九十百千万个個样樣些般种種起次定切直时時位只名条條])"
)
_LABEL = re.compile(
    r"^\W{0,3}(?P<kind>fig(?:ure|\.)?|table|tab\.|chart|exhibit|scheme|algorithm|listing|equation|eq\.|"
    r"图表|图|表|式|圖)\s*"
    r"(?P<number>(?:[A-Z]{1,2}[.\-]?)?\d+(?:[.\-\u2013]\d+)*[a-z]?(?![a-z])|[IVXL]+\b|" + _CHINESE_NUMBER + ")",
    re.IGNORECASE,
)
_CITED_LABEL = re.compile(
    r"(?<![A-Za-z])(?P<kind>fig(?:ure|\.)?|table|tab\.|chart|exhibit|scheme|algorithm|listing|equation|eq\.)s?\.?\s*"
    r"\(?(?P<number>(?:[A-Z][.\-]?)?\d+(?:[.\-]\d+)*[a-z]?)\)?"
    r"(?:\s*(?:,|and|&|to|\u2013)\s*(?P<second>(?:[A-Z][.\-]?)?\d+(?:[.\-]\d+)*[a-z]?)(?!\w))?"
    # 代表, 发表 and the like are verbs, not tables.
    r"|(?<![代发發外])(?P<cjk>图表|图|表|式|圖)\s*(?P<cjk_number>\d+(?:[.\-\u2013]\d+)*|" + _CHINESE_NUMBER + ")",
    re.IGNORECASE,
)
_LABEL_NAMES: Final = {
    "fig": "Figure",
    "fig.": "Figure",
    "figure": "Figure",
    "tab.": "Table",
    "table": "Table",
    "eq.": "Equation",
    "equation": "Equation",
    "圖": "图",
}


def label_of(caption: str) -> str | None:
    """Return the normalised label that a caption starts with.

    Args:
        caption: Caption text, such as ``"Fig. 3: Overview"`` or ``"表 2 结果"``.

    Returns:
        ``"Figure 3"``, ``"Table A.2"``, ``"表 2"`` and so on, or None when the text starts with no label.
    """
    match = _LABEL.match(caption.strip())
    if match is None:
        return None
    kind = match["kind"].lower()
    # Chinese and Japanese captions also write full-width digits.
    number = unicodedata.normalize("NFKC", match["number"]).replace("\u2013", "-")
    return f"{_LABEL_NAMES.get(kind, kind.capitalize())} {_arabic(number)}"


def labels_in(text: str) -> set[str]:
    """Return the normalised labels that a text cites.

    Args:
        text: Running text, such as ``"see Figs. 3 and 4"``.

    Returns:
        Labels as :func:`label_of` writes them: ``{"Figure 3", "Figure 4"}``.
    """
    labels: set[str | None] = set()
    for match in _CITED_LABEL.finditer(text):
        kind = match["kind"] or match["cjk"]
        for number in (match["number"], match["second"], match["cjk_number"]):
            if number:
                labels.add(label_of(f"{kind} {number}"))
    return {label for label in labels if label}


def _arabic(number: str) -> str:
    """Write a Chinese number from 1 to 99 in digits; leave any other number as it is."""
    if not set(number) <= {*_CHINESE_DIGITS, "十"}:
        return number
    tens, ten, ones = number.rpartition("十")
    value = _CHINESE_DIGITS.index(ones) if ones else 0
    if ten:
        value += 10 * (_CHINESE_DIGITS.index(tens) if tens else 1)
    return str(value)


def without_description(text: str, metadata: Mapping[str, Any]) -> str:
    """Return a node's text without what a model wrote into it, for readers of what the document itself says.

    Returns:
        The text; as it is where no model described the node, or the text is too short to be the one described.
    """
    start, _, end = str(metadata.get(DESCRIPTION_KEY) or "").partition(":")
    if not (start.isascii() and start.isdigit() and end.isascii() and end.isdigit()):
        return text
    first, last = int(start), int(end)
    if not first < last <= len(text):
        return text
    before, after = text[:first].rstrip("\n"), text[last:].lstrip("\n")
    return f"{before}\n\n{after}" if before and after else before or after


def add_element_type(name: str) -> None:
    """Let elements have a further type, which is atomic; see ``enrich.registry.register_modality``.

    Args:
        name: Lower-case letters, digits and underscores, a letter first.

    Raises:
        ConfigurationError: The name cannot be one, or is one of the package's own.
    """
    if not isinstance(name, str) or not _MODALITY_NAME.fullmatch(name) or name in get_args(ElementType):
        message = (
            f"{name!r} cannot be a new content type; use lower-case letters, digits and underscores, a letter first, "
            f"and none of: {', '.join(get_args(ElementType))}."
        )
        raise ConfigurationError(message)
    _modality_types.add(name)


def remove_element_type(name: str) -> None:
    """Forget a type that :func:`add_element_type` added."""
    _modality_types.discard(name)


def is_atomic(element_type: str) -> bool:
    """Tell whether elements of a type are never merged with their neighbours into one chunk."""
    return element_type in ATOMIC_TYPES or element_type in _modality_types


def _registered(name: str) -> str:
    if name not in _modality_types:
        message = f"{name!r} is no type of elements; register_modality makes it one."
        raise ValueError(message)
    return name


@strict_arguments
class Element(BaseModel):
    """One typed part of a document.

    Attributes:
        type: What it is; see :data:`ElementType`; or a registered modality.
        text: Its words. For an equation the LaTeX, for code the code, for an image the text inside it
            (OCR, alt text or a chart's data), for a table a readable rendering, for a page the whole page.
        page: 1-based page, slide or sheet number, or None where the format has no pages.
        page_label: The label printed on the page ("iv", "12") when it differs from ``page``; sheet name for sheets.
        bbox: ``(x0, y0, x1, y1)`` in thousandths of the page, or None when unknown.
        level: Heading depth from 1 (headings only).
        caption: Caption, joined by blanks when the parser gave several.
        footnote: Footnotes of a table or figure, joined by blanks.
        label: Normalised label of the caption ("Figure 3").
        html: HTML of a table.
        rows: Cells of a table, first the header rows, as strings.
        header_rows: How many of ``rows`` are header rows.
        asset: Path of the crop or media file relative to the asset folder.
        subtype: The parser's finer name ("chart", "header", "page_number", "slide_notes", a code language).
        ocr: True when the text came from optical character recognition.
    """

    model_config = ConfigDict(extra="forbid")

    type: ElementType | Annotated[str, AfterValidator(_registered)]
    text: str = ""
    page: int | None = Field(default=None, ge=1)
    page_label: str | None = None
    bbox: Box | None = None
    level: int | None = Field(default=None, ge=1)
    caption: str = ""
    footnote: str = ""
    label: str | None = None
    html: str | None = None
    rows: list[list[str]] | None = None
    header_rows: int = 1
    asset: str | None = None
    subtype: str | None = None
    ocr: bool = False

    @field_validator("text", "caption", "footnote", mode="after")
    @classmethod
    def _drop_unstorable(cls, value: str) -> str:
        # Lone surrogates cannot be encoded as UTF-8 and NUL breaks C strings downstream.
        if value.isascii():
            return value.replace("\x00", "")
        return value.encode("utf-8", "replace").decode("utf-8").replace("\x00", "")

    @field_validator("bbox", mode="after")
    @classmethod
    def _order_box(cls, value: Box | None) -> Box | None:
        if value is None:
            return None
        x0, y0, x1, y1 = (min(1000, max(0, edge)) for edge in value)
        return (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))

    def to_dict(self) -> dict[str, Any]:
        """Return the element as a JSON-ready dictionary without default values."""
        return self.model_dump(mode="json", exclude_defaults=True) | {"type": self.type}

    def fingerprint(self) -> str:
        """Return 16 hex digits that identify the element's content and position on its page."""
        return content_id(json.dumps(self.to_dict(), ensure_ascii=False, sort_keys=True))[:16]


def content_id(*parts: object) -> str:
    """Return a deterministic id of 32 hex digits for a sequence of values.

    Args:
        *parts: Values that together identify the thing; order matters, separators cannot be forged.

    Returns:
        The first 32 hex digits of a SHA-256 digest.
    """
    payload = json.dumps([str(part) for part in parts], ensure_ascii=False)
    return hashlib.sha256(payload.encode("utf-8", "replace")).hexdigest()[:32]
