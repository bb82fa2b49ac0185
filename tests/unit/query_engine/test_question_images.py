"""Images beside sources and questions: what the vision model gets, in which order, within which limits, and when."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage, ImageBlock
from llama_index.core.prompts import RichPromptTemplate
from llama_index.core.schema import ImageNode, MediaResource, Node, NodeWithScore, TextNode
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters
from PIL import Image, ImageDraw

from llama_index_raganything.attachments import AttachedQuery, EquationAttachment, ImageAttachment, TableAttachment
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.query_engine.context.images import ImageFiles, reading_order
from llama_index_raganything.query_engine.engine import RAGAnythingQueryEngine, _stored_images
from llama_index_raganything.query_engine.question_images import AttachmentReader, StoredImages
from llama_index_raganything.query_engine.synthesis.citing import CitingSynthesizer
from llama_index_raganything.readers.common.base import AssetStore
from llama_index_raganything.retrievers.fusion import FusionRetriever
from llama_index_raganything.testing import ScriptedChatLLM, ScriptedTextLLM


class Recording(BaseRetriever):
    """Returns the nodes it was given, best first, and keeps the questions."""

    def __init__(self, nodes, choose=None):
        self.nodes, self.choose, self.queries = nodes, choose, []
        super().__init__()

    def _retrieve(self, query_bundle):
        self.queries.append(query_bundle)
        nodes = self.choose(query_bundle) if self.choose else self.nodes
        return [NodeWithScore(node=node, score=0.9 - 0.01 * rank) for rank, node in enumerate(nodes)]


def colour(number):
    return (number * 5 % 256, number * 11 % 256, number * 17 % 256)


def drawn(number, size=(64, 48)):
    stream = io.BytesIO()
    Image.new("RGB", size, colour(number)).save(stream, "PNG")
    return stream.getvalue()


def figure(folder, number, **metadata):
    path = folder / f"{number}.png"
    path.write_bytes(drawn(number))
    return ImageNode(id_=f"n{number}", text=f"Figure {number}", image_path=str(path), metadata=metadata)


def blocks_of(messages):
    return [block for message in messages for block in message.blocks]


def colours_of(messages):
    images = (b for b in blocks_of(messages) if b.block_type == "image")
    return [Image.open(block.resolve_image()).convert("RGB").getpixel((20, 20)) for block in images]


def text_of(messages):
    return "\n".join(block.text for block in blocks_of(messages) if block.block_type == "text")


def engine(nodes, llm, **options):
    retriever = nodes if isinstance(nodes, BaseRetriever) else Recording(nodes)
    return RAGAnythingQueryEngine.from_args(retriever, llm=llm, **options)


class TestReadingOrder:
    def nodes(self, folder):
        return [
            figure(folder, 1, doc_id="b", page=9, bbox="[0,500,100,600]"),
            figure(folder, 2, doc_id="a", page=2, bbox="[0,0,100,100]"),
            figure(folder, 3, doc_id="b", page=9, bbox="[0,100,100,200]"),
            figure(folder, 4, doc_id="b", page=1),
            figure(folder, 5, doc_id="a", page=2, bbox="not a box"),
        ]

    @pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize", "simple_summarize"])
    def test_images_stand_in_reading_order_and_keep_their_numbers(self, tmp_path, mode):
        llm = ScriptedChatLLM(replies=["So it is. [3]"], context_window=100_000)
        response = engine(self.nodes(tmp_path), llm, response_mode=mode, max_images=5).query("What is shown?")
        sent = [message for request in llm.requests for message in request]
        assert colours_of(sent) == [colour(number) for number in (4, 3, 1, 5, 2)]
        labels = [b.text.strip() for b in blocks_of(sent) if b.block_type == "text" and "Figure" in b.text]
        if mode == "compact":
            assert [label.partition("Figure ")[2] for label in labels] == ["4", "3", "1", "5", "2"]
            assert [label.rpartition("Source [")[2][0] for label in labels] == ["4", "3", "1", "5", "2"]
        assert [source.node.node_id for source in response.source_nodes] == ["n1", "n2", "n3", "n4", "n5"]
        assert response.metadata["citations"][0]["node_id"] == "n3"
        assert [record["n"] for record in response.metadata["images"]] == [4, 3, 1, 5, 2]
        assert all(record["sent"] for record in response.metadata["images"])

    def test_the_best_images_are_sent_when_there_are_too_many(self, tmp_path):
        llm = ScriptedChatLLM(context_window=100_000)
        response = engine(self.nodes(tmp_path), llm, max_images=2).query("What is shown?")
        assert colours_of(llm.requests[-1]) == [colour(1), colour(2)]
        assert {record["n"]: record["sent"] for record in response.metadata["images"]} == {
            1: True,
            2: True,
            3: False,
            4: False,
            5: False,
        }

    @pytest.mark.parametrize(
        "metadata",
        [{}, {"page": "x"}, {"page": None, "bbox": "[1]"}, {"bbox": "[9e99,1,1,1]"}, {"doc_id": 5, "page": 2}],
    )
    def test_nodes_without_a_place_stay_as_they_are_ranked(self, metadata):
        nodes = [NodeWithScore(node=TextNode(text=str(n), metadata={"doc_id": "a"} | metadata)) for n in range(3)]
        assert reading_order(nodes) == [0, 1, 2]


class TestLimits:
    def test_all_images_together_are_limited(self, tmp_path):
        nodes = []
        for number in range(4):
            path = tmp_path / f"{number}.png"
            Image.effect_noise((200, 200), 100 + number).convert("RGB").save(path)
            nodes.append(ImageNode(text=f"Figure {number}", image_path=str(path)))
        llm = ScriptedChatLLM(context_window=100_000)
        response = engine(nodes, llm).query("What is shown?")
        sizes = [record["bytes"] for record in response.metadata["images"]]
        assert len(colours_of(llm.requests[-1])) == 4
        synthesizer = engine(nodes, llm)._response_synthesizer
        synthesizer._context_postprocessors[-1].max_total_bytes = sizes[0] + sizes[1] + 10
        again = RAGAnythingQueryEngine(Recording(nodes), synthesizer).query("What is shown?")
        assert [record["sent"] for record in again.metadata["images"]] == [True, True, False, False]

    def test_a_plain_node_with_an_image_degrades_like_the_others(self, tmp_path):
        there, gone = tmp_path / "a.png", tmp_path / "b.png"
        there.write_bytes(drawn(7, (5000, 20)))
        gone.write_bytes(drawn(8))
        nodes = [
            Node(text_resource=MediaResource(text=str(path.name)), image_resource=MediaResource(path=path))
            for path in (there, gone)
        ]
        gone.unlink()
        llm = ScriptedChatLLM(context_window=100_000)
        assert str(engine(nodes, llm).query("What is shown?"))
        assert len(colours_of(llm.requests[-1])) == 1
        assert "b.png" in text_of(llm.requests[-1])

    @pytest.mark.parametrize("asset", ["../secret.png", "/etc/passwd", "a/../../secret.png", "\x00", "x" * 5000, 5])
    def test_metadata_lead_nowhere_outside_the_folder(self, tmp_path, asset):
        (tmp_path / "secret.png").write_bytes(drawn(1))
        root = tmp_path / "assets"
        root.mkdir()
        node = ImageNode(text="x", image_path="/gone.png", metadata={"asset": asset})
        assert ImageFiles(str(root)).path_of(node) is None

    @pytest.mark.parametrize("path", ["a\x00b", "x" * 5000, "", "http://127.0.0.1:1/x.png"])
    def test_paths_that_cannot_be_are_no_paths(self, path):
        node = ImageNode(text="Figure", image_path=path)
        llm = ScriptedChatLLM()
        assert str(engine([node], llm).query("What is shown?"))
        assert colours_of(llm.requests[-1]) == []


class TestAttachedToTheQuestion:
    ATTACHED = (ImageAttachment(data=drawn(9)), TableAttachment([["part", "mass"], ["pump", "4 kg"]]))

    @pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize", "simple_summarize", "accumulate"])
    def test_a_vision_model_sees_image_table_and_formula(self, tmp_path, mode):
        llm = ScriptedChatLLM(replies=["Yes. [1]"], context_window=100_000)
        asked = engine([figure(tmp_path, 1)], llm, response_mode=mode)
        response = asked.query("Is this it?", attachments=[*self.ATTACHED, EquationAttachment("E = mc^2")])
        assert colours_of(llm.requests[-1]) == [colour(1), colour(9)]
        text = text_of(llm.requests[-1])
        assert "| pump | 4 kg |" in text
        assert "$$E = mc^2$$" in text
        assert "which is no source" in text
        assert text.index("Source [1]") < text.index("which is no source") < text.index("Is this it?")
        attached, stored = response.metadata["images"]
        assert (attached["attached"], attached["n"], attached["sent"]) == (True, None, True)
        assert (stored["attached"], stored["n"], stored["sent"]) == (False, 1, True)

    async def test_async_and_streaming_send_the_same(self, tmp_path):
        nodes = [figure(tmp_path, 1)]
        requests = []
        for streaming in (False, True):
            llm = ScriptedChatLLM(replies=["Yes. [1]"])
            asked = engine(nodes, llm, streaming=streaming)
            response = asked.query("Is this it?", attachments=self.ATTACHED)
            assert ("".join(response.response_gen) if streaming else str(response)) == "Yes. [1]"
            response = await asked.aquery("Is this it?", attachments=self.ATTACHED)
            text = "".join([p async for p in response.async_response_gen()]) if streaming else str(response)
            assert text == "Yes. [1]"
            assert response.metadata["citations"][0]["node_id"] == "n1"
            requests += llm.requests
        sent = [(colours_of(request), text_of(request)) for request in requests]
        assert len(sent) == 4
        assert all(each == sent[0] for each in sent)

    def test_every_call_sees_it_where_sources_need_several(self, tmp_path):
        llm = ScriptedChatLLM(replies=["Yes. [1]"], context_window=100_000)
        nodes = [figure(tmp_path, number) for number in (1, 2)]
        engine(nodes, llm, response_mode="refine").query("Is this it?", attachments=self.ATTACHED)
        assert [colours_of(request)[-1] for request in llm.requests] == [colour(9)] * 2

    def test_a_prompt_of_the_users_own_shows_it_too(self, tmp_path):
        own = RichPromptTemplate(
            '{% chat role="user" %}{% for m in context_messages %}{% for b in m.blocks %}'
            "{% if b.block_type == 'text' %}{{ b.text }}{% else %}{{ b.inline_url() | image }}{% endif %}"
            "{% endfor %}{% endfor %}\n{{ query_str }}{% endchat %}"
        )
        llm = ScriptedChatLLM(replies=["Yes. [1]"])
        asked = engine([figure(tmp_path, 1)], llm, chat_content_qa_template=own)
        assert str(asked.query("Is this it?", attachments=self.ATTACHED)) == "Yes. [1]"
        assert colours_of(llm.requests[-1]) == [colour(1), colour(9)]
        assert len(llm.requests) == 1
        assert "Source [2]" not in text_of(llm.requests[-1])

    def test_attached_images_are_capped_and_those_left_out_are_told(self):
        pictures = [drawn(number) for number in range(8)]
        for window, count in ((200_000, 4), (16_000, 3), (4_000, 1)):
            llm = ScriptedChatLLM(replies=["Yes. [1]"], context_window=window)
            response = engine([TextNode(text="A pump.")], llm).query("Is this it?", attachments=pictures)
            assert colours_of(llm.requests[-1]) == [colour(number) for number in range(count)]
            assert [record["sent"] for record in response.metadata["images"]] == [n < count for n in range(8)]

    def test_a_text_model_reads_words_only(self, tmp_path):
        llm = ScriptedTextLLM(replies=["Yes. [1]"])
        engine([figure(tmp_path, 1)], llm).query("Is this it?", attachments=self.ATTACHED)
        assert colours_of(llm.requests[-1]) == []
        assert "| pump | 4 kg |" in text_of(llm.requests[-1])

    def test_a_huge_table_leaves_room_in_a_small_window(self):
        llm = ScriptedTextLLM(replies=["Yes. [1]"], context_window=4000)
        rows = [["part", "mass"], *([f"part {n}", "4 kg"] for n in range(5000))]
        source = TextNode(text="The pump weighs 4 kg.")
        assert str(engine([source], llm).query("Which is it?", attachments=[TableAttachment(rows)])) == "Yes. [1]"
        assert "The pump weighs" in text_of(llm.requests[0])
        assert "rows are left out" in text_of(llm.requests[0])

    def test_a_large_table_does_not_drown_the_question(self):
        retriever = Recording([TextNode(text="x")])
        rows = [["part", "mass"], *([f"part {n}", f"{n} kg"] for n in range(500))]
        engine(retriever, ScriptedTextLLM()).query("Which pump is it?", attachments=[TableAttachment(rows)])
        words = retriever.queries[0].query_str.split()
        assert words[:4] == ["Which", "pump", "is", "it?"]
        assert len(words) < 60

    def test_postprocessors_and_retriever_get_the_attachments(self, tmp_path):
        retriever = Recording([figure(tmp_path, 1)])
        engine(retriever, ScriptedChatLLM()).query("Is this it?", attachments=self.ATTACHED)
        assert retriever.queries[0].images == [drawn(9)]
        assert isinstance(retriever.queries[0], AttachedQuery)


class TestConcurrency:
    """Many questions at once on one engine: no image of one may reach the answer to another."""

    def make(self, tmp_path):
        nodes = {number: figure(tmp_path, number) for number in range(12)}

        def reply(messages):
            return f"{colours_of(messages)} [1]"

        def choose(query):
            return [nodes[int(query.question.split()[1])]]

        return engine(Recording([], choose), ScriptedChatLLM(replies=[reply]))

    @staticmethod
    def check(answers):
        for number, response in enumerate(answers):
            assert str(response) == f"{[colour(number), colour(number + 100)]} [1]"
            assert response.source_nodes[0].node.node_id == f"n{number}"
            assert [record["node_id"] for record in response.metadata["images"]] == [None, f"n{number}"]

    async def test_async(self, tmp_path):
        asked = self.make(tmp_path)
        questions = (asked.aquery(f"Figure {n} ?", attachments=[drawn(n + 100)]) for n in range(12))
        self.check(await asyncio.gather(*questions))

    def test_threads(self, tmp_path):
        asked = self.make(tmp_path)
        with ThreadPoolExecutor(8) as pool:
            self.check(pool.map(lambda n: asked.query(f"Figure {n} ?", attachments=[drawn(n + 100)]), range(12)))


class TestReading:
    def test_a_description_joins_the_words_to_search_for_and_is_made_once(self, tmp_path):
        llm = ScriptedChatLLM(replies=["A map of Skagen", "Yes. [1]"])
        retriever = Recording([figure(tmp_path, 1)])
        asked = engine(retriever, llm, describe_attachments=True)
        asked.query("Is this it?", attachments=[drawn(9)])
        assert len(llm.requests) == 2
        assert colours_of(llm.requests[0]) == [colour(9)]
        assert "map Skagen" in retriever.queries[0].query_str.replace("of ", "")
        assert "A map of Skagen" in text_of(llm.requests[1])
        asyncio.run(asked.aquery("And this?", attachments=[drawn(9)]))
        assert len(llm.requests) == 3
        asked.query("And this?", attachments=[drawn(10)])
        assert len(llm.requests) == 5

    @pytest.mark.parametrize("llm", [None, ScriptedTextLLM()])
    def test_a_description_needs_a_model_that_sees(self, llm):
        with pytest.raises(ConfigurationError, match="sees images"):
            engine([], llm, describe_attachments=True)

    def test_a_model_that_fails_costs_no_answer(self, caplog):
        class Failing(ScriptedChatLLM):
            def chat(self, messages, **kwargs):
                raise RuntimeError("overloaded")

            async def achat(self, messages, **kwargs):
                raise RuntimeError("overloaded")

        reader = AttachmentReader(Failing())
        query = AttachedQuery.of("Is this it?", [drawn(9)])
        with caplog.at_level(logging.WARNING):
            assert reader.read(query).readings == ("",)
            assert asyncio.run(reader.aread(query)).readings == ("",)
        assert "overloaded" in caplog.text

    @pytest.mark.slow
    def test_words_are_recognised_without_a_model(self):
        stream = io.BytesIO()
        image = Image.new("RGB", (600, 120), "white")
        ImageDraw.Draw(image).text((20, 30), "Skagen site", fill="black", font_size=60)
        image.save(stream, "PNG")
        reader = AttachmentReader()
        query = AttachedQuery.of("Where is it?", [stream.getvalue()])
        assert "Skagen" in reader.read(query).query_str
        assert asyncio.run(reader.aread(query)) == reader.read(query)

    def test_what_was_read_is_not_read_again(self):
        query = AttachedQuery.of("?", [drawn(9)]).with_readings(["known"])
        assert AttachmentReader().read(query) is query
        plain = AttachedQuery.of("?", [EquationAttachment("x")])
        assert AttachmentReader().read(plain) is plain


class Store:
    """A store that knows images by their asset's name, as any vector store with filters does."""

    def __init__(self, nodes):
        self.nodes, self.asked = nodes, []

    def get_nodes(self, filters=None, limit=None):
        self.asked.append(filters)
        names = set(filters.filters[0].value)
        return [node for node in self.nodes if node.metadata["asset"] in names][:limit]


