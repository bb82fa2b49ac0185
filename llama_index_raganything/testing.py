"""Fakes to test with, and without a network: LLMs that answer from a script, embeddings of words and of colours.

>>> from llama_index_raganything.testing import HashEmbedding, ScriptedChatLLM
>>> llm = ScriptedChatLLM(replies=["It grew by 12 %. [1]"])
>>> str(llm.complete("How much did it grow?"))
'It grew by 12 %. [1]'
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.schema import ImageType
from pydantic import Field, PrivateAttr

_PIECE: Final = 3

Reply = str | Callable[[Sequence[ChatMessage]], str]


class ScriptedTextLLM(CustomLLM):
    """An LLM that answers from a script, records what it was sent, and streams three letters at a time.

    Args:
        replies: Answers in order, the last one for ever; a function makes one from the messages.
        context_window: Tokens it claims to take.
        num_output: Tokens it claims to give.
    """

    replies: list[Reply] = Field(default_factory=lambda: list[Reply](["An answer. [1]"]), exclude=True)
    context_window: int = Field(default=16_000, description="Tokens it claims to take.")
    num_output: int = Field(default=256, description="Tokens it claims to give.")

    _requests: list[list[ChatMessage]] = PrivateAttr(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "ScriptedTextLLM"

    @property
    def supports_images(self) -> bool:
        """Whether images may be sent to it."""
        return False

    @property
    def requests(self) -> list[list[ChatMessage]]:
        """The messages of every call, in order; a prompt counts as one user message."""
        return self._requests

    @property
    def metadata(self) -> LLMMetadata:
        """Return what LlamaIndex needs to know about the model."""
        return LLMMetadata(
            context_window=self.context_window,
            num_output=self.num_output,
            is_chat_model=self.supports_images,
            model_name=self.class_name(),
        )

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: ARG002  # core's signature
        """Return the next reply."""
        return CompletionResponse(text=self._reply([ChatMessage(content=prompt)]))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:  # noqa: ARG002  # core's signature
        """Return the next reply in pieces."""
        reply = self._reply([ChatMessage(content=prompt)])
        return (
            CompletionResponse(text=reply[: start + _PIECE], delta=reply[start : start + _PIECE])
            for start in range(0, len(reply), _PIECE)
        )

    def _reply(self, messages: Sequence[ChatMessage]) -> str:
        self._requests.append(list(messages))
        reply = self.replies[min(len(self._requests), len(self.replies)) - 1]
        return reply if isinstance(reply, str) else reply(messages)


class ScriptedChatLLM(ScriptedTextLLM):
    """A multimodal chat LLM that answers from a script and records the text and image blocks it was sent."""

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "ScriptedChatLLM"

    @property
    def supports_images(self) -> bool:
        """Whether images may be sent to it."""
        return True

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:  # noqa: ARG002  # core's signature
        """Return the next reply."""
        return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=self._reply(messages)))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:  # noqa: ARG002  # core's signature
        """Return the next reply in pieces."""
        reply = self._reply(messages)
        return (_chat_piece(reply, start) for start in range(0, len(reply), _PIECE))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:  # noqa: ARG002  # core's signature
        """Return the next reply."""
        return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=self._reply(messages)))

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:  # noqa: ARG002  # core's signature
        """Return the next reply in pieces."""
        reply = self._reply(messages)

        async def pieces() -> ChatResponseAsyncGen:
            for start in range(0, len(reply), _PIECE):
                yield _chat_piece(reply, start)

        return pieces()


class HashEmbedding(BaseEmbedding):
    """Embed a text by counting the hashes of its words: equal words, near vectors, in every process the same.

    Args:
        dimension: Number of dimensions.
    """

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
        vector = [0.0] * self.dimension
        for word in text.casefold().split():
            digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest()
            vector[int.from_bytes(digest) % self.dimension] += 1.0
        return _unit(vector)


_COLOURS: Final[Mapping[str, tuple[tuple[int, int, int], str]]] = {
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
        return len(_COLOURS)

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
        lowered = text.casefold().replace("grey", "gray")
        return _unit([float(lowered.count(name) + lowered.count(han)) for name, (_, han) in _COLOURS.items()])

    def _get_image_embedding(self, img_file_path: ImageType) -> Embedding:
        import numpy as np
        from PIL import Image

        with Image.open(img_file_path) as image:
            small = image.convert("RGB").resize((48, 48))
        self._images.append(hashlib.sha256(small.tobytes()).hexdigest()[:16])
        pixels = np.asarray(small, dtype=np.int32).reshape(-1, 1, 3)
        points = np.array([point for point, _ in _COLOURS.values()], dtype=np.int32)
        nearest = ((pixels - points) ** 2).sum(axis=2).argmin(axis=1)
        counts = np.bincount(nearest, minlength=len(points)).tolist()
        weights = [_PAPER_SHARE if name in _OF_PAPER_AND_INK else 1.0 for name in _COLOURS]
        return _unit([count * weight for count, weight in zip(counts, weights, strict=True)])

    async def _aget_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return self._get_image_embedding(img_file_path)


def _unit(vector: Sequence[float]) -> Embedding:
    """Return a vector of length 1 in the same direction; that of all ones for the zero vector."""
    length = math.sqrt(sum(value * value for value in vector))
    if length == 0.0:
        return [1 / math.sqrt(len(vector))] * len(vector)
    return [value / length for value in vector]


def _chat_piece(reply: str, start: int) -> ChatResponse:
    message = ChatMessage(role=MessageRole.ASSISTANT, content=reply[: start + _PIECE])
    return ChatResponse(message=message, delta=reply[start : start + _PIECE])
