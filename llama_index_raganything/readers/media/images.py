"""Image files: one image element each, with the words recognised in it."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from llama_index_raganything.elements import Element
from llama_index_raganything.errors import (
    CorruptFileError,
    FileTooLargeError,
    ParseError,
    UnsupportedFormatError,
)
from llama_index_raganything.images import SUFFIX_OF_FORMAT, on_white
from llama_index_raganything.readers.common.base import AssetStore, ParsedFile, ParseOptions, check_readable
from llama_index_raganything.readers.common.ocr import recognised_text

_TAKEN: Final = (0x9003, 0x0132)
_MAKE: Final = 0x010F
_MODEL: Final = 0x0110
_EXIF_IFD: Final = 0x8769
_GPS_IFD: Final = 0x8825
_MAX_CHARS: Final = 100


def photo_facts(data: bytes, *, location: bool = False) -> dict[str, str]:
    """Return what an image file says about itself.

    Args:
        data: The encoded image; only its header is read.
        location: Read where it was taken too.

    Returns:
        As far as known ``format``, ``size`` ("4032 x 3024 pixels"), ``frames``, ``taken`` ("2024-05-01 12:30:00"),
        ``camera`` and ``location`` ("56.15000, 10.20000", degrees north and east). Empty for what is no image.
    """
    drawing = _drawing_facts(data)
    if drawing:
        return drawing
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            facts = {"format": str(image.format), "size": f"{image.width} x {image.height} pixels"}
            frames = int(getattr(image, "n_frames", 1))
            if frames > 1:
                facts["frames"] = str(frames)
            exif = image.getexif()
    except Exception:  # noqa: BLE001  # damaged headers raise many kinds of errors, and there is nothing to say then
        return {}
    try:
        return facts | _exif_facts(exif, location=location)
    except Exception:  # noqa: BLE001  # a damaged Exif block, likewise
        return facts


def facts_text(facts: dict[str, str]) -> str:
    """Return the facts in one line.

    Args:
        facts: What :func:`photo_facts` returned.
    """
    names = {"frames": "{} frames", "taken": "taken {}", "camera": "camera {}", "location": "location {}"}
    return ", ".join(names.get(name, "{}").format(value) for name, value in facts.items())


def _exif_facts(exif: Any, *, location: bool) -> dict[str, str]:
    inner = exif.get_ifd(_EXIF_IFD)
    facts: dict[str, str] = {}
    taken = next((text for tag in _TAKEN if (text := _text(inner.get(tag) or exif.get(tag)))), "")
    moment = re.match(r"(\d{4}):(\d\d):(\d\d)( \d\d:\d\d:\d\d)?", taken)
    if moment and moment[1] != "0000":
        facts["taken"] = f"{moment[1]}-{moment[2]}-{moment[3]}{moment[4] or ''}"
    make, model = _text(exif.get(_MAKE)), _text(exif.get(_MODEL))
    camera = model if model.lower().startswith(make.lower()) else f"{make} {model}".strip()
    if camera:
        facts["camera"] = camera
    if location and (place := _place(exif.get_ifd(_GPS_IFD))):
        facts["location"] = place
    return facts


def _place(gps: Any) -> str:
    if not {1, 2, 3, 4} <= set(gps):
        return ""
    north = _degrees(gps[2]) * (-1 if _text(gps[1]).upper() == "S" else 1)
    east = _degrees(gps[4]) * (-1 if _text(gps[3]).upper() == "W" else 1)
    return f"{north:.5f}, {east:.5f}" if abs(north) <= 90 and abs(east) <= 180 else ""


def _degrees(parts: Any) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    return degrees + minutes / 60 + seconds / 3600


def _text(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:_MAX_CHARS]


def _drawing_facts(data: bytes) -> dict[str, str]:
    """Return format and size of drawings, which Pillow does not open everywhere."""
    if data[40:44] == b" EMF":
        left, top, right, bottom = struct.unpack("<4i", data[8:24])
        return {"format": "EMF", "size": f"{right - left} x {bottom - top} units"}
    head = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"<") and b"<svg" in head.lower():
        sides = {}
        for name in (b"width", b"height"):
            found = re.search(rb"<svg\b[^>]{0,2000}?\b" + name + rb"\s*=\s*[\"']([\d.]{1,12})", head, re.IGNORECASE)
            if found:
                sides[name] = found[1].decode()
        size = {"size": f"{sides[b'width']} x {sides[b'height']} units"} if len(sides) == 2 else {}
        return {"format": "SVG"} | size
    return {}


MAX_IMAGE_PIXELS: Final = 100_000_000
"""Pixels of the largest image that is decoded (300 MB in RGB)."""

MAX_FRAMES: Final = 1000
"""Pages read of a multi-page TIFF."""

_EXIF_ORIENTATION: Final = 0x0112
_KEPT_FORMATS: Final = {name: SUFFIX_OF_FORMAT[name] for name in ("JPEG", "PNG", "WEBP", "GIF")}


def parse_image(path: Path, options: ParseOptions, assets: AssetStore) -> ParsedFile:
    """Parse an image file.

    The image is turned as its EXIF data says and stored as it is (png, jpg, webp, gif), or as PNG. A
    photo's footnote says when and with what camera it was taken. A TIFF with several frames gives one
    page per frame; of an animation only the first frame counts.

    Args:
        path: An existing local file.
        options: ``profile="fast"`` and ``ocr="off"`` recognise no characters.
        assets: Where the image goes.

    Returns:
        One image element per frame; for several frames a page element with the same words before each.

    Raises:
        SourceError: The file cannot be read.
        CorruptFileError: The file is empty, truncated or damaged.
        FileTooLargeError: The image has more than :data:`MAX_IMAGE_PIXELS` pixels.
        UnsupportedFormatError: Pillow does not know the format.
        MissingDependencyError: OCR is wanted and its packages are not installed.
    """
    from PIL import features

    check_readable(path)
    data = path.read_bytes()
    facts = photo_facts(data, location=options.photo_location)
    # Only a photo is asked for by its camera and date; of a scan or drawing they would be noise.
    note = facts_text(facts) if facts.keys() & {"taken", "camera", "location"} else ""
    warnings: list[str] = []
    elements: list[Element] = []
    try:
        for number, count, frame, kept in _frames(data, path, warnings):
            asset = assets.put(*kept)
            words = recognised_text(frame) if options.profile != "fast" and options.ocr != "off" else ""
            page = number if count > 1 else None
            if count > 1:
                own = asset if options.page_images else None
                elements.append(Element(type="page", text=words, page=number, ocr=bool(words), asset=own))
            box = (0, 0, 1000, 1000)
            elements.append(
                Element(type="image", text=words, footnote=note, page=page or 1, bbox=box, asset=asset, ocr=bool(words))
            )
    except ParseError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError) as error:
        # Pillow raises all of these on damaged files.
        detail = f"{type(error).__name__}: {error}"
        message = f"{path.name!r} is a damaged or truncated image ({detail}); fetch the file again."
        raise CorruptFileError(message, str(path)) from error
    return ParsedFile(elements, parser=f"pillow {features.version('pil')}", warnings=warnings)


def _frames(data: bytes, path: Path, warnings: list[str]) -> Iterator[tuple[int, int, Any, tuple[bytes, str]]]:
    """Yield number, count, upright RGB image and (bytes, suffix) to store of each frame."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        message = f"{path.name!r} is no image that can be read; convert it to PNG or JPEG."
        raise UnsupportedFormatError(message, str(path)) from error
    except Image.DecompressionBombError as error:
        message = f"{path.name!r} declares too many pixels ({error}); scale it down."
        raise FileTooLargeError(message, str(path)) from error
    with image:
        count = getattr(image, "n_frames", 1) if image.format in {"TIFF", "MPO"} else 1
        count = 1 if image.format == "MPO" else count
        if count > MAX_FRAMES:
            warnings.append(f"only the first {MAX_FRAMES} of {count} pages are read")
        for index in range(min(count, MAX_FRAMES)):
            image.seek(index)
            _check_size(image, path)
            turned = ImageOps.exif_transpose(image)
            upright = on_white(turned)
            suffix = _KEPT_FORMATS.get(image.format or "")
            untouched = suffix and count == 1 and image.getexif().get(_EXIF_ORIENTATION, 1) == 1
            kept = (data, suffix) if suffix and untouched else (_png(upright), ".png")
            yield index + 1, count, upright, kept


def _check_size(image: Any, path: Path) -> None:
    width, height = image.size
    if width * height > MAX_IMAGE_PIXELS:
        message = f"{path.name!r} has {width} x {height} pixels, more than {MAX_IMAGE_PIXELS:,}; scale it down."
        raise FileTooLargeError(message, str(path))


def _png(image: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
