"""Our query engine and describers with DashScope's chat models, over real HTTP on loopback."""

import asyncio
import json

import pytest
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import ImageNode, NodeWithScore, TextNode
from PIL import Image

from llama_index_raganything import RAGAnythingQueryEngine
from llama_index_raganything.enrich.describers.image import ImageDescriber
from llama_index_raganything.errors import DashScopeConnectionError, DashScopeServerError
from llama_index_raganything.models.dashscope.models import dashscope_llm, dashscope_vlm
from llama_index_raganything.testing import DashScopeServer, Fault

REPLY = "The pump delivers 4.2 litres per minute [1]."
QUESTION = "How much does the pump deliver?"


class ListRetriever(BaseRetriever):
    def __init__(self, nodes):
        super().__init__()
        self.nodes = nodes

    def _retrieve(self, query_bundle):
        return [NodeWithScore(node=node, score=1.0) for node in self.nodes]


@pytest.fixture
def server():
    with DashScopeServer() as running:
        running.replies = [REPLY]
        yield running


@pytest.fixture
def nodes(tmp_path):
    path = tmp_path / "泵.png"
    Image.new("RGB", (60, 40), "red").save(path)
    text = TextNode(text="The pump delivers 4.2 litres per minute.", metadata={"content_type": "text", "page": 1})
    figure = ImageNode(
        text="Figure 1: The pump 泵", image_path=str(path), metadata={"content_type": "image", "page": 2}
    )
    return [text, figure]


def made(factory, server, **options):
    return factory(api_key=server.api_key, api_base=server.compatible_url, **options)


async def _astream(engine):
    response = await engine.aquery(QUESTION)
    return "".join([token async for token in response.async_response_gen()]), response


def _stream(engine):
    response = engine.query(QUESTION)
    return "".join(response.response_gen), response


def _whole(response):
    return str(response), response


ASKED = {
    "query": (False, lambda engine: _whole(engine.query(QUESTION))),
    "aquery": (False, lambda engine: _whole(asyncio.run(engine.aquery(QUESTION)))),
    "stream": (True, _stream),
    "astream": (True, lambda engine: asyncio.run(_astream(engine))),
}


@pytest.fixture(params=list(ASKED))
def asked(request):
    return ASKED[request.param]


@pytest.mark.parametrize("factory", [dashscope_llm, dashscope_vlm])
def test_the_engine_answers_from_its_sources(server, nodes, asked, factory):
    streaming, ask = asked
    engine = RAGAnythingQueryEngine.from_args(ListRetriever(nodes), llm=made(factory, server), streaming=streaming)
    text, response = ask(engine)
    assert text == REPLY
    assert len(response.source_nodes) == 2
    (request,) = server.requests
    assert request.body["stream"] is streaming
    sent = json.dumps(request.body["messages"], ensure_ascii=False)
    assert QUESTION in sent
    assert "4.2 litres per minute" in sent
    assert "The pump 泵" in sent
    # Pictures go to the model that sees, and to no other.
    assert ("data:image/png;base64," in sent) is (factory is dashscope_vlm)


def test_the_seeing_model_answers_where_there_is_something_to_see(server, nodes, asked):
    streaming, ask = asked
    models = {"llm": made(dashscope_llm, server), "vision_llm": made(dashscope_vlm, server)}
    for sources, model in ((nodes[:1], "qwen-max"), (nodes, "qwen-vl-max")):
        server.clear()
        engine = RAGAnythingQueryEngine.from_args(ListRetriever(sources), streaming=streaming, **models)
        assert ask(engine)[0] == REPLY
        assert [request.body["model"] for request in server.requests] == [model]


def test_a_failing_service_is_an_error_and_not_an_empty_answer(server, nodes, asked):
    streaming, ask = asked
    server.fail(Fault.documented("InternalError"), times=None)
    llm = made(dashscope_llm, server, max_retries=0)
    engine = RAGAnythingQueryEngine.from_args(ListRetriever(nodes), llm=llm, streaming=streaming)
    with pytest.raises(DashScopeServerError):
        ask(engine)
    assert len(server.requests) == 1


def collect(stream, tokens):
    for token in stream:
        tokens.append(token)  # list() would lose what came


def test_a_stream_that_is_cut_gives_its_beginning_and_an_error(server, nodes):
    server.fail(Fault(cut_after_events=4))
    engine = RAGAnythingQueryEngine.from_args(ListRetriever(nodes), llm=made(dashscope_vlm, server), streaming=True)
    tokens = []
    stream = engine.query(QUESTION).response_gen
    with pytest.raises(DashScopeConnectionError):
        collect(stream, tokens)
    assert "".join(tokens)
    assert REPLY.startswith("".join(tokens))


@pytest.mark.parametrize("run", ["sync", "async"])
def test_images_are_described(server, nodes, run):
    server.replies = []
    describer = ImageDescriber(llm=made(dashscope_vlm, server))
    described = describer.process(nodes[1:]) if run == "sync" else asyncio.run(describer.aprocess(nodes[1:]))
    (request,) = server.requests
    parts = request.body["messages"][-1]["content"]
    assert [part["type"] for part in parts if part["type"] == "image_url"] == ["image_url"]
    assert request.body["model"] == "qwen-vl-max"
    assert "An image of 60 x 40 pixels, mostly red" in json.dumps([node.get_content() for node in described.nodes])
