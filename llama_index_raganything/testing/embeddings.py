"""Embeddings without a model: of words and of colours."""

from __future__ import annotations

import hashlib

from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.schema import ImageType
from pydantic import Field, PrivateAttr

from llama_index_raganything.testing.vectors import COLOURS, colour_words, colours_of, thumbnail, unit, word_vector


class HashEmbedding(BaseEmbedding):
    """Embed a text by counting the hashes of its words: equal words, near vectors, in every process the same."""

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
    """Embed images by their dominating colours and texts by their colour words, in one space.

    A real, if tiny, space of meaning: "the red chart" (and 红色的图) lies near pictures with much red in them. Paper
    and ink count little beside colours. A text without colour words is equally far from everything.
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
            small = thumbnail(image)
        self._images.append(hashlib.sha256(small.tobytes()).hexdigest()[:16])
        return unit(colours_of(small))

    async def _aget_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return self._get_image_embedding(img_file_path)
