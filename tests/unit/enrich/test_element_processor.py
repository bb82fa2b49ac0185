"""What all processors of elements have in common."""

import asyncio
import threading
import time

import pytest
from llama_index.core.schema import ImageNode, NodeRelationship, RelatedNodeInfo, TextNode

from llama_index_raganything.enrich.base import ElementProcessor, elements_of
from llama_index_raganything.errors import EnrichmentError


class Shouting(ElementProcessor):
    """Puts text into capitals; fails on what holds "bad"."""

    content_types: tuple[str, ...] = ("table",)

    def _process_element(self, element):
        if "bad" in element.first.text:
            message = "This one is bad; leave it out."
            raise EnrichmentError(message)
        if "crash" in element.first.text:
            raise ZeroDivisionError
        time.sleep(0.01 if "slow" in element.first.text else 0)
        copies = [part.model_copy(deep=True) for part in element.parts]
        for copy in copies:
            copy.set_content(copy.text.upper())
        return copies


def node(text, kind="table", **metadata):
    return TextNode(text=text, metadata={"doc_id": "d", "content_type": kind, **metadata})


@pytest.fixture(params=["sync", "async"])
def run(request):
    def call(processor, nodes):
        if request.param == "sync":
            return processor.process(nodes)
        return asyncio.run(processor.aprocess(nodes))

    return call


def test_only_its_content_types_change_and_the_order_stays(run):
    nodes = [node("slow a"), node("b", "text"), node("c"), node("表格 d")]
    processed = run(Shouting(), nodes)
    assert [item.text for item in processed.nodes] == ["SLOW A", "b", "C", "表格 D"]
    assert [item.node_id for item in processed.nodes] == [item.node_id for item in nodes]
    assert processed.nodes[1] is nodes[1]
    assert processed.failures == []


def test_the_nodes_given_are_not_changed(run):
    nodes = [node("a")]
    run(Shouting(), nodes)
    assert nodes[0].text == "a"


def test_one_failure_leaves_its_element_and_is_reported_with_its_reason(run):
    nodes = [node("a"), node("bad"), node("crash"), node("z")]
    processed = run(Shouting(), nodes)
    assert [item.text for item in processed.nodes] == ["A", "bad", "crash", "Z"]
    assert [node_id for node_id, _ in processed.failures] == [nodes[1].node_id, nodes[2].node_id]
    assert processed.failures[0][1] == "This one is bad; leave it out."
    assert "ZeroDivisionError" in processed.failures[1][1]


def test_as_a_transformation_it_returns_the_nodes_and_logs_failures(caplog):
    nodes = [node("a"), node("bad")]
    assert [item.text for item in Shouting()(nodes)] == ["A", "bad"]
    assert nodes[1].node_id in caplog.text
    assert [item.text for item in asyncio.run(Shouting().acall(nodes))] == ["A", "bad"]


def test_nothing_to_do(run):
    assert run(Shouting(), []).nodes == []
    assert run(Shouting(), [node("a", "text")]).nodes[0].text == "a"


class Counting(ElementProcessor):
    """Counts how many of its elements are processed at once."""

    content_types: tuple[str, ...] = ("table",)

    def _process_element(self, element):
        with LOCK:
            STATE["now"] += 1
            STATE["most"] = max(STATE["most"], STATE["now"])
        time.sleep(0.01)
        with LOCK:
            STATE["now"] -= 1
        return element.parts


LOCK = threading.Lock()
STATE = {"now": 0, "most": 0}


@pytest.mark.parametrize("workers", [1, 3])
def test_at_most_workers_at_once(run, workers):
    STATE.update(now=0, most=0)
    run(Counting(workers=workers), [node(str(number)) for number in range(12)])
    assert STATE["most"] == workers


def test_inside_a_running_event_loop():
    async def main():
        return Shouting().process([node("a")])

    assert asyncio.run(main()).nodes[0].text == "A"


def test_parts_of_a_cut_table_are_one_element():
    nodes = [
        node("part 1", element_id="t"),
        node("between", "text"),
        node("part 2", element_id="t"),
        node("other", element_id="u"),
        node("part 1", element_id="t", doc_id="e"),
    ]
    parts = [[part.text for part in element.parts] for element in elements_of(nodes, ("table",))]
    assert parts == [["part 1", "part 2"], ["other"], ["part 1"]]


def test_equal_tables_without_a_place_are_two_elements():
    nodes = [node("same", element_id="t"), node("same", element_id="t")]
    assert len(elements_of(nodes, ("table",))) == 2


def test_documents_are_told_apart_without_our_metadata_too():
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="file-1")}
    nodes = [ImageNode(text="a", relationships=source), ImageNode(text="b")]
    elements = elements_of(nodes, ("image",))
    assert [len(element.document) for element in elements] == [1, 1]
    assert [element.content_type for element in elements] == ["image", "image"]
