"""MilvusVisualStore is a vector store like any other, without keywords."""

import itertools

import pytest
from vector_store_suite import DIM, NodeSuite, VectorStoreSuite

from llama_index_raganything.stores.nodes.visual import MilvusVisualStore


class TestMilvusVisualStore(VectorStoreSuite, NodeSuite):
    @pytest.fixture(scope="class")
    def make_store(self, tmp_path_factory):
        uri = str(tmp_path_factory.mktemp("milvus") / "m.db")
        opened, names = [], (f"suite_{number}" for number in itertools.count())

        def make():
            opened.append(MilvusVisualStore(uri, next(names), DIM, overwrite=True))
            return opened[-1]

        yield make
        for store in opened:
            store.close()
