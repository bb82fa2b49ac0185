"""Office files, OpenDocument and books, made here by small builders."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest
from docx import Document as WordDocument
from openpyxl.comments import Comment
from PIL import Image
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from llama_index_raganything.elements import Element
from llama_index_raganything.errors import CorruptFileError, EncryptedFileError, FileTooLargeError, ParseError
from llama_index_raganything.readers.common.base import AssetStore, ParsedFile, ParseOptions
from llama_index_raganything.readers.office import containers
from llama_index_raganything.readers.office import xlsx as xlsx_stream
from llama_index_raganything.readers.office_files import parse_office

ODF = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "text", "table")
)
ODF += ' xmlns:dc="http://purl.org/dc/elements/1.1/"'


def parse(path: Path, profile: str = "standard") -> ParsedFile:
    return parse_office(path, ParseOptions(profile=profile), AssetStore(path.parent / "assets"))


def words(elements: list[Element]) -> str:
    return "\n".join(f"{element.caption}\n{element.text}" for element in elements)


def of_type(elements: list[Element], kind: str) -> list[Element]:
    return [element for element in elements if element.type == kind]


def png() -> io.BytesIO:
    stream = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(stream, "PNG")
    stream.seek(0)
    return stream


def rewrite(path: Path, changes: dict[str, Callable[[bytes], bytes]], extra: dict[str, bytes] | None = None) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (members | (extra or {})).items():
            archive.writestr(name, changes[name](data) if name in changes else data)


def word_file(path: Path) -> Path:
    document = WordDocument()
    document.core_properties.title = "Quarterly Report"
    document.add_heading("概述 Overview", 1)
    paragraph = document.add_paragraph("Milvus stores vectors. مرحبا بالعالم")
    document.add_comment(paragraph.runs, text="Please check this claim", author="Ana")
    document.add_heading("Details", 2)
    table = document.add_table(rows=2, cols=2)
    for index, value in enumerate(["Region", "Sales", "North", "42"]):
        table.cell(index // 2, index % 2).text = value
    document.add_picture(png())
    document.sections[0].header.paragraphs[0].text = "Confidential header"
    document.save(str(path))
    return path


def workbook(path: Path) -> Path:
    book = openpyxl.Workbook()
    hidden = book.active
    hidden.title = "Hidden"
    hidden["A1"] = "secret"
    hidden.sheet_state = "hidden"
    sheet = book.create_sheet("Ventas 销售")
    for row in [["Sales by region"], [], ["Region", "2023", "2024"], ["North", 1, 2], ["South", 3, 4]]:
        sheet.append(row)
    sheet["B4"].comment = Comment("Audited value", "Jane")
    book.create_sheet("Empty")
    last = book.create_sheet("Last")
    last.append(["k", "v"])
    last.append(["x", "y|z"])
    book.save(path)
    return path


def slides(path: Path) -> Path:
    deck = Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "Opening 开场"
    first.placeholders[1].text = "A bullet"
    first.notes_slide.notes_text_frame.text = "Say hello first"
    group = first.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "grouped words"
    deck.slides.add_slide(deck.slide_layouts[6])
    third = deck.slides.add_slide(deck.slide_layouts[8])
    third.shapes.title.text = "Picture slide"
    third.placeholders[1].insert_picture(png())
    third.placeholders[2].text = "Below the picture"
    fourth = deck.slides.add_slide(deck.slide_layouts[5])
    fourth.shapes.title.text = "Chart slide"
    data = CategoryChartData()
    data.categories = ["2019", "2020"]
    data.add_series("Ducks", (120, 130))
    chart = fourth.shapes.add_chart(XL_CHART_TYPE.LINE, 0, 0, Inches(4), Inches(3), data).chart
    chart.has_title = True
    chart.chart_title.text_frame.text = "Duck Observations"
    deck.save(str(path))
    return path


def odf_file(path: Path, kind: str, body: str) -> Path:
    subtype = {"text": "text", "spreadsheet": "spreadsheet", "presentation": "presentation"}[kind]
    mimetype = f"application/vnd.oasis.opendocument.{subtype}"
    manifest = (
        '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{mimetype}"/>'
        '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/></manifest:manifest>'
    )
    content = f'<office:document-content {ODF} office:version="1.3"><office:body><office:{kind}>{body}</office:{kind}></office:body></office:document-content>'  # noqa: E501
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", mimetype)
        archive.writestr("content.xml", '<?xml version="1.0" encoding="UTF-8"?>' + content)
        archive.writestr("META-INF/manifest.xml", manifest)
    return path


def test_word(tmp_path: Path) -> None:
    parsed = parse(word_file(tmp_path / "a.docx"))
    assert parsed.title == "Quarterly Report"
    assert [e.text for e in of_type(parsed.elements, "heading")] == ["概述 Overview", "Details"]
    assert [e.rows for e in of_type(parsed.elements, "table")] == [[["Region", "Sales"], ["North", "42"]]]
    everything = words(parsed.elements)
    assert "مرحبا بالعالم" in everything
    assert "Please check this claim" in everything
    assert "Confidential header" in everything
    assert of_type(parsed.elements, "image")[0].asset
    assert all(element.page is None for element in parsed.elements)
    assert not of_type(parsed.elements, "page")


def test_word_side_parts_are_joined(tmp_path: Path) -> None:
    path = word_file(tmp_path / "a.docx")
    wml = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    relation = '<Relationship Id="rIdN" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/endnotes" Target="endnotes.xml"/>'  # noqa: E501
    notes = f'<w:endnotes {wml}><w:endnote w:id="1"><w:p><w:r><w:t>An endnote that tells more</w:t></w:r></w:p></w:endnote></w:endnotes>'  # noqa: E501
    rewrite(
        path,
        {
            "word/_rels/document.xml.rels": lambda data: data.replace(
                b"</Relationships>", relation.encode() + b"</Relationships>"
            )
        },
        {"word/endnotes.xml": notes.encode()},
    )
    assert "An endnote that tells more" in words(parse(path).elements)


def test_workbook(tmp_path: Path) -> None:
    parsed = parse(workbook(tmp_path / "a.xlsx"))
    assert parsed.title is None
    pages = of_type(parsed.elements, "page")
    assert [page.page_label for page in pages] == ["Ventas 销售", "Last"]
    first, last = of_type(parsed.elements, "table")
    assert first.rows == [["Region", "2023", "2024"], ["North", "1", "2"], ["South", "3", "4"]]
    assert (first.caption, first.page_label, first.page) == ("Sales by region", "Ventas 销售", pages[0].page)
    assert last.rows == [["k", "v"], ["x", "y|z"]]
    comment = next(e for e in parsed.elements if e.subtype == "comment")
    assert comment.text == "Comment on B4 by Jane: Audited value"
    assert comment.page == first.page
    assert "Audited value" in pages[0].text
    assert "secret" not in words(parsed.elements)
    for page in pages:
        index = parsed.elements.index(page)
        assert all(element.page != page.page for element in parsed.elements[:index])


def test_large_workbook_is_streamed_with_the_same_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = workbook(tmp_path / "a.xlsx")
    whole = parse(path)
    monkeypatch.setattr(xlsx_stream, "LARGE_SHEET_BYTES", 10)
    streamed = parse(path)
    assert streamed.parser != whole.parser
    assert [(e.rows, e.caption, e.page, e.page_label) for e in of_type(streamed.elements, "table")] == [
        (e.rows, e.caption, e.page, e.page_label) for e in of_type(whole.elements, "table")
    ]
    assert "Audited value" in words(streamed.elements)
    monkeypatch.setattr(xlsx_stream, "MAX_CELLS", 9)
    cut = parse(path)
    assert len(of_type(cut.elements, "table")) == 1
    assert "left out" in cut.warnings[0]


def test_slides(tmp_path: Path) -> None:
    parsed = parse(slides(tmp_path / "a.pptx"))
    pages = of_type(parsed.elements, "page")
    assert [page.page for page in pages] == [1, 3, 4]
    assert [e.text for e in of_type(parsed.elements, "heading")] == ["Opening 开场", "Picture slide", "Chart slide"]
    for expected in ("A bullet", "Say hello first", "grouped words"):
        assert expected in pages[0].text
    picture = next(e for e in of_type(parsed.elements, "image") if e.page == 3)
    assert picture.asset
    chart = next(e for e in of_type(parsed.elements, "image") if e.page == 4)
    assert chart.caption == "Duck Observations"
    assert chart.text.startswith("Line chart")
    assert ["2019", "120"] in (chart.rows or [])
    fast = parse(tmp_path / "a.pptx", "fast")
    assert not any(element.asset for element in fast.elements)


def test_open_document_text(tmp_path: Path) -> None:
    body = (
        '<text:h text:outline-level="1">标题</text:h><text:p>Body <text:span>words</text:span>'
        '<text:note text:note-class="footnote"><text:note-citation>1</text:note-citation>'
        "<text:note-body><text:p>The footnote</text:p></text:note-body></text:note>"
        "<office:annotation><dc:creator>Ana</dc:creator><text:p>A remark</text:p></office:annotation></text:p>"
    )
    parsed = parse(odf_file(tmp_path / "a.odt", "text", body))
    everything = words(parsed.elements)
    for expected in ("标题", "Body words", "The footnote", "A remark"):
        assert expected in everything
    assert all(element.page is None for element in parsed.elements)


def test_open_document_sheet(tmp_path: Path) -> None:
    cells = "".join(
        f"<table:table-row>{''.join(f'<table:table-cell office:value-type={chr(34)}string{chr(34)}><text:p>{v}</text:p></table:table-cell>' for v in row)}</table:table-row>"  # noqa: E501
        for row in [("k", "v"), ("x", "数")]
    )
    remark = (
        '<table:table-row><table:table-cell office:value-type="string"><office:annotation><dc:creator>Bo</dc:creator>'
        "<text:p>Hidden remark</text:p></office:annotation><text:p>y</text:p></table:table-cell></table:table-row>"
    )
    table = f'<table:table table:name="Blatt">{cells}{remark}</table:table>'
    parsed = parse(odf_file(tmp_path / "a.ods", "spreadsheet", table))
    assert [page.page_label for page in of_type(parsed.elements, "page")] == ["Blatt"]
    assert of_type(parsed.elements, "heading")[0].text == "Blatt"
    assert of_type(parsed.elements, "table")[0].rows[:2] == [["k", "v"], ["x", "数"]]
    assert "Hidden remark" in words(parsed.elements)


def epub_file(path: Path, pages: list[str]) -> Path:
    items = "".join(
        f'<item id="p{i}" href="p{i}.xhtml" media-type="application/xhtml+xml"/>' for i in range(len(pages))
    )
    spine = "".join(f'<itemref idref="p{i}"/>' for i in range(len(pages)))
    opf = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="i"><metadata '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="i">x</dc:identifier>'
        "<dc:title>The Book</dc:title>"
        f"<dc:language>en</dc:language></metadata><manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    container = (
        '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile '
        'full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", container)
        archive.writestr("OEBPS/book.opf", opf)
        for index, page in enumerate(pages):
            html = f'<html xmlns="http://www.w3.org/1999/xhtml"><head><title>t</title></head><body>{page}</body></html>'
            archive.writestr(f"OEBPS/p{index}.xhtml", html)
    return path


def test_book(tmp_path: Path) -> None:
    pages = ["<h1>Chapter one</h1><p>First words.</p>", "<h1>第二章</h1><p>Second words.</p><ul><li>item</li></ul>"]
    parsed = parse(epub_file(tmp_path / "a.epub", pages))
    assert parsed.title == "The Book"
    assert [e.text for e in of_type(parsed.elements, "heading")] == ["Chapter one", "第二章"]
    assert re.search(r"First words\..*Second words\.", words(parsed.elements), re.DOTALL)
    assert not of_type(parsed.elements, "page")


def test_rich_text(tmp_path: Path) -> None:
    path = tmp_path / "a.rtf"
    path.write_bytes(rb"{\rtf1\ansi\ansicpg1252 Hello \b bold\b0  caf\'e9 \u20013?\par Second}")
    assert "Hello bold café 中" in words(parse(path).elements)


def test_results_are_deterministic(tmp_path: Path) -> None:
    path = slides(tmp_path / "a.pptx")
    assert parse(path) == parse(path)


@pytest.mark.parametrize("suffix", [".docx", ".xlsx", ".pptx", ".odt", ".ods", ".epub", ".doc", ".ppt", ".xls", ".rtf"])
def test_damaged_files_are_typed_errors(suffix: str, tmp_path: Path) -> None:
    builders = {".docx": word_file, ".xlsx": workbook, ".pptx": slides}
    samples = [b"", b"PK\x03\x04 not really a zip", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 2000]
    if suffix in builders:
        whole = builders[suffix](tmp_path / f"whole{suffix}").read_bytes()
        samples += [whole[: len(whole) // 2], whole[:-30]]
    for index, data in enumerate(samples):
        path = tmp_path / f"bad{index}{suffix}"
        path.write_bytes(data)
        with pytest.raises(ParseError) as caught:
            parse(path)
        assert path.name in str(caught.value)


def test_damaged_part_leaves_the_text(tmp_path: Path) -> None:
    path = word_file(tmp_path / "a.docx")
    rewrite(path, {"word/styles.xml": lambda _: b"<broken", "word/numbering.xml": lambda _: b"\x00"})
    assert "Milvus stores vectors" in words(parse(path).elements)


def test_documents_without_content_are_typed_errors(tmp_path: Path) -> None:
    WordDocument().save(str(tmp_path / "a.docx"))
    openpyxl.Workbook().save(tmp_path / "a.xlsx")
    Presentation().save(str(tmp_path / "a.pptx"))
    for name in ("a.docx", "a.xlsx", "a.pptx"):
        with pytest.raises(CorruptFileError, match="empty"):
            parse(tmp_path / name)


def test_encrypted_files(tmp_path: Path) -> None:
    path = odf_file(tmp_path / "a.odt", "text", "<text:p>x</text:p>")
    entry = b"<manifest:encryption-data/></manifest:manifest>"
    rewrite(path, {"META-INF/manifest.xml": lambda data: data.replace(b"</manifest:manifest>", entry)})
    with pytest.raises(EncryptedFileError, match="password"):
        parse(path)
    book = epub_file(tmp_path / "a.epub", ["<p>x</p>"])
    rewrite(book, {}, {"META-INF/rights.xml": b"<rights/>"})
    with pytest.raises(EncryptedFileError):
        parse(book)


def test_zip_bombs_are_refused_before_parsing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = word_file(tmp_path / "a.docx")
    rewrite(path, {}, {"word/media/zero.bin": bytes(300_000)})
    parse(path)
    monkeypatch.setattr(containers, "RATIO_FLOOR_BYTES", 100_000)
    with pytest.raises(FileTooLargeError, match="ratio"):
        parse(path)
    monkeypatch.setattr(containers, "RATIO_FLOOR_BYTES", 1024**2)
    monkeypatch.setattr(containers, "MAX_UNPACKED_BYTES", 200_000)
    with pytest.raises(FileTooLargeError, match="unpacks to"):
        parse(path)


def test_entities_are_not_expanded(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("TOP-SECRET")
    path = word_file(tmp_path / "a.docx")
    dtd = f'?><!DOCTYPE x [<!ENTITY e SYSTEM "{secret.as_uri()}"><!ENTITY b "boom">]>'.encode()
    edit = lambda data: data.replace(b"?>", dtd, 1).replace(b"stores vectors", b"stores &e; &b; vectors")  # noqa: E731
    rewrite(path, {"word/document.xml": edit, "word/comments.xml": lambda data: data.replace(b"?>", dtd, 1)})
    assert "TOP-SECRET" not in words(parse(path).elements)
