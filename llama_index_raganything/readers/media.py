"""Audio and video files: one element that points at the file; transcription is an enrichment."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from llama_index_raganything.elements import Element
from llama_index_raganything.readers.assets import AssetStore
from llama_index_raganything.readers.base import ParsedFile, ParseOptions
from llama_index_raganything.readers.formats import detect_format

MAX_COPIED_BYTES: Final = 50_000_000
"""Larger media files stay where they are, and the element has no asset."""


def parse_media(path: Path, options: ParseOptions, assets: AssetStore) -> ParsedFile:
    """Turn an audio or video file into one element, without looking inside.

    Args:
        path: The file.
        options: Unused; there is nothing to choose.
        assets: Where a copy of the file goes, up to :data:`MAX_COPIED_BYTES`.

    Returns:
        One ``audio`` or ``video`` element whose text is the file name.
    """
    del options
    kind = detect_format(path).kind
    warnings = []
    asset = None
    if path.stat().st_size <= MAX_COPIED_BYTES:
        asset = assets.put(path.read_bytes(), path.suffix)
    else:
        warnings.append(f"{path.name!r} is over {MAX_COPIED_BYTES:,} bytes and was not copied to the assets.")
    media_type = "video" if kind == "video" else "audio"
    element = Element(type=media_type, text=path.name, asset=asset, subtype=path.suffix.lower().lstrip(".") or None)
    return ParsedFile([element], parser="media", warnings=warnings)
