"""What counts as a figure: the whole of a cell of numbers, or what stands for none."""

from __future__ import annotations

import re
from typing import Final

_CURRENCY: Final = r"(?:(?:US|C|CA|A|AU|HK|NT|S|R)?\$|[€£¥￥₹₩]|Rs\.?|RMB|USD|EUR|GBP|CNY|CHF|JPY)"
CURRENCY_SIGNS: Final = frozenset("$\u20ac\u00a3\u00a5\uffe5\u20b9\u20a9")
"""Currency signs of one character."""

_SIGN: Final = r"[+\-\u2010-\u2015\u2212~<>\u2264\u2265\u2248\u00b1\u25b2\u25bc\u2191\u2193]"
_SPACED_MARK: Final = r"(?:\((?:[a-z]|[ivx]{1,4})\)|[*\u2020\u2021\u00a7#]{1,3}|[\u00b9\u00b2\u00b3\u2070-\u2079]{1,2})"
# After a blank "(6)" is a loss of six.
_MARK: Final = rf"(?:\(\d{{1,2}}\)|\s?{_SPACED_MARK})"
_THIN: Final = "\u00a0\u2009\u202f"
_NUMBER: Final = rf"(?:\d{{1,3}}(?: \d{{3}})+(?:[.,]\d+)?|\d[\d,.'\u2019/{_THIN}]*|[.,]\d+)"
_UNIT: Final = r"(?:\s?(?:%|\uff05|x|bps|bp|pts|pp|K|M|B)|[A-Za-z]{1,4})"
_FIGURE = re.compile(
    rf"{_SIGN}?[(\[]?\s?{_SIGN}?\s?{_CURRENCY}?\s?{_SIGN}?\s?[(\[]?{_SIGN}?{_NUMBER}(?:\s?\u00b1\s?{_NUMBER})?"
    rf"{_UNIT}?(?:\s?[)\]])?(?:\s?(?:%|\uff05|pts|pp|bps))?[)\]]?(?:{_MARK},?){{0,3}}"
)
# Years from to, codes ("10-K") and numbers of forms ("333-39531") are none.
_RANGE = re.compile(
    rf"(?!(?:1[5-9]|20)\d\d\s?[-\u2013\u2014])"
    rf"(?:{_CURRENCY}?\d{{1,3}}(?:\.\d+)?\s?%?\s?[-\u2013\u2014]\s?{_CURRENCY}?\d{{1,3}}(?:\.\d+)?"
    rf"|{_CURRENCY}?{_NUMBER}\s?%?\s[-\u2013\u2014]\s?{_CURRENCY}?{_NUMBER})\s?[%x]?{_MARK}?"
)
_NONE = re.compile(
    rf"[(\[]?{_CURRENCY}?\s?(?:[-\u2010-\u2015\u2212]{{1,4}}|N/?A|n/?a|N\.A\.|n\.a\.|N/?M|n/?m|N\.M\.|Nil|nil|\*{{1,2}})"
    rf"(?:\s?(?:%|\uff05))?[)\]]?{_MARK}?"
)
_DASH = re.compile(rf"{_CURRENCY}?\s?[-\u2010-\u2015\u2212]{{1,4}}\s?%?")
_YEAR = re.compile(rf"(?:FY|CY)?\s?(?:19|20)\d\d[AEe]?(?:{_MARK},?){{0,2}}")
_ENUMERATION = re.compile(r"\d{1,2}\.")
_INTEGER = re.compile(r"\d{1,4}")
_CURRENCY_ALONE = re.compile(rf"[(\[\-\u2212]?\s?{_CURRENCY}\s?[(\[]?|[(\[]")
_TAIL = re.compile(rf"[)\]]?\s?(?:%|\uff05|pts|pp|bps)?\s?[)\]]?\s?{_SPACED_MARK}?")

MAX_FIGURE_LENGTH: Final = 40
"""Longer texts are no figures."""


def is_figure(text: str) -> bool:
    """Tell whether a whole cell is a figure, a dash or another word for none.

    Returns:
        False also for ``"1."``, which numbers a paragraph.
    """
    if len(text) > MAX_FIGURE_LENGTH or _ENUMERATION.fullmatch(text):
        return False
    return any(pattern.fullmatch(text) is not None for pattern in (_FIGURE, _NONE, _RANGE))


def is_dash(text: str) -> bool:
    """Tell whether a cell is only a dash."""
    return _DASH.fullmatch(text) is not None


def is_year(text: str) -> bool:
    """Tell whether a cell is a year of the 20th or 21st century."""
    return _YEAR.fullmatch(text) is not None


def is_page_number(text: str) -> bool:
    """Tell whether a cell is a plain integer of at most four digits."""
    return _INTEGER.fullmatch(text) is not None


def is_currency(text: str) -> bool:
    """Tell whether a text is a currency sign or bracket that belongs to the figure after it."""
    return _CURRENCY_ALONE.fullmatch(text) is not None


def begins_figure(last: str, following: str) -> bool:
    """Tell whether a currency sign after a percent sign or bracket begins the next figure.

    Args:
        last: The text before, of any length.
        following: The text after it.
    """
    return following[:1] in CURRENCY_SIGNS and last.endswith(("%", ")", "\uff05"))


def is_tail(text: str) -> bool:
    """Tell whether a text is a bracket, percent sign or mark that belongs to the figure before it."""
    return len(text) <= 12 and _TAIL.fullmatch(text) is not None


def has_digit(text: str) -> bool:
    """Tell whether a text has a digit."""
    return any("0" <= character <= "9" for character in text)
