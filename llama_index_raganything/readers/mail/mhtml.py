"""Web archives (``.mhtml``, RFC 2557): the page with the images that the archive carries."""

from __future__ import annotations

import email
import email.policy
from email.message import Message
from pathlib import Path

from llama_index_raganything.errors import CorruptFileError
from llama_index_raganything.readers.common.assets import AssetStore
from llama_index_raganything.readers.common.base import ParsedFile
from llama_index_raganything.readers.mail.email import inline_images, part_text
from llama_index_raganything.readers.web.html import page_to_parsed
from llama_index_raganything.readers.web.local_images import LocalImages


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
