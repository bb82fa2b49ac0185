"""The vectors of a document's nodes, without those that the model refuses."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import BaseNode, MetadataMode

from llama_index_raganything.errors import ErrorKind, PartialEmbeddingError, RAGAnythingError


def embedding_name(embed_model: BaseEmbedding) -> str:
    """Return class and name of a model, which identify its vectors."""
    return f"{embed_model.class_name()} {embed_model.model_name}"


def embed_nodes(
    embed_model: BaseEmbedding, nodes: Sequence[BaseNode]
) -> tuple[list[BaseNode], list[tuple[str, RAGAnythingError]]]:
    """Give nodes the vectors of their texts.

    Args:
        nodes: Nodes of one document; they are changed.

    Returns:
        The nodes that have a vector, and the ids of those that were refused, with the reasons.

    Raises:
        RAGAnythingError: A text could not be embedded for another reason, or all of them were refused.
    """
    texts = [node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
    size = max(1, embed_model.embed_batch_size)
    embedded: list[BaseNode] = []
    refused: list[tuple[str, RAGAnythingError]] = []
    # Batch by batch, because positions in an error count from the beginning of LlamaIndex's own batches.
    for start in range(0, len(nodes), size):
        vectors, reasons = _embed(embed_model, texts[start : start + size])
        for place, (node, vector) in enumerate(zip(nodes[start : start + size], vectors, strict=True)):
            if vector is None:
                refused.append((node.node_id, reasons[place]))
            else:
                node.embedding = vector
                embedded.append(node)
    if refused and not embedded:
        raise refused[0][1]
    return embedded, refused


def _embed(
    embed_model: BaseEmbedding, texts: list[str], *, again: bool = False
) -> tuple[Sequence[list[float] | None], dict[int, RAGAnythingError]]:
    """Return the vectors of texts, and why those that have none were refused."""
    try:
        return embed_model.get_text_embedding_batch(texts), {}
    except PartialEmbeddingError as error:
        vectors = list(error.embeddings)
        refused = {place: reason for place, reason in error.failures.items() if reason.kind is ErrorKind.INPUT}
        missing = [place for place in error.failures if place not in refused]
        for place in missing:
            if again or error.failures[place].kind is not ErrorKind.TRANSIENT:
                raise error.failures[place] from error
    except RAGAnythingError as error:
        if error.kind is not ErrorKind.INPUT:
            raise
        # All of the batch; the nodes of other batches may still be good.
        return [None] * len(texts), dict.fromkeys(range(len(texts)), error)
    if missing:
        # Once more, for what is missing alone: what has come is paid.
        late, reasons = _embed(embed_model, [texts[place] for place in missing], again=True)
        for number, place in enumerate(missing):
            vectors[place] = late[number]
        refused |= {missing[number]: reason for number, reason in reasons.items()}
    return vectors, refused
