"""Citations through LlamaIndex's own classes: whoever composes our engines gets document, page and box."""

import asyncio
import json

import pytest
from engine_suite import ListRetriever
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole, ToolCallBlock
from llama_index.core.base.response.schema import AsyncStreamingResponse, Response
from llama_index.core.chat_engine import CondensePlusContextChatEngine, CondenseQuestionChatEngine
from llama_index.core.evaluation import BaseEvaluator, EvaluationResult
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import (
    CitationQueryEngine,
    RetrieverQueryEngine,
    RetryQueryEngine,
    RouterQueryEngine,
    SubQuestionQueryEngine,
    TransformQueryEngine,
)
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.response_synthesizers import TreeSummarize, get_response_synthesizer
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.selectors import LLMMultiSelector, LLMSingleSelector
from llama_index.core.settings import Settings
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.tools import QueryEngineTool

from llama_index_raganything import (
    Citation,
    ConfigurationError,
    RAGAnythingNodeParser,
    RAGAnythingQueryEngine,
    TableQueryEngine,
    citations_of,
    elements_to_document,
)
from llama_index_raganything.elements import CITED_KEY, Element
from llama_index_raganything.query_engine.extractive.synthesizer import ExtractiveSynthesizer
from llama_index_raganything.query_engine.responses import acitations_of
from llama_index_raganything.query_engine.synthesis.citing import CitingSynthesizer
from llama_index_raganything.testing import ScriptedTextLLM

# LlamaIndex's memory is SQLite, whose threads complain when a test's event loop ends before them.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

QUESTION = "How many litres do the pumps give, and at how many bar do the valves open?"
PUMPS_BOX, VALVES_BOX = (100, 200, 900, 300), (50, 60, 700, 80)


def document_nodes(name, page, rows, box):
    """Return a page with a text and a table, as our node parser makes them."""
    elements = [
        Element(
            type="page",
            page=page,
            text=f"{name.title()} are made in Oslo.\n\n{'; '.join(' '.join(row) for row in rows)}",
        ),
        Element(type="text", page=page, text=f"{name.title()} are made in Oslo.", bbox=(1, 2, 3, 4)),
        Element(type="table", page=page, caption=f"Table 1: {name}", label="Table 1", rows=rows, bbox=box),
    ]
    return RAGAnythingNodeParser().get_nodes_from_documents(
        [elements_to_document(elements, source=f"/data/{name}.pdf")]
    )


PUMPS = document_nodes("pumps", 3, [["Pump", "Litres"], ["Alpha", "4.2"]], PUMPS_BOX)
VALVES = document_nodes("valves", 8, [["Valve", "Bar"], ["Beta", "17"]], VALVES_BOX)


def store():
    made = SimpleDocumentStore()
    made.add_documents([*PUMPS, *VALVES])
    return made


def engine(nodes, *replies, **options):
    return RAGAnythingQueryEngine.from_args(
        ListRetriever(nodes), llm=ScriptedTextLLM(replies=list(replies)), store=store(), **options
    )


def pumps_engine(**options):
    return engine(PUMPS[1:], "Alpha gives 4.2 litres [2], made in Oslo [1][7].", **options)


def valves_engine(**options):
    return engine(VALVES[1:], "Beta opens at 17 bar [2].", **options)


def tools(**options):
    return [
        QueryEngineTool.from_defaults(pumps_engine(**options), name="pumps", description="about pumps"),
        QueryEngineTool.from_defaults(valves_engine(**options), name="valves", description="about valves"),
    ]


def places(citations):
    return [(each.answer, each.number, each.file_name, each.page, each.bbox) for each in citations]


BOTH = [
    (1, 1, "pumps.pdf", 3, (1, 2, 3, 4)),
    (1, 2, "pumps.pdf", 3, PUMPS_BOX),
    (2, 2, "valves.pdf", 8, VALVES_BOX),
]


async def ask(made, use_async, question=QUESTION):
    return await made.aquery(question) if use_async else await asyncio.to_thread(made.query, question)


