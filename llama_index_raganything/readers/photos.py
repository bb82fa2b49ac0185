"""What an image file says about itself: format, size, and of photos when and with what they were taken.

Where a photo was taken tells where somebody lives, so that is read only on request. Tags are those of Exif 2.32.
"""

from __future__ import annotations

import io
import re
import struct
from typing import Any, Final

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
