"""Answers to questions about whole documents: how many tables, which images, what appendices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # re-exported, not in its __all__
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
)

from llama_index_raganything._arguments import check_positive, strict_arguments
from llama_index_raganything.elements import EXCLUDED_EMBED_KEYS, EXCLUDED_LLM_KEYS, content_id
from llama_index_raganything.nodes import NodeView, last_heading
from llama_index_raganything.questions.whole_document import (
    ItemKind,
    Scope,
    WholeDocumentQuestion,
    read_whole_document_question,
    word_lists,
)
from llama_index_raganything.ranking.evidence_ranker import EvidenceRanker
from llama_index_raganything.retrievers.inventory.items import Item
from llama_index_raganything.retrievers.inventory.lookup import InventoryLookup

if TYPE_CHECKING:
    from llama_index_raganything.stores.ledger import Ledger

dispatcher = get_dispatcher(__name__)

_MAX_RANKED: Final = 200

INVENTORY_TYPE: Final = "inventory"
"""The ``content_type`` of a summary; no stored node has it."""

ENTRIES_KEY: Final = "inventory"
"""Metadata key of a summary: a JSON list of its entries, as ``heading``, ``items``, ``more``."""

_TITLE_CHARS: Final = 100


@strict_arguments
class InventoryRetriever(BaseRetriever):
    """Answer questions about documents as a whole from what their nodes say of themselves.

    "How many tables are there?", "which figures show a map?", "list the appendices in report.pdf": the first result
    is a summary (a ``TextNode`` with ``content_type`` ``"inventory"``, ``count``, and ``doc_id`` when it is about one
    document), and after it come the elements or pages that it lists, in reading order, so that each can be cited.
    For every other question the result is empty. No model is asked.

    Parts of one element count once. Where a document numbers its tables or figures, those with a number count. Labels
    whose element the parser missed, and appendices and chapters, are found in the text of the pages.

    Args:
        store: Where the nodes are; read by metadata alone where it can (:class:`MilvusNodeStore`).
        ledger: The ledger of the same knowledge base and tenant, which knows the names of documents; without it
            they are read from the nodes.
        similarity_top_k: How many results to return, the summary included.
        filters: What every node must pass; the tenant boundary.
        max_listed: Items that the summary names; "and N more" for the rest.
        ranker: Orders what must be about some words; an :class:`EvidenceRanker` by default.
        callback_manager: LlamaIndex's callbacks.
        verbose: Passed on to ``BaseRetriever``.

    Raises:
        ConfigurationError: A number is below 1.
    """

    def __init__(
        self,
        store: BasePydanticVectorStore,
        ledger: Ledger | None = None,
        similarity_top_k: int = 10,
        filters: MetadataFilters | None = None,
        *,
        max_listed: int = 50,
        ranker: EvidenceRanker | None = None,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        self.store = store
        self.ledger = ledger
        self.similarity_top_k = similarity_top_k
        self.filters = filters
        self.max_listed = max_listed
        self.ranker = ranker or EvidenceRanker()
        check_positive(self, "similarity_top_k", "max_listed")
        super().__init__(callback_manager=callback_manager, verbose=verbose)

    def __getstate__(self) -> dict[str, Any]:
        # A ledger is an open connection; without it names are read from the nodes.
        return {**self.__dict__, "ledger": None}

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        question = _read(query_bundle)
        return [] if question is None else self._results(question, query_bundle.query_str)

    @dispatcher.span
    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)

    def _results(self, question: WholeDocumentQuestion, query: str) -> list[NodeWithScore]:
        lookup = InventoryLookup(self.store, self.ledger, self.filters, question)
        items = [item for kind in question.kinds for item in lookup.items(kind)]
        if not items and not lookup.may_answer_none():
            return []
        shown = (self._ranked(lookup, items) if question.words else items)[: self.similarity_top_k - 1]
        # The headings and captions on pages, which have a box to cite, take their place.
        places = lookup.places(shown)
        items = [replace(item, node_id=places.get(item, item.node_id)) for item in items]
        wanted = list(dict.fromkeys(places.get(item, item.node_id) for item in shown))
        nodes = {node.node_id: node for node in lookup.nodes(wanted)}
        entries = entries_of(question, items, lookup.documents, self.max_listed)
        summary = summary_node(question, query, entries, items, is_partial=lookup.is_partial)
        listed = [_own_copy(nodes[node_id]) for node_id in wanted if node_id in nodes]
        return [
            NodeWithScore(node=summary, score=1.0),
            *(NodeWithScore(node=node, score=10.0 / (10.0 + place)) for place, node in enumerate(listed, 1)),
        ]

    def _ranked(self, lookup: InventoryLookup, items: Sequence[Item]) -> list[Item]:
        """Return the items that are about some words, those that have most of them first."""
        few = list(items[:_MAX_RANKED])
        texts = lookup.words_of(few)
        nodes = {node.node_id: node for node in lookup.nodes([item.node_id for item in few])}
        known = [(item, text) for item, text in zip(few, texts, strict=True) if item.node_id in nodes]
        candidates = [
            self.ranker.candidate(TextNode(text=text, metadata=nodes[item.node_id].metadata)) for item, text in known
        ]
        total = self.ranker.score(candidates, lookup.question.words).total
        return [known[place][0] for place in np.argsort(-total, kind="stable").tolist()]


def _read(bundle: QueryBundle) -> WholeDocumentQuestion | None:
    """Read a question; one that comes with an image or a table is about that, not about the documents."""
    if bundle.image_path or getattr(bundle, "attachments", None) or getattr(bundle, "images", None):
        return None
    return read_whole_document_question(bundle.query_str)


def _own_copy(node: BaseNode) -> BaseNode:
    copy = node.model_copy(update={"metadata": dict(node.metadata)})
    copy.embedding = None
    return copy


# -- the summary -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """What an inventory says of one document and one kind of item.

    Attributes:
        heading: "report.pdf holds 3 tables", without a stop.
        items: The items in words, each with the id of its node, as many as are listed.
        more: Number of further items.
    """

    heading: str
    items: tuple[tuple[str, str], ...]
    more: int = 0


def entries_of(
    question: WholeDocumentQuestion, items: Sequence[Item], documents: Sequence[tuple[str, str]], max_listed: int
) -> list[Entry]:
    """Return an inventory, one entry for each document and kind of item.

    Args:
        items: The items found, in order.
        documents: Ids and names of the documents looked into, for those that contain none.
        max_listed: Items listed in all.

    Returns:
        The entries; documents that contain none are left out where others contain some.
    """
    entries: list[Entry] = []
    left = max_listed
    if all(kind.name == "document" for kind in question.kinds):
        return [_entry(question, question.kinds[0], "", items, left)]
    names = {item.doc_id: item.file_name for item in items} or dict(documents[:1] if len(documents) == 1 else [])
    if not names:
        return [_entry(question, kind, "", [], 0) for kind in question.kinds]
    for doc_id, name in names.items():
        for kind in question.kinds:
            own = [item for item in items if item.doc_id == doc_id and item.kind == kind]
            if own or len(names) == 1:
                entries.append(_entry(question, kind, name, own, left))
                left -= len(entries[-1].items)
    return entries


def _text_of(question: WholeDocumentQuestion, entries: Sequence[Entry], count: int, *, is_partial: bool = False) -> str:
    """Return an inventory as a text.

    Args:
        count: Number of items in all.
        is_partial: There may be more, which were not looked at.
    """
    lines = []
    if len(entries) > 1:
        names = _names(question)
        number = f"{'至少' if question.chinese else 'at least '}{count}" if is_partial else str(count)
        lines.append(f"共有{number}个{names}。" if question.chinese else f"There are {number} {names} in all.")
    for entry in entries:
        texts = [text for _, text in entry.items]
        lines.append(entry_line(entry.heading, texts, entry.more, chinese=question.chinese))
    return "\n".join(lines)


def entry_line(heading: str, items: Sequence[str], more: int, *, chinese: bool) -> str:
    """Return an entry as a line: "report.pdf contains 3 tables: Table 1; Table 2; and 1 more."."""
    colon, separator, stop = ("：", "；", "。") if chinese else (": ", "; ", ".")
    listed = [*items, *([f"另有{more}个" if chinese else f"and {more} more"] if more else [])]
    return heading + (colon + separator.join(listed) if listed else "") + stop


def read_entries(node: BaseNode) -> list[Entry] | None:
    """Return what the summary of an inventory says; None for every other node."""
    if node.metadata.get("content_type") != INVENTORY_TYPE or ENTRIES_KEY not in node.metadata:
        return None
    try:
        return [
            Entry(
                str(entry["heading"]),
                tuple((str(node_id), str(text)) for node_id, text in entry["items"]),
                int(entry["more"]),
            )
            for entry in json.loads(node.metadata[ENTRIES_KEY])
        ]
    except (ValueError, TypeError, KeyError):
        # Changed by a postprocessor: the text says the same without the ids of the items.
        return [Entry(NodeView(node).text.rstrip(".。"), ())]


def _entry(question: WholeDocumentQuestion, kind: ItemKind, name: str, items: Sequence[Item], left: int) -> Entry:
    listed = list(items)[: max(left, 0)]
    heading = _heading_chinese if question.chinese else _heading
    shown = tuple((item.node_id, _thing_text(item, chinese=question.chinese)) for item in listed)
    return Entry(heading(question, kind, name, len(items)), shown, len(items) - len(listed))


def _heading(question: WholeDocumentQuestion, kind: ItemKind, name: str, count: int) -> str:
    number = "no" if count == 0 else str(count)
    noun = f"{number} {kind.name if count == 1 else kind.plural}"
    where = _scope_text(question.scope)
    condition = _condition(question, count)
    if not name:
        return f"There {'is' if count == 1 else 'are'} {noun}{condition}{where}"
    return f"{name} {'has' if kind.name in {'page', 'slide'} else 'holds'} {noun}{condition}{where}"


def _condition(question: WholeDocumentQuestion, count: int) -> str:
    if question.containing:
        plurals = " or ".join(kind.plural for kind in question.containing)
        return f" with {plurals}"
    if not question.words:
        return ""
    words = question.words.strip("\"'“”‘’")
    return f" that {'mentions' if count == 1 else 'mention'} “{words}”"


def _heading_chinese(question: WholeDocumentQuestion, kind: ItemKind, name: str, count: int) -> str:
    words = f"提到“{question.words}”的" if question.words else ""
    place = f" {name} 中" if name else ""
    number = "没有" if count == 0 else f"共有{count}个"
    return f"{place.strip()}{number}{words}{_chinese_name(kind)}"


def _names(question: WholeDocumentQuestion) -> str:
    if question.chinese:
        return "、".join(_chinese_name(kind) for kind in question.kinds)
    return " and ".join(kind.plural for kind in question.kinds)


def _chinese_name(kind: ItemKind) -> str:
    return next(word for word, known in word_lists().by_chinese.items() if known == kind)


def _scope_text(scope: Scope) -> str:
    places = [f"in {part} {number}" for part, number in scope.parts]
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
    if item.kind.name == "document":
        return item.file_name + (f" ({title})" if title and title != item.file_name else "")
    heading = last_heading(item.section)
    if item.kind.name in {"page", "slide"}:
        return page + (f" ({heading})" if heading else "")
    place = (f"（{page}）" if chinese else f" ({page})") if page else ""
    if item.label:
        return item.label + place + ((f"：{title}" if chinese else f": {title}") if title else "")
    if title:
        return title + place
    if chinese:
        return f"{page}的{_chinese_name(item.kind)}"
    return f"{item.kind.name}{f' on {page}' if page else ''}{f' in {heading}' if heading else ''}"


def _page_text(item: Item, *, chinese: bool) -> str:
    if item.page is None:
        return ""
    printed = item.page_label if item.page_label and item.page_label != str(item.page) else ""
    if chinese:
        return f"第{item.page}页" + (f"，页码{printed}" if printed else "")
    return f"page {item.page}" + (f", printed {printed}" if printed else "")


def summary_node(
    question: WholeDocumentQuestion, query: str, entries: Sequence[Entry], items: Sequence[Item], *, is_partial: bool
) -> TextNode:
    """Return the summary of an inventory.

    Args:
        items: The items found, for the count.
        is_partial: There may be more, which were not looked at.
    """
    metadata: dict[str, Any] = {
        "content_type": INVENTORY_TYPE,
        "count": len(items),
        ENTRIES_KEY: json.dumps(
            [{"heading": e.heading, "items": e.items, "more": e.more} for e in entries], ensure_ascii=False
        ),
    }
    documents: Mapping[str, str] = {item.doc_id: item.file_name for item in items}
    if len(documents) == 1:
        ((metadata["doc_id"], metadata["file_name"]),) = documents.items()
    hidden = ["count", ENTRIES_KEY]
    return TextNode(
        id_=content_id("inventory", query, *(item.node_id for item in items)),
        text=_text_of(question, entries, len(items), is_partial=is_partial),
        metadata=metadata,
        excluded_embed_metadata_keys=[*EXCLUDED_EMBED_KEYS, *hidden],
        excluded_llm_metadata_keys=[*EXCLUDED_LLM_KEYS, *hidden],
    )
