"""Numbers as Excel shows them: ``25%`` and ``$1,234.50``, not 0.25 and 1234.5.

docvortex applies number formats to .xls files only (:func:`~docvortex.analyzers.native.office.xls.number_format.
format_number`), so the numbers of an .xlsx package are replaced by what they show before it reads them. Formats and
their built-in numbers are those of ECMA-376 part 1, section 18.8.30. Dates in digits, whose order differs from
country to country, and all times become ISO 8601, as in docvortex' .xls files.
"""

from __future__ import annotations

import datetime
import functools
import io
import re
import zipfile
from pathlib import Path
from typing import Any, Final

from lxml import etree
from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format

from llama_index_raganything.readers.office.ooxml import Package

GENERAL: Final = "General"

_EAST_ASIAN_DATES: Final = frozenset({*range(27, 37), *range(50, 59)})
"""Built-in formats of Chinese, Japanese and Korean Excel: dates, and some times of day; files do not spell them out."""

_LONGEST_INTEGER: Final = 10**15
"""Excel keeps 15 digits; longer integers are identifiers that another program wrote, and stay as they are."""

_DATE_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"|\\(?P<escaped>.)|(?:[_*].|\[[^\]]*\])|(?P<part>y+|m+|d+)|(?P<other>.)', re.I
)
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_ELAPSED = re.compile(r"\[[hms]+\]", re.IGNORECASE)
_WRITTEN_OUT = re.compile(r"mmm|\"[^\"]*[^\W\d_][^\"]*\"", re.IGNORECASE)
# docvortex 0.6.4 drops a sign before a number in its format, and a percent sign after a blank.
_SIGN = re.compile(r"(?P<kept>\[[^\]]*\]|E[+-])|(?P<sign>[+-])", re.IGNORECASE)
_BLANK_PERCENT = re.compile(r"(?:\\? |_.)+%")
_SIGN_MARKS: Final = {"-": "\ue000", "+": "\ue001"}
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def workbook_as_shown(path: Path) -> bytes | None:
    """Return a copy of a workbook whose numbers are the texts that Excel shows.

    Args:
        path: A workbook that :func:`~llama_index_raganything.readers.office.containers.check_container` passed.

    Returns:
        The package, or None when all numbers are shown as they are stored or the package is damaged.
    """
    try:
        changed = _changed_sheets(path)
        return _replaced(path, changed) if changed else None
    # zipfile lets zlib, struct and encoding errors of damaged members through; docvortex says what is wrong.
    except Exception:  # noqa: BLE001
        return None


def _changed_sheets(path: Path) -> dict[str, bytes]:
    changed: dict[str, bytes] = {}
    with Package(path) as package:
        main = package.main_part()
        codes = _format_codes(package, main)
        epoch_1904 = _counts_from_1904(package.xml(main))
        for part in package.targets(main, "worksheet"):
            shown = _sheet_as_shown(package.read(part), codes, epoch_1904=epoch_1904)
            if shown is not None:
                changed[part] = shown
    return changed


# Typed, because 1 and 1.0 are equal and long integers are told apart.
@functools.lru_cache(maxsize=1 << 16, typed=True)
def shown_number(value: float, code: str, *, epoch_1904: bool = False) -> str:
    """Return a number as a cell with a number format shows it.

    Args:
        value: The number; for dates the days since the workbook's epoch.
        code: The format, such as ``"0.0%"``.
        epoch_1904: Days count from 1904 and not from 1900.

    Returns:
        The text; the plain number where the format hides it or cannot be read.
    """
    from docvortex.analyzers.native.office.xls.number_format import format_number

    if isinstance(value, int) and (code == GENERAL or abs(value) >= _LONGEST_INTEGER):
        return str(value)
    if not _is_date(code):
        text: str = format_number(value, _with_marked_signs(code), date1904=epoch_1904)
        for sign, mark in _SIGN_MARKS.items():
            text = text.replace(mark, sign)
        return " ".join(text.split()) or str(format_number(value, None, date1904=epoch_1904))
    if value < 0:
        return str(format_number(value, None, date1904=epoch_1904))
    # An ISO date says which day a serial number is; without a calendar day it stays a number.
    iso: str = format_number(value, "yyyy-mm-dd", date1904=epoch_1904)
    day = datetime.date.fromisoformat(iso) if _ISO_DATE.fullmatch(iso) else None
    shown = shown_date(day, code) if day is not None else iso
    return shown or str(format_number(value, code, date1904=epoch_1904))


