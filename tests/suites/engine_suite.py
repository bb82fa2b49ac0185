"""What every query engine of this package must do, whoever writes the answer; inherit and fill in ``make_engine``."""

from __future__ import annotations

import asyncio
import io
import json
from typing import ClassVar

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock, ToolCallBlock
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
from PIL import Image
from pydantic import Field

from llama_index_raganything.attachments import AttachedQuery
from llama_index_raganything.errors import RAGAnythingError
from llama_index_raganything.testing import ScriptedTextLLM

QUESTION = "How much does the pump deliver?"
TEXT = "The pump delivers 4.2 litres per minute. It is painted blue."


def encoded(image, kind="PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


ATTACHMENTS = {
    "image": encoded(Image.new("RGB", (64, 48), "navy")),
    "table": {"type": "table", "table_data": [["part", "colour"], ["pump", "blue"], *([["screw", "-"]] * 500)]},
    "equation": {"type": "equation", "latex": r"Q = \frac{\Delta p}{R"},
}
WORKABLE_IMAGES = {
    "1x1": encoded(Image.new("RGB", (1, 1))),
    "30,000 pixels wide": encoded(Image.new("L", (30_000, 20))),
    "animated GIF": encoded(
        Image.new("P", (64, 48)), "GIF", save_all=True, append_images=[Image.new("P", (64, 48), 9)]
    ),
    "CMYK": encoded(Image.new("CMYK", (64, 48)), "JPEG"),
}
HOPELESS_IMAGES = {
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><text>4.2</text></svg>",
    "EMF": b"\x01\x00\x00\x00\x6c" + b"\x00" * 35 + b" EMF" + b"\x00" * 80,
    "truncated": WORKABLE_IMAGES["CMYK"][:300],
    "empty": b"",
    "broken base64": {"type": "image", "data": "data:image/png;base64,%%%"},
    "900 megapixels": encoded(Image.new("1", (30_000, 30_000))),
    "no file": "/gone/drawing.png",
}


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

    @pytest.mark.parametrize("attachments", [*ATTACHMENTS, list(ATTACHMENTS.values())], ids=[*ATTACHMENTS, "all"])
    async def test_a_question_may_carry_something(self, attachments):
        attachments = ATTACHMENTS.get(attachments, attachments) if isinstance(attachments, str) else attachments
        nodes = [pump(), valve()]
        response = self.make_engine(nodes).query(QUESTION, attachments=attachments)
        assert "4.2 litres per minute" in str(response)
        assert response.metadata["citations"][0]["node_id"] == "pump"
        again = await self.make_engine(nodes).aquery(QUESTION, attachments=attachments)
        assert str(again) == str(response)
        assert again.metadata == response.metadata

    def test_nothing_attached_changes_nothing(self):
        expected = self.make_engine([pump()]).query(QUESTION)
        for attachments in (None, [], ()):
            response = self.make_engine([pump()]).query(QUESTION, attachments=attachments)
            assert (str(response), response.metadata) == (str(expected), expected.metadata)

    async def test_messages_and_bundles_are_questions(self, tmp_path):
        path = tmp_path / "drawing.png"
        path.write_bytes(ATTACHMENTS["image"])
        message = ChatMessage(blocks=[TextBlock(text=QUESTION), ImageBlock(image=ATTACHMENTS["image"])])
        for question in (message, QueryBundle(QUESTION, image_path=str(path)), QueryBundle(QUESTION)):
            assert "4.2 litres" in str(self.make_engine([pump()]).query(question))
            assert "4.2 litres" in str(await self.make_engine([pump()]).aquery(question))

    @pytest.mark.parametrize("name", WORKABLE_IMAGES)
    def test_any_image_may_be_attached(self, name):
        assert "4.2 litres" in str(self.make_engine([pump()]).query(QUESTION, attachments=[WORKABLE_IMAGES[name]]))

    @pytest.mark.parametrize("name", HOPELESS_IMAGES)
    async def test_what_is_no_image_is_refused_with_a_remedy(self, name):
        engine = self.make_engine([pump()])
        with pytest.raises(RAGAnythingError, match=r"; \w+"):
            engine.query(QUESTION, attachments=[HOPELESS_IMAGES[name]])
        with pytest.raises(RAGAnythingError):
            await engine.aquery(QUESTION, attachments=[HOPELESS_IMAGES[name]])
        assert "4.2 litres" in str(engine.query(QUESTION))

    async def test_an_attached_image_that_is_an_element_comes_first(self, tmp_path):
        path = tmp_path / "figure.png"
        path.write_bytes(ATTACHMENTS["image"])
        figure = image_node(path, label="Figure 1", caption="Figure 1: The blue pump")
        for attachment in (path, ATTACHMENTS["image"]):
            engine = self.make_engine([pump(), valve(), figure])
            response = engine.query("Is this the same drawing?", attachments=[attachment])
            ids = [source.node.node_id for source in response.source_nodes]
            assert ids == ["figure", "pump", "valve"]
            scores = [source.score for source in response.source_nodes]
            assert scores == sorted(scores, reverse=True)
            nodes = await engine.aretrieve(AttachedQuery.of("Is this it?", [attachment]))
            assert nodes[0].node.node_id == "figure"
            assert nodes[0].node.metadata["evidence"]
        assert "evidence" not in figure.metadata

    def test_images_are_listed_beside_the_answer(self, tmp_path):
        path = tmp_path / "figure.png"
        path.write_bytes(ATTACHMENTS["image"])
        gone = ImageNode(id_="gone", text="Figure 2", image_path=str(tmp_path / "gone.png"), metadata={"page": 3})
        response = self.make_engine([pump(), image_node(path), gone]).query(QUESTION)
        (shown,) = response.metadata["images"]
        assert (shown["n"], shown["node_id"], shown["path"], shown["page"]) == (2, "figure", str(path), 2)
        assert (shown["width"], shown["height"], shown["attached"]) == (64, 48, False)
        assert json.loads(json.dumps(response.metadata["images"])) == [shown]
        assert self.make_engine([pump()]).query(QUESTION).metadata["images"] == []

    @pytest.mark.parametrize("asynchronous", [False, True])
    async def test_attachments_leave_cores_events_in_order(self, recorded, asynchronous):
        engine = self.make_engine([pump()])
        if asynchronous:
            await engine.aquery(QUESTION, attachments=list(ATTACHMENTS.values()))
        else:
            engine.query(QUESTION, attachments=list(ATTACHMENTS.values()))
        names = [type(event).__name__ for event in recorded[0]]
        positions = [names.index(name) for name in self.expected_events]
        assert positions == sorted(positions)
        assert names[0] == "QueryStartEvent"
        assert names[-1] == "QueryEndEvent"
        for name in ("QueryStartEvent", "RetrievalStartEvent", "SynthesizeStartEvent", "QueryEndEvent"):
            assert names.count(name) == 1

    def test_streams_an_answer_to_a_question_that_carries_something(self):
        engine = self.make_engine([pump()], streaming=True)
        response = engine.query(QUESTION, attachments=list(ATTACHMENTS.values()))
        assert "4.2 litres" in "".join(response.response_gen)

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
