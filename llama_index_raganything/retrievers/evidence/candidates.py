"""Candidates for evidence: searched by vector and by keyword, looked up where a question names them, and remembered."""

from __future__ import annotations

import re
import threading
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from cachetools import LRUCache
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)

from llama_index_raganything._arguments import check_positive, strict_arguments
from llama_index_raganything.elements import EVIDENCE_KEY, label_of
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.questions.question import Question, understand
from llama_index_raganything.ranking.evidence_ranker import EvidenceRanker, annotated_copy
from llama_index_raganything.ranking.passage_features import PassageWords
from llama_index_raganything.ranking.scoring import Candidate
from llama_index_raganything.retrievers.steps import EmbedQuestion, Fetch, Search, StepRetriever, Steps, ask, ask_all
from llama_index_raganything.stores.metadata_filters import all_of, any_of, equal_to, of_documents, one_of

DEFAULT_TOP_K: Final = 10
"""Results of a retriever by default: ten pages of real PDFs contain nearly all answers that twenty contain, five an
eighth fewer. Engines, chat and tools read as many as fill what an LLM is given."""

KEYWORD_MODES = frozenset({VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH})
"""Searches by keyword alone."""

MAX_DOCUMENTS_LOOKED_UP: Final = 20
"""Documents, those with the best candidates, in which named pages and labels are looked up."""

MAX_DOCUMENTS_ENDED: Final = 3
"""Documents whose last pages are looked up: that takes reading all their pages."""

ELEMENT_KEYS: Final = frozenset(
    {"content_type", "page_label", "bbox", "section", "caption", "label", "element_id", "asset"}
)
"""Metadata keys that an element does not share with the node of its page."""

MEMORY_SIZE: Final = 16_384
"""Nodes remembered; a page takes about 8 KB, an element 1 to 2 KB."""

_CONTENT_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Profile:
    """What ranking needs to know of a node.

    Attributes:
        candidate: The form that scoring takes, with prior 0.
        page_id: The id of the node of its page, or None.
        element_ids: Of a page, the ids of its elements in reading order.
        section: Path of the headings above it.
        element: Identifies the element that it is a part of, within its document; empty when unknown.
        bbox: Its box as in the metadata; empty without.
        asset: Its image in the assets folder; empty without.
    """

    node_id: str
    candidate: Candidate
    page_id: str | None
    element_ids: tuple[str, ...]
    section: str = ""
    element: str = ""
    bbox: str = ""
    asset: str = ""

    @property
    def is_page(self) -> bool:
        """Whether the node is a whole page."""
        return self.candidate.content_type == "page"


class NodeMemory:
    """An LRU cache of node profiles by id; safe to share between threads, retrievers and stores.

    Only nodes whose id derives from their content are kept, so that no profile is out of date; results are read from
    the store every time.

    Args:
        size: Number of profiles to keep; 0 for none.
    """

    def __init__(self, size: int = MEMORY_SIZE) -> None:
        self.size = size
        self._profiles: LRUCache[str, Profile] = LRUCache(size)
        self._words: LRUCache[tuple[str, int], PassageWords] = LRUCache(size)
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return (NodeMemory, (self.size,))

    def recall(self, node_ids: Iterable[str]) -> dict[str, Profile]:
        """Return the remembered profiles by id; other ids are left out."""
        with self._lock:
            return {node_id: self._profiles[node_id] for node_id in node_ids if node_id in self._profiles}

    def keep(self, profile: Profile, node: BaseNode) -> None:
        """Remember a profile if the node's id derives from its content."""
        if self.size and "content_type" in node.metadata and _CONTENT_ID.fullmatch(node.node_id):
            with self._lock:
                self._profiles[profile.node_id] = profile

    def words(self, profile: Profile) -> PassageWords:
        """Return the words of a node's text, read when they are first asked for."""
        text = profile.candidate.text
        key = (profile.candidate.content_type, hash(text))
        with self._lock:
            found = self._words.get(key)
        if found is None:
            found = PassageWords.from_text(text, profile.candidate.content_type)
            if self.size:
                with self._lock:
                    self._words[key] = found
        return found

    def forget(self, node_ids: Iterable[str]) -> None:
        """Forget nodes that have changed in the store or are gone."""
        with self._lock:
            for node_id in node_ids:
                self._profiles.pop(node_id, None)

    def __len__(self) -> int:
        return len(self._profiles)


