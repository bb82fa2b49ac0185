"""Questions about a document as a whole, read without a language model.

"How many tables are there?", "which figures show a map?", "list the appendices", "on which pages is X mentioned?":
ranking cannot answer these, a look at everything in the document can. A question is read only when all of its words
are understood; every other one is left to ranking. English and Chinese; the words are in ``whole_document.json``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Final, Literal

from llama_index_raganything.questions.question import understand, without_format_request
from llama_index_raganything.text.characters import HAN

Ask = Literal["count", "list", "which"]


@dataclass(frozen=True, slots=True)
class ItemKind:
    """A kind of item that documents contain: tables, charts, pages, sections, appendices.

    Attributes:
        name: What one of them is called.
        plural: What several are called.
        content_types: Content types of its nodes; empty for what is no node: pages, sections, documents.
        labels: Kinds of the labels of its captions, in lower case.
        marks: Words one of which a caption or text must have, where the content type alone is not enough.
        parts: Words that its headings start with ("appendix"), where it is a part of the text.
    """

    name: str
    plural: str
    content_types: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of the documents that a question is about.

    Attributes:
        pages: Numbers of pages, which may be printed labels or positions.
        positions: Positions of pages ("the first three pages"), counted from 1.
        last_pages: How many pages from the end are meant; 0 when none.
        page_labels: Printed labels that are no numbers ("iv").
        parts: Labelled parts, as (kind, number), such as ``("section", "3")``.
        part: Name of a part ("appendix", "related work"), or an empty string.
        files: File names.
        title: Words that say which document is meant ("annual" of "in the annual report").
        document: The question names the document as such.
    """

    pages: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()
    last_pages: int = 0
    page_labels: tuple[str, ...] = ()
    parts: tuple[tuple[str, str], ...] = ()
    part: str = ""
    files: tuple[str, ...] = ()
    title: tuple[str, ...] = ()
    document: bool = False


@dataclass(frozen=True, slots=True)
class WholeDocumentQuestion:
    """A question that only a look at everything in the document answers.

    Attributes:
        ask: ``count``, ``list``, or ``which``.
        kinds: What is counted or listed.
        words: What the items must show, mention or be about, as written; empty for no restriction.
        containing: Of pages, what must be on them ("which pages have charts?").
        scope: Where to look.
        chinese: The question is in Chinese.
    """

    ask: Ask
    kinds: tuple[ItemKind, ...]
    words: str = ""
    containing: tuple[ItemKind, ...] = ()
    scope: Scope = Scope()
    chinese: bool = False


@dataclass(frozen=True)
class Words:
    """The word lists, and the expressions made from them."""

    lists: dict[str, Any]
    kinds: dict[str, ItemKind]
    by_word: dict[str, ItemKind]
    by_singular: dict[str, ItemKind]
    by_chinese: dict[str, ItemKind]

    def any_of(self, name: str) -> str:
        """Return an expression for one word of a list."""
        return alternatives(self.lists[name])


def alternatives(words: list[str]) -> str:
    """Return an expression for one of some words, the longest first."""
    ordered = sorted(words, key=len, reverse=True)
    return "(?:" + "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in ordered) + ")"


@cache
def word_lists() -> Words:
    """Return the packaged word lists."""
    source = resources.files(__package__) / "whole_document.json"
    lists = json.loads(source.read_text("utf-8"))
    kinds = {}
    for name, entry in lists["kinds"].items():
        tuples = {key: tuple(entry.get(key, ())) for key in ("content_types", "labels", "marks", "parts")}
        kinds[name] = ItemKind(name, entry["plural"], **tuples)
    by_word = {word: kinds[name] for name, entry in lists["kinds"].items() for word in entry["words"]}
    by_singular = {word.removesuffix("s"): kind for word, kind in by_word.items()} | kinds
    by_chinese = {word: kinds[name] for name, entry in lists["kinds"].items() for word in entry["chinese"]}
    lists |= {"nouns": list(by_word), "singular": list(by_singular), "chinese_nouns": list(by_chinese)}
    return Words(lists, kinds, by_word, by_singular, by_chinese)


