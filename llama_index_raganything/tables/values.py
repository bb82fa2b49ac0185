"""Printed values: numbers of many locales with their units and scales, dates, truth values, and marks for nothing.

A cell alone cannot tell whether ``1,234`` is a thousand or a little more than one; its column can.
:func:`decimal_mark` and :func:`date_order` look at all cells of a column, :func:`cell_value` then reads each.
:func:`stated_measure` and :func:`header_measure` read units and scales from captions and headers: "(in thousands)",
"USD million", "单位：万元", "Weight (kg)".
"""

from __future__ import annotations

import datetime
import math
import re
import unicodedata
from collections.abc import Iterable
from typing import Final, NamedTuple

from llama_index_raganything.text.characters import HAN

Value = str | int | float | bool | datetime.date | None

MAX_NUMBER_CHARS: Final = 80
"""Longer cells are read as text."""

CURRENCIES: Final = {
    "US$": "USD", "$": "USD", "USD": "USD", "U.S.$": "USD", "A$": "AUD", "AU$": "AUD", "AUD": "AUD", "C$": "CAD",
    "CA$": "CAD", "CAD": "CAD", "HK$": "HKD", "HKD": "HKD", "NT$": "TWD", "TWD": "TWD", "S$": "SGD", "SGD": "SGD",
    "R$": "BRL", "BRL": "BRL", "€": "EUR", "EUR": "EUR", "£": "GBP", "GBP": "GBP", "¥": "¥", "JPY": "JPY",
    "RMB": "CNY", "CNY": "CNY", "CN¥": "CNY", "RMB¥": "CNY", "₹": "INR", "RS": "INR", "RS.": "INR", "INR": "INR",
    "₩": "KRW", "KRW": "KRW", "CHF": "CHF", "SEK": "SEK", "NOK": "NOK", "DKK": "DKK", "₽": "RUB", "RUB": "RUB",
    "PLN": "PLN", "ZŁ": "PLN", "元": "CNY", "人民币": "CNY", "人民币元": "CNY", "美元": "USD", "港元": "HKD",
    "港币": "HKD", "欧元": "EUR", "英镑": "GBP", "日元": "JPY", "円": "JPY", "圓": "TWD", "원": "KRW",
}  # fmt: skip
"""Currency signs, codes and words, upper case, with the ISO 4217 code; ¥ stays, since China and Japan share it."""

MAGNITUDES: Final = {
    "thousand": 1e3, "thousands": 1e3, "k": 1e3, "million": 1e6, "millions": 1e6, "mn": 1e6, "mm": 1e6, "mio": 1e6,
    "mln": 1e6, "billion": 1e9, "billions": 1e9, "bn": 1e9, "trillion": 1e12, "trillions": 1e12, "tn": 1e12,
    "lakh": 1e5, "lakhs": 1e5, "crore": 1e7, "crores": 1e7, "千": 1e3, "万": 1e4, "萬": 1e4, "十万": 1e5,
    "百万": 1e6, "千万": 1e7, "亿": 1e8, "億": 1e8, "十亿": 1e9, "万亿": 1e12,
}  # fmt: skip
"""Words for powers of ten, with their value."""

_MONEY_MAGNITUDES: Final = {"m": 1e6, "b": 1e9, "t": 1e12}
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_UNITS: Final = {
    "%": "%", "percent": "%", "per cent": "%", "pct": "%", "‰": "‰", "bps": "bps", "bp": "bps",
    "basis points": "bps", "pp": "pp", "pts": "pts", "x": "x", "×": "x", "倍": "x", "个百分点": "pp",
}  # fmt: skip
MEASURES: Final = frozenset({
    "kg", "g", "mg", "µg", "μg", "t", "lb", "lbs", "oz", "km", "m", "cm", "mm", "µm", "μm", "nm", "mi", "ft", "in",
    "l", "ml", "dl", "gal", "ha", "km2", "m2", "m3", "kb", "mb", "gb", "tb", "hz", "khz", "mhz", "ghz", "w", "kw",
    "mw", "gw", "kwh", "mwh", "gwh", "twh", "v", "kv", "ma", "ah", "mah", "°c", "°f", "°", "k", "pa", "kpa", "mpa",
    "bar", "psi", "s", "ms", "µs", "μs", "min", "h", "hr", "hrs", "mg/l", "g/l", "kg/m3", "km/h", "m/s", "rpm", "db",
    "j", "kj", "mj", "cal", "kcal", "n", "kn", "mol", "年", "岁", "人", "个", "次", "天", "月", "吨", "公里", "米",
    "千克", "公斤", "家", "名", "股", "户",
})  # fmt: skip
"""Units of measure, lower case, that may follow a number without a blank."""

