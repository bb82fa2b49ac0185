"""Plain text, encodings, sources, subtitles, AsciiDoc and LaTeX."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llama_index_raganything.errors import CorruptFileError, FileTooLargeError
from llama_index_raganything.readers import text_files as plain
from llama_index_raganything.readers.common.base import AssetStore, ParsedFile, ParseOptions
from llama_index_raganything.readers.common.encoding import declared_encoding, decode_text
from llama_index_raganything.readers.text.asciidoc import parse_asciidoc
from llama_index_raganything.readers.text.latex import parse_latex
from llama_index_raganything.readers.text.prose import parse_prose, parse_source, parse_subtitles


def parse(tmp_path: Path, name: str, data: bytes) -> ParsedFile:
    (tmp_path / name).write_bytes(data)
    return plain.parse_plain(tmp_path / name, ParseOptions(), AssetStore(tmp_path / "assets"))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030", "shift_jis"]
)
def test_encodings(encoding: str, tmp_path: Path) -> None:
    text = (
        "数据库支持同时插入和搜索。这是一个测试文件。Latin words too, in a sentence that is long enough to tell.\n" * 3
    )
    parsed = parse(tmp_path, "a.txt", text.encode(encoding, "replace"))
    assert "Latin words too" in parsed.elements[0].text
    if encoding != "shift_jis":
        assert "数据库支持同时插入和搜索" in parsed.elements[0].text


def test_decoding_never_fails_and_unifies_line_ends() -> None:
    assert decode_text(b"a\r\nb\rc") == "a\nb\nc"
    assert decode_text(b"caf\xe9 cr\xe8me br\xfbl\xe9e, s'il vous pla\xeet").startswith("café crème")
    assert decode_text(bytes(range(256)))
    assert decode_text(b"") == ""
    assert decode_text(b"abc", "base64") == "abc"
    assert decode_text(b"abc", "no-such-codec") == "abc"


def test_declared_encodings() -> None:
    assert declared_encoding(b'<?xml version="1.0" encoding="koi8-r"?>') == "koi8-r"
    assert declared_encoding(b"<meta http-equiv=x content='text/html; charset=big5'>") == "big5"
    assert declared_encoding(b"<p>no</p>") is None


def test_prose_structure() -> None:
    text = (
        "Title\n=====\n\nA line that an editor wrapped because it was very long\nand this is its rest.\n\n"
        "Sub\n---\n\n- one\n- two\n\nCHAPTER IV\n\nshort\nlines\n\n## Hash\n\n第三章 方法\n"
    )
    found = [(e.type, e.text, e.level) for e in parse_prose(text)]
    assert found == [
        ("heading", "Title", 1),
        ("text", "A line that an editor wrapped because it was very long and this is its rest.", None),
        ("heading", "Sub", 2),
        ("list", "- one\n- two", None),
        ("heading", "CHAPTER IV", 1),
        ("text", "short\nlines", None),
        ("heading", "Hash", 2),
        ("heading", "第三章 方法", 1),
    ]


def test_source_keeps_every_line_in_bounded_pieces() -> None:
    source = "\n".join(f"line_{number} = {number}" for number in range(2000)) + "\n" + "x" * 20_000
    pieces = parse_source(source, "python")
    assert len(pieces) > 5
    assert all(len(piece.text) <= 4100 and piece.subtype == "python" for piece in pieces)
    assert "".join(piece.text for piece in pieces).replace("\n", "") == source.replace("\n", "")


def test_json_is_code(tmp_path: Path) -> None:
    (element,) = parse(tmp_path, "a.json", '{"键": [1, 2]}'.encode()).elements
    assert (element.type, element.subtype, element.text) == ("code", "json", '{"键": [1, 2]}')


def test_notebook(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Study 研究\n", "words"]},
        {"cell_type": "code", "source": "x = 1", "outputs": [{"output_type": "stream", "text": ["printed\n"]}]},
    ]
    data = json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}).encode()
    parsed = parse(tmp_path, "a.ipynb", data)
    found = [(e.type, e.text, e.subtype) for e in parsed.elements]
    assert found == [
        ("heading", "Study 研究", None),
        ("text", "words", None),
        ("code", "x = 1", "python"),
        ("code", "printed", "output"),
    ]
    assert parsed.title == "Study 研究"
    for broken in (b"[]", b"{", b"{}", b'{"cells": [1]}', b"[" * 100_000):
        with pytest.raises(CorruptFileError, match="notebook"):
            parse(tmp_path, "b.ipynb", broken)


def test_mailbox(tmp_path: Path) -> None:
    start = b"From a@x Mon Jan  1 10:00:00 2024\n"
    data = start + b"Subject: one\n\nfirst body\n\n" + start + b"Subject: two\n\nFrom here on\n"
    parsed = parse(tmp_path, "a.mbox", data)
    assert [e.text for e in parsed.elements if e.type == "heading"] == ["one", "two"]
    assert parsed.elements[-1].text == "From here on"


def test_subtitles() -> None:
    text = (
        "WEBVTT\n\nNOTE skip me\n\n1\n00:01.000 --> 00:02.000 align:left\n<v Ana>Hello <i>there</i>\n\n"
        "2\n00:00:03,000 --> 00:00:04,000\n你好。\n\n00:05.000 --> 00:06.000\n你好。\n"
    )
    assert [e.text for e in parse_subtitles(text)] == ["Hello there 你好。"]


ASCIIDOC = """= Title

