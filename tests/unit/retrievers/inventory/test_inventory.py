"""What documents hold, asked of a real store through the real node parser."""

import asyncio
import json
import pickle

import pytest
from llama_index.core.schema import QueryBundle, TextNode
from llama_index.core.vector_stores.types import BasePydanticVectorStore, MetadataFilter, MetadataFilters

from llama_index_raganything.documents.packing import elements_to_document
from llama_index_raganything.elements import Element
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.node_parser.parser import RAGAnythingNodeParser
from llama_index_raganything.query_engine.engine import RAGAnythingQueryEngine
from llama_index_raganything.retrievers.evidence.pages import NodeRetriever
from llama_index_raganything.retrievers.inventory.retriever import InventoryRetriever
from llama_index_raganything.retrievers.router import QuestionRouter
from llama_index_raganything.stores.ledger import Ledger, LedgerEntry
from llama_index_raganything.stores.nodes.store import MilvusNodeStore
from llama_index_raganything.testing import HashEmbedding

MODEL = HashEmbedding()


def table(label, caption, page, rows=3, **fields):
    return Element(
        type="table",
        label=label,
        caption=f"{label}: {caption}" if label else caption,
        page=page,
        bbox=(100, 200, 900, 400),
        rows=[["Region", "Revenue"], *([f"Region {row}", str(row)] for row in range(rows))],
        **fields,
    )


def report():
    return [
        Element(
            type="page",
            page=1,
            text="A report about pumps and lighthouses.\nAppendix A: People .... 5\nAppendix B: Money .... 6",
        ),
        Element(type="heading", page=1, text="Annual report", level=1, bbox=(0, 0, 900, 50)),
        Element(type="text", page=1, text="A report about pumps and lighthouses.", bbox=(0, 60, 900, 90)),
        Element(type="page", page=2, text="1 Results\nTable 1: Revenue by region\nFigure 1: Map of the harbour"),
        Element(type="heading", page=2, text="1 Results", level=2, bbox=(0, 0, 900, 50)),
        # Long enough to be cut into several nodes.
        table("Table 1", "Revenue by region", 2, rows=400),
        Element(
            type="image", page=2, label="Figure 1", caption="Figure 1: Map of the harbour", bbox=(0, 500, 900, 900)
        ),
        Element(type="page", page=3, text="2 Costs\nTable 2: Costs of the lighthouse\nFigure 2: Growth"),
        Element(type="heading", page=3, text="2 Costs", level=2, bbox=(0, 0, 900, 50)),
        # The parser took this table for a picture.
        Element(
            type="image", page=3, label="Table 2", caption="Table 2: Costs of the lighthouse", bbox=(0, 100, 900, 300)
        ),
        Element(
            type="image",
            page=3,
            label="Figure 2",
            caption="Figure 2: Growth",
            subtype="chart",
            bbox=(0, 500, 900, 900),
        ),
        Element(type="equation", page=3, text="E = mc^2", bbox=(0, 910, 900, 950)),
        # The parser saw no table here at all.
        Element(type="page", page=4, text="Table 3. Staff by year\n2020 12\nThe pump was repaired in the harbour."),
        Element(type="text", page=4, text="Table 3. Staff by year 2020 12", bbox=(0, 100, 900, 200)),
        Element(type="text", page=4, text="The pump was repaired in the harbour.", bbox=(0, 300, 900, 400)),
        Element(type="page", page=5, text="Appendix A\nPeople"),
        Element(type="heading", page=5, text="Appendix A", level=1, bbox=(0, 0, 900, 50)),
        Element(type="text", page=5, text="People who helped.", bbox=(0, 60, 900, 100)),
        Element(type="page", page=6, text="Appendix B\nMoney"),
        Element(type="heading", page=6, text="Appendix B", level=1, bbox=(0, 0, 900, 50)),
        Element(type="image", page=6, caption="A photograph of the bridge", bbox=(0, 60, 900, 500)),
    ]


