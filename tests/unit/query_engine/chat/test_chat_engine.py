"""``RAGAnythingChatEngine``: citations in every mode and every way of asking, and LlamaIndex's options."""

import asyncio
import base64
import io
import json

import pytest
from engine_suite import ListRetriever
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.chat_engine.types import AgentChatResponse, BaseChatEngine, ChatMode, StreamingAgentChatResponse
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import PromptTemplate, RichPromptTemplate
from llama_index.core.schema import ImageNode, NodeWithScore, TextNode
from llama_index.core.settings import Settings
from llama_index.core.storage.docstore import SimpleDocumentStore
from PIL import Image

from llama_index_raganything import (
    ConfigurationError,
    RAGAnythingChatEngine,
    RAGAnythingNodeParser,
    citations_of,
    elements_to_document,
)
from llama_index_raganything.elements import Element
from llama_index_raganything.query_engine.chat.engine import simple_chat_engine
from llama_index_raganything.testing import ScriptedChatLLM, ScriptedTextLLM

# LlamaIndex's memory is SQLite, whose threads complain when a test's event loop ends before them.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

MODES = ["best", "condense_plus_context", "context", "condense_question"]
WAYS = ["chat", "achat", "stream_chat", "astream_chat"]
BOX = (100, 200, 900, 300)
QUESTION = "How many litres does Alpha give?"
REPLY = "Alpha gives 4.2 litres [2], as was said [7]."
CLEAN = "Alpha gives 4.2 litres [2], as was said."


def nodes():
    elements = [
        Element(type="page", page=3, text="Pumps are made in Oslo. Pump Litres Alpha 4.2"),
        Element(type="text", page=3, text="Pumps are made in Oslo.", bbox=(1, 2, 3, 4)),
        Element(
            type="table",
            page=3,
            caption="Table 1",
            label="Table 1",
            rows=[["Pump", "Litres"], ["Alpha", "4.2"]],
            bbox=BOX,
        ),
    ]
    return RAGAnythingNodeParser().get_nodes_from_documents([elements_to_document(elements, source="/data/pumps.pdf")])


PAGE, TEXT, TABLE = nodes()


def store():
    made = SimpleDocumentStore()
    made.add_documents([PAGE, TEXT, TABLE])
    return made


class RecordingRetriever(ListRetriever):
    def __init__(self, found):
        super().__init__(found)
        self.questions = []

    def _retrieve(self, query_bundle):
        self.questions.append(query_bundle.query_str)
        return super()._retrieve(query_bundle)


def chat_engine(*replies, found=(TEXT, TABLE), llm=None, **options):
    llm = llm or ScriptedTextLLM(replies=list(replies or [REPLY]))
    return RAGAnythingChatEngine.from_defaults(RecordingRetriever(list(found)), llm=llm, store=store(), **options)


async def talk(engine, way, message=QUESTION, **options):
    """Ask in one of the four ways and return the response with its text, when all is said."""
    if way == "chat":
        response = await asyncio.to_thread(engine.chat, message, **options)
        return response, str(response)
    if way == "achat":
        response = await engine.achat(message, **options)
        return response, str(response)
    if way == "stream_chat":
        response = await asyncio.to_thread(engine.stream_chat, message, **options)
        return response, await asyncio.to_thread(lambda: "".join(response.response_gen))
    response = await engine.astream_chat(message, **options)
    return response, "".join([piece async for piece in response.async_response_gen()])


def prompt(llm, call=-1):
    return "\n".join(message.content or "" for message in llm.requests[call])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", MODES)
