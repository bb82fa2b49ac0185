from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys

import pytest
from pdf_files import PROSE, chinese, mapped, pages_of_lines, picture_of, report, scan, statement
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen import canvas

from llama_index_raganything.errors import ConfigurationError, CorruptFileError, EncryptedFileError, SourceError
from llama_index_raganything.readers.common.base import AssetStore, ParseOptions
from llama_index_raganything.readers.engines import docvortex as pdf_structure
from llama_index_raganything.readers.pdf.parser import parse_pdf, select_pages


@pytest.fixture
def assets(tmp_path):
    return AssetStore(tmp_path / "assets")


@pytest.fixture(scope="module")
def parsed_report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    store = AssetStore(folder / "assets")
    return parse_pdf(report(folder / "report.pdf"), ParseOptions(page_images=True), store), store


def of_type(parsed, kind):
    return [element for element in parsed.elements if element.type == kind]


def test_report_has_one_page_element_before_the_elements_of_each_page(parsed_report):
    parsed, _ = parsed_report
    assert [element.page for element in of_type(parsed, "page")] == [1, 2]
    seen = 0
    for element in parsed.elements:
        seen = element.page if element.type == "page" else seen
        assert element.page == seen
    assert "railway was extended" in of_type(parsed, "page")[0].text


def test_report_headings_take_their_level_from_their_numbers(parsed_report):
    parsed, _ = parsed_report
    levels = {element.text: element.level for element in of_type(parsed, "heading")}
    assert levels["1 Traffic"] == 2
    assert levels["1.1 Ships by year"] == 3
    assert parsed.title == "Harbour report"


def test_report_table_has_rows_caption_label_box_and_crop(parsed_report):
    parsed, store = parsed_report
    (table,) = of_type(parsed, "table")
    assert table.rows[0] == ["Year", "Ships", "Tonnes"]
    assert table.rows[2] == ["2022", "310", "9100"]
    assert table.html.startswith("<table")
    assert table.label == "Table 1"
    assert "12750" in table.text
    assert store.resolve(table.asset).stat().st_size > 0
    x0, y0, x1, y1 = table.bbox
    # 300 of 612 points wide and four rows of 18 of 792 points high.
    assert 480 <= x1 - x0 <= 510
    assert 85 <= y1 - y0 <= 100


def test_report_figure_has_caption_and_a_crop_of_its_own_size(parsed_report):
    from PIL import Image

    parsed, store = parsed_report
    (figure,) = of_type(parsed, "image")
    assert figure.label == "Figure 1"
    assert figure.page == 2
    with Image.open(store.resolve(figure.asset)) as crop:
        assert crop.format == "JPEG"
        # The chart is 300 x 150 points, 625 x 312 pixels at 150 dpi; its white rim may be cut.
        assert 400 <= crop.width <= 640
        assert 200 <= crop.height <= 330
    assert not any(element.text.startswith("Figure 1:") for element in of_type(parsed, "text"))


def test_page_images_are_stored_when_asked_for(parsed_report):
    parsed, store = parsed_report
    for page in of_type(parsed, "page"):
        assert store.resolve(page.asset).suffix == ".jpg"


def test_boxes_lie_on_the_page_and_hold_the_words(parsed_report):
    parsed, _ = parsed_report
    for element in parsed.elements:
        if element.type == "page":
            assert element.bbox is None
            continue
        x0, y0, x1, y1 = element.bbox
        assert 0 <= x0 < x1 <= 1000
        assert 0 <= y0 < y1 <= 1000


def test_fast_profile_gives_pages_only(tmp_path, assets):
    parsed = parse_pdf(report(tmp_path / "r.pdf"), ParseOptions(profile="fast"), assets)
    assert {element.type for element in parsed.elements} == {"page"}
    assert "4500" in parsed.elements[0].text
    assert not assets.root.exists()


def test_page_range_keeps_physical_page_numbers(tmp_path, assets):
    parsed = parse_pdf(report(tmp_path / "r.pdf"), ParseOptions(page_range="2"), assets)
    assert {element.page for element in parsed.elements} == {2}
    assert "2 Growth" in [element.text for element in of_type(parsed, "heading")]


@pytest.mark.parametrize(
    ("text", "pages"),
    [(None, [0, 1, 2, 3]), ("", [0, 1, 2, 3]), ("2-3", [1, 2]), ("3-", [2, 3]), ("4, 1", [0, 3]), ("2-99", [1, 2, 3])],
)
def test_select_pages_reads_ranges(text, pages):
    assert select_pages(text, 4) == pages


@pytest.mark.parametrize("text", ["0", "a", "1-2-3", "9", "-", "1;2", "999999999999"])
def test_select_pages_refuses_what_it_cannot_read(text):
    with pytest.raises(ConfigurationError, match="page_range"):
        select_pages(text, 4)


