"""What every vector store must do under LlamaIndex's own classes, as a mixin.

Inherit it, give it the fixture ``open_store`` (class-scoped), which returns a function that opens an empty store, and
say with the attributes what the store can do. Each document states one fact about one animal, so that every test can
ask for a fact and see whether *its* node comes.

``upstream`` pins what another class does by names of tests: the test must fail, and the reason says why.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import ClassVar

import pytest
from llama_index.core import Document, PropertyGraphIndex, StorageContext, VectorStoreIndex, get_response_synthesizer
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.graph_stores import SimplePropertyGraphStore
from llama_index.core.graph_stores.types import KG_NODES_KEY, KG_RELATIONS_KEY, EntityNode, Relation
from llama_index.core.indices.property_graph import VectorContextRetriever
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.indices.vector_store import VectorIndexAutoRetriever, VectorIndexRetriever
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import VectorMemoryBlock
from llama_index.core.node_parser import (
    HierarchicalNodeParser,
    SentenceSplitter,
    SentenceWindowNodeParser,
    get_leaf_nodes,
)
from llama_index.core.postprocessor import MetadataReplacementPostProcessor, SimilarityPostprocessor
from llama_index.core.query_engine import (
    CitationQueryEngine,
    RetrieverQueryEngine,
    RouterQueryEngine,
    SubQuestionQueryEngine,
    TransformQueryEngine,
)
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.retrievers import AutoMergingRetriever, QueryFusionRetriever, RecursiveRetriever, RouterRetriever
from llama_index.core.schema import (
    ImageNode,
    IndexNode,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
    TransformComponent,
)
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import QueryEngineTool, RetrieverTool
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    MetadataInfo,
    VectorStoreInfo,
    VectorStoreQueryMode,
)

from llama_index_raganything.testing import HashEmbedding, ScriptedChatLLM, ScriptedTextLLM

DIM = 512
EMBEDDING = HashEmbedding(dimension=DIM)

ANIMALS = {
    "heron": ("bird", 2019, "The heron nests in lime tree nine."),
    "otter": ("mammal", 2020, "The otter sleeps under pier four."),
    "adder": ("reptile", 2021, "The adder suns itself on wall seven."),
    "beaver": ("mammal", 2022, "The beaver fells birches behind mill two."),
    "eider": ("bird", 2023, "The eider dives off skerry eleven."),
    "lynx": ("mammal", 2024, "The lynx crosses ridge thirteen at dusk."),
}
FACTS = {animal: fact for animal, (_, _, fact) in ANIMALS.items()}

MODES = [mode.value for mode in VectorStoreQueryMode]
ANSWER = "So it is. [1]"


def document(animal: str, fact: str | None = None) -> Document:
    kind, year, known = ANIMALS.get(animal, ("fish", 2025, ""))
    return Document(id_=f"doc-{animal}", text=fact or known, metadata={"kind": kind, "year": year})


def fact_node(animal: str) -> TextNode:
    kind, year, fact = ANIMALS[animal]
    source = RelatedNodeInfo(node_id=f"doc-{animal}")
    return TextNode(
        id_=animal, text=fact, metadata={"kind": kind, "year": year}, relationships={NodeRelationship.SOURCE: source}
    )


def documents() -> list[Document]:
    return [document(animal) for animal in ANIMALS]


def nodes() -> list[TextNode]:
    return [fact_node(animal) for animal in ANIMALS]


def question(animal: str) -> str:
    """Words of the fact, which the hash embedding finds again."""
    return " ".join(FACTS[animal].split()[:4])


def texts(results) -> list[str]:
    return [result.node.get_content() for result in results]


def ids(results) -> list[str]:
    return [result.node.node_id for result in results]


def filters(*leaves, condition=FilterCondition.AND) -> MetadataFilters:
    made = [MetadataFilter(key=key, operator=operator, value=value) for key, operator, value in leaves]
    return MetadataFilters(filters=made, condition=condition)


def sent(llm) -> str:
    """Everything an LLM was sent."""
    return "\n".join(str(message.content) for messages in llm.requests for message in messages)


def index_over(store, made=None, **options) -> VectorStoreIndex:
    context = StorageContext.from_defaults(vector_store=store)
    return VectorStoreIndex(
        nodes() if made is None else made, storage_context=context, embed_model=EMBEDDING, **options
    )


def find(index, words: str, top_k: int = 1, **options) -> list[str]:
    return ids(index.as_retriever(similarity_top_k=top_k, **options).retrieve(words))


def read(index, words: str, top_k: int = 1, **options) -> list[str]:
    return texts(index.as_retriever(similarity_top_k=top_k, **options).retrieve(words))


class LlamaIndexSuite:
    """LlamaIndex's classes over one store."""

    keeps_text = True
    modes = frozenset({"default", "mmr", "sparse", "text_search", "hybrid"})
    upstream: ClassVar[dict[str, str]] = {}

    @pytest.fixture(autouse=True)
    def pin_upstream(self, request):
        name = request.node.name
        reason = self.upstream.get(name) or self.upstream.get(name.partition("[")[0])
        if reason:
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    @pytest.fixture(scope="class")
    def shared(self, open_store):
        """An index of all facts that no test changes."""
        return index_over(open_store())

    @pytest.fixture
    def store(self, open_store):
        return open_store()

    @pytest.fixture
    def own_store(self, store):
        """A store in a database of its own, which a test may close."""
        return store


