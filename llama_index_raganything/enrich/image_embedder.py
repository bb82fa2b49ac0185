"""``ImageEmbedder``: vectors of the images of nodes, from any LlamaIndex ``MultiModalEmbedding``.

LlamaIndex's own way of embedding nodes, with an embedding model as transformation, embeds the text of an ``ImageNode``
even if the model is multimodal (llama-index-core 0.14).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from llama_index.core.base.embeddings.base import Embedding
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.schema import BaseNode, ImageType
from pydantic import Field

from llama_index_raganything import errors, images
from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.enrich.base import ElementNodes, ElementProcessor, Outcome, Processed

_FATAL = "image_embedder.fatal"
"""Key of the error that ended a run among what its elements share."""


@strict_arguments
class ImageEmbedder(ElementProcessor):
    """Set the embedding of nodes to the vector of their image; nodes without an image pass unchanged.

    Images are fitted first (upright, RGB, first frame, limited pixels and bytes), and equal images are embedded once.
    An image that cannot be read or embedded leaves its nodes unchanged and is reported; it never stops the others.

    Args:
        embed_model: Embeds images (and texts) in one space.
        dimension: Required length of the vectors; by default any, if all are equal.
        content_types: Process only nodes of these content types and nodes without one; all by default.
        max_pixels: Larger images are scaled down.
        max_bytes: Larger images are re-encoded.
        workers: Number of batches embedded concurrently, each of the model's ``image_batch_size`` or, if it has
            none, ``embed_batch_size`` images.
        fetch: Fetches images at URLs; without it they are reported as not embedded. Not serialised.
    """

    # Models show their keys.
    embed_model: MultiModalEmbedding = Field(repr=False, description="Embeds images and texts in one space.")
    dimension: int | None = Field(default=None, ge=1, description="Length of the vectors.")
    content_types: tuple[str, ...] | None = Field(  # type: ignore[assignment]  # None means all, also of nodes without
        default=None, description="Content types that are embedded."
    )
    max_pixels: int = Field(default=images.MAX_EMBED_PIXELS, ge=1024, description="Pixels of an image.")
    max_bytes: int = Field(default=images.MAX_EMBED_BYTES, ge=10_000, description="Bytes of an image.")
    workers: int = Field(default=4, ge=1, description="Batches embedded at the same time.")
    fetch: images.Fetch | None = Field(default=None, exclude=True, description="Gets images that are at a URL.")

    def _elements(self, nodes: Sequence[BaseNode]) -> list[ElementNodes]:
        """Return one element per distinct image, across documents."""
        groups: dict[str, list[BaseNode]] = defaultdict(list)
        identities: dict[images.ImageSource, str] = {}
        for node in nodes:
            if not self._wants(node):
                continue
            try:
                source = images.source_of_node(node)
            except errors.RAGAnythingError:
                groups[f"node {node.node_id}"].append(node)  # Reported when it is its turn.
                continue
            if source is not None:
                identity = identities.get(source) or identities.setdefault(source, images.identity_of(source))
                groups[identity].append(node)
        run: dict[str, Any] = {}
        return [ElementNodes(tuple(parts), nodes, tuple(range(len(parts))), run) for parts in groups.values()]

    def _wants(self, node: BaseNode) -> bool:
        kind = node.metadata.get("content_type")
        return self.content_types is None or not kind or kind in self.content_types

    def _batches(self, elements: Sequence[ElementNodes]) -> list[Sequence[ElementNodes]]:
        # Models that split batches by themselves say how many images to hold in memory for them.
        size = max(1, getattr(self.embed_model, "image_batch_size", None) or self.embed_model.embed_batch_size)
        return [elements[start : start + size] for start in range(0, len(elements), size)]

    def _process_element(self, element: ElementNodes) -> Sequence[BaseNode]:
        return self._with_vector(element, self.embed_model.get_image_embedding(self._input(element)))

    async def _aprocess_element(self, element: ElementNodes) -> Sequence[BaseNode]:
        image = await asyncio.to_thread(self._input, element)
        return self._with_vector(element, await self.embed_model.aget_image_embedding(image))

    def _process_batch(self, batch: Sequence[ElementNodes]) -> list[Outcome]:
        inputs = self._inputs(batch)
        good = [value for value in inputs if not isinstance(value, errors.Failure)]
        answer: Sequence[Embedding] | Exception
        try:
            answer = self.embed_model.get_image_embedding_batch(good) if good else []
        except Exception as error:  # noqa: BLE001  # clients of models raise anything
            answer = error
        # A batch that failed as a whole is embedded image by image, so that it costs only the image to blame.
        return self._outcomes(batch, inputs, answer) or super()._process_batch(batch)

    async def _aprocess_batch(self, batch: Sequence[ElementNodes]) -> list[Outcome]:
        inputs = await asyncio.to_thread(self._inputs, batch)
        good = [value for value in inputs if not isinstance(value, errors.Failure)]
        answer: Sequence[Embedding] | Exception
        try:
            answer = await self.embed_model.aget_image_embedding_batch(good) if good else []
        except Exception as error:  # noqa: BLE001  # clients of models raise anything
            answer = error
        return self._outcomes(batch, inputs, answer) or await super()._aprocess_batch(batch)

    def _inputs(self, batch: Sequence[ElementNodes]) -> list[ImageType | errors.Failure]:
        """Return the inputs for the model; after a fatal error only failures."""
        fatal = batch[0].shared.get(_FATAL)
        return [self._input_or_failure(element) if fatal is None else errors.Failure.of(fatal) for element in batch]

    def _input_or_failure(self, element: ElementNodes) -> ImageType | errors.Failure:
        try:
            return self._input(element)
        except Exception as error:  # noqa: BLE001  # the caller's fetch raises anything; it is reported
            return errors.Failure.of(error)

    def _input(self, element: ElementNodes) -> ImageType:
        source = images.source_of_node(element.first)
        assert source is not None
        return images.model_input(source, max_pixels=self.max_pixels, max_bytes=self.max_bytes, fetch=self.fetch)

    def _outcomes(
        self,
        batch: Sequence[ElementNodes],
        inputs: Sequence[ImageType | errors.Failure],
        answer: Sequence[Embedding] | Exception,
    ) -> list[Outcome]:
        """Return the outcome of each image of a batch; an empty list if each must be embedded alone."""
        count = sum(not isinstance(value, errors.Failure) for value in inputs)
        vectors: Sequence[Embedding | errors.Failure]
        if isinstance(answer, Exception):
            vectors = _vectors_beside(answer, count, batch[0].shared)
        elif len(answer) == count:
            vectors = answer
        else:
            vectors = [] if count > 1 else [errors.Failure(f"{len(answer)} vectors came back for one image.")]
        if len(vectors) != count:
            return []
        made = iter(vectors)
        outcomes = [
            value if isinstance(value, errors.Failure) else self._outcome(element, next(made))
            for element, value in zip(batch, inputs, strict=True)
        ]
        self._check_lengths(outcomes)
        return outcomes

    def _outcome(self, element: ElementNodes, vector: Embedding | errors.Failure) -> Outcome:
        try:
            return vector if isinstance(vector, errors.Failure) else self._with_vector(element, vector)
        except errors.NodeValueError as error:
            return errors.Failure.of(error)

    def _with_vector(self, element: ElementNodes, vector: Embedding) -> list[BaseNode]:
        problem = vector_problem(vector)
        if problem:
            message = f"{model_name(self.embed_model)} returned no usable vector for the image: {problem}."
            raise errors.NodeValueError(message)
        return [part.model_copy(update={"embedding": list(map(float, vector))}) for part in element.parts]

    def _joined(
        self, nodes: Sequence[BaseNode], elements: Sequence[ElementNodes], outcomes: Sequence[Sequence[Outcome]]
    ) -> Processed:
        self._check_lengths([outcome for batch in outcomes for outcome in batch])
        result = super()._joined(nodes, elements, outcomes)
        result.fatal = elements[0].shared.get(_FATAL) if elements else None
        return result

    def _check_lengths(self, outcomes: Sequence[Outcome]) -> None:
        wanted = self.dimension
        for outcome in outcomes:
            length = 0 if isinstance(outcome, errors.Failure) else len(outcome[0].embedding or ())
            wanted = wanted or length
            if length and length != wanted:
                message = (
                    f"{model_name(self.embed_model)} returned a vector of length {length} for an image, {wanted} "
                    "is expected. Use the model that the other vectors are from, or another collection."
                )
                raise errors.ConfigurationError(message)

    def _progress_text(self) -> str:
        return self.class_name()


def _vectors_beside(error: Exception, count: int, run: dict[str, Any]) -> list[Embedding | errors.Failure]:
    """Return what a failed batch means for each of its images; an empty list if they should be embedded one by one.

    Models of this package have already isolated the inputs at fault.
    """
    partial = error if isinstance(error, errors.PartialEmbeddingError) else None
    reasons: Mapping[int, Exception] = partial.failures if partial else dict.fromkeys(range(count), error)
    fatal = next((reason for reason in reasons.values() if errors.failure_kind(reason) is errors.ErrorKind.FATAL), None)
    if fatal is not None:
        run[_FATAL] = fatal
    elif not isinstance(error, errors.RAGAnythingError) and count > 1:
        return []
    vectors = partial.embeddings if partial else [None] * count
    return [errors.Failure.of(reasons[place]) if vector is None else vector for place, vector in enumerate(vectors)]


def model_name(embed_model: MultiModalEmbedding) -> str:
    """Return what messages call a model."""
    name = embed_model.model_name
    return f"{embed_model.class_name()} ({name})" if name and name != "unknown" else embed_model.class_name()


def vector_problem(vector: Any) -> str:
    """Return what is wrong with a vector that a model returned; empty if nothing is."""
    try:
        values = np.asarray(vector, dtype=np.float64)
    except (TypeError, ValueError):
        return "it is no list of numbers"
    if values.ndim != 1 or not values.size:
        return "it is empty" if not values.size else f"it has the shape {values.shape}"
    if not np.isfinite(values).all():
        return "it has NaN or infinite values"
    return "" if values.any() else "it is all zeros"
