"""Optical character recognition with RapidOCR, whose models come inside its wheel.

Settings follow what was measured on slides and scans: no line-angle classifier, one thread,
short side of at least 736 pixels, lines with a score of at least one half.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

from llama_index_raganything.errors import MissingDependencyError
from llama_index_raganything.readers.layout import Line

OCR_SCALE: Final = 1.5
"""Pixels per point (1/72 inch) at which pages are recognised."""

MIN_SCORE: Final = 0.5
"""Lines recognised with less confidence are dropped."""

_LOCK: Final = threading.Lock()
_engine: Any = None


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
    import numpy as np

    width, height = image.size
    if width < 8 or height < 8:
        return []
    pixels = np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
    with _LOCK:
        result = _build_engine()(pixels)
    if result is None or result.txts is None or result.boxes is None:
        return []
    lines = []
    for text, corners, score in zip(result.txts, result.boxes, result.scores, strict=False):
        if score < MIN_SCORE or not text.strip():
            continue
        xs, ys = corners[:, 0] * (1000 / width), corners[:, 1] * (1000 / height)
        box = (float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max()))
        lines.append(Line(text.strip(), box))
    return lines


def _build_engine() -> Any:
    global _engine  # noqa: PLW0603 - one engine per process: building it takes seconds and 300 MB.
    if _engine is None:
        try:
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
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )
        logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
    return _engine
