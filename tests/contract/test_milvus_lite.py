"""MilvusNodeStore on Milvus Lite passes every suite."""

import numpy as np
import pytest
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from milvus_suite import MilvusSuite
from vector_store_suite import DIM

from llama_index_raganything.stores.nodes.store import MilvusNodeStore


class TestMilvusLite(MilvusSuite):
    @pytest.fixture(scope="class")
    def milvus_uri(self, tmp_path_factory):
        return str(tmp_path_factory.mktemp("milvus") / "m.db")

    def test_is_the_official_store(self, shelf):
        from llama_index.vector_stores.milvus import MilvusVectorStore

        assert isinstance(shelf, MilvusVectorStore)
        assert isinstance(shelf, BasePydanticVectorStore)
        assert shelf.stores_text
        assert shelf.is_embedding_query


class TestMilvusLiteWithTenant(MilvusSuite):
    """A store of one tenant is a store like any other."""

    tenant = "tenant a"

    @pytest.fixture(scope="class")
    def milvus_uri(self, tmp_path_factory):
        return str(tmp_path_factory.mktemp("milvus") / "m.db")


def test_a_filter_costs_no_results(tmp_path):
    # Milvus Lite's index looks at 64 nodes by default and returns those of them that pass.
    random = np.random.default_rng(7)
    vectors = random.normal(size=(3000, DIM))
    uri = str(tmp_path / "m.db")
    with_files = [
        TextNode(id_=f"n{number}", text="x", embedding=vector.tolist(), metadata={"file": number % 30})
        for number, vector in enumerate(vectors)
    ]
    first = MilvusNodeStore(uri, "filtered", DIM)
    first.add(with_files, force_flush=True)
    first.close()
    store = MilvusNodeStore(uri, "filtered", DIM)  # The index is used from the next opening on.
    only = MetadataFilters(filters=[MetadataFilter(key="file", value=3)])
    query = random.normal(size=DIM)
    found = store.query(VectorStoreQuery(query.tolist(), similarity_top_k=40, filters=only))
    store.close()
    nearest = sorted(range(3, 3000, 30), key=lambda i: -(vectors[i] @ query) / np.linalg.norm(vectors[i]))[:40]
    assert found.ids == [f"n{number}" for number in nearest]
