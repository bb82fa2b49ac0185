"""Open LightRAG with our models, tokenizer and Milvus, apart from other folders; and close it."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import LLM, ChatMessage, MessageRole

from llama_index_raganything._arguments import refuse_unknown
from llama_index_raganything._imports import guarded_import
from llama_index_raganything.errors import (
    ConfigurationError,
    MissingDependencyError,
    RAGAnythingError,
    SchemaMismatchError,
    StoreError,
)
from llama_index_raganything.retrievers.lightrag.workspace import SessionSettings
from llama_index_raganything.text.characters import CJK

if TYPE_CHECKING:
    from llama_index_raganything.stores.milvus.connection import Address, Connection


_INSTALLERS: Final = ("install", "install_multiple", "install_version", "install_or_update", "ensure_packages")
_MILVUS_VARIABLES: Final = (
    "MILVUS_URI",
    "MILVUS_DB_NAME",
    "MILVUS_TOKEN",
    "MILVUS_USER",
    "MILVUS_PASSWORD",
    "MILVUS_WORKSPACE",
)
_GUARD = threading.RLock()


def _refuse(*packages: Any, **_: Any) -> None:
    wanted = packages[0] if packages else "a package"
    message = (
        f"LightRAG wants to install {wanted} at run time, which is refused. Install what it needs yourself: "
        "`pip install 'llama-index-raganything[lightrag]'` has LightRAG's storages."
    )
    raise MissingDependencyError(message)


@contextmanager
def lightrag_imports() -> Iterator[None]:
    """Import LightRAG, or let it import its storages, without installing anything.

    LightRAG's modules call ``pipmaster.install`` when a package is absent (1.4.16: ``kg.milvus_impl`` and others);
    pipmaster has no switch against it.

    Yields:
        None, with pipmaster's installers replaced by a refusal, ``.env`` loading off and ``MILVUS_URI`` hidden.

    Raises:
        MissingDependencyError: LightRAG or a package that it needs is not installed.
    """
    with _GUARD, guarded_import():
        try:
            import pipmaster  # type: ignore[import-untyped]  # It ships no types.
        except ImportError:
            pipmaster = None
        saved = {name: getattr(pipmaster, name) for name in _INSTALLERS if hasattr(pipmaster, name)}
        for name in saved:
            setattr(pipmaster, name, _refuse)
        quiet = "lightrag" not in sys.modules
        # nano-vectordb calls logging.basicConfig(level=INFO) when it is imported.
        root = logging.getLogger()
        level, handlers = root.level, list(root.handlers)
        if quiet:
            logging.getLogger("nano-vectordb").setLevel(logging.WARNING)
        try:
            yield
            if quiet and "lightrag" in sys.modules:
                # Both print several lines per question; who imports LightRAG first has settled its logging.
                logging.getLogger("lightrag").setLevel(logging.WARNING)
        except MissingDependencyError:
            raise
        except ImportError as error:
            message = (
                f"LightRAG cannot be imported ({error}); install it with "
                "`pip install 'llama-index-raganything[lightrag]'`."
            )
            raise MissingDependencyError(message) from error
        finally:
            root.setLevel(level)
            root.handlers[:] = handlers
            for name, value in saved.items():
                setattr(pipmaster, name, value)


@contextmanager
def milvus_environment(address: Address | None) -> Iterator[None]:
    """Set the variables from which LightRAG's Milvus storage takes its address; it takes no arguments.

    ``pymilvus`` is imported before, because a path in ``MILVUS_URI`` makes its import fail. ``MILVUS_WORKSPACE``,
    which would override every workspace, is hidden.

    Args:
        address: The Milvus. Nothing is changed when there is none.

    Yields:
        None. All is as before afterwards.
    """
    if address is None:
        yield
        return
    variables = {"MILVUS_URI": address.uri, "MILVUS_DB_NAME": address.db_name}
    if address.token is not None:
        variables["MILVUS_TOKEN"] = address.token.get_secret_value()
    with _GUARD:
        with guarded_import():
            import pymilvus  # noqa: F401  # See above.
        saved = {name: os.environ.pop(name, None) for name in _MILVUS_VARIABLES}
        os.environ.update(variables)
        try:
            yield
        finally:
            for name, value in saved.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


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
        dimension: Dimension of its vectors.
        failures: Notes every failure.

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


_WHOLE: Final = 1_000_000_000
"""More tokens than any text has: a node stays one chunk, and no result is cut for want of room in a prompt."""

STORAGES: Final = (
    *("full_docs", "text_chunks", "full_entities", "full_relations", "entity_chunks", "relation_chunks"),
    *("entities_vdb", "relationships_vdb", "chunks_vdb", "chunk_entity_relation_graph", "llm_response_cache"),
    "doc_status",
)


def connect_milvus(address: Address | None) -> Connection | None:
    """Count one more user of a Milvus: LightRAG's clients alone would leave a Milvus Lite directory locked.

    Args:
        address: The Milvus, or None.

    Returns:
        The connection to release at the end, or None.
    """
    if address is None:
        return None
    from llama_index_raganything.stores.milvus.connection import connect

    return connect(address)


async def open_lightrag(settings: SessionSettings, key: str, failures: Failures) -> Any:
    """Build the LightRAG object and open its storages.

    Args:
        settings: What to open.
        key: Distinguishes this folder in LightRAG's process-wide memory.
        failures: Notes when the embedding model or a vector storage fails.

    Returns:
        The ``LightRAG`` object.

    Raises:
        UnknownArgumentError: LightRAG does not have one of the options; nothing was opened.
        MissingDependencyError: LightRAG, or what its storage needs, is not installed.
        SchemaMismatchError: The stored vectors have another dimension.
        StoreError: LightRAG cannot open its storages.
    """
    dimension = len(await asyncio.to_thread(settings.embed_model.get_text_embedding, "dimension"))
    with lightrag_imports():
        from lightrag import LightRAG
        from lightrag.kg.shared_storage import get_default_workspace, set_default_workspace
    known = {item.name for item in fields(LightRAG)}
    refuse_unknown("lightrag_options", settings.options, known)
    arguments = _arguments(settings, dimension, failures)
    with translated("opening", settings):
        # No await in here: the environment belongs to the whole process.
        with lightrag_imports(), milvus_environment(settings.address):
            rag = LightRAG(**{name: value for name, value in arguments.items() if name in known})
        rag.workspace = key
        for name in STORAGES:
            _prepare(getattr(rag, name, None), key, settings.address, failures)
        if get_default_workspace() is None:
            set_default_workspace("")
        await rag.initialize_storages()
    return rag


def _arguments(settings: SessionSettings, dimension: int, failures: Failures) -> dict[str, Any]:
    own: dict[str, Any] = {
        "working_dir": str(settings.working_dir),
        "workspace": settings.workspace,
        "llm_model_func": language_function(settings.llm, vectors_only=settings.vectors_only),
        "llm_model_max_async": settings.workers,
        "max_parallel_insert": settings.workers,
        "embedding_func": embedding_function(settings.embed_model, dimension, failures),
        "embedding_batch_num": 100,
        "tokenizer": lightrag_tokenizer(),
        "chunk_token_size": _WHOLE,
        # Ranks decide, not LightRAG's threshold of 0.2, which would leave fewer results than were asked for.
        "cosine_better_than_threshold": -1.0,
        # Answers that no LLM gave must not be remembered.
        "enable_llm_cache": settings.llm is not None,
    }
    if settings.address is not None:
        own["vector_storage"] = "MilvusVectorDBStorage"
    return own | dict(settings.options)


@contextmanager
def translated(action: str, settings: SessionSettings) -> Iterator[None]:
    """Turn what LightRAG raises into this package's errors.

    Args:
        action: What LightRAG is asked to do, for the message.
        settings: What is open.

    Yields:
        None.

    Raises:
        SchemaMismatchError: The stored vectors have another dimension.
        StoreError: Anything else that is not an error of this package already.
    """
    try:
        yield
    except RAGAnythingError:
        raise
    except Exception as error:
        text = str(error)
        if action == "opening" and "dim" in text.lower():
            message = (
                f"The vectors in {settings.folder} have another dimension than {type(settings.embed_model).__name__} "
                f"gives; pass the embedding model that they were made with, or build a new folder. ({text})"
            )
            raise SchemaMismatchError(message) from error
        message = f"LightRAG's {action} in {settings.folder} failed: {type(error).__name__}: {text}"
        raise StoreError(message) from error


def _prepare(storage: Any, key: str, address: Address | None, failures: Failures) -> None:
    """Settle what LightRAG takes from the process for one of its storages.

    Its memory is shared by all objects of a process under the workspace's name alone: two folders would read and
    overwrite each other. The paths are settled by now, so the name can tell folders apart. Milvus clients read the
    environment whenever they connect.
    """
    if storage is None:
        return
    storage.workspace = key
    if hasattr(storage, "query"):
        storage.query = failures.watching(storage.query)
    if address is not None and hasattr(storage, "_create_milvus_client"):
        from llama_index_raganything.stores.milvus.connection import open_client

        storage._create_milvus_client = partial(open_client, address)


def close_storage(storage: Any, *, forget: bool) -> None:
    """Close a storage's Milvus client, and empty its part of LightRAG's process-wide memory.

    Args:
        storage: A storage of a closed ``LightRAG`` object.
        forget: No other session has the folder open.
    """
    client, data = getattr(storage, "_client", None), getattr(storage, "_data", None)
    if client is not None and hasattr(client, "close"):
        with suppress(Exception):
            client.close()
    if forget and isinstance(data, dict):
        data.clear()
