"""Find numbers, years, codes and acronyms of a question that its sources lack: then they do not answer it.

Other words are paraphrased, these are not. What only says how to answer ("round to 2 decimals", "in 30 words") or
where to look ("page 14", "Figure 3") is no fact, and numbers of one digit are everywhere.

Measured on 191 questions over 31 PDFs with the answers that are quoted without a model: of 70 right answers, inside
the document or over all of them, it refuses none; of 80 questions with such a fact asked of a document that does not
answer them, 58. Quoting by itself refuses most of those too, since names that no source has keep their weight there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Final, Literal, NamedTuple

from llama_index_raganything.questions.question import without_format_request, without_places
from llama_index_raganything.text.terms import word_list

_PARTS_OF_ANSWERS: Final = (
    r"(?:decimals?|digits?|significant|places|words?|sentences?|lines?|characters?|letters?|paragraphs?|bullets?"
    r"|dezimal\w*|nachkomma\w*|stellen|wörter\w*|worten|sätzen?|mots|phrases|décimales|palabras|frases|decimales"
    r"|parole|frasi)\b"
)
_HOW_TO_ANSWER: Final = (
    re.compile(r"^\s*\(?\d{1,3}[.)]\s", re.MULTILINE),
    re.compile(rf"\b\d+[\s-]+{_PARTS_OF_ANSWERS}", re.IGNORECASE),
    re.compile(r"\b(?:answer|respond|reply)\s+(?:me\s+)?(?:in|with|as|using)\b[^.?!\n]*", re.IGNORECASE),
    re.compile(r"\bround(?:ed)?\b[^.?!\n]{0,60}\bto\b[^.?!\n]*", re.IGNORECASE),
    re.compile(r"\bformat(?:ted)?\b[^.?!\n]{0,60}\b(?:as|in|like)\b[^.?!\n]*", re.IGNORECASE),
    re.compile(
        r"(?:\be\.\s?g\.|\bfor (?:example|instance)\b|\bz\.\s?b\.|\blike\s+(?=['\"‘“])|例如|比如)[^?!\n]*", re.I
    ),
    re.compile(r"(?:保留|精确到|四舍五入)[^。，,?!\n]*|\d+\s*[个個]?(?:字|词|句)"),
    re.compile(r"\b(?:JSON|CSV|YAML|XML|HTML|PDF)s?\b"),
)

_DIGITS: Final = r"\d{1,3}(?:[,.'’\u00a0\u202f ]\d{3})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,]\d+)*"
_YEAR: Final = r"(?:1[5-9]|20)\d\d"
_FISCAL_YEAR = re.compile(r"(?<![A-Za-z])FY\s?['’]?(?P<year>\d{4}|\d\d)(?!\d)", re.IGNORECASE)
_YEARS = re.compile(rf"(?<!\d)(?P<first>{_YEAR})\s*[-–—/]\s*(?P<last>{_YEAR}|\d\d)(?![\d-])")
_ONE_YEAR = re.compile(rf"(?<!\d){_YEAR}(?!\d)")
_SHORT_YEAR = re.compile(r"['’/.-](?P<year>\d\d)(?!\d)")
_DATE = re.compile(rf"(?<!\d)(?:{_YEAR}([-./])\d\d?\1\d\d?|\d\d?([-./])\d\d?\2{_YEAR})(?!\d)")
_MIXED = re.compile(r"(?<![A-Za-z\d])[A-Za-z\d]+(?:[-./][A-Za-z\d]+)*(?![A-Za-z\d])")
_IS_CODE = re.compile(r"(?![QH]\d$)[A-Z].*\d|\d.*[A-Z]{2}|\d+-\d+-\d|\d{2,}-\d{3,}")
_ACRONYM = re.compile(r"(?<![\w.&-])(?:[A-Z]{2,5}|(?:[A-Z]\.){2,5})(?=s?(?![\w&-]))", re.ASCII)
_NUMBER = re.compile(rf"(?<![A-Za-z\d.,])(?:{_DIGITS})(?![A-Za-z\d])")
_ANY_NUMBER = re.compile(_DIGITS)
_SCALED = re.compile(rf"(?P<number>{_DIGITS})\s*(?P<scale>thousand|million|billion|k|m|mn|bn)\b", re.IGNORECASE)
_SCALES: Final = {"thousand": 1e3, "k": 1e3, "million": 1e6, "m": 1e6, "mn": 1e6, "billion": 1e9, "bn": 1e9}
_WORD = re.compile(r"[^\W\d_]+")
_LONGEST_RANGE: Final = 100
_CENTURY: Final = 100
_NEXT_CENTURY: Final = 50

_SMALL: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS: Final = "twenty thirty forty fifty sixty seventy eighty ninety"
_ONES: Final = _SMALL.split()[1:10]
_NUMBER_WORDS: Final = (
    {word: number for number, word in enumerate(_SMALL.split())}
    | {word: 10 * number for number, word in enumerate(_TENS.split(), 2)}
    | {f"{ten} {one}": 10 * n + m for n, ten in enumerate(_TENS.split(), 2) for m, one in enumerate(_ONES, 1)}
)
_NUMBER_WORD = re.compile(
    rf"\b(?:(?:{_TENS.replace(' ', '|')})(?:[\s-](?:{'|'.join(_ONES)}))?|{_SMALL.replace(' ', '|')})\b", re.IGNORECASE
)


class _Fact(NamedTuple):
    place: int
    text: str
    kind: Literal["year", "number", "code", "acronym"]


def missing_facts(question: str, texts: Sequence[str]) -> list[str]:
    """Return the numbers, years, codes and acronyms of a question that are in none of some texts, in order.

    A number may be written otherwise (1,250 as 1250 or "1.25 thousand", 12 as "twelve"), a year may lie within a range
    or be short ("2019-2021", "2019/20", "FY19"), an acronym may be spelled out ("gross domestic product"), and case
    does not matter.

    Args:
        texts: Texts of the sources, their titles, captions and file names.
    """
    facts = sorted(set(_facts(_bare(question))))
    if not facts:
        return []
    known = _Known("\n".join(texts))
    return [fact.text for fact in facts if not known.has(fact)]


def _bare(question: str) -> str:
    """Return a question without what says how to answer and where to look."""
    asked = without_format_request(unicodedata.normalize("NFKC", question))
    for pattern in _HOW_TO_ANSWER:
        asked = pattern.sub(" ", asked)
    return without_places(asked)


def _facts(asked: str) -> Iterator[_Fact]:
    """Yield facts, kind by kind; what one kind has matched is hidden from the next."""
    shouted = asked.isupper()
    for pattern in (_FISCAL_YEAR, _DATE, _YEARS):
        for match in pattern.finditer(asked):
            years = [match] if pattern is _FISCAL_YEAR else [*_ONE_YEAR.finditer(asked, *match.span())]
            yield from (_Fact(year.start(), year[0], "year") for year in years)
        asked = pattern.sub(_blank, asked)
    codes = {match.start(): match[0] for match in _MIXED.finditer(asked) if _IS_CODE.match(match[0])}
    yield from (_Fact(place, text, "code") for place, text in codes.items())
    asked = _MIXED.sub(lambda match: _blank(match) if match.start() in codes else match[0], asked)
    for match in _NUMBER.finditer(asked):
        if _ONE_YEAR.fullmatch(match[0]):
            yield _Fact(match.start(), match[0], "year")
        elif sum(character.isdigit() for character in match[0]) > 1:
            yield _Fact(match.start(), match[0], "number")
    if not shouted:
        yield from (_Fact(match.start(), match[0], "acronym") for match in _ACRONYM.finditer(asked))


def _blank(match: re.Match[str]) -> str:
    return " " * len(match[0])


class _Known:
    """The facts in some texts, in the forms in which they are compared."""

    def __init__(self, text: str) -> None:
        self._text = text if text.isascii() else unicodedata.normalize("NFKC", text)

    def has(self, fact: _Fact) -> bool:
        if fact.kind == "acronym":
            return self._has_acronym(_letters(fact.text))
        if fact.kind == "code":
            return _letters(fact.text) in self._letters
        if fact.kind == "year" and _year(re.sub(r"\D", "", fact.text)) in self._years:
            return True
        return not self._numbers.isdisjoint(_values(fact.text))

    @cached_property
    def _letters(self) -> str:
        return _letters(self._text)

    @cached_property
    def _years(self) -> frozenset[int]:
        return frozenset(_years_in(self._text))

    @cached_property
    def _numbers(self) -> frozenset[float]:
        return frozenset(_numbers_in(self._text))

    @cached_property
    def _initials(self) -> tuple[str, str]:
        """The first letters of all words, and of those that are not small."""
        words = _WORD.findall(self._text.casefold())
        small = word_list("stop_words")
        return "".join(word[0] for word in words), "".join(word[0] for word in words if word not in small)

    def _has_acronym(self, acronym: str) -> bool:
        dotted = r"\.?\s?".join(acronym)
        if re.search(rf"(?<![A-Za-z]){dotted}s?(?![A-Za-z])", self._text, re.IGNORECASE):
            return True
        return any(acronym in initials for initials in self._initials)


def _letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


def _year(digits: str) -> int:
    number = int(digits)
    if number >= _CENTURY:
        return number
    return number + (2000 if number < _NEXT_CENTURY else 1900)


def _years_in(text: str) -> Iterator[int]:
    yield from (int(match[0]) for match in _ONE_YEAR.finditer(text))
    for pattern in (_FISCAL_YEAR, _SHORT_YEAR):
        yield from (_year(match["year"]) for match in pattern.finditer(text))
    for match in _YEARS.finditer(text):
        first, last = int(match["first"]), int(match["last"])
        last = last if last >= _CENTURY else first - first % _CENTURY + last
        yield from range(first, min(last, first + _LONGEST_RANGE) + 1)


def _numbers_in(text: str) -> Iterator[float]:
    for match in _ANY_NUMBER.finditer(text):
        yield from _values(match[0])
    yield from (float(digits) for digits in re.findall(r"\d{1,15}", text))
    for match in _SCALED.finditer(text):
        yield from (value * _SCALES[match["scale"].lower()] for value in _values(match["number"]))
    for match in _NUMBER_WORD.finditer(text):
        yield float(_NUMBER_WORDS[re.sub(r"[\s-]+", " ", match[0].lower())])


def _values(written: str) -> set[float]:
    """Return what a number may mean: a point or comma separates thousands in one language, decimals in another."""
    readings = [re.sub(rf"[^\d{kept}]", "", written).replace(",", ".") for kept in (".", ",", "")]
    return {float(reading) for reading in readings if re.fullmatch(r"\d{1,15}(?:\.\d+)?", reading)}
