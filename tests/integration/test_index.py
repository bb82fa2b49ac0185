"""The index end to end on embedded defaults: files in, cited answers out, nothing left behind."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from llama_index.core.schema import Document
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters

from llama_index_raganything import (
    ConfigurationError,
    IngestionError,
    MilvusNodeStore,
    RAGAnythingIndex,
    RAGAnythingReader,
    SourceError,
)
from llama_index_raganything.cli.main import main
from llama_index_raganything.errors import SchemaMismatchError
from llama_index_raganything.testing import HashEmbedding

DEMO = Path(__file__).parents[2] / "llama_index_raganything" / "demo_files"
FAQ = "# Opening hours\n\nThe harbour office opens at 7 a.m. on weekdays.\n\n# 费用\n\n停泊费是每天二百克朗。\n"


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "hours.md").write_text(FAQ, encoding="utf-8")
    (folder / "ferries.csv").write_text("Route,Departure\nEbeltoft,08:15\nAarhus,09:40\n", encoding="utf-8")
    return folder


@pytest.fixture
def index(tmp_path):
    with RAGAnythingIndex(uri=str(tmp_path / "milvus.db"), working_dir=tmp_path / "storage") as opened:
        yield opened


def stored_files(tmp_path):
    return sorted(path for path in (tmp_path / "storage").rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    index = RAGAnythingIndex.from_paths(DEMO, uri=str(folder / "milvus.db"), working_dir=folder / "storage")
    yield index
    index.close()


def test_demo_documents_are_all_in_with_every_modality(demo):
    assert not demo.last_report.failures
    assert len(demo.documents()) == 5
    assert {"text", "table", "image", "equation", "page"} <= set(demo.status()["nodes"])


def test_demo_answers_a_yes_no_question_from_the_text(demo):
    response = demo.as_query_engine().query(
        "Does Milvus support simultaneous insertion and search? Give a short answer."
    )
    assert "Insert and search run as two separate" in str(response)
    citation = response.metadata["citations"][0]
    assert citation["file_name"] == "faq_milvus.txt"
    assert citation["node_id"] in {item.node.node_id for item in response.source_nodes}


def test_demo_retrieves_the_picture_for_the_architecture_question(demo):
    results = demo.as_retriever().retrieve("What are the key components of the Milvus architecture?")
    assert results[0].node.metadata["content_type"] == "image"
    assert results[0].node.metadata["file_name"] == "milvus_architecture.png"
    assert "Query node" in results[0].node.get_content()


@pytest.mark.parametrize(
    ("question", "value", "file_name"),
    [
        ("What was the revenue of Sweden in 2024?", "29.4", "annual_report.pdf"),
        ("How many yaw motors are on hand?", "4", "spare_parts.xlsx"),
        ("How often are the brake pads inspected?", "12 months", "maintenance_handbook.docx"),
    ],
)
def test_demo_answers_from_a_table_cell(demo, question, value, file_name):
    response = demo.as_query_engine().query(question)
    assert value in str(response)
    assert response.metadata["citations"][0]["file_name"] == file_name


def test_demo_answers_about_a_figure_with_a_box_on_its_page(demo):
    response = demo.as_query_engine().query("Which figure shows the layout of the Skagen site?")
    assert "Figure 2" in str(response)
    citation = next(item for item in response.metadata["citations"] if item["content_type"] == "image")
    assert citation["page"] == 2
    assert len(citation["bbox"]) == 4
    assert (demo.reader.assets.root / citation["asset"]).exists()


def test_what_is_not_there_is_said_honestly(demo):
    response = demo.as_query_engine().query("Who painted the ceiling of the Sistine Chapel?")
    assert "not found" in str(response).lower()
    assert response.metadata["citations"] == []


def test_sync_async_and_two_event_loops_agree(demo):
    question = "What was the revenue of Sweden in 2024?"
    engine = demo.as_query_engine()
    answers = {str(asyncio.run(engine.aquery(question))) for _ in range(2)}
    assert answers == {str(engine.query(question))}


async def test_async_twins_do_what_the_methods_do(tmp_path, files):
    index = await RAGAnythingIndex.afrom_paths(
        files / "hours.md", uri=str(tmp_path / "milvus.db"), working_dir=tmp_path / "storage"
    )
    with index:
        assert len((await index.aadd(files)).added) == 1
        assert len((await index.aadd_documents([Document(text="Tea at four.", id_="tea")])).added) == 1
        (files / "ferries.csv").unlink()
        assert len((await index.async_sync(files)).deleted) == 1
        assert await index.adelete("tea")
        assert [entry.file_name for entry in index.documents()] == ["hours.md"]


async def test_works_inside_a_running_loop(demo):
    question = "What was the revenue of Sweden in 2024?"
    engine = demo.as_query_engine()
    assert str(engine.query(question)) == str(await engine.aquery(question))


def test_a_second_run_does_nothing_and_a_change_replaces(index, files):
    first = index.add(files)
    assert len(first.added) == 2
    assert not first.failures
    before = {node.node_id for node in index.store.get_nodes()}
    again = index.add(files)
    assert len(again.unchanged) == 2
    assert not again.nodes
    assert {node.node_id for node in index.store.get_nodes()} == before
    (files / "hours.md").write_text(FAQ.replace("7 a.m.", "9 a.m."), encoding="utf-8")
    changed = index.add(files)
    assert [Path(source).name for source in changed.updated] == ["hours.md"]
    texts = " ".join(node.get_content() for node in index.store.get_nodes())
    assert "9 a.m." in texts
    assert "7 a.m." not in texts


def test_another_pipeline_does_unchanged_files_again(tmp_path, index, files):
    index.add(files)
    index.reader.profile = "fast"
    assert len(index.add(files).updated) == 2


def test_sync_adds_updates_and_deletes_only_below_the_folder(index, files, tmp_path):
    elsewhere = tmp_path / "elsewhere.txt"
    elsewhere.write_text("Elsewhere stays.")
    index.add(elsewhere)
    index.sync(files)
    (files / "ferries.csv").unlink()
    (files / "new.txt").write_text("A new file.")
    report = index.sync(files)
    assert [Path(source).name for source in report.deleted] == ["ferries.csv"]
    assert [Path(source).name for source in report.added] == ["new.txt"]
    assert {entry.file_name for entry in index.documents()} == {"elsewhere.txt", "hours.md", "new.txt"}
    with pytest.raises(SourceError):
        index.sync(tmp_path / "gone")
    assert len(index.documents()) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="other systems only allow Unicode file names")
def test_sync_keeps_a_file_whose_name_is_no_unicode(index, tmp_path):
    folder = tmp_path / "bytes"
    folder.mkdir()
    Path(os.fsdecode(os.path.join(os.fsencode(folder), b"b\xff.md"))).write_text(FAQ, encoding="utf-8")
    index.sync(folder)
    report = index.sync(folder)
    assert (len(report.unchanged), report.deleted) == (1, [])
    assert len(index.documents()) == 1


def test_an_unknown_parser_or_no_worker_changes_nothing(tmp_path, files):
    options = {"reader": RAGAnythingReader(parser="no such parser")}
    with RAGAnythingIndex(uri=str(tmp_path / "milvus.db"), working_dir=tmp_path / "storage", **options) as index:
        with pytest.raises(ConfigurationError, match="no such parser"):
            index.add(files)
        with pytest.raises(ConfigurationError, match="workers"):
            index.add(files, workers=0)
        assert index.documents() == []


def test_a_working_dir_that_cannot_be_written_is_named(tmp_path, files):
    taken = tmp_path / "taken"
    taken.write_text("a file", encoding="utf-8")
    with (
        RAGAnythingIndex(uri=str(tmp_path / "milvus.db"), working_dir=taken / "storage") as index,
        pytest.raises(ConfigurationError, match="taken"),
    ):
        index.add(files)


def test_delete_leaves_no_trace(index, tmp_path):
    index.add(DEMO / "annual_report.pdf")
    assert stored_files(tmp_path)
    assert index.delete(str(DEMO / "annual_report.pdf"))
    assert index.store.get_nodes() == []
    assert index.documents() == []
    assert stored_files(tmp_path) == []
    assert not index.delete(str(DEMO / "annual_report.pdf"))


def test_delete_takes_a_relative_path(index, files, monkeypatch):
    index.add(files)
    monkeypatch.chdir(files)
    assert index.delete("hours.md")
    assert [entry.file_name for entry in index.documents()] == ["ferries.csv"]


def test_delete_keeps_assets_that_a_twin_still_needs(index, tmp_path):
    for name in ("one.png", "two.png"):
        shutil.copy(DEMO / "milvus_architecture.png", tmp_path / name)
    index.add([tmp_path / "one.png", tmp_path / "two.png"])
    index.delete(str(tmp_path / "one.png"))
    (node,) = [node for node in index.store.get_nodes() if node.metadata["content_type"] == "image"]
    assert Path(node.image_path).exists()


def test_one_bad_file_among_twenty(index, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(19):
        (folder / f"good{number}.txt").write_text(f"Text of file {number}.")
    (folder / "bad.pdf").write_bytes(b"%PDF-1.7 truncated")
    report = index.add(folder)
    assert len(report.added) == 19
    ((source, reason),) = report.failures
    assert source.endswith("bad.pdf")
    assert reason
    (failed,) = [entry for entry in index.documents() if entry.state == "failed"]
    assert failed.error == reason
    with pytest.raises(IngestionError, match=r"^1 of 20 documents failed; the others are added\.\n.*bad\.pdf: "):
        index.add(folder, strict=True)
    with pytest.raises(IngestionError, match=r"^1 of 1 documents failed; no document was added\."):
        index.add(folder / "bad.pdf", strict=True)
    (folder / "bad.pdf").write_bytes((DEMO / "annual_report.pdf").read_bytes())
    assert len(index.add(folder).added) == 1


def test_missing_and_empty_files_are_reported(index, tmp_path):
    (tmp_path / "empty.pdf").touch()
    report = index.add([tmp_path / "missing.pdf", tmp_path / "empty.pdf"])
    assert len(report.failures) == 2
    assert index.add([]).added == []


def test_a_file_that_goes_bad_keeps_its_last_good_version(index, tmp_path):
    path = tmp_path / "report.pdf"
    shutil.copy(DEMO / "annual_report.pdf", path)
    index.add(path)
    path.write_bytes(b"%PDF-1.7 half a file")
    assert len(index.add(path).failures) == 1
    assert "29.4" in str(index.as_query_engine().query("What was the revenue of Sweden in 2024?"))


def test_two_processes_parse_the_same_as_one(tmp_path, files):
    def ids(name, workers):
        with RAGAnythingIndex.from_paths(
            files, uri=str(tmp_path / f"{name}.db"), working_dir=tmp_path / name, workers=workers
        ) as index:
            return sorted(node.node_id for node in index.store.get_nodes())

    assert ids("one", 1) == ids("two", 2)


def test_documents_of_any_reader(index):
    documents = [
        Document(text="The lighthouse was built in 1887.", id_="light"),
        Document(text="灯塔建于1887年。", id_="灯"),
    ]
    index.add_documents(documents)
    assert len(index.add_documents(documents).unchanged) == 2
    results = index.as_retriever(similarity_top_k=1).retrieve("When was the lighthouse built?")
    assert results[0].node.ref_doc_id == "light"
    assert index.delete("灯")
    assert [entry.doc_id for entry in index.documents()] == ["light"]


def test_filters_are_a_boundary(demo):
    filters = MetadataFilters(filters=[MetadataFilter(key="content_type", value="table")])
    results = demo.as_retriever(similarity_top_k=10, filters=filters).retrieve("Milvus architecture components")
    assert results
    assert {item.node.metadata["content_type"] for item in results} == {"table"}


def test_tenants_do_not_see_each_other(tmp_path, files):
    common = {"uri": str(tmp_path / "milvus.db"), "working_dir": tmp_path / "storage"}
    with RAGAnythingIndex(tenant="a", **common) as ours, RAGAnythingIndex(tenant='b" or 1==1', **common) as theirs:
        ours.add(files)
        assert theirs.as_retriever().retrieve("harbour office") == []
        assert theirs.documents() == []
        theirs.add(files / "hours.md")
        theirs.delete(str(files / "hours.md"))
        assert len(ours.documents()) == 2
        assert ours.as_retriever().retrieve("harbour office")


def test_reopened_in_another_process(tmp_path, files):
    uri, working_dir = str(tmp_path / "milvus.db"), str(tmp_path / "storage")
    with RAGAnythingIndex.from_paths(files, uri=uri, working_dir=working_dir):
        pass
    code = textwrap.dedent(
        f"""
        from llama_index_raganything import RAGAnythingIndex
        with RAGAnythingIndex(uri={uri!r}, working_dir={working_dir!r}) as index:
            print(index.as_query_engine().query("When does the harbour office open?"))
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "7 a.m." in done.stdout
    assert "Traceback" not in done.stderr