class IndexSuite(LlamaIndexSuite):
    """Indexes: made, changed, deleted from, stored and loaded."""

    @pytest.mark.parametrize("animal", ANIMALS)
    def test_index_of_nodes(self, shared, animal):
        assert find(shared, question(animal)) == [animal]
        assert read(shared, question(animal)) == [FACTS[animal]]

    @pytest.mark.parametrize("use_async", [False, True])
    def test_from_documents(self, store, use_async):
        index = VectorStoreIndex.from_documents(
            documents(),
            storage_context=StorageContext.from_defaults(vector_store=store),
            transformations=[SentenceSplitter()],
            embed_model=EMBEDDING,
            use_async=use_async,
        )
        found = index.as_retriever(similarity_top_k=1).retrieve(question("adder"))
        assert texts(found) == [FACTS["adder"]]
        assert found[0].node.ref_doc_id == "doc-adder"
        assert found[0].node.metadata == {"kind": "reptile", "year": 2021}

    def test_from_vector_store(self, shared):
        if not self.keeps_text:
            with pytest.raises(ValueError, match="does not store text"):
                VectorStoreIndex.from_vector_store(shared.vector_store, embed_model=EMBEDDING)
            return
        index = VectorStoreIndex.from_vector_store(shared.vector_store, embed_model=EMBEDDING)
        for animal in ANIMALS:
            assert find(index, question(animal)) == [animal]

    def test_pipeline_then_from_vector_store(self, store):
        if not self.keeps_text:
            pytest.skip("LlamaIndex makes no index from a store without texts.")
        pipeline = IngestionPipeline(transformations=[SentenceSplitter(), EMBEDDING], vector_store=store)
        pipeline.run(documents=documents())
        index = VectorStoreIndex.from_vector_store(store, embed_model=EMBEDDING)
        retriever = index.as_retriever(similarity_top_k=1)
        assert texts(retriever.retrieve(question("eider"))) == [FACTS["eider"]]

        pipeline.run(documents=[document("pike", "The pike hunts below weir three.")])
        assert texts(retriever.retrieve("The pike hunts")) == ["The pike hunts below weir three."]

    def test_an_empty_index_finds_nothing(self, store):
        assert find(index_over(store, []), "anything at all") == []

    def test_insert(self, store):
        index = index_over(store, transformations=[SentenceSplitter()])
        index.insert(document("pike", "The pike hunts below weir three."))
        assert read(index, "The pike hunts") == ["The pike hunts below weir three."]
        assert find(index, question("heron")) == ["heron"]

    async def test_ainsert(self, store):
        index = index_over(store, transformations=[SentenceSplitter()])
        await index.ainsert(document("pike", "The pike hunts below weir three."))
        found = await index.as_retriever(similarity_top_k=1).aretrieve("The pike hunts")
        assert texts(found) == ["The pike hunts below weir three."]

    def test_insert_nodes(self, store):
        index = index_over(store, nodes()[:3])
        assert find(index, question("lynx")) != ["lynx"]
        index.insert_nodes(nodes()[3:])
        assert [find(index, question(animal)) for animal in ANIMALS] == [[animal] for animal in ANIMALS]

    async def test_ainsert_nodes(self, store):
        index = index_over(store, nodes()[:3])
        await index.ainsert_nodes(nodes()[3:])
        assert [find(index, question(animal)) for animal in ANIMALS] == [[animal] for animal in ANIMALS]

    def refreshable(self, store):
        return VectorStoreIndex.from_documents(
            documents(),
            storage_context=StorageContext.from_defaults(vector_store=store),
            transformations=[SentenceSplitter()],
            embed_model=EMBEDDING,
        )

    def test_refresh_ref_docs(self, store):
        index = self.refreshable(store)
        changed = [
            *documents()[1:],
            document("heron", "The heron moved to lime tree ten."),
            document("pike", "A pike."),
        ]
        assert index.refresh_ref_docs(changed) == [False] * 5 + [True, True]
        assert read(index, "The heron nests", 2)[0] == "The heron moved to lime tree ten."
        assert FACTS["heron"] not in read(index, question("heron"), 20)
        assert read(index, "A pike.") == ["A pike."]

    async def test_arefresh_ref_docs(self, store):
        index = self.refreshable(store)
        changed = [document("otter"), document("heron", "The heron moved to lime tree ten.")]
        assert await index.arefresh_ref_docs(changed) == [False, True]
        assert FACTS["heron"] not in read(index, question("heron"), 20)
        assert read(index, "The heron moved") == ["The heron moved to lime tree ten."]

    def test_update_ref_doc(self, store):
        index = self.refreshable(store)
        index.update_ref_doc(document("adder", "The adder moved to wall eight."))
        assert read(index, "The adder moved") == ["The adder moved to wall eight."]
        assert FACTS["adder"] not in read(index, question("adder"), 20)

    @pytest.mark.parametrize("delete_from_docstore", [False, True])
    def test_delete_ref_doc(self, store, delete_from_docstore):
        index = index_over(store)
        index.delete_ref_doc("doc-otter", delete_from_docstore=delete_from_docstore)
        assert set(find(index, question("otter"), 20)) == set(ANIMALS) - {"otter"}

    async def test_adelete_ref_doc(self, store):
        index = index_over(store)
        await index.adelete_ref_doc("doc-otter", delete_from_docstore=True)
        assert set(find(index, question("otter"), 20)) == set(ANIMALS) - {"otter"}

    def test_delete_nodes(self, store):
        index = index_over(store)
        index.delete_nodes(["lynx", "eider"])
        assert set(find(index, question("lynx"), 20)) == set(ANIMALS) - {"lynx", "eider"}
        index.delete_nodes([])
        assert set(find(index, question("lynx"), 20)) == set(ANIMALS) - {"lynx", "eider"}

    async def test_adelete_nodes(self, store):
        index = index_over(store)
        await index.adelete_nodes(["lynx"], delete_from_docstore=True)
        assert set(find(index, question("lynx"), 20)) == set(ANIMALS) - {"lynx"}

    def test_the_same_nodes_twice_are_found_once(self, store):
        index_over(store)
        assert sorted(find(index_over(store), question("heron"), 20)) == sorted(ANIMALS)

    def test_ref_doc_info_needs_nodes_in_the_docstore(self, store):
        # Upstream: "Vector store integrations that store text ... are not supported by ref_doc_info yet."
        index = index_over(store)
        if self.keeps_text:
            with pytest.raises(NotImplementedError):
                _ = index.ref_doc_info
        else:
            assert index.ref_doc_info["doc-otter"].node_ids == ["otter"]

    def test_store_nodes_override_gives_ref_doc_info(self, store):
        index = index_over(store, store_nodes_override=True)
        assert {name: info.node_ids for name, info in index.ref_doc_info.items()} == {
            f"doc-{animal}": [animal] for animal in ANIMALS
        }
        assert [find(index, question(animal)) for animal in ANIMALS] == [[animal] for animal in ANIMALS]
        index.delete_ref_doc("doc-otter", delete_from_docstore=True)
        assert set(find(index, question("otter"), 20)) == set(ANIMALS) - {"otter"}
        assert "doc-otter" not in index.ref_doc_info

    @pytest.mark.parametrize("override", [False, True])
    def test_persisted_context_is_loaded_in_another_process(self, another_process, own_store, tmp_path, override):
        store = own_store
        index = index_over(store, store_nodes_override=override)
        index.storage_context.persist(tmp_path / "storage")
        code = """
            index = load_index_from_storage(context, embed_model=HashEmbedding(dimension=DIM), **options)
            retriever = index.as_retriever(similarity_top_k=1)
            found = {word: [hit.node.text for hit in retriever.retrieve(word)] for word in words}
            index.insert_nodes([TextNode(id_="pike", text="The pike hunts below weir three.")])
            found["pike"] = [hit.node.text for hit in index.as_retriever(similarity_top_k=1).retrieve("The pike hunts")]
        """
        words = {animal: question(animal) for animal in ANIMALS}
        options = {"store_nodes_override": True} if override else {}
        found = another_process(store, tmp_path / "storage", code, words=list(words.values()), options=options)
        assert found == {words[animal]: [FACTS[animal]] for animal in ANIMALS} | {
            "pike": ["The pike hunts below weir three."]
        }


