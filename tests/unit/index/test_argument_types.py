"""Arguments of a wrong type are refused at once, with what was given and what to give."""

import pytest
from llama_index.core.indices.property_graph import SimpleLLMPathExtractor
from PIL import Image

from llama_index_raganything import (
    ConfigurationError,
    EnrichmentOptions,
    GraphOptions,
    RAGAnythingIndex,
    RAGAnythingReader,
    TripleExtractor,
)
from llama_index_raganything.errors import StoreUnavailableError, UnknownArgumentError
from llama_index_raganything.testing import HashEmbedding, ScriptedChatLLM

LLM = ScriptedChatLLM(replies=["x"])
PATHS = SimpleLLMPathExtractor(llm=LLM)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"graph": TripleExtractor(extractor=PATHS)}, r"not a TripleExtractor; give GraphOptions\("),
        ({"graph": "off"}, r"graph must be .* not a str \('off'\)"),
        ({"llm": "openai:gpt-4o"}, r"llm must be an LLM of LlamaIndex, not a str \('openai:gpt-4o'\); .* RAG_LLM"),
        ({"vision_llm": 3}, "vision_llm must be an LLM"),
        ({"embed_model": "x"}, "OpenAILikeEmbedding"),
        ({"reader": "docling"}, r"reader must be a RAGAnythingReader, not a str \('docling'\); give one such as"),
        ({"reader": RAGAnythingReader}, "not the class RAGAnythingReader itself"),
        ({"chunk_size": "512"}, r"chunk_size must be a whole number of tokens, not a str \('512'\)"),
        ({"chunk_size": True}, "chunk_size must be"),
        ({"enrichment": True}, r"enrichment must be .* not a bool \(True\); give \[\]"),
        ({"enrichment": LLM}, "not a ScriptedChatLLM"),
        ({"enrichment": ["x"]}, "not a list of str"),
        ({"layers": object()}, "layers must be a list of layers, not an object"),
        ({"layers": [object()]}, "not a list of object"),
        ({"layers": ["graph"]}, "not a list of str"),
        ({"settings": {"rag_llm": "secret"}}, r"not a dict; give RAGAnythingSettings\("),
        ({"store": "./n.db"}, r"store must be an open MilvusNodeStore, not a str \('./n.db'\); .* uri="),
    ],
)
def test_an_index_refuses_wrong_types_before_it_opens_anything(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=message):
        RAGAnythingIndex(**arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GraphOptions(triple_extractor=PATHS), r"wrap .* in TripleExtractor\(extractor="),
        (
            lambda: EnrichmentOptions(context_mode="pages"),
            r"^context_mode is a str \('pages'\): Input should be 'page'",
        ),
        (lambda: EnrichmentOptions(workers=0), r"^workers is an int \(0\): "),
        (lambda: EnrichmentOptions(llm="gpt-4o"), "llm must be an LLM"),
        (lambda: RAGAnythingReader(ocr="on"), r"^ocr is a str \('on'\): Input should be 'auto', 'off' or 'always'.$"),
        (
            lambda: RAGAnythingReader(asset_root=["secret"]),
            "^asset_root is a list of str: Input should",
        ),
        (lambda: RAGAnythingReader(parser="docvrtex").check_parser(), "did you mean 'docvortex'"),
    ],
)
def test_options_refuse_wrong_values(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("parser", r"parser: it belongs to reader=RAGAnythingReader\(parser=\.\.\.\)\."),
        ("language", r"language: it belongs to enrichment=EnrichmentOptions\(language="),
        ("triple_extractor", r"triple_extractor: it belongs to graph=GraphOptions\("),
        ("workers", r"workers: it belongs to from_paths\(\), add\(\) and sync\(\)"),
        ("url", r"url: did you mean uri\?"),
    ],
)
def test_an_unknown_argument_leads_to_where_it_belongs(name, message):
    with pytest.raises(UnknownArgumentError, match=message):
        RAGAnythingIndex(**{name: "x"})
    if name != "workers":
        with pytest.raises(UnknownArgumentError, match=message):
            RAGAnythingIndex.from_documents([], **{name: "x"})


def test_the_singular_of_an_option_leads_to_it():
    with pytest.raises(UnknownArgumentError, match=r"image: did you mean images\?$"):
        EnrichmentOptions(image=True)


def test_an_open_index(tmp_path):
    folder = {"uri": str(tmp_path / "a.db"), "working_dir": tmp_path / "w"}
    with RAGAnythingIndex(embed_model=HashEmbedding(), graph=None, **folder) as index:
        assert index.knowledge_graph is not None
        for make in (index.as_retriever, index.as_table_retriever, index.as_visual_retriever, index.as_query_engine):
            with pytest.raises(ConfigurationError, match=r"filters must be MetadataFilters, not a dict"):
                make(filters={"a": 1})
        with pytest.raises(ConfigurationError, match=r"not a str \('text'\); give Document\(text="):
            index.add_documents(["text"])
        with pytest.raises(ConfigurationError, match="add_documents"):
            index.add([ScriptedChatLLM()])
        (tmp_path / "a.md").write_text("Sweden grew fastest.")
        Image.new("RGB", (3, 3)).save(tmp_path / "b.png")
        index.reader.parser = "mineru"
        with pytest.raises(ImportError, match="flash tier"):
            index.add([tmp_path / "a.md", tmp_path / "b.png"])
        report = index.last_report
        assert (len(report.added), len(report.failures), "flash tier" in report.ended_early) == (1, 1, True)
    with pytest.raises(StoreUnavailableError, match=r"This index .* is closed; open it again with RAGAnythingIndex"):
        index.status()