def test_a_crash_between_nodes_and_ledger_is_cleaned_up(tmp_path, files):
    uri, working_dir = str(tmp_path / "milvus.db"), str(tmp_path / "storage")
    code = textwrap.dedent(
        f"""
        import os
        from llama_index_raganything import RAGAnythingIndex
        index = RAGAnythingIndex(uri={uri!r}, working_dir={working_dir!r})
        store = index.store
        add = type(store).add
        def add_and_die(self, nodes, **kwargs):
            add(self, nodes[:1], **kwargs)
            os._exit(1)
        type(store).add = add_and_die
        index.add({str(files)!r})
        """
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 1
    with RAGAnythingIndex(uri=uri, working_dir=working_dir) as index:
        assert [entry.state for entry in index.documents()] == ["writing"]
        crashed = index.documents()[0]
        other = next(path for path in files.iterdir() if path.name != crashed.file_name)
        report = index.add(other)
        assert len(report.added) == 1
        assert [entry.file_name for entry in index.documents()] == [other.name]
        assert {node.metadata["file_name"] for node in index.store.get_nodes()} == {other.name}
        assert len(index.add(files).added) == 1


def test_dimension_mismatch_on_open_is_typed(tmp_path, files):
    common = {"uri": str(tmp_path / "milvus.db"), "working_dir": tmp_path / "storage"}
    with RAGAnythingIndex.from_paths(files, **common):
        pass
    with pytest.raises(SchemaMismatchError, match="dim"):
        RAGAnythingIndex(embed_model=HashEmbedding(dimension=8), **common)


def test_another_model_of_the_same_dimension_is_told_on_open(tmp_path, files, caplog):
    common = {"uri": str(tmp_path / "milvus.db"), "working_dir": tmp_path / "storage"}
    first, second = (HashEmbedding(dimension=16, model_name=name) for name in ("first", "second"))
    with RAGAnythingIndex.from_paths(files, embed_model=first, **common) as index:
        assert {entry.embed_model for entry in index.documents()} == {"HashEmbedding first"}
    with RAGAnythingIndex(embed_model=first, **common):
        assert "were embedded" not in caplog.text
    with RAGAnythingIndex(embed_model=second, **common) as index:
        assert (
            caplog.text.count("were embedded with HashEmbedding first and are searched with HashEmbedding second") == 1
        )
        assert len(index.add(files).updated) == 2
    with RAGAnythingIndex(embed_model=second, **common):
        assert caplog.text.count("were embedded") == 1


def test_contradicting_arguments_and_missing_llm(index, tmp_path):
    with pytest.raises(ConfigurationError, match="node_parser and chunk_overlap"):
        RAGAnythingIndex(node_parser=index.node_parser, chunk_overlap=2, uri=str(tmp_path / "x.db"))
    with pytest.raises(ConfigurationError, match="LLM"):
        index.as_chat_engine()
    with pytest.raises(ConfigurationError, match="tenant"):
        RAGAnythingIndex(store=index.store, tenant="a")


def test_knowledge_bases_do_not_share_assets(tmp_path):
    picture = DEMO / "milvus_architecture.png"
    uri, working_dir = str(tmp_path / "milvus.db"), tmp_path / "storage"
    embed_model = HashEmbedding(dimension=16)
    stores = [MilvusNodeStore(uri=uri, collection_name=name, dim=16) for name in ("one", "two")]
    options = {"working_dir": working_dir, "embed_model": embed_model, "reader": RAGAnythingReader(ocr="off")}
    one, two = (RAGAnythingIndex(store=store, **options) for store in stores)
    for index in (one, two):
        index.add(picture)
    one.delete(str(picture))
    (node,) = [node for node in two.store.get_nodes() if node.metadata["content_type"] == "image"]
    assert Path(node.image_path).exists()
    one.close()
    two.close()


def test_nothing_found_in_an_empty_index(index):
    assert index.as_retriever().retrieve("anything") == []
    assert "not found" in str(index.as_query_engine().query("anything?")).lower()
    assert index.status()["documents"] == {}


@pytest.fixture
def cli(tmp_path, capsys):
    def call(*arguments):
        common = ["--uri", str(tmp_path / "cli.db"), "--working-dir", str(tmp_path / "storage")]
        code = main([arguments[0], *common, *map(str, arguments[1:])])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def test_cli_ingest_ask_search_status_delete(cli, files):
    code, out, _ = cli("ingest", files, "--json", "--workers", 1)
    assert code == 0
    assert len(json.loads(out)["added"]) == 2
    code, out, _ = cli("ask", "When does the ferry to Aarhus depart?", "--json")
    assert "09:40" in json.loads(out)["answer"]
    code, out, _ = cli("ask", "When does the harbour office open?")
    assert "7 a.m." in out
    assert "[1] hours.md" in out
    code, out, _ = cli("search", "harbour", "--filter", "content_type=text", "--json")
    assert {hit["metadata"]["content_type"] for hit in json.loads(out)} == {"text"}
    code, out, _ = cli("status", "--documents")
    assert "hours.md" in out
    code, out, _ = cli("delete", files / "hours.md", "--json")
    assert code == 0
    code, out, _ = cli("delete", files / "hours.md")
    assert code == 1
    code, out, _ = cli("status", "--json")
    assert [entry["file_name"] for entry in json.loads(out)["documents"]] == ["ferries.csv"]


@pytest.mark.parametrize("command", ["ask", "search"])
def test_cli_says_when_the_knowledge_base_is_empty(cli, files, command):
    assert "is empty" in cli(command, "anything")[2]
    cli("ingest", files, "--no-progress")
    assert "is empty" not in cli(command, "anything")[2]


def test_cli_strict_and_errors(cli, files):
    (files / "bad.docx").write_bytes(b"PK\x03\x04 not really")
    code, out, _ = cli("ingest", files, "--no-progress")
    assert code == 0
    assert "bad.docx" in out
    assert cli("ingest", files, "--strict", "--no-progress")[0] == 1
    assert cli("search", "x", "--filter", "nonsense")[0] == 1
    code, out, err = cli("search", "x", "--filter", "page=²")  # A digit for isdigit(), not for int().
    assert (code, out.strip(), err) == (1, "Nothing found.", "")
    code, _, err = cli("status", "--env-file", files / "none.env")
    assert code == 1
    assert "none.env" in err
    with pytest.raises(SystemExit) as stop:
        main(["ask"])
    assert stop.value.code == 2


@pytest.mark.skipif(os.name != "posix", reason="file modes of POSIX")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_write_permission_is_typed(cli, tmp_path):
    tmp_path.chmod(0o500)
    code, _, err = cli("status")
    tmp_path.chmod(0o700)
    assert code == 1
    assert "StoreUnavailableError" in err