_NOTHING: Final = frozenset(
    {"", "-", "--", "---", ".", "..", "...", "n/a", "n.a.", "n.a", "#n/a", "nan", "null", "不适用"}
)
_NO_NUMBER: Final = frozenset({
    "na", "nm", "n/m", "n.m.", "nil", "none", "not applicable", "not available", "not meaningful", "tbd",
    "无", "/", "*",
})  # fmt: skip
_TRUE: Final = frozenset({"yes", "true", "y", "是", "✓", "✔", "☑", "有"})
_FALSE: Final = frozenset({"no", "false", "n", "否", "✗", "✘", "✕", "×", "x", "☐", "无"})

_SUPERSCRIPTS = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁽⁾ᵃᵇᶜᵈᵉᶠ*†‡§¶#]+$")
_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2500\ufe58\ufe63", "-") | {"’": "'"})
_FOOTNOTE = re.compile(r"(?<=[\d)%\]])\s*(?:\(\s*(?:[a-z]|\d{1,2})\s*\)|\[\s*\w{1,3}\s*\])\s*$", re.IGNORECASE)
_SIDE_VALUE = re.compile(r"(?<=[\d)%])\s*(?:\(\s*[-+]?[\d.,]+\s*%?\s*\)|(?:±|\+/-)\s*[\d.,]+\s*%?)\s*$")
_MARKS: Final = r"[.,' ]"
_NUMERAL = re.compile(rf"(?P<digits>\d+(?:{_MARKS}\d+)*|[.,]\d+)(?P<power>[eE][-+]?\d{{1,3}})?(?![\d])")
_GROUPED: Final = {
    ".": re.compile(r"(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3}|\d{1,3}(?:[' ]\d{3})+|\d+)?(?:\.\d+)?"),
    ",": re.compile(r"(?:\d{1,3}(?:\.\d{3})+|\d{1,3}(?:[' ]\d{3})+|\d+)?(?:,\d+)?"),
}
_ISO_DATE = re.compile(r"(\d{4})\s*[-/.年]\s*(\d{1,2})\s*[-/.月]\s*(\d{1,2})\s*日?(?:[T ]00:00(?::00(?:\.0+)?)?)?")
_DIGIT_DATE = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|\d{2})")
_DAY_MONTH = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?[\s-]+(?:of )?([a-z]{3,9})\.?,?[\s-]+(\d{4})", re.IGNORECASE)
_MONTH_DAY = re.compile(r"([a-z]{3,9})\.?\s+(\d{1,2})(?:st|nd|rd|th)?,?\s+(\d{4})", re.IGNORECASE)


class Number(NamedTuple):
    """A number as printed.

    Attributes:
        value: Its value; a word such as "million" in the cell is multiplied in, percent is not divided by 100.
        unit: ``%``, an ISO currency code, ``bps``, ``x``, another word after the number, or an empty string.
        code: Its digits look like an identifier, such as 007 or a number of twenty digits.
    """

    value: int | float
    unit: str = ""
    code: bool = False


def plain(text: str) -> str:
    """Return a cell's text in plain characters: ASCII digits, blanks, minus signs; footnote marks at its end go.

    Returns:
        The text, stripped.
    """
    stripped = _SUPERSCRIPTS.sub("", text.strip()) if text.strip("*†‡§ ") else text
    return " ".join(unicodedata.normalize("NFKC", stripped).translate(_DASHES).split())


