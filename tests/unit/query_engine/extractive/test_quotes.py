from __future__ import annotations

import time

import pytest
from llama_index.core.schema import NodeWithScore, TextNode

from llama_index_raganything.documents.packing import elements_to_document
from llama_index_raganything.elements import Element
from llama_index_raganything.node_parser.parser import RAGAnythingNodeParser
from llama_index_raganything.query_engine.extractive.passages import blocks_of, is_heading, passages_of, printed_row
from llama_index_raganything.query_engine.extractive.quotes import find_quotes

FAQ = """Milvus FAQ

Can vectors with the same primary key be inserted into Milvus?
Yes. Milvus does not check whether a primary key exists already when data is inserted.

Does Milvus support inserting and searching data simultaneously?
Yes. Insert and search run as two separate, mutually independent modules. From the client's point of view an insert
is complete once the data has reached the message queue.

What is the maximum number of dimensions of a vector?
A vector can have up to 32,768 dimensions by default.

Where does Milvus store data?
Inserted data is kept in persistent storage as an incremental log. Metadata such as collection schemas lives in etcd.
"""


def source(text: str, **metadata) -> NodeWithScore:
    return NodeWithScore(node=TextNode(text=text, metadata={"content_type": "text", **metadata}))


def table(rows, caption="", **metadata) -> NodeWithScore:
    element = Element(type="table", rows=rows, caption=caption, page=1)
    (node,) = RAGAnythingNodeParser().get_nodes_from_documents(
        [elements_to_document([element], source="/data/report.xlsx")]
    )
    node.metadata.update(metadata)
    return NodeWithScore(node=node)


REVENUE = [
    ["Region", "2022", "2023", "Growth"],
    ["North", "3.1", "4.2", "35%"],
    ["South", "5.0", "4.9", "-2%"],
    ["South and East", "7.1", "8.8", "24%"],
    ["Total", "15.2", "17.9", "18%"],
]


def first(question: str, *sources: NodeWithScore) -> str:
    quotes = find_quotes(question, sources)
    return quotes[0].text if quotes else ""


class TestSentences:
    @pytest.mark.parametrize(
        ("question", "expected"),
        [
            (
                "Does Milvus support simultaneous insertion and search? Give a short answer.",
                "Yes. Insert and search run as two separate, mutually independent modules.",
            ),
            ("How many dimensions can a vector have?", "A vector can have up to 32,768 dimensions by default."),
            ("Where does metadata live?", "Metadata such as collection schemas lives in etcd."),
            ("Can I insert vectors that have the same primary key?", "Yes. Milvus does not check whether"),
        ],
    )
    def test_a_faq_is_answered_with_the_answer_and_not_the_question(self, question, expected):
        assert first(question, source(FAQ, file_name="faq_milvus.txt")).startswith(expected)

    def test_one_quote_for_a_short_answer(self):
        question = "Where is data stored and where does metadata live?"
        assert len(find_quotes(question, [source(FAQ)])) == 2
        assert len(find_quotes(question + " Give a short answer.", [source(FAQ)])) == 1

    def test_quotes_from_two_sources_cover_the_question_together(self):
        quotes = find_quotes(
            "Who founded Acme and where are its headquarters?",
            [
                source("Acme was founded by Ada Bell in 1901. It sells anvils."),
                source("The headquarters of Acme are in Oslo. Oslo is cold."),
            ],
        )
        assert {quote.number for quote in quotes} == {1, 2}

    def test_a_question_for_a_number_prefers_the_sentence_with_one(self):
        text = "The staff of the company grew. The staff of the company counts 350 people."
        assert (
            first("How many staff does the company have?", source(text))
            == "The staff of the company counts 350 people."
        )

    def test_a_question_for_a_date_prefers_the_sentence_with_one(self):
        text = "The bridge was opened by the mayor. The bridge was opened on 3 May 1932."
        assert "1932" in first("When was the bridge opened?", source(text))

    def test_a_definition_is_preferred(self):
        text = "Many people use a vector index. A vector index is a structure that finds near vectors."
        assert first("What is a vector index?", source(text)).startswith("A vector index is")

    def test_lists_are_quoted_with_their_introduction(self):
        text = "Intro.\n\nThe system has these components:\n- proxy\n- coordinator\n- query node\n\nThe end."
        quote = first("Which components does the system have?", source(text))
        assert quote == "The system has these components: proxy; coordinator; query node."

    def test_a_list_may_follow_after_a_blank_line(self):
        text = "The system has these components:\n\n- proxy\n- coordinator"
        assert first("Which components does the system have?", source(text)) == (
            "The system has these components: proxy; coordinator."
        )

    @pytest.mark.parametrize("gap", ["\n", "\n\n"])
    def test_a_colon_leads_to_what_follows(self, gap):
        text = f"It is simple. The capacity factor is computed so:{gap}CF = E / P{gap}where E is energy."
        quote = first("How is the capacity factor computed?", source(text))
        assert quote.startswith("The capacity factor is computed so: CF = E / P")

    def test_a_heading_is_no_answer_where_there_is_a_better_one(self):
        text = "Capacity factor\n\nIt was 31.8 % at Skagen.\n\nCosts\n\nThey rose."
        assert first("What was the capacity factor at Skagen?", source(text)) == "It was 31.8 % at Skagen."

    @pytest.mark.parametrize(
        ("question", "expected"),
        [
            ("2023年的营业收入是多少？", "2023年营业收入为4.2亿元，同比增长12%。"),
            ("公司总部在哪里？", "公司总部位于上海。"),
            ("公司有多少员工？", "员工人数为350人。"),
        ],
    )
    def test_chinese(self, question, expected):
        text = "公司总部位于上海。2023年营业收入为4.2亿元，同比增长12%。员工人数为350人。"
        assert first(question, source(text)) == expected

    @pytest.mark.parametrize(
        "question",
        [
            "What is the capital of Mongolia?",
            "Who won the world cup in 1998?",
            "Who is the CEO of Milvus?",
            "What was the revenue of Finland in 2023?",
            "蒙古的首都是哪里？",
            "",
            "???",
            "the of and",
        ],
    )
    def test_what_the_sources_do_not_say_is_not_answered(self, question):
        assert find_quotes(question, [source(FAQ), table(REVENUE)]) == []

    @pytest.mark.parametrize("question", ["Does Milvus run for free?", "Do I pay for Milvus?", "Is Milvus free?"])
    def test_a_picture_does_not_answer_yes_or_no(self, question):
        figure = source("Milvus Architecture\n\nQuery Node\nMessage Queue", content_type="image")
        faq = source("Is Milvus free of charge?\nYes. The community edition costs nothing.")
        assert "Architecture" not in first(question, figure, faq)

    def test_nothing_comes_from_nothing(self):
        assert find_quotes("What is this?", []) == []
        assert find_quotes("What is this?", [source("")]) == []

    def test_a_repeated_sentence_is_quoted_once(self):
        sources = [source("The pump delivers 4.2 litres.") for _ in range(5)]
        assert len(find_quotes("What does the pump deliver?", sources)) == 1

    def test_a_quote_of_a_page_is_cited_from_the_element_that_has_a_box(self):
        page = source("Header\nThe pump delivers 4.2 litres.", content_type="page", page=3, doc_id="d")
        element = source("The pump delivers 4.2 litres.", page=3, doc_id="d", bbox="[1,2,3,4]")
        assert find_quotes("What does the pump deliver?", [page, element])[0].number == 2


