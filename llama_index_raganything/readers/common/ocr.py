"""The OCR engine: words recognised from pixels; ``ocr_decision`` says of which pages and images.

It is RapidOCR, whose models come inside its wheel. Its settings follow what was measured on slides and scans:
no line-angle classifier, one thread, short side of at least 736 pixels, lines with a score of at least one half.
"""

from __future__ import annotations

import importlib
import logging
import math
import threading
from typing import Any, Final

from llama_index_raganything._imports import guarded_import
from llama_index_raganything.errors import MissingDependencyError
from llama_index_raganything.readers.common.layout import Line, paragraphs
from llama_index_raganything.readers.common.rendering import has_ink

OCR_SCALE: Final = 1.5
"""Pixels per point (1/72 inch) at which pages are recognised."""

MIN_SCORE: Final = 0.5
"""Lines recognised with less confidence are dropped."""

MAX_SIDE: Final = 2000
"""Longest side, in pixels, of an image given to the engine; larger ones are scaled down."""

MAX_PIXELS: Final = 2_000_000
"""Pixels of an image given to the engine; memory and time grow with them. A4 at 1.5 pixels a point has 1.1 million."""

MAX_ASPECT: Final = 3
"""Thinner images are padded to this ratio of their sides."""

MIN_SIDE: Final = 8
"""Images with a side of fewer pixels hold no words."""

_LOCK: Final = threading.Lock()
_engine: Any = None


def recognised_text(image: Any) -> str:
    """Return the words in an image, one paragraph per line, in reading order.

    Args:
        image: A PIL image of any mode.

    Raises:
        MissingDependencyError: rapidocr or onnxruntime is not installed.
    """
    if not has_ink(image):
        return ""
    return "\n".join(paragraph.text for paragraph in paragraphs(recognise(image), reorder=True))


def recognise(image: Any) -> list[Line]:
    """Recognise the lines of text in an image.

    The engine is built at the first call and shared by the whole process; calls wait for each other.

    Args:
        image: A PIL image of any mode.

    Returns:
        Lines with boxes in thousandths of the image, as the detector orders them (about top to bottom).

    Raises:
        MissingDependencyError: rapidocr or onnxruntime is not installed.
    """
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        return []
    pixels = _prepare(image)
    with _LOCK:
        result = _build_engine()(pixels)
    if result is None or result.txts is None or result.boxes is None:
        return []
    # Padding lies right and below, so only the scale has to be undone.
    scale = 1000 / _reduction(width, height)
    lines = []
    for text, corners, score in zip(result.txts, result.boxes, result.scores, strict=False):
        xs, ys = corners[:, 0] * (scale / width), corners[:, 1] * (scale / height)
        x0, y0, x1, y1 = (min(1000.0, max(0.0, float(edge))) for edge in (xs.min(), ys.min(), xs.max(), ys.max()))
        if score >= MIN_SCORE and text.strip() and x1 > x0 and y1 > y0:
            lines.append(Line(text.strip(), (x0, y0, x1, y1)))
    return lines


def _prepare(image: Any) -> Any:
    """Return pixels in the engine's order (BGR), neither huge nor thin.

    The detector scales the short side up to 736 pixels: a strip of 20 x 2000 pixels would become
    736 x 73,600 and take minutes and gigabytes. Thin images are padded with their own background.
    """
    import numpy as np

    image = image.convert("RGB")
    factor = _reduction(*image.size)
    if factor < 1:
        image = image.resize(
            (max(1, round(image.width * factor)), max(1, round(image.height * factor))), reducing_gap=2
        )
    pixels = np.ascontiguousarray(np.asarray(image)[:, :, ::-1])
    height, width = pixels.shape[:2]
    least = max(width, height) // MAX_ASPECT
    missing = (max(0, least - height), max(0, least - width))
    if not any(missing):
        return pixels
    paper = np.median(pixels.reshape(-1, 3), axis=0).astype(np.uint8)
    padded = np.empty((height + missing[0], width + missing[1], 3), dtype=np.uint8)
    padded[:] = paper
    padded[:height, :width] = pixels
    return padded


def _reduction(width: int, height: int) -> float:
    """Return the factor, at most 1, that brings an image within the engine's limits."""
    return min(1.0, MAX_SIDE / max(width, height), math.sqrt(MAX_PIXELS / (width * height)))


def _build_engine() -> Any:
    global _engine  # noqa: PLW0603 - one engine per process: building it takes seconds and 300 MB.
    if _engine is None:
        try:
            with guarded_import():
                importlib.import_module("onnxruntime")  # rapidocr imports it later, unguarded.
                from rapidocr import RapidOCR
        except ImportError as error:
            message = (
                f"OCR needs rapidocr and onnxruntime ({error}); install them with: pip install rapidocr onnxruntime"
            )
            raise MissingDependencyError(message) from error
        _engine = RapidOCR(
            params={
                "Global.use_cls": False,
                "Global.text_score": MIN_SCORE,
                "Global.log_level": "critical",
                "Det.limit_type": "min",
                "Det.limit_side_len": 736,
                # On one thread, batches only add padding: one line at a time takes 3/4 of the time, half the memory.
                "Rec.rec_batch_num": 1,
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )
        logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
    return _engine
