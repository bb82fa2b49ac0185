"""What all parsers share: the options they take, the result they give, and the store of images and media."""

from __future__ import annotations

import contextlib
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from llama_index_raganything._files import replace_file
from llama_index_raganything.elements import Element
from llama_index_raganything.errors import BlockedSourceError, CorruptFileError, SourceError

_MAX_PAGE_CHARACTERS: Final = 200_000
"""Characters kept of a page's text; a sheet may have a million cells, and its tables hold the rest."""

Profile = Literal["standard", "fast"]
"""``standard``: text, structure, tables, images, OCR where needed. ``fast``: text layer and page elements only."""

OcrMode = Literal["auto", "off", "always"]
"""``auto``: pages without usable text only."""


@dataclass(frozen=True)
class ParseOptions:
    """Everything that changes what a parser returns; part of the parse cache key.

    Attributes:
        profile: How much to extract.
        ocr: When to recognise characters in page and image pixels.
        image_ocr: Recognise the characters inside images of PDF pages as well.
        page_images: Store an image of each PDF page as an asset; the page of a TIFF is one already.
        max_page_pixels: Pixels of such an image; larger pages are scaled down.
        crop_dpi: Resolution of crops and page images, in dots per inch.
        photo_location: Read where photos were taken, too.
        lang: Language hint for parsers that take one ("en", "ch").
        page_range: Pages to read, 1-based and inclusive ("1-5,8"); all when None.
        parser_kwargs: Further keyword arguments for the named parser.
    """

    profile: Profile = "standard"
    ocr: OcrMode = "auto"
    image_ocr: bool = False
    page_images: bool = False
    max_page_pixels: int = 2_000_000
    crop_dpi: int = 150
    photo_location: bool = False
    lang: str | None = None
    page_range: str | None = None
    parser_kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class ParsedFile:
    """What a parser made of one file.

    Attributes:
        elements: Elements in reading order; each page's ``page`` element comes before its other elements.
        parser: Name and version of the parser, such as ``"docvortex 0.6.4"``.
        title: Title of the document, when the file states one.
        warnings: What could not be read, for people.
    """

    elements: list[Element]
    parser: str
    title: str | None = None
    warnings: list[str] = field(default_factory=list)


def check_readable(path: Path) -> None:
    """Check that a file has content and can be read.

    Raises:
        SourceError: It cannot be read.
        CorruptFileError: It is empty.
    """
    try:
        size = path.stat().st_size
        path.open("rb").close()
    except OSError as error:
        message = f"{str(path)!r} cannot be read: {error}; check the path and its permissions."
        raise SourceError(message) from error
    if size == 0:
        message = f"{path.name!r} is empty (0 bytes); fetch the file again."
        raise CorruptFileError(message, str(path))


class FileParser(Protocol):
    """A function that turns one local file into elements."""

    def __call__(self, path: Path, options: ParseOptions, assets: AssetStore) -> ParsedFile:
        """Parse a file.

        Args:
            path: An existing, readable local file.
            options: What to extract.
            assets: Where crops and media go.

        Returns:
            The elements of the file.

        Raises:
            ParseError: The file cannot be parsed; the subclass says why.
            MissingDependencyError: The parser lacks its package or weights.
        """
        ...


_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")


class AssetStore:
    """A folder of files named by their content, so that equal images are stored once.

    Args:
        root: The folder; made when the first asset is stored.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def put(self, data: bytes, suffix: str) -> str:
        """Store bytes and return where.

        Args:
            data: The content.
            suffix: File name extension with its dot, such as ``".jpg"``.

        Returns:
            The path relative to :attr:`root`, with forward slashes.
        """
        suffix = suffix.lower()
        if not _SUFFIX.fullmatch(suffix):
            suffix = ".bin"
        digest = hashlib.sha256(data).hexdigest()[:32]
        relative = f"{digest[:2]}/{digest}{suffix}"
        target = self.root / relative
        if not target.exists():
            replace_file(target, data)
        return relative

    def resolve(self, relative: str) -> Path:
        """Return the absolute path of an asset.

        Args:
            relative: A path that :meth:`put` returned.

        Returns:
            The absolute path; the file may be missing.

        Raises:
            BlockedSourceError: The path leads outside the folder.
        """
        root = self.root.resolve()
        path = (root / relative).resolve()
        if not path.is_relative_to(root):
            message = f"Asset path {relative!r} leads outside {root}; only paths stored by the reader are allowed."
            raise BlockedSourceError(message)
        return path

    def discard(self, relative: str) -> None:
        """Delete an asset if it is there.

        Args:
            relative: A path that :meth:`put` returned.

        Raises:
            BlockedSourceError: The path leads outside the folder.
        """
        path = self.resolve(relative)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # The folder still holds other assets.
            path.parent.rmdir()


def add_pages(elements: list[Element]) -> list[Element]:
    """Put a ``page`` element with a page's whole text before the elements of each page.

    Args:
        elements: Elements in reading order, those of a page together.

    Returns:
        The elements with their pages; unchanged where no element has a page.
    """
    pages: dict[int, list[Element]] = {}
    for element in elements:
        if element.page is not None:
            pages.setdefault(element.page, []).append(element)
    placed: set[int] = set()
    result: list[Element] = []
    for element in elements:
        if element.page is not None and element.page not in placed:
            placed.add(element.page)
            result.append(_page_element(element.page, pages[element.page]))
        result.append(element)
    return result


def _page_element(number: int, elements: list[Element]) -> Element:
    parts = (part for e in elements for part in dict.fromkeys((e.caption, e.text, e.footnote)) if part)
    label = next((e.page_label for e in elements if e.page_label), None)
    text = "\n".join(parts)[:_MAX_PAGE_CHARACTERS]
    return Element(type="page", text=text, page=number, page_label=label)
