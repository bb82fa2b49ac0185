"""Which retriever a question goes to."""

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, TextNode

from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.retrievers.router import QuestionRouter


class Fixed(BaseRetriever):
    """Gives the same nodes to every question that has a word; counts how often it is asked."""

    def __init__(self, ids, word=""):
        self.ids, self.word, self.asked = ids, word, 0
        super().__init__()

    def _retrieve(self, query_bundle):
        self.asked += 1
        if self.word not in query_bundle.query_str:
            return []
        return [
            NodeWithScore(node=TextNode(id_=name, text=name), score=1 / (1 + place))
            for place, name in enumerate(self.ids)
        ]


def ids(items):
    return [item.node.node_id for item in items]


async def both_ways(router, question):
    items = router.retrieve(question)
    again = await router.aretrieve(question)
    assert [(item.node.node_id, item.score) for item in items] == [(item.node.node_id, item.score) for item in again]
    return items


async def test_the_default_answers_as_it_is():
    default = Fixed(["a", "b", "c"])
    items = await both_ways(QuestionRouter(default, [Fixed(["x"], "special")], similarity_top_k=2), "ordinary")
    assert [(item.node.node_id, item.score) for item in items] == [("a", 1.0), ("b", 0.5)]


async def test_a_specialist_goes_first_and_is_filled_up():
    router = QuestionRouter(Fixed(["a", "x", "b"]), [Fixed(["x", "y"], "special")], similarity_top_k=4)
    items = await both_ways(router, "special")
    assert ids(items) == ["x", "y", "a", "b"]
    scores = [item.score for item in items]
    assert scores == sorted(scores, reverse=True)


async def test_the_first_specialist_that_answers_is_enough():
    default, later = Fixed(["a"]), Fixed(["z"])
    router = QuestionRouter(default, [Fixed(["x"], "never"), Fixed(["y"], "special"), later], similarity_top_k=1)
    assert ids(await both_ways(router, "special")) == ["y"]
    assert default.asked == later.asked == 0


async def test_without_filling():
    router = QuestionRouter(Fixed(["a"]), [Fixed(["x"], "special")], fill=False)
    assert ids(await both_ways(router, "special")) == ["x"]
    assert ids(await both_ways(router, "ordinary")) == ["a"]


async def test_routes_are_fused_by_rank():
    router = QuestionRouter(Fixed(["a", "b"]), [], [Fixed(["b", "v"], "picture")], [1.0, 0.5], similarity_top_k=3)
    assert ids(await both_ways(router, "picture of a pump")) == ["b", "a", "v"]
    plain = await both_ways(router, "pump")
    assert [(item.node.node_id, item.score) for item in plain] == [("a", 1.0), ("b", 0.5)]


class Scored(Fixed):
    """Gives nodes with scores of their own."""

    def __init__(self, scores):
        self.scores = scores
        super().__init__([*scores])

    def _retrieve(self, query_bundle):
        return [NodeWithScore(node=TextNode(id_=name, text=name), score=self.scores[name]) for name in self.ids]


async def test_fused_scores_stay_on_the_scale_of_the_routes():
    router = QuestionRouter(Scored({"a": 0.9, "b": 0.7, "c": 0.1}), [], [Scored({"v": 0.3, "b": 0.2})])
    items = await both_ways(router, "pump")
    assert [(item.node.node_id, item.score) for item in items] == [("b", 0.9), ("a", 0.9), ("v", 0.3), ("c", 0.1)]
    assert "routes" in items[0].node.metadata


async def test_what_fills_up_keeps_its_score():
    router = QuestionRouter(Scored({"a": 0.04, "b": 0.02}), [Scored({"x": 1.0})])
    items = await both_ways(router, "pump")
    assert [(item.node.node_id, item.score) for item in items] == [("x", 1.0), ("a", 0.04), ("b", 0.02)]
    router = QuestionRouter(Scored({"a": 0.9}), [Scored({"x": 0.5})])
    assert [item.score for item in await both_ways(router, "pump")] == [0.5, 0.5]


def test_nothing_found_anywhere():
    assert QuestionRouter(Fixed([]), [Fixed([])], [Fixed([])]).retrieve("pump") == []


def test_bad_numbers():
    with pytest.raises(ConfigurationError):
        QuestionRouter(Fixed([]), similarity_top_k=0)
    with pytest.raises(ConfigurationError):
        QuestionRouter(Fixed([]), weights=[1.0, 2.0])