class TestEveryModeAndWay:
    async def test_document_page_and_box_come_out(self, mode, way):
        engine = chat_engine(chat_mode=mode)
        response, text = await talk(engine, way)
        assert isinstance(response, StreamingAgentChatResponse if "stream" in way else AgentChatResponse)
        assert isinstance(engine, BaseChatEngine)
        assert text == str(response) == CLEAN
        (found,) = citations_of(response)
        assert (found.number, found.file_name, found.page, found.bbox) == (2, "pumps.pdf", 3, BOX)
        assert response.metadata["dropped_markers"] == [7]
        assert response.metadata["answered"] is True
        assert response.metadata["images"] == []
        assert [each.node.node_id for each in response.source_nodes] == [TEXT.node_id, TABLE.node_id]
        json.dumps(response.metadata)

    async def test_the_history_keeps_what_the_user_saw(self, mode, way):
        engine = chat_engine(chat_mode=mode)
        await talk(engine, way)
        seen = await asyncio.to_thread(lambda: engine.chat_history)
        assert [(message.role.value, message.content) for message in seen] == [("user", QUESTION), ("assistant", CLEAN)]

    async def test_the_llm_does_not_see_former_numbers(self, mode, way):
        llm = ScriptedTextLLM(replies=[REPLY, "And how many litres does Beta give?", "Nobody knows [1]."])
        engine = chat_engine(llm=llm, chat_mode=mode)
        await talk(engine, way)
        first = len(llm.requests)
        _, text = await talk(engine, way, "And Beta [2]?")
        later = "\n".join(prompt(llm, call) for call in range(first, len(llm.requests)))
        assert "4.2 litres [2]" not in later
        assert ("Alpha gives 4.2 litres, as was said." in later) is True
        assert "And Beta [2]?" in later or mode == "condense_question"
        seen = await asyncio.to_thread(lambda: engine.chat_history)
        assert seen[1].content == CLEAN
        assert len(seen) == 4
        assert text == seen[3].content

    async def test_several_numbers_and_none(self, mode, way):
        response, text = await talk(chat_engine("Alpha gives 4.2 litres [1, 2].", chat_mode=mode), way)
        assert text == "Alpha gives 4.2 litres [1][2]."
        assert [each.number for each in citations_of(response)] == [1, 2]
        response, text = await talk(chat_engine("Alpha gives 4.2 litres.", chat_mode=mode), way)
        assert text == "Alpha gives 4.2 litres. [2]"
        assert [each.bbox for each in citations_of(response)] == [BOX]
        response, text = await talk(chat_engine("The answer was not found in the documents.", chat_mode=mode), way)
        assert (citations_of(response), response.metadata["answered"]) == ([], False)

    async def test_nothing_found_asks_no_llm(self, mode, way):
        llm = ScriptedTextLLM()
        response, text = await talk(chat_engine(found=[], llm=llm, chat_mode=mode), way)
        assert text == "The answer was not found in the documents."
        assert (llm.requests, citations_of(response)) == ([], [])

    async def test_a_page_leads_to_the_element_on_it(self, mode, way):
        response, _ = await talk(chat_engine("Alpha gives 4.2 litres [1].", found=[PAGE], chat_mode=mode), way)
        assert [(each.page, each.bbox, each.label) for each in citations_of(response)] == [(3, BOX, "Table 1")]

    async def test_sources_are_numbered_after_the_context_postprocessors(self, mode, way):
        llm = ScriptedTextLLM(replies=["Alpha gives 4.2 litres [1], Beta 5 [2]."])
        engine = chat_engine(llm=llm, chat_mode=mode, context_postprocessors=[Shortened()])
        response, text = await talk(engine, way)
        assert text == "Alpha gives 4.2 litres [1], Beta 5."
        assert "Source [1]:\n" in prompt(llm)
        assert f"SHORT {QUESTION}" in prompt(llm)
        assert "Source [2]" not in prompt(llm)
        assert [each.node.node_id for each in response.source_nodes] == [TEXT.node_id]

    async def test_a_given_history_takes_the_place_of_the_memory(self, mode, way):
        history = [ChatMessage(role="user", content="Tea?"), ChatMessage(role="assistant", content="Green [1].")]
        llm = ScriptedTextLLM(replies=[QUESTION, REPLY] if mode != "context" else [REPLY])
        engine = chat_engine(llm=llm, chat_mode=mode)
        _, text = await talk(engine, way, chat_history=history)
        assert text == CLEAN
        assert "Green." in prompt(llm, 0)
        seen = await asyncio.to_thread(lambda: engine.chat_history)
        assert [message.content for message in seen] == ["Tea?", "Green [1].", QUESTION, CLEAN]


