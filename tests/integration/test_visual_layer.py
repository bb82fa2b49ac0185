"""Pictures from files to answers: written with the nodes of a document, found, changed and deleted with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from llama_index.core.schema import ImageNode
from PIL import Image
from reportlab.pdfgen import canvas

from llama_index_raganything import RAGAnythingIndex, RAGAnythingReader
from llama_index_raganything.enrich.image_embedder import ImageEmbedder
from llama_index_raganything.errors import SchemaMismatchError
from llama_index_raganything.ingestion.layers import ImageLayer, Layer
from llama_index_raganything.retrievers.visual import VisualRetriever
from llama_index_raganything.stores.nodes.visual import MilvusVisualStore, visual_store_beside
from llama_index_raganything.testing import ColorEmbedding, HashEmbedding

COLOURS = {"red": (220, 30, 30), "green": (40, 160, 60), "blue": (40, 70, 210)}


def picture(path, colour):
    image = Image.new("RGB", (120, 90), "white")
    image.paste(COLOURS[colour], (20, 20, 100, 70))
    image.save(path)


@pytest.fixture
def folder(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    picture(docs / "one.png", "red")
    picture(docs / "two.png", "green")
    sheet = canvas.Canvas(str(docs / "pages.pdf"), pagesize=(300, 300))
    sheet.drawString(20, 280, "A page with a drawing.")
    sheet.setFillColorRGB(0.16, 0.27, 0.82)
    sheet.rect(20, 20, 260, 200, fill=1)
    sheet.save()
    (docs / "note.md").write_text("# Note\n\nNo picture here.\n")
    return docs


@pytest.fixture
def index(tmp_path):
    index = RAGAnythingIndex(
        uri=str(tmp_path / "milvus.db"),
        working_dir=tmp_path / "work",
        embed_model=HashEmbedding(),
        graph=False,
        reader=RAGAnythingReader(ocr="off", profile="fast", page_images=True),
    )
    store = visual_store_beside(index.store)
    index.model = ColorEmbedding()
    index.ingestion.layers.append(ImageLayer(store, index.model))
    yield index
    store.close()
    index.close()


def writer(index):
    return next(layer for layer in index.ingestion.layers if layer.name == "visual")


def ask(index, question, top_k=1):
    return VisualRetriever(writer(index).store, ColorEmbedding(), top_k).retrieve(question)


def stored_ids(store):
    return {node.node_id for node in store.get_nodes()}


def test_pictures_join_leave_and_change_with_their_documents(index, folder):
    layer: Layer = writer(index)
    before = index.ingestion.fingerprint()
    report = index.add(folder)
    assert not report.failures
    assert not report.warnings
    assert report.seconds["visual"] > 0
    assert len(index.model.images) == layer.store.count() == 3
    assert stored_ids(layer.store) <= stored_ids(index.store)
    assert ask(index, "red")[0].node.metadata["file_name"] == "one.png"
    page = ask(index, "blue")[0].node
    assert (page.metadata["content_type"], page.metadata["file_name"]) == ("page", "pages.pdf")

    index.add(folder)
    assert len(index.model.images) == 3

    picture(folder / "one.png", "green")
    index.add(folder)
    assert len(index.model.images) == 4
    assert layer.store.count() == 3
    assert {item.node.metadata["file_name"] for item in ask(index, "green", 2)} == {"one.png", "two.png"}
    assert ask(index, "red")[0].score < 0.5

    layer.embedder = ImageEmbedder(embed_model=ColorEmbedding(model_name="other"))
    assert index.ingestion.fingerprint() != before
    pictures = [node.image_path for node in layer.store.get_nodes()]
    assert index.delete(str(folder / "pages.pdf"))
    assert layer.store.count() == 2
    for name in ("one.png", "two.png"):
        index.delete(str(folder / name))
    assert layer.store.count() == 0
    assert not any(Path(path).exists() for path in pictures)


def test_a_picture_that_cannot_be_embedded_is_a_warning(index, folder):
    (folder / "drawing.md").write_text("# Drawing\n\nSee below.\n")

    class Broken(ColorEmbedding):
        def _get_image_embedding(self, img_file_path):
            vector = super()._get_image_embedding(img_file_path)
            if vector[0] > 0.5:
                raise RuntimeError("no red please")
            return vector

    layer = writer(index)
    layer.embedder = ImageEmbedder(embed_model=Broken())
    report = index.add(folder)
    assert not report.failures
    assert [(source.endswith("one.png"), "no red please" in reason) for source, reason in report.warnings] == [
        (True, True)
    ]
    assert layer.store.count() == 2


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with MilvusVisualStore(str(tmp_path_factory.mktemp("milvus") / "m.db"), dim=12) as store:
        yield store


@pytest.fixture
def alone(store, tmp_path):
    """A layer without a pipeline, one picture in it, and the node of that picture."""
    store.clear()
    picture(tmp_path / "one.png", "red")
    metadata = {"doc_id": "doc", "content_type": "image"}
    node = ImageNode(id_="one", text="One", image_path=str(tmp_path / "one.png"), metadata=metadata)
    layer = ImageLayer(store, ColorEmbedding())
    layer.write("doc", layer.read([node]))
    return layer, node


def test_vectors_of_pictures_that_cannot_be_embedded_any_more_go(alone):
    layer, node = alone
    assert layer.store.count() == 1
    records = layer.read([node.model_copy(update={"image_path": "gone.png"})])
    assert [node_id for node_id, _ in records.failures] == ["one"]
    layer.write("another doc", records, again=True)
    assert layer.store.count() == 1
    layer.write("doc", records, again=True)
    assert layer.store.count() == 0


def test_another_model_is_another_setting(alone):
    layer, _ = alone
    first = layer.settings()
    assert first["embed_model"] == ["ColorEmbedding", "unknown", 12]
    for embedder in (
        ColorEmbedding(model_name="other"),
        ImageEmbedder(embed_model=ColorEmbedding()),
        ImageEmbedder(embed_model=ColorEmbedding(), content_types=("image", "page"), max_pixels=5000),
    ):
        assert ImageLayer(layer.store, embedder).settings() != first
    assert ImageLayer(layer.store, ColorEmbedding()).settings() == first


def test_another_length_is_a_typed_error(alone):
    class Longer(ColorEmbedding):
        def _get_image_embedding(self, img_file_path):
            return [*super()._get_image_embedding(img_file_path), 1.0]

    layer, node = alone
    layer.embedder = ImageEmbedder(embed_model=Longer())
    with pytest.raises(SchemaMismatchError, match=r"ColorEmbedding.*length 13.*dimension 12"):
        layer.read([node])


def test_crops_of_tables_are_left_to_their_text(alone):
    layer, node = alone
    table = node.model_copy(update={"metadata": {**node.metadata, "content_type": "table"}})
    assert layer.read([table]).nodes == []
    assert len(layer.read([node, table]).nodes) == 1


def test_deletion_by_node(alone):
    layer, _ = alone
    layer.delete_nodes("doc", [])
    assert layer.store.count() == 1
    layer.delete_nodes("doc", ["one"])
    assert layer.store.count() == 0
