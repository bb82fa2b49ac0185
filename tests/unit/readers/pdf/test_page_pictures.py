"""Pictures of pages are made only of the file that was read."""

import io

import pytest
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

from llama_index_raganything.readers.cache import ParseCache, file_hash
from llama_index_raganything.readers.pdf.page_images import PagePictures


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
    picture = PagePictures(max_pixels=20_000).get(str(report), file_hash(report), 2)
    width, height = Image.open(io.BytesIO(picture)).size
    assert width * height <= 20_000
    assert width / height == pytest.approx(300 / 400, abs=0.02)


@pytest.mark.parametrize("page", [0, 3, -1])
def test_a_page_that_is_not_there_has_none(report, page):
    assert PagePictures().get(str(report), file_hash(report), page) is None


def test_another_file_under_the_path_is_not_shown(report, tmp_path):
    content = file_hash(report)
    secret = written(tmp_path / "secret.pdf", "secret")
    assert PagePictures().get(str(secret), content, 1) is None
    written(report, "changed")
    assert PagePictures().get(str(report), content, 1) is None


def test_what_is_no_pdf_file_is_not_opened(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("one")
    assert PagePictures().get(str(text), file_hash(text), 1) is None
    assert PagePictures().get(str(tmp_path / "gone.pdf"), "0" * 64, 1) is None


def test_a_picture_is_kept_and_goes_with_the_parse(report, tmp_path):
    cache, content = ParseCache(tmp_path / "parse_cache"), file_hash(report)
    picture = PagePictures(cache).get(str(report), content, 1)
    report.unlink()
    assert PagePictures(cache).get(str(report), content, 1) == picture
    cache.forget(content)
    assert PagePictures(cache).get(str(report), content, 1) is None
