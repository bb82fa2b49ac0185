"""The reader's own duties: sources, batches, errors, cache, workers, events, file systems."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest
from llama_index.core import SimpleDirectoryReader
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index_instrumentation import get_dispatcher

from llama_index_raganything.documents.packing import document_elements
from llama_index_raganything.elements import Element
from llama_index_raganything.errors import (
    BlockedSourceError,
    ConfigurationError,
    CorruptFileError,
    FileTooLargeError,
    MissingDependencyError,
    ParseError,
    SourceError,
    UnsupportedFormatError,
)
from llama_index_raganything.readers.reader import ParseEndEvent, ParseStartEvent, RAGAnythingReader

ITEMS = [{"type": "text", "text": "Harbour", "text_level": 1}, {"type": "text", "text": "Ships."}]


@pytest.fixture
def reader(tmp_path: Path) -> RAGAnythingReader:
    return RAGAnythingReader(working_dir=str(tmp_path / "working"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nineteen good files, one bad one, and files that must not be read."""
    root = tmp_path / "files"
    (root / "sub" / "deep").mkdir(parents=True)
    for number in range(19):
        parent = root / ("sub/deep" if number % 2 else ".")
        (parent / f"note{number:02}.md").write_text(f"# Note {number}\n\nBody {number}.", encoding="utf-8")
    (root / "bad.pdf").write_bytes(b"%PDF-1.7\nnothing else")
    (root / ".hidden.md").write_text("no")
    (root / ".git").mkdir()
    (root / ".git" / "config.md").write_text("no")
    (root / "~$report.docx").write_text("no")
    return root


def names(documents: list[Any]) -> list[str]:
    return [document.metadata["file_name"] for document in documents]


