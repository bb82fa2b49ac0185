"""Images for models: where those of nodes and questions are, and how they are made to fit.

Vision endpoints reject what cameras and office files produce: CMYK, animations, sides of a few or tens of thousands of
pixels, files of many megabytes. Nothing is fetched here unless the caller passes ``fetch``.

>>> from llama_index_raganything.images import fit_image
>>> fit_image("photo.tif").mimetype  # doctest: +SKIP
'image/png'
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import struct
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from llama_index.core.schema import BaseNode, ImageNode, ImageType

from llama_index_raganything import errors

IMAGE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".tif", ".tiff", ".webp")
"""Extensions of the raster images that are read."""

SUFFIX_OF_FORMAT: Final = {
    "PNG": ".png",
    "JPEG": ".jpg",
    "GIF": ".gif",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "TIFF": ".tif",
}
"""Extension of each format, by Pillow's name for it."""

MAX_SOURCE_BYTES: Final = 50_000_000
"""Maximum bytes of an image file."""

MAX_SOURCE_PIXELS: Final = 100_000_000
"""Maximum pixels of an image that is decoded (300 MB in RGB)."""

MAX_PIXELS: Final = 2_000_000
"""Maximum pixels of a fitted image; vision models scale larger ones down themselves."""

MAX_BYTES: Final = 4_000_000
"""Maximum bytes of a fitted image; the strictest common endpoint accepts 5 MB."""

MAX_SIDE: Final = 8000
"""Longest side of a fitted image, in pixels."""

MIN_SIDE: Final = 32
"""Shortest side of a fitted image, in pixels: Qwen-VL requires 28. Smaller images get a white margin."""

MAX_ASPECT: Final = 100
"""Maximum ratio of the sides; Qwen-VL rejects more than 200. Thinner images get a white margin."""

_KEPT: Final = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
"""Formats that every vision endpoint accepts; others are sent as PNG or JPEG."""

_ORIENTATION: Final = 0x0112
_QUALITIES: Final = (90, 75, 60)
_DAMAGED: Final = (
    *(OSError, ValueError, SyntaxError, EOFError, MemoryError, ArithmeticError, TypeError, LookupError),
    *(AttributeError, RuntimeError, struct.error),
)
"""What Pillow raises on damaged files."""


@dataclass(frozen=True, slots=True)
class FittedImage:
    """An image that a model accepts.

    Attributes:
        data: The encoded image.
        mimetype: ``image/jpeg``, ``image/png`` or ``image/webp``.
        width: Pixels.
        height: Pixels.
        source_width: Width of the upright original, in pixels.
        source_height: Height of the upright original, in pixels.
        changed: Whether the bytes differ from the original's.
    """

    data: bytes = field(repr=False)
    mimetype: str
    width: int
    height: int
    source_width: int
    source_height: int
    changed: bool


def fit_image(
    source: bytes | str | Path,
    *,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    max_source_bytes: int = MAX_SOURCE_BYTES,
    formats: Collection[str] = tuple(_KEPT),
    name: str = "",
) -> FittedImage:
    """Make an image fit for a model.

    The first frame of an animation is used, the image is turned upright by its EXIF data, CMYK and other modes become
    RGB, transparency becomes white, large images are scaled down, and tiny or very thin ones get a white margin. An
    image that already fits is returned byte for byte.

    Args:
        source: The encoded image, or the path of a file.
        formats: Which of JPEG, PNG and WEBP the model accepts.
        name: Name of the image in errors; the file's name by default.

    Raises:
        SourceError: The file cannot be read.
        CorruptFileError: The image is empty, truncated or damaged.
        FileTooLargeError: It has more than ``max_source_bytes`` bytes or :data:`MAX_SOURCE_PIXELS` pixels.
        UnsupportedFormatError: Pillow cannot draw the format, such as SVG or EMF.
    """
    name = name or _name_of(source)
    data = image_bytes(source, max_bytes=max_source_bytes, name=name)
    with _opened(data, name) as image:
        upright_size = _upright_size(image)
        if len(data) <= max_bytes and _fits(image, max_pixels, formats):
            image.load()  # Detects a truncated file before the endpoint does.
            return FittedImage(data, _KEPT[image.format], *upright_size, *upright_size, changed=False)
        kind = image.format or ""
        shown = _margined(_scaled(_first_frame(image, max_pixels), max_pixels))
        encoded, mimetype, size = _encoded(shown, kind, max_bytes)
    return FittedImage(encoded, mimetype, *size, *upright_size, changed=True)


