"""Write the files that ``make demo`` reads: our own text, drawings and figures, no third-party content.

Run ``python examples/make_demo_files.py`` with the development dependencies installed. The results are
committed in ``llama_index_raganything/demo_files``, so that the demo itself needs none of these libraries.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from docx import Document as WordDocument
from docx.oxml import parse_xml
from docx.shared import Cm
from openpyxl import Workbook
from openpyxl.comments import Comment
from PIL import Image, ImageDraw, ImageFont
from reportlab.graphics.charts.barcharts import VerticalBarChart
from reportlab.graphics.shapes import Circle, Drawing, Line, Rect, String
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

TARGET = Path(__file__).resolve().parent.parent / "llama_index_raganything" / "demo_files"

FAQ = """Milvus FAQ

Does Milvus support inserting and searching data simultaneously?
Yes. Insert and search run as two separate, mutually independent modules. From the client's point of view an insert
is complete once the data has reached the message queue. The data can be searched only after it has been loaded to a
query node; growing segments are searched by brute force until their index is built.

Can vectors with the same primary key be inserted into Milvus?
Yes. Milvus does not check whether a primary key exists already when data is inserted. Use upsert to replace the
entity that has the same primary key.

What is the maximum number of dimensions of a vector?
A vector can have up to 32,768 dimensions by default.

Does Milvus support Apple M1 processors?
Yes, since release 2.3 there are images for the arm64 platform.

Where does Milvus store data?
Inserted data, both vectors and scalar fields, is kept in persistent storage as an incremental log. Metadata such as
collection schemas lives in etcd.

