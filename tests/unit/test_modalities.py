"""Modalities plug in at one place: files, elements, nodes, workers, and what goes wrong."""

import pickle
import sys
from pathlib import Path

import pytest

from llama_index_raganything import RAGAnythingIndex, modalities
from llama_index_raganything.documents.packing import document_elements
from llama_index_raganything.elements import Element
from llama_index_raganything.enrich.registry import register_modality, registered_content_types, unregister_modality
from llama_index_raganything.errors import ConfigurationError, CorruptFileError
from llama_index_raganything.node_parser.parser import RAGAnythingNodeParser
from llama_index_raganything.readers.reader import RAGAnythingReader

EXAMPLES = Path(__file__).parents[2] / "examples"


def read_mesh(path, assets):
    text = path.read_text(encoding="utf-8")
    if "broken" in text:
        raise ValueError(text)
    return [Element(type="text", text="An introduction."), Element(type="mesh", caption="Modell 模型", text=text)]


@pytest.fixture(autouse=True)
def mesh():
    register_modality("mesh", suffixes=[".stl"], read=read_mesh)
    yield
    unregister_modality("mesh")


@pytest.fixture
def reader(tmp_path):
    return RAGAnythingReader(working_dir=str(tmp_path / "work"))


def write(path, text="12 faces"):
    path.write_text(text, encoding="utf-8")
    return path


def test_files_become_elements_and_nodes_of_their_own(tmp_path, reader):
    (document,) = reader.load_data(write(tmp_path / "Cube.STL"))
    assert [element.type for element in document_elements(document)] == ["text", "mesh"]
    nodes = RAGAnythingNodeParser()([document])
    assert [node.metadata["content_type"] for node in nodes] == ["text", "mesh"]
    assert nodes[1].text == "Modell 模型\n\n12 faces"


def test_a_file_that_cannot_be_read_fails_alone(tmp_path, reader):
    paths = [write(tmp_path / "a.stl", "broken"), write(tmp_path / "b.stl")]
    assert len(reader.load_data(paths)) == 1
    ((source, error),) = reader.failures
    assert source == str(paths[0])
    assert isinstance(error, CorruptFileError)


def test_what_is_registered_last_comes_first_and_detect_decides(tmp_path, reader):
    register_modality("series", suffixes=[".csv"], read=read_series, detect=lambda path: "time" in path.read_text())
    try:
        plain, series = write(tmp_path / "a.csv", "x,y\n1,2\n"), write(tmp_path / "b.csv", "time,y\n1,2\n")
        kinds = [{element.type for element in document_elements(one)} for one in reader.load_data([plain, series])]
        assert "table" in kinds[0]
        assert kinds[1] == {"series"}
    finally:
        unregister_modality("series")


def read_series(path, assets):
    return [Element(type="series", text="rising")]


def test_a_detect_that_fails_names_its_modality(tmp_path, reader):
    register_modality("odd", suffixes=[".csv"], read=read_series, detect=lambda path: 1 / 0)
    try:
        with pytest.raises(ConfigurationError, match=r"'odd' failed on 'a\.csv': ZeroDivisionError"):
            reader.load_data(write(tmp_path / "a.csv"))
    finally:
        unregister_modality("odd")


def test_elements_that_are_none_are_refused(tmp_path, reader):
    register_modality("mesh", suffixes=[".stl"], read=lambda path, assets: ["text"], version="2")
    with pytest.raises(ConfigurationError, match="must give elements"):
        reader.load_data(write(tmp_path / "a.stl"))


def test_a_new_version_is_read_again_and_changes_the_fingerprint(tmp_path, reader):
    path = write(tmp_path / "a.stl")
    reader.load_data(path)
    before = reader.fingerprint()
    register_modality("mesh", suffixes=[".stl"], read=lambda *_: [Element(type="mesh", text="new")], version="2")
    assert reader.load_data(path)[0].text == "new"
    assert reader.fingerprint() != before


@pytest.mark.parametrize("name", ["table", "page", "Mesh", "3d", "", "a-b", "x" * 65, "网格"])
def test_names_that_cannot_be_types(name):
    with pytest.raises(ConfigurationError, match="cannot be a new content type"):
        register_modality(name, suffixes=[".x"], read=read_mesh)


@pytest.mark.parametrize("suffixes", [[], "stl", [".stl", ""], ["."]])
def test_suffixes_that_cannot_be(suffixes):
    with pytest.raises(ConfigurationError, match="suffixes"):
        register_modality("cloud", suffixes=suffixes, read=read_mesh)


def test_types_that_are_not_registered_are_refused():
    unregister_modality("mesh")
    with pytest.raises(ConfigurationError, match="register_modality"):
        Element(type="mesh", text="x")


def test_processors_come_and_go_with_the_modality():
    register_modality("mesh", suffixes=[".stl"], read=read_mesh, processor=lambda options: None)
    assert "mesh" in registered_content_types()
    unregister_modality("mesh")
    assert "mesh" not in registered_content_types()


def test_functions_that_no_worker_can_import_are_refused_before_the_work(tmp_path):
    register_modality("mesh", suffixes=[".stl"], read=lambda path, assets: [])
    reader = RAGAnythingReader(working_dir=str(tmp_path), workers=2)
    with pytest.raises(ConfigurationError, match="'mesh' cannot be used with workers"):
        reader.load_data([write(tmp_path / "a.stl"), write(tmp_path / "b.stl")])


def test_a_worker_that_cannot_load_them_says_so(monkeypatch):
    monkeypatch.setattr(modalities, "_missing", "")
    modalities.unpack_modalities(pickle.dumps([b"cnowhere\nmissing\n."]))
    with pytest.raises(ConfigurationError, match=r"worker process cannot load.*nowhere"):
        modalities.modalities()


@pytest.fixture
def time_series(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import time_series

    time_series.register()
    yield time_series
    unregister_modality("time_series")
    sys.modules.pop("time_series")


def test_worker_processes_know_them(tmp_path, time_series, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES))
    unregister_modality("mesh")  # Test modules cannot be imported by other processes.
    paths = [time_series.make_demo(tmp_path / name) for name in ("a.csv", "b.csv")]
    reader = RAGAnythingReader(working_dir=str(tmp_path / "work"), workers=2)
    for document in reader.load_data(paths):
        assert [element.type for element in document_elements(document)] == ["time_series"] * 2


def test_the_worked_example_is_found_through_the_index(tmp_path, time_series):
    series = time_series.make_demo(tmp_path / "boiler.csv")
    table = write(tmp_path / "ferries.csv", "Route,Departure\nEbeltoft,08:15\nAarhus,09:40\n")
    with RAGAnythingIndex.from_paths([series, table], working_dir=tmp_path / "index") as index:
        found = index.as_retriever(similarity_top_k=1).retrieve("boiler temperature anomaly")[0].node
        assert found.metadata["content_type"] == "time_series"
        for words in ("165", "rising", "Gap: no readings for 6:00:00", "one every 1:00:00", "Minimum 60"):
            assert words in found.text
        ferries = index.as_retriever(similarity_top_k=1).retrieve("ferry to Ebeltoft")[0].node
        assert ferries.metadata["content_type"] == "table"