class Shortened(BaseNodePostprocessor):
    """Keeps the first source and writes the question before its text."""

    def _postprocess_nodes(self, nodes, query_bundle=None):
        node = nodes[0].node
        copy = node.model_copy(update={"text": f"SHORT {query_bundle.query_str} {node.text}"})
        return [NodeWithScore(node=copy, score=nodes[0].score)]


class TestModes:
    HISTORY = (ChatMessage(role="user", content="What is Alpha?"), ChatMessage(role="assistant", content="A pump."))

    @pytest.mark.parametrize("use_async", [False, True])
    @pytest.mark.parametrize(
        ("mode", "retrieved", "answered"),
        [
            ("condense_plus_context", "How much does Alpha give?", "And how much?"),
            ("context", "And how much?", "And how much?"),
            ("condense_question", "How much does Alpha give?", "How much does Alpha give?"),
        ],
    )
    def test_what_is_retrieved_and_what_is_asked(self, mode, retrieved, answered, use_async):
        replies = [REPLY] if mode == "context" else ["How much does Alpha give?", REPLY]
        llm = ScriptedTextLLM(replies=replies)
        engine = chat_engine(llm=llm, chat_mode=mode, chat_history=list(self.HISTORY))
        asyncio.run(engine.achat("And how much?")) if use_async else engine.chat("And how much?")
        assert engine._retriever.questions == [retrieved]
        assert f"Question: {answered}" in prompt(llm)
        assert ("A pump." in prompt(llm)) == (mode != "condense_question")
        assert ("A pump." in prompt(llm, 0)) is True

    def test_context_is_cut_by_the_question_that_stands_alone(self):
        llm = ScriptedTextLLM(replies=["How much does Alpha give?", REPLY])
        engine = chat_engine(llm=llm, chat_history=list(self.HISTORY), context_postprocessors=[Shortened()])
        engine.chat("And how much?")
        assert "SHORT How much does Alpha give?" in prompt(llm)

    def test_skip_condense(self):
        llm = ScriptedTextLLM(replies=[REPLY])
        engine = chat_engine(llm=llm, chat_history=list(self.HISTORY), skip_condense=True)
        engine.chat("And how much?")
        assert engine._retriever.questions == ["And how much?"]

    def test_an_empty_rewriting_leaves_the_message(self):
        engine = chat_engine("  ", REPLY, chat_history=list(self.HISTORY))
        engine.chat("And how much?")
        assert engine._retriever.questions == ["And how much?"]

    def test_verbose_prints_the_rewritten_message(self, capsys):
        chat_engine("How much?", REPLY, chat_history=list(self.HISTORY), verbose=True).chat("And?")
        assert "Condensed question: How much?" in capsys.readouterr().out

    @pytest.mark.parametrize("mode", ["react", "openai", ChatMode.REACT])
    def test_removed_modes_name_the_remedy(self, mode):
        with pytest.raises(ConfigurationError, match=r"removed from LlamaIndex: .*FunctionAgent"):
            chat_engine(chat_mode=mode)

    def test_unknown_modes_name_the_known_ones(self):
        with pytest.raises(ConfigurationError, match=r"'contxt' is not known; .*'context'.*'simple'"):
            chat_engine(chat_mode="contxt")
        with pytest.raises(ConfigurationError, match="retrieves nothing"):
            chat_engine(chat_mode="simple")

    def test_sources_are_listed_as_llamaindexs_engines_do(self):
        (source,) = chat_engine().chat(QUESTION).sources
        assert (source.tool_name, source.raw_input) == ("retriever", {"message": QUESTION})
        assert [each.node.node_id for each in source.raw_output] == [TEXT.node_id, TABLE.node_id]
        (source,) = chat_engine(chat_mode="condense_question").chat(QUESTION).sources
        assert (source.tool_name, str(source.raw_output)) == ("query_engine", CLEAN)