def is_missing(text: str, *, number: bool = False) -> bool:
    """Return whether a cell states that there is no value.

    Args:
        number: It is in a column of numbers, dates or truth values, where "none", "NA" and the like count too.

    Returns:
        True for blank cells, dashes, "n/a" and the like, also with a currency sign or percent sign.
    """
    if len(text) > MAX_NUMBER_CHARS:
        return not text.strip()
    words = plain(text).casefold()
    if words in _NOTHING or (number and words in _NO_NUMBER):
        return True
    # "$ —" and "— %" in statements are dashes too.
    bare = words.strip("$€£¥₹%() ") if len(words) <= 8 else words
    return bare in {"", "-", "--"}


def read_number(text: str, decimal: str = ".") -> Number | None:
    """Read a printed number.

    Args:
        text: A cell, such as ``(1,234)``, ``12.5 %``, ``US$ 3.2 million``, ``1 234,5`` or ``3.5万元``.
        decimal: Decimal mark of its column, ``.`` or ``,``.

    Returns:
        The number, or None when the cell is none.
    """
    if len(text) > MAX_NUMBER_CHARS or not any(character.isdigit() for character in text):
        return None
    words = _FOOTNOTE.sub("", plain(text))
    words = _SIDE_VALUE.sub("", words)
    match = _NUMERAL.search(words)
    if match is None:
        return None
    value = _value_of(match["digits"], match["power"] or "", decimal)
    before, negative_before = _signed(words[: match.start()])
    after, negative_after = _signed(words[match.end() :], end=True)
    if value is None or before is None or after is None:
        return None
    unit = _unit_of(before, after, glued=words[match.end() : match.end() + 1] not in {"", " "})
    if unit is None:
        return None
    name, factor = unit
    value = _scaled(value, factor)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    bare = not before and not after
    code = bare and match["digits"].isdigit() and (len(match["digits"]) > 18 or _is_padded(match["digits"]))
    return Number(-value if negative_before or negative_after else value, name, code)


def decimal_mark(cells: Iterable[str]) -> str | None:
    """Return the decimal mark of a column's numbers.

    Returns:
        ``.`` or ``,`` as decimal mark, or None when the cells leave it open, as whole numbers do and ``1,234``
        alone does.
    """
    votes = {".": 0, ",": 0}
    for cell in cells:
        if len(cell) > MAX_NUMBER_CHARS:
            continue
        for match in _NUMERAL.finditer(plain(cell)):
            mark = _decimal_of(match["digits"])
            # 31.12.2024 and 1.2.3 are no numbers.
            if mark is not None and _GROUPED[mark].fullmatch(match["digits"]):
                votes[mark] += 1
    if votes["."] == votes[","]:
        return None
    return max(votes, key=lambda mark: votes[mark])


def read_date(text: str, order: str = "") -> datetime.date | None:
    """Read a printed date with day, month and year.

    Args:
        text: A cell, such as ``2024-01-31``, ``31 Jan. 2024``, ``January 31, 2024``, ``2024年1月31日``, ``31.1.2024``.
        order: ``dmy`` or ``mdy`` for dates in digits that end with the year; empty reads only those that leave no
            doubt.

    Returns:
        The date, or None when the cell is none.
    """
    if not 6 <= len(text) <= MAX_NUMBER_CHARS:
        return None
    words = plain(text)
    if match := _ISO_DATE.fullmatch(words):
        return _date(int(match[1]), int(match[2]), int(match[3]))
    if match := _DIGIT_DATE.fullmatch(words):
        return _digit_date(match, order)
    if match := _DAY_MONTH.fullmatch(words):
        return _date(int(match[3]), _month(match[2]), int(match[1]))
    if match := _MONTH_DAY.fullmatch(words):
        return _date(int(match[3]), _month(match[1]), int(match[2]))
    return None