def open_upright(source: bytes | str | Path, *, max_bytes: int = MAX_SOURCE_BYTES, name: str = "") -> Any:
    """Open an image at full size as a PIL image in RGB: upright, first frame, transparency on white.

    Args:
        source: The encoded image, or the path of a file.
        name: Name of the image in errors; the file's name by default.

    Returns:
        A loaded ``PIL.Image.Image``.

    Raises:
        ParseError: As :func:`fit_image`.
        SourceError: The file cannot be read.
    """
    name = name or _name_of(source)
    data = image_bytes(source, max_bytes=max_bytes, name=name)
    with _opened(data, name) as image:
        return _first_frame(image, None)


def image_bytes(source: bytes | str | Path, *, max_bytes: int = MAX_SOURCE_BYTES, name: str = "") -> bytes:
    """Return the bytes of an image after checking their number.

    Args:
        source: The bytes, or the path of a file.
        max_bytes: Maximum number of bytes.
        name: Name of the image in errors; the file's name by default.

    Raises:
        SourceError: The file cannot be read.
        CorruptFileError: There are no bytes.
        FileTooLargeError: There are more than ``max_bytes``.
    """
    name = name or _name_of(source)
    try:
        size = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
        if size > max_bytes:
            message = f"{name} has {size:,} bytes, more than {max_bytes:,}; scale it down."
            raise errors.FileTooLargeError(message, name)
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, errors.ParseError):
            raise
        # A path with a null byte is a ValueError.
        message = f"{name} cannot be read: {error}; check the path and its permissions."
        raise errors.SourceError(message) from error
    if not data:
        message = f"{name} is empty (0 bytes); fetch the file again."
        raise errors.CorruptFileError(message, name)
    return data


def image_digest(data: bytes) -> str:
    """Return the name that equal images share, under which the reader stores an asset.

    Returns:
        32 hexadecimal digits; see :class:`~llama_index_raganything.readers.common.base.AssetStore`.
    """
    return hashlib.sha256(data).hexdigest()[:32]


def decoded_image(text: str | bytes, name: str = "The image") -> bytes:
    """Decode an image written in base64.

    Args:
        text: Base64 on one or several lines, or a data URI.
        name: Name of the image in errors.

    Returns:
        The bytes, unchecked.

    Raises:
        CorruptFileError: It is not valid base64, or empty.
    """
    written = text if isinstance(text, str) else text.decode("ascii", "replace")
    payload = written.partition(",")[2] if written.lstrip()[:5].lower() == "data:" else written
    try:
        data = base64.b64decode("".join(payload.split()), validate=True)
    except ValueError as error:  # Also for non-ASCII characters, which raise no binascii.Error.
        message = f"{name} is not valid base64 ({error}); pass bytes, base64 text or a data URI."
        raise errors.CorruptFileError(message) from error
    if not data:
        message = f"{name} is empty; pass bytes, base64 text or a data URI."
        raise errors.CorruptFileError(message)
    return data


