import json
import pickle
import threading
import time

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import ImageNode, MetadataMode, NodeWithScore, TextNode

from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.retrievers.fusion import ROUTES_KEY, FusionRetriever


class Fixed(BaseRetriever):
    """Returns what it was given, and notes how many run at once."""

    running = 0
    most = 0
    lock = threading.Lock()

    def __init__(self, items, delay=0.0):
        self.items = items
        self.delay = delay
        super().__init__()

    def _retrieve(self, query_bundle):
        with Fixed.lock:
            Fixed.running += 1
            Fixed.most = max(Fixed.most, Fixed.running)
        time.sleep(self.delay)
        with Fixed.lock:
            Fixed.running -= 1
        return self.items


class Broken(BaseRetriever):
    def _retrieve(self, query_bundle):
        raise RuntimeError("the store is gone")


def items(*ids, **metadata):
    return [NodeWithScore(node=TextNode(id_=i, text=f"text {i}", metadata=dict(metadata)), score=0.5) for i in ids]


def order(result):
    return [item.node.node_id for item in result]


def test_two_routes_beat_one():
    fused = FusionRetriever([Fixed(items("a", "b")), Fixed(items("b", "c"))]).retrieve("q")
    assert order(fused) == ["b", "a", "c"]
    assert fused[0].score == pytest.approx(1 / 61 + 1 / 62)


def test_weights_count():
    lists = [Fixed(items("a", "b")), Fixed(items("b", "a"))]
    assert order(FusionRetriever(lists, weights=[2, 1]).retrieve("q")) == ["a", "b"]
    assert order(FusionRetriever(lists, weights=[1, 2]).retrieve("q")) == ["b", "a"]
    assert order(FusionRetriever([Fixed(items("a")), Fixed(items("b"))], weights=[0, 1]).retrieve("q")) == ["b", "a"]


def test_nodes_are_the_same_by_id_and_not_by_text():
    twins = [NodeWithScore(node=ImageNode(id_=i, text="Logo", image_path=None), score=1.0) for i in ("page1", "page2")]
    assert order(FusionRetriever([Fixed(twins), Fixed(twins[::-1])]).retrieve("q")) == ["page1", "page2"]


def test_a_node_twice_in_one_route_counts_once_at_its_best_rank():
    fused = FusionRetriever([Fixed(items("a", "b", "a"))]).retrieve("q")
    assert order(fused) == ["a", "b"]
    assert fused[0].score == pytest.approx(1 / 61)


def test_routes_are_told_and_hidden_from_models_and_inputs_stay():
    shared = items("a")
    before = shared[0].model_dump_json()
    fused = FusionRetriever([Fixed(shared), Fixed(shared)], names=["dense", "graph"]).retrieve("q")[0]
    assert json.loads(fused.node.metadata[ROUTES_KEY]) == [
        {"route": "dense", "rank": 1, "score": 0.5},
        {"route": "graph", "rank": 1, "score": 0.5},
    ]
    for mode in (MetadataMode.EMBED, MetadataMode.LLM):
        assert ROUTES_KEY not in fused.node.get_content(metadata_mode=mode)
    assert shared[0].model_dump_json() == before


def test_metadata_that_only_one_route_has_is_kept():
    for routes in ([items("a"), items("a", graph_facts="x")], [items("a", graph_facts="x"), items("a")]):
        fused = FusionRetriever([Fixed(route) for route in routes]).retrieve("q")
        assert fused[0].node.metadata["graph_facts"] == "x"


def test_routes_of_one_class_have_numbered_names():
    assert FusionRetriever([Fixed([]), Fixed([])]).names == ["Fixed 1", "Fixed 2"]


def test_top_k_and_nothing_found():
    assert order(FusionRetriever([Fixed(items(*"abcdef"))], similarity_top_k=2).retrieve("q")) == ["a", "b"]
    assert FusionRetriever([Fixed([]), Fixed([])]).retrieve("q") == []


async def test_async_gives_the_same():
    retriever = FusionRetriever([Fixed(items("a", "b")), Fixed(items("b", "c"))], weights=[1, 3])
    assert order(await retriever.aretrieve("q")) == order(retriever.retrieve("q"))


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (2, 2)])
def test_so_many_run_at_once_and_no_more(limit, most):
    Fixed.most = 0
    FusionRetriever([Fixed(items("a"), 0.05) for _ in range(4)], workers=limit).retrieve("q")
    assert Fixed.most == most


def test_errors_of_a_route_are_not_swallowed():
    with pytest.raises(RuntimeError, match="store is gone"):
        FusionRetriever([Fixed(items("a")), Broken()]).retrieve("q")


@pytest.mark.parametrize(
    "options",
    [
        {"retrievers": []},
        {"weights": [1.0]},
        {"weights": [1.0, -1.0]},
        {"weights": [1.0, float("nan")]},
        {"names": ["x"]},
        {"similarity_top_k": 0},
        {"workers": 0},
    ],
)
def test_arguments_that_cannot_work(options):
    with pytest.raises(ConfigurationError):
        FusionRetriever(**({"retrievers": [Fixed([]), Fixed([])]} | options))


def test_it_can_be_pickled():
    retriever = pickle.loads(pickle.dumps(FusionRetriever([Fixed(items("a"))], weights=[2])))
    assert order(retriever.retrieve("q")) == ["a"]
