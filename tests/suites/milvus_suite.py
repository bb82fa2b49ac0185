"""Every suite of vector stores for :class:`MilvusNodeStore` in one open Milvus; inherit it with ``milvus_uri``."""

import itertools

import pytest
from vector_store_suite import DIM, KeywordSuite, NestedFilterSuite, NodeSuite, VectorStoreSuite

from llama_index_raganything.stores.nodes.store import MilvusNodeStore


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
