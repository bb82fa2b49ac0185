"""Outlook messages (``.msg``) to elements, through olefile.

Property numbers are those of the MS-OXMSG and MS-OXPROPS specifications; each is a stream named
``__substg1.0_<property><type>`` with type ``001F`` for UTF-16 and ``001E`` for 8-bit text.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, Final

from llama_index_raganything.elements import Element
from llama_index_raganything.errors import CorruptFileError
from llama_index_raganything.readers.common.encoding import declared_encoding, decode_text
from llama_index_raganything.readers.text.prose import parse_prose
from llama_index_raganything.readers.web.html import html_elements

_SUBJECT: Final = "0037"
_HEADERS: Final = (("From", "0C1A"), ("From", "0042"), ("To", "0E04"), ("Cc", "0E03"), ("Subject", _SUBJECT))
_BODY: Final = "1000"
_HTML_BODY: Final = "1013"
_ATTACHMENT_NAMES: Final = ("3707", "3704", "3001")
_DATE = re.compile(r"^Date:\s*(.+?)\s*$", re.MULTILINE)
_MAX_STREAM_BYTES: Final = 64 * 1024 * 1024


def parse_outlook(data: bytes, source: str) -> tuple[list[Element], str | None]:
    """Turn an Outlook message into elements.

    Args:
        data: Bytes of a ``.msg`` file.
        source: Path, for messages to people.

    Returns:
        The elements and the subject, or None without one.

    Raises:
        CorruptFileError: The file is no message or damaged.
    """
    import olefile

    try:
        with olefile.OleFileIO(io.BytesIO(data)) as container:
            elements = _elements(container)
            subject = _property(container, [], _SUBJECT)
    except Exception as error:
        # olefile raises OSError, IndexError, struct.error and more on damaged files.
        message = f"{Path(source).name!r} is a damaged Outlook message ({type(error).__name__}: {error})."
        raise CorruptFileError(message, source) from error
    if not elements:
        message = f"{Path(source).name!r} is no Outlook message: it holds no mail properties."
        raise CorruptFileError(message, source)
    return elements, subject or None


def _elements(container: Any) -> list[Element]:
    subject = _property(container, [], _SUBJECT)
    elements = [Element(type="heading", text=subject, level=1)] if subject else []
    fields: dict[str, str] = {}
    for name, number in _HEADERS:
        value = _property(container, [], number)
        if value:
            fields.setdefault(name, value)
    date = _DATE.search(_property(container, [], "007D"))
    if date:
        fields["Date"] = date[1]
    if fields:
        lines = "\n".join(f"{name}: {value}" for name, value in fields.items())
        elements.append(Element(type="text", text=lines, subtype="mail_header"))
    body = _property(container, [], _BODY)
    elements.extend(parse_prose(body) if body.strip() else html_elements(_html_body(container)))
    names = _attachments(container)
    if names:
        elements.append(Element(type="list", text="Attachments:\n" + "\n".join(f"- {name}" for name in names)))
    return elements


def _property(container: Any, storage: list[str], number: str) -> str:
    unicode_text = _stream(container, [*storage, f"__substg1.0_{number}001F"])
    if unicode_text:
        return unicode_text.decode("utf-16-le", "replace").strip("\x00").replace("\r\n", "\n")
    return decode_text(_stream(container, [*storage, f"__substg1.0_{number}001E"])).strip("\x00")


def _html_body(container: Any) -> str:
    data = _stream(container, [f"__substg1.0_{_HTML_BODY}0102"])
    return decode_text(data, declared_encoding(data)) if data else _property(container, [], _HTML_BODY)


def _attachments(container: Any) -> list[str]:
    storages = dict.fromkeys(path[0] for path in container.listdir() if path[0].startswith("__attach_"))
    found = (next(filter(None, (_property(container, [s], n) for n in _ATTACHMENT_NAMES)), "") for s in storages)
    return [name for name in found if name]


def _stream(container: Any, path: list[str]) -> bytes:
    if not container.exists(path):
        return b""
    with container.openstream(path) as stream:
        return bytes(stream.read(_MAX_STREAM_BYTES))