@functools.lru_cache
def _is_date(code: str) -> bool:
    return bool(is_date_format(code))


@functools.lru_cache
def _with_marked_signs(code: str) -> str:
    code = _BLANK_PERCENT.sub("%", code)
    return _SIGN.sub(lambda match: match["kept"] or _SIGN_MARKS[match["sign"]], code)


def shown_date(day: datetime.date, code: str) -> str | None:
    """Return a date as a format shows it that names the month, leaves out the day, or holds words.

    Args:
        day: The date.
        code: The format, such as ``"mmm-yy"``; month names are English.

    Returns:
        The text, or None for formats of digits, with a time, or with the year of an era.
    """
    section = code.split(";")[0]
    if _ELAPSED.search(section):
        return None
    tokens = list(_DATE_TOKEN.finditer(section))
    syntax = "".join((token["part"] or token["other"] or " ") for token in tokens).lower()
    if re.search(r"[hsegb]", syntax) or not re.search(r"[ymd]", syntax):
        return None
    if not _WRITTEN_OUT.search(section) and {"y", "m", "d"} <= set(syntax):
        return None
    return "".join(_date_part(token, day) for token in tokens).strip(" ,")


def _date_part(token: re.Match[str], day: datetime.date) -> str:
    part = (token["part"] or "").lower()
    if not part:
        return token["quoted"] or token["escaped"] or token["other"] or ""
    if part[0] == "y":
        return f"{day.year:04}" if len(part) > 2 else f"{day.year % 100:02}"
    number, name = (day.month, _MONTHS[day.month - 1]) if part[0] == "m" else (day.day, _DAYS[day.weekday()])
    return {1: str(number), 2: f"{number:02}", 3: name[:3], 5: name[:1]}.get(len(part), name)


def _format_codes(package: Package, main: str) -> list[str]:
    """Return the number format of each cell style."""
    styles = next(iter(package.targets(main, "styles")), "")
    root = package.xml(styles)
    if root is None:
        return []
    own = {node.get("numFmtId"): node.get("formatCode") or GENERAL for node in root.iter("{*}numFmt")}
    cells = next(root.iter("{*}cellXfs"), None)
    return [_code(entry.get("numFmtId") or "0", own) for entry in ([] if cells is None else cells.iter("{*}xf"))]


def _code(number: str, own: dict[Any, str]) -> str:
    if number in own:
        return own[number]
    known = int(number) if number.isdecimal() else 0
    return "yyyy-mm-dd" if known in _EAST_ASIAN_DATES else BUILTIN_FORMATS.get(known, GENERAL)


def _counts_from_1904(workbook: Any) -> bool:
    properties = None if workbook is None else next(workbook.iter("{*}workbookPr"), None)
    return properties is not None and properties.get("date1904") in {"1", "true"}


def _sheet_as_shown(data: bytes, codes: list[str], *, epoch_1904: bool) -> bytes | None:
    try:
        root = etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False))
    except (etree.XMLSyntaxError, ValueError):
        # docvortex says what is wrong with the sheet, and the caller what can still be read.
        return None
    changed = False
    for cell in root.iter("{*}c"):
        value = cell.find("{*}v") if cell.get("t", "n") == "n" else None
        if value is None or not value.text:
            continue
        style = cell.get("s") or "0"
        code = codes[int(style)] if style.isdecimal() and int(style) < len(codes) else GENERAL
        shown = _shown(value.text.strip(), code, epoch_1904=epoch_1904)
        if shown != value.text:
            # "str" is the type of a formula's text, which needs no table of strings.
            cell.set("t", "str")
            value.text = shown
            changed = True
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True) if changed else None


def _shown(text: str, code: str, *, epoch_1904: bool) -> str:
    try:
        value = int(text) if text.lstrip("-").isdecimal() else float(text)
    except ValueError:
        return text
    return shown_number(value, code, epoch_1904=epoch_1904)


def _replaced(path: Path, changed: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(stream, "w") as target:
        for name in dict.fromkeys(source.namelist()):
            target.writestr(name, changed[name] if name in changed else source.read(name))
    return stream.getvalue()