_PAGED: Final = frozenset({"page", "slide"})
_FOUND_IN: Final = _PAGED | {"document"}
_MAX_CHARS: Final = 500
_MAX_WORDS: Final = 10
_FILE_SUFFIX: Final = r"(?:pdf|docx?|pptx?|xlsx?|csv|md|txt|html?|epub|odt|ods|odp|rtf|png|jpe?g|json|xml)"
_FILE: Final = rf"[\"'“]?(?P<file>[^\s\"'“”]+\.{_FILE_SUFFIX})\b[\"'”]?"
_IN: Final = r"(?:in|within|inside|of|from|across|throughout|on|for|over|under|by|at)"
_THE: Final = (
    r"(?:(?:the|this|that|these|those|your|our|my|all|both|entire|whole|full|given|provided|attached|above)\s+)"
)
_TITLE_WORD: Final = r"(?!(?:in|of|on|for|at|by|from|there|the|a|an|is|are|and|or|that|which|with|about)\b)[\w&.’'-]+"
_NUMBER: Final = r"(?:\d{1,4}|[ivxl]+|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)"
_PAGES: Final = (
    rf"(?:pages?|slides?|pp?\.)\s*(?:number\s+)?{_NUMBER}\b"
    rf"(?:\s*(?:,\s*and|,|and|&|or|to|through|until|-|–|—)\s*(?:(?:page|slide)\s+)?{_NUMBER}\b)*"
    r"|(?:first|last|final)\s+(?:\w+\s+)?(?:pages?|slides?)|(?:cover|title)\s+page|cover"
    r"|(?:\w+)(?:st|nd|rd|th)\s+(?:page|slide)"
)
_LEAD: Final = re.compile(
    r"^(?:(?:please|kindly|and|so|then|ok(?:ay)?|hi|hello)\W+|(?:can|could|would|will)\s+you\s+(?:please\s+|kindly\s+)?"
    r"|i\s+(?:want|need|would\s+like|['’]d\s+like)\s+to\s+(?:know|see)\s+|(?:do\s+you\s+know|(?:tell|show)\s+me)\s+(?=how|which|what))+",
    re.IGNORECASE,
)


_THANKS: Final = re.compile(r"[\s,]+(?:please|thanks|thank\s+you)$", re.IGNORECASE)


@lru_cache(maxsize=256)
def read_whole_document_question(text: str) -> WholeDocumentQuestion | None:
    """Read a question about a document as a whole.

    Args:
        text: The question, in English or Chinese.

    Returns:
        What it asks for, or None for every other question.
    """
    if not text.strip() or len(text) > _MAX_CHARS:
        return None
    asked = without_format_request(text)
    found = [question for sentence in _sentences(asked) if (question := _read_sentence(sentence)) is not None]
    # Two questions in one are more than a count or a list can answer.
    return found[0] if len(found) == 1 and len(re.findall(r"[?？]", asked)) <= 1 else None


def _sentences(text: str) -> list[str]:
    # A point inside "report.pdf" or "3.2" ends no sentence.
    parts = re.split(r"[?？!！。;；\n]+|(?<!\bpp)(?<!\bp)\.(?=\s|$)", text)
    return [part.strip(" \t,，:：") for part in parts if part.strip(" \t,，:：")]


def _read_sentence(sentence: str) -> WholeDocumentQuestion | None:
    chinese = _read_chinese(sentence) if _HAN.search(sentence) else None
    if chinese is not None:
        return chinese
    sentence = " ".join(sentence.split())
    sentence = _THANKS.sub("", _LEAD.sub("", sentence)).strip()
    leading = _patterns().leading.match(sentence)
    before = leading["scope"] if leading else ""
    asked = sentence[leading.end() :] if leading else sentence
    mentions = _patterns().mentions.match(asked)
    if mentions is not None:
        return _read_mentions(mentions, before)
    for ask, pattern in _patterns().asks:
        match = pattern.match(asked)
        if match is not None:
            found = _read_rest(ask, match, before)
            if found is not None:
                return found
    return None


