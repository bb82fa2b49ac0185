"""Two LLMs in one engine: the one that sees is asked where there is something to see, and only there."""

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ImageBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import ImageNode, NodeWithScore, TextNode
from PIL import Image

from llama_index_raganything.query_engine.engine import RAGAnythingQueryEngine
from llama_index_raganything.testing import ScriptedChatLLM, ScriptedTextLLM


class Fixed(BaseRetriever):
    def __init__(self, nodes):
        super().__init__()
        self.nodes = nodes

    def _retrieve(self, query_bundle):
        return [NodeWithScore(node=node, score=1.0) for node in self.nodes]


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "curve.png"
    Image.new("RGB", (64, 64), "red").save(path)
    return path


@pytest.fixture
def llms():
    return ScriptedTextLLM(replies=["Read. [1]"]), ScriptedChatLLM(replies=["Seen. [1]"])


def engine_over(nodes, llms, **options):
    return RAGAnythingQueryEngine.from_args(Fixed(nodes), llm=llms[0], vision_llm=llms[1], **options)


TEXT = TextNode(text="The pump delivers 4 litres.", metadata={"content_type": "text"})


def figure(path):
    return ImageNode(text="Figure 1: The curve", image_path=str(path), metadata={"content_type": "image"})


@pytest.mark.parametrize("streaming", [False, True])
async def test_texts_are_read_and_images_are_seen(picture, llms, streaming):
    for nodes, said in (([TEXT], "Read. [1]"), ([TEXT, figure(picture)], "Seen. [1]")):
        engine = engine_over(nodes, llms, streaming=streaming)
        assert str(engine.query("What is it?")) == said
        response = await engine.aquery("What is it?")
        text = "".join([piece async for piece in response.response_gen]) if streaming else str(response)
        assert text == said
    assert [len(llm.requests) for llm in llms] == [2, 2]
    sent = [block for message in llms[1].requests[0] for block in message.blocks if isinstance(block, ImageBlock)]
    assert len(sent) == 1


def test_an_image_of_the_question_is_seen(picture, llms):
    response = engine_over([TEXT], llms).query("Is it this?", attachments=[picture])
    assert str(response) == "Seen. [1]"
    assert len(llms[0].requests) == 0


def test_attachments_are_described_by_the_llm_that_sees(picture, llms):
    engine = engine_over([TEXT], llms, describe_attachments=True)
    engine.query("Is it this?", attachments=[picture])
    assert len(llms[1].requests) == 2


def test_an_llm_that_sees_needs_no_other(picture, llms):
    both = ScriptedChatLLM(replies=["Alone. [1]"])
    engine = engine_over([figure(picture)], (both, llms[1]))
    assert str(engine.query("What is it?")) == "Alone. [1]"
    assert not llms[1].requests


def test_the_caller_may_say_that_no_images_are_sent(picture, llms):
    assert str(engine_over([figure(picture)], llms, multimodal=False).query("What?")) == "Read. [1]"


def test_without_an_llm_answers_are_quotes(picture, llms):
    engine = RAGAnythingQueryEngine.from_args(Fixed([TEXT, figure(picture)]), vision_llm=llms[1])
    assert "4 litres" in str(engine.query("What does the pump deliver?"))
    assert not llms[1].requests


def test_prompts_of_both_can_be_changed(picture, llms):
    engine = engine_over([TEXT], llms)
    prompts = engine.get_prompts()
    name = next(name for name in prompts if name.endswith("text_qa_template"))
    engine.update_prompts({name: PromptTemplate("Ahoi {context_str} {query_str}")})
    engine.query("What?")
    assert str(llms[0].requests[0][0].content).startswith("Ahoi")