def test_a_citation_is_typed_frozen_and_survives_json():
    response = pumps_engine().query(QUESTION)
    first, second = citations_of(response)
    assert (first.number, first.file_name, first.page, first.bbox) == (2, "pumps.pdf", 3, PUMPS_BOX)
    assert (first.label, first.content_type, first.doc_id) == ("Table 1", "table", PUMPS[2].metadata["doc_id"])
    assert (first.answer, second.number) == (None, 1)
    assert "4.2" in first.quote
    assert Citation.model_validate_json(first.model_dump_json()) == first
    assert [Citation(**each) for each in json.loads(json.dumps(response.metadata["citations"]))] == [first, second]
    assert len({first, second}) == 2
    with pytest.raises(ValueError, match="frozen"):
        first.page = 4


def test_nodes_of_other_readers_can_be_cited():
    node = TextNode(
        text="Tea is hot.", metadata={"page_label": "iv", "page": "4", "bbox": "none", "file_name": "t.pdf"}
    )
    (found,) = citations_of(engine([node], "Hot [1].").query("Tea?"))
    assert (found.page, found.page_label, found.bbox, found.file_name) == (4, "iv", None, "t.pdf")
    node.metadata["page"] = "iv"
    assert citations_of(engine([node], "Hot [1].").query("Tea?"))[0].page is None


@pytest.mark.parametrize("reply", ["Nobody knows.", "See [7].", "The answer was not found in the documents."])
def test_what_leads_nowhere_is_no_citation(reply):
    assert citations_of(engine(PUMPS[1:], reply).query(QUESTION)) == []


def test_one_marker_may_name_several():
    cited = citations_of(engine(PUMPS[1:], "4.2 litres, made in Oslo [1, 2].").query(QUESTION))
    assert [each.number for each in cited] == [1, 2]


def test_what_is_no_response_is_refused():
    for wrong in ("an answer", None, [], {"citations": []}):
        with pytest.raises(ConfigurationError, match="none of them"):
            citations_of(wrong)


async def test_a_stream_cites_when_it_has_ended():
    response = pumps_engine(streaming=True).query(QUESTION)
    assert citations_of(response) == []
    assert str(response).endswith("[1].")
    assert [each.bbox for each in citations_of(response)] == [PUMPS_BOX, (1, 2, 3, 4)]
    response = await pumps_engine(streaming=True).aquery(QUESTION)
    assert isinstance(response, AsyncStreamingResponse)
    assert [piece async for piece in response.async_response_gen()]
    assert [each.bbox for each in await acitations_of(response)] == [PUMPS_BOX, (1, 2, 3, 4)]


@pytest.mark.parametrize("streaming", [False, True])
def test_source_nodes_carry_what_models_must_not_see(streaming):
    response = pumps_engine(streaming=streaming).query(QUESTION)
    str(response)
    (cited,) = [each.node for each in response.source_nodes if each.node.metadata.get("label") == "Table 1"]
    assert json.loads(cited.metadata[CITED_KEY])["citation"]["bbox"] == list(PUMPS_BOX)
    for mode in ("llm", "embed"):
        assert CITED_KEY not in cited.get_content(metadata_mode=mode)
    assert all(CITED_KEY not in node.metadata for node in PUMPS)
    assert CITED_KEY not in json.dumps({key: value for key, value in response.metadata.items() if key != "citations"})


@pytest.mark.parametrize("use_async", [False, True])
class TestRouters:
    async def test_with_one_choice(self, use_async):
        script = json.dumps([{"choice": 2, "reason": "valves"}])
        router = RouterQueryEngine(
            LLMSingleSelector.from_defaults(llm=ScriptedTextLLM(replies=[script])), tools(), llm=ScriptedTextLLM()
        )
        response = await ask(router, use_async)
        assert places(citations_of(response)) == [(None, 2, "valves.pdf", 8, VALVES_BOX)]

    @pytest.mark.parametrize("streaming", [False, True])
    async def test_with_several_choices(self, use_async, streaming):
        script = json.dumps([{"choice": 1, "reason": "pumps"}, {"choice": 2, "reason": "valves"}])
        summarizer = TreeSummarize(llm=ScriptedTextLLM(replies=["4.2 litres [2] and 17 bar [2]."]))
        router = RouterQueryEngine(
            LLMMultiSelector.from_defaults(llm=ScriptedTextLLM(replies=[script])),
            tools(streaming=streaming),
            llm=ScriptedTextLLM(),
            summarizer=summarizer,
        )
        response = await ask(router, use_async)
        assert str(response) == "4.2 litres [2] and 17 bar [2]."
        assert places(citations_of(response)) == BOTH
        tool = QueryEngineTool.from_defaults(router, name="both", description="both")
        assert places(citations_of(await tool.acall(QUESTION))) == BOTH