class QuerySuite(LlamaIndexSuite):
    """Retrieval: every mode, every restriction."""

    @pytest.mark.parametrize("mode", MODES)
    def test_modes(self, shared, mode):
        retriever = shared.as_retriever(vector_store_query_mode=mode, similarity_top_k=2)
        if mode not in self.modes:
            with pytest.raises((ValueError, ImportError)):
                retriever.retrieve(question("beaver"))
            return
        for animal in ANIMALS:
            assert ids(retriever.retrieve(question(animal)))[0] == animal

    @pytest.mark.parametrize("mode", MODES)
    async def test_modes_async(self, open_store, mode):
        # Made in this loop: the official store's async client belongs to the loop of its first call.
        index = index_over(open_store())
        retriever = index.as_retriever(vector_store_query_mode=mode, similarity_top_k=2)
        if mode not in self.modes:
            with pytest.raises((ValueError, ImportError)):
                await retriever.aretrieve(question("beaver"))
            return
        for animal in ANIMALS:
            assert ids(await retriever.aretrieve(question(animal)))[0] == animal

    def test_two_event_loops(self, shared):
        retriever = shared.as_retriever(similarity_top_k=1)
        for animal in ("heron", "lynx"):
            assert ids(asyncio.run(retriever.aretrieve(question(animal)))) == [animal]

    def test_mmr_threshold_reaches_the_store(self, store):
        twin = fact_node("heron").model_copy(update={"id_": "twin"})
        index = index_over(store, [*nodes(), twin])
        plain = find(index, question("heron"), 2)
        varied = find(
            index,
            question("heron"),
            2,
            vector_store_query_mode="mmr",
            vector_store_kwargs={"mmr_threshold": 0.01},
        )
        assert set(plain) == {"heron", "twin"}
        assert len(set(varied) & {"heron", "twin"}) == 1

    @pytest.mark.parametrize("mode", ["default", "mmr", "hybrid", "text_search"])
    @pytest.mark.parametrize(
        ("leaves", "condition", "passing"),
        [
            ([("kind", FilterOperator.EQ, "bird")], "and", {"heron", "eider"}),
            ([("kind", FilterOperator.NE, "mammal")], "and", {"heron", "eider", "adder"}),
            ([("kind", FilterOperator.IN, ["bird", "reptile"])], "and", {"heron", "eider", "adder"}),
            ([("kind", FilterOperator.EQ, "mammal"), ("year", FilterOperator.GT, 2020)], "and", {"beaver", "lynx"}),
            ([("kind", FilterOperator.EQ, "reptile"), ("year", FilterOperator.LT, 2020)], "or", {"heron", "adder"}),
            ([("kind", FilterOperator.EQ, "fish")], "and", set()),
        ],
        ids=["eq", "ne", "in", "and", "or", "nothing"],
    )  # fmt: skip
    def test_filters(self, shared, mode, leaves, condition, passing):
        if mode not in self.modes:
            pytest.skip("The store has no such mode; see test_modes.")
        restricted = filters(*leaves, condition=FilterCondition(condition))
        found = find(shared, question("heron"), 20, filters=restricted, vector_store_query_mode=mode)
        assert set(found) == passing if mode != "text_search" else set(found) <= passing
        if "heron" in passing:
            assert found[0] == "heron"

    def test_node_ids_restrict(self, shared):
        retriever = VectorIndexRetriever(shared, node_ids=["otter", "lynx"], similarity_top_k=5)
        assert set(ids(retriever.retrieve(question("heron")))) == {"otter", "lynx"}

    def test_doc_ids_restrict(self, shared):
        assert set(find(shared, question("heron"), 5, doc_ids=["doc-otter", "doc-lynx"])) == {"otter", "lynx"}

    def test_no_doc_ids_match_nothing(self, shared):
        assert find(shared, question("heron"), 5, doc_ids=[]) == []

    def test_an_index_retriever_restricts_nothing(self, shared):
        assert set(find(shared, question("heron"), 20)) == set(ANIMALS)


