"""The retriever contract, held by the retrievers that follow links, and what only they do."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from llama_index.core.schema import MetadataMode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from retriever_suite import RetrieverSuite, corpus_nodes, found, make_node, only

from llama_index_raganything.elements import EVIDENCE_KEY, GRAPH_PATH_KEY
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.graph.extraction.entity_linker import EntityLinker
from llama_index_raganything.retrievers.evidence.candidates import NodeMemory
from llama_index_raganything.retrievers.evidence.graph import EvidenceRetriever, GraphRetriever
from llama_index_raganything.retrievers.evidence.pages import NodeRetriever
from llama_index_raganything.stores.graph.knowledge_graph import KnowledgeGraph
from llama_index_raganything.stores.graph.property_graph import MilvusPropertyGraphStore
from llama_index_raganything.stores.nodes.store import MilvusNodeStore
from llama_index_raganything.testing import HashEmbedding

MODEL = HashEmbedding()


class PlainStore(BasePydanticVectorStore):
    """A store with LlamaIndex's interface and nothing else: no ids by filter, no counting, no tenants."""

    stores_text: bool = True
    inner: Any

    @property
    def client(self):
        return None

    def add(self, nodes, **kwargs):
        return self.inner.add(nodes, **kwargs)

    def delete(self, ref_doc_id, **kwargs):
        self.inner.delete(ref_doc_id, **kwargs)

    def query(self, query, **kwargs):
        return self.inner.query(query, **kwargs)

    def get_nodes(self, node_ids=None, filters=None):
        return self.inner.get_nodes(node_ids, filters)

    async def aget_nodes(self, node_ids=None, filters=None):
        return self.inner.get_nodes(node_ids, filters)


def knowledge_base(uri, name, nodes):
    store = MilvusNodeStore(uri, name, MODEL.dimension)
    graph = KnowledgeGraph(MilvusPropertyGraphStore(uri, name))
    if nodes:
        store.add(nodes)
        graph.put_facts(EntityLinker().extract(nodes))
        store.flush()
    return store, graph


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    uri = str(tmp_path_factory.mktemp("milvus") / "milvus.db")
    opened = {True: knowledge_base(uri, "full", corpus_nodes()), False: knowledge_base(uri, "empty", [])}
    yield opened
    for store, graph in opened.values():
        graph.close()
        store.close()


class _OverGraph(RetrieverSuite):
    kind = GraphRetriever
    options: ClassVar[dict] = {}

    @pytest.fixture(autouse=True)
    def _stores(self, stores):
        self.stores = stores

    def make(self, nodes, *, filters=None, similarity_top_k=5):
        store, graph = self.stores[bool(nodes)]
        return self.kind(
            store, graph, MODEL, filters=filters, similarity_top_k=similarity_top_k, memory=NodeMemory(), **self.options
        )


class TestGraphRetriever(_OverGraph):
    pass


class TestGraphRetrieverOverNames(_OverGraph):
    options: ClassVar[dict] = {"gate": 0}


class TestEvidenceRetriever(_OverGraph):
    kind = EvidenceRetriever


class TestEvidenceRetrieverWithoutGraph(_OverGraph):
    kind = EvidenceRetriever

    def make(self, nodes, **options):
        retriever = super().make(nodes, **options)
        retriever.graph = None
        return retriever


class TestGraphRetrieverOverAnotherStore(_OverGraph):
    options: ClassVar[dict] = {"gate": 0}

    def make(self, nodes, **options):
        retriever = super().make(nodes, **options)
        retriever.store = PlainStore(inner=retriever.store)
        return retriever


PASSAGES = {
    "Ada Quill": "Ada Quill (born 1931) is a Norwegian novelist. She wrote The Amber Lantern and two other novels.",
    "The Amber Lantern": "The Amber Lantern is a 1958 drama. Its score was composed by Tomas Brenn in a single week.",
    "Tomas Brenn": "Tomas Brenn is a composer. He was born in the village of Oslet.",
    "Oslet": "Oslet is a village at the foot of Mount Verr, with 300 inhabitants.",
    "Pumps": "Pumps are machines that move water by mechanical action.",
    "Lathes": "Lathes are machines that turn steel about an axis.",
}
FILLER = {
    f"Station {number}": f"Station {number} is a railway station where trains stop each day of week {number}."
    for number in range(30)
}
QUESTION = "Where was the composer of the film with Ada Quill's novel as its source born?"


def passages(texts=None, **metadata):
    nodes = []
    for title, text in (texts or PASSAGES | FILLER).items():
        node = make_node(title, text, title=title, content_type="text", **metadata)
        node.embedding = MODEL.get_text_embedding(text)
        nodes.append(node)
    return nodes


@pytest.fixture(scope="module")
def wiki(tmp_path_factory):
    store, graph = knowledge_base(str(tmp_path_factory.mktemp("milvus") / "milvus.db"), "wiki", passages())
    yield store, graph
    graph.close()
    store.close()


def names_of(items):
    return [item.node.metadata["name"] for item in items]


def path_of(item):
    return json.loads(item.node.metadata[GRAPH_PATH_KEY])


def ask(wiki, question=QUESTION, kind=GraphRetriever, **options):
    store, graph = wiki
    return kind(store, graph, MODEL, memory=NodeMemory(), **options).retrieve(question)