def memo():
    return [
        Element(type="page", page=1, text="Memo\nSee the list of the harbour."),
        table(None, "", 1).model_copy(update={"bbox": (100, 100, 900, 150)}),
        table(None, "Prices of pumps", 1),
        Element(type="image", page=1, bbox=(0, 600, 900, 900)),
    ]


DOCUMENTS = {"report.pdf": (report, "Annual report"), "memo.pdf": (memo, "Memo \"of\" 'may' \\ 50%")}


def nodes_of(name):
    make, title = DOCUMENTS[name]
    document = elements_to_document(make(), source=name, metadata={"file_name": name}, doc_id=name, title=title)
    nodes = RAGAnythingNodeParser()([document])
    for node in nodes:
        node.embedding = MODEL.get_text_embedding(node.text)
    return nodes


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    uri = str(tmp_path_factory.mktemp("inventory") / "milvus.db")
    with MilvusNodeStore(uri, "inventory", MODEL.dimension) as opened:
        for name in DOCUMENTS:
            opened.add(nodes_of(name))
        opened.flush()
        yield opened


class PlainStore(BasePydanticVectorStore):
    """A store with LlamaIndex's interface alone."""

    stores_text: bool = True
    nodes: list

    @property
    def client(self):
        return None

    def add(self, nodes, **kwargs):
        raise NotImplementedError

    def delete(self, ref_doc_id, **kwargs):
        raise NotImplementedError

    def query(self, query, **kwargs):
        raise NotImplementedError

    def get_nodes(self, node_ids=None, filters=None):
        if node_ids is not None:
            return [node for node in self.nodes if node.node_id in node_ids]
        wanted = {item.key: item.value for item in filters.filters} if filters else {}
        return [node for node in self.nodes if all(node.metadata.get(key) in value for key, value in wanted.items())]


def only(name):
    return MetadataFilters(filters=[MetadataFilter(key="doc_id", value=name)])


def ask(store, question, name="report.pdf", **options):
    return InventoryRetriever(store, filters=name and only(name), **options).retrieve(question)


def summary(items):
    return items[0].node


def pages(items):
    return [item.node.metadata["page"] for item in items[1:]]


def test_tables_count_once_and_are_found_where_the_parser_missed_them(store):
    items = ask(store, "How many tables are included in the document?")
    assert summary(items).metadata["count"] == 3
    assert summary(items).text == (
        "report.pdf holds 3 tables: Table 1 (page 2): Revenue by region; "
        "Table 2 (page 3): Costs of the lighthouse; Table 3 (page 4): Staff by year."
    )
    assert pages(items) == [2, 3, 4]
    assert all("bbox" in item.node.metadata for item in items[1:])
    assert "Staff by year" in items[3].node.text


def test_the_summary_is_a_node_of_its_own_kind(store):
    first, second = (summary(ask(store, "How many tables are there?")) for _ in range(2))
    assert first.node_id == second.node_id
    assert first.metadata["content_type"] == "inventory"
    assert first.metadata["doc_id"] == "report.pdf"
    assert first.metadata["file_name"] == "report.pdf"
    assert [entry["heading"] for entry in json.loads(first.metadata["inventory"])] == ["report.pdf holds 3 tables"]


def test_scores_fall_and_top_k_holds(store):
    for top_k in (1, 2, 3, 50):
        items = ask(store, "How many tables are there?", similarity_top_k=top_k)
        scores = [item.score for item in items]
        assert len(items) == min(top_k, 4)
        assert scores == sorted(scores, reverse=True)
        assert summary(items).metadata["count"] == 3


def test_long_lists_end(store):
    text = summary(ask(store, "List all tables", max_listed=1)).text
    assert text == "report.pdf holds 3 tables: Table 1 (page 2): Revenue by region; and 2 more."


def test_pictures_of_tables_are_no_figures(store):
    items = ask(store, "List the figures")
    assert summary(items).text == (
        "report.pdf holds 2 figures: Figure 1 (page 2): Map of the harbour; Figure 2 (page 3): Growth."
    )