class _Patterns:
    """The expressions of English questions."""

    def __init__(self) -> None:
        words = word_lists()
        noun = words.any_of("nouns")
        modifier = rf"(?:{words.any_of('plain_modifiers')}|{words.any_of('telling_modifiers')})"
        nouns = (
            rf"(?P<mods>(?:{modifier}\s+)*)(?P<nouns>{noun}(?:\s*(?:,\s*and|,\s*or|,|and|&|or|/)\s*{noun})*)\b"
            r"(?![-'’])(?P<rest>.*)$"
        )
        some = r"(?:(?:all|every|each|any|of|the|me|out|a|complete|full)\s+)*"
        names = r"(?:(?:names?|titles?|captions?|labels?|numbers?|pages?)\s+(?:and\s+\w+\s+)?of\s+)?"
        self.asks: tuple[tuple[Ask, re.Pattern[str]], ...] = (
            ("count", _regex(rf"how\s+many\s+(?:of\s+the\s+)?{nouns}")),
            (
                "count",
                _regex(
                    r"(?:(?:what(?:['’]s|\s+is|\s+was)|give(?:\s+me)?|find|state|report|return|determine)\s+)?"
                    rf"(?:the\s+)?(?:total\s+|overall\s+)?(?:number|count)\s+of\s+{some}{nouns}"
                ),
            ),
            ("count", _regex(rf"count\s+(?:up\s+)?{some}{nouns}")),
            ("list", _regex(rf"(?:list|enumerate|itemi[sz]e)\s+{some}{names}{some}{nouns}")),
            (
                "list",
                _regex(
                    r"(?:name|show|give|find|get|identify|return|provide|display|print|output)\s+(?:me\s+)?"
                    rf"(?:(?:a|the)\s+(?:full\s+|complete\s+)?list\s+of\s+{some}|all\s+{some}){names}{some}{nouns}"
                ),
            ),
            ("list", _regex(rf"(?:what|which)\s+are\s+(?:all\s+)?(?:of\s+)?the\s+{names}{some}{nouns}")),
            (
                "which",
                _regex(
                    r"(?:on|in)\s+(?P<nouns>(?:which|what)\s+(?:pages|slides|documents|files))\b(?P<mods>)(?P<rest>.*)$"
                ),
            ),
            ("which", _regex(rf"(?:which|what)\s+(?:of\s+the\s+)?{nouns}")),
        )
        self.mentions = _regex(
            r"how\s+(?:many\s+times|often)\s+(?:is|are|do|does|did|was|were|has|have)\s+(?P<words>.+?)\s+"
            r"(?:been\s+)?(?:mentioned|referenced|referred\s+to|cited|appear(?:s|ed)?|occur(?:s|red)?|used|named)\b"
            r"(?P<rest>.*)$"
        )
        document = rf"(?:{_THE}*(?P<title>(?:{_TITLE_WORD}\s+){{0,4}}?){words.any_of('document_words')}(?:['’]s)?)"
        self.files = _regex(rf"\b{_IN}\s+{_THE}*(?:file\s+|document\s+)?{_FILE}")
        self.labels = _regex(
            rf"\b{_IN}\s+{_THE}*(?:section|chapter|appendix|annex|part|unit|exhibit)\s+(?:no\.?\s*)?"
            r"(?:\d+(?:\.\d+)*[a-z]?|[ivx]+|[a-z](?:\.\d+)*)\b(?!['’])"
        )
        self.pages = _regex(rf"\b(?:(?:on|in|from|within|of|at|between)\s+{_THE}*(?:{_PAGES}))(?![\w'’])")
        self.part = _regex(
            rf"\b{_IN}\s+{_THE}*(?P<part>{words.any_of('part_words')}|(?:[\w&-]+\s+){{1,5}}?(?=(?:section|chapter)\b))"
            r"\s*(?:section|chapter|part)?(?![\w'’])"
        )
        self.document = _regex(rf"\b{_IN}\s+{document}(?![\w'’-]|\s+of\b)")
        self.leading = _regex(
            rf"(?:(?:according\s+to|based\s+on|looking\s+at|considering)\s+(?P<basis>{_THE}*))?"
            rf"(?P<scope>(?:{_IN}\s+)?[^,]{{2,80}}?),\s*(?=how|which|what|list|count|name|show|give|find|on\s+wh|in\s+wh)"
        )
        part = r"(?:section|chapter|appendix|annex)\s+[\w.]+"
        file = _FILE.replace("<file>", "<owner_file>")
        self.owner = _regex(
            rf"(?:do|does|did)\s+(?P<owner>{file}|{document}|{part})"
            rf"\s+{words.any_of('holding_verbs')}\b(?:\s+in\s+total|\s+altogether)?"
        )
        self.owner_has = _regex(rf"(?P<owner>{file}|{document})\s+(?:has|contains|includes|have|contain|include)\b")
        self.owner_is = _regex(rf"(?:is|are)\s+(?P<owner>{document})(?:\s+(?:long|in\s+total))?")
        self.presence = _regex(
            r"(?:that\s+|which\s+)?(?:(?:are|is|were)\s+there\b|there\s+(?:are|is)\b|(?:can|could)\s+be\s+"
            rf"{words.any_of('presence')}|(?:have|has)\s+been\s+{words.any_of('presence')}|(?:(?:are|is|were)\s+)?"
            rf"{words.any_of('presence')}\b|(?:do|can)\s+(?:we|you|i)\s+(?:have|see|find)\b|(?:exist|exists|appear|appears)\b"
            r"|(?:are|is)\b(?=\s*$)|(?:in\s+total|in\s+all|altogether|here|overall)\b)"
        )
        self.restricted = _regex(
            rf"(?:(?:that|which|are|is|where|with|on\s+which)\s+)*(?P<verb>{words.any_of('showing_verbs')}"
            rf"|{words.any_of('relations')})\s+(?P<words>.+)$"
        )
        self.where = _regex(
            r"(?:(?:that|on\s+which|in\s+which|where)\s+)?(?:(?:is|are|was|were|do|does|did|can|could)\s+)?(?P<words>.+?)\s+"
            r"(?:(?:is|are|was|were|be|can\s+be)\s+)?(?:mentioned|found|discussed|shown|located|appear(?:s|ed|ing)?|occur(?:s|red)?"
            r"|listed|described|referenced|referred\s+to|cited|displayed|presented|seen|present|used|named)(?:\s+(?:on|in))?$"
        )
        self.noun = _regex(rf"(?:(?:a|an|any|some|at\s+least\s+one)\s+)?(?P<noun>{noun}|{words.any_of('singular')})$")