def date_order(cells: Iterable[str]) -> str:
    """Return whether a column's dates that end with the year begin with the day or the month.

    Returns:
        ``dmy``, ``mdy``, or an empty string when the cells leave it open or disagree.
    """
    orders: set[str] = set()
    for cell in cells:
        match = _DIGIT_DATE.fullmatch(plain(cell)) if len(cell) <= MAX_NUMBER_CHARS else None
        if match is None:
            continue
        if match[2] == "." or int(match[1]) > 12:
            orders.add("dmy")
        elif int(match[3]) > 12:
            orders.add("mdy")
    return orders.pop() if len(orders) == 1 else ""


def read_boolean(text: str) -> bool | None:
    """Read a printed truth value.

    Args:
        text: A cell, such as ``Yes``, ``false``, ``✓`` or ``否``.

    Returns:
        The value, or None when the cell is none.
    """
    if len(text) > 12:
        return None
    word = unicodedata.normalize("NFKC", text).strip().casefold()
    if word in _TRUE:
        return True
    return False if word in _FALSE else None


def cell_value(text: str, kind: str, notation: str = "") -> Value:
    """Read a cell as a value of its column's type.

    Args:
        kind: ``number``, ``date``, ``boolean`` or ``text``.
        notation: How the column writes them; see :class:`~llama_index_raganything.tables.columns.TypedColumn`.

    Returns:
        The value; None when the cell is blank, a dash or "n/a", or no value of this type.
    """
    if kind == "boolean":
        return read_boolean(text)
    if is_missing(text, number=kind != "text"):
        return None
    if kind == "number":
        number = read_number(text, notation or ".")
        return number.value if number is not None else None
    if kind == "date":
        return read_date(text, notation)
    return text


def _value_of(digits: str, power: str, decimal: str) -> int | float | None:
    if not _GROUPED[decimal].fullmatch(digits):
        # 1.234.567 in a column of decimal points can only be one thing.
        other = "," if decimal == "." else "."
        if _decimal_of(digits) != other or not _GROUPED[other].fullmatch(digits):
            return None
        decimal = other
    grouping = ",' " if decimal == "." else ".' "
    ascii_digits = digits.translate(str.maketrans("", "", grouping)).replace(decimal, ".")
    if power or "." in ascii_digits:
        return float(ascii_digits + power)
    return int(ascii_digits)


def _decimal_of(digits: str) -> str | None:
    """Return the decimal mark that a numeral gives away, or None when it could be either."""
    marks = [mark for mark in digits if mark in ".,"]
    if not marks:
        return None
    last = marks[-1]
    other = "," if last == "." else "."
    if other in marks:
        return last
    if len(marks) > 1:
        return other  # A mark that occurs twice groups digits.
    whole, _, fraction = digits.rpartition(last)
    if len(fraction) != 3 or len(whole) > 3 or whole in {"", "0"}:
        return last
    return None


def _signed(words: str, *, end: bool = False) -> tuple[str | None, bool]:
    """Remove the sign from the characters before or after a number.

    Returns:
        What is left (None when it is no sign or unit), and whether the number is negative.
    """
    rest = words.strip()
    negative = False
    if not end:
        # In accounts a number in parentheses, or after a white triangle in Japan, is negative.
        negative = any(sign in rest for sign in "(-△")
        if rest.count("(") > 1 or rest.count("-") > 1:
            return None, False
        rest = rest.translate(str.maketrans("", "", "(-+△~≈")).strip()
        return (rest, negative) if len(rest) <= 6 else (None, False)
    if rest.count(")") > 1:
        return None, False
    if rest in {"-", ")-"}:
        return "", True
    return rest.replace(")", "").strip(), negative


def _unit_of(before: str, after: str, *, glued: bool) -> tuple[str, float] | None:
    """Return the unit and the factor that the words around a number say, or None when they say something else."""
    currency = CURRENCIES.get(before.upper().replace(" ", "")) if before else ""
    if currency is None:
        return None
    if not after:
        return currency, 1.0
    word, _, last = after.partition(" ")
    factor, rest = _magnitude(after, money=bool(currency))
    if factor != 1.0:
        unit = CURRENCIES.get(rest.upper(), "") if rest else ""
        if rest and not unit:
            return (rest.casefold(), factor) if not currency and rest.casefold() in MEASURES else None
        return currency or unit, factor
    known = _UNITS.get(after.casefold()) or CURRENCIES.get(after.upper())
    if known:
        return (currency or known), 1.0
    if currency:
        return None
    if after.casefold() in MEASURES:
        return after, 1.0
    # Any other single word after a blank may be a unit, if the whole column has it: "3 years".
    return (word.casefold(), 1.0) if not glued and not last and word.isalpha() else None