@pytest.mark.parametrize(
    ("question", "count"),
    [
        ("How many charts are there?", 1),
        ("How many photos are there?", 1),
        ("How many equations are in the paper?", 1),
        ("How many pages does the document have?", 6),
        ("How many tables are on page 3?", 1),
        ("How many tables are on pages 2 to 3?", 2),
        ("How many tables are on the last page?", 0),
        ("How many tables are in section 2?", 2),
        ("How many images are in Appendix B?", 1),
        ("How many tables are in the results section?", 1),
        ("How many images are in the appendix?", 1),
        ("How many code blocks are there?", 0),
        ("How many tables and equations are there?", 4),
        ("How many pages contain tables?", 3),
        ("How many appendices are there?", 2),
        ("How many sections are there?", 3),
        ("文档中有多少个表格？", 3),
    ],
)
def test_counts(store, question, count):
    items = ask(store, question)
    assert summary(items).metadata["count"] == count


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("Which figures show a map?", [2]),
        ("Which tables are about the lighthouse?", [3]),
        ("Which tables mention Region 399?", [2]),
        ("On which pages is the pump mentioned?", [1, 4]),
        ('Which pages mention "repaired in  the HARBOUR"?', [4]),
        ("How many times is the harbour mentioned in the document?", [2, 4]),
        ("List the appendices", [5, 6]),
        ("Which pages contain charts?", [3]),
    ],
)
def test_what_is_found(store, question, found):
    assert sorted(pages(ask(store, question))) == found


def test_pages_give_way_to_what_has_a_box(store):
    items = ask(store, "On which pages is the pump mentioned?")
    assert {item.node.metadata["content_type"] for item in items[1:]} == {"text"}
    assert all("pump" in item.node.text for item in items[1:])


@pytest.mark.parametrize(
    "question",
    [
        "What does Table 1 show?",
        "How much is the revenue?",
        "Which figures show a penguin?",
        "How many charts about penguins are there?",
        "How many exhibits are there?",
        "Which pages mention penguins?",
        "How many tables are in nothing.pdf?",
        "",
        "   ",
    ],
)
def test_what_it_does_not_answer(store, question):
    assert ask(store, question) == []


def test_several_documents_are_told_apart(store):
    items = ask(store, "How many tables are there?", name=None)
    assert summary(items).text == (
        "There are 5 tables in all.\n"
        "memo.pdf holds 2 tables: table on page 1; Prices of pumps (page 1).\n"
        "report.pdf holds 3 tables: Table 1 (page 2): Revenue by region; Table 2 (page 3): Costs of the lighthouse; "
        "Table 3 (page 4): Staff by year."
    )
    assert summary(items).metadata["count"] == 5
    assert "doc_id" not in summary(items).metadata


@pytest.mark.parametrize("with_ledger", [True, False])
@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("How many tables are in memo.pdf?", "memo.pdf"),
        ("How many tables does MEMO.pdf have?", "memo.pdf"),
        ("How many tables are in the annual report?", "report.pdf"),
    ],
)
def test_documents_are_named_in_the_question(store, question, name, with_ledger):
    ledger = Ledger(store.uri, "inventory")
    entries = [
        LedgerEntry(doc_id=key, file_name=key, title=title, state="ready") for key, (_, title) in DOCUMENTS.items()
    ]
    ledger.put(*entries)
    with ledger:
        items = InventoryRetriever(store, ledger if with_ledger else None).retrieve(question)
    assert {item.node.metadata["doc_id"] for item in items} == {name}


def test_documents_themselves(store):
    assert summary(ask(store, "How many documents are there?", name=None)).metadata["count"] == 2
    text = summary(ask(store, "Which documents mention lighthouses?", name=None)).text
    assert text == "There is 1 document that mentions “lighthouses”: report.pdf (Annual report)."


def test_filters_are_a_boundary(store):
    for question in ("How many tables are there?", "How many tables are in report.pdf?", "Which pages mention pumps?"):
        items = ask(store, question, name="memo.pdf")
        assert {item.node.metadata.get("doc_id", "memo.pdf") for item in items} <= {"memo.pdf"}
        assert "report" not in "".join(item.node.text for item in items)
    assert ask(store, "How many tables are there?", name='x" or id != "') == []