def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


@cache
def _patterns() -> _Patterns:
    return _Patterns()


def _read_rest(ask: Ask, match: re.Match[str], before: str) -> WholeDocumentQuestion | None:
    """Read the words around the kinds asked for; None when any of them is not understood."""
    kinds = _kinds(match["nouns"])
    patterns = _patterns()
    scope, left = Scope(), ""
    if before:
        scope, left = _take_scopes(before if re.match(rf"{_IN}\b", before, re.I) else f"in {before}", scope)
    if left:
        return None
    telling = [word for word in match["mods"].split() if word.lower() not in word_lists().lists["plain_modifiers"]]
    rest = match["rest"].strip()
    owner = (
        patterns.owner.match(rest)
        or patterns.owner_has.match(rest)
        or (patterns.owner_is.match(rest) if kinds[0].name in _PAGED else None)
    )
    if owner is not None:
        scope, left = _take_scopes(f"in {owner['owner']}", scope)
        rest = f"{left} {rest[owner.end() :]}".strip()
    scope, rest = _take_scopes(rest, scope)
    words = _restriction(kinds, rest)
    if words is None:
        return None
    question = WholeDocumentQuestion(ask, kinds, " ".join([*telling, words]).strip(), scope=scope)
    if ask == "which" and not words and not rest:
        return None  # "Which tables?" asks for nothing that could be looked up.
    return _contained_in_pages(question)


