"""What comes in and what does not: own data, mistyped paths, renamed files, bytes, and the names of documents."""

import io
import os
import shutil
from pathlib import Path

import pytest
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.schema import Document

from llama_index_raganything import (
    ConfigurationError,
    IngestionError,
    MilvusNodeStore,
    RAGAnythingIndex,
    RAGAnythingReader,
    SourceError,
)
from llama_index_raganything.errors import BlockedSourceError
from llama_index_raganything.readers.sources import sources
from llama_index_raganything.testing import HashEmbedding

DEMO = Path(__file__).parents[2] / "llama_index_raganything" / "demo_files"
TEXT = "# Harbour\n\nThe harbour office opens at 7 a.m. on weekdays.\n"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "hours.md").write_text(TEXT)
    (folder / "ferries.csv").write_text("Route,Departure\nEbeltoft,08:15\nAarhus,09:40\n")
    return folder


@pytest.fixture
def open_index(tmp_path):
    opened = []

    def open_one(**options):
        common = {"uri": str(tmp_path / "milvus.db"), "working_dir": tmp_path / "storage"}
        opened.append(RAGAnythingIndex(**common | {"embed_model": HashEmbedding(dimension=16)} | options))
        return opened[-1]

    yield open_one
    for index in opened:
        index.close()


@pytest.fixture
def index(open_index):
    return open_index()


def names(index):
    return sorted(entry.source for entry in index.documents())


def stored_sources(index):
    return {node.metadata["source"] for node in index.store.get_nodes()}


# --- Own data, hidden files, patterns


def test_an_index_over_the_current_folder_never_reads_itself(folder, monkeypatch):
    monkeypatch.chdir(folder)
    shutil.copy(DEMO / "annual_report.pdf", folder)
    counts = []
    for _ in range(3):
        with RAGAnythingIndex.from_paths(".", embed_model=HashEmbedding(dimension=16)) as index:
            counts.append((len(index.documents()), len(index.last_report.failures)))
    assert counts == [(3, 0)] * 3
    assert index.last_report.skipped.counts == {"own data": 2}
    assert {Path(name).name for name in index.last_report.skipped.names["own data"]} == {"milvus.db", "rag_anything"}
    # Another knowledge base in the same folders reads neither its own data nor the first one's.
    with RAGAnythingIndex.from_paths(".", collection="other", embed_model=HashEmbedding(dimension=16)) as other:
        assert len(other.documents()) == 3
    assert "Skipped: 4 own data (milvus.db/, " in str(other.last_report)


def test_knowledge_bases_of_one_working_folder_do_not_read_each_other(folder, monkeypatch):
    monkeypatch.chdir(folder)
    table = "| Line | Fare |\n| --- | --- |\n| North | 12.5 |\n| South | 3 |\n"
    options = {"embed_model": HashEmbedding(dimension=16)}
    with RAGAnythingIndex.from_documents([Document(text=table)], collection="tables", **options) as other:
        assert other.table_store.entries()
    with RAGAnythingIndex.from_paths(".", **options) as index:
        assert names(index) == [str(folder / "ferries.csv"), str(folder / "hours.md")]


def test_a_configuration_of_raganything_keeps_the_rules(folder, monkeypatch):
    from raganything import RAGAnythingConfig

    monkeypatch.chdir(folder)
    config = RAGAnythingConfig(
        working_dir="./rag_storage", parser="docvortex", supported_file_extensions=[".md", ".json"]
    )
    with RAGAnythingIndex.from_config(config, embed_model=HashEmbedding(dimension=16)) as index:
        for _ in range(2):
            report = index.add(".", exclude="none.md")
            assert names(index) == [str(folder / "hours.md")]
        assert report.skipped.counts == {"own data": 2, "other type": 1}


def test_own_data_named_by_itself_is_refused(index, folder, tmp_path):
    index.add(folder)
    for own in (tmp_path / "milvus.db", tmp_path / "storage" / "rag_anything"):
        with pytest.raises(BlockedSourceError, match="data of an index"):
            index.add(own)
        with pytest.raises(BlockedSourceError, match="data of an index"):
            index.sync(own)
    assert len(index.documents()) == 2


def test_documents_beside_a_working_folder_are_read(tmp_path):
    (tmp_path / "a.md").write_text(TEXT)
    options = {"uri": str(tmp_path / "kb.db"), "working_dir": tmp_path, "embed_model": HashEmbedding(dimension=16)}
    with RAGAnythingIndex.from_paths(tmp_path, **options) as index:
        assert len(index.add(tmp_path).unchanged) == 1
        assert names(index) == [str(tmp_path / "a.md")]


