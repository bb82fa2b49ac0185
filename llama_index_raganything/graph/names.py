"""Names in running text, found without a model: capitalised spans, quoted titles, acronyms, identifiers, CJK names.

A name in a longer name ("Barack Obama" in "President Barack Obama") cannot be recognised from the sentence alone: it is
one only if some other text knows it. So every sentence yields *candidates*: the longest spans, marked ``whole``, and
the shorter ones inside them or one or two words beyond them. Which of them are mentions is settled by
the graph, which knows all titles and all names (:mod:`llama_index_raganything.graph.mirror`).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from importlib import resources
from itertools import accumulate
from typing import Final, NamedTuple

from llama_index_raganything.text.characters import CJK
from llama_index_raganything.text.terms import word_list


@cache
def words_called(name: str) -> frozenset[str]:
    """Return a packaged list of folded words.

    Args:
        name: ``connectors`` (are inside names), ``not_names`` (have a capital without being names: words that begin
            sentences, months, days), ``honorifics``, ``name_suffixes``, or ``generic_headings`` (say nothing about
            what is below them).
    """
    source = resources.files(__package__) / "name_words.json"
    return frozenset(json.loads(source.read_text("utf-8"))[name].split())


MAX_NAME_WORDS: Final = 8
"""Longer spans are lists in capitals, not names."""

MAX_NAME_CHARS: Final = 120
_EXTENSION_WORDS: Final = 2
_SHORTEST: Final = 2

_WORD = re.compile(rf"[{CJK}]+|[^\W_{CJK}]+(?:['\u2019][^\W_{CJK}]+)*")
_IS_CJK = re.compile(rf"[{CJK}]")
_POSSESSIVE = re.compile(r"['\u2019](?:s\b|(?=\s|$))", re.IGNORECASE)
_POSSESSIVES: Final = frozenset({"'s", "\u2019s", "'S", "\u2019S"})
_QUOTED = re.compile(
    r"[\"\u201c\u00ab]([^\"\u201c\u201d\u00ab\u00bb\n]{2,60})[\"\u201d\u00bb]|[《「『〈【]([^》」』〉】\n]{2,40})[》」』〉】]"
)

_ARTICLES: Final = frozenset({"the", "a", "an"})
_SPLITTERS: Final = frozenset(["and", "&", "in", "on", "for", "at", "to", "of", "y", "e", "et", "und"])


# Chinese function words and verbs at which a run of characters is cut into candidate names.
_CJK_CUT = re.compile(
    "的|了|是|在|和|与|與|及|由|于|於|被|把|从|從|向|等|也|都|而|或|之|其|这|這|该|該|此|我们|他们|她们|它们|他|她|它|"
    "没有|可以|但|并且|以及|还|還|很|更|最|已经|曾|因为|因|所以|所|如果|若|即|使|让|讓|给|給|"
    "通过|根据|包括|属于|位于|成立|提供|使用|负责|毕业|担任|任职|出生|就读|获得|发表|"
    "は|が|を|に|で|と|の|も|へ|から|まで|より|です|ます|した|する|して|される|いる|ある"
)
_CJK_MIN: Final = 2
_CJK_MAX: Final = 12
_CJK_EDGE: Final = 6


@cache
def _stop_words() -> frozenset[str]:
    return words_called("not_names") | words_called("connectors") | word_list("stop_words")


class Candidate(NamedTuple):
    """A stretch of a sentence that may name something.

    Attributes:
        key: The name in the form in which names are compared.
        start: Where it begins in the text, in characters.
        end: Where it ends.
        whole: True for the longest span and its parts between connectors; False for what may be a name only if
            another text knows it.
    """

    key: str
    start: int
    end: int
    whole: bool


@lru_cache(maxsize=65_536)
def fold(text: str) -> str:
    """Return text in lower case without accents, in compatibility form."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFKC", "".join(c for c in decomposed if not unicodedata.combining(c))).lower()