class TestTables:
    @pytest.mark.parametrize(
        ("question", "expected"),
        [
            ("What was the revenue of the North region in 2023?", "Region: North; 2023: 4.2"),
            ("Revenue of South in 2022?", "Region: South; 2022: 5.0"),
            ("What was the revenue of South and East in 2023?", "Region: South and East; 2023: 8.8"),
            ("What was the total revenue in 2022?", "Region: Total; 2022: 15.2"),
            ("What was the growth of North?", "Region: North; Growth: 35%"),
            ("Revenue of North in 2022 and 2023?", "Region: North; 2022: 3.1; 2023: 4.2"),
            ("Which region had the highest revenue in 2023?", "Region: South and East; 2023: 8.8"),
            ("Which region had the lowest revenue in 2022?", "Region: North; 2022: 3.1"),
            ("Which region had the lowest growth?", "Region: South; Growth: -2%"),
            ("Which country had the highest revenue in 2022?", "Region: South and East; 2022: 7.1"),
        ],
    )
    def test_the_cell_is_named_by_row_and_column(self, question, expected):
        caption = "Table 1: Revenue by region, in millions"
        assert first(question, table(REVENUE, caption=caption)) == f"{expected} ({caption})"

    def test_a_table_without_caption_adds_nothing_to_its_rows(self):
        assert first("Revenue of the South region in 2022?", table(REVENUE)) == "Region: South; 2022: 5.0"

    def test_a_long_caption_is_cut_between_words_and_put_on_one_line(self):
        caption = "Table 1: Revenue by region,\nin millions. " + "More words follow. " * 50
        quote = first("What was the revenue of the North region in 2023?", table(REVENUE, caption=caption))
        assert quote.startswith("Region: North; 2023: 4.2 (Table 1: Revenue by region, in millions. More words")
        assert quote.endswith(" …)")
        assert len(quote) < len("Region: North; 2023: 4.2") + 130

    def test_a_chinese_table(self):
        rows = [["地区", "2022年", "2023年"], ["北方", "3.1", "4.2"], ["南方", "5.0", "4.9"]]
        chinese = table(rows, caption="表1 各地区收入（亿元）")
        assert first("2023年北方的收入是多少？", chinese) == "地区: 北方; 2023年: 4.2 (表1 各地区收入（亿元）)"
        assert first("2022年收入最高的地区是哪里？", chinese) == "地区: 南方; 2022年: 5.0 (表1 各地区收入（亿元）)"

    def test_a_row_is_found_by_any_of_its_cells(self):
        stock = table(
            [["Part", "Name", "Price", "Stock"], ["P-12", "Seal", "3.20", "7"], ["P-13", "Valve", "9.90", "0"]]
        )
        assert first("What is the price of the valve?", stock) == "Part: P-13; Name: Valve; Price: 9.90"

    def test_a_table_without_header(self):
        rows = [["Opening hours", "9 to 17"], ["Telephone", "555 1234"]]
        assert "555 1234" in first("What is the telephone number?", table([["", ""], *rows]))

    @pytest.mark.parametrize(
        ("question", "expected"),
        [
            ("What were the cash and cash equivalents on January 28, 2023?", "Cash and cash equivalents; 2023: $1,874"),
            ("What were total current assets in 2022?", "Total current assets; 2022: 10,539"),
            ("What were total assets in 2022?", "Total assets; 2022: 17,504"),
        ],
    )
    def test_a_table_that_is_only_printed(self, question, expected):
        page = source(
            "Consolidated Balance Sheets\nJanuary 28, 2023 January 29, 2022\nAssets\n"
            "Cash and cash equivalents $ 1,874 $ 2,936\nTotal current assets 8,802 10,539\n"
            "Total assets 15,803 17,504\nSee Notes to Consolidated Statements.",
            content_type="page",
            page=1,
        )
        assert first(question, page) == expected

    def test_the_table_that_the_question_names_wins(self):
        one = table([["Item", "Cost"], ["Seal", "3"]], caption="Table 1", label="Table 1")
        two = table([["Item", "Cost"], ["Seal", "8"]], caption="Table 2", label="Table 2")
        assert first("What is the cost of the seal in Table 2?", one, two).endswith("8 (Table 2)")


