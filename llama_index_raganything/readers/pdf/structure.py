"""The structure of PDF pages through docvortex, without its worker processes.

``docvortex.parse(pdf)`` starts *spawn* workers to cut out figures, which kills scripts without a
``__main__`` guard. The steps below call its analysis alone, which stays in this process.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from llama_index_raganything.readers.engines.docvortex import docvortex_version, load_docvortex
from llama_index_raganything.readers.engines.docvortex_blocks import Block
from llama_index_raganything.readers.pdf.text import PDFIUM_LOCK

PAGES_AT_ONCE: Final = 32
"""Pages analysed together: enough to recognise repeated headers, few enough to bound memory."""


def analyse_pages(path: Path, indices: Sequence[int]) -> Iterator[tuple[int, list[Block]] | str]:
    """Analyse pages with docvortex, a few at a time.

    Args:
        path: A PDF file that pdfium opens.
        indices: 0-based pages in increasing order.

    Yields:
        Page and its blocks in reading order, or a warning for a range of pages that could not be analysed.
    """
    load_docvortex()
    # docvortex closes bitmaps it owns, of which pypdfium2 warns; pypdf reports every repaired reference.
    for name in ("pypdfium2", "pypdf"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for start in range(0, len(indices), PAGES_AT_ONCE):
        chosen = list(indices[start : start + PAGES_AT_ONCE])
        try:
            with PDFIUM_LOCK:
                pages = _analyse(path, chosen)
        except Exception as error:  # noqa: BLE001 - a damaged page may raise anything; its text is kept all the same.
            first, last = chosen[0] + 1, chosen[-1] + 1
            yield f"pages {first}-{last}: structure not recognised ({type(error).__name__}: {str(error)[:200]})"
        else:
            yield from pages
            del pages
        release_memory()


def release_memory() -> None:
    """Give freed memory back to the operating system, where its C library can."""
    gc.collect()
    if sys.platform == "linux":
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except (OSError, AttributeError):
            return  # musl has no malloc_trim.


def _analyse(path: Path, indices: list[int]) -> list[tuple[int, list[Block]]]:
    import docvortex
    from docvortex.analyzers.native import models
    from docvortex.document.source import prepare_source
    from docvortex.result import AnalysisResult
    from docvortex.schema import DocumentMetadata, ModelJson, Producer

    page_range = ",".join(str(index + 1) for index in indices)
    prepared = prepare_source(path, file_suffix="pdf", page_range=page_range)
    try:
        raw_pages: list[Any] = models.PdfModel().predict(prepared.document)
    finally:
        if prepared.document is not None:
            prepared.document.close()
    name, _, version = docvortex_version().partition(" ")
    metadata = DocumentMetadata(file_suffix="pdf", producer=Producer(name=name, version=version or "0"))
    model = ModelJson(pages=raw_pages, page_index_map=prepared.page_index_map or [], metadata=metadata)
    middle = docvortex.postprocess_document(AnalysisResult(model)).middle_json
    return [(page.page_idx, page.model_dump(mode="json")["blocks"]) for page in middle.pages]
