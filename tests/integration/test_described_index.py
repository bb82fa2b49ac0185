"""Descriptions end to end: files in, one call per element, found by what the model said, gone with their document."""

import io
import json

import docx
import pytest
from llama_index.core.indices.property_graph import PropertyGraphIndex
from llama_index.core.schema import ImageNode
from PIL import Image, ImageDraw

from llama_index_raganything import RAGAnythingIndex
from llama_index_raganything.enrich.describers.equation import EquationDescriber
from llama_index_raganything.enrich.describers.image import ImageDescriber
from llama_index_raganything.enrich.describers.table import TableDescriber
from llama_index_raganything.graph.extraction.entity_linker import EntityLinker
from llama_index_raganything.stores.graph.property_graph import MilvusPropertyGraphStore
from llama_index_raganything.testing import HashEmbedding, ScriptedChatLLM

MODEL = HashEmbedding(dimension=64)
SAID = {
    "image": ("A zeppelin moored above Oslet.", "Zeppelin mooring"),
    "table": ("It lists quokkas by island.", "Quokka census"),
    "equation": ("It is the law of the pendulum.", "Pendulum law"),
}


def reply(messages):
    prompt = str(messages[-1].content)
    kind = next(kind for kind in SAID if f'"entity_type": "{kind}"' in prompt)
    if "unreadable" in prompt:
        return "I am sorry."
    description, name = SAID[kind]
    summary = f"Summary: {description}" + (" In the second report." if "second report" in prompt else "")
    entity = {"entity_name": name, "entity_type": kind, "summary": summary}
    return json.dumps({"detailed_description": description, "entity_info": entity})


def picture(color):
    image = Image.new("RGB", (160, 90), "white")
    ImageDraw.Draw(image).ellipse((10, 10, 120, 60), fill=color)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    stream.seek(0)
    return stream


def report(path, title, color):
    document = docx.Document()
    document.add_heading(title, level=1)
    document.add_paragraph(f"The {title} describes Kiln Nine in Oslet.")
    document.add_picture(picture(color))
    document.add_paragraph("Figure 1: View of Oslet", style="Caption")
    document.add_paragraph("Table 1: Animals", style="Caption")
    table = document.add_table(rows=2, cols=2)
    for row, cells in zip(table.rows, [("Island", "Count"), ("Rottnest", "10000")], strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    document.save(path)
    return path


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("milvus") / "m.db")
    with MilvusPropertyGraphStore(path, "keep_open"):
        yield path


def describers(llm, folder):
    options = {"llm": llm, "cache_folder": folder, "retry_s": 0}
    return [ImageDescriber(**options), TableDescriber(**options), EquationDescriber(**options)]


def opened(uri, name, tmp_path, llm):
    return RAGAnythingIndex(
        uri=uri, collection=name, embed_model=MODEL, working_dir=tmp_path / "storage",
        transformations=describers(llm, tmp_path / "answers"),
    )  # fmt: skip


def triplets(index, name):
    return {(a.id, r.id, b.id) for a, r, b in index.knowledge_graph.store.get_triplets(entity_names=[name])}