@lru_cache(maxsize=1)
def shared_memory() -> NodeMemory:
    """Return the memory that all retrievers of this process share by default."""
    return NodeMemory()


class Session:
    """What is known about nodes while one question is answered; it makes no I/O, but asks for what it lacks.

    Args:
        ranker: Makes candidates of nodes.
        memory: What is remembered of earlier questions.
    """

    def __init__(self, ranker: EvidenceRanker, memory: NodeMemory) -> None:
        self._ranker = ranker
        self._memory = memory
        self._profiles: dict[str, Profile] = {}
        self._remembered: set[str] = set()
        self.hits: dict[str, float | None] = {}

    def read(self, node_ids: Iterable[str]) -> Steps[None]:
        """Read the nodes that are neither known nor remembered."""
        unknown = self.unknown(node_ids)
        if unknown:
            self.learn((yield from ask(Fetch(unknown))))

    def add_found(self, found: VectorStoreQueryResult, *, by_vector: bool) -> None:
        """Add the hits of a search; similarities of vectors are kept, other scores share no scale."""
        self.learn(found.nodes or [])
        ids = list(found.ids or [node.node_id for node in found.nodes or []])
        self.add_hits(ids)
        if by_vector:
            self.hits |= dict(zip(ids, map(float, found.similarities or []), strict=False))

    def add_hits(self, node_ids: Iterable[str]) -> None:
        """Add hits that have no similarity."""
        for node_id in node_ids:
            self.hits.setdefault(node_id, None)

    def learn(self, nodes: Iterable[BaseNode]) -> None:
        """Take in nodes; those whose ids derive from their content are remembered."""
        for node in nodes:
            placed = {key: str(node.metadata.get(key) or "") for key in ("section", "bbox", "asset")}
            profile = Profile(
                node.node_id,
                self._ranker.candidate(node),
                NodeView(node).page_node_id,
                NodeView(node).element_node_ids,
                element=str(node.metadata.get("element_id") or ""),
                **placed,
            )
            self._profiles[node.node_id] = profile
            self._memory.keep(profile, node)

    def unknown(self, node_ids: Iterable[str]) -> list[str]:
        """Return which ids are neither known nor remembered."""
        missing = [node_id for node_id in dict.fromkeys(node_ids) if node_id not in self._profiles]
        found = self._memory.recall(missing)
        self._profiles |= found
        self._remembered |= found.keys()
        return [node_id for node_id in missing if node_id not in found]

    def forget(self) -> None:
        """Forget what came from memory: something has changed in the store."""
        self._memory.forget(self._remembered)
        self._profiles = {key: value for key, value in self._profiles.items() if key not in self._remembered}
        self._remembered = set()

    def known(self, node_ids: Iterable[str]) -> list[Profile]:
        """Return the profiles of the nodes that are known, in the order of the ids."""
        return [self._profiles[node_id] for node_id in node_ids if node_id in self._profiles]

    def documents(self) -> list[str]:
        """Return the documents of the hits, those of the best hits first."""
        return list(dict.fromkeys(p.candidate.document for p in self.known(self.hits) if p.candidate.document))

    def page_ids(self) -> list[str]:
        """Return the ids of the pages of hits that are elements."""
        return [profile.page_id for profile in self.known(self.hits) if profile.page_id is not None]

    def share_on_pages(self) -> float:
        """Return the share of the hits that are pages or elements of one."""
        hits = self.known(self.hits)
        return sum(profile.is_page or profile.page_id is not None for profile in hits) / max(len(hits), 1)

    def pages_or_elements(self, *, by_page: bool) -> list[Profile]:
        """Return what is ranked: pages, each with the best similarity on it, and elements without a page node."""
        ranked: dict[str, Profile] = {}
        similarities: dict[str, float] = {}
        for profile in self.known(self.hits):
            page = self._profiles.get(profile.page_id or "") if by_page else None
            owner = page if page is not None and page.is_page else profile
            ranked.setdefault(owner.node_id, owner)
            value = self.hits[profile.node_id]
            if value is not None:
                similarities[owner.node_id] = max(value, similarities.get(owner.node_id, value))
        # What the vector search missed is at most as similar as the last it returned.
        lowest = min(similarities.values(), default=0.0)
        return [
            replace(profile, candidate=replace(profile.candidate, prior=similarities.get(node_id, lowest)))
            for node_id, profile in ranked.items()
        ]


