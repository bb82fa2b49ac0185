"""The images that requests carry as data URIs. Pure."""

from __future__ import annotations

import base64
import binascii
import io
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL import Image

_DATA_URI: Final = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,")
_ENOUGH: Final = 96


def image_of(reference: str) -> Image.Image | None:
    """Return the image of a data URI; None for another reference.

    Args:
        reference: Data URI or URL.

    Raises:
        ValueError: The data is no base64 or no image.
    """
    content = image_bytes(reference)
    if content is None:
        return None
    image = open_image(content)
    try:
        # A JPEG can be read at a fraction of its size, which is enough to see its colours.
        image.draft("RGB", (_ENOUGH, _ENOUGH))
        image.load()
    except (OSError, SyntaxError) as error:
        message = f"no image: {error}"
        raise ValueError(message) from error
    return image


def open_image(content: bytes) -> Image.Image:
    """Return an image of which only the head was read.

    Args:
        content: A file.

    Raises:
        ValueError: It is no image.
    """
    from PIL import Image

    try:
        return Image.open(io.BytesIO(content))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        message = f"no image: {error}"
        raise ValueError(message) from error


def image_bytes(reference: str) -> bytes | None:
    """Return the bytes of a data URI; None for another reference.

    Args:
        reference: Data URI or URL.

    Raises:
        ValueError: The data is no base64.
    """
    head = _DATA_URI.match(reference)
    if head is None:
        return None
    try:
        return base64.b64decode(reference[head.end() :], validate=True)
    except binascii.Error as error:
        message = f"no base64: {error}"
        raise ValueError(message) from error
