"""No argument of the node store is swallowed: it works, or is refused with what to write instead."""

import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import TransformComponent
from vector_store_suite import DIM, SHELF, ask, node

from llama_index_raganything import MilvusNodeStore, MilvusVisualStore
from llama_index_raganything._imports import guarded_import
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.stores.nodes.store import WITHOUT_EFFECT
from llama_index_raganything.testing import HashEmbedding

with guarded_import():
    from llama_index.vector_stores.milvus import MilvusVectorStore
    from llama_index.vector_stores.milvus.base import IndexManagement
    from llama_index.vector_stores.milvus.utils import (
        BGEM3SparseEmbeddingFunction,
        BM25BuiltInFunction,
        ScalarMetadataFilters,
    )

OURS = {"db_name", "tenant", "max_batch_bytes", "timeout_s"}
HONOURED = {
    "uri", "token", "collection_name", "dim", "embedding_field", "similarity_metric", "consistency_level", "overwrite",
    "index_config", "sparse_index_config", "search_config", "batch_size", "enable_dense", "enable_sparse",
    "sparse_embedding_field", "hybrid_ranker", "hybrid_ranker_params",
}  # fmt: skip
OF_LLAMA_INDEX = {"stores_text", "is_embedding_query"}
TRUE_WHATEVER_IS_GIVEN = {"stores_node", "upsert_mode", "use_async_client"}


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return str(tmp_path_factory.mktemp("arguments") / "m.db")


@pytest.fixture(scope="module")
def store(uri):
    with MilvusNodeStore(uri, "shared", DIM) as store:
        store.add(SHELF)
        yield store


class TestConstructor:
    @pytest.mark.parametrize(
        ("given", "meant"),
        [("tenat", "tenant"), ("dimm", "dim"), ("collection", "collection_name"), ("enable_spares", "enable_sparse")],
    )
    @pytest.mark.parametrize("kind", [MilvusNodeStore, MilvusVisualStore])
    def test_a_misspelt_argument_is_refused_before_anything_is_made(self, kind, tmp_path, given, meant):
        with pytest.raises(ConfigurationError, match=rf"{kind.__name__} does not know {given}: did you mean {meant}\b"):
            kind(uri=str(tmp_path / "m.db"), **{given: "a"})
        assert not (tmp_path / "m.db").exists()

    @pytest.mark.parametrize("given", ["server_pem_path", "alias", "secure"])
    def test_an_argument_of_pymilvus_is_refused(self, tmp_path, given):
        with pytest.raises(ConfigurationError, match=f"does not know {given}: "):
            MilvusNodeStore(uri=str(tmp_path / "m.db"), **{given: "x"})

    def test_every_field_of_the_official_store_is_accounted_for(self):
        fields = set(MilvusVectorStore.model_fields)
        assert fields == HONOURED | set(WITHOUT_EFFECT) | OF_LLAMA_INDEX | TRUE_WHATEVER_IS_GIVEN
        assert set(MilvusNodeStore.model_fields) == fields | OURS

    @pytest.mark.parametrize(
        "fields",
        [
            {"scalar_field_names": ["year"], "scalar_field_types": [5]},
            {"collection_properties": {"collection.ttl.seconds": 60}},
            {"output_fields": ["year"]},
            {"doc_id_field": "document"},
            {"text_key": "body"},
            {"index_management": IndexManagement.NO_VALIDATION},
            {"sparse_embedding_function": object.__new__(BGEM3SparseEmbeddingFunction)},
            {"index_config": {"metric_type": "L2"}},
        ],
        ids=lambda fields: next(iter(fields)),
    )
    def test_what_cannot_be_honoured_is_refused(self, tmp_path, fields):
        with pytest.raises(ConfigurationError, match=r"cannot (honour|serve)"):
            MilvusNodeStore(uri=str(tmp_path / "m.db"), **fields)
        assert not (tmp_path / "m.db").exists()

    @pytest.mark.parametrize("keywords", [False, True])
    def test_the_official_stores_serialised_form_loads(self, uri, keywords):
        function = BM25BuiltInFunction() if keywords else None
        official = MilvusVectorStore(
            uri=uri, collection_name="of_theirs", dim=DIM, use_async_client=False, batch_size=7,
            enable_sparse=keywords, sparse_embedding_function=function, sparse_index_config={"bm25_k1": 1.4},
        )  # fmt: skip
        form = official.to_dict() | {"uri": uri, "collection_name": f"of_ours_{keywords}"}
        with MilvusNodeStore.from_dict(form) as store:
            assert (store.dim, store.batch_size, store.enable_sparse) == (DIM, 7, keywords)
            assert store.similarity_metric == "IP"
            store.add(SHELF)
            assert ask(store).ids[0] == "a"

    def test_what_its_users_write_for_keywords_is_taken(self, uri):
        with MilvusNodeStore(
            uri,
            "with_function",
            DIM,
            enable_sparse=True,
            sparse_embedding_function=BM25BuiltInFunction(),
            sparse_index_config={"index_type": "SPARSE_INVERTED_INDEX", "metric_type": "BM25", "bm25_k1": 1.4},
        ) as store:
            store.add(SHELF)
            assert set(ask(store, "text_search", words="dogs").ids) == {"a", "b"}
            index = store.client.describe_index("with_function", store.sparse_embedding_field)
            assert (index["index_type"], index["metric_type"]) == ("SPARSE_INVERTED_INDEX", "BM25")


