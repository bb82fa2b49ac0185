"""Where the pixels of nodes and questions come from, and the form in which embedding models take them."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from llama_index.core.schema import BaseNode, ImageNode, ImageType

from llama_index_raganything.errors import BlockedSourceError, CorruptFileError
from llama_index_raganything.images import MAX_SOURCE_BYTES, decoded_image, fit_image

MAX_EMBED_PIXELS: Final = 1_000_000
"""Pixels of an image that goes to an embedding model; the finest of Qwen's resolutions takes 0.8 million."""

MAX_EMBED_BYTES: Final = 3_000_000
"""Bytes of an image that goes to an embedding model; tongyi-embedding-vision takes 3 MB."""

_URL = re.compile(r"\s*(?:data:|[a-z][a-z0-9+.-]+://)", re.IGNORECASE)
_CHUNK_BYTES: Final = 1 << 20

ImageSource = bytes | Path | str
"""An encoded image, the path of one, or its URL."""

Fetch = Callable[[str], bytes]
"""A function that returns what a URL leads to; ``UrlFetcher`` of the readers is one that stays out of networks."""


def source_of_node(node: BaseNode) -> ImageSource | None:
    """Return where a node's image is: its bytes, its path, or its URL.

    Returns:
        The source; None when the node has no image.

    Raises:
        CorruptFileError: Its bytes are not valid base64.
    """
    if isinstance(node, ImageNode):
        data, path, url = node.image, node.image_path, node.image_url
    else:
        resource = getattr(node, "image_resource", None)
        if resource is None:
            return None
        data, path, url = resource.data, resource.path, resource.url and str(resource.url)
    return _first_of(data, path, url, f"The image of node {node.node_id}")


def source_of_value(value: Any) -> ImageSource:
    """Return where the image of a question is.

    Args:
        value: Bytes, a binary stream, a path, a URL, a data URI, or LlamaIndex's ``ImageBlock``, ``ImageNode`` or
            ``ImageDocument``.

    Returns:
        The source.

    Raises:
        CorruptFileError: The value holds no image.
    """
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, io.BytesIO):
        return value.getvalue()
    if isinstance(value, io.BufferedIOBase):
        return _all_of(value)
    if isinstance(value, str | Path):
        found = _first_of(None, value, None, "The image of the question")
    elif isinstance(value, BaseNode):
        found = source_of_node(value)
    else:
        url = getattr(value, "url", None)
        data, path = getattr(value, "image", None), getattr(value, "path", None)
        found = _first_of(data, path, str(url) if url else None, "The image of the question")
    if found is None:
        message = f"A {type(value).__name__} without image was given; give bytes, a path or an ImageBlock."
        raise CorruptFileError(message)
    return found


def is_url(text: str) -> bool:
    """Return whether a text is a URL or a data URI rather than a path."""
    return bool(_URL.match(text))


def identity_of(source: ImageSource) -> str:
    """Return what equal images share; reads a file to its end.

    Returns:
        A digest of the bytes; path or URL where they cannot be read.
    """
    if isinstance(source, str):
        return f"url {source}"
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    digest = hashlib.sha256()
    try:
        if source.stat().st_size > MAX_SOURCE_BYTES:
            return f"path {source}"
        with source.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    except (OSError, ValueError):
        # Whoever fits the image says what is wrong with it. A path with a null byte is a ValueError.
        return f"path {source}"
    return digest.hexdigest()


def model_input(
    source: ImageSource,
    *,
    max_pixels: int = MAX_EMBED_PIXELS,
    max_bytes: int = MAX_EMBED_BYTES,
    fetch: Fetch | None = None,
) -> ImageType:
    """Return an image in the form that a ``MultiModalEmbedding`` takes.

    Args:
        max_pixels: Larger images are scaled down.
        max_bytes: Larger images are encoded anew.
        fetch: Gets remote images; without it they are refused.

    Returns:
        The path of a file that fits as it is, else a stream of the fitted image: upright, RGB, first frame.

    Raises:
        BlockedSourceError: The image is remote and ``fetch`` was not given.
        SourceError: The file cannot be read.
        ParseError: The image is damaged, too large, or of a kind that Pillow cannot draw.
    """
    if isinstance(source, str):
        if fetch is None:
            message = (
                f"The image is at the URL {source[:200]!r}, and remote images are not fetched unless fetch is given."
            )
            raise BlockedSourceError(message)
        fitted = fit_image(fetch(source), max_pixels=max_pixels, max_bytes=max_bytes, name=repr(source[:200]))
        return io.BytesIO(fitted.data)
    fitted = fit_image(source, max_pixels=max_pixels, max_bytes=max_bytes)
    if isinstance(source, Path) and not fitted.changed:
        # Some models take paths only, and none of them has to encode the image once more.
        return str(source)
    return io.BytesIO(fitted.data)


def _all_of(stream: io.BufferedIOBase) -> bytes:
    if stream.seekable():
        stream.seek(0)  # A stream that was read before, or is embedded once more, is still the whole image.
    return stream.read()


def _first_of(data: Any, path: Any, url: str | None, name: str) -> ImageSource | None:
    if data:
        return decoded_image(data, name)
    if path and isinstance(path, str) and is_url(path):
        url = path
    elif path:
        return Path(path)
    if url and url.lstrip()[:5].lower() == "data:":
        head, _, payload = url.partition(",")
        return decoded_image(payload, name) if head.rstrip().endswith(";base64") else unquote_to_bytes(payload)
    return url or None
