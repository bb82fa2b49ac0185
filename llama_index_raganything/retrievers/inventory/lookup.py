"""One look into a store: what documents hold of what a question asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from llama_index_raganything.nodes import NodeView
from llama_index_raganything.questions.document_parts import Thing, WholeDocumentQuestion
from llama_index_raganything.retrievers.inventory import constraints as restrictions
from llama_index_raganything.retrievers.inventory import items as holdings
from llama_index_raganything.retrievers.inventory.items import INVENTORY_KEYS, Item, PageText, Row
from llama_index_raganything.stores.metadata_filters import all_of, of_documents, one_of
from llama_index_raganything.text.terms import content_tokens

if TYPE_CHECKING:
    from llama_index_raganything.stores.ledger import Ledger

_PAGED: Final = frozenset({"page", "slide"})
_MAX_PAGES: Final = 2000
_MAX_TEXTS: Final = 2000
_MAX_IDS: Final = 16_384


class Look:
    """One look into a store: what it holds of what a question asks for, under the caller's filters.

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

    def items(self, thing: Thing) -> list[Item]:
        """Return the things of one kind that the question asks for."""
        if thing.name in _PAGED:
            return self._pages(thing)
        if thing.name == "document":
            return self._documents(thing)
        items = self._in_scope(self._things(thing))
        if self.question.words and thing.content_types:
            return self._about(items)
        return holdings.counted(items)

    def may_say_none(self) -> bool:
        """Return whether "there are none" is an answer: nothing but the kind was asked for, in known documents."""
        question = self.question
        plain = not (question.words or question.holding or question.scope.part or question.scope.parts)
        return (
            plain
            and all(thing.content_types and not thing.marks for thing in question.things)
            and bool(self.documents or self._know_documents())
        )

    def nodes(self, node_ids: Sequence[str]) -> list[BaseNode]:
        """Return nodes by id."""
        return self._store.get_nodes(node_ids=list(node_ids), filters=self._filters) if node_ids else []

    def words_of(self, items: Sequence[Item]) -> list[str]:
        """Return the text of each thing, or of its page where it has no words."""
        texts, pages = self._texts(items), self._texts_of_pages()
        return [restrictions.words_of(item, texts, pages) for item in items]

    def places(self, items: Sequence[Item]) -> dict[Item, str]:
        """Return for things known by words on a page the ids of the elements that have the words."""
        sought = [item for item in items if item.label or (item.thing.name in _PAGED and self.question.words)]
        pages = {
            node.node_id: NodeView(node).element_node_ids for node in self.nodes([item.node_id for item in sought])
        }
        elements = self.nodes([node_id for ids in pages.values() for node_id in ids])
        texts = {node.node_id: NodeView(node).text for node in elements}
        found = {}
        for item in sought:
            own = [(node_id, texts[node_id]) for node_id in pages.get(item.node_id, ()) if node_id in texts]
            place = restrictions.place_of(item, self.question.words, own)
            if place is not None:
                found[item] = place
        return found

    # -- kinds of things -------------------------------------------------------------------------------------------

    def _things(self, thing: Thing) -> list[Item]:
        if not thing.content_types and not thing.parts:
            return self._sections(thing)
        rows = self._rows(holdings.content_types_of([thing])) if thing.content_types else []
        # Headings of formats without pages stand in chunks of text.
        texts = self._texts_with(thing.labels, ["page"]) or self._texts_with(thing.parts, ["page", "text"])
        items = holdings.items_of(thing, rows, texts)
        if not thing.marks:
            return items
        return restrictions.marked(thing, items, self._texts(items))

    def _pages(self, thing: Thing) -> list[Item]:
        question = self.question
        if question.words:
            return self._in_scope(holdings.pages_of(thing, self._pages_mentioning(question.words)))
        pages = self._in_scope(holdings.pages_of(thing, self._rows(["page"])))
        if not question.holding:
            return pages
        held = {(item.doc_id, item.page) for kind in question.holding for item in self._things(kind)}
        return [page for page in pages if (page.doc_id, page.page) in held]

    def _sections(self, thing: Thing) -> list[Item]:
        scope = self.question.scope
        if not self.question.words:
            # Inside of a chapter its own sections count, elsewhere those of the highest level.
            inside = holdings.innermost_sections_of if scope.parts or scope.part else holdings.sections_of
            return inside(thing, self._rows(None))
        nodes = [
            node for node in self._search(self.question.words, None) if node.metadata.get("content_type") != "page"
        ]
        return holdings.innermost_sections_of(thing, [_row(node) for node in _saying(nodes, self.question.words)])

    def _documents(self, thing: Thing) -> list[Item]:
        if not self.question.words:
            return holdings.documents_of(thing, self._rows(None))
        nodes = self._search(self.question.words, None)
        return holdings.documents_of(thing, [_row(node) for node in _saying(nodes, self.question.words)])

    def _in_scope(self, items: list[Item]) -> list[Item]:
        scope = self.question.scope
        if scope.last_pages:
            last: dict[str, int] = {}
            for row in self._rows(["page"]):
                last[str(row["doc_id"])] = max(last.get(str(row["doc_id"]), 0), int(row.get("page") or 0))
            items = [item for item in items if restrictions.within(scope, last)(item)]
        else:
            items = [item for item in items if restrictions.within(scope, {})(item)]
        kinds = restrictions.parts_named(scope)
        starts: dict[str, list[tuple[int, str]]] = {}
        if kinds:
            part = Thing("part", "parts", parts=tuple(kinds))
            for item in holdings.items_of(part, [], self._texts_with(kinds, ["page"])):
                if item.page is not None:
                    starts.setdefault(item.doc_id, []).append((item.page, item.label))
        is_in = restrictions.in_part(scope, {document: sorted(own) for document, own in starts.items()})
        return [item for item in items if is_in(item)]

    def _about(self, items: list[Item]) -> list[Item]:
        """Return the things that are about the words of the question."""
        if len(items) > _MAX_TEXTS:
            # Too many to read: what has none of the words in its metadata or its text cannot have all of them.
            hits = self._ids_with(self.question.words, holdings.content_types_of(self.question.things))
            wanted = set(content_tokens(self.question.words))
            items = [item for item in items if hits.intersection(_node_ids(item)) or wanted & item.words]
            self.is_partial = len(items) > _MAX_TEXTS
        few = items[:_MAX_TEXTS]
        return restrictions.matching(few, self.question.words, self._texts(few), self._texts_of_pages())

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

    def _pages_mentioning(self, words: str) -> list[Row]:
        return [_row(node) for node in _saying(self._search(words, ["page"]), words)]

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
            items = holdings.documents_of(Thing("document", "documents"), self._rows(None))
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
    exact = [node for node in nodes if restrictions.says(NodeView(node).text, words)]
    wanted = set(content_tokens(words))
    return exact or [node for node in nodes if wanted and wanted <= set(content_tokens(NodeView(node).text))]
