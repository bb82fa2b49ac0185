"""Tables of real files are found by header, row and surroundings, and asked with SQL or by their cells."""

import asyncio
import json

import docx
import openpyxl
import pytest
from llama_index.core.base.response.schema import Response
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import QueryBundle
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Table, TableStyle

from llama_index_raganything import RAGAnythingIndex, citations_of
from llama_index_raganything.query_engine.prompts import NOT_FOUND, NOT_FOUND_ZH
from llama_index_raganything.query_engine.tables.engine import TableQueryEngine
from llama_index_raganything.retrievers.tables import TableRetriever
from llama_index_raganything.testing import HashEmbedding, ScriptedTextLLM

HOSTILE = [
    "",
    "   ",
    "'; DROP TABLE tables; --",
    'SELECT * FROM read_csv("/etc/passwd")',
    "\" ' ` \\ | {schema} {{ x }} %s \x00",
    "zebra crossing " * 700,
    "\ud800",
]


def pdf(path):
    style = TableStyle([("GRID", (0, 0), (-1, -1), 0.5, colors.black), ("BACKGROUND", (0, 0), (-1, 0), colors.grey)])
    body = getSampleStyleSheet()["BodyText"]
    head = getSampleStyleSheet()["Heading1"]
    berths = [
        ["Berth", "Depth (m)", "Length (m)", "Bollards"],
        ["North quay", "12.5", "340", "28"],
        ["South quay", "9.8", "260", "21"],
        ["Oil jetty", "15.2", "410", "34"],
    ]
    fees = [["Vessel", "Fee (EUR)"], ["Tanker", "4,800"], ["Ferry", "1,150"], ["Yacht", "95"]]
    SimpleDocTemplate(str(path), pagesize=A4).build(
        [
            Paragraph("Harbour handbook", head),
            Paragraph("The harbour has three berths. Pilots come aboard at the outer buoy. " * 4, body),
            Table(berths, style=style),
            PageBreak(),
            Paragraph("Mooring charges", head),
            Paragraph("Charges fall due before a vessel departs and are set by the port authority each spring.", body),
            Table(fees, style=style),
            Paragraph("Winter is quiet. Gulls nest on the breakwater and nobody minds. " * 4, body),
        ]
    )


def xlsx(path):
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Turnover"
    for row in (
        ["Turnover (in thousands)", 2022, 2023, 2024],
        ["Container handling", 1200, 1350, 1500],
        ["Bulk cargo", 800, 760, 900],
        ["Total turnover", 2000, 2110, 2400],
    ):
        sheet.append(row)
    book.save(path)


def word(path):
    document = docx.Document()
    document.add_heading("Personnel", 1)
    document.add_paragraph("The crew of the dredger works in two watches.")
    table = document.add_table(rows=0, cols=3)
    table.style = "Table Grid"
    rows = (("Role", "People", "Watch"), ("Helmsman", "4", "day"), ("Engineer", "6", "night"), ("Cook", "1", "day"))
    for row in rows:
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text
    document.add_heading("港口统计", 1)
    document.add_paragraph("下表列出各港区的吞吐量。")
    table = document.add_table(rows=0, cols=3)
    table.style = "Table Grid"
    for row in (
        ("港区", "2023年吞吐量（万吨）", "2024年吞吐量（万吨）"),
        ("东港区", "1,234", "1,301"),
        ("西港区", "567", "489"),
    ):
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text
    document.save(path)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    files = {"harbour.pdf": pdf, "turnover.xlsx": xlsx, "crew.docx": word}
    for name, build in files.items():
        build(folder / name)
    with RAGAnythingIndex.from_paths(
        [folder / name for name in files],
        uri=str(folder / "milvus.db"),
        working_dir=folder / "work",
        embed_model=HashEmbedding(),
    ) as made:
        yield made


def retriever(index, **options):
    options = {
        "graph": index.knowledge_graph,
        "table_store": index.table_store,
        "embed_model": index.embed_model,
    } | options
    return TableRetriever(index.store, **options)


def engine(index, **options):
    return TableQueryEngine(retriever(index), **options)


def only(key, value):
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value)])


FINDABLE = [
    ("Which berths have how many bollards?", "harbour.pdf", "North quay"),  # by header
    ("How deep is the oil jetty?", "harbour.pdf", "Oil jetty"),  # by row
    ("When do the charges set by the port authority fall due?", "harbour.pdf", "Tanker"),  # by what stands around it
    ("How much did bulk cargo bring in 2023?", "turnover.xlsx", "Bulk cargo"),
    ("How many people work as helmsman?", "crew.docx", "Helmsman"),
    ("Which watches does the dredger have?", "crew.docx", "Helmsman"),
    ("西港区2024年的吞吐量是多少？", "crew.docx", "西港区"),
]


