"""Builders of small PDF and image files for the reader tests."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from reportlab.lib import colors
from reportlab.lib.pagesizes import letter
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen import canvas
from reportlab.platypus import Image as FlowImage
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

PROSE = (
    "The harbour was dredged in the spring and the new quay opened in the autumn. Ships that used to wait "
    "for the tide now come in at any hour, and the railway was extended to the warehouses behind the town. "
)


def picture_of(words: str, size: tuple[int, int] = (900, 300), letters: int = 48) -> Image.Image:
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).text((30, 40), words, fill="black", font=ImageFont.load_default(letters), spacing=20)
    return image


def report(path: Path, title: str = "Harbour report") -> Path:
    """A report of two pages: numbered headings, prose, a ruled table and a figure, both with captions."""
    styles = getSampleStyleSheet()
    data = [["Year", "Ships", "Tonnes"], ["2021", "120", "4500"], ["2022", "310", "9100"], ["2023", "420", "12750"]]
    table = Table(data, style=TableStyle([("GRID", (0, 0), (-1, -1), 1, colors.black)]), colWidths=100)
    chart = Image.new("RGB", (600, 300), "white")
    drawing = ImageDraw.Draw(chart)
    for column, height in enumerate((60, 150, 220)):
        drawing.rectangle((60 + column * 180, 280 - height, 160 + column * 180, 280), fill="navy")
    stream = io.BytesIO()
    chart.save(stream, "PNG")
    stream.seek(0)
    story = [
        Paragraph("Harbour report", styles["Title"]),
        Paragraph("1 Traffic", styles["Heading1"]),
        Paragraph(PROSE * 2, styles["BodyText"]),
        Paragraph("1.1 Ships by year", styles["Heading2"]),
        Paragraph(PROSE * 2, styles["BodyText"]),
        Paragraph("Table 1: Ships and cargo by year.", styles["BodyText"]),
        Spacer(1, 6),
        table,
        PageBreak(),
        Paragraph("2 Growth", styles["Heading1"]),
        Paragraph(PROSE * 2, styles["BodyText"]),
        FlowImage(stream, width=300, height=150),
        Paragraph("Figure 1: Growth of cargo from 2021 to 2023.", styles["BodyText"]),
        Paragraph(PROSE * 2, styles["BodyText"]),
    ]
    SimpleDocTemplate(str(path), pagesize=letter, title=title).build(story)
    return path


def pages_of_lines(path: Path, pages: list[list[str]], font: str = "Helvetica", size: int = 11) -> Path:
    """One list of lines per page, set plainly from the top."""
    sheet = canvas.Canvas(str(path), pagesize=letter)
    for lines in pages:
        sheet.setFont(font, size)
        for number, line in enumerate(lines):
            sheet.drawString(72, 720 - number * size * 1.4, line)
        sheet.showPage()
    sheet.save()
    return path


def chinese(path: Path) -> Path:
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    return pages_of_lines(path, [["第一章 港口", "表 2 货物与船只", "新的码头在秋天开放。"]], "STSong-Light")


def scan(path: Path, words: str, *, blank_pages: int = 0) -> Path:
    """Pages without a text layer: one picture of words, then empty pages."""
    sheet = canvas.Canvas(str(path), pagesize=(600, 400))
    sheet.drawImage(ImageReader(picture_of(words, (1200, 800))), 0, 0, 600, 400)
    sheet.showPage()
    for _ in range(blank_pages):
        sheet.showPage()
    sheet.save()
    return path


def statement(path: Path, rows: list[tuple[str, ...]]) -> Path:
    """A financial statement without ruling lines, set figure by figure."""
    sheet = canvas.Canvas(str(path), pagesize=letter)
    for number, (label, *figures) in enumerate(rows):
        sheet.setFont("Helvetica", 10)
        sheet.drawString(60, 700 - number * 16, label)
        for column, figure in enumerate(figures):
            sheet.drawRightString(380 + column * 90, 700 - number * 16, figure)
    sheet.showPage()
    sheet.save()
    return path


def mapped(path: Path, codes: bytes, meanings: dict[int, str], picture: Image.Image | None = None) -> Path:
    """A page whose font gives each code the characters in ``meanings``, its text hidden if there is a picture."""
    glyphs = sorted(meanings)
    lines = [f"<{code:02X}> <{meanings[code].encode('utf-16-be').hex()}>" for code in glyphs]
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /T def /CMapType 2 def\n"
        "1 begincodespacerange <00> <FF> endcodespacerange\n"
        f"{len(lines)} beginbfchar\n" + "\n".join(lines) + "\nendbfchar endcmap end end"
    )
    names = " ".join(f"{code} /g{code}" for code in glyphs)
    procedures = " ".join(f"/g{code} 5 0 R" for code in glyphs)
    last = glyphs[-1]
    font = (
        f"<< /Type /Font /Subtype /Type3 /FontBBox [0 0 1000 1000] /FontMatrix [.001 0 0 .001 0 0] "
        f"/FirstChar {glyphs[0]} /LastChar {last} /Widths [{' '.join(['600'] * (last - glyphs[0] + 1))}] "
        f"/Encoding << /Type /Encoding /Differences [{names}] >> /CharProcs << {procedures} >> /ToUnicode 6 0 R >>"
    )
    content = b"BT /F1 20 Tf 72 300 Td <" + codes.hex().encode() + b"> Tj ET"
    resources = "/Font << /F1 4 0 R >>"
    extra = b""
    if picture is not None:
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=95)
        extra = _stream(
            stream.getvalue(),
            f"/Type /XObject /Subtype /Image /Width {picture.width} /Height {picture.height} "
            "/ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /DCTDecode",
        )
        content = content.replace(b"Tf", b"Tf 3 Tr") + b" q 600 0 0 400 0 0 cm /Im Do Q"
        resources += " /XObject << /Im 7 0 R >>"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 400] /Contents 8 0 R /Resources << "
        + f"{resources} >> >>".encode(),
        font.encode(),
        _stream(b"600 0 50 0 550 700 d1 50 0 500 700 re f"),
        _stream(cmap.encode()),
        extra or b"null",
        _stream(content),
    ]
    path.write_bytes(_assemble(objects))
    return path


def _stream(data: bytes, entries: str = "/Filter /FlateDecode") -> bytes:
    packed = data if "Filter /DCT" in entries else zlib.compress(data)
    return f"<< {entries} /Length {len(packed)} >>\nstream\n".encode() + packed + b"\nendstream"


def _assemble(objects: list[bytes]) -> bytes:
    body = b"%PDF-1.7\n"
    offsets = []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n".encode() + content + b"\nendobj\n"
    table = b"".join(f"{offset:010d} 00000 n \n".encode() for offset in offsets)
    size = len(objects) + 1
    return (
        body
        + f"xref\n0 {size}\n0000000000 65535 f \n".encode()
        + table
        + f"trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF".encode()
    )