class TestOptions:
    def test_the_system_prompt_stands_after_the_rules(self):
        llm = ScriptedChatLLM(replies=[REPLY])
        chat_engine(llm=llm, system_prompt="Speak like a {pirate}, {query_str}.").chat(QUESTION)
        rules = llm.requests[0][0]
        assert rules.role == MessageRole.SYSTEM
        assert rules.content.index("numbered sources") < rules.content.index("Speak like a {pirate}, {query_str}.")
        assert [message.role for message in llm.requests[0]].count(MessageRole.SYSTEM) == 1

    def test_the_history_is_no_template(self):
        history = [
            ChatMessage(role="user", content="{query_str} {context_str}"),
            ChatMessage(role="assistant", content="{{ x }}"),
        ]
        for llm in (ScriptedTextLLM(replies=[QUESTION, REPLY]), ScriptedChatLLM(replies=[QUESTION, REPLY])):
            chat_engine(llm=llm, chat_history=list(history)).chat(QUESTION)
            assert "{query_str} {context_str}" in prompt(llm)
            assert "{{ x }}" in prompt(llm)

    def test_prefix_messages_stand_before_the_history(self):
        llm = ScriptedChatLLM(replies=[REPLY])
        history = [ChatMessage(role="user", content="Hello.")]
        prefix = [ChatMessage(role="user", content="An example.")]
        chat_engine(llm=llm, chat_mode="context", chat_history=history, prefix_messages=prefix).chat(QUESTION)
        assert [message.content for message in llm.requests[0][1:3]] == ["An example.", "Hello."]

    @pytest.mark.parametrize("name", ["context_prompt", "context_template"])
    @pytest.mark.parametrize("kind", [str, PromptTemplate])
    def test_a_context_prompt_takes_the_place_of_the_rules(self, name, kind):
        for llm in (ScriptedTextLLM(replies=[REPLY]), ScriptedChatLLM(replies=[REPLY])):
            options = {name: kind("Mind these:\n{context_str}\nEnd."), "system_prompt": "Be kind."}
            response = chat_engine(llm=llm, **options).chat(QUESTION)
            text = prompt(llm)
            assert "Mind these:\n" in text
            assert "Source [2]:" in text
            assert "Be kind." in text
            assert text.index("Mind these") < text.index("Alpha") < text.index("End.") < text.rindex(QUESTION)
            assert "numbered sources" not in text
            assert [each.bbox for each in citations_of(response)] == [BOX]

    def test_a_context_prompt_may_ask_the_question(self):
        for llm in (ScriptedTextLLM(replies=[REPLY]), ScriptedChatLLM(replies=[REPLY])):
            chat_engine(llm=llm, context_prompt="{context_str}\nASKED: {query_str}").chat(QUESTION)
            assert f"ASKED: {QUESTION}" in prompt(llm)
            assert prompt(llm).count(QUESTION) == 1

    def test_a_rich_context_prompt(self):
        rich = RichPromptTemplate(
            '{% chat role="user" %}RICH {% for m in context_messages %}{% for b in m.blocks %}{{ b.text }}{% endfor %}'
            "{% endfor %} {{ query_str }}{% endchat %}"
        )
        llm = ScriptedChatLLM(replies=[REPLY])
        chat_engine(llm=llm, context_prompt=rich).chat(QUESTION)
        assert "RICH" in prompt(llm)
        assert "Source [1]" in prompt(llm)

    @pytest.mark.parametrize("name", ["context_prompt", "context_refine_prompt"])
    def test_a_prompt_without_sources_is_refused(self, name):
        with pytest.raises(ConfigurationError, match=f"{name} has no place for the sources"):
            chat_engine(**{name: "Answer {query_str}."})

    def test_refining_over_several_calls(self):
        llm = ScriptedTextLLM(replies=["First [1]."], context_window=1500, num_output=64)
        found = [TextNode(text=f"Part {n}. " + "word " * 400) for n in range(4)]
        history = [ChatMessage(role="user", content="Hello.")]
        engine = chat_engine(
            llm=llm,
            found=found,
            chat_mode="context",
            chat_history=history,
            context_refine_prompt="REFINE {existing_answer} {context_msg}",
            context_postprocessors=[],
        )
        response = engine.chat("What?")
        assert len(llm.requests) > 1
        assert "REFINE First [1]." in prompt(llm)
        assert all("Hello." in prompt(llm, call) for call in range(len(llm.requests)))
        assert [each.number for each in citations_of(response)] == [1]

    @pytest.mark.parametrize("name", ["condense_prompt", "condense_question_prompt"])
    def test_the_prompt_that_rewrites(self, name):
        llm = ScriptedTextLLM(replies=["How much?", REPLY])
        history = [ChatMessage(role="user", content="Hello.")]
        chat_engine(llm=llm, chat_history=history, **{name: "REWRITE {chat_history} | {question}"}).chat("And?")
        assert prompt(llm, 0) == "REWRITE user: Hello. | And?"

    def test_two_names_of_one_thing_are_refused(self):
        with pytest.raises(ConfigurationError, match="context_template and context_prompt are the same"):
            chat_engine(context_prompt="{context_str}", context_template="{context_str}")

    @pytest.mark.parametrize("way", WAYS)
    async def test_node_postprocessors(self, way):
        engine = chat_engine(
            "Alpha gives 4.2 litres [1].", node_postprocessors=[SimilarityPostprocessor(similarity_cutoff=0.95)]
        )
        response, _ = await talk(engine, way)
        assert [each.node.node_id for each in response.source_nodes] == [TEXT.node_id]

    def test_a_memory_of_ones_own(self):
        memory = ChatMemoryBuffer.from_defaults(token_limit=1000)
        chat_engine(memory=memory).chat(QUESTION)
        assert [message.content for message in memory.get_all()] == [QUESTION, CLEAN]
        with pytest.raises(ConfigurationError, match="memory or chat_history"):
            chat_engine(memory=memory, chat_history=[])

    def test_reset_forgets(self):
        engine = chat_engine()
        engine.chat(QUESTION)
        engine.reset()
        assert engine.chat_history == []

    def test_a_long_conversation_leaves_room_for_the_sources(self):
        llm = ScriptedTextLLM(replies=[REPLY], context_window=2000, num_output=64)
        engine = chat_engine(llm=llm, chat_mode="context")
        for _ in range(12):
            response = engine.chat("Tell me of Alpha. " + "word " * 200)
            assert str(response) == CLEAN

    def test_what_has_no_effect_is_refused(self):
        with pytest.raises(ConfigurationError, match="condense_prompt has no effect with chat_mode='context'"):
            chat_engine(chat_mode="context", condense_prompt="{question}")

    def test_unknown_arguments_name_the_nearest(self):
        with pytest.raises(ConfigurationError, match="system_promt: did you mean system_prompt"):
            chat_engine(system_promt="x")
        with pytest.raises(ConfigurationError, match="xyz: it takes"):
            chat_engine(xyz=1)

    def test_without_an_llm(self, monkeypatch):
        monkeypatch.setattr(Settings, "_llm", None)
        with pytest.raises(ConfigurationError, match="needs an LLM"):
            RAGAnythingChatEngine.from_defaults(ListRetriever([TEXT]))
        monkeypatch.setattr(Settings, "_llm", ScriptedTextLLM(replies=[REPLY]))
        assert str(RAGAnythingChatEngine.from_defaults(ListRetriever([TEXT, TABLE])).chat(QUESTION)) == CLEAN

    def test_a_failing_llm_raises_where_it_is_read(self):
        def fail(messages):
            raise OSError("down")

        engine = chat_engine(llm=ScriptedTextLLM(replies=[fail]))
        with pytest.raises(OSError, match="down"):
            engine.chat(QUESTION)
        with pytest.raises(OSError, match="down"):
            asyncio.run(engine.achat(QUESTION))


