"""Whatever part of an index is replaced, pictures, places, dates and limits of time stay."""

import os
import shutil
import time
from pathlib import Path

import pytest
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import MarkdownNodeParser, SentenceSplitter, SentenceWindowNodeParser
from llama_index.core.postprocessor import FixedRecencyPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import ImageNode

from llama_index_raganything import (
    ConfigurationError,
    PlacedSplitter,
    RAGAnythingIndex,
    RAGAnythingNodeParser,
    RAGAnythingReader,
)

DEMO = Path(__file__).parents[2] / "llama_index_raganything" / "demo_files" / "annual_report.pdf"

QUESTIONS = [
    ("Which site remains the largest?", 2, (131, 127, 606, 141)),
    ("Why did revenue in Germany fall in 2023?", 1, (131, 398, 816, 426)),
]


class SleepingReader(RAGAnythingReader):
    """Stands for a parser that hangs on one file."""

    def _read_source(self, source, extra_info):
        if "slow" in source.location:
            time.sleep(120)
        return super()._read_source(source, extra_info)


@pytest.fixture
def opened(tmp_path):
    indexes = []

    def make(paths=DEMO, **options):
        options = {"uri": str(tmp_path / "milvus.db"), "working_dir": tmp_path / "storage"} | options
        indexes.append(RAGAnythingIndex.from_paths(paths, **options))
        return indexes[-1]

    yield make
    for index in indexes:
        index.close()


def nodes_of(index):
    return index.store.get_nodes()


def pictures(index):
    return [node for node in nodes_of(index) if isinstance(node, ImageNode)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunk_size": 512},
        {"node_parser": RAGAnythingNodeParser(chunk_size=512)},
        {"node_parser": PlacedSplitter(SentenceSplitter())},
        {"node_parser": SentenceWindowNodeParser()},
    ],
    ids=["default", "chunk_size", "node_parser", "placed", "foreign"],
)
def test_pictures_stay(opened, options):
    index = opened(**options)
    labels = {node.metadata["label"] for node in pictures(index)}
    assert labels >= {"Figure 1", "Figure 2"}
    assert all(Path(node.image_path).is_file() for node in pictures(index))
    given = options.get("node_parser")
    assert given is None or getattr(given, "asset_root", None) is None  # The caller's object is as it was.


def test_a_reader_with_a_folder_of_its_own(opened, tmp_path):
    reader = RAGAnythingReader(working_dir=str(tmp_path / "elsewhere"))
    index = opened(reader=reader, node_parser=RAGAnythingNodeParser(chunk_size=64, chunk_overlap=8))
    assert len(pictures(index)) == 3
    assert all(Path(node.image_path).is_relative_to(tmp_path / "elsewhere") for node in pictures(index))


def test_a_restored_reader_works_in_the_folder_of_the_knowledge_base(opened):
    index = opened(reader=RAGAnythingReader.from_dict(RAGAnythingReader().to_dict()))
    assert Path(index.reader.working_dir) == index.knowledge_base.folder


def test_chunk_size_reaches_the_default_node_parser(opened):
    assert opened(chunk_size=16).node_parser.chunk_size == 16
    with pytest.raises(ConfigurationError, match="node_parser and chunk_size were both given"):
        opened(chunk_size=512, node_parser=RAGAnythingNodeParser())
    with pytest.raises(ConfigurationError, match="chunk_size must be"):
        opened(chunk_size=0)


def test_documents_split_by_page_are_refused(opened):
    with pytest.raises(ConfigurationError, match="split='page'"):
        opened(reader=RAGAnythingReader(split="page"))


@pytest.mark.parametrize("splitter", [SentenceSplitter, SentenceWindowNodeParser, MarkdownNodeParser])
def test_citations_of_a_foreign_splitter_have_page_and_box(opened, splitter):
    index = opened(node_parser=splitter())
    for question, page, (left, top, right, bottom) in QUESTIONS:
        cited = index.as_query_engine().query(question).metadata["citations"][0]
        assert cited["page"] == page
        box = cited["bbox"]
        assert box[0] <= left < right <= box[2]
        assert box[1] <= top < bottom <= box[3]


