"""Sources: hashed once, and again only where a file was changed."""

import os

import pytest

from llama_index_raganything.readers.cache import file_hash
from llama_index_raganything.readers.sources import sources
from llama_index_raganything.readers.sources.sources import Source, content_hash_of, with_hash


def test_the_hash_of_a_source_is_taken_again_only_where_its_file_was_changed(tmp_path, monkeypatch):
    path = tmp_path / "a.md"
    path.write_text("# One")
    source = with_hash(Source("file", str(path), path), None)
    assert source.content_hash == file_hash(path)
    with monkeypatch.context() as patch:
        patch.setattr(sources, "file_hash", lambda _: pytest.fail("hashed twice"))
        assert content_hash_of(source, path) == source.content_hash
    path.write_text("# Two")
    os.utime(path, ns=(1, 1))
    assert content_hash_of(source, path) == file_hash(path) != source.content_hash


def test_bytes_have_the_hash_of_a_file_with_them(tmp_path):
    path = tmp_path / "a.md"
    path.write_bytes(b"# One")
    source = with_hash(Source("bytes", "a.md", b"# One"), None)
    assert source.content_hash == content_hash_of(source, path) == file_hash(path)
