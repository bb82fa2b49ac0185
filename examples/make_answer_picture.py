"""Draw an answer and the page that it cites, with the cited boxes on the page.

Run ``python examples/make_answer_picture.py`` to write ``docs/images/answer.png`` again. It indexes the bundled demo
files, asks one question and needs no model, no key and no network. ``--question`` asks another one.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

import pypdfium2
from PIL import Image, ImageDraw, ImageFont

from llama_index_raganything import Citation, RAGAnythingIndex, citations_of

TARGET: Final = Path(__file__).resolve().parent.parent / "docs" / "images" / "answer.png"
QUESTION: Final = "How much electricity did the company generate in 2024, and what was the revenue of Sweden?"

WIDTH: Final = 1600
MARGIN: Final = 70
TEXT: Final = 34
LINE: Final = 50
COLOURS: Final = ("#1f6feb", "#d9480f", "#2b8a3e", "#862e9c")
INK: Final = "#1f2328"
GREY: Final = "#656d76"


@dataclass
class Pen:
    """A cursor that writes words, numbers of citations and line breaks onto a picture."""

    image: Image.Image
    y: float
    x: float = MARGIN

    def words(self, text: str, *, colour: str = INK, size: int = TEXT, bold: bool = False) -> None:
        """Write text, broken between words at the right margin."""
        draw, font = ImageDraw.Draw(self.image), ImageFont.load_default(size)
        for word in text.split():
            length = draw.textlength(f"{word} ", font=font)
            if self.x + draw.textlength(word, font=font) > WIDTH - MARGIN:
                self.new_line()
            # Pillow brings one weight of one font; a thin stroke makes it a bold one.
            draw.text((self.x, self.y), word, fill=colour, font=font, stroke_width=0.8 if bold else 0)
            self.x += length

    def number(self, number: int, colour: str) -> None:
        """Write the number of a citation."""
        self.x += draw_number(self.image, (self.x, self.y + 2), number, colour) + 12

    def new_line(self, height: float = LINE) -> None:
        """Go to the start of the next line."""
        self.x, self.y = MARGIN, self.y + height


def draw_number(image: Image.Image, corner: tuple[float, float], number: int, colour: str) -> float:
    """Draw ``[number]`` in a filled box and return its width."""
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(28)
    width = draw.textlength(f"[{number}]", font=font) + 20
    x, y = corner
    draw.rounded_rectangle((x, y, x + width, y + 40), radius=8, fill=colour)
    draw.text((x + width / 2, y + 20), f"[{number}]", fill="white", font=font, anchor="mm")
    return width


def draw_page(cited: dict[Citation, str]) -> Image.Image:
    """Render the page of the first citation, cut above and below what it shows, with the boxes of all on it."""
    first = next(iter(cited))
    assert first.source is not None
    assert first.page is not None
    width = WIDTH - 2 * MARGIN
    document = pypdfium2.PdfDocument(first.source)
    page = document[first.page - 1]
    image = page.render(scale=width / page.get_width()).to_pil().convert("RGB")
    document.close()
    ink = Image.eval(image.convert("L"), lambda value: 255 - value).getbbox() or (0, 0, *image.size)
    layer = Image.new("RGBA", image.size)
    draw = ImageDraw.Draw(layer)
    for citation, colour in cited.items():
        if citation.bbox and (citation.source, citation.page) == (first.source, first.page):
            across, down = image.width / 1000, image.height / 1000
            left, top, right, bottom = citation.bbox
            box = (left * across - 10, top * down - 8, right * across + 10, bottom * down + 8)
            draw.rounded_rectangle(box, radius=10, fill=f"{colour}18", outline=colour, width=5)
            corner = (min(box[2] + 14, image.width - 80), (box[1] + box[3]) / 2 - 20)
            draw_number(layer, corner, citation.number, colour)
    marked = Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")
    return marked.crop((0, max(0, ink[1] - 60), image.width, min(image.height, ink[3] + 50)))


def draw_answer(question: str, answer: str, citations: list[Citation]) -> Image.Image:
    """Draw question, answer and sources above the cited page."""
    on_pages = [each for each in citations if each.bbox and (each.file_name or "").endswith(".pdf")]
    if not on_pages:
        raise SystemExit("The answer cites no box in a PDF: ask another --question")
    cited = dict(zip(on_pages, COLOURS, strict=False))
    page = draw_page(cited)
    colours = {citation.number: colour for citation, colour in cited.items()}
    image = Image.new("RGB", (WIDTH, 3000), "#f6f8fa")
    pen = Pen(image, y=54)
    pen.words(question, size=38, bold=True)
    pen.new_line(74)
    for line in answer.splitlines():
        for piece in re.split(r"(\[\d+\])", line):
            number = int(piece[1:-1]) if re.fullmatch(r"\[\d+\]", piece) else None
            if number is None:
                pen.words(piece)
            else:
                pen.number(number, colours.get(number, GREY))
        pen.new_line(60)
    pen.y += 14
    top, left = round(pen.y), MARGIN
    image.paste(page, (left, top))
    ImageDraw.Draw(image).rectangle((left, top, left + page.width - 1, top + page.height), outline="#d0d7de", width=2)
    pen.y = top + page.height + 30
    for citation, colour in cited.items():
        pen.number(citation.number, colour)
        place = ", ".join(map(str, citation.bbox or ()))
        what = citation.label or citation.content_type
        pen.words(f"{citation.file_name}, page {citation.page}, {what}, box ({place})", colour=GREY, size=30)
        pen.new_line(56)
    return image.crop((0, 0, WIDTH, round(pen.y) + 26))


def main() -> None:
    """Ask the question and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", nargs="?", type=Path, default=TARGET)
    parser.add_argument("--question", default=QUESTION)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        uri, storage = str(Path(folder, "milvus.db")), Path(folder, "rag_storage")
        demo = str(files("llama_index_raganything") / "demo_files")
        with RAGAnythingIndex.from_paths(demo, uri=uri, working_dir=storage, models="embedded") as index:
            response = index.as_query_engine().query(arguments.question)
            print(response)
            picture = draw_answer(arguments.question, str(response), citations_of(response))
    arguments.target.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(96).save(arguments.target, optimize=True)
    print(f"{arguments.target}: {picture.width} x {picture.height}, {arguments.target.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
