"""Which model serves when the user names none.

The order: what the caller passes; else what the caller set on ``Settings``; else the
embedded default (WordLlama embeddings, extractive answers without an LLM). LlamaIndex's own
lazy default, a paid third party, is never triggered.
"""

from __future__ import annotations

import logging

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import LLM
from llama_index.core.settings import Settings

logger = logging.getLogger(__name__)
_announced: set[str] = set()


def resolve_embed_model(embed_model: BaseEmbedding | None = None) -> BaseEmbedding:
    """Return the embedding model to use.

    Args:
        embed_model: The caller's choice, if any.

    Returns:
        The caller's model, the one set on ``Settings``, or the embedded default.
    """
    if embed_model is not None:
        return embed_model
    # Reading the public property would build the OpenAI default; the private field says what the caller set.
    chosen = Settings._embed_model
    if chosen is not None:
        return chosen
    from llama_index_raganything.models.wordllama import WordLlamaEmbedding

    _announce("Embedding model: WordLlama (embedded default); set Settings.embed_model or pass embed_model to change.")
    return WordLlamaEmbedding()


def resolve_llm(llm: LLM | None = None) -> LLM | None:
    """Return the LLM to use, or None for extractive answers.

    Args:
        llm: The caller's choice, if any.

    Returns:
        The caller's LLM, the one set on ``Settings``, or None.
    """
    if llm is not None:
        return llm
    chosen = Settings._llm
    if chosen is None:
        _announce("LLM: none; answers quote the documents. Set Settings.llm or pass llm to change.")
    return chosen


def _announce(message: str) -> None:
    if message not in _announced:
        _announced.add(message)
        logger.info(message)
