"""What every query engine of this package must do, whoever writes the answer; inherit and fill in ``make_engine``."""

from __future__ import annotations

import asyncio
import json
from typing import ClassVar

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage, MessageRole, ToolCallBlock
from llama_index.core.base.response.schema import AsyncStreamingResponse, Response, StreamingResponse
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.llms import MockLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.query_engine import RetrieverQueryEngine, SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.schema import ImageNode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.tools import QueryEngineTool
from pydantic import Field

from llama_index_raganything.testing import ScriptedTextLLM

QUESTION = "How much does the pump deliver?"
TEXT = "The pump delivers 4.2 litres per minute. It is painted blue."


class ListRetriever(BaseRetriever):
    """Returns the nodes it was given, best first."""

    def __init__(self, nodes):
        self._nodes = nodes
        super().__init__()

    def _retrieve(self, query_bundle):
        return [NodeWithScore(node=node, score=1.0 - 0.1 * rank) for rank, node in enumerate(self._nodes)]


class Recorder(BaseEventHandler):
    events: list = Field(default_factory=list)

    @classmethod
    def class_name(cls):
        return "Recorder"

    def handle(self, event, **kwargs):
        self.events.append(event)


def pump() -> TextNode:
    return TextNode(
        id_="pump",
        text=TEXT,
        metadata={
            "doc_id": "d1",
            "file_name": "pumps.pdf",
            "source": "/data/pumps.pdf",
            "content_type": "text",
            "page": 7,
            "page_label": "5",
            "bbox": "[10,20,300,400]",
            "section": "2 Pumps",
        },
    )


def valve() -> TextNode:
    return TextNode(id_="valve", text="The valve opens at two bar.", metadata={"file_name": "valves.pdf", "page": 1})


