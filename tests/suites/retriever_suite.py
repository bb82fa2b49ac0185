"""What every retriever of this package must do, whatever it retrieves from; inherit and fill in the maker.

The corpus is :func:`corpus_nodes`: three documents, two of them with pages and elements, one without pages.
"""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Sequence

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.schema import BaseNode, NodeRelationship, NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores.types import FilterOperator, MetadataFilter, MetadataFilters

from llama_index_raganything.elements import content_id
from llama_index_raganything.testing import HashEmbedding

HOSTILE = [
    "???",
    "\x00\x01",
    "\" ' \\ ; drop -- {{ x }} %s {0}",
    'zz" or id != "',
    "pump\ud800",
    "pump " * 5_000,
    "𝔘𝔫𝔦 ﷽ 👩‍👩‍👧‍👦 ﬀ",
    "page 99999 and Figure 99999 and the last 99 pages",
    "第九百页",
]

PAGES = {
    "pumps": [
        ["The pump delivers four litres per minute.", "Figure 1: The pump from the side", "Safety first."],
        ["Maintenance of the pump takes two hours.", "Table 1: Intervals\n100 hours | oil\n200 hours | filter"],
        ["水泵每分钟输送四升水。", "图像检索系统的结构"],
    ],
    "lathes": [
        ["The lathe turns steel.", "Figure 1: The lathe from above"],
        ["Maintenance of the lathe takes five hours."],
    ],
}
NOTES = ["A memo about coffee in the kitchen.", "The kitchen closes at noon.", "Lieferung der Pumpe im März."]

_KINDS = (("figure", "image"), ("table", "table"))


def corpus_nodes() -> list[TextNode]:
    """Return embedded nodes of two documents with pages and one without."""
    nodes: list[TextNode] = []
    for name, pages in PAGES.items():
        for number, texts in enumerate(pages, 1):
            nodes += page_with_elements(name, number, texts)
    nodes += [make_node("notes", text, content_type="text") for text in NOTES]
    model = HashEmbedding()
    for node in nodes:
        node.embedding = model.get_text_embedding(node.text)
    return nodes


def page_with_elements(name: str, number: int, texts: Sequence[str]) -> list[TextNode]:
    page = make_node(name, "\n".join(texts), content_type="page", page=number)
    elements = []
    for place, text in enumerate(texts):
        kind = next((kind for word, kind in _KINDS if text.lower().startswith(word)), "text")
        box = json.dumps([0, 100 * place, 1000, 100 * place + 90])
        label = {"label": text[: text.index(":")]} if ":" in text else {}
        element = make_node(name, text, content_type=kind, page=number, bbox=box, **label)
        element.relationships[NodeRelationship.PARENT] = page.as_related_node_info()
        elements.append(element)
    page.relationships[NodeRelationship.CHILD] = [element.as_related_node_info() for element in elements]
    return [page, *elements]


def make_node(name: str, text: str, **metadata) -> TextNode:
    document = TextNode(id_=f"doc-{name}", text=name)
    node = TextNode(
        id_=content_id(name, metadata, text), text=text, metadata={"doc_id": document.node_id, "name": name, **metadata}
    )
    node.relationships[NodeRelationship.SOURCE] = document.as_related_node_info()
    return node


def only(key: str, value, operator: FilterOperator = FilterOperator.EQ) -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value, operator=operator)])


def found(items: Sequence[NodeWithScore]) -> list[tuple[str, float]]:
    return [(item.node.node_id, round(item.score or 0.0, 6)) for item in items]


