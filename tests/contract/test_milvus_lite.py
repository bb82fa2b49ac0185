"""MilvusNodeStore on Milvus Lite passes every suite."""

import itertools

import numpy as np
import pytest
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from vector_store_suite import DIM, KeywordSuite, NestedFilterSuite, NodeSuite, VectorStoreSuite

from llama_index_raganything.stores import MilvusNodeStore


class MilvusSuite(VectorStoreSuite, NestedFilterSuite, KeywordSuite, NodeSuite):
    """Everything, for one open Milvus."""

    tenant = None

    @pytest.fixture(scope="class")
    def make_store(self, milvus_uri):
        opened, names = [], (f"suite_{number}" for number in itertools.count())

        def make():
            opened.append(MilvusNodeStore(milvus_uri, next(names), DIM, tenant=self.tenant, overwrite=True))
            return opened[-1]

        yield make
        for store in opened:
            store.close()


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

    def test_a_filter_costs_no_results(self, make_store):
        # Milvus Lite's own default looks at 64 nodes and returns those of them that pass.
        random = np.random.default_rng(7)
        vectors = random.normal(size=(1500, DIM))
        store = make_store()
        store.add(
            [
                TextNode(id_=f"n{number}", text="x", embedding=vector.tolist(), metadata={"file": number % 30})
                for number, vector in enumerate(vectors)
            ],
            force_flush=True,
        )
        only = MetadataFilters(filters=[MetadataFilter(key="file", value=3)])
        query = random.normal(size=DIM)
        found = store.query(VectorStoreQuery(query.tolist(), similarity_top_k=40, filters=only))
        own = [number for number in range(1500) if number % 30 == 3]
        nearest = sorted(own, key=lambda i: -(vectors[i] @ query) / np.linalg.norm(vectors[i]))[:40]
        assert found.ids == [f"n{number}" for number in nearest]


class TestMilvusLiteWithTenant(MilvusSuite):
    """A store of one tenant is a store like any other."""

    tenant = "tenant a"

    @pytest.fixture(scope="class")
    def milvus_uri(self, tmp_path_factory):
        return str(tmp_path_factory.mktemp("milvus") / "m.db")
