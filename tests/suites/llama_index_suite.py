"""What every vector store must do under LlamaIndex's own classes, as a mixin.

Inherit :class:`WholeSuite`, give it the fixtures ``open_store`` (class-scoped; returns a function that opens an empty
store) and ``close_store``, and say with the attributes what the store can do.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.indices.vector_store import VectorIndexRetriever
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import (
    SentenceSplitter,
)
from llama_index.core.schema import (
    ImageNode,
    IndexNode,
    NodeRelationship,
    RelatedNodeInfo,
)
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
)
from llama_index_chains_suite import EngineSuite, RetrieverSuite
from llama_index_facts import (
    ANIMALS,
    DIM,
    EMBEDDING,
    FACTS,
    MODES,
    LlamaIndexSuite,
    document,
    documents,
    fact_node,
    filters,
    find,
    ids,
    index_over,
    nodes,
    question,
    read,
    texts,
)


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


class WholeSuite(IndexSuite, QuerySuite, PictureSuite, RetrieverSuite, EngineSuite):
    """Everything; ``reopening`` returns the code that opens a store again in another process."""

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
