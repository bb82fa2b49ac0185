"""LlamaIndex's own classes over our store, over the official one and over LlamaIndex's in-memory one."""

import itertools

import pytest
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index_facts import DIM
from llama_index_suite import WholeSuite

from llama_index_raganything._imports import guarded_import
from llama_index_raganything.stores.nodes.store import MilvusNodeStore

with guarded_import():
    from llama_index.vector_stores.milvus import MilvusVectorStore
    from llama_index.vector_stores.milvus.utils import BM25BuiltInFunction
    from milvus_lite.server_manager import server_manager_instance


_ON_LITE = "Asks Milvus Lite for a ``drop_ratio_search``, which it refuses."


class TestMilvusNodeStore(WholeSuite):
    @pytest.fixture(scope="class")
    def open_store(self, tmp_path_factory):
        folder, opened = tmp_path_factory.mktemp("ours"), []

        def make():
            opened.append(MilvusNodeStore(str(folder / "m.db"), f"c{len(opened)}", DIM))
            return opened[-1]

        yield make
        for store in opened:
            store.close()

    @pytest.fixture
    def store(self, tmp_path):
        with MilvusNodeStore(str(tmp_path / "m.db"), "nodes") as store:
            yield store

    @pytest.fixture
    def close_store(self):
        return MilvusNodeStore.close

    def reopening(self, store, storage):
        return f"""
            from llama_index_raganything import MilvusNodeStore
            store = MilvusNodeStore({store.uri!r}, {store.collection_name!r})
            context = StorageContext.from_defaults(vector_store=store, persist_dir={str(storage)!r})
        """


class TestOfficialMilvusStore(WholeSuite):
    """llama-index-vector-stores-milvus 1.2.0; see also test_milvus_official_defects.py."""

    modes = frozenset({"default", "mmr", "hybrid"})
    numbers = itertools.count()
    upstream = {  # noqa: RUF012 # A constant.
        "test_modes[sparse]": _ON_LITE,
        "test_modes[text_search]": _ON_LITE,
        "test_modes_async[sparse]": _ON_LITE,
        "test_modes_async[text_search]": _ON_LITE,
        "test_no_doc_ids_match_nothing": "An empty list of documents is no restriction.",
        "test_delete_nodes": "Deleting no nodes asks Milvus to delete by an empty expression.",
        "test_persisted_context_is_loaded_in_another_process": "A collection that is there is not loaded.",
    }

    def test_two_event_loops(self):
        pytest.skip("Its async client belongs to the loop of its first call; test_milvus_official_defects.py pins it.")

    def opened(self, uri, name, **options):
        return MilvusVectorStore(
            uri=uri,
            collection_name=name,
            dim=DIM,
            similarity_metric="COSINE",
            consistency_level="Strong",
            upsert_mode=True,
            **options,
        )

    @pytest.fixture(scope="class")
    def open_store(self, tmp_path_factory):
        uri, numbers = str(tmp_path_factory.mktemp("official") / "m.db"), itertools.count()
        keywords = {"enable_sparse": True, "sparse_embedding_function": BM25BuiltInFunction()}
        return lambda: self.opened(uri, f"c{next(numbers)}", **keywords)

    @pytest.fixture
    def store(self, tmp_path_factory):
        # Without keywords, whose index takes half a second to make.
        uri = str(tmp_path_factory.getbasetemp() / "official_dense.db")
        return self.opened(uri, f"c{next(self.numbers)}")

    @pytest.fixture
    def own_store(self, tmp_path):
        return self.opened(str(tmp_path / "m.db"), "nodes")

    @pytest.fixture
    def close_store(self, tmp_path):
        return lambda store: server_manager_instance.release_server(str(tmp_path / "m.db"))

    def reopening(self, store, storage):
        return f"""
            from llama_index.vector_stores.milvus import MilvusVectorStore
            store = MilvusVectorStore(uri={str(storage.parent / "m.db")!r}, collection_name="nodes", dim=DIM)
            context = StorageContext.from_defaults(vector_store=store, persist_dir={str(storage)!r})
        """


class TestSimpleVectorStore(WholeSuite):
    keeps_text = False
    modes = frozenset({"default", "mmr"})
    upstream = {  # noqa: RUF012 # A constant.
        "test_doc_ids_restrict": "It does not look at ``doc_ids``.",
        "test_no_doc_ids_match_nothing": "It does not look at ``doc_ids``.",
    }

    @pytest.fixture(scope="class")
    def open_store(self):
        return SimpleVectorStore

    @pytest.fixture
    def close_store(self):
        return lambda store: None

    def reopening(self, store, storage):
        return f"context = StorageContext.from_defaults(persist_dir={str(storage)!r})"