class PictureSuite(LlamaIndexSuite):
    """Pictures and index nodes among texts.

    Where the store keeps the text, ``VectorStoreIndex`` records image and index nodes alone in its index struct, and
    its retriever then searches those alone (llama-index-core 0.14.25). A store cannot tell that list from a caller's.
    """

    CAPTION = "Figure 3: Map of the bear trails."

    def picture(self) -> ImageNode:
        return ImageNode(id_="picture", text=self.CAPTION, image_path="bears.png")

    def all_of(self, index) -> None:
        assert find(index, "Figure 3: Map of") == ["picture"]
        assert [find(index, question(animal)) for animal in ANIMALS] == [[animal] for animal in ANIMALS]

    def test_upstream_finds_pictures_alone_in_a_plain_index(self, store):
        index = index_over(store, [*nodes(), self.picture()])
        expected = {"picture"} if self.keeps_text else {"picture", *ANIMALS}
        assert set(find(index, question("heron"), 20)) == expected
        index.insert_nodes([fact_node("heron").model_copy(update={"id_": "later"})])
        assert set(find(index, question("heron"), 20)) == (expected if self.keeps_text else expected | {"later"})

    def test_upstream_finds_index_nodes_alone_in_a_plain_index(self, store):
        index = index_over(store, [*nodes(), IndexNode(id_="link", text="See the zoo.", index_id="zoo")])
        assert set(find(index, question("heron"), 20)) == ({"link"} if self.keeps_text else {"link", *ANIMALS})

    def test_upstream_finds_nothing_after_the_pictures_are_deleted(self, store):
        source = RelatedNodeInfo(node_id="atlas")
        picture = self.picture().model_copy(update={"relationships": {NodeRelationship.SOURCE: source}})
        index = index_over(store, [*nodes(), picture])
        index.delete_ref_doc("atlas")
        assert set(find(index, question("heron"), 20)) == (set() if self.keeps_text else set(ANIMALS))

    def test_from_vector_store_finds_all(self, store):
        if not self.keeps_text:
            pytest.skip("LlamaIndex makes no index from a store without texts.")
        pipeline = IngestionPipeline(transformations=[EMBEDDING], vector_store=store)
        pipeline.run(nodes=[*nodes(), self.picture()])
        index = VectorStoreIndex.from_vector_store(store, embed_model=EMBEDDING, transformations=[SentenceSplitter()])
        self.all_of(index)
        assert type(index.as_retriever(similarity_top_k=1).retrieve(self.CAPTION)[0].node) is ImageNode

        index.insert(document("pike", "The pike hunts below weir three."))
        pipeline.run(nodes=[ImageNode(id_="second", text="Figure 4: Skull of a wolf.", image_path="wolf.png")])
        assert read(index, "The pike hunts") == ["The pike hunts below weir three."]
        assert find(index, "Figure 4: Skull of") == ["second"]
        self.all_of(index)

    def test_a_retriever_of_its_own_finds_all(self, store):
        index = index_over(store, [*nodes(), self.picture()])
        retriever = VectorIndexRetriever(index, similarity_top_k=1)
        assert ids(retriever.retrieve("Figure 3: Map of")) == ["picture"]
        assert [ids(retriever.retrieve(question(animal))) for animal in ANIMALS] == [[animal] for animal in ANIMALS]

    def test_store_nodes_override_finds_all(self, store):
        index = index_over(
            store, [*nodes(), self.picture()], store_nodes_override=True, transformations=[SentenceSplitter()]
        )
        self.all_of(index)
        index.insert(document("pike", "The pike hunts below weir three."))
        assert read(index, "The pike hunts") == ["The pike hunts below weir three."]
        self.all_of(index)
        index.delete_nodes(["picture"], delete_from_docstore=True)
        assert set(find(index, question("heron"), 20)) >= set(ANIMALS)


