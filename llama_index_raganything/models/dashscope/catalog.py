"""Documented sizes, limits and abilities of DashScope's models, as of November 2026, and estimates of tokens.

Pages: https://www.alibabacloud.com/help/en/model-studio/models (chat),
https://www.alibabacloud.com/help/en/model-studio/embedding (text),
https://www.alibabacloud.com/help/en/model-studio/multimodal-embedding-api-reference,
https://www.alibabacloud.com/help/en/model-studio/text-rerank-api. Snapshots (``qwen-max-2025-01-25``,
``qwen-max-latest``) are looked up by the longest matching prefix. Unknown names get the strictest limits; each can be
overridden where the model is made.

Tokens are estimated without a tokenizer, for models that reject long texts: Qwen's tokenizer gives each digit its own
token and each Chinese character about one; English words take one per four letters or fewer. Overestimating costs the
end of a long text, underestimating the request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeVar

Fusion = Literal["never", "parameter", "content", "always"]
"""How to get one vector of several inputs: never, by ``enable_fusion``, by one content object, or always."""

_MEGABYTE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A chat model.

    Attributes:
        context_window: Tokens of question and answer together.
        max_output: Maximum tokens of an answer.
        function_calling: Whether it calls tools.
        vision: Whether it supports images.
    """

    name: str
    context_window: int
    max_output: int
    function_calling: bool = True
    vision: bool = False


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """An embedding model.

    Attributes:
        dimensions: Possible lengths of its vectors, the default first; empty if unknown.
        multimodal: Whether it also embeds images.
        max_contents: Maximum inputs per request.
        max_images: Maximum images among them.
        max_text_tokens: Maximum tokens of a text.
        max_image_bytes: Maximum bytes of an image.
        fusion: How to get one vector of several inputs.
    """

    name: str
    dimensions: tuple[int, ...]
    multimodal: bool = False
    max_contents: int = 10
    max_images: int = 0
    max_text_tokens: int = 8192
    max_image_bytes: int = 0
    fusion: Fusion = "never"


@dataclass(frozen=True, slots=True)
class RerankModel:
    """A rerank model.

    Attributes:
        max_documents: Maximum documents per request.
        max_document_tokens: Maximum tokens of the query and of each document.
        max_request_tokens: Maximum tokens of a request: the query once per document, plus the documents.
    """

    name: str
    max_documents: int
    max_document_tokens: int
    max_request_tokens: int


_Model = TypeVar("_Model", ChatModel, EmbeddingModel, RerankModel)


def _by_name(*models: _Model) -> dict[str, _Model]:
    return {model.name: model for model in models}


_CHAT_MODELS: Final = _by_name(
    ChatModel("qwen-max", 32_768, 8_192),
    ChatModel("qwen-plus", 131_072, 16_384),
    ChatModel("qwen-turbo", 131_072, 16_384),
    ChatModel("qwen-flash", 1_000_000, 32_768),
    ChatModel("qwen-long", 10_000_000, 8_192, function_calling=False),
    ChatModel("qwen3-max", 262_144, 32_768),
    ChatModel("qwen3.5", 262_144, 65_536, vision=True),
    ChatModel("qwen3.6", 262_144, 65_536, vision=True),
    ChatModel("qwen3.7", 262_144, 65_536, vision=True),
    ChatModel("qwen3.8", 262_144, 65_536, vision=True),
    ChatModel("qwen3-coder", 262_144, 65_536),
    ChatModel("qwen-vl-max", 131_072, 8_192, function_calling=False, vision=True),
    ChatModel("qwen-vl-plus", 131_072, 8_192, function_calling=False, vision=True),
    ChatModel("qwen-vl-ocr", 34_096, 4_096, function_calling=False, vision=True),
    ChatModel("qwen2.5-vl", 131_072, 8_192, function_calling=False, vision=True),
    ChatModel("qwen3-vl", 131_072, 32_768, vision=True),
    ChatModel("qvq", 131_072, 8_192, function_calling=False, vision=True),
)
_UNKNOWN_CHAT_MODEL: Final = ChatModel("", 32_768, 8_192)

