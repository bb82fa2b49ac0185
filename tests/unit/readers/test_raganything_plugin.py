"""RAG-Anything's registry, both ways, and MinerU 4."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import docx
import pytest
from loguru import logger
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from llama_index_raganything.documents.packing import document_elements
from llama_index_raganything.errors import (
    ConfigurationError,
    CorruptFileError,
    MissingDependencyError,
    ParseError,
    UnsupportedFormatError,
)
from llama_index_raganything.readers.common.base import AssetStore, ParseOptions
from llama_index_raganything.readers.engines.mineru import parse_with_mineru
from llama_index_raganything.readers.engines.registry import check_weights, named_parser
from llama_index_raganything.readers.raganything_plugin import parse_to_content_list, register_parsers
from llama_index_raganything.readers.reader import RAGAnythingReader


@pytest.fixture
def letter(tmp_path: Path) -> Path:
    document = docx.Document()
    document.add_heading("Harbour", level=1)
    document.add_paragraph("Ships lie here. 船。")
    path = tmp_path / "letter.docx"
    document.save(str(path))
    return path


@pytest.fixture
def figure_pdf(tmp_path: Path) -> Path:
    path = tmp_path / "figure.pdf"
    canvas = Canvas(str(path), invariant=True)
    canvas.drawString(72, 500, "Cranes lift forty tonnes of steel in one hour.")
    picture = Image.radial_gradient("L").resize((200, 200))
    canvas.drawImage(ImageReader(picture), 100, 200, 200, 200)
    canvas.drawString(100, 180, "Figure 1: A crane")
    canvas.save()
    return path


@pytest.fixture
def custom():
    """Register parsers for one test."""
    from raganything.parser import Parser, register_parser, unregister_parser

    added: list[str] = []

    def add(name: str, result: Any) -> None:
        class Custom(Parser):
            def check_installation(self):
                return True

            def parse_document(self, file_path, output_dir="./output", method="auto", **kwargs):
                if isinstance(result, Exception):
                    raise result
                return result(Path(file_path), Path(output_dir), method, kwargs) if callable(result) else result

        register_parser(name, Custom)
        added.append(name)

    yield add
    for name in added:
        unregister_parser(name)


def test_raganything_users_get_our_parser(letter: Path, figure_pdf: Path, tmp_path: Path) -> None:
    from raganything.parser import Parser, get_parser, list_parsers

    register_parsers()
    register_parsers()
    assert "docvortex" in list_parsers()
    parser = get_parser("docvortex")
    assert isinstance(parser, Parser)
    assert parser.check_installation()
    items = parser.parse_document(str(letter), output_dir=str(tmp_path / "out"))
    assert (items[0]["type"], items[0]["text"], items[0]["page_idx"]) == ("text", "Harbour", 0)
    assert items[0]["text_level"] >= 1
    assert "text_level" not in items[1]
    pdf = parser.parse_pdf(figure_pdf, output_dir=str(tmp_path / "out"), method="txt")
    (image,) = [item for item in pdf if item["type"] == "image"]
    assert image["page_idx"] == 0
    assert image["image_caption"] == ["Figure 1: A crane"]
    assert Path(image["img_path"]).is_file()
    assert Path(image["img_path"]).is_relative_to(tmp_path / "out")
    json.dumps(items + pdf)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.pdf", "letter.docx", "out"]


def test_raganything_gets_no_furniture_to_describe(tmp_path: Path) -> None:
    from raganything.parser import get_parser
    from raganything.utils import separate_content

    document = docx.Document()
    document.sections[0].header.paragraphs[0].text = "Port news"
    document.add_paragraph("Ships lie here.")
    document.save(str(tmp_path / "a.docx"))
    register_parsers()
    parser = get_parser("docvortex")
    items = parser.parse_document(tmp_path / "a.docx", output_dir=str(tmp_path / "out"))
    assert separate_content(items) == ("Ships lie here.", [])
    everything = parser.parse_document(tmp_path / "a.docx", output_dir=str(tmp_path), include_layout_blocks=True)
    assert "Port news" in [item["text"] for item in everything if item["type"] == "header"]


def test_our_parser_reads_web_pages_for_raganything(tmp_path: Path) -> None:
    from raganything.parser import get_parser

    register_parsers()
    path = tmp_path / "a.html"
    path.write_text("<html><body><h1>Harbour</h1></body></html>")
    parser = get_parser("docvortex")
    assert path.suffix in parser.HTML_FORMATS
    assert parser.parse_html(path, output_dir=str(tmp_path / "out"))[0]["text"] == "Harbour"
    (tmp_path / "list.json").write_text('[{"type": "text", "text": "x"}]')
    with pytest.raises(UnsupportedFormatError):
        parse_to_content_list(tmp_path / "list.json", ParseOptions(), AssetStore(tmp_path / "assets"))


def test_a_users_parser_works_by_name(custom: Any, letter: Path, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def parse(path: Path, output: Path, method: str, kwargs: dict[str, Any]) -> list[dict[str, Any]]:
        seen.update(path=path, output=output, method=method, kwargs=kwargs)
        Image.new("RGB", (3, 3)).save(output / "a.png")
        return [
            {"type": "image", "img_path": str(output / "a.png"), "page_idx": 1},
            {"type": "image", "img_path": "a.png", "image_caption": ["relative"], "page_idx": 1},
        ]

    custom("artist", parse)
    reader = RAGAnythingReader(
        parser="Artist", working_dir=str(tmp_path / "w"), ocr="off", lang="en", parser_kwargs={"depth": 3}
    )
    (document,) = reader.load_data(letter)
    assert document.metadata["parser"] == "artist"
    elements = document_elements(document)
    assert [(e.type, e.page) for e in elements] == [("image", 2), ("image", 2)]
    for element in elements:
        # The parser's own folder is gone; the assets stay.
        assert reader.assets.resolve(str(element.asset)).is_file()
    assert seen["method"] == "txt"
    assert seen["kwargs"] == {"depth": 3, "lang": "en"}
    assert seen["output"].is_relative_to(tmp_path / "w")
    assert not seen["output"].exists()
    assert [path.name for path in letter.parent.iterdir()].count("w") == 1


@pytest.mark.parametrize("result", [[], None, [{"type": "text", "text": " "}]])
def test_nothing_is_an_error_and_not_an_empty_document(custom: Any, letter: Path, tmp_path: Path, result: Any) -> None:
    custom("silent", result)
    with pytest.raises(CorruptFileError, match="returned nothing"):
        RAGAnythingReader(parser="silent", working_dir=str(tmp_path / "w")).load_data(letter)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (RuntimeError("the engine broke"), ParseError),
        (TimeoutError("too slow"), ParseError),
        (ImportError("no torch"), MissingDependencyError),
    ],
)
def test_errors_of_parsers_become_typed(
    custom: Any, letter: Path, tmp_path: Path, raised: Exception, expected: type[Exception]
) -> None:
    custom("broken", raised)
    with pytest.raises(expected, match=str(raised)) as caught:
        RAGAnythingReader(parser="broken", working_dir=str(tmp_path / "w")).load_data(letter)
    assert caught.value.__cause__ is raised


def test_a_missing_dependency_stops_the_batch(custom: Any, letter: Path, tmp_path: Path) -> None:
    custom("broken", ImportError("no torch"))
    with pytest.raises(MissingDependencyError):
        RAGAnythingReader(parser="broken", working_dir=str(tmp_path / "w")).load_data([letter, letter])


def test_text_never_goes_through_a_named_parser(custom: Any, tmp_path: Path) -> None:
    custom("broken", RuntimeError("must not be called"))
    (tmp_path / "a.md").write_text("# Harbour")
    reader = RAGAnythingReader(parser="broken", working_dir=str(tmp_path / "w"))
    assert reader.load_data(tmp_path / "a.md")[0].text == "# Harbour"


def test_page_ranges_that_a_parser_cannot_take(custom: Any, letter: Path, tmp_path: Path) -> None:
    custom("plain", [{"type": "text", "text": "x"}])
    with pytest.raises(ConfigurationError, match="page_range"):
        RAGAnythingReader(parser="plain", working_dir=str(tmp_path / "w"), page_range="1-2").load_data(letter)


def test_a_parser_that_says_it_is_not_installed() -> None:
    from raganything.parser import Parser, register_parser, unregister_parser

    class Absent(Parser):
        def check_installation(self):
            return False

    register_parser("absent", Absent)
    with pytest.raises(MissingDependencyError, match="absent"):
        named_parser("absent")
    unregister_parser("absent")


def test_unknown_names() -> None:
    with pytest.raises(ConfigurationError, match="docvortex"):
        named_parser("nonsense")


def test_weights_are_looked_for_and_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("PADDLE_PDX_CACHE_HOME", str(tmp_path / "paddle"))
    monkeypatch.delenv("DOCLING_ARTIFACTS_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("docling", "paddleocr", "mineru"):
        with pytest.raises(MissingDependencyError, match="allow_download"):
            check_weights(name, ".pdf", {})
    check_weights("docling", ".docx", {})
    check_weights("anything", ".pdf", {})
    (tmp_path / "hub" / "models--docling-project--docling-layout-heron").mkdir(parents=True)
    (tmp_path / "hub" / "models--opendatalab--PDF-Extract-Kit-1.0").mkdir()
    (tmp_path / "paddle" / "official_models" / "PP-OCRv5").mkdir(parents=True)
    for name in ("docling", "paddleocr", "mineru"):
        check_weights(name, ".pdf", {})
    with pytest.raises(MissingDependencyError):
        check_weights("docling", ".pdf", {"artifacts_path": str(tmp_path / "gone")})


def test_mineru_4_reads_a_pdf_with_crops(figure_pdf: Path, tmp_path: Path) -> None:
    reader = RAGAnythingReader(parser="mineru", working_dir=str(tmp_path / "w"))
    chatter: list[str] = []
    sink = logger.add(chatter.append)
    (document,) = reader.load_data(figure_pdf)
    logger.remove(sink)
    assert chatter == []
    assert document.metadata["parser"].startswith("mineru 4")
    elements = document_elements(document)
    assert elements[0].type == "page"
    (image,) = [e for e in elements if e.type == "image"]
    assert image.label == "Figure 1"
    assert reader.assets.resolve(str(image.asset)).is_file()


def test_mineru_4_refuses_what_would_download(tmp_path: Path, letter: Path) -> None:
    assets = AssetStore(tmp_path / "assets")
    Image.new("RGB", (3, 3)).save(tmp_path / "a.png")
    with pytest.raises(MissingDependencyError, match="tier"):
        parse_with_mineru(tmp_path / "a.png", ParseOptions(), assets)
    with pytest.raises(MissingDependencyError, match="tier"):
        parse_with_mineru(letter, ParseOptions(ocr="always"), assets)


def test_mineru_4_errors_are_typed(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7 broken")
    with pytest.raises(ParseError, match=r"a\.pdf"):
        parse_with_mineru(tmp_path / "a.pdf", ParseOptions(), AssetStore(tmp_path / "assets"))
    (tmp_path / "a.docx").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(ParseError, match=r"a\.docx"):
        parse_with_mineru(tmp_path / "a.docx", ParseOptions(), AssetStore(tmp_path / "assets"))


@pytest.mark.slow
def test_mineru_4_in_a_script_without_a_main_guard(figure_pdf: Path, tmp_path: Path) -> None:
    code = (
        "from llama_index_raganything.readers.reader import RAGAnythingReader\n"
        f"RAGAnythingReader(parser='mineru', working_dir={str(tmp_path)!r}).load_data({str(figure_pdf)!r})\n"
    )
    result = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, check=False)
    assert "__name__" in result.stderr.splitlines()[-1]
