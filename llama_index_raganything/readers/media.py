"""Audio and video files: one element that points at the file and says what the file says about itself.

What is spoken and shown in it is an enrichment: ``MediaDescriber``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from llama_index_raganything.elements import Element
from llama_index_raganything.readers.assets import AssetStore
from llama_index_raganything.readers.base import ParsedFile, ParseOptions
from llama_index_raganything.readers.formats import detect_format
from llama_index_raganything.readers.media_facts import media_facts

MAX_COPIED_BYTES: Final = 50_000_000
"""Larger media files stay where they are, and the element has no asset."""


def parse_media(path: Path, options: ParseOptions, assets: AssetStore) -> ParsedFile:
    """Turn an audio or video file into one element; its streams are not decoded.

    Args:
        path: The file.
        options: Unused; there is nothing to choose.
        assets: Where a copy of the file goes, up to :data:`MAX_COPIED_BYTES`.

    Returns:
        One ``audio`` or ``video`` element whose text is the file name and, as far as the file says, its duration,
        codecs, sample rate, resolution and tags; the title among these is the title of the document.
    """
    del options
    file_format = detect_format(path)
    warnings = []
    asset = None
    if path.stat().st_size <= MAX_COPIED_BYTES:
        asset = assets.put(path.read_bytes(), path.suffix)
    else:
        warnings.append(f"{path.name!r} is over {MAX_COPIED_BYTES:,} bytes and was not copied to the assets.")
    media_type = "video" if file_format.kind == "video" else "audio"
    facts = media_facts(path, media_type, file_format.suffix)
    if facts.duration_s is None:
        warnings.append(f"{path.name!r} does not say how long it is: damaged, or a container that needs [media].")
    element = Element(
        type=media_type,
        text=f"{path.name}\n{facts.text}",
        asset=asset,
        subtype=path.suffix.lower().lstrip(".") or None,
    )
    return ParsedFile([element], parser="media", title=facts.tags.get("title"), warnings=warnings)