def on_white(image: Any) -> Any:
    """Return a PIL image in RGB with transparency on white, because black letters on transparency are common."""
    from PIL import Image

    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        paper = Image.new("RGBA", rgba.size, "white")
        paper.alpha_composite(rgba)
        return paper.convert("RGB")
    if image.mode.startswith(("I", "F")):
        # 16-bit and floating-point images are stretched to 8 bits; plain conversion clips them to white.
        low, high = image.getextrema()
        span = max(high - low, 1e-9)
        return image.point(lambda value: (value - low) * (255 / span)).convert("L").convert("RGB")
    return image.convert("RGB")


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[Any]:
    """Open an image, turning what Pillow raises into typed errors."""
    from PIL import Image, UnidentifiedImageError

    try:
        _refuse_drawings(data, name)
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            if width * height > MAX_SOURCE_PIXELS:
                message = f"{name} has {width} x {height} pixels, more than {MAX_SOURCE_PIXELS:,}; scale it down."
                raise errors.FileTooLargeError(message, name)
            yield image
    except errors.ParseError:
        raise
    except UnidentifiedImageError as error:
        message = f"{name} is no image that can be read; convert it to PNG or JPEG."
        raise errors.UnsupportedFormatError(message, name) from error
    except Image.DecompressionBombError as error:
        message = f"{name} declares too many pixels ({error}); scale it down."
        raise errors.FileTooLargeError(message, name) from error
    except _DAMAGED as error:
        detail = f"{type(error).__name__}: {error}"
        message = f"{name} is a damaged or truncated image ({detail}); fetch the file again."
        raise errors.CorruptFileError(message, name) from error


def _refuse_drawings(data: bytes, name: str) -> None:
    """Raise for vector drawings: Pillow draws none of them, or only on Windows or with Ghostscript."""
    head = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    kind = ""
    if head[40:44] == b" EMF":
        kind = "EMF"
    elif head.startswith((b"\xd7\xcd\xc6\x9a", b"\x01\x00\x09\x00", b"\x02\x00\x09\x00")):
        kind = "WMF"
    elif head.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6")):
        kind = "EPS"
    elif head.startswith(b"<") and b"<svg" in head.lower():
        kind = "SVG"
    if kind:
        message = f"{name} is a drawing in {kind}, which is not rendered; convert it to PNG or JPEG."
        raise errors.UnsupportedFormatError(message, name)


def _fits(image: Any, max_pixels: int, formats: Collection[str]) -> bool:
    width, height = image.size
    plain = image.mode in {"RGB", "L"} and "transparency" not in image.info
    still = image.format in _KEPT and image.format in formats and getattr(image, "n_frames", 1) == 1
    upright = image.getexif().get(_ORIENTATION, 1) == 1
    sized = width * height <= max_pixels and max(width, height) <= MAX_SIDE and min(width, height) >= MIN_SIDE
    return plain and still and upright and sized and max(width, height) <= MAX_ASPECT * min(width, height)


def _upright_size(image: Any) -> tuple[int, int]:
    width, height = image.size
    # EXIF orientations 5 to 8 are rotated by a quarter turn.
    return (height, width) if image.getexif().get(_ORIENTATION, 1) in {5, 6, 7, 8} else (width, height)


def _first_frame(image: Any, max_pixels: int | None) -> Any:
    from PIL import ImageOps

    if max_pixels is not None and image.format == "JPEG":
        # JPEG decodes cheaply at an eighth, a quarter or half size; twice the target side keeps the quality.
        factor = min(1.0, 2 * (max_pixels / (image.width * image.height)) ** 0.5)
        image.draft(None, (max(1, int(image.width * factor)), max(1, int(image.height * factor))))
    image.load()
    return on_white(ImageOps.exif_transpose(image))


def _scaled(image: Any, max_pixels: int) -> Any:
    factor = min(1.0, (max_pixels / (image.width * image.height)) ** 0.5, MAX_SIDE / max(image.size))
    if factor == 1.0:
        return image
    size = (max(1, int(image.width * factor)), max(1, int(image.height * factor)))
    return image.resize(size, reducing_gap=2)