@pytest.mark.parametrize(("question", "file_name", "word_in_it"), FINDABLE)
@pytest.mark.parametrize("graph", [True, False])
def test_tables_of_files_are_found(index, question, file_name, word_in_it, graph):
    options = {} if graph else {"graph": None, "table_store": None}
    best = retriever(index, **options).retrieve(question)[0].node
    assert best.metadata["content_type"] == "table"
    assert best.metadata["file_name"] == file_name
    assert word_in_it in best.get_content()


def test_results_are_tables_with_their_relation_and_companion(index):
    results = retriever(index).retrieve("When do the charges set by the port authority fall due?")
    assert {item.node.metadata["content_type"] for item in results} == {"table"}
    best = results[0].node
    name = best.metadata["table_name"]
    assert index.table_store.query_sql(f"SELECT count(*) FROM {name}").rows == [(3,)]
    companion = index.store.get_nodes(node_ids=[best.metadata["companion_id"]])[0]
    assert "port authority" in companion.get_content()
    assert companion.metadata["content_type"] == "text"
    assert json.loads(best.metadata["graph_path"])
    assert json.loads(best.metadata["evidence"])
    assert {"table_name", "companion_id"} <= set(best.excluded_llm_metadata_keys) & set(
        best.excluded_embed_metadata_keys
    )
    scores = [item.score for item in results]
    assert scores == sorted(scores, reverse=True)


def test_filters_bound_tables_and_their_companions(index):
    asked = "How deep is the oil jetty?"
    results = retriever(index, filters=only("file_name", "crew.docx")).retrieve(asked)
    assert results
    assert {item.node.metadata["file_name"] for item in results} == {"crew.docx"}
    assert retriever(index, filters=only("content_type", "text")).retrieve(asked) == []
    alone = retriever(index, filters=only("content_type", "table")).retrieve(asked)
    assert "Oil jetty" in alone[0].node.get_content()
    assert "companion_id" not in alone[0].node.metadata


async def test_async_finds_the_same(index):
    asked = "How many people work as helmsman?"
    found = await retriever(index).aretrieve(asked)
    assert [item.node.node_id for item in found] == [item.node.node_id for item in retriever(index).retrieve(asked)]


@pytest.mark.parametrize("question", HOSTILE)
def test_hostile_questions_do_no_harm(index, question):
    assert isinstance(retriever(index).retrieve(question), list)
    response = engine(index).query(question)
    assert response.metadata["answered"] is False
    assert response.metadata["citations"] == []


# -- cells -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "cell", "file_name"),
    [
        ("What is the depth of the oil jetty?", "15.2", "harbour.pdf"),
        ("What is the fee for a ferry?", "1,150", "harbour.pdf"),
        ("Which berth has the greatest length?", "Oil jetty, Length (m): 410", "harbour.pdf"),
        ("What was the turnover of bulk cargo in 2023?", "760", "turnover.xlsx"),
        ("What was total turnover in 2024?", "2400", "turnover.xlsx"),
        ("By what percentage change did container handling differ between 2022 and 2024?", "25.00%", "turnover.xlsx"),
        ("What was the average turnover of bulk cargo in 2022, 2023 and 2024?", "820.00", "turnover.xlsx"),
        ("How many people are engineers?", "6", "crew.docx"),
        ("西港区2024年的吞吐量是多少？", "489", "crew.docx"),
        ("哪个港区2023年吞吐量最高？", "东港区", "crew.docx"),
    ],
)
def test_cells_answer_with_the_printed_number(index, question, cell, file_name):
    response = engine(index).query(question)
    assert cell in response.response
    assert response.response.rstrip().endswith("]")
    assert response.metadata["answered"] is True
    assert response.metadata["sql"] is None
    (citation,) = response.metadata["citations"]
    assert citation["file_name"] == file_name
    assert response.source_nodes[citation["n"] - 1].node.node_id == citation["node_id"]
    (table,) = response.metadata["tables"]
    assert table["file_name"] == file_name
    assert index.table_store.query_sql(f"SELECT count(*) FROM {table['name']}").rows[0][0] > 0
    if file_name == "harbour.pdf":
        assert citation["page"] == table["page"] == (2 if "fee" in question else 1)
        left, top, right, bottom = citation["bbox"]
        assert 0 <= left < right <= 1000
        assert 0 <= top < bottom <= 1000
        assert table["bbox"] == citation["bbox"]


