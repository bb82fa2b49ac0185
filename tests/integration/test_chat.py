"""Chat engines and tools over the index: captions and pictures reach the LLM."""

import asyncio
from pathlib import Path

import pytest
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.schema import ImageNode
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters

from llama_index_raganything import RAGAnythingIndex
from llama_index_raganything.attachments import ImageAttachment, TableAttachment
from llama_index_raganything.query_engine.attached import StoredImages
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


def test_chat_goes_on_from_a_message_with_a_picture(index):
    picture = (DEMO / "milvus_architecture.png").read_bytes()
    history = [
        ChatMessage(role="user", blocks=[TextBlock(text="What is this?"), ImageBlock(image=picture)]),
        ChatMessage(role="assistant", content="A diagram."),
    ]
    llm = ScriptedChatLLM(replies=["Which figure shows the layout of the Skagen site?", "Figure 2 does."])
    response = index.as_chat_engine(llm=llm, chat_history=history, similarity_top_k=2).chat("And the Skagen site?")
    assert str(response) == "Figure 2 does."
    assert any(block.image and len(block.image) > len(picture) for block in sent(llm, ImageBlock))
    shown = response.sources[0].raw_output["image_nodes"]
    assert all(Path(scored.node.image_path).is_file() for scored in shown)
    assert shown


def figures(index):
    return [node for node in index.node_store.get_nodes() if node.metadata.get("label") == "Figure 2"]


@pytest.mark.parametrize("use_async", [False, True])
def test_a_picture_of_the_documents_is_recognised_without_a_model(index, use_async):
    figure = next(node for node in figures(index) if isinstance(node, ImageNode))
    engine = index.as_query_engine()
    picture = Path(figure.image_path).read_bytes()
    question = "Is this the same map?"
    response = (
        asyncio.run(engine.aquery(question, attachments=[picture]))
        if use_async
        else engine.query(question, attachments=[picture])
    )
    assert "The attached image is: Figure 2" in str(response)
    assert response.source_nodes[0].node.node_id == figure.node_id
    assert response.metadata["citations"][0]["label"] == "Figure 2"
    assert figure.node_id in [record["node_id"] for record in response.metadata["images"]]


def test_a_picture_behind_a_filter_is_not_recognised(index):
    figure = next(node for node in figures(index) if isinstance(node, ImageNode))
    picture = [ImageAttachment(figure.image_path)]
    elsewhere = MetadataFilters(filters=[MetadataFilter(key="file_name", value="other.pdf")])
    here = MetadataFilters(filters=[MetadataFilter(key="file_name", value="annual_report.pdf")])
    assert StoredImages(index.node_store, elsewhere).find(picture) == []
    for filters in (here, None):
        assert [node.node_id for node in StoredImages(index.node_store, filters).find(picture)] == [figure.node_id]


def test_a_table_finds_the_stored_one(index):
    rows = [["Region", "2023", "2024"], ["Sweden", "", ""], ["Denmark", "", ""]]
    response = index.as_query_engine().query("Which table is this?", attachments=[TableAttachment(rows)])
    assert response.source_nodes[0].node.metadata["label"] == "Table 1"


def test_tools_answer_and_search(index):
    ask, search = index.as_tools()
    assert "29.4" in str(ask("What was the revenue of Sweden in 2024?"))
    assert "Layout of the Skagen site" in str(search(QUESTION))
    assert "29.4" in str(asyncio.run(ask.acall("What was the revenue of Sweden in 2024?")))
    assert [tool.metadata.name for tool in (ask, search)] == ["ask", "search"]
