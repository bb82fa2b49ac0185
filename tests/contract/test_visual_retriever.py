"""The retriever contract for VisualRetriever, over a real Milvus Lite; and what it finds by colour."""

from __future__ import annotations

import base64
import io
import json
import pickle
import re
import struct
import zlib

import numpy as np
import pytest
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.llms import ImageBlock
from llama_index.core.schema import ImageNode, NodeRelationship, QueryBundle, TextNode
from PIL import Image, ImageDraw
from retriever_suite import RetrieverSuite, corpus_nodes, found, only

from llama_index_raganything.attachments import AttachedQuery, ImageAttachment
from llama_index_raganything.enrich.image_embedder import ImageEmbedder
from llama_index_raganything.errors import (
    BlockedSourceError,
    ConfigurationError,
    FileTooLargeError,
    NodeValueError,
    ParseError,
    SchemaMismatchError,
    SourceError,
)
from llama_index_raganything.retrievers.evidence.pages import NodeRetriever
from llama_index_raganything.retrievers.fusion import FusionRetriever
from llama_index_raganything.retrievers.visual import VISUAL_ROUTES_KEY, Count, VisualRetriever, asks_for_picture
from llama_index_raganything.stores.nodes.store import MilvusNodeStore
from llama_index_raganything.stores.nodes.visual import MilvusVisualStore, visual_store_beside
from llama_index_raganything.testing import ColorEmbedding, HashEmbedding

SIDE = 64


class WrittenPictures(MultiModalEmbedding):
    """Reads the words that :func:`written` put into the pixels of a picture; a space of words for pictures."""

    def _get_image_embedding(self, img_file_path):
        with Image.open(img_file_path) as image:
            raw = np.asarray(image.convert("L")).tobytes()
        return self._get_text_embedding(raw.rstrip(b"\x00").decode("utf-8"))

    async def _aget_image_embedding(self, img_file_path):
        return self._get_image_embedding(img_file_path)

    def _get_text_embedding(self, text):
        return HashEmbedding().get_text_embedding(re.sub(r"([\u4e00-\u9fff])", r" \1 ", text))

    def _get_query_embedding(self, query):
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query):
        return self._get_text_embedding(query)


def written(text, path):
    raw = text.encode("utf-8").ljust(SIDE * SIDE, b"\x00")
    Image.frombytes("L", (SIDE, SIDE), raw).save(path)
    return str(path)


def pictured_nodes(folder):
    """The corpus of the suite, each node with a picture of its words."""
    return [
        ImageNode(
            id_=node.node_id,
            text=node.text,
            metadata=node.metadata,
            relationships=node.relationships,
            image_path=written(node.text, folder / f"{place}.png"),
        )
        for place, node in enumerate(corpus_nodes())
    ]


