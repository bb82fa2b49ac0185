"""MilvusPropertyGraphStore under LlamaIndex's own PropertyGraphIndex, with its own extractors and retrievers."""

import asyncio

import pytest
from llama_index.core import Document, PropertyGraphIndex, StorageContext
from llama_index.core.graph_stores.types import TRIPLET_SOURCE_KEY
from llama_index.core.indices.property_graph import (
    ImplicitPathExtractor,
    LLMSynonymRetriever,
    SimpleLLMPathExtractor,
    VectorContextRetriever,
)
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import ImageNode, NodeRelationship, RelatedNodeInfo, TextNode

from llama_index_raganything.stores.graph.property_graph import MilvusPropertyGraphStore
from llama_index_raganything.testing import HashEmbedding, ScriptedTextLLM

TEXTS = {
    "d1": "Acme was founded by Bob. Acme sits in Oslo.",
    "d2": "Carol works at Acme. She is an engineer.",
    "d3": '图灵 invented "machines"; he lived in London.',
}
TRIPLES = {
    "founded by Bob": "(Acme, founded by, Bob)\n(Acme, based in, Oslo)",
    "Carol works": "(Carol, works at, Acme)",
    "图灵": "(图灵, lived in, London)\nnonsense\n(a, b)",
    "keywords": "Acme^Nobody",
}


def answer(messages):
    prompt = str(messages[-1].content)
    if "KEYWORDS:" in prompt:
        return TRIPLES["keywords"]
    text = prompt.rsplit("Text:", maxsplit=1)[-1]
    return next((reply for words, reply in TRIPLES.items() if words in text), "")


@pytest.fixture
def llm():
    return ScriptedTextLLM(replies=[answer])


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return str(tmp_path_factory.mktemp("milvus") / "m.db")


@pytest.fixture
def store(uri):
    with MilvusPropertyGraphStore(uri, "kb", overwrite=True) as store:
        yield store


def documents(*names):
    return [Document(id_=name, text=TEXTS[name], metadata={"file_name": f"{name}.txt"}) for name in names]


def build(store, llm, names=("d1", "d2", "d3"), **options):
    return PropertyGraphIndex.from_documents(
        documents(*names), **settings(store, llm), transformations=[SentenceSplitter()], **options
    )


def settings(store, llm):
    return {
        "property_graph_store": store,
        "kg_extractors": [SimpleLLMPathExtractor(llm=llm, num_workers=1), ImplicitPathExtractor()],
        "embed_model": HashEmbedding(dimension=32),
        "llm": llm,
    }


def retrievers(store, llm, **options):
    return [
        LLMSynonymRetriever(store, llm=llm, **options),
        VectorContextRetriever(store, embed_model=HashEmbedding(dimension=32), similarity_top_k=2, **options),
    ]


def texts(nodes):
    return [node.get_content() for node in nodes]


def facts(store, name):
    found = store.get_triplets(entity_names=[name])
    return {(subject.id, relation.id, target.id) for subject, relation, target in found}


def test_build_and_retrieve(store, llm):
    index = build(store, llm)

    assert facts(store, "Acme") == {
        ("Acme", "Founded by", "Bob"),
        ("Acme", "Based in", "Oslo"),
        ("Carol", "Works at", "Acme"),
    }
    assert {doc_id for _, doc_id in store.sources(["Acme"])["Acme"]} == {"d1", "d2"}
    synonyms, vectors = retrievers(store, llm, include_text=False)
    assert "Acme -> Based in -> Oslo" in texts(synonyms.retrieve("Where is Acme?"))
    assert "Carol -> Works at -> Acme" in texts(vectors.retrieve("Carol"))
    assert index.as_retriever(sub_retrievers=[synonyms, vectors], use_async=False).retrieve("Acme")


def test_each_triplet_brings_its_own_text(store, llm):
    """LlamaIndex reads a triplet's source from its first entity, which in other stores is the last one written."""
    build(store, llm)
    synonyms, _ = retrievers(store, llm, include_text=True)

    found = texts(synonyms.retrieve("Acme"))

    assert any(TEXTS["d1"] in text and "Acme -> Based in -> Oslo" in text for text in found)
    assert any(TEXTS["d2"] in text and "Carol -> Works at -> Acme" in text for text in found)


