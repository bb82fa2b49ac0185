"""A postprocessor that orders any nodes by their evidence and says why."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # re-exported, not in its __all__
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, ImageNode, NodeWithScore, QueryBundle, TextNode

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.elements import EVIDENCE_KEY, QUESTION_KEYS
from llama_index_raganything.nodes import NodeView, page_number
from llama_index_raganything.questions.question import understand
from llama_index_raganything.ranking.lexicon import Lexicon, load_lexicons
from llama_index_raganything.ranking.relevance import relevance
from llama_index_raganything.ranking.scoring import Candidate, EvidenceWeights, Scores, score
from llama_index_raganything.text.terms import TokenizedText

dispatcher = get_dispatcher(__name__)

# One lock for all rankers: a lock of its own would keep a ranker from being pickled.
_CACHE_LOCK = threading.Lock()

_HEAD_KEYS = ("title", "section", "label", "caption")


class _Result:
    """Hash a result as the stored node, whatever a question has added to its metadata.

    LlamaIndex fuses and deduplicates results by ``node.hash``, which covers the metadata (``QueryFusionRetriever`` of
    core 0.14.25): a node found by two questions would count twice.
    """

    text: str
    metadata: dict[str, Any]

    @property
    def hash(self) -> str:
        """The hash of the stored node, as ``TextNode`` makes it."""
        stored = {key: value for key, value in self.metadata.items() if key not in QUESTION_KEYS}
        return hashlib.sha256((self.text + str(stored)).encode("utf-8", "surrogatepass")).hexdigest()


class _TextResult(_Result, TextNode):
    """A stored text as a result; serialised as the ``TextNode`` it is."""


class _ImageResult(_Result, ImageNode):
    """A stored image as a result; serialised as the ``ImageNode`` it is."""


_RESULTS: dict[type[BaseNode], type[BaseNode]] = {TextNode: _TextResult, ImageNode: _ImageResult}


def annotated_copy(node: BaseNode, key: str, value: Any) -> BaseNode:
    """Return a copy of a node with one more metadata entry that neither embedding models nor LLMs see.

    Args:
        node: The node; it stays as it is.
        value: A JSON-ready value; stored as a JSON string so that metadata stays flat.

    Returns:
        The copy, with the same id, text and relationships.
    """
    return with_hidden_metadata(node, {key: json.dumps(value, ensure_ascii=False)})


def with_hidden_metadata(node: BaseNode, values: Mapping[str, Any]) -> BaseNode:
    """Return a copy of a node with further metadata that neither embedding models nor LLMs see."""
    hidden = {
        name: list(dict.fromkeys([*getattr(node, name), *values]))
        for name in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys")
    }
    changed = {"metadata": {**node.metadata, **values}, **hidden}
    kind = _RESULTS.get(type(node))
    if kind is None:
        return node.model_copy(update=changed)
    return kind.model_construct(**{name: getattr(node, name) for name in type(node).model_fields} | changed)


def read_evidence(node: BaseNode) -> dict[str, float]:
    """Return the account that a ranker wrote into a node.

    Args:
        node: A node from :class:`EvidenceRanker`.

    Returns:
        Contributions by signal and ``coverage``; empty when the node was not ranked.
    """
    try:
        found = json.loads(node.metadata.get(EVIDENCE_KEY, "{}"))
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _default_lexicons() -> list[str | dict[str, Any]]:
    return ["finance"]


@strict_arguments
class EvidenceRanker(BaseNodePostprocessor):
    """Order nodes by how well they answer to the words, the pages and the labels of a question.

    Works on any nodes: without this package's metadata it ranks by text alone. The nodes passed in are not changed;
    each returned node is a copy whose metadata has ``evidence``, a JSON object of what every signal added to the
    order and of ``coverage``, the share of the question's informative words that the node has. Its score is the
    probability that it bears on the question (:mod:`llama_index_raganything.ranking.relevance`), so a
    ``SimilarityPostprocessor`` behind it drops what does not answer.

    Args:
        top_n: How many nodes to return; all by default.
        weights: How much each signal counts.
        lexicons: Names of packaged lexicons, paths of JSON files, or dictionaries; see
            :mod:`llama_index_raganything.ranking.lexicon`. A lexicon is idle until one of its patterns fires.
        cache_size: How many tokenized texts to keep for the next question (about 4 KB for a page).

    Raises:
        ConfigurationError: A lexicon does not exist or has another form.
    """

    top_n: int | None = Field(default=None, ge=1)
    weights: EvidenceWeights = Field(default_factory=EvidenceWeights)
    lexicons: list[str | dict[str, Any]] = Field(default_factory=_default_lexicons)
    cache_size: int = Field(default=8192, ge=0)

    _cache: LRUCache[tuple[int, int], TokenizedText] = PrivateAttr()
    _loaded: tuple[Lexicon, ...] = PrivateAttr(default=())

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._cache = LRUCache(self.cache_size)
        # Not in a validator: pydantic would wrap the typed error.
        self._loaded = load_lexicons(self.lexicons)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which the ranker is serialised."""
        return "EvidenceRanker"

    def score(self, candidates: Sequence[Candidate], query: str) -> Scores:
        """Score candidates without ordering anything.

        Args:
            candidates: Candidates, from :meth:`candidate`.

        Returns:
            The scores, in the order of the candidates.
        """
        return score(understand(query), candidates, self.weights, self._loaded)

    def score_elements(self, candidates: Sequence[Candidate], query: str) -> npt.NDArray[np.float64]:
        """Score elements on the pages found, to choose those to cite.

        Returns:
            One value per element; higher is better. Kinds of element that the question names ("which chart") gain.
        """
        kinds = understand(query).kinds
        named = [float(candidate.content_type in kinds) for candidate in candidates]
        return self.score(candidates, query).total + self.weights.kind * np.array(named)

    def added_words(self, query: str) -> list[str]:
        """Return the words that the lexicons add to a question.

        Returns:
            Tokens; empty when no pattern fires.
        """
        return [token for lexicon in self._loaded for token in lexicon.expand(query)]

    def candidate(self, node: BaseNode, prior: float = 0.0) -> Candidate:
        """Return a node in the form that scoring takes.

        Args:
            prior: The score it came with.

        Returns:
            The candidate.
        """
        metadata = node.metadata
        text = NodeView(node).text
        head = "\n".join(str(metadata[key]) for key in _HEAD_KEYS if metadata.get(key))
        label = metadata.get("page_label")
        return Candidate(
            text=text,
            tokens=self._tokenized(text, head),
            document=str(metadata.get("doc_id") or node.ref_doc_id or metadata.get("file_name") or ""),
            page=page_number(metadata),
            page_label=None if label is None else str(label),
            label=str(metadata["label"]) if metadata.get("label") else None,
            content_type=str(metadata.get("content_type", "text")),
            prior=prior,
        )

    def _tokenized(self, text: str, head: str) -> TokenizedText:
        key = (hash(text), hash(head))
        with _CACHE_LOCK:
            found = self._cache.get(key)
        if found is None:
            found = TokenizedText.from_text(text, head)
            if self.cache_size:
                with _CACHE_LOCK:
                    self._cache[key] = found
        return found

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if not nodes:
            return []
        query = query_bundle.query_str if query_bundle else ""
        top_n = self.top_n or len(nodes)
        dispatcher.event(ReRankStartEvent(query=query, nodes=nodes, top_n=top_n, model_name=self.class_name()))
        ranked = self._rank(nodes, query)[:top_n]
        dispatcher.event(ReRankEndEvent(nodes=ranked))
        return ranked

    def _rank(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        candidates = [self.candidate(item.node, item.score or 0.0) for item in nodes]
        scores = self.score(candidates, query)
        order = np.argsort(-scores.total, kind="stable").tolist()
        values = relevance(query, [candidates[index] for index in order], self.top_n)
        return [
            NodeWithScore(node=annotated_copy(nodes[index].node, EVIDENCE_KEY, scores.explain(index)), score=value)
            for index, value in zip(order, values, strict=False)
        ]
