"""Descriptions of images: what is sent, what is not, and what is said of images that cannot be."""

import asyncio
import base64
import io
import json
import struct

import pytest
from llama_index.core.base.llms.types import ImageBlock
from llama_index.core.schema import ImageNode, TextNode
from PIL import Image, ImageDraw

from llama_index_raganything.enrich.describers.image import ImageDescriber
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.testing import ScriptedChatLLM, ScriptedTextLLM

SEEN = json.dumps(
    {
        "detailed_description": "A bar chart of sales by region.",
        "entity_info": {"entity_name": "Sales by region", "entity_type": "image", "summary": "North is highest."},
    }
)


def drawn(size=(120, 80), mode="RGB", color="white"):
    image = Image.new(mode, size, color)
    if min(size) > 10 and mode == "RGB":
        ImageDraw.Draw(image).rectangle((5, 5, size[0] // 2, size[1] // 2), fill="blue")
    return image


def figure(path, **metadata):
    known = {
        "doc_id": "d", "content_type": "image", "page": 1, "caption": "Figure 1: Sales", "section": "Report > Results",
        "element_id": str(path),
    }  # fmt: skip
    words = "Figure 1: Sales\n\nNorth 4.2"
    return ImageNode(text=words, image_path=str(path), metadata=known | metadata)


@pytest.fixture
def chart(tmp_path):
    path = tmp_path / "chart.png"
    drawn().save(path)
    return path


@pytest.fixture
def llm():
    return ScriptedChatLLM(replies=[SEEN])


def sent(llm, call=0):
    block = next(block for block in llm.requests[call][-1].blocks if isinstance(block, ImageBlock))
    return Image.open(block.resolve_image()), block.image_mimetype


@pytest.fixture(params=["sync", "async"])
def run(request):
    def call(describer, nodes):
        if request.param == "sync":
            return describer.process(nodes)
        return asyncio.run(describer.aprocess(nodes))

    return call


def test_an_image_costs_one_call_with_the_image_in_it(run, llm, chart):
    node = figure(chart)
    processed = run(ImageDescriber(llm=llm), [node])
    assert processed.failures == []
    assert len(llm.requests) == 1
    made = processed.nodes[0]
    assert isinstance(made, ImageNode)
    assert made.image_path == str(chart)
    assert made.text == "Figure 1: Sales\n\nA bar chart of sales by region.\n\nNorth 4.2"
    assert made.metadata["entity_name"] == "Sales by region (image)"
    image, mimetype = sent(llm)
    assert image.size == (120, 80)
    assert mimetype == "image/png"


def test_the_prompt_has_caption_section_and_words_of_the_image_and_no_path(llm, chart):
    ImageDescriber(llm=llm).process([figure(chart)])
    prompt = llm.requests[0][-1].blocks[0].text
    assert prompt.startswith("Please analyze this image in detail")
    for words in ("Figure 1: Sales", "Report > Results", "North 4.2", "Image Path: chart.png"):
        assert words in prompt
    assert str(chart.parent) not in str(llm.requests)


def test_a_file_name_with_braces(llm, tmp_path):
    path = tmp_path / "a{b}{0}.png"
    drawn().save(path)
    assert ImageDescriber(llm=llm).process([figure(path)]).failures == []
    assert "a{b}{0}.png" in llm.requests[0][-1].blocks[0].text


def test_in_chinese(llm, chart):
    ImageDescriber(llm=llm, language="zh").process([figure(chart)])
    assert "图像分析专家" in llm.requests[0][0].content


def test_an_image_in_the_node_itself(llm, chart):
    data = base64.b64encode(chart.read_bytes()).decode()
    node = ImageNode(text="", image=data)
    made = ImageDescriber(llm=llm).process([node]).nodes[0]
    assert made.text == "A bar chart of sales by region."
    assert sent(llm)[0].size == (120, 80)


def save_gif(path):
    drawn(color="red").save(path, save_all=True, append_images=[drawn(color="green")])


def save_cmyk(path):
    drawn(mode="CMYK", color=(0, 0, 0, 0)).save(path)


def save_huge(path):
    Image.new("1", (30_000, 600)).save(path)


def save_clear(path):
    drawn(mode="RGBA", color=(0, 0, 0, 0)).save(path)


def save_16_bit(path):
    Image.new("I;16", (50, 50), 30_000).save(path)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("animation.gif", save_gif),
        ("print.jpg", save_cmyk),
        ("wide.png", save_huge),
        ("clear.png", save_clear),
        ("deep.png", save_16_bit),
        ("scan.tif", lambda path: drawn().save(path)),
        ("按钮.webp", lambda path: drawn().save(path)),
        ("chart.bmp", lambda path: drawn().save(path)),
    ],
)
def test_images_are_made_fit_before_they_are_sent(llm, tmp_path, name, save):
    path = tmp_path / name
    save(path)
    assert ImageDescriber(llm=llm).process([figure(path)]).failures == []
    image, mimetype = sent(llm)
    assert image.width * image.height <= 2_000_000
    assert image.mode in {"RGB", "L"}
    assert mimetype in {"image/png", "image/jpeg", "image/webp"}
    assert getattr(image, "n_frames", 1) == 1


def emf():
    return struct.pack("<II8i", 1, 88, 0, 0, 10, 10, 0, 0, 10, 10) + b" EMF" + b"\x00" * 60


