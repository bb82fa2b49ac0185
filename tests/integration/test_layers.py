"""One real document, every layer: text, images, tables and formulas are found in their own way and together."""

from dataclasses import dataclass, field
from io import BytesIO

import pytest
from docx import Document as Docx
from docx.oxml import parse_xml
from docx.shared import Cm
from llama_index.core.schema import QueryBundle
from PIL import Image, ImageDraw

from llama_index_raganything import (
    AttachedQuery,
    ConfigurationError,
    InventoryRetriever,
    RAGAnythingIndex,
    TableRetriever,
    VisualRetriever,
)
from llama_index_raganything.attachments import ImageAttachment
from llama_index_raganything.ingestion.layers import LayerRecords
from llama_index_raganything.stores.nodes.visual import VISUAL_SUFFIX
from llama_index_raganything.testing import ColorEmbedding, HashEmbedding, ScriptedChatLLM

M = "http://schemas.openxmlformats.org/officeDocument/2006/math"
FORMULA = (
    f'<m:oMath xmlns:m="{M}"><m:r><m:t>E=m</m:t></m:r>'
    "<m:sSup><m:e><m:r><m:t>c</m:t></m:r></m:e><m:sup><m:r><m:t>2</m:t></m:r></m:sup></m:sSup></m:oMath>"
)


def picture(color, size=(400, 300)):
    image = Image.new("RGB", size, color)
    ImageDraw.Draw(image).rectangle((40, 40, 120, 120), fill="white")
    stream = BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("layers") / "harbour.docx"
    docx = Docx()
    docx.add_heading("Harbour report", 1)
    docx.add_paragraph("The harbour of Tromvik was dredged in 2021 and takes ships of nine metres draught since then.")
    docx.add_heading("Signals", 2)
    docx.add_picture(BytesIO(picture("red")), width=Cm(6))
    docx.add_paragraph("Figure 1: Storm signal at the northern mole", style="Caption")
    docx.add_picture(BytesIO(picture("blue")), width=Cm(6))
    docx.add_paragraph("Figure 2: Signal of calm weather", style="Caption")
    docx.add_heading("Traffic", 2)
    docx.add_paragraph("Table 1: Ships and cargo by year (in thousands)", style="Caption")
    table = docx.add_table(rows=0, cols=3)
    table.style = "Table Grid"
    for cells in [("Year", "Ships", "Cargo (tonnes)"), ("2021", "1,204", "88.5"), ("2022", "1,377", "(3.25)")]:
        for cell, text in zip(table.add_row().cells, cells, strict=True):
            cell.text = text
    docx.add_heading("Energy", 2)
    docx.add_paragraph("The energy of the beacon follows from its mass:")
    docx.add_paragraph()._p.append(parse_xml(FORMULA))
    docx.save(path)
    return path


@pytest.fixture(scope="module")
def index(report, tmp_path_factory):
    folder = tmp_path_factory.mktemp("layers_index")
    with RAGAnythingIndex(
        uri=str(folder / "milvus.db"), working_dir=folder / "storage", image_embed_model=ColorEmbedding()
    ) as index:
        assert not index.add(report).failures
        yield index


def types(results):
    return [item.node.metadata["content_type"] for item in results]


def test_text_is_found_by_its_words(index):
    results = index.as_retriever().retrieve("When was the harbour dredged?")
    assert "2021" in results[0].node.get_content()
    assert types(results)[0] == "text"


def test_images_are_found_by_what_they_show(index):
    found = index.as_visual_retriever(similarity_top_k=1).retrieve("something red")
    assert found[0].node.metadata["label"] == "Figure 1"
    assert "red" not in found[0].node.get_content()
    by_image = QueryBundle("", image_path=None)
    by_image = AttachedQuery.of(by_image, [ImageAttachment(picture("blue", (90, 60)))])
    assert index.as_visual_retriever(similarity_top_k=1).retrieve(by_image)[0].node.metadata["label"] == "Figure 2"
    assert isinstance(index.as_visual_retriever(), VisualRetriever)


def test_tables_are_relations_with_numbers_and_a_place(index):
    (table,) = index.table_store.tables()
    result = index.query_sql(f'SELECT ships, cargo_tonnes FROM "{table.name}" WHERE year = 2022')
    assert [tuple(map(float, row)) for row in result.rows] == [(1377.0, -3.25)]
    assert {column.name: column.scale for column in table.columns}["ships"] == 1000
    assert result.sources[0].label == "Table 1"
    assert index.store.get_nodes(node_ids=list(table.node_ids))[0].metadata["content_type"] == "table"


