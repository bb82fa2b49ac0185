"""What all parsers share: the options they take and the result they give."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from llama_index_raganything.elements import Element
from llama_index_raganything.readers.common.assets import AssetStore

Profile = Literal["standard", "fast"]
"""``standard``: text, structure, tables, figures, OCR where needed. ``fast``: text layer and page elements only."""

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

    def to_dict(self) -> dict[str, Any]:
        """Return the options as a dictionary."""
        return dataclasses.asdict(self)


@dataclass
class ParsedFile:
    """What a parser made of one file.

    Attributes:
        elements: Elements in reading order; each page's ``page`` element stands before its other elements.
        parser: Name and version of the parser, such as ``"docvortex 0.6.4"``.
        title: Title of the document, when the file states one.
        warnings: What could not be read, for people.
    """

    elements: list[Element]
    parser: str
    title: str | None = None
    warnings: list[str] = field(default_factory=list)


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
