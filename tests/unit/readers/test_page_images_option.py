"""Pictures of pages: which pages get one, how large it is, and the nodes made of them."""

from __future__ import annotations

import pytest
from llama_index.core.schema import ImageNode
from PIL import Image
from reportlab.pdfgen import canvas

from llama_index_raganything import RAGAnythingNodeParser, RAGAnythingReader
from llama_index_raganything.documents.packing import document_elements


@pytest.fixture
def pdf(tmp_path):
    """Three pages: words, a red page without words, a blank page."""
    path = tmp_path / "pages.pdf"
    sheet = canvas.Canvas(str(path), pagesize=(400, 600))
    sheet.drawString(40, 500, "The first page has words.")
    sheet.showPage()
    sheet.setFillColorRGB(0.86, 0.1, 0.1)
    sheet.rect(20, 20, 360, 560, fill=1)
    sheet.showPage()
    sheet.showPage()
    sheet.save()
    return path


def reader(tmp_path, **options):
    return RAGAnythingReader(working_dir=str(tmp_path / "work"), ocr="off", **options)


def page_assets(documents):
    return {element.page: element.asset for element in document_elements(documents[0]) if element.type == "page"}


@pytest.mark.parametrize("profile", ["fast", "standard"])
def test_every_page_with_something_on_it_gets_a_picture(tmp_path, pdf, profile):
    read = reader(tmp_path, page_images=True, profile=profile)
    assets = page_assets(read.load_data(pdf))
    assert sorted(assets) == [1, 2, 3]
    assert assets[3] is None
    with Image.open(read.assets.resolve(assets[2])) as image:
        assert image.size == (834, 1250)
        assert image.getpixel((400, 600))[0] > 200
    assert page_assets(reader(tmp_path, profile=profile).load_data(pdf)) == dict.fromkeys((1, 2, 3))


def test_pictures_keep_to_the_pixels_asked_for(tmp_path, pdf):
    read = reader(tmp_path, page_images=True, max_page_pixels=100_000, profile="fast")
    with Image.open(read.assets.resolve(page_assets(read.load_data(pdf))[1])) as image:
        assert 95_000 <= image.width * image.height <= 100_000


def test_the_options_are_part_of_cache_and_fingerprint(tmp_path):
    readers = [
        reader(tmp_path),
        reader(tmp_path, page_images=True),
        reader(tmp_path, page_images=True, max_page_pixels=50_000),
    ]
    assert len({each.fingerprint() for each in readers}) == 3
    with pytest.raises(ValueError, match="max_page_pixels"):
        reader(tmp_path, max_page_pixels=1)


def test_nodes_of_pages_are_pictures_even_without_words(tmp_path, pdf):
    read = reader(tmp_path, page_images=True, profile="fast")
    nodes = RAGAnythingNodeParser(asset_root=str(read.assets.root))(read.load_data(pdf))
    assert [(type(node), node.metadata["page"], node.text) for node in nodes] == [
        (ImageNode, 1, "The first page has words."),
        (ImageNode, 2, "Page 2"),
    ]
    assert all(node.metadata["content_type"] == "page" and node.metadata["asset"] for node in nodes)
    assert all(node.image_path.startswith(str(read.assets.root)) and node.image is None for node in nodes)


def test_pages_of_a_tiff_are_pictures(tmp_path):
    frames = [Image.new("RGB", (80, 60), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "scan.tif", save_all=True, append_images=frames[1:])
    elements = document_elements(reader(tmp_path, page_images=True).load_data(tmp_path / "scan.tif")[0])
    by_type = {(element.type, element.page): element.asset for element in elements}
    assert by_type["page", 1] == by_type["image", 1]
    assert by_type["page", 2] == by_type["image", 2] != by_type["page", 1]
    without = document_elements(reader(tmp_path).load_data(tmp_path / "scan.tif")[0])
    assert all(element.asset is None for element in without if element.type == "page")
