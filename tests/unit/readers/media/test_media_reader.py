"""What sound and film files say about themselves, and that damaged ones stay readable."""

import sys

import pytest
from media_files import box, mp4, wav

from llama_index_raganything.documents.packing import document_elements
from llama_index_raganything.readers.media.recordings import media_facts, readable_size, readable_time
from llama_index_raganything.readers.reader import RAGAnythingReader


@pytest.fixture
def reader(tmp_path):
    return RAGAnythingReader(working_dir=str(tmp_path / "work"))


def test_wav_file(tmp_path, reader):
    path = wav(tmp_path / "Besprechung 会议.wav", seconds=65, channels=2)
    (element,) = document_elements(reader.load_data(path)[0])
    assert element.type == "audio"
    assert element.text.startswith("Besprechung 会议.wav\nWAV audio, duration 1:05 (65.0 seconds), codec PCM")
    assert "sample rate 8000 Hz, stereo, 256 kbit/s, 2.1 MB" in element.text
    assert reader.assets.resolve(element.asset).read_bytes() == path.read_bytes()


def test_mp4_file(tmp_path, reader):
    (element,) = document_elements(reader.load_data(mp4(tmp_path / "film.mp4"))[0])
    assert element.type == "video"
    assert "MP4 video, duration 1:30 (90.0 seconds), codec H.264, resolution 1280 x 720 pixels" in element.text


def test_tags_name_the_document(tmp_path, reader):
    # An ID3v2.3 tag in front of one MPEG frame.
    title, artist = "Über Graphen".encode("utf-16"), "Ada".encode("utf-16")
    frames = b"".join(
        name + (len(value) + 1).to_bytes(4, "big") + b"\0\0\1" + value
        for name, value in ((b"TIT2", title), (b"TPE1", artist))
    )
    size = len(frames)
    head = b"ID3\3\0\0" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127])
    path = tmp_path / "talk.mp3"
    path.write_bytes(head + frames + (b"\xff\xfb\x90\x00" + b"\0" * 413) * 20)
    (document,) = reader.load_data(path)
    assert document.metadata["title"] == "Über Graphen"
    assert "Title: Über Graphen; Artist: Ada" in document.text
    assert "44100 Hz" in document.text


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.wav", b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0"),
        ("a.mp3", b"ID3\3\0\0\x7f\x7f\x7f\x7f"),
        ("a.mp4", b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\1moov" + b"\xff" * 8),
        ("b.mp4", b"\0\0\0\x10ftypisom\0\0\0\0" + box(b"moov", box(b"mvhd", b"\1"))),
        ("a.mkv", b"\x1aE\xdf\xa3" + b"\xff" * 100),
        ("a.flac", b"fLaC" + b"\xff" * 40),
        ("a.avi", b"RIFF\0\0\0\0AVI LIST" + b"\xff" * 40),
        ("a.mov", b"#EXTM3U\nfile:///etc/passwd\n"),
    ],
)
def test_damaged_files_are_indexed_by_name_format_and_size(tmp_path, reader, name, data):
    (tmp_path / name).write_bytes(data)
    (document,) = reader.load_data(tmp_path / name)
    assert document.text.startswith(name)
    assert f"{len(data)} bytes" in document.text
    assert "passwd" not in document.text


def test_deep_and_endless_boxes_end(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x08free" * 50_000)
    assert media_facts(path, "video", ".mp4").duration_s is None


def test_without_pyav_containers_still_have_size_and_format(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "a.webm"
    path.write_bytes(b"\x1aE\xdf\xa3" + b"\0" * 2000)
    assert media_facts(path, "video", ".webm").text == "WEBM video, 2.0 kB"


def test_other_containers_are_read_with_pyav(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 64, 48
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode())
    facts = media_facts(path, "video", ".mkv")
    assert (facts.width, facts.height, facts.codecs) == (64, 48, ("mpeg4",))
    assert facts.duration_s == pytest.approx(2, abs=0.2)


def test_times_and_sizes():
    assert [readable_time(value) for value in (0, 65.9, 3723)] == ["0:00", "1:05", "1:02:03"]
    assert [readable_size(value) for value in (0, 1500, 2_000_000)] == ["0 bytes", "1.5 kB", "2.0 MB"]