class TestSimple:
    def test_is_llamaindexs_engine(self):
        llm = ScriptedChatLLM(replies=["Hello."])
        engine = simple_chat_engine(llm, None, {"system_prompt": "Be kind."})
        assert isinstance(engine, SimpleChatEngine)
        response = engine.chat("Hi")
        assert (str(response), citations_of(response)) == ("Hello.", [])
        assert "Be kind." in prompt(llm)

    def test_what_concerns_documents_is_refused(self):
        for name in ("context_prompt", "context_template", "node_postprocessors", "filters"):
            with pytest.raises(ConfigurationError, match=f"{name} has no effect with chat_mode='simple'"):
                simple_chat_engine(ScriptedTextLLM(), None, {name: 1})
        with pytest.raises(ConfigurationError, match="did you mean system_prompt"):
            simple_chat_engine(ScriptedTextLLM(), None, {"system_promt": 1})


class TestPictures:
    @pytest.fixture
    def figure(self, tmp_path):
        path = tmp_path / "figure.png"
        Image.new("RGB", (64, 48), "navy").save(path)
        return ImageNode(
            id_="figure",
            text="Figure 1: The blue pump",
            image_path=str(path),
            metadata={"content_type": "image", "page": 2, "file_name": "p.pdf", "bbox": "[1, 2, 3, 4]"},
        )

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("mode", MODES)
    async def test_an_llm_that_sees_gets_caption_and_picture(self, figure, mode, way):
        llm = ScriptedChatLLM(replies=["It is blue [1][5]."])
        response, text = await talk(chat_engine(llm=llm, found=[figure], chat_mode=mode), way, "Which colour?")
        assert text == "It is blue [1]."
        assert [(each.page, each.bbox) for each in citations_of(response)] == [(2, (1, 2, 3, 4))]
        blocks = [block for message in llm.requests[0] for block in message.blocks]
        assert any(isinstance(block, TextBlock) and "The blue pump" in block.text for block in blocks)
        assert [type(block) for block in blocks].count(ImageBlock) == 1
        (shown,) = response.metadata["images"]
        assert (shown["n"], shown["sent"]) == (1, True)

    def test_a_context_prompt_with_pictures(self, figure):
        llm = ScriptedChatLLM(replies=["Blue [1]."])
        chat_engine(llm=llm, found=[figure], context_prompt="SEE {context_str} END").chat("Which colour?")
        blocks = llm.requests[0][-1].blocks
        kinds = [type(block).__name__ for block in blocks]
        assert kinds.count("ImageBlock") == 1
        assert blocks[0].text == "SEE "
        assert blocks[-1].text == " END\n\nWhich colour?"

    def test_a_text_llm_gets_the_words(self, figure):
        llm = ScriptedTextLLM(replies=["Blue [1]."])
        chat_engine(llm=llm, found=[figure]).chat("Which colour?")
        assert "The blue pump" in prompt(llm)

    def test_an_llm_that_sees_answers_where_there_is_a_picture(self, figure):
        reader, viewer = ScriptedTextLLM(replies=["Read [1]."]), ScriptedChatLLM(replies=["Seen [1]."])
        assert str(chat_engine(llm=reader, vision_llm=viewer, found=[figure]).chat("Colour?")) == "Seen [1]."
        assert str(chat_engine(llm=reader, vision_llm=viewer, found=[TEXT]).chat("Colour?")) == "Read [1]."
        blind = chat_engine(llm=reader, vision_llm=viewer, multimodal=False, found=[figure])
        assert str(blind.chat("Colour?")) == "Read [1]."

    def test_pictures_of_the_conversation_stay(self, figure):
        stream = io.BytesIO()
        Image.new("RGB", (8, 8)).save(stream, "PNG")
        history = [
            ChatMessage(role="user", blocks=[TextBlock(text="This?"), ImageBlock(image=stream.getvalue())]),
            ChatMessage(role="assistant", content="A diagram."),
        ]
        llm = ScriptedChatLLM(replies=["Which colour?", "Blue [1]."])
        chat_engine(llm=llm, found=[figure], chat_history=history).chat("And the pump?")
        images = [block for message in llm.requests[-1] for block in message.blocks if isinstance(block, ImageBlock)]
        assert len(images) == 2
        assert base64.b64decode(images[0].image) == stream.getvalue()

    def test_no_pictures_on_request(self, figure):
        llm = ScriptedChatLLM(replies=["Blue [1]."])
        chat_engine(llm=llm, found=[figure], multimodal=False).chat("Which colour?")
        assert not [block for message in llm.requests[0] for block in message.blocks if isinstance(block, ImageBlock)]


def test_citations_are_json_in_metadata_and_typed_outside():
    response = chat_engine().chat(QUESTION)
    (found,) = citations_of(response)
    assert json.loads(json.dumps(response.metadata["citations"]))[0]["n"] == found.number
