"""Mail (.eml, .mbox) and web archives (.mhtml), which are MIME messages (RFC 5322, RFC 2557)."""

from __future__ import annotations

import email
import email.policy
import re
from email.header import decode_header
from email.message import Message
from pathlib import Path
from typing import Final

from llama_index_raganything.elements import Element
from llama_index_raganything.errors import CorruptFileError
from llama_index_raganything.readers.common.base import AssetStore, ParsedFile
from llama_index_raganything.readers.common.encoding import declared_encoding, decode_text
from llama_index_raganything.readers.text.prose import parse_prose
from llama_index_raganything.readers.web.html import LocalImages, html_elements, page_to_parsed

_HEADERS: Final = ("From", "To", "Cc", "Date", "Subject")
_MAX_PARTS: Final = 1000
_MESSAGE_START = re.compile(rb"^From \S+ .*\d{4}\r?$", re.MULTILINE)


def parse_mail(data: bytes, source: str, assets: AssetStore) -> tuple[list[Element], str | None]:
    """Turn an Internet message (RFC 5322, MIME) into elements.

    The plain text body is preferred when there is one; the HTML body is read otherwise. Attachments are named,
    not opened; attached messages are read.

    Args:
        data: Bytes of an ``.eml`` file, also one that was saved as UTF-16.
        source: Path, for messages to people.
        assets: Where inline images go.

    Returns:
        The elements and the subject, or None without one.

    Raises:
        CorruptFileError: There is neither a header nor a body.
    """
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"} or b"\x00" in data[:64]:
        data = decode_text(data).encode("utf-8")
    # The compat policy never raises on malformed headers, where the default policy does
    # (https://github.com/python/cpython/issues/124452 and its kin).
    message = email.message_from_bytes(data.lstrip(), policy=email.policy.compat32)
    elements = _header_elements(message)
    parts = [part for _, part in zip(range(_MAX_PARTS), message.walk(), strict=False)]
    elements.extend(_bodies(parts, assets))
    attachments = [name for part in parts if (name := _attachment_name(part))]
    if attachments:
        elements.append(Element(type="list", text="Attachments:\n" + "\n".join(f"- {name}" for name in attachments)))
    if not elements:
        name = Path(source).name
        problem = f"{name!r} is no mail: it has neither a header nor a body."
        raise CorruptFileError(problem, source)
    return elements, _header(message, "Subject") or None


def parse_mailbox(data: bytes, source: str, assets: AssetStore) -> tuple[list[Element], str | None]:
    """Turn a mailbox (RFC 4155) into the elements of its messages.

    Args:
        data: Bytes of an ``.mbox`` file.
        source: Path, for messages to people.
        assets: Where inline images go.

    Returns:
        The elements, message after message, and no title.

    Raises:
        CorruptFileError: There is no message.
    """
    messages = [part for part in _MESSAGE_START.split(data) if part.strip()]
    elements = [element for part in messages for element in parse_mail(part, source, assets)[0]]
    if not elements:
        problem = f"{Path(source).name!r} holds no message."
        raise CorruptFileError(problem, source)
    return elements, None


def _header_elements(message: Message) -> list[Element]:
    subject = _header(message, "Subject")
    lines = [f"{name}: {value}" for name in _HEADERS if (value := _header(message, name))]
    elements = [Element(type="heading", text=subject, level=1)] if subject else []
    if lines:
        elements.append(Element(type="text", text="\n".join(lines), subtype="mail_header"))
    return elements


def _header(message: Message, name: str) -> str:
    return _decoded(str(message.get(name, "")))


def _bodies(parts: list[Message], assets: AssetStore) -> list[Element]:
    elements: list[Element] = []
    images = LocalImages(None, assets, parts=inline_images(parts))
    plain = [part for part in parts if _is_body(part, "text/plain") and part_text(part).strip()]
    pages = [part for part in parts if _is_body(part, "text/html")]
    # Alternatives say the same twice; a mail whose plain text is a mere stub for its HTML is rare.
    if plain and not (pages and sum(len(part_text(part)) for part in plain) < 100):
        for part in plain:
            elements.extend(parse_prose(part_text(part)))
        return elements
    for part in pages or plain:
        html = part.get_content_type() == "text/html"
        elements.extend(html_elements(part_text(part), images) if html else parse_prose(part_text(part)))
    return elements


def _is_body(part: Message, content_type: str) -> bool:
    return not part.is_multipart() and part.get_content_type() == content_type and not _attachment_name(part)


def part_text(part: Message) -> str:
    """Return the text of a part, decoded whatever its headers say.

    Args:
        part: A part that is not multipart.

    Returns:
        Its text.
    """
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    charset = part.get_content_charset()
    if charset is None and part.get_content_type() != "text/plain":
        charset = declared_encoding(data)
    return decode_text(data, charset)


def inline_images(parts: list[Message]) -> dict[str, bytes]:
    """Return the images of a message by the names that its HTML uses.

    Returns:
        Bytes by ``cid:`` URI and by content location.
    """
    images: dict[str, bytes] = {}
    for part in parts:
        payload = part.get_payload(decode=True) if part.get_content_maintype() == "image" else None
        for key in (f"cid:{str(part.get('Content-ID', '')).strip('<> ')}", str(part.get("Content-Location", ""))):
            if isinstance(payload, bytes) and key not in {"", "cid:"}:
                images[key] = payload
    return images


def _attachment_name(part: Message) -> str:
    if part.is_multipart():
        return ""
    name = part.get_filename()
    if name is None and part.get_content_disposition() != "attachment":
        return ""
    return _decoded(name) if name else "unnamed"


def _decoded(value: str) -> str:
    try:
        parts = [decode_text(part, code) if isinstance(part, bytes) else part for part, code in decode_header(value)]
    except (ValueError, LookupError):
        parts = [value]
    return " ".join("".join(parts).split())


def parse_mhtml(path: Path, assets: AssetStore | None) -> ParsedFile:
    """Read a web archive.

    Args:
        path: An ``.mhtml`` or ``.mht`` file.
        assets: Where the archive's images go; None stores none.

    Returns:
        The elements of its pages, the first page first.

    Raises:
        CorruptFileError: The archive holds no page.
    """
    message: Message = email.message_from_bytes(path.read_bytes().lstrip(), policy=email.policy.compat32)
    parts = list(message.walk())
    images = LocalImages(None, assets, parts=inline_images(parts)) if assets is not None else None
    pages = [
        page_to_parsed(part_text(part), images)
        for part in parts
        if part.get_content_type() in {"text/html", "application/xhtml+xml"} and not part.is_multipart()
    ]
    if not pages:
        message_text = f"{path.name!r} holds no web page; save it again as a web archive or as HTML."
        raise CorruptFileError(message_text, str(path))
    for page in pages[1:]:
        pages[0].elements.extend(page.elements)
    return pages[0]
