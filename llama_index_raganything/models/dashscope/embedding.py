"""DashScope's embedding models: texts alone, or texts and images in one space."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.schema import ImageType
from pydantic import Field, PrivateAttr, SecretStr

from llama_index_raganything._arguments import refuse_misspelt, strict_arguments
from llama_index_raganything.errors import BlockedSourceError, ConfigurationError, RAGAnythingError
from llama_index_raganything.images import MAX_EMBED_PIXELS, fit_image, source_of_value
from llama_index_raganything.models.dashscope import client
from llama_index_raganything.models.dashscope.catalog import EmbeddingModel, cut_to_tokens, embedding_model
from llama_index_raganything.models.dashscope.embedding_batches import (
    MAX_REQUEST_BYTES,
    EmbeddingCall,
    EmbeddingSender,
    JoinedBatches,
    read_embeddings,
)
from llama_index_raganything.models.dashscope.endpoints import Endpoints, resolve_api_key

Input = TypeVar("Input")

logger = logging.getLogger(__name__)

EMBED_BATCH_SIZE: Final = 1000
"""Inputs that LlamaIndex passes at once; a multiple of every model's request limit."""

BLANK_TEXT: Final = "-"
"""Sent in place of a blank text, which the service rejects. A fixed vector would save the request, but would belong to
no model's space and might be near everything; this is the model's own vector for next to nothing."""


