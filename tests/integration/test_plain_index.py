"""Our parts under LlamaIndex's own indexes, as the README's "every part alone" shows them."""

import shutil
from pathlib import Path

import pytest
from llama_index.core import Document, SimpleDirectoryReader, StorageContext, VectorStoreIndex
from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import ImageNode, TextNode
from PIL import Image

from llama_index_raganything import (
    EvidenceRanker,
    MilvusNodeStore,
    MilvusVisualStore,
    RAGAnythingNodeParser,
    RAGAnythingReader,
    WordLlamaEmbedding,
)
from llama_index_raganything.testing import ColorEmbedding, HashEmbedding, ScriptedTextLLM

DEMO = Path(__file__).parents[2] / "llama_index_raganything" / "demo_files"

QUESTIONS = {
    "text": ("When was the Rugen grid connection under repair?", "Rugen grid connection was under repair"),
    "table": ("Revenue by region in million EUR, Sweden", "| Sweden |"),
    "image": ("Layout of the Skagen site with turbines and substation", "Figure 2: Layout of the Skagen site"),
}


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
    """The recipe's first half, in a folder with one report."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "reports").mkdir()
    shutil.copy(DEMO / "annual_report.pdf", folder / "reports")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        reader = RAGAnythingReader(parser="auto", profile="standard", ocr="auto")
        documents = SimpleDirectoryReader("reports/", file_extractor={".pdf": reader, ".docx": reader}).load_data()
    return folder, documents


@pytest.fixture
def opened(parsed, tmp_path, monkeypatch):
    folder, documents = parsed
    monkeypatch.chdir(folder)
    embed_model = WordLlamaEmbedding()
    parser = RAGAnythingNodeParser(asset_root="rag_storage/assets")
    with MilvusNodeStore(uri=str(tmp_path / "milvus.db")) as store:
        pipeline = IngestionPipeline(transformations=[parser, embed_model], vector_store=store)
        pipeline.run(documents=documents)
        yield VectorStoreIndex.from_vector_store(store, embed_model=embed_model), pipeline


def found(index, question, top_k=4):
    return [hit.node for hit in index.as_retriever(similarity_top_k=top_k).retrieve(question)]


def check_all(index):
    for content_type, (question, words) in QUESTIONS.items():
        hits = [node for node in found(index, question) if node.metadata["content_type"] == content_type]
        assert any(words in node.text for node in hits), content_type
        if content_type != "text":
            assert all(type(node) is ImageNode and Path(node.image_path).is_file() for node in hits)


def test_text_table_and_picture_are_found(opened):
    check_all(opened[0])


def test_a_document_inserted_later_is_found_and_hides_nothing(opened):
    index, _ = opened
    index.insert(Document(text="The giraffe of Oslo sleeps at noon."))
    assert found(index, "When does the giraffe of Oslo sleep?", 1)[0].text == "The giraffe of Oslo sleeps at noon."
    check_all(index)


def test_a_document_with_pictures_comes_in_later_through_the_pipeline(opened):
    index, pipeline = opened
    retriever = index.as_retriever(similarity_top_k=3)
    pipeline.run(documents=RAGAnythingReader().load_data(DEMO / "milvus_architecture.png"))
    hits = [hit.node for hit in retriever.retrieve("key components of the Milvus architecture")]
    assert any("milvus_architecture.png" in node.metadata["source"] for node in hits)
    check_all(index)


def test_the_engine_answers_from_the_table(opened):
    index, _ = opened
    llm = ScriptedTextLLM(replies=["29.4"])
    engine = index.as_query_engine(llm=llm, node_postprocessors=[EvidenceRanker()], similarity_top_k=6)
    response = engine.query("What was the revenue of Sweden in 2024?")
    assert str(response) == "29.4"
    assert "29.4" in "".join(str(message.content) for message in llm.requests[0])


def test_upstream_a_document_with_pictures_inserted_into_the_index_hides_all_else(opened):
    # LlamaIndex records image nodes alone in the index struct of a store that keeps text, and searches those alone.
    index, pipeline = opened
    index.insert_nodes(pipeline.transformations[0](RAGAnythingReader().load_data(DEMO / "milvus_architecture.png")))
    assert {type(node) for node in found(index, QUESTIONS["text"][0], 20)} == {ImageNode}
    assert not any("Rugen" in node.text for node in found(index, QUESTIONS["text"][0], 20))


def test_multi_modal_index_finds_texts_by_words_and_pictures_by_pixels(tmp_path):
    colours = {"sunset": "red", "meadow": "green", "ocean": "blue"}
    for name, colour in colours.items():
        Image.new("RGB", (32, 32), colour).save(tmp_path / f"{name}.png")
    # LlamaIndex leaves out nodes without text.
    pictures = [ImageNode(id_=name, text="A picture.", image_path=str(tmp_path / f"{name}.png")) for name in colours]
    texts = [TextNode(id_=f"about {name}", text=f"The {name} was painted by nobody.") for name in colours]
    uri = str(tmp_path / "m.db")
    with MilvusNodeStore(uri, "mm") as store, MilvusVisualStore(uri, "mm__visual") as visual:
        index = MultiModalVectorStoreIndex(
            [*texts, *pictures],
            storage_context=StorageContext.from_defaults(vector_store=store, image_store=visual),
            embed_model=HashEmbedding(dimension=256),
            image_embed_model=ColorEmbedding(),
        )
        retriever = index.as_retriever(similarity_top_k=1, image_similarity_top_k=1)
        assert [hit.node.node_id for hit in retriever.text_retrieve("The meadow was")] == ["about meadow"]
        assert [hit.node.node_id for hit in retriever.text_to_image_retrieve("something blue")] == ["ocean"]
        picture = str(tmp_path / "sunset.png")
        assert [hit.node.node_id for hit in retriever.image_to_image_retrieve(picture)] == ["sunset"]
        assert {hit.node.node_id for hit in retriever.retrieve("The ocean was blue")} == {"about ocean", "ocean"}
