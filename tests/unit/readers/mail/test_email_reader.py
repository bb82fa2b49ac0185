"""Mail to elements: headers, bodies in any charset, attachments by name, damaged messages."""

from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path

import pytest

from llama_index_raganything.errors import CorruptFileError
from llama_index_raganything.readers.common.base import AssetStore, ParseOptions
from llama_index_raganything.readers.mail.email import parse_mail
from llama_index_raganything.readers.text_files import parse_plain


def read(data: bytes, tmp_path: Path) -> str:
    elements, _ = parse_mail(data, "m.eml", AssetStore(tmp_path))
    return "\n".join(element.text for element in elements)


def message() -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "Ana <ana@example.com>"
    mail["To"] = "bob@example.com"
    mail["Subject"] = "季度报告 Q1"
    mail["Date"] = "Mon, 01 Jan 2024 10:00:00 +0000"
    return mail


def test_headers_body_and_attachments(tmp_path: Path) -> None:
    mail = message()
    mail.set_content("Hello 世界\n\n- one\n- two\n")
    mail.add_attachment(b"secret bytes", maintype="application", subtype="pdf", filename="Übersicht.pdf")
    elements, title = parse_mail(mail.as_bytes(), "m.eml", AssetStore(tmp_path))
    words = "\n".join(element.text for element in elements)
    assert title == "季度报告 Q1"
    assert elements[0].type == "heading"
    for expected in ("From: Ana <ana@example.com>", "To: bob@example.com", "Date: Mon", "Hello 世界", "Übersicht.pdf"):
        assert expected in words
    assert "secret" not in words
    assert all(element.page is None for element in elements)


def test_alternatives_are_read_once(tmp_path: Path) -> None:
    mail = message()
    body = "The same long words in both parts, " * 5
    mail.set_content(body)
    mail.add_alternative(f"<p>{body}</p>", subtype="html")
    assert read(mail.as_bytes(), tmp_path).count("The same long words") == 5


def test_html_with_table_and_stub_text(tmp_path: Path) -> None:
    mail = message()
    mail.set_content("View in browser")
    mail.add_alternative("<table><tr><th>A<th>B<tr><td>1<td>2</table><p>Real body</p>", subtype="html")
    elements, _ = parse_mail(mail.as_bytes(), "m.eml", AssetStore(tmp_path))
    assert [e.rows for e in elements if e.type == "table"] == [[["A", "B"], ["1", "2"]]]


def test_attached_message_is_read(tmp_path: Path) -> None:
    inner = message()
    inner.set_content("inner words")
    outer = message()
    outer.set_content("outer words")
    outer.add_attachment(inner)
    words = read(outer.as_bytes(), tmp_path)
    assert "outer words" in words
    assert "inner words" in words


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"Subject: x\nContent-Type: text/plain; charset=nonsense-99\n\nna\xc3\xafve", "naïve"),
        (b"Subject: x\nContent-Type: text/plain; charset=utf-8\n\nna\xefve na\xefve", "naïve"),
        ("Subject: wide\n\nwide body".encode("utf-16"), "wide body"),
        ("Subject: wide\n\nwide body".encode("utf-16-be"), "wide body"),
        (b"Subject: =?bad?Q?x?=\n\nbody", "body"),
        (b"Subject: =?utf-8?b?!!!?=\n\nbody", "body"),
        (b"\n\nSubject: late\n\nbody", "late"),
        (b"Subject: x\nContent-Type: multipart/mixed; boundary=B\n\n--B\n\nunclosed part", "unclosed part"),
        (b"Subject: x\nContent-Transfer-Encoding: base64\n\n@@@@", "x"),
        (b"just words, no header at all", "just words"),
    ],
)
def test_damaged_mail(data: bytes, expected: str, tmp_path: Path) -> None:
    assert expected in read(data, tmp_path)


def test_empty_mail_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match=r"empty\.eml"):
        parse_mail(b" \n", "a/empty.eml", AssetStore(tmp_path))


def test_outlook_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x.msg"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600)
    with pytest.raises(CorruptFileError, match="Outlook"):
        parse_plain(path, ParseOptions(), AssetStore(tmp_path))