def _read_mentions(match: re.Match[str], before: str) -> WholeDocumentQuestion | None:
    """Read "how many times is X mentioned in the document": pages are counted. None for places other than documents."""
    scope, left = _take_scopes(f"{before} {match['rest']}", Scope())
    words = re.sub(r"^the\s+(?:word|term|name|phrase)\s+", "", match["words"], flags=re.I)
    if left or not (scope.document or scope.part or scope.parts) or not _are_plain(words):
        return None
    return WholeDocumentQuestion("count", (word_lists().kinds["page"],), words, scope=scope)


def _kinds(text: str) -> tuple[ItemKind, ...]:
    by_word = word_lists().by_word
    names = re.split(r"\s*(?:,\s*and\b|,\s*or\b|,|\band\b|&|\bor\b|/)\s*", text.lower())
    found = [by_word.get(re.sub(r"^(?:which|what)\s+", "", " ".join(name.split()))) for name in names]
    return tuple(dict.fromkeys(kind for kind in found if kind is not None))


def _take_scopes(text: str, scope: Scope) -> tuple[Scope, str]:
    """Take out of a text everything that says where to look; return it, and what is left of the text."""
    patterns = _patterns()
    for match in patterns.files.finditer(text):
        scope = replace(scope, files=(*scope.files, match["file"]), document=True)
    text = patterns.files.sub(" ", text)
    for match in patterns.labels.finditer(text):
        scope = replace(scope, parts=(*scope.parts, *_labels(match.group())))
    text = patterns.labels.sub(" ", text)
    for match in patterns.pages.finditer(text):
        scope = _with_pages(scope, match.group())
    text = patterns.pages.sub(" ", text)
    named = patterns.part.search(text)
    if named is not None:
        scope = replace(scope, part=named["part"].strip().lower())
        text = text[: named.start()] + " " + text[named.end() :]
    for match in patterns.document.finditer(text):
        scope = replace(scope, document=True, title=(*scope.title, *match["title"].split()))
    text = patterns.document.sub(" ", text)
    return scope, " ".join(text.split())


def _labels(text: str) -> tuple[tuple[str, str], ...]:
    # The letter of an appendix counts as a label in upper case only.
    kind, number = text.split()[-2:]
    return ((kind.lower(), number.upper()),)


def _with_pages(scope: Scope, text: str) -> Scope:
    text = re.sub(r"\bbetween\s+(\w+)\s+(\w+)\s+and\s+(?:(?:page|slide)\s+)?", r"\1 \2 - ", text, flags=re.I)
    asked = understand(text)
    return replace(
        scope,
        pages=(*scope.pages, *asked.pages),
        positions=(*scope.positions, *asked.positions),
        last_pages=max(scope.last_pages, asked.last_pages),
        page_labels=(*scope.page_labels, *asked.page_labels),
    )


def _restriction(kinds: tuple[ItemKind, ...], rest: str) -> str | None:
    """Return the words that items must show, "" for none, or None when the rest is not understood."""
    patterns = _patterns()
    present = patterns.presence.match(rest)
    without = rest[present.end() :].strip() if present else rest
    if not without:
        return ""
    # "Present" may be said of the items, or be what they do.
    match = patterns.restricted.match(without) or patterns.restricted.match(rest)
    if match is None and all(kind.name in _FOUND_IN for kind in kinds):
        match = patterns.where.match(without)
    if match is None or not _fits(match.groupdict().get("verb") or "", kinds, match["words"]):
        return None
    words = re.sub(r"^(?:(?:a|an|the|any|some|both)\s+)+", "", _without_presence(match["words"]), flags=re.I)
    return words if _are_plain(words) else None