@pytest.mark.parametrize("kind", [GraphRetriever, EvidenceRetriever])
def test_a_second_hop_is_found_that_no_search_finds(wiki, kind):
    question = "Which mountain is near the birthplace of Tomas Brenn?"
    # Of few candidates the search has one of the two texts only.
    options = {"similarity_top_k": 2, "candidates": 1}
    by_search = NodeRetriever(wiki[0], MODEL, memory=NodeMemory(), **options).retrieve(question)
    by_links = ask(wiki, question, kind, **options)
    assert "Oslet" not in names_of(by_search)
    assert set(names_of(by_links)) == {"Tomas Brenn", "Oslet"}
    (step,) = path_of(next(item for item in by_links if item.node.metadata["name"] == "Oslet"))
    ends = {step["source_title"], step["target_title"]}
    assert (ends, step["name"]) == ({"Tomas Brenn", "Oslet"}, "Oslet")
    assert step["relation"] in ("mentions", "mentioned by")
    assert {step["source"], step["target"]} == {item.node.node_id for item in by_links}


def test_what_is_returned_is_what_is_stored(wiki):
    for item in ask(wiki):
        node = item.node
        added = {key: node.metadata.pop(key) for key in (EVIDENCE_KEY, GRAPH_PATH_KEY)}
        (stored,) = wiki[0].get_nodes([node.node_id])
        for mode in (MetadataMode.EMBED, MetadataMode.LLM):
            shown = node.model_copy(update={"metadata": node.metadata | added}).get_content(metadata_mode=mode)
            assert shown == stored.get_content(metadata_mode=mode)
        assert (node.text, node.metadata, node.relationships, node.hash) == (
            stored.text,
            stored.metadata,
            stored.relationships,
            stored.hash,
        )
        assert node.embedding is None


def test_scores_fall(wiki):
    scores = [item.score for item in ask(wiki, similarity_top_k=50)]
    assert 1 >= scores[0] > scores[-1] >= 0
    assert scores == sorted(scores, reverse=True)


def without(name):
    """Return filters of all shapes that keep one document out."""
    other = [title for title in PASSAGES if title != name]
    one = [MetadataFilter(key="name", value=title) for title in other]
    return {
        "not equal": only("name", name, FilterOperator.NE),
        "document": only("doc_id", f"doc-{name}", FilterOperator.NE),
        "in": only("name", other, FilterOperator.IN),
        "or": MetadataFilters(filters=one, condition=FilterCondition.OR),
        "nested": MetadataFilters(
            filters=[
                MetadataFilters(filters=one[:2], condition=FilterCondition.OR),
                MetadataFilters(filters=one[2:], condition=FilterCondition.OR),
            ],
            condition=FilterCondition.OR,
        ),
        "not": MetadataFilters(filters=[MetadataFilter(key="name", value=name)], condition=FilterCondition.NOT),
    }


@pytest.mark.parametrize("name", ["Oslet", "Tomas Brenn"])
@pytest.mark.parametrize("shape", list(without("")))
@pytest.mark.parametrize("plain", [False, True])
def test_what_a_filter_keeps_out_takes_no_part(wiki, name, shape, plain):
    store, graph = wiki
    hidden = {node.node_id for node in store.get_nodes() if node.metadata["name"] == name}
    question = "Which mountain is near the village where the composer of The Amber Lantern was born?"
    retriever = GraphRetriever(
        PlainStore(inner=store) if plain else store,
        graph,
        MODEL,
        filters=without(name)[shape],
        similarity_top_k=40,
        memory=NodeMemory(),
        gate=0,
        candidates=4,
    )
    items = retriever.retrieve(question)
    assert items
    assert name not in names_of(items)
    for item in items:
        ends = {end for step in path_of(item) for end in (step["source"], step["target"])}
        assert not ends & hidden
    # Neither does what is reached over it only.
    if name == "Tomas Brenn":
        assert "Oslet" not in {step["name"] for item in items for step in path_of(item)} - {""}


def test_a_gate_above_one_keeps_links_over_names_shut(wiki):
    assert any(path_of(item) for item in ask(wiki, gate=0))
    assert not any(path_of(item) for item in ask(wiki, gate=1.1))


def test_another_tenants_graph_is_refused(wiki):
    store, _ = wiki
    with (
        KnowledgeGraph(MilvusPropertyGraphStore(store.uri, store.collection_name, tenant="a")).store as other,
        pytest.raises(ConfigurationError, match="tenant"),
    ):
        GraphRetriever(store, KnowledgeGraph(other), MODEL)


def test_nodes_that_are_gone_or_unknown_to_the_graph(tmp_path):
    store, graph = knowledge_base(str(tmp_path / "milvus.db"), "kb", passages(PASSAGES))
    more = passages({"Mount Verr": "Mount Verr is a mountain of 1900 metres."})
    store.add(more)  # The graph does not know it.
    question = "Mount Verr Oslet Tomas Brenn composer mountain"
    assert {"Mount Verr", "Oslet"} <= set(names_of(ask((store, graph), question)))
    store.delete("doc-Oslet")  # The graph still knows it.
    items = ask((store, graph), question)
    assert items
    assert "Oslet" not in names_of(items)
    assert all("Oslet" not in (step["source_title"], step["target_title"]) for item in items for step in path_of(item))
    assert found(items) == found(ask((store, graph), question))
    graph.close()
    store.close()


@pytest.mark.parametrize("shape", list(without("")))
def test_nothing_is_reached_over_what_a_filter_keeps_out(wiki, shape):
    question = "Who composed the score of The Amber Lantern?"
    options = {"gate": 0, "candidates": 1, "similarity_top_k": 40}
    assert "Oslet" in names_of(ask(wiki, question, filters=without("Pumps")[shape], **options))
    assert "Oslet" not in names_of(ask(wiki, question, filters=without("Tomas Brenn")[shape], **options))