def test_documents_go_without_a_trace(store, llm):
    index = build(store, llm)
    calls = len(llm.requests)

    index.property_graph_store.delete_llama_nodes(ref_doc_ids=["d1"])

    assert facts(store, "Acme") == {("Carol", "Works at", "Acme")}
    names = {node.id for node in store.get()}
    assert {"Bob", "Oslo", "d1"}.isdisjoint(names)
    assert {"Acme", "Carol", "d2"} <= names
    assert "d1.txt" not in str(store.get()) + str(store.get_triplets(ids=["Acme"]))
    assert len(llm.requests) == calls
    _, vectors = retrievers(store, llm, include_text=True)
    assert not any("Oslo" in text for text in texts(vectors.retrieve("Oslo Acme")))
    # PropertyGraphIndex keeps no record of which nodes a document has; delete_ref_doc() works with one.
    index.docstore.add_documents(store.get_llama_nodes([node.id for node in store.get()]))
    index.delete_ref_doc("d2")
    assert facts(store, "Acme") == set()
    store.delete_document("d2")
    store.delete_document("d3")
    assert store.stats() == {"entities": 0, "chunks": 0, "triples": 0, "nodes": 0}


def test_insert_again_changes_nothing(store, llm):
    index = build(store, llm)
    before = store.stats()

    index.insert_nodes(
        index.property_graph_store.get_llama_nodes([node.id for node in store.get() if node.label == "text_chunk"])
    )

    assert store.stats() == before


def test_from_existing(uri, store, llm):
    build(store, llm, ("d1",))
    with MilvusPropertyGraphStore(uri, "kb") as reopened:
        index = PropertyGraphIndex.from_existing(**settings(reopened, llm))
        for document in documents("d2"):
            index.insert(document)

        assert ("Carol", "Works at", "Acme") in facts(reopened, "Acme")
        assert len(facts(reopened, "Acme")) == 3
        nodes = index.as_retriever(include_text=False, use_async=False).retrieve("Carol")
        assert "Carol -> Works at -> Acme" in texts(nodes)
    storage = StorageContext.from_defaults(property_graph_store=store)
    storage.persist(str(uri) + ".storage")


def test_nodes_come_back_as_they_were(store, llm):
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="d1")}
    nodes = [
        TextNode(id_="n1", text=TEXTS["d1"], metadata={"page": 1}, relationships=source),
        ImageNode(id_="n2", text=TEXTS["d2"], image_path="/a.png", relationships=source),
    ]
    expected = [node.model_copy(deep=True) for node in nodes]
    PropertyGraphIndex(nodes, use_async=False, **(settings(store, llm) | {"kg_extractors": [ImplicitPathExtractor()]}))

    assert store.get_llama_nodes(["n1", "n2"]) == expected


async def test_inside_a_running_loop(store, llm):
    """``use_async=False`` keeps LlamaIndex from ``asyncio.run``; its LLM extractor has to run outside the loop."""
    index = await asyncio.to_thread(build, store, llm)
    implicit = {"kg_extractors": [ImplicitPathExtractor()], "use_async": False}
    PropertyGraphIndex([TextNode(id_="n9", text="more")], **(settings(store, llm) | implicit))

    assert [node.node_id for node in await store.aget_llama_nodes(["n9"])] == ["n9"]
    for retriever in retrievers(store, llm, include_text=True):
        found = await retriever.aretrieve("Where is Acme?")
        assert any(TEXTS["d1"] in text for text in texts(found))
    assert await index.as_retriever(include_text=False).aretrieve("Acme")
    assert (await store.aget_triplets(entity_names=["Bob"]))[0][1].properties[TRIPLET_SOURCE_KEY]
    await store.adelete_document("d1")
    assert facts(store, "Acme") == {("Carol", "Works at", "Acme")}
