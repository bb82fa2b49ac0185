"""Every defect of the official Milvus store that ours repairs, run on both.

A check returns True where the store behaves. It must hold on ours and must fail on the official class
(llama-index-vector-stores-milvus 1.2.0): when it no longer does, upstream has mended it and our override can go.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import pickle

import pytest
from llama_index.core.schema import MediaResource, Node, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from vector_store_suite import DIM, ask, filters_of, node

from llama_index_raganything._imports import guarded_import
from llama_index_raganything.errors import RAGAnythingError
from llama_index_raganything.stores.nodes.store import MilvusNodeStore

with guarded_import():
    from llama_index.vector_stores.milvus import MilvusVectorStore
    from llama_index.vector_stores.milvus.utils import BM25BuiltInFunction

ROWS = [
    node("n0", "cat one", (1, 0, 0, 0), "d0", kind="text", page=1, tags=["x"]),
    node("n1", "dog two", (0, 1, 0, 0), "d1", kind="image", page=2),
    node("n2", "dog dog three", (0, 0, 1, 0), "d2", page=3),
]
NOTHING = MetadataFilters(filters=[])

CHECKS = {}


def check(function):
    CHECKS[function.__name__] = function
    return function


class Opener:
    """Opens stores of one class on one Milvus Lite directory."""

    numbers = itertools.count()

    def __init__(self, official: bool, uri: str) -> None:
        self.official, self.uri, self.opened = official, uri, []

    def __call__(self, name=None, dim=DIM, **options):
        name = name or f"c{next(self.numbers)}"
        if self.official:
            store = MilvusVectorStore(
                uri=self.uri, collection_name=name, dim=dim, enable_sparse=True,
                sparse_embedding_function=BM25BuiltInFunction(), use_async_client=False, similarity_metric="COSINE",
                consistency_level="Strong", **options,
            )  # fmt: skip
        else:
            store = MilvusNodeStore(self.uri, name, dim, **options)
        self.opened.append(store)
        return store

    def filled(self):
        """The same store for all checks, with the three rows and no others."""
        if not hasattr(self, "shared"):
            self.shared = self(**({"upsert_mode": True} if self.official else {}))
        self.shared.client.delete(self.shared.collection_name, filter='id != ""')
        self.shared.add(ROWS)
        return self.shared


def ids(store, **query) -> set[str]:
    return set(ask(store, **query).ids)


def refuses(action, *arguments, **options):
    """True when our own typed error is raised."""
    try:
        action(*arguments, **options)
    except RAGAnythingError:
        return True
    return False


@check
def sparse_mode_works_on_lite(opener):
    return ask(opener.filled(), VectorStoreQueryMode.SPARSE, words="dog").ids == ["n2", "n1"]


@check
def text_search_mode_works_on_lite(opener):
    return ask(opener.filled(), VectorStoreQueryMode.TEXT_SEARCH, words="dog").ids == ["n2", "n1"]


@check
def mmr_works_with_another_vector_field(opener):
    store = opener(embedding_field="vec")
    store.add(ROWS)
    return len(ask(store, VectorStoreQueryMode.MMR, top_k=2).ids) == 2


@check
def mmr_similarities_are_plain_floats(opener):
    result = ask(opener.filled(), VectorStoreQueryMode.MMR, vector=(1, 0.5, 0, 0), top_k=2)
    return all(type(value) is float for value in result.similarities)


@check
def reopened_collection_is_loaded(opener):
    from milvus_lite.server_manager import server_manager_instance

    name = opener().collection_name
    opener.opened[-1].add(ROWS)
    for store in opener.opened:
        if isinstance(store, MilvusNodeStore):
            store.close()
    opener.opened.clear()
    vars(opener).pop("shared", None)
    server_manager_instance.release_server(opener.uri)
    return ids(opener(name), top_k=1) == {"n0"}


@check
def not_equal_keeps_rows_without_the_key(opener):
    return ids(opener.filled(), filters=filters_of(("kind", FilterOperator.NE, "text"))) == {"n1", "n2"}


@check
def text_match_finds_the_middle(opener):
    return ids(opener.filled(), filters=filters_of(("kind", FilterOperator.TEXT_MATCH, "ext"))) == {"n0"}


@check
def text_match_insensitive_is_supported(opener):
    return ids(opener.filled(), filters=filters_of(("kind", FilterOperator.TEXT_MATCH_INSENSITIVE, "TEX"))) == {"n0"}


@check
def not_condition_negates(opener):
    filters = filters_of(("kind", FilterOperator.EQ, "text"), condition=FilterCondition.NOT)
    return ids(opener.filled(), filters=filters) == {"n1", "n2"}


@check
def value_with_backslash_is_escaped(opener):
    return ids(opener.filled(), filters=filters_of(("kind", FilterOperator.EQ, "a\\b"))) == set()


@check
def value_that_ends_in_a_backslash_is_escaped(opener):
    return ids(opener.filled(), filters=filters_of(("kind", FilterOperator.EQ, "a\\"))) == set()


@check
def text_match_value_cannot_inject(opener):
    value = "zz' or page >= 0 or kind like 'q"
    return ids(opener.filled(), filters=filters_of(("kind", FilterOperator.TEXT_MATCH, value))) == set()


@check
def filter_key_cannot_inject(opener):
    return refuses(ask, opener.filled(), filters=filters_of(("page >= 0 or name", FilterOperator.EQ, "x")))


@check
def odd_filter_key_is_refused_clearly(opener):
    return refuses(ask, opener.filled(), filters=filters_of(("file-name", FilterOperator.EQ, "x")))


@check
def doc_ids_cannot_inject(opener):
    return ids(opener.filled(), doc_ids=['zz"] or id in ["n0']) == set()


@check
def node_ids_cannot_inject(opener):
    return ids(opener.filled(), node_ids=['zz"] or page in [1, 2']) == set()


@check
def empty_filters_go_with_doc_ids(opener):
    return ids(opener.filled(), doc_ids=["d0"], filters=NOTHING) == {"n0"}


@check
def empty_doc_ids_match_nothing(opener):
    return ids(opener.filled(), doc_ids=[]) == set()


@check
def misspelt_option_of_a_query_is_refused(opener):
    return refuses(ask, opener.filled(), VectorStoreQueryMode.MMR, top_k=2, arguments={"mmr_treshold": 0.5})


@check
def misspelt_option_of_a_write_is_refused(opener):
    return refuses(opener.filled().add, [node("x")], force_flsuh=True)


@check
def unknown_option_of_a_deletion_is_refused(opener):
    return refuses(opener.filled().delete, "d0", only_images=True)


@check
def get_nodes_of_no_ids_is_empty(opener):
    return opener.filled().get_nodes(node_ids=[]) == []


@check
def get_nodes_takes_ids_and_filters(opener):
    filters = filters_of(("page", FilterOperator.EQ, 1))
    return [item.node_id for item in opener.filled().get_nodes(["n0", "n1"], filters)] == ["n0"]


@check
def delete_nodes_of_no_ids_deletes_nothing(opener):
    store = opener.filled()
    store.delete_nodes([])
    return len(ids(store)) == 3


@check
def delete_cannot_inject(opener):
    store = opener.filled()
    store.delete('zz"] or id in ["n0')
    return len(ids(store)) == 3


@check
def document_id_with_quote_can_be_deleted(opener):
    store = opener.filled()
    store.add([node("q", doc='say "x"')])
    store.delete('say "x"')
    return len(ids(store)) == 3


@check
def own_expression_joins_the_filters(opener):
    filters = filters_of(("page", FilterOperator.LTE, 2))
    return ids(opener.filled(), filters=filters, arguments={"string_expr": "page > 1"}) == {"n1"}


@check
def node_of_resources_can_be_stored(opener):
    store = opener.filled()
    store.add([Node(id_="r", text_resource=MediaResource(text="body"), embedding=[0, 0, 0, 1.0])])
    return ask(store, vector=(0, 0, 0, 1), top_k=1).nodes[0].get_content() == "body"


@check
def metadata_key_dollar_meta_can_be_stored(opener):
    store, odd = opener.filled(), node("m")
    odd.metadata = {"$meta": 1}
    store.add([odd])
    return "m" in ids(store)


@check
def node_without_embedding_is_refused_clearly(opener):
    return refuses(opener.filled().add, [TextNode(text="x")])


@check
def nan_is_refused(opener):
    return refuses(opener.filled().add, [node("x", vector=(math.nan, 0, 0, 0))])


@check
def query_of_another_dimension_is_refused_clearly(opener):
    return refuses(ask, opener.filled(), vector=(1.0, 0.0))


@check
def text_over_the_limit_comes_back_whole(opener):
    store, text = opener.filled(), "字" * 70_000
    store.add([node("long", text, (0, 0, 0, 1))])
    return ask(store, vector=(0, 0, 0, 1), top_k=1).nodes[0].text == text


@check
def metadata_that_no_server_takes_is_refused(opener):
    return refuses(opener.filled().add, [node("x", payload="x" * 70_000)])


@check
def node_without_document_has_no_document_id(opener):
    store = opener.filled()
    store.add([TextNode(id_="x", text="x", embedding=[1.0, 0, 0, 0])])
    store.delete("None")
    return len(ids(store)) == 4


@check
def other_dimension_is_refused_on_open(opener):
    name = opener.filled().collection_name
    return refuses(opener, name, dim=DIM + 1)


@check
def serialised_store_opens_the_same_database(opener):
    store = opener.filled()
    return store.uri == opener.uri and store.to_dict()["uri"] == opener.uri


@check
def pickled_store_opens_the_same_database(opener):
    if opener.official:  # It would make ./milvus_llamaindex.db in the working directory.
        return opener.filled().__getstate__()["__dict__"]["uri"] == opener.uri
    with pickle.loads(pickle.dumps(opener.filled())) as copy:
        return copy.count() == 3


@check
def same_id_twice_is_one_row_by_default(opener):
    return opener().upsert_mode


@check
def default_consistency_is_strong(opener):
    return type(opener.filled()).model_fields["consistency_level"].default == "Strong"


@check
def clear_then_add(opener):
    store = opener()
    store.clear()
    store.add(ROWS)
    return len(ids(store)) == 3


@check
def chinese_words_are_found(opener):
    store = opener.filled()
    store.add([node("zh", "图像检索系统")])
    return (
        "zh" in ask(store, VectorStoreQueryMode.HYBRID, words="检索", vector=(0, 0, 1, 0), top_k=2, sparse_top_k=1).ids
    )


@check
def words_are_stemmed(opener):
    store = opener.filled()
    return ids(store, mode=VectorStoreQueryMode.HYBRID, words="threes", vector=(0.9, 0.5, 0, 0), top_k=2) == {
        "n0",
        "n2",
    }


@check
def hybrid_takes_the_limit_of_each_route(opener):
    result = ask(opener.filled(), VectorStoreQueryMode.HYBRID, words="dog", top_k=3, hybrid_top_k=1)
    return len(result.ids) == 1


@check
def alpha_weighs_hybrid(opener):
    result = ask(opener.filled(), VectorStoreQueryMode.HYBRID, words="dog", vector=(0.9, 0.5, 0, 0), top_k=3, alpha=1.0)
    return result.ids[0] == "n0"


@check
def async_store_outlives_its_event_loop(opener):
    if opener.official:
        options = {"uri": opener.uri, "collection_name": opener.filled().collection_name, "dim": DIM}
        store = MilvusVectorStore(**options, use_async_client=True)
    else:
        store = opener.filled()
    request = VectorStoreQuery(query_embedding=[1.0, 0, 0, 0], similarity_top_k=1)
    return all(asyncio.run(store.aquery(request)).ids == ["n0"] for _ in range(3))


@check
def async_add_takes_force_flush(opener):
    return asyncio.run(opener.filled().async_add([node("f")], force_flush=True)) == ["f"]


@check
def keyword_only_store_answers_hybrid_clearly(opener):
    store = opener(dim=None, enable_dense=False)
    store.add(ROWS)
    return refuses(ask, store, VectorStoreQueryMode.HYBRID, words="dog")


@check
def get_nodes_needs_no_argument(opener):
    return len(opener.filled().get_nodes()) == 3


@check
def none_in_a_filter_is_not_ignored(opener):
    filters = MetadataFilters(filters=[MetadataFilter(key="kind", value=None)])
    return ids(opener.filled(), filters=filters) == set()


def holds(name, opener):
    try:
        return bool(CHECKS[name](opener))
    except Exception:  # Whatever a defect raises, it is a defect.
        return False


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    opener = Opener(False, str(tmp_path_factory.mktemp("ours") / "m.db"))
    yield opener
    for store in opener.opened:
        store.close()


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    return Opener(True, str(tmp_path_factory.mktemp("official") / "m.db"))


@pytest.mark.parametrize("name", CHECKS)
def test_ours(ours, name):
    assert CHECKS[name](ours)


@pytest.mark.parametrize("name", CHECKS)
def test_official_store_still_fails(official, name):
    assert not holds(name, official), f"Upstream has mended {name!r}: our override can go."
