"""Cells of workbooks read as Excel shows them."""

from __future__ import annotations

import datetime
from pathlib import Path

import openpyxl
import pytest

from llama_index_raganything.readers.common.base import AssetStore, ParseOptions
from llama_index_raganything.readers.office import xlsx as xlsx_stream
from llama_index_raganything.readers.office.number_formats import shown_number, workbook_as_shown
from llama_index_raganything.readers.office_files import parse_office

ACCOUNTING = '_($* #,##0.00_);_($* (#,##0.00);_($* "-"??_);_(@_)'
DAY = 45366  # 2024-03-15, a Friday


@pytest.mark.parametrize(
    ("value", "code", "expected"),
    [
        (0.25, "0%", "25%"),
        (0.2567, "0.0%", "25.7%"),
        (0.1234, "0.00\\ %", "12.34%"),
        (-0.031, "0.0%;[Red]-0.0%", "-3.1%"),
        (0.05, "+0%;-0%", "+5%"),
        (1234.5, '"$"#,##0.00', "$1,234.50"),
        (9.99, "#,##0.00\\ [$€-407]", "9.99 €"),
        (-1234.5, ACCOUNTING, "$(1,234.50)"),
        (0, ACCOUNTING, "$-"),
        (1500000, '#,##0.0,,"M"', "1.5M"),
        (7, "000", "007"),
        (12345678, "0.00E+00", "1.23E+07"),
        (0.1 + 0.2, "General", "0.3"),
        (12345678901234567890, "0", "12345678901234567890"),
        (5, ";;;", "5"),
        (5, '0"', "5"),
        (DAY, "mm-dd-yy", "2024-03-15"),
        (DAY, "mmm-yy", "Mar-24"),
        (DAY, "[$-409]dddd, mmmm d, yyyy;@", "Friday, March 15, 2024"),
        (DAY, 'yyyy"年"m"月"d"日"', "2024年3月15日"),
        (DAY - 1462, "d mmm yyyy", "14 Mar 2020"),
        (DAY + 0.5, "m/d/yy h:mm", "2024-03-15 12:00:00"),
        (26.5 / 24, "[h]:mm", "26:30:00"),
        (-5, "mmm-yy", "-5"),
        (10**9, "mmm-yy", "1000000000"),
    ],
)
def test_numbers_are_shown_as_excel_shows_them(value: float, code: str, expected: str) -> None:
    assert shown_number(value, code) == expected


def test_days_can_count_from_1904() -> None:
    assert shown_number(DAY - 1462, "d mmm yyyy", epoch_1904=True) == "15 Mar 2024"


def formatted_workbook(path: Path) -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(['Région "A" & <B>', "Share", "Price", "Month", "Day", "Spent"])
    month = datetime.date(2024, 3, 1)
    sheet.append(["北", 0.25, 1234.5, month, month, datetime.timedelta(hours=26, minutes=30)])
    formats = ["@", "0%", '"$"#,##0.00', "mmm-yy", "mm-dd-yy", "[h]:mm"]
    for cell, code in zip(sheet[2], formats, strict=True):
        cell.number_format = code
    sheet["C3"], sheet["B3"] = "=C2*2", None
    book.save(path)
    return path


@pytest.mark.parametrize("large_from", [10, 10**9])
def test_cells_read_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large_from: int) -> None:
    monkeypatch.setattr(xlsx_stream, "LARGE_SHEET_BYTES", large_from)
    path = formatted_workbook(tmp_path / "a.xlsm")
    parsed = parse_office(path, ParseOptions(), AssetStore(tmp_path / "assets"))
    table = next(element for element in parsed.elements if element.type == "table")
    assert table.rows == [
        ['Région "A" & <B>', "Share", "Price", "Month", "Day", "Spent"],
        ["北", "25%", "$1,234.50", "Mar-24", "2024-03-01", "26:30:00"],
    ]


def test_a_workbook_of_plain_numbers_is_left_alone(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["a", 1, 2.5])
    book.save(tmp_path / "a.xlsx")
    assert workbook_as_shown(tmp_path / "a.xlsx") is None
