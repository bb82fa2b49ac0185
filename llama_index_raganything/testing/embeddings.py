"""Embeddings without a model: of words and of colours, in tiny vector spaces that are equal in every process."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.schema import ImageType
from pydantic import Field, PrivateAttr

if TYPE_CHECKING:
    from PIL import Image

COLOURS: Final[Mapping[str, tuple[tuple[int, int, int], str]]] = {
    "red": ((220, 30, 30), "红"),
    "orange": ((250, 140, 20), "橙"),
    "yellow": ((250, 225, 40), "黄"),
    "green": ((40, 160, 60), "绿"),
    "cyan": ((40, 200, 210), "青"),
    "blue": ((40, 70, 210), "蓝"),
    "purple": ((130, 50, 160), "紫"),
    "pink": ((250, 150, 190), "粉"),
    "brown": ((120, 70, 30), "棕"),
    "black": ((10, 10, 10), "黑"),
    "gray": ((128, 128, 128), "灰"),
    "white": ((250, 250, 250), "白"),
}
_OF_PAPER_AND_INK: Final = frozenset({"black", "gray", "white"})
_PAPER_SHARE: Final = 0.02
_SIDE: Final = 48


def word_vector(text: str, dimension: int) -> list[float]:
    """Count the hashes of a text's words."""
    vector = [0.0] * dimension
    for word in text.casefold().split():
        digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest()
        vector[int.from_bytes(digest) % dimension] += 1.0
    return vector


def colour_words(text: str) -> list[float]:
    """Count the colour words of a text, English and Chinese, in the order of ``COLOURS``."""
    lowered = text.casefold().replace("grey", "gray")
    return [float(lowered.count(name) + lowered.count(han)) for name, (_, han) in COLOURS.items()]


def sample(image: Image.Image) -> Image.Image:
    """Return a small image of sampled pixels, in a tenth of the time of a thumbnail."""
    from PIL import Image as PillowImage

    return image.resize((_SIDE, _SIDE), PillowImage.Resampling.NEAREST).convert("RGB")


def colours_of(small: Image.Image) -> list[float]:
    """Count the pixels nearest to each of ``COLOURS``; paper and ink count little.

    Args:
        small: An RGB image, as of ``sample``.
    """
    import numpy as np

    pixels = np.asarray(small, dtype=np.float32).reshape(-1, 3)
    points = np.array([point for point, _ in COLOURS.values()], dtype=np.float32)
    # The square of the distance, without the square of the pixel, which is the same for all colours.
    nearest = ((points**2).sum(axis=1) - 2 * pixels @ points.T).argmin(axis=1)
    counts = np.bincount(nearest, minlength=len(points)).tolist()
    weights = [_PAPER_SHARE if name in _OF_PAPER_AND_INK else 1.0 for name in COLOURS]
    return [count * weight for count, weight in zip(counts, weights, strict=True)]


def unit(vector: Sequence[float]) -> list[float]:
    """Return the vector scaled to length 1; for the zero vector, one of equal numbers."""
    length = math.sqrt(sum(value * value for value in vector))
    if length == 0.0:
        return [1 / math.sqrt(len(vector))] * len(vector)
    return [value / length for value in vector]


class HashEmbedding(BaseEmbedding):
    """Embed a text by counting the hashes of its words, equally in every process."""

    dimension: int = Field(default=64, gt=0, description="Number of dimensions.")

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "HashEmbedding"

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return self._get_text_embedding(query)

    def _get_text_embedding(self, text: str) -> Embedding:
        return unit(word_vector(text, self.dimension))


class ColorEmbedding(MultiModalEmbedding):
    """Embed images by their dominant colours and texts by their colour words, in one space.

    A real, if tiny, space of meaning: "the red chart" (红色的图) is near images with much red. Paper and ink count
    little. A text without colour words is equally far from everything.
    """

    _texts: list[str] = PrivateAttr(default_factory=list)
    _images: list[str] = PrivateAttr(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "ColorEmbedding"

    @property
    def dimension(self) -> int:
        """Number of dimensions: one per colour."""
        return len(COLOURS)

    @property
    def texts(self) -> list[str]:
        """The texts that it was asked to embed, in order."""
        return self._texts

    @property
    def images(self) -> list[str]:
        """Digests of the pixels of the images that it was asked to embed, in order."""
        return self._images

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return self._get_text_embedding(query)

    def _get_text_embedding(self, text: str) -> Embedding:
        self._texts.append(text)
        return unit(colour_words(text))

    def _get_image_embedding(self, img_file_path: ImageType) -> Embedding:
        from PIL import Image

        with Image.open(img_file_path) as image:
            small = image.convert("RGB").resize((_SIDE, _SIDE))
        self._images.append(hashlib.sha256(small.tobytes()).hexdigest()[:16])
        return unit(colours_of(small))

    async def _aget_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return self._get_image_embedding(img_file_path)
