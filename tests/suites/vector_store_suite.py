"""What every vector store must do, as mixins: inherit one and give it the fixture ``make_store``.

``make_store`` (class-scoped) returns a function that opens an empty store for vectors of dimension 4.
"""

from __future__ import annotations

import asyncio

import pytest
from llama_index.core.schema import ImageNode, IndexNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.core.vector_stores.utils import build_metadata_filter_fn, node_to_metadata_dict

DIM = 4

NASTY = (
    'quote " inside',
    "single ' quote",
    "back\\slash",
    "ends with \\",
    '\\" or 1==1',
    'zz"] or id in ["n0',
    "zz' or page >= 0 or kind like 'q",
    "line\nbreak",
    "carriage\rreturn",
    "tab\there",
    "nul-free \x1b escape",
    "line separator \u2028 here",
    "百分之 100%",
    "under_score 100% \\%",
    "{template}",
    "emoji 🙂 and العربية",
)


def node(node_id: str, text: str = "text", vector=(1.0, 0.0, 0.0, 0.0), doc: str = "doc", **metadata) -> TextNode:
    return TextNode(
        id_=node_id,
        text=text,
        embedding=list(vector),
        metadata=metadata,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=doc)},
    )


SHELF = [
    node("a", "the dogs are running in the park", (1, 0, 0, 0), "d1", kind="text", page=1, year=2020, flag=True),
    node("b", "a dog sleeps", (0.9, 0.1, 0, 0), "d1", kind="text", page=2, year=2021, flag=False, tags=["x", "y"]),
    node("c", "图像检索系统的性能", (0, 1, 0, 0), "d2", kind="image", page=3, score=1.5, tags=["y"], date="2024-05-01"),
    node("d", "a table of prices, 3.5 million", (0, 0, 1, 0), "d2", kind="table", page=10, date="2023-12-31", tags=[]),
    node("e", "nothing special here", (0, 0, 0, 1), "d3", kind="Text", note="", size=0),
    node("f", "an unusual one", (0.5, 0.5, 0, 0), "d3", nums=[1, 2, 3], size=1, path="Über_Straße 50%.PDF"),
    node("g", "empty metadata otherwise", (0, 0.5, 0.5, 0), "d4"),
    node("h", "labels", (0, 0, 0.5, 0.5), "d5", page="iv", label="Figure 3", kind="a\\b"),
]