class RetrieverSuite(LlamaIndexSuite):
    """LlamaIndex's retrievers over the index."""

    def test_auto_merging(self, store):
        text = " ".join(
            f"{fact} It was seen there every spring since {1990 + n}." for n, fact in enumerate(FACTS.values())
        )
        parser = HierarchicalNodeParser.from_defaults(chunk_sizes=[256, 64, 24], chunk_overlap=0)
        made = parser.get_nodes_from_documents([Document(id_="book", text=text), Document(id_="x", text="Nothing.")])
        context = StorageContext.from_defaults(vector_store=store)
        context.docstore.add_documents(made)
        leaves = get_leaf_nodes(made)
        index = VectorStoreIndex(leaves, storage_context=context, embed_model=EMBEDDING)
        around = [leaf for leaf in leaves if FACTS["beaver"].split(".")[0] in leaf.text]
        parent = around[0].parent_node.node_id
        siblings = [leaf for leaf in leaves if leaf.parent_node and leaf.parent_node.node_id == parent]
        assert len(siblings) > 1
        retriever = AutoMergingRetriever(index.as_retriever(similarity_top_k=len(siblings)), context)
        found = retriever.retrieve(" ".join(leaf.text for leaf in siblings))
        assert ids(found) == [parent]
        assert FACTS["beaver"] in texts(found)[0]
        few = AutoMergingRetriever(index.as_retriever(similarity_top_k=1), context, simple_ratio_thresh=0.9)
        assert FACTS["beaver"] in texts(few.retrieve(question("beaver")))[0]

    def test_sentence_windows(self, store):
        text = " ".join(FACTS.values())
        parser = SentenceWindowNodeParser.from_defaults(window_size=1)
        made = parser.get_nodes_from_documents([Document(id_="book", text=text)])
        llm = ScriptedTextLLM(replies=[ANSWER])
        engine = index_over(store, made).as_query_engine(
            llm=llm,
            similarity_top_k=1,
            node_postprocessors=[MetadataReplacementPostProcessor(target_metadata_key="window")],
        )
        response = engine.query(question("adder"))
        assert response.source_nodes[0].node.metadata["original_text"].strip() == FACTS["adder"]
        window = response.source_nodes[0].node.get_content()
        assert [fact in window for fact in FACTS.values()] == [False, True, True, True, False, False]
        assert FACTS["beaver"] in sent(llm)
        assert FACTS["lynx"] not in sent(llm)

    def test_recursive(self, store, shared):
        links = [IndexNode(id_=f"to-{animal}", text=f"All about the {animal}.", index_id=animal) for animal in ANIMALS]
        root = index_over(store, links)
        reptiles = shared.as_retriever(similarity_top_k=1, filters=filters(("kind", FilterOperator.EQ, "reptile")))
        retriever = RecursiveRetriever(
            "root",
            retriever_dict={"root": root.as_retriever(similarity_top_k=1), "adder": reptiles},
            node_dict={animal: fact_node(animal) for animal in ANIMALS if animal != "adder"},
        )
        assert ids(retriever.retrieve("All about the eider.")) == ["eider"]
        assert texts(retriever.retrieve("All about the adder.")) == [FACTS["adder"]]

    def test_linked_objects_are_followed(self, store, shared):
        only = shared.as_retriever(similarity_top_k=1, filters=filters(("kind", FilterOperator.EQ, "reptile")))
        linked = IndexNode(id_="link", text="Everything that crawls.", index_id="reptiles", obj=only)
        index = VectorStoreIndex(
            nodes=[],
            objects=[linked],
            storage_context=StorageContext.from_defaults(vector_store=store),
            embed_model=EMBEDDING,
        )
        assert ids(index.as_retriever(similarity_top_k=1).retrieve("Everything that crawls.")) == ["adder"]

    @pytest.mark.parametrize("mode", ["reciprocal_rerank", "relative_score", "dist_based_score", "simple"])
    def test_fusion(self, shared, mode):
        llm = ScriptedTextLLM(replies=[question("lynx")])
        ways = ["default", "text_search" if "text_search" in self.modes else "mmr"]
        retriever = QueryFusionRetriever(
            [shared.as_retriever(similarity_top_k=1, vector_store_query_mode=way) for way in ways],
            llm=llm,
            mode=mode,
            num_queries=2,
            similarity_top_k=2,
            use_async=False,
        )
        assert set(ids(retriever.retrieve(question("otter")))) == {"otter", "lynx"}

    async def test_fusion_async(self, open_store):
        index = index_over(open_store())
        retriever = QueryFusionRetriever(
            [index.as_retriever(similarity_top_k=1)], llm=ScriptedTextLLM(), num_queries=1, similarity_top_k=1
        )
        assert ids(await retriever.aretrieve(question("otter"))) == ["otter"]

    def test_auto_retriever(self, shared):
        spec = {
            "query": question("heron"),
            "filters": [{"key": "kind", "value": "mammal", "operator": "=="}],
            "top_k": 5,
        }
        llm = ScriptedTextLLM(replies=[f"```json\n{json.dumps(spec)}\n```"])
        info = VectorStoreInfo(
            content_info="animals",
            metadata_info=[MetadataInfo(name="kind", type="str", description="mammal, bird or reptile")],
        )
        retriever = VectorIndexAutoRetriever(shared, vector_store_info=info, llm=llm, similarity_top_k=5)
        assert set(ids(retriever.retrieve("Which mammals are there?"))) == {"otter", "beaver", "lynx"}

        empty = {"query": "", "filters": [{"key": "kind", "value": "reptile", "operator": "=="}]}
        llm = ScriptedTextLLM(replies=[f"```json\n{json.dumps(empty)}\n```"])
        retriever = VectorIndexAutoRetriever(
            shared, vector_store_info=info, llm=llm, default_empty_query_vector=[0.1] * DIM
        )
        assert ids(retriever.retrieve("All reptiles")) == ["adder"]

    def test_router_retriever(self, shared):
        tools = [
            RetrieverTool.from_defaults(
                shared.as_retriever(similarity_top_k=5, filters=filters(("kind", FilterOperator.EQ, kind))),
                description=kind,
            )
            for kind in ("bird", "mammal")
        ]
        llm = ScriptedTextLLM(replies=[json.dumps([{"choice": 2, "reason": "mammals"}])])
        retriever = RouterRetriever(LLMSingleSelector.from_defaults(llm=llm), tools, llm=llm)
        assert set(ids(retriever.retrieve(question("heron")))) == {"otter", "beaver", "lynx"}

    async def test_memory_block(self, open_store):
        if not self.keeps_text:
            pytest.skip("A memory block refuses a store without texts.")
        block = VectorMemoryBlock(
            vector_store=open_store(), embed_model=EMBEDDING, similarity_top_k=1, retrieval_context_window=1
        )
        for animal in ANIMALS:
            await block._aput([ChatMessage(role="user", content=FACTS[animal])])
        remembered = await block._aget([ChatMessage(role="user", content=question("eider"))])
        assert FACTS["eider"] in remembered
        assert FACTS["lynx"] not in remembered

    def test_vectors_of_a_property_graph(self, store):
        if not self.keeps_text:
            pytest.skip("LlamaIndex reads what a vector stands for from the store's own nodes.")
        graph = SimplePropertyGraphStore()
        PropertyGraphIndex(
            nodes(),
            llm=ScriptedTextLLM(),
            embed_model=EMBEDDING,
            kg_extractors=[KindExtractor()],
            property_graph_store=graph,
            vector_store=store,
            use_async=False,
        )
        retriever = VectorContextRetriever(
            graph, vector_store=store, embed_model=EMBEDDING, include_text=False, similarity_top_k=1
        )
        assert texts(retriever.retrieve("adder")) == ["adder -> IS -> reptile"]