def test_descriptions_from_file_to_graph_and_away_again(uri, tmp_path):
    llm = ScriptedChatLLM(replies=[reply])
    files = [
        report(tmp_path / "first.docx", "first report", "red"),
        report(tmp_path / "second.docx", "second report", "blue"),
    ]
    formula = tmp_path / "law.md"
    formula.write_text("# Pendulum\n\nThe period is:\n\n$$\nT = 2\\pi\\sqrt{l/g}\n$$\n", encoding="utf-8")
    index = opened(uri, "described", tmp_path, llm)
    index.add([*files, formula])
    assert index.last_report.failures == []
    assert index.last_report.warnings == []

    # One call for each of two images, two tables and one equation; RAG-Anything's pipeline makes three for each.
    assert len(llm.requests) == 5

    for words, kind in (
        ("zeppelin moored", "image"),
        ("quokkas by island", "table"),
        ("law of the pendulum", "equation"),
    ):
        found = index.as_retriever(similarity_top_k=3).retrieve(words)
        assert found[0].node.metadata["content_type"] == kind
        assert found[0].node.metadata["entity_type"] == kind
    image = next(
        item.node
        for item in index.as_retriever(similarity_top_k=4).retrieve("zeppelin")
        if isinstance(item.node, ImageNode)
    )
    paragraphs = image.text.split("\n\n")
    caption = next(place for place, part in enumerate(paragraphs) if part == "Figure 1: View of Oslet")
    assert paragraphs[caption + 1] == "A zeppelin moored above Oslet."

    # Both documents have a "Zeppelin mooring (image)": one entity, each with its own source and summary.
    store = index.knowledge_graph.store
    ids = {entry.file_name: entry.doc_id for entry in index.documents()}
    (entity,) = store.get(ids=["Zeppelin mooring (image)"])
    assert entity.label == "image"
    assert entity.properties["description"].startswith("Summary: A zeppelin")
    sources = store.sources(["Zeppelin mooring (image)"])["Zeppelin mooring (image)"]
    assert {doc_id for _, doc_id in sources} == {ids["first.docx"], ids["second.docx"]}
    assert ("Oslet", "belongs_to", "Zeppelin mooring (image)") in triplets(index, "Zeppelin mooring (image)")

    index.delete(ids["first.docx"])
    assert {doc_id for _, doc_id in store.sources(["Zeppelin mooring (image)"])["Zeppelin mooring (image)"]} == {
        ids["second.docx"]
    }
    (entity,) = store.get(ids=["Zeppelin mooring (image)"])
    assert entity.properties["description"].endswith("In the second report.")
    index.delete(ids["second.docx"])
    assert store.get(ids=["Zeppelin mooring (image)"]) == []
    assert triplets(index, "Zeppelin mooring (image)") == set()

    # All of it again, in another knowledge base: no call.
    index.close()
    other = ScriptedChatLLM(replies=["never asked"])
    index = opened(uri, "described_again", tmp_path, other)
    index.add([*files, formula])
    assert other.requests == []
    assert (
        index.as_retriever(similarity_top_k=1).retrieve("quokkas")[0].node.metadata["entity_name"].startswith("Quokka")
    )
    index.close()


def test_one_that_fails_is_a_warning_and_the_rest_is_in(uri, tmp_path):
    llm = ScriptedChatLLM(replies=[reply])
    index = opened(uri, "partly", tmp_path, llm)
    file = tmp_path / "mixed.md"
    file.write_text("# A\n\n| unreadable | b |\n|---|---|\n| 1 | 2 |\n\n# B\n\n$$\nx = y\n$$\n", encoding="utf-8")
    index.add([file])
    assert index.last_report.failures == []
    ((source, reason),) = index.last_report.warnings
    assert source == str(file)
    assert "I am sorry." in reason
    found = {
        item.node.metadata["content_type"]: item.node for item in index.as_retriever(similarity_top_k=5).retrieve("x 1")
    }
    assert "entity_name" not in found["table"].metadata
    assert found["equation"].metadata["entity_name"] == "Pendulum law (equation)"
    index.close()


def test_read_again_without_a_model_nothing_of_it_stays(uri, tmp_path):
    file = tmp_path / "law.md"
    file.write_text("# Pendulum\n\n$$\nx = y\n$$\n", encoding="utf-8")
    index = opened(uri, "again", tmp_path, ScriptedChatLLM(replies=[reply]))
    index.add([file])
    assert index.knowledge_graph.store.get(ids=["Pendulum law (equation)"])
    index.close()
    index = RAGAnythingIndex(uri=uri, collection="again", embed_model=MODEL, working_dir=tmp_path / "storage")
    assert len(index.add([file]).updated) == 1
    assert index.knowledge_graph.store.get(ids=["Pendulum law (equation)"]) == []
    assert index.knowledge_graph.stats()["triples"] == 0
    index.close()


def test_under_property_graph_index(uri):
    from llama_index.core.schema import TextNode

    metadata = {"doc_id": "d", "content_type": "table"}
    node = TextNode(id_="t", text="| Oslet | 300 |", metadata=metadata)
    llm = ScriptedChatLLM(replies=[reply])
    with MilvusPropertyGraphStore(uri, "pgi", overwrite=True) as store:
        PropertyGraphIndex(
            nodes=TableDescriber(llm=llm)([node]),
            property_graph_store=store,
            kg_extractors=[EntityLinker()],
            embed_kg_nodes=False,
            llm=llm,
            embed_model=MODEL,
        )
        (entity,) = store.get(ids=["Quokka census (table)"])
        assert entity.label == "table"
        assert len(llm.requests) == 1