def claimed(path, width, height):
    """Save a PNG of a few bytes that claims to be large."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\x00" * 64)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return str(tmp_path_factory.mktemp("milvus") / "milvus.db")


@pytest.fixture(scope="module")
def written_stores(uri, tmp_path_factory):
    full, empty = MilvusVisualStore(uri, "written"), MilvusVisualStore(uri, "nothing")
    full.add(ImageEmbedder(embed_model=WrittenPictures())(pictured_nodes(tmp_path_factory.mktemp("written"))))
    full.flush()
    yield {True: full, False: empty}
    full.close()
    empty.close()


class TestVisualRetrieverContract(RetrieverSuite):
    @pytest.fixture(autouse=True)
    def _stores(self, written_stores):
        self.stores = written_stores

    def make(self, nodes, *, filters=None, similarity_top_k=5):
        return VisualRetriever(self.stores[bool(nodes)], WrittenPictures(), similarity_top_k, filters)


# -- colours -----------------------------------------------------------------------------------------------------------

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (40, 160, 60), (40, 70, 210), (250, 225, 40)


def chart(path, colour, size=(200, 150), **options):
    """Save a white picture with two bars of a colour."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    width, height = size
    draw.rectangle((width // 8, height // 3, width // 3, height - 1), fill=colour)
    draw.rectangle((width // 2, height // 8, width * 3 // 4, height - 1), fill=colour)
    image.save(path, **options)
    return str(path)


def picture_node(name, path, *, doc="doc-a", **metadata):
    source = TextNode(id_=doc, text=doc)
    node = ImageNode(
        id_=name,
        text=f"Figure {name}",
        image_path=path,
        metadata={"doc_id": doc, "content_type": "image", "asset": path, **metadata},
    )
    node.relationships[NodeRelationship.SOURCE] = source.as_related_node_info()
    return node


@pytest.fixture(scope="module")
def charts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("charts")
    return {
        name: chart(folder / f"{name}.png", colour)
        for name, colour in {"red": RED, "green": GREEN, "blue": BLUE, "yellow": YELLOW}.items()
    }


@pytest.fixture(scope="module")
def chart_nodes(charts):
    return [
        picture_node("red", charts["red"], page=1),
        picture_node("green", charts["green"], page=2),
        picture_node("blue", charts["blue"], page=1, doc="doc-b"),
        picture_node("yellow", charts["yellow"], page=2, doc="doc-b"),
        TextNode(id_="words", text="No picture here.", metadata={"doc_id": "doc-b"}),
    ]


def filled(uri, name, nodes):
    store = MilvusVisualStore(uri, name, overwrite=True)
    store.add(ImageEmbedder(embed_model=ColorEmbedding()).process(nodes).changed)
    return store


@pytest.fixture(scope="module")
def store(uri, chart_nodes):
    with filled(uri, "charts", chart_nodes) as store:
        yield store


@pytest.fixture
def own_store(uri, chart_nodes):
    """For tests that write."""
    with filled(uri, "own_charts", chart_nodes) as store:
        yield store


@pytest.fixture
def retriever(store):
    return VisualRetriever(store, ColorEmbedding(), 2)


def names(items):
    return [item.node.node_id for item in items]


def routes(item):
    return json.loads(item.node.metadata[VISUAL_ROUTES_KEY])


@pytest.mark.parametrize(
    ("question", "name"), [("the red chart", "red"), ("BLUE bars, please", "blue"), ("黄色的图", "yellow")]
)
def test_words_find_pictures(retriever, question, name):
    best = retriever.retrieve(question)[0]
    assert best.node.node_id == name
    assert isinstance(best.node, ImageNode)
    assert best.node.image_path.endswith(f"{name}.png")
    assert best.node.text == f"Figure {name}"
    assert best.score > 0.9
    assert routes(best) == [{"route": "text-to-image", "rank": 1, "score": best.score}]
    assert best.node.embedding is None


def test_a_picture_finds_pictures(retriever, tmp_path):
    path = chart(tmp_path / "other.jpg", (230, 40, 40), size=(90, 300))
    best = retriever.retrieve(QueryBundle("", image_path=path))[0]
    assert best.node.node_id == "red"
    assert routes(best) == [{"route": "image-to-image", "rank": 1, "score": best.score}]


def test_pictures_come_as_bytes_paths_blocks_and_attachments(retriever, charts):
    with open(charts["green"], "rb") as stream:
        data = stream.read()
    bundles = [
        QueryBundle("", image_path=charts["green"]),
        AttachedQuery.of("", [charts["green"]]),
        AttachedQuery.of("", [ImageAttachment(data=data)]),
        AttachedQuery.of("", [ImageBlock(image=data)]),
    ]
    assert [names(retriever.retrieve(bundle))[0] for bundle in bundles] == ["green"] * 4


def test_words_and_a_picture_are_fused_by_rank(retriever, charts):
    items = retriever.retrieve(QueryBundle("blue", image_path=charts["green"]))
    assert sorted(names(items)) == ["blue", "green"]
    assert items[0].score == pytest.approx(1 / 61 + 1 / 62, abs=1e-3)
    # Found by both: the picture's route is told first.
    items = retriever.retrieve(QueryBundle("green", image_path=charts["green"]))
    assert names(items)[0] == "green"
    assert [route["route"] for route in routes(items[0])] == ["image-to-image", "text-to-image"]
    assert items[0].score == pytest.approx(2 / 61)


def test_several_pictures_are_fused(retriever, charts):
    retriever.similarity_top_k = 4
    items = retriever.retrieve(AttachedQuery.of("", [charts["green"], charts["yellow"]]))
    first = {(route["route"], item.node.node_id) for item in items for route in routes(item) if route["rank"] == 1}
    assert first == {("image-to-image", "green"), ("image-to-image", "yellow")}


async def test_async_gives_the_same_with_pictures(retriever, charts):
    for bundle in (
        QueryBundle("red"),
        QueryBundle("", image_path=charts["blue"]),
        QueryBundle("red", image_path=charts["blue"]),
    ):
        assert found(await retriever.aretrieve(bundle)) == found(retriever.retrieve(bundle)) != []


def test_the_embedding_of_another_model_is_neither_used_nor_set(retriever):
    bundle = QueryBundle("red", embedding=[1.0, 2.0])
    assert names(retriever.retrieve(bundle))[0] == "red"
    assert bundle.embedding == [1.0, 2.0]
    bundle = QueryBundle("red")
    retriever.retrieve(bundle)
    assert bundle.embedding is None


def test_an_empty_question_asks_no_model(store):
    model = ColorEmbedding()
    assert VisualRetriever(store, model).retrieve(QueryBundle("  ")) == []
    assert (model.texts, model.images) == ([], [])


def test_a_long_question_is_cut(store):
    model = ColorEmbedding()
    assert names(VisualRetriever(store, model, 1).retrieve("red " + "word " * 10_000)) == ["red"]
    assert len(model.texts[0]) == 1000


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        (only("page", 2), {"green", "yellow"}),
        (only("doc_id", "doc-b"), {"blue", "yellow"}),
        (only("doc_id", 'x"] or id in ["red'), set()),
        (only("asset", 'zz" or id != "'), set()),
    ],
)
def test_filters_bound_words_and_pictures(store, charts, filters, wanted):
    retriever = VisualRetriever(store, ColorEmbedding(), 10, filters)
    for bundle in (QueryBundle("red"), QueryBundle("red", image_path=charts["red"])):
        assert set(names(retriever.retrieve(bundle))) == wanted


def test_tenants_see_their_own_pictures(uri, chart_nodes):
    embedded = ImageEmbedder(embed_model=ColorEmbedding()).process(chart_nodes).changed
    with (
        MilvusVisualStore(uri, "of_tenants", tenant="a", overwrite=True) as a,
        MilvusVisualStore(uri, "of_tenants", tenant="b") as b,
    ):
        a.add(embedded[:2])
        b.add(embedded[2:])
        assert set(names(VisualRetriever(a, ColorEmbedding(), 9).retrieve("blue"))) == {"red", "green"}
        assert set(names(VisualRetriever(b, ColorEmbedding(), 9).retrieve("red"))) == {"blue", "yellow"}


def test_deletion_by_document_and_update(own_store, charts):
    store, retriever = own_store, VisualRetriever(own_store, ColorEmbedding(), 2)
    store.delete("doc-a")
    assert "red" not in names(retriever.retrieve("red"))
    changed = picture_node("blue", charts["red"], page=1, doc="doc-b")
    store.add(ImageEmbedder(embed_model=ColorEmbedding())([changed]))
    assert names(retriever.retrieve("red"))[0] == "blue"
    assert store.count() == 2


def test_nodes_of_one_document_with_one_picture_are_one_result(own_store, charts):
    store = own_store
    logos = [picture_node(f"logo-{number}", charts["red"], doc="doc-c", page=number) for number in range(1, 31)]
    parts = [picture_node("logo-page", charts["red"], doc="doc-c", page=31)]
    parts[0].metadata["content_type"] = "page"
    store.add(ImageEmbedder(embed_model=ColorEmbedding())([*logos, *parts]))
    items = VisualRetriever(store, ColorEmbedding(), 4).retrieve("red")
    assert names(items)[:2] == ["logo-1", "red"]
    assert len(items) == 4
    only_the_page = VisualRetriever(store, ColorEmbedding(), 4, only("page", 31)).retrieve("red")
    assert names(only_the_page) == ["logo-page"]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda path: path.write_bytes(b""), ParseError),
        (lambda path: path.write_bytes(b"\xff\xd8\xff not a picture"), ParseError),
        (lambda path: path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>"), ParseError),
        (lambda path: path.write_bytes(b"\x01\x00\x00\x00" + b"\x00" * 36 + b" EMF" + b"\x00" * 60), ParseError),
        (lambda path: None, SourceError),
        (lambda path: path.mkdir(), SourceError),
    ],
)
async def test_a_picture_that_cannot_be_read_is_a_typed_error(retriever, tmp_path, make, error):
    path = tmp_path / "bad.png"
    make(path)
    with pytest.raises(error, match=r"bad\.png"):
        retriever.retrieve(QueryBundle("red", image_path=str(path)))
    with pytest.raises(error, match=r"bad\.png"):
        await retriever.aretrieve(QueryBundle("red", image_path=str(path)))