def test_hidden_files_are_counted_and_read_when_named(index, folder):
    (folder / ".secret.md").write_text("The hidden lighthouse.")
    (folder / "~$hours.docx").write_text("x")
    report = index.add(folder)
    assert report.skipped.to_dict() == {
        "hidden": {"count": 1, "names": [str(folder / ".secret.md")]},
        "temporary": {"count": 1, "names": [str(folder / "~$hours.docx")]},
    }
    assert "Skipped: 1 hidden (.secret.md), 1 temporary (~$hours.docx)" in str(report)
    assert report.to_dict()["skipped"]["hidden"]["count"] == 1
    assert index.add(folder / ".secret.md").added == [str(folder / ".secret.md")]


def test_excluded_files_stay_out_and_leave_with_sync(open_index, folder):
    (folder / "drafts").mkdir()
    (folder / "drafts" / "a.md").write_text("Draft.")
    index = open_index()
    assert len(index.add(folder, exclude="drafts/**").added) == 2
    assert index.last_report.skipped.counts == {"excluded": 1}
    assert len(index.sync(folder).added) == 1
    assert index.sync(folder, exclude=["drafts/", "*.csv"]).deleted == [
        str(folder / "drafts" / "a.md"),
        str(folder / "ferries.csv"),
    ]
    with pytest.raises(ConfigurationError, match="exclude"):
        index.add(folder, exclude=[""])


async def test_exclude_reaches_the_async_twins(tmp_path, folder):
    options = {"uri": str(tmp_path / "a.db"), "working_dir": tmp_path / "s", "embed_model": HashEmbedding(dimension=16)}
    with await RAGAnythingIndex.afrom_paths(folder, exclude="*.csv", **options) as index:
        assert names(index) == [str(folder / "hours.md")]
        assert (await index.aadd(folder, exclude="*.csv")).added == []
        assert (await index.async_sync(folder, exclude="*.md")).deleted == [str(folder / "hours.md")]


def test_sync_deletes_nothing_below_a_folder_that_cannot_be_read(index, folder, monkeypatch):
    (folder / "closed").mkdir()
    (folder / "closed" / "a.md").write_text("Closed.")
    index.sync(folder)
    scandir = os.scandir

    def refuse(path):
        if "closed" in os.fspath(path):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(sources.os, "scandir", refuse)
    report = index.sync(folder)
    assert report.deleted == []
    assert report.skipped.counts == {"unreadable": 1}
    assert len(index.documents()) == 3


# --- Paths that do not exist


def test_a_path_that_does_not_exist_raises(tmp_path, folder, index):
    (tmp_path / "reports").mkdir()
    with pytest.raises(SourceError, match=r"reprots' does not exist .*did you mean 'reports'\?"):
        index.add(tmp_path / "reprots")
    with pytest.raises(SourceError, match=r"one\.pdf.*two\.pdf"):
        index.add([tmp_path / "one.pdf", tmp_path / "two.pdf"])
    with pytest.raises(BlockedSourceError, match="allow_urls=True"):
        index.add("https://example.com/report.pdf")
    with pytest.raises(SourceError, match="nowhere"):
        index.add([tmp_path / "nowhere", tmp_path / "reports"])
    assert index.documents() == []


def test_from_paths_closes_the_index_when_it_raises(tmp_path):
    options = {
        "uri": str(tmp_path / "kb.db"),
        "working_dir": tmp_path / "s",
        "embed_model": HashEmbedding(dimension=16),
    }
    with pytest.raises(SourceError):
        RAGAnythingIndex.from_paths(tmp_path / "reprots", **options)
    from llama_index_raganything.stores.milvus import connection as clients

    assert not [key for key in clients._connections if key[0] == options["uri"]]


def test_from_paths_leaves_a_store_of_the_caller_open(tmp_path):
    model = HashEmbedding(dimension=16)
    with MilvusNodeStore(uri=str(tmp_path / "kb.db"), dim=16) as store:
        with pytest.raises(SourceError):
            RAGAnythingIndex.from_paths(tmp_path / "no", store=store, embed_model=model, working_dir=tmp_path / "s")
        assert store.count() == 0


def test_one_mistyped_path_among_several_is_a_failure_and_the_others_come_in(index, folder):
    report = index.add([folder / "hours.md", folder / "hour.md"])
    assert report.added == [str(folder / "hours.md")]
    assert report.not_found == [str(folder / "hour.md")]
    ((source, reason),) = report.failures
    assert source == str(folder / "hour.md")
    assert "did you mean 'hours.md'?" in reason
    with pytest.raises(IngestionError, match=r"hour\.md"):
        index.add([folder / "hours.md", folder / "hour.md"], strict=True)
    # What was never a document leaves no row behind.
    assert names(index) == [str(folder / "hours.md")]


