"""Images that a text file refers to: taken from inside its own folder or from the file itself, never from a network."""

from __future__ import annotations

import base64
import binascii
import io
import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

from llama_index_raganything.readers.common.assets import AssetStore

MAX_IMAGE_BYTES: Final = 32 * 1024 * 1024
"""Larger images are not stored."""

_SUFFIXES: Final = {"PNG": ".png", "JPEG": ".jpg", "GIF": ".gif", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif"}
_SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.\-]*:|^//|^\\\\")


class LocalImages:
    """Store the images that references lead to.

    Args:
        folder: References are resolved here and must not lead outside; None refuses all but ``data:`` URIs.
        assets: Where images go.
        parts: Images inside the file itself, by the name that references use, such as ``cid:logo`` in mail.
    """

    def __init__(self, folder: Path | None, assets: AssetStore, parts: dict[str, bytes] | None = None) -> None:
        self._folder = folder.resolve() if folder is not None else None
        self._assets = assets
        self._parts = parts or {}

    def __call__(self, reference: str) -> str | None:
        """Store the image behind a reference.

        Args:
            reference: A relative path, a ``data:`` URI or the name of a part; a URL is never followed.

        Returns:
            The asset's relative path, or None when there is no such image here.
        """
        data = self._bytes(reference.strip())
        suffix = image_suffix(data) if data else None
        return self._assets.put(data, suffix) if data and suffix else None

    def _bytes(self, reference: str) -> bytes | None:
        if reference in self._parts:
            return self._parts[reference]
        if reference[:5].lower() == "data:":
            return _data_uri(reference)
        if not reference or self._folder is None or _SCHEME.match(reference):
            return None
        try:
            path = (self._folder / unquote(reference.split("#")[0].split("?")[0])).resolve()
            inside = path.is_relative_to(self._folder) and path.is_file() and path.stat().st_size <= MAX_IMAGE_BYTES
            return path.read_bytes() if inside else None
        except (OSError, ValueError):
            return None


def image_suffix(data: bytes) -> str | None:
    """Return the file name extension of a raster image by its content.

    Args:
        data: Bytes that may be an image.

    Returns:
        ``".png"`` and so on, or None for anything that Pillow does not recognise.
    """
    from PIL import Image

    if len(data) > MAX_IMAGE_BYTES:
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _SUFFIXES.get(image.format or "")
    except Exception:  # noqa: BLE001 - Pillow's readers raise many things on damaged bytes; none of them is an image.
        return None


def _data_uri(reference: str) -> bytes | None:
    head, separator, body = reference.partition(",")
    if not separator or len(body) > 2 * MAX_IMAGE_BYTES:
        return None
    try:
        return base64.b64decode(unquote_to_bytes(body)) if ";base64" in head.lower() else unquote_to_bytes(body)
    except (binascii.Error, ValueError):
        return None
