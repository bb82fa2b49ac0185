"""What documents contain of what a question asks for, read from a store, and which of it the question means."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from llama_index_raganything.elements import SECTION_SEPARATOR
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.questions.whole_document import ItemKind, Scope, WholeDocumentQuestion
from llama_index_raganything.retrievers.inventory.items import (
    INVENTORY_KEYS,
    Item,
    PageText,
    Row,
    caption_lines,
    content_types_of,
    counted,
    documents_of,
    innermost_sections_of,
    items_of,
    pages_of,
    sections_of,
)
from llama_index_raganything.stores.metadata_filters import all_of, of_documents, one_of
from llama_index_raganything.text.terms import content_tokens, normalize

if TYPE_CHECKING:
    from llama_index_raganything.stores.ledger import Ledger

_PAGED: Final = frozenset({"page", "slide"})
_MAX_PAGES: Final = 2000
_MAX_TEXTS: Final = 2000
_MAX_IDS: Final = 16_384

_PLACEHOLDER: Final = re.compile(r"\s*(?:\w+(?: on page \S{1,20})?(?: in section [^\n]*)?)?\s*")
"""What the node parser writes for an element without any words."""

_LETTERED: Final = re.compile(r"[A-Z](?:\.\d+)*[.:]?\s+[A-Z]")
"""The heading of an appendix of a paper ("B Dataset Statistics"); the document's title is not asked."""


