"""What a file is, by its content first and its name second.

Content decides because names lie: reports saved as ``.xls`` are often HTML, and a renamed
PDF is still a PDF. The signatures are the published magic numbers of the formats; zip
containers are distinguished by their members (ECMA-376 part 2, OpenDocument 1.3 part 2, OCF 3.3),
OLE2 containers by the names of their streams ([MS-CFB]).

A new format gets its suffix or signature here, and its parser in ``readers/routing.py``, or in ``office_files.py`` or
``text_files.py`` beside it for one of their kinds; ``register_modality`` adds one
from outside the package.
"""

from __future__ import annotations

import codecs
import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from llama_index_raganything.errors import (
    CorruptFileError,
    EncryptedFileError,
    SourceError,
    UnsupportedFormatError,
)
from llama_index_raganything.images import IMAGE_SUFFIXES
from llama_index_raganything.modalities import modality_of
from llama_index_raganything.readers.common.encoding import decode_text

Kind = Literal["pdf", "image", "office", "plain", "email", "audio", "video", "content_list", "modality"]

MARKDOWN_SUFFIXES: Final = (".md", ".markdown", ".mdx", ".mkd", ".qmd", ".rmd")
MAIL_SUFFIXES: Final = (".eml", ".mail", ".mbox", ".msg")
LANGUAGE_OF_SUFFIX: Final = {
    suffix: language
    for language, suffixes in {
        "json": ".json .jsonl .ndjson .geojson",
        "yaml": ".yaml .yml",
        "toml": ".toml",
        "ini": ".ini .cfg",
        "xml": ".xml",
        "python": ".py",
        "javascript": ".js .jsx",
        "typescript": ".ts .tsx",
        "java": ".java",
        "c": ".c .h",
        "cpp": ".cc .cpp .hpp",
        "csharp": ".cs",
        "go": ".go",
        "rust": ".rs",
        "ruby": ".rb",
        "php": ".php",
        "swift": ".swift",
        "kotlin": ".kt",
        "scala": ".scala",
        "r": ".r",
        "julia": ".jl",
        "lua": ".lua",
        "perl": ".pl",
        "bash": ".sh .bash",
        "powershell": ".ps1",
        "sql": ".sql",
        "css": ".css",
        "scss": ".scss",
        "vue": ".vue",
        "protobuf": ".proto",
    }.items()
    for suffix in suffixes.split()
}
"""Suffixes of source code and data, and the names of their languages."""

XLSX_SUFFIXES: Final = frozenset({".xlsx", ".xlsm", ".xltx", ".xltm"})
SPREADSHEET_SUFFIXES: Final = XLSX_SUFFIXES | {".xls", ".ods", ".ots", ".csv", ".tsv"}
SLIDE_SUFFIXES: Final = frozenset({".ppt", ".pptx", ".odp"})
PAGED_SUFFIXES: Final = SLIDE_SUFFIXES | {".xls", ".xlsx", ".ods", ".ofd"}
"""Formats that parsers know whose page numbers mean something: slides, sheets and fixed pages."""

_SUFFIXES: Final[dict[Kind, str]] = {
    "pdf": ".pdf",
    "image": " ".join(IMAGE_SUFFIXES),
    "office": (
        ".docx .docm .dotx .dotm .doc .dot .pptx .pptm .ppsx .ppsm .potx .potm .ppt .pps .pot .xlsx .xlsm .xltx .xltm "
        ".xls .xlt .odt .ott .ods .ots .odp .otp .rtf .epub .html .htm .xhtml .shtml .mhtml .mht .csv .tsv .ofd"
    ),
    "plain": " ".join(
        (
            ".txt .text .log",
            *MARKDOWN_SUFFIXES,
            ".rst .adoc .asciidoc .asc .tex .latex .vtt .srt .ipynb",
            *LANGUAGE_OF_SUFFIX,
        )
    ),
    "email": " ".join(MAIL_SUFFIXES),
    "audio": ".mp3 .wav .flac .m4a .ogg .oga .opus .wma .aac",
    "video": ".mp4 .mov .webm .avi .mkv .flv .wmv .m4v .mpg .mpeg",
    "content_list": "",
    "modality": "",
}
KIND_OF_SUFFIX: Final[dict[str, Kind]] = {
    suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()
}
"""Kind of each supported file name extension."""

