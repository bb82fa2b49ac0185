"""Questions about a document as a whole, read without a language model.

"How many tables are there?", "which figures show a map?", "list the appendices", "on which pages is X mentioned?":
ranking cannot answer these, a look at everything that the document holds can. The reader is a gate as well: it takes
a question only when it understands all of its words, and leaves every other one to ranking. English and Chinese; the
words are in ``lexicons/whole_document.json``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache, lru_cache
from typing import Final

from llama_index_raganything.questions.document_parts import Ask, Scope, Thing, WholeDocumentQuestion, word_lists
from llama_index_raganything.questions.question import understand, without_format_request
from llama_index_raganything.questions.whole_document_chinese import read_chinese

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
    chinese = read_chinese(sentence)
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
    """Read what stands around the things asked for; None when any of it is not understood."""
    things = _things(match["nouns"])
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
        or (patterns.owner_is.match(rest) if things[0].name in _PAGED else None)
    )
    if owner is not None:
        scope, left = _take_scopes(f"in {owner['owner']}", scope)
        rest = f"{left} {rest[owner.end() :]}".strip()
    scope, rest = _take_scopes(rest, scope)
    words = _restriction(things, rest)
    if words is None:
        return None
    question = WholeDocumentQuestion(ask, things, " ".join([*telling, words]).strip(), scope=scope)
    if ask == "which" and not words and not rest:
        return None  # "Which tables?" asks for nothing that could be looked up.
    return _held_by_pages(question)


def _read_mentions(match: re.Match[str], before: str) -> WholeDocumentQuestion | None:
    """Read "how many times is X mentioned in the document": the pages tell. Elsewhere than in documents, None."""
    scope, left = _take_scopes(f"{before} {match['rest']}", Scope())
    words = re.sub(r"^the\s+(?:word|term|name|phrase)\s+", "", match["words"], flags=re.I)
    if left or not (scope.document or scope.part or scope.parts) or not _are_plain(words):
        return None
    return WholeDocumentQuestion("count", (word_lists().things["page"],), words, scope=scope)


_PAGED: Final = frozenset({"page", "slide"})
_FOUND_IN: Final = _PAGED | {"document"}


def _things(text: str) -> tuple[Thing, ...]:
    by_word = word_lists().by_word
    names = re.split(r"\s*(?:,\s*and\b|,\s*or\b|,|\band\b|&|\bor\b|/)\s*", text.lower())
    found = [by_word.get(re.sub(r"^(?:which|what)\s+", "", " ".join(name.split()))) for name in names]
    return tuple(dict.fromkeys(thing for thing in found if thing is not None))


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


def _restriction(things: tuple[Thing, ...], rest: str) -> str | None:
    """Return the words that things must show, "" for none, or None when the rest is not understood."""
    patterns = _patterns()
    present = patterns.presence.match(rest)
    without = rest[present.end() :].strip() if present else rest
    if not without:
        return ""
    # "Present" may be said of the things, or be what they do.
    match = patterns.restricted.match(without) or patterns.restricted.match(rest)
    if match is None and all(thing.name in _FOUND_IN for thing in things):
        match = patterns.where.match(without)
    if match is None or not _fits(match.groupdict().get("verb") or "", things, match["words"]):
        return None
    words = re.sub(r"^(?:(?:a|an|the|any|some|both)\s+)+", "", _without_presence(match["words"]), flags=re.I)
    return words if _are_plain(words) else None


def _fits(relation: str, things: tuple[Thing, ...], words: str) -> bool:
    """Tell "photos of the bridge" and "tables that have footnotes" from "equations of motion" and "has it uploaded"."""
    relation = relation.lower()
    if relation == "of":
        return all(thing.marks or thing.name == "image" for thing in things)
    if relation == "with":
        return all(thing.name in _PAGED for thing in things)
    if relation == "from":
        return all(thing.content_types for thing in things)
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


def _held_by_pages(question: WholeDocumentQuestion) -> WholeDocumentQuestion:
    """Turn "pages with charts" from words into things held."""
    if not question.words or not all(thing.name in _PAGED for thing in question.things):
        return question
    match = _patterns().noun.match(question.words)
    if match is None:
        return question
    words = word_lists()
    name = " ".join(match["noun"].lower().split())
    held = words.by_word.get(name) or words.by_singular.get(name)
    return replace(question, words="", holding=(held,)) if held is not None and held.content_types else question
