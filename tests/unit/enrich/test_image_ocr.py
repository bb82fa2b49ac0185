"""Words inside figures: where they go, what is skipped, and that equal images cost once."""

import pytest
from llama_index.core.schema import ImageNode, TextNode
from PIL import Image, ImageDraw, ImageFont

from llama_index_raganything.enrich import image_ocr as figures
from llama_index_raganything.enrich.image_ocr import OCR_PREFIX, ImageOCR


def picture(path, text="Revenue 2024", size=(300, 300), mode="RGB", **options):
    """Draw words; the recogniser scales the short side up, so that a square costs a third of a strip."""
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).text((20, 40), text, fill="black", font=ImageFont.load_default(40))
    image.convert(mode).save(path, **options)
    return path


def node_of(path, text="Figure 1: Sales\n\nSee Figure 1.", caption="Figure 1: Sales", **metadata):
    return ImageNode(
        text=text,
        image_path=str(path),
        metadata={"content_type": "image", "caption": caption, "doc_id": "d", "element_id": str(path)} | metadata,
    )


def test_words_go_after_the_caption_and_a_second_run_adds_none(tmp_path):
    node = node_of(picture(tmp_path / "a.png"))
    processor = ImageOCR()
    (made,) = processor([node])
    assert made.text == f"Figure 1: Sales\n\n{OCR_PREFIX}\nRevenue 2024\n\nSee Figure 1."
    assert (made.node_id, made.metadata, made.image_path) == (node.node_id, node.metadata, node.image_path)
    assert processor([made])[0].text == made.text


def test_words_that_the_text_has_already_are_not_repeated(tmp_path):
    node = node_of(picture(tmp_path / "a.png"), text="Revenue 2024", caption="")
    assert ImageOCR()([node])[0] is node


@pytest.mark.parametrize(("suffix", "mode"), [(".jpg", "CMYK"), (".gif", "P")])
def test_modes_and_formats(tmp_path, suffix, mode):
    (made,) = ImageOCR()([node_of(picture(tmp_path / f"a{suffix}", mode=mode))])
    assert "Revenue" in made.text


def test_an_animation_is_read_by_its_first_frame(tmp_path):
    frames = [Image.open(picture(tmp_path / f"{n}.png", f"Frame {n}")).convert("P") for n in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    (made,) = ImageOCR()([node_of(tmp_path / "a.gif")])
    assert "Frame 0" in made.text
    assert "Frame 1" not in made.text


def test_tiny_thin_blank_and_huge_images_cost_nothing_or_little(tmp_path):
    sizes = {"tiny": (1, 1), "thin": (30_000, 40), "blank": (300, 300)}
    nodes = []
    for name, size in sizes.items():
        Image.new("RGB", size, "white").save(tmp_path / f"{name}.png")
        nodes.append(node_of(tmp_path / f"{name}.png"))
    processed = ImageOCR().process(nodes)
    assert processed.nodes == nodes
    assert processed.failures == []


def test_large_images_are_scaled_down_first(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "llama_index_raganything.readers.common.ocr.recognise", lambda image: seen.append(image.size) or []
    )
    ImageOCR(max_pixels=100_000)([node_of(picture(tmp_path / "a.png", size=(1500, 400)))])
    assert seen[0][0] * seen[0][1] <= 101_000


def test_drawings_and_damaged_files_are_reported_and_the_rest_goes_on(tmp_path):
    (tmp_path / "a.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "a.emf").write_bytes(b"\x01\0\0\0" + b"\0" * 36 + b" EMF" + b"\0" * 60)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    good = picture(tmp_path / "good.png")
    names = ["a.svg", "a.emf", "a.png", "missing.png"]
    nodes = [node_of(tmp_path / name) for name in names] + [node_of(good), TextNode(text="prose")]
    processed = ImageOCR().process(nodes)
    assert [node_id for node_id, _ in processed.failures] == [node.node_id for node in nodes[:4]]
    assert processed.nodes[:4] == nodes[:4]
    assert "Revenue" in processed.nodes[4].text
    assert processed.nodes[5] is nodes[5]


def test_equal_images_and_second_runs_are_recognised_once(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(figures, "recognised_lines", lambda *args: calls.append(1) or ["Revenue 2024"])
    first = picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(first.read_bytes())
    nodes = [node_of(first), node_of(tmp_path / "b.png")]
    made = ImageOCR(cache_folder=tmp_path / "cache")(nodes)
    assert all("Revenue 2024" in node.text for node in made)
    ImageOCR(cache_folder=tmp_path / "cache")(nodes)
    assert len(calls) == 1