def test_tenants_see_their_own(tmp_path):
    uri = str(tmp_path / "milvus.db")
    with (
        MilvusNodeStore(uri, "shared", MODEL.dimension, tenant="a") as first,
        MilvusNodeStore(uri, "shared", MODEL.dimension, tenant="b") as second,
    ):
        first.add(nodes_of("report.pdf"))
        second.add(nodes_of("memo.pdf"))
        assert {row["doc_id"] for row in first.read_metadata(["doc_id"])} == {"report.pdf"}
        assert summary(InventoryRetriever(first).retrieve("How many tables are there?")).metadata["count"] == 3
        assert summary(InventoryRetriever(second).retrieve("How many tables are there?")).metadata["count"] == 2


def test_sections_of_a_chapter(tmp_path):
    elements = []
    for text, level in [
        ("Book", 1),
        ("Chapter 1", 2),
        ("1.1 Pumps", 3),
        ("Chapter 2", 2),
        ("2.1 Boats", 3),
        ("2.2 Oars", 3),
    ]:
        elements += [Element(type="heading", text=text, level=level), Element(type="text", text=f"About {text}.")]
    nodes = RAGAnythingNodeParser()(
        [elements_to_document(elements, source="book.md", metadata={"file_name": "book.md"})]
    )
    retriever = InventoryRetriever(PlainStore(nodes=nodes))
    assert summary(retriever.retrieve("List the sections in chapter 2")).text.startswith("book.md holds 2 sections in")
    assert summary(retriever.retrieve("List the sections")).text.startswith("book.md holds 2 sections")
    assert summary(retriever.retrieve("How many chapters are there?")).text.startswith("book.md holds 2 chapters")
    text = summary(retriever.retrieve("Which sections mention oars?")).text
    assert text == "book.md holds 1 section that mentions “oars”: 2.2 Oars."


def test_logos_count_once_and_charts_at_one_place_all(tmp_path):
    logos = [Element(type="image", page=page, bbox=(10, 10, 90, 60)) for page in (1, 2, 3)]
    charts = [Element(type="image", page=page, bbox=(100, 200, 900, 900), text=f"{page}") for page in (1, 2, 3)]
    document = elements_to_document([*logos, *charts], source="slides.pdf", metadata={"file_name": "slides.pdf"})
    nodes = RAGAnythingNodeParser()([document])
    items = InventoryRetriever(PlainStore(nodes=nodes)).retrieve("How many images are there?")
    assert summary(items).metadata["count"] == 4


@pytest.mark.parametrize("box", ["", "[]", "[1]", "[null,null,null,null]", "{", '"x"', "17", None, 5])
def test_broken_boxes_do_no_harm(box):
    metadata = {"doc_id": "a", "content_type": "table", "bbox": box, "page": "x", "label": 7, "caption": ["a"]}
    items = InventoryRetriever(PlainStore(nodes=[TextNode(text="A table", metadata=metadata)])).retrieve(
        "List the tables"
    )
    assert summary(items).metadata["count"] == 1


def test_more_than_can_be_read(store, monkeypatch):
    monkeypatch.setattr("llama_index_raganything.retrievers.inventory.lookup._MAX_TEXTS", 2)
    assert pages(ask(store, "Which tables mention Region 399?")) == [2]


def test_the_summary_tells_when_there_may_be_more(store, monkeypatch):
    question = "On which pages is the harbour mentioned?"
    assert summary(ask(store, question, name=None)).text.startswith("There are 3 pages in all.")
    monkeypatch.setattr("llama_index_raganything.retrievers.inventory.lookup._MAX_PAGES", 3)
    assert summary(ask(store, question, name=None)).text.startswith("There are at least 3 pages in all.")


def test_an_empty_store_says_nothing(tmp_path):
    with MilvusNodeStore(str(tmp_path / "milvus.db"), "empty", MODEL.dimension) as empty:
        assert InventoryRetriever(empty).retrieve("How many tables are there?") == []


