"""MinerU 4 in this process; MinerU 3 goes through RAG-Anything.

Its ``flash`` tier needs no weights and is the default here; the other tiers (``basic``, ``standard``,
``advanced``) download theirs and must be asked for with ``parser_kwargs={"tier": ...}``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from llama_index_raganything._imports import guarded_import, package_version
from llama_index_raganything.elements import Element
from llama_index_raganything.errors import CorruptFileError, MissingDependencyError, ParseError
from llama_index_raganything.readers.common.base import AssetStore, ParsedFile, ParseOptions, add_pages
from llama_index_raganything.readers.engines.content_list import label_pages
from llama_index_raganything.readers.engines.docvortex import (
    attach_loose_captions,
    blocks_to_elements,
    deepen_headings,
    store_body_image,
)
from llama_index_raganything.readers.sources.formats import KIND_OF_SUFFIX, PAGED_SUFFIXES, SLIDE_SUFFIXES

_CROPPED: Final = frozenset({"image", "table", "equation"})
_OCR_MODES: Final = {"auto": "auto", "off": "txt", "always": "ocr"}


def parse_with_mineru(path: Path, options: ParseOptions, assets: AssetStore) -> ParsedFile:
    """Parse a file with MinerU 4.

    Args:
        path: An existing local file.
        options: ``parser_kwargs`` may hold ``tier`` and ``image_analysis``; ``timeout`` is ignored in-process.
        assets: Where crops go.

    Returns:
        The elements.

    Raises:
        MissingDependencyError: The tier or the file needs weights that are not allowed to be downloaded.
        ParseError: MinerU cannot parse the file.
    """
    arguments = _arguments(path, options)
    try:
        with guarded_import():
            import mineru
            from loguru import logger
    except ImportError as error:
        msg = f"MinerU cannot be imported ({error}): pip install mineru"
        raise MissingDependencyError(msg) from error
    # Both log the time of every step to stderr through loguru.
    for name in ("mineru", "docvortex"):
        logger.disable(name)
    try:
        result = mineru.parse(str(path), **arguments)
    except (ConnectionError, EOFError) as error:
        # MinerU renders PDF crops in a spawned worker, which imports the main script again.
        message = (
            f"MinerU's render worker died on {str(path)!r}. In a script, put the code that starts it under "
            "`if __name__ == '__main__':`."
        )
        raise ParseError(message, str(path)) from error
    except Exception as error:
        message = f"MinerU could not parse {str(path)!r}: {type(error).__name__}: {error}. Try parser='auto'."
        raise ParseError(message, str(path)) from error
    elements = _elements(path, result.to_dict()["pages"], options, assets)
    if not elements:
        message = f"MinerU returned nothing for {str(path)!r}; if it is a scan, use parser='auto'."
        raise CorruptFileError(message, str(path))
    return ParsedFile(add_pages(label_pages(elements)), parser=f"mineru {package_version('mineru')}")


def _arguments(path: Path, options: ParseOptions) -> dict[str, Any]:
    arguments = {key: value for key, value in options.parser_kwargs.items() if key not in {"timeout", "allow_download"}}
    tier = arguments.setdefault("tier", "flash")
    if tier == "flash":
        if KIND_OF_SUFFIX.get(path.suffix.lower()) == "image" or options.ocr == "always":
            message = (
                f"MinerU's flash tier has no OCR for {path.name!r}; pass parser_kwargs={{'tier': 'basic'}} to let "
                "MinerU download its OCR models, or use parser='auto'."
            )
            raise MissingDependencyError(message)
        # In "auto" mode a scan makes MinerU fetch OCR models, 25 s of retries when offline.
        arguments["ocr_mode"] = "txt"
    else:
        arguments.setdefault("ocr_mode", _OCR_MODES[options.ocr])
    if options.page_range and path.suffix.lower() == ".pdf":
        arguments["page_range"] = options.page_range
    return arguments


def _elements(path: Path, pages: list[dict[str, Any]], options: ParseOptions, assets: AssetStore) -> list[Element]:
    suffix = path.suffix.lower()
    paged = suffix == ".pdf" or suffix in PAGED_SUFFIXES
    elements: list[Element] = []
    for page in pages:
        found = blocks_to_elements(
            page["blocks"],
            page=page["page_idx"] + 1 if paged else None,
            resolve_asset=lambda body: store_body_image(body, sources={}, assets=assets),
            notes_subtype="slide_notes" if suffix in SLIDE_SUFFIXES else "page_footnote",
        )
        elements.extend(attach_loose_captions(found))
    if suffix == ".pdf":
        elements = deepen_headings(_with_crops(path, elements, options, assets))
    return elements


def _with_crops(path: Path, elements: list[Element], options: ParseOptions, assets: AssetStore) -> list[Element]:
    """Crop images, tables and equations, which MinerU's in-memory result does not hold for PDFs."""
    from llama_index_raganything.readers.common.rendering import crop_box, opened_pdf, render_page, store_jpeg

    with opened_pdf(path) as document:
        images: dict[int, Any] = {}
        cropped = []
        for element in elements:
            crop = None
            if element.type in _CROPPED and element.asset is None and element.page and element.bbox:
                if element.page not in images:
                    images = {element.page: render_page(document, element.page - 1, options.crop_dpi / 72)}
                image = images[element.page]
                crop = crop_box(image, element.bbox) if image is not None else None
            cropped.append(element.model_copy(update={"asset": store_jpeg(crop, assets)}) if crop else element)
        return cropped