def sub_question_engine(synthesizer=None, own=None):
    script = json.dumps(
        {
            "items": [
                {"sub_question": "How many litres has Alpha?", "tool_name": "pumps"},
                {"sub_question": "What is the bar of Beta?", "tool_name": "valves"},
            ]
        }
    )
    return SubQuestionQueryEngine.from_defaults(
        own or tools(),
        llm=ScriptedTextLLM(),
        question_gen=LLMQuestionGenerator.from_defaults(llm=ScriptedTextLLM(replies=[script])),
        response_synthesizer=synthesizer
        or get_response_synthesizer(llm=ScriptedTextLLM(replies=["4.2 litres [2], 17 bar [2]."])),
        use_async=False,
    )


@pytest.mark.parametrize("use_async", [False, True])
class TestSubQuestions:
    async def test_all_answers_keep_their_citations(self, use_async):
        response = await ask(sub_question_engine(), use_async)
        assert places(citations_of(response)) == BOTH

    async def test_quotes_and_cells_keep_theirs(self, use_async):
        own = [
            QueryEngineTool.from_defaults(
                RAGAnythingQueryEngine(ListRetriever(PUMPS[1:]), ExtractiveSynthesizer()),
                name="pumps",
                description="quotes about pumps",
            ),
            QueryEngineTool.from_defaults(
                TableQueryEngine(ListRetriever(VALVES[1:])), name="valves", description="cells about valves"
            ),
        ]
        response = await ask(sub_question_engine(own=own), use_async)
        assert places(citations_of(response)) == BOTH[1:]

    async def test_our_synthesizer_cites_the_answers(self, use_async):
        inner = get_response_synthesizer(llm=ScriptedTextLLM(replies=["17 bar [2] and 4.2 litres [1]; tea [9]."]))
        response = await ask(sub_question_engine(CitingSynthesizer(inner)), use_async)
        assert str(response) == "17 bar [2] and 4.2 litres [1]; tea."
        assert [(each.number, each.file_name, each.bbox) for each in citations_of(response)] == [
            (2, "valves.pdf", VALVES_BOX),
            (1, "pumps.pdf", (1, 2, 3, 4)),
            (1, "pumps.pdf", PUMPS_BOX),
        ]

    async def test_an_answer_without_citations_is_not_counted(self, use_async):
        own = [
            QueryEngineTool.from_defaults(engine(PUMPS[1:], "Nobody knows."), name="pumps", description="about pumps"),
            tools()[1],
        ]
        response = await ask(sub_question_engine(own=own), use_async)
        assert places(citations_of(response)) == [(1, 2, "valves.pdf", 8, VALVES_BOX)]


@pytest.mark.parametrize("use_async", [False, True])
class TestCitationQueryEngine:
    def make(self, nodes, reply, **options):
        return CitationQueryEngine.from_args(
            None, llm=ScriptedTextLLM(replies=[reply]), retriever=ListRetriever(nodes), **options
        )

    async def test_its_numbers_lead_to_page_and_box(self, use_async):
        response = await ask(self.make([*PUMPS[1:], *VALVES[1:]], "4.2 litres [2] and 17 bar [4][9]."), use_async)
        assert places(citations_of(response)) == [
            (None, 2, "pumps.pdf", 3, PUMPS_BOX),
            (None, 4, "valves.pdf", 8, VALVES_BOX),
        ]
        assert all("Source" not in each.quote for each in citations_of(response))

    async def test_a_page_leads_to_the_element_on_it(self, use_async):
        response = await ask(self.make([PUMPS[0], VALVES[0]], "Beta opens at 17 bar [2]."), use_async)
        assert [(each.page, each.bbox) for each in citations_of(response)] == [(8, None)]
        assert [(each.page, each.bbox) for each in citations_of(response, store())] == [(8, VALVES_BOX)]

    async def test_chunks_have_numbers_of_their_own(self, use_async):
        node = VALVES[2].model_copy(update={"text": "Tea. " * 40 + "Beta opens at 17 bar."})
        made = self.make([node], "17 bar [3].", citation_chunk_size=60, citation_chunk_overlap=0)
        response = await ask(made, use_async)
        assert len(response.source_nodes) > 2
        (found,) = citations_of(response)
        assert (found.number, found.bbox) == (3, VALVES_BOX)

    async def test_a_stream_that_was_read(self, use_async):
        made = self.make(PUMPS[1:], "4.2 litres [2].", streaming=True)
        response = await ask(made, use_async)
        if use_async:
            await response.get_response()
        else:
            response.get_response()
        assert places(citations_of(response)) == [(None, 2, "pumps.pdf", 3, PUMPS_BOX)]