OPERATOR_CASES = [
    ("kind", FilterOperator.EQ, "text"),
    ("kind", FilterOperator.EQ, "a\\b"),
    ("kind", FilterOperator.NE, "text"),
    ("missing", FilterOperator.EQ, "text"),
    ("missing", FilterOperator.NE, "text"),
    ("missing", FilterOperator.NIN, ["text"]),
    ("missing", FilterOperator.IN, ["text"]),
    ("missing", FilterOperator.IS_EMPTY, None),
    ("missing", FilterOperator.CONTAINS, "x"),
    ("missing", FilterOperator.TEXT_MATCH, "x"),
    ("kind", FilterOperator.IN, ["text", "image"]),
    ("kind", FilterOperator.IN, []),
    ("kind", FilterOperator.NIN, ["text", "image"]),
    ("kind", FilterOperator.NIN, []),
    ("year", FilterOperator.EQ, 2020),
    ("year", FilterOperator.GT, 2020),
    ("year", FilterOperator.GTE, 2020),
    ("year", FilterOperator.LT, 2021),
    ("year", FilterOperator.LTE, 2021),
    ("year", FilterOperator.IN, [2021, 2022]),
    ("score", FilterOperator.GT, 1.2),
    ("score", FilterOperator.EQ, 1.5),
    ("date", FilterOperator.GTE, "2024-01-01"),
    ("date", FilterOperator.LT, "2024-01-01"),
    ("flag", FilterOperator.EQ, 1),
    ("flag", FilterOperator.EQ, 0),
    ("size", FilterOperator.EQ, 1),
    ("size", FilterOperator.EQ, 0),
    ("size", FilterOperator.NE, 1),
    ("tags", FilterOperator.CONTAINS, "x"),
    ("tags", FilterOperator.ANY, ["x", "z"]),
    ("tags", FilterOperator.ANY, []),
    ("tags", FilterOperator.ALL, ["x", "y"]),
    ("tags", FilterOperator.IS_EMPTY, None),
    ("nums", FilterOperator.CONTAINS, 2),
    ("nums", FilterOperator.ANY, [3, 9]),
    ("nums", FilterOperator.ALL, [3, 9]),
    ("kind", FilterOperator.CONTAINS, "ex"),
    ("kind", FilterOperator.ANY, ["ex", "zz"]),
    ("kind", FilterOperator.ALL, ["t", "ex"]),
    ("note", FilterOperator.IS_EMPTY, None),
    ("kind", FilterOperator.IS_EMPTY, None),
    ("page", FilterOperator.IS_EMPTY, None),
    ("kind", FilterOperator.TEXT_MATCH, "ex"),
    ("kind", FilterOperator.TEXT_MATCH, "Tex"),
    ("kind", FilterOperator.TEXT_MATCH, "\\"),
    ("kind", FilterOperator.TEXT_MATCH, "%"),
    ("kind", FilterOperator.TEXT_MATCH_INSENSITIVE, "TEX"),
    ("path", FilterOperator.TEXT_MATCH, "50%"),
    ("path", FilterOperator.TEXT_MATCH, "r_S"),
    ("path", FilterOperator.TEXT_MATCH, "r_s"),
    ("path", FilterOperator.TEXT_MATCH, "%.PDF"),
    ("path", FilterOperator.TEXT_MATCH_INSENSITIVE, "über_straße 50%.pdf"),
    ("doc_id", FilterOperator.EQ, "d1"),
    ("doc_id", FilterOperator.NE, "d1"),
    ("doc_id", FilterOperator.IN, ["d1", "d3"]),
    ("doc_id", FilterOperator.NIN, ["d1", "d3"]),
    ("ref_doc_id", FilterOperator.EQ, "d2"),
    ("kind", FilterOperator.EQ, None),
    ("kind", FilterOperator.NE, None),
]
"""Every operator on present, missing, empty and oddly typed values; core's own function gives the answer."""

PAGE_CASES = [
    ("page", FilterOperator.EQ, 3, "c"),
    ("page", FilterOperator.EQ, 3.0, "c"),
    ("page", FilterOperator.EQ, "iv", "h"),
    ("page", FilterOperator.NE, 3, "abdefgh"),
    ("page", FilterOperator.NE, "iv", "abcdefg"),
    ("page", FilterOperator.GT, 2, "cd"),
    ("page", FilterOperator.LTE, 2, "ab"),
    ("page", FilterOperator.LT, 2.5, "ab"),
    ("page", FilterOperator.IN, [1, 10], "ad"),
    ("page", FilterOperator.IN, [1.5], ""),
    ("page", FilterOperator.NIN, [1, 10], "bcefgh"),
    ("page", FilterOperator.TEXT_MATCH, "i", "h"),
]
"""Comparisons that core's function cannot make because types differ."""


def filters_of(*parts, condition=FilterCondition.AND) -> MetadataFilters:
    leaves = [
        part if isinstance(part, MetadataFilters) else MetadataFilter(key=part[0], operator=part[1], value=part[2])
        for part in parts
    ]
    return MetadataFilters(filters=leaves, condition=condition)


def core_answer(filters: MetadataFilters, nodes=SHELF) -> set[str]:
    lookup = {item.node_id: node_to_metadata_dict(item) for item in nodes}
    passes = build_metadata_filter_fn(lambda node_id: lookup[node_id], filters)
    return {item.node_id for item in nodes if passes(item.node_id)}


def ask(store, mode=VectorStoreQueryMode.DEFAULT, *, words="", vector=(1.0, 0.0, 0.0, 0.0), top_k=20, **query):
    arguments = query.pop("arguments", {})
    request = VectorStoreQuery(
        query_embedding=list(vector), query_str=words, similarity_top_k=top_k, mode=mode, **query
    )
    return store.query(request, **arguments)


