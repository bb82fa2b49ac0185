"""The embedded default embedding: WordLlama's static vectors, with nothing to download."""

from __future__ import annotations

import importlib.util
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from pydantic import Field

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything.errors import MissingDependencyError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

WORDLLAMA_DIMENSION: Final = 256

_LOAD_LOCK = threading.Lock()


@strict_arguments
class WordLlamaEmbedding(BaseEmbedding):
    """Embed text with the static token vectors bundled in the ``wordllama`` wheel.

    A text's vector is the normalised mean of its tokens' vectors: thousands of chunks a second on one core, in 256
    dimensions. Good in fusion with keyword search; use a neural embedding model where vectors must carry the meaning
    alone.

    The vectors derive from Llama 2's token embeddings (Llama 2 Community License).

    Args:
        model_name: Name of the bundled vectors; only the default is in the wheel.
        embed_batch_size: Texts per batch.
        max_chars: Characters of a text that are read; the rest hardly changes the mean.
    """

    model_name: str = Field(default="wordllama-l2-supercat-256", description="Name of the bundled vectors.")
    embed_batch_size: int = Field(default=256, gt=0, le=2048, description="Texts per batch.")
    max_chars: int = Field(default=8192, gt=0, description="Characters of a text that are read.")

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return "WordLlamaEmbedding"

    @property
    def dimension(self) -> int:
        """Number of dimensions of every vector."""
        return WORDLLAMA_DIMENSION

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._embed([query])[0]

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._embed([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._embed(texts)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._get_text_embeddings(texts)

    def _embed(self, texts: list[str]) -> list[Embedding]:
        tokenizer, vectors = _load()
        cut = [text[: self.max_chars].encode("utf-8", "replace").decode() for text in texts]
        encodings = tokenizer.encode_batch_fast(cut, add_special_tokens=False)
        return [_mean(vectors, encoding.ids).tolist() for encoding in encodings]


@lru_cache(maxsize=100_000)
def vector_length(word: str) -> float:
    """Return the length of a word's vector, which measures how informative the word is, in any language.

    Training makes the vectors of ubiquitous words short ("the" 1.6, "year" 8.6, "revenue" 17, "Hamilton" 28): Schakel
    and Wilson, "Measuring Word Significance using Distributed Representations of Words", 2015.

    Args:
        word: Case is ignored.

    Returns:
        The root of the sum of squares over its tokens; 0 for an empty word.
    """
    tokenizer, vectors = _load()
    ids = tokenizer.encode(word.lower().encode("utf-8", "replace").decode(), add_special_tokens=False).ids
    return float(np.linalg.norm(vectors[ids])) if ids else 0.0


def _mean(vectors: NDArray[np.float32], ids: list[int]) -> NDArray[np.float32]:
    mean = vectors[ids].mean(axis=0) if ids else np.zeros(vectors.shape[1], dtype=np.float32)
    norm = float(np.linalg.norm(mean))
    if norm == 0.0:
        # Cosine similarity is undefined for the zero vector; any fixed direction keeps empty text storable.
        mean = np.full(vectors.shape[1], 1.0, dtype=np.float32)
        norm = float(np.linalg.norm(mean))
    result: NDArray[np.float32] = mean / norm
    return result


def _load() -> tuple[Tokenizer, NDArray[np.float32]]:
    with _LOAD_LOCK:
        return _load_once()


@lru_cache(maxsize=1)
def _load_once() -> tuple[Tokenizer, Any]:
    """Read tokenizer and vectors from the installed ``wordllama`` folder.

    ``WordLlama.load()`` of 0.4.0.post1 looks for the tokenizer in ``tokenizer`` while the wheel has ``tokenizers``, so
    it tries to download; importing it also calls ``logging.basicConfig``.
    """
    spec = importlib.util.find_spec("wordllama")
    locations = list(spec.submodule_search_locations or []) if spec else []
    weights = [Path(folder) / "weights" / "l2_supercat_256.safetensors" for folder in locations]
    names = [Path(folder) / "tokenizers" / "l2_supercat_tokenizer_config.json" for folder in locations]
    if not locations or not weights[0].exists() or not names[0].exists():
        message = (
            "The bundled WordLlama vectors were not found; install them with `pip install 'wordllama>=0.4'` "
            "or pass another embedding model as embed_model=..."
        )
        raise MissingDependencyError(message)
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(names[0]))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    vectors = load_file(weights[0])["embedding.weight"].astype(np.float32)
    return tokenizer, vectors