:attr: x
// comment
include::secret.adoc[]

.Steps
. First *bold* step
.. Sub btn:[OK]

[source,python]
----
x = 1
----

.Table 1. Ducks
[cols="1,2"]
|===
|A |B

|1
|two
more
|3 | 4
|===

image::pic.png[An alt,200]

Words with `code` and link:http://x.example[a link].
"""


def test_asciidoc() -> None:
    elements = parse_asciidoc(ASCIIDOC)
    found = [(e.type, e.text) for e in elements if e.type != "table"]
    assert found == [
        ("heading", "Title"),
        ("text", "Steps"),
        ("list", "1. First bold step\n  1. Sub OK"),
        ("code", "x = 1"),
        ("image", "An alt"),
        ("text", "Words with code and a link."),
    ]
    (table,) = [e for e in elements if e.type == "table"]
    assert table.rows == [["A", "B"], ["1", "two more"], ["3", "4"]]
    assert (table.caption, table.label) == ("Table 1. Ducks", "Table 1")


@pytest.mark.parametrize(
    "text", ["|===\n|a", "----\nunclosed", ".", "|===\n|===", "[cols=999999999999]\n|===\n|a\n|==="]
)
def test_broken_asciidoc(text: str) -> None:
    assert all(len(element.text) < 100 for element in parse_asciidoc(text))


def test_latex() -> None:
    text = r"""\documentclass{article}\title{My \emph{Title}}% note
\begin{document}\maketitle
\section{Intro}
Words \textbf{bold} and $a_1$ with 5\% \cite{x}.

\begin{equation}\label{e} E = mc^2 \end{equation}
\begin{itemize}\item one \item two\end{itemize}
\begin{table}\caption{Table 1: Ducks}\begin{tabular}{l|r}\hline A & B \\ 1 & 2\\\hline\end{tabular}\end{table}
\end{document} ignored"""
    elements = parse_latex(text)
    assert [(e.text, e.level) for e in elements if e.type == "heading"] == [("My Title", 1), ("Intro", 2)]
    words = "\n".join(e.text for e in elements)
    assert "Words bold and $a_1$ with 5%" in words
    assert "Ducks" in words
    assert "ignored" not in words
    assert "note" not in words
    assert [e.rows for e in elements if e.type == "table"] == [[["A", "B"], ["1", "2"]]]
    assert [e.text for e in elements if e.type == "equation"] == ["E = mc^2"]


@pytest.mark.parametrize("data", [b"", b" \n\t\n", "\ufeff".encode()])
def test_empty_files_are_typed_errors(data: bytes, tmp_path: Path) -> None:
    for name in ("a.txt", "a.md", "a.json", "a.adoc", "a.tex"):
        with pytest.raises(CorruptFileError, match="empty"):
            parse(tmp_path, name, data)


def test_huge_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "MAX_BYTES", 10)
    with pytest.raises(FileTooLargeError, match="Split"):
        parse(tmp_path, "a.txt", b"x" * 11)


def test_result_is_deterministic(tmp_path: Path) -> None:
    first = parse(tmp_path, "a.md", b"# A\n\n- x\n")
    second = parse(tmp_path, "a.md", b"# A\n\n- x\n")
    assert first == second
    assert first.title == "A"
