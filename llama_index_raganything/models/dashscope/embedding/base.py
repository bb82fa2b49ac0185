"""What DashScope's embedding models share: connection, limits, and a key that shows nowhere."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from pydantic import Field, PrivateAttr, SecretStr

from llama_index_raganything._arguments import refuse_misspelt, strict_arguments
from llama_index_raganything.errors import ConfigurationError, RAGAnythingError
from llama_index_raganything.models.dashscope.api.client import DashScopeConnection
from llama_index_raganything.models.dashscope.api.credentials import resolve_api_key
from llama_index_raganything.models.dashscope.api.endpoints import Endpoints
from llama_index_raganything.models.dashscope.catalog import EmbeddingModel, embedding_model
from llama_index_raganything.models.dashscope.embedding.batches import EmbeddingCall, JoinedBatches, read_embeddings
from llama_index_raganything.models.dashscope.embedding.sender import EmbeddingSender
from llama_index_raganything.models.dashscope.tokens import cut_to_tokens

Input = TypeVar("Input")

logger = logging.getLogger(__name__)

EMBED_BATCH_SIZE: Final = 1000
"""Inputs that LlamaIndex hands over at once; a multiple of what any of the models takes in one request."""

BLANK_TEXT: Final = "-"
"""What is sent for a text without words, which the service refuses. A fixed vector would save the request, but would
lie in no model's space and might be near everything; this one is the model's own for as good as nothing."""


@strict_arguments
class DashScopeEmbeddingModel(DashScopeConnection, BaseEmbedding):
    """Base of DashScope's embedding models.

    Args:
        dimension: Length of the vectors; by default the model's own. Vectors of another length are errors.
        api_key: DashScope's key; else that of ``DASHSCOPE_API_KEY``. Never shown, pickled or written.
        api_base: Host, base or full route of the service; by default that of ``region`` and ``workspace``.
        region: Region of the key, such as ``ap-southeast-1``; Beijing by default.
        workspace: Workspace with an address of its own.
        timeout: Seconds without a sign from the service after which a call fails.
        max_retries: Requests that are sent again after 429 and 5xx.
        max_concurrency: Requests at the same time; more reach the limits of an account sooner.
        max_contents: Inputs of one request; by default as documented of the model.
        max_text_tokens: Tokens of a text, which is cut there; by default as documented of the model.
        instruct: What queries are for, in one English sentence, for models that take an instruction with them.
        **kwargs: Those of LlamaIndex's ``BaseEmbedding``.

    Raises:
        ConfigurationError: The model has no vectors of this dimension, or is of another kind, or the URL cannot be
            called.
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
        api_base: str | None = None,
        region: str | None = None,
        workspace: str | None = None,
        timeout: float = 60.0,
        max_retries: int = 2,
        max_concurrency: int = 4,
        max_contents: int | None = None,
        max_text_tokens: int | None = None,
        instruct: str | None = None,
        embed_batch_size: int = EMBED_BATCH_SIZE,
        **kwargs: Any,
    ) -> None:
        known = embedding_model(model_name)
        super().__init__(
            **kwargs,
            model_name=model_name,
            dimension=_dimension(known, dimension),
            api_key=resolve_api_key(api_key),
            api_base=api_base,
            region=region,
            workspace=workspace,
            timeout=timeout,
            max_retries=max_retries,
            max_concurrency=max_concurrency,
            max_contents=max_contents or known.max_contents,
            max_text_tokens=max_text_tokens or known.max_text_tokens,
            instruct=instruct,
            embed_batch_size=embed_batch_size,
        )
        self._check_kind(known)
        Endpoints.resolve(api_base, region, workspace)

    # -- for subclasses --------------------------------------------------------------------------------------------

    def _check_kind(self, known: EmbeddingModel) -> None:
        """Raise a ``ConfigurationError`` for a model that this class does not serve."""
        raise NotImplementedError

    def _text_call(self, texts: list[str], query: bool) -> EmbeddingCall:
        """Return the call that embeds texts."""
        raise NotImplementedError

    def _send(self) -> EmbeddingSender:
        return EmbeddingSender(self._connected())

    def _own_dimension(self) -> dict[str, int]:
        """Return the parameter of the dimension; none for the default, which some models refuse to be told."""
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

    def _read(self, answer: dict[str, Any], count: int, index_name: str) -> list[Embedding]:
        return read_embeddings(answer, count, self.dimension, index_name)

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
        """Return the vectors of texts.

        Args:
            show_progress: Show a progress bar for each ``embed_batch_size`` of them.
            **kwargs: Meant for others: a pipeline of LlamaIndex hands its own to all transformations.

        Returns:
            One vector per text, in order.

        Raises:
            PartialEmbeddingError: Some texts failed; the vectors of the others are in it.
            DashScopeError: All texts failed for one reason.
        """
        refuse_misspelt("get_text_embedding_batch()", kwargs, ("show_progress",))
        embed = super().get_text_embedding_batch
        return self._joined(lambda batch: embed(batch, show_progress, **kwargs), texts)

    async def aget_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **kwargs: Any
    ) -> list[Embedding]:
        """Return the vectors of texts without blocking the event loop; see :meth:`get_text_embedding_batch`."""
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
        """Return what is pickled: no limiter of rates either, which counts for its own process."""
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
