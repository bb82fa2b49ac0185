"""MilvusNodeStore on Milvus Lite passes every suite."""

import itertools

import pytest
from llama_index.core.vector_stores.types import BasePydanticVectorStore
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


class TestMilvusLiteWithTenant(MilvusSuite):
    """A store of one tenant is a store like any other."""

    tenant = "tenant a"

    @pytest.fixture(scope="class")
    def milvus_uri(self, tmp_path_factory):
        return str(tmp_path_factory.mktemp("milvus") / "m.db")
