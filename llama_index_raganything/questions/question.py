"""What a question asks for, read without a language model.

English first; the same forms in Chinese. A question may point at pages ("page 14", "the last two slides",
"第3页"), at labelled parts ("Figure 4", "Appendix B", "表 1"), at the document as a whole (its title, author,
date), at kinds of elements ("which chart") or at kinds of answers (an e-mail address, a telephone number).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from llama_index_raganything.text.characters import HAN
from llama_index_raganything.text.terms import content_tokens, tokenize, word_list

_WORDS: Final = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_ORDINALS: Final = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
)
_CHINESE: Final = "一二三四五六七八九十"
_NUMBERS: Final = (
    {word: number for number, word in enumerate(_WORDS.split(), 1)}
    | {word: number for number, word in enumerate(_ORDINALS.split(), 1)}
    | {word: number for number, word in enumerate(_CHINESE, 1)}
    | {"十" + word: 10 + number for number, word in enumerate(_CHINESE[:9], 1)}
    | {"二十": 20, "两": 2, "a": 1}
)
_MAX_RANGE: Final = 50
_DIGIT_OR_CAPITALS = re.compile(r"\d|[A-Z]\.?[A-Z]")

_CARDINAL = rf"(?:\d{{1,4}}|{'|'.join(sorted(_WORDS.split(), key=len, reverse=True))})"
_ORDINAL = rf"(?:\d{{1,4}}(?:st|nd|rd|th)|{'|'.join(sorted(_ORDINALS.split(), key=len, reverse=True))})"
_HAN_NUMBER = rf"(?:\d{{1,4}}|[{_CHINESE}两]{{1,3}})"
_PAGE = r"(?:pages?|slides?|pp?\.)"

_PAGE_LIST = re.compile(
    rf"\b{_PAGE}\s*(?:no\.?|number|#)?\s*(?P<list>{_CARDINAL}\b(?:\s*(?:,\s*and|,|and|&|or|to|through|-|–|—)\s*"
    rf"(?:{_PAGE}\s*)?{_CARDINAL}\b)*)",
    re.IGNORECASE,
)
_PAGE_ROMAN = re.compile(r"\bpages?\s+(?P<label>[ivxl]+)\b", re.IGNORECASE)
_PAGE_ORDINAL = re.compile(rf"\b(?P<number>{_ORDINAL})\s+(?:page|slide)\b", re.IGNORECASE)
_FIRST_PAGES = re.compile(rf"\bfirst\s+(?P<count>{_CARDINAL}\s+)(?:pages|slides)\b", re.IGNORECASE)
_LAST_PAGES = re.compile(
    rf"\b(?:last|final|closing)\s+(?P<count>{_CARDINAL}\s+)?(?:pages?|slides?)\b|\bback\s+cover\b", re.IGNORECASE
)
_COVER = re.compile(
    rf"\b(?:(?P<number>{_ORDINAL})\s+)?(?:(?<!back\s)cover|title\s+(?:page|slide)|front\s+page)\b(?!\s+letter)",
    re.IGNORECASE,
)
_HAN_PAGES = re.compile(rf"第\s*(?P<start>{_HAN_NUMBER})\s*(?:[-–—到至~]\s*(?P<end>{_HAN_NUMBER})\s*)?[页頁张張]")
_HAN_FIRST = re.compile(rf"前\s*(?P<count>{_HAN_NUMBER})\s*[页頁]")
_HAN_LAST = re.compile(rf"(?:最后|最後|末)\s*(?P<count>{_HAN_NUMBER})?\s*[页頁]")
_HAN_COVER = re.compile(r"封面|首[页頁]|扉[页頁]")
_STEP = re.compile(rf"(?P<range>to|through|-|–|—)|(?P<number>{_CARDINAL}\b)", re.IGNORECASE)

LABEL_KINDS: Final = {
    word: kind
    for kind, words in (
        ("figure", "fig figure figures 图 圖"),
        ("table", "tab table tables 表"),
        ("appendix", "appendices 附录 附錄"),
        ("annex", "annexes"),
        ("equation", "eq 公式 式"),
        ("chapter", "章"),
        ("section", "节 節"),
    )
    for word in words.split()
}
_LABEL_NUMBER = (
    r"(?:[A-Za-z]{1,2}[.\-–])?\d{1,4}(?:[.\-]\d+)*[a-z]?(?![A-Za-z\d])|[IVX]{1,5}(?![A-Za-z\d.\-])"
    r"|[A-Z](?![A-Za-z\d.\-–'])"
)
_LABEL = re.compile(
    r"\b(?P<kind>(?i:figures?|fig|tables?|tab|charts?|diagrams?|appendix|appendices|annex(?:es)?|exhibits?|sections?"
    r"|chapters?|units?|parts?|items?|steps?|equations?|eq|algorithms?|listings?|schedules?|notes?|articles?"
    r"|lessons?|modules?|objectives?|questions?|problems?|exercises?|theorems?))\.?[\s\-]*(?i:no\.?|number|\#)?\s*\(?"
    rf"(?P<list>(?:{_LABEL_NUMBER})(?:\s*(?:,\s*and|,|and|&|or)\s*(?:{_LABEL_NUMBER}))*)"
)
_APPENDIX_LETTER = re.compile(r"\b(?P<kind>appendix|annex|exhibit)\s+(?P<list>[a-z])\b(?!-\w)", re.IGNORECASE)
_HAN_LABEL = re.compile(
    r"(?P<kind>附录|附錄|公式|图|圖|表)\s*(?P<list>[A-Z](?![A-Za-z\d.\-])|(?:[A-Z][.\-])?\d+(?:[.\-]\d+)*)"
)
_HAN_SECTION = re.compile(rf"第\s*(?P<list>\d+(?:\.\d+)*|{_HAN_NUMBER})\s*(?P<kind>[章节節])")
_LIST_ITEM = re.compile(_LABEL_NUMBER)

_PLACES: Final = (
    *(_PAGE_LIST, _PAGE_ROMAN, _PAGE_ORDINAL, _FIRST_PAGES, _LAST_PAGES, _COVER),
    *(_HAN_PAGES, _HAN_FIRST, _HAN_LAST, _HAN_COVER, _LABEL, _APPENDIX_LETTER, _HAN_LABEL, _HAN_SECTION),
)

_ABOUT_DOCUMENT = re.compile(
    r"\b(?:title|subtitle|authors?|wrote|written by|author(?:ed)?|publish(?:ed|er|ing)?|publication|issued|produced by"
    r"|date of (?:the|this) (?:\w+ )?(?:document|report|paper|presentation|letter|memo)"
    r"|(?:document|report|case|docket|file|reference|isbn|doi)\s*(?:date|number|no\b)|plaintiffs?|defendants?"
    r"|petitioners?|respondents?|logo|presenters?|presented by|prepared (?:by|for)|incident and report dates?)\b"
    r"|标题|作者|出版|发布日期|日期",
    re.IGNORECASE,
)
_KINDS: Final = (
    ("table", re.compile(r"\b(?:tables?|tabular|rows?|columns?)\b|表格?", re.IGNORECASE)),
    (
        "image",
        re.compile(
            r"\b(?:figures?|fig\.|images?|pictures?|photos?|photographs?|diagrams?|charts?|graphs?|plots?|maps?"
            r"|illustrations?|logos?|colou?rs?|icons?|drawings?|screenshots?)\b|图|圖|照片",
            re.IGNORECASE,
        ),
    ),
    ("equation", re.compile(r"\b(?:equations?|formulas?|formulae)\b|公式|方程", re.IGNORECASE)),
    ("code", re.compile(r"\b(?:code|listings?|algorithms?|functions?|snippets?)\b|代码", re.IGNORECASE)),
)
_COUNTED = re.compile(
    r"\b(?:how many|number of|list (?:all )?the|what are the)\s+(?:\w+\s+){0,2}?"
    r"(?P<kind>tables|figures|charts|images|pictures|appendices|equations|diagrams|graphs|exhibits)\b|"
    r"(?:多少|几)[个张幅]?(?P<han>表|图|附录)",
    re.IGNORECASE,
)
_ASKS_MOST = re.compile(
    r"\b(?:highest|largest|most|maximum|max|biggest|greatest|fastest|longest|best|top)\b|最[高大多长快]", re.I
)
_ASKS_LEAST = re.compile(
    r"\b(?:lowest|smallest|least|minimum|min|fewest|shortest|slowest|worst)\b|最[低小少短慢]", re.I
)
_ANSWERS: Final = (
    ("email", re.compile(r"\be-?mails?\b|邮箱|邮件地址", re.IGNORECASE)),
    (
        "url",
        re.compile(r"\b(?:url|web\s?(?:site|page|address)s?|websites?|hyperlinks?|links?)\b|网址|网站", re.IGNORECASE),
    ),
    ("phone", re.compile(r"\b(?:(?:tele)?phone|fax|mobile|hotline|tel\.?)\b|电话|传真", re.IGNORECASE)),
)
_HAN = re.compile(rf"[{HAN}]")
_WORD = re.compile(r"[^\W\d_]+")
_NAME = re.compile(r"(?<=[\w,] )[^\W\d_]{2,}")
_MOST_NAMES: Final = 0.5
_LEAST_STEM: Final = 5
_MOST_ENDING: Final = 3
_HAN_FUNCTION_WORDS = re.compile(
    r"什么|哪[些个里儿年位种]?|多少|几[个位种年]?|如何|怎[么样]+|为什么|为何|请问|何时|是否|有没有|是不是|能否|可否|分别"
    r"|[谁吗呢么是的了在有和与及或为被把对从到]"
)
_FORMAT_REQUEST = re.compile(
    r"(?<=[.?!,;])\s*(?:please\s+)?(?:(?:give|write|return|save|format|round|list|provide|report|answer|express|represent)\b"
    r"[^.?!]{0,200}\b(?:format(?:ted)?|integer|decimals?|list|percent(?:age)?|order|int|float|string|million|answer|dates?)\b"
    r"(?:[^.?!]|\.(?=\d)){0,200}|your (?:report|answer)[^.?!]{0,200})[.?!]?",
    re.IGNORECASE,
)
"""A sentence that says in which form the answer is wanted, and nothing about what to look for."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a question asks for.

    Attributes:
        text: The question as given.
        terms: Its content words as tokens, in order, without words that only ask.
        all_terms: Its content words including those that ask; used when nothing else is left.
        keywords: The words of ``terms`` as written, for a keyword search that reduces words itself.
        pages: Page or slide numbers named, which may be printed labels or positions.
        positions: Positions named for certain ("the first three pages", "the cover"), counted from 1.
        last_pages: How many pages from the end are meant; 0 when none.
        page_labels: Printed labels that are no numbers ("iv").
        labels: Labelled parts, as (kind, number), such as ``("figure", "4")``.
        kinds: Content types the words point at: table, image, equation, code.
        answers: Kinds of answer asked for: email, url, phone.
        counted: Kind of labelled part that is to be counted or listed, or an empty string.
        about_document: The question asks for title, author, date or parties of the document.
    """

    text: str
    terms: tuple[str, ...]
    all_terms: tuple[str, ...]
    keywords: tuple[str, ...] = ()
    pages: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()
    last_pages: int = 0
    page_labels: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    kinds: frozenset[str] = frozenset()
    answers: frozenset[str] = frozenset()
    counted: str = ""
    about_document: bool = False


@lru_cache(maxsize=256)
def understand(text: str) -> Question:
    """Read what a question asks for.

    Args:
        text: The question, in English or Chinese; other languages yield their content words only.

    Returns:
        What it asks for.
    """
    text = text[:4000]
    all_terms = tuple(content_tokens(text))
    asking = word_list("question_words")
    asked = without_format_request(text)
    empty = asking | word_list("stop_words")
    pairs = zip(tokenize(asked), tokenize(asked, stem=False), strict=True)
    kept = [(token, word) for token, word in pairs if token not in empty]
    terms = tuple(token for token, _ in kept)
    counted = _COUNTED.search(text)
    return Question(
        text=text,
        terms=terms or all_terms,
        all_terms=all_terms,
        keywords=tuple(word for _, word in kept) or tuple(tokenize(text, stem=False)),
        pages=_pages(text),
        positions=_positions(text),
        last_pages=_last_pages(text),
        page_labels=tuple(match["label"].lower() for match in _PAGE_ROMAN.finditer(text)),
        labels=_labels(text),
        kinds=frozenset(kind for kind, pattern in _KINDS if pattern.search(text)),
        answers=frozenset(kind for kind, pattern in _ANSWERS if pattern.search(text)),
        counted=_kind(counted["kind"] or counted["han"]) if counted else "",
        about_document=bool(_ABOUT_DOCUMENT.search(text)),
    )


def without_format_request(text: str) -> str:
    """Return a question without the sentence that says in which form the answer is wanted."""
    return _FORMAT_REQUEST.sub(" ", text)


def without_function_words(text: str) -> str:
    """Put blanks in the place of Chinese function words.

    Pairs of characters that straddle one name nothing, and would count as words not found.

    Args:
        text: A question; one without Chinese characters stays as it is.
    """
    return _HAN_FUNCTION_WORDS.sub(" ", text) if _HAN.search(text) else text


def without_places(text: str) -> str:
    """Put blanks in the place of pages and labels that a question names ("page 14", "Figure 3")."""
    for pattern in _PLACES:
        text = pattern.sub(" ", text)
    return text


def may_name_facts(question: str) -> bool:
    """Return whether a question may name a number, a year, a code or an acronym."""
    return _DIGIT_OR_CAPITALS.search(unicodedata.normalize("NFKC", question)) is not None


def superlatives_in(question: str) -> list[str]:
    """Return the words of a question that ask for the highest or lowest."""
    return [*_ASKS_MOST.findall(question), *_ASKS_LEAST.findall(question)]


def wants_most(question: str) -> bool | None:
    """Return True for a question for the highest, False for one for the lowest, and None for any other."""
    if _ASKS_MOST.search(question):
        return True
    return False if _ASKS_LEAST.search(question) else None


def names_in(question: str) -> frozenset[str]:
    """Return the stems of the names in an English question: words with a capital that begin no sentence.

    There are none where most words have a capital, as in a title.
    """
    found = [match for match in _NAME.finditer(question) if match[0][0].isupper()]
    names = [m[0] for m in found if not question[m.start() - 2].isupper() and m[0].lower() not in LABEL_KINDS]
    if len(names) > _MOST_NAMES * len(_WORD.findall(question)):
        return frozenset()
    return frozenset(content_tokens(" ".join(names)))


def in_words_of(terms: Iterable[str], vocabulary: Iterable[str]) -> tuple[str, ...]:
    """Replace the terms of a question that no passage has by words of the passages with another ending.

    Stemming keeps "depart" and "departure" apart ("depart", "departur"); a table has one where the question has the
    other.

    Args:
        terms: Stemmed words of the question.
        vocabulary: Stemmed words of the passages.

    Returns:
        The terms in order; one that is missing becomes the shortest word that begins with it, or that it begins
        with, when they share five letters or more and differ by three at most.
    """
    words = set(vocabulary)
    return tuple(term if term in words or len(term) < _LEAST_STEM else _nearest(term, words) for term in terms)


def _nearest(term: str, words: set[str]) -> str:
    near = [
        word
        for word in words
        if len(word) >= _LEAST_STEM
        and abs(len(word) - len(term)) <= _MOST_ENDING
        and (word.startswith(term) or term.startswith(word))
    ]
    return min(near, key=lambda word: (abs(len(word) - len(term)), word), default=term)


def _number(word: str) -> int:
    word = word.strip().lower()
    digits = re.match(r"\d+", word)
    return int(digits.group()) if digits else _NUMBERS.get(word, 0)


def _pages(text: str) -> tuple[int, ...]:
    found: dict[int, None] = {}
    for match in _PAGE_LIST.finditer(text):
        found.update(dict.fromkeys(_expand(match["list"])))
    for match in _PAGE_ORDINAL.finditer(text):
        if _number(match["number"]) > 1:
            found[_number(match["number"])] = None
    for match in _HAN_PAGES.finditer(text):
        start = _number(match["start"])
        end = _number(match["end"]) if match["end"] else start
        found.update(dict.fromkeys(range(start, min(end, start + _MAX_RANGE) + 1)))
    return tuple(number for number in found if number > 0)


def _expand(text: str) -> list[int]:
    """Return the numbers of "3, 5 and 7-9"."""
    numbers: list[int] = []
    in_range = False
    for match in _STEP.finditer(text):
        if match["range"]:
            in_range = True
            continue
        number = _number(match["number"])
        if in_range and numbers and number > numbers[-1]:
            numbers.extend(range(numbers[-1] + 1, min(number, numbers[-1] + _MAX_RANGE) + 1))
        else:
            numbers.append(number)
        in_range = False
    return numbers


def _positions(text: str) -> tuple[int, ...]:
    found: dict[int, None] = {}
    for match in (*_FIRST_PAGES.finditer(text), *_HAN_FIRST.finditer(text)):
        found.update(dict.fromkeys(range(1, min(_number(match["count"]), _MAX_RANGE) + 1)))
    if re.search(r"\b(?:first|1st)\s+(?:page|slide)\b", text, re.IGNORECASE) or _HAN_COVER.search(text):
        found[1] = None
    for match in _COVER.finditer(text):
        found[_number(match["number"]) if match["number"] else 1] = None
    return tuple(number for number in found if number > 0)


def _last_pages(text: str) -> int:
    match = _LAST_PAGES.search(text) or _HAN_LAST.search(text)
    if match is None:
        return 0
    return min(max(1, _number(match["count"] or "1")), _MAX_RANGE)


def _kind(word: str) -> str:
    word = word.lower().rstrip(".")
    if word in LABEL_KINDS:
        return LABEL_KINDS[word]
    return LABEL_KINDS.get(word.rstrip("s"), word.rstrip("s"))


def _labels(text: str) -> tuple[tuple[str, str], ...]:
    found: dict[tuple[str, str], None] = {}
    for pattern in (_LABEL, _APPENDIX_LETTER, _HAN_LABEL):
        for match in pattern.finditer(text):
            letters = match["list"].upper() if pattern is _APPENDIX_LETTER else match["list"]
            for number in _LIST_ITEM.findall(letters):
                found[(_kind(match["kind"]), number.upper())] = None
    for match in _HAN_SECTION.finditer(text):
        number = match["list"] if match["list"][0].isdigit() else str(_number(match["list"]))
        found[(_kind(match["kind"]), number)] = None
    return tuple(found)