class VectorStoreSuite:
    """What LlamaIndex's own in-memory store can do as well."""

    @pytest.fixture(scope="class")
    def shelf(self, make_store):
        store = make_store()
        store.add(SHELF)
        return store

    @pytest.fixture(scope="class")
    def scratch(self, make_store):
        return make_store()

    @pytest.fixture
    def store(self, scratch):
        scratch.delete_nodes(filters=filters_of(("doc_id", FilterOperator.NE, "no such document")))
        return scratch

    @pytest.mark.parametrize(("key", "operator", "value"), OPERATOR_CASES, ids=str)
    def test_operator_means_what_core_says(self, shelf, key, operator, value):
        filters = filters_of((key, operator, value))

        assert set(ask(shelf, filters=filters).ids) == core_answer(filters)

    @pytest.mark.parametrize("condition", list(FilterCondition))
    @pytest.mark.parametrize("parts", [0, 1, 2, 3])
    def test_condition_means_what_core_says(self, shelf, condition, parts):
        leaves = [
            ("kind", FilterOperator.EQ, "text"),
            ("year", FilterOperator.GT, 2020),
            ("missing", FilterOperator.NE, "q"),
        ][:parts]
        filters = filters_of(*leaves, condition=condition)

        assert set(ask(shelf, filters=filters).ids) == core_answer(filters)

    def test_results_are_aligned_and_best_first(self, shelf):
        result = ask(shelf, top_k=3)

        assert result.ids == ["a", "b", "f"]
        assert result.similarities == sorted(result.similarities, reverse=True)
        assert result.similarities[0] == pytest.approx(1.0, abs=1e-5)

    def test_node_ids_restrict(self, shelf):
        assert set(ask(shelf, node_ids=["c", "d", "zz"]).ids) == {"c", "d"}
        assert ask(shelf, node_ids=["zz"]).ids == []

    def test_no_node_ids_restrict_nothing_where_the_store_keeps_text(self, shelf):
        # What an index's retriever passes: the ids in its index struct, where a store that keeps text leaves none.
        assert len(ask(shelf, node_ids=[]).ids) == (len(SHELF) if shelf.stores_text else 0)

    def test_mmr_prefers_variety(self, shelf):
        result = ask(
            shelf,
            VectorStoreQueryMode.MMR,
            vector=(1.0, 0.3, 0, 0),
            top_k=2,
            arguments={"mmr_threshold": 0.1},
        )

        assert len(result.ids) == 2
        assert set(result.ids) != {"a", "b"}

    def test_async_query_equals_sync(self, shelf):
        request = VectorStoreQuery(query_embedding=[1.0, 0, 0, 0], similarity_top_k=5)

        assert asyncio.run(shelf.aquery(request)).ids == shelf.query(request).ids

    def test_same_id_twice_is_one_row(self, store):
        store.add([node("a", "old")])
        store.add([node("a", "new", (0, 1, 0, 0))])

        result = ask(store, vector=(0, 1, 0, 0))
        assert result.ids == ["a"]
        assert result.similarities[0] == pytest.approx(1.0, abs=1e-5)

    def test_delete_removes_one_document(self, store):
        store.add([node("a", doc="d1"), node("b", doc="d1"), node("c", doc="d2")])

        store.delete("d1")

        assert ask(store).ids == ["c"]

    @pytest.mark.parametrize("nasty", NASTY)
    def test_nasty_document_id_deletes_only_itself(self, store, nasty):
        store.add([node("n0", doc="other"), node("n1", doc=nasty)])

        store.delete(nasty)

        assert ask(store).ids == ["n0"]

    @pytest.mark.parametrize("nasty", NASTY)
    def test_nasty_value_matches_only_itself(self, store, nasty):
        store.add([node("n0", kind="plain", page=1), node("n1", kind=nasty, page=2, tags=[nasty])])

        for operator, value in [
            (FilterOperator.EQ, nasty),
            (FilterOperator.IN, [nasty]),
            (FilterOperator.TEXT_MATCH, nasty[1:]),
            (FilterOperator.CONTAINS, nasty),
        ]:
            assert ask(store, filters=filters_of(("kind", operator, value))).ids == ["n1"]
        assert ask(store, filters=filters_of(("kind", FilterOperator.NE, nasty))).ids == ["n0"]
        assert ask(store, filters=filters_of(("tags", FilterOperator.CONTAINS, nasty))).ids == ["n1"]

    @pytest.mark.parametrize("nasty", NASTY)
    def test_nasty_node_id(self, store, nasty):
        store.add([node("n0"), node(nasty)])

        assert ask(store, node_ids=[nasty]).ids == [nasty]
        store.delete_nodes([nasty])
        assert ask(store).ids == ["n0"]

    def test_delete_nodes_with_no_ids_deletes_nothing(self, store):
        store.add([node("a")])

        store.delete_nodes([])

        assert ask(store).ids == ["a"]

    def test_delete_nodes_by_filter(self, store):
        store.add([node("a", kind="x"), node("b", kind="y"), node("c")])

        store.delete_nodes(filters=filters_of(("kind", FilterOperator.EQ, "x")))
        assert set(ask(store).ids) == {"b", "c"}
        store.delete_nodes(["b", "c"], filters_of(("kind", FilterOperator.EQ, "y")))
        assert ask(store).ids == ["c"]

    def test_query_of_an_empty_store(self, store):
        result = ask(store)

        assert result.ids == []
        assert result.similarities == []

    def test_clear_then_add(self, make_store):
        store = make_store()
        store.add([node("a")])
        store.clear()
        assert ask(store).ids == []
        store.add([node("b")])
        assert ask(store).ids == ["b"]