def _magnitude(words: str, *, money: bool) -> tuple[float, str]:
    """Return the power of ten that words begin with, and the rest of them."""
    first, _, rest = words.partition(" ")
    lower = first.casefold().rstrip(".")
    if lower in MAGNITUDES:
        return MAGNITUDES[lower], rest
    if first == "M" or (money and lower in _MONEY_MAGNITUDES):
        return _MONEY_MAGNITUDES[lower], rest
    for length in (2, 1):
        if words[:length] in MAGNITUDES and not words[:length].isascii():
            return MAGNITUDES[words[:length]], words[length:].strip()
    return 1.0, words


def _scaled(value: int | float, factor: float) -> int | float:
    if factor == 1.0:
        return value
    # 1.1 million is 1,100,000 and not 1,100,000.0000000001.
    scaled = round(value * factor, 6)
    return int(scaled) if math.isfinite(scaled) and scaled == int(scaled) else scaled


def _is_padded(digits: str) -> bool:
    return len(digits) > 1 and digits.startswith("0")


def _digit_date(match: re.Match[str], order: str) -> datetime.date | None:
    first, second, year = int(match[1]), int(match[3]), int(match[4])
    if len(match[4]) == 2:
        year += 2000 if year < 70 else 1900
    if not order:
        order = date_order([match[0]])
    if order == "dmy":
        return _date(year, second, first)
    return _date(year, first, second) if order == "mdy" else None


def _month(word: str) -> int:
    name = word.casefold()
    return _MONTHS.index(name[:3]) + 1 if name[:3] in _MONTHS else 0


def _date(year: int, month: int, day: int) -> datetime.date | None:
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return None


# -- units and scales of headers and captions -------------------------------------------------------------------------

_CODES: Final = (
    "US\\$|HK\\$|NT\\$|AU?\\$|CA?\\$|S\\$|R\\$|RMB|CNY|USD|EUR|GBP|JPY|INR|CHF|HKD|KRW|AUD|CAD|SGD|Rs\\.?|[$€£¥₹₩]"
)
_WORDS: Final = "thousands?|millions?|billions?|trillions?|lakhs?|crores?|mn|mln|mio|bn"
_CHINESE: Final = "万亿|十亿|百万|千万|十万|[千万萬亿億]"
_CHINESE_MONEY: Final = "人民币元|人民币|美元|港元|港币|欧元|英镑|日元|元|円"
_MAX_CHARS: Final = 1_000

_CURRENCY = re.compile(rf"(?<![A-Za-z])({_CODES})(?![A-Za-z])")
_IN_SCALE = re.compile(
    rf"\bin\s+(?:({_CODES})\s*)?({_WORDS})\b(?:\s+of\s+({_CODES}|dollars|euros|pounds|yen))?", re.IGNORECASE
)
_SCALED = re.compile(
    rf"(?:({_CODES})\s*({_WORDS}|m|k)\b)|(?:\b({_WORDS})\s+(?:of\s+)?({_CODES}))|\((?:({_CODES})\s*)?({_WORDS})\)",
    re.IGNORECASE,
)
_ZEROS = re.compile(r"(?:(" + _CODES + r")\s*)?['’‘]\s?0{3}s?(?![\d,])")
_CHINESE_SCALE = re.compile(rf"(人民币)?({_CHINESE})({_CHINESE_MONEY})")
_CHINESE_UNIT = re.compile(rf"(?:单位|單位)\s*:\s*(人民币)?({_CHINESE})?({_CHINESE_MONEY}|[^\s,;。()]{{0,6}})")
_BRACKETED = re.compile(r"[(\[]\s*([^()\[\]]{1,24})\s*[)\]]\s*$")
_PERCENT = re.compile(r"%|\bper\s?cent(?:age)?\b|\bpct\b|百分比|占比|比例\b", re.IGNORECASE)
_MONEY_WORDS: Final = {"dollars": "USD", "euros": "EUR", "pounds": "GBP", "yen": "JPY"}
_UNIT = re.compile(r"(?:[A-Za-zµμ°Ω%‰/²³·^\d.-]{1,16}|[" + HAN + r"]{1,4})")
_NO_UNITS: Final = frozenset({
    "a", "b", "c", "d", "e", "i", "ii", "iii", "iv", "v", "vi", "note", "notes", "unaudited", "audited", "restated",
    "n", "total", "net", "gross", "estimated", "actual", "budget", "forecast", "ytd", "eps", "usd1", "continued",
    "cont", "cont'd",
})  # fmt: skip