def test_unit_and_scale_are_told(index):
    assert "(thousand)" in engine(index).query("What was the turnover of bulk cargo in 2023?").response
    assert "(EUR)" in engine(index).query("What is the fee for a ferry?").response


@pytest.mark.parametrize(
    ("question", "fixed"),
    [
        ("What was total turnover in 2009?", NOT_FOUND),
        ("Who chairs the supervisory board of the railway?", NOT_FOUND),
        ("火星上的天气怎么样？", NOT_FOUND_ZH),
    ],
)
def test_what_no_table_covers_is_not_found(index, question, fixed):
    response = engine(index).query(question)
    assert response.response == fixed
    assert response.metadata["rows"] == response.metadata["tables"] == []


async def test_cells_async_and_streamed(index):
    asked = "What is the depth of the oil jetty?"
    plain = engine(index).query(asked).response
    assert (await engine(index).aquery(asked)).response == plain
    streamed = engine(index, streaming=True).query(asked)
    assert "".join(streamed.response_gen) == plain
    assert streamed.metadata["answered"] is True
    piecewise = await engine(index, streaming=True).aquery(asked)
    assert "".join([piece async for piece in piecewise.async_response_gen()]) == plain


def test_a_long_table_is_cited_by_the_part_with_the_row(tmp_path):
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["Buoy", "Latitude"])
    for number in range(1_500):
        sheet.append([f"Buoy {number}", number + 0.25])
    book.save(tmp_path / "buoys.xlsx")
    with RAGAnythingIndex.from_paths(
        [tmp_path / "buoys.xlsx"],
        uri=str(tmp_path / "milvus.db"),
        working_dir=tmp_path / "work",
        embed_model=HashEmbedding(),
    ) as index:
        assert len(index.table_store.tables()[0].node_ids) > 2
        assert len(retriever(index).retrieve("latitude of a buoy")) == 1
        for number in (3, 1_400):
            response = engine(index).query(f"What is the latitude of buoy {number}?")
            assert f"Buoy {number}, Latitude: {number}.25" in response.response
            (citation,) = response.metadata["citations"]
            cited = next(each.node for each in response.source_nodes if each.node.node_id == citation["node_id"])
            assert f"| Buoy {number} |" in cited.get_content()


# -- SQL ---------------------------------------------------------------------------------------------------------------


def sql_for(index, word_in_it, sql):
    name = next(record.name for record in index.table_store.tables() if word_in_it in str(record.rows))
    return sql.format(name=name)


TOP = "SELECT * FROM {name} ORDER BY 2 DESC LIMIT 1"


def test_sql_of_an_llm_is_run_on_the_retrieved_tables(index):
    statement = sql_for(index, "Tanker", TOP)
    llm = ScriptedTextLLM(replies=[f"```sql\n{statement}\n```", "A tanker pays 4,800 EUR. [1]"])
    response = engine(index, llm=llm).query("Which vessel pays the highest fee?")
    assert response.response == "A tanker pays 4,800 EUR. [1]"
    assert response.metadata["sql"] == statement
    assert response.metadata["rows"] == [["Tanker", 4800]]
    assert len(response.metadata["columns"]) == 2
    (table,) = response.metadata["tables"]
    assert (table["file_name"], table["page"]) == ("harbour.pdf", 2)
    assert response.metadata["answered"] is True
    (citation,) = response.metadata["citations"]
    assert (citation["page"], citation["bbox"]) == (2, table["bbox"])
    assert "| Tanker |" in response.source_nodes[0].node.get_content()
    written, answered = (str(messages) for messages in llm.requests)
    assert "Fee (EUR)" in written
    assert "Tanker | 4800" in answered
    assert len(llm.requests) == 2


def test_a_wrong_statement_is_written_once_more_with_what_was_wrong(index):
    statement = sql_for(index, "Tanker", TOP)
    llm = ScriptedTextLLM(replies=["SELECT nothing FROM nowhere", statement, "4,800 EUR [1]"])
    response = engine(index, llm=llm).query("Which vessel pays the highest fee?")
    assert response.metadata["sql"] == statement
    assert response.metadata["statements"] == ["SELECT nothing FROM nowhere", statement]
    assert len(response.metadata["sql_errors"]) == 1
    assert "nowhere" in str(llm.requests[1])
    assert "There is no table" in str(llm.requests[1])