def _fits(relation: str, kinds: tuple[ItemKind, ...], words: str) -> bool:
    """Accept "photos of the bridge", "tables that have footnotes"; not "equations of motion", "has it uploaded"."""
    relation = relation.lower()
    if relation == "of":
        return all(kind.marks or kind.name == "image" for kind in kinds)
    if relation == "with":
        return all(kind.name in _PAGED for kind in kinds)
    if relation == "from":
        return all(kind.content_types for kind in kinds)
    return relation not in {"have", "has"} or not words.lower().endswith("ed")


def _without_presence(text: str) -> str:
    """Return words without an "are there" or "that are shown" at their end."""
    end = re.search(r"\s+(?:are\s+there|there\s+are|(?:that\s+)?(?:are|is)\s+\w+ed|in\s+total|exist)$", text, re.I)
    return text[: end.start()] if end else text


def _are_plain(words: str) -> bool:
    tokens = re.findall(r"[\w'’-]+", words.lower())
    quoted = re.fullmatch(r"[\"'“‘].+[\"'”’]", words.strip()) is not None
    return 0 < len(tokens) <= _MAX_WORDS and (
        quoted or not set(tokens).intersection(word_lists().lists["not_in_words"])
    )


def _contained_in_pages(question: WholeDocumentQuestion) -> WholeDocumentQuestion:
    """Turn "pages with charts" from words into what pages contain."""
    if not question.words or not all(kind.name in _PAGED for kind in question.kinds):
        return question
    match = _patterns().noun.match(question.words)
    if match is None:
        return question
    words = word_lists()
    name = " ".join(match["noun"].lower().split())
    contained = words.by_word.get(name) or words.by_singular.get(name)
    if contained is None or not contained.content_types:
        return question
    return replace(question, words="", containing=(contained,))


# -- Chinese -----------------------------------------------------------------------------------------------------------

_HAN: Final = re.compile(rf"[{HAN}]")
_POLITE: Final = re.compile(r"^(?:请问一?下?|请你?|帮我|麻烦你?|你能|能否|能不能|我想知道)+")
_FILLING: Final = re.compile(r"一共|总共|总计|合计|共计|到底|分别|目前")
_SMALL_IN: Final = r"(?:里面|之中|当中|里|中|内|上)?"
_CHINESE_PAGES: Final = re.compile(
    rf"在?(?:第[\d一二三四五六七八九十两\-–—到至~\s]+[页頁]|前[\d一二三四五六七八九十两\s]+[页頁]|最后[\d一二三四五六七八九十两\s]*[页頁]|封面){_SMALL_IN}"
)
_CHINESE_PART: Final = re.compile(
    rf"在?(?P<label>第[\d.一二三四五六七八九十]+[章节節]|附录\s*[A-Z\d]|附錄\s*[A-Z\d]){_SMALL_IN}"
)
_MEASURE: Final = r"[个張张幅页章节条份处段组种副篇]?"
_MAX_CHINESE_WORDS: Final = 30
_NOT_IN_CHINESE_WORDS: Final = re.compile(r"多少|几个|哪|什么|谁|为何|怎|是否|最|比")


