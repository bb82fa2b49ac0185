"""The parse cache: right key, atomic, forgiving."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llama_index_raganything.elements import Element
from llama_index_raganything.errors import SourceError
from llama_index_raganything.readers.cache import ParseCache, file_hash, parse_key
from llama_index_raganything.readers.common.base import AssetStore, ParsedFile, ParseOptions

HASH = "ab" * 32


@pytest.fixture
def assets(tmp_path: Path) -> AssetStore:
    return AssetStore(tmp_path / "assets")


@pytest.fixture
def cache(tmp_path: Path) -> ParseCache:
    return ParseCache(tmp_path / "cache")


def parsed(assets: AssetStore) -> ParsedFile:
    elements = [
        Element(type="page", text="整页 \u202e text", page=1),
        Element(type="image", caption="Figure 1", page=1, bbox=(1, 2, 3, 4), asset=assets.put(b"x", ".png")),
        Element(type="table", rows=[["a", "b"], ["1", "2"]], html="<table>", text="|a|b|"),
    ]
    return ParsedFile(elements, parser="p 1", title="T", warnings=["w"])


def test_round_trip(cache: ParseCache, assets: AssetStore) -> None:
    stored = parsed(assets)
    cache.put(HASH, "key", stored)
    assert cache.get(HASH, "key", assets) == stored
    assert cache.get(HASH, "other", assets) is None
    assert cache.get("cd" * 32, "key", assets) is None


@pytest.mark.parametrize(
    "damage", ["", "{", "null", "[]", '{"elements": [{"type": "nonsense"}]}', "[" * 100_000, '{"elements": 3}']
)
def test_a_damaged_entry_is_ignored_and_rewritten(cache: ParseCache, assets: AssetStore, damage: str) -> None:
    cache.put(HASH, "key", parsed(assets))
    (path,) = cache.root.rglob("*.json")
    path.write_text(damage)
    assert cache.get(HASH, "key", assets) is None
    cache.put(HASH, "key", parsed(assets))
    assert cache.get(HASH, "key", assets) == parsed(assets)


def test_lost_assets_make_a_miss(cache: ParseCache, assets: AssetStore) -> None:
    cache.put(HASH, "key", parsed(assets))
    for path in assets.root.rglob("*.png"):
        path.unlink()
    assert cache.get(HASH, "key", assets) is None


def test_an_asset_path_that_leaves_the_folder_makes_a_miss(cache: ParseCache, assets: AssetStore) -> None:
    cache.put(HASH, "key", parsed(assets))
    (path,) = cache.root.rglob("*.json")
    content = json.loads(path.read_text())
    content["elements"][1]["asset"] = "../../../../etc/passwd"
    path.write_text(json.dumps(content))
    assert cache.get(HASH, "key", assets) is None


def test_no_half_written_files_stay(cache: ParseCache, assets: AssetStore) -> None:
    cache.put(HASH, "key", parsed(assets))
    assert [p.name for p in cache.root.rglob("*") if p.is_file()] == ["key.json"]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, assets: AssetStore) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = ParseCache(tmp_path / "file")
    cache.put(HASH, "key", parsed(assets))
    assert cache.get(HASH, "key", assets) is None


def test_forget_removes_every_parse_of_one_content(cache: ParseCache, assets: AssetStore) -> None:
    cache.put(HASH, "key", parsed(assets))
    cache.put(HASH, "key2", parsed(assets))
    cache.put("cd" * 32, "key", parsed(assets))
    cache.forget(HASH)
    cache.forget("ef" * 32)
    assert cache.get(HASH, "key", assets) is None
    assert cache.get(HASH, "key2", assets) is None
    assert cache.get("cd" * 32, "key", assets) is not None


def test_forget_cannot_leave_the_folder(tmp_path: Path, cache: ParseCache) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    for name in ("../victim", str(victim), "..", ""):
        cache.forget(name)
    assert victim.is_dir()


def test_the_key_depends_on_every_option() -> None:
    keys = {
        parse_key("pdf .pdf", "auto", options)
        for options in (
            ParseOptions(),
            ParseOptions(profile="fast"),
            ParseOptions(ocr="off"),
            ParseOptions(image_ocr=True),
            ParseOptions(page_images=True),
            ParseOptions(crop_dpi=100),
            ParseOptions(lang="en"),
            ParseOptions(page_range="1"),
            ParseOptions(parser_kwargs={"a": 1}),
        )
    }
    keys |= {parse_key("pdf .pdf", "mineru", ParseOptions()), parse_key("image .png", "auto", ParseOptions())}
    assert len(keys) == 11
    assert parse_key("pdf .pdf", "auto", ParseOptions()) in keys


def test_file_hash(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"")
    assert file_hash(path) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    with pytest.raises(SourceError):
        file_hash(tmp_path / "gone")