@pytest.mark.parametrize(
    "reply",
    [
        "DROP TABLE tables",
        "SELECT * FROM read_csv('/etc/passwd')",
        "I cannot do that.",
        "",
        "SELECT 1",
        "ATTACH '/tmp/x.db'; SELECT 1",
    ],
)
def test_refused_statements_end_in_cells(index, reply):
    llm = ScriptedTextLLM(replies=[reply])
    response = engine(index, llm=llm).query("What is the fee for a ferry?")
    assert len(llm.requests) == 2
    assert "1,150" in response.response
    assert response.metadata["sql"] is None
    assert len(response.metadata["sql_errors"]) == 2
    assert response.metadata["citations"][0]["page"] == 2


def test_a_statement_that_finds_nothing_is_tried_again(index):
    empty = sql_for(index, "Tanker", "SELECT * FROM {name} WHERE 1 = 0")
    response = engine(index, llm=ScriptedTextLLM(replies=[empty])).query("What is the fee for a ferry?")
    assert "1,150" in response.response
    assert all("no rows" in error for error in response.metadata["sql_errors"])


def test_tables_that_were_not_retrieved_cannot_be_read(index):
    other = sql_for(index, "Helmsman", "SELECT * FROM {name}")
    harbour = retriever(index, filters=only("file_name", "harbour.pdf"))
    llm = ScriptedTextLLM(replies=[other])
    response = TableQueryEngine(harbour, llm=llm).query("What is the fee for a ferry?")
    assert "Helmsman" not in response.response
    assert all("There is no table" in error for error in response.metadata["sql_errors"])


async def test_sql_async_and_streamed(index):
    statement = sql_for(index, "Tanker", TOP)
    asked = "Which vessel pays the highest fee?"

    def llm():
        return ScriptedTextLLM(replies=[statement, "A tanker. [1]"])

    assert (await engine(index, llm=llm()).aquery(asked)).metadata["sql"] == statement
    streamed = engine(index, llm=llm(), streaming=True).query(asked)
    assert "".join(streamed.response_gen) == "A tanker. [1]"
    assert streamed.metadata["sql"] == statement
    assert streamed.metadata["citations"][0]["page"] == 2
    piecewise = await engine(index, llm=llm(), streaming=True).aquery(asked)
    assert "".join([piece async for piece in piecewise.async_response_gen()]) == "A tanker. [1]"
    assert piecewise.metadata["citations"][0]["page"] == 2
    for response in (streamed, piecewise):
        # What gathers the sources of several answers finds the citation there.
        gathered = Response("A tanker. [1]", source_nodes=response.source_nodes)
        assert [(found.page, found.answer) for found in citations_of(gathered)] == [(2, 1)]


async def test_questions_at_the_same_time_do_not_mix(index):
    asked = {"What is the fee for a ferry?": "1,150", "What is the depth of the oil jetty?": "15.2"}
    answering = engine(index)
    responses = await asyncio.gather(*(answering.aquery(question) for question in [*asked] * 4))
    for response, expected in zip(responses, [*asked.values()] * 4, strict=True):
        assert expected in response.response


def test_prompts_can_be_read_and_changed(index):
    llm = ScriptedTextLLM(replies=["SELECT 1"])
    answering = engine(index, llm=llm)
    assert set(answering.get_prompts()) == {"text_to_sql_prompt", "sql_retry_prompt", "response_synthesis_prompt"}
    answering.update_prompts({"text_to_sql_prompt": PromptTemplate("Ahoy {dialect} {schema} {query_str}")})
    answering.query(QueryBundle("What is the fee for a {ferry}?"))
    assert str(llm.requests[0][0].content).startswith("Ahoy duckdb")
    assert "{ferry}" in str(llm.requests[0][0].content)


def test_hostile_questions_reach_an_llm_unharmed(index):
    llm = ScriptedTextLLM(replies=["SELECT 1"])
    for question in HOSTILE:
        assert engine(index, llm=llm).query(question).metadata["sql"] is None


def test_llamaindex_engine_runs_on_the_tables(index):
    from llama_index.core.embeddings import MockEmbedding
    from llama_index.core.query_engine import NLSQLTableQueryEngine

    from llama_index_raganything.query_engine.tables.sql import TableSQLDatabase

    statement = sql_for(index, "Tanker", TOP)
    llm = ScriptedTextLLM(replies=[statement, "A tanker."])
    database = TableSQLDatabase(index.table_store)
    made = NLSQLTableQueryEngine(database, llm=llm, embed_model=MockEmbedding(embed_dim=1))
    response = made.query("Which vessel pays most?")
    assert response.response == "A tanker."
    assert response.metadata["result"] == [("Tanker", 4800)]
    with pytest.raises(NotImplementedError, match="cannot be written"):
        database.insert_into_table("x", {})
