"""The parser of all text files by their suffix: Markdown, plain text, AsciiDoc, LaTeX, mail, subtitles, code, data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from llama_index_raganything.elements import Element
from llama_index_raganything.errors import CorruptFileError, FileTooLargeError
from llama_index_raganything.readers.common.base import AssetStore, ParsedFile, ParseOptions
from llama_index_raganything.readers.common.encoding import decode_text
from llama_index_raganything.readers.mail.email import parse_mail, parse_mailbox
from llama_index_raganything.readers.mail.outlook import parse_outlook
from llama_index_raganything.readers.sources.formats import (
    LANGUAGE_OF_SUFFIX,
    MAIL_SUFFIXES,
    MARKDOWN_SUFFIXES,
    OLE_MAGIC,
)
from llama_index_raganything.readers.text.asciidoc import parse_asciidoc
from llama_index_raganything.readers.text.latex import parse_latex
from llama_index_raganything.readers.text.markdown import parse_markdown
from llama_index_raganything.readers.text.notebook import parse_notebook
from llama_index_raganything.readers.text.prose import parse_prose, parse_source, parse_subtitles
from llama_index_raganything.readers.web.html import LocalImages, first_heading

PARSER: Final = "text 1"
"""Name and version for cache keys; raise the number when the output changes."""

MAX_BYTES: Final = 128 * 1024 * 1024

_Result = tuple[list[Element], str | None]


def parse_plain(path: Path, options: ParseOptions, assets: AssetStore) -> ParsedFile:
    """Read a text file.

    Args:
        path: An existing local file; its suffix says which markup it has.
        options: ``profile="fast"`` stores no images.
        assets: Where images go that lie beside the file or inside it.

    Returns:
        The elements, without pages.

    Raises:
        CorruptFileError: The file is empty or holds no text.
        FileTooLargeError: The file is larger than :data:`MAX_BYTES`.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        message = f"{path.name!r} has {size:,} bytes; text files may have {MAX_BYTES:,}. Split it."
        raise FileTooLargeError(message, str(path))
    data = path.read_bytes()
    elements, title = _parse(data, path, options, assets)
    if not elements:
        message = f"{path.name!r} is empty: it holds no text."
        raise CorruptFileError(message, str(path))
    return ParsedFile(elements=elements, parser=PARSER, title=title or first_heading(elements))


def _parse(data: bytes, path: Path, options: ParseOptions, assets: AssetStore) -> _Result:
    suffix = path.suffix.lower()
    if suffix == ".msg" or data.startswith(OLE_MAGIC):
        return parse_outlook(data, str(path))
    if suffix == ".mbox":
        return parse_mailbox(data, str(path), assets)
    if suffix in MAIL_SUFFIXES:
        return parse_mail(data, str(path), assets)
    text = decode_text(data)
    images = None if options.profile == "fast" else LocalImages(path.parent, assets)
    if suffix in MARKDOWN_SUFFIXES:
        return parse_markdown(text, images)
    if suffix == ".ipynb":
        return parse_notebook(text, str(path), images)
    if suffix in LANGUAGE_OF_SUFFIX:
        return parse_source(text, LANGUAGE_OF_SUFFIX[suffix]), path.name
    return MARKUPS.get(suffix, parse_prose)(text), None


MARKUPS: Final[dict[str, Callable[[str], list[Element]]]] = {
    **dict.fromkeys((".adoc", ".asciidoc", ".asc"), parse_asciidoc),
    **dict.fromkeys((".tex", ".latex"), parse_latex),
    **dict.fromkeys((".vtt", ".srt"), parse_subtitles),
}
"""Parsers of other markups; any other suffix is read as plain text."""
