"""Files are written whole or not at all."""

from pathlib import Path

import pytest

from llama_index_raganything._files import replace_file


def test_a_file_is_replaced_and_nothing_else_stays(tmp_path):
    path = tmp_path / "new" / "中文.json"
    replace_file(path, b"old")
    status = replace_file(path, b"newer", durable=True)
    assert path.read_bytes() == b"newer"
    assert (status.st_size, status.st_ino) == (5, path.stat().st_ino)
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_leaves_no_half_of_a_file(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OSError, match="folder"):
        replace_file(folder, b"a folder is there already")
    assert list(tmp_path.iterdir()) == [folder]


def test_no_half_of_a_file_is_left_when_writing_stops(tmp_path, monkeypatch):
    def stop(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        replace_file(tmp_path / "answer.json", b"yes")
    assert list(tmp_path.iterdir()) == []