class TestMethods:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"mmr_treshold": 0.5}, r"mmr_treshold: did you mean mmr_threshold\?"),
            ({"string_exp": "page > 1"}, r"string_exp: did you mean string_expr\?"),
            ({"milvus_scalar_filters": ScalarMetadataFilters(filters=[])}, "use filters="),
            ({"milvus_partition_names": ["a"]}, "tenant="),
            ({"output": 1}, "it takes milvus_search_config, mmr_prefetch_factor"),
        ],
    )
    def test_options_of_a_query(self, store, given, message):
        index = VectorStoreIndex.from_vector_store(store, embed_model=HashEmbedding(dimension=DIM))
        retriever = index.as_retriever(vector_store_kwargs=given)
        with pytest.raises(ConfigurationError, match=message):
            retriever.retrieve("anything")

    async def test_options_of_a_query_async(self, store):
        index = VectorStoreIndex.from_vector_store(store, embed_model=HashEmbedding(dimension=DIM))
        with pytest.raises(ConfigurationError, match="mmr_threshold"):
            await index.as_retriever(vector_store_kwargs={"mmr_treshold": 0.5}).aretrieve("anything")

    @pytest.mark.parametrize(
        ("given", "message"), [("force_flsuh", "did you mean force_flush"), ("milvus_partition_name", "tenant=")]
    )
    def test_options_of_a_write(self, store, given, message):
        with pytest.raises(ConfigurationError, match=f"MilvusNodeStore.add does not know {given}: .*{message}"):
            store.add([node("z")], **{given: True})
        assert store.get_nodes(["z"]) == []

    async def test_options_of_deletions_and_reads(self, store):
        before = store.count()
        for call in (
            lambda: store.delete("d1", milvus_partition_name="p"),
            lambda: store.delete_nodes(["a"], only_if="old"),
            lambda: store.get_nodes(["a"], include_embedding=True),
        ):
            with pytest.raises(ConfigurationError):
                call()
        for awaited in (
            store.adelete("d1", milvus_partition_name="p"),
            store.adelete_nodes(["a"], only_if="old"),
            store.aget_nodes(["a"], include_embedding=True),
            store.async_add([node("z")], force_flsuh=True),
        ):
            with pytest.raises(ConfigurationError):
                await awaited
        assert store.count() == before

    def test_a_misspelt_option_of_a_deletion_through_an_index_deletes_nothing(self, store):
        index = VectorStoreIndex.from_vector_store(store, embed_model=HashEmbedding(dimension=DIM))
        before = store.count()
        with pytest.raises(ConfigurationError, match="delete_from_docstor"):
            index.delete_ref_doc("d1", delete_from_docstor=True)
        assert store.count() == before

    def test_what_an_index_hands_to_its_transformations_reaches_the_store_in_peace(self, uri):
        class Shouting(TransformComponent):
            def __call__(self, nodes, loud=False, **kwargs):
                return [item.model_copy(update={"text": item.text.upper()}) for item in nodes] if loud else nodes

        with MilvusNodeStore(uri, "loud") as store:
            index = VectorStoreIndex.from_documents(
                [Document(text="one heron")],
                storage_context=StorageContext.from_defaults(vector_store=store),
                embed_model=HashEmbedding(dimension=DIM),
                transformations=[SentenceSplitter(), Shouting()],
                loud=True,
            )
            index.insert(Document(text="two herons"), loud=True, force_flush=True)
            assert {item.text for item in store.get_nodes()} == {"ONE HERON", "TWO HERONS"}


class TestUpgrades:
    def test_no_public_method_of_the_official_store_is_inherited(self):
        # One that upstream adds would use a client that this store does not have.
        theirs = {name for name in vars(MilvusVectorStore) if not name.startswith(("_", "model_"))}
        assert {"add", "query", "aquery", "delete_nodes", "get_nodes", "clear"} <= theirs
        assert theirs <= set(vars(MilvusNodeStore))

    def test_it_is_one_for_code_that_asks(self, store):
        assert isinstance(store, MilvusVectorStore)
        assert store.stores_text
