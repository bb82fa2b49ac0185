"""What every parser must hold under ``RAGAnythingReader``.

Inherit :class:`ReaderContract`, say which reader and which sample file, and all tests below run:

>>> class TestMine(ReaderContract):
...     options = {"parser": "mine"}
...     def make_sample(self, folder): ...
"""

from __future__ import annotations

import asyncio
import pickle
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest
from llama_index.core import SimpleDirectoryReader
from llama_index.core.readers.base import ReaderConfig
from llama_index.core.schema import Document

from llama_index_raganything.documents.packing import document_elements
from llama_index_raganything.errors import ParseError, SourceError
from llama_index_raganything.readers.reader import RAGAnythingReader


def gist(documents: list[Document]) -> list[tuple[Any, ...]]:
    """What must be equal between two reads of the same file."""
    return [(d.id_, d.text, d.metadata, document_elements(d)) for d in documents]


class ReaderContract:
    """Tests that one reader configuration inherits."""

    options: ClassVar[dict[str, Any]] = {}
    expected_text: ClassVar[str] = "Harbour"

    def make_sample(self, folder: Path) -> Path:
        raise NotImplementedError

    @pytest.fixture
    def sample(self, tmp_path: Path) -> Path:
        (tmp_path / "input").mkdir()
        return self.make_sample(tmp_path / "input")

    @pytest.fixture(scope="class")
    def shared_dir(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        # Equal files hit the parse cache here, so that the suite costs one parse and not twenty.
        return tmp_path_factory.mktemp("working_dir")

    @pytest.fixture
    def reader(self, shared_dir: Path) -> RAGAnythingReader:
        return RAGAnythingReader(working_dir=str(shared_dir), **self.options)

    def test_one_document_per_file_with_text_and_elements(self, reader: RAGAnythingReader, sample: Path) -> None:
        documents = reader.load_data(sample)
        assert len(documents) == 1
        assert self.expected_text in documents[0].text
        assert document_elements(documents[0])

    def test_metadata_names_the_file(self, reader: RAGAnythingReader, sample: Path) -> None:
        metadata = reader.load_data(sample)[0].metadata
        assert metadata["source"] == str(sample)
        assert metadata["file_name"] == sample.name
        assert len(metadata["content_hash"]) == 64
        assert metadata["parser"]
        assert all(isinstance(value, str | int) for value in metadata.values())

    def test_internal_metadata_is_hidden_from_models(self, reader: RAGAnythingReader, sample: Path) -> None:
        document = reader.load_data(sample)[0]
        assert "content_hash" in document.excluded_embed_metadata_keys
        assert "content_hash" in document.excluded_llm_metadata_keys

    def test_two_reads_are_equal_without_the_cache(self, tmp_path: Path, sample: Path) -> None:
        uncached = RAGAnythingReader(working_dir=str(tmp_path / "w"), cache=False, **self.options)
        assert gist(uncached.load_data(sample)) == gist(uncached.load_data(sample))

    def test_cached_read_equals_the_first(self, tmp_path: Path, sample: Path) -> None:
        reader = RAGAnythingReader(working_dir=str(tmp_path / "w"), **self.options)
        assert gist(reader.load_data(sample)) == gist(reader.load_data(sample))

    async def test_async_equals_sync(self, reader: RAGAnythingReader, sample: Path) -> None:
        expected = gist(reader.load_data(sample))
        assert gist(await reader.aload_data(sample)) == expected
        assert gist(list(await reader.alazy_load_data(sample))) == expected

    def test_two_event_loops_in_a_row(self, reader: RAGAnythingReader, sample: Path) -> None:
        first = asyncio.run(reader.aload_data(sample))
        second = asyncio.run(reader.aload_data(sample))
        assert gist(first) == gist(second)

    def test_lazy_load_yields_the_same(self, reader: RAGAnythingReader, sample: Path) -> None:
        assert gist(list(reader.lazy_load_data(sample))) == gist(reader.load_data([sample]))

    def test_extra_info_is_copied(self, reader: RAGAnythingReader, sample: Path) -> None:
        extra = {"tenant": "Nord", "language": "中文"}
        document = reader.load_data(sample, extra_info=extra)[0]
        assert document.metadata["tenant"] == "Nord"
        assert document.metadata["language"] == "中文"
        assert extra == {"tenant": "Nord", "language": "中文"}

    def test_extra_info_cannot_rename_the_source(self, reader: RAGAnythingReader, sample: Path) -> None:
        document = reader.load_data(sample, extra_info={"source": "elsewhere", "content_hash": "0"})[0]
        assert document.metadata["source"] == str(sample)
        assert document.metadata["content_hash"] != "0"

    def test_pickle_and_dict_round_trips(self, reader: RAGAnythingReader, sample: Path) -> None:
        expected = gist(reader.load_data(sample))
        assert gist(pickle.loads(pickle.dumps(reader)).load_data(sample)) == expected
        copy = RAGAnythingReader.from_dict(reader.to_dict())
        assert copy == reader
        assert gist(copy.load_data(sample)) == expected

    def test_documents_survive_json(self, reader: RAGAnythingReader, sample: Path) -> None:
        document = reader.load_data(sample)[0]
        again = Document.from_dict(document.to_dict())
        assert document_elements(again) == document_elements(document)

    def test_simple_directory_reader(self, reader: RAGAnythingReader, sample: Path) -> None:
        extractor = {sample.suffix: reader}
        documents = SimpleDirectoryReader(
            input_files=[sample], file_extractor=extractor, raise_on_error=True
        ).load_data()
        assert [d.text for d in documents] == [reader.load_data(sample)[0].text]
        assert documents[0].metadata["content_hash"]
        assert documents[0].metadata["file_path"] == str(sample)

    async def test_simple_directory_reader_async(self, reader: RAGAnythingReader, sample: Path) -> None:
        directory = SimpleDirectoryReader(
            input_dir=str(sample.parent), file_extractor={sample.suffix: reader}, raise_on_error=True
        )
        documents = await directory.aload_data()
        assert [d.text for d in documents] == [reader.load_data(sample)[0].text]

    def test_under_an_ingestion_pipeline(self, reader: RAGAnythingReader, sample: Path) -> None:
        config = ReaderConfig(reader=reader, reader_args=[str(sample)], reader_kwargs={"extra_info": {"a": 1}})
        (document,) = config.read()
        assert document.metadata["a"] == 1

    def test_unicode_file_names(self, reader: RAGAnythingReader, sample: Path) -> None:
        path = sample.with_name(f"Bericht é 报告 [1] & 'x'{sample.suffix}")
        shutil.copy(sample, path)
        document = reader.load_data(str(path))[0]
        assert document.metadata["file_name"] == path.name
        assert self.expected_text in document.text

    def test_missing_file_is_a_typed_error(self, reader: RAGAnythingReader, sample: Path) -> None:
        with pytest.raises(SourceError, match=r"gone"):
            reader.load_data(sample.with_name(f"gone{sample.suffix}"))

    def test_empty_file_is_a_typed_error(self, reader: RAGAnythingReader, sample: Path) -> None:
        path = sample.with_name(f"empty{sample.suffix}")
        path.write_bytes(b"")
        with pytest.raises(ParseError, match=r"empty"):
            reader.load_data(path)

    def test_truncated_file_is_read_or_a_typed_error(self, reader: RAGAnythingReader, sample: Path) -> None:
        path = sample.with_name(f"half{sample.suffix}")
        content = sample.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        reader = reader.model_copy(update={"on_error": "skip"})
        documents = reader.load_data(path)
        assert len(documents) + len(reader.failures) == 1
        assert all(isinstance(error, ParseError) and "half" in str(error) for _, error in reader.failures)

    def test_one_bad_file_does_not_stop_a_batch(self, reader: RAGAnythingReader, sample: Path) -> None:
        missing = sample.with_name(f"gone{sample.suffix}")
        documents = reader.load_data([missing, sample])
        assert [d.metadata["source"] for d in documents] == [str(sample)]
        assert [source for source, _ in reader.failures] == [str(missing)]
        assert isinstance(reader.failures[0][1], SourceError)
