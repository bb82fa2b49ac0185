from __future__ import annotations

import io
import struct
import zlib

import pytest
from pdf_files import picture_of
from PIL import Image

from llama_index_raganything.errors import CorruptFileError, FileTooLargeError, SourceError, UnsupportedFormatError
from llama_index_raganything.readers.common.base import AssetStore, ParseOptions
from llama_index_raganything.readers.common.ocr import recognise
from llama_index_raganything.readers.common.rendering import crop_box, has_ink
from llama_index_raganything.readers.media.images import parse_image

WITHOUT_OCR = ParseOptions(ocr="off")


@pytest.fixture
def assets(tmp_path):
    return AssetStore(tmp_path / "assets")


def test_image_gets_its_words_and_its_own_bytes_as_asset(tmp_path, assets):
    path = tmp_path / "p.png"
    picture_of("Query nodes 42").save(path)
    (element,) = parse_image(path, ParseOptions(), assets).elements
    assert element.type == "image"
    assert "Query nodes 42" in element.text
    assert element.ocr
    assert (element.page, element.bbox) == (1, (0, 0, 1000, 1000))
    assert assets.resolve(element.asset).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("suffix", "stored"), [(".jpg", ".jpg"), (".webp", ".webp"), (".gif", ".gif"), (".bmp", ".png"), (".tiff", ".png")]
)
def test_formats_are_stored_so_that_browsers_show_them(tmp_path, assets, suffix, stored):
    path = tmp_path / f"p{suffix}"
    picture_of("x").save(path)
    (element,) = parse_image(path, WITHOUT_OCR, assets).elements
    assert element.asset.endswith(stored)
    assert element.text == ""
    with Image.open(assets.resolve(element.asset)) as image:
        assert image.size == (900, 300)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "CMYK", "I;16", "F"])
def test_every_mode_becomes_a_picture(tmp_path, assets, mode):
    path = tmp_path / "m.tiff"
    if mode in {"I;16", "F"}:
        Image.new(mode, (60, 40), 900).save(path)
    else:
        picture_of("mode", (60, 40), 12).convert(mode).save(path)
    (element,) = parse_image(path, WITHOUT_OCR, assets).elements
    with Image.open(assets.resolve(element.asset)) as image:
        assert image.size == (60, 40)


def test_transparent_ground_counts_as_white_paper(tmp_path, assets):
    glyphs = picture_of("Transparent 7").convert("L")
    layer = Image.new("RGBA", glyphs.size, (0, 0, 0, 0))
    layer.putalpha(glyphs.point(lambda value: 255 - value))
    path = tmp_path / "t.png"
    layer.save(path)
    assert "Transparent" in parse_image(path, ParseOptions(), assets).elements[0].text


def test_exif_rotation_is_honoured(tmp_path, assets):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "r.jpg"
    picture_of("Turned").rotate(90, expand=True).save(path, exif=exif)
    (element,) = parse_image(path, WITHOUT_OCR, assets).elements
    with Image.open(assets.resolve(element.asset)) as image:
        assert image.size == (900, 300)
        assert image.getexif().get(0x0112, 1) == 1


def test_frames_of_a_tiff_are_pages(tmp_path, assets):
    path = tmp_path / "pages.tiff"
    picture_of("First sheet").save(path, save_all=True, append_images=[picture_of("Second sheet")])
    parsed = parse_image(path, ParseOptions(), assets)
    assert [(e.type, e.page) for e in parsed.elements] == [("page", 1), ("image", 1), ("page", 2), ("image", 2)]
    assert "Second sheet" in parsed.elements[2].text


def test_blank_image_costs_no_ocr(tmp_path, assets, monkeypatch):
    monkeypatch.setattr("llama_index_raganything.readers.common.ocr.recognise", lambda _image: pytest.fail("OCR ran"))
    path = tmp_path / "b.png"
    Image.new("RGB", (400, 400), "white").save(path)
    assert parse_image(path, ParseOptions(), assets).elements[0].text == ""


def png_bytes():
    stream = io.BytesIO()
    picture_of("whole").save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", CorruptFileError),
        (b"no image", UnsupportedFormatError),
        ("图片".encode(), UnsupportedFormatError),
        (png_bytes()[:400], CorruptFileError),
        (png_bytes()[:20], CorruptFileError),
    ],
)
def test_bad_images_raise_typed_errors(tmp_path, assets, content, error):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(error, match=r"bad\.png"):
        parse_image(path, WITHOUT_OCR, assets)


def test_missing_image(tmp_path, assets):
    with pytest.raises(SourceError):
        parse_image(tmp_path / "none.png", WITHOUT_OCR, assets)


def test_decompression_bombs_are_refused_before_decoding(tmp_path, assets):
    path = tmp_path / "bomb.png"
    # A header that states 30,000 x 30,000 pixels, before the data of one.
    stated = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    data = png_bytes()
    path.write_bytes(data[:12] + stated + struct.pack(">I", zlib.crc32(stated)) + data[33:])
    with pytest.raises(FileTooLargeError, match="pixels"):
        parse_image(path, WITHOUT_OCR, assets)


def test_recognised_lines_have_boxes_in_thousandths():
    (line,) = recognise(picture_of("Boxes", (800, 400), 100))
    x0, y0, x1, y1 = line.box
    assert line.text == "Boxes"
    assert 10 < x0 < 60
    assert 80 < y0 < 260
    assert 300 < x1 < 480
    assert y1 < 450


def test_large_images_keep_their_boxes():
    (line,) = recognise(picture_of("Boxes", (4000, 2000), 500))
    assert 300 < line.box[2] < 480
    assert line.box[3] < 450


def test_thin_strips_stay_cheap_and_keep_their_boxes():
    (line,) = recognise(picture_of("A thin strip", (1600, 110), 40))
    assert "thin strip" in line.text
    assert line.box[2] < 250
    assert line.box[3] > 600


@pytest.mark.parametrize("size", [(1, 1), (7, 500), (500, 7)])
def test_specks_hold_no_words(size):
    assert recognise(Image.new("RGB", size, "white")) == []


def test_has_ink():
    assert not has_ink(Image.new("RGB", (100, 100), "navy"))
    page = picture_of("words", (600, 400), 60)
    assert has_ink(page)
    assert not has_ink(page, [(0, 0, 1000, 400)])


def test_crop_box_adds_a_margin_and_stays_inside():
    image = Image.new("RGB", (1000, 500))
    assert crop_box(image, (100, 100, 200, 200)).size == (106, 56)
    assert crop_box(image, (0, 0, 1000, 1000)).size == (1000, 500)
