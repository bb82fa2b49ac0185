"""LlamaIndex's in-memory store passes the suite's common part: it shows that the suite asks for nothing of our own.

It gives ids without nodes, refuses nested groups, has no keyword search, and ignores ``doc_ids``.
"""

import pytest
from llama_index.core.vector_stores import SimpleVectorStore
from vector_store_suite import VectorStoreSuite


class TestSimpleVectorStore(VectorStoreSuite):
    @pytest.fixture(scope="class")
    def make_store(self):
        return SimpleVectorStore
