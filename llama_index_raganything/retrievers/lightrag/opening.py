"""Open LightRAG with our models, tokenizer and Milvus, apart from other folders; and let go of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from llama_index_raganything._arguments import refuse_unknown
from llama_index_raganything.errors import RAGAnythingError, SchemaMismatchError, StoreError
from llama_index_raganything.retrievers.lightrag.adapters import (
    Failures,
    embedding_function,
    language_function,
    lightrag_tokenizer,
)
from llama_index_raganything.retrievers.lightrag.environment import lightrag_imports, milvus_environment
from llama_index_raganything.retrievers.lightrag.settings import SessionSettings

if TYPE_CHECKING:
    from llama_index_raganything.stores.clients import Address, Connection

_WHOLE: Final = 1_000_000_000
"""More tokens than any text has: a node stays one chunk, and no result is cut for want of room in a prompt."""

STORAGES: Final = (
    *("full_docs", "text_chunks", "full_entities", "full_relations", "entity_chunks", "relation_chunks"),
    *("entities_vdb", "relationships_vdb", "chunks_vdb", "chunk_entity_relation_graph", "llm_response_cache"),
    "doc_status",
)


def connect_milvus(address: Address | None) -> Connection | None:
    """Count a user of a Milvus more: LightRAG's clients alone would leave a Milvus Lite directory locked.

    Args:
        address: The Milvus, or None.

    Returns:
        The connection to release at the end, or None.
    """
    if address is None:
        return None
    from llama_index_raganything.stores.clients import connect

    return connect(address)


async def open_lightrag(settings: SessionSettings, key: str, failures: Failures) -> Any:
    """Build the LightRAG object and open its storages.

    Args:
        settings: What to open.
        key: What tells this folder from others in LightRAG's process-wide memory.
        failures: Is told when the embedding model or a vector storage fails.

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
        "llm_model_max_async": settings.num_workers,
        "max_parallel_insert": settings.num_workers,
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
        storage._create_milvus_client = partial(_milvus_client, address)


def _milvus_client(address: Address) -> Any:
    from llama_index_raganything.stores.clients import open_client

    return open_client(address)


def let_go(storage: Any, *, forget: bool) -> None:
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
