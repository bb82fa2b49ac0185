"""Vectors of the images of nodes: what is embedded, how often, and what a bad image costs."""

from __future__ import annotations

import base64
import logging
import pickle
import struct
import threading
import zlib

import pytest
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import ImageDocument, ImageNode, MediaResource, Node, TextNode
from PIL import Image

from llama_index_raganything.enrich.image_embedder import ImageEmbedder
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.testing import ColorEmbedding

RED, GREEN, BLUE = (220, 30, 30), (40, 160, 60), (40, 70, 210)
COLOURS = ["red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown", "black", "gray", "white"]


def picture(path, colour=RED, size=(64, 48), **options):
    Image.new("RGB", size, colour).save(path, **options)
    return path


def claimed(path, width, height):
    """Save a PNG of a few bytes that claims to be large."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\x00" * 64)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def node_of(path, **metadata):
    return ImageNode(id_=f"n-{path.name}", text="A picture", image_path=str(path), metadata=metadata)


def colour_of(node):
    return COLOURS[max(range(12), key=lambda place: node.embedding[place])]


class Counting(ColorEmbedding):
    """Tells the batches it got, and how many ran at the same time."""

    def model_post_init(self, context):
        super().model_post_init(context)
        object.__setattr__(self, "batches", [])
        object.__setattr__(self, "running", [0, 0])
        object.__setattr__(self, "lock", threading.Lock())

    def _get_image_embeddings(self, img_file_paths):
        with self.lock:
            self.batches.append(len(img_file_paths))
            self.running[0] += 1
            self.running[1] = max(self.running)
        try:
            return super()._get_image_embeddings(img_file_paths)
        finally:
            with self.lock:
                self.running[0] -= 1

    async def _aget_image_embeddings(self, img_file_paths):
        return self._get_image_embeddings(img_file_paths)


async def both_ways(embedder, nodes):
    """Return what the sync and the async form make of nodes, after a look that they agree."""
    sync = embedder.process(nodes)
    other = await embedder.aprocess(nodes)
    assert [node.embedding for node in sync.nodes] == [node.embedding for node in other.nodes]
    assert sync.failures == other.failures
    return sync


async def test_images_get_vectors_and_other_nodes_pass(tmp_path):
    nodes = [
        node_of(picture(tmp_path / "red.png")),
        TextNode(id_="text", text="red"),
        node_of(picture(tmp_path / "blue.jpg", BLUE)),
        ImageNode(id_="bare", text="no image"),
    ]
    result = await both_ways(ImageEmbedder(embed_model=ColorEmbedding()), nodes)
    assert [node.node_id for node in result.nodes] == [node.node_id for node in nodes]
    assert [colour_of(node) for node in result.changed] == ["red", "blue"]
    assert result.nodes[1] is nodes[1]
    assert result.failures == []
    assert all(node.embedding is None for node in nodes)
    assert type(result.nodes[0]) is ImageNode


async def test_every_form_of_an_image_is_read(tmp_path):
    data = picture(tmp_path / "green.png", GREEN).read_bytes()
    encoded = base64.b64encode(data).decode()
    nodes = [
        ImageNode(id_="base64", image=encoded),
        ImageNode(id_="uri", image_url=f"data:image/png;base64,{encoded}"),
        ImageDocument(id_="document", image_path=str(tmp_path / "green.png")),
        Node(id_="bytes", image_resource=MediaResource(data=data)),
        Node(id_="path", image_resource=MediaResource(path=tmp_path / "green.png")),
    ]
    model = ColorEmbedding()
    result = ImageEmbedder(embed_model=model).process(nodes)
    assert [colour_of(node) for node in result.nodes] == ["green"] * 5
    assert len(model.images) == 1


async def test_equal_images_are_embedded_once_in_bounded_batches(tmp_path):
    paths = [picture(tmp_path / f"{n}.png", (n * 20, 10, 200 - n)) for n in range(9)]
    copies = [tmp_path / f"copy{n}.png" for n in range(9)]
    for path, copy in zip(paths, copies, strict=True):
        copy.write_bytes(path.read_bytes())
    model = Counting(embed_batch_size=2)
    result = ImageEmbedder(embed_model=model, workers=2).process([node_of(p) for p in [*paths, *copies, *paths]])
    assert sorted(model.batches) == [1, 2, 2, 2, 2]
    assert model.running[1] <= 2
    assert len(result.changed) == 27
    first = {node.node_id: node.embedding for node in result.nodes[:9]}
    assert all(node.embedding == first[node.node_id] for node in result.nodes[18:])
    assert result.nodes[0].embedding is not result.nodes[9].embedding
    await ImageEmbedder(embed_model=model, workers=1).aprocess([node_of(path) for path in paths])
    assert sorted(model.batches[5:]) == [1, 2, 2, 2, 2]


async def test_odd_images_are_made_fit(tmp_path):
    turned = Image.new("RGB", (100, 40), BLUE)
    turned.paste(RED, (0, 0, 50, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    frames = [Image.new("RGB", (60, 60), colour) for colour in (GREEN, BLUE)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:], duration=50)
    Image.new("RGB", (60, 60), BLUE).convert("CMYK").save(tmp_path / "cmyk.jpg")
    Image.new("RGBA", (60, 60), (220, 30, 30, 255)).save(tmp_path / "alpha.png")
    picture(tmp_path / "tiny.png", GREEN, (1, 1))
    picture(tmp_path / "wide.png", RED, (30_000, 300))
    picture(tmp_path / "图 \" ' 1.png", BLUE)
    seen = {}

    class Looking(ColorEmbedding):
        def _get_image_embedding(self, img_file_path):
            with Image.open(img_file_path) as image:
                seen[image.size] = (image.mode, image.getpixel((image.width // 2, 2)))
            return super()._get_image_embedding(img_file_path)

    names = ["turned.jpg", "moving.gif", "cmyk.jpg", "alpha.png", "tiny.png", "wide.png", "图 \" ' 1.png"]
    nodes = [node_of(tmp_path / name) for name in names]
    result = ImageEmbedder(embed_model=Looking()).process(nodes)
    assert result.failures == []
    assert [colour_of(node) for node in result.nodes[1:]] == ["green", "blue", "red", "white", "red", "blue"]
    # Turned by a quarter: red, which was left, is on top.
    assert seen[40, 100][1][0] > 150
    assert {mode for mode, _ in seen.values()} == {"RGB"}
    assert all(width * height <= 1_000_000 for width, height in seen)


async def test_images_that_cannot_be_read_are_reported_and_never_stop_the_others(tmp_path, caplog):
    good = [picture(tmp_path / "red.png"), picture(tmp_path / "blue.png", BLUE)]
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.jpg").write_bytes(picture(tmp_path / "whole.jpg", size=(300, 300)).read_bytes()[:400])
    (tmp_path / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "drawing.emf").write_bytes(b"\x01\x00\x00\x00" + b"\x00" * 36 + b" EMF" + b"\x00" * 60)
    claimed(tmp_path / "huge.png", 30_000, 30_000)
    bad = ["empty.png", "cut.jpg", "drawing.svg", "drawing.emf", "huge.png", "missing.png", "no\x00path.png"]
    nodes = [node_of(good[0]), *(node_of(tmp_path / name) for name in bad), node_of(good[1])]
    nodes.append(ImageNode(id_="broken", image="not base64!"))
    result = await both_ways(ImageEmbedder(embed_model=ColorEmbedding()), nodes)
    assert [colour_of(node) for node in result.changed] == ["red", "blue"]
    reasons = dict(result.failures)
    assert set(reasons) == {"broken", *(f"n-{name}" for name in bad)}
    assert "SVG" in reasons["n-drawing.svg"]
    assert "EMF" in reasons["n-drawing.emf"]
    assert "pixels" in reasons["n-huge.png"]
    with caplog.at_level(logging.WARNING):
        assert len(ImageEmbedder(embed_model=ColorEmbedding())(nodes)) == len(nodes)
    assert "left node n-drawing.svg as it was" in caplog.text


async def test_an_image_that_the_model_refuses_costs_itself_alone(tmp_path):
    class Picky(ColorEmbedding):
        def _get_image_embedding(self, img_file_path):
            vector = super()._get_image_embedding(img_file_path)
            if vector[0] > 0.9:
                raise RuntimeError("DataInspectionFailed")
            return vector

    nodes = [node_of(picture(tmp_path / f"{n}.png", colour)) for n, colour in enumerate((BLUE, RED, GREEN))]
    # A stream that the batch has read to its end must be read again.
    nodes[2] = node_of(picture(tmp_path / "moving.gif", GREEN))
    result = await both_ways(ImageEmbedder(embed_model=Picky()), nodes)
    assert [colour_of(node) for node in result.changed] == ["blue", "green"]
    assert result.failures == [("n-1.png", "RuntimeError: DataInspectionFailed")]


@pytest.mark.parametrize("answer", [[], [0.0] * 12, [float("nan")] * 12, None, ["a"] * 12, [[1.0]]])
async def test_what_is_no_vector_is_reported(tmp_path, answer):
    class Empty(ColorEmbedding):
        def _get_image_embeddings(self, img_file_paths):
            return [answer for _ in img_file_paths]

        async def _aget_image_embeddings(self, img_file_paths):
            return self._get_image_embeddings(img_file_paths)

    nodes = [node_of(picture(tmp_path / "red.png"))]
    result = await both_ways(ImageEmbedder(embed_model=Empty()), nodes)
    assert result.changed == []
    assert "no usable vector" in result.failures[0][1]


async def test_a_model_that_loses_count_is_asked_one_by_one(tmp_path):
    class Losing(ColorEmbedding):
        def _get_image_embeddings(self, img_file_paths):
            return super()._get_image_embeddings(img_file_paths)[:1]

        async def _aget_image_embeddings(self, img_file_paths):
            return self._get_image_embeddings(img_file_paths)

    nodes = [node_of(picture(tmp_path / f"{n}.png", colour)) for n, colour in enumerate((BLUE, RED))]
    result = await both_ways(ImageEmbedder(embed_model=Losing()), nodes)
    assert [colour_of(node) for node in result.changed] == ["blue", "red"]


async def test_a_wrong_length_is_an_error_that_names_the_model_and_both_lengths(tmp_path):
    nodes = [node_of(picture(tmp_path / f"{n}.png", colour)) for n, colour in enumerate((RED, BLUE))]
    embedder = ImageEmbedder(embed_model=ColorEmbedding(model_name="colours-v2"), dimension=512)
    message = r"ColorEmbedding \(colours-v2\).*length 12.*512"
    with pytest.raises(ConfigurationError, match=message):
        embedder.process(nodes)
    with pytest.raises(ConfigurationError, match=message):
        await embedder.aprocess(nodes)

    class Changing(ColorEmbedding):
        def _get_image_embedding(self, img_file_path):
            vector = super()._get_image_embedding(img_file_path)
            return vector if vector[0] > 0.9 else [*vector, 1.0]

    with pytest.raises(ConfigurationError, match=r"length 13.*12"):
        ImageEmbedder(embed_model=Changing(embed_batch_size=1)).process(nodes)


@pytest.mark.parametrize("url", ["https://example.org/x.png", "http://127.0.0.1:1/x.png", "file:///etc/hosts"])
async def test_remote_images_are_fetched_only_when_asked(tmp_path, url):
    node = ImageNode(id_="remote", text="remote", image_url=url)
    as_path = ImageNode(id_="remote", text="remote", image_path=url)
    assert "not fetched" in ImageEmbedder(embed_model=ColorEmbedding()).process([as_path]).failures[0][1]
    result = await both_ways(ImageEmbedder(embed_model=ColorEmbedding()), [node])
    assert result.changed == []
    assert "not fetched" in result.failures[0][1]
    data = picture(tmp_path / "red.png").read_bytes()
    asked = []
    embedder = ImageEmbedder(embed_model=ColorEmbedding(), fetch=lambda address: asked.append(address) or data)
    assert colour_of(embedder.process([node, node]).changed[0]) == "red"
    assert asked == [url]
    failing = ImageEmbedder(embed_model=ColorEmbedding(), fetch=lambda address: 1 / 0)
    assert "ZeroDivisionError" in failing.process([node]).failures[0][1]


def test_only_the_content_types_asked_for(tmp_path):
    path = picture(tmp_path / "red.png")
    nodes = [node_of(path, content_type=kind) for kind in ("image", "table", "page")] + [node_of(path)]
    result = ImageEmbedder(embed_model=ColorEmbedding(), content_types=("image", "page")).process(nodes)
    assert [node.embedding is not None for node in result.nodes] == [True, False, True, True]


async def test_nothing_to_do(tmp_path):
    model = ColorEmbedding()
    result = await both_ways(ImageEmbedder(embed_model=model), [])
    assert (result.nodes, result.failures, model.images) == ([], [], [])


async def test_it_is_a_transformation_of_a_pipeline(tmp_path):
    nodes = [node_of(picture(tmp_path / "red.png")), TextNode(text="words")]
    pipeline = IngestionPipeline(transformations=[ImageEmbedder(embed_model=ColorEmbedding())], disable_cache=False)
    assert [node.embedding is not None for node in pipeline.run(nodes=nodes)] == [True, False]
    assert [node.embedding is not None for node in await pipeline.arun(nodes=nodes)] == [True, False]


def test_it_can_be_pickled_and_written_down(tmp_path):
    embedder = ImageEmbedder(embed_model=ColorEmbedding(), content_types=("image",), workers=2)
    copy = pickle.loads(pickle.dumps(embedder))
    assert copy.content_types == ("image",)
    assert copy.process([node_of(picture(tmp_path / "red.png"), content_type="image")]).changed
    assert embedder.to_dict()["embed_model"]["model_name"] == "unknown"
    assert "fetch" not in embedder.to_dict()


def test_a_models_key_is_not_shown():
    class Keyed(ColorEmbedding):
        api_key: str = "sk-secret"

    embedder = ImageEmbedder(embed_model=Keyed())
    assert not [text for text in (repr(embedder), str(embedder), embedder.to_json()) if "sk-secret" in text]


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"dimension": 0}, {"max_pixels": 1}])
def test_arguments_are_checked(wrong):
    with pytest.raises(ValueError, match="greater"):
        ImageEmbedder(embed_model=ColorEmbedding(), **wrong)
