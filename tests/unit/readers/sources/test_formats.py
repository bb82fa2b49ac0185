"""Formats are told by content, whatever the file is called."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from llama_index_raganything.errors import (
    CorruptFileError,
    EncryptedFileError,
    SourceError,
    UnsupportedFormatError,
)
from llama_index_raganything.readers.sources.formats import (
    KIND_OF_SUFFIX,
    FileFormat,
    detect_format,
    image_suffix,
    is_content_list_file,
)
from llama_index_raganything.readers.text_files import MARKUPS

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "kind", "suffix"),
    [
        ("a.pdf", b"%PDF-1.7\n", "pdf", ".pdf"),
        ("a.pdf", b"\n\n  junk before %PDF-1.4", "pdf", ".pdf"),
        ("a.png", b"\x89PNG\r\n\x1a\n....", "image", ".png"),
        ("a.webp", b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image", ".webp"),
        ("a.rtf", b"{\\rtf1\\ansi hello}", "office", ".rtf"),
        ("a.html", b"<!DOCTYPE html><p>x", "office", ".html"),
        ("a.htm", b"no tags at all", "office", ".html"),
        ("a.csv", b"a,b\n1,2\n", "office", ".csv"),
        ("a.md", b"# x", "plain", ".md"),
        ("README", b"plain words", "plain", ".txt"),
        ("a.eml", b"From: a@b\n\nhello", "email", ".eml"),
        ("a.mp3", b"ID3\x04", "audio", ".mp3"),
        ("a.wav", b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio", ".wav"),
        ("a.mp4", b"\x00\x00\x00\x18ftypmp42", "video", ".mp4"),
        ("a.txt", "\u4f60\u597d".encode(), "plain", ".txt"),
        ("a.txt", "\ufeffh\u00e9".encode("utf-16"), "plain", ".txt"),
        ("a.jpeg", b"\xff\xd8\xff\xe0", "image", ".jpeg"),
        ("a.pdf", b"1 0 obj <</Type /Catalog>> endobj", "pdf", ".pdf"),
        ("MZ.md", b"MZ is a country code", "plain", ".md"),
    ],
)
def test_honest_names(tmp_path: Path, name: str, content: bytes, kind: str, suffix: str) -> None:
    assert detect_format(write(tmp_path / name, content)) == FileFormat(kind, suffix)


@pytest.mark.parametrize(
    ("name", "content", "kind", "suffix"),
    [
        ("a.docx", b"%PDF-1.7\n", "pdf", ".pdf"),
        ("a.pdf", b"<html><body>x</body></html>", "office", ".html"),
        ("a.pdf", b"\x89PNG\r\n\x1a\n....", "image", ".png"),
        ("a.xls", b"<html><table><tr><td>1</td></tr></table></html>", "office", ".html"),
        ("a.xls", b"a\tb\n1\t2\n", "office", ".tsv"),
        ("a.xlsx", b"a,b\n1,2\n", "office", ".csv"),
        ("a.doc", b"{\\rtf1\\ansi hello}", "office", ".rtf"),
        ("a.txt", b"%PDF-1.4", "pdf", ".pdf"),
        ("a.png", b"just words", "plain", ".txt"),
        ("a.pdf", b"just words", "plain", ".txt"),
    ],
)
def test_lying_names(tmp_path: Path, name: str, content: bytes, kind: str, suffix: str) -> None:
    assert detect_format(write(tmp_path / name, content)) == FileFormat(kind, suffix, mislabelled=True)


@pytest.mark.parametrize(
    ("name", "members", "suffix", "mislabelled"),
    [
        ("a.docx", {"word/document.xml": b""}, ".docx", False),
        ("a.docm", {"word/document.xml": b""}, ".docx", False),
        ("a.docx", {"xl/workbook.xml": b""}, ".xlsx", True),
        ("a.zip", {"ppt/presentation.xml": b""}, ".pptx", False),
        ("a.epub", {"mimetype": b"application/epub+zip"}, ".epub", False),
        ("a.ods", {"mimetype": b"application/vnd.oasis.opendocument.spreadsheet"}, ".ods", False),
        ("a.ott", {"mimetype": b"application/vnd.oasis.opendocument.text-template"}, ".odt", False),
        ("a.bin", {"OFD.xml": b""}, ".ofd", False),
    ],
)
def test_zip_containers(tmp_path: Path, name: str, members: dict[str, bytes], suffix: str, mislabelled: bool) -> None:
    found = detect_format(write_zip(tmp_path / name, members))
    assert found == FileFormat("office", suffix, mislabelled=mislabelled)


@pytest.mark.parametrize(
    ("name", "stream", "kind", "suffix"),
    [
        ("a.doc", "WordDocument", "office", ".doc"),
        ("a.xls", "Workbook", "office", ".xls"),
        ("a.ppt", "PowerPoint Document", "office", ".ppt"),
        ("a.msg", "__substg1.0_0037001F", "email", ".msg"),
        ("noname", "WordDocument", "office", ".doc"),
    ],
)
def test_ole_containers(tmp_path: Path, name: str, stream: str, kind: str, suffix: str) -> None:
    assert detect_format(write(tmp_path / name, OLE + stream.encode("utf-16-le"))) == FileFormat(kind, suffix)


def test_a_sheet_that_embeds_a_letter_stays_a_sheet(tmp_path: Path) -> None:
    content = OLE + "WordDocument".encode("utf-16-le") + "Workbook".encode("utf-16-le")
    assert detect_format(write(tmp_path / "a.xls", content)).suffix == ".xls"


@pytest.mark.parametrize(
    ("name", "content", "error", "words"),
    [
        ("a.pdf", b"", CorruptFileError, "empty"),
        ("a.docx", OLE + "EncryptedPackage".encode("utf-16-le"), EncryptedFileError, "password"),
        ("a.docx", b"\x01\x02\x03\x04binary", CorruptFileError, "does not hold"),
        ("a.xyz", b"\x01\x02\x03", UnsupportedFormatError, r"\.docx"),
        ("a.xyz", b"some words", UnsupportedFormatError, "unknown type"),
        ("a.exe", b"MZ\x90\x00", UnsupportedFormatError, "Windows program"),
        ("a.tar.gz", b"\x1f\x8b\x08", UnsupportedFormatError, "gzip"),
    ],
)
def test_typed_errors(tmp_path: Path, name: str, content: bytes, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        detect_format(write(tmp_path / name, content))


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.csv", "a.html", "a.eml", "a.json"])
def test_binary_data_under_a_text_name(tmp_path: Path, name: str) -> None:
    content = bytes(number * 73 % 256 for number in range(5000))
    with pytest.raises(CorruptFileError, match="binary"):
        detect_format(write(tmp_path / name, content))


@pytest.mark.parametrize(
    "content",
    [
        "中文文本。".encode() * 2000,
        "x中".encode() * 4000,
        "中文文本。".encode("utf-16"),
        "中文文本，逗号。".encode("gb18030") * 100,
        "日本語の文書です。".encode("shift_jis") * 100,
        "Žluťoučký kůň".encode("cp1250") * 100,
        "Straße und Öl".encode("latin-1"),
        "مرحبا بالعالم".encode("cp1256") * 50,
        b"\x1b[31mred\x1b[0m log line\n" * 100,
        b"form\x0cfeed",
        b"a\x00b\x00c\x00" * 100,
    ],
)
def test_text_in_any_encoding_is_text(tmp_path: Path, content: bytes) -> None:
    assert detect_format(write(tmp_path / "a.txt", content)).kind == "plain"


def test_plain_zip_archives_are_not_supported(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormatError, match="unpack"):
        detect_format(write_zip(tmp_path / "a.zip", {"a.txt": b"x"}))


def test_a_damaged_zip_without_an_office_name(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="damaged"):
        detect_format(write(tmp_path / "a.zip", b"PK\x03\x04 not really"))


def test_folders_missing_files_and_pipes(tmp_path: Path) -> None:
    import os

    with pytest.raises(SourceError, match="is a folder"):
        detect_format(tmp_path)
    with pytest.raises(SourceError, match="does not exist"):
        detect_format(tmp_path / "x.pdf")
    with pytest.raises(SourceError):
        detect_format(Path("nul\0byte.pdf"))
    os.mkfifo(tmp_path / "pipe.pdf")
    with pytest.raises(SourceError, match="not a regular file"):
        detect_format(tmp_path / "pipe.pdf")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[{"type": "text", "text": "x"}]', True),
        ('{"content_list": [{"type": "text"}]}', True),
        ('{"content_list": [{"text": "x"}, {"type": "text"}]}', True),
        ('{"content_list": [{"text": "x"}]}', False),
        ('[{"text": "x"}, {"type": "text"}]', False),
        ("\ufeff" + '[{"type": "text"}]', True),
        ("[]", False),
        ('[{"name": "x"}]', False),
        ('{"a": 1}', False),
        ("[1, 2]", False),
        ('[{"type": "text"', False),
        ("[" * 100_000, False),
    ],
)
def test_content_lists_are_told_from_other_json(tmp_path: Path, content: str, expected: bool) -> None:
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8")
    assert is_content_list_file(path) is expected
    assert detect_format(path).kind == ("content_list" if expected else "plain")


def test_bitmaps_are_told_from_words() -> None:
    assert image_suffix(b"BM\x36\x00\x00\x00\x00\x00\x00\x00") == ".bmp"
    assert image_suffix(b"BMW builds cars") is None


def test_every_suffix_of_the_plain_parser_is_routed() -> None:
    missing = {s for s in MARKUPS if KIND_OF_SUFFIX.get(s) not in {"plain", "email"}}
    assert not missing
