"""Answers to questions about whole documents: how many tables, which figures, what appendices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
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

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.elements import EXCLUDED_EMBED_KEYS, EXCLUDED_LLM_KEYS, content_id
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.questions.document_parts import ENTRIES_KEY, INVENTORY_TYPE, WholeDocumentQuestion
from llama_index_raganything.questions.whole_document import read_whole_document_question
from llama_index_raganything.ranking.evidence_ranker import EvidenceRanker
from llama_index_raganything.retrievers.inventory.items import Item
from llama_index_raganything.retrievers.inventory.lookup import Look
from llama_index_raganything.retrievers.inventory.summary import Entry, entries_of, text_of

if TYPE_CHECKING:
    from llama_index_raganything.stores.ledger import Ledger

dispatcher = get_dispatcher(__name__)

_MAX_RANKED: Final = 200


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
        vector_store: Where the nodes are; read by metadata alone where it can (:class:`MilvusNodeStore`).
        ledger: The ledger of the same knowledge base and tenant, which tells names of documents at once; without it
            they are read from the nodes.
        similarity_top_k: How many results to return, the summary included.
        filters: What every node must pass; the tenant boundary.
        max_listed: How many things the summary names; "and N more" tells of the rest.
        ranker: Orders what must be about some words; an :class:`EvidenceRanker` by default.
        callback_manager: LlamaIndex's callbacks.
        verbose: Passed on to ``BaseRetriever``.

    Raises:
        ConfigurationError: A number is below 1.
    """

    def __init__(
        self,
        vector_store: BasePydanticVectorStore,
        ledger: Ledger | None = None,
        similarity_top_k: int = 10,
        filters: MetadataFilters | None = None,
        *,
        max_listed: int = 50,
        ranker: EvidenceRanker | None = None,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        for name, value in (("similarity_top_k", similarity_top_k), ("max_listed", max_listed)):
            if value < 1:
                message = f"{name} must be 1 or more, not {value}."
                raise ConfigurationError(message)
        self.vector_store = vector_store
        self.ledger = ledger
        self.similarity_top_k = similarity_top_k
        self.filters = filters
        self.max_listed = max_listed
        self.ranker = ranker or EvidenceRanker()
        super().__init__(callback_manager=callback_manager, verbose=verbose)

    def __getstate__(self) -> dict[str, Any]:
        # A ledger is an open connection; without it names are read from the nodes.
        return {**self.__dict__, "ledger": None}

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        question = _read(query_bundle)
        return [] if question is None else self._results(question, query_bundle.query_str)

    @dispatcher.span
    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        question = _read(query_bundle)
        if question is None:
            return []
        return await asyncio.to_thread(self._results, question, query_bundle.query_str)

    def _results(self, question: WholeDocumentQuestion, query: str) -> list[NodeWithScore]:
        look = Look(self.vector_store, self.ledger, self.filters, question)
        items = [item for thing in question.things for item in look.items(thing)]
        if not items and not look.may_say_none():
            return []
        shown = (self._ranked(look, items) if question.words else items)[: self.similarity_top_k - 1]
        # Pages give way to the headings and captions on them, which have a box to cite.
        places = look.places(shown)
        items = [replace(item, node_id=places.get(item, item.node_id)) for item in items]
        wanted = list(dict.fromkeys(places.get(item, item.node_id) for item in shown))
        nodes = {node.node_id: node for node in look.nodes(wanted)}
        entries = entries_of(question, items, look.documents, self.max_listed)
        summary = _summary(question, query, entries, items, is_partial=look.is_partial)
        listed = [_own_copy(nodes[node_id]) for node_id in wanted if node_id in nodes]
        return [
            NodeWithScore(node=summary, score=1.0),
            *(NodeWithScore(node=node, score=_score(place)) for place, node in enumerate(listed, 1)),
        ]

    def _ranked(self, look: Look, items: Sequence[Item]) -> list[Item]:
        """Return the things that are about some words, those that say most of them first."""
        few = list(items[:_MAX_RANKED])
        texts = look.words_of(few)
        nodes = {node.node_id: node for node in look.nodes([item.node_id for item in few])}
        known = [(item, text) for item, text in zip(few, texts, strict=True) if item.node_id in nodes]
        candidates = [
            self.ranker.candidate(TextNode(text=text, metadata=nodes[item.node_id].metadata)) for item, text in known
        ]
        total = self.ranker.score(candidates, look.question.words).total
        return [known[place][0] for place in np.argsort(-total, kind="stable").tolist()]


def _read(bundle: QueryBundle) -> WholeDocumentQuestion | None:
    """Read a question; one that comes with an image or a table is about that, not about the documents."""
    if bundle.image_path or getattr(bundle, "attachments", None) or getattr(bundle, "images", None):
        return None
    return read_whole_document_question(bundle.query_str)


def _score(place: int) -> float:
    """Return a score below the summary's that falls with the place."""
    return 10.0 / (10.0 + place)


def _own_copy(node: BaseNode) -> BaseNode:
    copy = node.model_copy(update={"metadata": dict(node.metadata)})
    copy.embedding = None
    return copy


def _summary(
    question: WholeDocumentQuestion, query: str, entries: Sequence[Entry], items: Sequence[Item], *, is_partial: bool
) -> TextNode:
    metadata: dict[str, Any] = {
        "content_type": INVENTORY_TYPE,
        "count": len(items),
        ENTRIES_KEY: json.dumps(
            [{"heading": e.heading, "things": e.things, "more": e.more} for e in entries], ensure_ascii=False
        ),
    }
    documents: Mapping[str, str] = {item.doc_id: item.file_name for item in items}
    if len(documents) == 1:
        ((metadata["doc_id"], metadata["file_name"]),) = documents.items()
    hidden = ["count", ENTRIES_KEY]
    return TextNode(
        id_=content_id("inventory", query, *(item.node_id for item in items)),
        text=text_of(question, entries, len(items), is_partial=is_partial),
        metadata=metadata,
        excluded_embed_metadata_keys=[*EXCLUDED_EMBED_KEYS, *hidden],
        excluded_llm_metadata_keys=[*EXCLUDED_LLM_KEYS, *hidden],
    )