_CANONICAL: Final = {
    alias: suffix
    for suffix, aliases in {
        ".docx": ".docm .dotx .dotm",
        ".pptx": ".pptm .ppsx .ppsm .potx .potm",
        ".xlsx": ".xlsm .xltx .xltm",
        ".doc": ".dot",
        ".ppt": ".pps .pot",
        ".xls": ".xlt",
        ".odt": ".ott",
        ".ods": ".ots",
        ".odp": ".otp",
        ".html": ".htm .xhtml .shtml",
        ".mhtml": ".mht",
        ".jpg": ".jpeg .jpe .jfif",
        ".tif": ".tiff",
    }.items()
    for alias in aliases.split()
}
"""Templates, macro files and other names of one format, each with the name that parsers know."""

_HEAD_BYTES: Final = 4096
_MAX_JSON_BYTES: Final = 100_000_000
_BINARY_SHARE: Final = 0.05
"""Share of control characters above which a file is no text; text has next to none, random bytes a tenth."""

ZIP_MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
OLE_MAGIC: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_IMAGE_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"GIF87a", ".gif"),
    (b"GIF89a", ".gif"),
    (b"II*\x00", ".tif"),
    (b"MM\x00*", ".tif"),
)
_MEDIA_MAGIC: Final[tuple[tuple[bytes, Kind, str], ...]] = (
    (b"ID3", "audio", ".mp3"),
    (b"fLaC", "audio", ".flac"),
    (b"OggS", "audio", ".ogg"),
    (b"\x1aE\xdf\xa3", "video", ".mkv"),
    (b"FLV\x01", "video", ".flv"),
)
_ODF_SUFFIX: Final = {
    "application/vnd.oasis.opendocument.text": ".odt",
    "application/vnd.oasis.opendocument.spreadsheet": ".ods",
    "application/vnd.oasis.opendocument.presentation": ".odp",
    "application/epub+zip": ".epub",
}
_OLE_STREAMS: Final[tuple[tuple[str, Kind, str], ...]] = (
    ("__substg1.0_", "email", ".msg"),
    ("WordDocument", "office", ".doc"),
    ("PowerPoint Document", "office", ".ppt"),
    ("Workbook", "office", ".xls"),
    ("Book", "office", ".xls"),
)
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body|table|div|meta|script|title)\b", re.IGNORECASE)
_UNSUPPORTED_MAGIC: Final = (
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a Linux program"),
    (b"SQLite format 3", "a SQLite database"),
)


@dataclass(frozen=True)
class FileFormat:
    """What a file is.

    Attributes:
        kind: Which parser takes it.
        suffix: Extension that fits its content and that parsers know, in lower case with the dot.
        mislabelled: True when the file's own extension promises another format.
        modality: Name of the registered modality that it is, with kind ``"modality"``.
    """

    kind: Kind
    suffix: str
    mislabelled: bool = False
    modality: str = ""


def detect_format(path: Path) -> FileFormat:
    """Detect the format of a local file.

    Args:
        path: An existing regular file.

    Returns:
        The format.

    Raises:
        CorruptFileError: The file is empty, or binary under a name that promises text.
        EncryptedFileError: An office file that is encrypted with a password.
        SourceError: The file cannot be read.
        UnsupportedFormatError: No parser takes it.
        ConfigurationError: ``detect`` of a registered modality failed.
    """
    head = _read_head(path)
    suffix = path.suffix.lower()
    if not head:
        message = f"{str(path)!r} is empty (0 bytes); check that it was saved or downloaded completely."
        raise CorruptFileError(message, str(path))
    modality = modality_of(path)
    if modality is not None:
        return FileFormat("modality", suffix, modality=modality.name)
    found = _by_signature(head) or _by_container(path, head, suffix) or _by_text(path, head, suffix)
    kind, own_suffix = found
    declared = _CANONICAL.get(suffix, suffix)
    if KIND_OF_SUFFIX.get(suffix) == kind and kind not in {"office", "pdf"}:
        # Readers of these look at the content themselves; the name adds the exact dialect.
        return FileFormat(kind, suffix)
    return FileFormat(kind, own_suffix, mislabelled=suffix in KIND_OF_SUFFIX and declared != own_suffix)