def test_tables_are_found_by_their_rows(index):
    retriever = index.as_table_retriever()
    assert isinstance(retriever, TableRetriever)
    found = retriever.retrieve("cargo of ships in 2022")
    assert set(types(found)) == {"table"}
    answer = index.as_table_query_engine().query("How many ships were there in 2022?")
    assert "1,377" in str(answer)
    assert answer.metadata["citations"][0]["label"] == "Table 1"


def test_formulas_are_found_by_their_meaning(index):
    results = index.as_retriever().retrieve("energy equals mass times c squared")
    assert types(results)[0] == "equation"
    assert "c squared" in results[0].node.get_content()


def test_the_whole_document_is_counted(index):
    retriever = InventoryRetriever(index.store, index.ledger)
    assert retriever.retrieve("How many figures are there?")[0].node.metadata["count"] == 2
    assert retriever.retrieve("When was the harbour dredged?") == []
    assert "2 figures" in str(index.as_query_engine().query("How many figures are there?"))


def test_all_layers_answer_together(index):
    results = index.as_retriever(similarity_top_k=6).retrieve("Which picture shows the red storm signal of the mole?")
    assert results[0].node.metadata["label"] == "Figure 1"
    assert len(set(types(results))) > 1
    llm = ScriptedChatLLM(replies=["It is the storm signal. [1]"])
    response = index.as_query_engine(llm=llm).query("Which picture shows the red storm signal of the mole?")
    assert response.metadata["images"][0]["node_id"] == results[0].node.node_id
    assert any(block.block_type == "image" for message in llm.requests[-1] for block in message.blocks)


def test_each_layer_loses_a_deleted_document(report, tmp_path):
    options = {"uri": str(tmp_path / "milvus.db"), "working_dir": tmp_path / "storage"}
    with RAGAnythingIndex(**options, image_embed_model=ColorEmbedding()) as index:
        index.add(report)
        assert index.visual_store.collection_name.endswith(VISUAL_SUFFIX)
        assert (index.visual_store.count(), index.table_store.count()) == (2, 1)
        assert index.delete(str(report))
        assert (index.store.count(), index.visual_store.count(), index.table_store.count()) == (0, 0, 0)
        assert index.knowledge_graph.stats()["nodes"] == 0
        assert not [path for path in (tmp_path / "storage").rglob("*") if path.is_file() and path.suffix == ".png"]


class Lengths:
    """A layer of one's own: how long the text of each node is."""

    name = "lengths"

    def __init__(self):
        self.written, self.flushed = {}, 0

    def settings(self):
        return {"version": 1}

    def read(self, nodes):
        return LengthRecords(lengths={node.node_id: len(node.get_content()) for node in nodes})

    def write(self, doc_id, records, *, again):
        self.written[doc_id] = dict(records.lengths)

    def delete_nodes(self, doc_id, node_ids):
        for node_id in node_ids:
            self.written.get(doc_id, {}).pop(node_id, None)

    def delete_document(self, doc_id):
        self.written.pop(doc_id, None)

    def flush(self):
        self.flushed += 1


@dataclass
class LengthRecords(LayerRecords):
    lengths: dict = field(default_factory=dict)


def test_a_layer_of_ones_own_is_written_and_deleted_with_the_nodes(tmp_path):
    note = tmp_path / "note.md"
    note.write_text("# Harbour\n\nIt opens at seven.\n\n# Ferries\n\nThey leave at eight.\n")
    layer = Lengths()
    options = {"uri": str(tmp_path / "milvus.db"), "working_dir": tmp_path / "storage", "embed_model": HashEmbedding()}

    def stored(index):
        return {node.node_id: len(node.get_content()) for node in index.store.get_nodes()}

    with RAGAnythingIndex(**options, layers=[layer]) as index:
        report = index.add(note)
        (doc_id,) = layer.written
        assert doc_id == index.documents()[0].doc_id
        assert layer.written[doc_id] == stored(index)
        assert layer.flushed
        assert "lengths" in report.seconds
        note.write_text("# Harbour\n\nIt opens at six.\n")
        assert index.add(note).updated
        assert layer.written[doc_id] == stored(index)
        assert index.delete(note)
        assert layer.written == {}
        index.add(note)
    with RAGAnythingIndex(**options) as index:
        assert index.add(note).updated  # Without the layer it is another pipeline.
    with pytest.raises(ConfigurationError, match="'lengths' exists already"):
        RAGAnythingIndex(**options, layers=[layer, Lengths()])
