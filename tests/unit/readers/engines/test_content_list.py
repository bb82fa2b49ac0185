"""Every dialect of content_list becomes the same elements, and hostile lists read nothing they should not."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llama_index_raganything.elements import Element
from llama_index_raganything.errors import CorruptFileError, SourceError
from llama_index_raganything.readers.common.base import AssetStore
from llama_index_raganything.readers.engines.content_list import (
    content_list_to_elements,
    elements_to_content_list,
    read_content_list_file,
)


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (2, 2), "red").save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def assets(tmp_path: Path) -> AssetStore:
    return AssetStore(tmp_path / "assets")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "parsed" / "images"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(png())
    return folder


def one(item: Any, assets: AssetStore, root: Path | None = None) -> Element:
    (element,) = content_list_to_elements([item], assets=assets, asset_root=root).elements
    return element


def test_text_headings_and_pages(assets: AssetStore) -> None:
    assert one({"type": "text", "text": " 你好 ", "page_idx": 4}, assets) == Element(type="text", text="你好", page=5)
    heading = one({"type": "text", "text": "A", "text_level": 3, "page_idx": 0, "bbox": [1, 2, 3, 1000]}, assets)
    assert heading == Element(type="heading", text="A", level=3, page=1, bbox=(1, 2, 3, 1000))
    assert one({"type": "text", "text": "x", "text_level": 0}, assets).type == "text"
    assert one({"type": "title", "text": "x"}, assets).level == 1


@pytest.mark.parametrize(
    ("printed", "label"),
    [
        ("12", "12"),
        ("- iv -", "iv"),
        ("Page A-3", "A-3"),
        ("第 7 页", "7"),
        ("1", None),
        ("1/20 draft", None),
        ("", None),
    ],
)
def test_printed_page_numbers_label_their_page(assets: AssetStore, printed: str, label: str | None) -> None:
    number = {"type": "page_number", "text": printed, "page_idx": 0}
    items = [{"type": "text", "text": "words", "page_idx": 0}, number, {"type": "text", "text": "more", "page_idx": 1}]
    elements = content_list_to_elements(items, assets=assets, asset_root=None).elements
    assert [(e.page_label) for e in elements if e.type == "text"] == [label, None]


@pytest.mark.parametrize(
    ("page_idx", "page"),
    [(0, 1), ("3", 4), (None, None), (-1, None), (True, None), ("x", None), (2.5, None), ([], None)],
)
def test_pages_of_any_type(assets: AssetStore, page_idx: Any, page: int | None) -> None:
    assert one({"type": "text", "text": "x", "page_idx": page_idx}, assets).page == page


@pytest.mark.parametrize(
    ("bbox", "expected"),
    [
        ([10, 20, 30, 40], (10, 20, 30, 40)),
        ([0.1, 0.2, 0.3, 0.4], (100, 200, 300, 400)),
        ([10.4, 20, 30, 40], (10, 20, 30, 40)),
        ([72, 90, 1500, 2000], None),
        ([1, 2, 3], None),
        (["1", "2", "3", "4"], None),
        ({"l": 1}, None),
        ([float("nan"), 1, 2, 3], None),
        ([-500, 0, 1, 1], None),
    ],
)
def test_boxes_of_any_kind(assets: AssetStore, bbox: Any, expected: Any) -> None:
    assert one({"type": "text", "text": "x", "bbox": bbox}, assets).bbox == expected


@pytest.mark.parametrize(
    "item",
    [
        {"type": "image", "image_caption": ["Fig. 3: A ship"], "image_footnote": ["Source: us"]},
        {"type": "image", "img_caption": ["Fig. 3: A ship"], "img_footnote": "Source: us"},
        {"type": "image", "image_caption": "Fig. 3: A ship", "image_footnote": ["Source:", "us"]},
        {"type": "image", "image_caption": None, "img_caption": ["Fig. 3:", "A ship"], "img_footnote": ["Source: us"]},
        {"type": "image", "image_caption": [], "img_caption": [{"text": "Fig. 3: A ship"}], "footnote": "Source: us"},
    ],
)
def test_captions_of_both_families(assets: AssetStore, item: dict[str, Any]) -> None:
    element = one(item, assets)
    assert (element.caption, element.footnote, element.label) == ("Fig. 3: A ship", "Source: us", "Figure 3")


def test_images_without_anything(assets: AssetStore) -> None:
    parsed = content_list_to_elements([{"type": "image", "img_path": ""}], assets=assets, asset_root=None)
    assert parsed.elements == []
    assert one({"type": "image", "bbox": [1, 2, 3, 4]}, assets).bbox == (1, 2, 3, 4)


def test_charts_keep_their_data(assets: AssetStore) -> None:
    html = "<table><tr><th>Year</th><th>t</th></tr><tr><td>2020</td><td>4</td></tr></table>"
    element = one({"type": "chart", "content": html, "chart_caption": ["图 2 增长"]}, assets)
    assert (element.type, element.subtype, element.label) == ("image", "chart", "图 2")
    assert element.rows == [["Year", "t"], ["2020", "4"]]


ROWS = [["Name", "Tonnes"], ["Kiel", "4"]]


@pytest.mark.parametrize(
    "body",
    [
        "<table><tr><th>Name</th><th>Tonnes</th></tr><tr><td>Kiel</td><td>4</td></tr></table>",
        "| Name | Tonnes |\n|---|---:|\n| Kiel | 4 |",
        [["Name", "Tonnes"], ["Kiel", 4]],
        [{"Name": "Kiel", "Tonnes": 4}],
        {
            "num_rows": 2,
            "table_cells": [
                {"text": "Name", "start_row_offset_idx": 0, "start_col_offset_idx": 0, "column_header": True},
                {"text": "Tonnes", "start_row_offset_idx": 0, "start_col_offset_idx": 1, "column_header": True},
                {"text": "Kiel", "start_row_offset_idx": 1, "start_col_offset_idx": 0},
                {"text": "4", "start_row_offset_idx": 1, "start_col_offset_idx": 1},
            ],
        },
        {"grid": [[{"text": "Name"}, {"text": "Tonnes"}], [{"text": "Kiel"}, {"text": "4"}]]},
    ],
)
def test_table_bodies_of_every_form(assets: AssetStore, body: Any) -> None:
    element = one({"type": "table", "table_body": body, "table_caption": "Table 1 Cranes"}, assets)
    assert element.rows == ROWS
    assert element.header_rows == 1
    assert element.label == "Table 1"
    assert "Kiel" in element.text


def test_docling_spans_are_expanded_within_limits(assets: AssetStore) -> None:
    cells = [
        {"text": "wide", "start_row_offset_idx": 0, "start_col_offset_idx": 0, "end_col_offset_idx": 2},
        {"text": "bomb", "start_row_offset_idx": 1, "end_row_offset_idx": 10**9, "start_col_offset_idx": 0},
        "no cell",
    ]
    element = one({"type": "table", "table_body": {"table_cells": cells}}, assets)
    assert element.rows is not None
    assert element.rows[0] == ["wide", "wide"]
    assert len(element.rows) <= 101


def test_tables_without_rows_keep_their_words(assets: AssetStore) -> None:
    assert one({"type": "table", "table_body": "one two"}, assets).text == "one two"
    assert one({"type": "table", "table_caption": ["Table 9"], "table_body": ""}, assets).caption == "Table 9"


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"text": "E=mc^2", "text_format": "latex"}, "E=mc^2"),
        ({"text": "$$ E=mc^2 $$"}, "E=mc^2"),
        ({"latex": "\\[ E=mc^2 \\]"}, "E=mc^2"),
        ({"bbox": [1, 2, 3, 4]}, ""),
    ],
)
def test_equations(assets: AssetStore, item: dict[str, Any], text: str) -> None:
    element = one({"type": "equation"} | item, assets)
    assert (element.type, element.text) == ("equation", text)


@pytest.mark.parametrize(
    ("item", "text", "subtype"),
    [
        ({"code_body": "x = 1\ny = 2", "code_language": "python"}, "x = 1\ny = 2", "python"),
        ({"code_body": ["x = 1", "y = 2"]}, "x = 1\ny = 2", None),
        ({"content": "```rust\nfn a() {}\n```"}, "fn a() {}", "rust"),
    ],
)
def test_code(assets: AssetStore, item: dict[str, Any], text: str, subtype: str | None) -> None:
    element = one({"type": "code", "code_caption": ["Listing 1"]} | item, assets)
    assert (element.text, element.subtype, element.caption) == (text, subtype, "Listing 1")


def test_algorithms_and_lists(assets: AssetStore) -> None:
    assert one({"type": "algorithm", "code_body": "loop"}, assets).subtype == "algorithm"
    v1 = one({"type": "list", "list_items": ["a", {"text": "b"}, None, ["c"]]}, assets)
    v2 = one({"type": "text", "text": "a b c", "list_items": ["a", "b", "c"]}, assets)
    assert (v1.type, v1.text) == (v2.type, v2.text) == ("list", "a\nb\nc")
    assert one({"type": "index", "list_items": ["a"]}, assets).subtype == "index"


def test_furniture_and_notes(assets: AssetStore) -> None:
    for kind in ("header", "footer", "page_number", "aside_text", "page_header"):
        element = one({"type": kind, "text": "7"}, assets)
        assert (element.type, element.subtype) == ("furniture", kind)
    # A footnote says something of its own and must be found.
    assert one({"type": "page_footnote", "text": "1 See above."}, assets).type == "text"


def test_unknown_types_become_text_and_warn_once(assets: AssetStore) -> None:
    items = [{"type": "hologram", "content": "x"}, {"type": "hologram", "text": "y"}, {"text": "untyped"}]
    parsed = content_list_to_elements(items, assets=assets, asset_root=None)
    assert [e.text for e in parsed.elements] == ["x", "y", "untyped"]
    assert len(parsed.warnings) == 1


@pytest.mark.parametrize("item", [None, 3, "text", [], {"type": None}, {"type": "text"}, {"type": {"a": 1}}, {}])
def test_items_that_are_nothing(assets: AssetStore, item: Any) -> None:
    assert content_list_to_elements([item], assets=assets, asset_root=None).elements == []


def test_hostile_words(assets: AssetStore) -> None:
    element = one({"type": "text", "text": "a\x00b \ud800 \u202e {0} %s '; drop"}, assets)
    element.text.encode("utf-8")
    assert "\x00" not in element.text
    deep: Any = "x"
    for _ in range(500):
        deep = [deep]
    assert content_list_to_elements([{"type": "text", "text": deep}], assets=assets, asset_root=None).elements == []


def test_images_are_copied_into_the_assets(assets: AssetStore, images: Path) -> None:
    absolute = one({"type": "image", "img_path": str(images / "a.png")}, assets, images.parent)
    relative = one({"type": "image", "img_path": "images/a.png"}, assets, images.parent)
    inline = one({"type": "image", "img_path": "data:image/png;base64," + base64.b64encode(png()).decode()}, assets)
    assert absolute.asset == relative.asset == inline.asset
    assert absolute.asset is not None
    assert assets.resolve(absolute.asset).read_bytes() == png()


@pytest.mark.parametrize("key", ["img_path", "table_img_path"])
def test_table_crops(assets: AssetStore, images: Path, key: str) -> None:
    assert one({"type": "table", "table_body": [["a"]], key: "a.png"}, assets, images).asset


def test_files_outside_the_folder_are_not_read(assets: AssetStore, images: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    (images / "link.png").symlink_to(tmp_path / "secret.png")
    (images / "notes.png").write_text("BEGIN PRIVATE KEY")
    for reference in (
        "../../secret.png",
        str(tmp_path / "secret.png"),
        "link.png",
        "notes.png",
        "/etc/passwd",
        "gone.png",
        "http://127.0.0.1/a.png",
        "file:///etc/passwd",
        "data:text/html,<p>",
        "data:image/png;base64,%%%",
        "a\x00.png",
        "~/x.png",
        ".",
    ):
        items = [{"type": "image", "img_path": reference, "image_caption": ["kept"]}]
        parsed = content_list_to_elements(items, assets=assets, asset_root=images)
        assert [(e.caption, e.asset) for e in parsed.elements] == [("kept", None)], reference
        assert len(parsed.warnings) == 1
    assert not assets.root.exists()


def test_nothing_is_read_without_a_root(assets: AssetStore, images: Path) -> None:
    parsed = content_list_to_elements(
        [{"type": "image", "img_path": str(images / "a.png"), "image_caption": ["x"]}], assets=assets, asset_root=None
    )
    assert parsed.elements[0].asset is None
    assert "asset_root" in parsed.warnings[0]


def test_media(assets: AssetStore, images: Path) -> None:
    (images / "talk.mp3").write_bytes(b"ID3 sound")
    element = one(
        {"type": "audio", "audio_path": str(images / "talk.mp3"), "audio_caption": ["A talk"]}, assets, images
    )
    assert (element.type, element.text, element.caption) == ("audio", "talk.mp3", "A talk")
    assert element.asset is not None
    assert element.asset.endswith(".mp3")


def test_title_is_the_first_heading(assets: AssetStore) -> None:
    items = [
        {"type": "text", "text": "x", "page_idx": 0},
        {"type": "text", "text": "T", "text_level": 1, "page_idx": 0},
    ]
    assert content_list_to_elements(items, assets=assets, asset_root=None).title == "T"
    assert content_list_to_elements([], assets=assets, asset_root=None).title is None


def test_round_trip_keeps_what_a_content_list_can_say(assets: AssetStore, images: Path) -> None:
    asset = assets.put(png(), ".png")
    elements = [
        Element(type="heading", text="Harbour", level=2, page=1, bbox=(1, 2, 3, 4)),
        Element(type="text", text="Ships.", page=1),
        Element(type="text", text="1 Note.", page=1, subtype="page_footnote"),
        Element(type="list", text="- a\n- b", page=1),
        Element(type="image", caption="Figure 1 x", footnote="f", label="Figure 1", text="in it", page=2, asset=asset),
        Element(
            type="table", caption="表 2 结果", label="表 2", rows=ROWS, page=2, asset=asset,
            text="| Name | Tonnes |\n| --- | --- |\n| Kiel | 4 |",
            html="<table><thead><tr><th>Name</th><th>Tonnes</th></tr></thead><tbody><tr><td>Kiel</td><td>4</td></tr>"
            "</tbody></table>",
        ),
        Element(type="equation", text="E=mc^2", page=2, asset=asset),
        Element(
            type="code", text="x = 1", subtype="python", caption="Listing 1", label="Listing 1", page=3, page_label="7"
        ),
        Element(type="furniture", text="7", subtype="page_number", page=3, page_label="7"),
    ]  # fmt: skip
    items = elements_to_content_list(elements, assets=assets)
    json.dumps(items)
    assert [item["page_idx"] for item in items] == [0, 0, 0, 0, 1, 1, 1, 2, 2]
    assert Path(items[4]["img_path"]).is_absolute()
    again = content_list_to_elements(items, assets=AssetStore(images / "copy"), asset_root=assets.root)
    assert again.elements == elements
    assert again.warnings == []


def test_page_elements_appear_only_where_nothing_else_does(assets: AssetStore) -> None:
    elements = [
        Element(type="page", text="whole one", page=1),
        Element(type="text", text="one", page=1),
        Element(type="page", text="scanned", page=2),
    ]
    assert [i["text"] for i in elements_to_content_list(elements, assets=assets)] == ["one", "scanned"]


def test_files(tmp_path: Path, assets: AssetStore, images: Path) -> None:
    path = images.parent / "list.json"
    path.write_text(json.dumps([{"type": "image", "img_path": "images/a.png"}]), encoding="utf-8")
    assert read_content_list_file(path, assets=assets, asset_root=path.parent).elements[0].asset
    for damage in ("{", '{"a": 1}', '"x"', "[" * 100_000):
        path.write_text(damage)
        with pytest.raises(CorruptFileError):
            read_content_list_file(path, assets=assets, asset_root=path.parent)
    with pytest.raises(SourceError):
        read_content_list_file(tmp_path / "gone.json", assets=assets, asset_root=None)