class RetrieverSuite:
    """Inherit, and implement :meth:`make`."""

    def make(
        self, nodes: Sequence[BaseNode], *, filters: MetadataFilters | None = None, similarity_top_k: int = 5
    ) -> BaseRetriever:
        """Return the retriever over some nodes; called with the same nodes, it may use the same store again."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def nodes(self) -> list[TextNode]:
        return corpus_nodes()

    def test_it_finds_what_is_asked_for(self, nodes):
        best = self.make(nodes).retrieve("How long does maintenance of the pump take?")[0].node
        assert (best.metadata["name"], best.metadata["page"]) == ("pumps", 2)

    def test_it_finds_chinese(self, nodes):
        best = self.make(nodes).retrieve("图像检索")[0].node
        assert best.metadata["page"] == 3

    def test_a_string_and_a_bundle_give_the_same(self, nodes):
        retriever = self.make(nodes)
        assert found(retriever.retrieve("pump")) == found(retriever.retrieve(QueryBundle("pump")))

    async def test_async_gives_the_same(self, nodes):
        retriever = self.make(nodes)
        for question in ("maintenance of the pump", "page 2", "图像检索"):
            assert found(await retriever.aretrieve(question)) == found(retriever.retrieve(question))

    def test_two_event_loops_in_a_row(self, nodes):
        retriever = self.make(nodes)
        first, second = (asyncio.run(retriever.aretrieve("pump")) for _ in range(2))
        assert found(first) == found(second) != []

    async def test_many_at_once_give_what_one_gives(self, nodes):
        retriever = self.make(nodes)
        several = await asyncio.gather(*(retriever.aretrieve("pump") for _ in range(5)))
        assert all(found(items) == found(several[0]) for items in several)

    def test_ids_are_unique_scores_descend_and_top_k_holds(self, nodes):
        for top_k in (1, 4, 100):
            items = self.make(nodes, similarity_top_k=top_k).retrieve("maintenance of pump and lathe on page 2")
            ids = [item.node.node_id for item in items]
            scores = [item.score for item in items]
            assert 0 < len(ids) <= top_k
            assert len(set(ids)) == len(ids)
            assert scores == sorted(scores, reverse=True)

    def test_a_question_that_says_nothing(self, nodes):
        assert self.make(nodes).retrieve("") == []
        assert self.make(nodes).retrieve("   \n") == []

    @pytest.mark.parametrize("question", HOSTILE)
    def test_hostile_questions_stay_inside_the_filter(self, nodes, question):
        items = self.make(nodes, filters=only("name", "lathes")).retrieve(question)
        assert {item.node.metadata["name"] for item in items} <= {"lathes"}

    @pytest.mark.parametrize(
        "question", ["pump", "page 1", "Figure 1", "last page", "maintenance of the pump takes two hours"]
    )
    def test_filters_are_a_boundary(self, nodes, question):
        items = self.make(nodes, filters=only("name", "lathes"), similarity_top_k=100).retrieve(question)
        assert items
        assert {item.node.metadata["name"] for item in items} == {"lathes"}

    @pytest.mark.parametrize("kind", ["page", "image", "table", "text"])
    def test_a_filter_on_the_kind_of_content_is_honoured(self, nodes, kind):
        items = self.make(nodes, filters=only("content_type", kind), similarity_top_k=100).retrieve("pump figure 1")
        assert {item.node.metadata["content_type"] for item in items} == {kind}

    def test_a_filter_that_nothing_passes(self, nodes):
        assert self.make(nodes, filters=only("name", "nobody")).retrieve("pump") == []

    def test_an_empty_corpus(self):
        assert self.make([]).retrieve("pump") == []

    def test_results_may_be_changed_without_harm(self, nodes):
        retriever = self.make(nodes)
        first = retriever.retrieve("pump")
        wanted = found(first)
        for item in first:
            item.node.metadata.clear()
            item.score = 0.0
        assert found(retriever.retrieve("pump")) == wanted

    def test_it_can_be_pickled(self, nodes):
        retriever = self.make(nodes)
        copy = pickle.loads(pickle.dumps(retriever))
        assert found(copy.retrieve("pump")) == found(retriever.retrieve("pump"))

    async def test_its_async_method_is_a_span_of_its_own(self, nodes):
        retriever = self.make(nodes)
        handler = SimpleSpanHandler()
        root = get_dispatcher()
        root.add_span_handler(handler)
        try:
            await retriever.aretrieve("pump")
        finally:
            root.span_handlers.remove(handler)
        ids = [span.id_ for span in handler.completed_spans]
        assert any(f"{type(retriever).__name__}._aretrieve" in span for span in ids)
