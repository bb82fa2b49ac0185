"""Pictures of pages are made only of the file that was read."""

import io

import pytest
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

from llama_index_raganything.readers.cache import ParseCache, file_hash
from llama_index_raganything.readers.page_images import PageImages


def written(path, *words):
    canvas = Canvas(str(path), pagesize=(300, 400))
    for word in words:
        canvas.drawString(40, 200, word)
        canvas.showPage()
    canvas.save()
    return path


@pytest.fixture
def report(tmp_path):
    return written(tmp_path / "report.pdf", "one", "two")


def test_a_page_is_rendered_within_its_pixels(report):
    picture = PageImages(max_pixels=20_000).get(str(report), file_hash(report), 2)
    width, height = Image.open(io.BytesIO(picture)).size
    assert width * height <= 20_000
    assert width / height == pytest.approx(300 / 400, abs=0.02)


@pytest.mark.parametrize("page", [0, 3, -1])
def test_a_page_that_is_not_there_has_none(report, page):
    assert PageImages().get(str(report), file_hash(report), page) is None


def test_another_file_under_the_path_is_not_shown(report, tmp_path):
    content = file_hash(report)
    secret = written(tmp_path / "secret.pdf", "secret")
    assert PageImages().get(str(secret), content, 1) is None
    written(report, "changed")
    assert PageImages().get(str(report), content, 1) is None


def test_what_is_no_pdf_file_is_not_opened(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("one")
    assert PageImages().get(str(text), file_hash(text), 1) is None
    assert PageImages().get(str(tmp_path / "gone.pdf"), "0" * 64, 1) is None


def test_a_picture_is_kept_and_goes_with_the_parse(report, tmp_path):
    cache, content = ParseCache(tmp_path / "parse_cache"), file_hash(report)
    picture = PageImages(cache).get(str(report), content, 1)
    report.unlink()
    assert PageImages(cache).get(str(report), content, 1) == picture
    cache.forget(content)
    assert PageImages(cache).get(str(report), content, 1) is None
