"""Builders of PDF pages with tables that have no rules, and of pages that look a little like tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pdf_files import PROSE
from reportlab.lib.pagesizes import letter
from reportlab.lib.utils import simpleSplit
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas

WIDTH, HEIGHT = letter
SIZE = 9
PITCH = 13
Draw = Callable[[Canvas], None]


def page(path: Path, *draws: Draw, rotate: int = 0, turn: int = 0) -> Path:
    """One page with all that is drawn; ``rotate`` is the page's /Rotate, ``turn`` turns what is drawn itself."""
    # reportlab exchanges width and height of a rotated page itself.
    canvas = Canvas(str(path), pagesize=letter if (turn + rotate) % 180 == 0 else (HEIGHT, WIDTH))
    if rotate:
        canvas.setPageRotation(rotate)
    # Turned clockwise, the page as it is read still fills the page as it is seen.
    canvas.translate(*{0: (0, 0), 90: (0, WIDTH), 180: (WIDTH, HEIGHT), 270: (HEIGHT, 0)}[turn])
    canvas.rotate(-turn)
    for draw in draws:
        draw(canvas)
    canvas.showPage()
    canvas.save()
    return path


def cells(
    canvas: Canvas,
    rows: Sequence[Sequence[str]],
    *,
    top: float = 600,
    left: float = 60,
    rights: Sequence[float] = (340, 440, 540),
    font: str = "Helvetica",
) -> float:
    """Labels at the left, figures at right edges with brackets and percent signs outside, currency signs apart."""
    canvas.setFont(font, SIZE)
    for number, (label, *figures) in enumerate(rows):
        y = top - number * PITCH
        canvas.drawString(left, y, label)
        for right, figure in zip(rights, figures, strict=True):
            sign, value = (figure[0], figure[1:]) if figure.startswith("$") else ("", figure)
            tail = value[len(value.rstrip(")%")) :]
            value = value.rstrip(")%")
            canvas.drawString(right - 43, y, sign)
            canvas.drawRightString(right, y, value)
            canvas.drawString(right, y, tail)
    return top - len(rows) * PITCH


def centred(canvas: Canvas, y: float, texts: Sequence[tuple[float, str]], font: str = "Helvetica-Bold") -> None:
    """Header texts over the middle of columns."""
    canvas.setFont(font, SIZE)
    for x, text in texts:
        canvas.drawCentredString(x, y, text)


def paragraph(canvas: Canvas, *, top: float, left: float = 60, width: float = 490, repeat: int = 3) -> float:
    """Running text."""
    canvas.setFont("Helvetica", SIZE)
    for line in simpleSplit(PROSE * repeat, "Helvetica", SIZE, width):
        canvas.drawString(left, top, line)
        top -= PITCH
    return top


def chinese_font() -> str:
    """Register and return a font with Chinese characters."""
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    return "STSong-Light"


STATEMENT = [
    ["Revenue", "$46,298", "$51,761", "$47,262"],
    ["Cost of sales", "36,386", "40,121", "36,689"],
    ["Restructuring charges", "147", "(34)", "254"],
    ["Other income (expense)", "(35)", "—", "(52)"],
    ["Gross profit rate", "21.4%", "22.5%", "22.4%"],
    ["Net earnings", "$1,419", "$2,454", "$1,798"],
]


def statement(canvas: Canvas) -> None:
    """A statement with dates as header, one text over all of them, and its unit."""
    canvas.setFont("Helvetica", SIZE)
    canvas.drawString(60, 660, "Results of operations were as follows ($ in millions):")
    centred(canvas, 642, [(425, "Fiscal Years Ended")])
    for right, year in zip((340, 440, 540), ("January 28, 2023", "January 29, 2022", "January 30, 2021"), strict=True):
        canvas.drawRightString(right, 626, year)
    cells(canvas, STATEMENT)


STATEMENT_HEADER = [
    ["", "Fiscal Years Ended", "Fiscal Years Ended", "Fiscal Years Ended"],
    ["", "January 28, 2023", "January 29, 2022", "January 30, 2021"],
]
