"""Units and scales that headers and captions state: "(in thousands)", "USD million", "单位：万元", "Weight (kg)"."""

from __future__ import annotations

import re
import unicodedata
from typing import Final, NamedTuple

from llama_index_raganything.tables.values import CURRENCIES, MAGNITUDES, MEASURES
from llama_index_raganything.text.characters import HAN

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
