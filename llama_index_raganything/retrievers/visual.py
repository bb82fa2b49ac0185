"""Search by what images show: with words, with an image, or with both."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from llama_index.core.base.embeddings.base import Embedding
from llama_index.core.callbacks import CallbackManager
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)

from llama_index_raganything._arguments import check_positive, strict_arguments
from llama_index_raganything.enrich.image_embedder import model_name, vector_problem
from llama_index_raganything.errors import ConfigurationError, NodeValueError, SchemaMismatchError
from llama_index_raganything.images import Fetch, ImageSource, model_input, source_of_value
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.questions.question import understand
from llama_index_raganything.retrievers.fusion import RRF_K, fuse_by_rank
from llama_index_raganything.retrievers.steps import EmbedQuestion, Request, Search, StepRetriever, Steps, ask, ask_all

MIN_BACKGROUND: Final = 12
"""Fewer different similarities do not show what is usual."""

FALSE_ALARMS: Final = 0.01
"""Questions, as a share, of which an unrelated item may pass."""


def outstanding_threshold(
    similarities: Sequence[float], population: int | None = None, false_alarms: float = FALSE_ALARMS
) -> float | None:
    """Return the similarity over which items stand out from the rest.

    The similarities of unrelated items are taken for normally distributed. Mean and deviation are those of the line
    through the middle (of the lower half, when only the best were read) of the quantile plot, which related items at
    the top do not bend; the threshold is what the best of that many unrelated items exceeds in ``false_alarms`` of all
    questions (Bonferroni). Equal similarities, as of the same logo on many pages, count once.

    Args:
        similarities: Similarities of the best items, or of all, in any order; higher is better.
        population: How many items there are, when not all were read.
        false_alarms: Share of questions without any related item of which one may pass.

    Returns:
        The threshold; None when fewer than :data:`MIN_BACKGROUND` different similarities are known.
    """
    values = np.unique(np.round(np.asarray(similarities, dtype=np.float64), 6))[::-1]
    size = len(values)
    if size < MIN_BACKGROUND:
        return None
    total = size if population is None or population <= len(similarities) else population
    first, last = (size // 4, size - size // 8) if total == size else (size // 2, size)
    normal = NormalDist()
    quantiles = [normal.inv_cdf(1 - (place + 0.5) / total) for place in range(first, last)]
    slope, mean = np.polyfit(quantiles, values[first:last], 1)
    return float(mean + max(slope, 0.0) * normal.inv_cdf(1 - false_alarms / total))


VISUAL_ROUTES_KEY: Final = "visual_routes"
"""Metadata key, hidden from embedding models and LLMs, of the JSON list of how an image was found."""

TEXT_ROUTE: Final = "text-to-image"
IMAGE_ROUTE: Final = "image-to-image"

_BACKGROUND: Final = 1000
"""Similarities read to learn what is usual; without nodes they cost little."""

_MOST: Final = 16_384
"""Results per request that Milvus gives."""


@dataclass(frozen=True, slots=True)
class EmbedImage(Request[Embedding]):
    """A request for the vector of an image.

    Attributes:
        fetch: Gets an image that is at a URL; without it such images are refused.
    """

    source: ImageSource
    fetch: Fetch | None

    def answer(self, retriever: VisualRetriever) -> Embedding:
        """Embed the image."""
        return retriever.embed_model.get_image_embedding(model_input(self.source, fetch=self.fetch))

    async def aanswer(self, retriever: VisualRetriever) -> Embedding:
        """Embed the image without blocking the event loop."""
        fitted = await asyncio.to_thread(model_input, self.source, fetch=self.fetch)
        return await retriever.embed_model.aget_image_embedding(fitted)


@dataclass(frozen=True, slots=True)
class Count(Request[int | None]):
    """A request for how many nodes pass the filters; None where the store cannot count."""

    filters: MetadataFilters | None

    def answer(self, retriever: StepRetriever) -> int | None:
        """Count the nodes."""
        count = getattr(retriever.store, "count", None)
        return int(count(self.filters)) if count is not None else None


@strict_arguments
class VisualRetriever(StepRetriever):
    """Find images (figures, photos, page images) by what they show.

    A question's words are compared with images in the one space of a multimodal model, and so are the images that it
    carries (``QueryBundle.image_path``, or the ``images`` of an ``AttachedQuery``); with both, the results are fused
    by rank. Of nodes of one document that show the very same image, such as the parts of a long table, one is
    returned. ``QueryBundle.embedding`` is not used, since it comes from a model of texts.

    A search by vector always finds something. Beside text routes (in a ``FusionRetriever``) set
    ``outstanding_only=True``: then, for a question in words alone, only images pass that stand out from what is usual
    for the question (:func:`outstanding_threshold`), unless it asks for an image ("which chart ..."). So images that
    say nothing take no text's place. Measured in a random space of 128 dimensions, 20 to 1,000 images, fused at equal
    weights with ten texts: a question without any related image loses 5 of its 10 texts by default, and 0.00 to 0.07
    with ``outstanding_only``, where an image 5 deviations off the mean is found for 9 questions of 10. Smaller weights
    instead never show an image at all. Among fewer than 12 images nothing passes by words that ask for none.

    Results are the stored ``ImageNode`` with text and path, scored by similarity (by reciprocal ranks when fused), and
    ``visual_routes`` in their metadata, a JSON list of route, rank and similarity.

    One vector stands for one image. A late-interaction model, which has a vector per patch (ColPali), plugs in as a
    postprocessor behind this retriever: it scores the images at ``image_path`` of some hundred results again.

    Args:
        store: Where the vectors of images are; see
            :func:`~llama_index_raganything.stores.nodes.visual.visual_store_beside`.
        embed_model: The model that they were made with.
        similarity_top_k: How many nodes to return.
        filters: What every node must pass; the tenant boundary.
        outstanding_only: Of questions in words alone, let only outstanding images pass.
        max_text_chars: Characters of a question that are embedded; models of images take short texts.
        fetch: Gets images of questions that are at a URL; without it they are refused.
        workers: How many requests run at the same time.
        vector_store_kwargs: Passed on to the store's ``query``.
        callback_manager: LlamaIndex's callbacks.
        verbose: Passed on to ``BaseRetriever``.

    Raises:
        ConfigurationError: A number is below 1, the model embeds no images, or the store keeps no text.
        SchemaMismatchError: (when asked) The model's vectors have another length than the stored ones.
        ParseError: (when asked) The image of a question is damaged, too large, or of a kind that cannot be drawn.
        SourceError: (when asked) The image of a question cannot be read, or is remote.
    """

    embed_model: MultiModalEmbedding

    def __init__(
        self,
        store: BasePydanticVectorStore,
        embed_model: MultiModalEmbedding,
        similarity_top_k: int = 5,
        filters: MetadataFilters | None = None,
        *,
        outstanding_only: bool = False,
        max_text_chars: int = 1000,
        fetch: Fetch | None = None,
        workers: int = 4,
        vector_store_kwargs: dict[str, Any] | None = None,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        self.store = store
        self.embed_model = embed_model
        self.similarity_top_k = similarity_top_k
        self.filters = filters
        self.outstanding_only = outstanding_only
        self.max_text_chars = max_text_chars
        self.fetch = fetch
        self.workers = workers
        self.vector_store_kwargs = dict(vector_store_kwargs or {})
        self._check()
        super().__init__(callback_manager=callback_manager, verbose=verbose)

    def _check(self) -> None:
        check_positive(self, "similarity_top_k", "max_text_chars", "workers")
        model: Any = self.embed_model
        if not isinstance(model, MultiModalEmbedding):
            message = f"{type(model).__name__} embeds no images; give a MultiModalEmbedding."
            raise ConfigurationError(message)
        self._check_store()

    def _steps(self, bundle: QueryBundle) -> Steps[list[NodeWithScore]]:
        texts = self._texts(bundle)
        images = [EmbedImage(source_of_value(image), self.fetch) for image in images_of(bundle)]
        wanted: list[Request[Embedding]] = [*images, *([EmbedQuestion(texts)] if texts else [])]
        outstanding = self.outstanding_only and not images and not asks_for_picture(bundle.query_str)
        if not wanted or (outstanding and (yield from self._too_few())):
            return []
        routes: list[tuple[str, list[NodeWithScore]]] = []
        for request, vector in zip(wanted, (yield from ask_all(wanted)), strict=True):
            self._check_vector(vector)
            if isinstance(request, EmbedImage):
                routes.append((IMAGE_ROUTE, (yield from self._search(vector))))
                continue
            least = (yield from self._least(vector, outstanding=outstanding)) if outstanding or images else None
            found = [] if least == _NOTHING else (yield from self._search(vector))
            routes.append((TEXT_ROUTE, [hit for hit in found if least is None or (hit.score or 0.0) > least]))
        fused = fuse_by_rank(
            [found for _, found in routes],
            [name for name, _ in routes],
            [1.0] * len(routes),
            RRF_K,
            self.similarity_top_k,
            VISUAL_ROUTES_KEY,
        )
        if len(routes) == 1:
            for item, hit in zip(fused, routes[0][1], strict=True):
                item.score = hit.score
        for item in fused:
            item.node.embedding = None
        return fused

    def _texts(self, bundle: QueryBundle) -> tuple[str, ...]:
        cut = (text.strip()[: self.max_text_chars] for text in bundle.embedding_strs)
        # Lone surrogates cannot be sent to any service.
        return tuple(text.encode("utf-8", "replace").decode("utf-8") for text in cut if text)

    def _check_vector(self, vector: Embedding) -> None:
        problem = vector_problem(vector)
        if problem:
            message = f"{model_name(self.embed_model)} returned no usable vector for the question: {problem}."
            raise NodeValueError(message)
        stored = getattr(self.store, "dim", None)
        if isinstance(stored, int) and stored != len(vector):
            message = (
                f"{model_name(self.embed_model)} returned a vector of length {len(vector)}, the stored images have "
                f"{stored}. Use the embedding model that they were embedded with, or embed them anew."
            )
            raise SchemaMismatchError(message)

    def _too_few(self) -> Steps[bool]:
        """Return whether so few images are stored that none can stand out, which saves asking the model."""
        population = yield from ask(Count(self.filters))
        return population is not None and population < MIN_BACKGROUND

    def _least(self, vector: Embedding, *, outstanding: bool) -> Steps[float | None]:
        """Return the similarity over which images pass; None when all do."""
        query = self._query(vector, _BACKGROUND)
        query.output_fields = []
        answer = yield from ask(Search(query))
        similarities = list(answer.similarities or [])
        population = None
        if len(similarities) >= _BACKGROUND:
            population = yield from ask(Count(self.filters))
        least = outstanding_threshold(similarities, population)
        # Among few images it is unknown what is usual: words count beside an image, and do not by themselves.
        return _NOTHING if least is None and outstanding else least

    def _search(self, vector: Embedding) -> Steps[list[NodeWithScore]]:
        """Return the nearest nodes, one for each image of a document."""
        limit = 2 * self.similarity_top_k
        while True:
            answer = yield from ask(Search(self._query(vector, limit)))
            found = _one_per_picture(answer)
            enough = len(found) >= self.similarity_top_k
            if enough or len(answer.similarities or []) < limit or limit >= _MOST:
                return found[: self.similarity_top_k]
            limit = min(4 * limit, _MOST)

    def _query(self, vector: Embedding, limit: int) -> VectorStoreQuery:
        return VectorStoreQuery(query_embedding=vector, similarity_top_k=limit, filters=self.filters)


_NOTHING: Final = float("inf")


def images_of(bundle: QueryBundle) -> list[Any]:
    """Return the images that a question carries.

    Returns:
        Its ``images``, where it has any (``AttachedQuery``), else its ``image_path``.
    """
    found = getattr(bundle, "images", None)
    return list(found) if found else [bundle.image_path] if bundle.image_path else []


def asks_for_picture(question: str) -> bool:
    """Return whether a question in words asks for an image, and not for one by its label."""
    asked = understand(question)
    return "image" in asked.kinds and not asked.labels


def _one_per_picture(answer: VectorStoreQueryResult) -> list[NodeWithScore]:
    pairs = zip(answer.nodes or [], answer.similarities or [], strict=True)
    # Equal images have equal scores: the element before its page, and always the same one.
    ordered = sorted(
        pairs, key=lambda pair: (-pair[1], pair[0].metadata.get("content_type") == "page", pair[0].node_id)
    )
    kept: dict[tuple[str, str], NodeWithScore] = {}
    for node, similarity in ordered:
        kept.setdefault(_picture_of(node), NodeWithScore(node=node, score=float(similarity)))
    return list(kept.values())


def _picture_of(node: BaseNode) -> tuple[str, str]:
    document = NodeView(node).document_id
    picture = (
        node.metadata.get("asset")
        or getattr(node, "image_path", None)
        or getattr(node, "image_url", None)
        or node.node_id
    )
    return document, str(picture)