@strict_arguments
class CandidateRetriever(StepRetriever):
    """Search candidates by vector and by keyword, and let the subclass choose among them.

    Args:
        store: Where the nodes are.
        embed_model: Embeds the question; ``Settings.embed_model`` by default. Not used without a vector mode.
        similarity_top_k: Number of results.
        filters: What every node must pass; the tenant boundary.
        candidates: Hits of the keyword search; a vector search gives half as many.
        ranker: Orders the candidates; an :class:`EvidenceRanker` by default.
        modes: Searches to make; ``"default"`` is by vector. Leave ``"text_search"`` out for stores without it.
        memory: Profiles of nodes kept between questions; shared by all retrievers of the process by default.
        workers: Requests to the store at the same time.
        vector_store_kwargs: Passed on to the store's ``query``.

    Raises:
        ConfigurationError: A number is below 1, a mode is unknown, or the store does not keep text.
    """

    def __init__(
        self,
        store: BasePydanticVectorStore,
        embed_model: BaseEmbedding | None = None,
        similarity_top_k: int = DEFAULT_TOP_K,
        filters: MetadataFilters | None = None,
        candidates: int = 100,
        ranker: EvidenceRanker | None = None,
        modes: Sequence[str] = ("default", "text_search"),
        memory: NodeMemory | None = None,
        workers: int = 2,
        vector_store_kwargs: dict[str, Any] | None = None,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        self.store = store
        self.embed_model = embed_model
        self.similarity_top_k = similarity_top_k
        self.filters = filters
        self.candidates = candidates
        self.ranker = ranker or EvidenceRanker()
        self.modes = _modes(modes)
        self.memory = memory if memory is not None else shared_memory()
        self.workers = workers
        self.vector_store_kwargs = dict(vector_store_kwargs or {})
        check_positive(self, "similarity_top_k", "candidates", "workers")
        self._check_store()
        super().__init__(callback_manager=callback_manager, verbose=verbose)

    @abstractmethod
    def _select(self, session: Session, query: str) -> Steps[list[NodeWithScore]]:
        """Choose among the candidates.

        Args:
            session: Knows the candidates.

        Returns:
            The results, best first.
        """

    def _steps(self, bundle: QueryBundle) -> Steps[list[NodeWithScore]]:
        if not bundle.query_str.strip() and bundle.embedding is None:
            return []
        if bundle.embedding is None and bundle.embedding_strs and not KEYWORD_MODES.issuperset(self.modes):
            bundle.embedding = yield from ask(EmbedQuestion(bundle.embedding_strs))
        session = Session(self.ranker, self.memory)
        known = yield from self._keyword_hits(bundle.query_str)
        modes = [mode for mode in self.modes if known is None or mode not in KEYWORD_MODES]
        queries = self._queries(bundle, modes)
        for query, found in zip(queries, (yield from ask_all([Search(query) for query in queries])), strict=True):
            session.add_found(found, by_vector=query.mode is VectorStoreQueryMode.DEFAULT)
        session.add_hits(known or [])
        yield from session.read(session.hits)
        page_nodes = session.share_on_pages() > 0
        named = look_ups(understand(bundle.query_str), session.documents(), self.filters, page_nodes=page_nodes)
        for nodes in (yield from ask_all(named)):
            session.learn(nodes)
            session.add_hits(node.node_id for node in nodes)
        return (yield from self._select(session, bundle.query_str))

    def _keyword_hits(self, query: str) -> Steps[list[str] | None]:  # noqa: ARG002 # for subclasses
        """Return the ids of the best nodes by keyword where they are known without the store, else None."""
        yield from ()
        return None

    def _queries(self, bundle: QueryBundle, modes: Sequence[VectorStoreQueryMode]) -> list[VectorStoreQuery]:
        """Return the searches to make."""
        return [self._query(bundle, mode) for mode in modes]

    def _query(self, bundle: QueryBundle, mode: VectorStoreQueryMode) -> VectorStoreQuery:
        by_keyword = mode in KEYWORD_MODES
        return VectorStoreQuery(
            query_embedding=None if by_keyword else bundle.embedding,
            query_str=self._keywords(bundle.query_str) if by_keyword else bundle.query_str,
            mode=mode,
            # Vectors get half as many: measured, the further half only costs time.
            similarity_top_k=self.candidates if by_keyword else max(1, self.candidates // 2),
            sparse_top_k=self.candidates,
            hybrid_top_k=self.candidates,
            filters=self.filters,
            output_fields=[],
        )

    def _keywords(self, query: str) -> str:
        """Return the words to search for: those of content, and those that a lexicon adds."""
        words = understand(query).keywords
        return " ".join([*words, *self.ranker.added_words(query)]) or query


def _modes(modes: Sequence[str]) -> list[VectorStoreQueryMode]:
    try:
        found = [VectorStoreQueryMode(mode) for mode in modes]
    except ValueError as error:
        message = f"Unknown search mode in {list(modes)}: {error}."
        raise ConfigurationError(message) from error
    if not found:
        raise ConfigurationError("A retriever needs at least one search mode; an empty list was given.")
    return found


def result_of(node: BaseNode, evidence: dict[str, float], score: float) -> NodeWithScore:
    """Return a stored node as a result: a copy that says how it came to its score.

    Args:
        evidence: What every signal added.
        score: How probable it is that the node bears on the question.
    """
    shown = annotated_copy(node, EVIDENCE_KEY, evidence)
    shown.embedding = None
    if str(node.metadata.get("page_label")) == str(node.metadata.get("page")):
        # The same number twice is no use to an LLM.
        shown.excluded_llm_metadata_keys = [*shown.excluded_llm_metadata_keys, "page_label"]
    return NodeWithScore(node=shown, score=score)


def by_id(nodes: Sequence[BaseNode]) -> dict[str, BaseNode]:
    """Return nodes by their ids."""
    return {node.node_id: node for node in nodes}


def store_of(retriever: BaseRetriever) -> BasePydanticVectorStore | None:
    """Return the store of one of our retrievers, or of the first among those that it asks; None without any."""
    if isinstance(retriever, CandidateRetriever):
        return retriever.store
    children = getattr(retriever, "retrievers", None)
    found = (store_of(child) for child in children) if isinstance(children, list) else ()
    return next((store for store in found if store is not None), None)


# -- look-ups ----------------------------------------------------------------------------------------------


def look_ups(
    question: Question, documents: Sequence[str], filters: MetadataFilters | None, *, page_nodes: bool = True
) -> list[Fetch]:
    """Return the requests for pages and labelled elements that a question names.

    Args:
        documents: Ids of the documents to look into, those with the best candidates first.
        filters: The caller's filters, which apply to these requests too.
        page_nodes: Whether pages are nodes of their own; otherwise all elements of a named page are asked for.
    """
    if not documents:
        return []
    within = of_documents(*documents[:MAX_DOCUMENTS_LOOKED_UP])
    pages_only = equal_to("content_type", "page") if page_nodes else None
    numbers = sorted({*question.pages, *question.positions, *([1] if question.about_document else [])})
    names = [str(number) for number in question.pages] + list(question.page_labels)
    elements = [label for kind, number in question.labels if (label := label_of(f"{kind} {number}"))]
    named = any_of(one_of("page", numbers) if numbers else None, one_of("page_label", names) if names else None)
    requests = []
    if named is not None:
        requests.append(Fetch(filters=all_of(filters, within, pages_only, named)))
    if elements:
        requests.append(Fetch(filters=all_of(filters, within, one_of("label", elements))))
    if question.last_pages:
        last = of_documents(*documents[:MAX_DOCUMENTS_ENDED])
        requests.append(Fetch(filters=all_of(filters, last, pages_only)))
    return requests