def test_a_picture_that_declares_too_many_pixels_is_refused(retriever, tmp_path):
    claimed(tmp_path / "huge.png", 30_000, 30_000)
    with pytest.raises(FileTooLargeError, match="pixels"):
        retriever.retrieve(QueryBundle("", image_path=str(tmp_path / "huge.png")))


@pytest.mark.parametrize("url", ["https://example.org/x.png", "HTTP://127.0.0.1/x.png", "file:///etc/passwd"])
def test_remote_pictures_are_refused_unless_asked_for(store, charts, url):
    with pytest.raises(BlockedSourceError, match="fetch"):
        VisualRetriever(store, ColorEmbedding()).retrieve(QueryBundle("", image_path=url))
    asked = []

    def fetch(address):
        asked.append(address)
        with open(charts["green"], "rb") as stream:
            return stream.read()

    retriever = VisualRetriever(store, ColorEmbedding(), 1, fetch=fetch)
    assert names(retriever.retrieve(QueryBundle("", image_path=url))) == ["green"]
    assert asked == [url]


@pytest.mark.parametrize("kind", ["gif", "cmyk", "tiny", "wide"])
def test_odd_pictures_can_be_asked_with(store, tmp_path, kind):
    path = tmp_path / f"odd.{'gif' if kind == 'gif' else 'jpg' if kind == 'cmyk' else 'png'}"
    if kind == "gif":
        frames = [Image.new("RGB", (60, 60), colour) for colour in (GREEN, BLUE)]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=50)
    elif kind == "cmyk":
        Image.new("RGB", (60, 60), GREEN).convert("CMYK").save(path)
    else:
        Image.new("RGB", (1, 1) if kind == "tiny" else (30_000, 300), GREEN).save(path)
    assert names(VisualRetriever(store, ColorEmbedding(), 1).retrieve(QueryBundle("", image_path=str(path)))) == [
        "green"
    ]