@strict_arguments
class DashScopeEmbeddingModel(client.DashScopeConnection, BaseEmbedding):
    """Base of DashScope's embedding models.

    Args:
        dimension: Length of the vectors; by default the model's own. Vectors of another length are errors.
        api_key: DashScope's key; by default ``DASHSCOPE_API_KEY``. Never shown, pickled or serialised.
        max_contents: Maximum inputs per request; by default as documented.
        max_text_tokens: Tokens at which texts are cut; by default as documented.
        instruct: The purpose of queries in one English sentence, for models that accept an instruction.
        **kwargs: Those of :class:`~llama_index_raganything.models.dashscope.client.DashScopeConnection` and
            LlamaIndex's ``BaseEmbedding``.

    Raises:
        ConfigurationError: The model has no vectors of this dimension or is of another kind, or the URL is unusable.
        DashScopeAuthenticationError: There is no key.
    """

    dimension: int | None = Field(default=None, gt=0, description="Length of the vectors.")
    max_contents: int = Field(default=0, ge=0, description="Inputs of one request.")
    max_text_tokens: int = Field(default=0, ge=0, description="Tokens of a text.")
    instruct: str | None = Field(default=None, description="What queries are for.")

    _cut_announced: bool = PrivateAttr(default=False)

    def __init__(
        self,
        *,
        model_name: str,
        dimension: int | None = None,
        api_key: str | SecretStr | None = None,
        max_contents: int | None = None,
        max_text_tokens: int | None = None,
        embed_batch_size: int = EMBED_BATCH_SIZE,
        **kwargs: Any,
    ) -> None:
        known = embedding_model(model_name)
        super().__init__(
            **kwargs,
            model_name=model_name,
            dimension=_dimension(known, dimension),
            api_key=resolve_api_key(api_key),
            max_contents=max_contents or known.max_contents,
            max_text_tokens=max_text_tokens or known.max_text_tokens,
            embed_batch_size=embed_batch_size,
        )
        self._check_kind(known)
        Endpoints.resolve(self.api_base, self.region, self.workspace)

    # -- for subclasses --------------------------------------------------------------------------------------------

    def _check_kind(self, known: EmbeddingModel) -> None:
        """Raise a ``ConfigurationError`` for a model that this class does not support."""
        raise NotImplementedError

    def _text_call(self, texts: list[str], query: bool) -> EmbeddingCall:
        """Return the call that embeds texts."""
        raise NotImplementedError

    def _send(self) -> EmbeddingSender:
        return EmbeddingSender(self._connected())

    def _own_dimension(self) -> dict[str, int]:
        """Return the parameter for the dimension; none for the default, which some models reject."""
        default = _dimension(embedding_model(self.model_name), None)
        return {"dimension": self.dimension} if self.dimension and self.dimension != default else {}

    def _fitted_text(self, text: str) -> str:
        fitted = cut_to_tokens(text, self.max_text_tokens)
        if len(fitted) < len(text) and not self._cut_announced:
            self._cut_announced = True
            logger.warning(
                "%s takes %d tokens of a text; longer ones are cut (one of %d characters to %d). Smaller chunks lose "
                "nothing.",
                *(self.model_name, self.max_text_tokens, len(text), len(fitted)),
            )
        return fitted if fitted.strip() else BLANK_TEXT

    # -- LlamaIndex's forms ----------------------------------------------------------------------------------------

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._send().run(self._text_call([query], query=True))[0]

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return (await self._send().arun(self._text_call([query], query=True)))[0]

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._send().run(self._text_call([text], query=False))[0]

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return (await self._send().arun(self._text_call([text], query=False)))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._send().run(self._text_call(texts, query=False))

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await self._send().arun(self._text_call(texts, query=False))

    def get_text_embedding_batch(self, texts: list[str], show_progress: bool = False, **kwargs: Any) -> list[Embedding]:
        """Return the vectors of texts, in order.

        Args:
            show_progress: Show a progress bar for each ``embed_batch_size`` of them.
            **kwargs: Ignored: LlamaIndex's pipelines pass theirs to every transformation.

        Raises:
            PartialEmbeddingError: Some texts failed; it carries the vectors of the others.
            DashScopeError: All texts failed for one reason.
        """
        refuse_misspelt("get_text_embedding_batch()", kwargs, ("show_progress",))
        embed = super().get_text_embedding_batch
        return self._joined(lambda batch: embed(batch, show_progress, **kwargs), texts)

    async def aget_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **kwargs: Any
    ) -> list[Embedding]:
        """Async twin of :meth:`get_text_embedding_batch`."""
        refuse_misspelt("aget_text_embedding_batch()", kwargs, ("show_progress",))
        embed = super().aget_text_embedding_batch
        return await self._ajoined(lambda batch: embed(batch, show_progress, **kwargs), texts)

    def _joined(self, embed: Callable[[list[Input]], list[Embedding]], inputs: Sequence[Input]) -> list[Embedding]:
        joined = JoinedBatches(len(inputs), self.embed_batch_size)
        while batch := joined.next_batch():
            try:
                joined.succeed(batch, embed(list(inputs[batch])))
            except RAGAnythingError as error:
                joined.fail(batch, error)
        return joined.result()

    async def _ajoined(
        self, embed: Callable[[list[Input]], Awaitable[list[Embedding]]], inputs: Sequence[Input]
    ) -> list[Embedding]:
        joined = JoinedBatches(len(inputs), self.embed_batch_size)
        while batch := joined.next_batch():
            try:
                joined.succeed(batch, await embed(list(inputs[batch])))
            except RAGAnythingError as error:
                joined.fail(batch, error)
        return joined.result()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the rate limiter, which counts for its own process."""
        state = super().__getstate__()
        state["__dict__"] = {**state["__dict__"], "rate_limiter": None}
        return state


def _dimension(known: EmbeddingModel, asked: int | None) -> int | None:
    if asked is None:
        return known.dimensions[0] if known.dimensions else None
    if known.dimensions and asked not in known.dimensions:
        allowed = ", ".join(map(str, known.dimensions))
        message = f"{known.name} has no vectors of dimension {asked}; take one of {allowed} (EMBED_DIM, or dimension)."
        raise ConfigurationError(message)
    return asked


@strict_arguments
class DashScopeTextEmbedding(DashScopeEmbeddingModel):
    """Embed texts with text-embedding-v4 and its relatives.

    It uses the native protocol, because the OpenAI-compatible one does not accept ``text_type``. Long texts are cut to
    the model's limit. Requests are as full as the model allows and run concurrently.

    Args:
        model_name: ``text-embedding-v4``, ``-v3``, ``-v2`` or ``-v1``.
        **options: Those of :class:`~llama_index_raganything.models.dashscope.embedding.DashScopeEmbeddingModel`.

    Examples:
        >>> from llama_index_raganything.models.dashscope.embedding import DashScopeTextEmbedding
        >>> DashScopeTextEmbedding(api_key="sk-0123456789").dimension
        1024
    """

    def __init__(self, model_name: str = "text-embedding-v4", **options: Any) -> None:
        super().__init__(model_name=model_name, **options)

    def _check_kind(self, known: EmbeddingModel) -> None:
        if known.multimodal:
            message = f"{known.name} is not a text embedding model; use DashScopeMultiModalEmbedding for it."
            raise ConfigurationError(message)

    def _text_call(self, texts: list[str], query: bool) -> EmbeddingCall:
        parameters: dict[str, Any] = {"text_type": "query" if query else "document", **self._own_dimension()}
        parameters["output_type"] = "dense"
        if query and self.instruct:
            parameters["instruct"] = self.instruct

        return EmbeddingCall(
            client.TEXT_EMBEDDING_PATH,
            len(texts),
            self.max_contents,
            lambda place: self._fitted_text(texts[place]),
            lambda contents: {"model": self.model_name, "input": {"texts": contents}, "parameters": parameters},
            lambda answer, count: read_embeddings(answer, count, self.dimension, "text_index"),
        )


IMAGES_AT_ONCE: Final = 16
"""Approximate number of images that callers holding them in memory should pass at once."""

_FORMATS: Final = ("JPEG", "PNG")
"""Formats that all models accept; the tongyi models also accept BMP, but not WEBP."""

_HTTP: Final = re.compile(r"\s*https?://", re.IGNORECASE)


@strict_arguments
class DashScopeMultiModalEmbedding(DashScopeEmbeddingModel, MultiModalEmbedding):
    """Embed texts and images with one model, in one space.

    Images are paths, bytes, streams or data URIs; they are fitted to the model (upright, RGB, JPEG or PNG, within its
    bytes) and sent as data URIs. The service itself fetches images at ``http(s)://`` URLs. Long texts are cut to the
    model's limit. Requests are as full as the model allows and run concurrently; images are read only when their
    request is sent.

    Args:
        model_name: ``tongyi-embedding-vision-plus`` (1152 dimensions) or ``-flash`` (768), their snapshots
            ``-2026-03-06``, ``multimodal-embedding-v1``, ``qwen3-vl-embedding`` or ``qwen2.5-vl-embedding``.
        max_images: Maximum images per request; by default as documented.
        max_image_bytes: Maximum bytes of an image; by default as documented.
        max_image_pixels: Larger images are scaled down.
        **options: Those of :class:`~llama_index_raganything.models.dashscope.embedding.DashScopeEmbeddingModel`.

    Examples:
        >>> from llama_index_raganything.models.dashscope.embedding import DashScopeMultiModalEmbedding
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

    @property
    def image_batch_size(self) -> int:
        """Images to pass at once: few enough for memory, and a multiple of a request's."""
        limit = self._images_per_request()
        return max(1, IMAGES_AT_ONCE // limit) * limit

    def get_fused_embedding(
        self, text: str | None = None, images: Sequence[ImageType] = (), *, query: bool = False
    ) -> Embedding:
        """Return one vector of a text and images together, in the space of the others.

        Args:
            query: Whether it is a query, to which ``instruct`` applies.

        Raises:
            ConfigurationError: The model makes no such vectors, or not of so many inputs.
            DashScopeError: The call failed.
            ParseError: An image cannot be read.
        """
        return self._send().run(self._fused_call(text, images, query))[0]

    async def aget_fused_embedding(
        self, text: str | None = None, images: Sequence[ImageType] = (), *, query: bool = False
    ) -> Embedding:
        """Async twin of :meth:`get_fused_embedding`."""
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
        """Return the vectors of images, in order.

        Args:
            img_file_paths: Paths, bytes, streams, data URIs or ``http(s)://`` URLs.
            show_progress: Show a progress bar for each ``embed_batch_size`` of them.

        Raises:
            PartialEmbeddingError: Some images failed; it carries the vectors of the others.
            RAGAnythingError: All images failed for one reason.
        """
        embed = super().get_image_embedding_batch
        return self._joined(lambda batch: embed(batch, show_progress), img_file_paths)

    async def aget_image_embedding_batch(
        self, img_file_paths: list[ImageType], show_progress: bool = False
    ) -> list[Embedding]:
        """Async twin of :meth:`get_image_embedding_batch`."""
        embed = super().aget_image_embedding_batch
        return await self._ajoined(lambda batch: embed(batch, show_progress), img_file_paths)

    # -- calls -----------------------------------------------------------------------------------------------------

    def _check_kind(self, known: EmbeddingModel) -> None:
        if not known.multimodal:
            message = f"{known.name} embeds no images; use DashScopeTextEmbedding for it, or name a multimodal model."
            raise ConfigurationError(message)

    def _text_call(self, texts: list[str], query: bool) -> EmbeddingCall:
        return EmbeddingCall(
            client.MULTIMODAL_EMBEDDING_PATH,
            len(texts),
            self.max_contents,
            lambda place: {"text": self._fitted_text(texts[place])},
            lambda contents: self._body(contents, query),
            self._read_vectors,
        )

    def _image_call(self, images: Sequence[ImageType]) -> EmbeddingCall:
        return EmbeddingCall(
            client.MULTIMODAL_EMBEDDING_PATH,
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

        return EmbeddingCall(client.MULTIMODAL_EMBEDDING_PATH, 1, 1, encode, body, self._read_vectors, reads_files=True)

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
        return read_embeddings(answer, count, self.dimension, "index")

    def _data_uri(self, image: Any, shared_by: int = 1) -> str:
        """Return an image as sent, small enough that several fit into one request."""
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