def test_an_empty_folder_warns(index, tmp_path, caplog):
    (tmp_path / "empty").mkdir()
    report = index.add(tmp_path / "empty")
    assert report.warnings == [(str(tmp_path / "empty"), "there are no files to read in this folder")]
    assert "No files in the folder" in caplog.text
    assert not report.failures


# --- Renamed files


def test_a_renamed_file_leads_to_its_new_path(index, folder, tmp_path):
    shutil.copy(DEMO / "annual_report.pdf", folder / "report.pdf")
    index.add(folder)
    parses = sorted((tmp_path / "storage").rglob("parse_cache/**/*.json"))
    assets = sorted(path for path in (tmp_path / "storage").rglob("assets/**/*") if path.is_file())
    before = len(index.store.get_nodes())
    old, new = folder / "report.pdf", folder / "2024" / "annual.pdf"
    new.parent.mkdir()
    old.rename(new)
    report = index.add(folder)
    assert report.moved == [(str(old), str(new))]
    assert (report.added, report.updated, report.deleted, report.failures) == ([], [], [], [])
    assert f"Moved: {old} -> {new}" in str(report)
    assert report.to_dict()["moved"] == [{"old": str(old), "new": str(new)}]
    assert str(old) not in names(index)
    assert stored_sources(index) == {str(new), str(folder / "hours.md"), str(folder / "ferries.csv")}
    assert len(index.store.get_nodes()) == before
    # The parse came from the cache, which stays, and so do the pictures.
    assert sorted((tmp_path / "storage").rglob("parse_cache/**/*.json")) == parses
    assert sorted(path for path in (tmp_path / "storage").rglob("assets/**/*") if path.is_file()) == assets
    assert assets
    assert str(old) not in {entry.doc_id for entry in index.table_store.entries()}
    assert len(index.add(folder).unchanged) == 3


def test_a_renamed_folder_moves_each_file_to_its_namesake(index, folder, tmp_path):
    (folder / "twin.csv").write_bytes((folder / "ferries.csv").read_bytes())
    index.add(folder)
    moved = tmp_path / "harbour"
    folder.rename(moved)
    report = index.add(moved)
    assert sorted(report.moved) == [
        (str(folder / name), str(moved / name)) for name in ("ferries.csv", "hours.md", "twin.csv")
    ]
    assert names(index) == [str(moved / name) for name in ("ferries.csv", "hours.md", "twin.csv")]


def test_a_file_moved_over_another_replaces_both(index, folder):
    index.add(folder)
    (folder / "hours.md").replace(folder / "ferries.csv")
    report = index.add(folder)
    assert report.moved == [(str(folder / "hours.md"), str(folder / "ferries.csv"))]
    assert names(index) == [str(folder / "ferries.csv")]


def test_a_copy_is_no_move_and_what_is_gone_stays_until_sync(index, folder):
    index.add(folder)
    shutil.copy(folder / "hours.md", folder / "copy.md")
    report = index.add(folder)
    assert (report.added, report.moved) == ([str(folder / "copy.md")], [])
    (folder / "hours.md").unlink()  # Its content is in at another path already: nobody has come.
    report = index.add(folder)
    assert (report.moved, report.deleted) == ([], [])
    assert str(folder / "hours.md") in names(index)
    report = index.sync(folder)
    assert report.deleted == [str(folder / "hours.md")]


def test_sync_tells_a_move_as_one(index, folder):
    index.sync(folder)
    (folder / "hours.md").rename(folder / "opening.md")
    report = index.sync(folder)
    assert report.moved == [(str(folder / "hours.md"), str(folder / "opening.md"))]
    assert (report.added, report.deleted) == ([], [])


def test_a_file_that_cannot_be_read_at_its_new_place_keeps_the_old_copy(index, folder, monkeypatch):
    index.add(folder)
    (folder / "hours.md").rename(folder / "opening.md")

    def fail(*_args, **_options):
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(type(index.store), "add", fail)
        report = index.add(folder)
    assert report.moved == []
    assert str(folder / "hours.md") in stored_sources(index)
    assert index.add(folder).moved == [(str(folder / "hours.md"), str(folder / "opening.md"))]


