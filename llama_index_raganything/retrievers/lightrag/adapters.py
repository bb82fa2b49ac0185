"""LlamaIndex models and a tokenizer in the forms that LightRAG takes.

``lightrag.llm.llama_index_impl`` of 1.4.16 cannot serve: importing it installs the package ``llama-index``, its
completion fails with the arguments LightRAG passes, and its embedding is fixed to 1,536 dimensions.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from typing import Any, Final, TypeVar

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import LLM, ChatMessage, MessageRole

from llama_index_raganything._scripts import CJK
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.retrievers.lightrag.environment import lightrag_imports

T = TypeVar("T")

LanguageFunction = Callable[..., Awaitable[str]]

_NO_ENTITIES: Final = "<|COMPLETE|>"

_PIECE = re.compile(rf"\s{{0,12}}(?:[{CJK}]|[^\W{CJK}]{{1,12}}|[^\w\s])|\s{{1,12}}")


class ReversibleTokenizer:
    """Words, CJK characters and marks as tokens; needs no data and gives every text back unchanged.

    LightRAG's default tokenizer downloads its vocabulary. LightRAG only counts tokens, cuts lists of them and joins
    them again, and never looks at one, so a token is its piece of text.
    """

    def encode(self, content: str) -> list[str]:
        """Return the tokens of a text.

        Args:
            content: Any text.

        Returns:
            Pieces of up to twelve letters with the white space before them.
        """
        return _PIECE.findall(content)

    def decode(self, tokens: Sequence[str]) -> str:
        """Return the text of some tokens.

        Args:
            tokens: Tokens from :meth:`encode`.

        Returns:
            The text.
        """
        return "".join(tokens)


def language_function(llm: LLM | None, *, vectors_only: bool = False) -> LanguageFunction:
    """Return an LLM in the form that LightRAG takes.

    The synchronous ``chat`` runs in a thread: clients of ``achat`` stay bound to the event loop of their first use,
    which is the caller's for the same LLM elsewhere, and an LLM without a true ``achat`` would block LightRAG's loop.

    Args:
        llm: The LLM; without one, the function fails when it is called.
        vectors_only: Without an LLM, answer requests for entities with none, so that texts are stored by vector.

    Returns:
        A coroutine function of prompt, system prompt and history that returns the answer.
    """

    async def complete(
        prompt: str,
        system_prompt: str | None = None,
        history_messages: Sequence[dict[str, str]] | None = None,
        **_: Any,
    ) -> str:
        if llm is None and vectors_only and system_prompt:
            # Only requests to extract entities come with a system prompt; others need a true answer.
            return _NO_ENTITIES
        if llm is None:
            raise ConfigurationError("LightRAG asked for an LLM and there is none; pass llm=... or set Settings.llm.")
        messages = [ChatMessage(role=MessageRole.SYSTEM, content=system_prompt)] if system_prompt else []
        messages += [ChatMessage(role=item["role"], content=item["content"]) for item in history_messages or []]
        messages.append(ChatMessage(role=MessageRole.USER, content=prompt))
        response = await asyncio.to_thread(llm.chat, messages)
        return response.message.content or ""

    return complete


@dataclass(slots=True)
class Failures:
    """What embedding models and vector storages have raised.

    In modes naive and mix, LightRAG logs such errors and answers as if nothing had been found.

    Attributes:
        count: How many calls have failed.
        last: The last error.
    """

    count: int = 0
    last: Exception | None = None

    def watching(self, function: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        """Return a coroutine function that notes what another one raises.

        Args:
            function: The other one.

        Returns:
            A function that does the same.
        """

        @wraps(function)
        async def watched(*arguments: Any, **named: Any) -> T:
            try:
                return await function(*arguments, **named)
            except Exception as error:
                self.count, self.last = self.count + 1, error
                raise

        return watched


def embedding_function(embed_model: BaseEmbedding, dimension: int, failures: Failures) -> Any:
    """Return an embedding model as LightRAG's ``EmbeddingFunc``.

    Args:
        embed_model: The model.
        dimension: Dimension of its vectors.
        failures: Is told of every failure.

    Returns:
        The ``EmbeddingFunc``; it embeds queries as queries where LightRAG says what they are.
    """
    with lightrag_imports():
        import numpy as np
        from lightrag.utils import EmbeddingFunc

    async def embed(texts: list[str], context: str = "document", **_: Any) -> Any:
        if context == "query":
            vectors = await asyncio.to_thread(lambda: [embed_model.get_query_embedding(text) for text in texts])
        else:
            vectors = await asyncio.to_thread(embed_model.get_text_embedding_batch, texts)
        return np.array(vectors, dtype=np.float32)

    known = {field.name for field in fields(EmbeddingFunc)}
    options = {"supports_asymmetric": True} if "supports_asymmetric" in known else {}
    return EmbeddingFunc(embedding_dim=dimension, func=failures.watching(embed), **options)


def lightrag_tokenizer() -> Any:
    """Return the tokenizer as LightRAG's ``Tokenizer``."""
    with lightrag_imports():
        from lightrag.utils import Tokenizer

    return Tokenizer("reversible", ReversibleTokenizer())
