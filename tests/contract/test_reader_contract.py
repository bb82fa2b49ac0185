"""The reader contract for each way through the reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest
from PIL import Image, ImageDraw, ImageFont
from reader_suite import ReaderContract

from llama_index_raganything.readers.raganything_plugin import register_parsers


class TestMarkdown(ReaderContract):
    def make_sample(self, folder: Path) -> Path:
        path = folder / "notes.md"
        path.write_text("# Harbour\n\nShips lie here.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n", encoding="utf-8")
        return path


class TestWord(ReaderContract):
    def make_sample(self, folder: Path) -> Path:
        import docx

        document = docx.Document()
        document.add_heading("Harbour report", level=1)
        document.add_paragraph("The crane lifts forty tonnes.")
        path = folder / "report.docx"
        document.save(str(path))
        return path


class TestPdf(ReaderContract):
    def make_sample(self, folder: Path) -> Path:
        from reportlab.pdfgen.canvas import Canvas

        path = folder / "report.pdf"
        canvas = Canvas(str(path), invariant=True)
        for words in ("Harbour cranes lift forty tonnes of steel in one hour.", "Ships wait outside in a storm."):
            canvas.drawString(72, 500, words)
            canvas.showPage()
        canvas.save()
        return path


class TestImage(ReaderContract):
    def make_sample(self, folder: Path) -> Path:
        image = Image.new("RGB", (320, 80), "white")
        font = ImageFont.load_default(size=40)
        ImageDraw.Draw(image).text((30, 15), "Harbour", fill="black", font=font)
        path = folder / "sign.png"
        image.save(path)
        return path

    @pytest.mark.slow
    def test_two_reads_are_equal_without_the_cache(self, tmp_path, sample) -> None:
        # Two more recognitions; the other formats cover the same path.
        super().test_two_reads_are_equal_without_the_cache(tmp_path, sample)


class TestTable(ReaderContract):
    def make_sample(self, folder: Path) -> Path:
        path = folder / "ships.csv"
        path.write_text("Harbour,Ships\nKiel,4\n上海,90\n", encoding="utf-8")
        return path


class TestContentListFile(ReaderContract):
    def make_sample(self, folder: Path) -> Path:
        path = folder / "parsed.json"
        items = [
            {"type": "text", "text": "Harbour", "text_level": 1, "page_idx": 0},
            {"type": "table", "table_body": [["a", "b"], ["1", "2"]], "table_caption": None, "page_idx": 1},
        ]
        path.write_text(json.dumps({"content_list": items}), encoding="utf-8")
        return path


class TestRegisteredParser(TestWord):
    """A parser that a user registered with RAG-Anything."""

    options: ClassVar = {"parser": "shouting"}

    @pytest.fixture(autouse=True)
    def registered(self):
        from raganything.parser import Parser, register_parser, unregister_parser

        class ShoutingParser(Parser):
            def check_installation(self):
                return True

            def parse_document(self, file_path, output_dir="./output", method="auto", **kwargs):
                import docx

                texts = [p.text for p in docx.Document(file_path).paragraphs]
                return [{"type": "text", "text": f"{text}!", "page_idx": 0} for text in texts]

        register_parsers()
        register_parser("shouting", ShoutingParser)
        yield
        unregister_parser("shouting")


class TestMineru(TestWord):
    """MinerU 4 in this process, in the tier without weights."""

    options: ClassVar = {"parser": "mineru"}