def name_key(surface: str) -> str:
    """Return the form in which names are compared: folded words, no possessive, no leading article.

    Args:
        surface: A name as written, such as ``"The Beatles'"``.

    Returns:
        The key, such as ``"beatles"``; empty when there is no word in it.
    """
    words = [fold(word) for word in _WORD.findall(_POSSESSIVE.sub(" ", surface[: 4 * MAX_NAME_CHARS]))]
    return _key(words)[:MAX_NAME_CHARS]


def _key(words: Sequence[str]) -> str:
    if len(words) > 1 and words[0] in _ARTICLES:
        words = words[1:]
    # "Thelma & Louise" is "Thelma and Louise".
    return " ".join([word for word in words if word != "and"] if len(words) > 2 else words)


class Word(NamedTuple):
    """A word of a text: its characters from ``start`` to ``end``, folded, and whether it looks like part of a name.

    Of a word longer than any name, and of a run of CJK characters, ``folded`` is empty: neither is compared as such.
    """

    text: str
    start: int
    end: int
    folded: str
    capital: bool
    cjk: bool


def words_of(text: str, start: int = 0, end: int | None = None) -> list[Word]:
    """Return the words of a stretch of text.

    Args:
        text: The whole text.
        start: Where the stretch begins.
        end: Where it ends.
    """
    found = []
    for match in _WORD.finditer(text, start, len(text) if end is None else end):
        word = match.group()
        first, stop = match.span()
        if word[-2:] in _POSSESSIVES:
            word, stop = word[:-2], stop - 2
        if word.isascii():
            cjk, folded = False, word.lower()
        else:
            cjk = _IS_CJK.match(word) is not None
            folded = fold(word) if not cjk and len(word) <= MAX_NAME_CHARS else ""
        capital = (word[0].isupper() or word[0].isdigit()) and len(word) <= MAX_NAME_CHARS
        found.append(Word(word, first, stop, folded, capital, cjk))
    return found


def candidates_of(text: str, words: Sequence[Word]) -> list[Candidate]:
    """Return the candidate names of one sentence.

    Args:
        text: The whole text.
        words: The words of the sentence, from :func:`words_of`.

    Returns:
        Candidates in order of their position; equal keys may repeat.
    """
    found = _Found(words)
    for first, last in _spans(text, words):
        for part_first, part_last in _parts(words, first, last):
            found.add(part_first, part_last, whole=True)
        for left in range(first, last):
            found.add_ends(left, left + 1, last)
        for right in _extensions(text, words, last):
            found.add(first, right, whole=False)
        # "On Broadway", "La Valentina": a name may begin with a word that usually only begins a sentence.
        left = _lead(text, words, first)
        if left < first:
            found.add_ends(left, first + 1, last)
    by_place = found.by_place
    for candidate in (*_quoted(text, words), *_cjk_names(words)):
        by_place.setdefault((candidate.start, -candidate.end), candidate)
    return [by_place[place] for place in sorted(by_place)]


class _Found:
    """Candidates of one sentence by where they begin and, so that longer ones sort first, minus where they end."""

    def __init__(self, words: Sequence[Word]) -> None:
        self._words = words
        self._folded = [word.folded for word in words]
        self._capital = [word.capital for word in words]
        # How many of the words before each are more than function words and numbers.
        self._solid = [
            0,
            *accumulate(word not in words_called("not_names") and not word.isdigit() for word in self._folded),
        ]
        self.by_place: dict[tuple[int, int], Candidate] = {}

    def add_ends(self, left: int, first_end: int, last: int) -> None:
        """Add what begins at a capitalised word and ends with one."""
        if self._capital[left]:
            for right in range(first_end, min(last, left + MAX_NAME_WORDS) + 1):
                if self._capital[right - 1]:
                    self.add(left, right, whole=False)

    def add(self, first: int, last: int, *, whole: bool) -> None:
        start, end = self._words[first].start, self._words[last - 1].end
        known = self.by_place.get((start, -end))
        if known is not None and (known.whole or not whole):
            return
        folded = self._folded
        if first + 1 < last and folded[first] in _ARTICLES:
            first += 1
        if self._solid[first] == self._solid[last]:
            return
        key = folded[first] if first + 1 == last else _key(folded[first:last])
        if _SHORTEST <= len(key) <= MAX_NAME_CHARS:
            self.by_place[start, -end] = Candidate(key, start, end, whole)