_TONGYI_PLUS: Final = (1152, 1024, 512, 256, 128, 64)
_TONGYI_FLASH: Final = (768, 512, 256, 128, 64)
# The tongyi models document only a sum of tokens, not a number of contents; 20 is that of qwen3-vl-embedding.
_EMBEDDING_MODELS: Final = _by_name(
    EmbeddingModel("text-embedding-v4", (1024, 2048, 1536, 768, 512, 256, 128, 64)),
    EmbeddingModel("text-embedding-v3", (1024, 768, 512, 256, 128, 64)),
    EmbeddingModel("text-embedding-v2", (1536,), max_contents=25, max_text_tokens=2048),
    EmbeddingModel("text-embedding-v1", (1536,), max_contents=25, max_text_tokens=2048),
    EmbeddingModel("tongyi-embedding-vision-plus", _TONGYI_PLUS, True, 20, 8, 1024, 3 * _MEGABYTE),
    EmbeddingModel("tongyi-embedding-vision-flash", _TONGYI_FLASH, True, 20, 8, 1024, 3 * _MEGABYTE),
    EmbeddingModel(
        "tongyi-embedding-vision-plus-2026-03-06", _TONGYI_PLUS, True, 20, 8, 1024, 5 * _MEGABYTE, "content"
    ),
    EmbeddingModel(
        "tongyi-embedding-vision-flash-2026-03-06", _TONGYI_FLASH, True, 20, 8, 1024, 5 * _MEGABYTE, "content"
    ),
    EmbeddingModel("multimodal-embedding-v1", (1024,), True, 1, 1, 512, 3 * _MEGABYTE),
    EmbeddingModel(
        "qwen3-vl-embedding", (2560, 2048, 1536, 1024, 768, 512, 256), True, 20, 5, 32_000, 5 * _MEGABYTE, "parameter"
    ),
    EmbeddingModel("qwen2.5-vl-embedding", (1024, 2048, 768, 512), True, 1, 1, 32_000, 5 * _MEGABYTE, "always"),
)
_UNKNOWN_TEXT_MODEL: Final = EmbeddingModel("", ())
_UNKNOWN_MULTIMODAL_MODEL: Final = EmbeddingModel("", (), True, 1, 1, 512, 3 * _MEGABYTE)

_RERANK_MODELS: Final = _by_name(
    RerankModel("qwen3-rerank", 500, 4_000, 120_000),
    RerankModel("gte-rerank-v2", 500, 4_000, 30_000),
    RerankModel("gte-rerank", 500, 4_000, 30_000),
    RerankModel("qwen3-vl-rerank", 100, 8_000, 120_000),
)
_UNKNOWN_RERANK_MODEL: Final = RerankModel("", 100, 4_000, 30_000)


def chat_model(name: str) -> ChatModel:
    """Return what is known about a chat model."""
    return _found(name, _CHAT_MODELS) or replace(_UNKNOWN_CHAT_MODEL, name=name)


def is_known_chat_model(name: str) -> bool:
    """Return whether the limits of a chat model are documented rather than assumed."""
    return _found(name, _CHAT_MODELS) is not None


def embedding_model(name: str) -> EmbeddingModel:
    """Return what is known about an embedding model."""
    known = _found(name, _EMBEDDING_MODELS)
    if known is not None:
        return known
    unknown = _UNKNOWN_TEXT_MODEL if "text-embedding" in name else _UNKNOWN_MULTIMODAL_MODEL
    return replace(unknown, name=name)


def rerank_model(name: str) -> RerankModel:
    """Return what is known about a rerank model."""
    return _found(name, _RERANK_MODELS) or replace(_UNKNOWN_RERANK_MODEL, name=name)


def _found(name: str, models: Mapping[str, _Model]) -> _Model | None:
    """Return the model with this name, or with the longest name that it starts with."""
    begins = [known for known in models if name == known or name.startswith((f"{known}-", f"{known}."))]
    return models[max(begins, key=len)] if begins else None


_PIECE: Final = re.compile(r"[A-Za-z]{1,20}|\s+|.", re.DOTALL)
_LETTERS_PER_TOKEN: Final = 4


def estimate_tokens(text: str) -> int:
    """Return an upper estimate of a text's tokens."""
    return sum(_tokens_of(piece.group()) for piece in _PIECE.finditer(text))


def cut_to_tokens(text: str, limit: int) -> str:
    """Return the beginning of a text that certainly has no more tokens than a limit.

    Returns:
        The text itself if it fits, else its beginning up to a word.
    """
    if len(text.encode("utf-8", "replace")) <= limit:
        return text  # No tokenizer makes more tokens than bytes.
    count = 0
    for piece in _PIECE.finditer(text):
        count += _tokens_of(piece.group())
        if count > limit:
            return text[: piece.start()]
    return text


def _tokens_of(piece: str) -> int:
    if piece.isspace():
        # A single space belongs to the next word; other white space has tokens of its own.
        return 0 if piece == " " else 1
    if piece.isascii():
        return -(-len(piece) // _LETTERS_PER_TOKEN)
    # Characters beyond Chinese, such as emoji, may be encoded byte by byte.
    return 1 if "\u0080" <= piece <= "\u9fff" else 3