def supported_formats() -> str:
    """Return the supported file name extensions as one readable line."""
    return " ".join(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes.split())


def image_suffix(head: bytes) -> str | None:
    """Return the extension of the image that some bytes start, or None.

    Args:
        head: The first bytes of a file.

    Returns:
        ``".png"``, ``".jpg"`` and so on, or None when they start no supported image.
    """
    for magic, suffix in _IMAGE_MAGIC:
        if head.startswith(magic):
            return suffix
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    # "BM" alone also starts English text; a bitmap has four reserved zero bytes after its size.
    if head[:2] == b"BM" and head[6:10] == b"\x00\x00\x00\x00":
        return ".bmp"
    return None


def _read_head(path: Path) -> bytes:
    try:
        if not path.is_file():
            reason = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "does not exist"
            message = f"{str(path)!r} {reason}; give the path of an existing file."
            raise SourceError(message)
        with path.open("rb") as stream:
            return stream.read(_HEAD_BYTES)
    except (OSError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        message = f"{str(path)!r} cannot be read ({error}); check the path and its permissions."
        raise SourceError(message) from error


def _by_signature(head: bytes) -> tuple[Kind, str] | None:
    if b"%PDF-" in head[:1024]:
        return "pdf", ".pdf"
    image = image_suffix(head)
    if image:
        return "image", image
    if head.lstrip()[:5] == b"{\\rtf":
        return "office", ".rtf"
    return _media(head)


def _media(head: bytes) -> tuple[Kind, str] | None:
    for magic, kind, suffix in _MEDIA_MAGIC:
        if head.startswith(magic):
            return kind, suffix
    if head[:4] == b"RIFF" and head[8:11] in {b"WAV", b"AVI"}:
        return ("audio", ".wav") if head[8:11] == b"WAV" else ("video", ".avi")
    if head[4:8] == b"ftyp":
        return ("audio", ".m4a") if head[8:11] == b"M4A" else ("video", ".mp4")
    return None


def _by_container(path: Path, head: bytes, suffix: str) -> tuple[Kind, str] | None:
    if head[:4] in ZIP_MAGIC:
        return "office", _zip_suffix(path, suffix)
    if head[:8] == OLE_MAGIC:
        return _ole_format(path, suffix)
    for magic, name in _UNSUPPORTED_MAGIC:
        if head.startswith(magic) and KIND_OF_SUFFIX.get(suffix) not in {"plain", "email"}:
            raise _unsupported(path, name)
    return None


def _zip_suffix(path: Path, suffix: str) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            mimetype = archive.read("mimetype")[:100].decode("ascii", "replace").strip() if "mimetype" in names else ""
    # zipfile lets struct, zlib and encoding errors of damaged archives through as they come.
    except Exception as error:
        if KIND_OF_SUFFIX.get(suffix) == "office":
            return _CANONICAL.get(suffix, suffix)
        message = f"{str(path)!r} is a damaged zip container ({error}); save or download it again."
        raise CorruptFileError(message, str(path)) from error
    for prefix, found in (("word/", ".docx"), ("ppt/", ".pptx"), ("xl/", ".xlsx")):
        if any(name.startswith(prefix) for name in names):
            if "xl/workbook.bin" in names:
                raise _unsupported(path, "a binary Excel workbook (.xlsb); save it as .xlsx")
            return found
    if "OFD.xml" in names:
        return ".ofd"
    known = next((found for mime, found in _ODF_SUFFIX.items() if mimetype.startswith(mime)), None)
    if known is None and KIND_OF_SUFFIX.get(suffix) != "office":
        raise _unsupported(path, "a zip archive; unpack it and read the files inside")
    return known or _CANONICAL.get(suffix, suffix)


def _ole_format(path: Path, suffix: str) -> tuple[Kind, str]:
    data = path.read_bytes()
    if "EncryptedPackage".encode("utf-16-le") in data:
        message = f"{str(path)!r} is encrypted with a password; remove the password and read it again."
        raise EncryptedFileError(message, str(path))
    declared = _CANONICAL.get(suffix, suffix)
    # A document may embed another (a sheet in a letter), so what the name promises is looked for first.
    for name, kind, found in sorted(_OLE_STREAMS, key=lambda stream: stream[2] != declared):
        if name.encode("utf-16-le") in data:
            return kind, found
    if declared in {".doc", ".ppt", ".xls", ".msg"}:
        return KIND_OF_SUFFIX[declared], declared
    raise _unsupported(path, "an OLE2 file that is neither Word, Excel, PowerPoint nor Outlook")


def _by_text(path: Path, head: bytes, suffix: str) -> tuple[Kind, str]:
    declared = KIND_OF_SUFFIX.get(suffix)
    if suffix == ".json" and is_content_list_file(path):
        return "content_list", ".json"
    canonical = _CANONICAL.get(suffix, suffix)
    if declared in {"plain", "email"} or canonical in {".html", ".mhtml", ".csv", ".tsv"}:
        _refuse_binary(path, head)
        return declared or "plain", suffix if declared != "office" else canonical
    if _HTML.match(head.lstrip(b"\xef\xbb\xbf \t\r\n")):
        return "office", ".html"
    if declared in {"audio", "video"} or (declared == "pdf" and (b" obj" in head or not _looks_like_text(head))):
        # Some producers put other bytes first; the parser has the last word and names the damage.
        return declared, suffix
    if _looks_like_text(head) and (declared is not None or suffix == ""):
        if canonical in {".xls", ".xlsx"}:
            return "office", ".tsv" if b"\t" in head else ".csv"
        return "plain", ".txt"
    if declared is not None:
        message = f"{str(path)!r} does not hold {suffix} data: it is damaged or mislabelled. Save it again."
        raise CorruptFileError(message, str(path))
    raise _unsupported(path, f"of an unknown type ({suffix or 'no extension'})")


def _looks_like_text(head: bytes) -> bool:
    if head[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return True
    return not any(byte < 9 or 13 < byte < 27 for byte in head)


def _refuse_binary(path: Path, head: bytes) -> None:
    try:
        # Incremental, because the head may end inside a character.
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        text = decode_text(head)
    odd = sum(letter == "\ufffd" or (letter < " " and letter not in "\t\n\r\f\x1b\x00") for letter in text)
    if odd > _BINARY_SHARE * len(text):
        message = f"{str(path)!r} holds binary data and not text: it is damaged or mislabelled. Save it again."
        raise CorruptFileError(message, str(path))


def _unsupported(path: Path, what: str) -> UnsupportedFormatError:
    message = f"{str(path)!r} is {what}. Supported: {supported_formats()}."
    return UnsupportedFormatError(message, str(path))


def is_content_list_file(path: Path) -> bool:
    """Tell whether a JSON file holds a content list, bare or under the key ``content_list``.

    Args:
        path: A JSON file.

    Returns:
        True when it parses and its items are dictionaries that have a ``type``, under the key at least one of them;
        False for any other file, and for one over 100 MB.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            return False
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return False
    named = isinstance(content, dict)
    items = content.get("content_list") if named else content
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return False
    typed = ["type" in item for item in items]
    return any(typed) if named else bool(typed) and all(typed)
