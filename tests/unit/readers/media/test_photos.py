"""What photos say about themselves, with the place only on request, and images that say little or lie."""

import io

import pytest
from PIL import Image

from llama_index_raganything.documents.packing import document_elements
from llama_index_raganything.readers.media.images import facts_text, photo_facts
from llama_index_raganything.readers.reader import RAGAnythingReader


def encoded(size=(40, 30), mode="RGB", kind="JPEG", **options):
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def photo():
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Canon", "Canon EOS R5\n\x00"
    exif.get_ifd(0x8769)[0x9003] = "2024:05:01 12:30:00"
    exif.get_ifd(0x8825).update({1: "N", 2: (56.0, 9.0, 0.0), 3: "W", 4: (10.0, 12.0, 0.0)})
    return encoded(exif=exif)


def test_photo_without_and_with_its_place(photo):
    facts = photo_facts(photo)
    assert facts_text(facts) == "JPEG, 40 x 30 pixels, taken 2024-05-01 12:30:00, camera Canon EOS R5"
    assert photo_facts(photo, location=True)["location"] == "56.15000, -10.20000"


def test_the_reader_tells_the_place_only_on_request(photo, tmp_path):
    (tmp_path / "a.jpg").write_bytes(photo)
    for location in (False, True):
        reader = RAGAnythingReader(working_dir=str(tmp_path / "work"), ocr="off", photo_location=location)
        (element,) = document_elements(reader.load_data(tmp_path / "a.jpg")[0])
        assert "camera Canon EOS R5" in element.footnote
        assert ("56.15000" in element.footnote) is location


def test_an_image_that_is_no_photo_gets_no_note(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(kind="PNG"))
    reader = RAGAnythingReader(working_dir=str(tmp_path / "work"), ocr="off")
    assert document_elements(reader.load_data(tmp_path / "a.png")[0])[0].footnote == ""


def test_other_images():
    assert photo_facts(encoded((1, 1), kind="PNG")) == {"format": "PNG", "size": "1 x 1 pixels"}
    assert photo_facts(encoded((30_000, 2), kind="PNG"))["size"] == "30000 x 2 pixels"
    assert photo_facts(encoded(mode="CMYK"))["format"] == "JPEG"
    frames = [Image.new("RGB", (9, 9), color) for color in ("red", "blue")]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    assert photo_facts(stream.getvalue())["frames"] == "2"
    svg = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="120" height="80.5"/>'
    assert facts_text(photo_facts(svg)) == "SVG, 120 x 80.5 units"
    emf = b"\1\0\0\0\x6c\0\0\0" + b"".join(side.to_bytes(4, "little") for side in (0, 0, 300, 200)) + b"\0" * 16
    assert photo_facts(emf + b" EMF")["size"] == "300 x 200 units"


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"<svg", b"x" * 5000, "<svg 宽='1'>".encode()])
def test_what_is_no_image_says_nothing_or_its_format(data):
    assert set(photo_facts(data)) <= {"format"}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_block_costs_only_its_facts(photo):
    assert photo_facts(photo.replace(b"2024:05:01", b"\xff\xff\xff\xff:05:01")).get("taken") is None
    cut = photo.replace(b"MM\x00*", b"MM\x00*\xff\xff\xff\xff", 1)
    assert photo_facts(cut)["size"] == "40 x 30 pixels"