def bomb():
    stream = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><rect width='5' height='5'/></svg>", "SVG"),
        ("drawing.emf", emf(), "EMF"),
        ("empty.png", b"", "empty"),
        ("noise.png", b"\x89PNG\r\n\x1a\n" + b"x" * 100, "noise.png"),
        ("text.jpg", b"not an image", "text.jpg"),
        ("bomb.png", bomb(), "900000000 pixels"),
    ],
)
def test_what_cannot_be_shown_is_reported_and_not_described(run, llm, chart, tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    nodes = [figure(path), figure(chart)]
    processed = run(ImageDescriber(llm=llm), nodes)
    assert processed.nodes[0] == nodes[0]
    assert [node_id for node_id, _ in processed.failures] == [nodes[0].node_id]
    assert words in processed.failures[0][1]
    assert "A bar chart" in processed.nodes[1].text
    assert len(llm.requests) == 1


def test_a_truncated_image_is_reported(llm, chart, tmp_path):
    path = tmp_path / "half.png"
    Image.effect_noise((200, 200), 50).save(path)
    path.write_bytes(path.read_bytes()[:5000])
    assert "half.png" in ImageDescriber(llm=llm).process([figure(path)]).failures[0][1]


def test_one_pixel_shows_nothing(llm, tmp_path):
    path = tmp_path / "dot.png"
    drawn((1, 1)).save(path)
    processed = ImageDescriber(llm=llm).process([figure(path)])
    assert "1 x 1 pixels" in processed.failures[0][1]
    assert llm.requests == []
    assert ImageDescriber(llm=llm, min_side=1).process([figure(path)]).failures == []


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (figure("/nowhere/gone.png"), "gone.png"),
        (TextNode(text="Figure", metadata={"content_type": "image", "asset": "ab/cd.svg"}), "cd.svg is a drawing"),
        (TextNode(text="Figure", metadata={"content_type": "image", "asset": "ab/cd.png"}), "asset_root"),
        (TextNode(text="Figure", metadata={"content_type": "image"}), "no image file"),
        (ImageNode(text="x", image_url="http://example.org/a.png"), "nothing is fetched"),
        (ImageNode(text="x", image="no base64!"), "base64"),
        (figure("a\x00b.png"), "cannot be read"),
    ],
)
def test_images_that_are_not_there_are_reported(run, llm, node, words):
    processed = run(ImageDescriber(llm=llm), [node])
    assert processed.nodes == [node]
    assert words in processed.failures[0][1]
    assert llm.requests == []


def test_a_chart_of_an_office_file_is_described_by_its_data(run, llm):
    words = "Sales\n\nLine chart\n| year | sales |\n| --- | --- |\n| 2023 | 4.2 |"
    node = TextNode(text=words, metadata={"content_type": "image", "caption": "Sales"})
    processed = run(ImageDescriber(llm=llm), [node])
    assert processed.failures == []
    assert processed.nodes[0].text.startswith("Sales\n\nA bar chart of sales by region.\n\nLine chart\n| year")
    (blocks,) = [request[-1].blocks for request in llm.requests]
    assert "| 2023 | 4.2 |" in blocks[0].text
    assert len(blocks) == 1


def test_an_image_that_occurs_again_is_described_once_per_document(run, llm, chart, tmp_path):
    copy = tmp_path / "copy.png"
    copy.write_bytes(chart.read_bytes())
    other = tmp_path / "other.png"
    drawn(color="yellow").save(other)
    nodes = [
        figure(chart),
        figure(other),
        figure(copy, page=2, caption="", element_id="x"),
        TextNode(text="Other words.", metadata={"doc_id": "e", "content_type": "text", "page": 1}),
        figure(chart, doc_id="e"),
    ]
    made = run(ImageDescriber(llm=llm, workers=1), nodes).nodes
    assert len(llm.requests) == 3
    assert all("A bar chart of sales by region." in made[place].text for place in (0, 1, 2, 4))
    assert made[2].text == "A bar chart of sales by region.\n\nFigure 1: Sales\n\nNorth 4.2"
    assert [node.node_id for node in made] == [node.node_id for node in nodes]


def test_a_second_run_makes_no_call_and_another_image_does(run, llm, chart, tmp_path):
    folder = tmp_path / "answers"
    run(ImageDescriber(llm=llm, cache_folder=folder), [figure(chart)])
    second = ScriptedChatLLM(replies=["never asked"])
    assert run(ImageDescriber(llm=second, cache_folder=folder), [figure(chart)]).failures == []
    assert second.requests == []
    drawn(color="pink").save(chart)
    run(ImageDescriber(llm=llm, cache_folder=folder), [figure(chart)])
    assert len(llm.requests) == 2


def test_an_llm_that_sees_nothing_is_refused_at_once(chart):
    with pytest.raises(ConfigurationError, match="multimodal"):
        ImageDescriber(llm=ScriptedTextLLM())
    llm = ScriptedTextLLM(replies=[SEEN])
    assert ImageDescriber(llm=llm, multimodal=True).multimodal is True


def test_an_image_that_nobody_could_describe_stays_as_it_was(run, chart):
    node = figure(chart)
    processed = run(ImageDescriber(llm=ScriptedChatLLM(replies=["I see nothing."])), [node])
    assert processed.nodes == [node]
    assert "no description" in processed.failures[0][1]
