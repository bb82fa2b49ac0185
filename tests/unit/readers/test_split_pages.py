"""``split="page"``: one document per page, as LlamaIndex's own readers make them; and the dates of files."""

import os
from pathlib import Path

import pytest
from llama_index.core import SimpleDirectoryReader
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import MetadataMode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore

from llama_index_raganything import RAGAnythingNodeParser, RAGAnythingReader, document_elements
from llama_index_raganything.testing import HashEmbedding

DEMO = Path(__file__).parents[3] / "llama_index_raganything" / "demo_files"


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return RAGAnythingReader(working_dir=str(tmp_path_factory.mktemp("work")), split="page")


@pytest.fixture(scope="module")
def pages(reader):
    return reader.load_data(DEMO / "annual_report.pdf")


def test_one_document_per_page_with_its_elements(reader, pages):
    assert [(page.metadata["page"], page.metadata["page_label"]) for page in pages] == [(1, "1"), (2, "2"), (3, "3")]
    assert "ten months only" in pages[1].text
    assert "ten months only" not in pages[0].text + pages[2].text
    for number, page in enumerate(pages, start=1):
        assert {element.page for element in document_elements(page)} == {number}
    whole = reader.model_copy(update={"split": "document"}).load_data(DEMO / "annual_report.pdf")
    assert len(whole) == 1
    assert "\n\n".join(page.text for page in pages) == whole[0].text
    assert len({page.doc_id for page in [*pages, *whole]}) == 4


def test_ids_are_the_same_in_every_run(reader, pages):
    assert [page.doc_id for page in reader.load_data(DEMO / "annual_report.pdf")] == [page.doc_id for page in pages]


def test_the_node_parser_makes_the_nodes_of_each_page(pages):
    nodes = RAGAnythingNodeParser().get_nodes_from_documents(pages)
    assert {node.metadata["page"] for node in nodes} == {1, 2, 3}
    assert any(node.metadata.get("label") == "Table 1" and node.metadata["bbox"] for node in nodes)


def test_chunks_of_any_splitter_have_their_page(pages):
    chunks = SentenceSplitter().get_nodes_from_documents(pages)
    (chunk,) = [chunk for chunk in chunks if "ten months only" in chunk.text]
    assert (chunk.metadata["page"], chunk.metadata["page_label"]) == (2, "2")


def test_formats_without_pages_and_content_lists(reader, tmp_path):
    (tmp_path / "a.md").write_text("# Harbour\n\nOpen at 7.", encoding="utf-8")
    (document,) = reader.load_data(tmp_path / "a.md")
    assert "page" not in document.metadata
    items = [{"type": "text", "text": f"Page {n}.", "page_idx": n} for n in (0, 1)]
    assert [page.metadata["page"] for page in reader.load_data(items)] == [1, 2]


async def test_async_and_directory_reader(reader, pages):
    assert [page.text for page in await reader.aload_data(DEMO / "annual_report.pdf")] == [p.text for p in pages]
    directory = SimpleDirectoryReader(
        input_files=[DEMO / "annual_report.pdf"], file_extractor={".pdf": reader}, filename_as_id=True
    )
    documents = directory.load_data()
    assert [document.doc_id.rpartition("_")[2] for document in documents] == ["0", "1", "2"]
    assert [document.metadata["page"] for document in documents] == [1, 2, 3]
    assert [document.text for document in await directory.aload_data()] == [document.text for document in documents]


@pytest.mark.slow
def test_worker_processes_of_both_readers(reader, pages):
    paths = [DEMO / "annual_report.pdf", DEMO / "faq_milvus.txt"]
    several = reader.model_copy(update={"workers": 2})
    assert [document.text for document in several.load_data(paths)][:3] == [page.text for page in pages]
    directory = SimpleDirectoryReader(input_files=paths, file_extractor={".pdf": reader, ".txt": reader})
    assert len(directory.load_data(num_workers=2)) == len(directory.load_data())


def test_a_pipeline_with_a_docstore_does_each_page_once(reader, tmp_path):
    path = tmp_path / "a.csv"
    items = [{"type": "text", "text": f"Page {n}.", "page_idx": n} for n in (0, 1)]
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(), HashEmbedding()],
        docstore=SimpleDocumentStore(),
        vector_store=SimpleVectorStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS,
    )

    def run():
        return pipeline.run(documents=reader.load_data(items, extra_info={"source": str(path), "content_hash": "same"}))

    assert len(run()) == 2
    assert run() == []


class TestDates:
    DAY = 1_700_000_000

    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / "note.md"
        path.write_text("# Harbour\n\nOpen at 7.", encoding="utf-8")
        os.utime(path, (self.DAY, self.DAY))
        return path

    def test_are_those_of_simple_directory_reader(self, reader, path):
        (theirs,) = SimpleDirectoryReader(input_files=[path]).load_data()
        (ours,) = reader.load_data(path)
        assert ours.metadata["last_modified_date"] == theirs.metadata["last_modified_date"] == "2023-11-14"
        assert ours.metadata["creation_date"] == theirs.metadata["creation_date"]

    def test_are_on_the_nodes_and_hidden_from_models(self, reader, path):
        for node in RAGAnythingNodeParser().get_nodes_from_documents(reader.load_data(path)):
            assert node.metadata["last_modified_date"] == "2023-11-14"
            for mode in (MetadataMode.EMBED, MetadataMode.LLM):
                assert "date" not in node.get_content(metadata_mode=mode)

    def test_change_neither_ids_nor_the_content_hash(self, reader, path):
        before = reader.load_data(path)
        os.utime(path, (self.DAY + 10**7, self.DAY + 10**7))
        after = reader.load_data(path)
        assert after[0].metadata["last_modified_date"] != before[0].metadata["last_modified_date"]
        assert after[0].metadata["content_hash"] == before[0].metadata["content_hash"]
        ids = [
            [node.node_id for node in RAGAnythingNodeParser().get_nodes_from_documents(documents)]
            for documents in (before, after)
        ]
        assert ids[0] == ids[1]

    def test_those_of_the_caller_win_and_content_lists_have_none(self, reader, path):
        (document,) = reader.load_data(path, extra_info={"creation_date": "1999-01-01"})
        assert document.metadata["creation_date"] == "1999-01-01"
        assert "creation_date" not in reader.load_data([{"type": "text", "text": "a", "page_idx": 0}])[0].metadata