class TestStoredImages:
    def stored(self, tmp_path, number):
        assets = AssetStore(tmp_path)
        asset = assets.put(drawn(number), ".png")
        path = str(assets.resolve(asset))
        return ImageNode(id_=f"n{number}", text=f"Figure {number}: a map", image_path=path, metadata={"asset": asset})

    def test_a_stored_image_is_found_whatever_was_retrieved(self, tmp_path):
        store = Store([self.stored(tmp_path, 1), self.stored(tmp_path, 2)])
        filters = MetadataFilters(filters=[MetadataFilter(key="tenant", value="a")])
        retriever = Recording([TextNode(id_="text", text="A text.")])
        asked = engine(retriever, ScriptedTextLLM(replies=["Yes. [1]"]), store=store, filters=filters)
        response = asked.query("Is this it?", attachments=[drawn(2)])
        assert [source.node.node_id for source in response.source_nodes] == ["n2", "text"]
        assert response.source_nodes[0].score >= 1
        assert json.loads(response.source_nodes[0].node.metadata["evidence"]) == {"same_image": 1.0}
        assert store.asked[0].filters[1] == filters.filters[0]
        assert len(store.asked) == 1
        assert "map" in retriever.queries[0].query_str.split()

    def test_it_is_answered_without_a_model_in_the_questions_language(self, tmp_path):
        store = Store([self.stored(tmp_path, 2)])
        asked = engine(Recording([]), None, store=store, filters=MetadataFilters(filters=[]))
        assert "The attached image is: Figure 2: a map [1]" in str(asked.query("Is it?", attachments=[drawn(2)]))
        response = asked.query("这是同一张图吗？", attachments=[drawn(2)])
        assert "所附图片就是" in str(response)
        assert response.metadata["answered"]
        assert response.metadata["citations"][0]["node_id"] == "n2"

    def test_no_description_is_paid_for_a_stored_image(self, tmp_path):
        llm = ScriptedChatLLM(replies=["Yes. [1]"])
        store = Store([self.stored(tmp_path, 2)])
        options = {"store": store, "filters": MetadataFilters(filters=[])}
        engine(Recording([]), llm, describe_attachments=True, **options).query("Is it?", attachments=[drawn(2)])
        assert len(llm.requests) == 1

    def test_only_under_the_retrievers_filters(self):
        store = Store([])
        filters = MetadataFilters(filters=[MetadataFilter(key="tenant", value="a")])

        def known(value):
            retriever = Recording([])
            retriever.filters = value
            return retriever

        assert _stored_images(None, known(None)) is None
        assert _stored_images(store, Recording([])) is None
        assert _stored_images(store, known(None)).filters is None
        assert _stored_images(store, known(filters)).filters == filters
        assert _stored_images(store, FusionRetriever([known(filters), known(filters)])).filters == filters
        assert _stored_images(store, FusionRetriever([known(filters), known(None)])) is None
        assert _stored_images(store, FusionRetriever([known(filters), Recording([])])) is None
        assert _stored_images(store, Recording([]), None).filters is None
        assert _stored_images(store, known(filters), None).filters == filters
        assert _stored_images(store, FusionRetriever([known(filters), Recording([])]), None) is None
        assert _stored_images(store, known(None), filters).filters == filters
        asked = engine(known(filters), ScriptedTextLLM(), store=store)
        assert asked.with_retriever(known(None))._stored_images.filters is None
        assert asked.with_retriever(Recording([]))._stored_images is None

    def test_a_store_that_fails_costs_no_answer(self, caplog):
        class Broken:
            def get_nodes(self, **options):
                raise RuntimeError("down")

        with caplog.at_level(logging.WARNING):
            assert StoredImages(Broken()).find([ImageAttachment(data=drawn(1))]) == []
        assert "down" in caplog.text


def test_attachments_do_not_stay_on_the_engine(tmp_path):
    llm = ScriptedChatLLM(replies=["Yes. [1]"])
    asked = engine([figure(tmp_path, 1)], llm)
    asked.query("Is this it?", attachments=[drawn(9)])
    asked.query("And now?")
    assert colours_of(llm.requests[-1]) == [colour(1)]
    message = ChatMessage(blocks=[ImageBlock(image=drawn(9))])
    asked.query(message)
    assert colours_of(llm.requests[-1]) == [colour(1), colour(9)]
    assert isinstance(asked._response_synthesizer, CitingSynthesizer)
