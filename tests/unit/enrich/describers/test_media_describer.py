"""Recordings become nodes that know their seconds; any transcriber does, and none is a clear failure."""

import importlib.util
import wave

import pytest
from llama_index.core.schema import NodeRelationship, TextNode

from llama_index_raganything.enrich.describers.media import MediaDescriber, Segment
from llama_index_raganything.node_parser.parser import RAGAnythingNodeParser
from llama_index_raganything.readers.reader import RAGAnythingReader

SEGMENTS = [
    {"start": 0.0, "end": 1.5, "text": "Good morning everyone."},
    Segment(1.5, 4.25, "The reactor runs at 300 degrees. 你好"),
]


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "meeting.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\0" * 8000 * 5)
    reader = RAGAnythingReader(working_dir=str(tmp_path / "work"))
    return RAGAnythingNodeParser(asset_root=reader.assets.root)(reader.load_data(path))


def test_parts_follow_the_recording_with_their_seconds(recording):
    made = MediaDescriber(transcriber=lambda path: SEGMENTS, chunk_size=5)(recording)
    whole, first, second = made
    assert whole == recording[0]
    assert first.text == "meeting.wav\n\n[0:00-0:01] Good morning everyone."
    assert (second.metadata["start_s"], second.metadata["end_s"]) == (1.5, 4.25)
    assert "你好" in second.text
    assert second.metadata["content_type"] == "audio"
    assert second.metadata["doc_id"] == whole.metadata["doc_id"]
    assert second.ref_doc_id == whole.ref_doc_id
    assert first.relationships[NodeRelationship.NEXT].node_id == second.node_id
    assert "start_s" in second.excluded_embed_metadata_keys


def test_short_segments_share_a_node(recording):
    (_, part) = MediaDescriber(transcriber=lambda path: SEGMENTS)(recording)
    assert (part.metadata["start_s"], part.metadata["end_s"]) == (0.0, 4.25)
    assert part.text.count("[") == 2


def test_a_second_run_changes_nothing_and_ids_stay(recording):
    describer = MediaDescriber(transcriber=lambda path: SEGMENTS)
    once = describer(recording)
    assert [node.node_id for node in describer(recording)] == [node.node_id for node in once]
    assert describer(once) == once


async def test_async_gives_the_same(recording):
    describer = MediaDescriber(transcriber=lambda path: SEGMENTS)
    assert await describer.acall(recording) == describer(recording)


def test_the_asset_is_used_when_the_source_is_gone(recording, tmp_path):
    (tmp_path / "meeting.wav").unlink()
    paths = []
    describer = MediaDescriber(transcriber=lambda path: paths.append(path) or SEGMENTS)
    assert "is not there" in describer.process(recording).failures[0][1]
    describer.asset_root = str(tmp_path / "work" / "assets")
    assert len(describer(recording)) == 2
    assert paths[0].is_relative_to(tmp_path / "work" / "assets")


def test_an_asset_outside_its_folder_is_refused(tmp_path):
    node = TextNode(text="x", metadata={"content_type": "audio", "asset": "../../etc/passwd"})
    processed = MediaDescriber(transcriber=lambda path: SEGMENTS, asset_root=tmp_path).process([node])
    assert "outside" in processed.failures[0][1]
    assert processed.nodes == [node]


@pytest.mark.parametrize(
    ("segments", "reason"),
    [
        ([], "Nothing is said"),
        ([{"start": 0, "end": 1, "text": "  "}], "Nothing is said"),
        ([{"start": 0, "text": "x"}], "needs start and end"),
        ([{"start": 2, "end": 1, "text": "x"}], "from 2.0 to 1.0"),
        ([{"start": float("nan"), "end": 1, "text": "x"}], "from nan"),
        (["words"], "needs start and end"),
        (None, "The transcriber failed"),
    ],
)
def test_bad_transcripts_leave_the_node_and_are_reported(recording, segments, reason):
    processed = MediaDescriber(transcriber=lambda path: segments).process(recording)
    assert processed.nodes == recording
    assert reason in processed.failures[0][1]


def test_without_the_extra_the_reason_names_it(recording, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "faster_whisper" else real(name))
    processed = MediaDescriber().process(recording)
    assert processed.nodes == recording
    assert "faster_whisper" in processed.failures[0][1]
    assert "llama-index-raganything[media]" in processed.failures[0][1]


def test_a_model_that_does_not_see_is_refused():
    from llama_index_raganything.errors import ConfigurationError
    from llama_index_raganything.testing import ScriptedTextLLM

    with pytest.raises(ConfigurationError, match="see images"):
        MediaDescriber(llm=ScriptedTextLLM())


def test_what_is_said_is_found_through_the_index_with_its_seconds(recording, tmp_path):
    from llama_index_raganything import RAGAnythingIndex

    folder, steps = tmp_path / "index", [MediaDescriber(transcriber=lambda path: SEGMENTS, chunk_size=5)]
    with RAGAnythingIndex.from_paths([tmp_path / "meeting.wav"], working_dir=folder, transformations=steps) as index:
        node = index.as_retriever(similarity_top_k=1).retrieve("reactor degrees")[0].node
    assert (node.metadata["content_type"], node.metadata["start_s"], node.metadata["end_s"]) == ("audio", 1.5, 4.25)
