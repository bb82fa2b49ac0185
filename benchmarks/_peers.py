"""What others offer for the same nodes: LlamaIndex's own Milvus store and its own property graph index."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import LLM
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

from benchmarks._passages import RESULTS, passage_of

Ranker = Callable[[str], list[str]]
"""Takes a question, returns ids of passages, best first."""


def handwired(nodes: Sequence[TextNode], model: BaseEmbedding, uri: str) -> Ranker:
    """Index nodes as LlamaIndex's guide to hybrid search in Milvus does: vectors and BM25, reciprocal rank fusion.

    Args:
        nodes: Nodes with vectors.
        model: Embeds the questions.
        uri: Where to keep the collection.
    """
    from llama_index.core import StorageContext, VectorStoreIndex
    from llama_index.vector_stores.milvus import MilvusVectorStore
    from llama_index.vector_stores.milvus.utils import BM25BuiltInFunction

    store = MilvusVectorStore(
        uri=uri,
        dim=len(nodes[0].embedding or ()),
        overwrite=True,
        enable_sparse=True,
        sparse_embedding_function=BM25BuiltInFunction(),
        hybrid_ranker="RRFRanker",
        use_async_client=False,
    )
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex(nodes=list(nodes), storage_context=context, embed_model=model)
    # Not in the guide, but without it Milvus Lite takes ten times as long per question.
    store.client.flush(store.collection_name)
    retriever = index.as_retriever(vector_store_query_mode="hybrid", similarity_top_k=RESULTS)
    return lambda question: [passage_of(item.node) for item in retriever.retrieve(question)]


def property_graph(nodes: Sequence[TextNode], model: BaseEmbedding, llm: LLM) -> Ranker:
    """Index nodes in LlamaIndex's property graph with the one extractor of it that needs no LLM.

    As it comes, ``PropertyGraphIndex`` with ``ImplicitPathExtractor`` and ``SimplePropertyGraphStore`` finds nothing:
    only entities get into its vector store, and this extractor makes none; ``VectorContextRetriever`` leaves out the
    edges to source documents; and chunks lack the property by which it reads their text. So it is helped as a
    persistent user would: chunks are put into the vector store, say that they are their own source, and have their
    document as parent.

    Args:
        nodes: Nodes with vectors; they are not changed.
        model: Embeds nodes and questions.
        llm: Given to the index, to count calls.
    """
    from llama_index.core import PropertyGraphIndex
    from llama_index.core.graph_stores import SimplePropertyGraphStore
    from llama_index.core.graph_stores.types import TRIPLET_SOURCE_KEY
    from llama_index.core.indices.property_graph import ImplicitPathExtractor, VectorContextRetriever
    from llama_index.core.vector_stores import SimpleVectorStore

    chunks = [node.model_copy(deep=True) for node in nodes]
    for chunk in chunks:
        chunk.metadata[TRIPLET_SOURCE_KEY] = chunk.node_id
        chunk.excluded_embed_metadata_keys.append(TRIPLET_SOURCE_KEY)
        chunk.relationships[NodeRelationship.PARENT] = RelatedNodeInfo(node_id=chunk.metadata["doc_id"])
    vectors = SimpleVectorStore()
    index = PropertyGraphIndex(
        nodes=chunks,
        llm=llm,
        kg_extractors=[ImplicitPathExtractor()],
        property_graph_store=SimplePropertyGraphStore(),
        vector_store=vectors,
        embed_model=model,
        use_async=False,
    )
    vectors.add([TextNode(id_=chunk.node_id, embedding=chunk.embedding) for chunk in chunks])
    retriever = VectorContextRetriever(
        index.property_graph_store, vector_store=vectors, embed_model=model, similarity_top_k=RESULTS
    )

    def rank(question: str) -> list[str]:
        found = (passage_of(item.node) for item in retriever.retrieve(question))
        return list(dict.fromkeys(filter(None, found)))[:RESULTS]

    return rank
