"""``DashScopeMultiModalEmbedding``: texts and images of DashScope's multimodal models, in one space."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Any, Final

from llama_index.core.base.embeddings.base import Embedding
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.schema import ImageType
from pydantic import Field

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.errors import BlockedSourceError, ConfigurationError
from llama_index_raganything.images import fit_image
from llama_index_raganything.models.dashscope.api.client import MULTIMODAL_EMBEDDING_PATH
from llama_index_raganything.models.dashscope.catalog import EmbeddingModel, embedding_model
from llama_index_raganything.models.dashscope.embedding.base import DashScopeEmbeddingModel
from llama_index_raganything.models.dashscope.embedding.batches import MAX_REQUEST_BYTES, EmbeddingCall
from llama_index_raganything.models.image_sources import MAX_EMBED_PIXELS, source_of_value

IMAGES_AT_ONCE: Final = 16
"""Images that those who hold them in memory should hand over at once, about."""

_FORMATS: Final = ("JPEG", "PNG")
"""Formats that all of the models take; the tongyi models take BMP too, but not WEBP."""

_HTTP: Final = re.compile(r"\s*https?://", re.IGNORECASE)


@strict_arguments
class DashScopeMultiModalEmbedding(DashScopeEmbeddingModel, MultiModalEmbedding):
    """Embed texts and images with one model, so that one finds the other.

    Images are paths, bytes, streams or data URIs; they are made fit for the model (upright, RGB, JPEG or PNG, within
    its bytes) and sent as data URIs. Those at ``http(s)://`` URLs are fetched by the service. Long texts are cut to
    what the model takes. Requests are as full as the model allows, several at a time, and images are read only when
    their request is sent.

    Args:
        model_name: Name of the model: ``tongyi-embedding-vision-plus`` (1152 dimensions) or ``-flash`` (768), their
            snapshots ``-2026-03-06``, ``multimodal-embedding-v1``, ``qwen3-vl-embedding``, ``qwen2.5-vl-embedding``.
        max_images: Images of one request; by default as documented of the model.
        max_image_bytes: Bytes of an image; by default as documented of the model.
        max_image_pixels: Pixels of an image; larger ones are scaled down.
        **options: Those of
            :class:`~llama_index_raganything.models.dashscope.embedding.base.DashScopeEmbeddingModel`.

    Examples:
        >>> from llama_index_raganything.models.dashscope.embedding.multimodal import DashScopeMultiModalEmbedding
        >>> DashScopeMultiModalEmbedding(api_key="sk-0123456789").dimension
        1152
    """

    max_images: int = Field(default=0, ge=0, description="Images of one request.")
    max_image_bytes: int = Field(default=0, ge=0, description="Bytes of an image.")
    max_image_pixels: int = Field(default=MAX_EMBED_PIXELS, ge=1024, description="Pixels of an image.")

    def __init__(
        self,
        model_name: str = "tongyi-embedding-vision-plus",
        *,
        max_images: int | None = None,
        max_image_bytes: int | None = None,
        **options: Any,
    ) -> None:
        known = embedding_model(model_name)
        super().__init__(
            model_name=model_name,
            max_images=max_images or known.max_images,
            max_image_bytes=max_image_bytes or known.max_image_bytes,
            **options,
        )

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "DashScopeMultiModalEmbedding"

    @property
    def image_batch_size(self) -> int:
        """Images to hand over at once: few enough for memory, and a multiple of those of one request."""
        limit = self._images_per_request()
        return max(1, IMAGES_AT_ONCE // limit) * limit

    def get_fused_embedding(
        self, text: str | None = None, images: Sequence[ImageType] = (), *, query: bool = False
    ) -> Embedding:
        """Return one vector of a text and images together.

        Args:
            query: Whether it is a query, to which ``instruct`` belongs.

        Returns:
            The vector, in the space of the others.

        Raises:
            ConfigurationError: The model makes no such vectors, or not of so much.
            DashScopeError: The call failed.
            ParseError: An image cannot be read.
        """
        return self._send().run(self._fused_call(text, images, query))[0]

    async def aget_fused_embedding(
        self, text: str | None = None, images: Sequence[ImageType] = (), *, query: bool = False
    ) -> Embedding:
        """Return one vector of a text and images together; see :meth:`get_fused_embedding`.

        Args:
            query: Whether it is a query.

        Returns:
            The vector.
        """
        return (await self._send().arun(self._fused_call(text, images, query)))[0]

    # -- LlamaIndex's forms ----------------------------------------------------------------------------------------

    def _get_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return self._send().run(self._image_call([img_file_path]))[0]

    async def _aget_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return (await self._send().arun(self._image_call([img_file_path])))[0]

    def _get_image_embeddings(self, img_file_paths: list[ImageType]) -> list[Embedding]:
        return self._send().run(self._image_call(img_file_paths))

    async def _aget_image_embeddings(self, img_file_paths: list[ImageType]) -> list[Embedding]:
        return await self._send().arun(self._image_call(img_file_paths))

    def get_image_embedding_batch(
        self, img_file_paths: list[ImageType], show_progress: bool = False
    ) -> list[Embedding]:
        """Return the vectors of images.

        Args:
            img_file_paths: Images: paths, bytes, streams, data URIs or ``http(s)://`` URLs.
            show_progress: Show a progress bar for each ``embed_batch_size`` of them.

        Returns:
            One vector per image, in order.

        Raises:
            PartialEmbeddingError: Some images failed; the vectors of the others are in it.
            RAGAnythingError: All images failed for one reason.
        """
        embed = super().get_image_embedding_batch
        return self._joined(lambda batch: embed(batch, show_progress), img_file_paths)

    async def aget_image_embedding_batch(
        self, img_file_paths: list[ImageType], show_progress: bool = False
    ) -> list[Embedding]:
        """Return the vectors of images without blocking the event loop; see :meth:`get_image_embedding_batch`."""
        embed = super().aget_image_embedding_batch
        return await self._ajoined(lambda batch: embed(batch, show_progress), img_file_paths)

    # -- calls -----------------------------------------------------------------------------------------------------

    def _check_kind(self, known: EmbeddingModel) -> None:
        if not known.multimodal:
            message = f"{known.name} embeds no images; use DashScopeTextEmbedding for it, or name a multimodal model."
            raise ConfigurationError(message)

    def _text_call(self, texts: list[str], query: bool) -> EmbeddingCall:
        return EmbeddingCall(
            MULTIMODAL_EMBEDDING_PATH,
            len(texts),
            self.max_contents,
            lambda place: {"text": self._fitted_text(texts[place])},
            lambda contents: self._body(contents, query),
            self._read_vectors,
        )

    def _image_call(self, images: Sequence[ImageType]) -> EmbeddingCall:
        return EmbeddingCall(
            MULTIMODAL_EMBEDDING_PATH,
            len(images),
            self._images_per_request(),
            lambda place: {"image": self._data_uri(images[place])},
            self._body,
            self._read_vectors,
            reads_files=True,
        )

    def _fused_call(self, text: str | None, images: Sequence[ImageType], query: bool) -> EmbeddingCall:
        fusion = embedding_model(self.model_name).fusion
        wanted = text if text and text.strip() else None
        self._check_fusion(fusion, wanted, images)

        def encode(_place: int) -> list[dict[str, Any]]:
            texts = {"text": self._fitted_text(wanted)} if wanted else {}
            pictures = [self._data_uri(image, len(images)) for image in images]
            if fusion != "content":
                return [*([texts] if texts else []), *({"image": picture} for picture in pictures)]
            if len(pictures) > 1:
                return [{**texts, "multi_images": pictures}]
            return [{**texts, **({"image": pictures[0]} if pictures else {})}]

        def body(contents: list[list[dict[str, Any]]]) -> dict[str, Any]:
            return self._body(contents[0], query, {"enable_fusion": True} if fusion == "parameter" else {})

        return EmbeddingCall(MULTIMODAL_EMBEDDING_PATH, 1, 1, encode, body, self._read_vectors, reads_files=True)

    def _check_fusion(self, fusion: str, text: str | None, images: Sequence[ImageType]) -> None:
        if fusion == "never":
            message = (
                f"{self.model_name} makes no vectors of several inputs together; use qwen3-vl-embedding or "
                "tongyi-embedding-vision-plus-2026-03-06."
            )
            raise ConfigurationError(message)
        if not text and not images:
            raise ConfigurationError("A fused vector needs a text or an image; none was given.")
        if len(images) > self.max_images:
            message = f"{self.model_name} takes {self.max_images} images for one vector, {len(images)} were given."
            raise ConfigurationError(message)

    def _images_per_request(self) -> int:
        return max(1, min(self.max_contents, self.max_images))

    def _body(
        self, contents: list[dict[str, Any]], query: bool = False, more: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        parameters = {**self._own_dimension(), **(more or {})}
        if query and self.instruct:
            parameters["instruct"] = self.instruct
        body: dict[str, Any] = {"model": self.model_name, "input": {"contents": contents}}
        return {**body, "parameters": parameters} if parameters else body

    def _read_vectors(self, answer: dict[str, Any], count: int) -> list[Embedding]:
        return self._read(answer, count, "index")

    def _data_uri(self, image: Any, shared_by: int = 1) -> str:
        """Return an image as it is sent, small enough that so many of them fit into one request."""
        if isinstance(image, str) and _HTTP.match(image):
            return image.strip()
        source = source_of_value(image)
        if isinstance(source, str):
            message = f"The image is at the URL {source[:200]!r}, which is not fetched; give a path, bytes or https://."
            raise BlockedSourceError(message)
        # Base64 has four bytes for three.
        most = min(self.max_image_bytes, MAX_REQUEST_BYTES * 7 // 10 // shared_by)
        fitted = fit_image(source, max_pixels=self.max_image_pixels, max_bytes=most, formats=_FORMATS)
        return f"data:{fitted.mimetype};base64,{base64.b64encode(fitted.data).decode('ascii')}"
