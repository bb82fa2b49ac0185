"""Chat engines and tools over the index: captions and pictures reach the LLM."""

import asyncio
import json
from pathlib import Path

import pytest
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.schema import ImageNode
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters

from llama_index_raganything import ConfigurationError, RAGAnythingIndex, citations_of
from llama_index_raganything.attachments import ImageAttachment, TableAttachment
from llama_index_raganything.query_engine.question_images import StoredImages
from llama_index_raganything.testing import ScriptedChatLLM, ScriptedTextLLM

# LlamaIndex's memory is SQLite, whose threads complain when a test's event loop ends before them.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

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
    llm = ScriptedChatLLM(replies=["Figure 2 does [1]."])
    engine = index.as_chat_engine(llm=llm, similarity_top_k=2, returns="elements")
    response = asyncio.run(engine.achat(QUESTION)) if use_async else engine.chat(QUESTION)
    assert str(response) == "Figure 2 does [1]."
    assert any("Layout of the Skagen site" in block.text for block in sent(llm, TextBlock))
    assert sent(llm, ImageBlock)


def test_text_chat_gets_the_caption_only(index):
    llm = ScriptedTextLLM(replies=["Figure 2 does [1]."])
    assert str(index.as_chat_engine(llm=llm).chat(QUESTION)) == "Figure 2 does [1]."
    assert any("Layout of the Skagen site" in block.text for block in sent(llm, TextBlock))
    assert not sent(llm, ImageBlock)


def test_a_picture_that_is_gone_leaves_its_words(index, monkeypatch):
    llm = ScriptedChatLLM(replies=["Figure 2 does [1]."])
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    assert str(index.as_chat_engine(llm=llm, returns="elements").chat(QUESTION)) == "Figure 2 does [1]."
    assert any("Layout of the Skagen site" in block.text for block in sent(llm, TextBlock))
    assert not sent(llm, ImageBlock)


def test_chat_goes_on_from_a_message_with_a_picture(index):
    picture = (DEMO / "milvus_architecture.png").read_bytes()
    history = [
        ChatMessage(role="user", blocks=[TextBlock(text="What is this?"), ImageBlock(image=picture)]),
        ChatMessage(role="assistant", content="A diagram."),
    ]
    llm = ScriptedChatLLM(replies=["Which figure shows the layout of the Skagen site?", "Figure 2 does [1]."])
    engine = index.as_chat_engine(llm=llm, chat_history=history, similarity_top_k=2, returns="elements")
    response = engine.chat("And the Skagen site?")
    assert str(response) == "Figure 2 does [1]."
    assert any(block.image and len(block.image) > len(picture) for block in sent(llm, ImageBlock))
    assert [Path(image["path"]).is_file() for image in response.metadata["images"] if image["sent"]]


REVENUE = "What was the revenue of Sweden in 2024?"


async def talk(engine, way, message):
    if way == "chat":
        response = await asyncio.to_thread(engine.chat, message)
    elif way == "achat":
        response = await engine.achat(message)
    elif way == "stream_chat":
        response = await asyncio.to_thread(engine.stream_chat, message)
        assert await asyncio.to_thread(lambda: "".join(response.response_gen)) == str(response)
    else:
        response = await engine.astream_chat(message)
        assert "".join([piece async for piece in response.async_response_gen()]) == str(response)
    return response


@pytest.mark.parametrize("way", ["chat", "achat", "stream_chat", "astream_chat"])
@pytest.mark.parametrize("mode", ["best", "condense_plus_context", "context", "condense_question"])
@pytest.mark.parametrize("returns", ["pages", "elements"])
async def test_chat_cites_document_page_and_box(index, mode, way, returns):
    (table,) = [node for node in index.store.get_nodes() if node.metadata.get("label") == "Table 1"]

    def cite(messages):
        text = "\n".join(message.content or "" for message in messages)
        number = next(part.split("]")[0] for part in text.split("Source [")[1:] if "29.4" in part)
        return f"The revenue of Sweden was 29.4 in 2024 [{number}][99]."

    engine = index.as_chat_engine(mode, ScriptedTextLLM(replies=[cite]), returns=returns, similarity_top_k=10)
    response = await talk(engine, way, REVENUE)
    (found,) = citations_of(response)
    assert (found.file_name, found.page, found.label) == ("annual_report.pdf", 1, "Table 1")
    assert list(found.bbox) == json.loads(table.metadata["bbox"])
    assert response.metadata["dropped_markers"] == [99]
    assert "99" not in str(response)


def test_simple_chat_does_not_look_at_the_documents(index):
    llm = ScriptedTextLLM(replies=["Hello [1]."])
    response = index.as_chat_engine("simple", llm=llm, system_prompt="Be kind.").chat(REVENUE)
    assert (str(response), citations_of(response)) == ("Hello [1].", [])
    assert not any("29.4" in block.text for block in sent(llm, TextBlock))
    filters = MetadataFilters(filters=[MetadataFilter(key="page", value=1)])
    with pytest.raises(ConfigurationError, match="filters has no effect"):
        index.as_chat_engine("simple", llm=llm, filters=filters)


def test_options_of_chat_and_of_retrieval_reach_through(index):
    llm = ScriptedTextLLM(replies=["Nobody knows."])
    filters = MetadataFilters(filters=[MetadataFilter(key="page", value=2)])
    engine = index.as_chat_engine(llm=llm, filters=filters, system_prompt="Speak like a pirate.", returns="elements")
    response = engine.chat(REVENUE)
    assert {each.node.metadata["page"] for each in response.source_nodes} == {2}
    assert {each.node.metadata["content_type"] for each in response.source_nodes}.isdisjoint({"page"})
    assert any("Speak like a pirate." in block.text for block in sent(llm, TextBlock))
    with pytest.raises(ConfigurationError, match="did you mean system_prompt"):
        index.as_chat_engine(llm=llm, system_promt="x")
    with pytest.raises(ConfigurationError, match=r"'contxt' is not known"):
        index.as_chat_engine("contxt", llm)


def figures(index):
    return [node for node in index.store.get_nodes() if node.metadata.get("label") == "Figure 2"]


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
    assert StoredImages(index.store, elsewhere).find(picture) == []
    for filters in (here, None):
        assert [node.node_id for node in StoredImages(index.store, filters).find(picture)] == [figure.node_id]


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
