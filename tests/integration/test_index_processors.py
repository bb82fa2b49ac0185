"""Processors of an index: chosen by arguments or RAG-Anything's configuration, asked again where no answer came."""

import json
import logging

import pytest
from llama_index.core.embeddings import MockEmbedding

from llama_index_raganything import ConfigurationError, EnrichmentOptions, RAGAnythingIndex
from llama_index_raganything.testing import HashEmbedding, ScriptedChatLLM

TEXT = "# Ferries\n\nTable 1: Fares\n\n| Line | Fare |\n| --- | --- |\n| North | 12 |\n\n$$\nE = m c^2\n$$\n"
ANSWER = json.dumps(
    {
        "detailed_description": "What a crossing costs.",
        "entity_info": {"entity_name": "Fares", "entity_type": "table", "summary": "Fares of the lines."},
    }
)


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "in" / "ferries.md"
    path.parent.mkdir()
    path.write_text(TEXT)
    return path


def options(tmp_path):
    return {
        "uri": str(tmp_path / "milvus.db"),
        "working_dir": tmp_path / "storage",
        "embed_model": HashEmbedding(),
        "graph": False,
    }


def test_what_a_model_did_not_answer_is_asked_again_and_nothing_else(document, tmp_path):
    down = ScriptedChatLLM(replies=[lambda _messages: 1 / 0])
    enrichment = EnrichmentOptions(llm=down, language="en", workers=1)
    with RAGAnythingIndex(**options(tmp_path), enrichment=enrichment) as index:
        for processor in index.ingestion.transformations:
            if hasattr(processor, "max_retries"):
                processor.max_retries = 0
        report = index.add(document)
        assert report.added
        assert len(report.warnings) == 2
        assert index.add(document).updated
        up = ScriptedChatLLM(replies=[ANSWER])
        for processor in index.ingestion.transformations:
            if hasattr(processor, "llm"):
                processor.llm = up
        assert not index.add(document).warnings
        assert len(up.requests) == 2
        assert index.add(document).unchanged
        assert len(up.requests) == 2
        assert (
            "What a crossing costs." in index.as_retriever().retrieve("fares of the north line")[0].node.get_content()
        )


def test_types_that_are_switched_off_are_left_alone(document, tmp_path):
    llm = ScriptedChatLLM(replies=[ANSWER])
    enrichment = EnrichmentOptions(llm=llm, tables=False, equations=False)
    with RAGAnythingIndex(**options(tmp_path), enrichment=enrichment) as index:
        index.add(document)
        assert not llm.requests
        assert not any("In words" in node.get_content() for node in index.store.get_nodes())


def test_raganythings_own_configuration_is_honoured(document, tmp_path, monkeypatch):
    from raganything import RAGAnythingConfig

    (document.parent / "deep").mkdir()
    (document.parent / "deep" / "more.md").write_text("# More\n\nDeep water.\n")
    (document.parent / "notes.txt").write_text("Shallow water.\n")
    config = RAGAnythingConfig(
        working_dir=str(tmp_path / "rag"),
        parser="docvortex",
        enable_table_processing=False,
        max_concurrent_files=2,
        recursive_folder_processing=False,
        supported_file_extensions=[".md"],
    )
    llm = ScriptedChatLLM(replies=[ANSWER])
    with RAGAnythingIndex.from_config(
        config, llm=llm, uri=str(tmp_path / "milvus.db"), embed_model=HashEmbedding(), graph=False
    ) as index:
        assert (index.workers, index.reader.parser) == (2, "docvortex")
        report = index.add(document.parent, workers=1)
        assert [source.rpartition("/")[2] for source in report.added] == ["ferries.md"]
        assert len(llm.requests) == 1  # The equation; tables are switched off.
        assert str(tmp_path / "rag") in index.reader.working_dir


def test_a_model_that_embeds_no_images_is_refused(tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    with pytest.raises(ConfigurationError, match="MockEmbedding"):
        RAGAnythingIndex(**options(tmp_path), image_embed_model=MockEmbedding(embed_dim=4))
    with RAGAnythingIndex(**options(tmp_path), tables=False) as index:
        with pytest.raises(ConfigurationError, match="image_embed_model"):
            index.as_visual_retriever()
        with pytest.raises(ConfigurationError, match="tables=False"):
            index.query_sql("SELECT 1")