def test_a_folder_is_read_in_order_and_one_bad_file_is_reported(
    reader: RAGAnythingReader, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        documents = reader.load_data(str(folder) + os.sep)
    assert len(documents) == 19
    sources = [document.metadata["source"] for document in documents]
    assert sources == [str(p) for p in sorted(folder.glob("*.md")) if p.name[0] != "."] + [
        str(p) for p in sorted((folder / "sub/deep").glob("*.md"))
    ]
    ((source, error),) = reader.failures
    assert source == str(folder / "bad.pdf")
    assert isinstance(error, CorruptFileError)
    assert sum("Not read:" in record.message for record in caplog.records) == 1


def test_on_error(reader: RAGAnythingReader, folder: Path) -> None:
    strict = reader.model_copy(update={"on_error": "raise"})
    with pytest.raises(CorruptFileError, match=r"bad\.pdf"):
        strict.load_data(folder)
    with pytest.raises(CorruptFileError):
        reader.load_data(folder / "bad.pdf")
    with pytest.raises(CorruptFileError):
        reader.load_data([folder / "bad.pdf"])
    lenient = reader.model_copy(update={"on_error": "skip"})
    assert lenient.load_data(folder / "bad.pdf") == []
    assert len(lenient.failures) == 1


def test_failures_are_of_the_last_call_only(reader: RAGAnythingReader, folder: Path) -> None:
    reader.load_data(folder)
    reader.load_data(folder / "note00.md")
    assert reader.failures == []


@pytest.mark.parametrize("value", [3, None, [3], [None], {"a": 1}, "", "  "])
def test_values_that_are_no_source(reader: RAGAnythingReader, value: Any) -> None:
    with pytest.raises(ConfigurationError):
        reader.load_data(value)


def test_nothing_to_read(reader: RAGAnythingReader, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "void").mkdir()
    assert reader.load_data(tmp_path / "void") == []
    assert "No files" in caplog.text
    assert reader.load_data([]) == []


def test_paths_are_normalised(reader: RAGAnythingReader, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (relative,) = reader.load_data("sub/../note00.md")
    (absolute,) = reader.load_data(folder / "note00.md")
    assert relative.id_ == absolute.id_
    assert relative.metadata["source"] == str(folder / "note00.md")


def test_home_folders(reader: RAGAnythingReader, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (document,) = reader.load_data("~/note00.md")
    assert document.metadata["source"] == str(folder / "note00.md")
    with pytest.raises(SourceError):
        reader.load_data("~no-such-user-here/x.md")


def test_generators_of_paths(reader: RAGAnythingReader, folder: Path) -> None:
    assert len(reader.load_data(path for path in folder.glob("note*.md"))) == 10


def test_content_lists(reader: RAGAnythingReader, tmp_path: Path) -> None:
    (document,) = reader.load_data(ITEMS)
    assert document_elements(document)[0] == Element(type="heading", text="Harbour", level=1)
    assert document.metadata["title"] == "Harbour"
    assert document.metadata["source"].startswith("content_list:")
    assert reader.load_data({"content_list": ITEMS})[0].id_ == document.id_
    assert reader.load_data(ITEMS[:1])[0].id_ != document.id_
    (named,) = reader.load_data(ITEMS, extra_info={"source": "report 7"})
    assert named.metadata["source"] == "report 7"
    path = tmp_path / "list.json"
    path.write_text(json.dumps(ITEMS))
    assert document_elements(reader.load_data(path)[0]) == document_elements(document)


def test_pages_of_content_lists_have_their_whole_text(reader: RAGAnythingReader) -> None:
    items = [{"type": "text", "text": f"page {n}", "page_idx": n} for n in (0, 1)]
    elements = document_elements(reader.load_data(items)[0])
    assert [(e.type, e.page) for e in elements] == [("page", 1), ("text", 1), ("page", 2), ("text", 2)]
    unpaged = document_elements(reader.load_data(items[:1])[0])
    assert [e.type for e in unpaged] == ["text"]


def test_content_lists_read_no_files_outside_the_asset_root(
    reader: RAGAnythingReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.new("RGB", (4, 4)).save(elsewhere / "a.png")
    items = [{"type": "image", "img_path": str(elsewhere / "a.png"), "image_caption": ["x"]}]
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    assert document_elements(reader.load_data(items)[0])[0].asset is None
    allowed = reader.model_copy(update={"asset_root": str(elsewhere)})
    asset = document_elements(allowed.load_data(items)[0])[0].asset
    assert asset is not None
    assert allowed.assets.resolve(asset).is_file()


def test_mislabelled_files_are_read_by_content(
    reader: RAGAnythingReader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "report.xls"
    path.write_text("<html><body><h1>Harbour</h1><p>Ships.</p></body></html>")
    with caplog.at_level(logging.WARNING):
        (document,) = reader.load_data(path)
    assert "Ships." in document.text
    assert document.metadata["file_name"] == "report.xls"
    assert ".html data" in caplog.text


def test_errors_name_the_real_file_and_not_its_alias(reader: RAGAnythingReader, tmp_path: Path) -> None:
    path = tmp_path / "renamed.docx"
    path.write_bytes(b"%PDF-1.7 broken")
    with pytest.raises(CorruptFileError) as caught:
        reader.load_data(path)
    assert "raganything-" not in str(caught.value)
    assert "renamed.docx" in str(caught.value)
    assert "renamed.pdf" not in str(caught.value)


def test_media_become_one_element(reader: RAGAnythingReader, tmp_path: Path) -> None:
    for name, head, kind in (("a.mp3", b"ID3\x04", "audio"), ("b.mp4", b"\0\0\0\x18ftypmp42", "video")):
        (tmp_path / name).write_bytes(head + b"\0" * 100)
        (element,) = document_elements(reader.load_data(tmp_path / name)[0])
        assert (element.type, element.text.split("\n")[0]) == (kind, name)
        assert reader.assets.resolve(str(element.asset)).is_file()


def test_big_media_are_not_copied(reader: RAGAnythingReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_index_raganything.readers.media.recordings.MAX_COPIED_BYTES", 10)
    (tmp_path / "a.mp3").write_bytes(b"ID3\x04" + b"\0" * 100)
    (element,) = document_elements(reader.load_data(tmp_path / "a.mp3")[0])
    assert element.asset is None


def test_a_blank_image_is_an_empty_document_with_a_warning(reader: RAGAnythingReader, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 30), "white").save(tmp_path / "blank.png")
    (document,) = reader.model_copy(update={"ocr": "off"}).load_data(tmp_path / "blank.png")
    assert [element.type for element in document_elements(document)].count("image") == 1


def test_typed_errors(reader: RAGAnythingReader, tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_bytes(b"\x01\x02")
    with pytest.raises(UnsupportedFormatError):
        reader.load_data(tmp_path / "a.xyz")
    (tmp_path / "a.txt").write_text("12345")
    small = reader.model_copy(update={"max_file_bytes": 4})
    with pytest.raises(FileTooLargeError, match="max_file_bytes"):
        small.load_data(tmp_path / "a.txt")
    with pytest.raises(SourceError):
        reader.load_data("nul\0byte.txt")
    with pytest.raises(SourceError):
        reader.load_data("x" * 5000 + ".txt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files(reader: RAGAnythingReader, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "a.txt").chmod(0)
    with pytest.raises(SourceError, match="permission"):
        reader.load_data(tmp_path / "a.txt")


def test_missing_parsers_raise_before_a_file_is_touched(tmp_path: Path) -> None:
    for name in ("docling", "paddleocr"):
        reader = RAGAnythingReader(parser=name, working_dir=str(tmp_path))
        try:
            __import__(name)
        except ImportError:
            with pytest.raises(MissingDependencyError, match=rf"\[{name}\]"):
                reader.lazy_load_data(["gone1.pdf", "gone2.pdf"])
            with pytest.raises(ImportError, match=name):
                SimpleDirectoryReader(input_files=[__file__], file_extractor={".py": reader}).load_data()
    with pytest.raises(ConfigurationError, match="docvortex"):
        RAGAnythingReader(parser="nonsense", working_dir=str(tmp_path)).load_data("gone.pdf")


def test_a_moved_file_is_a_cache_hit_and_a_changed_one_is_not(reader: RAGAnythingReader, tmp_path: Path) -> None:
    ends = EndEvents.install()
    path = tmp_path / "a.md"
    path.write_text("# A\n\nText.")
    first = reader.load_data(path)[0]
    moved = reader.load_data(path.rename(tmp_path / "b.md"))[0]
    assert moved.text == first.text
    assert moved.metadata["source"] != first.metadata["source"]
    (tmp_path / "b.md").write_text("# B\n\nText.")
    assert reader.load_data(tmp_path / "b.md")[0].text.startswith("# B")
    reader.forget(first.metadata["content_hash"])
    path.write_text("# A\n\nText.")
    reader.load_data(path)
    assert [event.cached for event in ends.remove()] == [False, True, False, False]


class EndEvents(BaseEventHandler):
    seen: list[Any] = []  # noqa: RUF012

    @classmethod
    def class_name(cls) -> str:
        return "EndEvents"

    def handle(self, event: Any, **kwargs: Any) -> None:
        if isinstance(event, ParseStartEvent | ParseEndEvent):
            self.seen.append(event)

    @classmethod
    def install(cls) -> EndEvents:
        handler = cls(seen=[])
        get_dispatcher().add_event_handler(handler)
        return handler

    def remove(self) -> list[ParseEndEvent]:
        get_dispatcher().event_handlers.remove(self)
        return [event for event in self.seen if isinstance(event, ParseEndEvent)]


def test_events_come_in_pairs(reader: RAGAnythingReader, folder: Path) -> None:
    handler = EndEvents.install()
    reader.load_data([folder / "note00.md", folder / "bad.pdf"])
    handler.remove()
    assert [type(event).__name__ for event in handler.seen] == ["ParseStartEvent", "ParseEndEvent"] * 2
    good, bad = handler.seen[1], handler.seen[3]
    assert (good.error, good.elements > 0, good.source) == (None, True, str(folder / "note00.md"))
    assert (bad.error, bad.elements) == ("CorruptFileError", 0)


def test_the_fingerprint_follows_every_option(tmp_path: Path) -> None:
    base: dict[str, Any] = {"working_dir": str(tmp_path)}
    readers = [
        RAGAnythingReader(**base | change)
        for change in (
            {}, {"profile": "fast"}, {"ocr": "off"}, {"image_ocr": True}, {"page_images": True}, {"crop_dpi": 72},
            {"lang": "en"}, {"page_range": "1"}, {"parser_kwargs": {"a": 1}}, {"parser": "docvortex"},
        )
    ]  # fmt: skip
    assert len({reader.fingerprint() for reader in readers}) == len(readers)
    same = RAGAnythingReader(working_dir=str(tmp_path / "other"), workers=4, cache=False)
    assert same.fingerprint() == readers[0].fingerprint()


def test_serialisation(tmp_path: Path) -> None:
    reader = RAGAnythingReader(
        parser="docvortex",
        working_dir=str(tmp_path),
        parser_kwargs={"tier": "flash"},
        page_range="1-3",
        on_error="skip",
    )
    assert RAGAnythingReader.class_name() == reader.to_dict()["class_name"] == "RAGAnythingReader"
    assert RAGAnythingReader.from_dict(reader.to_dict()) == reader
    assert RAGAnythingReader.from_json(reader.to_json()) == reader
    assert pickle.loads(pickle.dumps(reader)) == reader
    for wrong in ({"ocr": "sometimes"}, {"crop_dpi": 0}, {"workers": 0}, {"profile": "slow"}):
        with pytest.raises(ConfigurationError, match=f"^{next(iter(wrong))} is "):
            RAGAnythingReader(**wrong)


def test_fsspec_file_systems(reader: RAGAnythingReader, folder: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/kb/a é.md", b"# Harbour")
    memory.pipe("/kb/sub/b.md", b"# Crane")
    memory.pipe("/kb/.hidden/c.md", b"# no")
    (single,) = reader.load_data("memory://kb/a é.md", fs=memory)
    assert (single.metadata["source"], single.text) == ("memory:///kb/a é.md", "# Harbour")
    assert names(reader.load_data("/kb", fs=memory)) == ["a é.md", "b.md"]
    with pytest.raises(SourceError):
        reader.load_data("/kb/gone.md", fs=memory)
    with pytest.raises(FileTooLargeError):
        reader.model_copy(update={"max_file_bytes": 3}).load_data("/kb/a é.md", fs=memory)
    for name in (str(folder / "note00.md"), (folder / "note00.md").as_uri()):
        (local,) = reader.load_data(name, fs=fsspec.filesystem("file"))
        assert local.id_ == reader.load_data(folder / "note00.md")[0].id_


async def test_simple_directory_reader_over_fsspec(reader: RAGAnythingReader) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/sdr/a.md", b"# Harbour")
    directory = SimpleDirectoryReader("/sdr", fs=memory, file_extractor={".md": reader}, raise_on_error=True)
    assert [d.text for d in directory.load_data()] == ["# Harbour"]
    assert [d.text for d in await directory.aload_data()] == ["# Harbour"]


def test_simple_directory_reader_reports_errors(reader: RAGAnythingReader, folder: Path) -> None:
    kwargs: dict[str, Any] = {"input_files": [folder / "bad.pdf"], "file_extractor": {".pdf": reader}}
    assert SimpleDirectoryReader(**kwargs).load_data() == []
    with pytest.raises(Exception, match="Error loading") as caught:
        SimpleDirectoryReader(**kwargs, raise_on_error=True).load_data()
    assert isinstance(caught.value.__cause__, CorruptFileError)


def test_worker_processes(reader: RAGAnythingReader, folder: Path) -> None:
    parallel = reader.model_copy(update={"workers": 2, "cache": False})
    handler = EndEvents.install()
    documents = parallel.load_data(folder)
    ends = handler.remove()
    assert [event.error for event in ends].count("CorruptFileError") == 1
    assert len(ends) == 20
    assert documents == reader.load_data(folder)
    assert [source for source, _ in parallel.failures] == [str(folder / "bad.pdf")]
    assert isinstance(parallel.failures[0][1], CorruptFileError)


@pytest.mark.slow
def test_simple_directory_reader_with_worker_processes(reader: RAGAnythingReader, folder: Path) -> None:
    directory = SimpleDirectoryReader(
        str(folder), recursive=True, required_exts=[".md"], file_extractor={".md": reader}
    )
    assert [d.text for d in directory.load_data(num_workers=2)] == [d.text for d in directory.load_data()]


class SlowReader(RAGAnythingReader):
    """Stands for a parser that takes its time."""

    def _read_source(self, source: Any, extra_info: dict[str, Any]) -> Any:
        time.sleep(0.2)
        return super()._read_source(source, extra_info)


class SleepingReader(RAGAnythingReader):
    """Stands for a parser that hangs on one file."""

    def _read_source(self, source: Any, extra_info: dict[str, Any]) -> Any:
        if "note01" in source.location:
            time.sleep(60)
        return super()._read_source(source, extra_info)


@pytest.mark.slow
def test_a_hanging_file_costs_its_time_limit_and_nothing_else(tmp_path: Path, folder: Path) -> None:
    reader = SleepingReader(working_dir=str(tmp_path / "w"), workers=2, parse_timeout_s=5)
    paths = sorted(folder.rglob("note0[0-3].md"))
    started = time.monotonic()
    assert len(reader.load_data(paths)) == 3
    assert [Path(source).name for source, _ in reader.failures] == ["note01.md"]
    assert time.monotonic() - started < 55


def test_one_file_alone_is_stopped_too(tmp_path: Path, folder: Path) -> None:
    reader = SleepingReader(working_dir=str(tmp_path / "w"), parse_timeout_s=2)
    started = time.monotonic()
    with pytest.raises(ParseError, match=r"longer than 2 s.*parse_timeout_s"):
        reader.load_data(folder / "note01.md")
    assert time.monotonic() - started < 40


async def test_the_event_loop_is_not_blocked(tmp_path: Path, folder: Path) -> None:
    import asyncio

    reader = SlowReader(working_dir=str(tmp_path / "w"))

    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    ticking = asyncio.create_task(tick())
    results = await asyncio.gather(*(reader.aload_data(folder / f"note{n:02}.md") for n in (0, 2, 4)))
    ticking.cancel()
    assert [names(documents) for documents in results] == [["note00.md"], ["note02.md"], ["note04.md"]]
    assert ticks > 20


def test_threads(reader: RAGAnythingReader, folder: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(reader.load_data, [folder / f"note{n:02}.md" for n in (0, 2, 4, 6)]))
    assert [names(documents)[0] for documents in results] == [f"note{n:02}.md" for n in (0, 2, 4, 6)]


def test_a_working_dir_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    reader = RAGAnythingReader(working_dir=str(tmp_path / "file"))
    (tmp_path / "a.md").write_text("# A")
    assert reader.load_data(tmp_path / "a.md")[0].text == "# A"
    (tmp_path / "a.mp3").write_bytes(b"ID3\x04")
    with pytest.raises(SourceError, match="assets not written"):
        reader.load_data(tmp_path / "a.mp3")


def test_urls_are_off(reader: RAGAnythingReader) -> None:
    with pytest.raises(BlockedSourceError):
        reader.load_data("https://example.org/a.pdf")


def test_the_auto_path_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A")
    code = (
        "import sys\n"
        "from llama_index_raganything.readers.reader import RAGAnythingReader\n"
        f"RAGAnythingReader(working_dir={str(tmp_path / 'w')!r}).load_data({str(tmp_path / 'a.md')!r})\n"
        "heavy = {'raganything', 'lightrag', 'pymilvus', 'torch', 'mineru', 'docvortex', 'rapidocr', 'onnxruntime'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