def test_chinese_pages_keep_their_words(tmp_path, assets):
    parsed = parse_pdf(chinese(tmp_path / "c.pdf"), ParseOptions(ocr="off"), assets)
    assert "新的码头在秋天开放" in of_type(parsed, "page")[0].text
    assert "港口" in "".join(element.text for element in parsed.elements if element.type != "page")


def test_scanned_page_gets_words_boxes_and_a_picture(tmp_path, assets):
    path = scan(tmp_path / "s.pdf", "Quarterly turnover rose\nto nine million", blank_pages=1)
    parsed = parse_pdf(path, ParseOptions(), assets)
    first, second = of_type(parsed, "page")
    assert first.ocr
    assert "Quarterly turnover rose" in first.text
    assert (second.text, second.ocr) == ("", False)
    (picture,) = of_type(parsed, "image")
    assert picture.bbox == (0, 0, 1000, 1000)
    assert assets.resolve(picture.asset).exists()
    texts = of_type(parsed, "text")
    assert all(element.ocr and element.bbox for element in texts)
    assert "nine million" in " ".join(element.text for element in texts)
    # The words stand in the upper half.
    assert max(element.bbox[3] for element in texts) < 500


def test_ocr_off_leaves_scans_silent_and_always_reads_every_page(tmp_path, assets):
    path = scan(tmp_path / "s.pdf", "Quarterly turnover")
    assert of_type(parse_pdf(path, ParseOptions(ocr="off"), assets), "page")[0].text == ""
    report_path = pages_of_lines(tmp_path / "t.pdf", [[PROSE[:70]] * 6])
    assert not of_type(parse_pdf(report_path, ParseOptions(), assets), "page")[0].ocr
    assert of_type(parse_pdf(report_path, ParseOptions(ocr="always"), assets), "page")[0].ocr


def test_short_page_of_pure_text_costs_no_ocr(tmp_path, assets, monkeypatch):
    monkeypatch.setattr("llama_index_raganything.readers.pdf.parser.recognise", lambda _image: pytest.fail("OCR ran"))
    path = pages_of_lines(tmp_path / "t.pdf", [["Annual report 2023"], []])
    parsed = parse_pdf(path, ParseOptions(), assets)
    assert [page.text for page in of_type(parsed, "page")] == ["Annual report 2023", ""]


def test_broken_font_is_replaced_by_ocr(tmp_path, assets):
    picture = picture_of("Cargo of timber and wool", (1200, 800))
    path = mapped(tmp_path / "g.pdf", bytes([1, 2, 3] * 100), {1: "\ue001", 2: "\ue002", 3: "\x01"}, picture)
    parsed = parse_pdf(path, ParseOptions(), assets)
    page = of_type(parsed, "page")[0]
    assert page.ocr
    assert "Cargo of timber" in page.text
    assert "\ue001" not in page.text
    off = parse_pdf(path, ParseOptions(ocr="off"), assets)
    assert any("character map" in warning for warning in off.warnings)


def test_right_to_left_ligatures_come_in_reading_order(tmp_path, assets):
    # Seen from left to right: noon, lam-alef (one glyph, two letters), alef.
    path = mapped(tmp_path / "a.pdf", bytes([3, 2, 1]), {1: "\u0627", 2: "\u0644\u0625", 3: "\u0646"})
    parsed = parse_pdf(path, ParseOptions(profile="fast"), assets)
    assert parsed.elements[0].text == "\u0627\u0644\u0625\u0646"


def test_statement_without_rules_keeps_figures_beside_their_names(tmp_path, assets):
    names = ["Revenue", "Cost of sales", "Gross profit", "Selling expenses", "Operating income", "Net earnings"]
    rows = [(name, f"{n + 1},298", f"{n + 2},761", f"{n + 3},262") for n, name in enumerate(names)]
    parsed = parse_pdf(statement(tmp_path / "s.pdf", rows), ParseOptions(ocr="off"), assets)
    lines = [line for e in parsed.elements if e.type != "page" for line in e.text.split("\n")]
    assert any("Gross profit" in line and "3,298" in line and "5,262" in line for line in lines)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", CorruptFileError),
        (b"%PDF-1.7\n", CorruptFileError),
        (b"not a pdf at all \xff\x00", CorruptFileError),
        ("\u4e0d\u662fPDF".encode(), CorruptFileError),
    ],
)
def test_unreadable_files_raise_typed_errors(tmp_path, assets, content, error):
    path = tmp_path / "bad.pdf"
    path.write_bytes(content)
    with pytest.raises(error, match=r"bad\.pdf"):
        parse_pdf(path, ParseOptions(), assets)