class _Wrong(ColorEmbedding):
    answer: list[float]

    def _get_text_embedding(self, text):
        return self.answer


def test_a_model_of_another_dimension_is_a_typed_error(store):
    with pytest.raises(SchemaMismatchError, match=r"ColorEmbedding .*length 3.* 12\."):
        VisualRetriever(store, _Wrong(answer=[1.0, 0.0, 0.0])).retrieve("red")


@pytest.mark.parametrize("answer", [[], [0.0] * 12, [float("nan")] * 12])
def test_a_vector_that_is_none_is_a_typed_error(store, answer):
    with pytest.raises(NodeValueError, match="no usable vector"):
        VisualRetriever(store, _Wrong(answer=answer)).retrieve("red")


def test_arguments_are_checked(store):
    with pytest.raises(ConfigurationError, match="similarity_top_k"):
        VisualRetriever(store, ColorEmbedding(), 0)
    with pytest.raises(ConfigurationError, match="HashEmbedding embeds no images"):
        VisualRetriever(store, HashEmbedding())


def test_a_collection_of_another_dimension_is_a_typed_error(uri):
    with MilvusNodeStore(uri, "charts_kb", 64, overwrite=True) as nodes:
        with visual_store_beside(nodes, 12, overwrite=True) as beside:
            assert beside.collection_name == "charts_kb__visual"
            assert (beside.uri, beside.tenant) == (nodes.uri, None)
            beside.add([ImageNode(id_="chart", text="chart", embedding=[1.0] * 12)])
        with pytest.raises(SchemaMismatchError, match="dimension 12"):
            visual_store_beside(nodes, 512)


def test_no_picture_is_stored_in_a_row(uri, charts):
    with open(charts["red"], "rb") as stream:
        data = stream.read()
    inline = ImageNode(id_="inline", text="inline")
    inline.image = base64.b64encode(data).decode()
    as_url = ImageNode(id_="as_url", text="as url", image_url=f"data:image/png;base64,{inline.image}")
    with MilvusVisualStore(uri, "inline", overwrite=True) as store:
        store.add(ImageEmbedder(embed_model=ColorEmbedding())([inline, as_url]))
        rows = store.client.query(store.collection_name, filter='id != ""', output_fields=["*"])
        assert len(rows) == 2
        assert all(inline.image[:40] not in json.dumps(row, default=str) for row in rows)
        assert set(names(VisualRetriever(store, ColorEmbedding()).retrieve("red"))) == {"inline", "as_url"}
        copy = pickle.loads(pickle.dumps(store))
        assert type(copy) is MilvusVisualStore
        assert copy.count() == 2
        copy.close()
    assert inline.image