def test_documents_that_are_no_files_never_move(open_index, folder):
    index = open_index()
    data = (folder / "hours.md").read_bytes()
    index.add_bytes(data, "elsewhere.md")
    gone = folder / "gone.md"
    index.add_documents([Document(text=TEXT, id_="doc", metadata={"source": str(gone)})])
    gone.write_text("Gone with the wind.")
    loaded = RAGAnythingReader(working_dir=str(folder.parent / "reader")).load_data(gone)
    index.add_documents(loaded)
    gone.rename(folder / "here.md")
    report = index.add(folder)
    assert report.moved == []
    assert len(index.documents()) == 6


def test_a_rename_moves_nothing_of_another_tenant(open_index, folder):
    ours, theirs = open_index(tenant="ours"), open_index(tenant="theirs")
    for index in (ours, theirs):
        index.add(folder / "hours.md")
    (folder / "hours.md").rename(folder / "opening.md")
    assert len(ours.add(folder / "opening.md").moved) == 1
    assert names(ours) == [str(folder / "opening.md")]
    assert names(theirs) == stored_names(theirs) == [str(folder / "hours.md")]


def stored_names(index):
    return sorted(stored_sources(index))


# --- Bytes and streams


def test_bytes_and_streams_come_in_under_their_name(index, folder):
    pdf = (DEMO / "annual_report.pdf").read_bytes()
    assert index.add_bytes(pdf, "inbox/annual.pdf").added == ["inbox/annual.pdf"]
    with (DEMO / "annual_report.pdf").open("rb") as stream:
        assert index.add_bytes(stream, "inbox/annual.pdf").unchanged == ["inbox/annual.pdf"]
    report = index.add([("notes", b"# Notes\n\nThe pier is closed."), folder / "hours.md"])
    assert report.added == ["notes", str(folder / "hours.md")]
    pages = {node.metadata.get("page") for node in index.store.get_nodes() if node.metadata["source"][:5] == "inbox"}
    assert {1, 2} <= pages
    assert {entry.file_name for entry in index.documents()} == {"annual.pdf", "notes", "hours.md"}
    changed = index.add_bytes(io.BytesIO(b"# Notes\n\nThe pier is open."), "notes")
    assert changed.updated == ["notes"]
    texts = " ".join(node.get_content() for node in index.store.get_nodes())
    assert "pier is open" in texts
    assert "pier is closed" not in texts
    assert index.delete("notes")
    assert index.delete("annual.pdf")


async def test_bytes_have_an_async_twin_and_a_limit(open_index):
    index = open_index(reader=RAGAnythingReader(max_file_bytes=20))
    assert (await index.aadd_bytes(b"# Short\n", "a.md")).added == ["a.md"]
    for data in (b"x" * 21, io.BytesIO(b"x" * 21)):
        ((source, reason),) = index.add_bytes(data, "b.md").failures
        assert source == "b.md"
        assert "limit" in reason
    with pytest.raises(IngestionError):
        index.add_bytes(b"x" * 21, "b.md", strict=True)
    with pytest.raises(ConfigurationError, match="name"):
        index.add_bytes(b"x", "")


def test_a_name_of_bytes_leaves_no_folder(index, tmp_path):
    before = set(tmp_path.parent.iterdir())
    report = index.add([("../../../outside.md", b"# Out\n\nText."), ("..\\..\\win.md", b"# Win\n\nText.")])
    assert len(report.added) == 2
    assert set(tmp_path.parent.iterdir()) == before
    assert {entry.file_name for entry in index.documents()} >= {"outside.md"}


def test_the_reader_takes_bytes_alone_and_with_workers(tmp_path):
    reader = RAGAnythingReader(working_dir=str(tmp_path))
    (document,) = reader.load_data(("a.md", b"# Title\n\nText."))
    assert (document.metadata["source"], document.metadata["file_name"]) == ("a.md", "a.md")
    assert "Text." in document.text
    reader.workers = 2
    pairs = [("a.md", io.BytesIO(b"# A\n\nOne.")), ("b.md", b"# B\n\nTwo.")]
    assert len(reader.load_data(pairs)) == 2
    assert len(reader.load_data([("c.md", b"# C\n\nOne."), ("b.md", b"# B\n\nTwo.")])) == 2


class Dripping(io.RawIOBase):
    """A raw stream, which gives less than it is asked for, as a socket does."""

    def __init__(self, *pieces):
        super().__init__()
        self.pieces = list(pieces)

    def readable(self):
        return True

    def readinto(self, buffer):
        piece = self.pieces.pop(0) if self.pieces else b""
        buffer[: len(piece)] = piece
        return len(piece)


@pytest.mark.parametrize("limit", [1_000_000, None])
def test_a_stream_that_comes_in_pieces_is_read_to_its_end(open_index, limit):
    index = open_index(reader=RAGAnythingReader(max_file_bytes=limit))
    assert index.add_bytes(Dripping(b"# Notes\n\n", b"The pier is open ", b"on Sundays."), "notes.md").added
    assert "on Sundays" in " ".join(node.get_content() for node in index.store.get_nodes())