def test_truncated_file_raises_or_keeps_what_is_left(tmp_path, assets):
    data = report(tmp_path / "r.pdf").read_bytes()
    path = tmp_path / "cut.pdf"
    path.write_bytes(data[: len(data) // 8])
    with pytest.raises(CorruptFileError):
        parse_pdf(path, ParseOptions(), assets)


def test_missing_file_and_encrypted_file(tmp_path, assets):
    with pytest.raises(SourceError):
        parse_pdf(tmp_path / "none.pdf", ParseOptions(), assets)
    path = tmp_path / "locked.pdf"
    sheet = canvas.Canvas(str(path), encrypt=StandardEncryption("secret", canPrint=0))
    sheet.drawString(72, 700, "hidden")
    sheet.save()
    with pytest.raises(EncryptedFileError, match=r"without a password first \(.*[^.]\)\.$"):
        parse_pdf(path, ParseOptions(), assets)


def test_failing_structure_leaves_the_text_and_a_warning(tmp_path, assets, monkeypatch):
    def fail(*_arguments):
        message = "broken page tree"
        raise RuntimeError(message)

    monkeypatch.setattr(pdf_structure, "_analyse", fail)
    parsed = parse_pdf(report(tmp_path / "r.pdf"), ParseOptions(), assets)
    assert any("broken page tree" in warning for warning in parsed.warnings)
    texts = of_type(parsed, "text")
    assert "railway was extended" in " ".join(element.text for element in texts).replace("\n", " ")
    assert all(element.bbox for element in texts)


def test_long_files_are_analysed_in_ranges(tmp_path, assets, monkeypatch):
    monkeypatch.setattr(pdf_structure, "PAGES_AT_ONCE", 2)
    path = pages_of_lines(tmp_path / "l.pdf", [[f"Page {n} says: {PROSE[:60]}"] * 8 for n in range(1, 6)])
    parsed = parse_pdf(path, ParseOptions(ocr="off"), assets)
    for number in range(1, 6):
        words = " ".join(e.text for e in parsed.elements if e.page == number and e.type not in {"page"})
        assert f"Page {number} says" in words


def test_huge_page_is_rendered_within_limits(tmp_path, assets):
    path = tmp_path / "huge.pdf"
    sheet = canvas.Canvas(str(path), pagesize=(14_000, 14_000))
    sheet.rect(100, 100, 9000, 9000, fill=1)
    sheet.showPage()
    sheet.save()
    parsed = parse_pdf(path, ParseOptions(page_images=True, ocr="off"), assets)
    from PIL import Image

    with Image.open(assets.resolve(of_type(parsed, "page")[0].asset)) as image:
        assert image.width * image.height <= 20_100_000


def test_image_ocr_reads_words_inside_figures(tmp_path, assets):
    path = tmp_path / "f.pdf"
    sheet = canvas.Canvas(str(path))
    for number in range(12):
        sheet.drawString(72, 780 - number * 14, PROSE[:80])
    from reportlab.lib.utils import ImageReader

    sheet.drawImage(ImageReader(picture_of("Gulls 1234", (900, 500), 90)), 72, 250, 400, 220)
    sheet.save()
    plain = of_type(parse_pdf(path, ParseOptions(), assets), "image")
    read = of_type(parse_pdf(path, ParseOptions(image_ocr=True), assets), "image")
    assert [figure.text for figure in plain] == [""]
    assert "1234" in read[0].text
    assert read[0].ocr


def test_same_file_gives_the_same_elements_in_threads(tmp_path, assets):
    path = report(tmp_path / "r.pdf")
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        results = [
            f.result().elements for f in [pool.submit(parse_pdf, path, ParseOptions(), assets) for _ in range(3)]
        ]
    assert results[0] == results[1] == results[2]


def test_script_without_main_guard_parses_and_writes_assets_only(tmp_path):
    path = report(tmp_path / "r.pdf")
    home = tmp_path / "home"
    home.mkdir()
    script = (
        "from pathlib import Path\n"
        "from PIL import Image\n"
        "from llama_index_raganything.readers.common.ocr import recognise\n"
        "from llama_index_raganything.readers.pdf.parser import parse_pdf\n"
        "from llama_index_raganything.readers.common.base import ParseOptions\n"
        "from llama_index_raganything.readers.common.base import AssetStore\n"
        f"p = parse_pdf(Path({str(path)!r}), ParseOptions(), AssetStore({str(tmp_path / 'a')!r}))\n"
        "recognise(Image.new('RGB', (64, 64), 'white'))\n"
        "print(len(p.elements))\n"
    )
    environment = os.environ | {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    done = subprocess.run(
        [sys.executable, "-"], input=script, cwd=home, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5
    # Nothing chatters on stderr, and neither engine leaves anything at home, such as an id for telemetry.
    assert done.stderr == ""
    assert list(home.iterdir()) == []