What is Milvus Lite good for?
Milvus Lite runs inside a Python process and keeps everything in a local folder. It suits notebooks, tests and edge
devices; only the URI changes when an application moves to a server.
"""

ARCHITECTURE = [
    ("Access layer", ["Proxy", "SDK requests", "Load balancer"], "#dbe9f6"),
    ("Coordinator", ["Root coordinator", "Query coordinator", "Data coordinator"], "#e3f2e1"),
    ("Worker nodes", ["Streaming node", "Query node", "Data node"], "#fdebd0"),
    ("Storage", ["etcd metadata", "Object storage", "Write-ahead log"], "#f6dfe3"),
]

SPARE_PARTS = [
    ("Part number", "Description", "Warehouse", "On hand", "Unit price (EUR)"),
    ("BR-210", "Brake pad set", "Esbjerg", 48, 312.50),
    ("GB-774", "Gearbox oil filter", "Esbjerg", 126, 41.90),
    ("PS-330", "Pitch sensor", "Aalborg", 17, 689.00),
    ("YM-015", "Yaw motor", "Aalborg", 4, 5450.00),
    ("CV-902", "Converter fuse", "Hirtshals", 230, 12.75),
]

REVENUE = [
    ("Region", "2022", "2023", "2024"),
    ("Denmark", "41.2", "44.8", "47.1"),
    ("Sweden", "18.6", "21.9", "29.4"),
    ("Germany", "63.0", "61.5", "66.2"),
    ("Total", "122.8", "128.2", "142.7"),
]


def draw_architecture(path: Path) -> None:
    """Draw the four layers of Milvus with their components."""
    image = Image.new("RGB", (1280, 900), "white")
    pen = ImageDraw.Draw(image)
    title, body, small = (ImageFont.load_default(size) for size in (44, 32, 26))
    pen.text((60, 36), "Milvus architecture: key components", fill="black", font=title)
    for row, (layer, parts, fill) in enumerate(ARCHITECTURE):
        top = 130 + row * 185
        pen.rounded_rectangle((60, top, 1220, top + 150), radius=18, fill=fill, outline="#444444", width=3)
        pen.text((90, top + 52), layer, fill="black", font=body)
        for column, part in enumerate(parts):
            left = 370 + column * 280
            pen.rounded_rectangle((left, top + 35, left + 260, top + 115), radius=10, fill="white", outline="#666666")
            pen.text((left + 14, top + 58), part, fill="black", font=small)
        if row:
            pen.line((640, top - 35, 640, top), fill="#444444", width=5)
    image.save(path, optimize=True)


def bar_chart() -> Drawing:
    """Draw the electricity generated per site as bars."""
    drawing = Drawing(440, 200)
    chart = VerticalBarChart()
    chart.x, chart.y, chart.width, chart.height = 50, 30, 360, 150
    chart.data = [(212, 187, 341, 96)]
    chart.categoryAxis.categoryNames = ["Skagen", "Thy", "Rugen", "Halland"]
    chart.valueAxis.valueMin, chart.valueAxis.valueMax, chart.valueAxis.valueStep = 0, 400, 100
    chart.bars[0].fillColor = colors.HexColor("#3b7dd8")
    drawing.add(chart)
    drawing.add(String(2, 185, "GWh", fontSize=9))
    return drawing


def site_map() -> Drawing:
    """Draw the turbines of one site along its cable."""
    drawing = Drawing(440, 170)
    drawing.add(Rect(10, 10, 420, 150, fillColor=colors.HexColor("#eef6fb"), strokeColor=colors.grey))
    drawing.add(Line(40, 85, 400, 85, strokeColor=colors.HexColor("#aa5500"), strokeWidth=2))
    for index in range(6):
        x, y = 60 + index * 60, 120 if index % 2 else 50
        drawing.add(Line(x, 85, x, y, strokeColor=colors.HexColor("#aa5500")))
        drawing.add(Circle(x, y, 9, fillColor=colors.HexColor("#2e8b57"), strokeColor=colors.black))
        drawing.add(String(x + 12, y - 3, f"T{index + 1}", fontSize=9))
    drawing.add(Rect(392, 72, 30, 26, fillColor=colors.HexColor("#ffd166"), strokeColor=colors.black))
    drawing.add(String(382, 58, "Substation", fontSize=9))
    return drawing


def ruled(rows: list[tuple[str, ...]]) -> Table:
    """Return a table with rules and a shaded header."""
    table = Table([list(row) for row in rows], colWidths=[120, 80, 80, 80])
    style: list[Any] = [("GRID", (0, 0), (-1, -1), 0.6, colors.black), ("BACKGROUND", (0, 0), (-1, 0), "#dddddd")]
    table.setStyle(TableStyle(style))
    return table


def write_report(path: Path) -> None:
    """Write a PDF report with two figures, a table and a formula."""
    styles = getSampleStyleSheet()
    heading, body, caption = styles["Heading1"], styles["BodyText"], styles["Italic"]
    story: list[Any] = [
        Paragraph("Nordlys Wind: annual report 2024", styles["Title"]),
        Paragraph("1 Summary", heading),
        Paragraph(
            "Nordlys Wind runs four onshore sites in Denmark, Sweden and Germany. In 2024 the company generated "
            "836 GWh of electricity and earned EUR 142.7 million. Sweden grew fastest, because the Halland site "
            "came on line in March 2024. Table 1 gives the revenue by region, Figure 1 the electricity by site.",
            body,
        ),
        Paragraph("2 Revenue", heading),
        Paragraph("Table 1: Revenue by region in million EUR", caption),
        Spacer(1, 6),
        ruled(REVENUE),
        Spacer(1, 10),
        Paragraph(
            "Revenue in Germany fell in 2023, when the Rugen grid connection was under repair for nine weeks.", body
        ),
        PageBreak(),
        Paragraph("3 Generation", heading),
        Paragraph("Rugen remains the largest site. Halland ran for ten months only.", body),
        bar_chart(),
        Paragraph("Figure 1: Electricity generated by site in 2024, in GWh", caption),
        Paragraph("4 The Skagen site", heading),
        Paragraph("Figure 2 shows how the six turbines of Skagen are joined to the substation by one cable.", body),
        site_map(),
        Paragraph("Figure 2: Layout of the Skagen site with turbines T1 to T6 and the substation", caption),
        PageBreak(),
        Paragraph("5 Capacity factor", heading),
        Paragraph(
            "The capacity factor compares the energy generated with what the rated power could have given:", body
        ),
        Paragraph("CF = E / (P x 8760 h)", styles["Code"]),
        Paragraph(
            "where E is the energy generated in a year and P the rated power. In 2024 the capacity factor was 31.8 % "
            "at Skagen and 29.4 % at Thy.",
            body,
        ),
    ]
    SimpleDocTemplate(str(path), pagesize=A4, title="Nordlys Wind: annual report 2024", invariant=1).build(story)


def write_handbook(path: Path) -> None:
    """Write a Word handbook with headings, a table, a picture and a formula."""
    document = WordDocument()
    document.core_properties.title = "Turbine maintenance handbook"
    document.add_heading("Turbine maintenance handbook", level=0)
    document.add_heading("1 Safety", level=1)
    document.add_paragraph(
        "Lock the rotor before anyone enters the hub. Work in the nacelle stops above 12 m/s of wind."
    )
    document.add_heading("2 Inspection intervals", level=1)
    document.add_paragraph("Table 1: Inspection intervals by component")
    rows = [
        ("Component", "Interval", "Duration"),
        ("Gearbox oil", "6 months", "3 hours"),
        ("Brake pads", "12 months", "2 hours"),
        ("Blade bolts", "24 months", "8 hours"),
    ]
    table = document.add_table(rows=0, cols=3, style="Table Grid")
    for row in rows:
        for cell, value in zip(table.add_row().cells, row, strict=True):
            cell.text = value
    document.add_heading("3 Bolt tightening", level=1)
    document.add_paragraph("The tightening torque follows from the preload force, the bolt diameter and the friction:")
    formula = (
        '<m:oMathPara xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"><m:oMath>'
        "<m:r><m:t>T</m:t></m:r><m:r><m:t>=</m:t></m:r><m:r><m:t>K</m:t></m:r><m:r><m:t>F</m:t></m:r>"
        "<m:r><m:t>d</m:t></m:r></m:oMath></m:oMathPara>"
    )
    document.add_paragraph()._p.append(parse_xml(formula))
    document.add_paragraph("K is the nut factor, F the preload force and d the nominal diameter of the bolt.")
    picture = io.BytesIO()
    canvas = Image.new("RGB", (720, 300), "white")
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(30)
    for index, step in enumerate(["Clean", "Lubricate", "Tighten", "Mark"]):
        left = 15 + index * 178
        pen.rounded_rectangle((left, 100, left + 155, 190), radius=12, fill="#e8f0fe", outline="black", width=2)
        pen.text((left + 14, 126), step, fill="black", font=font)
    canvas.save(picture, format="PNG")
    picture.seek(0)
    document.add_picture(picture, width=Cm(12))
    document.add_paragraph("Figure 1: The four steps of tightening a blade bolt")
    document.save(str(path))


def write_inventory(path: Path) -> None:
    """Write a workbook with a stock table and a comment."""
    book = Workbook()
    sheet = book.active
    sheet.title = "Spare parts"
    for row in SPARE_PARTS:
        sheet.append(row)
    sheet["D5"].comment = Comment("Two more on order, due in June.", "Stock keeper")
    summary = book.create_sheet("Warehouses")
    for row in [
        ("Warehouse", "Manager", "Phone"),
        ("Esbjerg", "I. Holm", "+45 5550 0101"),
        ("Aalborg", "K. Juul", "+45 5550 0102"),
    ]:
        summary.append(row)
    book.save(path)


def main() -> None:
    """Write all files."""
    TARGET.mkdir(parents=True, exist_ok=True)
    (TARGET / "faq_milvus.txt").write_text(FAQ, encoding="utf-8")
    draw_architecture(TARGET / "milvus_architecture.png")
    write_report(TARGET / "annual_report.pdf")
    write_handbook(TARGET / "maintenance_handbook.docx")
    write_inventory(TARGET / "spare_parts.xlsx")
    print(f"Wrote {len(list(TARGET.iterdir()))} files to {TARGET}")


if __name__ == "__main__":
    main()