def test_a_stream_that_breaks_costs_itself_alone(index, folder):
    class Broken(io.RawIOBase):
        def read(self, _size=-1):
            raise RuntimeError("connection lost")

    report = index.add([("a.md", Broken()), folder / "hours.md"])
    assert report.added == [str(folder / "hours.md")]
    ((source, reason),) = report.failures
    assert (source, "connection lost" in reason) == ("a.md", True)


@pytest.mark.parametrize("data", ["The pier is open.", None, 3, ["x"]])
def test_text_is_never_taken_for_bytes_nor_its_name_for_a_path(index, folder, data):
    with pytest.raises(ConfigurationError, match="Bytes or a binary stream"):
        index.add_bytes(data, str(folder / "hours.md"))
    assert index.documents() == []


def test_two_contents_of_one_name_in_one_run_are_told(index):
    report = index.add([("a.md", b"# Notes\n\nOne."), ("a.md", b"# Notes\n\nTwo."), ("b.md", b"x y"), ("b.md", b"x y")])
    assert report.added == ["a.md", "b.md"]
    assert [source for source, _ in report.warnings] == ["a.md"]


# --- Names of documents


def test_a_document_is_deleted_by_its_file_name_where_it_is_unique(index, folder):
    (folder / "more").mkdir()
    shutil.copy(folder / "hours.md", folder / "more" / "hours.md")
    index.add(folder)
    with pytest.raises(ConfigurationError, match=r"2 documents have the file name 'hours\.md'.*") as caught:
        index.delete("hours.md")
    assert str(folder / "more" / "hours.md") in str(caught.value)
    assert len(index.documents()) == 3
    assert index.delete("ferries.csv")
    assert index.delete(folder / "more" / "hours.md")
    assert index.delete("hours.md")
    assert not index.delete("hours.md")
    assert not index.delete("")


def test_a_document_whose_name_is_no_unicode_is_deleted_by_it(index, tmp_path):
    name = os.fsdecode(b"bad\xff.md")
    try:
        (tmp_path / name).write_text("# Ferry\n\nIt leaves at nine.")
    except OSError:
        pytest.skip("this file system takes Unicode only")
    for known_as in (tmp_path / name, name):
        assert len(index.add(tmp_path / name).added) == 1
        assert index.delete(known_as)
    assert index.documents() == []


# --- Spans and events


class Events(BaseEventHandler):
    seen: list = []  # noqa: RUF012  # a field of pydantic

    def handle(self, event, **_kwargs):
        self.seen.append(event)


def test_a_run_and_each_document_have_a_span_and_events(index, folder):
    (folder / "bad.docx").write_bytes(b"PK\x03\x04 not really")
    root, events, spans = get_dispatcher(), Events(seen=[]), SimpleSpanHandler()
    handlers = list(root.event_handlers), list(root.span_handlers)
    root.add_event_handler(events)
    root.add_span_handler(spans)
    try:
        index.add(folder)
        index.sync(folder)
    finally:
        root.event_handlers, root.span_handlers = handlers
    done = [span.id_.rpartition("-")[0].partition("-")[0] for span in spans.completed_spans]
    assert {"Ingestion.add_paths", "Ingestion.sync"} <= set(done)
    of_documents = [span for span in spans.completed_spans if span.id_.startswith("Ingestion._commit")]
    run = next(span for span in spans.completed_spans if span.id_.startswith("Ingestion.add_paths"))
    assert [span.parent_id for span in of_documents[:3]] == [run.id_] * 3
    ends = [event for event in events.seen if event.class_name() == "DocumentIngestionEndEvent"]
    assert {Path(event.source).name: bool(event.error) for event in ends} == {
        "bad.docx": True,
        "hours.md": False,
        "ferries.csv": False,
    }
    assert all(event.nodes for event in ends if not event.error)
    starts = [event.doc_id for event in events.seen if event.class_name() == "DocumentIngestionStartEvent"]
    assert starts == [event.doc_id for event in ends]
    runs = [event for event in events.seen if event.class_name() in {"IngestionStartEvent", "IngestionEndEvent"}]
    assert [event.class_name() for event in runs] == ["IngestionStartEvent", "IngestionEndEvent"] * 2
    assert (runs[0].documents, runs[1].added, runs[1].failed, runs[3].unchanged) == (3, 2, 1, 2)
    assert runs[1].nodes == sum(event.nodes for event in ends[:3])