def test_unnumbered_sources_have_no_citations():
    plain = RetrieverQueryEngine.from_args(ListRetriever(PUMPS[1:]), llm=ScriptedTextLLM(replies=["See [1] and [7]."]))
    assert citations_of(plain.query(QUESTION)) == []
    llm = ScriptedTextLLM(replies=["See [1]."])
    chat = CondensePlusContextChatEngine.from_defaults(ListRetriever(PUMPS[1:]), llm=llm)
    assert citations_of(chat.chat(QUESTION)) == []


@pytest.mark.parametrize("use_async", [False, True])
async def test_transformed_questions(use_async):
    hyde = HyDEQueryTransform(llm=ScriptedTextLLM(replies=["Alpha gives litres."]), include_original=True)
    response = await ask(TransformQueryEngine(pumps_engine(), hyde), use_async)
    assert [each.bbox for each in citations_of(response)] == [PUMPS_BOX, (1, 2, 3, 4)]


def test_retried_questions(monkeypatch):
    # It rewrites the question with the LLM of the settings.
    monkeypatch.setattr(Settings, "_llm", ScriptedTextLLM(replies=["How many litres?"]))

    class Evaluator(BaseEvaluator):
        calls = 0

        def _get_prompts(self):
            return {}

        def _update_prompts(self, prompts):
            pass

        async def aevaluate(self, **kwargs):
            self.calls += 1
            return EvaluationResult(passing=self.calls > 1, feedback="More.", response="Less.")

    evaluator = Evaluator()
    response = RetryQueryEngine(engine(PUMPS[1:], "Tea [1].", "4.2 litres [2]."), evaluator).query(QUESTION)
    assert evaluator.calls == 2
    assert [each.bbox for each in citations_of(response)] == [PUMPS_BOX]


class TestAgents:
    async def run(self, calls):
        def respond(messages, **kwargs):
            if messages[-1].role == MessageRole.TOOL:
                return ChatMessage(role="assistant", content="4.2 litres [2] and 17 bar [2].")
            blocks = [
                ToolCallBlock(tool_name=name, tool_kwargs={"input": QUESTION}, tool_call_id=name) for name in calls
            ]
            return ChatMessage(role="assistant", blocks=blocks)

        llm = MockFunctionCallingLLM(response_generator=respond)
        return await FunctionAgent(tools=tools(), llm=llm, streaming=False).run(QUESTION)

    async def test_all_tool_calls_keep_their_citations(self):
        by_file = {each.file_name: each for each in citations_of(await self.run(["pumps", "valves"]))}
        assert {name: (each.page, each.answer) for name, each in by_file.items()}.keys() == {"pumps.pdf", "valves.pdf"}
        assert sorted(each.answer for each in by_file.values()) == [1, 2]

    async def test_one_tool_call(self):
        assert places(citations_of(await self.run(["valves"]))) == [(1, 2, "valves.pdf", 8, VALVES_BOX)]

    async def test_no_tool_call(self):
        llm = MockFunctionCallingLLM(
            response_generator=lambda messages, **_: ChatMessage(role="assistant", content="Hi.")
        )
        assert citations_of(await FunctionAgent(tools=tools(), llm=llm, streaming=False).run("Hello")) == []


class TestLlamaIndexsCondenseQuestionEngine:
    """It switches streaming on our synthesizer and keeps the response among its sources."""

    def make(self):
        return CondenseQuestionChatEngine.from_defaults(pumps_engine(), llm=ScriptedTextLLM())

    async def test_async(self):
        assert [each.bbox for each in citations_of(await self.make().achat(QUESTION))] == [PUMPS_BOX, (1, 2, 3, 4)]
        stream = await self.make().astream_chat(QUESTION)
        assert "".join([piece async for piece in stream.async_response_gen()]).endswith("[1].")
        assert [each.bbox for each in citations_of(stream)] == [PUMPS_BOX, (1, 2, 3, 4)]

    def test_sync(self):
        assert [each.bbox for each in citations_of(self.make().chat(QUESTION))] == [PUMPS_BOX, (1, 2, 3, 4)]
        stream = self.make().stream_chat(QUESTION)
        assert "".join(stream.response_gen).endswith("[1].")
        assert [each.bbox for each in citations_of(stream)] == [PUMPS_BOX, (1, 2, 3, 4)]


