"""Docling's own JSON gives back what RAG-Anything's parser of it drops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llama_index_raganything.readers.common.base import AssetStore
from llama_index_raganything.readers.engines.content_list import content_list_to_elements
from llama_index_raganything.readers.engines.docling import docling_items
from llama_index_raganything.readers.engines.registry import _docling_items

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)


def at(page: int, left: float, top: float, right: float, bottom: float, origin: str = "BOTTOMLEFT") -> dict[str, Any]:
    box = {"l": left, "t": top, "r": right, "b": bottom, "coord_origin": origin}
    return {"prov": [{"page_no": page, "bbox": box, "charspan": [0, 1]}]}


def ref(*names: str) -> list[dict[str, str]]:
    return [{"$ref": f"#/{name}"} for name in names]


def text(label: str, words: str, **more: Any) -> dict[str, Any]:
    return {"label": label, "text": words, "orig": words, "children": [], "content_layer": "body"} | more


# The form that docling-core 2.104 exports, shortened.
DOCUMENT: dict[str, Any] = {
    "schema_name": "DoclingDocument",
    "body": {
        "children": ref("texts/0", "texts/1", "groups/0", "texts/4", "texts/5", "texts/6", "pictures/0", "texts/7")
        + ref("tables/0", "texts/8", "texts/9")
    },
    "groups": [{"label": "list", "children": ref("texts/2", "texts/3")}],
    "texts": [
        text("title", "Harbour", **at(1, 60, 760, 300, 720)),
        text("section_header", "Cranes", level=1, **at(1, 60, 40, 300, 80, origin="TOPLEFT")),
        text("list_item", "one", marker="", **at(1, 60, 560, 300, 540)),
        text("list_item", "two", marker="2.", **at(1, 60, 540, 360, 520)),
        text("formula", "E=mc^2"),
        text("code", "x = 1", code_language="Python"),
        text("caption", "Figure 1: A crane", **at(2, 60, 300, 300, 280)),
        text("caption", "Table 1: 吨", **at(2, 60, 250, 300, 240)),
        text("page_header", "Port news", content_layer="furniture"),
        text("text", "Ships lie here."),
    ],
    "pictures": [
        {"captions": ref("texts/6"), "children": ref("texts/6"), "image": {"uri": PIXEL}, **at(2, 60, 700, 300, 320)}
    ],
    "tables": [
        {
            "captions": ref("texts/7"),
            "data": {
                "table_cells": [
                    {"text": "Name", "start_row_offset_idx": 0, "start_col_offset_idx": 0, "column_header": True},
                    {"text": "Kiel", "start_row_offset_idx": 1, "start_col_offset_idx": 0},
                ]
            },
        }
    ],
    "pages": {"1": {"size": {"width": 600, "height": 800}}, "2": {"size": {"width": 600, "height": 800}}},
}


def test_everything_that_docling_knows(tmp_path: Path) -> None:
    assets = AssetStore(tmp_path)
    elements = content_list_to_elements(docling_items(DOCUMENT), assets=assets, asset_root=None).elements
    assert [(e.type, e.text, e.level, e.page) for e in elements if e.type != "table"] == [
        ("heading", "Harbour", 1, 1),
        ("heading", "Cranes", 2, 1),
        ("list", "one\n2. two", None, 1),
        ("equation", "E=mc^2", None, None),
        ("code", "x = 1", None, None),
        ("image", "", None, 2),
        ("furniture", "Port news", None, None),
        ("text", "Ships lie here.", None, None),
    ]
    assert elements[0].bbox == (100, 50, 500, 100)
    assert elements[1].bbox == (100, 50, 500, 100)
    assert elements[2].bbox == (100, 300, 600, 350)
    image, table = elements[5], elements[6]
    assert (image.label, table.label, table.rows) == ("Figure 1", "Table 1", [["Name"], ["Kiel"]])
    assert elements[4].subtype == "python"
    assert assets.resolve(str(image.asset)).is_file()


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"body": None},
        {"body": {"children": ref("texts/0", "texts/-1", "texts/99", "body", "nothing/0", "pages/1")}},
        {"body": {"children": [None, 3, {"$ref": None}]}, "texts": [None]},
        {"body": {"children": ref("texts/0")}, "texts": [{"label": None, "text": None}]},
    ],
)
def test_documents_without_content(document: dict[str, Any]) -> None:
    assert docling_items(document) == []


def test_circles_end() -> None:
    circle = {"body": {"children": ref("groups/0")}, "groups": [{"children": ref("groups/0", "groups/0")}]}
    assert docling_items(circle) == []


@pytest.mark.parametrize("box", [None, {}, {"l": "x", "t": 1, "r": 2, "b": 3}, {"l": 1, "t": 1, "r": 2}])
def test_boxes_that_cannot_be_read(box: Any) -> None:
    document = {
        "body": {"children": ref("texts/0")},
        "texts": [text("text", "x", prov=[{"page_no": 1, "bbox": box}])],
        "pages": {"1": {"size": {"width": 0, "height": 800}}},
    }
    assert docling_items(document) == [{"type": "text", "text": "x", "page_idx": 0}]


def test_the_file_is_found_in_the_output_folder(tmp_path: Path) -> None:
    path = tmp_path / "report_1a2b" / "report" / "docling" / "report.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    assert _docling_items(tmp_path)[0]["text_level"] == 1
    path.write_text('{"body": {"children": 3}}')
    assert _docling_items(tmp_path) == []