def _margined(image: Any) -> Any:
    """Return the image on a white margin if it is smaller or thinner than models accept."""
    from PIL import Image

    least = max(MIN_SIDE, -(-max(image.size) // MAX_ASPECT))
    size = (max(image.width, least), max(image.height, least))
    if size == image.size:
        return image
    paper = Image.new("RGB", size, "white")
    paper.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return paper


def _encoded(image: Any, kind: str, max_bytes: int) -> tuple[bytes, str, tuple[int, int]]:
    """Encode an image within a number of bytes, scaling it down until it fits: photos as JPEG, drawings as PNG."""
    if kind not in {"JPEG", "MPO"}:
        data = _saved(image, "PNG")
        if len(data) <= max_bytes:
            return data, "image/png", image.size
    while True:
        for quality in _QUALITIES:
            data = _saved(image, "JPEG", quality=quality)
            if len(data) <= max_bytes:
                return data, "image/jpeg", image.size
        if max(image.size) <= MIN_SIDE:
            return data, "image/jpeg", image.size
        image = _margined(image.resize((max(1, image.width // 2), max(1, image.height // 2)), reducing_gap=2))


def _saved(image: Any, format: str, **options: Any) -> bytes:  # noqa: A002  # Pillow's name for it
    stream = io.BytesIO()
    image.save(stream, format=format, **options)
    return stream.getvalue()


def _name_of(source: bytes | str | Path) -> str:
    return "The image" if isinstance(source, bytes) else repr(Path(source).name or str(source))


MAX_EMBED_PIXELS: Final = 1_000_000
"""Maximum pixels of an image for an embedding model; Qwen's finest resolution uses 0.8 million."""

MAX_EMBED_BYTES: Final = 3_000_000
"""Maximum bytes of an image for an embedding model; tongyi-embedding-vision accepts 3 MB."""

_URL = re.compile(r"\s*(?:data:|[a-z][a-z0-9+.-]+://)", re.IGNORECASE)
_CHUNK_BYTES: Final = 1 << 20

ImageSource = bytes | Path | str
"""An encoded image, the path of one, or its URL."""

Fetch = Callable[[str], bytes]
"""Fetches the bytes at a URL, such as the readers' ``UrlFetcher``, which refuses private networks."""


def source_of_node(node: BaseNode) -> ImageSource | None:
    """Return where a node's image is: its bytes, path or URL.

    Returns:
        The source; None for a node without an image.

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
    """Return where an image passed by a caller is.

    Args:
        value: Bytes, a binary stream, a path, a URL, a data URI, or LlamaIndex's ``ImageBlock``, ``ImageNode`` or
            ``ImageDocument``.

    Raises:
        CorruptFileError: The value holds no image.
    """
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, io.BufferedIOBase):
        if value.seekable():
            value.seek(0)  # The stream may have been read before.
        return value.read()
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
        raise errors.CorruptFileError(message)
    return found


def is_url(text: str) -> bool:
    """Return whether a text is a URL or data URI rather than a path."""
    return bool(_URL.match(text))


def identity_of(source: ImageSource) -> str:
    """Return a key that equal images share; reads a file to its end.

    Returns:
        A digest of the bytes; the path or URL where they cannot be read.
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
        # Fitting the image reports what is wrong with it. A path with a null byte is a ValueError.
        return f"path {source}"
    return digest.hexdigest()


def model_input(
    source: ImageSource,
    *,
    max_pixels: int = MAX_EMBED_PIXELS,
    max_bytes: int = MAX_EMBED_BYTES,
    fetch: Fetch | None = None,
) -> ImageType:
    """Return an image in a form that a ``MultiModalEmbedding`` accepts.

    Args:
        max_pixels: Larger images are scaled down.
        max_bytes: Larger images are re-encoded.
        fetch: Fetches remote images; without it they are rejected.

    Returns:
        The path of a file that already fits, else a stream of the fitted image: upright, RGB, first frame.

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
            raise errors.BlockedSourceError(message)
        fitted = fit_image(fetch(source), max_pixels=max_pixels, max_bytes=max_bytes, name=repr(source[:200]))
        return io.BytesIO(fitted.data)
    fitted = fit_image(source, max_pixels=max_pixels, max_bytes=max_bytes)
    if isinstance(source, Path) and not fitted.changed:
        # Some models accept only paths, and this avoids encoding the image again.
        return str(source)
    return io.BytesIO(fitted.data)


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