def _extensions(text: str, words: Sequence[Word], last: int) -> Iterator[int]:
    """Yield where a name ends that takes in one or two words after its capitals."""
    for right in range(last + 1, min(len(words), last + _EXTENSION_WORDS) + 1):
        if words[right - 1].cjk or not _close(text, words[right - 2], words[right - 1]):
            return
        if words[right - 1].folded in _stop_words():
            return
        yield right


def _spans(text: str, words: Sequence[Word]) -> Iterator[tuple[int, int]]:
    """Yield the longest runs of capitalised words, connectors inside them included."""
    if not any(word.capital for word in words):
        return
    index = 0
    while index < len(words):
        word = words[index]
        if word.cjk or not word.capital or (word.folded in words_called("not_names")):
            index += 1
            continue
        last = index + 1
        probe = last
        while probe < len(words) and probe - last < 3 and _close(text, words[probe - 1], words[probe]):
            if words[probe].cjk:
                break
            if words[probe].capital:
                last = probe = probe + 1
            elif words[probe].folded in words_called("connectors"):
                probe += 1
            else:
                break
        if any(not w.folded.isdigit() for w in words[index:last]):
            yield index, last
        index = last


def _lead(text: str, words: Sequence[Word], first: int) -> int:
    """Return where a span begins when capitalised function words before it are counted in, at most two."""
    left = first
    while left > max(0, first - 2) and words[left - 1].capital and _close(text, words[left - 1], words[left]):
        if words[left - 1].folded not in words_called("not_names") or words[left - 1].folded in _ARTICLES:
            break
        left -= 1
    return left


def _parts(words: Sequence[Word], first: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield a span and its parts between connectors."""
    if last - first <= MAX_NAME_WORDS:
        yield first, last
    start = first
    for index in range(first, last + 1):
        if index == last or words[index].folded in _SPLITTERS:
            left = start
            while left < index and not words[left].capital:
                left += 1
            if left < index and (left, index) != (first, last) and index - left <= MAX_NAME_WORDS:
                yield left, index
            start = index + 1


def _close(text: str, left: Word, right: Word) -> bool:
    """Whether two words may belong to one name: blanks, hyphens, "&" or the dot of an initial between them."""
    gap = text[left.end : right.start]
    if gap in (" ", "-"):
        return True
    if gap.startswith(("'s ", "\u2019s ")):
        return True
    if gap.startswith("."):
        return len(left.text) <= 3 and left.capital and gap.strip(". ") == ""
    return len(gap) <= 3 and gap.strip(" \t\n\u00a0-\u2010\u2011&/'\u2019") == ""


def _quoted(text: str, words: Sequence[Word]) -> Iterator[Candidate]:
    if not words:
        return
    for match in _QUOTED.finditer(text, words[0].start and max(0, words[0].start - 1), words[-1].end + 1):
        group = 1 if match[1] is not None else 2
        key = name_key(match[group])
        if key:
            yield Candidate(key, match.start(group), match.end(group), True)


def _cjk_names(words: Sequence[Word]) -> Iterator[Candidate]:
    for word in words:
        if not word.cjk:
            continue
        start = 0
        for cut in [*_CJK_CUT.finditer(word.text), None]:
            stop = cut.start() if cut else len(word.text)
            if stop - start >= _CJK_MIN:
                yield from _cjk_pieces(word, start, stop)
            start = cut.end() if cut else stop


def _cjk_pieces(word: Word, start: int, stop: int) -> Iterator[Candidate]:
    def piece(left: int, right: int, whole: bool) -> Candidate:
        return Candidate(fold(word.text[left:right]), word.start + left, word.start + right, whole)

    if stop - start <= _CJK_MAX:
        yield piece(start, stop, True)
    for size in range(_CJK_MIN, min(_CJK_EDGE, stop - start - 1) + 1):
        yield piece(start, start + size, False)
        yield piece(stop - size, stop, False)