class NestedFilterSuite:
    """Groups in groups and paths into values; LlamaIndex's in-memory store refuses them."""

    def test_groups_in_groups(self, shelf):
        inner = filters_of(
            ("kind", FilterOperator.EQ, "text"), ("kind", FilterOperator.EQ, "image"), condition=FilterCondition.OR
        )
        outside = filters_of(("year", FilterOperator.EQ, 2021), condition=FilterCondition.NOT)

        assert set(ask(shelf, filters=filters_of(inner, outside)).ids) == {"a", "c"}
        assert set(ask(shelf, filters=filters_of(inner, condition=FilterCondition.NOT)).ids) == set("defgh")
        assert set(ask(shelf, filters=filters_of(filters_of(), inner)).ids) == {"a", "b", "c"}

    def test_paths_into_values(self, store):
        store.add(
            [
                node("a", size={"width": 3, "unit": {"name": "Cm"}}, rows=["r0", "r1"]),
                node("b", size={"width": 4}),
                node("c"),
            ]
        )
        for key, operator, value, expected in [
            ("size.width", FilterOperator.EQ, 3, {"a"}),
            ("size.width", FilterOperator.NE, 3, {"b", "c"}),
            ('size["unit"].name', FilterOperator.TEXT_MATCH_INSENSITIVE, "cM", {"a"}),
            ("rows[1]", FilterOperator.EQ, "r1", {"a"}),
            ("size.depth", FilterOperator.IS_EMPTY, None, {"a", "b", "c"}),
        ]:
            assert set(ask(store, filters=filters_of((key, operator, value))).ids) == expected, key

    @pytest.mark.parametrize(("key", "operator", "value", "expected"), PAGE_CASES, ids=str)
    def test_page_is_a_number_where_it_is_one(self, shelf, key, operator, value, expected):
        assert set(ask(shelf, filters=filters_of((key, operator, value))).ids) == set(expected)

    def test_doc_ids_restrict(self, shelf):
        assert set(ask(shelf, doc_ids=["d1"]).ids) == {"a", "b"}
        assert ask(shelf, doc_ids=[]).ids == []
        combined = ask(shelf, doc_ids=["d1", "d2"], filters=filters_of(("kind", FilterOperator.NE, "text")))
        assert set(combined.ids) == {"c", "d"}
        nothing = MetadataFilters(filters=[])
        assert set(ask(shelf, doc_ids=["d1"], filters=nothing).ids) == {"a", "b"}


