"""The retriever contract, held by each of our retrievers over a real Milvus Lite."""

from __future__ import annotations

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.indices.vector_store import VectorIndexRetriever
from llama_index.core.schema import QueryBundle
from retriever_suite import RetrieverSuite, corpus_nodes, only

from llama_index_raganything.retrievers.evidence.candidates import NodeMemory
from llama_index_raganything.retrievers.evidence.pages import NodeRetriever
from llama_index_raganything.retrievers.fusion import FusionRetriever
from llama_index_raganything.retrievers.inventory.retriever import InventoryRetriever
from llama_index_raganything.retrievers.router import QuestionRouter
from llama_index_raganything.stores.nodes.store import MilvusNodeStore
from llama_index_raganything.testing import HashEmbedding


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    uri = str(tmp_path_factory.mktemp("milvus") / "milvus.db")
    full = MilvusNodeStore(uri, "full", HashEmbedding().dimension)
    full.add(corpus_nodes())
    full.flush()
    empty = MilvusNodeStore(uri, "empty", HashEmbedding().dimension)
    yield {True: full, False: empty}
    full.close()
    empty.close()


class TestNodeRetriever(RetrieverSuite):
    @pytest.fixture(autouse=True)
    def _stores(self, stores):
        self.stores = stores

    def make(self, nodes, *, filters=None, similarity_top_k=5):
        return NodeRetriever(
            self.stores[bool(nodes)], HashEmbedding(), filters=filters, similarity_top_k=similarity_top_k
        )


class TestNodeRetrieverWithoutMemory(TestNodeRetriever):
    def make(self, nodes, *, filters=None, similarity_top_k=5):
        retriever = super().make(nodes, filters=filters, similarity_top_k=similarity_top_k)
        retriever.memory = NodeMemory(size=0)
        return retriever


class _NonBlank(VectorIndexRetriever):
    """LlamaIndex's own retriever, which embeds even an empty question."""

    def _retrieve(self, query_bundle: QueryBundle):
        return super()._retrieve(query_bundle) if query_bundle.query_str.strip() else []


class TestFusionRetriever(TestNodeRetriever):
    def make(self, nodes, *, filters=None, similarity_top_k=5):
        first = super().make(nodes, filters=filters, similarity_top_k=similarity_top_k)
        index = VectorStoreIndex.from_vector_store(self.stores[bool(nodes)], embed_model=HashEmbedding())
        second = _NonBlank(index, similarity_top_k=similarity_top_k, filters=filters)
        return FusionRetriever([first, second], weights=[1.0, 0.01], similarity_top_k=similarity_top_k)


class TestQuestionRouter(TestNodeRetriever):
    def make(self, nodes, *, filters=None, similarity_top_k=5):
        default = super().make(nodes, filters=filters, similarity_top_k=similarity_top_k)
        inventory = InventoryRetriever(default.store, similarity_top_k=similarity_top_k, filters=filters)
        return QuestionRouter(default, [inventory], similarity_top_k=similarity_top_k)

    @pytest.mark.parametrize("question", ["How many tables are there?", "List the figures", "Which pages show a pump?"])
    def test_whole_documents_stay_inside_the_filter(self, nodes, question):
        items = self.make(nodes, filters=only("name", "lathes"), similarity_top_k=100).retrieve(question)
        assert {item.node.metadata.get("name", "lathes") for item in items} == {"lathes"}
        assert "pumps" not in items[0].node.text
