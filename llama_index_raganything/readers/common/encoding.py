"""Decode text files whose encoding is not stated."""

from __future__ import annotations

import codecs
import re
from typing import Final

_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CENTRAL_EUROPEAN_BYTES: Final = frozenset({0x9A, 0x9D, 0x9E, 0x9F, 0xB3, 0xB9, 0xBF})
_SAMPLE_BYTES: Final = 64 * 1024
_NUL_SHARE: Final = 0.2
_ENOUGH_FOREIGN_BYTES: Final = 100
# One or two per script: more candidates make more mistakes.
_CANDIDATES: Final = (
    "gb18030 big5 shift_jis euc_jp euc_kr cp1252 cp1251 koi8_r cp1253 cp1255 cp1256 cp874".split()  # noqa: SIM905 - a list of names reads better as one line.
)
_HTML_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([a-zA-Z0-9_.:\-]{2,40})", re.IGNORECASE)
_XML_ENCODING = re.compile(rb"<\?xml[^>]{0,100}?encoding\s*=\s*[\"']([a-zA-Z0-9_.:\-]{2,40})[\"']")


def decode_text(data: bytes, declared: str | None = None) -> str:
    r"""Decode bytes to text; never fails.

    Tried in this order: byte order mark, the declared encoding, UTF-16 without a mark (recognised by its NUL bytes),
    UTF-8, statistical detection by charset-normalizer, Windows-1252.

    Args:
        declared: Encoding that the file or its carrier states.

    Returns:
        The text with ``\\n`` line ends; bytes that fit no encoding become U+FFFD.
    """
    text = _decode(data, declared)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def declared_encoding(data: bytes) -> str | None:
    """Return the encoding that an HTML ``meta`` or an XML declaration states in the first 4 KiB.

    Args:
        data: Bytes of an HTML or XML file.

    Returns:
        Name of the encoding as written, or None.
    """
    head = data[:4096]
    match = _XML_ENCODING.search(head) or _HTML_CHARSET.search(head)
    return match[1].decode("ascii") if match else None


def _decode(data: bytes, declared: str | None) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    for candidate in (declared, _unmarked_utf16(data), "utf-8"):
        text = _try(data, candidate)
        if text is not None:
            return text
    detected = _detected(data)
    if detected in {None, "cp1252"}:
        detected = "cp1250" if _is_central_european(data) else "cp1252"
    return _try(data, detected) or data.decode("cp1252", "replace")


def _try(data: bytes, encoding: str | None) -> str | None:
    if not encoding:
        return None
    try:
        codec = codecs.lookup(encoding)
        # Some codecs map bytes to bytes (base64) or decompress (zlib): those are no text encodings.
        if not getattr(codec, "_is_text_encoding", True):
            return None
        return data.decode(encoding)
    except (LookupError, UnicodeError, ValueError):
        return None


def _unmarked_utf16(data: bytes) -> str | None:
    """Return the byte order of UTF-16 text without a mark: ASCII in it leaves NUL in every other byte."""
    sample = data[:_SAMPLE_BYTES]
    half = len(sample) // 2
    if half < 2:
        return None
    even, odd = sample[0::2].count(0) / half, sample[1::2].count(0) / half
    if odd > _NUL_SHARE and odd > 2 * even:
        return "utf-16-le"
    if even > _NUL_SHARE and even > 2 * odd:
        return "utf-16-be"
    return None


def _is_central_european(data: bytes) -> bool:
    """Tell Windows-1250 from 1252, where the bytes of š ť ž ź ł ą ż are signs that occur in no word."""
    foreign = [byte for byte in data[:_SAMPLE_BYTES] if byte > 127]
    return sum(byte in _CENTRAL_EUROPEAN_BYTES for byte in foreign) * 20 > len(foreign) > 0


def _detected(data: bytes) -> str | None:
    from charset_normalizer import from_bytes

    sample = data[:_SAMPLE_BYTES]
    foreign = sum(byte > 127 for byte in sample)
    # A few accents in a short text are too little for statistics; browsers take Windows-1252 then.
    if foreign < _ENOUGH_FOREIGN_BYTES and foreign * 5 < len(sample):
        return None
    best = from_bytes(sample, cp_isolation=_CANDIDATES).best()
    return None if best is None else best.encoding