class KeywordSuite:
    """Keyword and hybrid search."""

    @pytest.mark.parametrize("mode", [VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH])
    def test_keywords_are_stemmed_and_scores_are_positive(self, shelf, mode):
        result = ask(shelf, mode, words="Dogs")

        assert set(result.ids) == {"a", "b"}
        assert result.similarities == sorted(result.similarities, reverse=True)
        assert min(result.similarities) > 0

    @pytest.mark.parametrize("words", ["检索", "图像检索", "性能如何"])
    def test_chinese_words_inside_a_run(self, shelf, words):
        assert ask(shelf, VectorStoreQueryMode.TEXT_SEARCH, words=words).ids == ["c"]

    def test_decimal_numbers_are_one_word(self, shelf):
        assert ask(shelf, VectorStoreQueryMode.TEXT_SEARCH, words="3.5").ids == ["d"]
        assert ask(shelf, VectorStoreQueryMode.TEXT_SEARCH, words="5").ids == []

    @pytest.mark.parametrize("words", ["", "???", "zebra", '"', "') or 1=1 --"])
    def test_words_that_are_nowhere(self, shelf, words):
        assert ask(shelf, VectorStoreQueryMode.TEXT_SEARCH, words=words).ids == []
        assert ask(shelf, VectorStoreQueryMode.HYBRID, words=words, top_k=3).ids == ["a", "b", "f"]

    def test_hybrid_joins_both_routes(self, shelf):
        result = ask(shelf, VectorStoreQueryMode.HYBRID, words="unusual table", top_k=4, sparse_top_k=2)

        assert {"a", "d", "f"} <= set(result.ids)
        assert result.similarities == sorted(result.similarities, reverse=True)

    def test_hybrid_limits(self, shelf):
        assert len(ask(shelf, VectorStoreQueryMode.HYBRID, words="dog", top_k=5, hybrid_top_k=2).ids) == 2
        only = ask(shelf, VectorStoreQueryMode.TEXT_SEARCH, words="dog", top_k=5, sparse_top_k=1)
        assert only.ids == ["b"]

    def test_alpha_weighs_the_routes(self, shelf):
        dense = ask(shelf, VectorStoreQueryMode.HYBRID, words="table", alpha=1.0, top_k=8)
        words = ask(shelf, VectorStoreQueryMode.HYBRID, words="table", alpha=0.0, top_k=8)

        assert dense.ids[0] == "a"
        assert words.ids[0] == "d"

    @pytest.mark.parametrize("mode", [VectorStoreQueryMode.TEXT_SEARCH, VectorStoreQueryMode.HYBRID])
    def test_filters_hold_in_every_mode(self, shelf, mode):
        result = ask(shelf, mode, words="dog", filters=filters_of(("page", FilterOperator.EQ, 2)))

        assert result.ids == ["b"]

    @pytest.mark.parametrize("mode", ["default", "text_search", "hybrid"])
    def test_ids_without_nodes(self, shelf, mode):
        whole, lean = ask(shelf, mode, words="dog"), ask(shelf, mode, words="dog", output_fields=[])

        assert (lean.ids, lean.similarities, lean.nodes) == (whole.ids, whole.similarities, None)
        request = VectorStoreQuery(
            query_embedding=[1.0, 0, 0, 0], query_str="dog", similarity_top_k=20, mode=mode, output_fields=[]
        )
        assert asyncio.run(shelf.aquery(request)) == lean

    @pytest.mark.parametrize("mode", ["default", "sparse", "text_search", "hybrid", "mmr"])
    def test_async_equals_sync(self, shelf, mode):
        request = VectorStoreQuery(
            query_embedding=[0.5, 0.5, 0.1, 0], query_str="dog", similarity_top_k=3, mode=VectorStoreQueryMode(mode)
        )
        result, expected = asyncio.run(shelf.aquery(request)), shelf.query(request)

        assert result.ids == expected.ids
        assert result.similarities == pytest.approx(expected.similarities)


