"""What every vector store must do under LlamaIndex's retrievers, query engines and chat engines, as mixins."""

from __future__ import annotations

import json

import pytest
from llama_index.core import Document, PropertyGraphIndex, StorageContext, VectorStoreIndex, get_response_synthesizer
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.graph_stores import SimplePropertyGraphStore
from llama_index.core.graph_stores.types import KG_NODES_KEY, KG_RELATIONS_KEY, EntityNode, Relation
from llama_index.core.indices.property_graph import VectorContextRetriever
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.indices.vector_store import VectorIndexAutoRetriever
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import VectorMemoryBlock
from llama_index.core.node_parser import (
    HierarchicalNodeParser,
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
    IndexNode,
    TransformComponent,
)
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import QueryEngineTool, RetrieverTool
from llama_index.core.vector_stores.types import (
    FilterOperator,
    MetadataInfo,
    VectorStoreInfo,
)
from llama_index_facts import (
    ANIMALS,
    ANSWER,
    DIM,
    EMBEDDING,
    FACTS,
    LlamaIndexSuite,
    fact_node,
    filters,
    ids,
    index_over,
    nodes,
    question,
    sent,
    texts,
)

from llama_index_raganything.testing import ScriptedChatLLM, ScriptedTextLLM


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
