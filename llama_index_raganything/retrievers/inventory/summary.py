"""An inventory in words, in English and Chinese. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from llama_index_raganything.nodes import last_heading
from llama_index_raganything.questions.document_parts import Scope, Thing, WholeDocumentQuestion, word_lists
from llama_index_raganything.retrievers.inventory.items import Item

_TITLE_CHARS: Final = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """What an inventory says of one document and one kind of thing.

    Attributes:
        heading: "report.pdf holds 3 tables", without a stop.
        things: The things in words, each with the id of its node, as many as are listed.
        more: How many further things there are.
    """

    heading: str
    things: tuple[tuple[str, str], ...]
    more: int = 0


def entries_of(
    question: WholeDocumentQuestion, items: Sequence[Item], documents: Sequence[tuple[str, str]], max_listed: int
) -> list[Entry]:
    """Return an inventory, one entry for each document and kind of thing.

    Args:
        items: The things found, in order.
        documents: Ids and names of the documents looked into, for those that hold none.
        max_listed: How many things are listed in all.

    Returns:
        The entries; the documents that hold none are left out where others hold some.
    """
    entries: list[Entry] = []
    left = max_listed
    if all(thing.name == "document" for thing in question.things):
        return [_entry(question, question.things[0], "", items, left)]
    names = {item.doc_id: item.file_name for item in items} or dict(documents[:1] if len(documents) == 1 else [])
    if not names:
        return [_entry(question, thing, "", [], 0) for thing in question.things]
    for doc_id, name in names.items():
        for thing in question.things:
            own = [item for item in items if item.doc_id == doc_id and item.thing == thing]
            if own or len(names) == 1:
                entries.append(_entry(question, thing, name, own, left))
                left -= len(entries[-1].things)
    return entries


def text_of(question: WholeDocumentQuestion, entries: Sequence[Entry], count: int, *, is_partial: bool = False) -> str:
    """Return an inventory as a text.

    Args:
        count: How many things there are in all.
        is_partial: There may be more, which were not looked at.
    """
    lines = []
    if len(entries) > 1:
        kinds = _names(question)
        number = f"{'至少' if question.chinese else 'at least '}{count}" if is_partial else str(count)
        lines.append(f"共有{number}个{kinds}。" if question.chinese else f"There are {number} {kinds} in all.")
    separator, stop, colon = ("；", "。", "：") if question.chinese else ("; ", ".", ": ")
    for entry in entries:
        listed = [text for _, text in entry.things]
        if entry.more:
            listed.append(more_text(entry.more, chinese=question.chinese))
        lines.append(entry.heading + (colon + separator.join(listed) if listed else "") + stop)
    return "\n".join(lines)


def more_text(count: int, *, chinese: bool) -> str:
    """Return "and 3 more".

    Args:
        count: How many more.
    """
    return f"另有{count}个" if chinese else f"and {count} more"


def _entry(question: WholeDocumentQuestion, thing: Thing, name: str, items: Sequence[Item], left: int) -> Entry:
    listed = list(items)[: max(left, 0)]
    heading = _heading_chinese if question.chinese else _heading
    things = tuple((item.node_id, _thing_text(item, chinese=question.chinese)) for item in listed)
    return Entry(heading(question, thing, name, len(items)), things, len(items) - len(listed))


def _heading(question: WholeDocumentQuestion, thing: Thing, name: str, count: int) -> str:
    number = "no" if count == 0 else str(count)
    noun = f"{number} {thing.name if count == 1 else thing.plural}"
    where = _scope_text(question.scope)
    condition = _condition(question, count)
    if not name:
        return f"There {'is' if count == 1 else 'are'} {noun}{condition}{where}"
    return f"{name} {'has' if thing.name in {'page', 'slide'} else 'holds'} {noun}{condition}{where}"


def _condition(question: WholeDocumentQuestion, count: int) -> str:
    if question.holding:
        kinds = " or ".join(thing.plural for thing in question.holding)
        return f" with {kinds}"
    if not question.words:
        return ""
    words = question.words.strip("\"'“”‘’")
    return f" that {'mentions' if count == 1 else 'mention'} “{words}”"


def _heading_chinese(question: WholeDocumentQuestion, thing: Thing, name: str, count: int) -> str:
    words = f"提到“{question.words}”的" if question.words else ""
    place = f" {name} 中" if name else ""
    number = "没有" if count == 0 else f"共有{count}个"
    return f"{place.strip()}{number}{words}{_chinese_name(thing)}"


def _names(question: WholeDocumentQuestion) -> str:
    if question.chinese:
        return "、".join(_chinese_name(thing) for thing in question.things)
    return " and ".join(thing.plural for thing in question.things)


def _chinese_name(thing: Thing) -> str:
    return next(word for word, known in word_lists().by_chinese.items() if known == thing)


def _scope_text(scope: Scope) -> str:
    places = [f"in {kind} {number}" for kind, number in scope.parts]
    if scope.part:
        places.append(f"in the part “{scope.part}”")
    numbers = list(
        dict.fromkeys([*(str(page) for page in scope.pages), *map(str, scope.positions), *scope.page_labels])
    )
    if numbers:
        shown = numbers[0] if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
        consecutive = len(numbers) == 1 or _are_consecutive(numbers)
        places.append(f"on page{'s' if len(numbers) > 1 else ''} {shown if consecutive else ', '.join(numbers)}")
    if scope.last_pages:
        places.append("on the last page" if scope.last_pages == 1 else f"on the last {scope.last_pages} pages")
    return "".join(f" {place}" for place in places)


def _are_consecutive(numbers: Sequence[str]) -> bool:
    values = [int(number) for number in numbers if number.isdigit()]
    return len(values) == len(numbers) and values == list(range(values[0], values[0] + len(values)))


def _thing_text(item: Item, *, chinese: bool) -> str:
    """Return "Table 1 (page 2): Revenue by region"."""
    title = item.title.rstrip(" .,;:。，；：")
    title = title if len(title) <= _TITLE_CHARS else title[: _TITLE_CHARS - 1].rstrip() + "…"
    page = _page_text(item, chinese=chinese)
    if item.thing.name == "document":
        return item.file_name + (f" ({title})" if title and title != item.file_name else "")
    heading = last_heading(item.section)
    if item.thing.name in {"page", "slide"}:
        return page + (f" ({heading})" if heading else "")
    place = (f"（{page}）" if chinese else f" ({page})") if page else ""
    if item.label:
        return item.label + place + ((f"：{title}" if chinese else f": {title}") if title else "")
    if title:
        return title + place
    if chinese:
        return f"{page}的{_chinese_name(item.thing)}"
    return f"{item.thing.name}{f' on {page}' if page else ''}{f' in {heading}' if heading else ''}"


def _page_text(item: Item, *, chinese: bool) -> str:
    if item.page is None:
        return ""
    printed = item.page_label if item.page_label and item.page_label != str(item.page) else ""
    if chinese:
        return f"第{item.page}页" + (f"，页码{printed}" if printed else "")
    return f"page {item.page}" + (f", printed {printed}" if printed else "")
