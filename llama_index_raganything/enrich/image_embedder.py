"""``ImageEmbedder``: vectors of the images of nodes, from any LlamaIndex ``MultiModalEmbedding``.

LlamaIndex's own way to embed nodes, an embedding model as transformation, embeds the text of an ``ImageNode`` even
when the model is multimodal (llama-index-core 0.14).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from llama_index.core.async_utils import run_jobs
from llama_index.core.base.embeddings.base import Embedding
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.schema import BaseNode, ImageType, TransformComponent
from pydantic import Field

from llama_index_raganything._arguments import refuse_misspelt, strict_arguments
from llama_index_raganything.errors import (
    ConfigurationError,
    ErrorKind,
    Failure,
    NodeValueError,
    PartialEmbeddingError,
    RAGAnythingError,
)
from llama_index_raganything.images import (
    MAX_EMBED_BYTES,
    MAX_EMBED_PIXELS,
    Fetch,
    ImageSource,
    identity_of,
    model_input,
    source_of_node,
)
from llama_index_raganything.workers import map_in_threads

logger = logging.getLogger(__name__)


@dataclass
class EmbeddedImages:
    """What became of nodes.

    Attributes:
        nodes: All nodes in their order; those whose image was embedded are new objects.
        embedded: Those of them that have the vector of their image.
        failures: Ids of nodes whose image could not be embedded, each with the reason.
        unanswered: Ids of those of them for which the model gave no answer, so that asking again later may help.
        final: The error that every further request would meet too, if there was one.
    """

    nodes: list[BaseNode]
    embedded: list[BaseNode] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    final: RAGAnythingError | None = None


@dataclass
class _Picture:
    """One image and the places of the nodes that show it."""

    source: ImageSource
    places: list[int]


@dataclass
class _Run:
    """What the batches of one run share.

    Attributes:
        final: The error that every further request would meet too.
    """

    final: RAGAnythingError | None = None


@dataclass
class _Batch:
    """Images that are handed to the model at once."""

    pictures: Sequence[_Picture]
    run: _Run

    def inputs(self, make: Callable[[_Picture], ImageType | Failure]) -> list[ImageType | Failure]:
        """Return what is handed to the model; nothing any more after an error that ends the run."""
        final = self.run.final
        return [make(picture) if final is None else Failure.of(final) for picture in self.pictures]

    def outcomes_of(self, error: RAGAnythingError, count: int) -> list[Embedding | Failure]:
        """Return what an error of our own models means for each image: they have asked as often as it helps."""
        partial = error if isinstance(error, PartialEmbeddingError) else None
        reasons = partial.failures if partial else dict.fromkeys(range(count), error)
        for reason in reasons.values():
            if reason.kind is ErrorKind.FATAL:
                self.run.final = reason
        vectors = partial.embeddings if partial else [None] * count
        failures = {place: Failure.of(reason) for place, reason in reasons.items()}
        return [failures[place] if vector is None else vector for place, vector in enumerate(vectors)]


@strict_arguments
class ImageEmbedder(TransformComponent):
    """Give nodes the vector of their image as embedding; nodes without image pass as they are.

    Images are made fit first (upright, RGB, first frame, within pixels and bytes) and equal ones are embedded once. An
    image that cannot be read or embedded leaves its nodes as they were and is reported; it never stops the others.

    Args:
        embed_model: Embeds images (and texts) in one space.
        dimension: Length that its vectors must have; any one length by default.
        content_types: Only nodes of these content types, and nodes that name none; all nodes by default.
        max_pixels: Larger images are scaled down.
        max_bytes: Images of more bytes are encoded anew.
        max_workers: Batches (of ``embed_model.embed_batch_size`` images, or ``image_batch_size`` where the model has
            it) that are embedded at the same time.
        fetch: Gets images that are at a URL; without it they are reported as not embedded. Not serialised.
    """

    # Models show their keys.
    embed_model: MultiModalEmbedding = Field(repr=False, description="Embeds images and texts in one space.")
    dimension: int | None = Field(default=None, ge=1, description="Length of the vectors.")
    content_types: tuple[str, ...] | None = Field(default=None, description="Content types that are embedded.")
    max_pixels: int = Field(default=MAX_EMBED_PIXELS, ge=1024, description="Pixels of an image.")
    max_bytes: int = Field(default=MAX_EMBED_BYTES, ge=10_000, description="Bytes of an image.")
    max_workers: int = Field(default=4, ge=1, description="Batches embedded at the same time.")
    fetch: Fetch | None = Field(default=None, exclude=True, description="Gets images that are at a URL.")

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "ImageEmbedder"

    def process(self, nodes: Sequence[BaseNode], show_progress: bool = False) -> EmbeddedImages:
        """Embed the images of nodes.

        Args:
            nodes: Any nodes; they are not changed.
            show_progress: Show a progress bar over the batches.

        Returns:
            The nodes in the same order, and what failed.

        Raises:
            ConfigurationError: The model's vectors have another length than asked for, or more than one.
        """
        pictures, failures = self._pictures(nodes)
        batches = self._batches(pictures)
        progress = self.class_name() if show_progress else ""
        outcomes = map_in_threads(self._embed, batches, self.max_workers, progress)
        return self._joined(nodes, pictures, batches, outcomes, failures)

    async def aprocess(self, nodes: Sequence[BaseNode], show_progress: bool = False) -> EmbeddedImages:
        """Embed the images of nodes without blocking the event loop; see :meth:`process`.

        Args:
            nodes: Any nodes; they are not changed.
            show_progress: Show a progress bar over the batches.

        Returns:
            The nodes in the same order, and what failed.
        """
        pictures, failures = await asyncio.to_thread(self._pictures, nodes)
        batches = self._batches(pictures)
        if not batches:
            return EmbeddedImages(list(nodes), failures=failures)
        outcomes = await run_jobs(
            [self._aembed(batch) for batch in batches],
            show_progress=show_progress,
            workers=self.max_workers,
            desc=self.class_name(),
        )
        return self._joined(nodes, pictures, batches, outcomes, failures)

    def __call__(self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any) -> Sequence[BaseNode]:
        """Embed the images of nodes and log those that failed.

        Args:
            nodes: Any nodes; they are not changed.
            show_progress: Show a progress bar.
            **kwargs: Meant for others: a pipeline of LlamaIndex hands its own to all transformations.

        Returns:
            The nodes in the same order.
        """
        refuse_misspelt(f"{type(self).__name__}()", kwargs, ("show_progress",))
        return self._logged(self.process(nodes, show_progress))

    async def acall(self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any) -> Sequence[BaseNode]:
        """Embed the images of nodes and log those that failed; see :meth:`__call__`."""
        refuse_misspelt(f"{type(self).__name__}()", kwargs, ("show_progress",))
        return self._logged(await self.aprocess(nodes, show_progress))

    # -- drivers of one batch --------------------------------------------------------------------------------------

    def _embed(self, batch: _Batch) -> list[Embedding | Failure]:
        inputs = batch.inputs(self._input)
        good = [value for value in inputs if not isinstance(value, Failure)]
        try:
            vectors = _counted(self.embed_model.get_image_embedding_batch(good), good) if good else []
        except RAGAnythingError as error:
            vectors = batch.outcomes_of(error, len(good))
        except Exception as error:  # noqa: BLE001  # clients of models raise anything
            vectors = [Failure.of(error)] if len(good) == 1 else [self._embed_alone(value) for value in good]
        return self._checked(inputs, vectors)

    async def _aembed(self, batch: _Batch) -> list[Embedding | Failure]:
        inputs = await asyncio.to_thread(batch.inputs, self._input)
        good = [value for value in inputs if not isinstance(value, Failure)]
        try:
            vectors = _counted(await self.embed_model.aget_image_embedding_batch(good), good) if good else []
        except RAGAnythingError as error:
            vectors = batch.outcomes_of(error, len(good))
        except Exception as error:  # noqa: BLE001  # clients of models raise anything
            vectors = [Failure.of(error)] if len(good) == 1 else [await self._aembed_alone(value) for value in good]
        return self._checked(inputs, vectors)

    def _embed_alone(self, value: ImageType) -> Embedding | Failure:
        """Embed one image of a batch that failed as a whole, so that it costs only the image to blame."""
        try:
            return self.embed_model.get_image_embedding(_rewound(value))
        except Exception as error:  # noqa: BLE001  # clients of models raise anything; it is reported
            return Failure.of(error)

    async def _aembed_alone(self, value: ImageType) -> Embedding | Failure:
        try:
            return await self.embed_model.aget_image_embedding(_rewound(value))
        except Exception as error:  # noqa: BLE001  # clients of models raise anything; it is reported
            return Failure.of(error)

    # -- core ------------------------------------------------------------------------------------------------------

    def _pictures(self, nodes: Sequence[BaseNode]) -> tuple[list[_Picture], list[tuple[str, str]]]:
        """Return the different images among nodes, and what is wrong with those that are none."""
        pictures: dict[str, _Picture] = {}
        identities: dict[ImageSource, str] = {}
        failures: list[tuple[str, str]] = []
        for place, node in enumerate(nodes):
            if not self._wants(node):
                continue
            try:
                source = source_of_node(node)
            except RAGAnythingError as error:
                failures.append((node.node_id, Failure.of(error).reason))
                continue
            if source is None:
                continue
            if source not in identities:
                identities[source] = identity_of(source)
            pictures.setdefault(identities[source], _Picture(source, [])).places.append(place)
        return list(pictures.values()), failures

    def _wants(self, node: BaseNode) -> bool:
        kind = node.metadata.get("content_type")
        return self.content_types is None or not kind or kind in self.content_types

    def _batches(self, pictures: Sequence[_Picture]) -> list[_Batch]:
        # Models that split batches by themselves say how many images to hold in memory for them.
        size = max(1, getattr(self.embed_model, "image_batch_size", None) or self.embed_model.embed_batch_size)
        run = _Run()
        return [_Batch(pictures[start : start + size], run) for start in range(0, len(pictures), size)]

    def _input(self, picture: _Picture) -> ImageType | Failure:
        try:
            return model_input(picture.source, max_pixels=self.max_pixels, max_bytes=self.max_bytes, fetch=self.fetch)
        except Exception as error:  # noqa: BLE001  # the caller's fetch raises anything; it is reported
            return Failure.of(error)

    def _checked(
        self, inputs: Sequence[ImageType | Failure], vectors: Sequence[Embedding | Failure]
    ) -> list[Embedding | Failure]:
        """Return one outcome per image of a batch."""
        made = iter(vectors)
        outcomes = [value if isinstance(value, Failure) else self._sound(next(made)) for value in inputs]
        self._check_lengths(outcomes, self.dimension)
        return outcomes

    def _sound(self, vector: Embedding | Failure) -> Embedding | Failure:
        if isinstance(vector, Failure):
            return vector
        problem = vector_problem(vector)
        if not problem:
            return list(map(float, vector))
        message = f"{model_name(self.embed_model)} returned no usable vector for the image: {problem}."
        return Failure.of(NodeValueError(message))

    def _check_lengths(self, outcomes: Sequence[Embedding | Failure], wanted: int | None) -> None:
        for vector in outcomes:
            if isinstance(vector, Failure):
                continue
            wanted = wanted or len(vector)
            if len(vector) != wanted:
                message = (
                    f"{model_name(self.embed_model)} returned a vector of length {len(vector)} for an image, {wanted} "
                    "is expected. Use the model that the other vectors are from, or another collection."
                )
                raise ConfigurationError(message)

    def _joined(
        self,
        nodes: Sequence[BaseNode],
        pictures: Sequence[_Picture],
        batches: Sequence[_Batch],
        parts: Sequence[Sequence[Embedding | Failure]],
        failures: list[tuple[str, str]],
    ) -> EmbeddedImages:
        outcomes = [outcome for part in parts for outcome in part]
        self._check_lengths(outcomes, self.dimension)
        made: dict[int, BaseNode] = {}
        unanswered: list[str] = []
        for picture, outcome in zip(pictures, outcomes, strict=True):
            for place in picture.places:
                if isinstance(outcome, Failure):
                    failures.append((nodes[place].node_id, outcome.reason))
                    unanswered += [nodes[place].node_id] if outcome.kind is not ErrorKind.INPUT else []
                else:
                    made[place] = nodes[place].model_copy(update={"embedding": list(outcome)})
        return EmbeddedImages(
            [made.get(place, node) for place, node in enumerate(nodes)],
            embedded=[made[place] for place in sorted(made)],
            failures=failures,
            unanswered=unanswered,
            final=batches[0].run.final if batches else None,
        )

    def _logged(self, result: EmbeddedImages) -> list[BaseNode]:
        for node_id, reason in result.failures:
            logger.warning("%s left node %s as it was: %s", self.class_name(), node_id, reason)
        return result.nodes


def model_name(embed_model: MultiModalEmbedding) -> str:
    """Return what to call a model in messages."""
    name = embed_model.model_name
    return f"{embed_model.class_name()} ({name})" if name and name != "unknown" else embed_model.class_name()


def _counted(vectors: Sequence[Embedding], inputs: Sequence[ImageType]) -> list[Embedding | Failure]:
    if len(vectors) != len(inputs):
        message = f"{len(vectors)} vectors came back for {len(inputs)} images."
        raise ValueError(message)  # Not an error of this package: the images are embedded one by one.
    return list(vectors)


def _rewound(value: ImageType) -> ImageType:
    if not isinstance(value, str):
        value.seek(0)
    return value


def vector_problem(vector: Any) -> str:
    """Return what is wrong with what a model returned for a vector; empty when it is sound.

    Args:
        vector: What the model returned.
    """
    try:
        values = np.asarray(vector, dtype=np.float64)
    except (TypeError, ValueError):
        return "it is no list of numbers"
    if values.ndim != 1 or not values.size:
        return "it is empty" if not values.size else f"it has the shape {values.shape}"
    if not np.isfinite(values).all():
        return "it has NaN or infinite values"
    return "" if values.any() else "it is all zeros"