# -- beside text routes ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(uri, tmp_path_factory):
    """Forty pictures of mixed blues and greens with one red among them, and their nodes in a text store."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(3)
    nodes = []
    for number in range(40):
        image = Image.new("RGB", (60, 60), "white")
        draw = ImageDraw.Draw(image)
        for colour in (GREEN, BLUE, YELLOW):
            height = int(rng.integers(10, 40))
            draw.rectangle((int(rng.integers(0, 40)), 59 - height, 59, 59), fill=colour)
        draw.rectangle((0, 0, int(rng.integers(4, 20)), 4), fill=RED)
        if number == 7:
            image = Image.new("RGB", (60, 60), RED)
        image.save(folder / f"{number}.png")
        nodes.append(picture_node(f"many-{number}", str(folder / f"{number}.png"), doc=f"doc-{number % 4}"))
    texts = [
        TextNode(id_=f"text-{number}", text=f"The pump delivers {number} litres.", metadata={"doc_id": "t"})
        for number in range(12)
    ]
    model = HashEmbedding()
    text_store = MilvusNodeStore(uri, "many_texts", model.dimension, overwrite=True)
    for node in [*texts, *nodes]:
        node.embedding = model.get_text_embedding(node.text)
    text_store.add([*texts, *nodes])
    visual = visual_store_beside(text_store, overwrite=True)
    visual.add(ImageEmbedder(embed_model=ColorEmbedding()).process(nodes).changed)
    yield text_store, visual
    text_store.close()
    visual.close()


def fused(many, *, outstanding_only=True, top_k=8, filters=None):
    text_store, visual = many
    return FusionRetriever(
        [
            NodeRetriever(text_store, HashEmbedding(), top_k, filters),
            VisualRetriever(visual, ColorEmbedding(), top_k, filters, outstanding_only=outstanding_only),
        ],
        similarity_top_k=top_k,
        names=["text", "visual"],
    )


def test_pictures_do_not_push_out_texts_of_a_question_without_pictures(many):
    question = "How many litres does the pump deliver?"
    texts = [name for name in names(fused(many).retrieve(question)) if name.startswith("text-")]
    assert len(texts) == 8
    # Without the gate every second result is a picture that says nothing.
    found = fused(many, outstanding_only=False).retrieve(question)
    assert len([name for name in names(found) if name.startswith("text-")]) <= 4


async def test_an_outstanding_picture_passes_the_gate(many):
    bundle = QueryBundle("Where does the red pump stand?")
    items = fused(many).retrieve(bundle)
    pictures = [name for name in names(items) if name.startswith("many-")]
    assert pictures == ["many-7"]
    assert found(await fused(many).aretrieve(bundle)) == found(items)


def test_a_question_for_a_picture_passes_the_gate(many):
    items = fused(many).retrieve("Which picture is mostly green?")
    assert sum(name.startswith("many-") for name in names(items)) >= 4


def test_a_picture_in_the_question_passes_the_gate(many, charts):
    items = fused(many).retrieve(QueryBundle("Where is this?", image_path=charts["red"]))
    assert "many-7" in names(items)[:3]


def test_among_few_pictures_words_alone_pass_the_gate_only_when_they_ask_for_one(store):
    model = ColorEmbedding()
    retriever = VisualRetriever(store, model, outstanding_only=True)
    assert retriever.retrieve("the pump is red") == []
    assert model.texts == []
    # The question is embedded before the store is asked what is usual, where the store cannot count.
    answer = retriever._answer
    retriever._answer = lambda request: None if isinstance(request, Count) else answer(request)
    assert retriever.retrieve("the pump is red") == []
    assert model.texts == ["the pump is red"]
    assert names(retriever.retrieve("the picture of a red pump"))[0] == "red"


def test_fused_routes_keep_one_copy_of_a_node_and_its_account(many):
    items = fused(many, outstanding_only=False).retrieve("Figure many-7 red")
    both = next(item for item in items if item.node.node_id == "many-7")
    assert {route["route"] for route in json.loads(both.node.metadata["routes"])} == {"text", "visual"}
    assert routes(both)[0]["route"] == "text-to-image"
    assert len(set(names(items))) == len(items)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Which chart shows the sales?", True),
        ("哪张照片是红色的", True),
        ("What does Figure 3 show?", False),
        ("How many litres?", False),
        ("", False),
    ],
)
def test_asking_for_a_picture(question, answer):
    assert asks_for_picture(question) is answer


def test_streams_are_taken(retriever, charts):
    with open(charts["blue"], "rb") as stream:
        data = io.BytesIO(stream.read())

    bundle = QueryBundle("")
    bundle.images = [data]
    assert names(retriever.retrieve(bundle))[0] == "blue"
