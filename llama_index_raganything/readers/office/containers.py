"""Checks of zip and OLE2 containers before any parser opens them: bombs, encryption, damage."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Final

from llama_index_raganything.errors import CorruptFileError, EncryptedFileError, FileTooLargeError
from llama_index_raganything.readers.sources.formats import OLE_MAGIC, ZIP_MAGIC

MAX_UNPACKED_BYTES: Final = 1024**3
"""Largest sum of the unpacked sizes of a container's members."""

MAX_RATIO: Final = 200
"""Largest unpacked size as a multiple of the packed one, for members over :data:`RATIO_FLOOR_BYTES`."""

RATIO_FLOOR_BYTES: Final = 64 * 1024**2
MAX_MEMBERS: Final = 100_000

_ODF_ENCRYPTED = re.compile(rb"<(?:\w+:)?encryption-data\b")
_EPUB_LICENCE: Final = frozenset({"META-INF/rights.xml", "META-INF/license.lcpl"})


def check_container(path: Path) -> None:
    """Refuse a container that would harm or that no parser can open.

    Limits follow what Apache POI's ZipSecureFile guards against (inflation ratio, total size), with a floor so that
    small, very regular sheets pass.

    Args:
        path: A local file; one that is no container passes.

    Raises:
        FileTooLargeError: It unpacks to too much.
        EncryptedFileError: It needs a password.
        CorruptFileError: It is empty or its directory is damaged.
    """
    with path.open("rb") as stream:
        head = stream.read(8)
    if not head:
        message = f"{str(path)!r} is empty (0 bytes)."
        raise CorruptFileError(message, str(path))
    if head[:4] in ZIP_MAGIC:
        _check_zip(path)
    elif head == OLE_MAGIC:
        _check_ole(path)


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            manifest = b""
            if "META-INF/manifest.xml" in archive.namelist():
                with archive.open("META-INF/manifest.xml") as stream:
                    manifest = stream.read(1024**2)
    # zipfile lets struct, zlib and encoding errors of damaged archives through as they come.
    except Exception as error:
        message = f"{str(path)!r} is a damaged zip container ({type(error).__name__}: {error}); save it again."
        raise CorruptFileError(message, str(path)) from error
    _check_sizes(path, members)
    names = {member.filename for member in members}
    if any(member.flag_bits & 1 for member in members) or _ODF_ENCRYPTED.search(manifest) or names & _EPUB_LICENCE:
        message = f"{str(path)!r} is encrypted; remove the password or the copy protection and read it again."
        raise EncryptedFileError(message, str(path))


def _check_sizes(path: Path, members: list[zipfile.ZipInfo]) -> None:
    unpacked = sum(member.file_size for member in members)
    absurd = [m for m in members if m.file_size > max(RATIO_FLOOR_BYTES, MAX_RATIO * m.compress_size)]
    if unpacked <= MAX_UNPACKED_BYTES and len(members) <= MAX_MEMBERS and not absurd:
        return
    message = (
        f"{str(path)!r} unpacks to {unpacked:,} bytes in {len(members):,} members; at most {MAX_UNPACKED_BYTES:,} "
        f"bytes, {MAX_MEMBERS:,} members and a ratio of {MAX_RATIO} for large ones are read. Split the document."
    )
    raise FileTooLargeError(message, str(path))


def _check_ole(path: Path) -> None:
    import olefile

    try:
        with olefile.OleFileIO(str(path)) as container:
            encrypted = container.exists("EncryptedPackage") or container.exists("EncryptionInfo")
    # olefile raises many kinds of errors on damaged containers; the parser's own error will be more exact.
    except Exception:  # noqa: BLE001
        return
    if encrypted:
        message = f"{str(path)!r} is encrypted with a password; remove the password and read it again."
        raise EncryptedFileError(message, str(path))
