"""HTML to elements: structure, images only from the page's own folder, broken and hostile pages."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from llama_index_raganything.errors import CorruptFileError
from llama_index_raganything.readers.common.base import AssetStore, ParseOptions
from llama_index_raganything.readers.office_files import parse_office
from llama_index_raganything.readers.web.html import html_elements


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(stream, "PNG")
    return stream.getvalue()


def kinds(html: str) -> list[tuple[str, str]]:
    return [(element.type, element.text) for element in html_elements(html)]


def test_headings_texts_lists_code() -> None:
    html = (
        "<h1>标题</h1><p>One <b>bold</b>\n word<br>next</p><ul><li>a<ol><li>b</li><li>c</li></ol></li><li>d</li></ul>"
        '<pre><code class="language-python">x = 1\n  y</code></pre><div>loose <div>inner</div> tail</div>'
    )
    assert kinds(html) == [
        ("heading", "标题"),
        ("text", "One bold word\nnext"),
        ("list", "- a\n  1. b\n  2. c\n- d"),
        ("code", "x = 1\n  y"),
        ("text", "loose"),
        ("text", "inner"),
        ("text", "tail"),
    ]
    elements = html_elements(html)
    assert elements[0].level == 1
    assert elements[3].subtype == "python"


def test_table_with_caption_and_rich_cell() -> None:
    html = "<table><caption>Table 2: Ducks</caption><tr><th>A<th>B<tr><td><ul><li>x<li>y</ul><td>2</table>"
    (table,) = html_elements(html)
    assert table.rows == [["A", "B"], ["x y", "2"]]
    assert (table.caption, table.label, table.header_rows) == ("Table 2: Ducks", "Table 2", 1)


def test_layout_table_is_read_through() -> None:
    html = '<table role="presentation"><tr><td><h2>Hello</h2></td></tr><tr><td>body</td></tr></table>'
    assert kinds(html) == [("heading", "Hello"), ("text", "body")]


def test_figure_caption_goes_to_its_image() -> None:
    html = '<figure><img src="a.png" alt="Alt"><figcaption>Figure 3. Cap</figcaption></figure><p>after</p>'
    image, after = html_elements(html)
    assert (image.type, image.text, image.caption, image.label) == ("image", "Alt", "Figure 3. Cap", "Figure 3")
    assert after.text == "after"


def test_figure_without_image_keeps_its_caption_as_text() -> None:
    assert kinds("<figure><figcaption>only words</figcaption></figure>") == [("text", "only words")]


def test_alternative_text_inside_a_sentence_stays_there() -> None:
    assert kinds('<p>before <img src="x" alt="MID"> after</p>')[0] == ("text", "before MID after")


def test_formulas() -> None:
    block = '<math display="block"><annotation encoding="application/x-tex">\\frac12</annotation></math>'
    html = '<p>so <math alttext="x^2"><mi>x</mi></math> holds</p>' + block
    assert kinds(html) == [("text", "so $x^2$ holds"), ("equation", "\\frac12")]


@pytest.mark.parametrize("html", ["", "   ", "<html></html>", "<script>x</script>", "\x00", "<!-- c -->", "<", "&#0;"])
def test_nothing_to_read(html: str) -> None:
    assert [e for e in html_elements(html) if e.text not in {"<", "\ufffd"}] == []


def test_thousands_of_levels_keep_their_words() -> None:
    html = "<div>" * 20_000 + "deep words" + "<script>no()</script>"
    assert "deep words" in " ".join(text for _, text in kinds(html))
    assert "no()" not in " ".join(text for _, text in kinds(html))


def test_nested_figures_do_not_recurse() -> None:
    assert kinds("<figure>" * 150 + "x" + "</figure>" * 150) == [("text", "x")]


def test_page_title_description_and_encoding(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    html = '<meta charset="gb2312"><title>题目</title><meta name="description" content="说明"><p>正文</p>'
    page.write_bytes(html.encode("gb2312"))
    parsed = parse_office(page, ParseOptions(), AssetStore(tmp_path / "assets"))
    assert parsed.title == "题目"
    assert [element.text for element in parsed.elements] == ["说明", "正文"]
    assert all(element.page is None for element in parsed.elements)


def test_images_come_from_the_folder_or_the_page_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "outside.png").write_bytes(png())
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "in side.png").write_bytes(png())
    (folder / "fake.png").write_bytes(b"no image")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    references = {
        "in%20side.png?v=1#x": True,
        "data:image/png;base64," + base64.b64encode(png()).decode(): True,
        "../outside.png": False,
        str(tmp_path / "outside.png"): False,
        "link.png": False,
        "fake.png": False,
        "file:///etc/passwd": False,
        "http://127.0.0.1:9/x.png": False,
        "//127.0.0.1/x.png": False,
        "data:image/png;base64,%%%": False,
        "\x00": False,
        "": False,
    }
    store = AssetStore(tmp_path / "assets")
    for reference, expected in references.items():
        page = folder / "page.html"
        page.write_text(f'<p>w</p><img alt="a" src="{reference}">', encoding="utf-8")
        image = parse_office(page, ParseOptions(), store).elements[-1]
        assert (image.asset is not None) is expected, reference
    assert parse_office(page, ParseOptions(profile="fast"), store).elements[-1].asset is None


def test_empty_page_is_a_typed_error(tmp_path: Path) -> None:
    page = tmp_path / "empty.html"
    page.write_text("<html><body><script>app()</script></body></html>")
    with pytest.raises(CorruptFileError, match="empty"):
        parse_office(page, ParseOptions(), AssetStore(tmp_path))


def test_web_archive(tmp_path: Path) -> None:
    archive = tmp_path / "page.mhtml"
    image = base64.encodebytes(png())
    archive.write_bytes(
        b"MIME-Version: 1.0\nContent-Type: multipart/related; boundary=B\n\n"
        b"--B\nContent-Type: text/html; charset=utf-8\n\n"
        b"<title>T</title><h1>Head</h1><img alt=pic src='http://x.example/a.png'>\n--B\nContent-Type: image/png\n"
        b"Content-Transfer-Encoding: base64\nContent-Location: http://x.example/a.png\n\n" + image + b"\n--B--\n"
    )
    parsed = parse_office(archive, ParseOptions(), AssetStore(tmp_path / "assets"))
    assert (parsed.title, parsed.elements[0].text) == ("T", "Head")
    assert parsed.elements[1].asset
    (tmp_path / "none.mht").write_bytes(b"MIME-Version: 1.0\n\nplain")
    with pytest.raises(CorruptFileError):
        parse_office(tmp_path / "none.mht", ParseOptions(), AssetStore(tmp_path))
