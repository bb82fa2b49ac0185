"""What a text is about, where nobody gave it a title: pseudo-titles from its first sentence, with weights.

The rules and their weights were measured on multi-hop questions over passages without titles; what they are worth is
in ``docs/graph.md``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from llama_index_raganything.graph.facts import Subject
from llama_index_raganything.graph.names import Candidate, Word, name_key, words_called

_BEGINS_WITHIN: Final = 4
_EXTENDED_CHARS: Final = 90
_EXTENDED_WORDS: Final = 10
_LEAD_CHARS: Final = 12

DEFINED: Final = 1.0
BEGINS: Final = 0.9
LATER: Final = 0.4
FIRST_LAST: Final = 0.8
FIRST_TWO: Final = 0.64
SURNAME: Final = 0.5
TITLED: Final = 0.9
KNOWN_AS: Final = 0.8
SHORT_FORM: Final = 0.9
PART: Final = 0.6

# "to be" and "to mean" where a definition has them, in the languages whose sentences put them behind the subject.
_DEFINES = re.compile(
    r"\s*(?:\([^()]{0,200}\)\s*|,[^,.;]{1,80},\s*|\[[^\]]{0,80}\]\s*)*"
    r"(?:(?:is|was|are|were|refers?\s+to|means?|denotes?|stands\s+for|consists?\s+of|describes?"
    r"|ist|war|sind|waren|bezeichnet|est|était|sont|désigne|es|fue|era|son|eran|è|é|foi|são|sono|là)\b"
    r"|は|とは|란|은|는|是|为|為|指|即|：是)",
    re.IGNORECASE,
)
_DETERMINER = re.compile(
    r"\s+(?:an?|the|one|any|part|among|born|ein\w*|der|die|das|une?|les?|la|el|los|las|il|lo|uma?|os?|as?)\b|\s*[^\x00-\x7f]"
    r"|\s+l['\u2019]",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"\b(?:is|was|are|were|has|had|have|refers|means|became|began|took|won|can|may|will|would|stands|consists|ist|war"
    r"|est|es|fue|è|[a-z]{3,}ed)\b|[(;]|:(?!\s[A-Z])|是|为|為|指",
)
_CIRCUMSTANCE = re.compile(r"\s(?:in|on|at|for|to)\s")
_NICKNAME = re.compile(r"[\"\u201c](?P<nick>[^\"\u201c\u201d]{2,30})[\"\u201d]\s+(?P<last>\w[\w'\u2019-]+)\s*$")
_ALTERNATIVE = re.compile(r",?\s+or\s+(?:the\s+)?")
_ALSO = re.compile(
    r"\b(?:(?:also|better|formerly|previously|originally|commonly|professionally|often)\s+(?:known|called|named|referred\s+to)"
    r"(?:\s+(?:simply\s+)?as)?|known\s+as|nicknamed|n[ée]e|born|abbreviated(?:\s+as|\s+to)?|stylized\s+as|short\s+for)\s+"
    r"(?:the\s+)?[\"\u201c]?|又称|又稱|也称|简称|簡稱|又名|原名|别名",
    re.IGNORECASE,
)
_ALSO_WITHIN: Final = 260
_ACRONYM = re.compile(r"\(\s*[\"\u201c]?(?:the\s+)?[\"\u201c]?(?P<short>[A-Z][A-Z\d&.\-]{1,9})[\"\u201d]?s?\s*[);,]")
_DISAMBIGUATION = re.compile(r"\s*[(（][^()（）]*[)）]\s*$")
_NUMBERING = re.compile(
    r"^\s*(?:(?:\d+(?:\.\d+)*|[A-Z]|[IVX]+)[.):]?\s+|第[一二三四五六七八九十\d]+[章节節]\s*|[一二三四五六七八九十]+、)"
)


def title_forms(title: str) -> Iterator[tuple[str, float]]:
    """Yield a title and its short forms, each with how well it names the whole.

    Args:
        title: A title, such as ``"Springfield (Illinois)"`` or ``"Boston, Massachusetts"``.

    Yields:
        Pairs of form and weight: without disambiguation 1, before the first comma .9, around a colon .6.
    """
    title = " ".join(title.split())
    if not name_key(title):
        return
    yield title, 1.0
    plain = _DISAMBIGUATION.sub("", title)
    if plain and plain != title:
        yield plain, 1.0
    head, comma, _ = plain.partition(",")
    if comma and len(head) > 1:
        yield head.strip(), SHORT_FORM
    before, colon, after = plain.partition(":")
    if colon:
        yield from ((part.strip(), PART) for part in (before, after) if len(part.strip()) > 1)


def heading_name(heading: str) -> str:
    """Return what a heading names: without its number, or nothing when it is one that any document has.

    Args:
        heading: A heading, such as ``"3.1 Revenue by region"``.
    """
    name = _NUMBERING.sub("", heading.strip())
    key = name_key(name)
    if not key or key in words_called("generic_headings") or key.replace(" ", "").isdigit():
        return ""
    return name


@dataclass(frozen=True, slots=True)
class FirstSentence:
    """The first sentence of a text, as :func:`subjects_of` needs it."""

    text: str
    start: int
    end: int
    words: Sequence[Word]
    candidates: Sequence[Candidate]


def subjects_of(first: FirstSentence) -> tuple[list[Subject], bool]:
    """Return what a text without a title is about, read from its first sentence.

    Returns:
        Subjects, strongest first, and whether the sentence defines its subject.
    """
    found: dict[str, Subject] = {}

    def add(name: str, weight: float) -> None:
        name = " ".join(name.split()).strip(" ,.;:\"'\u201c\u201d")
        key = name_key(name)
        if key and (key not in found or found[key].weight < weight):
            found[key] = Subject(name, round(weight, 2))

    whole = [candidate for candidate in first.candidates if candidate.whole]
    leading = min(whole, key=lambda item: (item.start, -item.end), default=None)
    if leading is None:
        return [], False
    place = sum(1 for word in first.words if word.start < leading.start)
    name = first.text[leading.start : leading.end]
    # Behind the name: without quotes around it, and the dot of "Jr.".
    rest = first.text[leading.end : first.end].lstrip("\"'.\u201d\u2019》」』")
    defines = place <= _BEGINS_WITHIN and _says_what_it_is(name, rest, begins=place == 0)
    add(name, DEFINED if defines else BEGINS if place <= _BEGINS_WITHIN else LATER)
    if defines and 0 < place <= 2 and leading.start - first.start <= _LEAD_CHARS:
        add(first.text[first.start : leading.end], DEFINED)
    if place <= _BEGINS_WITHIN:
        for form, weight in (*_extended(first, leading), *_shorter(name)):
            add(form, weight)
        for form, weight in _personal_forms(name, rest, defines=defines):
            add(form, weight)
    for form in _also_known(first, leading):
        add(form, KNOWN_AS)
    return sorted(found.values(), key=lambda item: -item.weight), defines


def _says_what_it_is(name: str, rest: str, *, begins: bool) -> bool:
    """Whether what follows a name defines it.

    The first word of a sentence has a capital whatever it is ("Revenue was $5 million"), so alone it needs an article
    after the verb to be defined.
    """
    match = _DEFINES.match(rest)
    if match is None:
        return False
    if not begins or len(name.split()) > 1 or not name.isascii():
        return True
    return _DETERMINER.match(rest, match.end()) is not None


def _extended(first: FirstSentence, leading: Candidate) -> Iterator[tuple[str, float]]:
    """Yield the text from the name to the first verb ("the 2018 Kansas gubernatorial election was ...")."""
    stretch = first.text[leading.start : min(first.end, leading.start + _EXTENDED_CHARS)]
    match = _VERB.search(stretch)
    if match is None:
        return
    phrase = stretch[: match.start()].strip()
    if leading.end - leading.start < len(phrase) and len(phrase.split()) <= _EXTENDED_WORDS:
        yield phrase, DEFINED
        head, comma, _ = phrase.partition(",")
        if comma:
            yield head, 0.95


def _shorter(name: str) -> Iterator[tuple[str, float]]:
    """Yield a name without the circumstances after it, and without "Jr." or "Limited"."""
    head = _CIRCUMSTANCE.split(name, maxsplit=1)[0]
    if head != name:
        yield head, BEGINS
    words = name.split()
    if len(words) > 1 and words[-1].strip(".,").lower() in words_called("name_suffixes"):
        yield " ".join(words[:-1]), BEGINS
    nickname = _NICKNAME.search(name)
    if nickname:
        yield f"{nickname['nick']} {nickname['last']}", KNOWN_AS


def _personal_forms(name: str, rest: str, *, defines: bool) -> Iterator[tuple[str, float]]:
    """Yield forms of a person's name: first and last word, last word, without an honorific."""
    words = name.split()
    if len(words) > 2 and words[-1].strip(".,").lower() in words_called("name_suffixes"):
        words = words[:-1]
    capital = [word for word in words if word[:1].isupper()]
    if len(capital) != len(words):
        return
    personal = defines or rest.lstrip()[:1] in ("(", ",")
    if 3 <= len(words) <= 5 and personal:
        yield f"{words[0]} {words[-1]}", FIRST_LAST
        yield f"{words[0]} {words[1]}", FIRST_TWO
    if 2 <= len(words) <= 4:
        yield words[-1], SURNAME
    if len(words) > 1 and words[0].rstrip(".").lower() in words_called("honorifics"):
        yield " ".join(words[1:]), TITLED
        if len(words) > 3:
            yield f"{words[1]} {words[-1]}", TITLED * TITLED


def _also_known(first: FirstSentence, leading: Candidate) -> Iterator[str]:
    limit = first.start + _ALSO_WITHIN
    for match in _ALSO.finditer(first.text, first.start, min(first.end, limit)):
        following = [item for item in first.candidates if item.whole and 0 <= item.start - match.end() <= 1]
        if following:
            best = max(following, key=lambda item: item.end)
            yield first.text[best.start : best.end]
    alternative = _ALTERNATIVE.match(first.text, leading.end, first.end)
    if alternative:
        starting = [item for item in first.candidates if item.whole and item.start == alternative.end()]
        yield from (first.text[item.start : item.end] for item in starting[:1])
    for match in _ACRONYM.finditer(first.text, first.start, min(first.end, limit)):
        yield match["short"].rstrip(".")
