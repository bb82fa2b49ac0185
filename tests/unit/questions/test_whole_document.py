"""Which questions are about a document as a whole, and what they ask for."""

import time

import pytest

from llama_index_raganything.questions.whole_document import read_whole_document_question as read


def asked(text):
    question = read(text)
    return question and (question.ask, [kind.name for kind in question.kinds], question.words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("How many tables are there?", ("count", ["table"], "")),
        ("how many tables are included in the document", ("count", ["table"], "")),
        ("How many appendices appear in the document?", ("count", ["appendix"], "")),
        ("What is the total number of equations in this paper?", ("count", ["equation"], "")),
        ("Could you please count the photos in the brochure?", ("count", ["photo"], "")),
        ("How many tables and figures are in the paper?", ("count", ["table", "figure"], "")),
        ("How many pages does the document have?", ("count", ["page"], "")),
        ("How many pages is the report?", ("count", ["page"], "")),
        ("How many figures are related to Airbus?", ("count", ["figure"], "Airbus")),
        ("how many bar charts are there in the report?", ("count", ["chart"], "bar")),
        ("According to the report, how many charts are there about employment?", ("count", ["chart"], "employment")),
        ("Which figures show a map?", ("which", ["figure"], "map")),
        ("Which tables are about revenue by region?", ("which", ["table"], "revenue by region")),
        ("Which sections discuss risk factors?", ("which", ["section"], "risk factors")),
        ("On which pages is Milvus mentioned?", ("which", ["page"], "Milvus")),
        ("Which pages mention the European Union?", ("which", ["page"], "European Union")),
        ("In which documents is the pump mentioned?", ("which", ["document"], "pump")),
        ("How many times does Exhibit P-1 appear in the document?", ("count", ["page"], "Exhibit P-1")),
        ("Which figures of the paper present examples of programs?", ("which", ["figure"], "examples of programs")),
        ("How many unique maps of the USA are used in the first 15 pages?", ("count", ["map"], "USA")),
        ("How many figures are from China Daily?", ("count", ["figure"], "China Daily")),
        ("Hello, do you know how many pages this PDF has, please?", ("count", ["page"], "")),
        ("List the appendices.", ("list", ["appendix"], "")),
        ("Please list the titles of all chapters in the book", ("list", ["chapter"], "")),
        ('List all pages that mention "safety valve".', ("list", ["page"], '"safety valve"')),
        ("Give me a list of all figures", ("list", ["figure"], "")),
        ("How many tables are there? Please give the answer as an integer.", ("count", ["table"], "")),
        ("文档中有多少个表格？", ("count", ["table"], "")),
        ("报告里一共有几张图？", ("count", ["figure"], "")),
        ("列出所有附录", ("list", ["appendix"], "")),
        ("哪些图显示了地图？", ("which", ["figure"], "地图")),
        ("这份文档有多少页？", ("count", ["page"], "")),
        ("关于收入的表格有哪些？", ("list", ["table"], "收入")),
        ("本文有哪些图表？", ("list", ["chart"], "")),
        ("哪几页提到了水泵？", ("which", ["page"], "水泵")),
        ("水泵出现在哪些页？", ("which", ["page"], "水泵")),
    ],
)
def test_questions_about_the_whole_document(text, expected):
    assert asked(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "tables",
        "Which tables?",
        "how many employees does the company have?",
        "What does Table 3 show?",
        "how many people attended the tables at the gala?",
        "How many tables are in the restaurant?",
        "How many tables are available for booking?",
        "How many table tennis players are in the club?",
        "How many chapters does the Quran have?",
        "How many chapters are in the Book of Genesis?",
        "How many pages is Ulysses?",
        "How many pages per minute does the printer print?",
        "How many pages of documents were leaked in the Panama Papers?",
        "How many people are there in the images on the cover?",
        "Which figures were important in the civil rights movement?",
        "Which figures are included in revenue?",
        "What are the figures for revenue in 2020?",
        "How many figures of merit are used?",
        "How many equations of motion govern the robot?",
        "How many charts did the song top?",
        "How many sections of track were replaced?",
        "Which documents are required for a visa?",
        "How many documents does the system index per second?",
        "How many files are there in the repository?",
        "How many videos has the channel uploaded?",
        "How many maps are in the game?",
        "How many documents are from France?",
        "How many rows are in Table 2?",
        "What does the table show?",
        "Which years does the table provide information for?",
        "What is the title of the diagram on page 9?",
        "Which pages do not mention risk?",
        "How many times was Ronaldo named player of the year?",
        "How often is the pump used?",
        "How many tables are there? How many chairs are there?",
        "公司有多少员工？",
        "表3显示了什么？",
        "这张图有几个人？",
        "有多少张桌子？",
        "表示有多少人？",
    ],
)
def test_ordinary_questions_are_left_to_ranking(text):
    assert read(text) is None


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("How many charts are in section 3?", {"parts": (("section", "3"),)}),
        ("How many images are on page 5?", {"pages": (5,)}),
        ("How many charts are shown on pages 3 to 7?", {"pages": (3, 4, 5, 6, 7)}),
        ("Count the tables between pages 10 and 12.", {"pages": (10, 11, 12)}),
        ("how many photos are in the first 2 pages?", {"positions": (1, 2)}),
        ("How many tables are on the last page?", {"last_pages": 1}),
        ("How many figures are in the appendix?", {"part": "appendix"}),
        ("In the appendix, how many tables are there?", {"part": "appendix"}),
        ("How many tables are included in the results section?", {"part": "results"}),
        ("How many tables are in report.pdf?", {"files": ("report.pdf",), "document": True}),
        ("How many tables does report-2.v1.pdf contain?", {"files": ("report-2.v1.pdf",), "document": True}),
        ("How many figures are there in the 2023 annual report?", {"title": ("2023", "annual"), "document": True}),
        ("How many pages are there in the PDF?", {"document": True}),
        ("第3页有几个表格？", {"pages": (3,)}),
        ("第三章有多少个公式？", {"parts": (("chapter", "3"),)}),
        ("report.pdf中有几张图片？", {"files": ("report.pdf",), "document": True}),
    ],
)
def test_where_to_look(text, scope):
    found = read(text).scope
    assert {name: value for name in found.__slots__ if (value := getattr(found, name))} == scope


def test_pages_that_hold_things():
    question = read("How many pages contain charts?")
    assert ([kind.name for kind in question.containing], question.words) == (["chart"], "")
    assert [kind.name for kind in read("Which pages have a table?").containing] == ["table"]


@pytest.mark.parametrize(
    "text",
    [
        "how many tables " + "and tables " * 40,
        "how many " + "bar " * 110,
        "list " + "all the " * 55,
        "how many tables are in the " + "a b " * 110,
        "how many times is " + "a " * 220,
        "which pages " + "is " * 140 + "mentioned",
        "第" * 450,
        "关于" * 200 + "的表格有哪些",
        "how many tables on page " + "1, " * 140,
        "how many tables are in " + "a-" * 220,
        "how many tables " * 1_000_000,
    ],
)
def test_hostile_questions_cost_little(text):
    started = time.process_time()
    read(text)
    assert time.process_time() - started < 0.5