class Measure(NamedTuple):
    """What numbers are in.

    Attributes:
        unit: Unit, such as ``USD`` or ``%``, or an empty string.
        scale: What a printed number is multiplied by.
    """

    unit: str = ""
    scale: float = 1.0


def stated_measure(text: str) -> Measure:
    """Return the currency and scale that a caption or a line near a table states for all its amounts.

    Args:
        text: Such as ``"Balance sheets (in thousands, except per share data)"`` or ``"单位：人民币万元"``.

    Returns:
        The measure; a scale of 1 when none is stated.
    """
    words = _folded(text)
    if match := _IN_SCALE.search(words):
        sign, scale, money = match.groups()
        return Measure(_currency(sign or money) or _currency_in(words), _scale(scale))
    if match := _ZEROS.search(words):
        return Measure(_currency(match[1]) or _currency_in(words), 1e3)
    if match := _CHINESE_UNIT.search(words) or _CHINESE_SCALE.search(words):
        rmb, scale, unit = match.groups()
        return Measure(_currency(unit) or unit or _currency(rmb), MAGNITUDES.get(scale or "", 1.0))
    if match := _SCALED.search(words):
        sign = match[1] or match[4] or match[5]
        return Measure(_currency(sign) or _currency_in(words), _scale(match[2] or match[3] or match[6]))
    return Measure()


def header_measure(header: str) -> Measure:
    """Return the unit and scale that a column's header states.

    Args:
        header: Such as ``"Revenue (USD million)"``, ``"Weight [kg]"``, ``"Change %"``, ``"营业收入（万元）"``.

    Returns:
        The measure, empty when none is stated.
    """
    words = _folded(header)
    if _PERCENT.search(words):
        return Measure("%")
    measure = stated_measure(words)
    if measure != Measure():
        return measure
    bracketed = _BRACKETED.search(words)
    if bracketed is None:
        return Measure(_currency_in(words))
    inside = bracketed[1].strip().removeprefix("in ").strip()
    if inside in MAGNITUDES:
        return Measure("", MAGNITUDES[inside])
    if currency := _currency(inside):
        return Measure(currency)
    if len(inside) == 1 and inside.isascii() and inside.casefold() not in MEASURES:
        return Measure()  # "(f)" is a footnote, "(g)" are grams.
    if (
        _UNIT.fullmatch(inside)
        and not any(character.isdigit() for character in inside[:1])
        and inside.casefold() not in _NO_UNITS
    ):
        return Measure(inside)
    return Measure()


def _folded(text: str) -> str:
    # Superscripts of units ("m²") are kept; NFKC folds the parentheses and colons of Chinese.
    folded = "".join(unicodedata.normalize("NFKC", mark) if mark not in "²³" else mark for mark in text[:_MAX_CHARS])
    return " ".join(folded.split())


def _scale(word: str) -> float:
    lower = word.casefold()
    return MAGNITUDES.get(lower) or {"m": 1e6, "k": 1e3}.get(lower, 1.0)


def _currency(word: str | None) -> str:
    if not word:
        return ""
    return _MONEY_WORDS.get(word.casefold()) or CURRENCIES.get(word.upper().replace(" ", ""), "")


def _currency_in(text: str) -> str:
    match = _CURRENCY.search(text)
    return _currency(match[1]) if match else ""