class TestPages:
    """A retriever may return pages; what an answer says of one leads to the element that says it."""

    @pytest.mark.parametrize("streaming", [False, True])
    @pytest.mark.parametrize("use_async", [False, True])
    async def test_a_page_leads_to_the_element_on_it(self, use_async, streaming):
        made = engine(
            [PUMPS[0], VALVES[0]], "Beta opens at 17 bar [2], pumps are made in Oslo [1].", streaming=streaming
        )
        response = await ask(made, use_async)
        await response.get_response() if isinstance(response, AsyncStreamingResponse) else str(response)
        assert places(citations_of(response)) == [
            (None, 2, "valves.pdf", 8, VALVES_BOX),
            (None, 1, "pumps.pdf", 3, (1, 2, 3, 4)),
        ]
        assert [each.label for each in citations_of(response)] == ["Table 1", None]

    def test_the_element_may_be_a_source_too(self):
        made = engine([VALVES[0], VALVES[2]], "Beta opens at 17 bar [1].")
        assert [each.bbox for each in citations_of(made.query(QUESTION))] == [VALVES_BOX]

    def test_each_cited_page_is_looked_at(self):
        documents = [
            document_nodes(f"part{n}", n, [["Part", "Grams"], [f"Part {n}", f"{n}5.5"]], (n, n, 90, 91))
            for n in range(1, 9)
        ]
        everything = SimpleDocumentStore()
        everything.add_documents([node for nodes in documents for node in nodes])
        reply = " ".join(f"Part {n} weighs {n}5.5 grams [{n}]." for n in range(1, 9))
        made = RAGAnythingQueryEngine.from_args(
            ListRetriever([nodes[0] for nodes in documents]),
            llm=ScriptedTextLLM(replies=[reply]),
            store=everything,
        )
        assert [each.bbox for each in citations_of(made.query(QUESTION))] == [(n, n, 90, 91) for n in range(1, 9)]

    def test_a_page_without_elements_stands_for_itself(self):
        page = TextNode(
            text="Beta opens at 17 bar.", metadata={"content_type": "page", "page": 5, "file_name": "f.pdf"}
        )
        assert places(citations_of(engine([page], "17 bar [1].").query(QUESTION))) == [(None, 1, "f.pdf", 5, None)]


class Chosen(BaseNodePostprocessor):
    """Keeps some of the sources, in another order."""

    places: list[int]

    def _postprocess_nodes(self, nodes, query_bundle=None):
        return [nodes[place] for place in self.places]


@pytest.mark.parametrize("use_async", [False, True])
@pytest.mark.parametrize(
    ("places_read", "cited", "dropped"),
    [
        ([0], ["pumps.pdf"], [2, 3]),
        ([1], ["valves.pdf"], [2, 3]),
        ([2, 0], ["valves.pdf", "pumps.pdf"], [3]),
        ([], [], []),  # No LLM is asked.
    ],
)
async def test_what_the_llm_did_not_read_has_no_number(places_read, cited, dropped, use_async):
    inner = get_response_synthesizer(llm=ScriptedTextLLM(replies=["So it is [1], and so [2], and so [3]."]))
    nodes = [NodeWithScore(node=node) for node in (PUMPS[2], VALVES[2], VALVES[1])]
    made = CitingSynthesizer(inner, [Chosen(places=places_read)])
    response = await made.asynthesize(QUESTION, nodes) if use_async else made.synthesize(QUESTION, nodes)
    assert [each.file_name for each in citations_of(response)] == cited
    assert response.metadata["dropped_markers"] == dropped
    ids = [scored.node.node_id for scored in response.source_nodes]
    assert ids == [nodes[place].node.node_id for place in places_read]


def test_what_others_wrote_under_our_key_is_no_citation():
    for value in ("not json", "[]", '{"of": 1}', '{"of": "a", "citation": {"n": "x"}}'):
        node = TextNode(text="Tea.", metadata={CITED_KEY: value})
        assert citations_of(Response("Tea [1].", source_nodes=[NodeWithScore(node=node)])) == []