def test_foreign_nodes_are_not_counted(tmp_path):
    with MilvusNodeStore(str(tmp_path / "milvus.db"), "plain", MODEL.dimension) as plain:
        plain.add([TextNode(text="A table", embedding=MODEL.get_text_embedding("A table"))])
        assert InventoryRetriever(plain).retrieve("How many tables are there?") == []


def test_any_store_will_do():
    plain = PlainStore(nodes=nodes_of("report.pdf"))
    items = InventoryRetriever(plain).retrieve("How many tables are there?")
    assert summary(items).metadata["count"] == 3
    assert pages(InventoryRetriever(plain).retrieve("On which pages is the pump mentioned?")) == [4, 1]


async def test_async_gives_the_same(store):
    retriever = InventoryRetriever(store, filters=only("report.pdf"))
    for question in ("How many tables are there?", "Which figures show a map?", "What is a pump?"):
        ours, theirs = await retriever.aretrieve(question), retriever.retrieve(QueryBundle(question))
        assert [item.node.node_id for item in ours] == [item.node.node_id for item in theirs]
    several = await asyncio.gather(*(retriever.aretrieve("How many tables are there?") for _ in range(5)))
    assert len({tuple(item.node.node_id for item in items) for items in several}) == 1


def test_questions_about_an_attachment_are_not_its_own(store):
    bundle = QueryBundle("How many tables are there?", image_path="table.png")
    assert InventoryRetriever(store).retrieve(bundle) == []


def test_pickles_and_limits(store):
    copy = pickle.loads(pickle.dumps(InventoryRetriever(store, Ledger(store.uri, "inventory"))))
    assert summary(copy.retrieve("How many tables are there?")).metadata["count"] == 5
    for options in ({"similarity_top_k": 0}, {"max_listed": 0}):
        with pytest.raises(ConfigurationError):
            InventoryRetriever(store, **options)


# -- answers ---------------------------------------------------------------------------------------------------------


def router(store, name="report.pdf", **options):
    filters = name and only(name)
    default = NodeRetriever(store, MODEL, filters=filters)
    return QuestionRouter(default, [InventoryRetriever(store, filters=filters)], **options)


def test_answers_without_an_llm_cite_each_element(store):
    engine = RAGAnythingQueryEngine.from_args(router(store), store=store)
    response = engine.query("How many tables are there?")
    assert str(response) == (
        "report.pdf holds 3 tables [1]: Table 1 (page 2): Revenue by region [2]; "
        "Table 2 (page 3): Costs of the lighthouse [3]; Table 3 (page 4): Staff by year [4]."
    )
    citations = response.metadata["citations"]
    assert response.metadata["answered"] is True
    assert [citation["n"] for citation in citations] == [1, 2, 3, 4]
    assert [(citation["page"], citation["bbox"] is not None) for citation in citations[1:]] == [
        (2, True),
        (3, True),
        (4, True),
    ]


async def test_answers_in_chinese_and_streamed(store):
    engine = RAGAnythingQueryEngine.from_args(router(store), streaming=True)
    response = await engine.aquery("文档中有多少个表格？")
    text = "".join([piece async for piece in response.async_response_gen()])
    assert text.startswith("report.pdf 中共有3个表格 [1]：Table 1（第2页）：Revenue by region [2]；")
    assert text.endswith("。")


def test_a_broken_summary_still_answers(store):
    from llama_index_raganything.query_engine.extractive.synthesizer import inventory_answer

    items = router(store).retrieve("How many tables are there?")
    items[0].node.metadata["inventory"] = "{"
    pieces, citations = inventory_answer(items)
    assert "".join(pieces).startswith("report.pdf holds 3 tables")
    assert [citation["n"] for citation in citations] == [1]
    assert inventory_answer(items[1:]) is None


def test_an_llm_reads_the_summary_first(store):
    from llama_index.core.llms import MockLLM

    engine = RAGAnythingQueryEngine.from_args(router(store), llm=MockLLM(), store=store)
    text = str(engine.query("How many tables are there?"))
    assert "report.pdf holds 3 tables: Table 1 (page 2)" in text
    assert text.index("report.pdf holds 3 tables") < text.index("Region 1")
