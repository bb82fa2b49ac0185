"""Delimited tables: delimiters, encodings, ragged rows, limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from llama_index_raganything.elements import Element
from llama_index_raganything.errors import CorruptFileError, FileTooLargeError
from llama_index_raganything.readers.common.base import AssetStore, ParseOptions
from llama_index_raganything.readers.office_files import parse_office
from llama_index_raganything.readers.text import delimited
from llama_index_raganything.readers.text.delimited import find_delimiter, is_header


def read(tmp_path: Path, data: str | bytes, name: str = "t.csv") -> Element:
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    (element,) = parse_office(path, ParseOptions(), AssetStore(tmp_path)).elements
    return element


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(delimiter: str, tmp_path: Path) -> None:
    rows = [["Name", "Preis, EUR", "地区"], ["a;b", "1,5", "北"], ['say "hi"', "2,5", "line\nbreak"]]
    text = "\r\n".join(delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
    table = read(tmp_path, text)
    assert table.rows == [["Name", "Preis, EUR", "地区"], ["a;b", "1,5", "北"], ['say "hi"', "2,5", "line break"]]
    assert table.header_rows == 1
    assert table.page is None


def test_decimal_commas_do_not_win_over_semicolons() -> None:
    assert find_delimiter("a;b;c\n1,5;2,5;3\n2,1;3,3;4\n") == ";"
    assert find_delimiter("one column\nonly\n") == ","
    assert find_delimiter("x\ny", "\t") == "\t"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gb18030", "cp1252"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    text = "Name,Größe\nMüller,1\n" if encoding == "cp1252" else "名称,数量\n苹果和其他水果的说明,1\n香蕉和葡萄,2\n"
    rows = read(tmp_path, text.encode(encoding)).rows
    assert rows is not None
    assert rows[0] == text.split("\n")[0].split(",")


def test_ragged_rows_are_filled(tmp_path: Path) -> None:
    assert read(tmp_path, "a,b,c\n1,2\n1,2,3\n").rows == [["a", "b", "c"], ["1", "2", ""], ["1", "2", "3"]]


def test_title_above_the_table_becomes_its_caption(tmp_path: Path) -> None:
    table = read(tmp_path, "Sales report,,\n,,\nRegion,2023,2024\nN,1,2\n")
    assert (table.caption, table.rows) == ("Sales report", [["Region", "2023", "2024"], ["N", "1", "2"]])


def test_headers() -> None:
    assert is_header(["Name", "2023", "Sales"])
    assert not is_header(["1", "2.5", "a"])
    assert not is_header(["", " "])
    assert is_header(["Year", "-", "x"])


@pytest.mark.parametrize("data", [b"", b"\n\n", b",,\n,,", b"\xef\xbb\xbf"])
def test_empty_tables_are_typed_errors(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="empty"):
        read(tmp_path, data)


def test_unclosed_quote_and_nul(tmp_path: Path) -> None:
    assert read(tmp_path, 'a,b\n"1,2\n3,4').rows is not None
    assert read(tmp_path, b"a,b\n1\x00,2\n").rows == [["a", "b"], ["1", "2"]]


def test_huge_tables_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "MAX_CELLS", 10)
    with pytest.raises(FileTooLargeError, match="cells"):
        read(tmp_path, "a,b\n" * 20)
    monkeypatch.setattr(delimited, "MAX_BYTES", 10)
    with pytest.raises(FileTooLargeError, match="bytes"):
        read(tmp_path, "a,b\n" * 20)


def test_tab_separated_suffix(tmp_path: Path) -> None:
    assert read(tmp_path, "a\tb\n1\t2\n", "t.tsv").rows == [["a", "b"], ["1", "2"]]