class _ChinesePatterns:
    """The expressions of Chinese questions."""

    def __init__(self) -> None:
        words = word_lists()
        noun = rf"(?P<noun>{words.any_of('chinese_nouns')})"
        mods = r"(?:不同的|不同|的)?"
        about = r"(?:关于|有关|涉及|提到|包含|显示|展示)"
        held = r"(?:显示|展示|包含|提到|提及|涉及|描述|介绍|说明|讨论|列出|含有|是关于|关于|有)(?:了|到)?"
        some = r"(?:所有|全部|每个|每张|一下|出)*(?:的)?"
        quantity = rf"(?:多少|几){_MEASURE}"
        asks: tuple[tuple[Ask, str], ...] = (
            ("count", rf"(?:包含|包括|含有|含|共|都)?有?(?:了)?{quantity}{mods}{noun}"),
            ("count", rf"{noun}的?(?:数量|总数|个数|张数|数目)?(?:共|都)?(?:有|是|为)?{quantity}"),
            ("count", r"共?有?(?:多少|几)(?P<noun>页)"),
            ("count", rf"共?有?{quantity}{about}(?P<words>.+?)的{noun}"),
            ("count", rf"{about}(?P<words>.+?)的{noun}共?有?{quantity}"),
            ("list", rf"(?:列出|列举|罗列|写出|给出|说出){some}{noun}(?:的?(?:标题|名称|编号|列表))?"),
            ("list", rf"(?:列出|列举|罗列|写出|给出|说出){some}{about}(?P<words>.+?)的{noun}"),
            ("list", rf"(?:都)?(?:包含|包括)?(?:了)?有?(?:哪些|什么){noun}"),
            ("list", rf"{noun}(?:都)?有(?:哪些|什么)"),
            ("list", rf"{about}(?P<words>.+?)的{noun}(?:都)?有哪些"),
            ("which", rf"(?:哪些|哪几)[个張张幅]?{noun}{held}(?P<words>.+)"),
            (
                "which",
                r"(?P<words>.+?)(?:出现在?|在)(?:哪些|哪几)(?P<noun>页)(?:上|中|里)?(?:出现|(?:被)?提到|提及)?(?:过)?",
            ),
        )
        self.asks = tuple((ask, re.compile(pattern)) for ask, pattern in asks)
        self.document = re.compile(
            rf"(?:在)?(?:这|本|该|此|整)?[份个篇本些]?{words.any_of('chinese_documents')}{_SMALL_IN}"
        )
        self.file = re.compile(
            rf"在?(?P<file>[\w.\-]+\.(?:pdf|docx?|pptx?|xlsx?|md|txt|html?|csv)){_SMALL_IN}", re.I | re.A
        )


@cache
def _chinese_patterns() -> _ChinesePatterns:
    return _ChinesePatterns()


def _read_chinese(sentence: str) -> WholeDocumentQuestion | None:
    scope, text = _take_chinese_scopes(_POLITE.sub("", "".join(sentence.split())))
    for ask, pattern in _chinese_patterns().asks:
        match = pattern.fullmatch(text)
        if match is None:
            continue
        words = (match.groupdict().get("words") or "").strip("“”\"'《》「」")
        if len(words) > _MAX_CHINESE_WORDS or _NOT_IN_CHINESE_WORDS.search(words):
            continue
        kind = word_lists().by_chinese[match["noun"]]
        return WholeDocumentQuestion(ask, (kind,), words, scope=scope, chinese=True)
    return None


def _take_chinese_scopes(text: str) -> tuple[Scope, str]:
    """Take out of a text what says where to look; return it, and what is left of the text."""
    patterns = _chinese_patterns()
    files = tuple(match["file"] for match in patterns.file.finditer(text))
    text = patterns.file.sub("", text)
    asked = [understand(match.group()) for match in _CHINESE_PAGES.finditer(text)]
    text = _CHINESE_PAGES.sub("", text)
    parts = tuple(label for match in _CHINESE_PART.finditer(text) for label in understand(match["label"]).labels)
    text = _CHINESE_PART.sub("", text)
    # "文档" itself can be counted: only a document with something after it is a place.
    named = patterns.document.match(text)
    document = (
        named is not None
        and named.end() < len(text)
        and not re.match(r"(?:共|总共|一共)?有?(?:多少|几)$", text[named.end() :])
    )
    if named is not None and document:
        text = text[named.end() :]
    text = _FILLING.sub("", text).strip("，, 、的")
    scope = Scope(
        pages=tuple(page for question in asked for page in question.pages),
        positions=tuple(page for question in asked for page in question.positions),
        last_pages=max((question.last_pages for question in asked), default=0),
        parts=parts,
        files=files,
        document=document or bool(files),
    )
    return scope, text