class NodeSuite:
    """Nodes come back as they went in."""

    def test_text_node(self, store):
        original = node("a", "Grüße 你好\n\ttab", kind="x", nested={"a": [1, {"b": None}]}, none=None, **{"odd key": 1})
        original.relationships[NodeRelationship.PARENT] = RelatedNodeInfo(node_id="p", metadata={"q": 1})
        original.relationships[NodeRelationship.CHILD] = [RelatedNodeInfo(node_id="c1"), RelatedNodeInfo(node_id="c2")]
        original.excluded_embed_metadata_keys = ["kind"]
        original.excluded_llm_metadata_keys = ["none"]
        original.start_char_idx = 7
        store.add([original])

        back = ask(store).nodes[0]
        assert type(back) is TextNode
        assert back.to_dict() | {"embedding": None} == original.to_dict() | {"embedding": None}
        assert store.get_nodes(["a"], include_embeddings=True)[0].embedding == pytest.approx(original.embedding)

    def test_image_node(self, store, tmp_path):
        original = ImageNode(
            id_="i",
            text="a caption",
            image_path=str(tmp_path / "gone.png"),
            embedding=[1.0, 0, 0, 0],
            metadata={"page": 2},
        )
        store.add([original])

        back = ask(store).nodes[0]
        assert type(back) is ImageNode
        assert (back.image_path, back.text, back.metadata) == (original.image_path, "a caption", {"page": 2})

    def test_index_node(self, store):
        store.add([IndexNode(id_="x", text="see", index_id="other", embedding=[1.0, 0, 0, 0])])

        assert ask(store).nodes[0].index_id == "other"

    def test_node_without_document_or_text(self, store):
        store.add([TextNode(id_="t", text="", embedding=[1.0, 0, 0, 0])])

        back = ask(store).nodes[0]
        assert back.ref_doc_id is None
        assert back.text == ""

    @pytest.mark.parametrize(
        "key", ["text", "id", "embedding", "doc_id", "_node_content", "_node_type", "$meta", "_overflow"]
    )
    def test_metadata_keys_that_are_column_names(self, store, key):
        original = node("a", "body")
        original.metadata = {key: "mine"}
        store.add([original])

        back = ask(store).nodes[0]
        assert back.metadata == {key: "mine"}
        assert (back.node_id, back.text) == ("a", "body")

    @pytest.mark.parametrize(
        "text",
        ["x" * 65_535 + "end", "字" * 21_846, "\U0001f642" * 20_000, "x" * 200_000, "a" * 65_535],
        ids=["one byte over", "chinese", "emoji", "long", "exact"],
    )
    def test_long_text_comes_back_whole(self, store, text):
        store.add([node("a", text), node("b", "short", (0, 1, 0, 0))])

        assert [item.text for item in ask(store).nodes] == [text, "short"]
        assert store.get_nodes(["a"])[0].text == text
        assert (
            asyncio.run(store.aquery(VectorStoreQuery(query_embedding=[1.0, 0, 0, 0], similarity_top_k=1)))
            .nodes[0]
            .text
            == text
        )

    def test_many_relations_come_back_whole(self, store):
        page = node("a", "page")
        page.relationships[NodeRelationship.CHILD] = [
            RelatedNodeInfo(node_id=f"child {index}", metadata={"label": "图" * 40}) for index in range(400)
        ]
        store.add([page])

        assert ask(store).nodes[0].relationships == page.relationships

    def test_get_nodes(self, shelf):
        assert [item.node_id for item in shelf.get_nodes(["c", "a", "zz"])] == ["c", "a"]
        assert shelf.get_nodes([]) == []
        assert len(shelf.get_nodes(filters=MetadataFilters(filters=[]))) == len(SHELF)
        assert len(shelf.get_nodes()) == len(SHELF)
        assert len(shelf.get_nodes(limit=3)) == 3
        both = shelf.get_nodes(["a", "c"], filters_of(("kind", FilterOperator.EQ, "image")))
        assert [item.node_id for item in both] == ["c"]
        assert [item.node_id for item in asyncio.run(shelf.aget_nodes(["a"]))] == ["a"]

    def test_count(self, shelf):
        assert shelf.count() == len(SHELF)
        assert shelf.count(filters_of(("kind", FilterOperator.EQ, "text"))) == 2
