"""Chinese questions about a document as a whole."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from llama_index_raganything.questions.document_parts import Ask, Scope, WholeDocumentQuestion, word_lists
from llama_index_raganything.questions.question import understand
from llama_index_raganything.text.characters import HAN

_HAN: Final = re.compile(rf"[{HAN}]")
_POLITE: Final = re.compile(r"^(?:请问一?下?|请你?|帮我|麻烦你?|你能|能否|能不能|我想知道)+")
_FILLING: Final = re.compile(r"一共|总共|总计|合计|共计|到底|分别|目前")
_SMALL_IN: Final = r"(?:里面|之中|当中|里|中|内|上)?"
_PAGES: Final = re.compile(
    rf"在?(?:第[\d一二三四五六七八九十两\-–—到至~\s]+[页頁]|前[\d一二三四五六七八九十两\s]+[页頁]|最后[\d一二三四五六七八九十两\s]*[页頁]|封面){_SMALL_IN}"
)
_PART: Final = re.compile(
    rf"在?(?P<label>第[\d.一二三四五六七八九十]+[章节節]|附录\s*[A-Z\d]|附錄\s*[A-Z\d]){_SMALL_IN}"
)
_MEASURE: Final = r"[个張张幅页章节条份处段组种副篇]?"
_MAX_CHARS: Final = 30
_NOT_IN_WORDS: Final = re.compile(r"多少|几个|哪|什么|谁|为何|怎|是否|最|比")


class _Patterns:
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
def _patterns() -> _Patterns:
    return _Patterns()


def read_chinese(sentence: str) -> WholeDocumentQuestion | None:
    """Read a Chinese question about a document as a whole.

    Args:
        sentence: One sentence without its question mark.

    Returns:
        What it asks for, or None for every other question.
    """
    if not _HAN.search(sentence):
        return None
    scope, text = _take_scopes(_POLITE.sub("", "".join(sentence.split())))
    for ask, pattern in _patterns().asks:
        match = pattern.fullmatch(text)
        if match is None:
            continue
        words = (match.groupdict().get("words") or "").strip("“”\"'《》「」")
        if len(words) > _MAX_CHARS or _NOT_IN_WORDS.search(words):
            continue
        thing = word_lists().by_chinese[match["noun"]]
        return WholeDocumentQuestion(ask, (thing,), words, scope=scope, chinese=True)
    return None


def _take_scopes(text: str) -> tuple[Scope, str]:
    """Take out of a text what says where to look; return it, and what is left of the text."""
    patterns = _patterns()
    files = tuple(match["file"] for match in patterns.file.finditer(text))
    text = patterns.file.sub("", text)
    asked = [understand(match.group()) for match in _PAGES.finditer(text)]
    text = _PAGES.sub("", text)
    parts = tuple(label for match in _PART.finditer(text) for label in understand(match["label"]).labels)
    text = _PART.sub("", text)
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
