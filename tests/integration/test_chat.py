"""Chat engines and tools over the index: captions and pictures reach the LLM."""

import asyncio
from pathlib import Path

import pytest
from llama_index.core.base.llms.types import ImageBlock, TextBlock

from llama_index_raganything import RAGAnythingIndex
from llama_index_raganything.testing import ScriptedChatLLM, ScriptedTextLLM

DEMO = Path(__file__).parents[2] / "llama_index_raganything" / "demo_files"
QUESTION = "Which figure shows the layout of the Skagen site?"


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat")
    with RAGAnythingIndex.from_paths(
        DEMO / "annual_report.pdf", uri=str(folder / "milvus.db"), working_dir=folder / "storage"
    ) as opened:
        yield opened


def sent(llm, kind):
    return [
        block for messages in llm.requests for message in messages for block in message.blocks if type(block) is kind
    ]


@pytest.mark.parametrize("use_async", [False, True])
def test_multimodal_chat_gets_caption_and_picture(index, use_async):
    llm = ScriptedChatLLM(replies=["Figure 2 does."])
    engine = index.as_chat_engine(llm=llm, similarity_top_k=2)
    response = asyncio.run(engine.achat(QUESTION)) if use_async else engine.chat(QUESTION)
    assert str(response) == "Figure 2 does."
    assert any("Layout of the Skagen site" in block.text for block in sent(llm, TextBlock))
    assert sent(llm, ImageBlock)


def test_text_chat_gets_the_caption_only(index):
    llm = ScriptedTextLLM(replies=["Figure 2 does."])
    assert str(index.as_chat_engine(llm=llm).chat(QUESTION)) == "Figure 2 does."
    assert any("Layout of the Skagen site" in block.text for block in sent(llm, TextBlock))
    assert not sent(llm, ImageBlock)


def test_a_picture_that_is_gone_leaves_its_words(index, monkeypatch):
    llm = ScriptedChatLLM(replies=["Figure 2 does."])
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    assert str(index.as_chat_engine(llm=llm).chat(QUESTION)) == "Figure 2 does."
    assert any("Layout of the Skagen site" in block.text for block in sent(llm, TextBlock))
    assert not sent(llm, ImageBlock)


def test_chat_streams(index):
    llm = ScriptedChatLLM(replies=["Figure 2 does."])
    assert "".join(index.as_chat_engine(llm=llm).stream_chat(QUESTION).response_gen) == "Figure 2 does."


def test_tools_answer_and_search(index):
    ask, search = index.as_tools()
    assert "29.4" in str(ask("What was the revenue of Sweden in 2024?"))
    assert "Layout of the Skagen site" in str(search(QUESTION))
    assert "29.4" in str(asyncio.run(ask.acall("What was the revenue of Sweden in 2024?")))
    assert [tool.metadata.name for tool in (ask, search)] == ["ask", "search"]
