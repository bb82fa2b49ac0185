"""Arguments of an index that cannot work together, or have wrong values, are refused before anything is opened."""

import pytest
from llama_index.core.node_parser import SentenceSplitter

from llama_index_raganything import (
    ConfigurationError,
    EnrichmentOptions,
    MilvusNodeStore,
    RAGAnythingIndex,
    RAGAnythingReader,
)
from llama_index_raganything.enrich.registry import ProcessorOptions


class Shelf:
    name = "shelf"
    settings = read = write = delete_nodes = delete_document = flush = print


@pytest.fixture(autouse=True)
def _nothing_is_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"node_parser": SentenceSplitter(), "chunk_size": 64, "chunk_overlap": 8},
            "node_parser and chunk_size, chunk_overlap were both",
        ),
        ({"reader": RAGAnythingReader(split="page")}, "split='page'"),
        ({"transformations": [SentenceSplitter()]}, "pass it as node_parser="),
        ({"layers": [Shelf(), Shelf()]}, "A layer named 'shelf' exists already"),
        ({"chunk_size": 0}, "chunk_size must be"),
    ],
)
def test_an_argument_without_effect_beside_another_is_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        RAGAnythingIndex(**arguments)


@pytest.mark.parametrize(
    ("name", "value"), [("uri", "./b.db"), ("tenant", "a"), ("db_name", ""), ("overwrite", True), ("token", "x")]
)
def test_an_open_store_has_its_own_address(name, value, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    match = f"store and {name} were both given"
    with MilvusNodeStore(str(folder / "a.db"), dim=2) as store, pytest.raises(ConfigurationError, match=match):
        RAGAnythingIndex(store=store, **{name: value})


@pytest.mark.parametrize("options", [{"profile": "nonsense"}, {"crop_dpi": 0}])
def test_wrong_values_of_the_reader_are_told_before_a_store_is_opened(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        RAGAnythingIndex(reader=RAGAnythingReader(**options))


@pytest.mark.parametrize("options", [{"context_mode": "nonsense"}, {"context_window": -1}])
def test_wrong_values_of_describers_are_refused_without_a_model_too(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        ProcessorOptions(**options)
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        RAGAnythingIndex(enrichment=EnrichmentOptions(**options))


def test_a_language_without_prompts_is_refused_without_a_model_too():
    with pytest.raises(ConfigurationError, match="klingon"):
        RAGAnythingIndex(enrichment=EnrichmentOptions(language="klingon"))