def test_another_size_of_a_foreign_splitter_is_another_pipeline(opened):
    opened(node_parser=SentenceSplitter(chunk_size=512, chunk_overlap=0)).close()
    assert opened(node_parser=SentenceSplitter(chunk_size=512, chunk_overlap=0)).last_report.unchanged
    assert opened(node_parser=SentenceSplitter(chunk_size=128, chunk_overlap=0)).last_report.updated


@pytest.mark.slow
def test_a_foreign_splitter_in_worker_processes(opened, tmp_path):
    for name in ("a.pdf", "b.pdf"):
        shutil.copy(DEMO, tmp_path / name)
    splitter = SentenceWindowNodeParser()
    index = opened([tmp_path / "a.pdf", tmp_path / "b.pdf"], node_parser=splitter, workers=2)
    assert not index.last_report.failures
    assert len(pictures(index)) == 4
    assert splitter.sentence_splitter("One. Two.")  # Pickling took nothing from the caller's object.


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_hanging_file_costs_its_time_limit_and_nothing_else(opened, tmp_path, workers):
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("a", "slow", "z"):
        (folder / f"{name}.md").write_text(f"# Note {name}\n\nThe harbour opens at 7.", encoding="utf-8")
    reader = SleepingReader(working_dir=str(tmp_path / "work"), parse_timeout_s=3)
    started = time.monotonic()
    index = opened(folder, reader=reader, workers=workers)
    assert time.monotonic() - started < 60
    ((source, reason),) = index.last_report.failures
    assert Path(source).name == "slow.md"
    assert "longer than 3 s" in reason
    assert "parse_timeout_s" in reason
    assert sorted(Path(source).name for source in index.last_report.added) == ["a.md", "z.md"]


def test_an_edited_document_leaves_no_trace_in_the_index(opened, tmp_path):
    reader = RAGAnythingReader(working_dir=str(tmp_path / "work"))
    (document,) = reader.load_data(DEMO)
    document.set_content(document.text.replace("Sweden", "[REDACTED]").replace("Nordlys", "[REDACTED]"))
    index = RAGAnythingIndex.from_documents([document], uri=str(tmp_path / "m.db"), working_dir=tmp_path / "s")
    with index:
        assert not index.last_report.failures
        stored = "".join(node.to_json() for node in nodes_of(index)) + index.documents()[0].model_dump_json()
        assert "[REDACTED]" in stored
        assert not {"sweden", "nordlys"} & set(stored.lower().replace('"', " ").split())
        (table,) = index.table_store.tables()
        assert "[REDACTED]" in str(table)
        assert "Sweden" not in str(table)
        assert index.knowledge_graph.describe("Denmark") is not None
        assert index.knowledge_graph.describe("Sweden") is None


class TestDates:
    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "files"
        folder.mkdir()
        for name, day in {"old": 1_600_000_000, "new": 1_700_000_000}.items():
            path = folder / f"{name}.md"
            path.write_text(f"# Harbour\n\nThe {name} harbour office opens at seven.", encoding="utf-8")
            os.utime(path, (day, day))
        return folder

    def test_the_newest_comes_first(self, opened, folder):
        index = opened(folder)
        newest = FixedRecencyPostprocessor(date_key="last_modified_date", top_k=1)
        engines = [
            index.as_query_engine(node_postprocessors=[newest]),
            RetrieverQueryEngine.from_args(index.as_retriever(), llm=MockLLM(), node_postprocessors=[newest]),
        ]
        for engine in engines:
            nodes = engine.query("When does the harbour office open?").source_nodes
            assert [node.metadata["file_name"] for node in nodes] == ["new.md"]
        for node in nodes_of(index):
            assert node.metadata["last_modified_date"] in {"2020-09-13", "2023-11-14"}
            assert node.metadata["creation_date"]

    def test_a_touched_file_stays_as_it_is(self, opened, folder):
        index = opened(folder)
        os.utime(folder / "old.md")
        assert len(index.add(folder).unchanged) == 2
        assert {node.metadata["last_modified_date"] for node in nodes_of(index)} == {"2020-09-13", "2023-11-14"}
        (folder / "old.md").write_text("# Harbour\n\nIt opens at eight.", encoding="utf-8")
        index.add(folder)
        assert "2020-09-13" not in {node.metadata["last_modified_date"] for node in nodes_of(index)}