class KindExtractor(TransformComponent):
    """Says of every animal what it is."""

    def __call__(self, nodes, **kwargs):
        for item in nodes:
            kind, animal = EntityNode(name=item.metadata["kind"]), EntityNode(name=item.node_id)
            item.metadata[KG_NODES_KEY] = [animal, kind]
            item.metadata[KG_RELATIONS_KEY] = [Relation(label="IS", source_id=animal.id, target_id=kind.id)]
        return nodes


class EngineSuite(LlamaIndexSuite):
    """Query engines and chat engines over the index; the LLM is scripted, so what counts is what it is given."""

    def checked(self, llm, response, animal):
        assert str(response) == ANSWER
        assert ids(response.source_nodes) == [animal]
        assert FACTS[animal] in sent(llm)
        assert not [other for other in ANIMALS if other != animal and FACTS[other] in sent(llm)]

    @pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize", "simple_summarize", "accumulate"])
    def test_query_engine(self, shared, mode):
        llm = ScriptedTextLLM(replies=[ANSWER])
        engine = shared.as_query_engine(llm=llm, similarity_top_k=1, response_mode=mode)
        response = engine.query(question("beaver"))
        assert ANSWER in str(response)
        assert ids(response.source_nodes) == ["beaver"]
        assert FACTS["beaver"] in sent(llm)

    async def test_query_engine_async(self, open_store):
        llm = ScriptedTextLLM(replies=[ANSWER])
        engine = index_over(open_store()).as_query_engine(llm=llm, similarity_top_k=1)
        self.checked(llm, await engine.aquery(question("beaver")), "beaver")

    def test_query_engine_streams(self, shared):
        llm = ScriptedTextLLM(replies=[ANSWER])
        response = shared.as_query_engine(llm=llm, similarity_top_k=1, streaming=True).query(question("beaver"))
        assert "".join(response.response_gen) == ANSWER
        assert ids(response.source_nodes) == ["beaver"]

    def test_query_transform(self, shared):
        llm = ScriptedTextLLM(replies=[ANSWER])
        hyde = HyDEQueryTransform(llm=ScriptedTextLLM(replies=[FACTS["lynx"]]), include_original=False)
        engine = TransformQueryEngine(shared.as_query_engine(llm=llm, similarity_top_k=1), query_transform=hyde)
        assert ids(engine.query("Who goes out in the evening?").source_nodes) == ["lynx"]

    def test_citation_engine(self, shared):
        llm = ScriptedTextLLM(replies=[ANSWER])
        response = CitationQueryEngine.from_args(shared, llm=llm, similarity_top_k=2).query(question("otter"))
        assert str(response) == ANSWER
        assert response.source_nodes[0].node.get_content().strip() == f"Source 1:\n{FACTS['otter']}"
        assert f"Source 1:\n{FACTS['otter']}" in sent(llm)

    def engines(self, index, llm):
        return [
            QueryEngineTool.from_defaults(
                index.as_query_engine(llm=llm, similarity_top_k=1, filters=filters(("kind", FilterOperator.EQ, kind))),
                name=kind,
                description=f"Knows every {kind}.",
            )
            for kind in ("bird", "mammal")
        ]

    def test_router(self, shared):
        llm = ScriptedTextLLM(replies=[ANSWER])
        chooser = ScriptedTextLLM(replies=[json.dumps([{"choice": 2, "reason": "It is a mammal."}])])
        router = RouterQueryEngine(LLMSingleSelector.from_defaults(llm=chooser), self.engines(shared, llm), llm=llm)
        self.checked(llm, router.query(question("lynx")), "lynx")

    def test_sub_questions(self, shared):
        llm = ScriptedTextLLM(replies=[ANSWER])
        asked = [
            {"sub_question": question("eider"), "tool_name": "bird"},
            {"sub_question": question("beaver"), "tool_name": "mammal"},
        ]
        planner = ScriptedTextLLM(replies=[f"```json\n{json.dumps({'items': asked})}\n```"])
        engine = SubQuestionQueryEngine.from_defaults(
            self.engines(shared, llm),
            llm=llm,
            question_gen=LLMQuestionGenerator.from_defaults(llm=planner),
            response_synthesizer=get_response_synthesizer(llm=llm),
            verbose=False,
            use_async=False,
        )
        response = engine.query("What do the eider and the beaver do?")
        assert str(response) == ANSWER
        assert {"eider", "beaver"} <= set(ids(response.source_nodes))
        assert FACTS["eider"] in sent(llm)
        assert FACTS["beaver"] in sent(llm)
        assert FACTS["lynx"] not in sent(llm)

    @pytest.mark.parametrize("how", ["chat", "stream_chat"])
    @pytest.mark.parametrize("mode", ["condense_question", "context", "condense_plus_context", "best"])
    def test_chat(self, shared, mode, how):
        llm = ScriptedChatLLM(replies=[ANSWER])
        engine = shared.as_chat_engine(chat_mode=ChatMode(mode), llm=llm, similarity_top_k=1)
        response = getattr(engine, how)(question("adder"))
        if how == "stream_chat":
            assert "".join(response.response_gen) == ANSWER
        assert str(response) == ANSWER
        assert ids(response.source_nodes) == ["adder"]
        assert FACTS["adder"] in sent(llm)
        assert FACTS["heron"] not in sent(llm)

    @pytest.mark.parametrize("mode", ["condense_question", "context", "condense_plus_context", "best"])
    def test_chat_goes_on(self, shared, mode):
        condensed = [question("heron"), ANSWER] if mode != "context" else [ANSWER]
        llm = ScriptedChatLLM(replies=[ANSWER, *condensed])
        engine = shared.as_chat_engine(chat_mode=ChatMode(mode), llm=llm, similarity_top_k=1)
        engine.chat(question("adder"))
        again = question("heron") if mode == "context" else "And the other one?"
        assert ids(engine.chat(again).source_nodes) == ["heron"]

    @pytest.mark.parametrize("how", ["achat", "astream_chat"])
    @pytest.mark.parametrize("mode", ["condense_question", "context", "condense_plus_context", "best"])
    async def test_chat_async(self, open_store, mode, how):
        llm = ScriptedChatLLM(replies=[ANSWER])
        engine = index_over(open_store()).as_chat_engine(chat_mode=ChatMode(mode), llm=llm, similarity_top_k=1)
        response = await getattr(engine, how)(question("adder"))
        if how == "astream_chat":
            assert "".join([piece async for piece in response.async_response_gen()]) == ANSWER
        # Upstream: of this mode's streams the source nodes are in the tool's output only.
        kept = (mode, how) == ("condense_question", "astream_chat")
        assert ids(response.sources[0].raw_output.source_nodes if kept else response.source_nodes) == ["adder"]
        assert FACTS["adder"] in sent(llm)

    def test_simple_chat_uses_no_index(self, shared):
        llm = ScriptedChatLLM(replies=[ANSWER])
        assert str(shared.as_chat_engine(chat_mode=ChatMode.SIMPLE, llm=llm).chat(question("adder"))) == ANSWER
        assert FACTS["adder"] not in sent(llm)

    @pytest.mark.parametrize("mode", ["react", "openai"])
    def test_chat_modes_that_llama_index_took_out(self, shared, mode):
        with pytest.raises(ValueError, match="deprecated and removed"):
            shared.as_chat_engine(chat_mode=ChatMode(mode), llm=ScriptedChatLLM())

    def test_postprocessors(self, shared):
        llm = ScriptedTextLLM(replies=[ANSWER])
        engine = RetrieverQueryEngine.from_args(
            shared.as_retriever(similarity_top_k=6),
            llm=llm,
            node_postprocessors=[SimilarityPostprocessor(similarity_cutoff=0.6)],
        )
        self.checked(llm, engine.query(FACTS["beaver"]), "beaver")


class WholeSuite(IndexSuite, QuerySuite, PictureSuite, RetrieverSuite, EngineSuite):
    """Everything; give it ``open_store`` and ``reopen``, the code that opens a store again in another process."""

    @pytest.fixture
    def another_process(self, close_store):
        def run(store, storage: Path, code: str, **values):
            opening = self.reopening(store, storage)
            close_store(store)
            script = "\n".join(
                [
                    "import json, sys",
                    "from llama_index.core import StorageContext, load_index_from_storage",
                    "from llama_index.core.schema import TextNode",
                    "from llama_index_raganything.testing import HashEmbedding",
                    f"DIM = {DIM}",
                    "globals().update(json.loads(sys.argv[1]))",
                    textwrap.dedent(opening),
                    textwrap.dedent(code),
                    "print(json.dumps(found))",
                ]
            )
            done = subprocess.run(
                [sys.executable, "-c", script, json.dumps(values)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr[-2000:]
            return json.loads(done.stdout.splitlines()[-1])

        return run

    def reopening(self, store, storage: Path) -> str:
        raise NotImplementedError