class InventoryLookup:
    """Looks up in a store what a question about whole documents asks for, under the caller's filters.

    Args:
        ledger: Knows the documents, where there is one.
    """

    def __init__(
        self,
        store: BasePydanticVectorStore,
        ledger: Ledger | None,
        filters: MetadataFilters | None,
        question: WholeDocumentQuestion,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self.question = question
        self._filters = filters
        self._pages_about: dict[tuple[str, int], str] | None = None
        self.is_partial = False
        self.documents: list[tuple[str, str]] = []
        self._filters = all_of(filters, self._named_documents())

    def items(self, kind: ItemKind) -> list[Item]:
        """Return the items of one kind that the question asks for."""
        if kind.name in _PAGED:
            return self._pages(kind)
        if kind.name == "document":
            return self._documents(kind)
        items = self._in_scope(self._items_of(kind))
        if self.question.words and kind.content_types:
            return self._about(items)
        return counted(items)

    def may_answer_none(self) -> bool:
        """Return whether "there are none" is an answer: nothing but the kind was asked for, in known documents."""
        question = self.question
        plain = not (question.words or question.containing or question.scope.part or question.scope.parts)
        return (
            plain
            and all(kind.content_types and not kind.marks for kind in question.kinds)
            and bool(self.documents or self._know_documents())
        )

    def nodes(self, node_ids: Sequence[str]) -> list[BaseNode]:
        """Return nodes by id."""
        return self._store.get_nodes(node_ids=list(node_ids), filters=self._filters) if node_ids else []

    def words_of(self, items: Sequence[Item]) -> list[str]:
        """Return the text of each item, or of its page where it has no words."""
        texts, pages = self._texts(items), self._texts_of_pages()
        return [words_of(item, texts, pages) for item in items]

    def places(self, items: Sequence[Item]) -> dict[Item, str]:
        """Return for items known by words on a page the ids of the elements that have the words."""
        sought = [item for item in items if item.label or (item.kind.name in _PAGED and self.question.words)]
        pages = {
            node.node_id: NodeView(node).element_node_ids for node in self.nodes([item.node_id for item in sought])
        }
        elements = self.nodes([node_id for ids in pages.values() for node_id in ids])
        texts = {node.node_id: NodeView(node).text for node in elements}
        found = {}
        for item in sought:
            own = [(node_id, texts[node_id]) for node_id in pages.get(item.node_id, ()) if node_id in texts]
            place = place_of(item, self.question.words, own)
            if place is not None:
                found[item] = place
        return found

    # -- kinds of items ------------------------------------------------------------------------------------------

    def _items_of(self, kind: ItemKind) -> list[Item]:
        if not kind.content_types and not kind.parts:
            return self._sections(kind)
        rows = self._rows(content_types_of([kind])) if kind.content_types else []
        # Headings of formats without pages are in chunks of text.
        texts = self._texts_with(kind.labels, ["page"]) or self._texts_with(kind.parts, ["page", "text"])
        items = items_of(kind, rows, texts)
        if not kind.marks:
            return items
        return marked(kind, items, self._texts(items))

    def _pages(self, kind: ItemKind) -> list[Item]:
        question = self.question
        if question.words:
            return self._in_scope(pages_of(kind, self._rows_saying(question.words, ["page"])))
        pages = self._in_scope(pages_of(kind, self._rows(["page"])))
        if not question.containing:
            return pages
        containing = {(item.doc_id, item.page) for part in question.containing for item in self._items_of(part)}
        return [page for page in pages if (page.doc_id, page.page) in containing]

    def _sections(self, kind: ItemKind) -> list[Item]:
        scope = self.question.scope
        if not self.question.words:
            # Inside of a chapter its own sections count, elsewhere those of the highest level.
            inside = innermost_sections_of if scope.parts or scope.part else sections_of
            return inside(kind, self._rows(None))
        nodes = [
            node for node in self._search(self.question.words, None) if node.metadata.get("content_type") != "page"
        ]
        return innermost_sections_of(kind, [_row(node) for node in _saying(nodes, self.question.words)])

    def _documents(self, kind: ItemKind) -> list[Item]:
        if not self.question.words:
            return documents_of(kind, self._rows(None))
        return documents_of(kind, self._rows_saying(self.question.words, None))

    def _in_scope(self, items: list[Item]) -> list[Item]:
        scope = self.question.scope
        last: dict[str, int] = {}
        for row in self._rows(["page"]) if scope.last_pages else ():
            last[str(row["doc_id"])] = max(last.get(str(row["doc_id"]), 0), int(row.get("page") or 0))
        is_within = within(scope, last)
        items = [item for item in items if is_within(item)]
        kinds = parts_named(scope)
        starts: dict[str, list[tuple[int, str]]] = {}
        if kinds:
            part = ItemKind("part", "parts", parts=tuple(kinds))
            for item in items_of(part, [], self._texts_with(kinds, ["page"])):
                if item.page is not None:
                    starts.setdefault(item.doc_id, []).append((item.page, item.label))
        is_in = in_part(scope, {document: sorted(own) for document, own in starts.items()})
        return [item for item in items if is_in(item)]

    def _about(self, items: list[Item]) -> list[Item]:
        """Return the items that are about the words of the question."""
        if len(items) > _MAX_TEXTS:
            # Too many to read: what has none of the words in its metadata or its text cannot have all of them.
            hits = self._ids_with(self.question.words, content_types_of(self.question.kinds))
            wanted = set(content_tokens(self.question.words))
            items = [item for item in items if hits.intersection(_node_ids(item)) or wanted & item.words]
            self.is_partial = len(items) > _MAX_TEXTS
        few = items[:_MAX_TEXTS]
        return matching(few, self.question.words, self._texts(few), self._texts_of_pages())

    # -- reading ---------------------------------------------------------------------------------------------------

    def _rows(self, content_types: Sequence[str] | None, further: MetadataFilters | None = None) -> list[Row]:
        """Return metadata of nodes, of some content types or of all."""
        where = all_of(self._filters, _types(content_types), further)
        read = getattr(self._store, "read_metadata", None)
        if read is not None:
            rows: list[Row] = read(INVENTORY_KEYS, where)
        else:
            rows = [_row(node) for node in self._store.get_nodes(filters=where or MetadataFilters(filters=[]))]
        return [row for row in rows if row.get("doc_id") and row.get("content_type")]

    def _texts_with(self, words: Sequence[str], content_types: Sequence[str]) -> list[PageText]:
        """Return the pages or chunks that have one of some words."""
        nodes = self._search(" ".join(words), content_types) if words else []
        return [(_row(node), NodeView(node).text) for node in nodes]

    def _rows_saying(self, words: str, content_types: Sequence[str] | None) -> list[Row]:
        return [_row(node) for node in _saying(self._search(words, content_types), words)]

    def _ids_with(self, words: str, content_types: Sequence[str]) -> set[str]:
        if not hasattr(self._store, "read_metadata"):
            return {node.node_id for node in self._search(words, content_types)}
        return set(self._store.query(self._query(words, content_types, _MAX_IDS, output_fields=[])).ids or [])

    def _search(self, words: str, content_types: Sequence[str] | None) -> list[BaseNode]:
        if not hasattr(self._store, "read_metadata"):
            wanted = set(content_tokens(words))
            where = all_of(self._filters, _types(content_types)) or MetadataFilters(filters=[])
            return [
                node
                for node in self._store.get_nodes(filters=where)
                if wanted & set(content_tokens(NodeView(node).text))
            ]
        nodes = list(self._store.query(self._query(words, content_types, _MAX_PAGES)).nodes or [])
        self.is_partial = self.is_partial or (len(nodes) == _MAX_PAGES and words == self.question.words)
        return nodes

    def _query(
        self, words: str, content_types: Sequence[str] | None, limit: int, output_fields: list[str] | None = None
    ) -> VectorStoreQuery:
        return VectorStoreQuery(
            query_str=words,
            mode=VectorStoreQueryMode.TEXT_SEARCH,
            similarity_top_k=limit,
            filters=all_of(self._filters, _types(content_types)),
            output_fields=output_fields,
        )

    def _texts_of_pages(self) -> dict[tuple[str, int], str]:
        """Return the texts of the pages that have a word of the question, by document and number."""
        if self._pages_about is None:
            self._pages_about = {
                (str(node.metadata.get("doc_id")), int(node.metadata.get("page") or 0)): NodeView(node).text
                for node in self._search(self.question.words, ["page"])
            }
        return self._pages_about

    def _texts(self, items: Sequence[Item]) -> dict[str, str]:
        node_ids = [node_id for item in items[:_MAX_TEXTS] for node_id in _node_ids(item)]
        return {node.node_id: NodeView(node).text for node in self.nodes(node_ids)}

    # -- documents -------------------------------------------------------------------------------------------------

    def _named_documents(self) -> MetadataFilters | None:
        """Return the filter for the documents that the question names, and remember them."""
        scope = self.question.scope
        if not scope.files and not scope.title:
            return None
        if scope.files and not scope.title and self._ledger is None:
            # The names as written need no list of all documents.
            rows = self._rows(None, one_of("file_name", scope.files))
            if rows:
                self.documents = list({str(row["doc_id"]): str(row["file_name"]) for row in rows}.items())
                return of_documents(*(doc_id for doc_id, _ in self.documents))
        known = self._know_documents()
        files = {name.lower() for name in scope.files}
        title = set(content_tokens(" ".join(scope.title)))
        named = [
            (doc_id, name)
            for doc_id, (name, words) in known.items()
            if name.lower() in files or (title and title <= words)
        ]
        if not named and not files:
            return None  # "In the printed report" may be said of any report.
        self.documents = named
        return of_documents(*(doc_id for doc_id, _ in named))

    def _know_documents(self) -> dict[str, tuple[str, set[str]]]:
        """Return names and title words of all documents by id."""
        names = self._ledger_names() if self._ledger is not None else None
        if names is None:
            items = documents_of(ItemKind("document", "documents"), self._rows(None))
            names = {item.doc_id: (item.file_name, f"{item.file_name} {item.title}") for item in items}
        if not self.documents:
            self.documents = [(doc_id, name) for doc_id, (name, _) in names.items()]
        return {doc_id: (name, set(content_tokens(words))) for doc_id, (name, words) in names.items()}

    def _ledger_names(self) -> dict[str, tuple[str, str]] | None:
        """Return names and titles from the ledger, which knows nothing of filters."""
        if self._ledger is None or (self._filters is not None and self._filters.filters):
            return None
        entries = self._ledger.list(state="ready")
        return {entry.doc_id: (entry.file_name, f"{entry.file_name} {entry.title}") for entry in entries}


def _types(content_types: Sequence[str] | None) -> MetadataFilters | None:
    return None if content_types is None else one_of("content_type", content_types)


def _node_ids(item: Item) -> tuple[str, ...]:
    return (item.node_id, *item.part_ids)


def _row(node: BaseNode) -> Row:
    own: dict[str, Any] = {key: node.metadata[key] for key in INVENTORY_KEYS if node.metadata.get(key) is not None}
    return {**own, "doc_id": own.get("doc_id") or node.ref_doc_id or "", "node_id": node.node_id}


def _saying(nodes: Sequence[BaseNode], words: str) -> list[BaseNode]:
    """Return the nodes that have the words as they are, or, where none has, all of them in any order."""
    exact = [node for node in nodes if says(NodeView(node).text, words)]
    wanted = set(content_tokens(words))
    return exact or [node for node in nodes if wanted and wanted <= set(content_tokens(NodeView(node).text))]


# -- which items are meant ---------------------------------------------------------------------------------------------


def within(scope: Scope, last_pages: Mapping[str, int]) -> Callable[[Item], bool]:
    """Return a test of whether an item is on the pages that a question names.

    Args:
        scope: Where the question looks.
        last_pages: Number of the last page by document.
    """
    labels = {str(number) for number in scope.pages} | set(scope.page_labels)
    positions = {*scope.pages, *scope.positions}
    named = bool(labels or positions or scope.last_pages)

    def is_within(item: Item) -> bool:
        if not named:
            return True
        if item.page is None:
            return False
        if scope.last_pages and item.page > last_pages.get(item.doc_id, item.page) - scope.last_pages:
            return True
        # A label that is printed on the page goes before its place in the file.
        if item.page_label and not scope.positions:
            return item.page_label.lower() in labels
        return item.page in positions

    return is_within


def in_part(scope: Scope, starts: Mapping[str, Sequence[tuple[int, str]]]) -> Callable[[Item], bool]:
    """Return a test of whether an item is in the section or appendix that a question names.

    Args:
        scope: Where the question looks.
        starts: By document the pages where labelled parts start, with their labels, in order.
    """
    names = [f"{kind} {number}" for kind, number in scope.parts] + ([scope.part] if scope.part else [])
    patterns = [_heading_pattern(name) for name in names]

    def is_in(item: Item) -> bool:
        if not names:
            return True
        headings = item.section.split(SECTION_SEPARATOR)
        if item.kind.name == "section":
            headings.pop()  # A chapter is none of its own sections.
        if scope.part.startswith("appendi") and any(_LETTERED.match(heading) for heading in headings[1:]):
            return True
        if any(pattern.search(heading) for pattern in patterns for heading in headings):
            return True
        return item.page is not None and _covered(item.page, starts.get(item.doc_id, ()), patterns)

    return is_in


def _covered(page: int, starts: Sequence[tuple[int, str]], patterns: Sequence[re.Pattern[str]]) -> bool:
    """Return whether the last part that starts up to a page is one of those named."""
    before = [label for start, label in starts if start <= page]
    return bool(before) and any(pattern.search(before[-1]) for pattern in patterns)


def _heading_pattern(name: str) -> re.Pattern[str]:
    part, _, number = name.partition(" ")
    if part in {"section", "chapter", "appendix", "annex", "part", "unit", "exhibit"} and number:
        bare = rf"|^{re.escape(number)}(?:[.:\s]|$)"
        return re.compile(rf"\b{part}\s+{re.escape(number)}(?![\w]){bare}", re.IGNORECASE)
    stem = re.escape(name.removesuffix("ices").removesuffix("ix").removesuffix("s"))
    return re.compile(rf"\b{stem}", re.IGNORECASE)


def parts_named(scope: Scope) -> list[str]:
    """Return the kinds of labelled parts whose headings must be looked for on the pages.

    Args:
        scope: Where the question looks.
    """
    kinds = {kind for kind, _ in scope.parts}
    return sorted(kinds | ({"appendix"} if scope.part.startswith("appendi") else set()))


def matching(
    items: Sequence[Item], words: str, texts: Mapping[str, str], page_texts: Mapping[tuple[str, int], str]
) -> list[Item]:
    """Return the items that show, mention or are about some words: all of them, in any order and form.

    An item's words are those of its caption, label, sections and text. An image without any has those of its page.

    Args:
        items: Things.
        texts: Texts of their nodes by id.
        page_texts: Texts of pages by document and number.

    Returns:
        The matching items, in the same order.
    """
    wanted = set(content_tokens(words))
    if not wanted:
        return []
    return [
        item
        for item in items
        if wanted
        <= item.words.union(content_tokens(f"{item.title} {item.subtype} {words_of(item, texts, page_texts)}"))
    ]


def words_of(item: Item, texts: Mapping[str, str], page_texts: Mapping[tuple[str, int], str]) -> str:
    """Return the text of an item, or that of its page for an item without words.

    Args:
        texts: Texts of nodes by id.
        page_texts: Texts of pages by document and number.
    """
    text = "\n".join(texts[node_id] for node_id in (item.node_id, *item.part_ids) if node_id in texts)
    if item.label or item.title or not _PLACEHOLDER.fullmatch(text):
        return text
    return page_texts.get((item.doc_id, item.page or 0), text)


def marked(kind: ItemKind, items: Sequence[Item], texts: Mapping[str, str]) -> list[Item]:
    """Return the items that are of a finer kind than their content type, such as charts among images.

    Args:
        items: Things of its content type.
        texts: Texts of their nodes by id.

    Returns:
        Those whose subtype, label, caption or text names the kind.
    """
    pattern = re.compile("|".join(rf"\b{mark}\b" if mark.isascii() else mark for mark in kind.marks), re.IGNORECASE)
    return [
        item
        for item in items
        if item.subtype.lower() == kind.name
        or pattern.search(f"{item.label} {item.title} {texts.get(item.node_id, '')[:2000]}")
    ]


def place_of(item: Item, words: str, elements: Sequence[tuple[str, str]]) -> str | None:
    """Return the element of a page that captions or heads an item, or that has the words asked for.

    Args:
        item: An item with a label, known by a line of the page, or a page.
        words: The words that the question asks for.
        elements: Ids and texts of the elements of the page.

    Returns:
        The id, or None where no element has them.
    """
    if not item.label:
        wanted = set(content_tokens(words))
        exact = (node_id for node_id, text in elements if says(text, words))
        loose = (node_id for node_id, text in elements if wanted <= set(content_tokens(text)))
        return next(exact, None) or next(loose, None)
    label_kind = item.label.partition(" ")[0].lower()
    for node_id, text in elements:
        if any(line.label == item.label for line in caption_lines(text, [label_kind])):
            return node_id
    named = re.compile(r"\s+".join(map(re.escape, item.label.split())) + r"(?!\w)", re.IGNORECASE)
    return next((node_id for node_id, text in elements if named.search(text)), None)


def says(text: str, words: str) -> bool:
    """Return whether a text has a word in any of its forms, or several words as they are but for case and spacing.

    Args:
        words: The words; quotation marks around them do not count.
    """
    phrase = " ".join(normalize(words.strip("\"'“”‘’")).split())
    tokens = content_tokens(phrase)
    if phrase.isascii() and phrase.isalnum() and len(tokens) == 1:
        return tokens[0] in content_tokens(text)
    start = r"(?<!\w)" if phrase[:1].isascii() else ""
    return bool(phrase) and re.search(start + re.escape(phrase), " ".join(normalize(text).split())) is not None