class EngineSuite:
    """Contract of a query engine."""

    expected_events: ClassVar[list[str]]

    @pytest.fixture
    def recorded(self):
        """Events and spans of everything that happens in the test."""
        dispatcher = get_dispatcher()
        events, spans = Recorder(), SimpleSpanHandler()
        dispatcher.add_event_handler(events)
        dispatcher.add_span_handler(spans)
        yield events.events, spans
        dispatcher.event_handlers.remove(events)
        dispatcher.span_handlers.remove(spans)

    def make_engine(self, nodes, **options) -> RetrieverQueryEngine:
        raise NotImplementedError

    def test_is_a_retriever_query_engine(self):
        assert isinstance(self.make_engine([]), RetrieverQueryEngine)

    def test_answers_and_cites(self):
        response = self.make_engine([pump(), valve()]).query(QUESTION)
        assert isinstance(response, Response)
        assert "4.2 litres per minute" in str(response)
        assert "[1]" in str(response)
        assert [source.node.node_id for source in response.source_nodes] == ["pump", "valve"]
        (citation,) = response.metadata["citations"]
        assert citation == {
            "n": 1,
            "node_id": "pump",
            "doc_id": "d1",
            "file_name": "pumps.pdf",
            "source": "/data/pumps.pdf",
            "page": 7,
            "page_label": "5",
            "bbox": [10, 20, 300, 400],
            "section": "2 Pumps",
            "label": None,
            "asset": None,
            "content_type": "text",
            "quote": "The pump delivers 4.2 litres per minute.",
        }
        assert response.metadata["answered"] is True

    async def test_async_answers_the_same(self):
        nodes = [pump(), valve()]
        response = await self.make_engine(nodes).aquery(QUESTION)
        expected = self.make_engine(nodes).query(QUESTION)
        assert str(response) == str(expected)
        assert response.metadata == expected.metadata

    def test_streams(self):
        response = self.make_engine([pump(), valve()], streaming=True).query(QUESTION)
        assert isinstance(response, StreamingResponse)
        text = "".join(response.response_gen)
        assert text == str(self.make_engine([pump(), valve()]).query(QUESTION))
        assert response.metadata["citations"][0]["node_id"] == "pump"

    async def test_streams_async(self):
        response = await self.make_engine([pump(), valve()], streaming=True).aquery(QUESTION)
        assert isinstance(response, AsyncStreamingResponse)
        text = "".join([piece async for piece in response.async_response_gen()])
        assert text == str(self.make_engine([pump(), valve()]).query(QUESTION))
        assert response.metadata["citations"][0]["node_id"] == "pump"

    def test_two_event_loops_in_a_row_and_one_that_runs(self):
        engine = self.make_engine([pump()])
        answers = [str(asyncio.run(engine.aquery(QUESTION))) for _ in range(2)]

        async def inside():
            return str(engine.query(QUESTION))

        assert [*answers, asyncio.run(inside())] == [answers[0]] * 3

    @pytest.mark.parametrize(("question", "expected"), [(QUESTION, "not found"), ("水泵的流量是多少？", "没有找到")])
    def test_nothing_retrieved_is_said_honestly(self, question, expected):
        response = self.make_engine([]).query(question)
        assert expected in str(response)
        assert response.source_nodes == []
        assert response.metadata["citations"] == []
        assert response.metadata["answered"] is False

    async def test_nothing_retrieved_streams_too(self):
        assert "not found" in str(self.make_engine([], streaming=True).query(QUESTION))
        response = await self.make_engine([], streaming=True).aquery(QUESTION)
        assert "not found" in "".join([piece async for piece in response.async_response_gen()])

    @pytest.mark.parametrize("asynchronous", [False, True])
    async def test_events_come_in_cores_order(self, recorded, asynchronous):
        engine = self.make_engine([pump()])
        if asynchronous:
            await engine.aquery(QUESTION)
        else:
            engine.query(QUESTION)
        names = [type(event).__name__ for event in recorded[0]]
        positions = [names.index(name) for name in self.expected_events]
        assert positions == sorted(positions)
        assert names[0] == "QueryStartEvent"
        assert names[-1] == "QueryEndEvent"
        assert names.count("SynthesizeStartEvent") == names.count("SynthesizeEndEvent") == 1

    async def test_query_retrieval_and_synthesis_have_spans(self, recorded):
        await self.make_engine([pump()]).aquery(QUESTION)
        spans = " ".join(span.id_ for span in recorded[1].completed_spans)
        for method in ("._aquery", ".aretrieve", ".asynthesize"):
            assert method in spans

    def test_retrieve_and_synthesize_apart(self):
        engine = self.make_engine([pump()])
        nodes = engine.retrieve(engine_query(QUESTION))
        response = engine.synthesize(
            engine_query(QUESTION), nodes, additional_source_nodes=[NodeWithScore(node=valve())]
        )
        assert [source.node.node_id for source in response.source_nodes] == ["pump", "valve"]
        assert [citation["n"] for citation in response.metadata["citations"]] == [1]

    def test_another_retriever_keeps_the_class(self):
        engine = self.make_engine([])
        other = engine.with_retriever(ListRetriever([pump()]))
        assert type(other) is type(engine)
        assert "4.2" in str(other.query(QUESTION))

    def test_prompts_can_be_read(self):
        prompts = self.make_engine([]).get_prompts()
        assert all(name.startswith("response_synthesizer:") for name in prompts)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " ",
            "\" ' ; -- {{ x }} {% raw %} {context_str} {0} %s",
            "[1] [99] 【2】",
            "\x00",
            "泵" * 5000,
            "x" * 100_000,
        ],
    )
    def test_hostile_sources_and_questions_do_no_harm(self, text):
        node = TextNode(text=text, metadata={"page": 1, "bbox": "not a box", "file_name": text[:50]})
        for question in (QUESTION, text[:2000] or "?"):
            response = self.make_engine([pump(), node]).query(question)
            assert str(response)
            assert all(1 <= citation["n"] <= 2 for citation in response.metadata["citations"])

    def test_works_as_a_tool(self):
        tool = QueryEngineTool.from_defaults(self.make_engine([pump()]), name="pumps", description="about pumps")
        output = tool.call(QUESTION)
        assert "4.2 litres" in output.content
        assert output.raw_output.metadata["citations"][0]["page"] == 7

    async def test_works_in_an_agent(self):
        tool = QueryEngineTool.from_defaults(self.make_engine([pump()]), name="pumps", description="about pumps")
        calls = []

        def respond(messages, **kwargs):
            calls.append(messages)
            if messages[-1].role == MessageRole.TOOL:
                return ChatMessage(role="assistant", content=f"Done: {messages[-1].content}")
            call = ToolCallBlock(tool_name="pumps", tool_kwargs={"input": QUESTION}, tool_call_id="1")
            return ChatMessage(role="assistant", blocks=[call])

        agent = FunctionAgent(tools=[tool], llm=MockFunctionCallingLLM(response_generator=respond), streaming=False)
        result = await agent.run(QUESTION)
        assert "4.2 litres" in str(result)
        assert len(calls) == 2

    def test_works_under_sub_questions(self):
        script = json.dumps({"items": [{"sub_question": QUESTION, "tool_name": "pumps"}]})
        tool = QueryEngineTool.from_defaults(self.make_engine([pump()]), name="pumps", description="about pumps")
        engine = SubQuestionQueryEngine.from_defaults(
            [tool],
            llm=MockLLM(),
            question_gen=LLMQuestionGenerator.from_defaults(llm=ScriptedTextLLM(replies=[script])),
            response_synthesizer=self.make_engine([])._response_synthesizer,
            use_async=False,
        )
        response = engine.query("What about the pump? How much does the pump deliver?")
        assert any("4.2 litres" in source.node.get_content() for source in response.source_nodes)


def engine_query(text):
    return QueryBundle(text)


def image_node(path, text="Figure 1: The blue pump", **metadata) -> ImageNode:
    return ImageNode(
        id_="figure", text=text, image_path=str(path), metadata={"content_type": "image", "page": 2, **metadata}
    )