class TestFigures:
    def test_a_figure_is_quoted_by_caption_and_words(self):
        figure = source(
            "Figure 2: Architecture of Milvus\n\nProxy\nCoordinator\nQuery node",
            content_type="image",
            caption="Figure 2",
        )
        assert first("What are the components of the Milvus architecture?", figure) == (
            "Figure 2: Architecture of Milvus; Proxy; Coordinator; Query node"
        )

    def test_axis_numbers_and_sentences_that_cite_it_are_not_quoted(self):
        text = "Figure 2: Output by site\n\nGWh\n400\n300\nSkagen Thy\n\nAs Fig. 2 shows, output by site rose."
        figure = source(text, content_type="image", caption="Figure 2: Output by site", label="Figure 2")
        assert first("What was the output by site?", figure) == "Figure 2: Output by site; GWh; Skagen Thy"

    def test_the_file_name_tells_what_a_picture_shows(self):
        figure = source("Proxy\nCoordinator\nQuery node", content_type="image", file_name="milvus_architecture.png")
        assert "Coordinator" in first("What does the coordinator of the Milvus architecture do?", figure)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Cash and cash equivalents $ 1,874 $ 2,936", ["Cash and cash equivalents", "$1,874", "$2,936"]),
        ("Loss per share (0.31) — 4%", ["Loss per share", "(0.31)", "—", "4%"]),
        ("Growth ..... 12%", ["Growth", "12%"]),
        ("Hamilton County covers 538", None),
        ("January 28, 2023", None),
        ("1 2 3", None),
        ("", None),
    ],
)
def test_printed_rows(line, expected):
    assert printed_row(line) == expected


class TestPassages:
    def test_wrapped_lines_are_joined_and_rows_of_numbers_are_not(self):
        text = "The total revenue of the company grew in the year by a wide\nmargin.\nNorth 4.2 3.1\nSouth 5.0 4.9"
        assert list(blocks_of(text)) == [
            "The total revenue of the company grew in the year by a wide margin.",
            "North 4.2 3.1",
            "South 5.0 4.9",
        ]

    def test_a_word_cut_at_a_line_end_is_joined(self):
        assert list(blocks_of("The archi-\ntecture")) == ["The architecture"]

    @pytest.mark.parametrize(
        ("block", "expected"),
        [("Revenue by region", True), ("It grew.", False), ("- item", False), ("North 4.2 3.1", False)],
    )
    def test_headings(self, block, expected):
        assert is_heading(block) is expected

    def test_a_yes_is_kept_with_what_follows(self):
        texts = [passage.text for passage in passages_of(1, source("Yes. It does run. No more."))]
        assert texts == ["Yes. It does run.", "No more."]

    def test_a_chinese_yes_is_kept_with_what_follows(self):
        texts = [passage.text for passage in passages_of(1, source("支持。用户可以远程关闭阀门。总部位于上海。"))]
        assert texts == ["支持。用户可以远程关闭阀门。", "总部位于上海。"]


@pytest.mark.parametrize(
    "text", ["(" * 50_000, "a" * 100_000, "| a | b |\n| --- | --- |\n" + "| x | 1 |\n" * 5_000, "\n" * 100_000]
)
def test_hostile_texts_take_little_time(text):
    started = time.process_time()
    find_quotes("What is the value of x in b?", [source(text)] * 3)
    assert time.process_time() - started < 5
